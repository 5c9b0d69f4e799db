"Training: the same order for all, resume equals never stopped, and what must not be lost."
import copy
import json
import os
import signal
import subprocess
import sys
import time
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from nif_lit import NF, NIF, ActNorm, Chain, Flow, GaussianNIF, Layer, Logit, Standardise, StandardNormal, fit, build_model, load_model, save_model
from nif_lit import training
from nif_lit.training import DataOrder, Diverged, Interrupted, write_json

SMALL = dict(bits=3, levels=1, steps=2, channels=4)
SETTINGS = dict(batch_size=8, steps_per_dispatch=3, progress=False, warmup=4, learning_rate=5e-3)


def data(n=40, seed=0):
    ramp = np.arange(16).reshape(1, 4, 4, 1) // 2
    return np.asarray(np.clip(ramp + np.random.default_rng(seed).integers(-1, 2, (n, 4, 4, 1)), 0, 7), np.uint8)


def equal(a, b): return all((np.asarray(x) == np.asarray(y)).all() for x, y in zip(jax.tree.leaves(nnx.state(a)), jax.tree.leaves(nnx.state(b)), strict=True))


def test_training_lowers_the_loss():
    told = []
    report = fit(NIF((4, 4, 1), 3, **SMALL), data(), images=8 * 150, callback=told.append, **SETTINGS)
    assert told == report['history'] and told[0] is not report['history'][0]
    losses = [row['bits_per_dim'] for row in report['history']]
    assert report['images'] == 1200 and losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize('stops', [(1,), (4, 7), (2, 2, 2)])
def test_resume_equals_never_stopped(tmp_path, stops):
    make = lambda: NIF((4, 4, 1), 3, **SMALL)
    whole = make()
    fit(whole, data(), images=8 * 14, folder=tmp_path/'whole', **SETTINGS)
    for stop in stops: fit(make(), data(), images=8 * 14, folder=tmp_path/'parts', stop_after=stop, **SETTINGS)
    resumed = make()
    report = fit(resumed, data(), images=8 * 14, folder=tmp_path/'parts', **SETTINGS)
    assert equal(whole, resumed) and report['steps'] == 14 and report['finished']
    steps = [json.loads(line)['step'] for line in (tmp_path/'parts'/'metrics.jsonl').read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 14
    assert equal(load_model(tmp_path/'parts'), whole)
    alone = make(); fit(alone, data(), images=8 * 14, **SETTINGS)
    assert equal(alone, whole)                                                  # a folder changes no bit
    other = make()
    fit(other, data(), images=8 * 14, seed=1, **SETTINGS)
    assert not equal(whole, other)


def test_the_grouping_of_steps_changes_no_bit():
    x, models = np.random.default_rng(0).normal(size=(40, 3)), []
    for k in (1, 5):
        models.append(NIF((3,), 2, steps=2, hidden=8))
        fit(models[-1], x, images=8 * 12, **(SETTINGS | dict(steps_per_dispatch=k)))
    assert equal(*models)


KILLED = '''
import sys, numpy as np
sys.path.insert(0, {tests!r})
from test_training import *
from pathlib import Path
print('ready', flush=True)
fit(NIF((4, 4, 1), 3, **SMALL), data(), images=8 * 4000, folder=Path({folder!r}), checkpoint_minutes=0.001, **(SETTINGS | dict(steps_per_dispatch=50)))
print('finished', flush=True)
'''


def killed_in(folder): return [sys.executable, '-c', KILLED.format(tests=os.path.dirname(__file__), folder=str(folder))], os.environ | dict(JAX_ENABLE_COMPILATION_CACHE='false')      # each compiles its own program


@pytest.fixture(scope='module')
def never_stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp('never')/'whole'
    command, env = killed_in(folder)
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=env)
    return load_model(folder)


@pytest.mark.xdist_group('killed')
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_a_real_kill_and_a_real_interrupt(tmp_path, number, never_stopped):
    command, env = killed_in(tmp_path/'run')
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    metrics = tmp_path/'run'/'metrics.jsonl'
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None and not (metrics.exists() and metrics.read_text().count('\n') >= 4): time.sleep(0.05)
    if process.poll() is None:
        with pytest.raises(ValueError, match='run: another process trains here'): fit(NIF((4, 4, 1), 3, **SMALL), data(), images=8 * 4000, folder=tmp_path/'run', **SETTINGS)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0 and metrics.exists(), errors[-500:]
    if number == signal.SIGINT: assert 'the same command goes on' in errors
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=env)
    assert equal(load_model(tmp_path/'run'), never_stopped)


