"Table 2's page: how runs ended, repeats and products, from planted runs."
import json

import numpy as np
import pytest
from nif_lit import table2
from nif_lit.experiments import experiment
from nif_lit.training import write_json


def test_how_runs_ended_is_read_from_curves_and_images(tmp_path, monkeypatch):
    "The last tenth counts, batches that one of the two did not see are left out, memory and a bad step are told apart, and what is missing is said."
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path))
    runs = {m: experiment('digits', m) for m in ('NF', 'NIF-8', 'NIF-16')}
    train = {'NF': 1.0, 'NIF-8': 0.9, 'NIF-16': 1.05}
    for (m, c), (end, test) in zip(runs.items(), ((1.0, 1.1), (1.0, 1.1), (0.97, 1.15))):
        write_json(tmp_path/c.name/'result.json', dict(test_bits=[test, test + 0.2], test_bits_per_dim=dict(mean=test + 0.1)))
        (tmp_path/c.name/'metrics.jsonl').write_text(''.join(json.dumps(dict(images=k + (m == 'NIF-16' and k == 99), bits_per_dim=5.0 if k < 90 else end + 0.01 * (-1) ** k + 7.0 * (m == 'NIF-16' and k == 99))) + '\n' for k in range(100)))
    monkeypatch.setattr(table2, 'training_bits', lambda c: np.array([train[c.model], train[c.model] + 0.3]))
    nf, heart, unlucky = table2.endings(list(runs.values()))
    assert nf['memory'] is None and nf['last_step'] is None and nf['n'] == 2 and nf['train'] == pytest.approx(1.15) and nf['test'] == pytest.approx(1.2)
    np.testing.assert_allclose([heart['memory']['value'], heart['last_step']['value'], heart['lead']['running']['mean']], [0.1, 0.1, 0], atol=1e-12)
    np.testing.assert_allclose([unlucky['memory']['value'], unlucky['last_step']['value'], unlucky['lead']['running']['mean'], unlucky['lead']['running']['n']], [0, -0.08, 0.03, 9], atol=1e-12)
    pair = dict(mean=-0.02, se=0.001, seeds=1, borrowed=None)
    record = dict(digits={m: dict(harm='harmed', paired=pair, ended=[r]) for m, r in (('NIF-8', heart), ('NIF-16', unlucky))})
    said = table2.sentence(record)
    assert 'Learned by heart beyond the NF: NIF-8 seed 0 +0.1000.' in said and 'Stopped at a bad step: NIF-16 seed 0 -0.0800.' in said
    alone = table2.endings([runs['NIF-8']])
    assert alone[0]['memory'] is None and table2.ended_cells(alone)[0][2:] == ('not run', '', '', '', '')
    monkeypatch.setattr(table2, 'training_bits', lambda c: None if c.model == 'NF' else np.array([1.0, 1.3]))
    nf, heart, _ = table2.endings(list(runs.values()))
    assert [row[2] for row in table2.ended_cells([nf, heart])] == ['not run'] and heart['memory'] is None
    record['digits']['NIF-8']['ended'] = [heart]; record['digits']['NIF-16'].pop('ended')
    assert 'by heart' not in table2.sentence(record) and 'bad step' not in table2.sentence(record)


def test_training_images_are_scored_once_and_only_where_they_may_be(tmp_path, monkeypatch):
    "As many images as asked, by the key of every score, kept beside the run; nothing where there are no parameters."
    config, asked = experiment('digits', 'NIF-8'), []
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path))
    assert table2.training_bits(config) is None
    monkeypatch.setattr(table2, 'may_score', lambda c, runs=None: True)
    monkeypatch.setattr(table2, 'load_run', lambda c, runs=None: ('the model',))
    def score(model, images, key, n_samples): asked.append((model, len(images), n_samples)); return np.arange(len(images)) / 3
    monkeypatch.setattr(table2, 'bits_per_dim_of', score)
    monkeypatch.setattr(table2, 'TRAIN_SCORED', 7)
    np.testing.assert_allclose(table2.training_bits(config), np.arange(7) / 3, atol=1e-6)
    monkeypatch.setattr(table2, 'may_score', lambda c, runs=None: False)
    assert len(table2.training_bits(config)) == 7 and asked == [('the model', 7, 1)]


def test_a_second_repeat_is_paired_with_the_second_of_the_nf():
    "Four repeats of one pair: each NIF's k-th meets the NF's k-th, by whatever order the runs are listed in."
    repeats = [dict(run=f'digits {m}, seed 0', first=a, again=b) for m, a, b in (('NF', 1.0, 1.1), ('NIF-8', 0.9, 0.8), ('NF', 1.1, 1.2), ('NIF-8', 0.8, 0.9))]
    moved = [(1.1 - 0.8) - (1.0 - 0.9), (1.2 - 0.9) - (1.1 - 0.8)]
    expected = np.sqrt(sum(m * m for m in moved) / 2 / 2)
    assert table2.repeated(repeats) == table2.repeated(sorted(repeats, key=lambda r: r['run'])) and abs(table2.repeated(repeats) - expected) < 1e-12
    assert table2.repeated(None) == 0.0 and table2.repeated([repeats[1]]) == 0.0


