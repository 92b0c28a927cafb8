"""Sums of terms in the engine: who moves, what stays, what is remembered, on one device and on
four; and a term and a network of the user's from a file."""

import dataclasses

import jax
import numpy as np
import pytest
import toy_pairs

from jaxdistill import config, models
from jaxdistill.data.examples import Examples
from jaxdistill.distillation import sum as sums
from jaxdistill.distillation import terms
from jaxdistill.training import parallel, players
from jaxdistill.training.players import Game, Part
from jaxdistill.training.recipe import Recipe

SIDE, IMAGES = toy_pairs.SIDE, 10
RNG = np.random.default_rng(0)
LABELS = (np.arange(IMAGES) % toy_pairs.CLASSES).astype(np.int32)
EXAMPLES = Examples(
  RNG.integers(0, 256, (IMAGES, SIDE, SIDE, 3)).astype(np.uint8),
  LABELS,
  toy_pairs.CLASSES,
  (0.5, 0.5, 0.5),
  (0.25, 0.25, 0.25),
)
# Every second batch is short.
RECIPE = Recipe('tiny', batch=6, epochs=4)


def pair(**changes):
  return toy_pairs.pair(4, 6, images=IMAGES, labels=LABELS, **changes)


def advance(stage, made, steps=2, devices=1, initial=None):
  """(First state, state after some steps, metrics of the last) of a stage."""
  game = Game(stage.parts, stage.players, {'teacher': Part(made.teacher, mode='eval')})
  problem = players.problem(
    game,
    EXAMPLES,
    RECIPE,
    guide_variables={'teacher': made.teacher_variables},
    networks=1,
    num_steps=8,
    mesh=parallel.make_mesh(devices) if devices > 1 else None,
    spread='batch' if devices > 1 else 'auto',
    initial=initial,
  )

  @jax.jit
  def step(state, inputs):
    batch = problem.source.sample(inputs, jax.random.wrap_key_data(state.key), state.step)
    return problem.step(state, batch)

  before, state = jax.tree.map(np.asarray, problem.state), problem.state
  for _ in range(steps):
    state, metrics = step(state, problem.source.data)
  metrics = {name: float(value) for name, value in metrics.items()}
  return before.variables, jax.tree.map(np.asarray, state).variables, metrics


def moved(before, after, part):
  """The paths of the parameters of a part that have changed, and of those that have not."""
  changed, same = [], []
  leaves = jax.tree_util.tree_leaves_with_path(before['params'][part])
  for (path, old), new in zip(leaves, jax.tree.leaves(after['params'][part]), strict=True):
    path = jax.tree_util.keystr(path, simple=True, separator='/')
    (changed if (old != new).any() else same).append(path)
  return changed, same


@pytest.mark.slow
def test_a_sum_trains_the_student_and_all_adapters_on_any_number_of_devices():
  made = pair()
  method = sums.method(made, terms='kd+fitnet+crd+rkd', fields={'crd': {'negatives': 4}})
  (stage,) = method.stages
  before, after, metrics = advance(stage, made)
  for part in ('student', 'fitnet_regressor1', 'crd_student', 'crd_teacher'):
    changed, same = moved(before, after, part)
    assert changed and all(path.endswith('bias') for path in same), part  # of one before a norm
  names = {'cross_entropy', 'kd', 'fitnet', 'crd', 'rkd'}
  assert names <= set(metrics) and {'fitnet_weighted', 'crd_weighted'} <= set(metrics)
  total = sum(metrics.get(f'{name}_weighted', metrics[name]) for name in names)
  assert metrics['loss'] == pytest.approx(total, rel=1e-5)
  assert metrics['fitnet_weighted'] == pytest.approx(100 * metrics['fitnet'], rel=1e-5)
  bank = after['memory']
  bank = bank.get('crd', bank.get('student/crd'))
  assert bank['student'].shape == (1, IMAGES, 128) and bank['ready'].all()

  _, spread, of_four = advance(stage, made, devices=4)
  for name, value in metrics.items():
    assert of_four[name] == pytest.approx(value, rel=2e-4), name
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), after['params'], spread['params']
  )


def test_a_first_phase_leaves_the_classifier_alone():
  made = pair()
  stage, _ = sums.method(made, terms='ab').stages
  before, after, metrics = advance(stage, made)
  changed, same = moved(before, after, 'student')
  assert same == ['classifier/bias', 'classifier/kernel'] and changed and metrics['ab'] > 0
  changed, _ = moved(before, after, 'ab_connector1')
  assert 'conv/kernel' in changed


def test_the_paraphraser_stays_what_its_phase_has_made_of_it():
  made = pair()
  first, student = sums.method(made, terms='ft').stages
  before, after, metrics = advance(first, made)
  assert moved(before, after, 'ft_paraphraser')[0] and metrics['reconstruction'] > 0
  assert dict(student.start) == {'ft_paraphraser': first.name}
  initial = {'params': {'ft_paraphraser': after['params']['ft_paraphraser']}}
  begun, ended, _ = advance(student, made, initial=initial)
  for state in (begun, ended):
    jax.tree.map(
      np.testing.assert_array_equal,
      state['params']['ft_paraphraser'],
      after['params']['ft_paraphraser'],
    )
  assert moved(begun, ended, 'ft_translator')[0] and moved(begun, ended, 'student')[0]


FILE = '''
"""The student's logits follow the teacher's squared; and a network with a single layer."""

from typing import ClassVar

import flax.linen as nn
from ml_collections import ConfigDict

from jaxdistill import distillation, losses, models
from jaxdistill.distillation import terms
from jaxdistill.models.linear import Linear
from jaxdistill.training.players import Term


class OneLayer(nn.Module):
  num_classes: int
  choices: ClassVar[dict] = {}

  def check(self, image_shape):
    pass

  @nn.compact
  def __call__(self, x, train=False):
    x = x.reshape(len(x), -1)
    return Linear(self.num_classes, name='classifier')(x), {'embedding': x}


def squares(pair, *, weight=1.0):
  def loss(scene):
    logits = scene['student']['logits'], scene['teacher']['logits'] ** 2
    return losses.fitnet(*logits, scene.batch['weight'])

  return terms.Piece((Term('squares', loss, weight),))


models.REGISTRY['one_layer'] = OneLayer
distillation.register_term('squares', squares, 'Squares')


def get_config(arg=''):
  return ConfigDict({'terms': ('squares', 'kd'), 'fields': {'squares': {'weight': 3.0}}})
'''


def test_a_term_and_a_network_of_the_users_join_from_a_file(tmp_path):
  path = tmp_path / 'squares.py'
  path.write_text(FILE)
  try:
    asked = config.load(str(path))
    network = models.build('one_layer', toy_pairs.CLASSES, (SIDE, SIDE, 3))
    made = dataclasses.replace(pair(), student=network, student_form=toy_pairs.form(network, SIDE))
    method = sums.method(made, terms=asked.terms, fields=asked.fields.to_dict())
    before, after, metrics = advance(method.stages[-1], made)
    assert method.label == 'Squares + KD' and moved(before, after, 'student')[0]
    assert metrics['squares_weighted'] == pytest.approx(3 * metrics['squares'], rel=1e-5)
    assert metrics['squares'] > 0
  finally:
    terms.TERMS.pop('squares', None)
    models.REGISTRY.pop('one_layer', None)
