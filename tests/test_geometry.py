"Volumes and densities on manifolds, and the marginal around them, at shapes and seeds that the notebooks do not use."
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.stats import multivariate_normal
from nif_lit.checks import check, rejects
from nif_lit.geometry import half_log_det, half_log_det_estimate, manifold_log_prob
from nif_lit.noise import marginal_importance, marginal_quadrature, noise_log_prob


def log_prior(z): return -(z ** 2).sum() / 2 - z.size / 2 * jnp.log(2 * jnp.pi)


@pytest.mark.parametrize('N, M', [(5, 2), (3, 3), (7, 1), (12, 6)])
def test_half_log_det_of_a_linear_map(N, M, x64):
    A = np.random.default_rng(N).normal(size=(N, M)); f, z = lambda z: jnp.asarray(A) @ z, jnp.ones(M)
    ref = np.log(np.linalg.svd(A)[1]).sum()
    check(half_log_det(f, z), ref); check(jax.jit(lambda z: half_log_det(f, z))(z), ref); rejects(half_log_det(lambda z: 1.01 * f(z), z), ref)
    check(manifold_log_prob(f, log_prior, z), -M / 2 - M / 2 * np.log(2 * np.pi) - ref)
    estimate, se = half_log_det_estimate(f, z, jax.random.key(0), n_probes=600, n_steps=M)
    assert abs(float(estimate) - ref) < 4 * float(se) + 1e-9
    check(half_log_det(lambda z: jnp.tanh(f(z)), 0.3 * z), jnp.linalg.slogdet(jax.jacfwd(lambda z: jnp.tanh(f(z)))(0.3 * z).T @ jax.jacfwd(lambda z: jnp.tanh(f(z)))(0.3 * z))[1] / 2, rtol=1e-7)


def test_a_torus_has_its_area(x64):
    torus = lambda z: jnp.stack([(2 + 0.7 * jnp.cos(z[1])) * jnp.cos(z[0]), (2 + 0.7 * jnp.cos(z[1])) * jnp.sin(z[0]), 0.7 * jnp.sin(z[1])])
    e = (np.arange(60) + 0.5) / 60 * 2 * np.pi; zs = jnp.asarray(np.stack(np.meshgrid(e, e), -1).reshape(-1, 2))
    check(jnp.exp(jax.vmap(lambda z: half_log_det(torus, z))(zs)).mean() * 4 * np.pi ** 2, 4 * np.pi ** 2 * 2 * 0.7)


def test_rank_lost_is_minus_infinity(x64):
    assert float(half_log_det(lambda z: jnp.stack([z[0] + z[1]] * 3), jnp.ones(2))) < -30


def test_a_random_matrix_of_lower_rank_is_seen(x64):
    log_dets = jax.jit(jax.vmap(lambda J: half_log_det(lambda z: J @ z, jnp.ones(J.shape[1]))))
    J = np.stack([(rng := np.random.default_rng(seed)).normal(size=(60, 49)) @ rng.normal(size=(49, 50)) for seed in range(40)])
    assert (np.asarray(log_dets(jnp.asarray(J))) == -np.inf).all() and np.isfinite(np.asarray(log_dets(jnp.asarray(J[:, :, :49])))).all()


@pytest.mark.parametrize('wide', [False, True], ids=['float32', 'float64'])
def test_rank_is_a_matter_of_directions_not_of_units(wide):
    with jax.enable_x64(wide):
        A = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 3)))[0]
        for units in ((1.0, 1e-8, 1.0), (1e12, 1.0, 1e-12)):
            check(half_log_det(lambda z: jnp.asarray(A * np.array(units), float) @ z, jnp.ones(3)), np.log(units).sum(), rtol=1e-5, atol=1e-5)
        for lost in (A[:, [0, 1, 1]], A * np.array([1.0, 1.0, 0.0]), np.stack([A[:, 0], A[:, 1], 1e-8 * (A[:, 0] - A[:, 1])], 1)): assert float(half_log_det(lambda z: jnp.asarray(lost, float) @ z, jnp.ones(3))) == -np.inf
        B = 1e6 if wide else 1e3
        assert float(half_log_det(lambda z: jnp.asarray(np.stack([B * A[:, 0] + A[:, 1], A[:, 0], A[:, 1]], 1), float) @ z, jnp.ones(3))) == -np.inf
        assert half_log_det(lambda z: jnp.concatenate([2.0 * z, z]), jnp.array([1, 2])) == half_log_det(lambda z: jnp.concatenate([2.0 * z, z]), jnp.array([1.0, 2.0]))


def test_the_estimate_is_honest_and_deterministic(x64):
    gains = jnp.linspace(0.5, 3, 200); f, z = lambda z: jnp.concatenate([gains * z + 0.4 * jnp.roll(z, 1), jnp.tanh(z) * 0.3 - 0.2 * jnp.roll(z, 5)]), jnp.ones(200)
    ref, pulls, run = float(half_log_det(f, z)), [], jax.jit(lambda key: half_log_det_estimate(f, z, key, n_probes=8))
    for seed in range(20):
        estimate, se = run(jax.random.key(seed)); pulls.append((float(estimate) - ref) / float(se))
    assert abs(np.mean(pulls)) < 1.2 and 0.5 < np.std(pulls) < 2.2, pulls
    assert half_log_det_estimate(f, z, jax.random.key(1)) == half_log_det_estimate(f, z, jax.random.key(1))


