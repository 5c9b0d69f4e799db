"How samples are scored: kept scores, two samplers on one axis, s chosen on training images, and rows that say what is missing."
import math
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nif_lit import off_manifold, protocol, samples, table1
from nif_lit.data import DataError
from nif_lit.experiments import experiment, trains
from nif_lit.frechet import as_rgb, kid
from nif_lit.models import build_model, draw
from nif_lit.protocol import COARSE, best_s, check_features, choose, factor_of, reference_features, s_of, sample_scores, scored
from nif_lit.training import config_hash, read_json, write_json

NIF, NF = experiment('digits', 'NIF-8'), experiment('digits', 'NF')


@pytest.fixture
def small(monkeypatch):
    "Untrained small models stand for the runs; Σ = I, as it starts."
    models = {name: build_model(name, (8, 8, 1), bits=3, levels=1, steps=1, channels=4) for name in ('NF', 'NIF-8')}
    monkeypatch.setattr(protocol, '_model', lambda config, runs: models[config.model])
    return models


def test_a_kept_score_is_the_one_that_was_made(small, monkeypatch, tmp_path):
    made = sample_scores(NIF, n=40, runs=tmp_path)
    other = sample_scores(NIF, n=40, runs=tmp_path, key=jax.random.key(1))
    files = list((tmp_path/NIF.name/'scores').glob('*.json'))
    assert len(files) == 2 and made['kid'] != other['kid'] and scored(NIF, n=40, runs=tmp_path) and not scored(NIF, n=41, runs=tmp_path)
    files[0].unlink(), files[1].unlink()
    again = sample_scores(NIF, n=40, runs=tmp_path)
    assert {k: v for k, v in again.items() if k not in ('seconds',)} == {k: v for k, v in made.items() if k not in ('seconds',)}
    monkeypatch.setattr(protocol, '_compare', None)
    assert sample_scores(NIF, n=40, runs=tmp_path) == again
    train = sample_scores(NIF, n=40, reference='train', runs=tmp_path)
    assert train['kid'] != made['kid'] and train['neighbours'] is None and 'originals' not in train
    assert made['frechet']['name'] == 'FD-pixels' and made['kid']['name'] == 'KID-pixels' and made['n'] == 40 and made['n_reference'] == 360 and made['originals']['kid'] != made['kid']
    assert (reference_features(NIF, 'originals', runs=tmp_path) != reference_features(NIF, 'test', runs=tmp_path)).any()


def test_another_folder_of_runs_is_another_model(monkeypatch, tmp_path):
    "A model is kept in memory under the folder that it came from, however that was named, and not under 'the usual one'."
    read = []
    monkeypatch.setattr(protocol, 'load_run', lambda config, *, runs: (read.append(runs) or len(read), None))
    monkeypatch.chdir(tmp_path)
    of = lambda runs: protocol._model(NIF, runs)
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'a')); assert of(None) == of(tmp_path/'a') == of('a') == 1
    monkeypatch.setenv('NIF_LIT_RUNS', 'b'); assert of(None) == of(tmp_path/'b') == 2 and of('a') == 1
    assert read == [str(tmp_path/'a'), str(tmp_path/'b')]


def test_both_samplers_agree_where_sigma_is_one_and_only_there(small, tmp_path):
    f = 0.7
    one = [sample_scores(NIF, n=40, s=s_of(f, k), sampler=k, runs=tmp_path/'a') for k in ('trained', 'released')]
    assert one[0]['kid'] == one[1]['kid'] and one[0]['s'] == pytest.approx(0.49) and one[1]['s'] == f and all(r['factor'] == pytest.approx(f) for r in one)
    assert 'variance' in one[0]['s_is'] and 'deviation' in one[1]['s_is']
    small['NIF-8'].head.injection.log_sigma[...] = jnp.linspace(-2, 1, 64)
    two = [sample_scores(NIF, n=40, s=s_of(f, k), sampler=k, runs=tmp_path/'b') for k in ('trained', 'released')]
    assert two[1]['kid'] == one[1]['kid'] and two[0]['kid'] != two[1]['kid']                   # the released sampler never sees Σ, and leaves it alone
    assert float(small['NIF-8'].head.injection.log_sigma[...][-1]) == 1
    assert sample_scores(NIF, n=40, s=0.0, runs=tmp_path/'b')['kid'] == sample_scores(NIF, n=40, s=0.0, sampler='released', runs=tmp_path/'b')['kid']
    assert sample_scores(NF, n=40, s=0.0, runs=tmp_path)['kid'] == sample_scores(NF, n=40, s=1.0, runs=tmp_path)['kid']


