"Heads against SciPy's dense normal at generic points, mass one, moments, bounds and keys."
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.stats import multivariate_normal, norm
from conftest import generic
from nif_lit import Chain, Flatten, Flow, GaussianInjection, GaussianNIF, Layer, NoisyInjective, StandardNormal, log_likelihood_of
from nif_lit.checks import check
from nif_lit.layer import grid_quadrature, log_mean_exp


def head(N, M, seed=1, **kw): return generic(GaussianNIF(N, M, rngs=nnx.Rngs(seed), **kw), seed, 0.4)


def dense(inj): return np.asarray(inj.A[...], float), np.asarray(inj.b[...], float), np.diag(np.exp(2 * np.asarray(inj.log_sigma[...], float)))


@pytest.mark.parametrize('N, M', [(5, 3), (7, 2), (4, 4), (2, 1), (1, 1), (9, 8)])
@pytest.mark.parametrize('t, s', [(1.0, 1.0), (0.7, 1.6), (2.5, 0.3), (0.0, 1.2)])
def test_closed_form(N, M, t, s, x64):
    h = head(N, M, N * 10 + M)
    A, b, Sigma = dense(h.injection)
    hs = np.asarray(2 * jax.random.normal(jax.random.key(3), (6, N)))
    ref = multivariate_normal(b, t * A @ A.T + s * Sigma).logpdf(hs)
    check(h.log_prob(hs, t=t, s=s), ref)
    if (t, s) != (1.0, 1.0): check(h.scale_noise(s).log_prob(hs, t=t), ref)
    Lambda, u = A.T @ np.linalg.inv(Sigma) @ A, (hs - b) @ np.linalg.inv(Sigma) @ A
    check(h.embed(hs), np.linalg.solve(Lambda, u.T).T, rtol=1e-8)
    check(h.embed(hs, kind='posterior_mean'), np.linalg.solve(np.eye(M) + Lambda, u.T).T, rtol=1e-9, atol=1e-12)
    check(h.embed(h.lift(hs[:, :M])), hs[:, :M], rtol=1e-7, atol=1e-9)


def test_standard_normal(x64):
    hs = np.asarray(jax.random.normal(jax.random.key(0), (5, 3)))
    check(StandardNormal(3).log_prob(hs, t=0.4, s=9.0), multivariate_normal(np.zeros(3), 0.4 * np.eye(3)).logpdf(hs))


@pytest.mark.parametrize('make', [lambda: StandardNormal(1), lambda: StandardNormal(2), lambda: head(1, 1), lambda: head(2, 1), lambda: head(2, 2)])
def test_mass_one(make, x64):
    h = make()
    for t, s in ((1.0, 1.0), (0.5, 1.7)):
        points, p, cell = grid_quadrature(lambda zs: h.log_prob(zs, t=t, s=s), [(-20, 20)] * h.N, 1500)
        check(p.sum() * cell, np.array(1.0), rtol=1e-6)


def test_samples(x64):
    h = head(4, 2)
    A, b, Sigma = dense(h.injection)
    for t, s in ((0.6, 1.7), (1.0, 0.0)):
        x = np.asarray(h.sample(jax.random.key(2), 200_000, t=t, s=s))
        products = (x - b)[:, :, None] * (x - b)[:, None]
        assert (np.abs(x.mean(0) - b) < 4 * x.std(0) / np.sqrt(len(x))).all()
        assert (np.abs(products.mean(0) - t * A @ A.T - s * Sigma) < 4 * products.std(0) / np.sqrt(len(x))).all()


def test_one_key_one_ray(x64):
    h = head(4, 2)
    a, b, c = (np.asarray(h.sample(jax.random.key(5), 8, s=s)) for s in (0.0, 0.25, 1.0))
    check(c - a, 2 * (b - a), rtol=1e-9)