def test_marginals_against_a_dense_normal(x64):
    rng = np.random.default_rng(3)
    for N, M in ((3, 1), (5, 2), (8, 4)):
        A, b, ls, x = rng.normal(size=(N, M)), rng.normal(size=N), 0.3 * rng.normal(size=N) - 0.3, rng.normal(size=N)
        f, ref = lambda z: jnp.asarray(A) @ z + b, multivariate_normal(b, A @ A.T + np.diag(np.exp(2 * ls))).logpdf(x)
        if M <= 2: check(marginal_quadrature(f, ls, x, log_prior, [(-9, 9)] * M, n=300), ref, rtol=1e-8)
        value, se = marginal_importance(f, ls, x, log_prior, key=jax.random.key(N), z0=np.zeros(M))
        assert abs(value - ref) < 4 * se < 0.2
    check(noise_log_prob(jnp.asarray(ls), jnp.asarray(x)), multivariate_normal(np.zeros(8), np.diag(np.exp(2 * ls))).logpdf(x))


def quadrature(f=lambda z: z, x=np.zeros(1), log_prior=log_prior, box=[(-9, 9)], **kw): return marginal_quadrature(f, np.zeros(1), x, log_prior, box, **kw)


def importance(f=lambda z: z, x=np.zeros(1), log_prior=log_prior, **kw): return marginal_importance(f, np.zeros(1), x, log_prior, key=jax.random.key(0), z0=np.zeros(1), **kw)


@pytest.mark.parametrize('call, message', [(lambda: half_log_det(lambda z: z[:2], jnp.ones(3)), r'N >= M'), (lambda: half_log_det(lambda z: z, jnp.ones((2, 2))), r'\(M,\)'),
                                           (lambda: half_log_det_estimate(lambda z: z, jnp.ones(3), jax.random.key(0), n_steps=0), 'n_steps must be a positive whole number, got 0'),
                                           (lambda: marginal_quadrature(lambda z: z, np.zeros(3), np.zeros(3), log_prior, [(-9, 9)] * 3), '1 or 2'),
                                           (lambda: marginal_quadrature(lambda z: z, np.zeros(2), np.zeros(3), log_prior, [(-9, 9)] * 2), 'one x'),
                                           (lambda: marginal_quadrature(lambda z: z, np.zeros(1), np.zeros(1), log_prior, [(-1, 1)]), 'larger box'),
                                           (lambda: marginal_importance(lambda z: z, np.zeros(2), np.zeros(2), log_prior, key=jax.random.key(0), z0=np.array([np.inf, 0])), 'finite start'),
                                           (lambda: marginal_importance(lambda z: z, np.zeros(2), np.zeros(2), log_prior, key=jax.random.key(0), z0=np.zeros(2), n_samples=1), 'n_samples >= 2'),
                                           *[(lambda kw=kw: quadrature(**kw), message) for kw, message in (
                                               (dict(box=[(np.nan, 9)]), 'low < high, got .nan, 9'), (dict(box=[(9, -9)]), 'low < high, got .9, -9'), (dict(box=[(-9, np.inf)]), 'finite'), (dict(box=[3]), 'a box is a list'), (dict(n=2.5), 'n must be'),
                                               (dict(x=np.array([np.nan])), 'x must be finite'), (dict(f=lambda z: z * jnp.nan), 'is nan in'), (dict(log_prior=lambda z: -jnp.inf), 'is -inf in'), (dict(tol=np.nan), 'twice the size'))],
                                           *[(lambda kw=kw: importance(**kw), message) for kw, message in (
                                               (dict(x=np.array([np.nan])), 'x must be finite'), (dict(log_prior=lambda z: jnp.nan), 'largest log weight is nan'), (dict(f=lambda z: z * jnp.nan), 'no maximum'), (dict(n_samples=2.5), 'n_samples must be'))]])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message): call()


def test_a_prior_that_forgets_its_sum_is_refused():
    A = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2))); f, forgets = lambda z: A @ z, lambda z: -z ** 2 / 2
    for call in (lambda: marginal_quadrature(f, jnp.zeros(4), jnp.ones(4), forgets, [(-8, 8)] * 2), lambda: marginal_importance(f, jnp.zeros(4), jnp.ones(4), forgets, key=jax.random.key(0), z0=np.zeros(2)),
                 lambda: manifold_log_prob(f, forgets, jnp.zeros(2))):
        with pytest.raises(ValueError, match=r'log_prior must be one number for one z, got shape \(2,\)'): call()


@pytest.mark.parametrize('double', [False, True])
def test_a_map_that_lost_rank_has_no_volume(double):
    with jax.enable_x64(double):
        flat = lambda z: jnp.stack([z[0] + z[1]] * 4)
        assert half_log_det(flat, jnp.ones(2)) == -jnp.inf
        assert np.isfinite(half_log_det(lambda z: jnp.stack([z[0], 1e-5 * z[1], z[0]]), jnp.ones(2)))            # thin is not flat
