"The way to another machine and back, on digits: packed, trained in interrupted commands, scored, sent in pieces, unpacked; nothing differs from an uninterrupted run."
import dataclasses
import importlib.util
import itertools
import json
import signal
from pathlib import Path
import jax
import numpy as np
import pytest
from flax import nnx
from nif_lit import experiments, off_manifold, protocol, table1, training
from nif_lit.data import DataError, load, write_bytes
from nif_lit.experiments import load_run
from nif_lit.training import plain, saved_step

spec = importlib.util.spec_from_file_location('paper_scale', Path(__file__).parent.parent/'scripts'/'paper_scale.py')
paper_scale = importlib.util.module_from_spec(spec); spec.loader.exec_module(paper_scale)
TINY = dict(images=64 * 60, levels=1, steps=1, channels=4)


@pytest.fixture
def restored(monkeypatch):
    "The kit reads its usual data again afterwards."
    for module in paper_scale.readers(): monkeypatch.setattr(module, 'dataset_of', module.dataset_of)
    for name in ('NIF_LIT_RUNS', 'NIF_LIT_DATA', 'NIF_LIT_FID'): monkeypatch.setenv(name, '')
    monkeypatch.setitem(protocol.SIZES, 'smoke', dict(sweep=100, table=200))      # one batch and two: one compilation
    jax.config.update('jax_disable_most_optimizations', True)                               # half a minute of compilation less
    yield monkeypatch
    jax.config.update('jax_disable_most_optimizations', False)


@pytest.mark.parametrize('bits, shape', [(3, (5, 3, 7, 1)), (1, (1, 1, 1, 1)), (8, (3, 4, 4, 3)), (5, (0, 2, 2, 1))])
def test_every_level_comes_back(bits, shape):
    levels = np.random.default_rng(bits).integers(0, 2 ** bits, shape, dtype=np.uint8)
    raw = paper_scale.pack_levels(levels, bits)
    assert np.array_equal(paper_scale.unpack_levels(raw, bits, shape), levels)
    with pytest.raises(DataError): paper_scale.unpack_levels(raw, bits, (shape[0] + 9, *shape[1:]))
    with pytest.raises(ValueError): paper_scale.pack_levels(levels + np.uint8(2 ** bits - 1) if bits < 8 and levels.any() else levels.astype(int), bits)


def test_a_pack_is_small_whole_and_checked(tmp_path):
    data = load('digits')
    size, n = paper_scale.pack('digits', tmp_path/'pack'), sum(len(getattr(data, part)) for part in paper_scale.PARTS)
    assert size < 0.8 * n * 64 * 3 / 8 + 4000                                                # below 3 bits per pixel, headers aside
    assert all(np.array_equal(getattr(paper_scale.unpacked(tmp_path/'pack'), part), getattr(data, part)) for part in paper_scale.PARTS)
    with pytest.raises(ValueError, match='--most'): paper_scale.pack('digits', tmp_path/'none', limit_mb=0.02)
    assert not (tmp_path/'none').exists() and paper_scale.pack('digits', tmp_path/'less', limit_mb=0.02, most=300) < 20_000
    for name in ('digits.npz', 'pack.json'):
        whole = (tmp_path/'pack'/name).read_bytes()
        (tmp_path/'pack'/name).write_bytes(whole[:-9] + bytes(9))
        with pytest.raises(DataError, match='altered'): paper_scale.unpacked(tmp_path/'pack')
        (tmp_path/'pack'/name).write_bytes(whole)


def test_a_pack_erases_nothing_but_an_older_pack(tmp_path, capsys):
    place, letter = tmp_path/'home', tmp_path/'home'/'letter.txt'
    place.mkdir(); letter.write_text('dear')
    for text in (None, '{}', '[]', '{"dataset": "digits"}', 'no json'):
        if text is not None: (place/'pack.json').write_text(text)
        assert paper_scale.main(['pack', '--dataset', 'digits', '--to', str(place)]) == 1 and 'no pack.json of this script' in capsys.readouterr().err
    assert letter.read_text() == 'dear' and {p.name for p in place.iterdir()} == {'letter.txt', 'pack.json'}
    with pytest.raises(ValueError, match='is a file'): paper_scale.pack('digits', letter)
    (tmp_path/'empty').mkdir(); paper_scale.pack('digits', tmp_path/'empty', most=100)
    (tmp_path/'empty'/'letter.txt').write_text('dear'); (tmp_path/'empty'/'fid').mkdir(); (tmp_path/'empty'/'fid'/paper_scale.PARTIAL).write_text('old weights')
    with pytest.raises(ValueError, match='--most'): paper_scale.pack('digits', tmp_path/'empty', limit_mb=0.02)
    assert len(paper_scale.unpacked(tmp_path/'empty').train) == 100                                # what did not fit has removed nothing
    paper_scale.pack('digits', tmp_path/'empty')
    assert {p.name for p in (tmp_path/'empty').rglob('*') if p.is_file()} == {'SHA256SUMS', 'digits.npz', 'pack.json', 'letter.txt'} and len(paper_scale.unpacked(tmp_path/'empty').train) > 100