def plant(monkeypatch, distance):
    "sample_scores replaced: `distance(config, reference, factor, sampler)` is the Fréchet distance and a hundred times KID; calls are noted."
    calls = []
    def score(config, *, n, t=1.0, s=1.0, sampler='trained', dims=None, reference='test', key=None, runs=None, progress=False):
        factor = factor_of(s, sampler); d = distance(config, reference, factor, sampler); calls.append((reference, round(factor, 4), n, key is None))
        part = dict(frechet=dict(value=d, name='FD-pixels', n=n, n_reference=360), kid=dict(value=d / 100, se=1e-4, name='KID-pixels'), neighbours=dict(recall=0.5, coverage=0.5, precision=0.5))
        return dict(part, originals=part, n=n, n_reference=360, t=float(t), s=s, factor=factor, sampler=sampler, bits=3, weights='', compute='', seed=config.seed, seconds=1.0)
    for module in (protocol, table1, off_manifold):
        monkeypatch.setattr(module, 'sample_scores', score)
        monkeypatch.setattr(module, 'may_score', lambda config, runs=None: trains())                             # no run has been trained here
    monkeypatch.setattr(table1, 'floor_of', lambda config, n: dict(n=n, frechet=0.1, kid=0.0, se=1e-4, originals=0.2, precision=1.0, recall=1.0, coverage=1.0))
    return calls


@pytest.mark.parametrize('sampler', ['trained', 'released'])
def test_s_is_chosen_on_training_images_and_scored_once_on_fresh_samples(monkeypatch, sampler):
    calls = plant(monkeypatch, lambda c, reference, f, k: 1 + abs(f - (COARSE[1] if reference == 'train' else COARSE[3])))
    found = best_s(NIF, COARSE, sampler, 200, n_test=300)
    assert found['factor'] == pytest.approx(COARSE[1]) and found['s'] == pytest.approx(s_of(COARSE[1], sampler)) and found['test']['frechet']['value'] == pytest.approx(1 + COARSE[3] - COARSE[1])
    assert [c for c in calls if c[0] == 'test'] == [('test', COARSE[1], 300, True)] and sum(c[0] == 'train' and c[2] == 200 and not c[3] for c in calls) == len(COARSE)
    assert not found['at_edge']


def test_the_nf_is_tuned_as_the_nif_is(monkeypatch, tmp_path):
    calls = plant(monkeypatch, lambda c, reference, f, k: 1 + abs(f - 0.6))
    original = protocol.sample_scores
    def by_t(config, *, t=1.0, **how):
        found = original(config, t=t, **how)
        return found if config.model != 'NF' else found | dict(frechet=dict(found['frechet'], value=(d := 2 + abs(t - (2.0 if how.get('reference') == 'train' else 1.5)))), kid=dict(found['kid'], value=d / 100))
    for module in (protocol, table1): monkeypatch.setattr(module, 'sample_scores', by_t)
    found = protocol.best_t(NF, n=200, n_test=300)
    assert found['t'] == 2.0 and found['test']['frechet']['value'] == pytest.approx(2.5) and not found['at_edge']      # chosen by the training images, scored by the test set
    assert protocol.best_t(NF, (2.0, 3.0), 200)['at_edge'] and protocol.best_t(NF, (1.0, 2.0), 200)['at_edge']
    record, sections = table1.draw([NF, NIF], tmp_path, False)
    rows = record['digits']['rows']
    assert rows['NF']['scores']['trained']['best']['temperatures'] == [2.0] and rows['NIF-8']['tuned']['trained']['ratio'] == pytest.approx(1 / 2.5 - 1, abs=1e-2)
    assert [row[1] for row in sections[0]['table'][1] if row[0] == 'NF (1)'] == ['t = 1', 'best t 2'] and "NF's best t is 2 of 0.25, 0.5, 0.75, 1, 1.5, 2, 3;" in table1.against_tuned(record)[0] and 'NIF-8 -60% (nearer)' in table1.against_tuned(record)[0]
    for wrong in ((2.0, 1.0), (-1.0, 1.0), (), (1.0, float('nan'))):
        with pytest.raises(ValueError, match='grid must hold'): protocol.best_t(NF, wrong)


