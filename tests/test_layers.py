"Every layer, one written here too, against the contract, round trips, jit, gradients, float32 and bad shapes."
import math
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.stats import multivariate_normal, norm
from conftest import generic
from nif_lit.glow import default_levels
from nif_lit.layer import _check_draws, _slopes
from nif_lit import (ActNorm, AffineCoupling, Chain, ConvNet, Flatten, GaussianInjection, InvertibleConv1x1, Layer, Logit, MLP, NIF, Repeat, Reverse, Split, Squeeze,
                     Standardise, UniformDequantization, check_contract, flow_step, glow_body, vector_body)
from nif_lit.glow import FlowSteps, triangular_inverse
from nif_lit.checks import check, rejects


class Cubed(Layer):
    "A user's own bijection: z = a x³ + x."

    def __init__(self, a=0.7): self.a = nnx.Param(jnp.asarray(a))

    def inverse(self, x, *, key=None):
        return self.a[...] * x ** 3 + x, jnp.log(3 * self.a[...] * x ** 2 + 1).reshape(x.shape[0], -1).sum(-1)

    def forward(self, z, *, key=None, s=1.0):
        a = self.a[...]
        return 2 / jnp.sqrt(3 * a) * jnp.sinh(jnp.arcsinh(1.5 * jnp.sqrt(3 * a) * z) / 3)


def image(shape, seed=0, low=0.2, high=7.8): return jax.random.uniform(jax.random.key(seed), shape, minval=low, maxval=high)


def vectors(shape, seed=0): return jax.random.normal(jax.random.key(seed), shape)


BIJECTIONS = {
    'logit': lambda: (Logit(8.0), image((2, 2, 3, 2))),
    'logit without margin': lambda: (Logit(8.0, 0.0), image((2, 3))),
    'actnorm': lambda: (ActNorm(3), vectors((4, 2, 3, 3))),
    'actnorm on vectors': lambda: (ActNorm(5), vectors((4, 5))),
    'convolution': lambda: (InvertibleConv1x1(6), vectors((2, 2, 3, 6))),
    'coupling': lambda: (AffineCoupling(4, channels=5), vectors((2, 3, 2, 4))),
    'coupling, odd, 1 pixel': lambda: (AffineCoupling(5, channels=3), vectors((2, 1, 1, 5))),
    'coupling on vectors': lambda: (AffineCoupling(5, net=MLP(2, 6, 7)), vectors((3, 5))),
    'coupling of one': lambda: (AffineCoupling(1, net=MLP(0, 2, 4)), vectors((3, 1))),
    'squeeze': lambda: (Squeeze(), vectors((2, 4, 6, 3))),
    'flatten': lambda: (Flatten((2, 3, 1)), vectors((2, 2, 3, 1))),
    'reverse': lambda: (Reverse(), vectors((2, 5))),
    'standardise': lambda: (Standardise(4), vectors((3, 4))),
    'split': lambda: (Split(Chain(ActNorm(2), Flatten((3, 1, 2))), (3, 1, 5)), vectors((2, 3, 1, 5))),
    'repeat': lambda: (Repeat(lambda rngs: flow_step(4, 5, rngs=rngs), 3), vectors((2, 2, 2, 4))),
    'repeat, kept': lambda: (Repeat(lambda rngs: flow_step(4, 5, rngs=rngs), 2, remat=False), vectors((2, 2, 2, 4))),
    'flow steps': lambda: (FlowSteps(5, 6, 2, remat=True), vectors((2, 2, 3, 5))),
    'flow steps, kept, 1 pixel': lambda: (FlowSteps(4, 6, 2, remat=False), vectors((2, 1, 1, 4))),
    'glow': lambda: (Chain(list(glow_body((4, 4, 1), levels=2, steps=2, channels=4).layers)[1:]), image((2, 4, 4, 1))),
    'vector body': lambda: (vector_body(3, steps=3, hidden=6), vectors((4, 3))),
    'vector body of one': lambda: (vector_body(1, steps=2, hidden=4), vectors((4, 1))),
    "the user's own": lambda: (Chain(Cubed(), Cubed(1.3)), vectors((3, 4))),
    "the user's own, repeated": lambda: (Repeat(lambda rngs: Cubed(0.5), 3), vectors((3, 4))),
}
bijections = pytest.mark.parametrize('make', BIJECTIONS.values(), ids=BIJECTIONS.keys())


def prepared(make):
    layer, x = make()
    if type(layer) is Standardise: layer.initialise(jnp.asarray(3 + 2 * vectors((50, 4), 5)))
    return (layer if isinstance(layer, Chain) and isinstance(layer.layers[0], Cubed) else generic(layer, scale=0.1)), x


@bijections
def test_contract(make, x64):
    layer, x = prepared(make)
    assert not layer.stochastic
    check_contract(layer, x, rtol=1e-8, atol=1e-8)


@bijections
def test_jit_gradients_float32(make, x64):
    layer, x = prepared(make)
    graphdef, params, rest = nnx.split(layer, nnx.Param, ...)

    def score(params, rest, x):
        z, v = nnx.merge(graphdef, params, rest).inverse(x)
        return jnp.sin(z).sum() + (v * jnp.arange(1, 1 + len(v))).sum()

    value = score(params, rest, x)                                              # outside jit
    inside, gradient = jax.jit(jax.value_and_grad(score))(params, rest, x)
    check(inside, value, rtol=1e-9)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        name = jax.tree_util.keystr(path)
        assert leaf.size == 0 or np.abs(leaf).max() > 0, f'no gradient reaches {name}'
    low = lambda tree: jax.tree.map(lambda v: v.astype(jnp.float32), tree)
    check(jax.jit(score)(low(params), low(rest), x.astype(jnp.float32)), value, rtol=2e-3, atol=2e-3)


def both_forms(layer, x, compute=None):
    "Loss and gradients of flow steps, fast and plain."
    graphdef, params, rest = nnx.split(layer, nnx.Param, ...)
    def loss(params, x, fast):
        twin = nnx.merge(graphdef, params, rest); twin.fast, twin.step.layers[2].net.compute = fast, compute
        z, v = twin.inverse(x)
        return jnp.sin(z * jnp.arange(1, 1 + z.size).reshape(z.shape)).sum() + (v * jnp.arange(1, 1 + len(v))).sum()
    return [jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), static_argnums=2)(params, x, fast) for fast in (True, False)]


