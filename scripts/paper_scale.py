"""The paper-scale runs on a machine that has an accelerator, jax and flax, but no network and no data: pack here, run there, unpack here.

    python scripts/paper_scale.py pack --dataset cifar10 --weights --to paper_scale           # here: 3-bit data, bit-packed, and Inception weights
    PYTHONPATH=. python scripts/paper_scale.py run --pack paper_scale --out OUT --seconds 540 # there; typed again, it goes on
    python scripts/paper_scale.py unpack-results OUT --runs runs                              # here: runs as `nif_lit` knows them

See scripts/README.md for sizes, limits and what comes back.
"""
import argparse
import dataclasses
import hashlib
import io
import json
import os
import re
import signal
import sys
import threading
import time
import zlib
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
import jax
import numpy as np
from flax import nnx
from nif_lit import experiments, protocol
from nif_lit.checks import nearest
from nif_lit.data import DATASETS, DataError, Dataset, load, verified, write_bytes
from nif_lit.deep import DRAWS, SET, VARIANCES, bound_bits, deep_experiment
from nif_lit.experiments import cached, evaluation_key, experiment, finished, load_run, provenance, run
from nif_lit.frechet import OFFICIAL, PARTIAL, find_weights
from nif_lit.likelihood import bits_per_dim_of, paired_difference
from nif_lit.models import build_model, draw, parse_name
from nif_lit.pictures import grid_figure, save_png
from nif_lit.protocol import SAMPLERS, T_GRID, best_s, best_t, dims_at, extractor, floor_of, grid_of, s_of, sample_scores, sweep_key
from nif_lit.samples import stand_for
from nif_lit.table2 import training_bits
from nif_lit.temperature import HOT, SWEEP, prior_share, variance_factor
from nif_lit.training import Diverged, plain, save_model, write_json

QUEUE = [('fashion_mnist', m) for m in ('NF', 'NIF-64', 'NIF-128', 'NIF-256', 'NIF-512')] + [('cifar10', m) for m in ('NF', 'NIF-128', 'NIF-64', 'NIF-256', 'NIF-512')] \
    + [('celeba', m) for m in ('NF', 'NIF-128', 'DeepNIF-128', 'NIF-64', 'NIF-256', 'NIF-512')]
PARTS = ('train', 'valid', 'test')
FACTS = {'dataset', 'bits', 'split', 'n', 'shape', 'packed_from'}                             # of pack.json
MB = 1_000_000


# --- files: whole or not at all, and looked at before use

def write_sums(folder):
    "SHA256SUMS of every other file under folder, in the form that sha256sum -c reads."
    names = sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob('*') if p.is_file() and p.name != 'SHA256SUMS' and not p.name.startswith('.'))
    write_bytes(Path(folder)/'SHA256SUMS', ''.join(f'{hashlib.sha256((Path(folder)/n).read_bytes()).hexdigest()}  {n}\n' for n in names).encode())


