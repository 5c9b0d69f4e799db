"Bounds: two terms, importance weights and the closed gap, on the kit's own layers."
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.stats import multivariate_normal
from conftest import generic
from nif_lit import Chain, GaussianInjection, GaussianNIF, Layer, UniformDequantization
from nif_lit.bounds import elbo, elbo_terms, gaussian_gap, importance_bound
from nif_lit.checks import check, rejects


def unit(z): return -(z ** 2).reshape(z.shape[0], -1).sum(-1) / 2 - z[0].size / 2 * jnp.log(2 * jnp.pi)


@pytest.mark.parametrize('N, M', [(5, 2), (4, 4), (7, 1)])
def test_gap_closed_and_by_draws(N, M, x64):
    head = generic(GaussianNIF(N, M, rngs=nnx.Rngs(N)), 3, 0.5); inj = head.injection; xs = jax.random.normal(jax.random.key(1), (3, N))
    W, r = inj.whitened(xs); Lambda, us = W.T @ W, r @ W
    I = np.eye(M); Sq, Sp = np.linalg.inv(Lambda), np.linalg.inv(I + np.asarray(Lambda)); dense = []
    for u in np.asarray(us):
        d = Sq @ u - Sp @ u
        dense.append((np.trace(np.linalg.inv(Sp) @ Sq) - M + d @ np.linalg.inv(Sp) @ d + np.linalg.slogdet(Sp)[1] - np.linalg.slogdet(Sq)[1]) / 2)
    gaps = np.array([gaussian_gap(Lambda, u) for u in us]); check(gaps, np.array(dense), rtol=1e-7)
    value, se = elbo(inj, unit, xs, key=jax.random.key(2), n_samples=20_000); exact = np.asarray(head.log_prob(xs))
    assert (np.abs(np.asarray(value) - exact + gaps) < 4.5 * np.asarray(se)).all() and (gaps > 0).all()


def test_two_terms_of_a_chain(x64):
    outer, inner = (generic(GaussianInjection(*d), s, 0.4) for d, s in (((5, 3), 1), ((3, 2), 2)))
    xs, key = jax.random.normal(jax.random.key(1), (4, 5)), jax.random.key(5)
    one = elbo_terms(Chain(outer), unit, xs, key=key, n_samples=500); volume = outer.inverse(xs)[1]
    check(one.manifold, volume); check(one.likelihood + one.manifold, one.value); rejects(one.likelihood, volume)
    nested, flat = (elbo_terms(c, unit, xs, key=key, n_samples=500) for c in (Chain(Chain(outer), inner), Chain(outer, inner)))
    for a, b in zip(nested, flat): check(a, b)
    A1, A2 = (np.asarray(l.A[...]) for l in (outer, inner)); S1, S2 = (np.diag(np.exp(2 * np.asarray(l.log_sigma[...]))) for l in (outer, inner))
    truth = multivariate_normal(A1 @ np.asarray(inner.b[...]) + np.asarray(outer.b[...]), A1 @ (A2 @ A2.T + S2) @ A1.T + S1).logpdf(np.asarray(xs))
    assert (np.asarray(flat.value) < truth + 4 * np.asarray(flat.se)).all() and (np.asarray(flat.se) > 0).all()
    pixels = jax.random.randint(jax.random.key(3), (4, 2, 2, 1), 0, 8).astype(float)
    exact = elbo_terms(Chain(UniformDequantization(3)), lambda z: jnp.full(z.shape[0], -4 * np.log(8.0)), pixels, key=key)
    check(exact.value, np.full(4, -4 * np.log(8.0))); check(exact.manifold, np.zeros(4))


def test_more_draws_never_hurt(x64):
    head = generic(GaussianNIF(4, 2), 3, 0.5); xs = jax.random.normal(jax.random.key(1), (2, 4)); exact = np.asarray(head.log_prob(xs))
    values = [importance_bound(head.injection, unit, xs, key=jax.random.key(7), n_samples=K, n_repeats=2000) for K in (1, 5, 50)]
    check(values[0][1], elbo(head.injection, unit, xs, key=jax.random.key(8), n_samples=2000)[1], rtol=0.2)      # K = 1 is the ELBO, its standard error too
    for (a, ea), (b, eb) in zip(values, values[1:]): assert (np.asarray(b - a) > -4 * np.hypot(ea, eb)).all()
    assert (np.asarray(values[-1][0]) < exact + 4 * np.asarray(values[-1][1])).all() and (exact - np.asarray(values[0][0])).max() > (exact - np.asarray(values[-1][0])).max() + 0.01


