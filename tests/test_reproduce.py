"All figures together: every one of the paper has a name, knows its runs at every scale, says what is not run, and goes on where it stopped."
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
import numpy as np
import pytest
from nif_lit import experiments, protocol, reproduce as reproducing
from nif_lit.data import DataError
from nif_lit.deep import bound_bits, deep_experiment
from nif_lit.experiments import DATASETS_AT, SCALES, Figure, by_model, finished, make, plan, run
from nif_lit.paper_and_code import candidates, noiseless_at_hand, tried
from nif_lit.pictures import grid_figure
from nif_lit.reproduce import FIGURES, find_figures, reproduce, train_all, work
from nif_lit.table2 import TABLE2, cells_of, difference_by_seed
from nif_lit.training import Diverged, Interrupted


def test_every_figure_and_table_of_the_paper_has_a_name():
    names = {name for f in FIGURES.values() for name in (f.name, *f.aliases)}
    assert {f'fig{k}' for k in range(1, 15)} | {'table1', 'table2'} <= names
    assert [f.name for f in find_figures(['all'])] == [n for n, f in FIGURES.items() if not f.part_of]
    assert all(f.part_of in FIGURES and {c.name for c in f.needs('laptop')} <= {c.name for c in FIGURES[f.part_of].needs('laptop')} for f in FIGURES.values() if f.part_of)
    assert {(c.dataset, c.model) for c in find_figures(['fig6'])[0].needs('laptop')} == {('celeba', 'NF'), ('celeba', 'NIF-128')}      # that figure and nothing else
    assert [f.name for f in find_figures(['bits_per_dim', 'table2'])] == ['table2']
    with pytest.raises(ValueError, match="did you mean 'fig"): find_figures(['fig15'])


@pytest.mark.parametrize('needs', [f.needs for f in FIGURES.values() if f.needs('smoke')] + [deep_experiment, candidates, tried])
def test_an_unknown_scale_is_answered(needs):
    with pytest.raises(ValueError, match="unknown scale 'laptob'; did you mean 'laptop'"): needs('laptob')


@pytest.mark.parametrize('scale', SCALES)
def test_figures_share_runs_and_train_all_models_of_a_set_equally(scale):
    needed = {c.name: c for f in FIGURES.values() if f.name != 'open_question' for c in f.needs(scale)}       # that one varies the training of the NF on purpose
    assert {c.dataset for c in needed.values()} <= set(DATASETS_AT[scale])
    planned = {c.name for c in plan(scale)}
    assert {c.model.split('-')[0] for name, c in needed.items() if name not in planned} <= {'DeepNIF'}      # all else comes from the one plan
    for dataset in DATASETS_AT[scale]:
        here = [c for c in needed.values() if c.dataset == dataset]
        budgets = {(c.images, c.batch_size, c.learning_rate, c.warmup, c.steps, c.levels, c.bits) for c in here}
        assert len(budgets) <= 1, budgets                                                                # NF, NIF and deep NIF: the same images in the same batches
        assert len({c.channels for c in here if scale != 'paper' or not c.model.startswith('Deep')}) <= 1   # and the same body, but for the paper's own deep NIF of 512 channels
    if scale != 'smoke': assert len(by_model([c for c in plan(scale) if c.dataset == 'fashion_mnist'])['NF']) == len(by_model(plan(scale, 'fashion_mnist'))['NIF-64']) == 3


def test_the_laptop_budgets_are_those_promised():
    least = {'fashion_mnist': 20 * 54_000, 'cifar10': 6 * 45_000, 'celeba': 12 * 10_800}
    assert all(c.images >= least[c.dataset] for c in plan('laptop'))


def test_a_name_of_a_run_survives_new_fields():
    old = experiments.experiment('fashion_mnist', 'NF', scale='laptop')
    assert old.name == 'laptop-fashion_mnist-NF-seed0-875efe3c6f'                                        # a run made before there were variants
    assert experiments.experiment('fashion_mnist', 'NF', scale='laptop', variant='scalar-biases').name != old.name


def test_what_has_not_run_is_said_and_what_was_cut_off_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs'))
    monkeypatch.setitem(SCALES['smoke'], 'digits', SCALES['smoke']['digits'] | dict(images=640, levels=1, steps=1, channels=4))
    monkeypatch.setenv('NIF_LIT_TRAIN', '0')
    with pytest.raises(RuntimeError, match='none of its 8 runs'): make(TABLE2, out=tmp_path)
    nf, nif = [c for c in plan('smoke') if c.seed == 0][:2]
    run(nf, progress=False)
    record, _ = make(TABLE2, out=tmp_path)
    assert list(record['digits']) == ['NF'] and record['digits']['NF']['seeds'] == [0]
    assert [row[2] for row in cells_of(record['digits'], ['NF', 'NIF-8', 'NIF-16'])][1:] == ['not run', 'not run']
    written = json.loads((tmp_path/'table2.json').read_text())
    assert len(written['not_run']) == 7 and written['runs'] == [nf.name]
    said = []                                                                   # two figures, of which one has a run: the other is said to be not run, and the gallery is made
    page = reproduce(['table2', 'fig8'], out=tmp_path/'two', progress=False, echo=said.append)
    assert any('Fig. 8: not made, none of its runs' in line for line in said) and 'Not run: none of its runs' in page.read_text() and (tmp_path/'two'/'table2.json').exists()
    with pytest.raises(RuntimeError, match='none of its'): reproduce(['fig8'], out=tmp_path/'one', progress=False, echo=said.append)
    monkeypatch.delenv('NIF_LIT_TRAIN')
    said = []
    page = reproduce(['table2'], seeds=1, out=tmp_path, progress=False, echo=said.append)
    assert '1 finished before' in said[0] and finished(nif) and page.is_file()
    assert set(json.loads((tmp_path/'table2.json').read_text())['result']['digits']) == {'NF', 'NIF-8', 'NIF-16', 'NIF-32'}
    train_all(plan('smoke', seeds=1), progress=False, echo=lambda text: pytest.fail('nothing was left to train'))
    assert work(dataclasses.replace(nf, images=3 * nf.images)) == 3 * work(nf) and work(dataclasses.replace(nf, channels=8)) > 2 * work(nf)


