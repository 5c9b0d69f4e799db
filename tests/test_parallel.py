"Many devices and many processes: the losses, scores and resumed runs of one device."
import json
import os
import re
import socket
import subprocess
import sys
import jax
import numpy as np
import pytest
from nif_lit import NIF, DeepNIF, fit, log_likelihood_of
from nif_lit.training import draws_by_rows, load_model

pytestmark = pytest.mark.xdist_group('parallel')                                                                                    # one worker, or each would make what the tests share
COMMON = '''
import json, os, sys
import jax, jax.numpy as jnp, numpy as np
from pathlib import Path
from nif_lit import Chain, DeepNIF, Flow, Layer, NIF, fit, log_likelihood_of
from nif_lit.heads import GaussianNIF
import nif_lit.gaussian
from nif_lit.training import load_model, train_steps
sys.path.insert(0, {tests!r})
from test_parallel import *

class Jitter(Layer):
    "A user's noisy layer, which draws in its own way."
    stochastic = dequantizes = True
    def forward(self, z, *, key=None, s=1.0): return z
    def inverse(self, x, *, key=None): return x + jax.random.normal(key, x.shape), jnp.zeros(len(x))
out, place = {{}}, Path({place!r})
'''
EIGHT = COMMON + '''
one, gap = jax.devices()[:1], lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max())
out['devices'] = len(jax.devices())
out['image'] = losses(fit(NIF((4, 4, 1), 3, **SMALL), images(), images=16 * 6, **SETTINGS))
fit(vector(), vectors(), images=16 * 6, folder=place/'eight', stop_after=4, **SETTINGS)
model = vector()
out['vector'] = losses(fit(model, vectors(), images=16 * 6, folder=place/'eight', devices=one, **SETTINGS))                        # begun on 8 devices, ended on one
out['scores'] = gap(*(log_likelihood_of(model, vectors(), key=jax.random.key(1), batch_size=7, devices=d) for d in (None, one)))
mine = lambda: Flow(Chain(Jitter()), GaussianNIF(3, 2), shape=(3,))
out['mine'] = gap(*(losses(fit(mine(), vectors(), images=16 * 6, devices=d, **SETTINGS)) for d in (None, one)))
out['twelve'] = losses(fit(mine(), vectors(), images=12, **(SETTINGS | dict(batch_size=12))))
out['idle'] = losses(fit(mine(), vectors(), images=12, devices=one, **(SETTINGS | dict(batch_size=12))))
nif_lit.gaussian.batch_draw = lambda draw, key, shape, dtype: draw(key, shape, dtype)                                              # the planted bug: each device the same noise
jax.clear_caches()
out['bug'] = losses(fit(vector(), vectors(), images=16 * 6, **SETTINGS))
print(json.dumps(out))
'''
TWO = COMMON + '''
from nif_lit.training import join_processes
me = int(sys.argv[1])
join_processes(sys.argv[2], 2, me)
out['devices'] = [len(jax.devices()), len(jax.local_devices())]
folder = place/f'process_{{me}}'                                                                                                   # no disk is shared
fit(vector(), vectors(), images=16 * 6, folder=folder, stop_after=4, **SETTINGS)
model = vector()
report = fit(model, vectors(), images=16 * 6, folder=folder, **(SETTINGS | dict(progress=True)))
out['vector'], out['files'] = losses(report), sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file()) if folder.exists() else []
out['scores'] = float(log_likelihood_of(model, vectors(), key=jax.random.key(1), batch_size=7).sum())
try: fit(vector(), vectors() + me, images=16, **SETTINGS)
except ValueError as error: out['other'] = str(error)
try: fit(vector(), vectors(), images=16, **(SETTINGS | dict(batch_size=5)))
except ValueError as error: out['odd'] = str(error)
try: fit(vector(), vectors(), images=16, seed=1, folder=folder, **SETTINGS)
except ValueError as error: out['config'] = str(error)
print(json.dumps(out))
'''
SMALL = dict(bits=3, levels=1, steps=2, channels=4)
SETTINGS = dict(batch_size=16, compute='float32', steps_per_dispatch=1, progress=False, warmup=4, learning_rate=5e-3)