def test_interrupted_commands_end_where_one_command_does(tmp_path, restored):
    pack, names = tmp_path/'pack', [('digits', 'NIF-16')]
    paper_scale.pack('digits', pack)
    def command(place, out, **limits): return paper_scale.run_queue(pack, tmp_path/out, runs=tmp_path/place, scale='smoke', queue=names, changes=TINY, say=said.append, reserve=0, **limits)
    said, name = [], paper_scale.config_of(*names[0], 'smoke', TINY).name
    assert command('whole', 'out') and not [text for text in said if 'stopped' in text]

    save, score = training.save_state, protocol.draw
    def save_and_stop(folder, step, tree): save(folder, step, tree); step or signal.raise_signal(signal.SIGTERM)
    def draw_and_stop(model, key, n, **how):
        if n == protocol.SIZES['smoke']['sweep']: signal.raise_signal(signal.SIGTERM)
        return score(model, key, n, **how)
    restored.setattr(training, 'save_state', save_and_stop)
    assert not command('parts', 'out1') and 0 < saved_step(tmp_path/'parts'/name/'checkpoints') < 60 and 'stopped' in said[-2]
    restored.setattr(training, 'save_state', save)
    restored.setattr(protocol, 'draw', draw_and_stop)
    limits = dict(file_mb=0.003, most_files=4)                                                # one piece of parameters in each command
    assert not command('parts', 'out2', **limits) and len(list((tmp_path/'parts'/name/'scores').glob('samples-*'))) == 4
    restored.setattr(protocol, 'draw', score)
    outs = ['out2']
    while not command('parts', f'out{len(outs) + 2}', **limits): outs.append(f'out{len(outs) + 2}'); assert len(outs) < 20
    outs.append(f'out{len(outs) + 2}')

    sent = {p.name: p.read_bytes() for p in (tmp_path/outs[1]).glob('*.npz.*')}
    assert sent and command('parts', outs[1], **limits) and {p.name: p.read_bytes() for p in (tmp_path/outs[1]).glob('*.npz.*')} == sent          # typed again with the same folder

    read = lambda out: json.loads((tmp_path/out/'results.json').read_text())['runs'][name]
    whole, parts = read('out'), read(outs[-1])
    assert whole['result']['test_bits'] == parts['result']['test_bits'] and len(whole['scores']) == len(parts['scores']) > 18
    timeless = lambda scores: {k: {**v, 'seconds': 0} for k, v in scores.items()}
    assert timeless(whole['scores']) == timeless(parts['scores'])
    pieces = sorted(p for out in outs for p in (tmp_path/out).glob('*.npz.*'))
    assert len(pieces) > 2 and all(len(list((tmp_path/out).iterdir())) <= 4 for out in outs) and max(p.stat().st_size for p in pieces) <= 3_000
    assert b''.join(p.read_bytes() for p in sorted(pieces, key=lambda p: p.name)) == (tmp_path/'out'/f'{name}.npz.00').read_bytes()

    restored.setenv('NIF_LIT_RUNS', '')
    assert paper_scale.unpack_results([tmp_path/out for out in outs[:-1]], tmp_path/'home', say=said.append) == [] and 'missing' in said[-1]
    assert paper_scale.unpack_results([tmp_path/out for out in reversed(outs)], tmp_path/'home', say=said.append) == [name]
    config = paper_scale.config_of(*names[0], 'smoke', TINY)
    (back, result), (sent, _) = load_run(config, runs=tmp_path/'home'), load_run(config, runs=tmp_path/'whole')
    assert result['test_bits'] == whole['result']['test_bits']
    for key, value in plain(nnx.state(sent)).items(): np.testing.assert_allclose(plain(nnx.state(back))[key], value, rtol=2 ** -8)
    rounding = next(v for k, v in whole['scores'].items() if k.startswith('rounding'))
    np.testing.assert_allclose(rounding['after'], paper_scale.bits_per_dim_of(back, load('digits').test, key=experiments.evaluation_key()), atol=1e-5)

    restored.undo()                                                                          # at home: the figures find what they ask for, and nothing is computed
    restored.setitem(protocol.SIZES, 'smoke', dict(sweep=100, table=200))
    restored.setenv('NIF_LIT_TRAIN', '0'); restored.setenv('NIF_LIT_RUNS', str(tmp_path/'home'))
    def never(*args, **kwargs): raise AssertionError('computed at home')
    for what in ('_compare', 'frechet_distance', 'kid'): restored.setattr(protocol, what, never)
    (record, sections), swept = table1.draw([config], tmp_path, False), off_manifold.draw_sweeps([config], tmp_path, False)[0]
    row, points = record['digits']['rows']['NIF-16'], swept['digits']['curves']['NIF-16, released'][0]
    assert record['digits']['n'] == 200 and record['digits']['floor']['n'] == 200 and set(row['scores']['released']) == {'0', '1', 'best'} and row['scores']['trained']['best']['originals'] is None
    assert points['n'] == 100 and len(points['factors']) == 5 and points['originals'] == [None] * 5 and swept['digits']['gains']['NIF-16']['trained'][0]['points'] == 5
    assert any('NIF-16 (1)' in cells and cells[-1] == '' for s in sections for cells in s.get('table', ((), ()))[1])

    broken = pieces[0].read_bytes()
    pieces[0].write_bytes(broken[:100] + b'?' + broken[101:])
    with pytest.raises(DataError, match='altered'): paper_scale.unpack_results([tmp_path/out for out in outs], tmp_path/'home2')


