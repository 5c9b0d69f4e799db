"""What ran, on what, and how quiet it was. Standard library only."""
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'scipy', 'torch', 'FrEIA', 'normflows', 'nflows', 'distrax', 'numpyro')
UNSET = ('OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE', 'OPENBLAS_NUM_THREADS', 'OPENBLAS_THREAD_TIMEOUT', 'OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'XLA_FLAGS',
         'JAX_ENABLE_X64', 'JAX_COMPILATION_CACHE_DIR')          # a user who sets nothing is who we measure for


def packages():
    "{package: version}, absent ones left out."
    found = {}
    for name in PACKAGES:
        try: found[name] = version(name)
        except PackageNotFoundError: pass
    return found


def cpu_model():
    try: return next(line.split(':', 1)[1].strip() for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name'))
    except (OSError, StopIteration): return platform.processor() or platform.machine()


def cpu_flags():
    "The vector extensions that decide a matmul's peak."
    try: text = next(line for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('flags'))
    except (OSError, StopIteration): return []
    return [flag for flag in ('avx2', 'fma', 'avx512f', 'avx512_bf16', 'amx_bf16') if f' {flag} ' in text + ' ']


def commit():
    def git(*arguments):
        try: return subprocess.run(['git', *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError): return ''
    head = git('rev-parse', '--short', 'HEAD')
    return head + (' + changes' if git('status', '--porcelain', '--untracked-files=no') else '') if head else 'not a git checkout'


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def load():
    "Mean number of running processes over the last minute, or None."
    try: return round(os.getloadavg()[0], 2)
    except OSError: return None


def provenance(used):
    "Everything that a number needs beside it, as a dict; `used` is the number of cores given to each contender."
    return dict(commit=commit(), cpu=cpu_model(), flags=cpu_flags(), cores=cores(), cores_used=used, system=platform.system(), python=platform.python_version(), load_before=load(), **packages())


def environment():
    "The environment of a contender: ours less what would tune its threads or compiler."
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    return kept | dict(JAX_PLATFORMS='cpu', JAX_ENABLE_COMPILATION_CACHE='false', PYTHONPATH=str(ROOT), TF_CPP_MIN_LOG_LEVEL='2', PYTHONUNBUFFERED='1')
