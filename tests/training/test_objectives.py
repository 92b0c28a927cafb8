"""Two objectives that are no cross-entropy, each a few lines: what the trainer gives them for
nothing (seeds, devices, synchronised statistics, resuming, bfloat16) is tested on both."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data import samplers, views
from jaxdistill.data.crops import Crop, Flip
from jaxdistill.models import linear, normalisation
from jaxdistill.training import loop, parallel, replicas
from jaxdistill.training.averages import Average
from jaxdistill.training.groups import Group
from jaxdistill.training.learner import Learner, Outcome
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.run import Run

SHAPE, CLASSES, IMAGES, BATCH = (4, 4, 1), 3, 10, 8
SETTINGS = dict(mean=(0.5,), std=(0.25,), num_classes=CLASSES)


class Encoder(nn.Module):
  """A linear map behind batch normalisation."""

  width: int = 6
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train=False):
    x = normalisation.norm('batch', self.dtype)(name='norm')(x.astype(self.dtype), train)
    x = linear.Linear(self.width, dtype=self.dtype, name='map')(x.reshape(len(x), -1))
    return x.astype(jnp.float32)


def rows(key, step):
  return samplers.epoch_batch(key, step, IMAGES, BATCH)


# A supervised contrastive loss (Khosla et al., NeurIPS 2020) on two views of every image.


def contrastive(dtype='float32', temperature=0.5):
  encoder = Encoder(dtype=dtype)

  def objective(variables, batch, key):
    both = jnp.concatenate([batch['first'], batch['second']])
    features, moved = encoder.apply(variables, both, train=True, mutable=['batch_stats'])
    features /= jnp.linalg.norm(features, axis=1, keepdims=True)
    first, second = jnp.split(features, 2)
    labels, weight = batch['labels'].argmax(1), batch['weight']
    others = jnp.concatenate([replicas.all_rows(first), replicas.all_rows(second)])
    their_labels = jnp.tile(replicas.all_rows(labels), 2)
    their_weight = jnp.tile(replicas.all_rows(weight), 2)
    numbers, total = replicas.row_numbers(len(first)), len(others) // 2
    own = jnp.concatenate([numbers, numbers + total])
    logits = features @ others.T / temperature
    admitted = (their_weight > 0)[None] & (own[:, None] != jnp.arange(len(others))[None])
    log_p = logits - jax.nn.logsumexp(logits, axis=1, where=admitted, keepdims=True)
    same = admitted & (jnp.tile(labels, 2)[:, None] == their_labels[None])
    losses = -jnp.where(same, log_p, 0).sum(1) / jnp.maximum(same.sum(1), 1)
    losses = (losses[: len(first)] + losses[len(first) :]) / 2
    return Outcome((losses * weight).sum() / jnp.maximum(weight.sum(), 1e-12), moved=moved)

  augmentation = (Crop(1), Flip())
  return Learner(
    init=lambda key: encoder.init(key, jnp.zeros((1, *SHAPE))),
    rows=rows,
    views=views.make(named={'first': augmentation, 'second': augmentation}, **SETTINGS),
    objective=objective,
  )


# A student that regresses the features of a frozen network.


def regression(dtype='float32'):
  networks = {'student': Encoder(dtype=dtype), 'teacher': Encoder(dtype=dtype)}

  def init(key):
    keys = dict(zip(networks, jax.random.split(key)))
    variables = {
      name: net.init(keys[name], jnp.zeros((1, *SHAPE))) for name, net in networks.items()
    }
    return {
      name: {part: variables[part][name] for part in networks} for name in ('params', 'batch_stats')
    }

  def objective(variables, batch, key):
    own = {name: {kind: variables[kind][name] for kind in variables} for name in networks}
    features, moved = networks['student'].apply(
      own['student'], batch['images'], train=True, mutable=['batch_stats']
    )
    # In training mode, which would move the teacher's statistics too, were it not frozen.
    target, theirs = networks['teacher'].apply(
      own['teacher'], batch['images'], train=True, mutable=['batch_stats']
    )
    gaps = jnp.square(features - target).mean(1)
    weight = batch['weight']
    loss = (gaps * weight).sum() / jnp.maximum(weight.sum(), 1e-12)
    statistics = {'student': moved['batch_stats'], 'teacher': theirs['batch_stats']}
    return Outcome(loss, {'largest_gap_mean': loss}, {'batch_stats': statistics})

  return Learner(init, rows, views.make((Crop(1),), **SETTINGS), objective, owned=('student',))


OBJECTIVES = {'contrastive': contrastive, 'regression': regression}
OPTIMIZER = Optimizer('sgd', momentum=0.9, weight_decay=0.01)


@functools.cache
def data():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (IMAGES, *SHAPE)).astype(np.uint8)
  return {'images': images, 'labels': (np.arange(IMAGES) % CLASSES).astype(np.int32)}


def problem(name, *, steps=5, dtype='float32', groups=(), **options):
  options = replicas.Options(**{'networks': 3, **options})
  optimizer = OPTIMIZER.build(0.05, groups)
  return replicas.problem(
    OBJECTIVES[name](dtype), optimizer, options, data(), num_steps=steps, seed=7, epoch_steps=2
  )


@functools.cache
def trained(name, **options):
  start = problem(name, **options)
  with Run(progress=False, log_every=1) as run:
    end = loop.fit(run, 'train', start)
    return jax.tree.map(np.asarray, start.state), jax.tree.map(np.asarray, end), run.curve('train')


def assert_close(tree, other, **tolerance):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), tree, other)


@pytest.mark.parametrize('name', OBJECTIVES)
@pytest.mark.parametrize('spread', replicas.SPREADS)
def test_four_devices_train_as_one(name, spread):
  _, alone, curve = trained(name)
  _, several, lines = trained(name, mesh=parallel.make_mesh(4), spread=spread)
  assert_close(jax.tree.map(lambda leaf: leaf[:3], several.variables), alone.variables, atol=5e-6)
  losses, expected = ([line['loss'] for line in run] for run in (lines, curve))
  assert losses == pytest.approx(expected, rel=1e-5) and len(losses) == 5


@pytest.mark.parametrize('name', OBJECTIVES)
def test_a_network_is_the_same_in_any_company_and_differs_from_the_others(name):
  _, together, _ = trained(name)
  _, alone, _ = trained(name, networks=1)
  assert_close(jax.tree.map(lambda leaf: leaf[:1], together.variables), alone.variables, atol=1e-6)
  kernel = max(jax.tree.leaves(together.variables['params']), key=np.ndim)
  assert not np.allclose(kernel[0], kernel[1])


@pytest.mark.parametrize('name', OBJECTIVES)
def test_stopped_and_resumed_it_ends_with_the_same_bits(name, tmp_path):
  _, whole, curve = trained(name)

  def crash(state):
    raise InterruptedError

  options = dict(progress=False, tensorboard=False, log_every=1, checkpoint_every=1)
  with pytest.raises(InterruptedError), Run(tmp_path, **options) as run:
    loop.fit(run, 'train', problem(name), evaluate=loop.Evaluation(crash, epochs=1.5))
  with Run(tmp_path, **options) as run:
    again = loop.fit(run, 'train', problem(name))
    assert [line['loss'] for line in run.curve('train')] == [line['loss'] for line in curve]
  jax.tree.map(np.testing.assert_array_equal, again, whole)


@pytest.mark.parametrize('name', OBJECTIVES)
def test_bfloat16_is_for_the_computation_alone(name):
  _, end, curve = trained(name)
  _, half, lines = trained(name, dtype='bfloat16')
  assert {leaf.dtype.name for leaf in jax.tree.leaves(half.variables)} == {'float32'}
  assert lines[0]['loss'] != curve[0]['loss']
  for line, exact in zip(lines, curve):
    assert line['loss'] == pytest.approx(exact['loss'], rel=0.05)


def test_the_contrastive_loss_is_that_of_its_formula_in_float64():
  start = problem('contrastive', networks=1)
  learner, key = contrastive(), jax.random.wrap_key_data(start.state.key)
  # 2 of 8 places are filled up.
  batch = jax.jit(start.source.sample)(start.source.data, key, jnp.int32(1))
  prepared = learner.views.prepare(
    key, jax.tree.map(lambda leaf: leaf[0], batch), learner.views.draw(key)
  )
  variables = jax.tree.map(lambda leaf: leaf[0], start.state.variables)
  with normalisation.weighted(prepared['weight']):
    loss = learner.objective(variables, prepared, key).loss

  x = np.concatenate([prepared['first'], prepared['second']]).astype(np.float64)
  seen = x[np.flatnonzero(np.tile(prepared['weight'], 2))]
  x = (x - seen.mean((0, 1, 2))) / np.sqrt(seen.var((0, 1, 2)) + 1e-5)
  weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables['params'])
  z = x.reshape(len(x), -1) @ weights['map']['kernel'] + weights['map']['bias']
  z /= np.linalg.norm(z, axis=1, keepdims=True)
  real = np.flatnonzero(np.tile(prepared['weight'], 2))
  labels = np.tile(prepared['labels'].argmax(1), 2)
  losses = []
  for i in real:
    others = [j for j in real if j != i]
    total = np.log(sum(np.exp(z[i] @ z[j] / 0.5) for j in others))
    same = [z[i] @ z[j] / 0.5 - total for j in others if labels[j] == labels[i]]
    losses.append(-np.mean(same))
  assert len(real) == 4 and float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize('options', [{}, dict(spread='batch', devices=4)], ids=['one', 'spread'])
def test_what_is_frozen_keeps_its_bits(options):
  options = dict(options)
  devices = options.pop('devices', 1)
  mesh = parallel.make_mesh(devices) if devices > 1 else None
  start, end, _ = trained('regression', mesh=mesh, **options)
  for kind in ('params', 'batch_stats'):
    before, after = start.variables[kind], end.variables[kind]
    jax.tree.map(np.testing.assert_array_equal, before['teacher'], after['teacher'])
    for old, new in zip(jax.tree.leaves(before['student']), jax.tree.leaves(after['student'])):
      assert not np.array_equal(old, new)
  # The teacher has no momentum either.
  names = jax.tree_util.tree_flatten_with_path(end.optimizer)[0]
  assert names and not any('teacher' in jax.tree_util.keystr(path) for path, _ in names)


def test_the_average_of_the_weights_is_what_is_scored():
  _, end, _ = trained('contrastive', average=Average(0.5), steps=2)
  start, plain, _ = trained('contrastive', steps=2)
  _, first, _ = trained('contrastive', steps=1)
  jax.tree.map(np.testing.assert_array_equal, end.variables, plain.variables)
  expected = jax.tree.map(
    lambda a, b, c: a / 4 + b / 4 + c / 2,
    *(state.variables['params'] for state in (start, first, plain)),
  )
  assert_close(end.scored['params'], expected, rtol=1e-5, atol=1e-7)
  jax.tree.map(
    np.testing.assert_array_equal, end.scored['batch_stats'], plain.variables['batch_stats']
  )


def test_a_group_has_a_learning_rate_of_its_own():
  slow = Group(('map',), learning_rate=0.5)
  start, grouped, _ = trained('contrastive', groups=(slow,), steps=1)
  _, plain, _ = trained('contrastive', steps=1)
  first, half, whole = (state.variables['params'] for state in (start, grouped, plain))
  expected = jax.tree.map(lambda a, b: a + (b - a) / 2, first['map'], whole['map'])
  assert_close(half['map'], expected, rtol=1e-5, atol=1e-7)
  jax.tree.map(np.testing.assert_array_equal, half['norm'], whole['norm'])
