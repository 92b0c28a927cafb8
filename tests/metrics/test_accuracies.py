"""Accuracies of logits against hand-computed numbers and a float64 reference that sorts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import metrics
from jaxdistill.errors import UserError

# softmax of these rows: (1/2, 1/4, 1/4) and (1/10, 1/10, 8/10).
LOGITS = jnp.log(jnp.array([[2.0, 1.0, 1.0], [1.0, 1.0, 8.0]]))


def random_case(seed, examples=200, classes=6):
  """Logits with many equal ones, labels and weights."""
  rng = np.random.default_rng(seed)
  logits = rng.integers(0, 4, (examples, classes)).astype(np.float32)
  return logits, rng.integers(0, classes, examples), rng.random(examples)


def sorted_hits(logits, labels, top):
  """Python's stable sort, largest first, so that of equal ones the smaller class comes first."""
  hits = []
  for row, label in zip(logits.tolist(), labels.tolist()):
    order = sorted(range(len(row)), key=lambda number: -row[number])
    hits.append(label in order[:top])
  return np.array(hits, np.float64)


def test_accuracy_of_integer_and_soft_labels():
  assert metrics.accuracy(LOGITS, jnp.array([0, 1])) == 0.5
  assert metrics.accuracy(LOGITS, jnp.array([[0.6, 0.4, 0.0], [0.1, 0.2, 0.7]])) == 1


def test_padding_of_weight_zero_counts_nowhere():
  assert metrics.accuracy(LOGITS, jnp.array([0, 1]), jnp.array([0.0, 2.0])) == 0
  padded = jnp.concatenate([LOGITS, jnp.full((1, 3), jnp.nan)])
  labels, weight = jnp.array([0, 1, 0]), jnp.array([1.0, 1.0, 0.0])
  assert metrics.accuracy(padded, labels, weight) == 0.5
  # The second row has two equal logits behind the largest, of which class 0 comes first.
  assert metrics.accuracy(padded, labels, weight, top=2) == 0.5
  assert metrics.accuracy(padded, jnp.array([0, 0, 0]), weight, top=2) == 1
  np.testing.assert_array_equal(metrics.accuracy_by_class(padded, labels, weight), [1, 0, np.nan])
  assert metrics.accuracy(LOGITS, jnp.array([0, 1]), jnp.zeros(2)) == 0


@pytest.mark.parametrize('top', [1, 2, 5, 6])
def test_top_k_is_that_of_a_stable_sort(top):
  logits, labels, weight = random_case(top)
  hits = sorted_hits(logits, labels, top)
  value = metrics.accuracy(*map(jnp.asarray, (logits, labels)), top=top)
  assert value == pytest.approx(hits.mean(), abs=1e-6)
  weighted = metrics.accuracy(*map(jnp.asarray, (logits, labels, weight)), top=top)
  assert weighted == pytest.approx(np.average(hits, weights=weight), abs=1e-6)


def test_accuracy_by_class_is_the_accuracy_of_each_class_alone():
  logits, labels, weight = random_case(9)
  hits = sorted_hits(logits, labels, 1)
  values = metrics.accuracy_by_class(*map(jnp.asarray, (logits, labels, weight)))
  for label in range(6):
    members = labels == label
    assert values[label] == pytest.approx(
      np.average(hits[members], weights=weight[members]), abs=1e-6
    )


@pytest.mark.parametrize(
  'measure',
  [metrics.accuracy, metrics.accuracy_by_class, functools.partial(metrics.accuracy, top=2)],
)
def test_all_work_compiled_and_mapped_over_networks(measure):
  logits, labels, _ = map(jnp.asarray, random_case(3))
  stacked = jnp.stack([logits, -logits])
  mapped = jax.jit(jax.vmap(measure, (0, None)))(stacked, labels)
  for network in range(2):
    np.testing.assert_allclose(mapped[network], measure(stacked[network], labels), rtol=1e-6)


def test_misfits_are_told_in_one_sentence():
  with pytest.raises(UserError, match='at least one example'):
    metrics.accuracy(jnp.zeros((0, 3)), jnp.zeros(0, int))
  with pytest.raises(UserError, match=r'got \(2, 3\) and \(3,\)'):
    metrics.accuracy_by_class(LOGITS, jnp.zeros(3, int))
  with pytest.raises(UserError, match='one entry an example'):
    metrics.accuracy(LOGITS, jnp.zeros(2, int), jnp.ones(3))
  for top in (0, 4):
    with pytest.raises(UserError, match=f'top from 1 to 3, .* got {top}'):
      metrics.accuracy(LOGITS, jnp.zeros(2, int), top=top)