def to_npz(arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def from_npz(raw):
    with np.load(io.BytesIO(raw), allow_pickle=False) as found: return {k: found[k] for k in found.files}


# --- the data

def pack_levels(levels, bits):
    "Levels (n, H, W, C), uint8 below 2^bits -> bytes: the planes of their Gray code, eight values to a byte, deflated. Raises `ValueError` for values that are no levels."
    levels = np.asarray(levels)
    if levels.dtype != np.uint8 or (levels.size and levels.max() >= 2 ** bits): raise ValueError(f'expected uint8 levels of {bits} bits, got {levels.dtype} up to {levels.max()}')
    gray = levels ^ (levels >> 1)                                                          # neighbouring levels differ in one plane
    return zlib.compress(b''.join(np.packbits((gray >> k) & 1).tobytes() for k in range(bits)), 6)


def unpack_levels(raw, bits, shape):
    "What `pack_levels` packed. Raises `DataError` where the length does not fit."
    n = int(np.prod(shape))
    planes = np.frombuffer(zlib.decompress(raw), np.uint8)
    if planes.size != bits * -(-n // 8): raise DataError(f'expected {bits} planes of {-(-n // 8):,} bytes, got {planes.size:,} bytes')
    gray = sum(np.unpackbits(plane, count=n) << k for k, plane in enumerate(planes.reshape(bits, -1))).astype(np.uint8)
    levels = gray.copy()
    for k in range(1, bits): levels ^= gray >> k
    return levels.reshape(shape)


def room_for_pack(to):
    "The files of an older pack under `to`, which a new one may replace. Raises `ValueError`, and touches nothing, where `to` holds anything else and is no folder that `pack` wrote."
    to = Path(to)
    if not to.exists() or to.is_dir() and not any(to.iterdir()): return []
    try: facts = json.loads((to/'pack.json').read_text())
    except (OSError, ValueError): facts = None
    if not isinstance(facts, dict) or not FACTS <= set(facts) or facts['dataset'] not in DATASETS: raise ValueError(f'{to} {"holds other files" if to.is_dir() else "is a file"} and no pack.json of this script, so nothing was written: name a folder that is empty or not there yet')
    return [path for name in ('SHA256SUMS', f'{facts["dataset"]}.npz', *(f'fid/{w}' for w in (OFFICIAL, PARTIAL)), 'pack.json') if (path := to/name).is_file()]


def pack(dataset, to, *, bits=3, weights=False, limit_mb=60.0, most=None, data=None):
    """Writes data set, pack.json, perhaps the Inception weights, and SHA256SUMS under `to`; unpacks what it wrote and compares. Returns the size in bytes.

    most: take that many training images, evenly spread, where all would be too many. Of an older pack under `to` its own files are removed, and no others. Raises `ValueError` above limit_mb,
    with what would fit, and for a folder that holds anything but a pack; nothing is written or removed then.
    """
    old = room_for_pack(to)
    data, to = load(dataset, bits=bits) if data is None else data, Path(to)
    if most is not None and most < len(data.train): data = dataclasses.replace(data, train=data.train[np.linspace(0, len(data.train) - 1, most).astype(int)], train_labels=None)
    levels = {part: getattr(data, part) for part in PARTS}
    packed = {part: pack_levels(x, bits) for part, x in levels.items()}
    files = {f'{dataset}.npz': to_npz({part: np.frombuffer(raw, np.uint8) for part, raw in packed.items()} | {f'{part}_shape': np.array(x.shape) for part, x in levels.items()})}
    if weights: files['fid/' + find_weights(768).name] = find_weights(768).read_bytes()
    size = sum(map(len, files.values()))
    if size > limit_mb * MB:
        fits = int((limit_mb * MB - (size - len(packed['train']))) * len(data.train) / len(packed['train']))
        raise ValueError(f'{dataset} takes {size / MB:.1f} MB with its {len(data.train):,} training images{" and the weights" if weights else ""}, above the limit of {limit_mb:g} MB; '
                         + (f'--most {fits // 100 * 100} would fit' if fits >= 100 else 'nothing of it would fit') + ', or raise --limit-mb if the machine takes more')
    for path in old: path.unlink()
    write_json(to/'pack.json', dict(dataset=dataset, bits=bits, split=data.split, n={part: len(x) for part, x in levels.items()}, shape=list(data.shape), packed_from=provenance()))       # first: half a pack is known as ours
    for name, raw in files.items(): write_bytes(to/name, raw)
    write_sums(to)
    again = unpacked(to)
    if not all(np.array_equal(getattr(again, part), x) for part, x in levels.items()): raise DataError('what was written does not unpack to what was packed')
    return sum(p.stat().st_size for p in to.rglob('*') if p.is_file())


def unpacked(folder):
    "The Dataset in a folder that `pack` wrote, checksums verified first. Raises `DataError`."
    folder = Path(folder)
    facts = json.loads(verified(folder/'pack.json'))
    found = from_npz(verified(folder/f'{facts["dataset"]}.npz'))
    parts = {part: unpack_levels(found[part].tobytes(), facts['bits'], tuple(found[f'{part}_shape'])) for part in PARTS}
    return Dataset(facts['dataset'], facts['bits'], parts['train'], None, parts['valid'], None, parts['test'], None, 'a packed folder, checksums verified', facts['split'])


def readers():
    "The kit's modules that read a data set."
    return [m for name, m in sorted(sys.modules.items()) if name.startswith('nif_lit.') and hasattr(m, 'dataset_of')]


def use_pack(folder):
    "From here on the kit's data set is the packed one, and nothing else can be read."
    data = unpacked(folder)
    @lru_cache
    def packed(name, bits, split, folder=None):
        if (name, bits, split) != (data.name, data.bits, data.split): raise DataError(f'the pack holds {data.name} at {data.bits} bits, {data.split} split, not {name} at {bits} bits, {split} split')
        return data
    for module in readers(): module.dataset_of = packed
    os.environ['NIF_LIT_DATA'] = str(folder); os.environ.pop('NIF_LIT_FID', None)
    return data


# --- the clock

class TimeUp(KeyboardInterrupt):
    "The command's seconds are over; what was finished is kept."


@contextmanager
def stops_after(seconds):
    """Gives a function that says whether so many seconds are over, or SIGTERM came. `fit` then saves and raises `Interrupted`; all else asks between two pieces of work.

    Nothing is raised in the middle of a computation: what runs, a compilation say, ends first.
    """
    asked = threading.Event()
    def ring(number, frame): asked.set(); signal.raise_signal(signal.SIGTERM)              # whoever listens to SIGTERM now, `fit` or the line below
    old = {signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: asked.set()), signal.SIGALRM: signal.signal(signal.SIGALRM, ring)}
    signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds))
    try: yield asked.is_set
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in old.items(): signal.signal(number, handler)


