"The workers of a test session share compilations: half a file there must cost a compilation, not a test."
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = """
import jax, jax.numpy as jnp

def test_product(): assert jax.jit(lambda a: a @ a.T + 1)(jnp.ones((2, 3))).sum() == 16
"""


def test_half_a_kept_compilation_is_compiled_again(tmp_path):
    (tmp_path/'test_product.py').write_text(PRODUCT)
    kept = tmp_path/'kept'
    tests = lambda *options: subprocess.run([sys.executable, '-m', 'pytest', '-c', ROOT/'pyproject.toml', '-p', 'no:cacheprovider', '--rootdir', tmp_path, *options, tmp_path/'test_product.py'], cwd=tmp_path,
                                            capture_output=True, text=True, timeout=300, env=os.environ | dict(JAX_COMPILATION_CACHE_DIR=str(kept), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0', JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES='-1'))
    assert tests().returncode == 0 and any(kept.iterdir())
    for file in kept.iterdir(): file.write_bytes(file.read_bytes()[:file.stat().st_size // 2])
    again = tests()
    assert again.returncode == 0, again.stdout
    assert tests('-W', 'error').returncode == 1                                # the file was read, and found to be half