def test_a_row_of_table_1_says_its_seeds_its_edge_and_when_kid_disagrees():
    "A star only where the grid ended; KID is named only where it contradicts the distance; the NF's gain by t is over the seeds whose t was tuned."
    def at(frechet, seeds, factor=1.0, t=1.0): return dict(frechet=float(np.mean(frechet)), kid=0.001, se=0.0001, precision=0.5, recall=0.5, coverage=0.5, originals=1.0, originals_kid=0.002, originals_se=0.0001, values=frechet, seeds=seeds, factors=[factor] * len(seeds), temperatures=[t] * len(seeds))
    def versus(ratio, verdict): return dict(ratio=ratio, verdict=verdict)
    choice = lambda edge, **k: dict(at_edge=edge, **k)
    rows = {'NF': dict(scores=dict(trained={'1': at([2.0, 4.0], [0, 1]), 'best': at([1.0], [0], t=0.5)}), against={}, choices={'0': dict(trained=choice(True, points=[dict(t=0.5), dict(t=1.0)])), '1': {}}),
            'NIF-8': dict(scores={k: {w: at([1.0], [0], 1.2) for w in ('0', 'best', '1')} for k in ('trained', 'released')}, choices={'0': dict(trained=choice(True), released=choice(False))},
                          against=dict(trained={'0': versus(0.01, 'nearer'), 'best': versus(-0.5, 'nearer'), '1': versus(-0.01, 'farther')}, released={'best': versus(0.5, 'farther'), '1': versus(0.01, 'undecided')}))}
    lines = {(row[0], row[1].replace('\u00a0', ' ')): row for row in table1.cells_of(rows, ['NF', 'NIF-8', 'NIF-16'], {})}
    assert all(len(row) == len(table1.HEADER) for row in lines.values()) and {('NF (2)', 't = 1'), ('NF (1)', 'best t 0.5*'), ('NIF-16', 'not run')} <= set(lines)
    assert ('NIF-8 (1)', 'best √s 1.2*, trained') in lines and ('NIF-8 (1)', 'best √s 1.2, released') in lines
    assert [lines['NIF-8 (1)', w][4] for w in ('s = 0', 's = 1, trained', 'best √s 1.2*, trained', 'best √s 1.2, released', 's = 1, released')] == ['+1%, KID nearer', '-1%, KID farther', '-50% nearer', '+50% farther', '+1% undecided']
    said = table1.against_tuned(dict(digits=dict(rows=rows, name='FD-pixels')))[0]
    assert 'best t (seed 0 of 2) is 0.5 of 0.5, 1, at the edge' in said and '2.000 becomes 1.000 (-50%)' in said


def test_kid_overrules_only_when_it_is_sure():
    points = lambda se: [dict(frechet=dict(value=f), kid=dict(value=k, se=se)) for f, k in ((1.01, 0.1), (1.0, 0.2), (2.0, 0.3))]
    assert choose(points(0.01)) == (0, 'kid') and choose(points(0.1)) == (1, 'frechet')


@pytest.mark.parametrize('what, other', [('weights', 'official'), ('compute', 'float32')])
def test_scores_of_two_networks_are_not_compared(what, other, monkeypatch, tmp_path):
    "Official and partial weights, and both precisions, share the name of a kept score: where the points of a sweep mix them, it says so."
    def compare(config, settings, runs, progress):
        part = lambda: dict(frechet=dict(value=1.0, n_reference=360), kid=dict(value=0.01, se=1e-3), neighbours=None)
        return dict({p: part() for p in protocol.PARTS}, **made)
    monkeypatch.setattr(protocol, '_compare', compare)
    made = dict(weights='partial, float16', compute='bfloat16')
    best_s(NIF, (0.2, 0.4), n=40, n_test=0, runs=tmp_path); protocol.best_t(NF, (0.5, 1.0), n=40, n_test=0, runs=tmp_path)
    made = made | {what: other}
    named = f'scores with {what} .*{other}.* are not compared'
    for call in (protocol.sweep, best_s):
        with pytest.raises(ValueError, match=named): call(NIF, (0.2, 0.4, 0.6), n=40, runs=tmp_path)
    with pytest.raises(ValueError, match=named): protocol.best_t(NF, (0.5, 1.0, 2.0), n=40, runs=tmp_path)
    old, new = (sample_scores(NIF, n=40, s=s_of(f, 'trained'), key=protocol.sweep_key(), runs=tmp_path) for f in (0.4, 0.6))
    for call in (lambda: choose([old, new]), lambda: protocol.difference(new, old)):
        with pytest.raises(ValueError, match=named): call()
    assert choose([old, old]) == (0, 'frechet')


