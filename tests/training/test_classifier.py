"""Training several networks at once: each as if it were alone, against numpy, on one and four
devices."""

import contextlib
import dataclasses
import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import backend, models
from jaxdistill.data import Dataset
from jaxdistill.data.crops import Flip
from jaxdistill.data.examples import Examples
from jaxdistill.data.mixing import Mixup
from jaxdistill.errors import UserError
from jaxdistill.models import linear, normalisation
from jaxdistill.training import classifier, loop, parallel, replicas, scorer, together
from jaxdistill.training.averages import Average
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run
from jaxdistill.training.schedules import Schedule

SHAPE, CLASSES = (4, 4, 1), 3
PLAIN = Recipe(
  'plain',
  batch=4,
  epochs=2,
  schedule=Schedule('multistep', 0.1, drops=(0.5,), drop=0.1),
  optimizer=Optimizer('sgd', momentum=0.9, weight_decay=0.01),
)
NO_DECAY = Optimizer('sgd', momentum=0.9)


class Net(nn.Module):
  """A linear classifier."""

  @nn.compact
  def __call__(self, x, train=False):
    x = x.reshape(len(x), -1)
    return linear.Linear(CLASSES, name='classifier')(x), {'embedding': x}


@functools.cache
def data():
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (10, *SHAPE)).astype(np.uint8), rng.integers(0, CLASSES, 10).astype(
    np.int32
  )


def examples(images, labels):
  return Examples(images, labels, CLASSES, (0.5,), (0.25,))


def problem(recipe=PLAIN, model=Net(), **kwargs):
  images, labels = data()
  options = dict(networks=2, num_steps=6) | kwargs
  return classifier.setup(model, examples(images, labels), recipe, **options)


@functools.cache
def trained(recipe=PLAIN, steps=4, **kwargs):
  made = problem(recipe, **kwargs)
  state, metrics, batches = made.state, [], []

  @jax.jit
  def advance(state, inputs):
    batch = made.source.sample(inputs, jax.random.wrap_key_data(state.key), state.step)
    return *made.step(state, batch), batch

  for _ in range(steps):
    state, measured, batch = advance(state, made.source.data)
    metrics.append(measured)
    batches.append(jax.tree.map(np.asarray, batch))
  return made.state, state, metrics, batches


def test_steps_are_those_of_sgd_written_out_in_numpy():
  start, end, metrics, batches = trained(steps=5)
  for network in range(2):
    weights = {
      k: np.asarray(v[network], np.float64)
      for k, v in start.variables['params']['classifier'].items()
    }
    momentum = {k: np.zeros_like(v) for k, v in weights.items()}
    for step, batch in enumerate(batches):
      x = (batch['images'][network].reshape(4, -1) / 255 - 0.5) / 0.25
      weight = batch['weight'][network].astype(np.float64)
      logits = x @ weights['kernel'] + weights['bias']
      p = np.exp(logits - logits.max(1, keepdims=True))
      p /= p.sum(1, keepdims=True)
      error = (p - np.eye(CLASSES)[batch['labels'][network]]) * weight[:, None] / weight.sum()
      gradient = {'kernel': x.T @ error, 'bias': error.sum(0)}
      for name in weights:
        momentum[name] = 0.9 * momentum[name] + gradient[name] + 0.01 * weights[name]
        weights[name] = weights[name] - (0.1 if step < 3 else 0.01) * momentum[name]
    for name, expected in weights.items():
      np.testing.assert_allclose(
        end.variables['params']['classifier'][name][network], expected, rtol=1e-4, atol=1e-6
      )


def test_the_short_last_batch_of_an_epoch_counts_only_real_images():
  weights = [batch['weight'] for batch in trained(steps=5)[3]]
  assert [w[0].sum() for w in weights] == [4, 4, 2, 4, 4]


def test_clearing_the_momentum_forgets_earlier_gradients():
  cleared = trained(dataclasses.replace(PLAIN, clear_momentum=True, optimizer=NO_DECAY), steps=4)
  alone = trained(dataclasses.replace(PLAIN, optimizer=NO_DECAY), steps=3)
  _, after_three, *_ = alone
  kept = trained(dataclasses.replace(PLAIN, optimizer=NO_DECAY), steps=4)
  old = np.asarray(jax.tree.leaves(after_three.optimizer)[1])
  before = np.asarray(after_three.variables['params']['classifier']['kernel'])
  moved_cleared = np.asarray(cleared[1].variables['params']['classifier']['kernel']) - before
  moved_kept = np.asarray(kept[1].variables['params']['classifier']['kernel']) - before
  # The drop is at step 3: with the momentum kept the step is longer by .01 * .9 * momentum.
  assert old.shape == before.shape
  np.testing.assert_allclose(moved_kept - moved_cleared, -0.01 * 0.9 * old, atol=1e-6)


