"Training: the same order for all, resume equals never stopped, and what must not be lost."
import json
import os
import signal
import subprocess
import sys
import time
import jax
import numpy as np
import pytest
from flax import nnx
from nif_lit import NF, NIF, fit, build_model
from nif_lit import training
from nif_lit.training import DataOrder, Diverged, Interrupted, load_model, save_model, write_json

SMALL = dict(bits=3, levels=1, steps=2, channels=4)
SETTINGS = dict(batch_size=8, steps_per_dispatch=3, progress=False, warmup=4, learning_rate=5e-3)


def data(n=40, seed=0):
    ramp = np.arange(16).reshape(1, 4, 4, 1) // 2
    return np.asarray(np.clip(ramp + np.random.default_rng(seed).integers(-1, 2, (n, 4, 4, 1)), 0, 7), np.uint8)


def equal(a, b): return all((np.asarray(x) == np.asarray(y)).all() for x, y in zip(jax.tree.leaves(nnx.state(a)), jax.tree.leaves(nnx.state(b)), strict=True))


def test_training_lowers_the_loss():
    report = fit(NIF((4, 4, 1), 3, **SMALL), data(), images=8 * 150, **SETTINGS)
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


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_a_real_kill_and_a_real_interrupt(tmp_path, number):
    command = [sys.executable, '-c', KILLED.format(tests=os.path.dirname(__file__), folder=str(tmp_path/'run'))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path/'run'/'metrics.jsonl'
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None and not (metrics.exists() and metrics.read_text().count('\n') >= 4): time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0 and metrics.exists(), errors[-500:]
    if number == signal.SIGINT: assert 'the same command goes on' in errors
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    whole = NIF((4, 4, 1), 3, **SMALL)
    fit(whole, data(), images=8 * 4000, **(SETTINGS | dict(steps_per_dispatch=50)))
    assert equal(load_model(tmp_path/'run'), whole)


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
    with pytest.raises(ValueError, match='fit.data'): fit(NIF((4, 4, 1), 3, **SMALL), data(seed=5), images=16, folder=tmp_path/'run', **SETTINGS)


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


def test_vectors_train_and_constant_columns_raise():
    x = np.random.default_rng(0).normal(size=(200, 3)) @ np.array([[1, 2, 0], [0, 1, 0], [0, 0, 1e-2]]) + 5
    report = fit(NIF((3,), 2, steps=2, hidden=16), x, images=200 * 40, batch_size=50, learning_rate=3e-3, warmup=10, progress=False)
    assert report['unit'] == 'nats/dim' and report['history'][-1]['loss'] < report['history'][0]['loss'] - 0.1
    with pytest.raises(ValueError, match='constant column 1'): fit(NIF((3,), 2, steps=1, hidden=3), np.where(np.arange(3) == 1, 4.0, x), images=10, progress=False)


@pytest.mark.parametrize('change, word', [(dict(images=None), 'budget'), (dict(minutes=1), 'budget'), (dict(images=-5), 'positive'), (dict(batch_size=0), 'batch_size'), (dict(learning_rate=0), 'learning_rate'), (dict(images=float('inf')), 'finite')])
def test_bad_arguments(change, word):
    with pytest.raises(ValueError, match=word): fit(NF((4, 4, 1), **SMALL), data(), **(SETTINGS | dict(images=8) | change))


def test_minutes_are_a_budget():
    report = fit(NF((4, 4, 1), **SMALL), data(), minutes=0.001, **SETTINGS)
    assert report['steps'] >= 3 and report['finished']
