"""Owned and frozen parts: taken apart and put together, and a training that leaves the frozen part
alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill.errors import UserError
from jaxdistill.models import normalisation
from jaxdistill.training import optim, parts

TREE = {
  'params': {
    'block1': {'conv': {'kernel': 1, 'bias': 2}, 'norm': {'scale': 3}},
    'block10': {'conv': {'kernel': 4}},
    'token': 5,
    'bare': {},
  },
  'batch_stats': {'block1': {'norm': {'mean': 6, 'var': 7}}},
  'memory': {},
}


def leaves(tree):
  return sorted(jax.tree.leaves(tree))


@pytest.mark.parametrize(
  'paths, frozen, numbers',
  [
    ((), (), [1, 2, 3, 4, 5, 6, 7]),
    (('block1',), (), [1, 2, 3, 6, 7]),
    (('block10', 'token'), (), [4, 5]),
    (('block1/conv/bias',), (), [2]),
    (('block1',), ('block1/norm',), [1, 2]),
    ((), ('block1',), [4, 5]),
    (('block1/conv', 'token'), ('block1',), [5]),
    (('block1/norm/mean', 'token'), (), [5, 6]),  # a path of running statistics alone
  ],
)
def test_split_and_merge(paths, frozen, numbers):
  mask = parts.owned(TREE, paths, frozen)
  assert jax.tree.structure(mask) == jax.tree.structure(TREE)
  mine, rest = parts.split(TREE, mask)
  assert leaves(mine) == numbers
  assert leaves(rest) == sorted(set(range(1, 8)) - set(numbers))
  assert mine.keys() == rest.keys() == TREE.keys()
  assert parts.merge(mine, rest) == TREE
  assert parts.merge(rest, mine) == TREE


def test_only_some_collections_may_be_split():
  mask = parts.owned(TREE, ('block1',))
  moved = {'batch_stats': {'block1': {'norm': {'mean': 8, 'var': 9}}}}
  assert parts.split(moved, mask) == (moved, {'batch_stats': {}})


def test_the_mask_needs_names_only():
  shapes = jax.eval_shape(lambda: jax.tree.map(jnp.float32, TREE))
  assert parts.owned(shapes, ('token',)) == parts.owned(TREE, ('token',))


@pytest.mark.parametrize(
  'paths, sentence',
  [
    (('blok1',), "no part of the network 'blok1'; did you mean 'block1'?"),
    (('block1/cnv',), "'block1/cnv'; did you mean 'block1/conv'?"),
    (('norm',), "'norm'; did you mean 'block1/norm'?"),
    (('block1/conv/kernel/x',), "did you mean 'block1/conv/kernel'?"),
    (('params',), "no part of the network 'params'"),
    (('',), "no part of the network ''"),
    (('block',), "no part of the network 'block'"),
    ('block1', r"\('block1',\) in place of 'block1'"),
  ],
)
def test_a_path_of_nothing_is_refused_with_the_nearest(paths, sentence):
  with pytest.raises(UserError, match=sentence.replace('?', r'\?')):
    parts.owned(TREE, paths)
  with pytest.raises(UserError, match=sentence.replace('?', r'\?')):
    parts.owned(TREE, (), frozen=paths)


def test_something_must_be_trained():
  with pytest.raises(UserError, match='Nothing is left to train'):
    parts.owned(TREE, ('block1',), frozen=('block1',))
  with pytest.raises(UserError, match='Nothing is left to train'):
    parts.owned(TREE, ('block1/norm/mean',))


def test_halves_that_overlap_are_refused():
  with pytest.raises(ValueError, match="'token' is in both"):
    parts.merge({'params': {'token': 1}}, {'params': {'token': 1}})


class Network(nn.Module):
  """Two blocks with running statistics and a head."""

  @nn.compact
  def __call__(self, x, train=False):
    for number in (1, 2):
      x = nn.Dense(4, name=f'dense{number}')(x)
      x = normalisation.norm('batch')(name=f'norm{number}')(x, train)
      x = nn.relu(x)
    return nn.Dense(3, name='head')(x)


@pytest.fixture(scope='module')
def network():
  model = Network()
  x = jax.random.normal(jax.random.key(1), (6, 1, 1, 5))
  # No bias starts at 0: one below batch normalisation has no gradient and moves by its decay only.
  variables = jax.tree.map(lambda leaf: leaf + 0.1, jax.jit(model.init)(jax.random.key(0), x))

  def loss_of(variables):
    outputs, moved = model.apply(variables, x, train=True, mutable=['batch_stats'])
    return jnp.square(outputs - 1).mean(), moved

  return variables, loss_of


def owned_gradient(loss_of, mine, frozen):
  def loss(params):
    return loss_of(parts.merge({**mine, 'params': params}, frozen))

  return jax.grad(loss, has_aux=True)(mine['params'])


def test_the_gradient_is_that_of_the_whole_network(network):
  variables, loss_of = network
  mask = parts.owned(variables, ('dense2', 'norm2', 'head'), frozen=('head/bias',))
  mine, frozen = parts.split(variables, mask)
  gradient, _ = jax.jit(lambda mine, frozen: owned_gradient(loss_of, mine, frozen))(mine, frozen)
  assert parts.leaf_paths(gradient) == [
    'dense2/bias',
    'dense2/kernel',
    'head/kernel',
    'norm2/bias',
    'norm2/scale',
  ]
  whole = jax.jit(jax.grad(lambda v: loss_of(v)[0]))(variables)
  expected, _ = parts.split({'params': whole['params']}, mask)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    gradient,
    expected['params'],
  )


def test_frozen_parts_cost_no_gradient(network):
  variables, loss_of = network

  def products(paths):
    mine, frozen = parts.split(variables, parts.owned(variables, paths))
    program = jax.make_jaxpr(lambda mine: owned_gradient(loss_of, mine, frozen)[0])(mine)
    return str(program).count('dot_general')

  # Three forward. Backward: a product for the weights of each layer that is trained, and one for
  # its inputs where something is trained below.
  assert products(()) == 3 + 3 + 2
  assert products(('dense2', 'norm2', 'head')) == 3 + 2 + 1
  assert products(('head',)) == 3 + 1


def test_a_training_leaves_the_frozen_part_alone_bit_for_bit(network):
  variables, loss_of = network
  mask = parts.owned(variables, ('dense2', 'norm2', 'head'))
  optimizer = optim.Optimizer('sgd', weight_decay=0.1).build(0.1)
  mine, frozen = parts.split(variables, mask)
  state = optimizer.init(mine['params'])
  assert parts.leaf_paths(state[1].trace) == parts.leaf_paths(mine['params'])

  @jax.jit
  def step(variables, state):
    mine, frozen = parts.split(variables, mask)
    gradient, moved = owned_gradient(loss_of, mine, frozen)
    updates, state = optimizer.update(gradient, state, mine['params'])
    params = optax.apply_updates(mine['params'], updates)
    return parts.merge({**parts.split(moved, mask)[0], 'params': params}, frozen), state

  later = variables
  for _ in range(3):
    later, state = step(later, state)
  assert jax.tree.structure(later) == jax.tree.structure(variables)
  moved, kept = parts.split(later, mask)
  jax.tree.map(np.testing.assert_array_equal, kept, frozen)
  same = jax.tree.map(lambda a, b: bool((a == b).all()), moved, mine)
  assert not any(jax.tree.leaves(same))
