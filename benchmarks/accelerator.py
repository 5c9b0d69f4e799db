"""One GPU, under 8 minutes: the paper's three architectures at batch 32, 128 and 512 in float32 and bfloat16, and the head.

    PYTHONPATH=. python -m benchmarks.accelerator --out results/bench/accelerator.json
    PYTHONPATH=. python -m benchmarks.accelerator --smoke        # tiny, on the CPU, half a minute
    PYTHONPATH=. python -m benchmarks.accelerator --resume       # goes on where a killed run, or one out of time, stopped

Each row gives images/s of forward + backward + Adam, the fraction of the matmul peak measured in the same run and dtype, seconds of trace + compile, and
memory: XLA's count for the step (arguments + temporaries) and the device's peak so far, which only grows. The JSON is written after every row.

It needs jax with its GPU plugin, flax, optax and numpy, and the package on PYTHONPATH; nothing of the project has to be installed. What `nif_lit.models`,
`nif_lit.heads` and `nif_lit.training` import beyond those: `jaxtyping`, for annotations only (heads, gaussian), which a stock jax machine may lack: a stand-in
of three lines takes its place here. orbax (checkpoints), tqdm (the bar), scipy.optimize and typer (the command line) are imported inside functions that this
script does not call. Rows are ordered so that the most telling come first; those that no time is left for say so.
"""
import argparse
import importlib.util
import json
import math
import os
import sys
import time
import types
from pathlib import Path

if importlib.util.find_spec('jaxtyping') is None:
    class _Anything:
        def __class_getitem__(cls, item): return cls
    sys.modules['jaxtyping'] = types.SimpleNamespace(Array=_Anything, Float=_Anything, Int=_Anything, Bool=_Anything, Key=_Anything, __spec__=None, __name__='jaxtyping')

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from nif_lit.heads import GaussianNIF
from nif_lit.models import bare, build_model, with_compute
from nif_lit.training import train_steps
from . import configs

ARCHITECTURES = {
    'fashion_mnist': dict(shape=(28, 28, 1), steps=16, levels=2, channels=256),
    'cifar10': dict(shape=(32, 32, 3), steps=16, levels=4, channels=256),
    'celeba': dict(shape=(64, 64, 3), steps=16, levels=5, channels=256),
}
DTYPES = ('float32', 'bfloat16')


def settings(net):
    "Options of `build_model`."
    return dict(bits=configs.BITS, lam=configs.LAM, levels=net['levels'], steps=net['steps'], channels=net['channels'])


def device_peak_mb():
    "The device's peak memory since the process began, MB; None where the backend does not count (the CPU)."
    stats = jax.devices()[0].memory_stats() or {}
    return stats['peak_bytes_in_use'] / 1e6 if 'peak_bytes_in_use' in stats else None


def matmul_peaks(n, goal):
    "{dtype: GFLOP/s} of n×n products; float32 at the default precision (a GPU may use TF32) and at the highest."
    peaks = {}
    for name, dtype, precision in (('float32', jnp.float32, None), ('float32 highest', jnp.float32, 'highest'), ('bfloat16', jnp.bfloat16, None)):
        a = jax.random.normal(jax.random.key(0), (n, n), dtype)
        chain = jax.jit(lambda a: jax.lax.fori_loop(0, 8, lambda i, b: jnp.matmul(a, b, precision=precision) / n ** 0.5, a))     # eight in one dispatch
        chain(a).block_until_ready()
        best, began = math.inf, time.perf_counter()
        while time.perf_counter() - began < goal:
            t = time.perf_counter(); chain(a).block_until_ready(); best = min(best, time.perf_counter() - t)
        peaks[name] = 8 * 2 * n ** 3 / best / 1e9
    return peaks


