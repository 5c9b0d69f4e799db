"All figures together: every one of the paper has a name, knows its runs at every scale, says what is not run, and goes on where it stopped."
import dataclasses
import json
import pytest
from nif_lit import experiments
from nif_lit.experiments import DATASETS_AT, SCALES, by_model, finished, make, plan, run
from nif_lit.reproduce import FIGURES, find_figures, reproduce, train_all, work
from nif_lit.table2 import TABLE2, cells_of, difference_by_seed


def test_every_figure_and_table_of_the_paper_has_a_name():
    names = {name for f in FIGURES.values() for name in (f.name, *f.aliases)}
    assert {f'fig{k}' for k in range(1, 15)} | {'table1', 'table2'} <= names
    assert [f.name for f in find_figures(['all'])] == [n for n, f in FIGURES.items() if not f.part_of]
    assert all(f.part_of in FIGURES and {c.name for c in f.needs('laptop')} <= {c.name for c in FIGURES[f.part_of].needs('laptop')} for f in FIGURES.values() if f.part_of)
    assert {(c.dataset, c.model) for c in find_figures(['fig6'])[0].needs('laptop')} == {('celeba', 'NF'), ('celeba', 'NIF-128')}      # that figure and nothing else
    assert [f.name for f in find_figures(['bits_per_dim', 'table2'])] == ['table2']
    with pytest.raises(ValueError, match="did you mean 'fig"): find_figures(['fig15'])


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
    monkeypatch.setitem(SCALES['smoke'], 'digits', SCALES['smoke']['digits'] | dict(images=640, steps=1, channels=4))
    monkeypatch.setenv('NIF_LIT_TRAIN', '0')
    with pytest.raises(RuntimeError, match='none of its 12 runs'): make(TABLE2, out=tmp_path)
    nf, nif = [c for c in plan('smoke') if c.seed == 0][:2]
    run(nf, progress=False)
    record, _ = make(TABLE2, out=tmp_path)
    assert list(record['digits']) == ['NF'] and record['digits']['NF']['seeds'] == [0]
    assert [row[2] for row in cells_of(record['digits'], ['NF', 'NIF-8', 'NIF-16'])][1:] == ['not run', 'not run']
    written = json.loads((tmp_path/'table2.json').read_text())
    assert len(written['not_run']) == 11 and written['runs'] == [nf.name]
    monkeypatch.delenv('NIF_LIT_TRAIN')
    said = []
    page = reproduce(['table2'], seeds=1, out=tmp_path, progress=False, echo=said.append)
    assert '1 finished before' in said[0] and finished(nif) and page.is_file()
    assert set(json.loads((tmp_path/'table2.json').read_text())['result']['digits']) == {'NF', 'NIF-8', 'NIF-16', 'NIF-32'}
    train_all(plan('smoke', seeds=1), progress=False, echo=lambda text: pytest.fail('nothing was left to train'))
    assert work(dataclasses.replace(nf, images=3 * nf.images)) == 3 * work(nf) and work(dataclasses.replace(nf, channels=8)) > 2 * work(nf)


def test_unequal_training_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path))
    configs = plan('smoke', seeds=1)[:2]
    for config, seen in zip(configs, (640, 704)):
        (tmp_path/config.name).mkdir()
        bits = [1.0, 2.0, 3.0]
        (tmp_path/config.name/'result.json').write_text(json.dumps(dict(config=dict(seed=0), test_bits_per_dim=dict(mean=2.0, se=0.5, n=3), test_bits=bits, images_seen=seen, images_per_second=1.0, seconds=1.0,
                                                                        round_trip_error_levels=0.0, provenance=dict(commit='', device=''))))
    with pytest.raises(ValueError, match='unequal numbers of images'): TABLE2.draw(configs, tmp_path/'out')


@pytest.mark.parametrize('a, b', [([], []), ([[1.0, 2.0]], []), ([[1.0, 2.0]], [[1.0, 2.0, 3.0]])])
def test_unpaired_scores_are_refused(a, b):
    with pytest.raises(ValueError): difference_by_seed(a, b)
