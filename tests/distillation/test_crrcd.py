"""CRRCD: what its relations see, who has a gradient, and its bank."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import staged
from staged import LABELS

from jaxdistill.distillation import crrcd
from jaxdistill.distillation import sum as sums
from jaxdistill.models.relation import Relation
from jaxdistill.training.players import Scene

OWN, CROSS = 'relation_teacher', 'relation_cross'
SIDES = ('student', 'teacher')


@pytest.fixture(scope='module')
def played():
  """The pair, first variables, a batch and what the players make of it."""
  pair, entries = staged.pair(), staged.batch()
  (stage,) = crrcd.method(pair).stages
  return pair, staged.first_variables(pair, stage, entries), entries, staged.compiled(pair, stage)


def unit(rows):
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def contrast(own, cross, temperature, noise=1.0, negatives=None, known=None, images=None):
  """The loss in float64, pair by pair; own and cross [n, n, r], negatives [n, m, r] of classes that
  are known, or of None, and of images, those below n being the batch's."""
  own, cross = unit(np.float64(own)), unit(np.float64(cross))
  n, total = len(own), 0.0

  def critic(v, u):
    score = np.exp(v @ u / temperature)
    return score / (score + noise)

  for i, j in np.ndindex(n, n):
    if i == j:
      continue
    total -= np.log(critic(own[i, j], cross[i, j]))
    if negatives is None:
      others = [cross[i, k] for k in range(n) if k != i and LABELS[k] != LABELS[j]]
    else:
      others = []
      for u, of, image in zip(negatives[i], known, images):
        if of != LABELS[j] and image not in (i, j):
          others.append(unit(np.float64(u)))
    total -= sum(np.log(1 - critic(own[i, j], other)) for other in others)
  return total / (n * (n - 1))


def related(variables, part, anchors, features):
  return np.asarray(Relation().apply({'params': variables['params'][part]}, anchors, features))


def sides(pair, variables, entries):
  """Features of length 1 of the student and of the teacher."""
  _, student = pair.student.apply({'params': variables['params']['student']}, entries['images'])
  teacher = staged.teacher_outputs(pair, entries['images'])
  return unit(np.asarray(student['embedding'])), unit(np.asarray(teacher['embedding']))


def test_the_loss_is_that_of_the_formula(played):
  pair, variables, entries, play = played
  student, teacher = sides(pair, variables, entries)
  own = related(variables, OWN, teacher, teacher)
  expected = contrast(own, related(variables, CROSS, teacher, student), 0.1)
  outcome, gradient = play(variables, entries)
  assert float(outcome.metrics['relation']) == pytest.approx(expected, rel=1e-3)
  parts = ('cross_entropy', 'kd', 'relation_weighted')
  total = sum(float(outcome.metrics[name]) for name in parts)
  assert float(outcome.loss) == pytest.approx(total, rel=1e-5)
  assert float(outcome.metrics['relation_weighted']) == pytest.approx(2 * expected, rel=1e-3)
  # With the student for the anchor, on either side, it would be another loss.
  swapped = contrast(
    related(variables, OWN, student, student), related(variables, CROSS, student, student), 0.1
  )
  assert abs(swapped - expected) > 1e-3 * expected
  for part in ('student', OWN, CROSS):
    assert staged.largest(gradient[part]) > 0


def test_a_student_like_the_teacher_is_best(played):
  """With one relation module for both sides every positive cosine is 1; other rows cost more."""
  pair, variables, entries, play = played
  params = variables['params']
  equal = staged.teacher_variables(pair.teacher)['params']
  params = {**params, 'student': equal, CROSS: params[OWN]}
  outcome, _ = play({**variables, 'params': params}, entries)
  student, teacher = sides(pair, {'params': params}, entries)
  np.testing.assert_allclose(student, teacher, atol=1e-6)
  own = related({'params': params}, OWN, teacher, teacher)
  shuffled = contrast(own, own[:, np.array([3, 2, 5, 4, 1, 0])], 0.1)
  assert float(outcome.metrics['relation']) < shuffled
  positive = -np.log(1 / (1 + np.exp(-1 / 0.1)))
  none = np.zeros((6, 0, 128))
  assert contrast(own, own, 0.1, negatives=none, known=(), images=()) == pytest.approx(
    positive, rel=1e-6
  )


def test_equal_images_have_finite_gradients(played):
  _, variables, entries, play = played
  doubled = {**entries, 'images': entries['images'][np.array([0, 0, 1, 1, 1, 2])]}
  assert np.isfinite(staged.largest(play(variables, doubled)[1]))


def test_rows_of_weight_0_are_not_there(played):
  pair, variables, entries, play = played
  weight = np.array([1, 1, 1, 1, 0, 0], np.float32)
  images = entries['images'].copy()
  outcome, _ = play(variables, {**entries, 'weight': weight})
  images[4:] = 100.0
  other, _ = play(variables, {**entries, 'weight': weight, 'images': images})
  assert float(outcome.loss) == pytest.approx(float(other.loss), rel=1e-6)
  assert float(outcome.loss) != pytest.approx(float(play(variables, entries)[0].loss), rel=1e-3)


def test_without_relations_it_is_kd():
  def terms(**fields):
    (stage,) = crrcd.method(staged.pair(), **fields).stages
    return [(term.name, term.weight) for term in stage.players[0].terms], list(stage.parts)

  assert terms(beta=0.0) == ([('cross_entropy', 1.0), ('kd', 1.0)], ['student'])
  assert terms(alpha=0.0, beta=0.0) == ([('cross_entropy', 1.0)], ['student'])