# --- one run: trained, scored

def checked(changes):
    "Changes of an Experiment's fields, each as `experiment` takes it. Raises `ValueError` for a field that is none or has an option of its own, and for a value that no run can have."
    for name in changes: nearest('field', name, [f for f in experiments.Experiment.__dataclass_fields__ if f not in ('dataset', 'model', 'scale')])
    return {name: None if value is None else experiments._field(name, value) for name, value in changes.items()}


def config_of(dataset, model, scale, changes):
    "The Experiment of a queue's item; the deep NIF with the sizes of B.5. Raises `ValueError` for unknown names and wrong changes."
    changes = checked(changes)
    if changes.get('minutes') is not None: changes = dict(images=None) | changes
    own = model.lower().startswith('deep') and (dataset, parse_name(model)[1]) == SET[scale]
    return dataclasses.replace(deep_experiment(scale) if own else experiment(dataset, model, scale=scale), **changes)


def rounded(tree): return jax.tree.map(lambda v: v.astype(jax.numpy.bfloat16).astype(v.dtype), tree)


def rounding(config, runs, most=1000):
    "What rounding the parameters to bfloat16, as they travel, costs: bits/dim of test images after minus before, paired."
    def compute():
        model, result = load_run(config, runs=runs)
        images = experiments.dataset_of(config.dataset, config.bits, config.split).test[:most]
        nnx.update(model, rounded(nnx.state(model)))
        after = bits_per_dim_of(model, images, key=evaluation_key(), n_samples=config.n_samples)
        return dict(after_minus_before=paired_difference(after, result['test_bits'][:most]), after=[round(float(b), 6) for b in after])
    return cached(config, 'rounding', dict(most=most), compute, runs=runs)


def scores_of(config, runs, nf=None):
    """What the figures will read of a run, in order, as calls without arguments, each kept beside the run under the name by which they look for it: what training images get, the table
    at s = 0 and 1, the sweep over s, or over an NF's t, the best of it at both sizes (Table 1, Fig. 6, 10), and temperatures (Fig. 1, 12 to 14). nf: the Experiment of the data set's NF, for
    the point of equal heat, or None where it has not finished.
    """
    kind, sizes, k = parse_name(config.model)[0], protocol.SIZES[config.scale], dict(runs=runs)
    sweep, table = sizes['sweep'], sizes['table']
    one = lambda n, **how: partial(sample_scores, config, n=n, **how, **k)
    calls = [partial(floor_of, config, n, **k) for n in (sweep, table)]
    if kind == 'NF':
        calls += [one(table)] + [one(sweep, t=t, key=sweep_key()) for t in T_GRID] + [partial(best_t, config, n_test=table, **k)]
    else:
        samplers = SAMPLERS if kind == 'NIF' else SAMPLERS[:1]
        calls += [one(table, s=s, sampler=sampler) for sampler in samplers for s in (0.0, 1.0)]
        if kind == 'NIF':
            calls += [one(sweep, s=s_of(f, sampler), sampler=sampler, key=sweep_key()) for sampler in samplers for f in grid_of(config)]
            calls += [partial(best_s, config, sampler=sampler, n_test=n, **k) for sampler in samplers for n in (table, sweep)]
    hot = config.model in (stand_for('NF', config.dataset), stand_for('NIF-128', config.dataset))              # the rows of Fig. 1
    temperatures = [(t, 1.0 if kind == 'NF' else 0.0) for t in sorted({*VARIANCES, *SWEEP} if hot else VARIANCES)] + [(t, 1.0) for t in SWEEP if hot and kind != 'NF']
    calls += [one(sweep, t=t, s=s) for t, s in temperatures]
    if hot and kind != 'NF' and nf is not None: calls.append(lambda: sample_scores(nf, n=sweep, t=round(variance_factor(prior_share(load_run(config, runs=runs)[0].head), HOT, 1.0), 4), runs=runs))
    return calls


