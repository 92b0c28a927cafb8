"""AIRD: its four terms against their formulas, and what they do not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import staged

from jaxdistill.distillation import aird
from jaxdistill.training.players import Scene

LABELS, TEMPERATURE, SCALE = staged.LABELS, 0.1, 64.0


@pytest.fixture(scope='module')
def features():
  rng = np.random.default_rng(0)
  student, teacher, prototypes = (rng.normal(size=(rows, 4)) for rows in (6, 6, 3))
  return student, teacher, prototypes


def terms(student, teacher, prototypes, weight=None, **fields):
  """Every term of the student by name, without its weight."""
  entries = staged.batch()
  if weight is not None:
    entries['weight'] = weight
  outputs = {
    'student': {'embedding': np.float32(student), 'logits': np.zeros((6, 3), np.float32)},
    'teacher': {'embedding': np.float32(teacher), 'prototypes': np.float32(prototypes)},
  }
  (stage,) = aird.method(staged.pair(), **fields).stages
  scene = Scene(outputs, entries)
  return {term.name: float(term.loss(scene)) for term in stage.players[0].terms}


def unit(rows):
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def log_softmax(logits):
  return (
    logits
    - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    - (logits.max(-1, keepdims=True))
  )


def test_the_terms_are_those_of_the_formulas(features):
  student, teacher, prototypes = map(unit, features)
  found = terms(*features)
  assert found['instance'] == pytest.approx((1 - (student * teacher).sum(1)).mean(), rel=1e-5)
  to_classes = log_softmax(SCALE * student @ prototypes.T)
  assert found['prototypes'] == pytest.approx(-to_classes[np.arange(6), LABELS].mean(), rel=1e-5)
  divergences, contrasts = [], []
  for i in range(6):
    others = np.arange(6) != i
    log_p = log_softmax(teacher[others] @ teacher[i] / TEMPERATURE)
    log_q = log_softmax(student[others] @ student[i] / TEMPERATURE)
    divergences.append((np.exp(log_p) * (log_p - log_q)).sum())
    admitted = np.flatnonzero((LABELS != LABELS[i]) | (np.arange(6) == i))
    log_p = log_softmax(teacher[admitted] @ student[i] / TEMPERATURE)
    contrasts.append(-log_p[admitted.tolist().index(i)])
  assert found['relation'] == pytest.approx(np.mean(divergences), rel=1e-4)
  assert found['contrast'] == pytest.approx(np.mean(contrasts), rel=1e-4)


def test_what_the_terms_do_not_see(features):
  student, teacher, prototypes = features
  scales = np.arange(1, 7)[:, None]
  before, after = terms(*features), terms(scales * student, teacher / scales, 5 * prototypes)
  assert after == pytest.approx(before, rel=1e-4)
  equal = terms(scales * teacher, teacher, prototypes)
  assert abs(equal['instance']) < 1e-6 and abs(equal['relation']) < 1e-5
  assert equal['contrast'] > 0 and before['instance'] > 0.1


def test_rows_of_weight_0_are_not_there(features):
  student, teacher, prototypes = features
  weight = np.array([1, 1, 0, 1, 1, 1], np.float32)
  before = terms(student, teacher, prototypes, weight)
  holed = student.copy()
  holed[2] = np.nan
  assert terms(holed, teacher, prototypes, weight) == pytest.approx(before)


def test_what_is_left_out():
  def names(pair=None, **fields):
    (stage,) = aird.method(pair or staged.pair(), **fields).stages
    return [term.name for term in stage.players[0].terms], stage.players[0].trains

  plain = (['cross_entropy'], ('student',))
  assert names(alpha=0.0, beta=0.0) == plain
  assert names(staged.pair(4, 6), alpha=0.0, beta=0.0) == plain
  assert names(beta=0.0)[0] == ['cross_entropy', 'instance', 'prototypes']
  assert names(beta=0.0, prototypes=False)[0] == ['cross_entropy', 'instance']
  assert names(staged.pair(teacher=None), beta=0.0)[0] == ['cross_entropy', 'instance']
  assert names(staged.pair(4, 6))[1] == ('student', 'student_to_teacher')


def test_relations_alone_part_the_classes(features):
  """Descent on the student's features by L_RlD, to a teacher whose classes are at right angles."""
  teacher = np.eye(4)[LABELS]
  (stage,) = aird.method(staged.pair(), alpha=0.0).stages
  relations = [term for term in stage.players[0].terms if term.name in ('relation', 'contrast')]
  assert len(relations) == 2

  def loss(student):
    outputs = {'student': {'embedding': student}, 'teacher': {'embedding': jnp.asarray(teacher)}}
    scene = Scene(outputs, staged.batch())
    return sum(term.loss(scene) for term in relations)

  def angle(student):
    """The mean between two images of two classes, in degrees."""
    cosines = unit(student) @ unit(student).T
    apart = LABELS[:, None] != LABELS[None]
    return np.rad2deg(np.arccos(cosines[apart].clip(-1, 1))).mean()

  # All directions are near each other at first.
  student, step = jnp.asarray(features[0] + 2, jnp.float32), jax.jit(jax.grad(loss))
  before = angle(np.asarray(student))
  for _ in range(50):
    student = student - 2.0 * step(student)
  assert before < 45 and angle(np.asarray(student)) > before + 30


def test_it_trains():
  pair, entries = staged.pair(4, 6), staged.batch()
  (stage,) = aird.method(pair).stages
  start, end, lines = staged.trained(pair, stage, entries, steps=2)
  assert all(np.isfinite(line['loss']) for line in lines) and 'prototypes' in lines[0]
  assert not any(map(staged.same, start['params'].values(), end['params'].values()))
