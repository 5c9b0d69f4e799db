"What the theory notebooks export beyond the layers: covariances, the sweep over t and s, q(z|x) of a general map."
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm
from conftest import generic
from nif_lit import GaussianInjection, GaussianNIF
from nif_lit.checks import check, rejects
from nif_lit.layer import check_contract, conditional_log_prob, inverse_mode, inverse_mode_jit, log_volume_laplace, log_volume_quadrature


def parts(inj):
    "A, b, Σ written out, not by the module's own methods."
    root = np.diag(np.exp(np.broadcast_to(np.asarray(inj.log_sigma[...], float), (inj.N,))))
    if inj.covariance == 'dense': root = root + np.tril(np.asarray(inj.lower[...], float), -1)
    return np.asarray(inj.A[...], float), np.asarray(inj.b[...], float), root @ root.T


# ---- Σ dense, diagonal, isotropic
@pytest.mark.parametrize('covariance', ['diagonal', 'isotropic', 'dense'])
@pytest.mark.parametrize('N, M', [(5, 3), (4, 1), (3, 3)])
def test_every_covariance_against_scipy(covariance, N, M, x64):
    head = generic(GaussianNIF(N, M, covariance=covariance, rngs=nnx.Rngs(3)), 4, 0.4); A, b, Sigma = parts(head.injection)
    hs = np.asarray(2 * jax.random.normal(jax.random.key(1), (6, N)))
    for t, s in ((1.0, 1.0), (0.7, 1.6)):
        check(head.log_prob(hs, t=t, s=s), multivariate_normal(b, t * A @ A.T + s * Sigma).logpdf(hs))
        check(head.scale_noise(s).log_prob(hs, t=t), multivariate_normal(b, t * A @ A.T + s * Sigma).logpdf(hs))
    ts, ss = np.array([0.0, 0.4, 1.0, 3.0]), np.array([0.2, 1.0, 1.7, 0.6])
    check(head.log_prob_sweep(hs, t=ts, s=ss), np.stack([multivariate_normal(b, t * A @ A.T + s * Sigma).logpdf(hs) for t, s in zip(ts, ss)]))
    check(head.log_prob_sweep(hs, s=ss), np.stack([head.log_prob(hs, s=float(s)) for s in ss]))
    xs = np.asarray(head.sample(jax.random.key(2), 200_000, t=0.6, s=1.7)); centred = (xs - b)[:, :, None] * (xs - b)[:, None]
    assert (np.abs(centred.mean(0) - 0.6 * A @ A.T - 1.7 * Sigma) < 4.5 * centred.std(0) / np.sqrt(len(xs))).all()
    noise = np.asarray(head.injection.colour(jnp.eye(N))); check(np.asarray(head.injection.whiten(noise)), np.eye(N), atol=1e-12); check(noise.T @ noise, Sigma)
    check(head.injection.half_log_det(), np.linalg.slogdet(Sigma)[1] / 2)


@pytest.mark.parametrize('covariance', ['isotropic', 'dense'])
def test_every_covariance_keeps_the_contract(covariance, x64):
    inj = generic(GaussianInjection(3, 2, covariance=covariance), 5, 0.4); inj.A[...] = inj.A[...] + jnp.array([[1.0, 0.2], [-0.3, 0.9], [0.5, -0.4]])
    A, b, Sigma = parts(inj)
    noise, half = (multivariate_normal(np.zeros(3), s * Sigma) for s in (1.0, 0.5))
    def log_likelihood(x, zs): return noise.logpdf(np.asarray(x) - b - np.asarray(zs) @ A.T)
    check_contract(inj, jax.random.normal(jax.random.key(6), (2, 3)), key=jax.random.key(7), log_likelihood=log_likelihood, box=[(-14, 14)] * 2)
    check_contract(inj.scale_noise(0.5), jax.random.normal(jax.random.key(6), (2, 3)), key=jax.random.key(7), box=[(-14, 14)] * 2,
                   log_likelihood=lambda x, zs: half.logpdf(np.asarray(x) - b - np.asarray(zs) @ A.T))