def pictured(config, runs, n=10):
    "samples.png in the run's folder: on the manifold, half off it, off it, with the levels beside it."
    path = Path(runs)/config.name/'samples.png'
    if path.exists(): return path
    model = load_run(config, runs=runs)[0]
    rows = {f'{config.model.replace("Deep", "deep ")}' + ('' if config.model == 'NF' else f', s = {s:g}'): draw(model, jax.random.key(3), 100, s=s)[:n] for s in ((1.0,) if config.model == 'NF' else (0.0, 0.5, 1.0))}
    save_png(grid_figure(rows, config.bits), path)
    return path


def work(config, runs, say, over=lambda: False, nf=None):
    "Everything that a run is asked for, each piece kept when it is done. Raises `TimeUp` before a piece when time is over."
    who, scores = f'{config.dataset} {config.model}', scores_of(config, runs, nf if nf is not None and finished(nf, runs=runs, parameters=True) else None)
    try: extractor(config, dims_at(config.scale)); why = f'{len(scores)} scores made'
    except DataError as error: scores, why = [], f'not scored: {error}'
    if not finished(config, runs=runs): say(f'{who}: training, {config.images:,} images')
    pieces = [lambda: run(config, runs=runs, progress=False), lambda: pictured(config, runs), lambda: rounding(config, runs), lambda: training_bits(config, runs=runs)]
    if config.model.startswith('Deep'): pieces += [lambda K=K: bound_bits(config, K, runs=runs) for K in DRAWS]
    pieces += scores
    for k, piece in enumerate(pieces):
        if over(): raise TimeUp(f'{who}: {k} of {len(pieces)} pieces done')
        result = piece()
        if k == 0: say(f'{who}: {result["images_seen"]:,} images, {result["test_bits_per_dim"]["mean"]:.4f} ± {result["test_bits_per_dim"]["se"]:.4f} bits/dim, {result["images_per_second"] or 0:.0f} images/s')
    say(f'{who}: {why}')


# --- what goes back

def parameters(config, runs):
    "The bytes of an .npz that holds every array of a run's model, rounded to bfloat16 and kept as its 16 bits."
    state = plain(nnx.state(load_run(config, runs=runs)[0]))
    return to_npz({name: np.asarray(v.astype(jax.numpy.bfloat16)).view(np.uint16) for name, v in state.items()})


def check_out(out, runs):
    "Raises `ValueError`, and touches nothing, where `out` holds what `collect` would write over and did not write from these runs: results of other trainings, whose parts lie there too, or a results.json or samples.png of something else."
    out = Path(out)
    if not (out/'results.json').exists():
        if (out/'samples.png').exists(): raise ValueError(f'{out} holds a samples.png that is not of this script: name another --out')
        return
    try: told = {name: row['result'] for name, row in json.loads((out/'results.json').read_text())['runs'].items()}
    except (ValueError, TypeError, KeyError, AttributeError): raise ValueError(f'{out} holds a results.json that is not of this script: name another --out') from None
    for name, result in told.items():
        home = Path(runs)/name/'result.json'
        if not home.exists() or json.loads(home.read_text()) != result: raise ValueError(f'{out} holds results of another command, of a {name} that is not in {runs}: take them away, or name another --out')


