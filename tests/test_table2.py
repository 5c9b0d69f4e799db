"Table 2's page: what a model has learned by heart, from planted runs."
import numpy as np
from nif_lit import table2
from nif_lit.experiments import experiment
from nif_lit.training import write_json


def test_what_is_learned_by_heart_is_beyond_the_nf(tmp_path, monkeypatch):
    "The last tenth of training counts, test less training is the gap, and the NF's gap is what the two sets differ by."
    monkeypatch.setattr(table2, 'runs_folder', lambda: tmp_path)
    runs = {m: experiment('digits', m) for m in ('NF', 'NIF-8')}
    for (m, c), (end, test) in zip(runs.items(), ((1.0, 1.1), (0.9, 1.3))):
        write_json(tmp_path/c.name/'result.json', dict(test_bits_per_dim=dict(mean=test)))
        (tmp_path/c.name/'metrics.jsonl').write_text(''.join(f'{{"bits_per_dim": {5.0 if k < 90 else end + 0.01 * (-1) ** k}}}\n' for k in range(100)))
    found = table2.memory(list(runs.values()))
    assert found['NF']['beyond_nf'] is None
    np.testing.assert_allclose([found['NF']['train'], found['NF']['gap'], found['NIF-8']['gap'], found['NIF-8']['beyond_nf']], [1.0, 0.1, 0.4, 0.3], atol=1e-12)
    assert table2.memory([runs['NIF-8']])['NIF-8']['beyond_nf'] is None
    pair = dict(mean=-0.02, se=0.001, seeds=1, borrowed=None)
    record = dict(digits={'NIF-8': dict(harm='harmed', paired=pair, memory=found['NIF-8'])})
    assert 'Learned by heart beyond the NF (test less training, bits/dim): NIF-8 +0.3000' in table2.sentence(record)
    record['digits']['NIF-8']['memory'] = dict(found['NIF-8'], beyond_nf=None)
    assert 'by heart' not in table2.sentence(record)


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
