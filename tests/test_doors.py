"What a stranger hands to layers, heads and theory: a ValueError that says what was wanted, never a traceback from inside a library. The match is what each message must say."
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from nif_lit import (ActNorm, AffineCoupling, Chain, Flatten, Flow, GaussianInjection, GaussianNIF, InvertibleConv1x1, Logit, NIF, NoisyInjective, Reverse, Split, Squeeze, StandardNormal, UniformDequantization, bits_per_dim_of, fit, quantize,
                     to_uint8)
from nif_lit.bijections import MLP, Repeat, Standardise
from nif_lit.bounds import elbo, importance_bound
from nif_lit.checks import check_box, check_key, real_array
from nif_lit.coupling import StochasticCoupling
from nif_lit.geometry import half_log_det, half_log_det_estimate, manifold_log_prob
from nif_lit.glow import flow_step, glow_body
from nif_lit.layer import check_contract, inverse_mode, inverse_mode_jit, log_volume_quadrature, rngs_of
from nif_lit.noise import marginal_importance, marginal_quadrature
from nif_lit.upsampling import NearestNeighbourUpsampling

KEY = jax.random.key(0)


def curve(z): return jnp.stack([z[0], z[0] ** 2])


def flat(z): return -(z ** 2).sum() / 2


def injection(): return GaussianInjection(4, 2)


def bound(): return NoisyInjective(injection(), StandardNormal(2))


def images(): return Flow(Chain(UniformDequantization(3), Flatten((4, 2, 3))), StandardNormal(24), shape=(4, 2, 3))


