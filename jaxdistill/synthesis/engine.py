"""The condensation engine: one iteration of distribution matching, and the points where methods
plug in.

  decode the canvases -> augment real and synthetic images alike -> features under a frozen network
  -> discrepancy of each class -> a step on the canvases  [-> calibration -> a second step]

A method fills `Plugs`: where networks come from, what the discrepancy is, and whether a calibration
follows; nothing else differs between the methods. Classes are independent throughout, so they are
what is spread over devices and what is taken in portions where memory or cache ask for it.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxdistill import draws, errors
from jaxdistill.data import augment, samplers, streaming
from jaxdistill.numerics import settled
from jaxdistill.synthesis import decode, portions
from jaxdistill.training import batches, parallel, problem

# Folded into a key in place of a step or class number, which never get so high (the loop's sampling
# takes the number above).
_NETWORKS = 2**32 - 2

ORDERS = ('per_class', 'joint')
SPACES = ('unit', 'normalised')
DECODINGS = ('all', 'bounded')
REALS = ('images', 'features')


class Networks(NamedTuple):
  """The frozen networks of one iteration: `matching` gives the features, `expert` the logits of a
  calibration."""

  matching: Any
  expert: Any = None


class Plugs(NamedTuple):
  """What makes a method.

  draw: (pool, key, step) -> Networks. `pool` is whatever pytree of networks the method prepared, ()
    for none; `key` is one and the same throughout a run, so that a draw depends on the step alone
    and nothing has to be kept.
  discrepancy: (synthetic features [n, d], real features [m, d]) -> scalar, for one class. Where
    it takes `y_mask` [m] by name, as those of `losses` do, it gets 0 for the places that a class
    with fewer images than `batch_real` leaves empty; where it does not, such a class repeats its
    images there.
  calibration: None, or (logits [n, classes] of the expert for the synthetic images of one class,
    label) -> scalar, whose gradient makes a second step on the canvases, after that of the
    discrepancy and with the same optimiser.
  """

  draw: Callable[[Any, jax.Array, jax.Array], Networks]
  discrepancy: Callable[[jax.Array, jax.Array], jax.Array]
  calibration: Callable[[jax.Array, jax.Array], jax.Array] | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
  """The engine's own numbers, the same for every method.

  Attributes:
    ipc: canvases a class.
    factor: cells along a canvas' side.
    batch_real: real images a class and iteration.
    batch_syn_max: at most so many decoded images a class and iteration.
    decoding: how they become so few: 'all': a random subset of all; 'bounded': the last canvases
      are decoded at lower factors, see `decode.bounded`.
    learning_rate, momentum: of the canvases' SGD, as the released code of the method names them.
    order: 'per_class': the released code takes one momentum step per class on the tensor of all
      classes. Between two steps of one class its momentum runs out (to 2^-(classes-1) at momentum
      1/2), so every class makes plain SGD steps of length learning_rate / (1 - momentum), which is
      how they are computed here, all classes at once. Only the clamp of 'unit' differs: there it
      comes before the rest of the last classes' steps, whose canvases leave [0, 1] for an
      iteration. 'joint': one momentum step for the sum of all classes' losses.
    space: 'unit': canvases live in [0, 1] and are clamped once an iteration; 'normalised': canvases
      are normalised images and not clamped, unless `clamped` says so.
    augmentation, composition: the siamese augmentation, see `data.augment.diffaugment`.
    classes_at_once: classes that one call of the network takes; 0: chosen for the backend.
    feature: what of the network is matched: 'embedding', 'logits', or another of its features by
      name, flattened.
    clamped: whether normalised canvases are clamped to the range of images once an iteration, as
      those of 'unit' are.
    real: what the real data are: 'images', or 'features', what the one network of a method without
      augmentation makes of them, float32 [classes, n_max, d], computed beforehand.
  """

  ipc: int
  factor: int = 1
  batch_real: int = 128
  batch_syn_max: int = 200
  decoding: str = 'all'
  learning_rate: float = 1.0
  momentum: float = 0.5
  order: str = 'per_class'
  space: str = 'unit'
  augmentation: str = 'color_crop_cutout'
  composition: str = 'idc'
  classes_at_once: int = 0
  feature: str = 'embedding'
  clamped: bool = False
  real: str = 'images'


@flax.struct.dataclass
class State:
  """All that affects the future of a condensation.

  images: float32 [classes, ipc, h, w, c] canvases (classes padded to a multiple of the devices).
  optimizer: of the canvases. key: raw key data. step: int32.
  """

  images: jax.Array
  optimizer: Any
  key: jax.Array
  step: jax.Array


def make(
  plugs: Plugs,
  settings: Settings,
  model: nn.Module,
  *,
  num_classes: int,
  mean,
  std,
  mesh: Mesh | None = None,
  smallest: int = 0,
) -> problem.Functions:
  """Builds a condensation as pure functions.

  With S_c the canvases of class c, A one random augmentation for real and synthetic images of a
  class, f the network's embedding: every iteration makes a gradient step on sum_c
  discrepancy(f(A(decode S_c)), f(A(X_c))) with respect to S.

  Args:
    plugs: the method.
    settings: the engine's numbers.
    model: a network of `models.build` that returns (logits, features with 'embedding'), or
      anything with its `apply(variables, images)`.
    num_classes: real classes; padding classes beyond them are computed and ignored.
    mean, std: per channel, of images in [0, 1].
    mesh: devices over which the classes are spread; None: the default device.
    smallest: real images of the smallest class, 0 where it is not known. Only if they may be fewer
      than `batch_real`, real images are weighed.

  Returns:
    Functions. `step` reports 'loss' (mean over classes), 'class_loss' [classes] and, if the method
    calibrates, 'calibration_loss' (mean over classes).

  Raises:
    UserError: for an unknown update or space, or a network that couples the samples of a batch.
  """
  _check(settings, model)
  takes_mask = 'y_mask' in inspect.signature(plugs.discrepancy).parameters
  weighed = takes_mask and smallest < settings.batch_real
  iteration = _Iteration(
    plugs, settings, model, num_classes, tuple(mean), tuple(std), mesh, weighed
  )
  functions = problem.Functions(
    iteration.init, iteration.sample, iteration.step, draw=iteration.sample
  )
  return problem.spread(functions, _placement(mesh, weighed))


@dataclasses.dataclass(frozen=True, eq=False)
class _Iteration:
  """The functions of `make` as code for one device; read `step` first."""

  plugs: Plugs
  settings: Settings
  model: nn.Module
  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  mesh: Mesh | None
  weighed: bool

  def init(self, key: jax.Array, canvases: jax.Array) -> State:
    if self.settings.space == 'normalised':
      canvases = augment.normalise(canvases, self.mean, self.std)
    return State(canvases, self.optimizer.init(canvases), key, jnp.int32(0))

  def sample(
    self, data: Mapping[str, jax.Array], key: jax.Array, step: jax.Array
  ) -> dict[str, jax.Array]:
    positions, weight = samplers.class_batch(
      key, step, data['counts'], self.settings.batch_real, data['numbers']
    )
    images = jax.vmap(lambda x, i: x[i])(data['images'], positions)
    batch = {'images': images, **{name: data[name] for name in ('classes', 'numbers', 'pool')}}
    return batch | ({'weight': weight} if self.weighed else {})

  def step(
    self, state: State, batch: Mapping[str, jax.Array]
  ) -> tuple[State, dict[str, jax.Array]]:
    plugs, classes = self.plugs, batch['classes']
    run_key = draws.typed(state.key)
    networks = plugs.draw(batch['pool'], jax.random.fold_in(run_key, _NETWORKS), state.step)
    images = self.within_range(state.images)

    keys, choice = self.draws(run_key, state.step, 0, batch['numbers'])
    matching = functools.partial(self.matching, networks=networks, choice=choice)
    weight = (batch['weight'],) if self.weighed else ()
    state, images, losses = self.descend(state, images, matching, batch['images'], keys, *weight)
    measured = {'class_loss': losses}
    if plugs.calibration:
      keys, choice = self.draws(run_key, state.step, 1, batch['numbers'])
      calibrating = functools.partial(self.calibrating, networks=networks, choice=choice)
      state, images, losses = self.descend(state, images, calibrating, classes, keys)
      measured['calibration_loss'] = losses
    measured = self.of_all_classes(measured, classes)
    metrics = {name: by_class.mean() for name, by_class in measured.items()}
    metrics = metrics | {'loss': metrics['class_loss'], 'class_loss': measured['class_loss']}
    return state.replace(images=images, step=state.step + 1), metrics

  def within_range(self, images: jax.Array) -> jax.Array:
    """The canvases, clamped where they are to be."""
    if self.settings.space == 'unit':
      return jnp.clip(images, 0, 1)
    if not self.settings.clamped:
      return images
    mean, std = jnp.asarray(self.mean), jnp.asarray(self.std)
    least, most = (((value - mean) / std).reshape(1, 1, 1, 1, -1) for value in (0, 1))
    return jnp.clip(images, least, most)

  @property
  def optimizer(self) -> optax.GradientTransformation:
    """Of the canvases."""
    learning_rate, momentum = self.settings.learning_rate, self.settings.momentum
    if self.settings.order == 'per_class':
      return optax.sgd(learning_rate / (1 - momentum))
    return optax.sgd(learning_rate, momentum=momentum or None)

  def draws(self, run_key, step, number, class_numbers):
    """Keys [classes, 2] for decoding and augmenting, and the operation that all classes share."""
    key = jax.random.fold_in(jax.random.fold_in(run_key, step), number)
    choice = augment.draw_choice(
      jax.random.fold_in(key, _NETWORKS), self.settings.augmentation, self.settings.composition
    )
    keys = jax.vmap(lambda c: draws.split(jax.random.fold_in(key, c)))(class_numbers)
    return keys, choice

  def matching(self, canvases, real, keys, weight=None, *, networks, choice):
    """Discrepancy of each class of a portion: [classes]. `weight` [classes, batch_real] is that of
    the real images; None: 1 each."""
    synthetic = jax.vmap(self.decoded)(keys[:, 0], canvases)
    if self.settings.real == 'features':
      target, features = real, self.features(networks.matching, synthetic)
    else:
      both = jnp.concatenate([augment.normalise(real, self.mean, self.std), synthetic], axis=1)
      both = self.augmented(keys[:, 1], both, choice)
      target = self.features(networks.matching, both[:, : self.settings.batch_real])
      features = self.features(networks.matching, both[:, self.settings.batch_real :])
    target = jax.lax.stop_gradient(target)
    if weight is None:
      return jax.vmap(self.plugs.discrepancy)(features, target)
    weighed = lambda x, y, mask: self.plugs.discrepancy(x, y, y_mask=mask)
    return jax.vmap(weighed)(features, target, weight)

  def calibrating(self, canvases, labels, keys, *, networks, choice):
    """Calibration loss of each class of a portion: [classes]."""
    synthetic = self.augmented(keys[:, 1], jax.vmap(self.decoded)(keys[:, 0], canvases), choice)
    logits = self.features(networks.expert, synthetic, 'logits')
    return jax.vmap(self.plugs.calibration)(logits, labels)

  def decoded(self, key, canvases):
    """The normalised training images of a class' canvases, at most `batch_syn_max` of them."""
    settings, in_unit_range = self.settings, self.settings.space == 'unit'
    fill = 0.5 if in_unit_range else (0.5 - jnp.asarray(self.mean)) / jnp.asarray(self.std)
    if settings.decoding == 'bounded':
      cells = decode.bounded(canvases, settings.factor, settings.batch_syn_max, fill)
    else:
      cells = decode.decode(canvases, settings.factor, fill)
    if len(cells) > settings.batch_syn_max:
      cells = cells[samplers.shuffled_index(key, jnp.arange(settings.batch_syn_max), len(cells))]
    return augment.normalise(cells, self.mean, self.std) if in_unit_range else cells

  def augmented(self, keys, images, choice):
    """Images [classes, n, h, w, c], each class under one draw for all of its images."""

    def of_class(key, images):
      return augment.diffaugment(
        key,
        images,
        self.settings.augmentation,
        composition=self.settings.composition,
        siamese=True,
        choice=choice,
      )

    return jax.vmap(of_class)(keys, images)

  def features(self, variables, images, name=''):
    """[classes, n, h, w, c] -> [classes, n, d]; exact, as the network couples no samples."""
    logits, features = self.model.apply(variables, images.reshape(-1, *images.shape[2:]))
    chosen = pick_feature(logits, features, name or self.settings.feature)
    return chosen.reshape(*images.shape[:2], -1)

  def descend(self, state, images, losses_of, *per_class):
    """One step on the sum over classes of losses_of(canvases, *per_class); returns state, images
    and the losses."""

    def total(images, *per_class):
      losses = losses_of(images, *per_class)
      return losses.sum(), losses

    def portion(images, *per_class):
      (_, losses), gradient = jax.value_and_grad(total, has_aux=True)(images, *per_class)
      return losses, gradient

    settings, (height, width) = self.settings, images.shape[2:4]
    synthetic = min(settings.ipc * settings.factor**2, settings.batch_syn_max)
    real = settings.batch_real if settings.real == 'images' else 0
    pixels = (real + synthetic) * height * width
    losses, gradient = portions.by_portions(portion, settings.classes_at_once, pixels)(
      images, *per_class
    )
    updates, optimizer = self.optimizer.update(gradient, state.optimizer)
    return state.replace(optimizer=optimizer), optax.apply_updates(images, updates), losses

  def of_all_classes(self, losses, classes):
    """From the losses of a device's classes those of all [num_classes]: one message; those of
    padding classes fall out."""
    placed = jax.tree.map(
      lambda loss: jnp.zeros(self.num_classes).at[classes].set(loss, mode='drop'), losses
    )
    several = problem.count_devices(self.mesh) > 1
    return parallel.sum_over(placed, parallel.AXIS) if several else placed


