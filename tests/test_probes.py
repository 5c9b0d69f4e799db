"Probes on held-out images: against plain loops and scikit-learn, blind to what they must not see, and at chance where there is nothing."
import json
import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
import jax
import numpy as np
import pytest
from scipy.stats import binomtest
from nif_lit import experiments, probes as p
from nif_lit.data import load
from nif_lit.heads import KINDS
from nif_lit.models import NF, NIF
from nif_lit.probes import Features, compare_probes, first, hits, knn_accuracy, latents_of, linear_probe, pca_features, picture_accuracy, pixel_features, random_projection, representations, subset


def blobs(n=(120, 40, 90), d=5, classes=3, seed=0, gap=1.2):
    rng = np.random.default_rng(seed)
    centres = gap * rng.normal(size=(classes, d))
    parts = []
    for k in n:
        y = rng.integers(0, classes, k)
        parts += [centres[y] + rng.normal(size=(k, d)) * np.arange(1, d + 1), y]
    return Features('blobs', *parts)


def plain_knn(f, k):
    distances = ((f.test[:, None].astype(float) - f.train[None]) ** 2).sum(-1)
    guesses = []
    for row in distances:
        votes = np.bincount(f.train_labels[np.argsort(row, kind='stable')[:k]], minlength=10)
        guesses.append(int(np.flatnonzero(votes == votes.max())[0]))
    return np.array(guesses)


@pytest.mark.parametrize('k', [1, 4, 7])
def test_neighbours_are_those_of_a_plain_loop(k):
    f = blobs()
    for scale, rows in (('raw', f), ('standardised', f.map(lambda x: (x - f.train.mean(0)) / f.train.std(0)))):
        found = knn_accuracy(f, ks=(k,), scales=(scale,))
        np.testing.assert_array_equal(hits(found), plain_knn(rows, k) == f.test_labels)
        assert found['accuracy'] == hits(found).mean() and found['se'] == pytest.approx(math.sqrt(found['accuracy'] * (1 - found['accuracy']) / 90))
        assert (found['k'], found['scale'], found['dims'], found['n_train'], found['n_valid'], found['n_test']) == (k, scale, 5, 120, 40, 90)


@pytest.mark.parametrize('probe, chosen', [(knn_accuracy, ('k', 'scale', 'valid_accuracy')), (partial(linear_probe, Cs=(1e-3, 1.0)), ('C', 'valid_accuracy'))])
def test_settings_come_from_the_validation_part_alone(probe, chosen):
    f = blobs()
    seen = probe(f)
    other = probe(replace(f, test=f.test[:20] * 7, test_labels=(f.test_labels[:20] + 1) % 3))        # another test part changes no choice
    assert all(seen[key] == other[key] for key in chosen)
    relabelled = probe(replace(f, test_labels=(f.test_labels + 1) % 3))
    assert not (hits(seen) & hits(relabelled)).any()
    choices = {tuple(probe(replace(f, valid_labels=np.random.default_rng(seed).permutation(f.valid_labels)))[key] for key in chosen) for seed in range(2)} | {tuple(seen[key] for key in chosen)}
    assert len(choices) > 1


def test_linear_probe_standardises_on_the_training_part():
    f = blobs()
    scale, shift = np.array([1e-3, 1, 40, 7, 1e4]), np.array([5, -80, 0, 1, 3])
    moved = f.map(lambda x: x.astype(float) * scale + shift)
    assert (hits(linear_probe(moved)) == hits(linear_probe(f))).mean() > 0.98
    rows = f.standardised()
    np.testing.assert_allclose([rows.train.mean(0), rows.train.std(0)], [np.zeros(5), np.ones(5)], atol=1e-5)
    assert np.abs(rows.test.mean(0)).max() > 0.01                                                  # and not on its own
    constant = f.map(lambda x: np.concatenate([x, np.full((len(x), 1), 3.7)], 1)).standardised()
    np.testing.assert_allclose(constant.train[:, -1], 0, atol=1e-6)


