"Figures of samples, temperature, reconstructions and architectures: what they draw is what the models are, missing runs are said, nobody's face is shown."
import dataclasses
import functools
import json
import numpy as np
import pytest
import nif_lit.experiments as experiments
import nif_lit.off_manifold as off_manifold
import nif_lit.reconstructions as reconstructions
import nif_lit.samples as samples
import nif_lit.temperature as temperature
from nif_lit.architectures import abstract_model, architecture_figure, check_walk, drawn, walk
from nif_lit.experiments import dataset_of, experiment, make
from nif_lit.models import build_model
from nif_lit.pictures import save_png


# ---- architectures
MODELS = {'NF': ('NF', (12, 8, 3), dict(steps=2, channels=6, levels=2)), 'NIF': ('NIF-5', (8, 8, 1), dict(steps=3, channels=4, levels=3)),
          'deep': ('DeepNIF-3', (4, 6, 2), dict(steps=1, channels=5, levels=1, low_steps=4, low_hidden=7)), 'vectors': ('DeepNIF-2', 5, dict(steps=2, hidden=6, low_steps=2, low_hidden=3))}


@functools.cache
def walked(name):
    kind, shape, options = MODELS[name]
    model = abstract_model(kind, shape, **options)
    return model, walk(model)


@pytest.mark.parametrize('name', MODELS)
def test_a_drawing_is_its_model(name):
    model, boxes = walked(name)
    found, fig = check_walk(model, boxes), architecture_figure(model, boxes=boxes)
    assert found['dimensions that leave or stay'] == np.prod(MODELS[name][1]) and found['latent'] == (model.M,)
    assert drawn(fig) == ['data', *(b.path for b in boxes if b.path.startswith('body')), 'joined', *(b.path for b in boxes if b.path.startswith('head'))]
    texts = ' '.join(t.get_text() for t in fig.axes[0].texts)
    for box in boxes:
        if box.parameters: assert f'{box.parameters:,}' in texts
        if box.leaves: assert f'= {int(np.prod(box.leaves)):,}' in texts
    bottom = max(patch.get_y() + patch.get_height() for patch in fig.axes[0].patches if patch.get_gid())
    assert bottom < fig.get_size_inches()[1]                                           # nothing is drawn outside the sheet


@pytest.mark.parametrize('name', MODELS)
def test_a_drawing_that_is_not_its_model_is_refused(name):
    model, boxes = walked(name)
    for k, box in enumerate(boxes):
        changed = [boxes[:k] + boxes[k + 1:], boxes[:k] + [box] + boxes[k:]]
        changed += [boxes[:k] + [dataclasses.replace(box, parameters=box.parameters + 1)] + boxes[k + 1:]]
        changed += [boxes[:k] + [dataclasses.replace(box, leaves=(*box.leaves[:-1], box.leaves[-1] + 1))] + boxes[k + 1:]] if box.leaves else []
        changed += [boxes[:k] + [dataclasses.replace(box, inside=box.inside[1:])] + boxes[k + 1:]] if box.inside else []
        for wrong in changed:
            with pytest.raises(ValueError, match='the drawing has'): check_walk(model, wrong)
    for other in MODELS:
        if other != name:
            with pytest.raises(ValueError): architecture_figure(model, boxes=walked(other)[1])


# ---- figures from runs, some of them missing
@functools.cache
def tiny(name): return build_model(name, (8, 8, 1), steps=1, channels=8, levels=1)


@pytest.fixture
def runs(monkeypatch):
    "Every run is a tiny model of its own kind; scores are computed, not kept."
    monkeypatch.setattr(experiments, 'finished', lambda *a, **k: True); monkeypatch.setattr(temperature, 'finished', lambda *a, **k: True)
    for module in (samples, temperature, reconstructions):
        monkeypatch.setattr(module, 'model_of', lambda config: tiny('NF' if config.model == 'NF' else 'NIF-4')); monkeypatch.setattr(module, 'images_seen', lambda config: 64)
        if module is not temperature: monkeypatch.setattr(module, 'cached', lambda config, name, settings, compute: dict(compute(), settings=settings))
    for module in (samples, reconstructions): monkeypatch.setattr(module, 'picture', lambda path, draw, configs: save_png(draw(), path))
    return lambda *models: [experiment('digits', model) for model in models]


