"Flow: bits, doors, embeddings, keys, and models by name."
import re
from pathlib import Path
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import generic
from flax import nnx
from scipy.stats import norm
import nif_lit
from nif_lit import models
from nif_lit import (DeepNIF, Flow, GaussianInjection, GaussianNIF, Layer, NF, NIF, StandardNormal, ActNorm, Chain, Reverse, Flatten, Logit, UniformDequantization, bits_per_dim_of, build_model,
                     fit, glow_body, log_likelihood_of, paired_difference, released_code_sample, vector_body)
from nif_lit.bijections import Repeat
from nif_lit.checks import check
from nif_lit.models import draw, parse_name

SMALL = dict(bits=3, levels=1, steps=2, channels=4)


def levels(n, shape=(4, 4, 1), bits=3, seed=0): return np.asarray(jax.random.randint(jax.random.key(seed), (n, *shape), 0, 2 ** bits), np.uint8)


class Head(nnx.Module):
    "Any density of h, given as a function of h (batch, N)."
    stochastic = False
    def __init__(self, N, f): self.N = self.M = N; self.f = f
    def log_prob(self, h, *, key=None, n_samples=1, t=1.0, s=1.0): return self.f(h)
    def sample(self, key, n, *, t=1.0, s=1.0): return jnp.zeros((n, self.N))
    def embed(self, h, *, kind='pseudo_inverse'): return h
    def lift(self, z, *, key=None, s=0.0): return z


@pytest.mark.parametrize('bits', [1, 3, 5, 8])
@pytest.mark.parametrize('lam', [0.0, 0.05, 0.2])
def test_a_uniform_model_scores_exactly_bits(bits, lam, x64):
    uniform = lambda h: (jax.nn.log_sigmoid(h) + jax.nn.log_sigmoid(-h) - jnp.log(1 - 2 * lam)).sum(-1)
    flow = Flow(Chain(UniformDequantization(bits), Logit(2.0 ** bits, lam), Flatten((3, 2, 2))), Head(12, uniform), shape=(3, 2, 2))
    x = levels(7, (3, 2, 2), bits)
    check(flow.bits_per_dim(x, key=jax.random.key(1)), np.full(7, float(bits)), rtol=1e-9)
    check(bits_per_dim_of(flow, x, key=jax.random.key(1), batch_size=3), np.full(7, float(bits)), rtol=1e-9)


def toy(f): return Flow(Chain(UniformDequantization(2), Flatten((1, 1, 1))), Head(1, f), shape=(1, 1, 1))


def test_the_bound_never_exceeds_the_discrete_likelihood(x64):
    x = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    smooth = toy(lambda h: jax.scipy.stats.norm.logpdf(h[:, 0], 1.3, 0.9))
    scores = np.asarray(jax.vmap(lambda k: smooth.log_prob(x, key=k))(jax.random.split(jax.random.key(0), 40_000)))
    pmf = np.log(np.diff(norm.cdf(np.arange(5), 1.3, 0.9)))
    assert (scores.mean(0) + 4 * scores.std(0) / np.sqrt(len(scores)) < pmf).all()
    table = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.4]))
    flat = toy(lambda h: table[jnp.floor(h[:, 0]).astype(int)])
    check(log_likelihood_of(flat, x, key=jax.random.key(0)), np.asarray(table))


@pytest.mark.parametrize('name, shape, options', [('NF', (4, 4, 1), SMALL), ('NIF-3', (4, 4, 1), SMALL), ('DeepNIF-3', (4, 4, 1), SMALL | dict(low_steps=2, low_hidden=4)), ('NF', (3,), dict(steps=2, hidden=4)),
                                                  ('NIF-2', (3,), dict(steps=2, hidden=4)), ('NIF-1', (1,), dict(steps=2, hidden=4)), ('NIF-5', (2, 6, 5), SMALL), ('NIF-7', (4, 8, 3), SMALL | dict(levels=2))])