def test_wrong_arguments_and_missing_weights(small, monkeypatch, tmp_path, capsys):
    for wrong in (dict(n=5), dict(n=40.0), dict(n=40, s=-1.0), dict(n=40, t=float('nan')), dict(n=40, sampler='paper'), dict(n=40, dims=100), dict(n=40, reference='valid')):
        with pytest.raises(ValueError): sample_scores(NIF, runs=tmp_path, **wrong)
    for call in (lambda: sample_scores(NF, n=40, sampler='released'), lambda: best_s(NF), lambda: best_s(NIF, grid=(0.5, 0.1)), lambda: reference_features(NIF, 'valid')):
        with pytest.raises(ValueError): call()
    monkeypatch.setenv('NIF_LIT_DATA', str(tmp_path)); monkeypatch.delenv('NIF_LIT_FID', raising=False)
    assert check_features(768, 'smoke') == 'pixels' and 'no weights for 768' in capsys.readouterr().out
    protocol._inception.cache_clear()
    with pytest.raises(DataError, match='no weights for 768'): reference_features(experiment('digits', 'NIF-8', scale='laptop'), runs=tmp_path)


class Bytes:
    "The bytes of an image as features, along either path."
    dims, source, compute = 64, 'planted', 'float64'
    def __call__(self, images, *, bits, path='plain', progress=False): return as_rgb(images, bits, path).reshape(len(images), -1)[:, ::6].astype(float)


def test_the_released_image_path_is_another_score_and_leaves_the_plain_one_where_it_was(small, monkeypatch, tmp_path):
    monkeypatch.setattr(protocol, '_inception', lambda dims: Bytes()); monkeypatch.setattr(protocol, 'find_weights', lambda dims: None)
    plain, along = (sample_scores(NIF, n=40, dims=64, image_path=path, runs=tmp_path) for path in ('plain', 'released'))
    samples, test = draw(small['NIF-8'], protocol.scoring_key(), 40, t=1.0, s=1.0), protocol.reference_images(NIF, 'test')[0]
    for found, path in ((plain, 'plain'), (along, 'released')): assert found['image_path'] == path and found['kid']['value'] == kid(*(Bytes()(x, bits=3, path=path) for x in (samples, test)))['value']
    assert plain['kid'] != along['kid'] and 'originals' in plain and 'originals' not in along
    assert scored(NIF, n=40, dims=64, image_path='released', runs=tmp_path) and not scored(NIF, n=40, s=0.0, dims=64, image_path='released', runs=tmp_path)
    for wrong in (dict(image_path='jpeg'), dict(image_path='released', reference='train'), dict(image_path='released', dims='pixels'), dict(image_path='released')):
        with pytest.raises(ValueError, match='image_path'): sample_scores(NIF, n=40, runs=tmp_path, **wrong)


def test_a_plain_score_keeps_its_file_name(small):
    settings = protocol._settings(experiment('fashion_mnist', 'NIF-64', scale='laptop'), 2000, 1.0, 0.0, 'trained', None, None)
    assert config_hash(settings) == '682efdba52'                                               # the scores kept in results/laptop/runs are found by it


