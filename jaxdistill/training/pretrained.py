"""Networks trained on the real set before something else begins, of which the weights at the start
and at the end are kept.

They depend on the real set, the network and their recipe, not on what is done with them; so they
are trained once and found again by a hash of all that made them. Who wants some says so with a
`Wanted`; all functions here take it, or None where nothing is wanted.
"""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from jaxdistill import draws, errors, files, usercode
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.numerics import settled
from jaxdistill.training import classifier, hosts, parallel, provenance, surroundings, trees
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.problem import Problem
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run
from jaxdistill.training.schedules import Schedule

# DANCE's public code: colour and crop, CutMix for half of the batches and therefore no cutout.
RECIPE = Recipe(
  'expert',
  batch=64,
  epochs=60,
  schedule=Schedule('multistep', 0.01, drops=(2 / 3, 5 / 6), drop=0.2),
  optimizer=Optimizer('sgd', momentum=0.9, weight_decay=5e-4),
  strategy='color_crop',
  composition='idc',
  cutmix=0.5,
)
_SCORED = 2000  # training images that the experts are scored on


@dataclasses.dataclass(frozen=True)
class Wanted:
  """Networks that are to be trained on the real set.

  Attributes:
    number: of networks, K.
    epochs: passes over the set; 0: the recipe's.
    batch: images a step; 0: the recipe's.
    steps: of the training; 0: from the epochs.
    recipe: how they are trained.

  Raises:
    UserError: for less than one network, or a negative number.

  >>> Wanted(5, epochs=10).recipe.name
  'expert'
  """

  number: int = 1
  epochs: int = 0
  batch: int = 0
  steps: int = 0
  recipe: Recipe = RECIPE

  def __post_init__(self):
    errors.whole_numbers(number=self.number, epochs=self.epochs, batch=self.batch, steps=self.steps)
    if self.number < 1 or min(self.epochs, self.batch, self.steps) < 0:
      raise errors.UserError(
        'Pretrained networks need a number of at least 1, and epochs, batch and steps of at least '
        f'0; got {self.number}, {self.epochs}, {self.batch} and {self.steps}.'
      )

  @property
  def complete_recipe(self) -> Recipe:
    """The recipe with the epochs and the batch that are wanted."""
    return dataclasses.replace(
      self.recipe,
      epochs=self.epochs or self.recipe.epochs,
      batch=self.batch or self.recipe.batch,
    )

  def num_steps(self, images: int) -> int:
    """Returns the steps of the whole training on so many images."""
    return self.steps or self.complete_recipe.steps(images)


class Pool(NamedTuple):
  """K networks at the start and at the end of their training: variables with a leading axis K."""

  initial: Any
  final: Any


@settled()
def train(
  run: Run,
  model: nn.Module,
  images: Dataset,
  wanted: Wanted | None,
  *,
  seed: int = 0,
  mesh: Mesh | None = None,
  directory: pathlib.Path | None = None,
) -> Pool | tuple[()]:
  """Trains networks together on a real set, or reads them back.

  Args:
    run: keeps metrics and checkpoints under the phase 'experts'.
    model: the network.
    images: the real training set.
    wanted: how many, and how they are trained; None: nothing is.
    seed: of weights, order and augmentation.
    mesh: devices over which the networks are spread.
    directory: where finished pools are kept for other runs; None: nowhere.

  Returns:
    The pool, as numpy arrays; () where nothing is wanted.

  Source: phase 1 of DANCE (Zhang et al., IJCAI 2024), with its public code's recipe unless another
  one is wanted.
  """
  if wanted is None:
    return ()
  problem = _problem(model, images, wanted, seed, mesh)
  initial = classifier.setup(**problem).state.variables
  initial = parallel.on_host(initial, slice(wanted.number))

  def compute():
    scored = images.take(
      np.linspace(0, len(images) - 1, min(_SCORED, len(images))).astype(int), 'train sample'
    )
    # A run may train several pools; what is left of one must not be gone on with by the next one.
    provenance.begin(run, 'experts', {'identity': identity(model, images, wanted, seed=seed)})
    classifier.settle(run, 'experts', _rules(problem))
    final = classifier.train(run, 'experts', **problem, test=scored).variables
    return Pool(initial, parallel.on_host(final))

  template = Pool(initial, initial)
  was_kept = hosts.first(
    'kept networks', lambda: are_kept(directory, model, images, wanted, seed=seed)
  )
  pool = run.kept(
    directory and _path(directory, model, images, wanted, seed),
    compute,
    trees.encode,
    lambda content: trees.decode(template, content),
  )
  if not was_kept:  # else the checkpoints are those of a pool that is under way
    provenance.forget(run, 'experts')
  return pool