def images(n=40): return np.random.default_rng(0).integers(0, 8, (n, 4, 4, 1)).astype(np.uint8)
def vectors(n=40): return np.random.default_rng(1).normal(size=(n, 3)).astype(np.float32)
def vector(): return DeepNIF((3,), 2, steps=1, hidden=4, low_steps=1, low_hidden=4)
def losses(report): return [row['loss'] for row in report['history']]


def start(script, tmp_path, devices, *arguments):
    env = os.environ | dict(XLA_FLAGS=f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}", JAX_PLATFORMS='cpu', OMP_NUM_THREADS='1', JAX_ENABLE_COMPILATION_CACHE='false')         # the number of devices is not in the key of a kept compilation
    script = script.format(tests=os.path.dirname(__file__), place=str(tmp_path))
    return subprocess.Popen([sys.executable, '-c', script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
    "What eight devices in one process and two devices in each of two processes answered, and the losses of one device."
    place = tmp_path_factory.mktemp('parallel')
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    jobs = [start(EIGHT, place, 8), *(start(TWO, place, 2, str(k), f'127.0.0.1:{port}') for k in range(2))]
    alone = dict(image=losses(fit(NIF((4, 4, 1), 3, **SMALL), images(), images=16 * 6, **SETTINGS)), vector=losses(fit(vector(), vectors(), images=16 * 6, **SETTINGS)))
    try: said = [job.communicate(timeout=400) for job in jobs]
    finally:
        for job in jobs: job.kill()
    for job, (_, errors) in zip(jobs, said): assert job.returncode == 0, errors[-3000:]
    return alone, place, *((json.loads(out.splitlines()[-1]), errors) for out, errors in said)


def test_eight_devices_give_the_losses_of_one(ran):
    alone, _, (eight, errors), *_ = ran
    assert eight['devices'] == 8
    for name in ('image', 'vector'): np.testing.assert_allclose(eight[name], alone[name], rtol=2e-5)
    assert np.abs(np.array(eight['bug']) - alone['vector']).max() > 1e-2                           # the same noise on each device is seen
    assert eight['mine'] < 1e-5 and eight['scores'] < 1e-4


def test_devices_that_do_not_divide_the_batch_are_left_idle(ran):
    _, _, (eight, errors), *_ = ran
    assert 'a batch of 12 is shared by 6 of 8 devices; 8 would use all' in errors
    np.testing.assert_allclose(eight['twelve'], eight['idle'], rtol=2e-5)


def test_two_processes_give_the_losses_of_one(ran):
    alone, place, _, (first, shown), (second, silent) = ran
    assert first['devices'] == second['devices'] == [4, 2]
    assert first['vector'] == second['vector'] and first['scores'] == second['scores']
    np.testing.assert_allclose(first['vector'], alone['vector'], rtol=2e-5)
    assert {'config.json', 'metrics.jsonl', 'model.json', 'checkpoints/step_6/shapes.json'} <= set(first['files']) and second['files'] == []
    np.testing.assert_allclose(log_likelihood_of(load_model(place/'process_0'), vectors(), key=jax.random.key(1), batch_size=7).sum(), first['scores'], rtol=2e-5)
    assert 'img/s' in shown and 'img/s' not in silent
    for word, answer in (('process 1 trains with other data', 'other'), ('2 processes.*multiple of 2', 'odd'), ('another config.*seed', 'config')):
        for who in (first, second): assert re.search(word, who[answer]), who[answer]


def test_a_layer_that_draws_in_its_own_way_is_known():
    from nif_lit import Chain, Flow, Layer
    class Mine(Layer): stochastic = True
    class Declared(Mine): draws_rows = True
    head = vector().head
    assert draws_by_rows(vector()) and draws_by_rows(Flow(Chain(Declared()), head)) and not draws_by_rows(Flow(Chain(Mine()), head))
