"""Confusion matrices of annotators and posteriors of labels, against loops in float64."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data.crowds import Crowd
from jaxdistill.estimation import confusions, votes

CLASSES, ANNOTATORS, EXAMPLES = 3, 6, 60


def a_table():
  """[n, R] labels, right with .2 to .95, the last annotator without any."""
  random = np.random.RandomState(0)
  truth = random.randint(CLASSES, size=EXAMPLES)
  table = random.randint(CLASSES, size=(EXAMPLES, ANNOTATORS))
  right = random.rand(EXAMPLES, ANNOTATORS) < np.linspace(0.2, 0.95, ANNOTATORS)
  table = np.where(right, truth[:, None], table)
  missing = random.rand(EXAMPLES, ANNOTATORS) < 0.4
  missing[:, 0] &= missing[:, 1:-1].sum(1) < ANNOTATORS - 2
  missing[:, -1] = True
  return np.where(missing, -1, table)


TABLE = a_table()
CROWD = Crowd.from_table(TABLE, CLASSES)


def counts_of(beliefs, table=TABLE):
  counts = np.zeros((table.shape[1], CLASSES, CLASSES))
  for example, annotator in zip(*np.nonzero(table >= 0)):
    counts[annotator, :, table[example, annotator]] += beliefs[example]
  return counts


def posterior_of(matrices, prior, table=TABLE):
  beliefs = np.tile(np.asarray(prior, float), (len(table), 1))
  for example, annotator in zip(*np.nonzero(table >= 0)):
    beliefs[example] *= matrices[annotator, :, table[example, annotator]]
  return beliefs / beliefs.sum(1, keepdims=True)


def fit_of(model, prior=None, gold=None):
  """Dawid and Skene by loops: with the stop of the evidence bound, and labels given alone."""
  given = np.stack([(TABLE == label).any(0) for label in range(CLASSES)], 1)
  number = (TABLE >= 0).sum(1)

  def maximise(beliefs):
    counts = counts_of(beliefs)
    if model == 'one_coin':
      total = counts.sum((1, 2))
      right = np.trace(counts, axis1=1, axis2=2)
      skill = np.where(total > 0, right / np.maximum(total, 1), 1 / CLASSES)[:, None, None]
      matrices = np.where(np.eye(CLASSES, dtype=bool), skill, (1 - skill) / (CLASSES - 1))
      matrices = np.clip(matrices, 1e-10, 1 - 1e-10)
    else:
      used = given | ~given.any(1, keepdims=True)
      matrices = np.maximum(counts, 1e-10) * used[:, None]
      matrices /= matrices.sum(2, keepdims=True)
    return matrices, beliefs.mean(0) if prior is None else np.asarray(prior)

  def certain(beliefs):
    if gold is None:
      return beliefs
    return np.where((gold >= 0)[:, None], np.eye(CLASSES)[gold], beliefs)

  beliefs = certain(
    np.stack([(TABLE == label).sum(1) for label in range(CLASSES)], 1) / number[:, None]
  )
  matrices, learned = maximise(beliefs)
  history = []
  while len(history) < 100:
    beliefs = certain(posterior_of(matrices, learned))
    matrices, learned = maximise(beliefs)
    counts = counts_of(beliefs)
    floored = np.maximum(beliefs, 1e-10)
    logs = np.log(np.maximum(matrices, 1e-300))
    joint = (counts * logs).sum() + (number @ beliefs) @ np.log(np.maximum(learned, 1e-10))
    history.append((joint - (floored * np.log(floored)).sum()) / number.sum())
    if len(history) > 1 and history[-1] - history[-2] < 1e-5:
      break
  return beliefs, matrices, learned, history


def test_a_tied_vote_goes_to_the_lowest_label():
  crowd = Crowd.from_table([[2, 1, -1], [0, 2, 2]], CLASSES)
  assert votes.majority(crowd).tolist() == [1, 2]
  np.testing.assert_allclose(votes.soft(crowd), [[0, 0.5, 0.5], [1 / 3, 0, 2 / 3]], rtol=1e-6)


def test_counts_and_posterior_are_those_of_loops():
  beliefs = np.random.RandomState(1).dirichlet(np.ones(CLASSES), EXAMPLES)
  counts = confusions.expected_counts(CROWD, jnp.float32(beliefs))
  np.testing.assert_allclose(counts, counts_of(beliefs), rtol=1e-5, atol=1e-6)
  matrices = confusions.normalised(counts)
  prior = [0.2, 0.3, 0.5]
  expected = posterior_of(np.asarray(matrices, float), prior)
  np.testing.assert_allclose(confusions.posterior(CROWD, matrices, prior), expected, atol=1e-5)


def test_rows_without_mass_are_uniform():
  counts = jnp.array([[[2.0, 0, 2], [0, 0, 0], [0, 0, 1]], [[0.0, 0, 0]] * 3])
  used = np.array([[True, False, True], [False, False, False]])
  third = [1 / 3] * 3
  everywhere = confusions.normalised(counts)
  np.testing.assert_allclose(
    everywhere, [[[0.5, 0, 0.5], third, [0, 0, 1]], [third] * 3], atol=1e-6
  )
  given = confusions.normalised(counts, used)
  half = [0.5, 0, 0.5]
  np.testing.assert_allclose(given, [[half, half, [0, 0, 1]], [third] * 3], atol=1e-6)
  np.testing.assert_allclose(given.sum(2), 1, rtol=1e-6)


def test_many_annotators_do_not_underflow():
  table = np.zeros((2, 3000), int)
  table[1, ::2] = 1
  crowd = Crowd.from_table(table, 2)
  good, uniform = jnp.array([[0.51, 0.49], [0.49, 0.51]]), jnp.array([0.5, 0.5])
  beliefs = confusions.posterior(crowd, jnp.tile(good, (3000, 1, 1)), uniform)
  np.testing.assert_allclose(beliefs, [[1, 0], [0.5, 0.5]], atol=1e-3)


@pytest.mark.parametrize(
  'model, prior, gold', [('dawid_skene', None, None), ('one_coin', (0.2, 0.3, 0.5), {0: 2, 7: 1})]
)
def test_the_fit_is_that_of_loops(model, prior, gold):
  known = None
  if gold:
    known = np.full(EXAMPLES, -1)
    known[list(gold)] = list(gold.values())
  beliefs, matrices, learned, history = fit_of(model, prior, known)
  with jax.enable_x64(True):
    start = np.asarray(votes.counts(CROWD), float)
    start /= start.sum(1, keepdims=True)
    fitted = confusions.fit(CROWD, start, prior, known, model=model)
    assert len(fitted.history) == len(history) > 2
    np.testing.assert_allclose(fitted.history, history, atol=1e-9)
    np.testing.assert_allclose(fitted.beliefs, beliefs, atol=1e-9)
    np.testing.assert_allclose(fitted.confusions, matrices, atol=1e-9)
    np.testing.assert_allclose(fitted.prior, learned, atol=1e-9)


def test_nothing_is_as_large_as_examples_by_annotators_by_classes():
  annotators, examples, classes = 300, 400, 5
  random = np.random.RandomState(0)
  rows = np.arange(examples)
  crowd = Crowd.from_triples(
    rows, rows % annotators, random.randint(classes, size=examples), classes
  )
  program = jax.make_jaxpr(lambda crowd: confusions.step(crowd, votes.soft(crowd)))(crowd)
  sizes = largest(program.jaxpr)
  assert annotators * classes**2 <= sizes < examples * annotators


def largest(jaxpr):
  """The most numbers of any array in a program."""
  size = max(variable.aval.size for variable in (*jaxpr.invars, *jaxpr.constvars, *jaxpr.outvars))
  for equation in jaxpr.eqns:
    size = max(size, *(variable.aval.size for variable in equation.outvars))
    for inner in jax.extend.core.jaxprs_in_params(equation.params):
      size = max(size, largest(inner))
  return size