@pytest.mark.parametrize('call,match', [
    (lambda: Chain(3), 'a Chain takes layers, got int'), (lambda: Chain(None), 'got NoneType'), (lambda: Chain('ab'), 'got str'),
    (lambda: Logit('a'), "scale and lam must be numbers, got 'a'"), (lambda: Logit(1.0, None), 'must be numbers'), (lambda: Logit(float('inf')), 'positive and finite, got inf'),
    (lambda: Standardise('a'), "D must be a positive whole number, got 'a'"), (lambda: Standardise(0), 'got 0'), (lambda: Standardise(-1), 'got -1'),
    (lambda: Flatten('a'), "shape must be .* got 'a'"), (lambda: Flatten((2, -1)), 'positive whole numbers'),
    (lambda: Split(3, (2, 2, 2)), 'must be a Layer, got int'), (lambda: Split(Flatten((2, 2, 1)), 'a'), 'shape must be'), (lambda: Split(Flatten((2, 2, 1)), (2, 2, 1)), 'needs 2 or more, got \\(2, 2, 1\\)'),
    (lambda: InvertibleConv1x1(3, rngs='a'), "rngs must be flax.nnx.Rngs or a seed, got 'a'"), (lambda: MLP(3, 2, rngs=KEY), 'rngs must be'), (lambda: GaussianInjection(4, 2, rngs=2.5), 'rngs must be'),
    (lambda: Repeat(lambda rngs: ActNorm(2), 2, rngs='a'), 'rngs must be'), (lambda: glow_body((8, 8, 1), levels=1, steps=1, channels=2, rngs='a'), 'rngs must be'), (lambda: StochasticCoupling((2, 2), (1, 1), rngs='a'), 'rngs must be'),
    (lambda: AffineCoupling(4, net=3), 'net must be a function'), (lambda: NoisyInjective(injection(), StandardNormal(4)), '2 latent dimensions, the prior scores 4'),
    (lambda: NoisyInjective(injection(), Flow(Chain(), StandardNormal(3), shape=3)), '2 latent dimensions, the prior scores 3'),
    (lambda: StandardNormal(4).sample(0, 3), 'key must be one JAX key, got 0'), (lambda: GaussianNIF(4, 2).sample(None, 3), 'got None'), (lambda: bound().sample(jax.random.split(KEY, 2), 3), 'key must be one JAX key'),
    (lambda: StandardNormal(4).sample(KEY, 3, t=[1, 2]), 't must be one number, got \\[1, 2\\]'), (lambda: GaussianNIF(4, 2).sample(KEY, 3, s='a'), "s must be one number, got 'a'"),
    (lambda: GaussianNIF(4, 2).log_prob(np.ones((3, 4)), t='a'), "t must be one number, got 'a'"), (lambda: GaussianNIF(4, 2).log_prob(np.ones((3, 4)), s=np.ones(3)), 's must be one number'),
    (lambda: jax.jit(lambda s: GaussianNIF(4, 2).log_prob(jnp.ones((3, 4)), s=s))(jnp.ones(3)), 's must be one number'),
    (lambda: GaussianNIF(4, 2).log_prob_sweep(np.ones((3, 4)), t='a'), 't must be one number'),
    (lambda: GaussianNIF(4, 2).log_prob('abc'), "array of real numbers, got 'abc'"), (lambda: StandardNormal(2).embed([[1, 2], [3]]), 'array of real numbers'), (lambda: StandardNormal(2).log_prob(np.ones((1, 2), complex)), 'real numbers'),
    (lambda: GaussianNIF(4, 2).lift(np.ones((3, 2)), key=5, s=1.0), 'key must be one JAX key, got 5'), (lambda: GaussianNIF(4, 2).scale_noise('a'), "s must be one number, got 'a'"),
    (lambda: injection().forward(jnp.ones((3, 2)), key=5), 'key must be one JAX key, got 5'), (lambda: injection().forward(jnp.ones((3, 2))), 'noise needs a key'), (lambda: injection().forward([[1.0, 2.0]], s=0), 'expects an array \\(batch, 2\\), got a list'),
    (lambda: injection().inverse(jnp.ones((3, 4)), key=5), 'key must be one JAX key'), (lambda: injection().scale_noise([1, 2]), 's must be one number'),
    (lambda: NearestNeighbourUpsampling((4, 4, 1)).forward(jnp.ones((1, 2, 2, 1)), key=5), 'key must be'), (lambda: NearestNeighbourUpsampling((4, 4, 1)).inverse(jnp.ones((1, 4, 4, 1)), key=5), 'key must be'),
    (lambda: StochasticCoupling((2, 2), (1, 1)).forward(jnp.ones((1, 2)), key=5), 'key must be'), (lambda: StochasticCoupling((2, 2), (1, 1)).forward(jnp.ones((1, 2))), 'noise needs a key'),
    (lambda: bound().log_prob(np.ones((3, 4)), key=5), 'key must be one JAX key, got 5'), (lambda: bound().log_prob(np.ones((3, 4)), key=KEY, s='a'), 's must be one number'), (lambda: bound().lift(np.ones((3, 2)), key=5, s=1.0), 'key must be'),
    (lambda: Chain(injection()).inverse(jnp.ones((3, 4)), key=5), 'key must be one JAX key, got 5'), (lambda: elbo(injection(), lambda z: z.sum(-1), jnp.ones((3, 4)), key=5), 'key must be one JAX key, got 5'),
    (lambda: Logit().forward('a'), 'array of real numbers'), (lambda: Reverse().inverse(None), 'array of real numbers'), (lambda: Squeeze().inverse([[1.0]]), 'expects \\(batch, H, W, C\\)'), (lambda: ActNorm(2).inverse([[1.0, 2.0]]), 'got a list'),
    (lambda: UniformDequantization(3).inverse(np.array([['a']])), 'array of real numbers'), (lambda: UniformDequantization(3).inverse(jnp.array([[3]]), key=5), 'key must be one JAX key, got 5'),
    (lambda: log_volume_quadrature(curve, np.zeros(2), np.zeros(2), [(-9, 9)], n=1), 'n must be a whole number from 2, got 1'), (lambda: log_volume_quadrature(curve, np.zeros(2), np.zeros(2), [(9, -9)]), 'low < high'),
    (lambda: log_volume_quadrature(curve, np.zeros(2), np.zeros(2), (-9, 9)), 'a box is a list'), (lambda: marginal_quadrature(curve, np.zeros(2), np.zeros(2), flat, 3), 'a box is a list'), (lambda: check_box([]), 'a box is a list'),
    (lambda: marginal_importance(curve, np.zeros(2), np.zeros(2), flat, key=3, z0=np.zeros(1)), 'key must be'), (lambda: marginal_importance(curve, np.zeros(2), 'a', flat, key=KEY, z0=np.zeros(1)), 'x expects an array'),
    (lambda: inverse_mode(curve, np.zeros(2), np.zeros(2), 'a'), "z0 expects an array of real numbers, got 'a'"), (lambda: inverse_mode_jit(curve, np.zeros(2), np.zeros(2), np.zeros(1), n_steps='a'), 'n_steps must be a positive whole number'),
    (lambda: half_log_det(curve, 'a'), 'array of real numbers'), (lambda: half_log_det(3, np.ones(1)), 'f must be a function'), (lambda: half_log_det_estimate(curve, np.ones(1), 3), 'key must be one JAX key, got 3'),
    (lambda: half_log_det_estimate(curve, np.ones(1), KEY, n_probes=1), 'n_probes must be a whole number from 2'), (lambda: manifold_log_prob(curve, flat, 'a'), 'array of real numbers'),
    (lambda: StandardNormal(4).sample(nnx.Rngs(0), 3), 'got flax.nnx.Rngs: pass what a call of it gives, rngs'), (lambda: StandardNormal(4).sample(nnx.Rngs(0).params, 3), 'got flax.nnx.RngStream'),
    (lambda: elbo(Flow(injection(), StandardNormal(2)), flat, np.ones((3, 4)), key=KEY), r'got Flow; of a model: .* elbo\(model.body, model.head.log_prob'), (lambda: elbo(injection(), StandardNormal(2), np.ones((3, 4)), key=KEY), 'got StandardNormal: pass its log_prob'),
    (lambda: importance_bound(injection(), None, np.ones((3, 4)), key=KEY), 'log_prior must be a function .* got NoneType$'),
    *[(lambda door=door: door([[1, 2], [3]]), r'array of real numbers, got \[\[1, 2\], \[3\]\], whose rows differ') for door in (lambda x: quantize(x, 3), lambda x: to_uint8(x, 3), lambda x: images().log_prob(x, key=KEY), lambda x: images().lift(x), lambda x: fit(images(), x, images=2),
                                                                                                              lambda x: bits_per_dim_of(images(), x, key=KEY), lambda x: images().initialise(x))],
    *[(lambda x=x: images().embed(x), match) for x, match in ((np.full((2, 4, 2, 3), 0.5), r'0 to 7, got values from 0.5 to 0.5; of floats in 0 to 1 make them by nif_lit.quantize\(np.round\(255 \* images\).astype\(np.uint8\), 3\)'),
                                                              (np.zeros((2, 3, 4, 2)), r'channels come last: x.transpose\(0, 2, 3, 1\)$'), (np.zeros((4, 2, 3)), r'make a batch, x\[None\]$'), (np.zeros((2, 5, 5, 3)), r'got \(2, 5, 5, 3\)$'))],
    (lambda: Flow(Chain(), StandardNormal(8), shape=(4, 2, 1)).embed(np.zeros((2, 4, 2))), r'one channel: x\[..., None\]$'), (lambda: glow_body((3, 32, 32)), r'looks like \(C, H, W\)'),
    (lambda: check_contract(ActNorm(2), np.zeros((0, 2))), r'one example or more, got shape \(0, 2\)'), (lambda: check_contract(ActNorm(2), 3), r'got shape \(\)'), (lambda: Flow(Chain(), StandardNormal(3)).log_prob(3.0), 'a batch of examples, got one number'),
    (lambda: quantize(np.ones((1, 2, 2, 1), int), 3), r'got dtype int64; from whole numbers 0 to 255: images.astype\(np.uint8\)$'), (lambda: quantize(np.ones((1, 2, 2, 1), np.uint16), 3), r'images.astype\(np.uint8\)$'),
    (lambda: GaussianNIF(3, 2).sample(jnp.zeros(3, jnp.uint32), 2), r'key must be one JAX key, got .* of shape \(3,\)'), (lambda: injection().forward(jnp.ones((3, 2)), key=np.zeros(0, np.uint32)), r'key must be one JAX key, got ndarray of shape \(0,\)'),
    (lambda: bits_per_dim_of(images(), np.zeros((0, 4, 2, 3)), key=KEY), r'the batch is empty: got shape \(0, 4, 2, 3\)'),
    (lambda: check_contract(ActNorm(2), 'a'), 'array of real numbers'), (lambda: check_contract(injection(), np.ones((2, 4)), key=5, log_likelihood=flat, box=[(-1, 1)]), 'key must be'),
])
def test_a_wrong_argument_is_a_value_error(call, match):
    with pytest.raises(ValueError, match=match): call()


