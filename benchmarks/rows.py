"""The rows of the table: each starts its contenders, alternates them, and returns what it found as a dict. Standard library only."""
import time
from statistics import median
from . import configs, stats
from .pool import Failed, Pool

PEERS = ('FrEIA', 'normflows', 'nflows', 'distrax')
LOW_PEERS = ('FrEIA, autocast', 'normflows, autocast')                          # the same peers in PyTorch's own mixed precision
TINY = dict(shape=(8, 8, 3), steps=2, levels=2, channels=8)


class Plan:
    "How long: rounds per row, and the size of everything ('smoke' shrinks the networks until the numbers mean nothing)."

    def __init__(self, *, quick=False, smoke=False, cores=2, say=print):
        self.quick, self.smoke, self.cores, self.say = quick, smoke, cores, say

    def rounds(self, n): return 2 if self.smoke else min(n, 3) if self.quick else n

    def net(self, name):
        if not self.smoke: return configs.network(name)
        net = configs.network(name)
        return net | TINY | dict(shape=(8, 8, net['shape'][2]))

    def pool(self, contenders): return Pool(contenders, cores=self.cores, say=self.say)

    def turns(self, seconds_each, at_least=1, goal=0.6):
        "How many steps make a turn of about `goal` seconds."
        return max(at_least, min(40, round((0.05 if self.smoke else goal) / max(seconds_each, 1e-5))))


def line(name, what, ours=None, peer=None, ratio=None, target=None, *, at_most=False, value=None, note=''):
    "One line of the table. `value` is what the target is compared with (default: the ratio's median)."
    value = value if value is not None else None if ratio is None else ratio['median']
    return dict(row=name, what=what, ours=ours, peer=peer, ratio=ratio, target=target, at_most=at_most, value=value, verdict=stats.verdict(value, target, at_most=at_most), note=note)


def per_second(images, seconds): return f'{images / median(seconds):.4g} img/s'


def left_out(pool): return '; '.join(f'without {name} ({why})' for name, why in pool.failed.items())


def measured_turns(plan, pool, names):
    "Steps per turn, from the slowest contender's second call."
    slow = 0.0
    for name in names:
        try: slow = max(slow, pool.workers[name].call('run', k=1))
        except Failed as error: pool.drop(name, error, plan.say)
    return plan.turns(slow, goal=0.8)


def training(plan, which, batch, rounds, target):
    """Images/s of a training step against the four peers, and the fraction of the matmul peak measured between the rounds.

    Two lines: ours as `fit` trains on this machine against every peer, those in mixed precision too; ours in float32 against the peers in float32.
    """
    name, net = f'step-{which}-{batch}', plan.net(which)
    contenders = {'ours': ('ours', dict(net=net, batch=batch)), 'ours, float32': ('ours', dict(net=net, batch=batch, compute='float32'))} | {peer: (peer, dict(net=net, batch=batch)) for peer in (*PEERS, *LOW_PEERS)}
    peaks = {}
    with plan.pool(contenders) as pool:
        if 'ours' not in pool.workers: raise Failed(pool.failed['ours'])
        k = measured_turns(plan, pool, list(pool.workers))
        def peak(_):
            for contender in ('ours', 'FrEIA'):
                if contender in pool.workers: peaks.setdefault(dict(ours='jax', FrEIA='torch')[contender], []).append(pool.workers[contender].call('matmul'))
        seconds = pool.alternate({c: (c, 'run', dict(k=k)) for c in contenders}, plan.rounds(rounds), say=plan.say, each_round=peak)
        memory = {c: pool.workers[c].call('memory') for c in seconds}
        info, note = pool.info, left_out(pool)
    counts = {c: dict(parameters=info[c]['parameters'], free=info[c]['free_parameters'], off_percent=round(100 * (info[c]['free_parameters'] / configs.parameters(net) - 1), 2)) for c in seconds}
    unlike = ', '.join(f'{c} {v["off_percent"]:+.1f}%' for c, v in counts.items() if abs(v['off_percent']) > 2)
    rate, plain_rate = (batch * k / median(seconds[c]) for c in ('ours', 'ours, float32'))
    best = {c: max(v) for c, v in peaks.items()}
    fraction = rate * configs.step_flops(net) / 1e9 / best['jax']
    raw = dict(config=dict(net=net, batch=batch, steps_per_turn=k), seconds=seconds, images_per_second={c: batch * k / median(v) for c, v in seconds.items()}, info=info, parameters=counts,
               peak_rss_mb={c: v['peak_rss_mb'] for c, v in memory.items()}, matmul_gflops=peaks, gflop_per_image=configs.step_flops(net) / 1e9, fraction_of_peak=fraction, failed=pool.failed)
    what = f'training step ({which}), batch {batch}'
    full = {c: v for c, v in seconds.items() if c != 'ours' and c not in LOW_PEERS}
    if len(full) == 1: return [line(name, what, f'{rate:.4g} img/s', note=note)], raw
    rival, ratio, everyone = stats.against_fastest({c: v for c, v in seconds.items() if c != 'ours, float32'}, 'ours')
    plain_rival, plain_ratio, plain_everyone = stats.against_fastest(full, 'ours, float32')
    raw |= dict(ratios=everyone, ratios_float32=plain_everyone, compute=info['ours'].get('compute'))
    plain_fraction = plain_rate * configs.step_flops(net) / 1e9 / best['jax']
    notes = [f'products in {info["ours"].get("compute")}'] + [f'{fraction:.0%} of the {best["jax"]:.0f} GFLOP/s of a 2048² product (torch: {best.get("torch", float("nan")):.0f})'] + ([f'parameters: {unlike}'] if unlike else []) + ([note] if note else [])
    return [line(name, what, f'{rate:.4g} img/s', f'{rival} {per_second(batch * k, seconds[rival])}', ratio, target, note='; '.join(notes)),
            line(name, f'{what}, all in float32', f'{plain_rate:.4g} img/s', f'{plain_rival} {per_second(batch * k, seconds[plain_rival])}', plain_ratio, target, note=f'{plain_fraction:.0%} of the peak')], raw