def test_one_figure_that_fails_does_not_take_the_others_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs'))
    monkeypatch.setitem(SCALES['smoke'], 'digits', SCALES['smoke']['digits'] | dict(images=640, levels=1, steps=1, channels=4))
    for name in ('table2', 'fig7'): monkeypatch.setitem(FIGURES, name, dataclasses.replace(FIGURES[name], needs=lambda scale, name=name: [c for c in plan('smoke', seeds=1) if c.model in ('NF', 'NIF-8') and (name == 'table2' or c.model == 'NF')]))
    fit, said = experiments.fit, []
    def diverges(model, *args, **how):
        if model.config['name'].startswith('NIF'): raise Diverged('the loss is not a number')
        return fit(model, *args, **how)
    monkeypatch.setattr(experiments, 'fit', diverges)
    with pytest.raises(RuntimeError, match='1 of 2 figures and tables could not be made: table2 .the loss is not a number'): reproduce(['table2', 'fig7'], out=tmp_path/'out', progress=False, echo=said.append)
    page = (tmp_path/'out'/'table2-fig7.html').read_text()
    assert 'Not made: the loss is not a number' in page and (tmp_path/'out'/'fig7.png').exists() and any('was not trained: the loss' in line for line in said)
    with pytest.raises(Diverged): reproduce(['table2'], out=tmp_path/'one', progress=False, echo=str)


def test_missing_weights_are_said_before_hours_of_training(tmp_path, monkeypatch):
    for name in ('NIF_LIT_DATA', 'NIF_LIT_FID'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs')); monkeypatch.setattr(reproducing, 'run', lambda *a, **k: pytest.fail('it trained'))
    with pytest.raises(DataError, match='no weights for 768 features'): reproduce(['fig6'], scale='laptop', out=tmp_path/'out', progress=False, echo=str)
    with pytest.raises(ValueError, match='empty list'): find_figures([])
    assert set(reproducing.SCORES) <= set(FIGURES)


def test_a_damaged_file_of_a_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path)); config = one(); home = tmp_path/config.name; (home/'scores').mkdir(parents=True)
    for text in ('{"test_bi', '{}', '[]'):
        (home/'result.json').write_text(text)
        for call in (lambda: experiments.images_seen(config), lambda: TABLE2.draw([config], tmp_path), lambda: bound_bits(config, 1)):
            with pytest.raises(ValueError, match='result.json is damaged'): call()
    for text in ('{"images": 64, "bits_per', '[1]', '{"images": 64}'):
        (home/'metrics.jsonl').write_text(text + '\n')
        with pytest.raises(ValueError, match='metrics.jsonl is damaged'): experiments.metrics_of(config)
    for text in ('{}', '[]', '{"test'):
        experiments._score_path(config, 'floor', dict(n=3), None).write_text(text)
        with pytest.raises(ValueError, match='floor-.*json is damaged'): experiments.cached(config, 'floor', dict(n=3), lambda: {})
    for text in ('[]', 'null'):
        (tmp_path/'table2.json').write_text(text); experiments.keep_record(TABLE2, 'smoke', tmp_path, [])                 # no record of ours: nothing to lose


def test_the_bar_moves_with_the_images_and_forgets_what_was_trained_before(tmp_path, monkeypatch):
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path)); steps, configs = [], [one(images=6400), one(images=3200, seed=1)]
    (tmp_path/configs[0].name/'checkpoints'/'step_25').mkdir(parents=True)                                # 1,600 of 6,400 images, by an earlier call
    class Bar:
        def __init__(self, total, **how): self.total, self.n = total, 0
        def __enter__(self): return self
        def __exit__(self, *why): assert self.n == pytest.approx(self.total) == pytest.approx(work(configs[0]) * 3 / 4 + work(configs[1]))
        def set_description_str(self, text): pass
        def refresh(self): pass
        def update(self, n): self.n += n; steps.append(n / work(configs[0]))
    monkeypatch.setattr('tqdm.tqdm', Bar)
    monkeypatch.setattr(reproducing, 'run', lambda c, callback, **how: [callback(dict(images=k)) for k in ((3200, 4800) if c == configs[0] else (1600,))])
    train_all(configs, echo=lambda text: None)
    np.testing.assert_allclose(steps, [1 / 4, 1 / 4, 1 / 4, 1 / 4, 1 / 4])


def test_one_run_has_one_name_whatever_type_its_numbers_have():
    assert one(images=1e4).name == one(images=10_000).name == one(images=np.int64(10_000)).name
    assert one(minutes=10).name == one(minutes=10.0).name and one(learning_rate=1).name == one(learning_rate=1.0).name == one(learning_rate=np.float64(1)).name


def test_a_budget_in_minutes_is_told_in_minutes(tmp_path, monkeypatch):
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path)); monkeypatch.setattr(reproducing, 'run', lambda *a, **k: None); said = []
    train_all([one(images=None, minutes=1.5)], progress=False, echo=said.append)
    assert said == ['[1/1] NF, digits, seed 0: 1.5 minutes']


def test_where_nothing_can_be_written_and_what_is_damaged_is_said_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, 'fit', None); monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs'))
    (tmp_path/'file').write_text('')
    with pytest.raises(ValueError, match='nothing can be written to .*file'): reproduce(['table2'], out=tmp_path/'file', progress=False, echo=str)
    config = plan('smoke', seeds=1)[0]; home = tmp_path/'runs'/config.name
    for text, word in (('{}', 'no result'), ('{"a": ', 'no JSON')):
        home.mkdir(parents=True, exist_ok=True); (home/'result.json').write_text(text)
        with pytest.raises(ValueError, match=f'result.json is damaged.*{word}'): run(config, progress=False)
        with pytest.raises(ValueError, match='result.json is damaged'): experiments.cached(config, 'floor', dict(n=3), lambda: pytest.fail('computed for nothing'))
    (home/'result.json').unlink()
    score = experiments.cached(config, 'floor', dict(n=3), lambda: dict(value=1.5)); path, = (home/'scores').iterdir()
    path.write_text(path.read_text()[:20])
    with pytest.raises(ValueError, match=f'{path.name} is damaged'): experiments.cached(config, 'floor', dict(n=3), lambda: dict(value=1.5))