def test_the_order_is_the_seed_s_alone():
    a, b, c = DataOrder(21, 4, 3), DataOrder(21, 4, 3), DataOrder(21, 4, 4)
    rows = np.stack([a.rows(k) for k in range(15)])
    assert (rows == np.stack([b.rows(k) for k in reversed(range(15))])[::-1]).all() and (rows != np.stack([c.rows(k) for k in range(15)])).any()
    for epoch in range(3): assert len(np.unique(rows[5 * epoch:5 * epoch + 5])) == 20
    assert (rows[:5] != rows[5:10]).any()


def test_nf_and_nif_see_the_same_images_and_noise(monkeypatch):
    seen = []
    real = training.train_steps
    monkeypatch.setattr(training, 'train_steps', lambda state, fixed, data, batches, first, count, key, **kw: (seen.append((np.asarray(batches), first, jax.random.key_data(key))), real(state, fixed, data, batches, first, count, key, **kw))[1])
    for model in (NF((4, 4, 1), **SMALL), NIF((4, 4, 1), 3, **SMALL)): fit(model, data(), images=8 * 6, **SETTINGS)
    half = len(seen) // 2
    for a, b in zip(seen[:half], seen[half:], strict=True): assert all((np.asarray(x) == np.asarray(y)).all() for x, y in zip(a, b))


def test_divergence_keeps_the_last_good_checkpoint(tmp_path):
    fit(NIF((4, 4, 1), 3, **SMALL), data(), images=8 * 60, folder=tmp_path/'run', stop_after=6, **SETTINGS)
    good = load_model(tmp_path/'run')
    model, real = NIF((4, 4, 1), 3, **SMALL), training.train_steps
    for spoil in (lambda losses: losses * np.nan, lambda losses: losses + 1e3):
        def spoiled(*a, **k):
            state, losses = real(*a, **k)
            return state, spoil(np.asarray(losses))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Diverged, match='step 6 in run is kept'):
            patch.setattr(training, 'train_steps', spoiled)
            fit(model, data(), images=8 * 60, folder=tmp_path/'run', **SETTINGS)
        assert equal(load_model(tmp_path/'run'), good) and equal(model, good)


def test_a_hot_learning_rate_diverges():
    with pytest.raises(Diverged, match='learning_rate'): fit(NIF((4, 4, 1), 3, **SMALL), data(), images=8 * 400, **(SETTINGS | dict(learning_rate=1e5)))


def test_another_config_is_refused(tmp_path):
    fit(NIF((4, 4, 1), 3, **SMALL), data(), images=16, folder=tmp_path/'run', **SETTINGS)
    with pytest.raises(ValueError, match='another config.*fit.seed: 0 there, 1 here'): fit(NIF((4, 4, 1), 3, **SMALL), data(), images=16, seed=1, folder=tmp_path/'run', **SETTINGS)
    with pytest.raises(ValueError, match='another config.*name'): fit(NF((4, 4, 1), **SMALL), data(), images=16, folder=tmp_path/'run', **SETTINGS)
    with pytest.raises(ValueError, match='fit.data.*the start of its SHA-256'): fit(NIF((4, 4, 1), 3, **SMALL), data(seed=5), images=16, folder=tmp_path/'run', **SETTINGS)