def test_distortion_is_a_share_of_the_way_to_the_nf(monkeypatch, tmp_path):
    planted = {('NF', 1.0, 'trained'): 0.9, ('NIF-8', 0.0, 'trained'): 0.4, ('NIF-8', 1.0, 'trained'): 0.8, ('NIF-8', 1.0, 'released'): 1.4}
    monkeypatch.setattr(off_manifold, 'looks_at_hand', lambda config, s, sampler: (config.model, s, sampler) in planted)
    monkeypatch.setattr(off_manifold, 'measure', lambda config, s, sampler: dict(roughness=dict(mean=planted[config.model, s, sampler], se=0.01, n=200)))
    ways = {k: d['way'] for k, d in off_manifold.distortion([NF, NIF])['models']['NIF-8'].items()}
    assert ways == pytest.approx({'trained': 0.8, 'released': 2.0}) and off_manifold.distortion([NIF]) is None
    cells = off_manifold.distortion_section(off_manifold.distortion([NF, NIF]), 'digits', 3)[0]['table'][1]
    assert [c[-1] for c in cells] == ['80% ± 3%', '200% ± 5%']
    planted['NF', 1.0, 'trained'] = 0.45
    assert 'undecided' in off_manifold.distortion_section(off_manifold.distortion([NF, NIF]), 'digits', 3)[0]['table'][1][0][-1]
    monkeypatch.undo(); monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path))
    assert not samples.looks_at_hand(NIF, 0.0, 'trained')
    (tmp_path/NIF.name/'scores').mkdir(parents=True)
    (tmp_path/NIF.name/'scores'/f"looks-{config_hash(samples._looks(0.0, 'trained', samples.N_MEASURED))}.json").write_text('{}')
    assert samples.looks_at_hand(NIF, 0.0, 'trained') and not samples.looks_at_hand(NIF, 1.0, 'trained')                 # restored numbers are enough


def test_a_row_says_what_the_protocol_asks_beyond_it():
    configs = [experiment(d, m, scale='laptop') for d, m in (('celeba', 'NF'), ('celeba', 'NIF-64'), ('celeba', 'NIF-128'))]
    score = lambda seconds: dict(seconds=seconds)
    row = lambda points: dict(scores=dict(trained={'0': score(40.0), '1': score(42.0)}), choices={'0': dict(trained=dict(points=[0] * points)) if points else {}})
    rows = {'NF': row(0), 'NIF-64': row(5), 'NIF-128': row(5)}
    asked = table1.asked_for(rows, 2_000, configs)
    assert asked == dict(n=10_000, points={'NIF-128': (5, 15, 1, 1)}, seconds=42.0)                                         # five are all that CelebA's NIF-64 is asked for
    assert '2,000 samples in place of 10,000 and 5 values of √s in place of 15 (NIF-128)' in table1.asked_told(asked, 2_000) and '42 s' in table1.asked_told(asked, 2_000)
    several = dict(row(15), choices={str(seed): dict(trained=dict(points=[0] * k)) for seed, k in enumerate((15, 5, 5))})
    assert '5 values of √s in place of 15 (NIF-128, 2 of 3 seeds), ' in table1.asked_told(table1.asked_for(rows | {'NIF-128': several}, 10_000, configs), 10_000)
    assert table1.asked_for(rows | {'NIF-128': row(15)}, 10_000, configs) is None and table1.asked_told(None, 10_000) == ''


def test_rows_say_what_is_missing(monkeypatch, tmp_path):
    plant(monkeypatch, lambda c, reference, f, k: 2.0 if c.model == 'NF' else 1 + abs(f - 0.6))
    configs = [experiment('digits', m) for m in ('NF', 'NIF-8')]
    record, sections = table1.draw(configs, tmp_path, False)
    rows = record['digits']['rows']
    assert rows['NIF-8']['against']['trained']['best']['verdict'] == 'nearer' and rows['NIF-8']['against']['trained']['best']['ratio'] == pytest.approx(-0.5, abs=1e-3)
    assert any(row[0] == 'NIF-16' and 'not run' in row for row in sections[0]['table'][1]) and (tmp_path/'table1_digits.png').exists() and sections[0]['table'][1][-1][0] == 'training images' and record['digits']['floor']['frechet'] == 0.1
    assert 'nearer to the data than the NF in 1 of 1' in table1.on_the_manifold(record)[1] and 'for 0 of 1 NIFs' in table1.equals_nf(record)[0]
    record, sections = table1.draw(configs[1:], tmp_path, False)                                # no NF: distances, no verdict
    assert record['digits']['rows']['NIF-8']['against'] == dict(trained={}, released={}) and 'not run' in table1.on_the_manifold(record)[0]
    for sampler in ('trained', 'released'): assert off_manifold.gain(configs[1], sampler)['verdict'] == 'yes'
    monkeypatch.setenv('NIF_LIT_TRAIN', '0'); monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'none'))      # nothing scored, nothing may be made
    assert table1.draw(configs, tmp_path, False) == (dict(digits=dict(n=0, rows={})), [])
    assert not off_manifold.have(configs[1], 'trained')


