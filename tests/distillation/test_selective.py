"""Selective KD: the choice between its phases, and the regression of what is chosen."""

import jax
import numpy as np
import pytest
import staged

from jaxdistill import errors
from jaxdistill.distillation import selective, sparse_selection
from jaxdistill.training.players import Scene


class Flow:
  """Between the phases: what the teacher sees in the training images."""

  def __init__(self, images=40, width=16):
    rng = np.random.default_rng(0)
    self.labels = np.arange(images) % 4
    self.embedding = rng.normal(size=(4, width))[self.labels] + rng.normal(size=(images, width))

  def features(self, name, view='', outputs=('embedding',)):
    assert (name, view, tuple(outputs)) == ('teacher', '', ('embedding',))
    return {'embedding': self.embedding}


def regression(mimicked, teacher, chosen, weight=None):
  entries = {**staged.batch(), 'chosen': np.float32(chosen)}
  entries['weight'] = np.ones(6, np.float32) if weight is None else np.float32(weight)
  scene = Scene({'mimic': {'output': mimicked}, 'teacher': {'embedding': teacher}}, entries)
  return selective.regression(scene)


def test_the_regression_is_over_chosen_images():
  rng = np.random.default_rng(1)
  mimicked, teacher = (np.float32(rng.normal(size=(6, 4))) for _ in range(2))
  unit, directions = (
    side / np.linalg.norm(side, axis=1, keepdims=True) for side in (teacher, mimicked)
  )
  distances = np.square(directions - unit).sum(1)
  chosen = np.array([1, 0, 1, 1, 0, 0])
  expected = distances[chosen > 0].mean()
  assert regression(mimicked, teacher, chosen) == pytest.approx(expected, rel=1e-5)
  assert regression(mimicked, teacher, np.ones(6)) == pytest.approx(distances.mean(), rel=1e-5)
  assert regression(mimicked, teacher, np.zeros(6)) == 0
  assert regression(5 * unit, 3 * teacher, chosen) == pytest.approx(0, abs=1e-6)
  holed = mimicked.copy()
  holed[3] = np.nan
  weight = np.array([1, 1, 1, 0, 1, 1])
  expected = distances[[0, 2]].mean()
  assert regression(holed, teacher, chosen, weight) == pytest.approx(expected, rel=1e-5)


def test_the_choice_is_made_between_the_phases():
  method = selective.method(staged.pair(4, 6), share=0.6, neighbours=3)
  first, second = method.stages
  assert [stage.name for stage in method.stages] == ['student', 'selected']
  assert first.guides == () and first.tables is None and list(first.parts) == ['student']
  assert [term.name for term in first.players[0].terms] == ['cross_entropy']
  assert second.start == {'student': 'student'} and first.share + second.share == 1
  flow = Flow()
  chosen = second.tables(flow)['chosen']
  expected = sparse_selection.select(flow.embedding, flow.labels, 0.6, 3).chosen
  assert chosen.dtype == np.float32 and (chosen == expected).all() and 0.4 < chosen.mean() < 0.8


def test_the_student_is_tuned_with_a_layer_that_is_dropped():
  pair, entries = staged.pair(4, 6), staged.batch()
  method = selective.method(pair)
  first, second = method.stages
  _, end, _ = staged.trained(pair, first, entries)
  handed_on = {'params': {'student': end['params']['student']}}
  tables = {'chosen': np.array([1, 1, 0, 0, 1, 1], np.float32)}
  start, tuned, lines = staged.trained(pair, second, entries, initial=handed_on, tables=tables)
  assert staged.same(start['params']['student'], handed_on['params']['student'])
  assert set(tuned['params']) == {'student', 'mimic'} and lines[0]['regress'] > 0
  assert not any(map(staged.same, start['params'].values(), tuned['params'].values()))
  assert method.student == 'student'
  for optimizer, expected in (
    (first.players[0].optimizer, 0.1),
    (second.players[0].optimizer, 0.01),
  ):
    (update,), _ = optimizer.update((1.0,), optimizer.init((0.0,)))
    assert float(update) == pytest.approx(-expected)


def test_long_features_of_the_student_do_not_blow_up_its_tuning():
  rng = np.random.default_rng(2)
  mimicked, teacher = (np.float32(rng.normal(size=(6, 4))) for _ in range(2))
  slopes = [
    jax.grad(lambda side: regression(side, teacher, np.ones(6)))(factor * mimicked)
    for factor in (1, 100)
  ]
  np.testing.assert_allclose(slopes[1], slopes[0] / 100, rtol=1e-4, atol=1e-8)


def test_bad_shares_are_refused():
  for fields in (dict(first_share=1.0), dict(tuning_rate=0.0)):
    with pytest.raises(errors.UserError, match='first_share lies between 0 and 1'):
      selective.method(staged.pair(), **fields)


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(share=2.0), 'share is above 0 and at most 1'),
    (dict(smoothness=-0.1), 'smoothness at least 0'),
    (dict(neighbours=-1), 'neighbours is -1; it must be at least 0'),
    (dict(exact_up_to=0.5), 'exact_up_to is 0.5; it must be a whole number'),
  ],
)
def test_what_nothing_can_be_chosen_by_is_told_before_any_training(fields, message):
  with pytest.raises(errors.UserError, match=message):
    selective.method(staged.pair(), **fields)


def test_images_of_one_class_are_refused_before_any_training():
  with pytest.raises(errors.UserError, match='images of at least two classes'):
    selective.method(staged.pair(labels=np.zeros(6, int)))