def cells(sections): return [row for section in sections if section.get('table') for row in section['table'][1]]


def test_samples_share_a_key_and_missing_runs_are_said(runs, tmp_path):
    record, sections = samples.draw_fig9(runs('NF', 'NIF-16'), tmp_path, False)
    assert list(record['rows']) == ['NF', 'NIF-16, s = 0', 'NIF-16, s = 1', 'NIF-16, s = 1, Σ = I', 'test images'] and record['not_run'] == [] and record['stands_for'] == 'cifar10' and 'stand in for CIFAR-10' in sections[0]['caption']
    model = tiny('NIF-4')
    on, off = (samples.first_samples(model, 100, s) for s in (0.0, 1.0))
    assert np.array_equal(on, samples.first_samples(model, 100, 0.0, 'released')) and not np.array_equal(on, off)
    assert record['rows']['NIF-16, s = 1']['roughness']['mean'] == pytest.approx(samples.roughness(samples.first_samples(model, samples.N_MEASURED, 1.0)).mean())
    values = {row: r['lattice']['value'] for row, r in record['rows'].items()}
    assert all(r['lattice_over_test']['difference'] == pytest.approx(values[row] - values['test images']) for row, r in record['rows'].items() if row != 'test images')
    record, sections = samples.draw_fig9(runs('NIF-16'), tmp_path, False)
    assert record['not_run'] == ['NF'] and ('NF', 'not run', '', '', '', '', '') in cells(sections) and record['compared']['on'] is None
    record, _ = samples.draw_fig7(runs('NF', 'NIF-8'), tmp_path, False)
    assert record['not_run'] == ['NIF-16, s = 0', 'NIF-32, s = 0'] and (tmp_path/'fig7.png').is_file()


