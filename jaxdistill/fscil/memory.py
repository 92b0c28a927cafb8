"""What any learner may remember of the classes of earlier sessions, and how many bytes a class it
takes.

A *policy* is called behind every session, (run, course, standing) -> Memory, and adds the classes
that have just arrived; what it holds of older ones it never touches again. By name:

    means       the mean of a class's features, 4 bytes a number
    none        nothing
    exemplars   real images, chosen by herding on the encoder's features
    random      real images, drawn
    cd2         images by CD²'s distillation, see `ddm`
    dm, m3d,    images by a method of condensation, see `condensed`
    dance

A policy of images keeps them as 8-bit images, and the learner gets what the frozen encoder sees in
these under the test pipeline, or the images themselves.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxdistill import draws, errors, registry
from jaxdistill.data import Dataset, selection
from jaxdistill.errors import UserError
from jaxdistill.fscil import session
from jaxdistill.fscil.features import of_seed
from jaxdistill.fscil.learner import Memory, Task
from jaxdistill.fscil.session import Course, Standing
from jaxdistill.numerics import settled
from jaxdistill.synthesis import decode
from jaxdistill.training import features, parallel
from jaxdistill.training.run import Run

# Folded into a course's key in place of a session's number.
_MEMORY = 2**31 - 3

MEMORIES = registry.Registry(
  'memory',
  {
    'means': 'jaxdistill.fscil.memory:Means',
    'none': 'jaxdistill.fscil.memory:Nothing',
    'exemplars': 'jaxdistill.fscil.memory:exemplars',
    'random': 'jaxdistill.fscil.memory:random_images',
    'cd2': 'jaxdistill.fscil.ddm:policy',
    'm3d': 'jaxdistill.fscil.condensed:m3d',
    'dance': 'jaxdistill.fscil.condensed:dance',
    'dm': 'jaxdistill.fscil.condensed:dm',
  },
  labels={
    'means': 'Class means',
    'none': 'No memory',
    'exemplars': 'Exemplars, herding',
    'random': 'Exemplars, random',
    'cd2': 'DDM',
    'm3d': 'M3D',
    'dance': 'DANCE',
    'dm': 'DM',
  },
)


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
  """The training images behind what the runs see.

  Attributes:
    base: those of the base classes; labels are columns.
    shots: uint8 [D, T, way * shot, h, w, c], the few of every draw and session, column by column.
    vectors: float32 [S, n, d], features of `base`.
    shot_vectors: float32 [S, D, T, way * shot, d], features of `shots`.
    variables: of the S base networks, leaves [S, ...].
    directory: where condensed sets are kept for other runs; None: nowhere.
  """

  base: Dataset
  shots: np.ndarray
  vectors: np.ndarray
  shot_vectors: np.ndarray
  variables: Any
  directory: Any = None


def make(memory: Mapping[str, Any], pictures: Pictures | None) -> session.Remember:
  """Returns a policy from `name` and the policy's own fields, those of its factory.

  Args:
    memory: such as {'name': 'm3d', 'ipc': 2}.
    pictures: what there is to remember; each policy takes of it what it needs. None: for checks
      alone.

  Raises:
    UserError: for a policy or a field that does not exist, or a value that is none.
  """
  check(memory)
  return registry.call(MEMORIES.find(memory['name']), pictures, given=_fields(memory))


def check(memory: Mapping[str, Any]) -> None:
  """Raises `UserError` for a policy or a field that does not exist.

  >>> check({'name': 'exemplars', 'icp': 2})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no field of memory exemplars 'icp'; did you mean 'ipc'? ...
  """
  name = memory['name']
  registry.check([MEMORIES.find(name)], _fields(memory), f'memory {name}')


def defaults(name: str) -> dict[str, Any]:
  """Returns the fields of a policy's own with their defaults.

  >>> defaults('exemplars')
  {'ipc': 1}
  """
  return registry.defaults(MEMORIES.find(name))


def check_ipc(memory: Mapping[str, Any], ipc: int) -> None:
  """Raises `UserError` where images a class are asked for, not 0, of a memory that holds none.

  >>> check_ipc({'name': 'means'}, 2)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: ipc is 2, and the memory means does not hold so many images a ...
  """
  if ipc and 'ipc' not in memory:
    raise UserError(
      f'ipc is {ipc}, and the memory {memory.get("name", "")} does not hold so many images a '
      'class: leave it out, or name another memory, such as exemplars.'
    )


def check_size(memory: Mapping[str, Any], task: Task, base: Dataset) -> None:
  """Raises `UserError` for a memory of more images a class than there are.

  >>> task = Task(num_classes=2, base_classes=1, way=1, shot=5, sessions=1, dim=8)
  >>> base = Dataset(np.zeros((9, 8, 8, 1), np.uint8), np.zeros(9, int), mean=(0,), std=(1,))
  >>> check_size({'name': 'random', 'ipc': 6}, task, base)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: A memory of 6 images a class is larger than the data: the classes ...
  """
  policy = make(memory, None)
  images = policy.ipc if isinstance(policy, Images) else 0
  fewest, (height, width) = int(base.counts.min()), base.image_shape[:2]
  if images > task.shot:
    raise UserError(
      f'A memory of {images} images a class is larger than the data: the classes of later sessions '
      f'have {task.shot}; keep {task.shot} or fewer.'
    )
  if images > fewest:
    name = base.class_names[base.counts.argmin()]
    raise UserError(
      f'A memory of {images} images a class is larger than the data: the base class {name!r} has '
      f'{fewest}.'
    )

  cells = policy.cells if isinstance(policy, Images) else 1
  if cells > min(height, width):
    raise UserError(
      f'A factor of {cells} cells along a side does not go into images of {min(height, width)} '
      'pixels.'
    )
  filling = decode.nearest_filling(cells, height, width)
  if cells not in filling:
    raise UserError(
      f'With a factor of {cells} the last cells lie outside images of {height}x{width} pixels '
      f'altogether; the nearest that fill them: {", ".join(map(str, filling))}.'
    )


def _fields(memory):
  return {field: value for field, value in memory.items() if field != 'name'}


class Means:
  """The policy 'means', see `session.class_means`."""

  def __init__(self, pictures: Pictures | None = None):
    del pictures

  def __call__(self, run: Run, course: Course, standing: Standing) -> Memory:
    return session.class_means(run, course, standing)

  def bytes_a_class(self, task: Task) -> int:
    """Returns 4 d."""
    return 4 * task.dim


class Nothing:
  """The policy 'none', see `session.nothing`."""

  def __init__(self, pictures: Pictures | None = None):
    del pictures

  def __call__(self, run: Run, course: Course, standing: Standing) -> Memory:
    return session.nothing(run, course, standing)

  def bytes_a_class(self, task: Task) -> int:
    """Returns 0."""
    del task
    return 0


@dataclasses.dataclass(eq=False)
class Images:
  """What the policies of images have in common: they hold `ipc` 8-bit images a class.

  Attributes:
    pictures: the training images.
    ipc: stored images a class.
    stored: session number -> uint8 [R, classes that arrived, ipc, h, w, c], filled as the sessions
      go by.
  """

  pictures: Pictures
  ipc: int
  stored: dict[int, np.ndarray] = dataclasses.field(default_factory=dict, init=False)

  def __post_init__(self):
    errors.whole('ipc', self.ipc, at_least=1)

  def choose(self, run: Run, course: Course, standing: Standing) -> tuple[np.ndarray, Any]:
    """Returns the stored images uint8 [R, k, ipc, h, w, c] of the k columns that arrived in session
    standing.number, and what the learner reads of them, [R, k, m, ...]; R without padding."""
    raise NotImplementedError

  @settled()
  def __call__(self, run: Run, course: Course, standing: Standing) -> Memory:
    images, inputs = self.choose(run, course, standing)
    self.stored[standing.number] = images
    return extended(course, standing, inputs)

  @property
  def cells(self) -> int:
    """Images along the side of a stored one."""
    return 1

  def bytes_a_class(self, task: Task) -> int:
    """Returns ipc h w c."""
    return self.ipc * int(np.prod(task.image_shape))

  def phases(self, course: Course) -> list[str]:
    """Returns the phases of the loop that only this course resumes from."""
    del course
    return []

  def album(self) -> np.ndarray:
    """Returns all stored images, uint8 [R, columns so far, ipc, h, w, c]."""
    return np.concatenate([self.stored[number] for number in sorted(self.stored)], axis=1)

  def read(self, course: Course, images: np.ndarray) -> np.ndarray:
    """Returns what the learner reads of images uint8 [R, k, m, h, w, c]: themselves, or features
    [R, k, m, d] under each run's encoder."""
    engine, pictures = course.engine, self.pictures
    if engine.learner.reads == 'images':
      return images
    seeds, seen = engine.runs.seed, np.zeros((*images.shape[:3], engine.task.dim), np.float32)
    for seed in np.unique(seeds):
      images_of_seed = images[seeds == seed]
      flat = images_of_seed.reshape(-1, *images_of_seed.shape[3:])
      as_set = dataclasses.replace(
        pictures.base,
        images=flat,
        labels=np.zeros(len(flat), np.int32),
        class_names=('remembered',),
        ids=(),
      )
      task, variables = engine.task, of_seed(pictures.variables, seed)
      vectors = features.embed(
        task.network, variables, as_set, mesh=engine.runs.mesh, view=task.view
      )
      seen[seeds == seed] = vectors.reshape(*images_of_seed.shape[:3], -1)
    return seen