def are_kept(
  directory: pathlib.Path | None,
  model: nn.Module,
  images: Dataset,
  wanted: Wanted | None,
  *,
  seed: int = 0,
) -> bool:
  """Returns whether `train` would find these networks in its directory."""
  if directory is None or wanted is None:
    return False
  return _path(directory, model, images, wanted, seed).is_file()


@settled()
def setup(
  model: nn.Module,
  images: Dataset,
  wanted: Wanted | None,
  *,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> Problem | None:
  """Returns the training itself, ready for the loop or for an estimate; arguments as for `train`;
  None where nothing is wanted."""
  return classifier.setup(**_problem(model, images, wanted, seed, mesh)) if wanted else None


@settled()
def untrained(
  model: nn.Module, image_shape: tuple[int, int, int], wanted: Wanted | None
) -> Pool | tuple[()]:
  """Returns a stand-in for what `train` makes, of the same form, without any training, for
  estimates."""
  if wanted is None:
    return ()
  keys = draws.split(draws.key(0), wanted.number)
  variables = jax.jit(
    jax.vmap(lambda key: model.init(key, np.zeros((1, *image_shape), np.float32)))
  )(keys)
  return Pool(variables, variables)


def directory(run: Run, folder: str = '') -> pathlib.Path | None:
  """Returns where a run keeps networks for others: in a folder that is named, else beside its work
  dir, or in it where nothing may be written beside it; None for a run in memory. '~' is the home
  directory.

  Raises:
    UserError: the folder begins with a home that there is not.
  """
  if run.workdir is None or folder:
    return run.workdir and files.expanded(folder)
  beside = run.shared / 'experts'
  if files.may_write(beside):
    return beside
  run.say(f'{beside} may not be written: trained networks are kept in the work dir.')
  return run.workdir / 'experts'


def identity(model: nn.Module, images: Dataset, wanted: Wanted, *, seed: int = 0) -> str:
  """Returns the hash of everything that decides what the networks become."""
  recipe = _recipe(images, wanted)
  rules = _rules(_problem(model, images, wanted, seed, None))
  return files.content_hash(
    (images.images, images.labels),
    dict(
      **code_fields(model),
      **({'rules': rules} if rules else {}),
      mean=images.mean,
      std=images.std,
      model=repr(model),
      recipe=recipe.described(),
      number=wanted.number,
      seed=seed,
      num_steps=wanted.num_steps(len(images)),
      **surroundings.described(),
    ),
  )


def code_of(network: nn.Module) -> str:
  """Returns the hash of the code of those networks of the user's that a network is made of: what
  they are, fields do not say. '' where there are none.

  >>> from jaxdistill import models
  >>> code_of(models.build('mlp', 10, (8, 8, 1)))
  ''
  """
  return usercode.code_hash(tuple(_classes(network)))


def code_fields(network: nn.Module) -> dict[str, str]:
  """Returns what the code of a network adds to the fields by which what it has learned is found
  again, or gone on with: nothing where none of it is the user's.

  >>> from jaxdistill import models
  >>> code_fields(models.build('mlp', 10, (8, 8, 1)))
  {}
  """
  code = code_of(network)
  return {'code': code} if code else {}


def _classes(network):
  """Yields the classes of a network and of those that it is made of."""
  yield type(network)
  for field in dataclasses.fields(network):
    value = getattr(network, field.name)
    if isinstance(value, nn.Module) and field.name != 'parent':
      yield from _classes(value)


def _rules(problem):
  named = ('model', 'examples', 'recipe', 'num_steps')
  return classifier.rules(**{name: problem[name] for name in named})


def _path(directory, model, images, wanted, seed):
  return directory / f'{identity(model, images, wanted, seed=seed)}.msgpack'


def _problem(model, images, wanted, seed, mesh):
  return dict(
    model=model,
    examples=Examples.of(images),
    recipe=_recipe(images, wanted),
    networks=wanted.number,
    seed=seed,
    mesh=mesh,
    num_steps=wanted.num_steps(len(images)),
  )


def _recipe(images, wanted):
  """What is wanted, unmirrored where the images lose their class."""
  recipe = wanted.complete_recipe
  return recipe if images.flip else recipe.unmirrored()
