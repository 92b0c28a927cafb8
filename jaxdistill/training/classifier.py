"""Supervised training of several networks at once: evaluation of condensed sets, experts, teachers.

`make` builds the pure functions (init, sample, step) of R networks that differ in their seed only;
`train` runs them through the loop and scores them. The networks share nothing but the clock: each
has its own weights, order of data and augmentation.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec

from jaxdistill import errors, metrics
from jaxdistill.data import Dataset, augment, samplers, streaming
from jaxdistill.losses import classification
from jaxdistill.models import normalisation
from jaxdistill.training import batches, loop, optim, parallel, schedules, scorer, together

SPREADS = ('networks', 'batch')


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How a classifier is trained: stochastic gradient descent with steps in the learning rate.

  Attributes:
    name: for messages and reports.
    batch: images a step, over all devices.
    epochs: passes over the training set.
    learning_rate: at the start.
    drops: fractions of the training at which the learning rate is multiplied by `drop`.
    drop: that factor.
    clear_momentum: whether the momentum is set to zero at each drop (a released code that makes a
      new optimiser does that).
    momentum: of SGD.
    weight_decay: added to the gradient, on all parameters.
    strategy: augmentation operations, see `data.augment.diffaugment`.
    composition: 'idc' or 'dm'.
    cutmix: probability of CutMix for a batch.
    label_smoothing: share of the label spread over all classes.
  """

  name: str
  batch: int = 64
  epochs: int = 1000
  learning_rate: float = 0.01
  drops: tuple[float, ...] = (2 / 3, 5 / 6)
  drop: float = 0.2
  clear_momentum: bool = False
  momentum: float = 0.9
  weight_decay: float = 5e-4
  strategy: str = ''
  composition: str = 'idc'
  cutmix: float = 0.0
  label_smoothing: float = 0.0

  def steps(self, images: int) -> int:
    """Steps of the whole training for so many images; the last, short batch of an epoch counts."""
    return self.epochs * math.ceil(images / self.batch)


@flax.struct.dataclass
class State:
  """R networks in training: every leaf of `variables` and `optimizer` has the leading axis R."""

  variables: Any
  optimizer: Any
  network: jax.Array  # [R] the number of each network: its random numbers depend on nothing else
  key: jax.Array
  step: jax.Array


class Functions(NamedTuple):
  """The pure functions of a training: init(key) -> State, sample(data, key, step) -> batch,
  step(State, batch).

  draw: `sample` as code for one device, by which the host draws the batches of streamed images.
  """

  init: Callable
  sample: Callable
  step: Callable
  draw: Callable


class Scores(NamedTuple):
  """What `train` gives.

  columns: accuracies [R] in [0, 1] on the test set, see `columns`.
  checked: 'steps' [k] of the checks, accuracies 'test' [k, R] and, with validation images,
    'validation' [k, R].
  variables: of the networks, leading axis R. steps: of the training. seconds: it took, in this
    process.
  """

  columns: dict[str, np.ndarray]
  checked: dict[str, np.ndarray]
  variables: Any
  steps: int
  seconds: float


