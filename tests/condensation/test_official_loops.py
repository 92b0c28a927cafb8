"""Evaluation against loops that are written from the recipes' public codes, in float64: a network
with batch normalisation, a short last batch, both schedules.

Public codes: DM's `evaluate_synset` (VICO-UoE/DatasetCondensation) and IDC's `train`
(snu-mllab/Efficient-Dataset-Condensation), here in words of our own: epochs, then batches, the last
of which has the images that are left; a learning rate that changes between two epochs.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import data
from jaxdistill.condensation import evaluation, protocols
from jaxdistill.condensation.protocols import Protocol
from jaxdistill.training import parallel

MODEL = {'name': 'convnet', 'width': 4, 'depth': 1, 'norm': 'batch'}
# Recipe -> (E, images, batch, momentum, decay): the last batches have 6 and 44 images.
SIZES = {'idc': (7, 70, 64), 'dm': (5, 300, 256)}
MOMENTUM, DECAY = 0.9, 5e-4


def epochs_of(recipe, number):
  """Yields (learning rate, whether the optimiser is a new one) of every epoch.

  IDC: MultiStepLR with milestones [2 E // 3, 5 E // 6] and factor 0.2, told after every epoch. DM:
  the epochs 0 to E; behind number E // 2 + 1 a new optimiser with a tenth of the rate.
  """
  rate, new = 0.01, False
  if recipe == 'idc':
    for epoch in range(number):
      passed = sum(epoch >= milestone for milestone in (2 * number // 3, 5 * number // 6))
      yield rate * 0.2**passed, False
  else:
    for epoch in range(number + 1):
      yield rate, new
      new = epoch == number // 2 + 1
      rate *= 0.1 if new else 1.0


@functools.cache
def problem(recipe, augment=False, devices=1):
  number, images, _ = SIZES[recipe]
  train, test = data.load('digits', image_size=8)
  protocol = Protocol(recipe, 1, seed=3, model=MODEL, epochs=number, augment=augment)
  mesh = parallel.make_mesh(devices) if devices > 1 else None
  return evaluation.setup(train.take(range(images)), test, protocol, mesh)


@functools.cache
def compiled(recipe, augment=False, devices=1):
  """Returns the functions (data, state) -> batch of a step and (state, batch) -> state, metrics."""
  made = problem(recipe, augment, devices)
  draw = jax.jit(
    lambda data, state: made.source.sample(data, jax.random.wrap_key_data(state.key), state.step)
  )
  return draw, jax.jit(made.step)


@functools.cache
def trained(recipe, devices=1):
  """Returns the batches, the metrics and the end of the training as the library does it."""
  made = problem(recipe, devices=devices)
  draw, step = compiled(recipe, devices=devices)
  state, batches, losses = made.state, [], []
  for _ in range(made.num_steps):
    batch = draw(made.source.data, state)
    state, metrics = step(state, batch)
    batches.append(jax.tree.map(np.asarray, batch))
    losses.append(float(metrics['loss']))
  return batches, losses, jax.tree.map(np.asarray, state)


class Reference:
  """A 3x3 convolution, batch normalisation, ReLU, 2x2 average pool and a linear classifier, with
  the gradients of the mean cross-entropy, all in float64."""

  def __init__(self, variables):
    variables = jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float64), variables)
    self.weights = {
      (layer, name): value
      for layer, values in variables['params'].items()
      for name, value in values.items()
    }
    self.running = dict(variables['batch_stats']['norm1'])
    self.momentum = {}

  def gradient(self, images, labels):
    """Returns the loss and its gradient, and moves the running statistics."""
    w, (count, side) = self.weights, images.shape[:2]
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    corners = [framed[:, i : i + side, j : j + side] for i, j in np.ndindex(3, 3)]
    patches = np.concatenate(corners, axis=-1)
    kernel = w['conv1', 'kernel'].reshape(9, -1)
    maps = patches @ kernel + w['conv1', 'bias']

    pixels = (0, 1, 2)
    mean, variance = maps.mean(pixels), maps.var(pixels)
    unbiased = maps.var(pixels, ddof=1)
    self.running['mean'] = 0.9 * self.running['mean'] + 0.1 * mean
    self.running['var'] = 0.9 * self.running['var'] + 0.1 * unbiased
    spread = np.sqrt(variance + 1e-5)
    unit = (maps - mean) / spread
    shown = unit * w['norm1', 'scale'] + w['norm1', 'bias']
    active = np.maximum(shown, 0)
    pooled = active.reshape(count, side // 2, 2, side // 2, 2, -1).mean((2, 4))
    flat = pooled.reshape(count, -1)
    logits = flat @ w['classifier', 'kernel'] + w['classifier', 'bias']
    log_p = logits - logits.max(1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
    loss = -log_p[np.arange(count), labels].mean()

    error = (np.exp(log_p) - np.eye(10)[labels]) / count
    back = (error @ w['classifier', 'kernel'].T).reshape(pooled.shape) / 4
    back = back.repeat(2, 1).repeat(2, 2) * (shown > 0)
    through = back * w['norm1', 'scale']
    along = (through * unit).mean(pixels)
    through = (through - through.mean(pixels) - unit * along) / spread
    return loss, {
      ('classifier', 'kernel'): flat.T @ error,
      ('classifier', 'bias'): error.sum(0),
      ('norm1', 'scale'): (back * unit).sum(pixels),
      ('norm1', 'bias'): back.sum(pixels),
      ('conv1', 'kernel'): np.tensordot(patches, through, (pixels, pixels)).reshape(3, 3, 1, -1),
      ('conv1', 'bias'): through.sum(pixels),
    }

  def step(self, images, labels, rate):
    """One step of SGD with momentum and weight decay, as torch.optim.SGD; returns the loss."""
    loss, gradient = self.gradient(images, labels)
    for name, slope in gradient.items():
      slope = slope + DECAY * self.weights[name]
      before = self.momentum.get(name)
      self.momentum[name] = slope if before is None else MOMENTUM * before + slope
      self.weights[name] = self.weights[name] - rate * self.momentum[name]
    return loss


@pytest.mark.parametrize('recipe', SIZES)
def test_the_training_is_that_of_the_public_code(recipe):
  number, images, batch = SIZES[recipe]
  batches, losses, end = trained(recipe)
  made = problem(recipe)
  train, _ = data.load('digits', image_size=8)
  reference = Reference(made.state.variables)
  step = 0
  for rate, new in epochs_of(recipe, number):
    if new:
      reference.momentum = {}
    seen = 0
    for first in range(0, images, batch):
      real = min(batch, images - first)
      drawn = batches[step]
      assert drawn['weight'][0].tolist() == [1.0] * real + [0.0] * (batch - real)
      pixels, labels = drawn['images'][0, :real], drawn['labels'][0, :real]
      normalised = (pixels / 255.0 - np.array(train.mean)) / np.array(train.std)
      assert losses[step] == pytest.approx(reference.step(normalised, labels, rate), rel=5e-6)
      seen += pixels.sum(dtype=np.int64)
      step += 1
    assert seen == train.images[:images].sum(dtype=np.int64)  # each image once
  assert step == len(batches) == made.num_steps
  for (layer, name), expected in reference.weights.items():
    found = end.variables['params'][layer][name][0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
  for name, expected in reference.running.items():
    found = end.variables['batch_stats']['norm1'][name][0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize('number', [1, 2, 5, 7, 10, 1000, 1500])
@pytest.mark.parametrize('recipe', SIZES)
def test_every_step_has_the_learning_rate_of_the_public_code(recipe, number):
  _, images, batch = SIZES[recipe]
  chosen = protocols.find_recipe(recipe, epochs=number)
  expected, cleared = [], []
  for rate, new in epochs_of(recipe, number):
    cleared += [len(expected)] if new else []
    expected += [rate] * math.ceil(images / batch)
  assert chosen.steps(images) == len(expected)
  found = jax.jit(jax.vmap(chosen.learning_rate(images)))(jnp.arange(len(expected)))
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  if chosen.clear_momentum:
    reached = [step for step in chosen.boundaries(images) if step < len(expected)]
    assert reached == cleared


@pytest.mark.parametrize('recipe', SIZES)
def test_what_fills_up_a_short_batch_changes_no_bit(recipe):
  """With the whole augmentation, CutMix included."""
  draw, step = compiled(recipe, augment=True)
  made = problem(recipe, augment=True)
  state, _ = step(made.state, draw(made.source.data, made.state))
  batch = {name: np.asarray(entry) for name, entry in draw(made.source.data, state).items()}
  filling = batch['weight'] == 0
  assert filling.any()
  garbage = {name: entry.copy() for name, entry in batch.items()}
  garbage['images'][filling] = np.random.default_rng(0).integers(0, 256, (8, 8, 1))
  garbage['labels'][filling] = 9
  jax.tree.map(np.testing.assert_array_equal, step(state, garbage), step(state, batch))


def test_four_devices_train_as_one():
  """70 images in batches of 64 over four devices: of the last batch two devices have nothing."""
  _, losses, end = trained('idc')
  _, several, spread = trained('idc', devices=4)
  assert several == pytest.approx(losses, rel=1e-5)
  for found, expected in zip(
    jax.tree.leaves(spread.variables), jax.tree.leaves(end.variables), strict=True
  ):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)