def test_every_door_of_every_model(name, shape, options):
    model = build_model(name, shape, **options)
    x = levels(6, shape) if len(shape) == 3 else np.asarray(jax.random.normal(jax.random.key(0), (6, *shape)) * 3 + 7, np.float32)
    model.initialise(x, key=jax.random.key(1))
    key = jax.random.key(2)
    p = model.log_prob(x, key=key)
    assert p.shape == (6,) and np.isfinite(p).all()
    assert (p == model.log_prob(x, key=key)).all()
    n_samples = model.log_prob(x, key=key, n_samples=3)
    assert n_samples.shape == (6,)
    assert model.log_prob(x, key=key, t=0.7, s=1.3).shape == (6,)
    assert model.embed(x).shape == (6, model.M) and model.config['name'] == name
    for s in (0.0, 0.5, 1.0):
        y = model.sample(jax.random.key(3), 5, s=s, t=0.8)
        assert y.shape == (5, *shape) and np.isfinite(np.asarray(y, float)).all()
    assert model.reconstruct(x).shape == x.shape
    if name == 'NF' and len(shape) == 3: assert (model.reconstruct(x) == x).all()
    if name == 'NF' and len(shape) == 1: check(model.reconstruct(x), x, rtol=1e-4, atol=1e-4)
    if len(shape) == 3: check(model.bits_per_dim(x, key=key), -np.asarray(p) / x[0].size / np.log(2), rtol=1e-5)
    else:
        with pytest.raises(ValueError, match='no meaning'): model.bits_per_dim(x, key=key)


def test_vectors_are_scored_in_their_own_units(x64):
    model = NIF((3,), 2, steps=2, hidden=5)
    x = np.asarray(jax.random.normal(jax.random.key(0), (200, 3)))
    scale, shift = np.array([10.0, 0.01, 3.0]), np.array([5.0, -2.0, 100.0])
    model.initialise(x)
    other = NIF((3,), 2, steps=2, hidden=5)
    other.initialise(x * scale + shift)
    check(other.log_prob(x * scale + shift), np.asarray(model.log_prob(x)) - np.log(scale).sum(), rtol=1e-8)


def test_scoring_needs_a_key_and_sampling_at_zero_needs_none():
    nif, x = NIF((4, 4, 1), 3, **SMALL), levels(2)
    with pytest.raises(ValueError, match='needs a key'): nif.log_prob(x)
    with pytest.raises(ValueError, match='no density'): nif.log_prob(x, key=jax.random.key(0), s=0)
    with pytest.raises(ValueError, match='positive'): nif.log_prob(x, key=jax.random.key(0), n_samples=0)
    with pytest.raises(ValueError, match='needs a key'): nif.lift(nif.embed(x), s=0.5)
    assert nif.lift(nif.embed(x)).shape == x.shape
    noisy = Flow(Chain(generic(GaussianInjection(3, 2))), StandardNormal(2))
    with pytest.raises(ValueError, match='needs a key'): noisy.log_prob(np.zeros((1, 3)))
    with pytest.raises(ValueError, match='no density'): noisy.log_prob(np.zeros((1, 3)), key=jax.random.key(0), s=0)
    vector = NIF((3,), 2, steps=1, hidden=3)
    assert vector.log_prob(np.ones((2, 3))).shape == (2,)


@pytest.mark.parametrize('bad, word', [(np.full((2, 4, 4, 1), 8, np.uint8), '0 to 7'), (np.full((2, 4, 4, 1), 0.5), 'whole'), (np.full((2, 4, 4, 1), np.nan), 'NaN'), (np.zeros((2, 4, 4, 2), np.uint8), 'got'),
                                       (np.zeros((4, 4, 1), np.uint8), 'got'), (-np.ones((2, 4, 4, 1)), '0 to 7'), (np.array([['a']]), 'numbers'), (np.zeros((2, 4, 4, 1), complex), 'real numbers, got dtype complex128'), (np.zeros((0, 4, 4, 1), np.uint8), 'empty: got shape .0, 4, 4, 1')])
