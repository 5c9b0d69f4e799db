"""The kit's own contenders, through its public names only. A fast form behind them is measured without a change here."""
import math
import resource
import shutil
import sys
import tempfile
import time
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from nif_lit.heads import GaussianNIF
from nif_lit.models import bare, build_model, draw, fastest_compute, with_compute
from nif_lit.training import fit, train_steps
from . import configs

RATE = 1e-4             # of Adam, for every contender: random images must not blow up


def peak_rss_mb():
    "The greatest resident memory of this process so far, in MB (10⁶ bytes)."
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / 1e6


def options(net): return dict(bits=configs.BITS, lam=configs.LAM, levels=net['levels'], steps=net['steps'], channels=net['channels'])


def model_of(net, head='NF'): return build_model(head, net['shape'], **options(net))


def low_memory_model(net, head='NF'):
    "The same network with the fewest temporaries the kit offers: the one place that knows that option's name."
    return build_model(head, net['shape'], **options(net), remat=True)


def matmul_gflops(n=2048, repeats=5):
    "The best of `repeats` n×n float32 products, in GFLOP/s."
    a = jax.random.normal(jax.random.key(0), (n, n))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    best = math.inf
    for _ in range(repeats):
        began = time.perf_counter(); product(a).block_until_ready(); best = min(best, time.perf_counter() - began)
    return 2 * n ** 3 / best / 1e9


class Step:
    "Forward, backward and Adam. config: net, batch, head ('NF' or 'NIF-M'), low_memory, compute (default 'auto': what `fit` takes)."

    def __init__(self, config):
        self.net, batch = config['net'], config['batch']
        began = time.perf_counter()
        model = (low_memory_model if config.get('low_memory') else model_of)(self.net, config.get('head', 'NF'))
        data = configs.images(self.net)
        self.data, self.batches = jnp.asarray(data), jnp.asarray(configs.rows_of(batch))
        model.initialise(data[np.asarray(self.batches[0])], key=jax.random.key(0))
        compute = config.get('compute') or fastest_compute()
        self.graphdef, params, self.fixed = nnx.split(bare(with_compute(model, compute)), nnx.Param, ...)
        stored = sum(leaf.size for leaf in jax.tree.leaves(params))
        self.tx = optax.adam(RATE)
        self.state = jax.tree.map(jnp.copy, (params, self.tx.init(params)))
        self.done = 0
        built = time.perf_counter() - began
        first = self.run(1)
        self.info = dict(parameters=stored, free_parameters=stored - configs.masked_parameters(self.net), built_s=built, first_step_s=first, loss=self.loss, compute=compute)

    def run(self, k):
        "Seconds of k steps in one dispatch."
        began = time.perf_counter()
        self.state, losses = train_steps(self.state, self.fixed, self.data, self.batches, self.done, k, jax.random.key(1), graphdef=self.graphdef, tx=self.tx, n_samples=1)
        self.loss = float(losses[k - 1])
        seconds = time.perf_counter() - began
        self.done += k
        if not math.isfinite(self.loss): raise ValueError('the loss is not a number')
        return seconds

    def matmul(self): return matmul_gflops()

    def memory(self): return dict(peak_rss_mb=peak_rss_mb())


class Fit(Step):
    "The whole training loop: the bar drawn, metrics written, checkpoints in a folder. config as for `Step`."

    def loop(self, images, seed):
        """Seconds per image inside `fit`, from its first dispatch to its last; the bar's updates are the clock.

        What surrounds the loop (initialisation, the first and the last checkpoint) is in `whole` of the answer.
        """
        import tqdm
        marks, plain = [], tqdm.tqdm.update
        def update(bar, n=1): marks.append((time.perf_counter(), n)); return plain(bar, n)
        folder = tempfile.mkdtemp(prefix='nif_lit_bench_')
        model, batch = model_of(self.net), self.batches.shape[1]
        tqdm.tqdm.update = update
        began = time.perf_counter()
        try: report = fit(model, configs.images(self.net, 4096), images=images, batch_size=batch, learning_rate=RATE, seed=seed, folder=folder, progress=True)
        finally:
            tqdm.tqdm.update = plain
            shutil.rmtree(folder, ignore_errors=True)
        whole = (time.perf_counter() - began) / report['images']
        return dict(loop=(marks[-1][0] - marks[0][0]) / sum(n for _, n in marks[1:]), whole=whole)


class Memory:
    "XLA's memory analysis of value and gradient: temporaries, which hold no parameters, gradients or optimiser state. Nothing runs."

    def __init__(self, config): self.info = {}

    def temporaries(self, net, batch, low_memory=False):
        make = low_memory_model if low_memory else model_of
        graphdef, params, fixed = nnx.split(nnx.eval_shape(lambda: bare(with_compute(make(net)))), nnx.Param, ...)
        def loss(params, fixed, x, key): return -nnx.merge(graphdef, params, fixed).log_prob(x, key=key).mean() / math.prod(net['shape'])
        x, key = jax.ShapeDtypeStruct((batch, *net['shape']), jnp.uint8), jax.eval_shape(lambda: jax.random.key(0))
        began = time.perf_counter()
        analysis = jax.jit(jax.value_and_grad(loss)).lower(params, fixed, x, key).compile().memory_analysis()
        return dict(temporaries_mb=analysis.temp_size_in_bytes / 1e6, gradients_mb=analysis.output_size_in_bytes / 1e6, compile_s=time.perf_counter() - began)

    def peak(self): return peak_rss_mb()