def test_lists_and_seeds_are_taken_where_they_mean_something():
    "What the doors refuse must not take the useful with it: nested lists of numbers, integer arrays, one traced scale, a seed for streams, a shape of one number."
    np.testing.assert_array_equal(GaussianNIF(2, 1).log_prob([[1, 2]]), GaussianNIF(2, 1).log_prob(jnp.array([[1.0, 2.0]])))
    assert real_array('x', [[1, 2], [3, 4]]).shape == (2, 2)
    np.testing.assert_array_equal(jax.jit(lambda s: GaussianNIF(2, 1).log_prob(jnp.ones((1, 2)), s=s))(1.0), jax.jit(GaussianNIF(2, 1).log_prob)(jnp.ones((1, 2))))
    np.testing.assert_array_equal(GaussianInjection(4, 2, rngs=7).A[...], GaussianInjection(4, 2, rngs=nnx.Rngs(7)).A[...])
    assert not np.array_equal(GaussianInjection(4, 2, rngs=7).A[...], GaussianInjection(4, 2).A[...])
    assert Flatten(3).shape == (3,) and len(Chain(layer for layer in [ActNorm(2), Reverse()]).layers) == 2
    assert check_contract(ActNorm(2), np.array([[1, 2], [3, 5]])).keys() == {'round trip', 'rows stand alone', 'log_volume'}
    streams = nnx.Rngs(3)
    assert rngs_of(streams) is streams