def test_bad_data(bad, word):
    with pytest.raises(ValueError, match=word): NF((4, 4, 1), **SMALL).log_prob(bad, key=jax.random.key(0))


@pytest.mark.parametrize('centre, deviation', [(1.7e9, 300.0), (1.7e9, 0.2), (-3e6, 1.0)])
def test_a_column_that_float32_cannot_tell_apart_is_refused(centre, deviation):
    model, x = NF(3, steps=1, hidden=4), np.random.default_rng(0).normal(size=(100, 3)) * [1.0, deviation, 1.0]
    with pytest.raises(ValueError, match=r'^column 1: .*float32 moves in steps of .*subtract the mean'): model.initialise(x + [0.0, centre, 0.0])
    model.initialise(x + [0.0, 3e4 * deviation, 0.0])
    check(np.std(model.body.layers[0].inverse(jnp.asarray(x + [0.0, 3e4 * deviation, 0.0], jnp.float32))[0], 0), np.ones(3), rtol=1e-2)
    with pytest.raises(ValueError, match='constant column 1'): model.initialise(x * [1, 0, 1] + [0.0, centre, 0.0])
    with jax.enable_x64(True): NF(3, steps=1, hidden=4).initialise(x + [0.0, centre, 0.0])


@pytest.mark.parametrize('x, word', [(np.full((1, 3), 1e39), '3 values beyond the largest float32'), (np.full((1, 3), np.inf), 'NaN or infinite'), (np.ones((1, 3)) * 1j, 'real numbers'), (np.zeros((0, 3)), 'empty')])
def test_bad_vectors(x, word):
    with pytest.raises(ValueError, match=word): NF(3, steps=1, hidden=4).log_prob(x)
    with pytest.raises(ValueError, match='real numbers'): jax.jit(NF(3, steps=1, hidden=4).log_prob)(np.ones((1, 3)) * 1j)


class Slip(Layer):
    "A user's layer whose log volume has whatever shape."
    def __init__(self, volume, noisy=False): self.volume, self.stochastic = volume, noisy
    def inverse(self, x, *, key=None): return x, self.volume(x)
    def forward(self, z, *, key=None, s=1.0): return z


@pytest.mark.parametrize('wrong, got', [(lambda x: jnp.full(x.shape, 2.0).sum(), r'\(\)'), (lambda x: x.sum(-1, keepdims=True), r'\(4, 1\)'), (lambda x: x.sum(0), r'\(3,\)'), (lambda x: 2.0, r'\(\)')])
def test_what_is_not_one_number_per_example_is_named(wrong, got):
    x, key, right = jnp.ones((4, 3)), jax.random.key(0), lambda x: x.sum(-1)
    for model, who in ((Flow(Slip(wrong), StandardNormal(3)), 'Slip.inverse must return a log_volume'), (Flow(Chain(Slip(right)), Head(3, wrong)), 'Head.log_prob must return log densities'),
                       (Flow(Chain(Slip(right, noisy=True)), Head(3, wrong)), 'Head.log_prob must return log densities'), (Flow(Slip(right), Flow(Slip(wrong), StandardNormal(3))), 'Slip.inverse must return a log_volume')):
        with pytest.raises(ValueError, match=rf'{who} of shape \(4,\), one number per example, got {got}'): model.log_prob(x, key=key)
        with pytest.raises(ValueError, match=who): jax.jit(model.log_prob)(x, key=key)
    check(Flow(Chain(Slip(right, noisy=True)), Head(3, right)).log_prob(x, key=key, n_samples=2), np.full(4, 6.0))


class Broken(Layer):
    "A user's layer that returns whatever."
    def __init__(self, inverse=lambda x: (x, x[:, 0]), forward=lambda z: z): self.there, self.back = inverse, forward
    def inverse(self, x, *, key=None): return self.there(x)
    def forward(self, z, *, key=None, s=1.0): return self.back(z)