@pytest.mark.parametrize('seed', range(3))
def test_fast_flow_steps_are_the_plain_ones(seed, x64):
    rng = np.random.default_rng(seed)
    H, W, C, channels, n, batch = (int(v) for v in rng.integers((1, 1, 2, 2, 1, 1), (6, 6, 8, 9, 4, 4)))
    layer = generic(FlowSteps(C, channels, n, remat=[True, False, None][seed]), seed, 0.15)
    x = vectors((batch, H, W, C), seed)
    (a, ga), (b, gb) = both_forms(layer, x)
    check(a, b, rtol=1e-9)
    for u, v in zip(jax.tree.leaves(ga), jax.tree.leaves(gb), strict=True): check(u, v, rtol=1e-8, atol=1e-9 * max(1.0, float(jnp.abs(v).max(initial=0))))
    check(layer.forward(layer.inverse(x)[0]), x, rtol=1e-7, atol=1e-7)
    layer.fast = False
    check(layer.forward(layer.inverse(x)[0]), x, rtol=1e-7, atol=1e-7)


def test_bfloat16_rounds_the_net_and_nothing_else():
    layer, x = generic(FlowSteps(6, 16, 1), 0, 0.1), vectors((3, 4, 4, 6))
    (a, ga), (b, gb) = both_forms(layer, x, 'bfloat16')
    check(a, b, atol=2e-3)                                                                 # the two forms round alike: ten times the gaps measured
    for u, v in zip(jax.tree.leaves(ga), jax.tree.leaves(gb), strict=True): assert float(jnp.linalg.norm(u - v)) <= 0.035 * float(jnp.linalg.norm(v))
    exact = layer.inverse(x)
    layer.step.layers[2].net.compute = 'bfloat16'
    z, v = layer.inverse(x)
    assert z.dtype == v.dtype == jnp.float32 and not np.array_equal(z, exact[0])
    check(z[..., :3], exact[0][..., :3], rtol=1e-6, atol=1e-6)                             # the half that the net does not touch
    check(z, exact[0], atol=0.05); check(v, exact[1], atol=0.15)
    check(layer.forward(z), x, atol=1e-5)                                                  # the same rounding both ways: still a bijection


@pytest.mark.parametrize('shape', [(5,), (3, 4), (3, 3, 2, 5)])
def test_parameters_start_as_they_would_without_a_program_of_our_own(shape):
    from nif_lit.layer import scaled_normal, zeros_of
    key = jax.random.key(3)
    assert (scaled_normal(key, shape, 0.3) == jax.random.normal(key, shape) * 0.3).all() and zeros_of(*shape).dtype == jnp.zeros(shape).dtype and (zeros_of(*shape) == jnp.zeros(shape)).all()


@pytest.mark.parametrize('n', [1, 2, 5, 16, 33])
def test_triangular_inverse(n, x64):
    T = np.tril(np.random.default_rng(n).normal(size=(n, n))) + 2 * np.eye(n)
    check(triangular_inverse(jnp.asarray(T)), np.linalg.inv(T), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('layer, x', [(FlowSteps(4, 3, 1), jnp.zeros((2, 2, 2, 6))), (AffineCoupling(4), jnp.zeros((2, 3, 3, 5))), (Squeeze(), jnp.zeros((2, 3, 4, 1))), (Flatten((2, 2, 1)), jnp.zeros((2, 3, 2, 1))),
                                      (GaussianInjection(4, 2), jnp.zeros((2, 5))), (Split(Flatten((1, 1, 2)), (1, 1, 4)), jnp.zeros((2, 1, 1, 6))), (Standardise(3), jnp.zeros((2, 4)))])
def test_bad_shapes(layer, x):
    with pytest.raises(ValueError, match='expects'): layer.inverse(x)


REFUSED = {
    'actnorm of one': lambda: ActNorm(1).inverse(jnp.ones((4, 3))), 'actnorm on a column': lambda: ActNorm(3).inverse(jnp.ones((4, 1))), 'actnorm, forward': lambda: ActNorm(3).forward(jnp.ones((4, 1))),
    'actnorm, initialise': lambda: ActNorm(3).initialise(jnp.ones((4, 1))), 'actnorm without a batch': lambda: ActNorm(3).inverse(jnp.ones(3)), 'actnorm of a shape': lambda: ActNorm((8, 8, 1)),
    'standardise, forward': lambda: Standardise(3).forward(jnp.ones((4, 1))), 'standardise, initialise': lambda: Standardise(3).initialise(np.arange(4.0)[:, None]),
    'convolution': lambda: InvertibleConv1x1(3).inverse(jnp.ones((4, 2))), 'convolution, forward': lambda: InvertibleConv1x1(3).forward(jnp.ones((4, 2))),
    'coupling, half a net': lambda: AffineCoupling(4, net=MLP(2, 2)).inverse(jnp.ones((4, 4))), 'coupling, half a net, forward': lambda: AffineCoupling(4, net=MLP(2, 2)).forward(jnp.ones((4, 4))),
    'coupling, a net for another half': lambda: AffineCoupling(4, net=MLP(3, 4)).inverse(jnp.ones((4, 4))), 'coupling, one row for all': lambda: AffineCoupling(4, net=lambda x: x[:1].repeat(2, 1)).inverse(jnp.ones((4, 4))),
    'coupling of images on vectors': lambda: AffineCoupling(4).inverse(jnp.ones((3, 4))), 'coupling of halves': lambda: AffineCoupling(4.0), 'a net of nothing': lambda: ConvNet(2, 4, 0),
    'flatten, forward': lambda: Flatten((2, 3)).forward(jnp.ones((3, 4))), 'squeeze, forward': lambda: Squeeze().forward(jnp.ones((2, 2, 2, 3))), 'squeeze of vectors': lambda: Squeeze().forward(jnp.ones((2, 4))),
    'split, forward': lambda: Split(ActNorm(2), (4,)).forward(jnp.ones((3, 3))), 'split, a rest that broadcasts': lambda: Split(Cubed(), (2, 4)).forward(jnp.ones((3, 8))),
    'split, no flat rest': lambda: Split(ActNorm(2), (3, 4)).inverse(jnp.ones((5, 3, 4))), 'split, initialise': lambda: Split(ActNorm(2), (4,)).initialise(jnp.ones((3, 5))),
}


@pytest.mark.parametrize('call', REFUSED.values(), ids=REFUSED.keys())
def test_what_fits_by_broadcasting_only_is_refused(call):
    with pytest.raises(ValueError, match=r'(expects|must make|must be|must end flat).*got'): call()
    with pytest.raises(ValueError, match='got'): jax.jit(call)()


class Masked(AffineCoupling):
    def __init__(self, flip, rngs): super().__init__(2, net=MLP(1, 2, 3, rngs=rngs)); self.flip = flip


class Badly(Layer):
    "A layer whose log volume has another shape than (batch,)."
    def __init__(self, how): self.how = how
    def inverse(self, x, *, key=None): return x, self.how(x)


def test_repeat_refuses_copies_that_one_program_cannot_run():
    flips, sizes, kinds = iter((0, 1)), iter((3, 4)), iter((ActNorm, Standardise))
    for step, match in ((lambda rngs: Masked(next(flips), rngs), 'flip: 0 and 1'), (lambda rngs: AffineCoupling(2, net=MLP(1, 2, next(sizes), rngs=rngs)), 'different structure'), (lambda rngs: next(kinds)(2), 'different structure'),
                        (ActNorm(3), 'function of rngs.*got ActNorm'), (lambda: ActNorm(3), 'function of rngs'), (None, 'function of rngs'), (lambda rngs: 3, 'returns a Layer, got int')):
        with pytest.raises(ValueError, match=match): Repeat(step, 2)
    for n in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match='positive whole number'): Repeat(lambda rngs: ActNorm(3), n)
    for call in (Repeat(lambda rngs: Squeeze(), 2).inverse, Repeat(lambda rngs: Squeeze(), 2).forward, Repeat(lambda rngs: Squeeze(), 2).initialise):
        with pytest.raises(ValueError, match='keep the shape'): call(jnp.ones((1, 4, 4, 4)))


