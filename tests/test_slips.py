"Slips that no contract can see, because both directions share them or because only a constant, a start or a standard error moves: each was planted by hand and went through before it had a test here."
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, multivariate_t, norm
from conftest import generic
from nif_lit import ActNorm, AffineCoupling, Chain, Flatten, Flow, GaussianInjection, GaussianNIF, Layer, NoisyInjective, Split, StandardNormal, UniformDequantization, log_likelihood_of
from nif_lit.bijections import conv3x3, he_normal
from nif_lit.bounds import elbo_terms
from nif_lit.checks import check
from nif_lit.gaussian import glorot_normal, gram, inverse_cholesky
from nif_lit.geometry import half_log_det_estimate
from nif_lit.layer import inverse_mode, inverse_mode_jit
from nif_lit.likelihood import round_trip_error
from nif_lit.noise import marginal_importance


def log_prior(z): return -(z ** 2).sum() / 2 - z.size / 2 * jnp.log(2 * jnp.pi)


def test_the_estimate_has_no_error_on_a_diagonal_jacobian(x64):
    "Random signs v give vᵀ log(D) v = tr log D whatever they are, and five Lanczos steps are exact for five eigenvalues: nothing is left to chance."
    gains = jnp.array([0.3, 0.9, 1.7, 2.2, 5.0])
    estimate, se = half_log_det_estimate(lambda z: jnp.concatenate([gains * z, 0 * z]), jnp.ones(5), jax.random.key(0), n_probes=3, n_steps=5)
    check(estimate, np.log(gains).sum(), rtol=1e-9); check(se, 0.0, atol=1e-9)


def test_the_standard_error_of_importance_sampling_is_the_right_one(x64):
    "For a Gaussian integrand the weights are normal over Student, in white coordinates, whatever A is: their spread is a radial integral."
    rng = np.random.default_rng(2); M, n = 3, 20_000
    proposal = multivariate_t(np.zeros(M), np.eye(M), df=5)
    second = quad(lambda r: 4 * np.pi * r ** 2 * np.exp(2 * norm.logpdf([r, 0, 0]).sum() - proposal.logpdf([r, 0, 0])), 0, 40)[0]
    A = jnp.asarray(rng.normal(size=(6, M)))
    _, se = marginal_importance(lambda z: A @ z, np.full(6, -0.4), rng.normal(size=6), log_prior, key=jax.random.key(1), z0=np.zeros(M), n_samples=n)
    check(se, np.sqrt((second - 1) / n), rtol=0.04)


def test_which_volumes_are_the_manifold_s(x64):
    "Up to and including the LAST noisy layer, without dequantization, whatever its volume. A square injection has the same volume at every point, so all of it is certain."
    class Tilted(UniformDequantization):
        def inverse(self, x, *, key=None): return super().inverse(x, key=key)[0], jnp.full(len(x), 100.0)
    class Scaled(Layer):
        def __init__(self, c): self.c = c
        def inverse(self, x, *, key=None): return x, jnp.full(len(x), self.c)
    x, square = jnp.array([[1.0, 2.0]]), noisy_pair()
    terms = elbo_terms(Chain(Tilted(2), Scaled(1.0), square[0], Scaled(10.0), square[1], Scaled(1000.0)), lambda z: jnp.zeros(len(z)), x, key=jax.random.key(0), n_samples=3)
    check(terms.manifold, 11 + sum(layer.inverse(x)[1] for layer in square)); check(terms.likelihood, np.array([1100.0])); check(terms.value, terms.manifold + 1100)


def dense(layer): return np.asarray(layer.A[...]), np.asarray(layer.b[...]), np.diag(np.exp(2 * np.asarray(layer.log_sigma[...])))


def has_moments(draws, mean, Sigma):
    "Mean and covariance of draws (n, N), each entry within 4 of its standard errors."
    draws = np.asarray(draws, float); products = (draws - mean)[:, :, None] * (draws - mean)[:, None]
    assert (np.abs(draws.mean(0) - mean) < 4 * draws.std(0) / np.sqrt(len(draws))).all()
    assert (np.abs(products.mean(0) - Sigma) < 4 * products.std(0) / np.sqrt(len(draws)) + 1e-12).all()


def noisy_pair(): return generic(GaussianInjection(2, 2), 1, 0.3), generic(GaussianInjection(2, 2), 2, 0.3)