def test_products_are_compared_with_their_own_kind():
    rows = {m: dict(values=[v], seeds=[0], compute=[c]) for m, v, c in (('NF', 1.0, 'float32'), ('NIF-8', 0.9, 'float32'), ('NIF-16', 0.8, 'bfloat16'))}
    repeats = [dict(run=f'digits {m}, seed 0', first=0.0, again=v, again_compute='bfloat16') for m, v in (('NF', 1.2), ('NIF-8', 0.7))]
    found = table2.same_products('digits', rows, repeats)
    np.testing.assert_allclose([found['NIF-8']['difference'], found['NIF-16']['difference']], [0.5, 0.4], atol=1e-12)
    assert {d['compute'] for d in found.values()} == {'bfloat16'} and list(table2.same_products('digits', rows, repeats[:1])) == ['NIF-16']
    assert not table2.same_products('digits', rows, repeats[1:]) and not table2.same_products('cifar10', rows, repeats) and not table2.same_products('digits', rows, None)
    assert not table2.same_products('digits', {m: dict(r, compute=['float32']) for m, r in rows.items()}, repeats)


def test_one_seed_borrows_a_bar_and_says_what_two_errors_are_worth():
    "The largest sd of any model with several seeds, no less than one run between machines; drawn dashed where there is one seed, and there alone."
    row = lambda mean, sd, *values: dict(mean=mean, sd=sd, values=list(values) or [mean], paired=None)
    record = dict(a={'NF': row(1.0, 0.002, 0.998, 1.002), 'NIF-8': row(1.1, None)}, b={'NF': row(2.0, None)})
    assert table2.borrowed_sd(record) == 0.002 == table2.borrowed_sd(record, 0.001) and table2.borrowed_sd(record, 0.01) == pytest.approx(0.01 / np.sqrt(2)) and table2.borrowed_sd(dict(b=record['b'])) is None
    def dashed(rows, borrowed): return [bar.get_segments()[0][:, 0].tolist() for bar in table2.seeds_figure(rows, borrowed).axes[0].collections if bar.get_linestyle()[0][1]]
    (low, high), = dashed(record['a'], 0.03)
    drawn = table2.seeds_figure(record['b'], 0.03).axes[0]
    assert {y for bar in drawn.collections for y in bar.get_segments()[0][:, 1]} == {y for dot in drawn.lines for y in dot.get_ydata()} == {0}                # the bar lies on its dot
    assert (low, high) == pytest.approx((1.07, 1.13)) and dashed(record['a'], None) == [] and len(dashed(record['b'], 0.03)) == 1
    np.testing.assert_allclose([table2.coverage(2), table2.coverage(3), table2.coverage(10_000)], [1 - 2 * np.arctan(0.5) / np.pi, 2 / np.sqrt(6), 0.9545], atol=1e-4)      # closed forms of 1 and 2 degrees of freedom, and the normal law
    with pytest.raises(ValueError, match='2 seeds or more, got 1'): table2.coverage(1)
    pair = lambda seeds: dict(paired=dict(seeds=seeds))
    assert '70 % of cases with 2 seeds and 82 % of cases with 3 seeds' in table2.by_seeds({'NF': dict(paired=None), 'NIF-8': pair(3), 'NIF-16': pair(2), 'NIF-32': pair(1)}) and table2.by_seeds({'NIF-8': pair(1)}) == ''


def test_how_runs_were_trained_stands_below_the_table():
    row = lambda model, seen, how: (model, '1.0', '1.1', '1', '', '', seen, how)
    header, rows, words = table2.below([row('NF', '640', 'A, float32'), row('NIF-8', '640', 'B, float32'), row('NIF-16', '640', 'A, float32'), ('NIF-32', '', 'not run', '', '', '', '', '')])
    assert header == table2.HEADER[:6] and {len(r) for r in rows} == {6} and rows[-1][2] == 'not run'
    assert words.startswith('Each saw 640 images, the same') and 'float32): NF, NIF-16: A, float32; NIF-8: B, float32.' in words
    header, rows, words = table2.below([row('NF', '640', 'A'), row('NIF-8', '320', 'A')])                                # another budget must show in its row
    assert header == table2.HEADER[:7] and [r[-1] for r in rows] == ['640', '320'] and words.endswith('as many as the column says. Trained on (the processor, and how the coupling nets multiplied while training; scores are in float32): A.')