def first_step(plan):
    "Trace, compile and run of one step of (ii) in a cold process, compilation caches off."
    net, runs, peers = plan.net('ii'), [], {}
    for _ in range(plan.rounds(3)):
        with plan.pool(dict(ours=('ours', dict(net=net, batch=32)))) as pool:
            if pool.failed: raise Failed(pool.failed['ours'])
            runs.append(dict(pool.info['ours'], process_s=pool.workers['ours'].started))
    with plan.pool(dict(distrax=('distrax', dict(net=net, batch=32)))) as pool: peers = {n: i['first_step_s'] for n, i in pool.info.items()}
    ours = median(r['first_step_s'] for r in runs)
    note = f'from nothing to the end of it, imports and building the model included: {median(r["process_s"] for r in runs):.1f} s'
    return [line('first-step', 'first step (ii), cold process', f'{ours:.1f} s', ', '.join(f'{n} {s:.1f} s' for n, s in peers.items()), None, 8.0, at_most=True, value=ours, note=note)], dict(runs=runs, peers=peers)


def memory(plan):
    "Temporaries of (ii) by XLA's analysis, their growth from 8 to 64 steps per level, the low-memory form, and the peak RSS of whole processes."
    net, batch, lines, raw = plan.net('ii'), 32, [], {}
    with plan.pool(dict(ours=('ours_memory', {}))) as pool:
        if pool.failed: raise Failed(pool.failed['ours'])
        ask = lambda **changes: pool.workers['ours'].call('temporaries', net=net | dict(steps=changes.pop('steps', net['steps'])), batch=batch, **changes)
        plan.say('(ii)'); raw['ii'] = ask()
        lines.append(line('memory', 'temporaries of (ii)', f'{raw["ii"]["temporaries_mb"]:.0f} MB', target=200, at_most=True, value=raw['ii']['temporaries_mb'], note='value and gradient, XLA memory analysis, batch 32'))
        plan.say('8 steps'); raw['8 steps'] = ask(steps=8)
        plan.say('64 steps'); raw['64 steps'] = ask(steps=64)
        grown, carry = (raw['64 steps']['temporaries_mb'] - raw['8 steps']['temporaries_mb']) / 56, configs.carry_bytes(net, batch) / 1e6
        raw |= dict(growth_mb_per_step=grown, carry_mb_per_step=carry)
        lines.append(line('memory', 'growth per flow step and level, 8 to 64', f'{grown:.3f} MB', f'one carry {carry:.3f} MB', None, 1.1, at_most=True, value=grown / carry, note=f'{raw["8 steps"]["temporaries_mb"]:.0f} MB at 8, {raw["64 steps"]["temporaries_mb"]:.0f} MB at 64; ratio to one carry'))
        plan.say('low memory'); raw['low memory'] = ask(low_memory=True)
        lines.append(line('memory', 'low-memory form of (ii)', f'{raw["low memory"]["temporaries_mb"]:.0f} MB', target=60, at_most=True, value=raw['low memory']['temporaries_mb']))
    rss = {}
    for name, low in (('plain', False), ('low memory', True)):
        with plan.pool(dict(ours=('ours', dict(net=net, batch=batch, low_memory=low)))) as pool:
            if pool.workers: pool.workers['ours'].call('run', k=1); rss[name] = pool.workers['ours'].call('memory')['peak_rss_mb']
    raw['peak_rss_mb'] = rss
    lines.append(line('memory', 'peak RSS of a training process (ii)', ', '.join(f'{n} {v:.0f} MB' for n, v in rss.items()), note='parameters, gradients, Adam, compiler and imports included; peers: step-ii-32.json'))
    return lines, raw