@pytest.mark.parametrize('dtype', ['int64', 'float32'])
def test_the_same_levels_in_another_dtype_are_the_same_data(dtype, tmp_path):
    "A run goes on whether its levels come as uint8, whole numbers or floats; and ends where one that was never stopped ends."
    whole, parts = NIF((4, 4, 1), 3, **SMALL), NIF((4, 4, 1), 3, **SMALL)
    fit(whole, data(), images=32, **SETTINGS)
    fit(parts, data(), images=16, folder=tmp_path/'run', **SETTINGS)
    assert fit(parts, np.asarray(data()).astype(dtype), images=32, folder=tmp_path/'run', **SETTINGS)['images'] == 32
    assert equal(whole, parts)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    fit(NIF((4, 4, 1), 3, **SMALL), data(), images=8 * 20, folder=tmp_path/'run', stop_after=3, **SETTINGS)
    good, real = load_model(tmp_path/'run'), training._checkpointer

    class Full:
        def __enter__(self): return self
        def __exit__(self, *a): return False
        def restore(self, *args):
            with real() as checkpointer: return checkpointer.restore(*args)
        def save(self, path, tree):
            path.mkdir(parents=True); (path/'half').write_text('x')
            raise OSError(28, 'No space left on device')
    with monkeypatch.context() as patch, pytest.raises(OSError, match='disk is full'):
        patch.setattr(training, '_checkpointer', Full)
        fit(NIF((4, 4, 1), 3, **SMALL), data(), images=8 * 20, folder=tmp_path/'run', **SETTINGS)
    assert equal(load_model(tmp_path/'run'), good) and not list((tmp_path/'run'/'checkpoints').glob('.writing*'))
    assert fit(NIF((4, 4, 1), 3, **SMALL), data(), images=8 * 20, folder=tmp_path/'run', **SETTINGS)['steps'] == 20


def test_write_json_is_atomic(tmp_path, monkeypatch):
    write_json(tmp_path/'a.json', dict(x=1))
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(os, 'fsync', lambda *a: (_ for _ in ()).throw(OSError(28, 'No space left on device')))
        write_json(tmp_path/'a.json', dict(x=2))
    assert json.loads((tmp_path/'a.json').read_text()) == dict(x=1) and [p.name for p in tmp_path.iterdir()] == ['a.json']


def test_save_and_load(tmp_path):
    model = NIF((4, 4, 1), 3, **SMALL)
    model.initialise(data(), key=jax.random.key(0))
    save_model(tmp_path/'m', model)
    assert equal(load_model(tmp_path/'m'), model)
    with pytest.raises(FileNotFoundError): load_model(tmp_path/'nowhere')
    (tmp_path/'m'/'model.json').write_text(json.dumps(build_model('NIF-4', (4, 4, 1), **SMALL).config))
    with pytest.raises(ValueError, match='cannot be read as this model'): load_model(tmp_path/'m')


@pytest.mark.parametrize('text', ['{"name": "NIF-3", "sha', '{"name": "NIF-3"}', '[]', '{"name": "NIF-3", "shape": [4, 4, 1], "wings": 2}', '{"name": "NIF-3", "shape": null}', ''])
def test_a_damaged_description_is_named(tmp_path, text):
    save_model(tmp_path/'m', NIF((4, 4, 1), 3, **SMALL))
    (tmp_path/'m'/'model.json').write_text(text)
    with pytest.raises(ValueError, match='model.json'): load_model(tmp_path/'m')
    fit(NIF((4, 4, 1), 3, **SMALL), data(), images=16, folder=tmp_path/'run', **SETTINGS)
    (tmp_path/'run'/'config.json').write_text('{"fit"')
    with pytest.raises(ValueError, match='config.json'): fit(NIF((4, 4, 1), 3, **SMALL), data(), images=16, folder=tmp_path/'run', **SETTINGS)


def by_hand(M=2): return Flow(Chain(Standardise(3), ActNorm(3)), GaussianNIF(3, M), shape=(3,))


def test_a_model_put_together_by_hand_is_saved_and_loaded(tmp_path):
    x, model = np.random.default_rng(0).normal(5, 3, size=(40, 3)), by_hand()
    fit(model, x, images=80, folder=tmp_path/'run', **SETTINGS)
    save_model(tmp_path/'mine', NF((3,), steps=1, hidden=3)); save_model(tmp_path/'mine', model)
    for place in ('run', 'mine'):
        with pytest.raises(FileNotFoundError, match='by hand.*model=flow'): load_model(tmp_path/place)
        like = by_hand()
        assert not equal(like, model) and load_model(tmp_path/place, model=like) is like and equal(like, model)
        with pytest.raises(ValueError, match='cannot be read as this model'): load_model(tmp_path/place, model=by_hand(1))
        with pytest.raises(ValueError, match='must be a Flow'): load_model(tmp_path/place, model=model.body)
    with pytest.raises(FileNotFoundError, match='no finished checkpoint'): load_model(tmp_path/'nowhere', model=by_hand())
    with pytest.raises(ValueError, match='got Chain'): save_model(tmp_path/'mine', model.body)