def test_repeat_without_parameters():
    layer, x = Repeat(lambda rngs: Reverse(), np.int64(3)), vectors((2, 5))
    z, volume = layer.inverse(x)
    check(z, x[:, ::-1]); check(volume, np.zeros(2, np.float32)); check(layer.forward(z), x); check(layer.initialise(x), z)


def test_repeat_scales_a_noise_level_that_is_no_array(x64):
    class Shaken(Layer):
        stochastic = True
        def __init__(self, variance): self.variance = variance
        def inverse(self, x, *, key=None): return x + (0 if key is None else math.sqrt(self.variance) * jax.random.normal(key, x.shape)), jnp.zeros(len(x))
        def scale_noise(self, s): return Shaken(self.variance * s)
    layer, x, key = Repeat(lambda rngs: Shaken(0.5), 2), vectors((3, 2)), jax.random.key(0)
    check(layer.scale_noise(4.0).inverse(x, key=key)[0] - x, 2 * (layer.inverse(x, key=key)[0] - x), rtol=1e-9)


@pytest.mark.parametrize('how', [lambda x: jnp.ones(x.shape).sum(), lambda x: x.sum(-1, keepdims=True), lambda x: jnp.zeros(1), lambda x: 0.0], ids=['no axis', 'keepdims', 'one', 'a number'])
@pytest.mark.parametrize('around', [lambda bad: Chain(Reverse(), bad), lambda bad: Chain(Chain(bad)), lambda bad: Split(bad, (4,)), lambda bad: Repeat(lambda rngs: bad, 2)], ids=['chain', 'nested', 'split', 'repeat'])
def test_a_badly_shaped_volume_is_named(around, how):
    with pytest.raises(ValueError, match=r'Badly.inverse must return a log_volume of shape \(4,\), .*got'): around(Badly(how)).inverse(jnp.ones((4, 4)))


def test_bad_arguments():
    for make in (lambda: GaussianInjection(2, 3), lambda: GaussianInjection(2, 0), lambda: UniformDequantization(9), lambda: UniformDequantization(True), lambda: Logit(1.0, 0.5),
                 lambda: Repeat(lambda rngs: Reverse(), 0), lambda: Chain(Reverse(), 'no layer'), lambda: glow_body((28, 28, 1), levels=3), lambda: glow_body((7, 8, 1), levels=1)):
        with pytest.raises(ValueError, match='got|cannot|needs'): make()
    with pytest.raises(ValueError, match='needs a key'): GaussianInjection(3, 2).forward(jnp.zeros((1, 2)))
    with pytest.raises(ValueError, match='variance'): GaussianInjection(3, 2).forward(jnp.zeros((1, 2)), s=-1.0, key=jax.random.key(0))
    with pytest.raises(ValueError, match='columns 1, 2'): Standardise(3).initialise(jnp.array([[1.0, 2, 3], [2, 2, 3]]))


def test_constant_column_with_large_offset():
    with pytest.raises(ValueError, match='column 1'): Standardise(2).initialise(np.array([[1.0, 1e6], [2.0, 1e6]]))


# noisy layers

def injection(N, M, seed): return generic(GaussianInjection(N, M, rngs=nnx.Rngs(seed)), seed, 0.4)


def dense(layer): return np.asarray(layer.A[...]), np.asarray(layer.b[...]), np.diag(np.exp(2 * np.asarray(layer.log_sigma[...])))