def head_speed(plan, rounds):
    "Value and gradient of the Gaussian head against numpyro, all (N, M)."
    cases = [(64, 8), (96, 16)] if plan.smoke else configs.HEADS
    lines, raw = [], {}
    with plan.pool(dict(ours=('ours_head', {}), numpyro=('numpyro', {}))) as pool:
        if pool.failed: raise Failed(left_out(pool))
        for N, M in cases:
            plan.say(f'N = {N}, M = {M}')
            k = plan.turns(max(worker.call('per_call', N=N, M=M) for worker in pool.workers.values()), goal=0.3)
            digests = {c: pool.workers[c].call('digest', N=N, M=M) for c in pool.workers}
            seconds = pool.alternate({c: (c, 'run', dict(N=N, M=M, k=k)) for c in ('ours', 'numpyro')}, plan.rounds(rounds))
            if len(seconds) < 2: raise Failed(left_out(pool))
            _, ratio, _ = stats.against_fastest(seconds, 'ours')
            gap = max(abs(a - b) / abs(b) for a, b in zip(digests['ours'], digests['numpyro']))
            raw[f'{N}x{M}'] = dict(calls_per_turn=k, seconds=seconds, ratio=ratio, digests=digests, relative_gap=gap)
            lines.append(line('head-speed', f'head value + gradient, N = {N}, M = {M}', *(f'{1e3 * median(seconds[c]) / k:.3g} ms' for c in ('ours', 'numpyro')), ratio, 1.5,
                              note='' if gap < 1e-3 else f'log p and gradient norms differ by {gap:.1e}'))
            lines[-1]['peer'] = f'numpyro {lines[-1]["peer"]}'
    return lines, raw


def head_error(plan):
    "float32 error of log p against float64, at well-conditioned points and as the condition number of I + AᵀΣ⁻¹A grows."
    cases = [(64, 8)] if plan.smoke else configs.HEADS
    spreads = (1.0, 1e2, 1e4, 1e6)
    N0, M0 = (64, 8) if plan.smoke else (3072, 128)
    with plan.pool(dict(ours=('ours_head', {}), numpyro=('numpyro', {}))) as pool:
        if 'ours' not in pool.workers: raise Failed(left_out(pool))
        grid = {f'{N}x{M}': {c: w.call('error', N=N, M=M, spread=10.0) for c, w in pool.workers.items()} for N, M in cases}
        growth = {f'{spread:g}': {c: w.call('error', N=N0, M=M0, spread=spread) for c, w in pool.workers.items()} for spread in spreads}
    lines = []
    for case, found in grid.items():
        worst = found['ours']['error']
        lines.append(line('head-error', f'float32 error of log p, N×M = {case}', f'{worst:.1e} nats', f'numpyro {found["numpyro"]["error"]:.1e}' if 'numpyro' in found else None, None, 1e-3, at_most=True, value=worst,
                          note=f'log p is {found["ours"]["log_p"]:.0f}: half a unit in its last float32 place is {found["ours"]["half_ulp"]:.1e}'))
    lines.append(line('head-error', f'its growth, {N0}×{M0}', ', '.join(f'{f["ours"]["error"]:.1e}' for f in growth.values()), 'numpyro ' + ', '.join(f'{f["numpyro"]["error"]:.1e}' for f in growth.values() if 'numpyro' in f),
                      note=f'largest over smallest variance along A: {", ".join(growth)}'))
    return lines, dict(well_conditioned=grid, spread=10.0, growth=growth, growth_case=[N0, M0])


def nif_nf(plan, rounds):
    "Seconds of a NIF step over those of an NF step, in (i) and the laptop-scale Glows."
    lines, raw = [], {}
    for which, batch in (('i', 32), ('fashion_mnist', 64), ('cifar10', 64), ('celeba', 64)):
        net = plan.net(which)
        heads = dict(ours=None) | {f'NIF-{M}': M for M in ((4, 8) if plan.smoke else (64, 128))}
        contenders = {('NF' if M is None else name): ('ours', dict(net=net, batch=batch, head='NF' if M is None else name)) for name, M in heads.items()}
        with plan.pool(contenders) as pool:
            if pool.failed: raise Failed(left_out(pool))
            k = measured_turns(plan, pool, list(contenders))
            seconds = pool.alternate({c: (c, 'run', dict(k=k)) for c in contenders}, plan.rounds(rounds))
            if len(seconds) < len(contenders): raise Failed(left_out(pool))
        raw[which] = dict(batch=batch, steps_per_turn=k, seconds=seconds)
        for name in list(contenders)[1:]:
            ratio = stats.summary(stats.paired(seconds['NF'], seconds[name]))
            lines.append(line('nif-nf', f'{name} step over NF step, {which}', per_second(batch * k, seconds[name]), f'NF {per_second(batch * k, seconds["NF"])}', ratio, 1.05, at_most=True))
            raw[which][name] = ratio
    return lines, raw