def test_noise_is_chance():
    f = blobs((400, 100, 600), classes=4).noise(dims=6, seed=3)
    for probe in (knn_accuracy, linear_probe): assert abs(probe(f)['accuracy'] - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 600) + 0.02


def test_comparison_is_mcnemars():
    rng = np.random.default_rng(0)
    for agree in (0.5, 0.9, 1.0):
        a = rng.integers(0, 2, 300)
        b = np.where(rng.random(300) < agree, a, 1 - a)
        first, second = (dict(correct=''.join(map(str, v))) for v in (a, b))
        found, back = compare_probes(first, second), compare_probes(second, first)
        only = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
        assert (found['only_a'], found['only_b']) == only and found['p'] == pytest.approx(binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0)
        assert found['difference'] == pytest.approx((a - b).mean()) and back['difference'] == -found['difference'] and back['p'] == found['p']
        assert found['se'] == pytest.approx((a - b).std(ddof=1) / math.sqrt(300))
    with pytest.raises(ValueError, match='same images, got 3 and 2'): compare_probes(dict(correct='101'), dict(correct='11'))


def test_pca_and_projections_see_the_training_part_only():
    f = blobs(d=6)
    found = pca_features(f, 4)
    V = np.linalg.svd(f.train - f.train.mean(0))[2][:4]
    np.testing.assert_allclose(np.abs(found.test), np.abs((f.test - f.train.mean(0)) @ V.T), rtol=1e-3, atol=1e-3)
    other = pca_features(replace(f, test=-3 * f.test, valid=f.valid + 1), 4)
    np.testing.assert_array_equal(found.train, other.train)
    np.testing.assert_allclose(first(found, 2).valid, pca_features(f, 2).valid, rtol=1e-4, atol=1e-4)
    R = random_projection(f, 3, seed=1)
    A = np.linalg.lstsq(f.train, R.train, rcond=None)[0]
    np.testing.assert_allclose(f.test @ A, R.test, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match='between 1 and 6, got 7'): pca_features(f, 7)


def test_components_end_at_the_rank(monkeypatch):
    "Digits' pixels hold 55 directions of 64; a column that depends on others adds none, a faint one that does not adds one, a constant has none."
    pixels = pixel_features(load('digits', bits=3))
    assert np.linalg.matrix_rank(pixels.train - pixels.train.mean(0, dtype=np.float64)) == 55 and pca_features(pixels, 55).dims == 55
    for M in (56, 64):
        with pytest.raises(ValueError, match=f'pixels: the training part has rank 55, so that M must lie between 1 and 55, got {M}'): pca_features(pixels, M)
    f = blobs()
    more = lambda column: f.map(lambda x: np.concatenate([x, column(x)[:, None]], 1))
    with pytest.raises(ValueError, match='rank 5, .* got 6'): pca_features(more(lambda x: x[:, 0]), 6)
    with pytest.raises(ValueError, match='rank 5, .* got 6'): pca_features(more(lambda x: np.round(x[:, 0] * 0 + 3.7, 1)), 6)
    assert pca_features(more(lambda x: 1e-4 * np.sin(9 * x[:, 1])), 6).dims == 6                        # 1e-10 of the variance: float32 sums do not see it
    with pytest.raises(ValueError, match='rank 0'): pca_features(f.map(lambda x: np.full_like(x, 3.7)), 1)
    data = subset(load('digits', bits=3), n_train=200, n_valid=20, n_test=20)
    monkeypatch.setattr(p, 'latent_features', lambda *arguments, **options: {})
    found = representations(SimpleNamespace(M=60, body=None, head=None, check_data=None), data)
    rank = p._rank(pixel_features(data).train)
    assert rank < 60 and list(found)[:3] == ['pixels', f'PCA-{rank}', 'random-60'] and found[f'PCA-{rank}'].dims == rank