def test_a_network_is_the_same_alone_and_in_company():
  together, alone = trained(networks=3), trained(networks=1)
  for a, b in zip(jax.tree.leaves(together[1].variables), jax.tree.leaves(alone[1].variables)):
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)


def test_every_network_has_a_learning_rate_of_its_own_or_none_has():
  with pytest.raises(UserError, match='3 networks need a learning rate each.*; got 2'):
    trained(networks=3, learning_rates=(0.02, 0.1))


def test_a_learning_rate_of_its_own_makes_the_network_that_the_recipe_would_with_it():
  own = trained(networks=2, learning_rates=(0.02, 0.1))
  slow = trained(
    dataclasses.replace(PLAIN, schedule=dataclasses.replace(PLAIN.schedule, learning_rate=0.02))
  )
  for found, alone, usual in zip(
    *(jax.tree.leaves(run[1].variables) for run in (own, slow, trained()))
  ):
    np.testing.assert_allclose(found[0], alone[0], atol=1e-6)
    np.testing.assert_allclose(found[1], usual[1], atol=1e-6)
  assert not np.allclose(
    jax.tree.leaves(own[1].variables)[1][0], jax.tree.leaves(trained()[1].variables)[1][0]
  )


@pytest.mark.slow
@pytest.mark.parametrize('devices', [1, 4])
def test_networks_learn_from_sets_of_their_own(devices):
  """The sets stand one behind another; a network is what it would be with its set alone."""
  images, labels = data()
  mesh = parallel.make_mesh(devices) if devices > 1 else None
  options = dict(num_steps=6, mesh=mesh)
  found = classifier.setup(
    Net(), examples(images, labels), PLAIN, networks=4, sets=2, spread='networks', **options
  )
  key = jax.random.wrap_key_data(found.state.key)
  drawn = jax.jit(lambda inputs: found.source.sample(inputs, key, 1))(found.source.data)
  for number in range(4):
    part = slice(5 * (number % 2), 5 * (number % 2) + 5)
    alone = classifier.setup(
      Net(), examples(images[part], labels[part]), PLAIN, networks=4, num_steps=6
    )
    expected = jax.jit(alone.source.sample)(alone.source.data, key, 1)
    assert alone.epoch_steps == found.epoch_steps == 2
    for name, entry in expected.items():
      np.testing.assert_array_equal(np.asarray(drawn[name])[number], entry[number])


def test_what_began_by_other_rules_is_not_gone_on_with(tmp_path):
  def start(rules):
    """Returns the name of the result, and whether a checkpoint of an earlier start is left."""
    with Run(tmp_path, progress=False, tensorboard=False) as run:
      file = run.checkpoints('phase').directory / 'state'
      file.parent.mkdir(parents=True, exist_ok=True)
      file.touch()
      return classifier.settle(run, 'phase', rules), file.exists()

  assert start({}) == ('phase', True)  # as ever
  assert start({'drops': (1, 2)}) == ('phase', False)
  assert start({'drops': (1, 2)}) == ('phase', True)  # by the same rules
  with Run(tmp_path, progress=False, tensorboard=False) as run:
    run.once('phase', lambda: 'scores')
  name, left = start({'drops': (3,)})
  assert name.startswith('phase-') and not left


def test_networks_differ_in_weights_and_order():
  start, _, _, batches = trained()
  kernel = np.asarray(start.variables['params']['classifier']['kernel'])
  assert not np.allclose(kernel[0], kernel[1])
  assert not np.array_equal(batches[0]['images'][0], batches[0]['images'][1])


AUGMENTED = dataclasses.replace(PLAIN, strategy='color_crop_flip', cutmix=0.5)


@pytest.mark.slow
@pytest.mark.parametrize('way', together.WAYS)
def test_every_way_to_share_a_program_gives_the_same_networks(way):
  recipe = dataclasses.replace(AUGMENTED, batch=8)  # every second batch is short
  expected, found = (trained(recipe, model=Normed(), **options) for options in ({}, dict(way=way)))
  for a, b in zip(jax.tree.leaves(expected[1].variables), jax.tree.leaves(found[1].variables)):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_networks_spread_over_four_devices_are_those_of_one():
  alone, spread = (
    trained(AUGMENTED, networks=3),
    trained(AUGMENTED, networks=3, mesh=parallel.make_mesh(4), spread='networks'),
  )
  for a, b in zip(jax.tree.leaves(alone[1].variables), jax.tree.leaves(spread[1].variables)):
    assert len(b) == 4 and len(b.sharding.device_set) == 4
    np.testing.assert_allclose(a, np.asarray(b)[:3], atol=1e-5)
  for name in ('loss', 'train_accuracy'):  # of the three, not of the padding
    np.testing.assert_allclose(spread[2][-1][name], alone[2][-1][name], rtol=1e-5)