def sweep(plan, rounds):
    "15 values of s over 10,000 embeddings against one."
    size = dict(N=64, M=8, n=100) if plan.smoke else dict(N=3072, M=128, n=10_000)
    with plan.pool(dict(ours=('ours_sweep', size))) as pool:
        if pool.failed: raise Failed(left_out(pool))
        seconds = pool.alternate({'one': ('ours', 'run', dict(what='one', k=2)), 'sweep': ('ours', 'run', dict(what='sweep', k=2))}, plan.rounds(rounds))
        info = pool.info['ours']
    if len(seconds) < 2: raise Failed(left_out(pool))
    ratio = stats.summary(stats.paired(seconds['one'], seconds['sweep']))
    return [line('sweep', f'15 values of s, {size["n"]:,} embeddings, M = {size["M"]}', f'{median(seconds["sweep"]):.3g} s', f'one value {median(seconds["one"]):.3g} s', ratio, 3.0, at_most=True,
                 note=f'the two agree to {info["gap_nats"]:.1e} nats')], dict(size=size, seconds=seconds, info=info, ratio=ratio)


def sampling(plan, rounds):
    "Samples/s of (ii) against each peer's inverse."
    net, batch = plan.net('ii'), 32
    contenders = dict(ours=('ours_sample', dict(net=net, batch=batch))) | {peer: (peer, dict(net=net, batch=batch, task='sample')) for peer in PEERS}
    with plan.pool(contenders) as pool:
        if 'ours' not in pool.workers: raise Failed(pool.failed['ours'])
        k = measured_turns(plan, pool, list(pool.workers))
        seconds = pool.alternate({c: (c, 'run', dict(k=k)) for c in contenders}, plan.rounds(rounds), say=plan.say)
        info, note = pool.info, left_out(pool)
    raw = dict(config=dict(net=net, batch=batch, batches_per_turn=k), seconds=seconds, images_per_second={c: batch * k / median(v) for c, v in seconds.items()}, info=info, failed=pool.failed)
    if len(seconds) == 1: return [line('sampling', 'sampling (ii)', per_second(batch * k, seconds['ours']), note=note)], raw
    rival, ratio, raw['ratios'] = stats.against_fastest(seconds, 'ours')
    return [line('sampling', f'sampling (ii), batches of {batch}', per_second(batch * k, seconds['ours']), f'{rival} {per_second(batch * k, seconds[rival])}', ratio, 1.0, note=note)], raw


def whole_loop(plan, rounds):
    "Images/s inside `fit`, with bar, metrics and checkpoints, against the bare step, (i)."
    net, batch, k = plan.net('i'), 32, 20
    images = batch * k * 6
    with plan.pool(dict(bare=('ours', dict(net=net, batch=batch)), fit=('ours_fit', dict(net=net, batch=batch)))) as pool:
        if pool.failed: raise Failed(left_out(pool))
        plan.say('warm-up'); pool.workers['fit'].call('loop', images=images, seed=0)
        bare, loop, whole = [], [], []
        for n in range(plan.rounds(rounds)):
            plan.say(f'round {n + 1}')
            bare.append(sum(pool.workers['bare'].call('run', k=k) for _ in range(3)) / (3 * k * batch))
            time.sleep(0.3)
            found = pool.workers['fit'].call('loop', images=images, seed=n)
            loop.append(found['loop']); whole.append(found['whole'])
            time.sleep(0.3)
    ratio = stats.summary(stats.paired(loop, bare))
    return [line('fit', 'whole training loop (i), batch 32', f'{1 / median(loop):.4g} img/s', f'bare step {1 / median(bare):.4g} img/s', ratio, 0.9,
                 note=f'from the first to the last dispatch; with start, initialisation and both checkpoints, {images:,} images: {1 / median(whole):.4g} img/s')], dict(seconds_per_image=dict(bare=bare, fit=loop, fit_whole=whole), ratio=ratio)


ROWS = {
    'step-i-32': lambda plan: training(plan, 'i', 32, 20, 1.5),
    'step-i-16': lambda plan: training(plan, 'i', 16, 20, 1.5),
    'step-ii-32': lambda plan: training(plan, 'ii', 32, 10, 1.25),
    'first-step': first_step,
    'memory': memory,
    'head-speed': lambda plan: head_speed(plan, 9),
    'head-error': head_error,
    'nif-nf': lambda plan: nif_nf(plan, 11),
    'sweep': lambda plan: sweep(plan, 9),
    'sampling': lambda plan: sampling(plan, 9),
    'fit': lambda plan: whole_loop(plan, 5),
}
