"""The optimisers against plain float64 loops, in the order of torch.optim's documentation."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill.errors import UserError
from jaxdistill.training import optim, schedules
from jaxdistill.training.groups import Group
from jaxdistill.training.optim import Optimizer


@pytest.mark.parametrize(
  'momentum, decay, nesterov',
  [(0, 0, False), (0.9, 0, False), (0.9, 0.01, False), (0.5, 0.1, True)],
)
def test_sgd_is_that_of_pytorch(momentum, decay, nesterov):
  curvature = np.array([1.0, 3.0])
  optimizer = optim.sgd(schedules.multistep(0.1, [3], 0.1), momentum, decay, nesterov)
  w = jnp.array([1.0, -2.0])
  state = optimizer.init(w)
  plain, velocity = np.array([1.0, -2.0]), np.zeros(2)
  for step in range(6):
    updates, state = optimizer.update(jnp.asarray(curvature) * w, state, w)
    w = optax.apply_updates(w, updates)
    gradient = curvature * plain + decay * plain
    velocity = momentum * velocity + gradient
    plain = plain - (0.1 if step < 3 else 0.01) * (
      gradient + momentum * velocity if nesterov else velocity
    )
  np.testing.assert_allclose(w, plain, rtol=1e-5)


def test_momentum_is_cleared_when_asked():
  optimizer = optim.sgd(1.0, momentum=0.5)
  w = jnp.zeros(2)
  _, state = optimizer.update(jnp.ones(2), optimizer.init(w), w)
  for when, step in ((False, -1.5), (True, -1.0)):
    updates, _ = jax.jit(
      lambda s, when=when: optimizer.update(jnp.ones(2), optim.clear_momentum(s, when), w)
    )(state)
    assert updates.tolist() == [step] * 2


PARAMS = {
  'conv1': {'kernel': np.array([[1.0, -2.0], [0.5, 3.0]]), 'bias': np.array([0.3, -0.1])},
  'conv10': {'kernel': np.array([[2.0, 1.0]])},
  'head': {'kernel': np.array([[-1.0, 4.0]]), 'bias': np.array([0.0, 2.0])},
}
RATES = [0.1, 0.1, 0.05, 0.05, 0.02]


def learning_rate(count):
  return jnp.asarray(RATES, jnp.float32)[count]


def gradients_at(params):
  """Gradients that mix the parts of the network: they depend on where all the weights are."""
  mean = sum(leaf.mean() for leaf in jax.tree.leaves(params))
  return jax.tree.map(lambda leaf: 0.7 * leaf + 0.1 * mean, params)


def trained(optimizer, params=PARAMS, steps=5):
  params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
  state = optimizer.init(params)
  for _ in range(steps):
    updates, state = optimizer.update(gradients_at(params), state, params)
    params = optax.apply_updates(params, updates)
  return params


def by_hand(rule, params=PARAMS, steps=5):
  """`rule(path, p, g, memory, step)` returns the new array of one parameter; memory is a dict of
  its own, empty at first."""
  params = jax.tree.map(np.float64, params)
  memory = {path: {} for path, _ in leaves_of(params)}
  for step in range(steps):
    gradients = dict(leaves_of(gradients_at(params)))
    moved = [rule(path, p, gradients[path], memory[path], step) for path, p in leaves_of(params)]
    params = jax.tree.unflatten(jax.tree.structure(params), moved)
  return params


def leaves_of(params):
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  return [(jax.tree_util.keystr(path, simple=True, separator='/'), leaf) for path, leaf in leaves]


def assert_close(tree, expected, rtol=2e-5):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), tree, expected)


def sgd_rule(momentum=0.0, decay=0.0, nesterov=False, dampening=0.0):
  def rule(path, p, g, memory, step):
    g = g + decay * p
    if momentum:
      if step == 0:
        memory['v'] = g
      else:
        memory['v'] = momentum * memory['v'] + (1 - dampening) * g
      g = g + momentum * memory['v'] if nesterov else memory['v']
    return p - RATES[step] * g

  return rule


def adam_rule(decay=0.0, decoupled=False, beta1=0.8, beta2=0.95, epsilon=1e-3):
  def rule(path, p, g, memory, step):
    if decoupled:
      p = p - RATES[step] * decay * p
    else:
      g = g + decay * p
    memory['m'] = beta1 * memory.get('m', 0) + (1 - beta1) * g
    memory['s'] = beta2 * memory.get('s', 0) + (1 - beta2) * g**2
    m = memory['m'] / (1 - beta1 ** (step + 1))
    s = memory['s'] / (1 - beta2 ** (step + 1))
    return p - RATES[step] * m / (np.sqrt(s) + epsilon)

  return rule


def lars_rule(momentum, decay, trust, excluded):
  def rule(path, p, g, memory, step):
    if path.split('/')[-1] not in excluded:
      size, slope = np.linalg.norm(p), np.linalg.norm(g)
      g = trust * size / (slope + decay * size) * (g + decay * p)
    memory['v'] = momentum * memory.get('v', 0) + g
    return p - RATES[step] * memory['v']

  return rule


@pytest.mark.parametrize(
  'fields',
  [
    dict(momentum=0.9, dampening=0.4, weight_decay=0.1),
    dict(momentum=0.9, nesterov=True, weight_decay=0.1),
    dict(momentum=0.5, dampening=0.9),
    dict(weight_decay=0.2),
  ],
)
def test_sgd_with_all_its_fields(fields):
  expected = by_hand(
    sgd_rule(
      fields.get('momentum', 0),
      fields.get('weight_decay', 0),
      fields.get('nesterov', False),
      fields.get('dampening', 0),
    )
  )
  assert_close(trained(optim.sgd(learning_rate, **fields)), expected)


@pytest.mark.parametrize('decay', [0.0, 0.3])
def test_adam(decay):
  optimizer = optim.adam(learning_rate, 0.8, 0.95, 1e-3, weight_decay=decay)
  assert_close(trained(optimizer), by_hand(adam_rule(decay)))


def test_adamw_decays_by_the_learning_rate():
  optimizer = optim.adamw(learning_rate, 0.8, 0.95, 1e-3, weight_decay=0.3)
  assert_close(trained(optimizer), by_hand(adam_rule(0.3, decoupled=True)))


@pytest.mark.parametrize('excluded', [('bias', 'scale'), ()])
def test_lars(excluded):
  fields = dict(momentum=0.9, weight_decay=0.2, trust=0.02, excluded=excluded)
  params = jax.tree.map(lambda leaf: leaf + 0.5, PARAMS)
  assert_close(
    trained(optim.lars(learning_rate, **fields), params),
    by_hand(lars_rule(0.9, 0.2, 0.02, excluded), params),
  )


def test_lars_moves_weights_of_norm_zero_as_they_are():
  optimizer = optim.lars(1.0, momentum=0.0, trust=0.01, weight_decay=0.1)
  params = {'a': jnp.zeros(2), 'b': jnp.ones(2)}
  gradient = {'a': jnp.array([1.0, 2.0]), 'b': jnp.zeros(2)}
  updates, _ = optimizer.update(gradient, optimizer.init(params), params)
  np.testing.assert_allclose(updates['a'], [-1, -2])
  np.testing.assert_allclose(updates['b'], [-0.1, -0.1], rtol=1e-6)


@pytest.mark.parametrize('name', ['sgd', 'adam', 'adamw', 'lars'])
def test_the_learning_rate_is_the_last_factor(name):
  """A training at 4 times the rate is one whose updates are multiplied by 4: stacked networks use
  that."""
  optimizer = Optimizer(name, weight_decay=0.1)
  params = jax.tree.map(jnp.float32, PARAMS)
  slow, fast = optimizer.build(0.25), optimizer.build(1.0)
  states = slow.init(params), fast.init(params)
  for _ in range(3):
    gradient = gradients_at(params)
    little, first = slow.update(gradient, states[0], params)
    much, second = fast.update(gradient, states[1], params)
    states = first, second
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda u: 4 * u, little), much)
    params = optax.apply_updates(params, much)


def test_stacked_networks_are_those_alone():
  """Norms, counts and flags belong to each network of a `jax.vmap`."""
  stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 3 * leaf]).astype(jnp.float32), PARAMS)
  optimizers = (
    optim.lars(0.5, trust=0.01),
    optim.sgd(0.1, 0.9, dampening=0.5, groups=(Group(('head',), 2.0),)),
    optim.adam(0.1),
  )
  for optimizer in optimizers:
    state = jax.vmap(optimizer.init)(stacked)
    params = stacked
    for _ in range(2):
      gradient = jax.vmap(gradients_at)(params)
      updates, state = jax.vmap(optimizer.update)(gradient, state, params)
      params = optax.apply_updates(params, updates)
    for number in range(2):
      alone = trained(optimizer, jax.tree.map(lambda leaf, n=number: leaf[n], stacked), steps=2)
      assert_close(jax.tree.map(lambda leaf, n=number: leaf[n], params), alone, rtol=1e-6)


GROUPS = (
  Group(('head/bias',), weight_decay=0.0),
  Group(('head', 'conv1'), learning_rate=0.5, weight_decay=0.4),
)


def grouped(make_rule, **fields):
  """The rule of a parameter with the rate and decay of its group, spelt out: conv10 is in none."""

  def rule(path, p, g, memory, step):
    decay, factor = {
      'head/bias': (0.0, 1.0),
      'head/kernel': (0.4, 0.5),
      'conv1/kernel': (0.4, 0.5),
      'conv1/bias': (0.4, 0.5),
      'conv10/kernel': (0.1, 1.0),
    }[path]
    moved = make_rule(decay=decay, **fields)(path, p, g, memory, step)
    return p + factor * (moved - p)

  return rule


def test_groups_have_a_rate_and_a_decay_of_their_own():
  expected = by_hand(grouped(sgd_rule, momentum=0.9))
  assert_close(trained(optim.sgd(learning_rate, 0.9, 0.1, groups=GROUPS)), expected)
  expected = by_hand(grouped(adam_rule, decoupled=True))
  optimizer = Optimizer('adamw', beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=0.1)
  assert_close(trained(optimizer.build(learning_rate, GROUPS)), expected)
  expected = by_hand(grouped(lars_rule, momentum=0.9, trust=0.05, excluded=()))
  optimizer = Optimizer('lars', trust=0.05, weight_decay=0.1, excluded=())
  assert_close(trained(optimizer.build(learning_rate, GROUPS)), expected)


@pytest.mark.parametrize('decay', [None, 0.5])
def test_a_group_of_no_parameter_is_refused_with_the_nearest(decay):
  optimizer = optim.sgd(0.1, groups=(Group(('conv',), 2.0, decay),))
  with pytest.raises(UserError, match="no parameter 'conv'; did you mean 'conv1'"):
    optimizer.init(PARAMS)
  optimizer = optim.adam(0.1, groups=(Group(('head', 'conv1/kernle'), weight_decay=decay),))
  with pytest.raises(UserError, match="did you mean 'conv1/kernel'"):
    optimizer.init(PARAMS)
  with pytest.raises(UserError, match='tuple'):
    optim.sgd(0.1, groups=(Group('head'),)).init(PARAMS)
  optimizer = optim.sgd(0.1, groups=GROUPS)
  with pytest.raises(ValueError, match='needs the parameters'):
    optimizer.update(PARAMS, optimizer.init(PARAMS))


def test_an_optimizer_without_groups_is_the_function_bit_for_bit():
  """The state has its form too: checkpoints go on fitting."""
  optimizer = Optimizer('sgd', momentum=0.9, weight_decay=5e-4)
  function = optim.sgd(learning_rate, momentum=0.9, weight_decay=5e-4)
  built = optimizer.build(learning_rate)
  assert jax.tree.structure(built.init(PARAMS)) == jax.tree.structure(function.init(PARAMS))
  jax.tree.map(np.testing.assert_array_equal, trained(built), trained(function))
  plain = optax.chain(
    optax.add_decayed_weights(5e-4),
    optax.trace(0.9),
    optax.scale_by_learning_rate(learning_rate),
  )
  assert jax.tree.structure(built.init(PARAMS)) == jax.tree.structure(plain.init(PARAMS))
  jax.tree.map(np.testing.assert_array_equal, trained(built), trained(plain))


def test_an_optimizer_is_a_value():
  optimizer = Optimizer('lars', weight_decay=1e-4, excluded=('bias',))
  assert hash(optimizer) == hash(
    dataclasses.replace(Optimizer('lars'), **{'weight_decay': 1e-4, 'excluded': ('bias',)})
  )
  fields = json.loads(json.dumps(dataclasses.asdict(optimizer)))
  assert Optimizer(**fields | {'excluded': tuple(fields['excluded'])}) == optimizer


@pytest.mark.parametrize(
  'optimizer',
  [
    optim.sgd(1.0, 0.9, dampening=0.5),
    optim.sgd(1.0, 0.9, nesterov=True, groups=GROUPS[:1]),
    optim.lars(1.0),
    optim.adam(1.0),
    optim.adamw(1.0, groups=GROUPS),
  ],
)
def test_a_cleared_optimizer_is_a_new_one(optimizer):
  """With a constant rate nothing else is remembered."""
  params = jax.tree.map(jnp.float32, PARAMS)
  gradient = gradients_at(params)
  start = optimizer.init(params)
  first, state = optimizer.update(gradient, start, params)
  _, state = optimizer.update(gradient, state, params)
  again, _ = optimizer.update(gradient, optim.clear_momentum(state, jnp.bool_(True)), params)
  jax.tree.map(np.testing.assert_array_equal, first, again)
  kept = optim.clear_momentum(state, jnp.bool_(False))
  jax.tree.map(np.testing.assert_array_equal, kept, state)
  assert any(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), start, state)))


@pytest.mark.parametrize(
  'build',
  [
    lambda: optim.sgd(0.0),
    lambda: optim.sgd(float('nan')),
    lambda: optim.sgd(0.1, momentum=1.0),
    lambda: optim.sgd(0.1, momentum=-0.1),
    lambda: optim.sgd(0.1, weight_decay=-1),
    lambda: optim.sgd(0.1, nesterov=True),
    lambda: optim.sgd(0.1, dampening=0.1),
    lambda: optim.sgd(0.1, momentum=0.9, nesterov=True, dampening=0.1),
    lambda: optim.sgd(0.1, momentum=0.9, dampening=1.0),
    lambda: optim.adam(0.0),
    lambda: optim.adam(0.1, beta1=1.0),
    lambda: optim.adam(0.1, beta2=-0.1),
    lambda: optim.adamw(0.1, epsilon=0.0),
    lambda: optim.adamw(0.1, weight_decay=float('inf')),
    lambda: optim.lars(0.1, trust=0.0),
    lambda: optim.lars(0.1, weight_decay=-0.1),
    lambda: optim.lars(0.1, excluded='bias'),
    lambda: Group(('head',), learning_rate=0.0),
    lambda: Group(('head',), weight_decay=-1.0),
    lambda: Optimizer('sdg'),
    lambda: Optimizer('adam', nesterov=True),
    lambda: Optimizer('sgd', beta1=0.5),
    lambda: Optimizer('sgd', momentum=1.5),
  ],
)
def test_senseless_values_are_refused(build):
  with pytest.raises(UserError):
    build()