def test_representations_of_a_model():
    data = subset(load('digits', bits=3), n_train=40, n_valid=20, n_test=30)
    assert (len(data.train), len(data.valid), len(data.test)) == (40, 20, 30) and data.test_labels.shape == (30,)
    whole = load('digits', bits=3)
    assert all((row == whole.test).all((1, 2, 3)).any() for row in data.test[:5])
    model = NIF(data.shape, 4, bits=3, levels=1, steps=1, channels=4)
    found = representations(model, data)
    assert {name: f.dims for name, f in found.items()} == {'pixels': 64, 'PCA-4': 4, 'random-4': 4, 'pseudo_inverse': 4, 'posterior_mean': 4}
    for f in found.values(): np.testing.assert_array_equal(f.test_labels, data.test_labels)
    np.testing.assert_array_equal(found['pixels'].valid, data.valid.reshape(20, 64))
    whole, parts = latents_of(model, data.train, kinds=KINDS), latents_of(model, np.concatenate([data.valid, data.train[::-1]] * 3), kinds=KINDS)
    for kind in KINDS:
        np.testing.assert_allclose(whole[kind][::-1], parts[kind][140:], rtol=1e-4, atol=1e-4)           # in another batch, at another place
        np.testing.assert_array_equal(whole[kind], found[kind].train)
    assert np.abs(whole['pseudo_inverse'] - whole['posterior_mean']).max() > 1e-3
    nf = p.latent_features(NF(3, steps=1, hidden=4), replace(data, train=np.ones((2, 3), np.float32), train_labels=np.arange(2), valid=np.ones((2, 3), np.float32), valid_labels=np.arange(2), test=np.ones((1, 3), np.float32), test_labels=np.arange(1)))
    assert {k: f.dims for k, f in nf.items()} == {'latent': 3}


def test_pictures_are_judged_by_others_alone():
    points = np.array([[0, 0], [0, 1], [5, 5], [5, 6], [0, 0.4]])
    labels = np.array([0, 1, 1, 0, 1])
    assert picture_accuracy(points, labels, k=1) == dict(accuracy=pytest.approx(0.0 + 1 / 5 * 1), se=pytest.approx(math.sqrt(0.2 * 0.8 / 5)), n=5, k=1)          # a point never votes for itself
    known = np.array([True, True, True, False, False])
    assert picture_accuracy(points, labels, known=known, k=1)['accuracy'] == 0.0 and picture_accuracy(points, np.array([0, 1, 1, 1, 0]), known=known, k=1)['accuracy'] == 1.0
    figure = p.scatter_figure({'a': (points, labels)}, ('x', 'y'), columns=1)
    assert len(figure.axes) == 1
    for bad in (dict(panels={}, classes='xy'), dict(panels={'a': (points, labels[:2])}, classes='xy'), dict(panels={'a': (points, labels)}, classes=range(11))):
        with pytest.raises(ValueError): p.scatter_figure(**bad)


@pytest.mark.parametrize('changes, message', [(dict(test_labels=None), 'needs labels'), (dict(test=np.ones((90, 4))), r'shape \(n, 5\)'), (dict(test_labels=np.arange(3)), 'expected 90 test labels'),
                                              (dict(valid=np.full((40, 5), np.nan)), '200 values of the valid part'), (dict(train=np.ones(5)), 'shape')])
def test_features_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message): replace(blobs(), **changes)


def test_what_does_not_fit_a_probe():
    f = blobs()
    with pytest.raises(ValueError, match='between 1 and the 120 rows, got 500'): knn_accuracy(f, ks=(1, 500))
    with pytest.raises(ValueError, match="got \\['log'\\]"): knn_accuracy(f, scales=('log',))
    with pytest.raises(ValueError, match='two classes'): linear_probe(replace(f, train_labels=np.zeros(120, int)))
    with pytest.raises(ValueError, match='celeba has no labels'): subset(replace(load('digits', bits=3), name='celeba', train_labels=None))


