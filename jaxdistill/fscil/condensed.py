"""Condensed sets as memory: M3D, DANCE or DM make `ipc` canvases a class, in each of which factor²
images are stored small. No learner has a part in it: a set is made once for all learners and base
networks, and found again by what decides it.

The few images of a session are condensed like the many of the base session; a canvas that wants
more images than its class has repeats them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxdistill import draws, errors, files, models
from jaxdistill.data import Dataset, augment
from jaxdistill.data.stored import to_uint8
from jaxdistill.experiment import kept
from jaxdistill.fscil import memory
from jaxdistill.fscil.memory import Images, Pictures
from jaxdistill.synthesis import condensing, decode, engine, methods
from jaxdistill.training import loop, pretrained, surroundings

# Below this side images are small: a narrow network, whose few features make M3D's gradient larger.
_SMALL = 28


@dataclasses.dataclass(eq=False)
class CondensedSet(Images):
  """The policies 'm3d', 'dance' and 'dm'.

  Attributes:
    method: its name and its own fields, see `synthesis.methods`.
    settings: the engine's numbers, but for the learning rate; the augmentation may hold 'flip'.
    init: what canvases start from, see `decode.first_canvases`.
    learning_rate: of the canvases; of small images and of others.
    iterations: steps on them.
    width: of the ConvNet that condenses; 0: 32 for small images, else 128.
  """

  method: Mapping[str, Any]
  settings: engine.Settings
  init: str
  learning_rate: tuple[float, float]
  iterations: int
  width: int = 0
  canvases_by_key: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, init=False)

  def __post_init__(self):
    super().__post_init__()
    errors.whole('iterations', self.iterations)
    errors.whole('width', self.width)
    errors.whole('factor', self.settings.factor, at_least=1)
    errors.whole('batch_real', self.settings.batch_real, at_least=1)
    errors.real_numbers(learning_rate=self.learning_rate[0])
    if min(self.learning_rate) <= 0:
      raise errors.UserError(
        f'The learning_rate of canvases is above 0; got {self.learning_rate[0]}.'
      )
    methods.wants(self.method)  # checks the method's fields and their values

  @property
  def cells(self) -> int:
    return self.settings.factor

  def choose(self, run, course, standing):
    runs, number = course.engine.runs, standing.number
    canvases = self._of_draws(run, course, number)
    of_run = runs.draw if number else np.zeros(len(runs), int)
    cells = jax.jit(
      jax.vmap(jax.vmap(lambda canvas: decode.decode(canvas / 255, self.settings.factor)))
    )
    decoded = to_uint8(np.asarray(cells(canvases.astype(np.float32))))
    return canvases[of_run], self.read(course, decoded[of_run])

  def _of_draws(self, run, course, number):
    """The canvases uint8 [D, k, ipc, h, w, c] of the columns that arrived; D = 1 for the base."""
    pictures, task, mesh = self.pictures, course.engine.task, course.engine.runs.mesh
    first, end = task.arriving(number)
    seed = int(draws.bits(memory.key_of(course, number)))
    if not number:
      return self._condensed(run, pictures.base, range(end), seed, mesh, 'base')[None]
    shots = pictures.shots[:, number - 1]
    labels = course.examples.shot_labels[:, number - 1] - first
    columns = np.arange(first, end)
    numbers = np.arange(len(shots))[:, None] * task.num_classes + columns
    if methods.wants(self.method) is None:
      # Classes are condensed as they would be alone: all draws at once.
      apart = labels + (end - first) * np.arange(len(shots))[:, None]
      images = self._set(shots.reshape(-1, *shots.shape[2:]), apart.reshape(-1))
      canvases = self._condensed(run, images, numbers.ravel(), seed, mesh, f'session-{number}')
      return canvases.reshape(len(shots), end - first, *canvases.shape[1:])
    sets = []
    for draw, (images, columns_of_draw) in enumerate(zip(shots, labels)):
      name = f'session-{number}-draw-{draw}'
      sets.append(
        self._condensed(run, self._set(images, columns_of_draw), numbers[draw], seed, mesh, name)
      )
    return np.stack(sets)

  def _set(self, images, labels):
    classes = tuple(map(str, range(labels.max() + 1)))
    return dataclasses.replace(
      self.pictures.base, images=images, labels=labels.astype(np.int32), class_names=classes, ids=()
    )

  def _condensed(self, run, images: Dataset, numbers, seed, mesh, name):
    """The canvases uint8 [classes, ipc, h, w, c] of a set, made once."""
    settings, model = self._settings(images), self._network(images)
    description = dict(
      what='memory', method=dict(self.method), settings=dataclasses.asdict(settings),
      init=self.init, iterations=self.iterations, model=repr(model), seed=seed,
      numbers=[int(number) for number in numbers], mean=images.mean, std=images.std,
      **surroundings.described(),
    )  # fmt: skip
    key = files.content_hash((images.images, images.labels), description)
    phase = f'memory-{self.method["name"]}-{name}'

    def compute():
      wanted, directory = methods.wants(self.method), self.pictures.directory
      pool = pretrained.train(run, model, images, wanted, seed=seed, mesh=mesh, directory=directory)
      ready = condensing.setup(
        self.method, settings, model, images, init=self.init, iterations=self.iterations,
        seed=seed, mesh=mesh, pool=pool, part=condensing.Part(list(numbers)),
      )  # fmt: skip
      state = loop.fit(run, phase, ready)
      return {'canvases': to_uint8(condensing.learned(state, settings, images))}

    if key not in self.canvases_by_key:
      form = jax.ShapeDtypeStruct((images.num_classes, self.ipc, *images.image_shape), np.uint8)
      content = kept.tree_once(
        run, self.pictures.directory, key, compute, lambda: {'canvases': form}
      )
      if self.pictures.directory:
        run.discard(phase)
      self.canvases_by_key[key] = content['canvases']
    return self.canvases_by_key[key]

  def _settings(self, images):
    small = min(images.image_shape[:2]) < _SMALL
    strategy = self.settings.augmentation
    return dataclasses.replace(
      self.settings,
      ipc=self.ipc,
      learning_rate=self.learning_rate[0 if small else 1],
      augmentation=strategy if images.flip else augment.unmirrored(strategy),
    )

  def _network(self, images):
    side = min(images.image_shape[:2])
    width = self.width or (32 if side < _SMALL else 128)
    depth = min(5 if side >= 128 else 4 if side >= 64 else 3, side.bit_length() - 1)
    network = {'name': 'convnet', 'width': width, 'depth': depth}
    return models.build(network, images.num_classes, images.image_shape)


def m3d(
  pictures: Pictures,
  *,
  ipc: int = 1,
  factor: int = 1,
  iterations: int = 1000,
  batch_real: int = 128,
  learning_rate: float = 0.0,
  width: int = 0,
) -> CondensedSet:
  """Returns the policy 'm3d': features agree in all moments, see `synthesis.m3d`.

  Args:
    pictures: the training images.
    ipc: canvases a class.
    factor: cells along the side of one; the learner gets ipc factor² rows a class.
    iterations: steps on the canvases.
    batch_real: real images a class and iteration, at most those that there are.
    learning_rate: of the canvases; 0: ipc, of images below 28 pixels 0.3 ipc.
    width: of the ConvNet that condenses; 0: 32 below 28 pixels, else 128.

  Source: the paper's method in its public code's settings; as many iterations as CD²'s DDM, and the
    smaller rate for small images, are our choices.
  """
  rates = (0.3, 1.0)
  return _unit('m3d', pictures, ipc, factor, iterations, batch_real, learning_rate, rates, width)


def dance(
  pictures: Pictures,
  *,
  ipc: int = 1,
  factor: int = 1,
  iterations: int = 1000,
  batch_real: int = 128,
  learning_rate: float = 0.0,
  width: int = 0,
  experts: int = 5,
  expert_epochs: int = 60,
) -> CondensedSet:
  """Returns the policy 'dance': class means agree under half-trained experts, which recognise the
  images, see `synthesis.dance`. Each session's few images train experts of their own.

  Args:
    pictures, ipc, factor, iterations, batch_real, width: see `m3d`.
    learning_rate: of the canvases; 0: 0.01 ipc.
    experts: networks trained on the real images first.
    expert_epochs: their passes; 0: 60.

  Source: as for `m3d`.
  """
  return _unit(
    'dance', pictures, ipc, factor, iterations, batch_real, learning_rate, (0.01, 0.01), width,
    experts=experts, expert_epochs=expert_epochs,
  )  # fmt: skip


def dm(
  pictures: Pictures,
  *,
  ipc: int = 1,
  factor: int = 1,
  iterations: int = 1000,
  batch_real: int = 256,
  learning_rate: float = 1.0,
  width: int = 0,
) -> CondensedSet:
  """Returns the policy 'dm': mean features agree under random networks, see `synthesis.dm`.

  Args:
    pictures, ipc, factor, iterations, batch_real, learning_rate, width: see `m3d`.

  Source: as for `m3d`; the canvases are clamped to the range of images, which DM's code does not
    do, as they are stored in 8 bits (our choice).
  """
  settings = engine.Settings(
    ipc,
    factor,
    batch_real,
    order='joint',
    space='normalised',
    clamped=True,
    augmentation='color_crop_cutout_flip_scale_rotate',
    composition='dm',
  )
  init, rates = 'real' if factor == 1 else 'mix', (learning_rate, learning_rate)
  return CondensedSet(pictures, ipc, {'name': 'dm'}, settings, init, rates, iterations, width)


def _unit(
  name, pictures, ipc, factor, iterations, batch_real, learning_rate, rates, width, **fields
):
  """A policy whose canvases are learned in [0, 1], a step a class."""
  settings = engine.Settings(ipc, factor, batch_real, augmentation='color_crop_cutout')
  given = (learning_rate, learning_rate)
  rates = given if learning_rate else tuple(rate * ipc for rate in rates)
  method = {'name': name, **fields}
  return CondensedSet(pictures, ipc, method, settings, 'mix', rates, iterations, width)