def test_one_seed_borrows_the_spread_of_others():
    from nif_lit.table2 import borrow
    pair = lambda mean, se, sd, seeds: dict(paired=dict(mean=mean, se=se, sd_seeds=sd, seeds=seeds), harm='better')
    record = dict(a={'NF': dict(paired=None, harm=None), 'NIF-64': pair(0.02, 0.0005, 0.0007, 2), 'NIF-128': pair(0.02, 0.0001, None, 1)}, b={'NIF-64': pair(0.001, 0.0001, None, 1), 'NIF-128': pair(-0.012, 0.0001, None, 1)})
    found = borrow(record)
    assert [[r['paired']['borrowed'] for r in rows.values() if r['paired']] for rows in found.values()] == [[None, 0.0007], [0.0007, 0.0007]]
    assert [r['harm'] for rows in found.values() for r in rows.values()] == [None, 'better', 'better', 'harmless', 'harmed']        # 0.001 is within twice the spread, whatever its error over images says
    floored = borrow(dict(a={'NIF-64': pair(0.0011, 0.0001, 0.0002, 4), 'NIF-128': pair(0.0011, 0.0001, None, 1)}), machine=0.001)['a']
    assert [r['paired']['borrowed'] for r in floored.values()] == [0.0005, 0.001] and [r['harm'] for r in floored.values()] == ['better', 'harmless']
    lent = borrow(dict(b={'NIF-64': pair(0.001, 0.0001, None, 1)}), spread=0.004)['b']['NIF-64']                            # one data set alone borrows from a whole table
    assert lent['paired']['borrowed'] == 0.004 and lent['harm'] == 'harmless'
    alone = borrow(dict(b={'NIF-64': pair(0.001, 0.0001, None, 1)}))['b']['NIF-64']
    assert alone['harm'] == 'better' and alone['paired']['borrowed'] is None


def test_a_record_is_not_replaced_by_a_part_of_it(tmp_path, monkeypatch):
    from nif_lit.experiments import default_out, write_json
    monkeypatch.setenv('NIF_LIT_TRAIN', '0'); monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs')); monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SCALES['smoke'], 'digits', SCALES['smoke']['digits'] | dict(images=640, levels=1, steps=1, channels=4))
    needed = TABLE2.needs('smoke'); nf, nif = needed[0], [c for c in needed if c.model == 'NIF-8'][0]
    run(nf, progress=False)
    for held, refused in ((nf.name, False), (nif.name, True), ('a-run-of-another-config', False)):
        path = tmp_path/'out'/'table2.json'
        write_json(path, dict(result={}, runs=[nf.name, held])); before = path.read_bytes()
        for call in (lambda: make(TABLE2, out=path.parent), lambda: reproduce(['table2'], out=path.parent, progress=False, echo=str)):
            if not refused: call(); continue
            with pytest.raises(RuntimeError, match='made of 2 runs.*without 1 of them.*NIF-8'): call()
            assert path.read_bytes() == before
    monkeypatch.delenv('NIF_LIT_TRAIN')                                         # said before training, which would fail here
    monkeypatch.setattr(experiments, 'fit', None)
    write_json(path, dict(result={}, runs=[c.name for c in needed]))
    with pytest.raises(RuntimeError, match='without 4 of them'): reproduce(['table2'], seeds=1, out=path.parent, progress=False, echo=str)
    assert [str(default_out('laptop', [1, 2], part, dataset=d, seeds=k)) for part, d, k in (([1, 2], 'cifar10', 1), ([1], 'cifar10', None), ([1], None, 1), ([1], 'celeba', 2))] == [
        'results/laptop', 'results/laptop-cifar10', 'results/laptop-1-seed', 'results/laptop-celeba-2-seeds']
    make(TABLE2, seeds=1, model='NF')
    assert (tmp_path/'results'/'smoke-NF-1-seed'/'table2.json').exists() and not (tmp_path/'results'/'smoke').exists()


def test_unequal_training_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path))
    configs = plan('smoke', seeds=1)[:2]
    for config, seen in zip(configs, (640, 704)):
        (tmp_path/config.name).mkdir()
        bits = [1.0, 2.0, 3.0]
        (tmp_path/config.name/'result.json').write_text(json.dumps(dict(config=dict(dataset='digits', seed=0), test_bits_per_dim=dict(mean=2.0, se=0.5, n=3), test_bits=bits, images_seen=seen, images_per_second=1.0, seconds=1.0,
                                                                        round_trip_error_levels=0.0, compute='float32', provenance=dict(commit='', device=''))))
    with pytest.raises(ValueError, match='unequal numbers of images'): TABLE2.draw(configs, tmp_path/'out')


@pytest.mark.parametrize('a, b', [([], []), ([[1.0, 2.0]], []), ([[1.0, 2.0]], [[1.0, 2.0, 3.0]])])
def test_unpaired_scores_are_refused(a, b):
    with pytest.raises(ValueError): difference_by_seed(a, b)


