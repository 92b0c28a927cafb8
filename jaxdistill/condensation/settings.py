"""What the configs of this family share: their sections, what differs between data sets, the checks
before any work."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxdistill import models
from jaxdistill.condensation import baselines, evaluation, methods
from jaxdistill.condensation.baselines import Storage
from jaxdistill.condensation.embedding import Selection
from jaxdistill.data import Dataset, augment, presets, selection, subsets
from jaxdistill.errors import UserError
from jaxdistill.experiment import explain as explaining
from jaxdistill.experiment import schema
from jaxdistill.experiment.datasets import DataSource, load
from jaxdistill.synthesis import decode, engine
from jaxdistill.training import parallel

# Task of a config -> the module of this package with its flow: check(config), run(config, run),
# dry_run(config).
TASKS = {
  'condense': 'tasks.condense',
  'continual': 'tasks.continual',
  'evaluate': 'tasks.evaluate',
}
# A run of half a minute that condenses and then trains classifiers, to try things on.
TRIAL = (
  '--config=m3d:digits',
  '--config.data.image_size=8',
  '--config.model.width=8',
  '--config.model.depth=1',
  '--config.condensation.iterations=1500',
  '--config.condensation.batch_real=16',
  '--config.evaluation.networks=2',
  '--config.evaluation.steps=2000',
  '--config.evaluation.every=250',
  '--config.evaluation.baselines=()',
  '--config.run.checkpoint_every=100',
)
PRESETS = presets.NAMES
MEMORIES = ('condensed', *selection.METHODS)
MODELS = ('convnet', *sorted(models.REGISTRY.keys() - {'convnet'}))
# Depth of the ConvNet by the side of the images, where it is not 3.
_DEPTHS = {64: 4, 128: 5}
# Recipe -> whose mean and deviation go with it. DD-Ranking augments as DM does.
_NORMALISATION = {'idc': 'idc', 'dm': 'dm', 'ddranking': 'dm'}
# Task -> section -> what a smoke run changes beyond the evaluation and the run.
_SHRUNK = {
  'condense': {'condensation': dict(iterations=4, batch_real=8), 'selection': dict(steps=4)},
  'evaluate': {'evaluation': dict(width=16), 'selection': dict(steps=4)},
}
# JAX would take a larger seed modulo this number, and two seeds would give one result.
_SEEDS = 2**32
_BASELINES = ('random', 'mix', 'whole')


@dataclasses.dataclass(frozen=True)
class Run:
  """How a run goes about it; nothing here changes a result."""

  devices: int = schema.field(0, at_least=0, help='at most so many; 0: all')
  steps_per_call: int = schema.field(
    0, at_least=0, help='steps in one call of the compiled program; 0: by the backend'
  )
  rows: str = schema.field('', help="folder of scores that several runs share; '': none")
  experts: str = schema.field(
    '', help="folder of trained networks that several runs share; '': beside the work dir"
  )
  checkpoint_every: int = schema.field(500, at_least=1, help='steps between two checkpoints')
  keep: int = schema.field(2, at_least=1, help='checkpoints that are kept')
  log_every: int = schema.field(10, at_least=1, help='steps between two lines of metrics')


@dataclasses.dataclass(frozen=True)
class CondensingRun(Run):
  """A run that condenses, too."""

  classes_at_once: int = schema.field(
    0, at_least=0, help='classes that one call of the network takes; 0: by the backend'
  )


@dataclasses.dataclass(frozen=True)
class Condensation:
  """What the engine does, the same fields for every method."""

  ipc: int = schema.field(at_least=1, help='stored images a class')
  factor: int = schema.field(at_least=1, help='cells along the side of a stored image')
  init: str = schema.field(choices=decode.INITS, help='what the images start from')
  iterations: int = schema.field(at_least=0, help='steps on the stored images')
  batch_real: int = schema.field(at_least=1, help='real images a class and iteration')
  batch_syn_max: int = schema.field(
    at_least=1, help='at most so many decoded images a class and iteration'
  )
  learning_rate: float = schema.field(at_least=0, help='of the stored images')
  momentum: float = schema.field(at_least=0, below=1, help='of the stored images')
  # `update` is a method of ConfigDict, so that the field is read as config['update'] only.
  order: str = schema.field(
    key='update', choices=engine.ORDERS, help='one momentum step a class, or one for all classes'
  )
  space: str = schema.field(
    choices=engine.SPACES, help='learn pixels in [0, 1], or normalised ones without bounds'
  )
  augmentation: str = schema.field(
    choices=augment.OPERATIONS,
    separator='_',
    kind='augmentation',
    help="operations on real and stored images alike, joined by '_'",
  )
  composition: str = schema.field(
    choices=augment.COMPOSITIONS, help='whose way to compose the operations'
  )

  @property
  def storage(self) -> Storage:
    """What is stored of each class."""
    return Storage(self.ipc, self.factor, self.init)

  def augmentation_of(self, flip: bool) -> str:
    """Returns the augmentation of images that may be mirrored, or that would lose their class.

    >>> from jaxdistill import config
    >>> read(config.load('dm:cifar10')).condensation.augmentation_of(flip=False)
    'color_crop_cutout_scale_rotate'
    """
    return self.augmentation if flip else augment.unmirrored(self.augmentation)

  def engine_settings(self, flip: bool, classes_at_once: int = 0) -> engine.Settings:
    """Returns the numbers that the engine takes for images that may be mirrored, or not."""
    return engine.Settings(
      ipc=self.ipc,
      factor=self.factor,
      batch_real=self.batch_real,
      batch_syn_max=self.batch_syn_max,
      learning_rate=self.learning_rate,
      momentum=self.momentum,
      order=self.order,
      space=self.space,
      augmentation=self.augmentation_of(flip),
      composition=self.composition,
      classes_at_once=classes_at_once,
    )


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """How a set is scored: fresh networks trained on it under a named recipe."""

  recipe: str = schema.field('idc', choices=tuple(evaluation.RECIPES), help='the protocol')
  networks: int = schema.field(5, at_least=1, help='fresh networks a set')
  epochs: int = schema.field(0, at_least=0, help="passes over a set; 0: the recipe's")
  whole_epochs: int = schema.field(200, at_least=0, help='passes over the whole training set')
  steps: int = schema.field(0, at_least=0, help='training steps; 0: from the epochs')
  every: int = schema.field(0, at_least=0, help='steps between two checks; 0: six checks')
  search_on: str = schema.field(
    'validation',
    choices=evaluation.SEARCH_ON,
    help='images by which a searched learning rate is chosen',
  )
  baselines: tuple[str, ...] = schema.field(
    _BASELINES, choices=tuple(baselines.LABELS), kind='baseline', help='sets to compare with'
  )


@dataclasses.dataclass(frozen=True)
class EvaluationOnSeveral(Evaluation):
  """How sets are scored side by side, on one network or several."""

  architectures: tuple[str, ...] = schema.field(
    (), help='networks, see models.architectures; none: that of the first set'
  )
  width: int = schema.field(
    0, at_least=0, help="of every network that has one; 0: the networks' own"
  )
  robustness: bool = schema.field(
    False, help="train without augmentation as well, for DD-Ranking's ARS"
  )


@dataclasses.dataclass(frozen=True)
class Baseline:
  """The size of the baselines where sets are scored side by side."""

  ipc: int = schema.field(0, at_least=0, help="images a class; 0: the first set's")
  factor: int = schema.field(0, at_least=0, help="cells along a side; 0: the first set's")


@dataclasses.dataclass(frozen=True)
class Arrival:
  """How the classes arrive in continual learning, and what is kept of them."""

  steps: int = schema.field(at_least=1, help='steps in which the classes arrive')
  orders: int = schema.field(at_least=1, help='orders of the classes')
  memory: str = schema.field(MEMORIES[0], choices=MEMORIES, help='what is kept of each class')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """What the configs of all tasks have."""

  family: str = schema.field('condensation', help='family of methods')
  task: str = schema.field(help='what is done')
  seed: int = schema.field(0, at_least=0, below=_SEEDS, help='of everything random')
  dtype: str = schema.field('float32', choices=models.DTYPES, help="of the networks' computation")
  data: DataSource
  evaluation: Evaluation
  selection: Selection


@dataclasses.dataclass(frozen=True, kw_only=True)
class CondenseConfig(Config):
  """Condensing and scoring; `models.build` checks the fields of `model`, the method its own."""

  model: Mapping[str, Any]
  method: Mapping[str, Any]
  condensation: Condensation
  run: CondensingRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContinualConfig(CondenseConfig):
  """Class-incremental learning with what is condensed."""

  continual: Arrival


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Config):
  """Scoring of sets that are there."""

  sets: tuple[str, ...] = schema.field((), help='paths of condensed sets')
  baseline: Baseline
  evaluation: EvaluationOnSeveral
  run: Run


@dataclasses.dataclass(frozen=True)
class Arguments:
  """What stands behind the file name of every config of this family."""

  data: str = schema.field(PRESETS[0], choices=PRESETS, help='the data set')
  ipc: int = schema.field(1, example=10, help='stored images a class')
  factor: int = schema.field(1, example=2, help='cells along the side of a stored image')
  classes: str = schema.field(
    '',
    example='woof',
    help="the class folders to take, a subset of ImageNet's: " + ', '.join(subsets.SUBSETS),
  )
  quick: bool = schema.field(False, help='a smoke run: every phase, no meaningful number')


@dataclasses.dataclass(frozen=True)
class CondensingArguments(Arguments):
  """Those of the configs that condense."""

  model: str = schema.field(
    MODELS[0],
    choices=MODELS,
    example='resnet_ap',
    help='the network that condenses and evaluates',
  )


# Task -> the fields of its config.
CONFIGS = {'condense': CondenseConfig, 'continual': ContinualConfig, 'evaluate': EvaluateConfig}


def defaults(
  preset: str,
  *,
  method: Mapping[str, Any],
  augmentation: str,
  recipe: str,
  model: str = MODELS[0],
  quick: bool = False,
  classes: str = '',
  **condensation: Any,
) -> ConfigDict:
  """Returns the whole config of a condensation run from a data set and the method's own numbers.

  `preset` is one of `PRESETS` (those that end with a colon with a path, see `data.presets`),
  `method` what only this method has (`name` at least), `recipe` the evaluation recipe, whose
  statistics normalise the images too (IDC uses CIFAR-10's for CIFAR-100), `model` a network of the
  registry, which gets its own defaults, `classes` the class folders to take (see `data.load`),
  `condensation` the fields of that section. `flip` leaves the augmentation of a preset whose
  mirrored images lose their class; of any other set, `Dataset.flip` decides when it is loaded.
  `quick` makes a smoke run (`shrink`).

  The scikit-learn digits are enlarged to 16x16, images of a folder are brought to 32x32,
  Tiny-ImageNet's to 64x64 and ImageNet's to 128x128, for which a ConvNet gets depth 4 and 5; other
  sets keep their stored size. The first two sizes, the short evaluation on digits and 200 epochs
  for networks trained on the whole set are our own choice.

  >>> config = defaults('svhn_cropped', method=dict(name='dm'), augmentation='color_crop_flip',
  ...   recipe='dm', ipc=1)
  >>> config.condensation.augmentation, config.data.normalisation, config.model.width
  ('color_crop', 'dm', 128)
  """
  known = presets.find(preset)
  augmentation = augmentation if known.flip else augment.unmirrored(augmentation)
  network = models.defaults(model)
  del network['dtype']  # which is one for the whole run
  if model == 'convnet':
    network['depth'] = _DEPTHS.get(known.size, network['depth'])
  config = ConfigDict(
    dict(
      _shared(preset, recipe, classes),
      task='condense',
      model=dict(network, name=model),
      method=dict(method),
      condensation=dict(condensation, augmentation=augmentation),
      run=schema.section(CondensingRun()),
    )
  )
  return shrink(config) if quick else config


def scoreboard(
  preset: str,
  *,
  sets: Sequence[str] = (),
  networks: Sequence[str] = (),
  recipe: str = 'idc',
  ipc: int = 0,
  factor: int = 0,
  classes: str = '',
  quick: bool = False,
) -> ConfigDict:
  """Returns the whole config of an evaluation of condensed sets (task 'evaluate').

  `sets` are paths of condensed sets, `networks` names of `models.architectures` (none: the first
  set's own network), `recipe` the evaluation recipe, `ipc` and `factor` those of the baselines (0:
  the first set's), `classes` the class folders to take (see `data.load`). `quick` makes a smoke
  run.

  >>> config = scoreboard('cifar10', sets=['made.npz'], recipe='ddranking')
  >>> config.sets, config.evaluation.recipe, config.data.validation_share
  (('made.npz',), 'ddranking', 0.1)
  """
  config = ConfigDict(
    dict(
      _shared(preset, recipe, classes),
      task='evaluate',
      sets=tuple(sets),
      baseline=schema.section(Baseline(ipc, factor)),
      run=schema.section(Run()),
    )
  )
  scoring = EvaluationOnSeveral(**config.evaluation, architectures=tuple(networks))
  config.evaluation = schema.section(scoring)
  return shrink(config) if quick else config


def _shared(preset: str, recipe: str, classes: str = '') -> dict[str, Any]:
  """Returns what the configs of every task have."""
  known = presets.find(preset)
  held_out = not known.published or recipe in evaluation.SEARCHED
  source = DataSource(
    name=known.variant or preset,
    image_size=known.size,
    classes=classes,
    normalisation=_NORMALISATION[recipe],
    validation_share=0.1 if held_out else 0.0,
  )
  digits = preset == 'digits'
  return dict(
    family='condensation',
    seed=0,
    data=schema.section(source),
    dtype='float32',
    evaluation=schema.section(Evaluation(recipe, steps=200 if digits else 0)),
    selection=schema.section(Selection(epochs=10 if digits else 60)),
  )


def continual(
  config: ConfigDict,
  *,
  steps: int,
  orders: int,
  networks: int,
  recipe: str,
  memory: str = MEMORIES[0],
) -> ConfigDict:
  """Returns the config of a condensation as one of class-incremental learning with what it
  condenses.

  `steps` in which the classes arrive, `orders` of the classes, `networks` trained after every step
  of every order, the evaluation `recipe` at its own length (the short one on digits stays). What
  normalises the images stays the method's. `memory` is one of `MEMORIES`: condensed by the method,
  or real images selected from those of the step.

  >>> config = defaults('digits', method=dict(name='dm'), augmentation='', recipe='dm', ipc=1)
  >>> made = continual(config, steps=5, orders=2, networks=3, recipe='idc')
  >>> made.task, made.continual.steps, made.evaluation.networks
  ('continual', 5, 3)
  """
  config = ConfigDict(config.to_dict())
  config.task = 'continual'
  config.continual = schema.section(Arrival(steps, orders, memory))
  config.evaluation.update(recipe=recipe, networks=networks, epochs=0, baselines=())
  return config


def workdir_parts(config: ConfigDict) -> list[str]:
  """Returns what tells the work dirs of this family apart: the sets that are scored, the memory and
  the number of steps of continual learning, the stored images a class.

  >>> workdir_parts(ConfigDict(dict(sets=('runs/m3d/condensed.npz', 'mine.npz'))))
  ['m3d', 'mine']
  """
  parts = [_set_name(path) for path in config.get('sets', ())]
  if 'continual' in config:
    memory = config.continual.memory
    parts += [
      config.method.name if memory == MEMORIES[0] else memory,
      f'steps{config.continual.steps}',
    ]
  if 'condensation' in config:
    parts.append(f'ipc{config.condensation.ipc}')
  return parts


def _set_name(path: str) -> str:
  """Names a condensed set by its file, or by its work dir where a run has given the file its usual
  name."""
  path = pathlib.PurePath(path)
  name = path.parent.name if path.stem == 'condensed' and path.parent.name else path.stem
  return re.sub(r'[^\w.-]+', '_', name)


def imagenet_epochs(images: int) -> int:
  """Returns the passes of an evaluation on ImageNet's classes over a set of so many training images
  a class.

  Source: the public codes of IDC (Kim et al., ICML 2022) and DANCE, for ten classes.

  >>> imagenet_epochs(1), imagenet_epochs(10 * 2**2)
  (3000, 1500)
  """
  return next(
    (
      epochs
      for most, epochs in ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))
      if images <= most
    ),
    300,
  )


def shrink(config: ConfigDict) -> ConfigDict:
  """Returns `config` as a smoke run: every phase is reached, no number means anything.

  >>> config = defaults('digits', method=dict(name='dm'), augmentation='', recipe='dm',
  ...   iterations=500, batch_real=64)
  >>> small = shrink(config)
  >>> small.condensation.iterations, small.evaluation.networks, small.model.width
  (4, 2, 16)
  """
  config = ConfigDict(config.to_dict())
  if 'model' in config:
    # A width of 0 lets the network choose; one that is narrower still stays so.
    config.model.width = min(config.model.width or 16, 16)
    if 'blocks' in config.model:
      # The many layers of a densenet take a minute to compile.
      config.model.blocks = (1,) * len(config.model.blocks)
  config.evaluation.update(networks=2, steps=4, every=4)
  config.run.update(checkpoint_every=2, log_every=1)
  for section, changes in _SHRUNK[config.task].items():
    config[section].update(changes)
  return config


def datasets(config: ConfigDict) -> tuple[Dataset, Dataset | None, Dataset]:
  """Returns (train, validation, test) of a config; no validation set when its share is 0.

  >>> config = defaults('digits', method=dict(name='dm'), augmentation='', recipe='dm')
  >>> train, validation, test = datasets(config)
  >>> train.image_shape
  (16, 16, 1)
  """
  return load(schema.read(DataSource, config.data))


def check(config: ConfigDict) -> None:
  """Raises `UserError` for what would fail later, cheapest first: fields, values, then the data set
  and its sizes.

  >>> config = defaults('digits', method=dict(name='dm'), augmentation='color_crop', recipe='dm')
  >>> check(config)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: The config lacks condensation.batch_real, ...
  """
  check_fields(config)
  check_values(config)
  parallel.make_mesh(config.run.devices)
  train, _, _ = datasets(config)
  check_parts(config, train)


def read(config: ConfigDict) -> Config:
  """Returns the fields of a config as frozen values: a `CondenseConfig`, `ContinualConfig` or
  `EvaluateConfig`, by its task."""
  return schema.read(CONFIGS[config.task], config)


def explain(config: ConfigDict) -> dict[str, str]:
  """Returns what each field of a config means, by its dotted key."""
  return explaining.lines(CONFIGS[config.task])


def check_fields(config: ConfigDict) -> None:
  """Raises `UserError` for a field that is missing or that the config's task does not read."""
  schema.check_fields(CONFIGS[config.task], config)


def check_values(config: ConfigDict) -> None:
  """Raises `UserError` for a field whose value is of the wrong type, out of range or no valid name;
  of the fields that the config's task has."""
  schema.check_values(CONFIGS[config.task], config)
  if 'method' in config:
    methods.check(config.method)
  _check_recipe(config)


def _check_recipe(config: ConfigDict) -> None:
  recipe = config.evaluation.recipe
  if (
    recipe in evaluation.SEARCHED
    and config.evaluation.search_on == 'validation'
    and not config.data.validation_share
  ):
    raise UserError(
      f'The recipe {recipe} searches the learning rate on held-out images: set '
      'data.validation_share, such as '
      '0.1, or evaluation.search_on=test as its public code does.'
    )


def check_parts(config: ConfigDict, train: Dataset) -> None:
  """Raises `UserError` when the network, the method, `ipc` or `factor` do not go with the training
  set."""
  fields = read(config)
  model = models.build(fields.model, train.num_classes, train.image_shape)
  engine.check_network(model)
  methods.plugs(fields.method, model, train.image_shape)
  check_sizes(
    fields.condensation.storage,
    fields.evaluation.baselines,
    train,
    held_out=bool(fields.data.validation_share),
  )


def check_sizes(
  storage: Storage,
  names: Sequence[str],
  train: Dataset,
  *,
  held_out: bool,
  section: str = 'condensation',
) -> None:
  """Raises `UserError` when a training set is too small for what is to be stored.

  Args:
    storage: what that is.
    names: of the baselines.
    train: the set, without the share that was held out.
    held_out: whether there is such a share.
    section: of the config, with the fields `ipc` and `factor`.
  """
  ipc, factor = storage.ipc, storage.factor
  height, width = train.image_shape[:2]
  if factor > min(height, width):
    raise UserError(
      f'{section}.factor is {factor}, but the images of {train.name} are only {height}x{width}; '
      f'a factor of 1 to 3 is usual.'
    )
  smallest, needed = int(train.counts.min()), storage.needed(names)
  cells = needed // ipc
  if needed > smallest:
    name = train.class_names[train.counts.argmin()]
    needs = (
      f'ipc={ipc}'
      if cells == 1
      else f'ipc={ipc} with factor={factor} needs {needed} images a class, which'
    )
    left = ' without the validation share' if held_out else ''
    instead = (
      f'ipc={smallest // cells} or less' if smallest >= cells else 'a smaller factor or more images'
    )
    raise UserError(
      f'{needs} is more than class {name!r} of {train.name} has ({smallest} for '
      f'training{left}); use {instead}.'
    )
