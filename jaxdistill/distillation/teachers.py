"""Teachers: trained by the library's own loop and kept for every run that wants the same one, taken
from a work dir or a file of weights, or any function of images."""

import dataclasses
import functools
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from jaxdistill import draws, errors, files, models, usercode
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.data.paired import GuideView
from jaxdistill.errors import UserError
from jaxdistill.experiment import kept
from jaxdistill.models import dropout, normalisation, weights
from jaxdistill.training import classifier, outputs, parallel, pretrained, replicas, trees
from jaxdistill.training.players import Part
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run

# Of images of which nothing is said.
_USUAL_SHAPE = (32, 32, 3)
_ROWS = 2  # of the batch that is traced to see whether they can be counted
PHASE = 'teacher'
FILE = 'teacher.json'


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
  """A frozen guide.

  Attributes:
    label: for people.
    num_classes: C of its logits; 0: a function, of which that is not known.
    module: the network; None: `function` is the teacher.
    variables: its weights.
    function: (variables, images) -> logits [n, C], or a dict of arrays with 'logits', of images
      normalised as it wants them; traceable.
    mean, std: of the images that it reads, per channel; None: those of the students' set.
    size: shorter side of the images that it reads; 0: as they come, or that of `image_shape`.
    image_shape: of the images that it was trained on: others are brought to their shorter side;
      None: that is not known, or does not matter.
    class_names: of its logits; () where they are not known.
    key: the hash of all that made it.
    checks: 'steps' [k] and accuracies 'test' [k] while it was trained; {} where it was not.

  Raises:
    UserError: one of `mean` and `std` without the other, or of other channels; what is no number a
      channel; a deviation of 0.
  """

  label: str
  num_classes: int = 0
  module: nn.Module | None = None
  variables: Any = dataclasses.field(default_factory=dict)
  function: Callable | None = None
  mean: tuple[float, ...] | None = None
  std: tuple[float, ...] | None = None
  size: int = 0
  image_shape: tuple[int, int, int] | None = None
  class_names: tuple[str, ...] = ()
  key: str = ''
  checks: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    for name in ('mean', 'std'):
      object.__setattr__(self, name, _per_channel(name, getattr(self, name)))
    if len(self.mean or ()) != len(self.std or ()):
      raise UserError('A teacher of images of its own needs both mean and std, of every channel.')
    if 0 in (self.std or ()):
      raise UserError(
        f'std is {self.std}, by which the images of a teacher are divided; it must not hold a 0.'
      )

  @property
  def content(self) -> str:
    """The hash of its weights, its network and of what images it reads; of a function's code
    nothing."""
    reads = {'mean': self.mean, 'std': self.std, 'size': self.size}
    if self.image_shape:
      reads['image_shape'] = list(self.image_shape)
    return _content_hash(self.module, self.variables, reads)

  def view(
    self, mean: Sequence[float], std: Sequence[float], image_shape: Sequence[int] = ()
  ) -> GuideView | None:
    """Returns what it reads where that is not what the students' native view is: images of another
    size or other statistics; None where it reads that.

    Args:
      mean, std: of the students' views, per channel.
      image_shape: of the students' native images; (): of those that it was trained on.

    Raises:
      UserError: its statistics are of other channels than the students' images have.

    >>> Teacher('mine', mean=(0.5,), std=(0.25,)).view((0.5,), (0.25,))
    >>> Teacher('mine', size=32).view((0.5,), (0.25,))
    GuideView(mean=(0.5,), std=(0.25,), size=32)
    >>> Teacher('mine', image_shape=(32, 48, 1)).view((0.5,), (0.25,), (64, 64, 1)).size
    32
    """
    own_mean, own_std = (self.mean or tuple(mean)), (self.std or tuple(std))
    if len(own_mean) != len(mean) and 1 not in (len(own_mean), len(mean)):
      raise UserError(
        f'The mean and std of the teacher {self.label} are of {len(own_mean)} channels, and the '
        f"students' images have {len(mean)}; give one number for each of these."
      )
    size = self.size
    if not size and self.image_shape and image_shape:
      is_native = tuple(self.image_shape[:2]) == tuple(image_shape[:2])
      size = 0 if is_native else min(self.image_shape[:2])
    # One number a channel of grey images is not the same as three.
    same = len(own_mean) == len(mean) and np.allclose([own_mean, own_std], [mean, std], atol=1e-6)
    return None if same and not size else GuideView(own_mean, own_std, size)

  def check_fits(self, image_shape: Sequence[int]) -> None:
    """Raises `UserError` for weights that are not those of its network for images of this shape;
    nothing is computed."""
    if self.module is None:
      return
    wanted = _shapes(variables_form(self.module, image_shape))
    given = _shapes(self.variables)
    for name, shape in wanted.items():
      if given.get(name) != shape:
        there = f'of shape {given[name]}' if name in given else 'missing'
        size = 'x'.join(map(str, image_shape))
        raise UserError(
          f'The weights of the teacher {self.label} are not those of its network for images of '
          f'{size}: {name} is {there}, and would be of shape {shape}. Give load_teacher the '
          'network and the image_shape that it was trained with.'
        )

  @functools.cached_property
  def network(self) -> Any:
    """The teacher as something with `apply(variables, images, train=...)` -> (logits, features)."""
    return self.module if self.module is not None else _Called(self.function)

  def part(self, statistics: str = 'running', view: str = 'images') -> Part:
    """Returns the guide as the engine takes it.

    Args:
      statistics: of its batch normalisation, 'running' or 'batch'.
      view: that it reads.

    Raises:
      UserError: the batch's statistics of a function, or of a network that draws dropout with them.
    """
    if self.module is not None:
      if statistics != 'running' and dropout.is_random(self.module):
        raise UserError(
          f"teaching.normalisation is '{statistics}', under which the teacher {self.label} would "
          "answer with dropout, as in its own training; take 'running'."
        )
      return Part(self.module, view=view, mode='eval' if statistics == 'running' else 'batch')
    if statistics != 'running':
      raise UserError(
        f"teaching.normalisation is '{statistics}', but the teacher {self.label} is a function; "
        "take 'running'."
      )
    return Part(None, view=view, function=_named_outputs(self.function))


