"""Bridge Distillation: its two losses, where the student starts, and what stays as it is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import staged

from jaxdistill import errors, losses
from jaxdistill.distillation import bridge
from jaxdistill.training.players import Scene


@pytest.fixture(scope='module')
def pair():
  return staged.pair(4, 6)


@pytest.fixture(scope='module')
def entries():
  return staged.batch()


def terms(stage, outputs):
  """The terms of a stage's player by name, without their weights."""
  scene = Scene(outputs, staged.batch())
  return {term.name: float(term.loss(scene)) for term in stage.players[0].terms}


def rows(width, seed):
  return jax.device_put(np.float32(np.random.default_rng(seed).normal(size=(6, width))))


def test_the_first_loss(pair):
  first, _ = bridge.method(pair).stages
  features, logits = rows(24, 0), rows(3, 1)
  recovered = features + 0.5 * rows(24, 2)
  outputs = {
    'teacher': {'embedding': features},
    'decoder': {'output': recovered},
    'student': {'logits': logits},
  }
  expected = np.square(np.asarray(recovered - features)).sum(1).mean() / 24
  losses_of = terms(first, outputs)
  assert losses_of['recover'] == pytest.approx(expected, rel=1e-5)
  label = losses.cross_entropy(logits, jnp.asarray(staged.LABELS))
  assert losses_of['cross_entropy'] == pytest.approx(float(label), rel=1e-5)
  assert terms(first, {**outputs, 'decoder': {'output': features}})['recover'] == 0


def test_the_first_phase_recovers_the_features(pair, entries):
  """By the second term alone; with it left out, the labels are learned through A."""
  far = dataclasses.replace(pair, steps=400, optimizer=lambda steps: optax.sgd(0.3, 0.9))
  first, _ = bridge.method(far, hidden=32, adaptation_rate=1.0).stages
  (player,) = first.players
  only = dataclasses.replace(player, terms=player.terms[1:])
  recovering = dataclasses.replace(first, players=(only,))
  _, _, lines = staged.trained(far, recovering, entries, steps=100)
  assert lines[-1]['recover'] < 0.02 * lines[0]['recover']


def test_a_student_by_regression_alone_comes_to_the_targets(pair, entries):
  far = dataclasses.replace(pair, optimizer=lambda steps: optax.sgd(0.3, 0.9))
  _, second = bridge.method(far, hidden=8, classify=0.0).stages
  _, _, lines = staged.trained(far, second, entries, steps=100)
  assert 1 - lines[-1]['regress'] / 2 > 0.9 > 1 - lines[0]['regress'] / 2  # cosines


def test_predictions_of_the_private_classes(pair):
  first, _ = bridge.method(pair, recovered='predictions').stages
  kernel, bias = rows(24, 3)[:5], rows(5, 4)[0]
  features, recovered = rows(24, 0), rows(24, 2)
  say = lambda h: jnp.matmul(h, kernel.T, precision='highest') + bias[None]
  outputs = {
    'teacher': {'embedding': features, 'logits': say(features), 'prototypes': kernel},
    'decoder': {'output': recovered},
    'student': {'logits': rows(3, 1)},
  }
  expected = float(losses.kd(say(recovered), say(features), 4.0))
  assert terms(first, outputs)['recover'] == pytest.approx(expected, rel=1e-4)
  with pytest.raises(errors.UserError, match="take recovered='features'"):
    bridge.method(staged.pair(teacher=None), recovered='predictions')


def test_the_second_loss(pair):
  _, second = bridge.method(pair).stages
  outputs = {
    'student': {'embedding': rows(16, 0), 'logits': rows(3, 1)},
    'adapter': {'output': rows(16, 2)},
  }
  units = [np.asarray(side) for side in (rows(16, 0), rows(16, 2))]
  units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in units]
  expected = np.square(units[0] - units[1]).sum(1).mean()
  assert terms(second, outputs)['regress'] == pytest.approx(expected, rel=1e-5)


def test_what_is_left_out(pair):
  def names(**fields):
    return [
      [term.name for term in s.players[0].terms] for s in bridge.method(pair, **fields).stages
    ]

  assert names(recover=0.0)[0] == ['cross_entropy']
  assert 'decoder' not in bridge.method(pair, recover=0.0).stages[0].parts
  assert names(regress=0.0)[1] == ['cross_entropy']
  assert names(classify=0.0)[1] == ['regress']
  with pytest.raises(errors.UserError, match='above 0'):
    bridge.method(pair, adaptation_share=0.0)


def test_the_student_starts_from_the_public_classifier_and_the_adapter_is_frozen(pair, entries):
  first, second = bridge.method(pair, hidden=8).stages
  assert second.start == {'student': 'adaptation', 'adapter': 'adaptation'}
  start, adapted, _ = staged.trained(pair, first, entries, networks=2)
  assert set(start['params']) == {'adapter', 'student', 'decoder'}
  assert set(start['params']['student']) == {'classifier'}
  assert not any(map(staged.same, start['params'].values(), adapted['params'].values()))
  handed_on = {
    collection: {part: tree[part] for part in second.start if part in tree}
    for collection, tree in adapted.items()
  }
  start, end, lines = staged.trained(pair, second, entries, networks=2, initial=handed_on)
  assert staged.same(
    start['params']['student']['classifier'], adapted['params']['student']['classifier']
  )
  for collection in ('params', 'batch_stats'):
    assert staged.same(end[collection]['adapter'], adapted[collection]['adapter'])
  for layer, tree in end['params']['student'].items():
    assert not staged.same(tree, start['params']['student'][layer]), layer
  assert 'regress' in lines[0]

  # The targets may come from a table of the teacher's features of the native images.
  seen = staged.examples(entries).images / 255 / 0.25 - 2
  kept = np.asarray(staged.teacher_outputs(pair, np.float32(seen))['embedding'])[:, None]
  _, by_table, by_table_lines = staged.trained(
    pair,
    second,
    entries,
    networks=2,
    initial=handed_on,
    tables={'teacher:embedding': kept},
    kept=True,
  )
  assert by_table_lines[-1]['regress'] == pytest.approx(lines[-1]['regress'], rel=1e-4)