def test_numbers_without_parameters_serve_what_is_made_of_numbers(tmp_path, monkeypatch):
    monkeypatch.setitem(SCALES['smoke'], 'digits', SCALES['smoke']['digits'] | dict(images=640, levels=1, steps=1, channels=4))
    nf, nif = [c for c in plan('smoke') if c.seed == 0][:2]
    here, there, kept = (tmp_path/name for name in ('here', 'there', 'kept'))
    for config in (nf, nif): run(config, runs=here, progress=False)
    for name in ('floor', 'umap-noise-64', 'probes-pixels'): experiments.cached(nf, name, dict(n=3), lambda: dict(value=1.5), runs=here)
    scripts = Path(__file__).parents[1]/'scripts'
    monkeypatch.syspath_prepend(scripts); import run_numbers
    run_numbers.main(['keep', str(kept), '--runs', str(here), '--scale', 'smoke'])
    assert [p.stem for p in sorted(kept.iterdir())] == sorted(c.name for c in (nf, nif))
    record, moved = tmp_path/'repeats.json', json.loads((here/nf.name/'result.json').read_text())
    for config in (nf, nif): (tmp_path/'again'/config.name).mkdir(parents=True); (tmp_path/'again'/config.name/'result.json').write_bytes((here/config.name/'result.json').read_bytes())
    moved['test_bits'][0] += 1; moved['test_bits_per_dim']['mean'] += 1 / len(moved['test_bits'])
    (tmp_path/'again'/nf.name/'result.json').write_text(json.dumps(moved))
    for _ in range(2): run_numbers.main(['repeats', str(record), '--runs', str(here), '--again', str(tmp_path/'again'), '--scale', 'smoke'])
    row, = json.loads(record.read_text())['result']                                                     # the NIF's is the same run, and a row comes once
    assert row['name'] == nf.name and row['run'] == 'digits NF, seed 0' and abs(row['again'] - row['first'] - 1 / row['n']) < 1e-9
    with pytest.raises(SystemExit): run_numbers.main(['repeats', str(record)])
    (there/nif.name).mkdir(parents=True); mine = dict(json.loads((here/nif.name/'result.json').read_text()), seconds=-1)
    (there/nif.name/'metrics.jsonl').write_bytes((here/nif.name/'metrics.jsonl').read_bytes())
    (there/nif.name/'result.json').write_text(json.dumps(mine))                                         # a run of this machine is not written over
    run_numbers.main(['restore', str(kept), '--runs', str(there)])
    assert run(nf, runs=there, progress=False) == json.loads((here/nf.name/'result.json').read_text()) and run(nif, runs=there, progress=False)['seconds'] == -1
    for name in ('floor', 'umap-noise-64', 'probes-pixels'): assert experiments.cached(nf, name, dict(n=3), lambda: pytest.fail('it was kept'), runs=there)['value'] == 1.5
    assert finished(nf, runs=there) and not finished(nf, runs=there, parameters=True)
    with pytest.raises(FileNotFoundError, match='its parameters are not'): experiments.load_run(nf, runs=there)
    monkeypatch.setenv('NIF_LIT_TRAIN', '0')
    monkeypatch.setenv('NIF_LIT_RUNS', str(here)); whole = TABLE2.draw([nf, nif], tmp_path/'a')[0]['digits']['NIF-8']['paired']
    monkeypatch.setenv('NIF_LIT_RUNS', str(there))
    assert make(TABLE2, out=tmp_path/'c')[0]['digits']['NIF-8']['paired'] == whole and whole['mean'] != 0
    with pytest.raises(RuntimeError, match='none of its'): make(find_figures(['fig8'])[0], out=tmp_path/'c')
    monkeypatch.delenv('NIF_LIT_TRAIN')                                                                 # figures of numbers say 'not run' of a score that is not there, and train nothing for it
    assert make(find_figures(['table1'])[0], out=tmp_path/'c', model='NF')[0] == dict(digits=dict(n=0, rows={}))
    assert not noiseless_at_hand(nf)
    monkeypatch.setenv('NIF_LIT_TRAIN', '0')
    monkeypatch.delenv('NIF_LIT_TRAIN'); run(nf, progress=False, parameters=True)
    assert experiments.load_run(nf)[1]['test_bits'] == json.loads((here/nf.name/'result.json').read_text())['test_bits']
    assert len((there/nf.name/'metrics.jsonl').read_text().splitlines()) == len((here/nf.name/'metrics.jsonl').read_text().splitlines())


def test_scores_never_meet_other_parameters(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SCALES['smoke'], 'digits', SCALES['smoke']['digits'] | dict(images=640, levels=1, steps=1, channels=4))
    config = next(c for c in plan('smoke', seeds=1) if c.model == 'NF')
    here, there = tmp_path/'here', tmp_path/'there'
    bits = run(config, runs=here, progress=False)['test_bits']
    answer, mean = experiments.cached(config, 'floor', dict(n=3), lambda: dict(value=1.5), runs=here), experiments.result_of(config, runs=here)['test_bits_per_dim']['mean']
    assert answer['test_bits_per_dim'] == mean and experiments.another_training(config, answer, runs=here) is None
    assert experiments.another_training(config, dict(test_bits_per_dim=mean + 1), runs=here) == mean + 1 and experiments.another_training(config, {}, runs=here) is None
    kept = experiments.keep_numbers(config, tmp_path/'kept', runs=here)
    number = lambda runs, name='floor': experiments.cached(config, name, dict(n=3), lambda: dict(value=-1.0), runs=runs)['value']
    real, begun = experiments.fit, []
    def cut(*args, folder, **how):
        begun.append(folder.name); real(*args, folder=folder, stop_after=2, **how)
        raise Interrupted('stopped')

    experiments.restore_numbers(kept, runs=there)                                                       # an interrupted training leaves the numbers, and its parameters do not count
    monkeypatch.setattr(experiments, 'fit', cut)
    with pytest.raises(Interrupted): run(config, runs=there, progress=False, parameters=True)
    assert begun == ['again'] and finished(config, runs=there) and not finished(config, runs=there, parameters=True)
    assert run(config, runs=there, progress=False)['test_bits'] == bits and number(there) == 1.5
    with pytest.raises(FileNotFoundError, match='its parameters are not'): experiments.load_run(config, runs=there)
    monkeypatch.setattr(experiments, 'fit', real)
    assert run(config, runs=there, progress=False, parameters=True)['test_bits'] == bits                # the same machine: it goes on to the same bits, and keeps its scores
    assert number(there) == 1.5 and experiments.load_run(config, runs=there)[1]['test_bits'] == bits and not (there/config.name/'again').exists()
    assert (there/config.name/'config.json').exists() and run(config, runs=there, progress=False, parameters=True)['test_bits'] == bits

    other = json.loads(kept.read_text()); other['result']['test_bits'][0] += 0.01; kept.write_text(json.dumps(other))
    elsewhere = tmp_path/'elsewhere'; experiments.restore_numbers(kept, runs=elsewhere)                  # another machine's numbers
    assert number(elsewhere) == 1.5
    moves, replace = [], experiments.os.replace
    def breaks(a, b):                                                                                    # a kill between two moves
        moves.append(Path(a).name)
        if moves[-1] == 'model.json' and moves.count('model.json') == 1: raise OSError('killed')
        replace(a, b)
    monkeypatch.setattr(experiments.os, 'replace', breaks)
    with pytest.raises(OSError, match='killed'): run(config, runs=elsewhere, progress=False, parameters=True)
    assert not finished(config, runs=elsewhere, parameters=True)
    monkeypatch.setattr(experiments.os, 'replace', replace)
    monkeypatch.setattr(experiments, 'fit', lambda *a, **k: pytest.fail('it was trained'))
    assert run(config, runs=elsewhere, progress=False, parameters=True)['test_bits'] == bits and finished(config, runs=elsewhere, parameters=True)
    assert number(elsewhere) == -1.0 and [p.name for p in (elsewhere/config.name).glob('scores-*')] == ['scores-of-restored-1']

    experiments.cached(config, 'later', dict(n=3), lambda: dict(value=-2.0), runs=here); (here/config.name/'scores').rename(tmp_path/'away')
    experiments.restore_numbers(kept, runs=here); assert not (here/config.name/'scores').exists()        # a run trained here takes no scores of others
    half = tmp_path/'half'; monkeypatch.setattr(experiments, 'fit', cut)
    with pytest.raises(Interrupted): run(config, runs=half, progress=False)
    monkeypatch.syspath_prepend(Path(__file__).parents[1]/'scripts'); import run_numbers
    run_numbers.main(['restore', str(kept.parent), '--runs', str(half)])
    assert capsys.readouterr().out.splitlines() == [f'0 runs restored under {half}', f'left as they are, since they were trained or begun there: {config.name}'] and not finished(config, runs=half)