def test_nothing_of_another_command_is_written_over(tmp_path):
    "Parts and results that another folder of runs sent, and files of something else, stay as they are."
    out = tmp_path/'out'
    def held(**files):
        for name, text in files.items(): write_bytes(out/name.replace('_', '.'), text.encode())
        before = {p.name: p.read_bytes() for p in out.iterdir()}
        with pytest.raises(ValueError, match='--out'): paper_scale.collect([], tmp_path/'runs', out, say=str)
        assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    held(samples_png='a picture')
    held(results_json='[1]')
    held(results_json=json.dumps(dict(runs={'a': dict(result=dict(steps=1))})), a_npz_00='a part')
    write_bytes(tmp_path/'runs'/'a'/'result.json', json.dumps(dict(steps=2)).encode()); held()
    write_bytes(tmp_path/'runs'/'a'/'result.json', json.dumps(dict(steps=1)).encode()); paper_scale.check_out(out, tmp_path/'runs')


def test_the_queue_is_the_issues():
    sets = list(dict.fromkeys(d for d, _ in paper_scale.QUEUE))
    assert sets == ['fashion_mnist', 'cifar10', 'celeba'] and [m for d, m in paper_scale.QUEUE if d == 'celeba'][:3] == ['NF', 'NIF-128', 'DeepNIF-128'] and len(paper_scale.QUEUE) == 16
    for d, m in paper_scale.QUEUE: assert len(paper_scale.scores_of(paper_scale.config_of(d, m, 'paper', {}), 'runs')) > 7
    assert paper_scale.config_of('celeba', 'DeepNIF-128', 'paper', {}) == paper_scale.deep_experiment('paper')


@pytest.mark.parametrize('arguments, said', [
    (['--queue', 'digits:NF', 'digts:NIF-8'], "unknown data set 'digts'; did you mean 'digits'"), (['--queue', 'digits:NF', 'digits:NIFF-8'], 'NIFF-8'), (['--queue', 'digits'], 'takes DATASET:MODEL'), (['--queue', 'celeba:NF'], 'nothing in the queue is of digits'),
    (['--change', 'images'], "--change takes FIELD=VALUE, got 'images'"), (['--change', 'images=5', 'images=6'], 'names images twice'), (['--change', 'imges=5'], "unknown field 'imges'; did you mean 'images'"), (['--change', 'scale=laptop'], "unknown field 'scale'"),
    (['--change', 'seed=1.5'], 'seed must be a whole number'), (['--change', 'bias=no'], "bias must be True or False, got 'no'"), (['--change', 'images=many'], 'images must be one number'), (['--change', 'compute=bfloat'], 'bfloat16')])