def test_bound(x64):
    inj = generic(GaussianInjection(4, 2, rngs=nnx.Rngs(3)), 3, 0.4)
    closed = GaussianNIF(4, 2)
    closed.injection = inj
    bound, hs = NoisyInjective(inj, StandardNormal(2)), inj.forward(jnp.array([[0.4, -0.6]]), key=jax.random.key(1))
    for t, s in ((1.0, 1.0), (0.8, 1.4)):
        exact = float(closed.log_prob(hs, t=t, s=s)[0])
        draws = np.asarray(jax.jit(jax.vmap(lambda k: bound.log_prob(hs, key=k, t=t, s=s)[0]))(jax.random.split(jax.random.key(2), 100_000))) - exact
        w = np.exp(draws)
        assert abs(w.mean() - 1) < 4 * w.std() / np.sqrt(len(w))
        many = np.asarray(jax.jit(jax.vmap(lambda k: bound.log_prob(hs, key=k, t=t, s=s, n_samples=32)[0]))(jax.random.split(jax.random.key(3), 4000))) - exact
        assert draws.mean() + 4 * draws.std() / np.sqrt(len(draws)) < many.mean() - 4 * many.std() / np.sqrt(len(many)) and many.mean() < 4 * many.std() / np.sqrt(len(many))
    check(bound.embed(hs, kind='posterior_mean'), closed.embed(hs, kind='posterior_mean'))
    check(bound.embed(hs), closed.embed(hs))


@pytest.mark.parametrize('n', [2, 16, 35])
def test_draws_in_one_program_are_those_one_by_one(n, x64):
    "Outside jit the draws come one after the other, inside up to 16 of them in one batch: the same keys, the same numbers."
    flow = Flow(Chain(generic(GaussianInjection(3, 2, rngs=nnx.Rngs(3)), 3, 0.3)), StandardNormal(2))
    model, x, key = NoisyInjective(generic(GaussianInjection(4, 3, rngs=nnx.Rngs(4)), 4, 0.3), flow), jnp.ones((2, 4)), jax.random.key(7)
    inside = jax.jit(lambda x, key: model.log_prob(x, key=key, n_samples=n))(x, key)
    check(inside, model.log_prob(x, key=key, n_samples=n), rtol=1e-10)
    assert np.abs(np.asarray(inside - model.log_prob(x, key=jax.random.key(8), n_samples=n))).min() > 1e-6


def test_outside_jit_a_second_call_compiles_nothing(caplog):
    def compiled(x):
        caplog.clear()
        with jax.log_compiles(): jax.block_until_ready(injection.inverse(x, key=jax.random.key(0)))
        return [r.getMessage() for r in caplog.records if 'Finished XLA compilation' in r.getMessage()]
    injection = GaussianInjection(11, 6, rngs=nnx.Rngs(0))
    assert compiled(jnp.ones((3, 11))) and not compiled(jnp.zeros((3, 11)))


def test_bound_through_a_flow_that_is_noisy_itself(x64):
    outer, inner = (generic(GaussianInjection(n, m, rngs=nnx.Rngs(n)), n, 0.3) for n, m in ((4, 3), (3, 2)))
    (A1, b1, S1), (A2, b2, S2) = dense(outer), dense(inner)
    exact = multivariate_normal(A1 @ b2 + b1, A1 @ (A2 @ A2.T + S2) @ A1.T + S1)
    x = exact.rvs(random_state=0).reshape(1, 4)
    models = [Flow(Chain(outer, inner), StandardNormal(2)), NoisyInjective(outer, Flow(Chain(inner), StandardNormal(2))), NoisyInjective(Chain(outer, inner), StandardNormal(2))]
    closed = GaussianNIF(3, 2)
    closed.injection = inner
    models.append(Flow(Chain(outer), closed))
    for model in models:
        scores = jax.jit(jax.vmap(lambda k: model.log_prob(x, key=k)[0]))(jax.random.split(jax.random.key(1), 200_000))
        w = np.exp(np.asarray(scores) - exact.logpdf(x[0]))
        assert abs(w.mean() - 1) < 4 * w.std() / np.sqrt(len(w)), type(model)
        ratio = np.exp(np.asarray(jax.jit(jax.vmap(lambda k: model.log_prob(x, key=k, n_samples=8)[0]))(jax.random.split(jax.random.key(2), 20_000))) - exact.logpdf(x[0]))
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio)) and ratio.std() < w.std()