class Normed(nn.Module):
  """A linear classifier behind batch normalisation."""

  norm: str = 'batch'

  @nn.compact
  def __call__(self, x, train=False):
    x = normalisation.norm(self.norm)(name='norm')(x, train).reshape(len(x), -1)
    return linear.Linear(CLASSES, name='classifier')(x), {'embedding': x}


@pytest.mark.parametrize('model, batch', [(Net(), 6), (Normed(), 8), (Normed(), 5)])
def test_a_batch_spread_over_four_devices_trains_as_on_one(model, batch):
  """6 images leave two of four devices a place to fill; 8 of 10 images make every second batch
  short, so that of four devices three have nothing but filling; 5 are always full on one device."""
  recipe = dataclasses.replace(AUGMENTED, batch=batch)
  (start, alone, metrics, _), (_, spread, spread_metrics, _) = (
    trained(recipe, model=model, mesh=mesh, spread='batch')
    for mesh in (None, parallel.make_mesh(4))
  )
  moved = max(
    np.abs(a - b).max()
    for a, b in zip(jax.tree.leaves(alone.variables), jax.tree.leaves(start.variables))
  )
  assert moved > 0.01
  for a, b in zip(jax.tree.leaves(alone.variables), jax.tree.leaves(spread.variables)):
    assert b.shape == a.shape and b.is_fully_replicated and len(b.sharding.device_set) == 4
    np.testing.assert_allclose(a, b, atol=2e-6)
  for one, four in zip(metrics, spread_metrics):
    for name in ('loss', 'train_accuracy'):
      np.testing.assert_allclose(four[name], one[name], rtol=1e-5)


@pytest.mark.usefixtures('programs_of_users')
def test_full_batches_have_the_bits_that_they_have_without_weights(monkeypatch):
  train = functools.partial(
    trained.__wrapped__, dataclasses.replace(PLAIN, batch=5), steps=2, model=Normed()
  )
  _, weighted, _, _ = train()
  monkeypatch.setattr(normalisation, 'weighted', lambda weight: contextlib.nullcontext())
  _, ignored, _, _ = train()
  jax.tree.map(np.testing.assert_array_equal, weighted, ignored)


@pytest.mark.parametrize('spread', replicas.SPREADS)
def test_a_step_over_several_devices_sends_one_message(spread):
  made = problem(AUGMENTED, mesh=parallel.make_mesh(4), spread=spread)
  step = jax.jit(
    lambda s, d: made.step(s, made.source.sample(d, jax.random.wrap_key_data(s.key), s.step))
  )
  text = step.lower(made.state, made.source.data).compile().as_text()
  found = re.findall(
    r'= (.*) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(',
    text,
  )
  # Two metrics, and with the batch the gradient of two networks of 16 x 3 weights and 3 biases.
  numbers = {'networks': 2, 'batch': 2 + 2 * (16 * 3 + 3)}[spread]
  assert len(found) == 1 and found[0][1] == 'all-reduce' and f'f32[{numbers}]' in found[0][0], found


@pytest.mark.slow
def test_a_training_goes_on_with_another_number_of_devices(tmp_path):
  """Three networks on one device, then padded to four on four, then the batch over four, then one
  device again."""
  changes = [(1, 'networks'), (4, 'networks'), (4, 'batch'), (1, 'networks')]

  def advance(run, devices, spread, steps):
    made = problem(
      AUGMENTED, networks=3, num_steps=8, mesh=parallel.make_mesh(devices), spread=spread
    )
    state = loop.fit(run, 'train', dataclasses.replace(made, num_steps=steps))
    return jax.tree.map(lambda a: np.asarray(a)[:3], state.variables), run.curve('train')

  with Run(None, progress=False, log_every=2) as run:
    expected, curve = advance(run, 1, 'networks', 8)
  for number, (devices, spread) in enumerate(changes):
    with Run(tmp_path, progress=False, tensorboard=False, log_every=2) as run:
      found, lines = advance(run, devices, spread, 2 * number + 2)
  for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found)):
    np.testing.assert_allclose(b, a, atol=1e-5)
  assert [line['loss'] for line in lines] == pytest.approx(
    [line['loss'] for line in curve], rel=1e-5
  )