def make(
  model: nn.Module,
  recipe: Recipe,
  *,
  image_shape: tuple[int, int, int],
  num_classes: int,
  mean,
  std,
  networks: int,
  num_steps: int,
  training_images: int,
  learning_rates: Sequence[float] = (),
  mesh: Mesh | None = None,
  way: str = 'auto',
  spread: str = 'auto',
) -> Functions:
  """Builds the training of `networks` networks as pure functions.

  One step of each network: draw its batch, normalise, augment, CutMix, cross-entropy, SGD.

  Args:
    model: a network of `models.build`.
    recipe: how to train.
    image_shape: (h, w, c).
    num_classes: of the labels.
    mean, std: per channel, of images in [0, 1].
    networks: R.
    num_steps: length of the training, for the learning rate.
    training_images: size of the training set.
    learning_rates: one a network in place of the recipe's; () for the recipe's.
    mesh: the devices; None: the default one.
    way: how the networks share a program: 'vmap', 'unroll' (one after the other in one program), or
      'auto'.
    spread: what is spread over the devices: 'networks', padded to a multiple of the devices;
      'batch', of which every device takes an equal part, an uneven one being padded with images of
      weight 0 (batch normalisation takes the statistics of the whole batch; the augmentation, which
      mixes images, is computed for the whole batch everywhere); or 'auto', see `choose_spread`.

  Returns:
    Functions. `step` reports the mean loss and the training accuracy over the networks.
  """
  way = together.choose_way(way)
  mesh = None if mesh is None or mesh.size == 1 else mesh
  spread = choose_spread(spread, networks, mesh, model, min(recipe.batch, training_images))
  axis = mesh and mesh.axis_names[0]
  padded = _padded(networks, mesh, spread)
  optimizer = _optimizer(recipe, num_steps)
  boundaries = jnp.asarray([round(d * num_steps) for d in recipe.drops] or [-1], jnp.int32)
  batch_size = min(recipe.batch, training_images)
  # The learning rate is the last factor of an update, so that a network's own one is reached by
  # scaling.
  scale = jnp.asarray(learning_rates, jnp.float32) / recipe.learning_rate

  def init(key: jax.Array) -> State:
    key_init, key = jax.random.split(jax.random.wrap_key_data(key))

    def one(number):
      return model.init(jax.random.fold_in(key_init, number), jnp.zeros((1, *image_shape)))

    variables = jax.vmap(one)(jnp.arange(padded))
    return State(
      variables,
      jax.vmap(optimizer.init)(variables['params']),
      jnp.arange(padded),
      jax.random.key_data(key),
      jnp.int32(0),
    )

  def sample(
    data: Mapping[str, jax.Array], key: jax.Array, step: jax.Array
  ) -> dict[str, jax.Array]:
    def one(number):
      return samplers.epoch_batch(
        jax.random.fold_in(key, number), step, training_images, batch_size
      )

    index, weight = jax.vmap(one)(data['network'])
    return {'images': data['images'][index], 'labels': data['labels'][index], 'weight': weight}

  def prepare(number, batch, key, choice):
    """Normalises, augments and mixes one network's batch."""
    key_augment, key_cutmix = jax.random.split(jax.random.fold_in(key, number))
    images = augment.normalise(batch['images'], mean, std)
    images = augment.diffaugment(
      key_augment,
      images,
      recipe.strategy,
      composition=recipe.composition,
      siamese=False,
      choice=choice,
    )
    labels = soft_labels(batch['labels'], num_classes)
    if recipe.cutmix:
      images, labels = augment.cutmix(key_cutmix, images, labels, recipe.cutmix, batch['weight'])
    return images, labels

  def own_part(images, labels, weight):
    """The rows [R, n, ...] that this device takes of the batch, and the share [R] of the batch's
    weight that they have."""
    if spread != 'batch':
      return images, labels, weight, jnp.ones(len(weight))
    size = weight.shape[1]
    each = -(-size // mesh.size)
    index = jax.lax.axis_index(axis) * each + jnp.arange(each)
    images, labels, own = (a[:, index % size] for a in (images, labels, weight))
    own = jnp.where(index < size, own, 0.0)
    return images, labels, own, own.sum(1) / jnp.maximum(weight.sum(1), 1e-12)

  def differentiate(variables, images, labels, weight, share):
    """Returns one network's gradient, its new batch statistics, loss and training accuracy, times
    this device's share."""

    def loss_of(params):
      (logits, _), moved = model.apply(
        {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
      )
      loss = classification.cross_entropy(
        logits, labels, weight=weight, label_smoothing=recipe.label_smoothing
      )
      return share * loss, (moved, share * metrics.accuracy(logits, labels, weight))

    (loss, (moved, accuracy)), gradient = jax.value_and_grad(loss_of, has_aux=True)(
      variables['params']
    )
    return gradient, moved, {'loss': loss, 'train_accuracy': accuracy}

  def step(state: State, batch: Mapping[str, jax.Array]) -> tuple[State, dict[str, jax.Array]]:
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    # Which one of several geometric operations a step applies is a single draw for all networks:
    # under vmap a draw for each would compute every branch for every network.
    choice = augment.draw_choice(
      jax.random.fold_in(key, 2**31 - 1), recipe.strategy, recipe.composition
    )
    images, labels = jax.vmap(prepare, in_axes=(0, 0, None, None))(
      state.network, batch, key, choice
    )
    with normalisation.synchronised(axis if spread == 'batch' else None):
      gradient, moved, metrics = together.over_networks(differentiate, way)(
        state.variables, *own_part(images, labels, batch['weight'])
      )
    metrics = jax.tree.map(lambda m: jnp.sum(m, where=state.network < networks) / networks, metrics)
    if spread == 'batch':
      gradient, metrics = parallel.sum_over((gradient, metrics), axis)
    elif mesh is not None:
      metrics = parallel.sum_over(metrics, axis)
    opt_state = state.optimizer
    if recipe.clear_momentum:
      opt_state = optim.clear_momentum(opt_state, jnp.any(state.step == boundaries))
    updates, opt_state = jax.vmap(optimizer.update)(gradient, opt_state, state.variables['params'])
    if len(learning_rates):
      own = scale[state.network]  # a network that only fills up the devices takes the last one
      updates = jax.tree.map(lambda u: u * own.reshape(-1, *(1,) * (u.ndim - 1)), updates)
    variables = {
      **state.variables,
      **moved,
      'params': optax.apply_updates(state.variables['params'], updates),
    }
    return state.replace(variables=variables, optimizer=opt_state, step=state.step + 1), metrics

  if mesh is None:
    return Functions(init, sample, step, draw=sample)
  return _spread(init, sample, step, mesh, spread)


def train(
  run,
  name: str,
  model: nn.Module,
  images: np.ndarray,
  labels: np.ndarray,
  recipe: Recipe,
  *,
  num_classes: int,
  mean,
  std,
  test: Dataset,
  validation: Dataset | None = None,
  networks: int = 1,
  seed: int = 0,
  num_steps: int = 0,
  checks: int = 6,
  learning_rates: Sequence[float] = (),
  mesh: Mesh | None = None,
  way: str = 'auto',
  spread: str = 'auto',
  keep_final: bool = False,
) -> Scores:
  """Trains `networks` networks on a set and scores them on real images.

  Args:
    run: the run that keeps metrics and checkpoints (`training.run.Run`).
    name: of the phase.
    model, recipe, mean, std, learning_rates, mesh, way, spread: see `make`.
    images: [n, h, w, c], uint8 or float in [0, 1], or uint8 that is streamed from disk.
    labels: int [n] or soft [n, classes].
    num_classes: of the labels.
    test: images to score on; they never influence the training.
    validation: held-out images to choose a check by.
    networks: R.
    seed: of weights, order and augmentation.
    num_steps: 0: the recipe's epochs.
    checks: how often the networks are scored, evenly spread, the last time at the end.
    keep_final: whether the final state stays in the run's checkpoints.

  Returns:
    Scores.

  Raises:
    UserError: when the loss stops being finite.
  """
  started = time.perf_counter()
  problem = setup(
    model,
    images,
    labels,
    recipe,
    num_classes=num_classes,
    mean=mean,
    std=std,
    networks=networks,
    seed=seed,
    num_steps=num_steps,
    learning_rates=learning_rates,
    mesh=mesh,
    way=way,
    spread=spread,
  )
  scorers = {'test': scorer.Scorer(model, test.images, test.labels, mean=mean, std=std, way=way)}
  if validation is not None:
    scorers['validation'] = scorer.Scorer(
      model, validation.images, validation.labels, mean=mean, std=std, way=way
    )

  def evaluate(state):
    scored = {split: score(state.variables)[:networks] for split, score in scorers.items()}
    means = {f'{split}_accuracy': float(accuracy.mean()) for split, accuracy in scored.items()}
    return means | {f'{split}_accuracies': accuracy.tolist() for split, accuracy in scored.items()}

  state = loop.fit(
    run,
    name,
    problem.step,
    problem.state,
    problem.source,
    problem.num_steps,
    evaluate=evaluate,
    evaluate_every=max(1, math.ceil(problem.num_steps / checks)),
    keep_final=keep_final,
    rows=networks,
  )
  history = run.history(name)
  checked = {
    split: np.asarray([record[f'{split}_accuracies'] for record in history]) for split in scorers
  }
  variables = jax.tree.map(lambda a: parallel.gather(a)[:networks], state.variables)
  return Scores(
    columns(**checked),
    {'steps': np.asarray([record['step'] for record in history]), **checked},
    variables,
    problem.num_steps,
    time.perf_counter() - started,
  )


def columns(test: np.ndarray, validation: np.ndarray | None = None) -> dict[str, np.ndarray]:
  """Returns what a table may report of each network: accuracies [R] on the test set.

  'last' at the end of the training; 'best_test' at the network's best check on the test set, which
  the test images thereby chose; with validation images 'selected', at its best check on those.

  Args:
    test, validation: [k, R] accuracies at the k checks of R networks.

  >>> test, validation = np.array([[0.5], [0.7], [0.6]]), np.array([[0.8], [0.2], [0.3]])
  >>> {name: values.item() for name, values in columns(test, validation).items()}
  {'last': 0.6, 'selected': 0.5, 'best_test': 0.7}
  """
  chosen = (
    {} if validation is None else {'selected': test[validation.argmax(0), np.arange(test.shape[1])]}
  )
  return {'last': test[-1], **chosen, 'best_test': test.max(0)}


class Problem(NamedTuple):
  """A training ready for the loop: its step, first state, source of batches and length."""

  step: Callable
  state: State
  source: loop.ArraySource | loop.HostSource
  num_steps: int


def setup(
  model: nn.Module,
  images: np.ndarray,
  labels: np.ndarray,
  recipe: Recipe,
  *,
  num_classes: int,
  mean,
  std,
  networks: int,
  seed: int = 0,
  num_steps: int = 0,
  learning_rates: Sequence[float] = (),
  mesh: Mesh | None = None,
  way: str = 'auto',
  spread: str = 'auto',
) -> Problem:
  """Places data and networks on the devices; arguments as in `train`."""
  num_steps = num_steps or recipe.steps(len(images))
  mesh = None if mesh is None or mesh.size == 1 else mesh
  spread = choose_spread(spread, networks, mesh, model, min(recipe.batch, len(images)))
  functions = make(
    model,
    recipe,
    image_shape=images.shape[1:],
    num_classes=num_classes,
    mean=mean,
    std=std,
    networks=networks,
    num_steps=num_steps,
    training_images=len(images),
    learning_rates=learning_rates,
    mesh=mesh,
    way=way,
    spread=spread,
  )
  key = jax.random.key_data(jax.random.key(seed))
  if mesh is None:
    state = jax.jit(functions.init)(key)
  else:
    state = parallel.make_sharded(
      functions.init, _state_spec(mesh.axis_names[0], spread), mesh, key
    )
  return Problem(
    functions.step,
    state,
    _source(functions, state, images, labels, num_steps, mesh, spread),
    num_steps,
  )


def _source(functions, state, images, labels, num_steps, mesh, spread):
  """The batches: from the device, which holds all images, or from disk."""
  numbers = {'network': np.arange(len(state.network))}
  by_network = parallel.shard if spread == 'networks' else parallel.replicate
  if isinstance(images, streaming.Streamed):
    data = {'images': images, 'labels': np.asarray(labels), **numbers}
    return batches.streamed(data, functions.draw, state.key, num_steps, mesh, spread == 'networks')
  data = {'images': images, 'labels': labels}
  data = (
    jax.tree.map(jnp.asarray, data | numbers)
    if mesh is None
    else parallel.replicate(data, mesh) | by_network(numbers, mesh)
  )
  return loop.ArraySource(data, functions.sample)


def choose_spread(
  spread: str, networks: int, mesh: Mesh | None, model: nn.Module, batch: int
) -> str:
  """Returns what is spread over the devices: for 'auto' the networks, or the batch where there are
  fewer networks than devices.

  Raises:
    UserError: an unknown name, or batch normalisation and a batch that the devices cannot share
      evenly.
  """
  if spread not in (*SPREADS, 'auto'):
    raise errors.unknown('way to use several devices', spread, (*SPREADS, 'auto'))
  devices = 1 if mesh is None else mesh.size
  uneven = getattr(model, 'norm', None) == 'batch' and batch % devices
  if devices == 1 or spread == 'auto' and (networks >= devices or uneven):
    return 'networks'
  if spread == 'batch' and uneven:
    raise errors.UserError(
      f'A batch of {batch} images cannot be shared evenly by {devices} devices, which batch '
      'normalisation '
      f'needs; use a multiple of {devices}.'
    )
  return 'batch' if spread == 'auto' else spread


def _padded(networks, mesh, spread):
  return networks if mesh is None or spread == 'batch' else -(-networks // mesh.size) * mesh.size


def soft_labels(labels: jax.Array, num_classes: int) -> jax.Array:
  """Returns float labels [n, classes]: one-hot for integer labels [n], soft labels as they are."""
  return labels.astype(jnp.float32) if labels.ndim == 2 else jax.nn.one_hot(labels, num_classes)


def _optimizer(recipe: Recipe, num_steps: int) -> optax.GradientTransformation:
  schedule = schedules.multistep(
    recipe.learning_rate, [round(d * num_steps) for d in recipe.drops], recipe.drop
  )
  return optim.sgd(schedule, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def _state_spec(axis: str, spread: str) -> State:
  whole = PartitionSpec()
  share = whole if spread == 'batch' else PartitionSpec(axis)
  return State(share, share, share, whole, whole)


def _spread(init, sample, step, mesh, spread):
  """Runs each device's share of the networks or of the batch on it; with the networks only the
  metrics cross devices."""
  axis, whole = mesh.axis_names[0], PartitionSpec()
  share = whole if spread == 'batch' else PartitionSpec(axis)
  state_spec = _state_spec(axis, spread)
  data_spec = {'images': whole, 'labels': whole, 'network': share}
  return Functions(
    init,
    parallel.per_device(sample, mesh, (data_spec, whole, whole), share),
    parallel.per_device(step, mesh, (state_spec, share), (state_spec, whole)),
    draw=sample,
  )
