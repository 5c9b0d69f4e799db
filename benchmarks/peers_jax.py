"""distrax building the same Glow, and numpyro's low-rank normal beside the Gaussian head."""
import math
import time
import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from . import configs
from .ours import RATE, Head, matmul_gflops, peak_rss_mb


class Conv1x1(distrax.Bijector):
    "An invertible 1×1 convolution P L U over (…, H, W, C); distrax has none for images, so this one is ours, on its interface."

    def __init__(self, p, fixed):
        super().__init__(event_ndims_in=3, is_constant_jacobian=True)
        eye = jnp.eye(len(p['log_d']))
        self.L, self.U = jnp.tril(p['L'], -1) + eye, jnp.triu(p['U'], 1) + jnp.diag(fixed['sign'] * jnp.exp(p['log_d']))
        self.P, self.log_d = fixed['P'], p['log_d']

    def _volume(self, x): return jnp.broadcast_to(self.log_d.sum() * math.prod(x.shape[-3:-1]), x.shape[:-3])

    def forward_and_log_det(self, x): return x @ (self.P @ self.L @ self.U).T, self._volume(x)

    def inverse_and_log_det(self, y):
        W = jax.scipy.linalg.solve_triangular(self.U, jax.scipy.linalg.solve_triangular(self.L, self.P.T, lower=True, unit_diagonal=True))
        return y @ W.T, -self._volume(y)


def conv(x, kernel, bias): return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')) + bias


def net(p):
    "The coupling net of all, as a distrax conditioner."
    def f(x):
        h = jax.nn.relu(conv(x, p['k1'], p['b1']))
        h = jax.nn.relu(conv(h, p['k2'], p['b2']))
        return jnp.split(conv(h, p['k3'], p['b3']), 2, -1)
    return f