def test_without_relations_its_loss_is_that_of_kd():
  pair = staged.pair()
  rng = np.random.default_rng(0)
  logits = {name: {'logits': jax.device_put(np.float32(rng.normal(size=(6, 3))))} for name in SIDES}
  scene, totals = Scene(logits, staged.batch()), []
  for method in (crrcd.method(pair, beta=0.0), sums.method(pair, terms='kd', gamma=1.0)):
    (player,) = method.stages[-1].players
    totals.append(sum(float(term.weight * term.loss(scene)) for term in player.terms))
  assert totals[0] == totals[1]


def banked(**fields):
  """A batch of six of twenty images, three of which are among the drawn ones: the pair, the stage,
  its variables and the batch."""
  pair, entries = dataclasses.replace(staged.pair(), images=20), staged.batch()
  (stage,) = crrcd.method(pair, form='bank', negatives=5, **fields).stages
  variables = staged.first_variables(pair, stage, entries)
  memory = dict(variables['memory']['relation'])
  memory |= dict(labels=jnp.arange(20, dtype=jnp.int32) % 4 - 1, drawn=jnp.array([0, 7, 3, 12, 1]))
  return pair, stage, {**variables, 'memory': {'relation': memory}}, entries


def with_bank(pair, variables, entries):
  """The relations of a batch to its own images and to those that are drawn."""
  memory = variables['memory']['relation']
  student, teacher = sides(pair, variables, entries)
  own = related(variables, OWN, teacher, teacher)
  cross = related(variables, CROSS, teacher, student)
  return own, cross, related(variables, CROSS, teacher, memory['student'][memory['drawn']])


def first_mean(own, negatives, pairs):
  """The mean of the scores of some pairs of rows with all negatives of the first one."""
  scores = [unit(own[i, j]) @ unit(negatives[i]).T / 0.07 for i, j in pairs]
  return np.exp(scores).mean()


def test_a_bank_gives_the_negatives():
  pair, stage, variables, entries = banked()
  play, memory = staged.compiled(pair, stage), variables['memory']['relation']
  np.testing.assert_allclose(np.linalg.norm(memory['student'], axis=1), 1, atol=1e-5)
  student, _ = sides(pair, variables, entries)
  drawn = np.asarray(memory['drawn'])
  own, cross, negatives = with_bank(pair, variables, entries)
  outcome, gradient = play(variables, entries)
  mean = first_mean(own, negatives, [(i, (i + 1) % 6) for i in range(6)])
  known = np.asarray(memory['labels'])[drawn]
  expected = contrast(own, cross, 0.07, 5 * mean, negatives, known, drawn)
  assert float(outcome.metrics['relation']) == pytest.approx(expected, rel=1e-3)
  assert 0 < staged.largest(gradient) < np.inf

  after = outcome.moved['memory']['relation']
  assert float(after['log_z']) == pytest.approx(np.log(mean), abs=1e-4) and bool(after['ready'])
  average = unit(0.5 * np.asarray(memory['student'])[:6] + 0.5 * student)
  np.testing.assert_allclose(after['student'][:6], average, atol=1e-5)
  np.testing.assert_array_equal(after['student'][6:], memory['student'][6:])
  np.testing.assert_array_equal(after['labels'][:6], LABELS)
  assert after['drawn'].shape == (5,) and (after['drawn'] != drawn).any()
  second, _ = play({**variables, 'memory': outcome.moved['memory']}, entries)
  assert float(second.moved['memory']['relation']['log_z']) == float(after['log_z'])


def test_without_classes_all_images_of_a_bank_but_a_pairs_own_are_negatives():
  pair, stage, variables, entries = banked(other_classes=False)
  own, cross, negatives = with_bank(pair, variables, entries)
  outcome, _ = staged.compiled(pair, stage)(variables, entries)
  mean = first_mean(own, negatives, [(i, (i + 1) % 6) for i in range(6)])
  drawn = np.asarray(variables['memory']['relation']['drawn'])
  expected = contrast(own, cross, 0.07, 5 * mean, negatives, [None] * 5, drawn)
  assert float(outcome.metrics['relation']) == pytest.approx(expected, rel=1e-3)


def test_rows_of_weight_0_set_no_constant_of_a_bank():
  """Partners are the next rows that are there; of one row alone nothing is set."""
  pair, stage, variables, entries = banked()
  play = staged.compiled(pair, stage)
  own, _, negatives = with_bank(pair, variables, entries)
  entries = {
    **entries,
    'images': entries['images'].copy(),
    'weight': np.float32([1, 0, 1, 1, 0, 0]),
  }
  entries['images'][[1, 4, 5]] = np.nan
  after = play(variables, entries)[0].moved['memory']['relation']
  expected = np.log(first_mean(own, negatives, [(0, 2), (2, 3), (3, 0)]))
  assert float(after['log_z']) == pytest.approx(expected, abs=1e-4) and bool(after['ready'])
  alone = {**entries, 'weight': np.float32([1, 0, 0, 0, 0, 0])}
  after = play(variables, alone)[0].moved['memory']['relation']
  assert float(after['log_z']) == 0 and not bool(after['ready'])


def test_features_of_two_widths_are_embedded_and_it_trains():
  pair, entries = staged.pair(4, 6), staged.batch()
  (stage,) = crrcd.method(pair, form='bank', negatives=4).stages
  start, end, lines = staged.trained(pair, stage, entries)
  assert {'relation_student_embedding', 'relation_teacher_embedding'} <= set(start['params'])
  assert all(np.isfinite(line['loss']) for line in lines) and 'relation_weighted' in lines[0]
  for part, params in start['params'].items():
    assert not staged.same(params, end['params'][part]), part
  assert not staged.same(start['memory'], end['memory'])