def test_doors():
    h, hs = GaussianNIF(4, 2), jnp.zeros((3, 4))
    for call in (lambda: h.log_prob(hs, s=0), lambda: h.log_prob(hs, s=-1.0), lambda: h.log_prob(hs, t=float('nan')), lambda: h.log_prob(jnp.zeros((3, 5))), lambda: h.embed(hs, kind='mean'),
                 lambda: h.lift(jnp.zeros((3, 3))), lambda: h.lift(jnp.zeros((3, 2)), s=1.0), lambda: StandardNormal(4).log_prob(hs, t=0), lambda: StandardNormal(0),
                 lambda: NoisyInjective(h.injection, StandardNormal(2)).log_prob(hs), lambda: NoisyInjective(h, StandardNormal(2)), lambda: NoisyInjective(h.injection, 3),
                 lambda: NoisyInjective(h.injection, StandardNormal(2)).log_prob(hs, key=jax.random.key(0), n_samples=0)):
        with pytest.raises(ValueError): call()


def test_lists_and_numpy_s_whole_numbers():
    i, key, row = np.int64, jax.random.key(0), [[1.0, 2.0, 3.0, 4.0, 5.0]]
    h, plain = GaussianNIF(np.prod((5, 1)), i(2)), StandardNormal(np.prod((5, 1)))
    bound = NoisyInjective(h.injection, StandardNormal(i(2)))
    for head in (h, plain, bound):
        assert (head.log_prob(row, key=key, n_samples=i(2)) == head.log_prob(jnp.array(row), key=key, n_samples=2)).all()
        assert head.sample(key, i(3)).shape == (3, 5) and head.embed(row).shape == (1, head.M) and head.lift([[0.5] * head.M]).shape == (1, 5)
        for n in (-1, 0, 2.5, True, None):
            with pytest.raises(ValueError, match='n must be a positive whole number'): head.sample(key, n)
    assert h.log_prob_sweep(row, s=[0.5, 1.0]).shape == (2, 1) and type(h.N) is type(h.M) is type(plain.N) is int
    for call in (lambda: GaussianNIF(5, 2.0), lambda: GaussianNIF(2, 3), lambda: StandardNormal(5.0), lambda: StandardNormal(True), lambda: GaussianInjection(5, 0), lambda: bound.log_prob(row, key=key, n_samples=1.5)):
        with pytest.raises(ValueError): call()


@pytest.mark.parametrize('wrong, got', [(lambda v: v.sum(), r'\(\)'), (lambda v: v.sum(-1, keepdims=True), r'\(4, 1\)')])
def test_volumes_and_densities_of_another_shape_are_refused(wrong, got):
    class Slip(Layer):
        def inverse(self, x, *, key=None): return x, wrong(x)
    class Prior(StandardNormal):
        def log_prob(self, h, *, key=None, n_samples=1, t=1.0, s=1.0): return wrong(h)
    for model, who in ((NoisyInjective(Slip(), StandardNormal(3)), 'Slip.inverse'), (NoisyInjective(GaussianInjection(3, 2), Prior(2)), 'Prior.log_prob')):
        with pytest.raises(ValueError, match=rf'{who} must return .* of shape \(4,\), one number per example, got {got}'): model.log_prob(jnp.ones((4, 3)), key=jax.random.key(0))


def test_log_mean_exp():
    check(log_mean_exp(jnp.array([[1000.0, 0.0], [1000.0, 2.0]])), np.array([1000.0, np.log((1 + np.exp(2)) / 2)]), rtol=1e-6)