def built(head, net, options):
    "The model, made on the host where there is a CPU backend (hundreds of small operations, each compiled), then moved."
    try: host = jax.devices('cpu')[0]
    except RuntimeError: host = jax.devices()[0]                               # JAX_PLATFORMS may have left it out
    with jax.default_device(host): model = build_model(head, net['shape'], **options)
    nnx.update(model, jax.device_put(nnx.state(model), jax.devices()[0]))
    return model


def train_row(net, batch, dtype, head, peaks, goal):
    "One row of the table; raises what JAX raises when memory runs out."
    model = built(head, net, settings(net))
    n_images, n_rows = max(512, batch), 64
    data = configs.images(net, n_images)
    model.initialise(data[:min(batch, 32)], key=jax.random.key(0))                # 32 for all: compiled once per architecture
    graphdef, params, fixed = nnx.split(bare(with_compute(model, dtype)), nnx.Param, ...)
    tx = optax.adam(1e-4)
    state = jax.tree.map(jnp.copy, (params, tx.init(params)))
    data, batches, key = jnp.asarray(data), jnp.asarray(configs.rows_of(batch, n_images, n_rows)), jax.random.key(1)
    del model, params
    began = time.perf_counter()
    lowered = train_steps.lower(state, fixed, data, batches, 0, 1, key, graphdef=graphdef, tx=tx, n_samples=1)
    compiled = lowered.compile()
    compile_s = time.perf_counter() - began
    analysis = compiled.memory_analysis()
    def run(k, first):
        nonlocal state
        t = time.perf_counter()
        state, losses = compiled(state, fixed, data, batches, first, k, key)
        loss = float(losses[k - 1])
        return time.perf_counter() - t, loss
    run(1, 0)
    once, _ = run(2, 1)
    k = max(2, min(n_rows, round(goal / 3 / (once / 2))))
    turns = [run(k, 3 + i * k) for i in range(3)]
    seconds = sorted(s for s, _ in turns)[1] / k
    rate = batch / seconds
    return dict(status='ran', images_per_second=rate, seconds_per_step=seconds, turns=[s / k for s, _ in turns], loss_nats_per_dim=turns[-1][1], compile_s=compile_s,
                gflops=rate * configs.step_flops(net) / 1e9, fraction_of_peak=rate * configs.step_flops(net) / 1e9 / peaks[dtype],
                step_mb=None if analysis is None else (analysis.argument_size_in_bytes + analysis.temp_size_in_bytes) / 1e6,
                temporaries_mb=None if analysis is None else analysis.temp_size_in_bytes / 1e6, device_peak_mb=device_peak_mb())


def head_row(N, M, goal):
    "Milliseconds of value and gradient of the Gaussian head at batch 128, and its float32 error at a well-conditioned point."
    A, b, log_sigma, h = (jnp.asarray(v, jnp.float32) for v in configs.head_point(N, M, batch=128, spread=10.0))
    head = GaussianNIF(N, M)
    head.injection.A[...], head.injection.b[...], head.injection.log_sigma[...] = A, b, log_sigma
    graphdef, state = nnx.split(head)
    score = jax.jit(lambda state, h: nnx.merge(graphdef, state).log_prob(h))
    both = jax.jit(jax.value_and_grad(lambda state, h: nnx.merge(graphdef, state).log_prob(h).mean(), argnums=(0, 1)))
    ref = configs.head_reference(*(np.asarray(v, np.float64) for v in (A, b, log_sigma, h)))
    error = float(np.abs(np.asarray(score(state, h), np.float64) - ref).max())
    jax.block_until_ready(both(state, h))
    times, began = [], time.perf_counter()
    while time.perf_counter() - began < goal or len(times) < 5:
        t = time.perf_counter(); jax.block_until_ready(both(state, h)); times.append(time.perf_counter() - t)
    return dict(status='ran', milliseconds=1e3 * float(np.median(times)), error_nats=error, half_ulp=float(np.spacing(np.float32(np.abs(ref).max())) / 2))