def test_the_figure_says_what_was_not_run(monkeypatch, tmp_path):
    from nif_lit import embeddings as e
    rng = np.random.default_rng(0)
    def score(dims): return {probe: dict(correct=''.join(map(str, rng.integers(0, 2, 360))), accuracy=0.5, se=0.03, dims=dims, n_train=9, n_test=360) for probe in e.PROBES}
    def probes_of(c):
        M = e.parse_name(c.model)[1]
        return {f'{c.model}, {kind}': score(M) for kind in e.KIND_NAMES.values()} if M else {'NF': score(64)} | {f'NF, PCA-{m}': score(m) for m in (8, 16, 32)}
    monkeypatch.setattr(e, '_probed', lambda c: dict(scores=probes_of(c), test_bits_per_dim=0.5 if c.seed else 0.9)); monkeypatch.setattr(e, 'images_seen', lambda c: 100)
    monkeypatch.setattr(e, 'yardsticks_of', lambda c: {'pixels': score(64)} | {f'pixels, PCA-{m}': score(m) for m in (8, 16, 32)})
    monkeypatch.setattr(e, 'pictures_of', lambda c, noise=None: {w: dict(points=rng.normal(size=(360, 2)).tolist(), accuracy=0.1, se=0.02, n=360, k=15) for w in e.WAYS})
    for module in (e, experiments): monkeypatch.setattr(module, 'result_of', lambda c, **k: dict(test_bits_per_dim=dict(mean=0.9)))
    monkeypatch.setattr(experiments, 'finished', lambda *a, **k: True); monkeypatch.setattr(e, 'finished', lambda *a, **k: True)
    configs = e.needs('smoke')
    for chosen in (lambda c: c.model == 'NIF-16' and c.seed, lambda c: c.model in ('NF', 'NIF-16') and c.seed < 2, lambda c: c.model == 'NF' and c.seed == 1):
        there = [c for c in configs if chosen(c)]
        record, sections = e.draw(there, tmp_path)
        json.dumps(record, allow_nan=False)
        of, rows = record['digits'], {row[0]: row for row in sections[1]['table'][1]}
        assert of['of_others'] == {f'{c.model}, seed 1': dict(latents=0.5, run=0.9) for c in there if c.seed == 1}                 # probed after a second training
        assert all((f'{c.model}, seed {c.seed} (0.5000, 0.9000)' in sections[1]['caption']) == (c.seed == 1) for c in there) and '(0.9000' not in sections[1]['caption']
        assert len(rows) == 14 and rows['NIF-8, mode'][2] == 'not run' and {r for r in rows if 'not run' in rows[r]} == set(of['not_run'])
        minus = of['rows'].get('NIF-16, mode', {}).get('linear', {}).get('minus', {})
        assert set(minus) == ({'NF', 'NF, PCA-16', 'pixels, PCA-16'} if any(c.model == 'NF' for c in there) else {'pixels, PCA-16'}) if of['rows'].get('NIF-16, mode') else not minus
        assert all((tmp_path/s['png']).is_file() for s in sections) and 'digits' in e.sentence(record)
    assert {c.dataset for c in e.needs('laptop')} == {'fashion_mnist', 'cifar10'}


