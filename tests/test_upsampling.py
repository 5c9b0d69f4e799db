"Nearest-neighbour upsampling against a matrix that it never builds."
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.stats import multivariate_normal
from conftest import generic
from nif_lit import Chain, GaussianInjection, NearestNeighbourUpsampling, NoisyInjective, StandardNormal
from nif_lit.bijections import Flatten
from nif_lit.checks import check, rejects


def matrix(shape, k):
    "A, pixel by pixel."
    H, W, C = shape; A = np.zeros((H, W, C, H // k, W // k, C))
    for i in range(H):
        for j in range(W):
            for c in range(C): A[i, j, c, i // k, j // k, c] = 1
    return A.reshape(H * W * C, -1)


@pytest.mark.parametrize('shape, k', [((4, 6, 2), 2), ((6, 3, 1), 3), ((2, 2, 3), 2), ((8, 4, 1), 4)])
def test_against_scipy_and_the_dense_layer(shape, k, x64):
    layer = generic(NearestNeighbourUpsampling(shape, k), 3, 0.5); A, N = matrix(shape, k), layer.N
    dense = GaussianInjection(N, layer.M); dense.A[...], dense.b[...], dense.log_sigma[...] = jnp.asarray(A), layer.b[...].ravel(), layer.log_sigma[...].ravel()
    xs = jax.random.normal(jax.random.key(1), (3, *shape)); z, volume = layer.inverse(xs)
    check(volume, dense.inverse(xs.reshape(3, N))[1]); check(z.reshape(3, -1), dense.inverse(xs.reshape(3, N))[0], atol=1e-12)
    check(layer.scale_noise(0.4).inverse(xs)[1], dense.scale_noise(0.4).inverse(xs.reshape(3, N))[1])
    check(layer.inverse(layer.forward(z, s=0))[0], z); rejects(layer.forward(z, s=0), layer._copy(z))
    Sigma = np.diag(np.exp(2 * np.asarray(layer.log_sigma[...]).ravel()))
    head, flat = NoisyInjective(Chain(layer, Flatten(layer.latent_shape)), StandardNormal(layer.M)), xs[:1]
    w = np.exp(np.asarray(jax.jit(jax.vmap(lambda key: head.log_prob(flat, key=key)[0]))(jax.random.split(jax.random.key(2), 3000))) - multivariate_normal(np.asarray(layer.b[...]).ravel(), A @ A.T + Sigma).logpdf(np.asarray(flat).ravel())) if N <= 12 else None
    if w is not None: assert abs(w.mean() - 1) < 5 * w.std() / np.sqrt(len(w))


def test_draws_and_samples(x64):
    layer = generic(NearestNeighbourUpsampling((2, 4, 1)), 3, 0.4); x = jax.random.normal(jax.random.key(0), (1, 2, 4, 1)); Lambda = np.asarray(layer._pool(jnp.exp(-2 * layer.log_sigma[...])))
    z = np.asarray(layer.inverse(jnp.repeat(x, 100_000, 0), key=jax.random.key(1))[0]); check(z.var(0) * Lambda, np.ones_like(Lambda), rtol=0.03)
    xs = np.asarray(layer.forward(jnp.zeros((100_000, 1, 2, 1)), key=jax.random.key(2), s=0.5)); check(xs.var(0), 0.5 * np.exp(2 * np.asarray(layer.log_sigma[...])), rtol=0.03)
    a, b, c = (layer.forward(jnp.ones((2, 1, 2, 1)), key=jax.random.key(3), s=s) for s in (0.0, 0.25, 1.0)); check(2 * (b - a), c - a, atol=1e-12)


def test_initialise_gives_unit_residuals_and_gradients_reach_everything(x64):
    x = 3 * jax.random.normal(jax.random.key(0), (400, 6, 6, 2)) * jnp.array([1.0, 0.1]); layer = NearestNeighbourUpsampling((6, 6, 2), 3); layer.initialise(x)
    check(jnp.exp(layer.log_sigma[...]).mean((0, 1)), np.array([3.0, 0.3]), rtol=0.03)
    grads = jax.tree.leaves(nnx.jit(nnx.grad(lambda m: m.inverse(x)[1].mean()))(generic(layer, 2)))
    assert len(grads) == 2 and all(bool(jnp.isfinite(g).all() and (g != 0).all()) for g in grads)
    layer.initialise(jnp.ones((4, 6, 6, 2))); assert bool(jnp.isfinite(layer.inverse(jnp.ones((1, 6, 6, 2)))[1]).all())


def test_numpy_s_whole_numbers():
    layer = NearestNeighbourUpsampling(np.array([4, 6, 1]), np.int64(2))
    assert nnx.graphdef(layer) == nnx.graphdef(NearestNeighbourUpsampling((4, 6, 1), 2)) and type(layer.N) is type(layer.M) is int


def test_memory_grows_like_the_image():
    def temporaries(side):
        graph, state = nnx.split(NearestNeighbourUpsampling((side, side, 3)))
        return jax.jit(jax.value_and_grad(lambda state, x: nnx.merge(graph, state).inverse(x)[1].sum())).lower(state, jnp.ones((1, side, side, 3))).compile().memory_analysis().temp_size_in_bytes
    assert temporaries(512) < 1.1 * 16 * temporaries(128) and temporaries(512) < 20 * 4 * 512 ** 2 * 3


@pytest.mark.parametrize('call, message', [(lambda: NearestNeighbourUpsampling((5, 4, 1)), 'divide both sides'), (lambda: NearestNeighbourUpsampling((4, 4)), r'shape \(H, W, C\)'), (lambda: NearestNeighbourUpsampling((4, 4, 1), 1), 'at least 2'), (lambda: NearestNeighbourUpsampling((4, 4.0, 1)), 'whole number, got 4.0'), (lambda: NearestNeighbourUpsampling((4, 4, 1), 2.0), 'factor must be'), (lambda: NearestNeighbourUpsampling(4), r'\(H, W, C\)'),
                                           (lambda: NearestNeighbourUpsampling((4, 4, 1)).inverse(jnp.ones((1, 4, 4))), r'\(batch, 4, 4, 1\)'), (lambda: NearestNeighbourUpsampling((4, 4, 1)).forward(jnp.ones((1, 4, 4, 1)), s=0), r'\(batch, 2, 2, 1\)'),
                                           (lambda: NearestNeighbourUpsampling((4, 4, 1)).forward(jnp.ones((1, 2, 2, 1))), 'needs a key'), (lambda: NearestNeighbourUpsampling((4, 4, 1)).scale_noise(0.0), 'positive')])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message): call()