@dataclasses.dataclass(frozen=True)
class _Called:
  """A function as a network."""

  function: Callable

  def apply(self, variables, images, **options):
    del options
    given = _named_outputs(self.function)(variables, images)
    return given['logits'], given


def _per_channel(name, values):
  """Statistics as a tuple of numbers; None stays."""
  if values is None:
    return None
  if np.ndim(values) != 1 or not len(values):
    raise UserError(
      f'The {name} of a teacher is one number a channel, such as (0.5,) of grey images; got '
      f'{errors.brief(repr(values))}.'
    )
  for value in values:
    errors.real_numbers(**{name: value})
    if not math.isfinite(value):
      raise UserError(f'The {name} of a teacher holds {value}; it must be finite.')
  return tuple(map(float, values))


def _content_hash(module, variables, described):
  """The hash of weights, of the network that they are of, if there is one, and of what is said
  beside."""
  if module is not None:
    described = {**described, 'model': repr(module), **pretrained.code_fields(module)}
  return files.content_hash(map(np.asarray, jax.tree.leaves(variables)), described)


def _shapes(variables):
  """The shapes of variables by their paths."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(dict(variables))
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator='/')
  return {name(path): np.shape(leaf) for path, leaf in leaves}


def _named_outputs(function):
  """The same function with a dict of arrays as its result."""

  def outputs(variables, images):
    given = function(variables, images)
    return dict(given) if isinstance(given, Mapping) else {'logits': given}

  return outputs


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
  """How a teacher is trained.

  Attributes:
    network: what `models.build` takes, and the type that it computes in.
    recipe: augmentation, schedule, optimiser, length.
    seed: of weights, order and augmentation.
    steps: 0: from the recipe's epochs.
    checks: on test images, at most so many, evenly spread, the last at the end.
  """

  network: Mapping[str, Any]
  recipe: Recipe
  seed: int = 0
  steps: int = 0
  checks: int = 6

  def num_steps(self, images: int) -> int:
    """Returns the steps of the training on so many images."""
    return self.steps or self.recipe.steps(images)

  def recipe_for(self, images: Dataset) -> Recipe:
    """Returns the recipe, unmirrored where images lose their class."""
    return self.recipe if images.flip else self.recipe.unmirrored()

  def build(self, images: Dataset) -> nn.Module:
    """Returns the network without weights."""
    return models.build(self.network, images.num_classes, images.image_shape)


def setup(training: Training, images: Dataset, mesh: Mesh | None = None):
  """Returns the training itself, ready for the loop or for an estimate."""
  return classifier.setup(
    training.build(images),
    Examples.of(images),
    training.recipe_for(images),
    seed=training.seed,
    num_steps=training.num_steps(len(images)),
    mesh=mesh,
  )


def check(training: Training, images: Dataset, mesh: Mesh | None = None) -> None:
  """Raises `UserError` for a network that cannot count the rows of a batch where its training needs
  that, see `models.normalisation.weighted`; nothing is computed."""
  model, recipe = training.build(images), training.recipe_for(images)
  if replicas.counts_rows(classifier.learner(model, recipe, Examples.of(images)), 1, mesh):
    check_counting(model, images.image_shape)


def check_counting(model: nn.Module, image_shape: Sequence[int]) -> None:
  """Raises `UserError` for a network that takes the statistics of a batch by a layer to which rows
  have no weight; nothing is computed."""

  def learn(variables, images):
    with normalisation.weighted(np.ones(len(images), np.float32)):
      # The key of a network that draws dropout; nothing is drawn.
      return outputs.apply(model, variables, (images,), train=True, key=draws.key(0))

  images = jax.ShapeDtypeStruct((_ROWS, *image_shape), np.float32)
  jax.eval_shape(learn, variables_form(model, image_shape), images)


def identity(training: Training, images: Dataset, test: Dataset) -> str:
  """Returns the hash of everything that decides what the teacher becomes, and which checks are kept
  beside it."""
  wanted = pretrained.Wanted(1, steps=training.steps, recipe=training.recipe)
  trained = pretrained.identity(training.build(images), images, wanted, seed=training.seed)
  described = dict(what='teacher', trained=trained, checks=training.checks)
  return files.content_hash([test.images, test.labels], described)


def are_kept(directory: Any, training: Training, images: Dataset, test: Dataset) -> bool:
  """Returns whether `train` would find the teacher in its directory."""
  if directory is None:
    return False
  return kept.place(directory, identity(training, images, test), '.msgpack').is_file()


def train(
  run: Run,
  training: Training,
  images: Dataset,
  test: Dataset,
  *,
  mesh: Mesh | None = None,
  directory: Any = None,
) -> Teacher:
  """Trains a teacher, or reads it back where another run has left the same one.

  Args:
    run: keeps metrics and checkpoints under the phase 'teacher'.
    training: how.
    images: all that it may see.
    test: of the checks.
    mesh: the devices.
    directory: where finished teachers are kept for other runs; None: nowhere.

  Raises:
    UserError: a loss that is not finite.
  """
  model, key = training.build(images), identity(training, images, test)
  num_steps = training.num_steps(len(images))

  def compute():
    scores = classifier.train(
      run,
      PHASE,
      model,
      Examples.of(images),
      training.recipe_for(images),
      test=test,
      seed=training.seed,
      num_steps=num_steps,
      checks=training.checks,
      mesh=mesh,
    )
    checks = {'steps': scores.checked['steps'], 'test': scores.checked['test'][:, 0]}
    checks = {name: np.asarray(values, np.float32) for name, values in checks.items()}
    return {'variables': parallel.on_host(scores.variables, 0), 'checks': checks}

  def template():
    every = max(1, math.ceil(num_steps / training.checks))
    count = len({*range(every, num_steps, every), num_steps})
    form = jax.ShapeDtypeStruct((count,), np.float32)
    return {
      'variables': variables_form(model, images.image_shape),
      'checks': {'steps': form, 'test': form},
    }

  content = kept.tree_once(run, directory, key, compute, template)
  run.discard(PHASE)
  teacher = Teacher(
    training.network['name'],
    images.num_classes,
    model,
    content['variables'],
    class_names=images.class_names,
    key=key,
    checks=content['checks'],
  )
  describe(run, teacher, training.network, images, directory)
  return teacher


def variables_form(model: nn.Module, image_shape: Sequence[int]) -> Any:
  """Returns the shapes of a network's variables."""
  return jax.eval_shape(model.init, draws.key(0), np.zeros((1, *image_shape), np.float32))