def pick_feature(logits: jax.Array, features: Mapping[str, jax.Array], name: str) -> jax.Array:
  """Returns what a network gives under a name: 'logits', 'embedding', or another of its features.

  Raises:
    UserError: the network has no feature of that name.

  >>> pick_feature(jnp.ones(2), {'embedding': jnp.zeros(3)}, 'logits').tolist()
  [1.0, 1.0]
  """
  known = {'logits': logits, **features}
  if name not in known:
    raise errors.unknown('feature of the network', name, known)
  return known[name]


def constant_network(pool: Any, key: jax.Array, step: jax.Array) -> Networks:
  """The `draw` of one network throughout, whose variables are the pool (a trained one, for
  example).

  >>> constant_network({'params': 1}, None, 7).matching
  {'params': 1}
  """
  del key, step
  return Networks(pool, expert=pool)


def fresh_networks(model: nn.Module, image_shape: tuple[int, int, int], every: int) -> Callable:
  """Returns the `draw` of random networks, each kept for `every` iterations (M3D's iterations per
  random model; DM: 1).

  A kept network is made again from its number rather than stored: that takes milliseconds and
    leaves nothing to save.

  >>> from jaxdistill import models
  >>> draw = fresh_networks(models.build('mlp', 2, (4, 4, 1)), (4, 4, 1), every=5)
  >>> first, last, next_one = (draw((), jax.random.key(0), step).matching for step in (0, 4, 5))
  >>> same = lambda a, b: bool(jnp.array_equal(jax.tree.leaves(a)[-1], jax.tree.leaves(b)[-1]))
  >>> same(first, last), same(first, next_one)
  (True, False)
  """

  def draw(pool, key, step):
    del pool
    return Networks(
      model.init(jax.random.fold_in(key, step // every), jnp.zeros((1, *image_shape), jnp.float32))
    )

  return draw


@settled()
def real_data(
  images: jax.Array,
  counts: jax.Array,
  mesh: Mesh | None = None,
  pool: Any = (),
  numbers: Sequence[int] | None = None,
) -> dict[str, Any]:
  """Places the real images, class by class, and the method's networks where the step wants them.

  Args:
    images: uint8 [classes, n_max, h, w, c], see `data.samplers.class_major`.
    counts: int32 [classes], valid images of each class.
    mesh: devices over which the classes are spread.
    pool: networks that the method's `draw` chooses from; every device gets them all.
    numbers: of each class, on which its random draws depend; None: 0, 1, ... A class that keeps its
      number among other classes, or fewer, is condensed as before (as long as the networks are the
      same).

  Returns:
    dict(images, counts, classes, numbers, pool) with the classes padded to a multiple of the
    devices by repeating the first ones; `classes` are the labels.
  """
  return problem.place(_data(images, counts, mesh, pool, numbers), _placement(mesh))


@settled()
def source(
  functions: problem.Functions,
  state: State,
  num_steps: int,
  images: np.ndarray | streaming.Streamed,
  counts: np.ndarray,
  mesh: Mesh | None = None,
  pool: Any = (),
  numbers: Sequence[int] | None = None,
) -> batches.ArraySource | batches.HostSource:
  """Returns the batches of real images: from `real_data`, or read from disk where they are
  streamed; arguments as there.

  Streamed images go to the devices batch by batch, each device getting those of its classes, which
  its process alone has read; the networks of the pool stay.
  """
  data = _data(images, counts, mesh, pool, numbers)
  return problem.source(functions, _placement(mesh), data, state.key, num_steps, ('pool',))


def _data(images, counts, mesh, pool, numbers):
  """The real images with their classes padded to a multiple of the devices, and the networks."""
  chosen = problem.padded_rows(len(images), mesh)
  if len(chosen) > len(images):
    images = streaming.select(images, chosen)
  return {
    'images': images,
    'counts': np.asarray(counts)[chosen],
    'classes': np.arange(len(chosen), dtype=np.int32),
    'numbers': np.asarray(chosen if numbers is None else np.asarray(numbers)[chosen], np.int32),
    'pool': pool,
  }


@settled()
def start(
  functions: problem.Functions, key: jax.Array, canvases: np.ndarray, mesh: Mesh | None = None
) -> State:
  """Makes the first state from canvases [classes, ipc, h, w, c], on the devices where each class
  lives."""
  if problem.count_devices(mesh) > 1:
    canvases = jnp.asarray(canvases)[problem.padded_rows(len(canvases), mesh)]
  return problem.start(functions, _placement(mesh), key, canvases)


def _placement(mesh: Mesh | None, weighed: bool = False) -> problem.Placement:
  """Each device has its share of the classes, and all networks; only losses cross devices. A batch
  has weights where real images are `weighed`."""
  batch = {
    'images': problem.SHARE,
    'classes': problem.SHARE,
    'numbers': problem.SHARE,
    'pool': problem.WHOLE,
  }
  state = State(problem.SHARE, problem.SHARE, problem.WHOLE, problem.WHOLE)
  data = batch | {'counts': problem.SHARE}
  drawn = batch | ({'weight': problem.SHARE} if weighed else {})
  return problem.Placement(mesh, state, data, drawn)


def check_network(model: nn.Module) -> None:
  """Raises UserError for a network that couples the samples of a batch.

  >>> from jaxdistill import models
  >>> check_network(models.build('convnet', 10, (16, 16, 1)))
  """
  if getattr(model, 'norm', None) == 'batch':
    raise errors.UserError(
      'Matching needs a network that treats every sample alone, since all classes share one call: '
      "use model.norm='instance', 'group' or 'none' in place of 'batch'."
    )


def _check(settings: Settings, model: nn.Module) -> None:
  for name in ('ipc', 'factor', 'batch_real', 'batch_syn_max'):
    errors.whole(name, getattr(settings, name), at_least=1)
  errors.whole('classes_at_once', settings.classes_at_once)
  errors.real_numbers(learning_rate=settings.learning_rate, momentum=settings.momentum)
  if settings.order not in ORDERS:
    raise errors.unknown('update of the canvases', settings.order, ORDERS)
  if settings.space not in SPACES:
    raise errors.unknown('space of the canvases', settings.space, SPACES)
  if settings.decoding not in DECODINGS:
    raise errors.unknown('decoding of the canvases', settings.decoding, DECODINGS)
  if settings.real not in REALS:
    raise errors.unknown('form of the real data', settings.real, REALS)
  if settings.real == 'features' and settings.augmentation:
    raise errors.UserError(
      'Features of real images are those of images as they are; matching with the augmentation '
      f'{settings.augmentation!r} needs the images themselves.'
    )
  check_network(model)