def test_a_picture_is_kept_where_only_its_numbers_are_here(tmp_path, monkeypatch):
    monkeypatch.setitem(SCALES['smoke'], 'digits', SCALES['smoke']['digits'] | dict(images=640, levels=1, steps=1, channels=4))
    config = next(c for c in plan('smoke', seeds=1) if c.model == 'NF')
    def draw(configs, out, progress):
        experiments.picture(out/'dot.png', lambda: grid_figure({'dot': np.zeros((1, 4, 4, 1), np.uint8)}, 3), configs)
        return dict(drawn=len(configs)), []
    figure = Figure('dot', 'Dot', lambda scale: [config], draw, keeps=True)
    here, there, out = (tmp_path/name for name in ('here', 'there', 'out'))
    monkeypatch.setenv('NIF_LIT_RUNS', str(here)); make(figure, out=out, progress=False)
    kept = experiments.keep_numbers(config, tmp_path/'kept', runs=here); experiments.restore_numbers(kept, runs=there)
    monkeypatch.setenv('NIF_LIT_RUNS', str(there)); monkeypatch.setenv('NIF_LIT_TRAIN', '0')
    (out/'dot.png').write_bytes(b'as it was')
    assert make(figure, out=out)[0] == dict(drawn=1) and (out/'dot.png').read_bytes() == b'as it was'
    record = json.loads((out/'dot.json').read_text())
    assert record['runs'] == [config.name] and record['pictures_of'] == record['provenance']             # both by this process
    for other in (dataclasses.replace(figure, keeps=False), dataclasses.replace(figure, name='dash')):   # one that draws anew, and one never drawn
        with pytest.raises(RuntimeError, match='none of its|made of 1 runs'): make(other, out=out)
    (out/'dot.png').unlink()
    with pytest.raises(FileNotFoundError, match='whose parameters are not here: smoke-digits-NF'): make(figure, out=out)
    record['test_bits_per_dim'][config.name] += 0.1; (out/'dot.json').write_text(json.dumps(record))     # drawn from another training
    with pytest.raises(RuntimeError, match='made of 1 runs'): make(figure, out=out)
    other = dataclasses.replace(config, seed=1); run(other, runs=there, progress=False)                   # one trained here, another as numbers: only together where the picture shows both trainings
    both, record = dataclasses.replace(figure, needs=lambda scale: [config, other]), record | dict(runs=[config.name, other.name], test_bits_per_dim={})
    experiments.picture(out/'dot.png', lambda: grid_figure({'dot': np.zeros((1, 4, 4, 1), np.uint8)}, 3), [other])
    for shown, drawn in ((0.0, 2), (0.1, 1)):
        record['test_bits_per_dim'] = {other.name: experiments.result_of(other)['test_bits_per_dim']['mean'] + shown}
        (out/'dot.json').write_text(json.dumps(record)); assert len(experiments._alike(both, [config, other], out, None)) == drawn
    with pytest.raises(RuntimeError, match='made of 2 runs'): make(both, out=out)                           # and the record of both is not replaced by one of the half
    monkeypatch.delenv('NIF_LIT_TRAIN'); assert not experiments.at_hand(figure, config, out)


def test_parameters_of_another_step_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(SCALES['smoke'], 'digits', SCALES['smoke']['digits'] | dict(images=640, levels=1, steps=1, channels=4))
    config = next(c for c in plan('smoke', seeds=1) if c.model == 'NF')
    result = run(config, runs=tmp_path, progress=False)
    experiments.load_run(config, runs=tmp_path)
    (tmp_path/config.name/'checkpoints'/f"step_{result['steps']}").rename(tmp_path/config.name/'checkpoints'/'step_2')
    with pytest.raises(ValueError, match=f"the result of step {result['steps']} and the parameters of step 2"): experiments.load_run(config, runs=tmp_path)


def test_the_commit_is_that_of_this_project_or_none(tmp_path):
    git = lambda *arguments: subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=a@b', *arguments], cwd=tmp_path, check=True, capture_output=True)
    git('init', '-q'); git('commit', '-q', '--allow-empty', '-m', 'a project that uses the package')
    shutil.copytree(Path(experiments.__file__).parent, tmp_path/'env'/'nif_lit', ignore=shutil.ignore_patterns('__pycache__'))
    told = subprocess.run([sys.executable, '-c', 'from nif_lit.experiments import provenance; print(provenance()["commit"])'], cwd=tmp_path, env=os.environ | dict(PYTHONPATH=str(tmp_path/'env')), capture_output=True, text=True, check=True).stdout
    assert told.strip() == 'not a git checkout'