def test_bfloat16_by_pytorch_is_the_same_network():
    pytest.importorskip('torch')
    from nif_lit.frechet import Inception, InceptionFeatures
    network = Inception(768, rng=np.random.default_rng(0))
    images = np.random.default_rng(1).integers(0, 256, (2, 28, 28, 3), np.uint8)
    plain, fast = (InceptionFeatures(network, batch_size=2, compute=c)(images, bits=8) for c in ('float32', 'bfloat16'))
    assert np.abs(plain - fast).mean() < 0.02 * plain.std()


def images(n, side=2): return np.zeros((n, side, side, 1), np.uint8)


@pytest.mark.parametrize('call, match', [
    (lambda: protocol.floor_of(NIF, -5), 'n must be a whole number from 10, got -5'), (lambda: protocol.floor_of(NIF, 50, dims=64.0), 'dims must be one of'), (lambda: sample_scores(NIF, n=True), 'got True'), (lambda: sample_scores(NIF, n=40, key=3), 'key must be one JAX key'),
    (lambda: sample_scores(NIF, n=40, s=True), 's must be one number, finite and not negative, got True'), (lambda: scored(NIF, n=40, t=np.ones(2)), 't must be one number'),
    (lambda: protocol.sweep(NIF, []), 'grid must hold .* got \\[\\]'), (lambda: protocol.sweep(NIF, n=0), 'from 10, got 0'), (lambda: protocol.sweep(NIF, np.ones((2, 2))), 'grid must hold'), (lambda: protocol.sweep(NIF, 'abc'), "got 'abc'"), (lambda: protocol.sweep(NIF, 3), 'grid must hold'),
    (lambda: protocol.swept(NIF, []), 'grid must hold'), (lambda: protocol.swept(NIF, n=0), 'got 0'), (lambda: best_s(NIF, []), 'grid must hold'), (lambda: best_s(NIF, n=0), 'got 0'), (lambda: best_s(NIF, n_test=-1), 'n_test must be .* got -1'),
    (lambda: protocol.best_t(NF, n=0), 'got 0'), (lambda: protocol.best_t(NF, None), 'grid must hold'), (lambda: protocol.best_t(NF, n_test=3), 'n_test must be'), (lambda: protocol.t_at_hand(NF, n=0), 'got 0'), (lambda: protocol.t_at_hand(NF, ()), 'grid must hold'),
    (lambda: s_of(0.5, 'foo'), "sampler must be 'trained' or 'released', got 'foo'"), (lambda: factor_of(0.5, 'foo'), "got 'foo'"), (lambda: s_of(-1, 'trained'), 'factor must be .* got -1'), (lambda: s_of(float('nan'), 'released'), 'got nan'), (lambda: factor_of(-1, 'released'), 's must be .* got -1'),
    (lambda: protocol.reference_images(NIF, 'foo'), "part must be one of test, originals, train, got 'foo'"), (lambda: protocol.extractor(NIF, 'foo'), 'dims must be one of'), (lambda: check_features(64, 'foo'), "unknown scale 'foo'"), (lambda: protocol.dims_at('foo'), "unknown scale 'foo'"),
    (lambda: protocol.PixelFeatures(images(9), 3, dims=0), 'dims must be a positive whole number, got 0'), (lambda: protocol.PixelFeatures(images(9), 3, dims=5), '9 images of 4 numbers have at most 4'), (lambda: protocol.PixelFeatures(images(9, 4), 3, dims=10), 'at most 9'),
    (lambda: protocol.PixelFeatures(images(9), 3, dims=2, most=0), 'most must be'), (lambda: protocol.PixelFeatures(images(0), 3), 'expected images'), (lambda: protocol.PixelFeatures(images(9), 3, dims=2)(3, bits=3), 'expected images'),
    (lambda: choose([]), 'at least one score'), (lambda: protocol.unit_noise(3), 'got int')])