def test_sweep_in_float32_and_refusals():
    head = generic(GaussianNIF(40, 6), 2, 0.3); hs = jax.random.normal(jax.random.key(0), (5, 40)); ss = jnp.linspace(0.1, 1.2, 15)
    check(head.log_prob_sweep(hs, s=ss), np.stack([head.log_prob(hs, s=float(s)) for s in ss]), rtol=2e-5, atol=2e-4)
    assert head.log_prob_sweep(hs, s=ss).shape == (15, 5) and head.log_prob_sweep(hs).shape == (1, 5)
    check(jax.jit(lambda h, s: head.log_prob_sweep(h, s=s))(hs, ss), head.log_prob_sweep(hs, s=ss), rtol=1e-5, atol=1e-4)
    for wrong, message in ((dict(s=[0.0, 1.0]), 'positive'), (dict(t=[-1.0]), 'zero or positive'), (dict(t=[1.0, 2.0], s=[1.0, 2.0, 3.0]), 'one length'), (dict(s=np.ones((2, 2))), '1-D')):
        with pytest.raises(ValueError, match=message): head.log_prob_sweep(hs, **wrong)
    with pytest.raises(ValueError, match=r'\(batch, 40\)'): head.log_prob_sweep(hs[:, :3])
    with pytest.raises(ValueError, match="got 'full'"): GaussianInjection(4, 2, covariance='full')


# ---- q(z|x) of any injective map
def curve(z): return jnp.array([z[0], jnp.sin(1.3 * z[0]), 0.4 * z[0] ** 2])
X, LOG_SIGMA = np.array([0.7, 0.1, 0.6]), np.log(np.array([0.5, 0.3, 0.8]))


def log_p(z): return float(sum(norm(f, s).logpdf(x) for f, s, x in zip((z, np.sin(1.3 * z), 0.4 * z ** 2), np.exp(LOG_SIGMA), X)))


def test_mode_and_normaliser_on_a_curve(x64):
    check(conditional_log_prob(curve, LOG_SIGMA, X, jnp.array([0.4])), log_p(0.4))
    found = inverse_mode(curve, LOG_SIGMA, X, np.array([0.5])); reference = minimize(lambda z: -log_p(z[0]), [0.5], method='Nelder-Mead', options=dict(xatol=1e-10, fatol=1e-14)).x
    check(found, reference, rtol=1e-6)
    check(log_volume_quadrature(curve, LOG_SIGMA, X, [(-8, 8)], n=2000), np.log(quad(lambda z: np.exp(log_p(z)), -8, 8, epsabs=1e-14, limit=400)[0]), rtol=1e-9)


def test_two_latent_dimensions_and_laplace_on_a_linear_map(x64):
    rng = np.random.default_rng(8); A, log_sigma, x = rng.normal(size=(4, 2)), rng.normal(size=4) / 3, rng.normal(size=4)
    inj = GaussianInjection(4, 2); inj.A[...], inj.log_sigma[...] = jnp.asarray(A), jnp.asarray(log_sigma); exact = inj.inverse(x[None])[1][0]
    f = lambda z: jnp.asarray(A) @ z; mode = inverse_mode(f, log_sigma, x, np.zeros(2))
    check(mode, inj.inverse(x[None])[0][0], rtol=1e-7)
    check(log_volume_laplace(f, log_sigma, x, mode), exact); check(log_volume_quadrature(f, log_sigma, x, [(-15, 15)] * 2, n=500), exact, rtol=1e-8)
    rejects(log_volume_laplace(f, log_sigma + 0.1, x, inverse_mode(f, log_sigma + 0.1, x, np.zeros(2))), exact)


