"Stochastic coupling: the contract, its limit, steering, keys and refusals."
import pickle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from conftest import generic
from nif_lit import Chain, GaussianInjection, StochasticCoupling, check_contract
from nif_lit.checks import check


def log_likelihood(layer, s=1.0):
    "One-dimensional normals written out, the networks applied by NumPy."
    values = lambda net: [np.asarray(v[...]) for part in (net.layers[0], net.layers[2]) for v in (part.kernel, part.bias)]
    net1, net2 = values(layer.net1), values(layer.net2); A1, A2, ls1, ls2 = (np.asarray(v[...]) for v in (layer.A1, layer.A2, layer.log_sigma1, layer.log_sigma2))
    def net(values, v): return np.split(np.tanh(v @ values[0] + values[1]) @ values[2] + values[3], 2, -1)
    def log_p(x, zs):
        x, zs, n, m = np.asarray(x), np.asarray(zs), layer.N[0], layer.M[0]
        (b1, a1), (b2, a2) = net(net1, np.broadcast_to(x[n:], (len(zs), layer.N[1]))), net(net2, zs[:, :m])
        return sum((-((v - z @ A.T - b) / np.sqrt(s) / np.exp(ls + np.tanh(a))) ** 2 / 2 - ls - np.tanh(a) - np.log(2 * np.pi * s) / 2).sum(-1) for v, z, A, b, ls, a in ((x[:n], zs[:, :m], A1, b1, ls1, a1), (x[n:], zs[:, m:], A2, b2, ls2, a2)))
    return log_p


@pytest.mark.parametrize('N, s', [((1, 1), 1.0), ((3, 2), 1.0), ((1, 4), 0.6)])
def test_contract(N, s, x64):
    layer = generic(StochasticCoupling(N, (1, 1), hidden=4, rngs=nnx.Rngs(2)), 5, 0.4)
    for A in (layer.A1, layer.A2): A[...] = A[...] + jnp.sign(A[...]) * 0.7
    check_contract(layer if s == 1 else layer.scale_noise(s), jax.random.normal(jax.random.key(1), (2, sum(N))), key=jax.random.key(2), log_likelihood=log_likelihood(layer, s), box=[(-16, 16)] * 2, n_draws=40_000, n_grid=400)


def test_draws_follow_the_conditionals(x64):
    layer = generic(StochasticCoupling((3, 3), (2, 1), hidden=4), 5, 0.3); n = 200_000
    z = jnp.broadcast_to(jnp.array([0.4, -0.9, 0.7]), (n, 3)); x = layer.forward(z, key=jax.random.key(1), s=0.5)
    b, log_sigma = layer.conditionals(2, z[:, :2]); white = np.asarray((x[:, 3:] - z[:, 2:] @ layer.A2[...].T - b) / jnp.exp(log_sigma) / jnp.sqrt(0.5))
    b, log_sigma = layer.conditionals(1, x[:, 3:]); white = np.concatenate([np.asarray((x[:, :3] - z[:, :2] @ layer.A1[...].T - b) / jnp.exp(log_sigma) / jnp.sqrt(0.5)), white], -1)
    check(np.cov(white.T), np.eye(6), atol=0.02); check(white.mean(0), np.zeros(6), atol=0.012)
    a, c = layer.forward(z[:3], key=jax.random.key(2)), layer.forward(z[:3], key=jax.random.key(2)); assert (a == c).all()


def test_round_trip_gradients_and_float32():
    layer = generic(StochasticCoupling((3, 2), (2, 1), hidden=4), 5, 0.3); z = jax.random.normal(jax.random.key(0), (4, 3))
    check(layer.inverse(layer.forward(z, s=0))[0], z, rtol=1e-4, atol=1e-4)
    x = jax.random.normal(jax.random.key(1), (6, 5)); gradients = jax.tree.leaves(nnx.jit(nnx.grad(lambda m: (m.inverse(x, key=jax.random.key(2))[0] ** 2).sum() + m.inverse(x, key=jax.random.key(2))[1].sum()))(layer))
    assert len(gradients) == 12 and all(bool(jnp.isfinite(g).all() and (g != 0).any()) for g in gradients)
    check(nnx.jit(lambda m, x: m.inverse(x, key=jax.random.key(3))[1])(layer, x), layer.inverse(x, key=jax.random.key(3))[1], rtol=1e-5, atol=1e-5)
    rows = jnp.concatenate([layer.inverse(x[i:i + 1])[1] for i in range(6)]); check(rows, layer.inverse(x)[1], rtol=1e-5, atol=1e-5)


def test_numpy_s_whole_numbers():
    layer = StochasticCoupling(np.array([3, 2]), (np.int64(2), 1), hidden=np.int64(4))
    assert nnx.graphdef(layer) == nnx.graphdef(StochasticCoupling((3, 2), (2, 1), hidden=4)) and all(type(v) is int for v in layer.N + layer.M)


def test_it_stands_in_a_chain(x64):
    chain = Chain(GaussianInjection(6, 5), StochasticCoupling((3, 2), (2, 1))); x = jax.random.normal(jax.random.key(0), (4, 6))
    z, volume = chain.inverse(x, key=jax.random.key(1)); assert z.shape == (4, 3) and volume.shape == (4,) and chain.noisy and chain.forward(z, key=jax.random.key(2)).shape == (4, 6)


@pytest.mark.parametrize('call, message', [(lambda: StochasticCoupling((3, 2), (4, 1)), '1 <= Mi <= Ni'), (lambda: StochasticCoupling((3,), (2,)), 'N = '), (lambda: StochasticCoupling(3, 2), 'N = 3'), (lambda: StochasticCoupling((3, 2.0), (2, 1)), 'each of N'), (lambda: StochasticCoupling((3, 2), (2, 0)), 'each of M'), (lambda: StochasticCoupling((3, 2), (2, 1), hidden=0), 'hidden'),
                                           (lambda: StochasticCoupling((3, 2), (2, 1)).inverse(jnp.ones((2, 4))), r'\(batch, 5\)'), (lambda: StochasticCoupling((3, 2), (2, 1)).forward(jnp.ones((2, 3))), 'needs a key'),
                                           (lambda: StochasticCoupling((3, 2), (2, 1)).scale_noise(-1.0), 'positive')])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message): call()


def test_it_can_be_pickled():
    layer, z = generic(StochasticCoupling((2, 1), (1, 1), hidden=2)), jnp.ones((1, 1))
    for a, b in zip(pickle.loads(pickle.dumps(layer)).conditionals(2, z), layer.conditionals(2, z)): check(a, b)