def test_a_wrong_argument_is_a_value_error(call, match):
    with pytest.raises(ValueError, match=match): call()


def test_numbers_of_numpy_are_numbers():
    settings = lambda *v: protocol._settings(NIF, *v, 'trained', None, None)
    assert settings(np.int64(40), np.float32(0.5), np.int32(2)) == settings(40, 0.5, 2) and protocol._factors(np.linspace(0, 1, 3)) == protocol._factors((0, 0.5, 1)) == [0.0, 0.5, 1.0]
    assert s_of(np.float32(0.5), 'trained') == 0.25 and not protocol.swept(NIF, np.linspace(0, 1, 3)) and protocol.PixelFeatures(images(9), 3, dims=4).axes.shape == (4, 4)


def test_three_seeds_do_not_make_the_test_set_larger():
    "Seeds share the reference: the mean of three KIDs, and a difference of two such means on opposite sides of it, move as their errors say; the difference, where these are on opposite sides, by up to the root of 2 more."
    rng, found = np.random.default_rng(5), []
    for _ in range(100):
        reference, u = rng.normal(size=(30, 4)), np.full(4, 0.5)
        near, far = ([dict(frechet=1.0, kid=(k := kid(rng.normal(size=(300, 4)) + side * u, reference))['value'], se=k['se'], factor=1.0, t=1.0) for _ in range(3)] for side in (1, -1))
        mean, versus = table1._mean(near), table1.against(near, far)
        found.append((mean['kid'], mean['se'], versus['kid'], versus['se']))
    a, a_se, b, b_se = np.array(found).T
    assert 0.6 < a.std(ddof=1) / a_se.mean() < 1.15 and 0.6 < b.std(ddof=1) / b_se.mean() < 1.41         # 1.39 and 1.79 where the error shrank with the seeds


def test_one_seed_is_held_against_the_mean_of_several():
    of = lambda frechet, kid: dict(frechet=frechet, kid=kid, se=0.1)
    nf = {0: of(10.0, 2.0), 1: of(14.0, 3.0), 2: of(12.0, 4.0)}
    found = table1.against(*table1._beside({0: of(6.0, 1.0)}, nf))
    assert (found['nf'], found['ratio'], found['kid'], found['base'], found['seeds'], found['sd_seeds']) == (12.0, -0.5, -2.0, 3.0, 1, None) and math.isclose(found['se'], math.sqrt(0.02))
    assert table1._beside({1: 'a', 5: 'b'}, nf) == (['a'], [nf[1]]) and table1._beside({5: 'b'}, {}) == (['b'], [])
    assert table1.against([of(6.0, 1.0)], [nf[0]])['kid'] == -1.0
    for a, b in (([nf[0]] * 2, [nf[0]] * 3), ([], [nf[0]]), ([nf[0]], [])):
        with pytest.raises(ValueError, match='as many seeds of both models, or one of the NIF'): table1.against(a, b)


def test_a_key_that_cannot_be_kept_is_refused():
    with pytest.raises(ValueError, match='default generator, of shape'): sample_scores(experiment('digits', 'NF'), n=100, key=jax.random.key(0, impl='rbg'))