def test_two_layers_of_one_shape_draw_independent_noise(x64):
    "Both directions, and s reaches both: in a chain, in a head over a flow, and in a flow over a head."
    outer, inner = noisy_pair(); (A1, b1, S1), (A2, b2, S2) = dense(outer), dense(inner); n, t, s = 100_000, 0.6, 1.7
    z, _ = Chain(outer, inner).inverse(jnp.zeros((n, 2)), key=jax.random.key(0)); I1, I2 = np.linalg.inv(A1), np.linalg.inv(A2)
    has_moments(z, I2 @ (-I1 @ b1 - b2), I2 @ (I1 @ S1 @ I1.T + S2) @ I2.T)
    z0 = np.array([0.5, -1.0]); at = jnp.tile(jnp.asarray(z0), (n, 1)); mean, noise = A1 @ (A2 @ z0 + b2) + b1, s * (A1 @ S2 @ A1.T + S1)
    closed = GaussianNIF(2, 2); closed.injection = inner
    models = [NoisyInjective(outer, Flow(Chain(inner), StandardNormal(2))), Flow(Chain(outer, inner), StandardNormal(2)), Flow(Chain(outer), closed), NoisyInjective(outer, closed)]
    has_moments(Chain(outer, inner).forward(at, key=jax.random.key(1), s=s), mean, noise)
    exact = multivariate_normal(A1 @ b2 + b1, t * A1 @ A2 @ A2.T @ A1.T + noise); x = exact.rvs(random_state=1)[None]
    for model in models:
        has_moments(model.sample(jax.random.key(2), n, t=t, s=s), exact.mean, exact.cov); has_moments(model.lift(at, key=jax.random.key(3), s=s), mean, noise)
        for score in (lambda k: model.log_prob(x, key=k, t=t, s=s)[0], lambda k: model.scale_noise(s).log_prob(x, key=k, t=t)[0]):
            w = np.exp(np.asarray(jax.vmap(score)(jax.random.split(jax.random.key(4), 20_000))) - exact.logpdf(x[0])); assert abs(w.mean() - 1) < 4 * w.std() / np.sqrt(len(w)), type(model)
    check(Flow(Flatten((2,)), closed).log_prob(x, t=t, s=s), closed.log_prob(x, t=t, s=s))
    has_moments(StandardNormal(2).sample(jax.random.key(5), n, t=t), np.zeros(2), t * np.eye(2))


def test_nobody_shares_a_key():
    "A layer and what stands behind it would draw the same noise: spies on both sides write down the keys they get."
    seen = []
    def note(key): seen.append(tuple(np.asarray(jax.random.key_data(key))))
    def note_all(key): [note(k) for k in (key, *jax.random.split(key))]                                   # a head may split its key as a chain does
    class Spy(Layer):
        stochastic = True
        def forward(self, z, *, key=None, s=1.0): note(key); return z
        def inverse(self, x, *, key=None): note(key); return x, jnp.zeros(len(x))
    class Head(StandardNormal):
        stochastic = True
        def log_prob(self, h, *, key=None, n_samples=1, t=1.0, s=1.0): note_all(key); return jnp.zeros(len(h))
        def sample(self, key, n, *, t=1.0, s=1.0): note_all(key); return jnp.zeros((n, 2))
        def lift(self, z, *, key=None, s=0.0): note_all(key); return z
    x, key = jnp.zeros((1, 2)), jax.random.key(0)
    for model in (NoisyInjective(Spy(), Head(2)), Flow(Chain(Spy(), Spy()), Head(2)), Flow(Spy(), NoisyInjective(Spy(), Head(2)))):
        for call in (lambda: model.log_prob(x, key=key, n_samples=2), lambda: model.sample(key, 1), lambda: model.lift(x, key=key, s=1.0)):
            seen.clear(); call(); assert len(set(seen)) == len(seen) >= 2


def test_dequantization_stays_outside_the_mean_over_draws(x64):
    "With enough draws inside the log, what is left is the average over the bin of the exact log density, not the log of its average."
    layer = GaussianInjection(1, 1); layer.A[...], layer.b[...], layer.log_sigma[...] = jnp.array([[0.3]]), jnp.array([-0.2]), jnp.log(jnp.array([0.03]))
    model, x, exact = Flow(Chain(UniformDequantization(1), layer), StandardNormal(1)), jnp.array([[1.0]]), norm(-0.2, np.hypot(0.3, 0.03))
    scores = np.asarray(jax.vmap(lambda k: model.log_prob(x, key=k, n_samples=8)[0])(jax.random.split(jax.random.key(0), 4000)))
    inside, outside = quad(lambda u: exact.logpdf(1 + u), 0, 1)[0], np.log(quad(lambda u: exact.pdf(1 + u), 0, 1)[0])
    assert abs(scores.mean() - inside) < 4 * scores.std() / np.sqrt(len(scores)) + 0.05 < outside - inside          # eight draws leave less than 0.05 nats


def test_scores_average_over_fresh_draws(x64):
    model = Flow(Chain(UniformDequantization(2)), StandardNormal(1)); x = np.full((6, 1), 2.0); score = lambda **kw: log_likelihood_of(model, x, key=jax.random.key(0), batch_size=2, **kw)
    one, many = score(), score(n_draws=400)
    assert len(set(one)) == 6                                                                            # every image its own noise, in every batch
    check(many, np.full(6, quad(lambda u: norm.logpdf(2 + u), 0, 1)[0]), atol=4 * 0.75 / np.sqrt(400))


def test_the_round_trip_error_is_an_absolute_one(x64):
    class Off(Layer):
        def inverse(self, x, *, key=None): return 2 * x, jnp.zeros(len(x))
        def forward(self, z, *, key=None, s=1.0): return z / 2 - jnp.array([0.25, -0.125])
    check(round_trip_error(Flow(Chain(UniformDequantization(2), Off()), StandardNormal(2)), np.ones((3, 2)), key=jax.random.key(0)), 0.25)


