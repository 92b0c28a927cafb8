"""Verification by an embedding function: numbers against those of the metrics on embeddings
computed one by one."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import data, metrics, report
from jaxdistill.data import face_pairs
from jaxdistill.distillation import verify
from jaxdistill.errors import UserError


@pytest.fixture(scope='module')
def pairs():
  _, test = data.load('digits', image_size=8)
  return face_pairs.draw(test.take_classes([7, 8, 9]), number=80, folds=4, seed=3)


def project(matrix, images):
  """A linear embedding."""
  return images.reshape(images.shape[0], -1).astype(jnp.float32) @ matrix


@pytest.fixture(scope='module')
def matrix():
  return np.random.default_rng(0).normal(size=(64, 12)).astype(np.float32)


def embedded(matrix, images):
  return images.reshape(len(images), -1).astype(np.float64) @ matrix


def test_numbers_are_those_of_the_metrics_on_every_pair(pairs, matrix):
  numbers = verify.verify(project, matrix, pairs, rates=[0.5, 0.025], batch=17)
  embeddings = embedded(matrix, pairs.images)
  left, right = embeddings[pairs.left], embeddings[pairs.right]
  scores = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
  by_fold = metrics.fold_accuracies(pairs.same, scores, pairs.fold)
  assert numbers['accuracy'] == pytest.approx(by_fold.mean())
  assert numbers['accuracy_std'] == pytest.approx(by_fold.std(ddof=1))
  assert numbers['auc'] == pytest.approx(metrics.roc_auc(pairs.same, scores))
  assert numbers['eer'] == pytest.approx(metrics.equal_error_rate(pairs.same, scores))
  assert numbers['far'] == [0.5, 0.025]
  expected = metrics.true_accept_rates(pairs.same, scores, [0.5, 0.025])
  np.testing.assert_allclose(numbers['tar'], expected)
  assert numbers['accuracy'] > 0.6  # digits are that easy


def test_mirrored_embeddings_are_added(pairs, matrix):
  scores = verify.pair_scores(project, matrix, pairs, mirrored=True)
  mirrors = pairs.images[:, :, ::-1]
  embeddings = embedded(matrix, pairs.images) + embedded(matrix, mirrors)
  expected = metrics.cosine_scores(embeddings[pairs.left], embeddings[pairs.right])
  np.testing.assert_allclose(scores, expected, atol=1e-5)
  plain = verify.pair_scores(project, matrix, pairs)
  assert abs(plain - scores).max() > 0.01


def test_one_compilation_serves_all_batches_and_variables(pairs, matrix):
  traces = []

  def counted(variables, images):
    traces.append(images.shape)
    return project(variables, images)

  for scale in (1.0, 2.0):
    verify.pair_scores(counted, scale * matrix, pairs, batch=16)
  assert traces == [(16, 8, 8, 1)]


def test_identification_is_that_of_the_metrics(matrix):
  _, test = data.load('digits', image_size=8)
  known, others = test.take_classes([0, 1, 2, 3, 4, 5]), test.take_classes([8, 9])
  numbers = verify.identify(project, matrix, known, seed=4, distractors=others.images, batch=50)
  gallery, probes = face_pairs.gallery_and_probes(known.labels, 1, 4)
  embeddings = embedded(matrix, known.images)
  ranks = metrics.probe_ranks(
    embeddings[gallery],
    known.labels[gallery],
    embeddings[probes],
    known.labels[probes],
    embedded(matrix, others.images),
  )
  assert numbers == pytest.approx({'rank1': (ranks <= 1).mean(), 'rank5': (ranks <= 5).mean()})
  without = verify.identify(project, matrix, known, seed=4)
  assert without['rank1'] > numbers['rank1'] > 0 and without['rank5'] > numbers['rank5']


def test_a_rate_that_the_pairs_cannot_measure_is_refused_before_the_network_runs(pairs):
  def never(variables, images):
    raise AssertionError('the network ran')

  with pytest.raises(UserError, match='0.01 is below one in the 40 impostor pairs; give at least'):
    verify.verify(never, None, pairs, rates=[0.1, 0.01])


def test_a_curve_can_be_shown(pairs, matrix):
  scores = verify.pair_scores(project, matrix, pairs)
  chart = verify.roc_chart({'linear': metrics.roc_curve(pairs.same, scores)})
  page = report.Page('verification').curves('ROC', [chart]).html()
  assert 'false accept rate' in page and 'polyline' in page