@pytest.mark.parametrize('layer, match', [(Broken(lambda x: x), r'Broken.inverse must return \(z, log_volume\), got'), (Broken(lambda x: (x, x, x)), 'got tuple of 3'), (Broken(lambda x: (None, x[:, 0])), r'Broken.inverse must return z of shape \(4, ...\), a row per example, got NoneType'),
                                          (Broken(lambda x: (x[:1], x[:, 0])), r'z of shape \(4, ...\), .* got \(1, 3\)'), (Broken(forward=lambda z: None), r'Broken.forward must return x of shape \(4, ...\), .* got NoneType'), (Broken(forward=lambda z: z[:1]), r'Broken.forward .* got \(1, 3\)'),
                                          (Broken(lambda x: (x[:, :2], x[:, 0])), r'raised in (ActNorm.inverse|StandardNormal.embed), given \(4, 2\) by Broken'), (Broken(lambda x: x @ jnp.ones(7)), r'raised in Broken.inverse, given \(4, 3\)'),
                                          (Broken(forward=lambda z: z @ jnp.ones(7)), r'raised in Broken.forward, given \(4, 3\)')])
def test_a_layer_that_breaks_the_contract_is_named(layer, match):
    x = jnp.ones((4, 3))
    for body in (layer, Chain(layer, ActNorm(3)), Chain(Reverse(), layer)):
        flow = Flow(body, StandardNormal(3))
        with pytest.raises((ValueError, TypeError), match=match): flow.embed(x); flow.sample(jax.random.key(0), 4)


def test_a_compiled_door_sees_new_parameters():
    "What the docstring of `Flow` says: with nnx.jit the model is an argument, with jax.jit a constant. Its recipe, which the README has too, is run as it is printed, on an image model, which needs the key."
    recipe = re.search(r'nnx\.jit\(lambda .*?\)\)', Flow.__doc__)[0]
    assert recipe in (Path(nif_lit.__file__).parents[1]/'README.md').read_text()
    model, x, key = NIF(3, 2, steps=1, hidden=4), np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), jax.random.key(0)
    seen, kept, images, pixels = eval(recipe), jax.jit(model.log_prob), Flow(Chain(UniformDequantization(3), Flatten((4, 4, 1))), StandardNormal(16), shape=(4, 4, 1)), levels(2)
    check(seen(images, pixels, key), images.log_prob(pixels, key=key), rtol=1e-4, atol=1e-4)
    seen(model, x, key); before = kept(x)
    fit(model, x, images=80, batch_size=20, learning_rate=0.1, warmup=1, progress=False)
    check(seen(model, x, key), model.log_prob(x), rtol=1e-4, atol=1e-4); assert (kept(x) == before).all() and not np.allclose(before, model.log_prob(x), atol=1e-2)


@pytest.mark.parametrize('door, of_the_injection', [(NF, ()), (NIF, ('bias', 'covariance')), (DeepNIF, ('bias', 'covariance', 'low_steps', 'low_hidden'))])
def test_the_models_document_their_options(door, of_the_injection):
    options = {name: value for body in (glow_body, vector_body) for name, value in body.__kwdefaults__.items()} | {name: build_model.__kwdefaults__[name] for name in ('seed', *of_the_injection)}
    missing = [f'{name}={value!r}' for name, value in options.items() if name not in ('rngs', 'standardise') and not re.search(rf'\b{name}={re.escape(repr(value))}', door.__doc__)]
    assert not missing and 'shape: (H, W, C)' in door.__doc__.replace('`shape`', 'shape') and 'Raises `ValueError`' in door.__doc__