def collect(configs, runs, out, *, facts=None, file_mb=15.0, out_mb=60.0, most_files=8, say=print):
    """Writes what has come of the runs under `out`: results.json, samples.png, SHA256SUMS, and as many parts of parameters as fit; the next call goes on with the rest. Parts that an earlier call left in `out` stay, and take room.

    No file is above file_mb, all together stay below out_mb, and there are at most most_files. facts: of the pack, for the record. Returns True when every run is done and sent. Raises `ValueError` as `check_out`.
    """
    runs, out = Path(runs), Path(out); check_out(out, runs)
    done = [c for c in configs if finished(c, runs=runs)]
    sent_path, rows = runs/'sent.json', {}
    sent = json.loads(sent_path.read_text()) if sent_path.exists() else {}
    kept = []                                                                              # parts that were marked as sent and not taken from `out` yet
    for old in sorted(out.glob('*')) if (out/'results.json').exists() else ():             # a folder of an earlier call, not one that something else wrote
        part = re.fullmatch(r'(.+)\.npz\.(\d\d)', old.name)
        if part and int(part[2]) < sent.get(part[1], {}).get('sent', 0): kept.append(old)
        elif part or old.name in ('results.json', 'SHA256SUMS', 'samples.png'): old.unlink()
    room, files, told = (out_mb - 4) * MB - sum(old.stat().st_size for old in kept), most_files - 3 - len(kept), {}      # results, picture, sums
    for c in done:
        home = runs/c.name
        told[c.name] = dict(experiment=dataclasses.asdict(c), result=json.loads((home/'result.json').read_text()), model=json.loads((home/'model.json').read_text()), config=json.loads((home/'config.json').read_text()),
                            metrics=[json.loads(line) for line in (home/'metrics.jsonl').read_text().splitlines()][::10], scores={p.name: json.loads(p.read_text()) for p in sorted((home/'scores').glob('*.json'))})
    for c in done:
        if sent.get(c.name, {}).get('all'): told[c.name]['parameters'] = sent[c.name]; continue
        if files < 1: continue
        raw = parameters(c, runs)
        size = int(file_mb * MB)
        parts = [raw[i:i + size] for i in range(0, len(raw), size)]
        first = sent.get(c.name, {}).get('sent', 0)
        for k in range(first, len(parts)):
            if files < 1 or room < len(parts[k]): break
            write_bytes(out/f'{c.name}.npz.{k:02d}', parts[k])
            first, files, room = k + 1, files - 1, room - len(parts[k])
        sent[c.name] = dict(sent=first, parts=len(parts), sha256=hashlib.sha256(raw).hexdigest(), bytes=len(raw), all=first == len(parts))
        told[c.name]['parameters'] = sent[c.name]
    write_json(out/'results.json', dict(collected=round(time.time(), 3), runs=told, waiting=[c.name for c in configs if c not in done], pack=facts, provenance=provenance()))
    pictures = [runs/c.name/'samples.png' for c in done if (runs/c.name/'samples.png').exists()]
    if pictures: write_bytes(out/'samples.png', stacked(pictures))
    write_sums(out)
    write_json(sent_path, sent)
    left = [n for n, v in sent.items() if not v['all']] + [c.name for c in done if c.name not in sent]
    say(f'{len(done)} of {len(configs)} runs finished; {sum(p.stat().st_size for p in out.glob("*")) / MB:.1f} MB in {len(list(out.glob("*")))} files' + (f'; parameters still to send, by the same command{" once the folder has been emptied" if kept else ""}: {", ".join(left)}' if left else ''))
    return not left and len(done) == len(configs)


def stacked(paths):
    "One PNG of several, one below the other."
    from PIL import Image
    pictures = [Image.open(p).convert('RGB') for p in paths]
    sheet = Image.new('RGB', (max(p.width for p in pictures), sum(p.height for p in pictures)), 'white')
    top = 0
    for p in pictures: sheet.paste(p, (0, top)); top += p.height
    raw = io.BytesIO(); sheet.save(raw, format='png')
    return raw.getvalue()