def test_the_standard_error_is_that_of_the_mean(x64):
    head = generic(GaussianNIF(4, 2), 3, 0.5); x = jax.random.normal(jax.random.key(1), (1, 4)); keys = jax.random.split(jax.random.key(2), 400)
    for bound in (lambda key: elbo(head.injection, unit, x, key=key, n_samples=40), lambda key: importance_bound(head.injection, unit, x, key=key, n_samples=3, n_repeats=40)):
        values, told = jax.jit(jax.vmap(bound))(keys)
        check(np.sqrt((told ** 2).mean()), np.asarray(values).std(), rtol=0.15)     # the deviation of 400 means is known to 4%
        rejects(np.sqrt((told ** 2).mean()) * 40 ** 0.5, np.asarray(values).std(), rtol=0.15)


def test_behind_a_second_noisy_layer_the_bound_is_another(x64):
    outer, inner = (generic(GaussianInjection(*d), s, 0.4) for d, s in (((4, 3), 1), ((3, 2), 2))); x = jax.random.normal(jax.random.key(1), (1, 4))
    terms = elbo_terms(Chain(outer, inner), unit, x, key=jax.random.key(5), n_samples=20_000)
    A1, A2, S1, S2 = (np.asarray(v, float) for v in (outer.A[...], inner.A[...], np.diag(np.exp(2 * np.asarray(outer.log_sigma[...]))), np.diag(np.exp(2 * np.asarray(inner.log_sigma[...])))))
    A, S, b = A1 @ A2, S1 + A1 @ S2 @ A1.T, A1 @ np.asarray(inner.b[...]) + np.asarray(outer.b[...]); P = np.linalg.inv(S); Lambda, u = A.T @ P @ A, A.T @ P @ (np.asarray(x[0]) - b)
    integral = multivariate_normal(b, S).logpdf(x[0]) + (u @ np.linalg.solve(Lambda, u) - np.linalg.slogdet(Lambda)[1]) / 2 + np.log(2 * np.pi)
    draws = np.exp(np.asarray(jax.vmap(lambda k: Chain(outer, inner).inverse(x, key=k)[1][0])(jax.random.split(jax.random.key(6), 40_000))) - integral)
    assert abs(draws.mean() - 1) < 4 * draws.std() / 200 and float(terms.manifold[0]) < integral - 0.05


@pytest.mark.parametrize('Lambda', [np.diag([0.0, 1.0]), np.diag([-1e-18, 1.0]), np.zeros((2, 2))])
def test_the_gap_is_infinite_where_q_does_not_exist(Lambda, x64):
    assert float(gaussian_gap(Lambda, np.ones(2))) == np.inf and float(jax.jit(gaussian_gap)(Lambda, np.ones(2))) == np.inf
    assert np.isnan(float(gaussian_gap(np.full((2, 2), np.nan), np.ones(2)))) and np.isfinite(float(gaussian_gap(jnp.diag(jnp.array([1e-30, 1.0], jnp.float32)), jnp.zeros(2, jnp.float32))))
    with pytest.raises(ValueError, match='symmetric, got entries that differ by 2'): gaussian_gap(np.array([[1.0, 2.0], [0.0, 5.0]]), np.ones(2))


class Slip(Layer):
    "A log volume that is summed over the batch too."
    def inverse(self, x, *, key=None): return x, x.sum()


def test_numpy_s_whole_numbers():
    head, x, key = GaussianInjection(3, 2), jnp.ones((2, 3)), jax.random.key(0)
    for bound in (elbo, importance_bound): check(bound(head, unit, x, key=key, n_samples=np.int64(3))[0], bound(head, unit, x, key=key, n_samples=3)[0])


@pytest.mark.parametrize('call, message', [(lambda i, x: elbo(i, unit, x, key=None), 'needs a key'), (lambda i, x: elbo(i, unit, x, key=jax.random.key(0), n_samples=1), 'n_samples >= 2'),
                                           (lambda i, x: elbo('layer', unit, x, key=jax.random.key(0)), 'got str'), (lambda i, x: importance_bound(i, unit, x, key=jax.random.key(0), n_samples=0), 'n_samples must be a positive whole number, got 0'),
                                           (lambda i, x: elbo(i, lambda z: unit(z).sum(), x, key=jax.random.key(0)), r'log_prior must return log densities of shape \(2,\), one number per example, got \(\)'),
                                           (lambda i, x: importance_bound(i, lambda z: unit(z)[:, None], x, key=jax.random.key(0)), r'log_prior .* of shape \(2,\), .*got \(2, 1\)'),
                                           (lambda i, x: importance_bound(Slip(), unit, x, key=jax.random.key(0)), r'Slip.inverse must return a log_volume of shape \(2,\), .*got \(\)'),
                                           (lambda i, x: elbo(i, unit, x, key=jax.random.key(0), n_samples=2.5), 'whole number'), (lambda i, x: importance_bound(i, unit, x, key=jax.random.key(0), n_repeats=1), 'n_repeats >= 2'),
                                           (lambda i, x: gaussian_gap(np.eye(3), np.ones(2)), r'\(3, 3\) and \(2,\)')])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message): call(GaussianInjection(3, 2), jnp.ones((2, 3)))