def test_one_key_and_one_number_for_each_scale():
    model, x = NIF((4, 4, 1), 3, **SMALL), levels(2)
    key, z = jax.random.key(0), model.embed(x)
    doors = (lambda key, **kw: model.log_prob(x, key=key, **kw), lambda key, **kw: model.sample(key, 2, **kw), lambda key, **kw: draw(model, key, 2, **kw), lambda key, **kw: model.lift(z, key=key, **dict(s=1.0) | kw),
             lambda key, **kw: released_code_sample(model, key, 2, **kw), lambda key, **kw: model.reconstruct(x, key=key, **dict(s=1.0) | kw))
    for door in doors:
        for bad, got in ((0, '0'), ('a', "'a'"), (jax.random.split(key, 3), r'PRNGKeyArray of shape \(3,\)'), (np.uint32(5), '.*5'), (jax.random.key_data(jax.random.split(key)), r'.* of shape \(2, 2\)')):
            with pytest.raises(ValueError, match=rf'^key must be one JAX key, got {got}.*: pass jax.random.key\(0\)'): door(bad)
        door(jax.random.PRNGKey(0)); door(key, s=np.float32(0.5)); door(key, s=jnp.array(0.5))
        for bad, got in (([0, 0.5], r'shape \(2,\): for several, jax.vmap\(lambda s: .*, s=s\)\)'), (np.array([0.5]), r'shape \(1,\)'), (None, 'None'), ('1', "'1'"), (1j, '1j')):
            with pytest.raises(ValueError, match=f'^s must be one number, got {got}'): door(key, s=bad)
    for door in doors[1:2] + doors[4:5]:
        with pytest.raises(ValueError, match='got None'): door(None)
    with pytest.raises(ValueError, match='t must be one number'): model.log_prob(x, key=key, t=[1.0])
    with pytest.raises(ValueError, match='one JAX key'): model.initialise(x, key=3)
    ss = jnp.array([0.5, 2.0])                                                                     # what the messages say does work
    check(jax.jit(jax.vmap(lambda s: model.log_prob(x, key=key, s=s)))(ss), np.stack([model.log_prob(x, key=key, s=float(s)) for s in ss]), rtol=1e-5)
    assert jax.jit(jax.vmap(lambda s: model.sample(key, 2, s=s)))(ss).shape == jax.vmap(lambda s: model.lift(z, key=key, s=s))(ss).shape == (2, 2, 4, 4, 1)


@pytest.mark.parametrize('z, word', [(np.full((2, 3), np.nan), '6 values'), (np.full((2, 3), 1e39), '6 values'), (np.zeros((2, 3), complex), 'real'), ([['a'] * 3], 'real'), (np.zeros((0, 3)), 'empty'), (np.zeros((2, 4)), 'got')])
def test_bad_latents(z, word):
    with pytest.raises(ValueError, match=word): NIF((4, 4, 1), 3, **SMALL).lift(z)


def test_numpy_s_whole_numbers_are_whole_numbers():
    i, x = np.int64, levels(2)
    model = NIF(np.array([4, 4, 1]), i(3), seed=i(2), bits=i(3), levels=i(1), steps=np.int32(2), channels=np.array(4), lam=np.float64(0.05))
    assert model.config == NIF((4, 4, 1), 3, seed=2, lam=0.05, **SMALL).config
    assert DeepNIF(i(3), i(2), steps=i(1), hidden=i(4), low_steps=i(1), low_hidden=i(4), depth=i(1)).config == DeepNIF((3,), 2, steps=1, hidden=4, low_steps=1, low_hidden=4, depth=1).config
    check(model.log_prob(x, key=jax.random.key(0), n_samples=i(2)), model.log_prob(x, key=jax.random.key(0), n_samples=2))
    assert model.sample(jax.random.key(0), i(2)).shape == draw(model, jax.random.key(0), i(2), batch_size=i(1)).shape == released_code_sample(model, jax.random.key(0), i(2)).shape == (2, 4, 4, 1)