@pytest.mark.parametrize('spoil', [lambda k: k.pop('metrics'), lambda k: k['experiment'].update(seed=9), lambda k: k['result']['config'].update(seed=9), lambda k: k['scores'].update({'../x-0123456789.json': {}}),
                                   lambda k: k['experiment'].update(colour='red'), lambda k: k.update(metrics=['x'])])
def test_files_of_other_kinds_are_refused(spoil, tmp_path):
    config = plan('smoke', seeds=1)[0]
    home = tmp_path/'here'/config.name; home.mkdir(parents=True)
    (home/'metrics.jsonl').write_text('{"images": 64, "bits_per_dim": 2.5}\n'); (home/'result.json').write_text(json.dumps(dict(config=dataclasses.asdict(config), test_bits=[1.0])))
    path = experiments.keep_numbers(config, tmp_path/'kept', runs=tmp_path/'here')
    assert experiments.restore_numbers(path, runs=tmp_path/'there') == config
    content = json.loads(path.read_text()); spoil(content); path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='is not a file of keep_numbers'): experiments.restore_numbers(path, runs=tmp_path/'elsewhere')
    assert not (tmp_path/'elsewhere').exists()
    path.write_text('[1, 2'); pytest.raises(ValueError, experiments.restore_numbers, path, runs=tmp_path/'elsewhere')


def test_coordinates_of_a_picture_are_no_numbers_to_keep(tmp_path):
    config = plan('smoke', seeds=1)[0]
    scores = tmp_path/config.name/'scores'; scores.mkdir(parents=True)
    (tmp_path/config.name/'metrics.jsonl').write_text(''); (tmp_path/config.name/'result.json').write_text('{}')
    for name, n in (('small-0123456789', 10), ('large-0123456789', experiments.LARGEST)): (scores/f'{name}.json').write_text(json.dumps(dict(points=[0] * n)))
    assert list(json.loads(experiments.keep_numbers(config, tmp_path/'kept', runs=tmp_path).read_text())['scores']) == ['small-0123456789.json']


def test_numbers_in_the_project_can_be_put_back(tmp_path):
    files = sorted((Path(__file__).parents[1]/'results').glob('*/runs/*.json'))
    assert files                                                                # a clone has them: git does not ignore this folder of runs
    for path in files:
        config = experiments.restore_numbers(path, runs=tmp_path)
        result = run(config, runs=tmp_path, progress=False)
        assert len(result['test_bits']) == result['test_bits_per_dim']['n'] and finished(config, runs=tmp_path) and not finished(config, runs=tmp_path, parameters=True)


def one(**changes): return experiments.experiment('digits', 'NF', **changes)


@pytest.mark.parametrize('call, match', [
    (lambda: one(seed=-1), 'seed must be a whole number from 0, got -1'), (lambda: one(seed=True), 'got True'), (lambda: one(seed=1.5), 'got 1.5'), (lambda: one(seed=2 ** 32), 'seed must be'), (lambda: one(bits=9), 'bits must be a whole number from 1 to 8, got 9'), (lambda: one(images=-1), 'images must be .* got -1'),
    (lambda: one(minutes=0), 'minutes must be .* got 0'), (lambda: one(variant='foo'), "unknown variant 'foo'"), (lambda: one(compute='float'), "did you mean 'float32'"), (lambda: one(split='foo'), "unknown split 'foo'"), (lambda: one(steps=0), 'steps must be'), (lambda: one(warmup=-1), 'warmup must be'),
    (lambda: one(learning_rate=-1), 'learning_rate must be'), (lambda: one(step=3), "unknown field 'step'; did you mean 'steps'"), (lambda: plan('smoke', seeds=-1), 'seeds must be a positive whole number, got -1'), (lambda: plan('smoke', seeds=0), 'got 0'), (lambda: plan('smoke', ''), "unknown data set ''"),
    *[(lambda name=name: experiments.cached(one(), name, {}, dict, runs='nowhere'), 'the name of a score') for name in ('../x', 'a/b', '', 'x.json', 3)], (lambda: experiments.is_cached(one(), '../x', {}), 'the name of a score'),
    (lambda: make('fig4'), "make takes a Figure, got 'fig4'; nif_lit.reproduce.find_figures"), (lambda: make(TABLE2, seeds=0), 'seeds must be'), (lambda: make(TABLE2, foo=3), "unknown field 'foo'"), (lambda: make(TABLE2, dataset='cifar-10'), "Table 2 uses no run of dataset='cifar-10' at smoke scale"),
    (lambda: find_figures(3), 'unknown figure or table 3'), (lambda: find_figures('fig33'), "unknown figure or table 'fig33'"), (lambda: reproduce(seeds=-1), 'seeds must be'), (lambda: reproduce('table2', seeds=0), 'seeds must be')])
def test_a_wrong_argument_is_a_value_error(call, match, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=match): call()
    assert not list(tmp_path.iterdir())


def test_one_name_is_a_list_of_one():
    assert find_figures('fig6') == find_figures(['fig6']) and find_figures('all') == find_figures()


@pytest.fixture
def tiny(monkeypatch): monkeypatch.setitem(SCALES['smoke'], 'digits', SCALES['smoke']['digits'] | dict(images=128, levels=1, steps=1, channels=2))