@pytest.mark.parametrize('kind', ['image', 'vector', 'deep', 'by hand'])
def test_a_second_fit_goes_on_from_the_first(tmp_path, kind):
    x = data() if kind != 'vector' and kind != 'by hand' else np.random.default_rng(0).normal(5, 3, size=(40, 3))
    make = {'image': lambda: NIF((4, 4, 1), 3, **SMALL), 'vector': lambda: NIF((3,), 2, steps=2, hidden=8), 'by hand': by_hand,
            'deep': lambda: build_model('DeepNIF-3', (4, 4, 1), low_steps=1, low_hidden=4, **SMALL)}[kind]
    score = lambda model: np.asarray(model.log_prob(x, key=jax.random.key(1)))
    model = make(); fit(model, x, images=8 * 60, folder=tmp_path/'run', **(SETTINGS | dict(learning_rate=3e-2)))
    trained, still = score(model), SETTINGS | dict(images=16, learning_rate=1e-30)
    fresh = make(); nnx.update(fresh, nnx.state(model))
    save_model(tmp_path/'saved', model)
    like = {} if kind != 'by hand' else dict(model=make())
    loaded = load_model(tmp_path/'run', **like)
    like = {} if kind != 'by hand' else dict(model=make())
    again = load_model(tmp_path/'saved', **like)
    for m, told in ((model, {}), (loaded, {}), (again, {}), (nnx.clone(model), {}), (copy.deepcopy(model), {}), (nnx.merge(*nnx.split(model)), {}), (fresh, dict(initialise=False))):
        fit(m, x[:16], **(still | told))
        np.testing.assert_allclose(score(m), trained, rtol=1e-6)
    fit(model, x[:16], initialise=True, **still)
    assert np.abs(score(model) - trained).max() > 0.01


def test_a_model_saved_as_it_was_built_is_initialised_by_its_first_fit(tmp_path):
    one, two = NIF((4, 4, 1), 3, **SMALL), NIF((4, 4, 1), 3, **SMALL)
    save_model(tmp_path/'new', one)
    two = load_model(tmp_path/'new')
    for model in (one, two): fit(model, data(), images=16, **SETTINGS)
    assert equal(one, two)


def test_an_interrupted_first_fit_counts_as_trained_a_failed_one_does_not():
    x, model = np.random.default_rng(0).normal(5, 3, size=(40, 3)), NIF((3,), 2, steps=2, hidden=8)
    with pytest.raises(Diverged): fit(model, x, images=8 * 400, **(SETTINGS | dict(learning_rate=1e9)))
    fit(model, 100 * x, images=16, **SETTINGS)                      # standardised by these data, not by those that failed
    other = NIF((3,), 2, steps=2, hidden=8); fit(other, 100 * x, images=16, **SETTINGS)
    assert equal(model, other)


def test_numpy_numbers_name_the_same_run(tmp_path):
    x, settings = np.random.default_rng(0).normal(size=(40, 3)), SETTINGS | dict(seed=3, images=16, learning_rate=0.5, clip=2.0, n_samples=1)
    kinds = dict(seed=np.int64, images=np.int32, learning_rate=np.float32, clip=jnp.float32, n_samples=np.int64, batch_size=np.int16, warmup=np.int64, steps_per_dispatch=jnp.int32)
    models = [NIF((3,), 2, steps=1, hidden=4) for _ in range(2)]
    fit(models[0], x, folder=tmp_path/'a', **(settings | {k: kind(settings[k]) for k, kind in kinds.items()}))
    assert fit(models[1], x, folder=tmp_path/'a', **settings)['steps'] == 2 and equal(*models)


@pytest.mark.parametrize('clip', [None, float('inf'), np.inf])
def test_no_clipping_is_a_huge_clip(tmp_path, clip):
    x, models = np.random.default_rng(0).normal(size=(40, 3)), []
    for c in (clip, 1e9, 1e-3):
        models.append(NIF((3,), 2, steps=1, hidden=4)); fit(models[-1], x, images=80, folder=tmp_path/str(c), **(SETTINGS | dict(clip=c)))
    gap = lambda a, b: max(float(jnp.abs(u - v).max()) for u, v in zip(jax.tree.leaves(nnx.state(a)), jax.tree.leaves(nnx.state(b)), strict=True))
    assert gap(*models[:2]) < 1e-6 and gap(*models[1:]) > 1e-3 and equal(load_model(tmp_path/str(clip)), models[0])       # two programs: a rounding apart, 1.5e-8