def test_a_wrong_queue_or_change_is_named_before_anything_is_trained(arguments, said, tmp_path, restored, capsys):
    paper_scale.pack('digits', tmp_path/'pack', most=100)
    restored.setattr(paper_scale, 'work', lambda *a, **k: pytest.fail('trained'))
    queue = [] if '--queue' in arguments else ['--queue', 'digits:NF']
    assert paper_scale.main(['run', '--pack', str(tmp_path/'pack'), '--out', str(tmp_path/'out'), '--runs', str(tmp_path/'runs'), '--scale', 'smoke', *queue, *arguments]) == 1
    assert said in capsys.readouterr().err


def test_a_change_is_that_of_an_experiment(tmp_path, restored):
    changes = paper_scale._changes(['seed=3', 'bias=false', 'compute=float32', 'levels=null', 'minutes=2', 'learning_rate=0.01'])
    assert paper_scale.config_of('digits', 'NIF-8', 'smoke', changes) == dataclasses.replace(experiments.experiment('digits', 'NIF-8', seed=3, bias=False, compute='float32', minutes=2, learning_rate=0.01), levels=None)
    paper_scale.pack('digits', tmp_path/'pack', most=100)
    worked, said = [], []
    restored.setattr(paper_scale, 'work', lambda config, *a, **k: worked.append(config.model))
    paper_scale.run_queue(tmp_path/'pack', tmp_path/'out', runs=tmp_path/'runs', scale='smoke', queue=[('digits', 'NF'), ('celeba', 'NF')], say=said.append)
    assert worked == ['NF'] and said[0] == 'left out, the pack holds digits: celeba:NF'


def came_back(folder, rows, parts=(), **facts):
    "A folder as `collect` leaves it."
    training.write_json(folder/'results.json', dict(facts, runs=rows))
    for name in parts: (folder/name).write_text(str(folder))
    paper_scale.write_sums(folder)


@pytest.mark.parametrize('clock', [True, False])
def test_the_order_of_the_folders_decides_nothing(clock, tmp_path):
    "OUT1, OUT10, OUT2, as a shell sorts them: all scores, the newest of each, the newest parts."
    row = lambda scores, sent=None: dict(result=dict(test_bits=[1.5]), scores=scores) | ({} if sent is None else dict(parameters=dict(sent=sent, parts=3)))
    told = {'OUT1': ({'a': row(dict(one=1, two=1), 1)}, ('a.npz.00',)), 'OUT2': ({'a': row(dict(two=2, three=2, four=2), 3), 'b': row({})}, ('a.npz.01', 'a.npz.02')), 'OUT10': ({'a': row(dict(four=10), None if clock else 3), 'b': row(dict(five=10, six=1, seven=1), 1)}, ('a.npz.02', 'b.npz.00'))}
    for k, (name, (rows, parts)) in enumerate(told.items()): came_back(tmp_path/name, rows, parts, **dict(collected=100.5 + k) if clock else {})
    for order in itertools.permutations(told):
        rows, parts = paper_scale.merged(tmp_path/name for name in order)
        assert rows['a']['scores'] == dict(one=1, two=2, three=2, four=10) and rows['b']['scores'] == dict(five=10, six=1, seven=1)
        assert rows['a']['parameters']['sent'] == 3 and rows['b']['parameters']['sent'] == 1
        assert {name: path.parent.name for name, path in parts.items()} == {'a.npz.00': 'OUT1', 'a.npz.01': 'OUT2', 'a.npz.02': 'OUT10', 'b.npz.00': 'OUT10'}
    came_back(tmp_path/'other', {'a': dict(row(dict(nine=9)), result=dict(test_bits=[1.6]))})
    for order in (('OUT1', 'other'), ('other', 'OUT1')):
        with pytest.raises(DataError, match='^a has one result in .* and another in .*trained twice'): paper_scale.unpack_results([tmp_path/name for name in order], tmp_path/'runs')
    assert not (tmp_path/'runs').exists()