@pytest.mark.parametrize('covariance', ['diagonal', 'isotropic', 'dense'])
@pytest.mark.parametrize('N, M, t, s', [(5, 3, 0.7, 1.6), (4, 4, 2.5, 0.3), (40, 33, 1.0, 1.0), (3, 1, 0.0, 1.2)])
def test_derivatives_of_the_density(N, M, t, s, covariance, x64):
    "First and second derivatives of log_prob, by every parameter, h, t and s, against automatic differentiation of the dense normal; t = 0 too, where no root of it may be taken."
    graphdef, params = nnx.split(head(N, M, covariance=covariance))
    h, scales = 2 * jax.random.normal(jax.random.key(3), (6, N)), jnp.asarray([t, s])
    weights = jnp.linspace(-1.0, 2.0, 6)
    def ours(params, h, scales): return weights @ nnx.merge(graphdef, params).log_prob(h, t=scales[0], s=scales[1])
    def reference(params, h, scales):
        inj = nnx.merge(graphdef, params).injection
        root = inj.colour(jnp.eye(N)).T
        return weights @ jax.scipy.stats.multivariate_normal.logpdf(h, inj.b[...], scales[0] * inj.A[...] @ inj.A[...].T + scales[1] * root @ root.T)
    point = (params, h, scales)
    along = jax.tree.map(lambda v: jax.random.normal(jax.random.key(v.size), v.shape), point)
    by = (0, 1, 2)
    for f in (lambda g: jax.jit(jax.grad(g, by))(*point), lambda g: jax.jit(lambda p, v: jax.jvp(jax.grad(g, by), p, v)[1])(point, along)):
        for a, b in zip(jax.tree.leaves(f(ours)), jax.tree.leaves(f(reference)), strict=True): check(a, b, rtol=1e-8, atol=1e-8)
    check(jax.jit(jax.jacfwd(ours, 1))(*point), jax.jit(jax.jacrev(ours, 1))(*point), rtol=1e-10, atol=1e-10)


def test_the_fast_derivative_in_float32():
    "At 784×64 the float32 gradient of log_prob lies as near to float64 as automatic differentiation of the plain formula does, within ten times."
    N, M = 784, 64
    h, x = head(N, M), 2 * jax.random.normal(jax.random.key(3), (8, N))
    graphdef, params = nnx.split(h)
    def ours(params, x): return nnx.merge(graphdef, params).log_prob(x).sum()
    def plain(params, x):
        W, r = nnx.merge(graphdef, params).injection.whitened(x)
        L = jnp.linalg.cholesky(jnp.eye(M) + W.T @ W)
        m = jax.scipy.linalg.cho_solve((L, True), (r @ W).T).T
        return (-((r - m @ W.T) ** 2).sum(-1) / 2 - (m ** 2).sum(-1) / 2).sum() - len(x) * (jnp.log(jnp.diag(L)).sum() + params['injection']['log_sigma'][...].sum())
    with jax.enable_x64(True):
        exact = jax.grad(plain, (0, 1))(*jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), (params, x)))
    def gaps(f): return [float(jnp.linalg.norm(a - jnp.asarray(b, jnp.float32)) / jnp.linalg.norm(jnp.asarray(b, jnp.float32))) for a, b in zip(jax.tree.leaves(jax.grad(f, (0, 1))(params, x)), jax.tree.leaves(exact), strict=True)]
    for a, b in zip(gaps(ours), gaps(plain)): assert a <= 10 * b and a < 1e-5, (gaps(ours), gaps(plain))