def run_queue(pack_folder, out, *, seconds=540.0, reserve=60.0, runs='runs', scale='paper', queue=None, changes=None, say=print, **limits):
    "The `run` command: works through the queue's items of the packed data set until the seconds, less a reserve for saving and collecting, are over. Returns True when all is done and sent."
    data, began = use_pack(pack_folder), time.monotonic()
    for d, m in queue or (): nearest('data set', d, DATASETS); parse_name(m)
    items = [(d, m) for d, m in queue or QUEUE if d == data.name]
    if not items: raise ValueError(f'nothing in the queue is of {data.name}, which is what the pack holds')
    if left := [f'{d}:{m}' for d, m in queue or () if d != data.name]: say(f'left out, the pack holds {data.name}: {", ".join(left)}')
    if jax.default_backend() != 'cpu':                                                    # a second command compiles nothing again
        jax.config.update('jax_compilation_cache_dir', str((Path(runs)/'compiled').absolute())); jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    check_out(out, runs)                                                                   # before hours of training, not after them
    os.environ['NIF_LIT_RUNS'] = str(runs)
    configs, through = [config_of(d, m, scale, changes or {}) for d, m in items], False
    try:
        with stops_after(seconds - min(reserve, seconds / 2)) as over:
            for config in configs:
                try: work(config, runs, say, over, nf=config_of(config.dataset, 'NF', scale, changes or {}))
                except Diverged as why: say(f'{config.dataset} {config.model}: {why}')             # the others go on
            through = True
    except KeyboardInterrupt as stopped: say(f'stopped after {time.monotonic() - began:.0f} s: {stopped or "by hand"}')
    sent = collect(configs, runs, out, facts=json.loads((Path(pack_folder)/'pack.json').read_text()), say=say, **limits)
    return through and sent


def _age(results):
    "Sorts what `collect` wrote, oldest first: by its clock, and where an older script told none by how much it holds; then by the text, so that the order of the arguments never decides."
    rows = results['runs'].values()
    return results.get('collected', 0), sum(r.get('parameters', {}).get('sent', 0) for r in rows), sum(len(r['scores']) for r in rows), len(rows), json.dumps(results, sort_keys=True)


def merged(folders):
    """(dict name -> row, dict name of a part -> path) of several folders that `collect` wrote, in whatever order: of each run all scores, and else the newest that is known.

    Raises `DataError` for damage, and where two folders hold one run with different results: it was trained twice.
    """
    told, parts, first = {}, {}, {}
    found = sorted(((json.loads(verified(Path(f)/'results.json')), Path(f)) for f in folders), key=lambda pair: _age(pair[0]))
    for results, folder in found:
        for name, row in results['runs'].items():
            old = told.setdefault(name, row)
            if old['result'] != row['result']: raise DataError(f'{name} has one result in {first[name]} and another in {folder}: it was trained twice, and parts of both do not fit together; give the folders of one of them')
            first.setdefault(name, folder)
            told[name] = old | row | dict(scores=old['scores'] | row['scores'])
        for path in sorted(folder.glob('*.npz.[0-9][0-9]')): parts[path.name] = path
    return told, parts


def unpack_results(folders, runs, say=print):
    """The `unpack-results` command: puts runs that came back, perhaps in several folders, in any order, under `runs`, where `load_run` finds them. Returns their names.

    Checksums come first. A run whose parameters are not complete is named and left out. Raises `DataError` for damage, and for folders of two trainings of one run.
    """
    (told, parts), runs, whole = merged(folders), Path(runs), []
    for name, row in told.items():
        facts = row.get('parameters')
        names = [f'{name}.npz.{k:02d}' for k in range(facts['parts'])] if facts else []
        missing = [n for n in names if n not in parts]
        if not names or missing: say(f'{name}: not complete, {"no parameters yet" if not names else f"{len(missing)} of {len(names)} parts are missing"}'); continue
        raw = b''.join(verified(parts[n]) for n in names)
        if hashlib.sha256(raw).hexdigest() != facts['sha256']: raise DataError(f'{name}: its parts do not make what was sent; were they of two different commands?')
        arrays, config = from_npz(raw), dict(row['model'])
        model = build_model(config.pop('name'), config.pop('shape'), **config)
        state = nnx.state(model)
        wanted = {k: v.shape for k, v in plain(state).items()}
        if wanted != {k: v.shape for k, v in arrays.items()}: raise DataError(f'{name}: these are not the parameters of {row["model"]["name"]}')
        values = {k: jax.numpy.asarray(v.view(jax.numpy.bfloat16)).astype(plain(state)[k].dtype) for k, v in arrays.items()}
        nnx.update(model, jax.tree.unflatten(jax.tree.structure(state), [values[jax.tree_util.keystr(path)] for path, _ in jax.tree_util.tree_leaves_with_path(state)]))
        home = runs/name
        save_model(home, model)
        write_json(home/'config.json', row['config'])
        write_bytes(home/'metrics.jsonl', ''.join(json.dumps(line) + '\n' for line in row['metrics']).encode())
        for file, score in row['scores'].items(): write_json(home/'scores'/Path(file).name, score)
        write_json(home/'result.json', dict(row['result'], parameters='rounded to bfloat16 on their way back; the scores are of the unrounded ones'))
        whole.append(name); say(f'{name}: {row["result"]["test_bits_per_dim"]["mean"]:.4f} bits/dim, {len(row["scores"])} scores')
    return whole