@pytest.mark.parametrize('N, M, s', [(1, 1, 1.0), (3, 1, 1.0), (4, 2, 1.0), (2, 2, 1.0), (3, 2, 0.6)])
def test_injection_contract(N, M, s, x64):
    layer = injection(N, M, N + M)
    A, b, Sigma = dense(layer)
    noise = multivariate_normal(np.zeros(N), s * Sigma)
    log_likelihood = lambda x, zs: noise.logpdf(np.asarray(x) - np.asarray(zs) @ A.T - b).reshape(len(zs))
    centre = np.asarray(layer.forward(jnp.zeros((1, M)), s=0))
    x = jnp.asarray(centre + 0.5 * np.asarray(vectors((2, N))))
    Lambda = A.T @ np.linalg.inv(s * Sigma) @ A
    width = 8 / np.sqrt(np.linalg.eigvalsh(Lambda)[0]) + 3
    scaled = layer if s == 1 else layer.scale_noise(s)
    case = dict(key=jax.random.key(3), log_likelihood=log_likelihood, box=[(-width, width)] * M, n_grid=800 if M == 2 else 4000)
    check_contract(scaled, x, **case)
    broken = nnx.clone(scaled)
    broken.log_sigma[...] = broken.log_sigma[...] + 0.2
    with pytest.raises(AssertionError): check_contract(broken, x, **case)


def test_two_noisy_layers(x64):
    first, second = injection(4, 3, 1), injection(3, 2, 2)
    (A1, b1, S1), (A2, b2, S2) = dense(first), dense(second)
    both = multivariate_normal(np.zeros(4), A1 @ S2 @ A1.T + S1)
    log_likelihood = lambda x, zs: both.logpdf(np.asarray(x) - np.asarray(zs) @ (A1 @ A2).T - A1 @ b2 - b1)
    chain, x = Chain(first, Cubed(1e-9), second), jnp.asarray(vectors((2, 4), 3))
    assert chain.stochastic and chain.noisy and not chain.dequantizes
    width = 9 / np.sqrt(np.linalg.eigvalsh((A1 @ A2).T @ np.linalg.inv(A1 @ S2 @ A1.T + S1) @ A1 @ A2)[0]) + 4
    check_contract(chain, x, key=jax.random.key(4), log_likelihood=log_likelihood, box=[(-width, width)] * 2, n_draws=200_000, n_grid=600)
    _, volumes = chain.volumes(x, key=jax.random.key(5))
    check(volumes.sum(0), chain.inverse(x, key=jax.random.key(5))[1])


def test_repeated_noisy_layer(x64):
    layer = Repeat(lambda rngs: GaussianInjection(1, 1, rngs=rngs), 2)
    layer.step.A[...], layer.step.log_sigma[...], layer.step.b[...] = jnp.array([[[0.8]], [[1.4]]]), jnp.array([[-0.3], [0.2]]), jnp.array([[0.5], [-0.7]])
    a, b, v = (0.8, 1.4), (0.5, -0.7), np.exp(2 * np.array([-0.3, 0.2]))
    for s in (1.0, 0.5):
        variance = s * (v[0] + a[0] ** 2 * v[1])
        noise = multivariate_normal(0, variance)
        log_likelihood = lambda x, zs: noise.logpdf(np.asarray(x) - a[0] * (a[1] * np.asarray(zs)[:, 0] + b[1]) - b[0])
        check_contract(layer.scale_noise(s), jnp.array([[0.4], [1.9]]), key=jax.random.key(6), log_likelihood=log_likelihood, box=[(-14, 14)], n_grid=4000)
    check(layer.forward(jnp.array([[0.3]]), s=0), np.array([[a[0] * (a[1] * 0.3 + b[1]) + b[0]]]))
    with pytest.raises(ValueError, match='needs a key'): layer.forward(jnp.array([[0.3]]))


def test_injection_forward(x64):
    layer, z = injection(4, 2, 5), jnp.array([[0.3, -1.1]])
    A, b, Sigma = dense(layer)
    draws = np.asarray(layer.forward(jnp.repeat(z, 200_000, 0), key=jax.random.key(0), s=0.6))
    centred = draws - (A @ np.asarray(z[0]) + b)
    assert (np.abs(centred.mean(0)) < 4 * centred.std(0) / np.sqrt(len(draws))).all()
    products = centred[:, :, None] * centred[:, None]
    assert (np.abs(products.mean(0) - 0.6 * Sigma) < 4 * products.std(0) / np.sqrt(len(draws))).all()
    check(layer.inverse(layer.forward(z, s=0))[0], z)
    check(layer.inverse(draws[:1])[0], (np.linalg.pinv(np.linalg.cholesky(np.linalg.inv(Sigma)).T @ A) @ np.linalg.cholesky(np.linalg.inv(Sigma)).T @ (draws[0] - b))[None])


def test_dequantization(x64):
    layer, x = UniformDequantization(3), jax.random.randint(jax.random.key(0), (6, 5, 4), 0, 8)
    y, v = layer.inverse(x, key=jax.random.key(1))
    assert (v == 0).all() and (layer.forward(y) == x).all() and (jnp.floor(y) == x).all() and layer.forward(y).dtype == jnp.uint8
    check(layer.inverse(x)[0], x + 0.5)
    assert (layer.forward(jnp.array([-3.0, 99.0])) == jnp.array([0, 7])).all()
    in_bin = lambda x, zs: jnp.where((jnp.floor(zs) == x).all(-1), 0.0, -jnp.inf)
    contract = dict(x=jnp.array([[2, 7]]), key=jax.random.key(6), log_likelihood=in_bin, box=[(0, 8)] * 2)
    assert check_contract(layer, **contract)['round trip'] == 0
    class Ceiling(UniformDequantization):
        def forward(self, z, *, key=None, s=1.0): return jnp.ceil(z).astype(jnp.uint8)
    with pytest.raises(AssertionError): check_contract(Ceiling(3), **contract)


def test_dequantization_stays_in_its_bin_in_float32():
    x = jnp.full((1, 2_000_000), 254)
    y, _ = UniformDequantization(8).inverse(x, key=jax.random.key(2))
    assert y.dtype == jnp.float32 and (jnp.floor(y) == 254).all()
    u = jax.random.uniform(jax.random.key(2), x.shape)
    assert (254 + u == 255).any() and np.array_equal(y, jnp.minimum(254 + u, jnp.nextafter(jnp.float32(255), 0)))