@pytest.mark.parametrize('call', [lambda: NIF(8, M=-3), lambda: NIF((8, 8, 1), M=0), lambda: NIF(8, M=2.0), lambda: DeepNIF(8, M=None), lambda: NF((8.7, 8.2, 1)), lambda: NF(None), lambda: NF('8'), lambda: NF(True), lambda: NF((8, 0, 1)),
                                  lambda: NF(4, hidden=16, depth=-1), lambda: NF(3, hidden=0), lambda: NF(3, steps=1.5), lambda: NF((8, 8, 1), channels=0), lambda: NF((8, 8, 1), channels=-4), lambda: NF((8, 8, 1), channels=4.0),
                                  lambda: NF((8, 8, 1), levels=1.0), lambda: NF((8, 8, 1), steps=0), lambda: DeepNIF(3, 2, low_steps=0), lambda: DeepNIF(3, 2, low_hidden=2.5), lambda: NF(3, seed=0.5), lambda: glow_body(None),
                                  lambda: glow_body((4, 4, 1), steps=1.5), lambda: vector_body(3, depth=0), lambda: Flow(Chain(), StandardNormal(2), shape=(2.5,)), lambda: build_model('NIF--3', 8), lambda: build_model('NIF-00', 8),
                                  lambda: NF(3, steps=1, hidden=2).sample(jax.random.key(0), 2.5), lambda: draw(NF(3, steps=1, hidden=2), jax.random.key(0), 2, batch_size=0), lambda: NF(3, steps=1, hidden=2).log_prob(np.ones((1, 3)), n_samples=True)])
def test_every_size_is_a_whole_number_from_one(call):
    with pytest.raises(ValueError, match='whole number|unknown model|image shape'): call()


def test_covariance_reaches_the_injection():
    small = dict(steps=1, hidden=4)
    assert 'covariance' not in NIF(3, 2, **small).config and 'covariance' not in NIF(3, 2, covariance='diagonal', **small).config       # older models keep their record
    for covariance in ('dense', 'isotropic'):
        model, deep = NIF(3, 2, covariance=covariance, **small), DeepNIF(3, 2, covariance=covariance, low_steps=1, low_hidden=4, **small)
        assert model.head.injection.covariance == deep.head.layer.covariance == model.config['covariance'] == covariance
        record = model.config
        again = build_model(record.pop('name'), record.pop('shape'), **record)
        assert nnx.graphdef(again) == nnx.graphdef(model) and model.log_prob(np.ones((2, 3))).shape == (2,)
    for call in (lambda: NF(3, covariance='dense', **small), lambda: NIF(3, 2, covariance='full', **small)):
        with pytest.raises(ValueError, match='covariance'): call()


def test_names():
    assert parse_name('nif_64') == ('NIF', 64) and parse_name('NF') == ('NF', None) and parse_name('deep-NIF-32') == ('DeepNIF', 32) and parse_name('DeepNIF-8') == ('DeepNIF', 8)
    for bad, hint in (('NFI-64', 'NIF-64'), ('NIF', 'NIF-64'), ('depnif-9', 'DeepNIF-9'), ('NF-3', 'NIF-3'), ('', 'NIF'), ('NIF-0', 'NIF-64'), ('NIF--3', 'NIF-3')):
        with pytest.raises(ValueError, match=hint): parse_name(bad)
    for call in (lambda: NIF((2,), 3), lambda: build_model('NF', (2, 2)), lambda: NF((4, 4, 1), depth=3), lambda: NF((4, 4, 1), levels=3), lambda: NF((5, 4, 1)), lambda: NF((4, 4, 1), bits=0)):
        with pytest.raises(ValueError): call()


def test_the_baseline_shares_the_body():
    a, b = NF((4, 4, 1), **SMALL), NIF((4, 4, 1), 3, **SMALL)
    for x, y in zip(jax.tree.leaves(nnx.state(a.body)), jax.tree.leaves(nnx.state(b.body)), strict=True): check(x, y)
    assert isinstance(a.head, StandardNormal) and isinstance(b.head, GaussianNIF)
    c = NF((4, 4, 1), seed=1, **SMALL)
    assert any((np.asarray(x) != np.asarray(y)).any() for x, y in zip(jax.tree.leaves(nnx.state(a.body)), jax.tree.leaves(nnx.state(c.body))))