def test_a_nif_of_one_seed_is_lent_what_a_training_moves():
    from nif_lit import embeddings as e
    def row(seeds, **minus): return dict(seeds=seeds, **{probe: dict(minus={rival.replace('_', ', '): dict(mean=m, se=se, sd_seeds=sd, seeds=len(seeds), verdict='better') for rival, (m, se, sd) in minus.items()}) for probe in e.PROBES})
    sets = dict(a={'NIF-64, mode': row([0, 1], NF=(0.3, 0.1, 0.15)), 'NIF-128, mode': row([0], NF=(0.2, 0.01, None), **{'pixels_PCA-128': (0.02, 0.005, None)}), 'NF, PCA-64': row([0], NF=(0.2, 0.01, None))}, b={'NIF-64, mode': row([0], NF=(0.4, 0.01, None)), 'pixels': row([0], NF=(0.4, 0.01, None))})
    for _ in range(2): assert e.lend(sets) == {probe: {'NIF − NF': 0.15, 'NIF − pixels, PCA': 0.0, 'pixels − NF': 0.0} for probe in e.PROBES}        # twice is once
    of = lambda d, name, rival='NF': sets[d][name]['linear']['minus'][rival]
    assert of('a', 'NIF-128, mode')['verdict'] == 'undecided' and of('b', 'NIF-64, mode')['verdict'] == 'better' and of('b', 'NIF-64, mode')['se'] == 0.15 and of('b', 'NIF-64, mode')['se_own'] == 0.01
    assert of('a', 'NF, PCA-64')['se'] == 0.01 and of('a', 'NIF-128, mode', 'pixels, PCA-128')['se'] == 0.005            # one network against itself; nothing to lend


@pytest.mark.parametrize('call, match', [
    (lambda f: replace(f, train_labels=f.train_labels / 2), 'blobs, train part: labels must be whole numbers from 0, got float64'), (lambda f: replace(f, test_labels=f.test_labels - 3), 'labels must be .* got int64'), (lambda f: replace(f, test_labels=np.full(90, np.nan)), 'labels must be'),
    (lambda f: first(f, 99), 'M must lie between 1 and 5, got 99'), (lambda f: first(f, -1), 'M must be a positive whole number, got -1'), (lambda f: pca_features(f, 1.5), 'got 1.5'), (lambda f: random_projection(f, 0), 'got 0'), (lambda f: random_projection(f, 2, seed=-1), 'seed must be'),
    (lambda f: f.noise(0), 'dims must be a positive whole number, got 0'), (lambda f: f.noise(seed=-1), 'seed must be a whole number from 0'),
    (lambda f: knn_accuracy(f, ks=()), 'ks must be a list of at least one value, got \\(\\)'), (lambda f: knn_accuracy(f, ks=(0, 1)), 'each of ks must be .* got 0'), (lambda f: knn_accuracy(f, ks=3), 'ks must be a list'), (lambda f: knn_accuracy(f, scales=()), 'scales must be a list'),
    (lambda f: knn_accuracy(f, scales='raw'), "got 'raw'"), (lambda f: linear_probe(f, Cs=()), 'Cs must be a list'), (lambda f: linear_probe(f, Cs=(0, 1)), 'each of Cs must be .* got 0'), (lambda f: linear_probe(f, max_iter=0), 'max_iter must be'),
    (lambda f: p.nearest_labels(f.train, f.train_labels[1:], f.test, 1), 'expected 120 labels, got shape \\(119,\\)'), (lambda f: p.nearest_labels(f.train, f.train_labels, f.test, 1.5), 'k must be'), (lambda f: p.vote(np.array([[-1, 0]])), 'labels must be'), (lambda f: p.vote(np.arange(3)), r'expected labels \(n, k\)'),
    (lambda f: picture_accuracy(f.test[:, :2], f.test_labels[1:]), 'expected 90 labels'), (lambda f: picture_accuracy(f.test[:40, :3], f.test_labels[:40]), r'expected points \(n, 2\), got \(40, 3\)'), (lambda f: picture_accuracy(f.test[:, 0], f.test_labels), r'got \(90,\)'), (lambda f: picture_accuracy(3, [1]), r'got \(\)'), (lambda f: picture_accuracy(f.test[:5, :2], f.test_labels[:5], k=5), 'the 4 points that vote, got 5'), (lambda f: picture_accuracy(f.test[:, :2], f.test_labels, known=f.test_labels), 'True and False'),
    (lambda f: picture_accuracy(f.test[:, :2], f.test_labels, known=np.ones(90, bool)), 'one False at least'), (lambda f: p.umap_embedding(f.test, f.test_labels / 2), 'whole numbers from -1'), (lambda f: p.umap_embedding(f.test, n_neighbors=1), 'n_neighbors must be a whole number from 2'),
    (lambda f: p.scatter_figure({'a': (f.test[:3, :2], [0, 12, 1])}, 'xyz'), 'labels must lie below 3, the number of classes, got 12'), (lambda f: p.scatter_figure({'a': (f.test[:3, :2], [0, -1, 1])}, 'xyz'), "'a': labels must be"), (lambda f: p.scatter_figure({'a': (f.test[:0, :2], np.arange(0))}, 'xyz'), 'expected points'),
    (lambda f: p.scatter_figure({'a': (f.test[:1, :2], [0])}, 'xyz', columns=0), 'columns must be'), (lambda f: p.scatter_figure([f.test], 'xyz'), 'panels: expected a dict'), (lambda f: replace(f, train=None), r'expected train rows of shape \(n, dims\), got shape \(\)'), (lambda f: compare_probes(dict(correct='1'), dict(correct='0')), 'two images or more, got 1'), (lambda f: hits({}), "whose 'correct' is a text of 0 and 1"), (lambda f: hits(dict(correct='12')), 'a text of 0 and 1'),
    (lambda f: latents_of(NF(3, steps=1, hidden=4), np.ones((2, 3)), batch_size=0), 'batch_size must be'), (lambda f: latents_of(NF(3, steps=1, hidden=4), np.ones((2, 3)), kinds=()), 'kinds must be a list'), (lambda f: subset(load('digits'), n_train=-5), 'n_train must be'),
    (lambda f: knn_accuracy(f.test), 'knn_accuracy takes Features, .* got ndarray'), (lambda f: linear_probe(None), 'linear_probe takes Features'), (lambda f: pca_features({}, 2), 'pca_features takes Features, .* got dict'), (lambda f: first('abc', 2), 'first takes Features'), (lambda f: random_projection(f.train, 2), 'random_projection takes Features'),
    (lambda f: pixel_features(f.train), 'pixel_features takes a Dataset, .* got ndarray'), (lambda f: subset(f.train), 'subset takes a Dataset'), (lambda f: latents_of(None, np.ones((2, 3))), 'latents_of takes a Flow, got NoneType'), (lambda f: representations(f, load('digits')), 'representations takes a Flow, got Features'),
    (lambda f: p.latent_features(NF(3, steps=1, hidden=4), f.test), 'latent_features takes a Dataset'), (lambda f: pixel_features(replace(load('digits'), train_labels=None)), 'digits has no labels'),
    (lambda f: p.umap_embedding(None), 'umap_embedding expects an array of real numbers'), (lambda f: p.umap_embedding([[1., 2.], [3.]]), 'rows differ'), (lambda f: p.umap_embedding(3.), r'more than 15 rows, got \(\)')])