def test_a_data_set_of_another_size_is_refused(tiny, tmp_path, monkeypatch):
    "As the part of CelebA that was at hand, and all of it: same names, other images."
    config, whole = one(), experiments.dataset_of
    run(config, runs=tmp_path, progress=False); protocol.reference_features(config, runs=tmp_path)
    def part(*args): d = whole(*args); return dataclasses.replace(d, test=d.test[:60], test_labels=d.test_labels[:60])
    for module in (experiments, protocol): monkeypatch.setattr(module, 'dataset_of', part)
    with pytest.raises(ValueError, match='and 360 test images, and the digits at hand has .* and 60: name another folder'): run(config, runs=tmp_path, progress=False)
    assert len(protocol.reference_features(config, runs=tmp_path)) == 60                                # not the 360 that were kept
    with pytest.raises(ValueError, match='was tested on 360 images, and its samples meet 60'): protocol.sample_scores(config, n=20, runs=tmp_path)
    assert not (tmp_path/config.name/'scores').exists()                                                 # nothing is kept of it
    def turned(*args): d = whole(*args); return dataclasses.replace(d, train=d.train[:, ::-1])          # as many, but others
    monkeypatch.setattr(experiments, 'dataset_of', turned)
    with pytest.raises(ValueError, match='training images hash to [0-9a-f]{10}, and those of the digits at hand to'): run(config, runs=tmp_path, progress=False)
    monkeypatch.setattr(experiments, 'dataset_of', whole)
    assert run(config, runs=tmp_path, progress=False)['n_test'] == 360


def test_scores_without_their_result_are_set_aside(tiny, tmp_path):
    "A result that was lost takes with it what its parameters were."
    config, home = one(), tmp_path/one().name
    experiments.write_json(home/'scores'/'floor-0123456789.json', dict(settings={}))
    run(config, runs=tmp_path, progress=False)
    assert not (home/'scores').exists() and (home/'scores-of-restored-1'/'floor-0123456789.json').exists()
    experiments.write_json(home/'scores'/'floor-0123456789.json', dict(settings={})); (home/'result.json').unlink()
    run(config, runs=tmp_path, progress=False)                                                          # its own checkpoint is here, so its scores are its own
    assert (home/'scores').exists()


@pytest.mark.parametrize('lost', ['model.json', 'checkpoints'])
def test_lost_parameters_are_had_again(lost, tiny, tmp_path):
    config, home = one(), tmp_path/one().name
    bits = run(config, runs=tmp_path, progress=False)['test_bits']
    (home/lost).unlink() if (home/lost).is_file() else shutil.rmtree(home/lost)
    with pytest.raises(FileNotFoundError, match='run.config, parameters=True. trains it again'): experiments.load_run(config, runs=tmp_path)
    assert run(config, runs=tmp_path, progress=False, parameters=True)['test_bits'] == bits and experiments.load_run(config, runs=tmp_path)[1]['test_bits'] == bits


def test_a_figure_is_drawn_from_the_folder_that_it_was_given(tmp_path, monkeypatch):
    "Drawing asks for scores by the run's name, in the folder that the environment names."
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'other')); monkeypatch.setattr(experiments, 'run', lambda *a, **k: None)
    for place, bits in (('here', 3.5), ('other', 2.5)): experiments.write_json(tmp_path/place/one().name/'result.json', dict(test_bits_per_dim=dict(mean=bits)))
    figure = Figure('dot', 'Dot', lambda scale: [one()], lambda configs, out, progress: (experiments.result_of(configs[0])['test_bits_per_dim'], []), parameters=False)
    assert make(figure, runs=tmp_path/'here', out=tmp_path/'out')[0] == dict(mean=3.5) and os.environ['NIF_LIT_RUNS'] == str(tmp_path/'other')


def test_what_cannot_be_made_is_said_before_training_and_alone(tiny, tmp_path, monkeypatch):
    "No data set, or weights that are broken: their figures are not made, no run is trained for them, and the others are drawn."
    said, data = [], tmp_path/'data'
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs')); monkeypatch.setenv('NIF_LIT_DATA', str(data)); data.mkdir()
    monkeypatch.setattr(reproducing, 'run', lambda *a, **k: pytest.fail('it trained'))
    monkeypatch.setitem(FIGURES, 'fig4', dataclasses.replace(FIGURES['fig4'], draw=lambda configs, out, progress: ({}, [])))
    with pytest.raises(RuntimeError, match='1 of 2 figures .*: table2 '): reproduce(['table2', 'fig4'], scale='laptop', out=tmp_path/'out', progress=False, echo=said.append)
    assert (tmp_path/'out'/'fig4.json').exists() and any('Table 2: not made, ' in line for line in said) and said[0].startswith('2 of ')
    with pytest.raises(DataError): reproduce(['table2'], scale='laptop', out=tmp_path/'out', progress=False, echo=str)
    monkeypatch.setenv('NIF_LIT_FID', str(data)); (data/'inception_2015_12_05_mixed_7a_fp16.npz').write_bytes(b'PK'); (data/'SHA256SUMS').write_text('0' * 64 + '  inception_2015_12_05_mixed_7a_fp16.npz\n')
    with pytest.raises(DataError, match='truncated or altered'): reproduce(['fig6'], scale='laptop', out=tmp_path/'out', progress=False, echo=str)


def test_a_file_that_is_lost_keeps_no_other_figure_from_being_made(tmp_path, monkeypatch):
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs')); monkeypatch.setattr(reproducing, 'train_all', lambda *a, **k: {})
    def gone(configs, out, progress): raise FileNotFoundError('metrics.jsonl')
    monkeypatch.setitem(FIGURES, 'fig4', dataclasses.replace(FIGURES['fig4'], draw=gone))
    monkeypatch.setitem(FIGURES, 'fig11', dataclasses.replace(FIGURES['fig11'], draw=lambda configs, out, progress: ({}, [])))
    with pytest.raises(RuntimeError, match='1 of 2 figures and tables could not be made: fig4 .metrics.jsonl'): reproduce(['fig4', 'fig11'], out=tmp_path/'out', progress=False, echo=str)
    assert (tmp_path/'out'/'fig11.json').exists()