# --- the command line

def _value(text):
    try: return json.loads(text)
    except json.JSONDecodeError: return text


def _changes(texts):
    "dict field -> value of FIELD=VALUE texts. Raises `ValueError` for another text, and for a field that is named twice."
    for text in texts:
        if '=' not in text: raise ValueError(f'--change takes FIELD=VALUE, got {text!r}')
    found = [text.split('=', 1) for text in texts]
    if twice := [k for k, _ in found if [name for name, _ in found].count(k) > 1]: raise ValueError(f'--change names {twice[0]} twice')
    return {k: _value(v) for k, v in found}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog='paper_scale.py', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    p = commands.add_parser('pack', help='here: write data (and weights) for the other machine')
    p.add_argument('--dataset', required=True, choices=DATASETS); p.add_argument('--to', default='paper_scale'); p.add_argument('--bits', type=int, default=3)
    p.add_argument('--weights', action='store_true', help='Inception weights too (NIF_LIT_FID, NIF_LIT_DATA), for FID-768'); p.add_argument('--limit-mb', type=float, default=60.0)
    p.add_argument('--most', type=int, help='at most so many training images, evenly spread (all of CelebA is far above the limit)')
    r = commands.add_parser('run', help='there: train, score and collect; the same command goes on')
    r.add_argument('--pack', default='paper_scale'); r.add_argument('--out', required=True); r.add_argument('--runs', default='runs'); r.add_argument('--scale', default='paper')
    r.add_argument('--seconds', type=float, default=540.0, help='the whole command ends before this'); r.add_argument('--reserve', type=float, default=60.0, help='of them, for saving and collecting')
    r.add_argument('--queue', nargs='*', metavar='DATASET:MODEL', help='default: every model of the paper for the packed data set, in the order of the issue')
    r.add_argument('--change', nargs='*', default=[], metavar='FIELD=VALUE', help='fields of the Experiment, as compute=bfloat16 or images=100000')
    for name, value in (('file-mb', 15.0), ('out-mb', 60.0)): r.add_argument(f'--{name}', type=float, default=value)
    r.add_argument('--most-files', type=int, default=8); r.add_argument('--again', action='store_true', help='send all parameters again: what an earlier command sent was lost')
    u = commands.add_parser('unpack-results', help='here: make runs of what came back')
    u.add_argument('folders', nargs='+'); u.add_argument('--runs', default='runs')
    a = parser.parse_args(arguments)
    try:
        if a.command == 'pack': print(f'{pack(a.dataset, a.to, bits=a.bits, weights=a.weights, limit_mb=a.limit_mb, most=a.most) / MB:.1f} MB in {a.to}')
        elif a.command == 'unpack-results': unpack_results(a.folders, a.runs)
        else:
            if a.again: (Path(a.runs)/'sent.json').unlink(missing_ok=True)
            queue = [tuple(item.split(':', 1)) for item in a.queue or ()]
            if any(len(item) != 2 for item in queue): raise ValueError(f'--queue takes DATASET:MODEL, got {a.queue}')
            done = run_queue(a.pack, a.out, seconds=a.seconds, reserve=a.reserve, runs=a.runs, scale=a.scale, queue=queue, changes=_changes(a.change),
                             say=lambda text: print(f'[{time.strftime("%H:%M:%S")}] {text}', flush=True), file_mb=a.file_mb, out_mb=a.out_mb, most_files=a.most_files)
            print('all done' if done else 'more to do: the same command goes on')
    except (ValueError, TypeError, DataError, OSError) as error:
        print(f'error: {error}', file=sys.stderr); return 1
    return 0


if __name__ == '__main__': raise SystemExit(main())