def test_draw_equals_sample_and_is_repeatable():
    model = generic(NIF((4, 4, 1), 3, **SMALL))
    a, b = draw(model, jax.random.key(0), 7, s=0.5, batch_size=3), draw(model, jax.random.key(0), 7, s=0.5, batch_size=3)
    assert a.shape == (7, 4, 4, 1) and (a == b).all()
    ours = np.asarray(model.sample(jax.random.fold_in(jax.random.key(0), 0), 3, s=0.5))
    assert np.abs(ours.astype(int) - a[:3]).max() <= 1 and (ours == a[:3]).mean() > 0.95      # a pixel on the edge of a bin may round the other way
    with pytest.raises(ValueError): draw(model, jax.random.key(0), 0)


def test_the_released_sampler_ignores_sigma():
    "In a body that changes nothing, its covariance is t² AAᵀ + s² I, whatever Σ is."
    head = generic(GaussianNIF(3, 2), 4, 0.5)
    flow = Flow(Flatten((3,)), head)
    A, t, s = np.asarray(head.injection.A[...]), 0.7, 1.3
    x = np.asarray(released_code_sample(flow, jax.random.key(0), 300_000, t=t, s=s), float)
    x = x - x.mean(0)
    products = x[:, :, None] * x[:, None]
    assert (np.abs(products.mean(0) - t ** 2 * A @ A.T - s ** 2 * np.eye(3)) < 4 * products.std(0) / np.sqrt(len(x))).all()
    with pytest.raises(ValueError): released_code_sample(NF((4, 4, 1), **SMALL), jax.random.key(0), 2)


def test_paired_difference():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([0.5, 1.0, 3.5])
    found = paired_difference(a, b)
    check(found['mean'], (a - b).mean()); check(found['se'], (a - b).std(ddof=1) / np.sqrt(3))
    with pytest.raises(ValueError): paired_difference(a, b[:2])
    hits = np.array([0, 1, 1, 0], np.uint8), np.array([1, 1, 0, 0], np.uint8)                            # unsigned, and booleans, do not wrap
    for kind in (np.uint8, bool): assert paired_difference(*(v.astype(kind) for v in hits))['mean'] == 0 and paired_difference(hits[0][:1].astype(kind), hits[1][:1].astype(kind))['mean'] == -1


def test_the_package_names_its_doors():
    assert all(getattr(nif_lit, name) is not None for name in nif_lit.__all__)
    assert {'Diverged', 'Interrupted', 'DataError', 'Fixed', 'latents_of'} <= set(nif_lit.__all__) and nif_lit.frechet.score is nif_lit.score
    for name in ('GaussianNFI', '__wrapped__', '_modules', '__pycache__'):
        with pytest.raises(AttributeError, match='GaussianNIF'): getattr(nif_lit, name)


@pytest.mark.parametrize('flags, word', [('flags : sse2 avx512f avx512_bf16', 'bfloat16'), ('flags : sse2 amx_bf16 amx_tile', 'bfloat16'), ('flags : sse2 avx2 avx512f', 'float32'), ('flags : not_avx512_bf16x', 'float32'), ('', 'float32')])
def test_auto_follows_the_processor(monkeypatch, flags, word):
    monkeypatch.setattr(models, 'cpu_flags', lambda: flags)
    assert models.fastest_compute() == word
    monkeypatch.setattr(models.jax, 'default_backend', lambda: 'gpu')
    assert models.fastest_compute() == 'float32'