def test_reconstructions_show_no_face_and_say_what_is_missing(runs, tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(reconstructions, 'grid_figure', lambda rows, bits, captions: shown.update(rows=rows, captions=captions) or samples.grid_figure(rows, bits, captions=captions))
    digits, found = dataset_of('digits', 3, 'official'), runs('NIF-8')
    record, sections = reconstructions.draw_fig8(found, tmp_path, False)
    y = shown['rows']['NIF-8'].astype(float)
    assert list(shown['rows']) == ['data', 'NIF-8'] and np.allclose(record['digits']['shown']['NIF-8'], np.sqrt(((y - digits.test[:8]) ** 2).mean((1, 2, 3))))
    assert record['digits']['not_run'] == ['NIF-16', 'NIF-32'] and sum(row[3] == 'not run' for row in cells(sections)) == 2 and record['digits']['errors']['8']['mode']['n'] == len(digits.test)
    mean = np.round(digits.train.astype(float).mean(0)); away = np.sqrt(((digits.test - mean) ** 2).mean((1, 2, 3)))
    assert record['digits']['errors']['8']['mean_image']['mean'] == pytest.approx(away.mean()) and cells(sections)[0][1:3] == ('0: mean image', '0.0%')
    monkeypatch.setattr(reconstructions, 'dataset_of', lambda name, bits, split: dataclasses.replace(digits, name=name))
    monkeypatch.setattr(reconstructions, 'errors_of', lambda config, largest: dict.fromkeys(('mode', 'posterior_mean', 'pca', 'gain'), dict(mean=1.0, se=0.1, n=9)))
    record, sections = reconstructions.draw_fig8([experiment('celeba', 'NIF-64', scale='laptop')], tmp_path, False)
    assert list(shown['rows']) == ['NIF-64'] and not any(np.array_equal(image, original) for image in shown['rows']['NIF-64'] for original in digits.test)
    assert 'Originals are omitted' in sections[0]['caption'] and record['celeba']['not_run'] == ['NIF-128', 'NIF-256', 'NIF-512']


def test_pages_are_made_again_from_numbers(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 8, (samples.N_MEASURED, 8, 8, 1)).astype(np.uint8)
    for module in (samples, reconstructions): monkeypatch.setattr(module, 'model_of', lambda config: None)
    monkeypatch.setattr(samples, 'first_samples', lambda model, n, *_: images[:n]); monkeypatch.setattr(reconstructions, 'project', lambda model, x: dict.fromkeys(reconstructions.KINDS, np.zeros_like(x)))
    monkeypatch.setattr(off_manifold, 'load_run', lambda config: [None]); monkeypatch.setattr(off_manifold, 'ray', lambda model, sampler: images[:7])
    config, out = experiment('digits', 'NIF-16'), tmp_path/'out'
    home = tmp_path/config.name; (home/'checkpoints'/'step_1').mkdir(parents=True); (home/'model.json').write_text('{}')
    (home/'result.json').write_text(json.dumps(dict(test_bits_per_dim=dict(mean=2.0), images_seen=64, config=dict(dataset='digits'))))
    figures = samples.FIGURES[0], reconstructions.FIGURES[0], off_manifold.FIG5
    again = lambda figure: make(figure, out=out, model='NIF-16', progress=False)
    rays = lambda: off_manifold.draw_rays([config], out, stem='elsewhere')
    monkeypatch.setenv('NIF_LIT_RUNS', str(tmp_path)); before = [again(figure) for figure in figures]
    drawn = [out/name for name in ('fig3.png', 'fig8-digits.png', 'fig5_digits.png')]
    for path in drawn: path.write_bytes(b'as it was')
    (home/'model.json').unlink(); monkeypatch.setenv('NIF_LIT_TRAIN', '0')
    assert [again(figure) for figure in figures] == before and all(path.read_bytes() == b'as it was' for path in drawn)
    assert rays() == (dict(digits=before[2][0]['digits'] | dict(models=[])), [])                       # no record says that the picture was drawn from this run
    (out/'elsewhere.json').write_bytes((out/'fig5.json').read_bytes()); assert rays() == before[2]
    for path in drawn: path.unlink()
    assert rays()[1] == []                                                                             # numbers, and no picture
    for figure in figures[:2]: pytest.raises(FileNotFoundError, again, figure)


def test_temperature_is_read_both_ways_and_compared_at_equal_heat(runs, tmp_path, monkeypatch):
    asked = []
    def scores(config, *, n, t, s):
        asked.append((config.model, t, s))
        return dict(n=n, n_reference=360, bits=3, dims='pixels', weights='partial', compute='bfloat16', provenance={}, frechet=dict(name='FID-768', value=1 + t), kid=dict(name='KID-768', value=0.1 * t * (config.model == 'NF'), se=0.01), neighbours=dict(precision=0.5, recall=0.5, coverage=0.5))
    monkeypatch.setattr(temperature, 'models_told', lambda config: 'Models: few. ')
    monkeypatch.setattr(temperature, 'sample_scores', scores); monkeypatch.setattr(temperature, 'scored', lambda config, *, n, t, s: t in temperature.SWEEP)
    monkeypatch.setattr(temperature, 'floor_of', lambda config, n: dict(n=9, frechet=0.1, kid=0.0, se=0.01, precision=1.0, recall=1.0, coverage=1.0))
    hot, without = round(1 + (temperature.HOT - 1) * (share := temperature.prior_share(tiny('NIF-4').head)), 4), []
    for may in (False, True):                       # the NF as hot as the NIF is one score more: where it may not be made its row says so
        asked.clear(); monkeypatch.setattr(temperature, 'may_score', lambda config: may)
        record, sections = temperature.draw_fig1(runs('NF', 'NIF-16'), tmp_path, False)
        told, = (section for section in sections if 'Distance' in section['title'])
        assert {'FID-768', 'KID-768 × 1000 (± SE)'} <= set(told['table'][0]) and 'against 360 test images at 3 bits. Features: in bfloat16, by PyTorch (version not recorded); weights: partial. Models: ' in told['caption']
        without.append([row[1] for row in cells(sections) if row[0].startswith('NF, as hot')])
        assert (hot in {t for model, t, s in asked if model == 'NF'}) is may and (record['digits']['judged']['NIF-16, s = 1']['equal'] is not None) is may
    assert without[0] == ['not run'] and without[1][0] != 'not run' and len(without[1]) == 1
    found = record['digits']
    assert 0 < share < 1 and found['shares'] == {'NF': 1.0, 'NIF-16, s = 0': share, 'NIF-16, s = 1': share}
    assert {t for model, t, s in asked if model == 'NF'} == {*temperature.SWEEP, hot} and {s for model, t, s in asked if model != 'NF'} == {0.0, 1.0}
    assert {label: j['verdict'] for label, j in found['judged'].items()} == {'NIF-16, s = 0': 'stays better', 'NIF-16, s = 1': 'stays better'} and found['judged']['NIF-16, s = 0']['equal'] is None
    rows = temperature.rows_of(runs('NF', 'NIF-16'), 'digits')
    a, b = temperature.temperature_rows(rows, 'variance', (4.0,)), temperature.temperature_rows(rows, 'deviation', (2.0,))
    assert all(np.array_equal(a[label], b[label]) for label in a)
    record, sections = temperature.draw_fig1(runs('NIF-16'), tmp_path, False)
    assert record['digits']['not_run'] == ['NF'] and record['digits']['judged'] == {} and any(row[:2] == ('NF', 'not run') for row in cells(sections))


HOLED = np.where(np.arange(320) == 7, np.nan, 1.0).reshape(20, 4, 4, 1)


@pytest.mark.parametrize('call, message', [(lambda: samples.roughness(np.zeros((3, 1, 4, 1))), 'at least 2'), (lambda: samples.spread(np.zeros((19, 4, 4, 1))), 'at least 20'),
                                           (lambda: reconstructions.rms(np.zeros((2, 3)), np.zeros((2, 4))), 'one shape'), (lambda: reconstructions.rms(np.zeros((0, 3)), np.zeros((0, 3))), r'rms takes at least one image, got \(0, 3\)'),
                                           (lambda: reconstructions.rms(np.full((2, 3), np.nan), np.zeros((2, 3))), 'rms takes finite levels, got 6 of 6'), (lambda: reconstructions.rms(np.zeros((2, 3)), np.full((2, 3), np.inf)), 'rms takes finite'),
                                           (lambda: samples.roughness(np.zeros((0, 4, 4, 1))), 'roughness takes at least one image'), (lambda: samples.roughness(HOLED), 'roughness takes finite levels, got 1 of 320'),
                                           (lambda: samples.spread(HOLED), 'spread takes finite levels'), (lambda: samples.lattice(HOLED), 'lattice takes finite levels')])
def test_measures_refuse(call, message):
    with pytest.raises(ValueError, match=message): call()


def test_a_lattice_is_a_pattern_of_period_two():
    from nif_lit.samples import lattice
    rng = np.random.default_rng(0); smooth = np.cumsum(rng.normal(size=(40, 12, 12, 1)), 1).cumsum(2)
    board = (np.add.outer(np.arange(12), np.arange(12)) % 2)[..., None]
    plain, dotted = lattice(smooth), lattice(smooth + 20 * board)
    assert plain['value'] < 0.8 and dotted['value'] > 1 and lattice(3 * smooth)['value'] == pytest.approx(plain['value'])
    weak = lattice(smooth + board); assert plain['value'] + 2 * np.hypot(plain['se'], weak['se']) < weak['value'] < 1            # below 1, and more than the images alone have
    for wrong in (smooth[:19], smooth[:, :2], smooth[0], 0 * smooth):
        with pytest.raises(ValueError, match='lattice'): lattice(wrong)


def test_a_projection_is_of_images_in_levels():
    from nif_lit.reconstructions import pca_projection, project
    with pytest.raises(ValueError, match='a model of real vectors has none'): project(build_model('NIF-2', (3,), steps=1, hidden=4), np.zeros((2, 3)))
    with pytest.raises(ValueError, match='batch_size'): project(build_model('NIF-2', (2, 2, 1), steps=1, channels=2, levels=1), np.zeros((2, 2, 2, 1), np.uint8), batch_size=0)
    x, mean, directions = np.zeros((1, 2, 2, 1)), np.zeros(4), np.eye(4)[:2]
    for bad, match in ((dict(bits=9), 'bits'), (dict(mean=np.zeros(3)), 'want a mean'), (dict(x=x * np.nan), 'finite'), (dict(x=x[:0]), 'at least one')):
        with pytest.raises(ValueError, match=match): pca_projection(**(dict(x=x, mean=mean, directions=directions, bits=3) | bad))


def test_heat_is_judged_where_it_was_scored():
    from nif_lit.temperature import HOT, judge
    point = lambda t: dict(t=t, kid=0.1, se=0.01)
    with pytest.raises(ValueError, match='the row has t = 1'): judge([point(1.0), point(HOT)], [point(1.0)])
