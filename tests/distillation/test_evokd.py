"""EvoKD: a teacher that learns beside its student and does not know of it."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import staged

from jaxdistill import errors
from jaxdistill.distillation import evokd
from jaxdistill.distillation import sum as sums
from jaxdistill.models.guided import Guided

LABELLED = ('cross_entropy', 'guided_labels')
MODULES = tuple(f'{side}_guided{number}' for side in ('student', 'teacher') for number in (1, 2))


@pytest.fixture(scope='module')
def pair():
  return staged.pair(4, 6, norm='batch')


@pytest.fixture(scope='module')
def entries():
  return staged.batch()


@pytest.fixture(scope='module')
def stage(pair):
  (stage,) = evokd.method(pair, warmup=0, width=8).stages
  return stage


def of_player(stage, name):
  """The same training of one player alone."""
  parts = {part: net for part, net in stage.parts.items() if part.startswith(name)}
  players = tuple(player for player in stage.players if player.name == name)
  return dataclasses.replace(stage, parts=parts, players=players)


@pytest.mark.slow
def test_the_teacher_does_not_know_of_its_student(pair, stage, entries):
  start, end, lines = staged.trained(pair, stage, entries, steps=3)
  _, alone, alone_lines = staged.trained(pair, of_player(stage, 'teacher'), entries, steps=3)
  for collection in ('params', 'batch_stats'):
    for part, tree in alone[collection].items():
      assert staged.same(tree, end[collection][part]), part
      assert not staged.same(tree, start[collection][part]), part
  assert {'teacher/cross_entropy', 'student/kd', 'student/guided_features'} <= set(lines[0])
  expected = [line['loss'] for line in alone_lines]
  assert [line['teacher/loss'] for line in lines] == pytest.approx(expected, rel=1e-6)


def test_without_imitation_the_student_does_not_know_of_its_teacher(pair, entries):
  (stage,) = evokd.method(pair, alpha=0.0, stages=0).stages
  assert [term.name for term in stage.players[1].terms] == ['cross_entropy']
  _, end, _ = staged.trained(pair, stage, entries)
  _, alone, _ = staged.trained(pair, of_player(stage, 'student'), entries)
  for collection in ('params', 'batch_stats'):
    assert staged.same(alone[collection]['student'], end[collection]['student'])
  silent = dict(alpha=0.0, beta=0.0, gamma=0.0)
  (stage,) = evokd.method(pair, **silent).stages
  assert [term.name for term in stage.players[1].terms] == list(LABELLED)


def test_the_student_sends_no_gradient_to_the_teacher(pair, stage, entries):
  teacher, student = stage.players
  (labelled, *_) = teacher.terms
  silent = dataclasses.replace(labelled, loss=lambda scene: 0.0 * labelled.loss(scene))
  imitating = tuple(term for term in student.terms if term.name not in LABELLED)
  assert [term.name for term in imitating] == ['kd', 'guided_features', 'guided_kd']
  players = (
    dataclasses.replace(teacher, terms=(silent,)),
    dataclasses.replace(student, terms=imitating),
  )
  stage = dataclasses.replace(stage, players=players)
  variables = staged.first_variables(pair, stage, entries)
  _, gradient = staged.compiled(pair, stage)(variables, entries)
  for part, tree in gradient.items():
    largest = staged.largest(tree)
    assert (largest > 0) == part.startswith('student') and np.isfinite(largest), part


def test_the_terms_are_those_of_the_formulas(pair, stage, entries):
  variables = staged.first_variables(pair, stage, entries)
  outcome, _ = staged.compiled(pair, stage)(variables, entries)

  def apply(module, part, *arguments):
    own = {name: tree[part] for name, tree in variables.items() if part in tree}
    applied = functools.partial(module.apply, train=True, mutable=['batch_stats'])
    return jax.jit(applied)(own, *arguments)[0]

  logits, distance, said = {}, 0.0, {}
  for name, net in (('student', pair.student), ('teacher', pair.teacher)):
    logits[name], features = apply(net, name, entries['images'])
    for number in (1, 2):
      part = f'{name}_guided{number}'
      said[part] = apply(Guided(3, 8), part, features[f'block{number}'])
  kd = lambda student, teacher: _kd(*(np.float64(side) for side in (student, teacher)))
  guided_kd = 0.0
  for number in (1, 2):
    student, teacher = (said[f'{name}_guided{number}'] for name in ('student', 'teacher'))
    units = [_unit(np.float64(side['guided'])) for side in (student, teacher)]
    distance += np.square(units[0] - units[1]).sum(1).mean()
    guided_kd += kd(student['logits'], teacher['logits'])
  metrics = {name: float(value) for name, value in outcome.metrics.items()}
  assert metrics['student/kd'] == pytest.approx(kd(logits['student'], logits['teacher']), rel=1e-3)
  assert metrics['student/guided_features'] == pytest.approx(distance, rel=1e-3)
  assert metrics['student/guided_kd'] == pytest.approx(guided_kd, rel=1e-3)
  parts = ('cross_entropy', 'kd', 'guided_features', 'guided_kd', 'guided_labels')
  total = sum(metrics[f'student/{name}'] for name in parts)
  assert metrics['student/loss'] == pytest.approx(total, rel=1e-5)
  halved = metrics['teacher/cross_entropy'] + 0.5 * metrics['teacher/guided_labels']
  assert metrics['teacher/loss'] == pytest.approx(halved, rel=1e-5)


def _unit(rows):
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _kd(student, teacher, temperature=4.0):
  log_p, log_q = (np.asarray(jax.nn.log_softmax(z / temperature)) for z in (teacher, student))
  return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(1).mean()


def test_without_modules_it_is_kd_with_a_live_teacher(pair):
  whole = dataclasses.replace(pair, steps=240 * pair.epoch_steps)
  method = evokd.method(whole, stages=0, warmup=4)
  (stage,) = method.stages
  assert list(stage.parts) == ['teacher', 'student'] and stage.guides == ()
  teacher, student = stage.players
  assert [term.name for term in teacher.terms] == ['cross_entropy']
  assert [term.name for term in student.terms] == ['cross_entropy', 'kd']
  assert {part.mode for part in stage.parts.values()} == {'train'} and method.reconstruction
  weights = [float(student.terms[1].weight(step)) for step in (0, 9, 10, 39, 100)]
  assert weights == pytest.approx([0.25, 0.25, 0.5, 1.0, 1.0])
  modules = {name for name in evokd.method(pair).stages[0].parts if 'guided' in name}
  assert modules == set(MODULES)


def test_with_a_frozen_teacher_and_without_modules_it_is_kd(pair, entries):
  """The teacher's player is left out, so that its part stays what it starts as, in eval mode."""
  (stage,) = evokd.method(pair, stages=0, warmup=0).stages
  frozen = dataclasses.replace(stage, players=stage.players[1:])
  (by_kd,) = sums.method(pair, terms='kd', gamma=1.0).stages
  teacher = {
    collection: {'teacher': jax.tree.map(lambda leaf: leaf[None], tree)}
    for collection, tree in staged.teacher_variables(pair.teacher).items()
  }
  start, end, lines = staged.trained(pair, frozen, entries, steps=3, initial=teacher)
  _, expected, expected_lines = staged.trained(pair, by_kd, entries, steps=3)
  for collection in ('params', 'batch_stats'):
    assert staged.same(start[collection]['teacher'], end[collection]['teacher'])
    for name, leaf in staged.flat(expected[collection]['student']).items():
      of_evokd = staged.flat(end[collection]['student'])[name]
      np.testing.assert_allclose(of_evokd, leaf, atol=1e-6, err_msg=name)
  assert [line['loss'] for line in lines] == pytest.approx(
    [line['loss'] for line in expected_lines], rel=1e-5
  )


def test_a_teacher_that_cannot_train_is_refused():
  with pytest.raises(errors.UserError, match='a function has nothing to train'):
    evokd.method(staged.pair(teacher=None))