def test_where_it_does_not_exist_it_says_so(x64):
    for bounded, sigma in ((jnp.tanh, 0.0), (lambda z: jnp.sign(z) * jnp.sqrt(jnp.log1p(z ** 2)), 0.0)):
        with pytest.raises(ValueError, match='does not exist'): log_volume_quadrature(bounded, np.zeros(1), np.zeros(1), [(-40, 40)])
    with pytest.raises(ValueError, match='too few'): log_volume_quadrature(curve, LOG_SIGMA - 2, X, [(-8, 8)], n=100)
    with pytest.raises(ValueError, match='no mode'): log_volume_laplace(curve, LOG_SIGMA, X, jnp.array([0.1]))
    with pytest.raises(ValueError, match='1 or 2'): log_volume_quadrature(curve, LOG_SIGMA, X, [(-1, 1)] * 3)
    with pytest.raises(ValueError, match=r'\(3,\)'): inverse_mode(lambda z: z, LOG_SIGMA, X, np.zeros(2))
    with pytest.raises(ValueError, match='finite start'): inverse_mode(curve, LOG_SIGMA, X, np.array([np.nan]))
    with pytest.raises(ValueError, match='one x'): conditional_log_prob(curve, LOG_SIGMA[:2], X, jnp.zeros(1))


@pytest.mark.parametrize('sigma', [3e3, 1.0, 1e-3])
@pytest.mark.parametrize('wide', [False, True], ids=['float32', 'float64'])
def test_a_mode_does_not_depend_on_the_units_of_the_data(sigma, wide):
    with jax.enable_x64(wide):
        A, z = np.random.default_rng(0).normal(size=(5, 2)), np.array([89.1, -20.0]); f, log_sigma, x = lambda z: jnp.asarray(A, float) @ z, jnp.full(5, np.log(sigma)), jnp.asarray(A @ z)
        deviations = sigma / np.linalg.norm(A, axis=0)
        found, slope = jax.jit(lambda x: inverse_mode_jit(f, log_sigma, x, jnp.zeros(2)))(x)
        check((found - z) / (1e-6 * np.abs(z) + 1e-4 * deviations), np.zeros(2), atol=1.0); assert float(slope) < 0.01
        check((inverse_mode(f, log_sigma, x, np.zeros(2)) - z) / (1e-6 * np.abs(z) + 1e-4 * deviations), np.zeros(2), atol=1.0)


def test_quadrature_of_a_density_that_is_no_float():
    N = 200; A = np.random.default_rng(1).normal(size=(N, 1)).astype(np.float32); f, log_sigma, x = lambda z: jnp.asarray(A) @ z, jnp.full(N, np.log(0.1), jnp.float32), jnp.asarray(0.3 * A[:, 0])
    value = log_volume_quadrature(f, log_sigma, x, [(0.2, 0.4)], tol=1e-4)
    check(value, log_volume_laplace(f, log_sigma, x, jnp.array([0.3])), rtol=1e-5); assert value > np.log(np.finfo(np.float32).max)
    with pytest.raises(ValueError, match='no mass'): log_volume_quadrature(lambda z: jnp.nan * jnp.asarray(A) @ z, log_sigma, x, [(0.2, 0.4)])


@pytest.mark.parametrize('wide', [False, True], ids=['float32', 'float64'])
def test_a_mode_where_f_turns_back(wide):
    with jax.enable_x64(wide):
        for f, x, z0, mode in ((lambda z: jnp.cos(z), 2.0, 0.3, 0.0), (lambda z: jnp.cos(z), 2.0, 1.0, 0.0), (lambda z: z ** 2, -1.0, 0.7, 0.0), (lambda z: 0 * z + 1, 3.0, 0.4, 0.4)):
            case = (f, jnp.zeros(1), jnp.array([x]), jnp.array([z0])); found, slope = jax.jit(lambda x: inverse_mode_jit(f, jnp.zeros(1), x, jnp.array([z0])))(jnp.array([x]))
            check(inverse_mode(*case), np.array([mode]), atol=2e-3); check(found, np.array([mode]), atol=2e-3); assert float(slope) < 1e-3
        two, slope = inverse_mode_jit(lambda z: jnp.stack([z[0], z[1] ** 2]), jnp.zeros(2), jnp.array([1.0, -1.0]), jnp.array([0.2, 0.5]))
        check(two, np.array([1.0, 0.0]), atol=2e-3); assert float(slope) < 1e-3