@pytest.mark.parametrize('fast', [True, False])
def test_scores_and_embeddings_have_a_derivative_in_the_image(fast, x64):
    model = generic(NIF((4, 4, 1), 2, bits=3, levels=1, steps=1, channels=4, fast=fast), scale=0.1)
    x = jax.random.randint(jax.random.key(0), (2, 4, 4, 1), 0, 8).astype(float); along = vectors(x.shape, 1)
    scores = jax.jit(lambda x: jnp.append(model.log_prob(x, key=jax.random.key(2)), model.embed(x)))
    gradients, h = jax.jit(jax.jacrev(scores))(x), 1e-5
    check((gradients * along).sum((1, 2, 3, 4)), (scores(x + h * along) - scores(x - h * along)) / 2 / h, rtol=1e-6, atol=1e-6)


def test_initialise_reaches_every_actnorm():
    body = glow_body((8, 8, 3), bits=3, levels=2, steps=3, channels=4)
    x = jax.random.randint(jax.random.key(0), (64, 8, 8, 3), 0, 8)
    body.initialise(x, key=jax.random.key(1))
    scales = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.state(body)) if 'log_scale' in jax.tree_util.keystr(path)]
    assert len(scales) == 2 and all(s.shape[0] == 3 and (jnp.abs(s).max(-1) > 1e-6).all() for s in scales)
    y, _ = Chain(list(body.layers)[:2]).inverse(x, key=jax.random.split(jax.random.key(1), 3)[0])
    y, _ = body.layers[2].layers[0].inverse(y)
    first = generic(Repeat(lambda rngs: Chain(ActNorm(12)), 1), scale=0)
    z = first.initialise(y)
    assert jnp.abs(z.mean((0, 1, 2))).max() < 1e-4 and jnp.abs(z.std((0, 1, 2)) - 1).max() < 1e-3


def test_contract_notices_broken_layers(x64):
    class Leaky(Cubed):
        def inverse(self, x, *, key=None): return super().inverse(x - x.mean(0))
    class WrongVolume(Cubed):
        def inverse(self, x, *, key=None): return x.copy(), jnp.ones(x.shape[0])
        def forward(self, z, *, key=None, s=1.0): return z
    for bad in (Leaky(), WrongVolume()):
        with pytest.raises(AssertionError): check_contract(bad, vectors((3, 4)))


def test_a_contract_in_float32_says_so(x64):
    "Where rounding alone may break it; and only there."
    class Doubled(Layer):
        def inverse(self, x, *, key=None): return 2 * x, jnp.zeros(len(x))
        def forward(self, z, *, key=None, s=1.0): return z / 2
    for dtype, told in ((jnp.float32, True), (jnp.float64, False)):
        with pytest.raises(AssertionError, match='gap') as broken: check_contract(Doubled(), jnp.ones((2, 3), dtype))
        assert ('this was float32' in str(broken.value) and 'jax_enable_x64' in str(broken.value)) == told


def with_forward(forward):
    "The injection at a generic point, its sampler replaced: forward(layer, the right sampler, z, key, s)."
    class Bug(GaussianInjection):
        def forward(self, z, *, key=None, s=1.0): return forward(self, super().forward, z, key, s)
    layer = Bug(2, 1)
    layer.A[...], layer.b[...], layer.log_sigma[...] = jnp.array([[1.3], [-0.7]]), jnp.array([0.6, -0.4]), jnp.array([-0.5, 0.3])
    return layer


SAMPLERS = {
    'sigma read as a variance': (lambda self, right, z, key, s: right(z, s=0) if key is None and s == 0 else right(z, s=0) + jnp.exp(self.log_sigma[...] / 2) * (right(z, key=key, s=s) - right(z, s=0)) / jnp.exp(self.log_sigma[...]), 'against'),
    'one noise for both': (lambda self, right, z, key, s: right(z, s=0) + (right(z, key=key, s=s) - right(z, s=0))[:, :1] * jnp.array([1.0, 2.2]), 'draws noise in 1 of 2'),
    'noise in one dimension': (lambda self, right, z, key, s: right(z, key=key, s=s).at[:, 1].set(right(z, s=0)[:, 1]), 'draws no noise in 1 of 2'),
    'a key made up': (lambda self, right, z, key, s: right(z, key=jax.random.key(0) if key is None else key, s=s), 'without a key'),
    'a key wanted at s = 0': (lambda self, right, z, key, s: right(z, key=jax.random.clone(key), s=s), 'without a key'),
    's scales the deviation': (lambda self, right, z, key, s: right(z, key=key, s=s ** 2), 'scale_noise'),
    'the mode is another': (lambda self, right, z, key, s: right(z, key=key, s=s) + 0.1 * (s == 0), 'away from what s = 0 gives'),
    'another point': (lambda self, right, z, key, s: right(1.3 * z, key=key, s=s) + 0.1, 'forward against log_likelihood'),
    'a deviation half as large again at every s': (lambda self, right, z, key, s: right(z, key=key, s=2.25 * s), 'forward against log_likelihood'),
    'a mean over the batch': (lambda self, right, z, key, s: right(z, key=key, s=s) + z.mean(0), 'row 0 of x changes'),
    'noise cut off at a third of a deviation': (lambda self, right, z, key, s: right(z, s=0) + jnp.clip(right(z, key=key, s=s) - right(z, s=0), -0.3, 0.3), 'forward against log_likelihood'),
    'noise of one sign': (lambda self, right, z, key, s: right(z, s=0) + jnp.abs(right(z, key=key, s=s) - right(z, s=0)), 'forward against log_likelihood'),
    'a tuple': (lambda self, right, z, key, s: (right(z, key=key, s=s),), 'forward makes tuple'),
    'nothing': (lambda self, right, z, key, s: right(z, key=key, s=s) if key is None else None, 'forward makes NoneType'),
    'one row': (lambda self, right, z, key, s: right(z, key=key, s=s)[:1], 'expected'),
    'a shape of its own': (lambda self, right, z, key, s: right(z, key=key, s=s)[:, :1], 'expected'),
}


