"""HORKD: which losses its orders are, what the assistant's share does, and what of it is frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import staged
import toy_pairs

from jaxdistill import errors, losses
from jaxdistill.distillation import horkd
from jaxdistill.training.players import Scene


@pytest.fixture(scope='module')
def features():
  rng = np.random.default_rng(0)
  return {
    part: {'embedding': jax.device_put(np.float32(rng.normal(size=(6, 4))))}
    for part in ('student', 'teacher', 'assistant')
  }


def imitation(method, outputs):
  """The weighted sum of the student's terms but the label's."""
  scene = Scene(outputs, staged.batch())
  (player,) = method.stages[-1].players
  terms = [term for term in player.terms if term.name != 'cross_entropy']
  return sum(term.weight * term.loss(scene) for term in terms)


def embeddings(outputs, *parts):
  return [outputs[part]['embedding'] for part in parts]


def test_orders_2_and_3_alone_are_rkd(features):
  method = horkd.method(staged.pair(), order1=0.0, assistant=0.0)
  expected = losses.rkd(*embeddings(features, 'student', 'teacher'))
  assert float(imitation(method, features)) == pytest.approx(float(expected), rel=1e-6)
  assert [stage.name for stage in method.stages] == ['student'] and method.reconstruction


def test_order_1_alone_is_a_hint(features):
  method = horkd.method(staged.pair(), order2=0.0, order3=0.0, assistant=0.0)
  student, teacher = (np.asarray(side) for side in embeddings(features, 'student', 'teacher'))
  units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (student, teacher)]
  expected = np.square(units[0] - units[1]).sum(1).mean()
  assert float(imitation(method, features)) == pytest.approx(expected, rel=1e-5)


def test_the_assistant_has_its_share(features):
  orders = dict(order1=0.7, order2=25.0, order3=50.0, order4=2.0)
  method = horkd.method(staged.pair(), assistant=0.25, **orders)
  weights = dict(zip(('point', 'pair', 'triplet', 'group'), orders.values()))
  of_teacher, of_assistant = (
    losses.horkd(*embeddings(features, 'student', guide), **weights)
    for guide in ('teacher', 'assistant')
  )
  expected = 0.75 * of_teacher + 0.25 * of_assistant
  assert float(imitation(method, features)) == pytest.approx(float(expected), rel=1e-5)
  equal = {part: features['teacher'] for part in features}
  assert abs(float(imitation(method, equal))) < 1e-5
  alone = horkd.method(staged.pair(), assistant=1.0)
  names = {term.name for term in alone.stages[-1].players[0].terms}
  assert not [name for name in names if name.startswith('teacher')]


def test_four_devices_compare_all_rows_of_the_batch(features):
  method = horkd.method(staged.pair(), order1=0.0, order3=0.0, order4=1.0)

  def total(params, outputs, entries):
    scene = Scene(outputs, entries)
    terms = [term for term in method.stages[-1].players[0].terms if term.name != 'cross_entropy']
    by_term = {term.name: term.weight * term.loss(scene) for term in terms}
    return sum(by_term.values()), by_term

  arguments = {}, features, toy_pairs.batch()
  of_four, by_term = toy_pairs.of_four_devices(total)(*arguments)
  of_one, expected = jax.jit(toy_pairs.gradients(total))(*arguments)
  assert len(expected) == 4
  for name, value in expected.items():
    assert float(by_term[name]) == pytest.approx(float(value), rel=1e-4), name
  slopes = (gradients[1]['student']['embedding'] for gradients in (of_four, of_one))
  np.testing.assert_allclose(*slopes, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('order, keeps', [(1, (True, False)), (2, (True, True)), (3, (True, True))])
def test_what_the_orders_do_not_see(features, order, keeps):
  """A factor of the student's features, and a rotation."""
  weights = {f'order{number}': float(number == order) for number in (1, 2, 3)}
  method = horkd.method(staged.pair(), assistant=0.0, **weights)
  rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
  before = float(imitation(method, features))
  for change, is_kept in zip((3 * np.eye(4), rotation), keeps):
    changed = {'embedding': features['student']['embedding'] @ change}
    after = float(imitation(method, {**features, 'student': changed}))
    assert (after == pytest.approx(before, rel=1e-4)) == is_kept


def test_equal_rows_have_finite_gradients(features):
  method = horkd.method(staged.pair(), order4=1.0)

  def loss(student):
    doubled = student[jnp.array([0, 0, 1, 1, 1, 2])]
    return imitation(method, {**features, 'student': {'embedding': doubled}})

  gradient = jax.jit(jax.grad(loss))(features['student']['embedding'])
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_an_assistant_is_taught_and_then_frozen():
  pair, entries = staged.pair(4, 6), staged.batch()
  first, second = horkd.method(pair).stages
  assert (first.name, second.name) == ('assistant', 'student')
  assert second.start == {'assistant': 'assistant'}
  start, taught, lines = staged.trained(pair, first, entries)
  assert set(start['params']) == {'assistant', 'assistant_to_teacher'}
  assert not any(map(staged.same, start['params'].values(), taught['params'].values()))
  assert {'teacher_point', 'teacher_pair_weighted', 'teacher_triplet'} <= set(lines[0])
  kept = {'params': {'assistant': taught['params']['assistant']}}
  start, end, lines = staged.trained(pair, second, entries, initial=kept)
  assert set(start['params']) == {'assistant', 'student', 'student_to_teacher'}
  for part, params in end['params'].items():
    assert staged.same(params, start['params'][part]) == (part == 'assistant'), part
  assert staged.same(end['params']['assistant'], kept['params']['assistant'])
  assert 'assistant_pair_weighted' in lines[0]


def test_bad_shares_are_refused():
  with pytest.raises(errors.UserError, match='a share from 0 to 1'):
    horkd.method(staged.pair(), assistant=1.5)