def describe(
  run: Run, teacher: Teacher, network: Mapping[str, Any], images: Dataset, directory: Any
) -> None:
  """Writes into a work dir what its teacher is and where its weights lie, so that other runs can
  take it."""
  if run.workdir is None or directory is None:
    return
  path = pathlib.Path(directory) / f'{teacher.key}.msgpack'
  run.write_json(
    FILE,
    {
      'network': dict(network),
      'class_names': list(images.class_names),
      'image_shape': list(images.image_shape),
      'mean': list(images.mean),
      'std': list(images.std),
      'key': teacher.key,
      'weights': os.path.relpath(path, run.workdir),
    },
  )


def read(source: str | os.PathLike, network: Mapping[str, Any], images: Dataset) -> Teacher:
  """Returns the teacher of a work dir or of a file of weights.

  Args:
    source: a work dir of this family, or a .safetensors file, see `models.weights`.
    network: what `models.build` takes, of a file; a work dir says its own.
    images: that it teaches on; their classes are those of a file.

  Raises:
    UserError: nothing is there, it cannot be read, or it is of other classes or another
      architecture.
  """
  path = files.expanded(source)
  if (path / FILE).is_file():
    return _of_work_dir(path, source, images)
  if path.is_dir():
    raise UserError(f'{source} is no work dir with a teacher: there is no {FILE} in it.')
  if not path.is_file():
    raise UserError(
      f'The teacher {source} does not exist; name a network, a work dir of this family, or a file '
      'of weights.'
    )
  teacher = load_teacher(path, network, images.num_classes, images.image_shape)
  return teacher