@pytest.mark.parametrize('bug, match', [(lambda self, right, z, key, s: right(z, key=key, s=s), None), *SAMPLERS.values()], ids=['right', *SAMPLERS])
def test_contract_looks_at_the_draws(bug, match, x64):
    layer = with_forward(bug); A, b, Sigma = dense(layer); normal = multivariate_normal(np.zeros(2), Sigma)
    log_likelihood = lambda x, zs: normal.logpdf(np.asarray(x) - np.asarray(zs) @ A.T - b).reshape(len(zs))
    check_it = lambda: check_contract(layer, jnp.array([[0.4, 1.1], [-0.3, 0.2]]), key=jax.random.key(0), log_likelihood=log_likelihood, box=[(-8, 8)], n_draws=20_000)
    if match is None: assert {'rows stand alone', 'phi = z', 'scale_noise, phi = x', 'scale_noise, phi = x²', 'forward, phi = 1', 'forward, phi = x'} <= set(check_it())
    else:
        with pytest.raises(AssertionError, match=match): check_it()


@pytest.mark.parametrize('leak', [lambda z, v: (z, jnp.full_like(v, v.mean())), lambda z, v: (z[::-1], v), lambda z, v: (z + 1e-3 * z.mean(0), v)], ids=['the mean of the volumes', 'rows in another order', 'a mean in z'])
def test_rows_of_a_noisy_layer_that_leak_are_seen(leak, x64):
    class Leak(GaussianInjection):
        def inverse(self, x, *, key=None): return leak(*super().inverse(x, key=key))
    layer = Leak(2, 1); layer.A[...] = jnp.array([[1.3], [-0.7]])
    log_likelihood = lambda x, zs: -((x - zs @ layer.A[...].T) ** 2).sum(-1) / 2 - jnp.log(2 * jnp.pi)
    call = lambda layer: check_contract(layer, jnp.array([[0.4, 1.1], [-2.0, 0.2]]), key=jax.random.key(0), log_likelihood=log_likelihood, box=[(-8, 8)], n_draws=5_000)
    right = GaussianInjection(2, 1); right.A[...] = layer.A[...]
    assert call(right)['rows stand alone'] < 1e-12
    with pytest.raises(AssertionError, match='changes with the other rows of its batch'): call(layer)


NOISES = {
    'uniform': (lambda key, shape: jax.random.uniform(key, shape, minval=-1.0, maxval=1.0), lambda e: jnp.where(jnp.abs(e) < 1, -jnp.log(2.0), -jnp.inf)),
    'Laplace': (jax.random.laplace, lambda e: -jnp.abs(e) - jnp.log(2.0)),
    'Student': (lambda key, shape: jax.random.t(key, 2.5, shape), lambda e: jax.scipy.stats.t.logpdf(e, 2.5)),
}


class Shifted(Layer):
    "x = z + e, elementwise, of any noise; `wrong` scales the noise of forward, `edge` sends x through a steep logistic, whose rounding puts draws on its edge."
    stochastic = True
    def __init__(self, draw, wrong=1.0, edge=0.0): self.draw, self.wrong, self.edge = draw, wrong, edge
    def forward(self, z, *, key=None, s=1.0):
        if not isinstance(s, jax.core.Tracer) and s == 0: x = z
        elif key is None: raise ValueError('noise needs a key')
        else: x = z + self.wrong * jnp.sqrt(s) * self.draw(key, z.shape)
        return jax.nn.sigmoid(self.edge * x) if self.edge else x
    def inverse(self, x, *, key=None):
        y = jnp.log(x / (1 - x)) / self.edge if self.edge else x
        return (y if key is None else y - self.draw(key, x.shape)), -(jnp.log(self.edge * x * (1 - x)).sum(-1) if self.edge else jnp.zeros(len(x)))


def drawn(layer, z, log_likelihood): return _check_draws(layer, layer.forward(z, s=0), z, jax.random.key(4), 20_000, log_likelihood)


@pytest.mark.parametrize('noise', NOISES)
def test_noise_of_any_shape_keeps_the_contract(noise, x64):
    draw, log_p = NOISES[noise]
    case = dict(x=jnp.array([[0.3, -0.4], [1.1, 0.2]]), key=jax.random.key(3), log_likelihood=lambda x, zs: log_p(x - zs).sum(-1), n_draws=20_000, n_grid=1320)
    if noise == 'uniform': check_contract(Shifted(draw), box=[(-2.2, 2.2)] * 2, **case)                # the grid of z knows no kinks and no heavy tails
    drawn(Shifted(draw), case['x'], case['log_likelihood'])
    with pytest.raises(AssertionError, match='against log_likelihood|-inf'): drawn(Shifted(draw, 1.25), case['x'], case['log_likelihood'])


def test_draws_on_the_edge_of_the_support_are_said_to_be_no_comparison(x64):
    log_likelihood = lambda edge: lambda x, zs: (-(jnp.log(x / (1 - x)) / edge - zs) ** 2 / 2 - jnp.log(edge * x * (1 - x)) - jnp.log(2 * jnp.pi) / 2).sum(-1)
    z = jnp.array([[0.3, -0.4], [1.1, 0.2]])
    drawn(Shifted(jax.random.normal, edge=3.0), z, log_likelihood(3.0))
    with pytest.raises(AssertionError, match='against log_likelihood'): drawn(Shifted(jax.random.normal, 1.2, edge=3.0), z, log_likelihood(3.0))
    drawn(Shifted(jax.random.normal, edge=500.0), z, log_likelihood(500.0))      # half of its draws are 0 or 1 in rounding
    unknown = lambda x, zs: jnp.where(x[0] < 0.97, jnp.nan, 1.0) * log_likelihood(3.0)(x, zs)
    with pytest.raises(ValueError, match='cannot be compared .* edge of what x may be'): drawn(Shifted(jax.random.normal, edge=3.0), z, unknown)


