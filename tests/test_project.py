"The project itself: exports in sync, notebooks clean and running, imports that point backwards, nothing private in what is committed."
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
import pytest
from conftest import COMPILED_IN_FULL

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(p.name for p in (ROOT/'nbs').glob('*.ipynb'))
MODULES = {re.search(r'^#\|\s*default_exp\s+(\w+)', ''.join(c['source']), re.M)[1]: name for name in NOTEBOOKS for c in json.loads((ROOT/'nbs'/name).read_text())['cells']
           if c['cell_type'] == 'code' and '#| default_exp' in ''.join(c['source'])}
TOOLS = Path(sys.executable).parent


def tracked():
    "The files of the project: what git tracks, and what it would."
    found = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split('\n')
    return [name for name in found if name and (ROOT/name).is_file()]


@pytest.fixture(scope='session')
def copy(tmp_path_factory):
    place = tmp_path_factory.mktemp('copy')/'nif_lit'
    for name in tracked():
        (place/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT/name, place/name, follow_symlinks=False)
    return place


def tool(name, *arguments, cwd, timeout=900, **env):
    "Runs one of nbdev's commands on the copy, which it must import."
    done = subprocess.run([str(TOOLS/name), *arguments], cwd=cwd, capture_output=True, text=True, timeout=timeout, env=os.environ | dict(PYTHONPATH=str(cwd)) | env)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done


def test_exports_in_sync_and_notebooks_clean(copy):
    before = {name: (copy/name).read_bytes() for name in tracked() if name.startswith(('nif_lit/', 'nbs/')) and not (copy/name).is_symlink()}
    tool('nbdev_export', cwd=copy)
    tool('nbdev_clean', cwd=copy)
    changed = [name for name, content in before.items() if (copy/name).read_bytes() != content]
    assert not changed, f'run nbdev_export and nbdev_clean: {changed}'
    assert {p.stem for p in (ROOT/'nif_lit').glob('*.py')} == set(MODULES) | {'__init__', '_modidx'}


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_outputs_are_committed_and_without_errors(name):
    cells = [c for c in json.loads((ROOT/'nbs'/name).read_text())['cells'] if c['cell_type'] == 'code']
    assert not [o for c in cells for o in c['outputs'] if o['output_type'] == 'error']
    assert any(c['outputs'] for c in cells), 'a notebook without outputs was not run'
    for c in cells:
        if any('image/png' in o.get('data', {}) for o in c['outputs']): assert '#| fig-alt:' in ''.join(c['source']), 'a picture without alternative text'
    assert (ROOT/'nbs'/name).stat().st_size < 2_000_000


TRAINING = [name for name in NOTEBOOKS if name[:2] in ('25', '26', '28', '30', '31', '32', '33', '34', '35', '36', '37', '39', '42')]     # they share runs: one worker, one after the other
IN_FULL = ('12',)                                                               # the models, compiled as a user's are; the other notebooks in haste (see conftest.py)


@pytest.mark.parametrize('name', [pytest.param(name, marks=pytest.mark.xdist_group('runs')) if name in TRAINING else name for name in NOTEBOOKS])
def test_each_notebook_runs_in_its_own_process(name, copy, tmp_path_factory, request):
    assert name not in TRAINING or 'PYTEST_XDIST_WORKER' not in os.environ or request.node.nodeid.endswith('@runs'), 'this pytest and this pytest-xdist form no groups (9.2.0 and 3.8.0 do not): notebooks would train the same runs twice'
    shared = tmp_path_factory.getbasetemp()/'runs'
    how = COMPILED_IN_FULL if name[:2] in IN_FULL else {}
    tool('nbdev_test', '--path', f'nbs/{name}', '--n_workers', '0', cwd=copy, NIF_SCALE='smoke', NIF_LIT_RUNS=str(shared), **how)


def imports(path):
    "Modules of the package that a file imports at its top level, and other packages."
    own, others = set(), set()
    for node in ast.parse(path.read_text()).body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        for n in names: (own.add(n.split('.')[1]) if n.startswith('nif_lit.') else others.add(n))
    return own, others


@pytest.mark.parametrize('module', MODULES)
def test_imports_point_backwards_and_stay_light(module):
    own, others = imports(ROOT/'nif_lit'/f'{module}.py')
    assert all(MODULES[other] < MODULES[module] for other in own), own
    assert not {o.split('.')[0] for o in others} & {'umap', 'tensorflow_datasets', 'sklearn', 'tensorflow', 'fastcore', 'nbdev'}


