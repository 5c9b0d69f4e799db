"Scores of a set: keys, counts and empty sets at the doors."
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nif_lit import NF, NIF, bits_per_dim_of, log_likelihood_of, paired_difference
from nif_lit.likelihood import mean_and_se, round_trip_error

MODEL = NIF((4, 4, 1), 3, bits=3, levels=1, steps=1, channels=4)
X = np.asarray(jax.random.randint(jax.random.key(0), (6, 4, 4, 1), 0, 8), np.uint8)


@pytest.mark.parametrize('key, got', [(0, 'got 0'), (np.int64(3), r'got np.int64\(3\)'), ('a', "got 'a'"), (np.zeros(2), r'ndarray of shape \(2,\)'), (jax.random.split(jax.random.key(0), 3), r'shape \(3,\)')])
@pytest.mark.parametrize('score', [log_likelihood_of, bits_per_dim_of, round_trip_error])
def test_a_key_is_one_key(score, key, got):
    with pytest.raises(ValueError, match=rf'key must be one JAX key.*{got}.*jax.random.key\(0\)'): score(MODEL, X, key=key)


def test_a_raw_key_is_a_key():
    assert (log_likelihood_of(MODEL, X, key=jax.random.PRNGKey(0)) == log_likelihood_of(MODEL, X, key=jax.random.key(0))).all()
    with pytest.raises(ValueError, match='needs a key'): bits_per_dim_of(MODEL, X, key=None)


def test_counts():
    score = lambda **more: log_likelihood_of(MODEL, X, key=jax.random.key(0), **more)
    assert (score(n_samples=np.int64(2), n_draws=np.int32(2), batch_size=jnp.int32(4)) == score(n_samples=2, n_draws=2, batch_size=4)).all()
    for name in ('n_samples', 'n_draws', 'batch_size'):
        for bad in (0, 1.5, '2', None, True):
            with pytest.raises(ValueError, match=f'{name} must be a positive whole number'): score(**{name: bad})


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match='takes'): log_likelihood_of(MODEL, X[:0, :2], key=jax.random.key(0))
    for call in (lambda: bits_per_dim_of(MODEL, X[:0], key=jax.random.key(0)), lambda: log_likelihood_of(NF(3, steps=1, hidden=3), np.zeros((0, 3))), lambda: mean_and_se([]), lambda: paired_difference([], []), lambda: round_trip_error(MODEL, X[:0], key=jax.random.key(0))):
        with pytest.raises(ValueError, match='at least one|batch is empty'): call()


@pytest.mark.parametrize('values', [3.0, np.ones((4, 100))])
def test_a_mean_is_of_a_row_of_values(values):
    with pytest.raises(ValueError, match='of shape \\(n,\\), got'): mean_and_se(values)


def test_scoring_on_no_device_is_refused():
    with pytest.raises(ValueError, match='at least one device'): log_likelihood_of(NF((2, 2, 1), steps=1, channels=2), np.zeros((1, 2, 2, 1), np.uint8), key=jax.random.key(0), devices=[])