def test_a_wrong_argument_is_a_value_error(call, match):
    with pytest.raises(ValueError, match=match): call(blobs())


def test_a_further_seed_needs_no_picture(monkeypatch, tmp_path):
    from nif_lit import embeddings as e
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path)); monkeypatch.setenv('NIF_LIT_TRAIN', '0')
    first, second = (experiments.experiment('digits', 'NF', seed=seed) for seed in (0, 1))
    hand = lambda config: experiments.at_hand(e.FIGURES[0], config, tmp_path/'out')
    for config in (first, second): experiments.write_json(tmp_path/config.name/'result.json', dict(config={}, test_bits=[1.0], test_bits_per_dim=dict(mean=1.0)))
    assert not hand(first) and not hand(second)
    for config in (first, second): experiments.cached(config, 'probes', e._probe_settings(config), lambda: dict(scores={}))
    assert hand(second) and not hand(first)                                      # seed 0 is in the pictures, of which none is here
    experiments.write_json(tmp_path/'out'/'fig2.json', dict(result={}, runs=[first.name])); assert hand(first)
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path/'elsewhere')); assert experiments.at_hand(e.FIGURES[0], second, tmp_path/'out', runs=tmp_path) and not hand(second)
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path))
    monkeypatch.setenv('NIF_LIT_TRAIN', '1'); assert not hand(second)