def test_import_is_light():
    code = ("import sys, nif_lit; assert 'jax' not in sys.modules; import nif_lit.cli, nif_lit.reproduce, nif_lit.models;"
            "heavy = {'umap', 'tensorflow_datasets', 'sklearn', 'matplotlib.pyplot', 'fastcore', 'tensorflow'} & set(sys.modules); assert not heavy, heavy")
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


def test_nothing_private_is_committed():
    private = [a + b for a, b in (('/wo', 'rk/'), ('/tm', 'p/'), ('/ro', 'ot/'), ('/opt/', 'pypi'), ('pypi', '.org'), ('files.python', 'hosted'), ('registry.npm', 'js'), ('deb.debi', 'an'))]
    for name in tracked():
        if Path(name).suffix in ('.png',): continue
        text = (ROOT/name).read_text(errors='ignore')
        found = [word for word in private if word in text]
        assert not found or name == 'tests/test_project.py', (name, found)
        assert (ROOT/name).stat().st_size < 2_000_000, name
        assert Path(name).suffix not in ('.npz', '.npy', '.gz', '.pkl', '.pth', '.ckpt', '.webp', '.jpg'), f'{name}: no data or weights in the project'


def test_readme_is_the_index():
    subprocess.run([sys.executable, 'scripts/readme.py', '--check'], check=True, cwd=ROOT)


def test_the_code_of_the_readme_defines_what_it_uses():
    import builtins
    known = set(dir(builtins))
    for block in re.findall(r'```python\n(.*?)```', (ROOT/'README.md').read_text(), re.S):
        nodes = list(ast.walk(ast.parse(block)))
        known |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} | {n.name for n in nodes if isinstance(n, (ast.ClassDef, ast.FunctionDef))} | {n.arg for n in nodes if isinstance(n, ast.arg)}
        known |= {(a.asname or a.name).split('.')[0] for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
        unknown = {n.id for n in nodes if isinstance(n, ast.Name)} - known
        assert not unknown, f'the README uses {sorted(unknown)}, which no cell before it shows'


def test_what_the_package_offers_is_there():
    import nif_lit
    assert {'save_model', 'load_model', 'draw', 'fit'} <= set(nif_lit.__all__) and all(getattr(nif_lit, name) for name in nif_lit.__all__)


def test_lock_is_exact_and_names_no_host():
    project = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
    name_of = lambda requirement: re.split(r'[<>=!~\[; ]', requirement)[0].lower().replace('_', '-')
    for lock, wanted in (('requirements.lock', project['dependencies']), ('requirements-dev.lock', project['dependencies'] + project['optional-dependencies']['dev'])):
        lines = [line for line in (ROOT/lock).read_text().splitlines() if line.strip()]
        assert all(re.fullmatch(r'[a-z0-9._-]+(\[[a-z0-9,]+\])?==[^ ]+( ; .+)?', line) for line in lines), lock
        assert {name_of(w) for w in wanted} <= {name_of(line) for line in lines}
    pins = lambda lock: {line.split(' ; ')[0] for line in (ROOT/lock).read_text().splitlines()}            # the dev set may need a pin on more systems
    runtime = pins('requirements.lock')
    assert runtime <= pins('requirements-dev.lock')
    assert not {'fastcore', 'nbdev', 'execnb'} & {name_of(line) for line in runtime}


def test_every_public_name_is_documented():
    import importlib
    import inspect
    for module in MODULES:
        loaded = importlib.import_module(f'nif_lit.{module}')
        for name in loaded.__all__:
            thing = getattr(loaded, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                assert (told := inspect.getdoc(thing)), f'{module}.{name}'
                assert not re.search('<[a-z][a-z ]*>', re.sub('`[^`]*`', '', told)), f'{module}.{name}: a page takes <name> for HTML and drops it'


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_what_a_page_would_print_wrong(name):
    for cell in json.loads((ROOT/'nbs'/name).read_text())['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown': assert not re.search(r'\\text\{[^}]*\\_', source), r'MathJax shows the backslash of \_ within \text: take \mathtt'
        elif '#| export' in source:
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_') and (told := ast.get_docstring(node)):
                    starred = re.search(r'\w\*|\*\w', re.sub(r'`[^`]*`', '', told.split('\n\n')[0]))
                    assert not starred, f'{node.name}: the first lines stand in italics, which {starred[0]!r} ends: put it between backticks'


def test_versions_agree():
    import nif_lit
    assert f'version = {nif_lit.__version__}' in (ROOT/'settings.ini').read_text()
