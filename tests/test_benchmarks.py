"The benchmark's own arithmetic: ratios, FLOPs and parameter counts, the pool of processes, help and table. No peer, no clock."
import json
import subprocess
import sys
from pathlib import Path
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import configs, machine, pool, stats
from benchmarks.__main__ import chosen, main, table


def test_ratios_are_paired_by_round():
    seconds = dict(ours=[1.0, 10.0, 2.0], slow=[3.0, 30.0, 4.0], close=[1.5, 14.0, 6.0])          # the second round met a busy machine: all ten times slower
    name, ratio, everyone = stats.against_fastest(seconds, 'ours')
    assert name == 'close' and ratio == dict(median=1.5, low=1.4, high=3.0, n=3)
    assert everyone['slow'] == dict(median=3.0, low=2.0, high=3.0, n=3)
    for wrong in (([1.0], [1.0, 2.0]), ([], []), ([1.0], [0.0])):
        with pytest.raises(ValueError): stats.paired(*wrong)
    assert [stats.verdict(*v) for v in ((1.5, 1.5), (1.49, 1.5), (None, 1.5), (1.5, None))] == ['met', 'missed', 'not run', '']
    assert stats.verdict(1.05, 1.05, at_most=True) == 'met' and stats.verdict(1.06, 1.05, at_most=True) == 'missed'


def test_counts_of_parameters_and_flops():
    from nif_lit.models import build_model
    net = dict(shape=(8, 8, 2), steps=1, levels=1, channels=48)
    model = nnx.eval_shape(lambda: build_model('NF', net['shape'], steps=1, levels=1, channels=48, fast=False))     # shapes only: nothing is drawn
    stored = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert stored - configs.masked_parameters(net) == configs.parameters(net)
    graphdef, state = nnx.split(model)
    step = jax.jit(lambda state, h: nnx.merge(graphdef, state).body.layers[-1].inverse(h))
    counted = step.lower(state, jax.ShapeDtypeStruct((4, *net['shape']), jnp.float32)).compile().cost_analysis()['flops'] / 4
    ours = configs.forward_flops(net)
    assert abs(counted / ours - 1) < 0.05, (counted, ours)
    assert abs(configs.forward_flops(configs.network('i')) / 0.049e9 - 1) < 0.02 and abs(configs.forward_flops(configs.network('ii')) / 1.38e9 - 1) < 0.02      # performance.md


def test_laptop_networks_are_those_of_the_experiments():
    from nif_lit.experiments import SCALES
    for name in ('fashion_mnist', 'cifar10', 'celeba'):
        assert {k: configs.NETWORKS[name][k] for k in ('steps', 'levels', 'channels')} == {k: SCALES['laptop'][name][k] for k in ('steps', 'levels', 'channels')}


def test_the_head_s_reference_agrees_with_itself():
    "The dense form and the determinant lemma share only their inputs."
    A, b, log_sigma, h = configs.head_point(4100, 3, batch=2)
    ref = configs.head_reference(A, b, log_sigma, h)
    w = np.exp(-log_sigma)
    U, d, _ = np.linalg.svd(A * w[:, None], full_matrices=False)
    r = (h - b) * w
    by_svd = -((r ** 2).sum(1) - ((r @ U) ** 2 * (d ** 2 / (1 + d ** 2))).sum(1)) / 2 - log_sigma.sum() - np.log1p(d ** 2).sum() / 2 - 4100 / 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(ref, by_svd, rtol=1e-10)
    small = configs.head_point(7, 3, batch=2, spread=1e4)
    from scipy.stats import multivariate_normal
    A, b, log_sigma, h = small
    np.testing.assert_allclose(configs.head_reference(*small), multivariate_normal(b, A @ A.T + np.diag(np.exp(2 * log_sigma))).logpdf(h), rtol=1e-9)
    d = np.linalg.svd(A * np.exp(-log_sigma)[:, None])[1] ** 2
    np.testing.assert_allclose(d.max() / d.min(), 1e4, rtol=1e-6)


def test_a_contender_that_fails_says_why():
    with pytest.raises(pool.Failed, match='no_such'): pool.Worker('no_such', {}, cores=1, timeout=60)


def test_rows_table_and_help(tmp_path, capsys):
    assert chosen(['step-i']) == ['step-i-32', 'step-i-16', 'step-ii-32'] and chosen(['fit']) == ['fit']
    with pytest.raises(ValueError, match='no row begins'): chosen(['flops'])
    row = dict(row='fit', what='w', ours='1', peer='2', ratio=dict(median=0.93, low=0.9, high=1.0, n=5), target=0.9, at_most=False, value=0.93, verdict='met', note='')
    (tmp_path/'fit.json').write_text(json.dumps(dict(lines=[row])))
    lines = table(tmp_path).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert any('0.93 (0.90 to 1.00, n = 5)' in line and '≥ 0.9' in line and 'met' in line for line in lines) and any('sampling' in line and 'not run' in line for line in lines)
    with pytest.raises(SystemExit) as stopped: main(['--help'])
    assert stopped.value.code == 0 and 'examples:' in capsys.readouterr().out


def test_the_lock_is_exact_and_holds_the_kit_s_own_versions():
    import re
    lines = [line for line in (ROOT/'benchmarks'/'requirements.lock').read_text().splitlines() if line.strip()]
    assert all(re.fullmatch(r'[a-z0-9._-]+==[^ ]+( ; .+)?', line) for line in lines)
    names = {line.split('==')[0] for line in lines}
    assert {name.lower() for name in machine.PACKAGES} <= names
    kit = {line for line in (ROOT/'requirements.lock').read_text().splitlines()}
    ours = {line.split('==')[0] for line in kit}
    assert not [line for line in lines if line.split('==')[0] in ours and line not in kit]