def test_what_is_spread_is_chosen_by_the_number_of_networks():
  mesh = parallel.make_mesh(4)
  assert replicas.choose_spread('auto', 4, mesh) == 'networks'
  assert replicas.choose_spread('auto', 3, mesh) == 'batch'
  assert replicas.choose_spread('batch', 3, None) == 'networks'
  with pytest.raises(
    UserError, match="no way to use several devices 'batches'; did you mean 'batch'"
  ):
    problem(spread='batches')


def test_bfloat16_is_for_the_computation_alone():
  """Parameters, momentum, loss and running statistics stay in float32, and the numbers stay close
  to those of float32."""
  ends = {}
  for dtype in ('float32', 'bfloat16'):
    model = models.build(
      {'name': 'convnet', 'width': 4, 'depth': 1, 'norm': 'batch', 'dtype': dtype}, CLASSES, SHAPE
    )
    _, state, metrics, _ = trained(model=model, steps=3)
    for leaf in jax.tree.leaves((state.variables, state.optimizer, metrics)):
      assert leaf.dtype in (jnp.float32, jnp.int32)
    ends[dtype] = float(metrics[-1]['loss'])
  assert ends['bfloat16'] != ends['float32'] and ends['bfloat16'] == pytest.approx(
    ends['float32'], rel=0.02
  )


def test_soft_labels_are_used_as_they_are():
  images, labels = data()
  hard = trained()
  made = classifier.setup(
    Net(),
    examples(images, np.eye(CLASSES, dtype=np.float32)[labels]),
    PLAIN,
    networks=2,
    num_steps=6,
  )
  key = jax.random.wrap_key_data(made.state.key)
  batch = jax.jit(made.source.sample)(made.source.data, key, 0)
  _, metrics = jax.jit(made.step)(made.state, batch)
  np.testing.assert_allclose(metrics['loss'], hard[2][0]['loss'], rtol=1e-6)


class Normalised(nn.Module):
  """A linear classifier behind batch norm."""

  @nn.compact
  def __call__(self, x, train=False):
    x = normalisation.norm('batch')(name='norm')(x, train)
    return linear.Linear(CLASSES, name='classifier')(x.reshape(len(x), -1)), {}


def test_batch_norm_trains_on_the_batch_and_is_scored_with_running_statistics():
  images, labels = data()
  made = classifier.setup(
    Normalised(),
    examples(images, labels),
    PLAIN,
    networks=2,
    num_steps=6,
  )
  step, sample = jax.jit(made.step), jax.jit(made.source.sample)
  state, mean = made.state, np.zeros(2)
  for number in range(3):
    batch = sample(made.source.data, jax.random.wrap_key_data(state.key), number)
    x = (np.asarray(batch['images']) / 255.0 - 0.5) / 0.25
    # The third batch has two images, and two places that are filled up.
    mean = 0.9 * mean + 0.1 * np.average(x.mean((2, 3, 4)), 1, np.asarray(batch['weight']))
    state, _ = step(state, batch)
  np.testing.assert_allclose(state.variables['batch_stats']['norm']['mean'][:, 0], mean, rtol=1e-5)
  scores = scorer.Scorer(Normalised(), examples(images, labels))(state.variables)
  for network in range(2):
    weights = jax.tree.map(lambda a: np.asarray(a[network], np.float64), state.variables)  # noqa: B023
    norm, running = weights['params']['norm'], weights['batch_stats']['norm']
    x = ((images / 255.0 - 0.5) / 0.25 - running['mean']) / np.sqrt(running['var'] + 1e-5) * norm[
      'scale'
    ] + norm['bias']
    logits = (
      x.reshape(10, -1) @ weights['params']['classifier']['kernel']
      + weights['params']['classifier']['bias']
    )
    assert scores[network] == pytest.approx((logits.argmax(1) == labels).mean())


def test_scorer_counts_hits_also_in_a_short_last_batch():
  images, labels = data()
  variables = problem().state.variables
  scores = scorer.Scorer(Net(), examples(images, labels), batch=4)(variables)
  x = (images.reshape(10, -1) / 255.0 - 0.5) / 0.25
  for network, score in enumerate(scores):
    weights = jax.tree.map(lambda a: np.asarray(a[network]), variables['params']['classifier'])  # noqa: B023
    assert score == pytest.approx(
      ((x @ weights['kernel'] + weights['bias']).argmax(1) == labels).mean()
    )