def test_vectors_train_and_constant_columns_raise():
    x = np.random.default_rng(0).normal(size=(200, 3)) @ np.array([[1, 2, 0], [0, 1, 0], [0, 0, 1e-2]]) + 5
    report = fit(NIF((3,), 2, steps=2, hidden=16), x, images=200 * 40, batch_size=50, learning_rate=3e-3, warmup=10, progress=False)
    assert report['unit'] == 'nats/dim' and report['history'][-1]['loss'] < report['history'][0]['loss'] - 0.1
    with pytest.raises(ValueError, match='constant column 1'): fit(NIF((3,), 2, steps=1, hidden=3), np.where(np.arange(3) == 1, 4.0, x), images=10, progress=False)


@pytest.mark.parametrize('change, word', [(dict(images=None), 'budget'), (dict(minutes=1), 'budget'), (dict(images=-5), 'positive'), (dict(batch_size=0), 'batch_size'), (dict(learning_rate=0), 'learning_rate'), (dict(images=float('inf')), 'finite'),
                                          (dict(clip=0), 'clip.*positive'), (dict(clip=-1), 'clip'), (dict(clip=float('nan')), 'clip'), (dict(clip='5'), 'clip'), (dict(warmup=float('nan')), 'warmup'), (dict(warmup=-5), 'warmup'), (dict(warmup=True), 'warmup'),
                                          (dict(stop_after=0), 'stop_after'), (dict(images='100'), 'images'), (dict(images=10.5), 'images.*whole'), (dict(images=True), 'images'), (dict(images=None, minutes='1'), 'minutes'), (dict(images=None, minutes=float('nan')), 'minutes'),
                                          (dict(learning_rate=lambda step: 1e-3), 'learning_rate'), (dict(learning_rate=np.ones(2)), 'learning_rate'), (dict(learning_rate=float('inf')), 'learning_rate'), (dict(learning_rate=None), 'learning_rate'),
                                          (dict(seed=1.5), 'seed'), (dict(seed=None), 'seed'), (dict(n_samples=2.0), 'n_samples'), (dict(steps_per_dispatch='3'), 'steps_per_dispatch'), (dict(checkpoint_minutes=float('nan')), 'checkpoint_minutes'), (dict(initialise='yes'), 'initialise'), (dict(callback=3), 'callback must be a function')])
def test_bad_arguments(change, word):
    with pytest.raises(ValueError, match=word): fit(NF((4, 4, 1), **SMALL), data(), **(SETTINGS | dict(images=8) | change))


def test_minutes_are_a_budget():
    report = fit(NF((4, 4, 1), **SMALL), data(), minutes=0.001, **SETTINGS)
    assert report['steps'] >= 3 and report['finished']


def test_a_folder_belongs_to_fit_or_to_save_model(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3)); make = lambda: NIF((3,), 2, steps=1, hidden=4)
    settings = dict(batch_size=20, progress=False, warmup=2)
    fit(make(), x, images=200, folder=tmp_path/'run', **settings)
    with pytest.raises(ValueError, match='checkpoints of fit'): save_model(tmp_path/'run', make())
    save_model(tmp_path/'mine', make())
    with pytest.raises(ValueError, match='model of save_model'): fit(make(), x, images=200, folder=tmp_path/'mine', **settings)
    with pytest.raises(ValueError, match='has seen 200 images and images=100 asks for fewer'): fit(make(), x, images=100, folder=tmp_path/'run', **settings)
    assert fit(make(), x, images=200, folder=tmp_path/'run', **settings)['images'] == 200


@pytest.mark.parametrize('name, text, word', [('config.json', '[]', 'no config of fit'), ('metrics.jsonl', '5\n', 'no line of fit'), ('metrics.jsonl', '{}\n', 'no line of fit')])
def test_damaged_files_of_a_run_are_named(tmp_path, name, text, word):
    x = np.random.default_rng(0).normal(size=(40, 3)); make = lambda: NIF((3,), 2, steps=1, hidden=4)
    settings = dict(images=100, batch_size=20, progress=False, warmup=2, folder=tmp_path)
    fit(make(), x, **settings)
    (tmp_path/name).write_text(text)
    with pytest.raises(ValueError, match=f'{name} is damaged.*{word}'): fit(make(), x, **settings)


