"The command line: help, errors in one line, exit codes, and one run through every command."
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
import numpy as np
import pytest
from nif_lit.cli import app, help_of, main

COMMANDS = ('reproduce', 'train', 'evaluate', 'sample', 'embed', 'data')


def call(*arguments, cwd=None, **env):
    return subprocess.run([sys.executable, '-W', 'error::DeprecationWarning:nif_lit', '-c', 'from nif_lit.cli import main; main()', *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=500, env=os.environ | env)


def inside(*arguments, cwd):
    "The same command in this process, which has loaded everything: what it prints and its exit code, as `call` gives them."
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try: main(list(map(str, arguments)))
        except SystemExit as stop: code = stop.code or 0
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def test_help_has_examples_everywhere():
    assert all(name in help_of() for name in COMMANDS) and 'Example' in help_of()
    for name in COMMANDS: assert f'nif_lit {name}' in help_of(name) and 'Example' in help_of(name)


@pytest.mark.parametrize('arguments, code, word', [(('train', '--dataset', 'fashon_mnist'), 1, "mean 'fashion_mnist'"), (('train', '--models', 'NFI-64'), 1, "mean 'NIF-64'"), (('reproduce', 'fig88'), 1, "mean 'fig8'"),
                                                  (('reproduce', '--scale', 'smok'), 1, "mean 'smoke'"), (('data', 'digits', '--bits', '12'), 1, '1 to 8'), (('sample', 'nowhere'), 1, 'model.json'), (('evaluate', 'nowhere'), 1, 'model.json'),
                                                  (('embed', 'nowhere', '--out', 'x.txt'), 1, '.npy'), (('trian',), 2, 'trian'), (('sample',), 2, 'RUN'), (('data', 'cifar10', '--data-folder', 'nowhere'), 1, 'does not exist'),
                                                  (('train', '--models', ','), 1, 'names no model'), (('train', '--dataset', 'digits', '--models', 'NF,NIF-100', '--images', '64'), 1, 'NIF-100 has more latent dimensions than the 64')])
def test_errors_are_one_line_and_exit_codes_right(arguments, code, word, tmp_path):
    done = (call if arguments[0] in ('trian', 'evaluate') else inside)(*arguments, cwd=tmp_path)           # one of usage and one of ours in a process of its own
    assert done.returncode == code and word in done.stderr, (done.returncode, done.stderr)
    assert 'Traceback' not in done.stderr
    if code == 1: assert done.stderr.startswith('nif_lit: ') and done.stderr.count('\n') == 1 and not (tmp_path/'runs').exists()


def test_version_and_a_word_for_every_option():
    import nif_lit
    from typer.main import get_command
    assert call('--version').stdout == f'nif_lit {nif_lit.__version__}\n'
    assert not [(name, p.name) for name, command in get_command(app).commands.items() for p in command.params if not p.help]


def test_folders_made_in_python(tmp_path):
    from nif_lit import NIF, fit, load
    settings = dict(images=64, batch_size=32, steps_per_dispatch=2, progress=False)
    fit(NIF((8, 8, 1), 4, bits=3, levels=1, steps=1, channels=4), load('digits').train[:64], folder=tmp_path/'mine', **settings)
    fit(NIF(3, 2, steps=1, hidden=4), np.random.default_rng(0).normal(size=(64, 3)), folder=tmp_path/'vec', **settings)
    for name in ('evaluate', 'embed'):
        done = inside(name, 'mine', cwd=tmp_path)
        assert done.returncode == 1 and 'trained in Python' in done.stderr and done.stderr.count('\n') == 1
    picture = inside('sample', 'vec', cwd=tmp_path)
    assert picture.returncode == 1 and '--out samples.npy' in picture.stderr and picture.stderr.count('\n') == 1
    (tmp_path/'a.npy').mkdir()
    for command, out, why in (('sample', 'a.npy', 'a.npy is a folder'), ('embed', 'a.npy', 'a.npy is a folder'), ('sample', 'vec/model.json/x.npy', 'model.json, which is a file')):
        refused = inside(command, 'vec', '--out', out, cwd=tmp_path)
        assert refused.returncode == 1 and why in refused.stderr and refused.stderr.count('\n') == 1, refused.stderr
    assert not [p for p in tmp_path.rglob('*may-be-written*')]
    assert call('sample', 'vec', '--n', '5', '--out', 'v.npy', cwd=tmp_path).returncode == 0 and np.load(tmp_path/'v.npy').shape == (5, 3)
    for file, text in (('result.json', '{"config"'), ('result.json', '{}'), ('model.json', '{"name": "NIF-4"'), ('model.json', '{"name": "NIF-4"}')):
        (tmp_path/'mine'/file).write_text(text)
        done = inside('evaluate', 'mine', cwd=tmp_path)
        assert done.returncode == 1 and done.stderr.startswith('nif_lit: ') and file in done.stderr and done.stderr.count('\n') == 1, done.stderr


def test_every_command_on_a_small_run(tmp_path):
    train = ('train', '--dataset', 'digits', '--scale', 'smoke', '--models', 'NF,NIF-8', '--images', '640', '--quiet')
    first, again = call(*train, cwd=tmp_path), call(*train, cwd=tmp_path)
    assert first.returncode == 0 and first.stdout == again.stdout, first.stderr
    runs = sorted((tmp_path/'runs').iterdir())
    results = [json.loads((run/'result.json').read_text()) for run in runs]
    assert {r['config']['model'] for r in results} == {'NF', 'NIF-8'} and {r['images_seen'] for r in results} == {640}
    assert all(len(r['test_bits']) == 360 and 0 < r['test_bits_per_dim']['mean'] < 6 and r['round_trip_error_levels'] < 0.05 and r['provenance']['jax'] for r in results)
    assert len(set(np.round(results[0]['test_bits'], 3))) > 100
    nif = next(run for run, r in zip(runs, results) if r['config']['model'] == 'NIF-8')
    evaluated = inside('evaluate', nif, cwd=tmp_path)
    want = next(r for r in results if r['config']['model'] == 'NIF-8')['test_bits_per_dim']
    found = json.loads(evaluated.stdout)['bits_per_dim']
    assert found['n'] == want['n'] and abs(found['mean'] - want['mean']) < 1e-6
    assert call('sample', nif, '--s', '0', '--n', '6', '--out', 'a.png', cwd=tmp_path).returncode == 0 and (tmp_path/'a.png').stat().st_size > 100
    assert inside('sample', nif, '--s', '0', '--n', '6', '--out', 'a.npy', cwd=tmp_path).returncode == 0
    assert inside('sample', nif, '--s', '1', '--n', '6', '--out', 'b.npy', cwd=tmp_path).returncode == 0
    a, b = np.load(tmp_path/'a.npy'), np.load(tmp_path/'b.npy')
    assert a.shape == (6, 8, 8, 1) and a.max() < 8 and (a != b).any()
    assert inside('embed', nif, '--split', 'valid', cwd=tmp_path).returncode == 0 and np.load(tmp_path/'embeddings.npy').shape == (143, 8)
    nf = next(run for run, r in zip(runs, results) if r['config']['model'] == 'NF')
    for command, why in ((('sample', nf, '--s', '0'), 'no manifold, and no s'), (('evaluate', nf, '--samples', '2'), '--samples is for a deep NIF'), (('evaluate', nif, '--samples', '2'), '--samples is for a deep NIF'), (('train', '--models', 'NF,NF'), 'names a model twice')):
        refused = inside(*command, cwd=tmp_path)
        assert refused.returncode == 1 and why in refused.stderr and refused.stderr.count('\n') == 1, refused.stderr
    told = nf/'result.json'; kept = told.read_text(); told.write_text(json.dumps(json.loads(kept) | dict(config=json.loads(kept)['config'] | dict(bits=4))))
    odd = inside('evaluate', nf, cwd=tmp_path); told.write_text(kept)
    assert odd.returncode == 1 and 'one of them is damaged' in odd.stderr and odd.stderr.count('\n') == 1, odd.stderr
    assert inside('sample', nf, '--n', '3', '--out', 'nf.npy', cwd=tmp_path).returncode == 0
    broken = inside('sample', nif, '--s', '-1', cwd=tmp_path)
    assert broken.returncode == 1 and 'variance' in broken.stderr
    (nif/'model.json').write_text('{"name": "NIF-9", "shape": [8, 8, 1]}')
    other = inside('sample', nif, cwd=tmp_path)
    assert other.returncode == 1 and 'cannot be read as this model' in other.stderr and other.stderr.count('\n') == 1


def test_data_command(tmp_path):
    done = call('data', 'digits', cwd=tmp_path)
    assert done.returncode == 0 and '1,294 images' in done.stdout


@pytest.mark.parametrize('module', ['typer', 'numpy', 'jax._src.xla_bridge'])
def test_ctrl_c_while_the_command_loads(module):
    code = f"""
import os, signal, sys, nif_lit
signal.signal(signal.SIGINT, signal.default_int_handler)
class Press:
    def find_spec(name, *_): name == {module!r} and os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press)
nif_lit._console()"""
    done = subprocess.run([sys.executable, '-c', code, 'train', '--dataset', 'fashon_mnist'], capture_output=True, text=True, timeout=100)
    assert done.returncode == 130 and done.stderr == '\nnif_lit: stopped; the same command goes on\n'


def test_the_default_data_set_is_one_of_the_scale(monkeypatch):
    from nif_lit import experiments
    from nif_lit.cli import train
    asked = []
    def look(name, *rest): asked.append(name); raise OSError('far enough')
    monkeypatch.setattr(experiments, 'dataset_of', look); monkeypatch.setattr(experiments, 'finished', lambda config, **_: False)
    for scale in ('smoke', 'laptop', 'paper'):
        with pytest.raises(OSError, match='far enough'): train(scale=scale)
    assert asked == ['digits', 'fashion_mnist', 'fashion_mnist']


@pytest.mark.parametrize('wait', [0.0, 6.0])
def test_ctrl_c_ends_in_one_line_and_the_same_command_goes_on(wait, tmp_path):
    "The real command, stopped while it compiles and while it trains; a second Ctrl-C follows at once, as make and the shell both send one."
    fresh = 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])'      # a background shell hands down an ignored Ctrl-C
    command = subprocess.Popen([sys.executable, '-c', fresh, Path(sys.executable).parent/'nif_lit', 'train', '--dataset', 'digits', '--models', 'NF', '--images', '2000000'], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {'PYTHONUNBUFFERED': '1'})
    try:
        seen = ''
        while 'img/s' not in seen and command.poll() is None: seen += command.stdout.read(1)
        time.sleep(wait)
        for _ in range(2): command.send_signal(signal.SIGINT)
        rest = command.communicate(timeout=120)[0]
    finally: command.kill()
    assert command.returncode == 130 and 'the same command goes on' in rest.splitlines()[-1] and 'Traceback' not in rest, rest[-800:]


def test_train_names_the_runs_of_the_plan(tmp_path, monkeypatch):
    "Whole batches may be some more than the budget: that is no other budget. And a speed that was lost is left out."
    from nif_lit import experiments
    seen = []
    def run(config, **how): seen.append(config); return dict(test_bits=[1.0, 2.0], test_bits_per_dim=dict(mean=1.5, se=0.5), images_seen=20_032, images_per_second=None)
    monkeypatch.setattr(experiments, 'run', run)
    done = inside('train', '--dataset', 'digits', '--models', 'NF,NIF-8', '--scale', 'smoke', '--quiet', cwd=tmp_path)
    assert done.returncode == 0 and {c.name for c in seen} <= {c.name for c in experiments.plan('smoke')} and len(seen) == 2, done.stderr


def test_an_empty_scale_is_none(monkeypatch):
    "NIF_SCALE= in a shell is not the name of a scale."
    import importlib.util
    import inspect
    from nif_lit import cli
    monkeypatch.setenv('NIF_SCALE', '')
    spec = importlib.util.spec_from_file_location('cli_read_again', cli.__file__); spec.loader.exec_module(again := importlib.util.module_from_spec(spec))
    assert inspect.signature(again.reproduce).parameters['scale'].default == 'smoke'