def test_sets_of_nearly_one_size_are_scored_by_one_program():
  images, labels = data()
  scorers = [
    scorer.Scorer(Net(), examples(np.repeat(images, k, 0), np.repeat(labels, k))) for k in (3, 7)
  ]
  before = scorers[0].hits._cache_size()
  variables = problem().state.variables
  few, many = (scorer(variables) for scorer in scorers)
  assert scorers[1].hits is scorers[0].hits and scorers[0].hits._cache_size() == before + 1
  np.testing.assert_allclose(few, many)


def test_train_reports_last_best_and_selected():
  images, labels = data()
  split = Dataset(images, labels, class_names=('a', 'b', 'c'))
  with Run(progress=False) as run:
    scores = classifier.train(
      run,
      'phase',
      Net(),
      examples(images, labels),
      PLAIN,
      test=split,
      validation=split,
      networks=2,
      num_steps=8,
      checks=4,
    )
    checked = np.array([record['test_accuracies'] for record in run.history('phase')])
  assert [record['step'] for record in run.history('phase')] == [2, 4, 6, 8]
  np.testing.assert_array_equal(scores.columns['last'], checked[-1])
  np.testing.assert_array_equal(scores.columns['best_test'], checked.max(0))
  np.testing.assert_array_equal(
    scores.columns['selected'], checked.max(0)
  )  # here the validation set is the test set
  assert scores.steps == 8 and jax.tree.leaves(scores.variables)[0].shape[0] == 2


def test_a_simple_problem_is_learned():
  rng = np.random.default_rng(1)
  labels = np.repeat(np.arange(CLASSES), 20).astype(np.int32)
  images = np.clip(rng.normal(100, 20, (60, *SHAPE)), 0, 255)
  images[np.arange(60), labels] += 100
  split = Dataset(np.clip(images, 0, 255).astype(np.uint8), labels)
  with Run(progress=False) as run:
    recipe = dataclasses.replace(PLAIN, epochs=10)
    scores = classifier.train(
      run,
      'phase',
      Net(),
      Examples(split.images, labels, CLASSES, (0.4,), (0.2,)),
      recipe,
      test=split,
      networks=2,
    )
  assert scores.columns['last'].min() > 0.95


def test_steps_of_a_recipe_count_the_short_batch():
  assert Recipe('r', batch=64, epochs=10).steps(130) == 30


def test_any_recipe_learns_the_simple_problem():
  rng = np.random.default_rng(1)
  labels = np.repeat(np.arange(CLASSES), 20).astype(np.int32)
  images = np.clip(rng.normal(100, 20, (60, *SHAPE)), 0, 155)
  images[np.arange(60), labels] += 100  # a bright row, which cropping moves by one at most
  split = Dataset(images.astype(np.uint8), labels)
  recipe = Recipe(
    'other',
    batch=16,
    epochs=20,
    schedule=Schedule('cosine', 0.02, warmup_share=0.1),
    optimizer=Optimizer('adamw', weight_decay=0.01),
    transforms=(Flip(),),
    mixing=Mixup(alpha=0.2),
    drop_last=True,
    average=Average(0.8),
  )
  with Run(progress=False) as run:
    examples = Examples(split.images, labels, CLASSES, (0.4,), (0.2,))
    scores = classifier.train(run, 'phase', Net(), examples, recipe, test=split, networks=2)
  assert scores.steps == 60 and scores.columns['last'].min() > 0.95


def test_unknown_way_is_refused():
  with pytest.raises(
    UserError, match="no way to run several networks 'vmapp'; did you mean 'vmap'"
  ):
    problem(way='vmapp')


def test_the_way_is_chosen_for_the_platform_that_is_compiled_for():
  """Whatever the default backend is: there is a loop over the networks for TPUs alone."""
  ready = problem(networks=2)

  def traced(platform):
    batch = jax.eval_shape(ready.source.sample, ready.source.data, jax.random.key(0), 0)
    with backend.compiling_for(platform):
      return str(jax.make_jaxpr(lambda state, batch: ready.step(state, batch))(ready.state, batch))

  assert 'scan' in traced('tpu')
  assert 'scan' not in traced('cpu') and 'scan' not in traced('gpu')


def test_over_networks_maps_pytrees():
  function = lambda a, b: {'sum': a['x'] + b}
  arguments = ({'x': jnp.arange(3.0)}, jnp.arange(3.0) * 10)
  for way in together.WAYS:
    np.testing.assert_array_equal(
      together.over_networks(function, way)(*arguments)['sum'], [0, 11, 22]
    )
