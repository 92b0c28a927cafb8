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
    size: side of the images that it reads; 0: as they come.
    class_names: of its logits; () where they are not known.
    key: the hash of all that made it.
    checks: 'steps' [k] and accuracies 'test' [k] while it was trained; {} where it was not.

  Raises:
    UserError: one of `mean` and `std` without the other, or of other channels.
  """

  label: str
  num_classes: int = 0
  module: nn.Module | None = None
  variables: Any = dataclasses.field(default_factory=dict)
  function: Callable | None = None
  mean: tuple[float, ...] | None = None
  std: tuple[float, ...] | None = None
  size: int = 0
  class_names: tuple[str, ...] = ()
  key: str = ''
  checks: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if len(self.mean or ()) != len(self.std or ()):
      raise UserError('A teacher of images of its own needs both mean and std, of every channel.')

  @property
  def content(self) -> str:
    """The hash of its weights and of what images it reads; of a function's code nothing."""
    reads = {'mean': self.mean, 'std': self.std, 'size': self.size}
    return files.content_hash(map(np.asarray, jax.tree.leaves(self.variables)), reads)

  def view(self, mean: Sequence[float], std: Sequence[float]) -> GuideView | None:
    """Returns what it reads where that is not what the students' native view is: images of another
    size or other statistics; None where it reads that.

    Args:
      mean, std: of the students' views, per channel.

    >>> Teacher('mine', mean=(0.5,), std=(0.25,)).view((0.5,), (0.25,))
    >>> Teacher('mine', size=32).view((0.5,), (0.25,))
    GuideView(mean=(0.5,), std=(0.25,), size=32)
    """
    same = self.mean is None or np.allclose([self.mean, self.std], [mean, std], atol=1e-6)
    if same and not self.size:
      return None
    return GuideView(tuple(self.mean or mean), tuple(self.std or std), self.size)

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
    checks: on test images, evenly spread, the last at the end.
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
  image_shape: tuple[int, int, int] = (32, 32, 3),
  *,
  mean: Sequence[float] | None = None,
  std: Sequence[float] | None = None,
) -> Teacher:
  """Returns a teacher from a file of weights, by the library's own names or published ones.

  Args:
    path: a .safetensors file.
    network: what `models.build` takes, or the name alone.
    classes: of its logits.
    image_shape: height, width and channels of the images that it was trained on.
    mean, std: by which those were normalised, per channel; None: as the students' are.

  Raises:
    UserError: the file cannot be read, a weight of the network is not in it, it is of another
      architecture, or one of `mean` and `std` is given alone.

  Example: `load_teacher('resnet56.safetensors', 'resnet56', 100)`.
  """
  model = models.build(network, classes, image_shape)
  form = variables_form(model, image_shape)
  variables = weights.load(path, model, form)
  for name in form:
    # A network without batch normalisation has no statistics.
    variables.setdefault(name, {})
  key = files.content_hash(jax.tree.leaves(variables), {'what': 'given teacher'})
  name = network if isinstance(network, str) else network['name']
  statistics = None if mean is None else tuple(map(float, mean))
  deviation = None if std is None else tuple(map(float, std))
  return Teacher(
    f'{name} of {pathlib.Path(path).name}',
    classes,
    model,
    variables,
    mean=statistics,
    std=deviation,
    key=key,
  )


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
    size: side of the images that it reads; 0: as they come.
    label: for people; '': its name.

  Raises:
    UserError: no function, a size that is no whole number, or one of `mean` and `std` alone.

  >>> teacher = of_function(lambda images: images.mean((1, 2)), mean=(0.0,), std=(1.0,))
  >>> teacher.part().function({}, np.ones((1, 2, 2, 3)))['logits'].tolist()
  [[1.0, 1.0, 1.0]]
  """
  if not callable(function):
    raise UserError(f'A teacher is a function of images; got {errors.brief(repr(function))}.')
  errors.whole_numbers(size=size)
  takes_variables = len(jax.tree.leaves(variables)) > 0
  called = function if takes_variables else functools.partial(_without_variables, function)
  described = {'what': 'function', 'code': usercode.code_hash(function), 'size': size}
  described |= {'mean': mean and list(mean), 'std': std and list(std)}
  return Teacher(
    label or getattr(function, '__name__', 'function'),
    variables=variables if takes_variables else {},
    function=called,
    mean=None if mean is None else tuple(map(float, mean)),
    std=None if std is None else tuple(map(float, std)),
    size=size,
    key=files.content_hash(list(map(np.asarray, jax.tree.leaves(variables))), described),
  )


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
  form = variables_form(model, shape)
  shapes = lambda tree: jax.tree.map(lambda leaf: tuple(leaf.shape), tree)
  if shapes(content) != shapes(form):
    raise UserError(f'The weights of the teacher of {source} are not those of its network.')
  size = 0 if shape[:2] == images.image_shape[:2] else shape[0]
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