def test_the_coupling_is_the_one_of_the_paper(x64):
    "z1 = x1, z2 = exp(tanh a) x2 + t, the net's first half a and its second t."
    net = lambda x1: jnp.concatenate([0.3 * x1 - 0.2, 2 * x1 + 1], -1)
    x = np.array([[0.4, -1.3]]); z, volume = AffineCoupling(2, net=net).inverse(jnp.asarray(x))
    a, t = 0.3 * x[0, 0] - 0.2, 2 * x[0, 0] + 1
    check(z, np.array([[x[0, 0], np.exp(np.tanh(a)) * x[0, 1] + t]])); check(volume, np.array([np.tanh(a)]))


def test_our_convolution_is_the_textbook_s(x64):
    rng = np.random.default_rng(0)
    for (H, W), (C, out) in (((5, 4), (2, 7)), ((4, 5), (7, 2)), ((1, 1), (3, 4))):
        x, kernel = rng.normal(size=(2, H, W, C)), rng.normal(size=(3, 3, C, out)); padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        ref = np.array([[np.einsum('bijc,ijco->bo', padded[:, i:i + 3, j:j + 3], kernel) for j in range(W)] for i in range(H)]).transpose(2, 0, 1, 3)
        for backend in ('cpu', 'gpu') if H == 5 else ('cpu',): check(conv3x3(jnp.asarray(x), jnp.asarray(kernel), backend=backend), ref, rtol=1e-9, atol=1e-9)


def test_a_split_initialises_the_half_that_it_transforms(x64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 2, 2, 4)) * np.array([1.0, 2.0, 3.0, 4.0]))
    layer = Split(Chain(ActNorm(2), Flatten((2, 2, 2))), (2, 2, 4)); z = layer.initialise(x)
    check(layer.inverse(x)[0], z); check(z[:, 8:].reshape(50, 2, 2, 2).std((0, 1, 2)), np.ones(2))


def test_starts_have_the_variance_they_name(x64):
    for draws, variance in ((glorot_normal(jax.random.key(0), 300, 200), 2 / 500), (he_normal(jax.random.key(1), (3, 3, 40, 100)), 2 / 360)):
        check(draws.var() / variance, 1.0, atol=4 * np.sqrt(2 / draws.size))


def test_the_compiled_mode_is_the_other_one(x64):
    f = lambda z: jnp.array([z[0] - 0.2 * z[1], jnp.sin(1.3 * z[0]) + z[1], 0.4 * z[0] ** 2 - z[1]]); log_sigma = np.log(np.array([0.5, 0.3, 0.8]))
    xs = np.asarray(jax.vmap(f)(jax.random.normal(jax.random.key(0), (4, 2)))) + 0.1
    ours, slope = jax.jit(jax.vmap(lambda x: inverse_mode_jit(f, log_sigma, x, jnp.zeros(2))))(jnp.asarray(xs))
    check(ours, np.stack([inverse_mode(f, log_sigma, x, np.zeros(2)) for x in xs]), atol=1e-6); assert (np.asarray(slope) < 1e-9).all()
    for wrong, message in ((dict(z0=jnp.zeros((2, 2))), 'start z0'), (dict(z0=jnp.zeros(2), n_steps=0), 'n_steps')):
        with pytest.raises(ValueError, match=message): inverse_mode_jit(f, log_sigma, xs[0], **wrong)


@pytest.mark.parametrize('M', [1, 5, 32, 33, 70])
def test_the_factor_and_its_derivatives_are_lapack_s(M, x64):
    "One panel, several, and a last one that is padded; the derivative along a direction that is not symmetric, once and twice, against central differences of NumPy's."
    rng = np.random.default_rng(M); W, V = rng.normal(size=(2, M + 3, M)); K, D = W.T @ W + np.eye(M), rng.normal(size=(M, M)) / M
    ref = lambda K: np.linalg.inv(np.linalg.cholesky((K + K.T) / 2)); h = 1e-4; along = lambda K: jax.jvp(inverse_cholesky, (K,), (jnp.asarray(D),))[1]
    check(inverse_cholesky(jnp.asarray(K)), ref(K), rtol=1e-9, atol=1e-10)
    check(along(jnp.asarray(K)), (ref(K + h * D) - ref(K - h * D)) / 2 / h, atol=1e-6)
    if M < 10: check(jax.jvp(along, (jnp.asarray(K),), (jnp.asarray(D),))[1], (ref(K + h * D) - 2 * ref(K) + ref(K - h * D)) / h ** 2, atol=1e-5)
    assert bool(jnp.isnan(inverse_cholesky(jnp.asarray(K - 2 * np.trace(K) * np.eye(M)))).any())
    check(gram(jnp.asarray(W)), W.T @ W); check(jax.jvp(gram, (jnp.asarray(W),), (jnp.asarray(V),))[1], W.T @ V + V.T @ W, atol=1e-12)
