import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile

if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:                              # one compilation for all workers, notebooks and commands of a session; none is left behind
    os.environ['JAX_COMPILATION_CACHE_DIR'] = tempfile.mkdtemp(prefix='nif_lit_compiled_')
    atexit.register(shutil.rmtree, os.environ['JAX_COMPILATION_CACHE_DIR'], ignore_errors=True)
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')

for name in ('OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS'): os.environ.setdefault(name, '1')      # there is a worker for each core: threads that wait for the next call would take it from the other

# Compiling many small programs once each is most of what the tests do, so here the compiler hurries: less optimisation, and loops written without the slow fusion emitters. NIF_LIT_HASTE=0 compiles as a user does.
EMITTERS = '--xla_cpu_use_fusion_emitters=false'
HASTE = os.environ.get('NIF_LIT_HASTE', '1') != '0'
if HASTE and 'PYTEST_XDIST_WORKER' not in os.environ and EMITTERS not in os.environ.get('XLA_FLAGS', ''):      # once, and workers inherit it: a jaxlib that does not know the flag would end every process
    flags = f"{os.environ.get('XLA_FLAGS', '')} {EMITTERS}".strip()
    if subprocess.run([sys.executable, '-c', 'import jax; jax.devices()'], env=os.environ | dict(XLA_FLAGS=flags, JAX_PLATFORMS='cpu'), capture_output=True).returncode == 0: os.environ['XLA_FLAGS'] = flags
    os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
COMPILED_IN_FULL = {'JAX_DISABLE_MOST_OPTIMIZATIONS': '0', 'XLA_FLAGS': os.environ.get('XLA_FLAGS', '').replace(EMITTERS, '').strip()} if HASTE else {}      # the environment of a process that compiles as a user's does

import jax
import numpy as np
import pytest
from flax import nnx

jax.config.update('jax_platforms', os.environ.get('JAX_PLATFORMS', 'cpu'))
gc.freeze(); gc.set_threshold(200_000, 20, 100)                                 # programs that stay are many objects, which Python need not walk through again and again


@pytest.fixture
def x64():
    "float64 for theory, and back."
    with jax.enable_x64(True): yield


def generic(module, seed=0, scale=0.2):
    "The module with every trainable parameter moved off its start, where a wrong sign may hide behind a zero."
    state, rng = nnx.state(module, nnx.Param), np.random.default_rng(seed)
    nnx.update(module, jax.tree.map(lambda v: jax.device_put(np.asarray(v) + (scale * rng.normal(size=v.shape)).astype(v.dtype)), state))
    return module