def step_bijector(p, fixed, C):
    "Actnorm, 1×1 convolution, affine coupling, from data to latent (a `Chain` applies its last first)."
    coupling = distrax.SplitCoupling(C // 2, 3, net(p['net']), lambda at: distrax.ScalarAffine(at[1], log_scale=jnp.tanh(at[0])))
    return distrax.Chain([coupling, Conv1x1(p['lu'], fixed), distrax.Block(distrax.ScalarAffine(p['shift'], log_scale=p['log_scale']), 3)])


def start(spec):
    "Parameters and fixed arrays of every step, as nested lists of dicts."
    rng, channels = np.random.default_rng(0), spec['channels']
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape) * math.sqrt(2 / math.prod(shape[:-1])), jnp.float32)
    def one(C):
        from scipy.linalg import lu
        P, L, U = lu(np.linalg.qr(rng.normal(size=(C, C)))[0])
        d = np.diag(U)
        p = dict(shift=jnp.zeros(C), log_scale=jnp.zeros(C), lu=dict(L=jnp.asarray(np.tril(L, -1), jnp.float32), U=jnp.asarray(np.triu(U, 1), jnp.float32), log_d=jnp.asarray(np.log(abs(d)), jnp.float32)),
                 net=dict(k1=normal(3, 3, C // 2, channels), b1=jnp.zeros(channels), k2=normal(1, 1, channels, channels), b2=jnp.zeros(channels),
                          k3=jnp.zeros((3, 3, channels, 2 * (C - C // 2))), b3=jnp.zeros(2 * (C - C // 2))))
        return p, dict(P=jnp.asarray(P, jnp.float32), sign=jnp.asarray(np.sign(d), jnp.float32))
    levels = [[one(C) for _ in range(spec['steps'])] for *_, C in configs.levels_of(spec)]
    return [[p for p, _ in level] for level in levels], [[f for _, f in level] for level in levels]


def squeeze(x):
    B, H, W, C = x.shape
    return x.reshape(B, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 2, 4, 5).reshape(B, H // 2, W // 2, 4 * C)


def unsqueeze(x):
    B, H, W, C = x.shape
    return x.reshape(B, H, W, 2, 2, C // 4).transpose(0, 1, 3, 2, 4, 5).reshape(B, 2 * H, 2 * W, C // 4)


class Distrax:
    "distrax's `Chain`, `SplitCoupling`, `ScalarAffine`, `Block` and `MultivariateNormalDiag`; squeeze, split and the 1×1 convolution are by hand. config: net, batch, task."

    def __init__(self, config):
        self.net, self.batch, self.done = config['net'], config['batch'], 0
        self.sampling = config.get('task') == 'sample'
        params, self.fixed = start(self.net)
        self.data, self.rows = jnp.asarray(configs.images(self.net)), configs.rows_of(self.batch)
        N, adam = math.prod(self.net['shape']), optax.adam(RATE)
        prior = distrax.MultivariateNormalDiag(jnp.zeros(N), jnp.ones(N))
        shapes = list(configs.levels_of(self.net))
        scale, lam = 2.0 ** configs.BITS, configs.LAM

        def chain(p, f, C): return distrax.Chain([step_bijector(a, b, C) for a, b in zip(reversed(p), reversed(f))])

        def log_prob(params, fixed, x, key):
            q = lam + (1 - 2 * lam) / scale * (x + jax.random.uniform(key, x.shape))
            log_q, log_r = jnp.log(q), jnp.log1p(-q)
            x, total, out = log_q - log_r, (math.log((1 - 2 * lam) / scale) - log_q - log_r).reshape(len(x), -1).sum(-1), []
            for k, (H, W, C) in enumerate(shapes):
                x, volume = chain(params[k], fixed[k], C).forward_and_log_det(squeeze(x))
                total = total + volume
                if k < len(shapes) - 1: x, z = jnp.split(x, 2, -1); out.append(z.reshape(len(z), -1))
            return total + prior.log_prob(jnp.concatenate([*out, x.reshape(len(x), -1)], -1))

        def step(params, state, fixed, x, key):
            loss, gradient = jax.value_and_grad(lambda p: -log_prob(p, fixed, x, key).mean() / N)(params)
            updates, state = adam.update(gradient, state, params)
            return optax.apply_updates(params, updates), state, loss

        def sample(params, fixed, key):
            z, at = prior.sample(seed=key, sample_shape=self.batch), 0
            parts = []
            for k, (H, W, C) in enumerate(shapes):
                c = C if k == len(shapes) - 1 else C - C // 2
                parts.append(z[:, at:at + H * W * c].reshape(-1, H, W, c)); at += H * W * c
            x = None
            for k, (H, W, C) in reversed(list(enumerate(shapes))):
                x = parts[k] if x is None else jnp.concatenate([x, parts[k]], -1)
                x = unsqueeze(chain(params[k], fixed[k], C).inverse(x))
            return jnp.clip(jnp.floor(scale * (jax.nn.sigmoid(x) - lam) / (1 - 2 * lam)), 0, scale - 1).astype(jnp.uint8)

        self._step, self._sample = jax.jit(step, donate_argnums=(0, 1)), jax.jit(sample)
        self.params, self.state = params, adam.init(params)
        stored = sum(leaf.size for leaf in jax.tree.leaves(params))
        began = time.perf_counter()
        self.run(1)
        self.info = dict(parameters=stored, free_parameters=stored - configs.masked_parameters(self.net), first_step_s=time.perf_counter() - began, loss=None if self.sampling else float(self.loss))

    def run(self, k):
        "Seconds of k steps, or of k batches of samples."
        began = time.perf_counter()
        for _ in range(k):
            key = jax.random.fold_in(jax.random.key(1), self.done)
            if self.sampling: drawn = np.asarray(self._sample(self.params, self.fixed, key))
            else: self.params, self.state, self.loss = self._step(self.params, self.state, self.fixed, self.data[self.rows[self.done % len(self.rows)]], key)
            self.done += 1
        if self.sampling: assert drawn.shape == (self.batch, *self.net['shape']) and drawn.dtype == np.uint8
        elif not math.isfinite(float(self.loss)): raise ValueError('the loss is not a number')
        return time.perf_counter() - began

    def matmul(self): return matmul_gflops()

    def memory(self): return dict(peak_rss_mb=peak_rss_mb())


class Numpyro(Head):
    "`LowRankMultivariateNormal(b, A, σ²)`, jitted, with the same gradients."

    def function(self, A, b, log_sigma):
        from numpyro.distributions import LowRankMultivariateNormal
        return lambda A, b, log_sigma, h: LowRankMultivariateNormal(loc=b, cov_factor=A, cov_diag=jnp.exp(2 * log_sigma)).log_prob(h)


CONTENDERS = dict(distrax=Distrax, numpyro=Numpyro)