# ---- sums of many terms in float32: nothing is lost but the last rounding
@pytest.mark.parametrize('N, M', [(12288, 8), (3072, 64)])
@pytest.mark.parametrize('jitted', [False, True])
def test_log_prob_in_float32_is_off_by_the_last_rounding(N, M, jitted):
    rng = np.random.default_rng(N)
    log_sigma, b, A, h = (np.float32(v) for v in (0.3 * rng.normal(size=N), rng.normal(size=N), rng.normal(size=(N, M)) / np.sqrt(N) * 3, 1.5 * rng.normal(size=(16, N))))
    head = GaussianNIF(N, M); inj = head.injection
    inj.A[...], inj.b[...], inj.log_sigma[...] = A, b, log_sigma
    A, b, log_sigma, x = (np.asarray(v, float) for v in (A, b, log_sigma, h))
    W, r = A / np.exp(log_sigma)[:, None], (x - b) / np.exp(log_sigma)
    L = np.linalg.cholesky(np.eye(M) + W.T @ W); m = np.linalg.solve(L, W.T @ r.T)
    exact = -((r ** 2).sum(1) - (m ** 2).sum(0)) / 2 - log_sigma.sum() - np.log(np.diag(L)).sum() - N / 2 * np.log(2 * np.pi)
    place = np.spacing(np.float32(np.abs(exact).max()))
    found = (jax.jit(lambda h: head.log_prob(h)) if jitted else head.log_prob)(h)
    assert found.dtype == jnp.float32 and np.abs(np.asarray(found, float) - exact).max() < 0.6 * place
    normal = (jax.jit(lambda h: StandardNormal(N).log_prob(h, t=1.5)) if jitted else lambda h: StandardNormal(N).log_prob(h, t=1.5))(h)
    exact = norm.logpdf(x, scale=np.sqrt(1.5)).sum(1); assert np.abs(np.asarray(normal, float) - exact).max() < 0.75 * np.spacing(np.float32(np.abs(exact).max()))      # N/2 log t is rounded, too


def test_points_beyond_float32_have_density_zero_not_nan():
    for head in (GaussianNIF(6, 2), StandardNormal(6)):
        values = head.log_prob(jnp.array([[1e25] * 6, [jnp.inf] + [0.0] * 5, [0.1] * 6]))
        assert values[0] == -jnp.inf and jnp.isfinite(values[2]), (head, values)
    assert StandardNormal(6).log_prob(jnp.array([[jnp.inf] + [0.0] * 5]))[0] == -jnp.inf


class Few(nnx.Module):
    "A head of a user's own, with what `check_head` asks for and nothing more."
    M = 2
    def __init__(self): self.scale = nnx.Param(jnp.ones(()))
    def log_prob(self, h, *, key=None, n_samples=1, t=1.0, s=1.0): return -((h * self.scale[...]) ** 2).sum(-1)
    def sample(self, key, n, *, t=1.0, s=1.0): return jnp.zeros((n, 2))
    def embed(self, h, *, kind='pseudo_inverse'): return h
    def lift(self, z, *, key=None, s=0.0): return z


def test_a_head_of_few_methods_goes_through_every_door():
    flow, x = Flow(Flatten((2,)), Few(), shape=2), np.ones((3, 2), np.float32)
    for model in (flow, NoisyInjective(Flatten((2,)), Few()), NoisyInjective(Flatten((2,)), flow)):
        check(model.log_prob(x), np.full(3, -2.0), rtol=1e-6); check(model.lift(model.embed(x)), x); assert model.sample(jax.random.key(0), 3).shape == (3, 2)
        with pytest.raises(ValueError, match=r'Few does not define scale_noise\(s\), which scoring at s = 0.5 needs'): model.scale_noise(0.5)
    check(log_likelihood_of(flow, x), np.full(3, -2.0), rtol=1e-6); check(flow.log_prob(x, s=0.5), np.full(3, -2.0), rtol=1e-6)
    with pytest.raises(ValueError, match='Few does not define scale_noise'): NoisyInjective(Flatten((2,)), flow).log_prob(x, s=0.5)


@pytest.mark.parametrize('make, who', [(lambda head: Flow(Flatten((2,)), head), 'the head'), (lambda head: NoisyInjective(Flatten((2,)), head), 'the prior')])
def test_what_a_head_lacks_is_named(make, who):
    class Blind(Few): lift, M = None, property(lambda self: self.no_such)
    class Plain: M, log_prob, sample, embed, lift = 2, Few.log_prob, Few.sample, Few.embed, Few.lift
    for head, lacks in ((Blind(), 'Blind lacks lift, M$'), (Plain(), 'Plain lacks flax.nnx.Module as its base$'), (None, 'NoneType lacks flax.nnx.Module as its base, log_prob, sample, embed, lift, M$'), (StandardNormal, 'lacks flax.nnx.Module as its base, M$')):
        with pytest.raises(ValueError, match=f'^{who} must be a head, .*: .*{lacks}'): make(head)
