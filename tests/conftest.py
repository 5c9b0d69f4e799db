import atexit
import os
import shutil
import tempfile

if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:                              # one compilation for all workers, notebooks and commands of a session; none is left behind
    os.environ['JAX_COMPILATION_CACHE_DIR'] = tempfile.mkdtemp(prefix='nif_lit_compiled_')
    atexit.register(shutil.rmtree, os.environ['JAX_COMPILATION_CACHE_DIR'], ignore_errors=True)
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')

import jax
import pytest
from flax import nnx

jax.config.update('jax_platforms', os.environ.get('JAX_PLATFORMS', 'cpu'))


@pytest.fixture
def x64():
    "float64 for theory, and back."
    with jax.enable_x64(True): yield


def generic(module, seed=0, scale=0.2):
    "The module with every trainable parameter moved off its start, where a wrong sign may hide behind a zero."
    state = nnx.state(module, nnx.Param)
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(seed), max(1, len(leaves)))
    nnx.update(module, jax.tree.unflatten(tree, [v + scale * jax.random.normal(k, v.shape, v.dtype) for k, v in zip(keys, leaves)]))
    return module
