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
