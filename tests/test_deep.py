"The deep NIF's page: the verdict follows the numbers, and a figure with runs missing says so."
import json
import pytest
from nif_lit.deep import SET, VARIANCES, deep_draw, deep_needs, more_varied
from nif_lit.experiments import experiment, run


def scores(recall, coverage, se=0.01): return {t: dict(recall=recall, coverage=coverage, se_recall=se, se_coverage=se) for t in VARIANCES}


@pytest.mark.parametrize('deep, answer', [((0.6, 0.6), 'Yes'), ((0.4, 0.4), 'No, it is less'), ((0.52, 0.49), 'No:'), ((0.6, 0.4), 'In part, 3 of 6')])
def test_the_verdict_follows_the_numbers(deep, answer):
    record, sentence = more_varied({'NIF-16': scores(0.5, 0.5), 'DeepNIF-16': scores(*deep)})
    assert f'? {answer}' in sentence and record['NIF-16']['recall']['2']['difference'] == pytest.approx(deep[0] - 0.5)


def test_what_has_not_run_is_said():
    assert more_varied({'NF': scores(0.5, 0.5)})[1].startswith('not run') and more_varied({'DeepNIF-16': scores(0.5, 0.5)})[1].startswith('not run')


def test_needs_train_all_models_on_the_same_images():
    for scale, (dataset, M) in SET.items():
        configs = deep_needs(scale)
        assert [c.model for c in configs] == ['NF', f'NIF-{M}', f'DeepNIF-{M}'] and len({(c.dataset, c.images, c.batch_size, c.seed, c.steps, c.learning_rate) for c in configs}) == 1
        assert configs[-1].n_samples == 16 and configs[-1].name != experiment(dataset, f'DeepNIF-{M}', scale=scale).name


def test_a_figure_with_runs_missing(tmp_path, monkeypatch):
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'runs'))
    monkeypatch.setattr('nif_lit.deep.VARIANCES', (1.0, 2.0, 4.0)); monkeypatch.setattr('nif_lit.deep.SAMPLES', {'smoke': 50})
    config = experiment('digits', 'NF', images=64, levels=1, steps=1, channels=2)
    run(config, progress=False)
    record, sections = deep_draw([config], tmp_path, False)
    json.dumps(record)
    assert record['digits']['verdict'].startswith('not run') and [row[1] for row in sections[0]['table'][1]] == ['closed form', 'not run', 'not run']
    assert all((tmp_path/s['png']).is_file() for s in sections if 'png' in s) and all(len(row) == len(s['table'][0]) for s in sections if 'table' in s for row in s['table'][1])