@pytest.mark.parametrize('offset', [0, 1e8])
def test_neighbours_are_exact_far_from_zero(offset):
    rng = np.random.default_rng(3); rows, queries = rng.normal(size=(200, 5)) + offset, rng.normal(size=(50, 5)) + offset
    true = ((queries[:, None] - rows[None]) ** 2).sum(-1).argmin(1)
    assert (p.nearest_labels(rows, np.arange(200), queries, 1)[:, 0] == true).all()


def test_a_vote_needs_no_room_for_large_labels():
    assert p.vote([[10 ** 12, 1, 10 ** 12], [3, 10 ** 12, 3], [7, 2, 5]]).tolist() == [10 ** 12, 3, 2]


def test_umap_says_how_few_points_are_too_few():
    with pytest.raises(ValueError, match='more than 3 rows'): p.umap_embedding(np.random.default_rng(0).normal(size=(3, 4)), n_neighbors=2)


@pytest.mark.parametrize('said, trains', [('0', False), ('false', False), ('No', False), ('', True), ('1', True), ('on', True)])
def test_words_for_off_are_off(monkeypatch, said, trains):
    monkeypatch.setenv('NIF_LIT_TRAIN', said); assert experiments.trains() is trains


def test_a_word_for_neither_is_refused(monkeypatch):
    monkeypatch.setenv('NIF_LIT_TRAIN', 'maybe')
    with pytest.raises(ValueError, match="NIF_LIT_TRAIN must be 0 or 1, got 'maybe'"): experiments.trains()


@pytest.mark.parametrize('rows', [np.ones((4, 2)) + 1j, np.full((4, 2), '1.0')])
def test_rows_that_are_no_real_numbers_are_refused(rows):
    good, labels = np.ones((4, 2)), np.zeros(4, int)
    with pytest.raises(ValueError, match='expected train rows of real numbers, got'): Features('made up', rows, labels, good, labels, good, labels)


def test_one_seed_is_held_against_the_mean_of_all():
    from nif_lit import embeddings as e
    probe = lambda right: dict(correct='1' * right + '0' * (10 - right))
    found = e._minus({0: {'k-NN': probe(6)}}, {k: {'k-NN': probe(n)} for k, n in enumerate((2, 5, 8))}, 'k-NN')
    assert math.isclose(found['mean'], 0.6 - 0.5) and found['seeds'] == 1 and found['sd_seeds'] is None
    both = e._minus({k: {'k-NN': probe(n)} for k, n in enumerate((3, 6, 9))}, {k: {'k-NN': probe(n)} for k, n in enumerate((2, 5, 8))}, 'k-NN')
    assert math.isclose(both['mean'], 0.1) and both['seeds'] == 3 and both['sd_seeds'] < 1e-12
    for a, b in (([probe(1)], []), ([probe(1)] * 2, [probe(1)] * 3), ([dict(correct='10')], [probe(1)])):
        with pytest.raises(ValueError): e.compared(a, b)


def test_what_is_lent_at_chance_is_said():
    from nif_lit import embeddings as e
    row = lambda mean, own, lent, by: dict([('k-NN', dict(mean=by, se=0.003, minus=dict(NF=dict(mean=mean, se=lent, se_own=own, verdict=e._verdict(dict(mean=mean, se=lent))))))])
    nf = {'k-NN': dict(mean=0.1, se=0.003, minus={})}
    assert 'of 1 undecided rows would be decided (NIF-64, mode)' in e._loan_told({'NF': nf, 'NIF-64, mode': row(0.15, 0.005, 0.09, 0.25), 'NIF-128, mode': row(0.001, 0.005, 0.09, 0.1)}, 0.1)
    assert not e._loan_told({'NF': {'k-NN': dict(nf['k-NN'], mean=0.5)}, 'NIF-64, mode': row(0.15, 0.005, 0.09, 0.25)}, 0.1)