def extended(course: Course, standing: Standing, inputs: np.ndarray) -> Memory:
  """Returns the memory before, with what was just chosen.

  Args:
    course: the sessions.
    standing: behind the session; its memory is the one before, None behind the base session.
    inputs: [R, k, m, ...] of the k columns that arrived; R without padding.
  """
  engine = course.engine
  inputs = np.asarray(inputs)[engine.runs.padded]
  first, end = engine.task.arriving(standing.number)
  if standing.memory is None:
    shape = (len(inputs), engine.task.num_classes, *inputs.shape[2:])
    whole = np.zeros(shape, inputs.dtype)
  else:
    whole = np.array(parallel.gather(standing.memory.inputs))
  whole[:, first:end] = inputs
  return Memory(engine.put(whole), course.arrived(standing.number, (inputs.shape[2],)))


def by_class(labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the positions of each class's rows, int [classes, most], smaller classes filled with
  their first, and how many each has.

  >>> positions, counts = by_class(np.array([1, 0, 1]), 2)
  >>> positions.tolist(), counts.tolist()
  ([[1, 1], [0, 2]], [1, 2])
  """
  counts = np.bincount(labels, minlength=classes).astype(np.int32)
  positions = np.zeros((classes, counts.max()), np.int64)
  for label in range(classes):
    members = np.flatnonzero(labels == label)
    positions[label] = members[0]
    positions[label, : len(members)] = members
  return positions, counts


def key_of(course: Course, number: int, *parts: int) -> jax.Array:
  """Returns the key of what is drawn for the memory behind a session; `parts` are the seed and the
  draw, or what else tells apart."""
  key = jax.random.fold_in(draws.typed(course.key), _MEMORY)
  for part in (number, *parts):
    key = jax.random.fold_in(key, part)
  return key


@dataclasses.dataclass(eq=False)
class Selected(Images):
  """Real images, by a way of `data.selection`; the base classes' are chosen once a base network,
  or, where they are drawn, once a draw."""

  way: str = 'herding'

  def choose(self, run, course, standing):
    del run
    runs, taken = course.engine.runs, {}
    chosen = []
    for seed, draw in zip(runs.seed.tolist(), runs.draw.tolist()):
      if (seed, draw) not in taken:
        taken[seed, draw] = self._of_run(course, standing.number, seed, draw)
      chosen.append(taken[seed, draw])
    images, vectors = (np.stack(parts) for parts in zip(*chosen))
    return images, images if course.engine.learner.reads == 'images' else vectors

  def _of_run(self, course, number, seed, draw):
    """The images and features of one run: [k, ipc, ...]."""
    pictures, first = self.pictures, course.engine.task.arriving(number)[0]
    if number:
      images, vectors = pictures.shots[draw, number - 1], pictures.shot_vectors[seed, draw]
      vectors, labels = vectors[number - 1], course.examples.shot_labels[draw, number - 1] - first
    else:
      images, vectors, labels = pictures.base.images, pictures.vectors[seed], pictures.base.labels
    names = pictures.base.class_names if not number else ()
    key = key_of(course, number, draw)
    picks = selection.select(self.way, vectors, np.asarray(labels), self.ipc, key, names)
    return np.asarray(images[picks]), vectors[picks]


def exemplars(pictures: Pictures, *, ipc: int = 1) -> Selected:
  """Returns the policy 'exemplars': `ipc` real images a class whose mean feature stays close to
  that of the class.

  Source: herding as in iCaRL (Rebuffi et al., CVPR 2017), in the form of `data.selection`.
  """
  return Selected(pictures, ipc, 'herding')


def random_images(pictures: Pictures, *, ipc: int = 1) -> Selected:
  """Returns the policy 'random': `ipc` real images a class, drawn."""
  return Selected(pictures, ipc, 'random')