def test_damaged_shapes_are_named(tmp_path):
    save_model(tmp_path, NIF((3,), 2, steps=1, hidden=4))
    for text in (b'[]', b'\xff'):
        (tmp_path/'parameters'/'step_0'/'shapes.json').write_bytes(text)
        with pytest.raises(ValueError, match='shapes.json cannot be read'): load_model(tmp_path)


def test_damaged_arrays_are_named(tmp_path):
    "Every file that was written is looked at, before orbax sees one: it reads some damage as numbers, and prints pages about the rest."
    save_model(tmp_path, NIF((3,), 2, steps=1, hidden=4)); place = tmp_path/'parameters'/'step_0'; files = [path for path in (place/'arrays').rglob('*') if path.is_file()]
    assert set(json.loads((place/'sums.json').read_text())) == {path.relative_to(place/'arrays').as_posix() for path in files}
    for path in files:
        whole = path.read_bytes(); path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ValueError, match=f'parameters/step_0 is damaged: .*{path.name} is missing or altered'): load_model(tmp_path)
        path.write_bytes(whole)
    load_model(tmp_path); (place/'sums.json').unlink(); load_model(tmp_path)          # a checkpoint of before


@pytest.mark.parametrize('seed', [2 ** 32, 2 ** 70, -2 ** 31 - 1, 1.0, True])
def test_a_seed_is_one_key(seed):
    for call in (lambda: NIF((3,), 2, steps=1, hidden=4, seed=seed), lambda: fit(NIF((3,), 2, steps=1, hidden=4), np.zeros((4, 3)), images=4, seed=seed)):
        with pytest.raises(ValueError, match='seed must be a whole number'): call()
    NIF((3,), 2, steps=1, hidden=4, seed=2 ** 32 - 1)


def vectors(): return np.random.default_rng(0).normal(size=(40, 3))
def tiny(): return NIF((3,), 2, steps=1, hidden=4)


@pytest.mark.skipif(training.fcntl is None, reason='no locks on this system')
def test_two_do_not_train_in_one_folder(tmp_path, monkeypatch):
    "While one trains, even where the other would save a later step; afterwards, after a failure and where the file system knows no locks nobody is kept out."
    from errno import ENOLCK
    real, refused = training.save_state, []
    def save(folder, step, tree):
        if step: refused.append(pytest.raises(ValueError, fit, tiny(), vectors(), images=160, folder=tmp_path/'run', **SETTINGS))
        real(folder, step, tree)
    monkeypatch.setattr(training, 'save_state', save)
    assert fit(tiny(), vectors(), images=80, folder=tmp_path/'run', **SETTINGS)['steps'] == 10
    assert len(refused) == 1 and str(refused[0].value).startswith(f"{tmp_path/'run'}: another process trains here")
    monkeypatch.setattr(training, 'save_state', real)
    with pytest.raises(ValueError, match='another config'): fit(tiny(), vectors(), images=160, seed=1, folder=tmp_path/'run', **SETTINGS)
    assert (tmp_path/'run'/'lock').exists() and fit(tiny(), vectors(), images=160, folder=tmp_path/'run', **SETTINGS)['steps'] == 20
    def none(*arguments): raise OSError(ENOLCK, 'no locks available')
    with monkeypatch.context() as patch:
        patch.setattr(training.fcntl, 'flock', none)
        assert fit(tiny(), vectors(), images=160, folder=tmp_path/'run', **SETTINGS)['steps'] == 20
    monkeypatch.setattr(training, 'fcntl', None)
    assert fit(tiny(), vectors(), images=80, folder=tmp_path/'other', **SETTINGS)['steps'] == 10 and not (tmp_path/'other'/'lock').exists()


