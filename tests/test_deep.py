"The deep NIF's page: the verdict follows the numbers, and a figure with runs missing says so."
import json
import numpy as np
import pytest
from nif_lit.deep import SET, VARIANCES, deep_draw, deep_needs, machine_moves, more_varied, only_heat
from nif_lit.experiments import experiment
from nif_lit.pictures import gallery, save_png
from nif_lit.training import write_json


def scores(recall, coverage, se=0.01): return {t: dict(recall=recall, coverage=coverage, se_recall=se, se_coverage=se) for t in VARIANCES}


@pytest.mark.parametrize('deep, answer', [((0.6, 0.6), 'Yes'), ((0.4, 0.4), 'No, it is less'), ((0.52, 0.49), 'No:'), ((0.6, 0.4), 'In part, with 3 of 6')])
def test_the_verdict_follows_the_numbers(deep, answer):
    record, sentence = more_varied({'NIF-16': scores(0.5, 0.5), 'DeepNIF-16': scores(*deep)})
    assert f'? {answer}' in sentence and record['NIF-16']['recall']['2']['difference'] == pytest.approx(deep[0] - 0.5)


def test_each_reading_of_t_has_its_own_answer():
    hot = scores(0.5, 0.5) | {16.0: dict(recall=0.4, coverage=0.7, se_recall=0.01, se_coverage=0.01)}
    record, sentence = more_varied({'NIF-16': scores(0.5, 0.5), 'DeepNIF-16': hot})
    first, second = sentence.split(' With t on the deviation: ')
    assert 'No: recall undecided at every t; coverage undecided at every t' in first and second == 'recall lower at t = 4; coverage higher at t = 4.'
    assert record['NIF-16']['coverage']['16']['difference'] == pytest.approx(0.2)


def test_a_model_that_is_only_another_at_another_temperature_is_found_out():
    point = lambda precision, coverage: dict(precision=precision, coverage=coverage, se_precision=0.01, se_coverage=0.01)
    cold = {1.0: point(0.2, 0.2), 2.0: point(0.3, 0.3), 4.0: point(0.1, 0.5)}
    assert only_heat({1.0: point(0.2, 0.1), 2.0: point(0.31, 0.31), 4.0: point(0.1, 0.1), 16.0: point(0.3, 0.5)}, cold) == {1.0: 2.0, 2.0: 2.0, 4.0: 4.0, 16.0: None}


def test_what_has_not_run_is_said():
    assert more_varied({'NF': scores(0.5, 0.5)})[1].startswith('not run') and more_varied({'DeepNIF-16': scores(0.5, 0.5)})[1].startswith('not run')


def test_needs_train_all_models_on_the_same_images():
    for scale, (dataset, M) in SET.items():
        configs = deep_needs(scale)
        assert [c.model for c in configs] == ['NF', f'NIF-{M}', f'DeepNIF-{M}'] and len({(c.dataset, c.images, c.batch_size, c.seed, c.steps, c.learning_rate) for c in configs}) == 1
        assert configs[-1].n_samples == 16 and configs[-1].name != experiment(dataset, f'DeepNIF-{M}', scale=scale).name


def test_a_figure_with_runs_missing(tmp_path, monkeypatch):
    config = experiment('digits', 'NF')
    write_json(tmp_path/'runs'/config.name/'result.json', dict(config=dict(dataset='celeba'), n_train=32, test_bits=[1.0, 2.0, 1.5], test_bits_per_dim=dict(mean=1.5), images_seen=64))
    near = dict(recall=0.5, coverage=1.0, precision=0.7, n=9, n_reference=3, k=5)
    fake = dict(sample_scores=lambda config, **kw: dict(neighbours=near, frechet=dict(value=1.0, name='FD-pixels'), kid=dict(value=0.1, se=0.01, name='KID-pixels'), dims='pixels'),
                load_run=lambda config, **kw: (None, {}), draw_samples=lambda model, key, n, **kw: np.full((n, 4, 4, 1), int(kw['t']) % 8, np.uint8))
    fake |= dict(may_score=lambda config: True, picture=lambda path, draw, configs: save_png(draw(), path))
    for name, thing in fake.items(): monkeypatch.setattr(f'nif_lit.deep.{name}', thing)
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs'))
    record, sections = deep_draw([config], tmp_path, False)
    json.dumps(record, allow_nan=False)
    assert record['digits']['verdict'].startswith('not run') and [row[1] for row in sections[0]['table'][1]] == ['closed form', 'not run', 'not run']
    assert any('Models: 32 training images (a subset: CelebA has 202,599 in all), 2 epochs. ' in section['caption'] for section in sections)
    gallery(tmp_path, title='deep', intro='', sections=sections)                                # pictures there, described, rows as long as their header
    assert record['digits']['variation']['NF']['1']['se_coverage'] > 0                          # full coverage of three images is no certainty


def test_how_far_a_machine_moves_a_run(tmp_path):
    "Two trainings that differ by d have a deviation of d / √2 each; without a record nothing is claimed."
    assert machine_moves(tmp_path) == 0
    write_json(tmp_path/'repeats.json', dict(result=[dict(first=1.0, again=1.003), dict(first=2.0, again=1.999)]))
    np.testing.assert_allclose(machine_moves(tmp_path), np.sqrt((0.003 ** 2 + 0.001 ** 2) / 2 / 2))