def plan(smoke):
    "{name of a row: function of the peaks}, the most telling first."
    nets = {name: configs.network('i') | net | dict(name=name) for name, net in ARCHITECTURES.items()}
    if smoke: nets = {'tiny': dict(name='tiny', shape=(8, 8, 3), steps=2, levels=2, channels=8)}
    batches, goal = ((4, 8), 0.05) if smoke else ((128, 512, 32), 1.0)
    rows = {}
    for k, batch in enumerate(batches):
        for name, net in nets.items():
            for dtype in DTYPES: rows[f'{name}, batch {batch}, {dtype}'] = lambda peaks, net=net, batch=batch, dtype=dtype: train_row(net, batch, dtype, 'NF', peaks, goal)
            M = 4 if smoke else 128
            if k == 0 and name in ('tiny', 'cifar10'): rows[f'{name}, batch {batch}, float32, NIF-{M}'] = lambda peaks, net=net, batch=batch, M=M: train_row(net, batch, 'float32', f'NIF-{M}', peaks, goal)
        if k == 0:
            for N, M in ([(64, 8)] if smoke else configs.HEADS): rows[f'head N = {N}, M = {M}'] = lambda peaks, N=N, M=M: head_row(N, M, goal / 4)
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser('python -m benchmarks.accelerator', description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, help='the JSON (default results/bench/accelerator.json; with --smoke runs/bench-smoke/accelerator.json)')
    parser.add_argument('--smoke', action='store_true', help='tiny networks on the CPU: shows that it runs')
    parser.add_argument('--minutes', type=float, default=7.5, help='no row is begun after this (default 7.5)')
    parser.add_argument('--resume', action='store_true', help='keep the rows of the JSON that ran, and go on')
    given = parser.parse_args(arguments)
    began = time.monotonic()
    if given.smoke: jax.config.update('jax_platforms', 'cpu')
    from .machine import commit, packages
    from .__main__ import write
    root = Path(__file__).parent.parent
    out = given.out or root/('runs/bench-smoke/accelerator.json' if given.smoke else 'results/bench/accelerator.json')
    device = jax.devices()[0]
    if device.platform == 'cpu' and not given.smoke: parser.error('no accelerator found: jax.devices() is ' + str(jax.devices()) + '; --smoke runs a tiny version on the CPU')
    kept = {name: row for name, row in (json.loads(out.read_text())['rows'] if given.resume and out.exists() else {}).items() if row['status'] == 'ran'}
    report = dict(machine=dict(device=f'{device.platform}: {device.device_kind}', commit=commit(), python=sys.version.split()[0], **packages()),
                  matmul_gflops=matmul_peaks(256 if given.smoke else 8192, 0.1 if given.smoke else 1.0), rows=kept)
    write(out, report)
    print(f'{report["machine"]["device"]}; matmul GFLOP/s: ' + ', '.join(f'{k} {v:.0f}' for k, v in report['matmul_gflops'].items()), flush=True)
    longest = {}                                                               # seconds of the slowest row of a kind so far
    for name, row in plan(given.smoke).items():
        if name in kept: continue
        spent, kind = time.monotonic() - began, name.startswith('head')
        if spent + longest.get(kind, 0.0) > 60 * given.minutes: report['rows'][name] = dict(status='not run: out of time; --resume goes on')
        else:
            try: report['rows'][name] = row(report['matmul_gflops'])
            except Exception as error:                                         # out of memory is a finding, not an end
                report['rows'][name] = dict(status=f'failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}')
            longest[kind] = max(longest.get(kind, 0.0), time.monotonic() - began - spent)
        report['seconds'] = round(time.monotonic() - began, 1)
        write(out, report)
        r = report['rows'][name]
        print(f'[{report["seconds"]:6.1f} s] {name}: ' + (', '.join(f'{k} {v:.4g}' for k, v in r.items() if isinstance(v, float)) if r['status'] == 'ran' else r['status']), flush=True)
    print(f'{report["seconds"]} s; {out}')


if __name__ == '__main__': main()