def test_a_density_that_only_python_or_only_differences_can_follow(x64):
    A, z = jnp.array([[1.3], [-0.7]]), jnp.array([0.4]); y = jnp.asarray(vectors((60, 2))); exact = -np.asarray(y - A[:, 0] * z)
    right = lambda x, zs: -((x - zs @ A.T) ** 2).sum(-1) / 2 - jnp.log(2 * jnp.pi)
    for form in (right, lambda x, zs: right(x, zs) if x[0] > 0 else 1.0 * right(x, zs), lambda x, zs: right(x.at[:].add(0.0), zs) if x[0] > 0 else right(x, zs),      # an `if` of Python's; with arrays of JAX's
                 lambda x, zs: multivariate_normal(np.zeros(2), np.eye(2)).logpdf(np.asarray(x) - np.asarray(zs) @ np.asarray(A).T),
                 lambda x, zs: right(x, zs) + 0 * jnp.where(x[0] > 0, jnp.sqrt(x[0]), jnp.sqrt(-x[0]))):                                                                # its gradient is NaN, 0 times infinity
        p, g, edge = _slopes(form, y, z); check(g, exact, atol=1e-6); check(p, [right(row, z[None])[0] for row in y]); assert not edge.any()
    def buggy(x, zs):
        if isinstance(x, jax.core.Tracer): raise RuntimeError('a bug of the caller')
        return right(x, zs)
    with pytest.raises(RuntimeError, match='a bug of the caller'): _slopes(buggy, y, z)
    assert _slopes(lambda x, zs: jnp.where(x[0] > -9, right(x, zs), -jnp.inf), 4 * y, z)[2].tolist() == [True, False]


@pytest.mark.parametrize('found, message', [(lambda z, v: (z, v[:1]), 'log_volume of shape'), (lambda z, v: z, 'must return'), (lambda z, v: (z.sum(), v), 'must return z'), (lambda z, v: (None, v), 'must return z'), (lambda z, v: (z, jnp.nan * v), 'gives NaN in log_volume')])
def test_what_inverse_returns_is_looked_at(found, message, x64):
    class Odd(GaussianInjection):
        def inverse(self, x, *, key=None): return found(*super().inverse(x, key=key))
    with pytest.raises(AssertionError, match=message): check_contract(Odd(2, 1), jnp.array([[0.4, 1.1], [-2.0, 0.2]]), key=jax.random.key(0), log_likelihood=lambda x, zs: zs[:, 0], box=[(-8, 8)], n_draws=100)


def test_a_dequantizing_chain_whose_rows_leak_is_seen(x64):
    class Leak(GaussianInjection):
        def forward(self, z, *, key=None, s=1.0): return super().forward(z, key=key, s=s) + 5 * z.mean()
    A = np.array([[1.3], [-0.7]])
    def chain(kind):
        layer = kind(2, 1); layer.A[...], layer.b[...] = jnp.asarray(A), jnp.array([3.0, 4.0])
        return Chain(UniformDequantization(3), layer)
    def log_likelihood(x, zs):
        mean = np.asarray(zs) @ A.T + [3.0, 4.0]
        return np.log(norm.cdf(np.asarray(x) + 1 - mean) - norm.cdf(np.asarray(x) - mean) + 1e-300).sum(-1)      # the mass of a bin, far from the first and the last level
    case = dict(x=jnp.array([[3.0, 4.0], [4.0, 3.0]]), key=jax.random.key(0), log_likelihood=log_likelihood, box=[(-12, 12)], n_draws=20_000, n_grid=2000)
    assert 'rows stand alone' in check_contract(chain(GaussianInjection), **case)
    with pytest.raises(AssertionError, match='row . of x changes'): check_contract(chain(Leak), **case)


def test_rows_of_a_bijection_in_another_order_are_seen(x64):
    class Backwards(ActNorm):
        "Its round trip is right."
        def inverse(self, x, *, key=None): return super().inverse(x[::-1])
        def forward(self, z, *, key=None, s=1.0): return super().forward(z)[::-1]
    with pytest.raises(AssertionError): check_contract(Backwards(3), vectors((4, 3)))


def test_a_noisy_layer_without_scale_noise_raises():
    class Noisy(Layer):
        stochastic = True
        def forward(self, z, *, key=None, s=1.0): return z
        def inverse(self, x, *, key=None): return x, jnp.zeros(len(x))
    with pytest.raises(ValueError, match='scale_noise'): Chain(Noisy()).scale_noise(0.5)
    assert isinstance(Chain(Noisy()).scale_noise(1.0), Chain)


def test_checks_reject_what_they_must():
    check(np.array([1.0, np.inf]), np.array([1.0, np.inf]))
    for bad, ref in ((np.nan, 1.0), (1.0, np.nan), (np.ones(2), np.ones((2, 1))), (1.0, 1.0 + 1e-9), (np.inf, 1.0), (1.0, np.inf)):
        with pytest.raises(AssertionError): check(bad, ref)
    assert rejects(1.0, 2.0) == 1.0 and rejects(np.uint8(3), np.uint8(5)) == 2 and rejects(True, False) == 1
    check(np.uint8(3), np.uint8(5), atol=2); check(np.int8(-100), np.int8(100), atol=200); check([True], [1])
    for pair in ((np.uint8(3), np.uint8(5)), (np.int8(-100), np.int8(100))):
        with pytest.raises(AssertionError, match='gap 2'): check(*pair, atol=1)
    for call in (check, rejects):
        with pytest.raises(AssertionError, match='nothing was compared'): call([], [])
        for wrong in (dict(rtol=np.nan), dict(atol=np.nan), dict(atol=-1.0), dict(rtol=np.ones(2)), dict(rtol=None), dict(atol='1e-3'), dict(rtol=1j)):
            with pytest.raises(ValueError, match='must be a number from 0'): call(1.0, 2.0, **wrong)
    with pytest.raises(AssertionError, match='did not notice'): rejects(1.0, 1.0)


@pytest.mark.parametrize('layer, shape', [(Flatten((4,)), (0, 4)), (Logit(8.0), (0, 4)), (AffineCoupling(4, net=MLP(2, 4, hidden=3)), (0, 4)), (Split(Flatten((2, 2, 1)), (2, 2, 2)), (0, 2, 2, 2))])
def test_an_empty_batch_has_no_volumes(layer, shape):
    z, volume = layer.inverse(jnp.zeros(shape))
    assert z.shape[0] == 0 and volume.shape == (0,)