def load_teacher(
  path: str | os.PathLike,
  network: Mapping[str, Any] | str,
  classes: int,
  image_shape: tuple[int, int, int] | None = None,
  *,
  mean: Sequence[float] | None = None,
  std: Sequence[float] | None = None,
) -> Teacher:
  """Returns a teacher from a file of weights, by the library's own names or published ones.

  Args:
    path: a .safetensors file.
    network: what `models.build` takes, or the name alone.
    classes: of its logits.
    image_shape: height, width and channels of the images that it was trained on, to whose size all
      others are brought; None: it reads images as they come, and its weights are those of 32x32
      colour pixels.
    mean, std: by which those were normalised, per channel; None: as the students' are.

  Raises:
    UserError: the file cannot be read, a weight of the network is not in it, it is of another
      architecture, or one of `mean` and `std` is given alone.

  Example: `load_teacher('resnet56.safetensors', 'resnet56', 100)`.
  """
  shape = _USUAL_SHAPE if image_shape is None else tuple(image_shape)
  model = models.build(network, classes, shape)
  form = variables_form(model, shape)
  variables = weights.load(path, model, form)
  for name in form:
    # A network without batch normalisation has no statistics.
    variables.setdefault(name, {})
  name = network if isinstance(network, str) else network['name']
  teacher = Teacher(
    f'{name} of {pathlib.Path(path).name}',
    classes,
    model,
    variables,
    mean=mean,
    std=std,
    image_shape=None if image_shape is None else shape,
  )
  return dataclasses.replace(teacher, key=teacher.content)