def test_no_picture_of_numbers_that_are_none():
    model, key = NIF((4, 4, 1), 3, **SMALL), jax.random.key(0)
    with pytest.raises(ValueError, match='got 1 that are NaN'): UniformDequantization(3).forward(jnp.array([[jnp.nan, 1.0]]))
    for wrong in (dict(s=-1.0), dict(t=float('nan'))):
        with pytest.raises(ValueError, match='must be zero or positive'): released_code_sample(model, key, 2, **wrong)
    nnx.update(model, jax.tree.map(lambda v: jnp.where(v == v, jnp.nan, v) if v.dtype == jnp.float32 else v, nnx.state(model)))
    with pytest.raises(ValueError, match='arrays of the model hold NaN'): draw(model, key, 4)
    with pytest.raises(ValueError, match='NaN'): model.lift(np.zeros((2, 3)))
    for call in (lambda: draw(GaussianNIF(3, 2), key, 4), lambda: log_likelihood_of(GaussianNIF(3, 2), np.zeros((2, 3))), lambda: bits_per_dim_of(None, levels(2), key=key)):
        with pytest.raises(ValueError, match='takes a Flow, got (GaussianNIF|NoneType)'): call()


def test_bits_of_a_list_are_those_of_its_array():
    model, x, key = NIF((4, 4, 1), 3, **SMALL), levels(3), jax.random.key(0)
    assert np.array_equal(model.bits_per_dim(x.tolist(), key=key), model.bits_per_dim(x, key=key))


@pytest.mark.parametrize('dtype', [jnp.int32, jnp.bfloat16])
def test_traced_vectors_are_cast_as_others_are(dtype):
    model, x = Flow(Chain(Reverse(), Repeat(lambda rngs: generic(ActNorm(2)), 2)), StandardNormal(2)), np.asarray([[1, -2], [3, 4]]).astype(dtype)
    for door in (model.log_prob, model.embed, Flow(Reverse(), StandardNormal(2)).embed):
        ours, wanted = jax.jit(door)(x), door(x)
        assert ours.dtype == wanted.dtype == np.float32; check(ours, wanted, rtol=1e-5)


def test_draws_of_a_noisy_body_are_batched_under_jit():
    "The same keys, hence the same draws, as one after the other outside jit; and a program that does not grow with their number within a group."
    model, x, key = Flow(Chain(ActNorm(3), generic(GaussianInjection(3, 2)), ActNorm(2)), StandardNormal(2)), np.ones((2, 3), np.float32), jax.random.key(1)
    score = lambda n: lambda x: model.log_prob(x, key=key, n_samples=n)
    for n in (1, 18): check(jax.jit(score(n))(x), score(n)(x), rtol=1e-5)
    assert len(jax.make_jaxpr(score(16))(x).eqns) < 1.2 * len(jax.make_jaxpr(score(2))(x).eqns)


@pytest.mark.parametrize('shape', [(4, 4, 1), (3,)])
def test_a_model_made_in_float64_is_used_there(shape):
    with jax.enable_x64(True): model = NIF(shape, 2, **(SMALL if len(shape) == 3 else dict(steps=1, hidden=2)))
    x, key = np.ones((2, *shape)), jax.random.key(0)
    for door in (lambda: model.log_prob(x, key=key), lambda: model.embed(x), lambda: model.sample(key, 2), lambda: model.lift(np.ones((2, 2))), lambda: model.initialise(x, key=key), lambda: draw(model, key, 2),
                 lambda: released_code_sample(model, key, 2), lambda: log_likelihood_of(model, x, key=key), lambda: fit(model, x, images=2, progress=False)):
        with pytest.raises(ValueError, match=r'^this model was made in float64; use it under jax.enable_x64\(True\)$'): door()
    class Shift(Slip):
        def __init__(self): self.by = np.array([1.0, 2.0, 3.0])                                     # NumPy's, which JAX casts: no reason to refuse it
        def inverse(self, x, *, key=None): return x - self.by, jnp.zeros(len(x))
    assert Flow(Shift(), StandardNormal(3)).log_prob(np.ones((2, 3))).dtype == np.float32