def test_no_run_is_trained_for_a_figure_that_cannot_be_made(tiny, tmp_path, monkeypatch):
    "Restored numbers are enough for Table 2; Fig. 1 would need the parameters, and lacks weights."
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs')); config, said, asked = one(), [], []
    experiments.write_json(tmp_path/'runs'/config.name/'result.json', dict(test_bits_per_dim=dict(mean=2.0)))
    for name in ('table2', 'fig1'): monkeypatch.setitem(FIGURES, name, dataclasses.replace(FIGURES[name], needs=lambda scale: [config], draw=lambda configs, out, progress: ({}, [])))
    def missing(dims): raise DataError('no weights')
    monkeypatch.setattr(reproducing, 'find_weights', missing); monkeypatch.setattr(reproducing, 'train_all', lambda configs, parameters, **how: asked.append(parameters) or {})
    for scale, parameters, done in (('laptop', [], 1), ('smoke', [config], 0)):
        if scale == 'smoke': monkeypatch.setattr(experiments, 'run', lambda *a, **k: None)
        try: reproduce(['table2', 'fig1'], scale=scale, out=tmp_path/scale, progress=False, echo=said.append)
        except RuntimeError: pass
        assert asked[-1] == parameters and any(line.endswith(f'from 1 runs at {scale} scale; {done} finished before' + ('' if done else ', 1 to train')) for line in said)


def test_a_result_or_a_score_of_another_run_is_refused(monkeypatch, tmp_path):
    from nif_lit import experiments as x
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path))
    own, other = x.experiment('digits', 'NF', seed=0), x.experiment('digits', 'NF', seed=5)
    x.write_json(tmp_path/other.name/'result.json', dict(config=dataclasses.asdict(own), test_bits_per_dim=dict(mean=2.0)))
    for read in (lambda: x.result_of(other), lambda: x.run(other)):
        with pytest.raises(ValueError, match='result of another run .*, with seed 0'): read()
    x.write_json(tmp_path/own.name/'result.json', dict(config=dataclasses.asdict(own), test_bits_per_dim=dict(mean=2.0))); assert x.result_of(own)['test_bits_per_dim'] == dict(mean=2.0)
    x.write_json(tmp_path/own.name/'result.json', dict(test_bits_per_dim=3))
    with pytest.raises(ValueError, match='holds no result: remove it'): x.result_of(own)
    (tmp_path/own.name/'result.json').write_text('{"test')
    with pytest.raises(ValueError, match='no JSON.*: remove it, and the run is finished again'): x.result_of(own)
    x.cached(other, 'score', dict(a=1), lambda: dict(v=1), runs=tmp_path/'free')
    a, b = (x._score_path(other, 'score', dict(a=k), tmp_path/'free') for k in (1, 2))
    assert x.cached(other, 'score', dict(a=1), lambda: dict(v=2), runs=tmp_path/'free')['v'] == 1
    a.rename(b)
    with pytest.raises(ValueError, match='a score of other settings than its name says'): x.cached(other, 'score', dict(a=2), lambda: dict(v=2), runs=tmp_path/'free')
    b.write_text('')
    with pytest.raises(ValueError, match='no JSON.*: remove it, and it is made again'): x.cached(other, 'score', dict(a=2), lambda: dict(v=2), runs=tmp_path/'free')


@pytest.mark.parametrize('call, match', [
    (dict(model='NIF-100'), 'NIF-100 has more latent dimensions than the 64 of digits'), (dict(model='NF', low_steps=2), 'low_steps is of a deep NIF, which NF has not'), (dict(model='NIF-4', low_hidden=8), 'low_hidden is of a deep NIF'),
    (dict(model='NF', bias=False), 'bias is of the head of a NIF, which NF has not'), (dict(model='NF', seed=2 ** 32), 'seed must be a whole number from 0 to 4294967295'), (dict(model='NF', seed=-1), 'seed must be a whole number from 0')])
def test_no_run_has_a_field_of_another_model(call, match):
    from nif_lit.experiments import experiment
    with pytest.raises(ValueError, match=match): experiment('digits', **call)
    assert experiment('digits', 'NIF-64').model == 'NIF-64' and not experiment('digits', 'NIF-4', bias=False).bias and experiment('digits', 'NF', seed=2 ** 32 - 1).seed == 2 ** 32 - 1


def test_a_figure_of_some_of_its_runs_says_which_are_missing(monkeypatch, tmp_path):
    from nif_lit import experiments as x, reproduce as r
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs')); monkeypatch.setenv('NIF_LIT_TRAIN', '0')
    there, gone = x.experiment('digits', 'NF'), x.experiment('digits', 'NIF-8')
    x.write_json(tmp_path/'runs'/there.name/'result.json', dict(config=dataclasses.asdict(there), test_bits_per_dim=dict(mean=2.0), provenance=dict(commit='abc')))
    figure = x.Figure('one', 'Fig. 99', lambda scale: [there, gone], lambda configs, out, progress: ({}, [dict(title='A figure', caption='What it shows.')]), parameters=False)
    monkeypatch.setattr(r, 'FIGURES', {'one': figure})
    lines = []
    page = r.reproduce(['one'], out=tmp_path/'out', progress=False, echo=lines.append).read_text()
    told = 'from 1 of 2 runs; not run: NIF-8, digits, seed 0'
    assert any(line.endswith(told) for line in lines) and f'Drawn {told}.' in page and '1 of 2 runs.' in page and 'What it shows.' in page
    assert '<dt>runs trained at</dt><dd>abc</dd>' in page and x.read_json(tmp_path/'out'/'one.json')['trained_at'] == ['abc'] and sorted(p.name for p in tmp_path.iterdir()) == ['out', 'runs']


def test_a_refused_call_leaves_no_folder(monkeypatch, tmp_path):
    from nif_lit import reproduce as r
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs')); monkeypatch.setenv('NIF_LIT_TRAIN', 'maybe')
    with pytest.raises(ValueError, match='NIF_LIT_TRAIN must be 0 or 1'): r.reproduce(['fig8'], out=tmp_path/'out', progress=False)
    monkeypatch.setenv('NIF_LIT_TRAIN', '1'); monkeypatch.setenv('NIF_LIT_DATA', str(tmp_path/'none'))
    with pytest.raises(Exception): r.reproduce(['fig8'], scale='laptop', dataset='fashion_mnist', out=tmp_path/'out', progress=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match='drawn without any run'): r.reproduce(['fig4'], dataset='digits', out=tmp_path/'out', progress=False)