def test_more_samples_stand_beside_fewer(monkeypatch, tmp_path):
    "Where some runs have the protocol's number of samples, their rows follow the table: what more samples change, verdict by verdict, and which runs were trained again for them."
    plant(monkeypatch, lambda c, reference, f, k: 2.0 if c.model == 'NF' else 1 + abs(f - 0.6))
    original = protocol.sample_scores
    def by_n(config, *, n, **how):
        found = original(config, n=n, **how)
        if n < 300: return found
        return found | dict(frechet=dict(found['frechet'], value=0.9 * found['frechet']['value']), kid=dict(found['kid'], value=0.03 if config.model != 'NF' and found['factor'] == 1 else found['kid']['value']))
    for module in (protocol, table1): monkeypatch.setattr(module, 'sample_scores', by_n)
    monkeypatch.setattr(table1, 'size_of', lambda configs: 200); monkeypatch.setattr(table1, 'on_disk', lambda config, n: n == 200 or config.model in many)
    monkeypatch.setattr(table1, 'another_training', lambda config, score: 1.0 if config.model != 'NF' else None)
    monkeypatch.setattr(table1, 'result_of', lambda config: dict(test_bits_per_dim=dict(mean=1.1)))
    configs, many = [experiment('digits', m) for m in ('NF', 'NIF-8', 'NIF-16')], ('NF', 'NIF-8')
    record, sections = table1.draw(configs, tmp_path, False)
    more, last = record['digits']['larger'], sections[-1]
    assert record['digits']['n'] == 200 and more['n'] == 300 and list(more['rows']) == ['NF', 'NIF-8'] and more['trainings'] == {'NIF-8, seed 0': [1.0, 1.1]}
    assert np.allclose(more['moved']['frechet'], -0.1) and more['moved']['compared'] == 5 and more['moved']['kept'] == 3 and not more['moved']['unequal'] and 'not all of them' not in last['caption']
    assert [(text.replace('\u00a0', ' '), *verdicts) for text, *verdicts in more['moved']['lost']] == [(f'NIF-8 at s = 1, {sampler}', 'nearer', 'farther') for sampler in ('trained', 'released')]
    assert last['title'] == 'At n = 300 samples, digits' and 'From 200 to 300 samples the distances change by -10% and' in last['caption'] and 'NIF-8, seed 0 1.0000 (before 1.1000)' in last['caption']
    assert {row[0] for row in last['table'][1]} == {'NF (1)', 'NIF-8 (1)', 'training images'}
    score = lambda seeds: dict(seeds=seeds, values=[1.0] * len(seeds), kids=[0.1] * len(seeds)); row = lambda seeds: {'NF': dict(scores=dict(trained={'1': score(seeds)}))}
    assert table1.moved(row([0, 1]), row([1]))['unequal'] and not table1.moved(row([1]), row([1]))['unequal'] and table1.moved(row([0, 1]), row([1]))['frechet'] == [0.0] and table1.moved({}, row([1]))['frechet'] == []
    for many in ((), ('NF',), ('NIF-8', 'NIF-16')): assert table1.larger(configs, 200) is None
    many = ('NF', 'NIF-8'); assert table1.larger(configs, 300) is None
    monkeypatch.setattr(table1, 'size_of', lambda configs: 300)                                        # the table has them: what the fewer were stands in its caption
    record, sections = table1.draw(configs, tmp_path, False)
    own = record['digits']
    assert own['n'] == 300 and own['larger'] is None and own['from_fewer']['few'] == 200 and own['from_fewer']['kept'] == 3 and np.allclose(own['from_fewer']['frechet'], -0.1)
    assert own['trainings'] == {'NIF-8, seed 0': [1.0, 1.1], 'NIF-16, seed 0': [1.0, 1.1]} and len(sections) == 1
    for words in ('From 200 to 300 samples the distances change by -10% and', 'nearer, then farther', 'NIF-16, seed 0 1.0000 (before 1.1000)', 'sweeps are of the training before'): assert words in sections[0]['caption'].replace('\u00a0', ' ')
    many = (); assert table1.from_fewer(configs, 300, own['rows']) is None


def test_a_score_says_whose_parameters_it_is_of(small, tmp_path):
    made = sample_scores(NIF, n=40, runs=tmp_path)
    path, = (tmp_path/NIF.name/'scores').glob('samples-*.json')
    write_json(path, read_json(path) | dict(test_bits_per_dim=1.25))
    assert made['test_bits_per_dim'] is None and sample_scores(NIF, n=40, runs=tmp_path)['test_bits_per_dim'] == 1.25


def test_kept_features_of_other_images_are_made_again(monkeypatch, tmp_path):
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path))
    config = experiment('digits', 'NF'); features = reference_features(config)
    path, = (tmp_path/'features').glob('*.npz')
    for wrong in (np.zeros((3, 2), np.float32), np.full_like(features, np.nan), np.zeros(len(features))):
        protocol._keep(path, wrong)
        assert np.array_equal(reference_features(config), features)
    with pytest.raises(ValueError, match='growing finite factors'): protocol._factors([True, 2])