def test_a_raw_key_is_one_of_the_default_kind():
    "Of `jax.random.PRNGKey`: two numbers for threefry, four for rbg."
    old = GaussianNIF(3, 2).sample(jax.random.PRNGKey(0), 2)
    np.testing.assert_array_equal(old, GaussianNIF(3, 2).sample(KEY, 2))
    with jax.default_prng_impl('rbg'):
        check_key(jax.random.PRNGKey(0))
        with pytest.raises(ValueError, match=r'got .* of shape \(2,\)'): check_key(jnp.zeros(2, jnp.uint32))


def test_one_seed_is_not_one_start_for_every_part():
    "A seed for a whole step or body makes one stream, from which each part draws in turn: two copies of one part differ."
    body = glow_body((8, 8, 1), levels=1, steps=2, channels=4, rngs=5)
    stacked = body.layers[2].layers[1].step.layers[1].L[...]
    assert not np.array_equal(stacked[0], stacked[1])
    np.testing.assert_array_equal(stacked, glow_body((8, 8, 1), levels=1, steps=2, channels=4, rngs=nnx.Rngs(5)).layers[2].layers[1].step.layers[1].L[...])
    assert isinstance(flow_step(4, 8, rngs=5), Chain)


def test_forward_mode_goes_through_the_plain_steps():
    "The docstring of `build_model` sends who needs forward mode to fast=False: it must work there, and agree with backward mode."
    x = jnp.full((1, 8, 8, 1), 2.0)
    def embed(fast): return lambda x: NIF((8, 8, 1), 2, levels=1, steps=2, channels=4, fast=fast).body.inverse(x)[0].sum()
    plain = jax.jvp(embed(False), (x,), (jnp.ones_like(x),))[1]
    assert abs(float(plain - jax.grad(embed(True))(x).sum())) < 1e-4 * abs(float(plain))
