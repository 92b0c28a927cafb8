"""CRRCD: what its relations see, who has a gradient, and its bank."""

import dataclasses

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


def contrast(own, cross, temperature, noise=1.0, negatives=None, known=None):
  """The loss in float64, pair by pair; own and cross [n, n, r], negatives [n, m, r]."""
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
      others = [unit(np.float64(u)) for u, of in zip(negatives[i], known) if of != LABELS[j]]
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
  assert contrast(own, own, 0.1, negatives=none, known=()) == pytest.approx(positive, rel=1e-6)


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
  logits = {name: {'logits': jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)} for name in SIDES}
  scene, totals = Scene(logits, staged.batch()), []
  for method in (crrcd.method(pair, beta=0.0), sums.method(pair, terms='kd', gamma=1.0)):
    (player,) = method.stages[-1].players
    totals.append(sum(float(term.weight * term.loss(scene)) for term in player.terms))
  assert totals[0] == totals[1]


def test_a_bank_gives_the_negatives():
  pair, entries = dataclasses.replace(staged.pair(), images=20), staged.batch()
  (stage,) = crrcd.method(pair, form='bank', negatives=5).stages
  variables, play = staged.first_variables(pair, stage, entries), staged.compiled(pair, stage)
  memory = dict(variables['memory']['relation'])
  np.testing.assert_allclose(np.linalg.norm(memory['student'], axis=1), 1, atol=1e-5)
  memory['labels'] = jnp.arange(20, dtype=jnp.int32) % 4 - 1
  variables = {**variables, 'memory': {'relation': memory}}
  student, teacher = sides(pair, variables, entries)
  drawn = np.asarray(memory['drawn'])
  own = related(variables, OWN, teacher, teacher)
  cross = related(variables, CROSS, teacher, student)
  negatives = related(variables, CROSS, teacher, memory['student'][drawn])
  outcome, gradient = play(variables, entries)
  partners = unit(own[np.arange(6), (np.arange(6) + 1) % 6])
  mean = np.exp((partners[:, None] * unit(negatives)).sum(-1) / 0.07).mean()
  expected = contrast(own, cross, 0.07, 5 * mean, negatives, np.asarray(memory['labels'])[drawn])
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


def test_features_of_two_widths_are_embedded_and_it_trains():
  pair, entries = staged.pair(4, 6), staged.batch()
  (stage,) = crrcd.method(pair, form='bank', negatives=4).stages
  start, end, lines = staged.trained(pair, stage, entries)
  assert {'relation_student_embedding', 'relation_teacher_embedding'} <= set(start['params'])
  assert all(np.isfinite(line['loss']) for line in lines) and 'relation_weighted' in lines[0]
  for part, params in start['params'].items():
    assert not staged.same(params, end['params'][part]), part
  assert not staged.same(start['memory'], end['memory'])