def of_function(
  function: Callable,
  *,
  variables: Any = (),
  mean: Sequence[float] | None = None,
  std: Sequence[float] | None = None,
  size: int = 0,
  label: str = '',
) -> Teacher:
  """Returns any JAX function as a teacher.

  Args:
    function: images [n, h, w, c] -> logits [n, C], or a dict of arrays with 'logits'; with
      `variables` it takes them first. It must be traceable by JAX. All are rows of the images but
      'prototypes' [C, d], which depend on none: the weights of the classes in a last, linear layer
      over its 'embedding' [n, d].
    variables: arrays that it takes, a tree of any form; () for none.
    mean, std: by which its images are normalised, per channel: (0,) and (1,) for images in [0, 1];
      None: as the students' are.
    size: shorter side of the images that it reads; 0: as they come.
    label: for people; '': its name.

  Raises:
    UserError: no function, a size that is no whole number from 0, or statistics that are none, see
      `Teacher`.

  >>> teacher = of_function(lambda images: images.mean((1, 2)), mean=(0.0,), std=(1.0,))
  >>> teacher.part().function({}, np.ones((1, 2, 2, 3)))['logits'].tolist()
  [[1.0, 1.0, 1.0]]
  """
  if not callable(function):
    raise UserError(f'A teacher is a function of images; got {errors.brief(repr(function))}.')
  size = errors.whole('size', size)
  takes_variables = len(jax.tree.leaves(variables)) > 0
  called = function if takes_variables else functools.partial(_without_variables, function)
  described = {'what': 'function', 'code': usercode.code_hash(function), 'size': size}
  teacher = Teacher(
    label or getattr(function, '__name__', 'function'),
    variables=variables if takes_variables else {},
    function=called,
    mean=mean,
    std=std,
    size=size,
  )
  for name in ('mean', 'std'):
    values = getattr(teacher, name)
    described[name] = values and list(values)
  return dataclasses.replace(teacher, key=_content_hash(None, variables, described))


def _without_variables(function, variables, images):
  del variables
  return function(images)


def _of_work_dir(path, source, images):
  try:
    facts = json.loads((path / FILE).read_text())
    file, network = path / facts['weights'], facts['network']
    names, shape = facts['class_names'], tuple(facts['image_shape'])
    mean, std, key = tuple(facts['mean']), tuple(facts['std']), facts['key']
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      f'{errors.shown(path / FILE)} cannot be read ({errors.brief(error)}); name another work dir.'
    ) from None
  if shape[2] != images.image_shape[2]:
    raise UserError(
      f'The teacher of {source} reads images of {shape[2]} channel(s); {images.name} has '
      f'{images.image_shape[2]}.'
    )
  model = models.build(network, len(names), shape)
  try:
    content = trees.plain(file.read_bytes())['variables']
  except (OSError, ValueError, KeyError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise UserError(
      f'The teacher of {source} cannot be read from {errors.shown(file)} '
      f'({errors.brief(reason)}); start its command again to make it anew.'
    ) from None
  if _shapes(content) != _shapes(variables_form(model, shape)):
    raise UserError(f'The weights of the teacher of {source} are not those of its network.')
  size = 0 if shape[:2] == images.image_shape[:2] else min(shape[:2])
  return Teacher(
    network['name'],
    len(names),
    model,
    content,
    mean=mean,
    std=std,
    size=size,
    class_names=tuple(names),
    key=key,
  )