def test_nothing_is_initialised_from_an_empty_batch():
    from nif_lit.bijections import Standardise
    for layer in (ActNorm(4), Standardise(4)):
        with pytest.raises(ValueError, match=r'empty one of shape \(0, 4\)'): layer.initialise(jnp.zeros((0, 4)))


class Net(nnx.Module):
    "A user's net: its random streams are used up in construction, and kept where it is said so."
    def __init__(self, rngs, part=None, keep=False):
        self.first, self.last, self.part = nnx.Linear(2, 3, rngs=rngs), nnx.Linear(3, 4, rngs=rngs), part
        if keep: self.rngs = rngs
    def __call__(self, x): return self.last(self.part(self.first(x)) if self.part is not None else self.first(x))


def test_a_net_of_a_coupling_is_pure():
    x, rngs = vectors((3, 4)), nnx.Rngs(0)
    for net in (Net(rngs), nnx.Sequential(nnx.Linear(2, 3, rngs=rngs), nnx.relu, nnx.LayerNorm(3, rngs=rngs), nnx.Linear(3, 4, rngs=rngs)), nnx.Linear(2, 4, rngs=rngs), MLP(2, 4, 3), ConvNet(2, 4, 3), lambda x: jnp.tile(x, 2)):
        layer = AffineCoupling(4, net=net)
        if not isinstance(net, ConvNet): assert layer.inverse(x)[1].shape == (3,)
    for net, kind in ((Net(rngs, nnx.Dropout(0.5, rngs=rngs)), 'RngState'), (Net(rngs, nnx.BatchNorm(3, rngs=rngs)), 'BatchStat'), (Net(rngs, keep=True), 'RngState')):
        with pytest.raises(ValueError, match=f'pure function of its input, without dropout or batch norm.* Net holds nnx.{kind}$'): AffineCoupling(4, net=net)


@pytest.mark.parametrize('dtype', [jnp.int32, jnp.bfloat16, jnp.float32])
def test_repeat_takes_what_its_steps_take(dtype, x64):
    "The carry of a scan keeps its dtype: whole numbers and lower precision are cast to that of the parameters first."
    stack, x = Repeat(lambda rngs: generic(ActNorm(2)), 2), jnp.array([[1, -2], [3, 4]], dtype)
    z, volume = stack.inverse(x); wanted = stack.inverse(x.astype(float))
    assert z.dtype == volume.dtype == stack.forward(x).dtype == np.float64
    check(z, wanted[0]); check(volume, wanted[1]); check(stack.forward(z), x.astype(float)); check(stack.initialise(x), Repeat(lambda rngs: ActNorm(2), 2).initialise(x.astype(float)), atol=1e-12)


def test_standardise_looks_at_values_and_refuses_a_deviation_that_is_denormal():
    x = np.array([[1.0, 2.0], [-1.0, -2.0]], np.float32)
    with pytest.raises(ValueError, match='^initialise looks at values: call it outside jit'): nnx.jit(lambda layer, x: layer.initialise(x))(Standardise(2), x)
    with pytest.raises(ValueError, match='^column 1: a deviation of 2e-39 is below 1.18e-38, the smallest normal number of float32'): Standardise(2).initialise(x * np.float64([1, 1e-39]))
    layer = Standardise(2); layer.initialise(x * np.float32([1, 1e-37])); assert np.isfinite(layer.inverse(x)[1]).all()


# ---- how layers start, and what they are made of
def test_a_vector_body_is_actnorm_coupling_and_reversal():
    body = vector_body(3, steps=2, hidden=6); names = lambda layer: [type(part).__name__ for part in layer.layers]
    assert names(body) == ['Standardise', 'Repeat'] and names(vector_body(3, steps=2, hidden=6, standardise=False)) == ['Repeat']
    z = body.inverse(x := vectors((4, 3)))[0]
    check(z, x, rtol=1e-6, atol=1e-6)                                               # two reversals, couplings that start as the identity
    check(vector_body(3, steps=1, hidden=6).inverse(x)[0], x[:, ::-1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('make', [lambda: AffineCoupling(5, net=MLP(2, 6, 7)), lambda: AffineCoupling(6, net=ConvNet(3, 6, 8))], ids=['vectors', 'images'])
def test_a_fresh_coupling_is_the_identity(make):
    layer = make(); x = vectors((3, 5) if isinstance(layer.net, MLP) else (2, 4, 4, 6)); z, volume = layer.inverse(x)
    check(z, x, rtol=1e-6, atol=1e-6); check(volume, np.zeros(len(x)), atol=1e-5)


@pytest.mark.parametrize('C', [1, 2, 12, 48])
def test_a_fresh_convolution_is_a_rotation(C):
    layer = InvertibleConv1x1(C, rngs=nnx.Rngs(C)); P, L, U = layer.factors(); W = np.asarray(P @ L @ U, float)
    check(W.T @ W, np.eye(C), atol=1e-5); check(layer.inverse(jnp.ones((2, 3, C)))[1], np.zeros(2), atol=1e-4)
    if C > 1: assert np.abs(W - np.eye(C)).max() > 0.1


@pytest.mark.parametrize('shape, levels', [((28, 28, 1), 2), ((32, 32, 3), 4), ((64, 64, 3), 5), ((8, 8, 1), 2), ((4, 4, 1), 1), ((128, 128, 3), 5), ((16, 8, 1), 2), ((6, 6, 1), 1)])
def test_levels_by_default(shape, levels):
    assert default_levels(shape) == levels


@pytest.mark.parametrize('covariance', ['diagonal', 'isotropic', 'dense'])
def test_noise_starts_at_the_identity(covariance):
    layer = GaussianInjection(6, 2, covariance=covariance)
    check(layer.colour(jnp.eye(6)), np.eye(6)); check(layer.half_log_det(), 0.0); check(layer.b[...], np.zeros(6))
    A = np.asarray(GaussianInjection(400, 100, covariance=covariance if covariance != 'dense' else 'diagonal').A[...]); check(A.std(), np.sqrt(2 / 500), rtol=0.02)