def test_a_saved_step_removes_earlier_ones_alone(tmp_path):
    for step in (3, 12, 9): training.save_state(tmp_path, step, dict(a=jnp.arange(3.0)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ['step_12', 'step_9'] and training.saved_step(tmp_path) == 12


def test_a_lost_history_takes_its_steps_out_of_the_rate(tmp_path):
    "images_per_second is of the images whose seconds are known, or None; never all images over some of the seconds."
    go = lambda images: fit(tiny(), vectors(), images=images, folder=tmp_path, **SETTINGS)
    rate = lambda report, images: (report['images_per_second'], report['images']) == (pytest.approx(images / report['seconds']), 240)
    go(80); (tmp_path/'metrics.jsonl').unlink()
    report = go(240)
    assert rate(report, 160) and rate(go(240), 160) and [row['step'] for row in report['history']][::len(report['history']) - 1] == [13, 30]
    lines = (tmp_path/'metrics.jsonl').read_text().splitlines(); (tmp_path/'metrics.jsonl').write_text('\n'.join(lines[:2]) + '\n')
    assert rate(go(240), 48)
    (tmp_path/'metrics.jsonl').unlink()
    assert {k: go(240)[k] for k in ('images', 'seconds', 'images_per_second', 'loss', 'finished')} == dict(images=240, seconds=0.0, images_per_second=None, loss=None, finished=True)


class Masked(Layer):
    def __init__(self, mask): self.mask, self.w = np.array(mask), nnx.Param(jnp.zeros(3))
    def inverse(self, x, *, key=None): a = jnp.tanh(self.w[...]) * self.mask; return x * jnp.exp(a), jnp.broadcast_to(a.sum(), x.shape[:1])
    def forward(self, z, *, key=None, s=1.0): return z * jnp.exp(-jnp.tanh(self.w[...]) * self.mask)


@pytest.mark.parametrize('mask', [[1.0, 0.0, 1.0], [1, 0, 1]])
def test_an_array_of_numpy_in_a_layer_is_saved_loaded_and_resumed(mask, tmp_path):
    "It is float64 or int64 as it was put there, and what JAX makes of it once it was trained."
    def made(): return Flow(Masked(mask), GaussianNIF(3, 2), shape=3)
    x, model, whole = np.random.default_rng(0).normal(size=(16, 3)), made(), made()
    fit(model, x, images=32, folder=tmp_path/'run', stop_after=2, **SETTINGS); save_model(tmp_path/'mine', model)
    assert all(equal(load_model(tmp_path/place, model=made()), model) for place in ('run', 'mine'))
    again = made(); fit(again, x, images=32, folder=tmp_path/'run', **SETTINGS); fit(whole, x, images=32, **SETTINGS)
    assert equal(again, whole)


@pytest.mark.parametrize('replace', [lambda m: m.body.layers.__setitem__(1, Logit(8.0, 0.2)), lambda m: setattr(m, 'head', GaussianNIF(16, 3))])
def test_a_model_whose_part_was_replaced_is_not_loaded_by_its_name(replace, tmp_path):
    "NIF-2 with another squash, or another head, would come back as the NIF-2 that it was."
    def made(): model = NIF((4, 4, 1), 2, **SMALL); replace(model); return model
    model = made()
    fit(model, data(8), images=8, folder=tmp_path/'run', **SETTINGS); save_model(tmp_path/'mine', model)
    for place in ('run', 'mine'):
        with pytest.raises(FileNotFoundError, match='by hand.*model=flow'): load_model(tmp_path/place)
        assert equal(load_model(tmp_path/place, model=made()), model)


def test_ctrl_c_in_the_last_steps_is_heard(tmp_path):
    "What was asked is done, and the caller, who may have more to train, is told all the same."
    def stop(row):
        if row['images'] == 16: signal.raise_signal(signal.SIGINT)
    with pytest.raises(Interrupted, match='after step 2 .16 images., the last one; saved'): fit(NF((4, 4, 1), **SMALL), data(), images=16, folder=tmp_path, callback=stop, **SETTINGS)
    assert fit(NF((4, 4, 1), **SMALL), data(), images=16, folder=tmp_path, **SETTINGS)['finished']


def test_a_lost_description_is_written_again(tmp_path):
    fit(NF((4, 4, 1), **SMALL), data(), images=8, folder=tmp_path, **SETTINGS)
    (tmp_path/'model.json').unlink()
    fit(model := NF((4, 4, 1), **SMALL), data(), images=8, folder=tmp_path, **SETTINGS)
    assert equal(load_model(tmp_path), model)