class Sample:
    "Levels drawn from the model, to NumPy. config: net, batch."

    def __init__(self, config):
        self.net, self.batch, self.drawn = config['net'], config['batch'], 0
        self.model = model_of(self.net)
        self.model.initialise(configs.images(self.net, 64), key=jax.random.key(0))
        self.info = dict(first_s=self.run(1))

    def run(self, k):
        began = time.perf_counter()
        for _ in range(k):
            x = draw(self.model, jax.random.key(self.drawn), self.batch, batch_size=self.batch)
            self.drawn += 1
        assert x.shape == (self.batch, *self.net['shape']) and x.dtype == np.uint8
        return time.perf_counter() - began


def head_arrays(N, M, spread=1.0, batch=32): return tuple(jnp.asarray(v, jnp.float32) for v in configs.head_point(N, M, batch=batch, spread=spread))


def head_of(A, b, log_sigma):
    "A `GaussianNIF` holding these arrays."
    head = GaussianNIF(*A.shape)
    head.injection.A[...], head.injection.b[...], head.injection.log_sigma[...] = A, b, log_sigma
    return head


class Head:
    "Value and gradient of the mean log density with respect to A, b, log σ and h; and the error of the density itself. config: cases."

    def __init__(self, config):
        self.cases = {}
        self.info = {}

    def function(self, A, b, log_sigma):
        graphdef, state = nnx.split(head_of(A, b, log_sigma))
        return lambda A, b, log_sigma, h: nnx.merge(graphdef, self.filled(state, A, b, log_sigma)).log_prob(h)

    def filled(self, state, A, b, log_sigma):
        values = {'A': A, 'b': b, 'log_sigma': log_sigma}
        return jax.tree_util.tree_map_with_path(lambda path, leaf: next((v for name, v in values.items() if f"'{name}'" in jax.tree_util.keystr(path)), leaf), state)

    def prepared(self, N, M):
        if (N, M) not in self.cases:
            point = head_arrays(N, M)
            f = self.function(*point[:3])
            both = jax.jit(jax.value_and_grad(lambda *p: f(*p).mean(), argnums=(0, 1, 2, 3)))
            value, gradient = jax.block_until_ready(both(*point))
            sizes = [g.shape for g in gradient]
            assert sizes == [p.shape for p in point] and all(bool(jnp.abs(g).max() > 0) for g in gradient), 'a gradient is missing'
            self.cases = {(N, M): (both, point)}                               # one at a time: the largest holds 100 MB
        return self.cases[N, M]

    def run(self, N, M, k):
        both, point = self.prepared(N, M)
        began = time.perf_counter()
        for _ in range(k): jax.block_until_ready(both(*point))
        return time.perf_counter() - began

    def per_call(self, N, M):
        "A rough time of one call, to choose k by."
        self.run(N, M, 2)
        return self.run(N, M, 3) / 3

    def digest(self, N, M):
        "Mean log density and gradient norms, by which two contenders show that they do the same work."
        value, gradient = self.prepared(N, M)[0](*self.prepared(N, M)[1])
        return [float(value)] + [float(jnp.linalg.norm(g)) for g in gradient]

    def error(self, N, M, spread):
        "Worst |log p in float32 - in float64| over 32 points, nats, at the same float32 numbers; and half a unit in the last place of log p, under which nothing can go."
        point = head_arrays(N, M, spread)
        ref = configs.head_reference(*(np.asarray(v, np.float64) for v in point))
        value = np.asarray(jax.jit(self.function(*point[:3]))(*point), np.float64)
        return dict(error=float(np.abs(value - ref).max()), half_ulp=float(np.spacing(np.float32(np.abs(ref).max())) / 2), log_p=float(ref.mean()))


class Sweep:
    "15 values of s over 10,000 embeddings against one value."

    def __init__(self, config):
        N, M, n = config['N'], config['M'], config['n']
        A, b, log_sigma, h = head_arrays(N, M, spread=30.0, batch=n)
        self.h, self.s = h, jnp.linspace(0.1, 1.44, 15)
        graphdef, state = nnx.split(head_of(A, b, log_sigma))
        self.one = jax.jit(lambda state, h, s: nnx.merge(graphdef, state).log_prob(h, s=s))
        self.many = jax.jit(lambda state, h, s: nnx.merge(graphdef, state).log_prob_sweep(h, s=s))
        self.state = state
        several = np.asarray(self.many(state, h, self.s))
        gap = max(float(np.abs(several[k] - np.asarray(self.one(state, h, self.s[k]))).max()) for k in (0, 7, 14))
        self.info = dict(gap_nats=gap, mean_log_p=float(several.mean()))

    def run(self, what, k):
        f, s = (self.many, self.s) if what == 'sweep' else (self.one, self.s[7])
        began = time.perf_counter()
        for _ in range(k): jax.block_until_ready(f(self.state, self.h, s))
        return (time.perf_counter() - began) / k


CONTENDERS = dict(ours=Step, ours_fit=Fit, ours_memory=Memory, ours_sample=Sample, ours_head=Head, ours_sweep=Sweep)
