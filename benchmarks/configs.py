"""The networks that every contender trains, their cost counted by hand, and their batch. Standard library and NumPy only."""
import numpy as np

BITS, LAM, SEED = 3, 0.05, 0
NETWORKS = {
    'i': dict(shape=(32, 32, 3), steps=4, levels=3, channels=64),
    'ii': dict(shape=(32, 32, 3), steps=16, levels=5, channels=256),
    'fashion_mnist': dict(shape=(28, 28, 1), steps=8, levels=2, channels=64),          # the last three: SCALES['laptop'] of nif_lit.experiments
    'cifar10': dict(shape=(32, 32, 3), steps=8, levels=4, channels=64),
    'celeba': dict(shape=(64, 64, 3), steps=8, levels=5, channels=64),
}


def network(name, **changes):
    "A copy of a named network, with `changes` in place."
    return NETWORKS[name] | dict(name=name) | changes


def levels_of(net):
    "The (H, W, C) that each level's steps see: squeezed, and halved in channels from level to level."
    H, W, C = net['shape']
    for _ in range(net['levels']):
        H, W, C = H // 2, W // 2, 4 * C
        yield H, W, C
        C //= 2


def forward_flops(net):
    "FLOPs of one image's pass to the latent: the matrix products of every step, 2 per multiply-add; elementwise work is left out."
    def per_pixel(C, channels):
        half = C // 2
        return 9 * half * channels + channels ** 2 + 9 * channels * 2 * (C - half) + C ** 2
    return 2 * net['steps'] * sum(H * W * per_pixel(C, net['channels']) for H, W, C in levels_of(net))


def step_flops(net):
    "FLOPs of one image in a training step: three times the forward pass. Recomputed passes do not count: they are not asked for."
    return 3 * forward_flops(net)


def masked_parameters(net):
    "Numbers that an LU form stores in square matrices and never reads: the wrong triangle and diagonal of L and of U."
    return net['steps'] * sum(C * (C + 1) for *_, C in levels_of(net))


def parameters(net):
    "Free parameters: actnorm, P L U with a diagonal of its own, and the coupling net (3×3, 1×1, 3×3, with biases)."
    def per_step(C, channels):
        half, out = C // 2, 2 * (C - C // 2)
        return 2 * C + C * C + (9 * half + 1) * channels + (channels + 1) * channels + (9 * channels + 1) * out
    return net['steps'] * sum(per_step(C, net['channels']) for *_, C in levels_of(net))


def carry_bytes(net, batch):
    "What one more step per level must keep for the backward pass: a float32 map per level, 4·B·H·W·C bytes each."
    return sum(4 * batch * H * W * C for H, W, C in levels_of(net))


def images(net, n=256, seed=SEED):
    "n random images of levels, uint8 (n, H, W, C): the same for every contender."
    return np.random.default_rng(seed).integers(0, 2 ** BITS, (n, *net['shape']), dtype=np.uint8)


def rows_of(batch, n=256, steps=64, seed=SEED):
    "Which images each of `steps` steps sees, (steps, batch)."
    return np.random.default_rng(seed + 1).integers(0, n, (steps, batch), dtype=np.int32)


HEADS = [(N, M) for N in (784, 3072, 12288) for M in (64, 128, 512)]


def head_point(N, M, batch=32, spread=1.0, seed=SEED):
    """A point of the Gaussian head in float64: A (N, M), b, log_sigma (N,), and h (batch, N) drawn from N(b, AAᵀ + Σ).

    No unit values. `spread` is the ratio of the largest to the smallest of the M variances that A adds, in units of the noise; the smallest is 1.
    """
    rng = np.random.default_rng([seed, N, M])
    log_sigma, b = 0.3 * rng.normal(size=N), rng.normal(size=N)
    Q, _ = np.linalg.qr(rng.normal(size=(N, M)))
    R, _ = np.linalg.qr(rng.normal(size=(M, M)))
    A = np.exp(log_sigma)[:, None] * ((Q * np.geomspace(1.0, spread, M) ** 0.5) @ R)
    h = rng.normal(size=(batch, M)) @ A.T + b + np.exp(log_sigma) * rng.normal(size=(batch, N))
    return A, b, log_sigma, h


def head_reference(A, b, log_sigma, h):
    "log N(h; b, AAᵀ + Σ) in float64, (batch,): dense up to 4,000 dimensions, the matrix determinant lemma above."
    N, M = A.shape
    if N <= 4000:
        S = A @ A.T
        S[np.diag_indices(N)] += np.exp(2 * log_sigma)
        L = np.linalg.cholesky(S)
        return -(np.linalg.solve(L, (h - b).T) ** 2).sum(0) / 2 - np.log(np.diag(L)).sum() - N / 2 * np.log(2 * np.pi)
    W, r = A / np.exp(log_sigma)[:, None], (h - b) / np.exp(log_sigma)
    L = np.linalg.cholesky(np.eye(M) + W.T @ W)
    m = np.linalg.solve(L, W.T @ r.T)
    return -((r ** 2).sum(1) - (m ** 2).sum(0)) / 2 - log_sigma.sum() - np.log(np.diag(L)).sum() - N / 2 * np.log(2 * np.pi)
