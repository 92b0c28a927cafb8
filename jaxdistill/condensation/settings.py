"""What the configs of this family share: the schema, what differs between data sets, the checks
before any work."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxdistill import data, losses, models
from jaxdistill.condensation import baselines, embedding, evaluation, methods
from jaxdistill.data import Dataset, augment, selection, statistics
from jaxdistill.errors import UserError, unknown
from jaxdistill.synthesis import decode, engine
from jaxdistill.training import machine, parallel

# Task of a config -> the module of this package with its flow: check(config), run(config, run),
# dry_run(config).
TASKS = {
  'condense': 'tasks.condense',
  'continual': 'tasks.continual',
  'evaluate': 'tasks.evaluate',
}
PRESETS = (
  'digits',
  'mnist',
  'fashion_mnist',
  'svhn_cropped',
  'cifar10',
  'cifar100',
  'imagenette',
  'npz:',
  'folder:',
  'tiny_imagenet:',
  'imagenet:',
)
# Presets of ImageNet's classes at 128 pixels, for which the papers have numbers of their own.
IMAGENET = ('imagenette', 'imagenet:')
MEMORIES = ('condensed', *selection.METHODS)
MODELS = ('convnet', *sorted(models.REGISTRY.keys() - {'convnet'}))
# Sets of the papers' tables: all training images, as there. Of other sets a share is held out to
# choose by.
_PUBLISHED = (
  'mnist',
  'fashion_mnist',
  'svhn_cropped',
  'cifar10',
  'cifar100',
  'tiny_imagenet:',
  *IMAGENET,
)
# Side of the images where it is not the stored one, and the depth of the ConvNet where it is not 3.
_SIZES = {'digits': 16, 'folder:': 32, 'tiny_imagenet:': 64, **dict.fromkeys(IMAGENET, 128)}
_DEPTHS = {64: 4, 128: 5}
# The variant of a TFDS set that comes in several.
_VARIANTS = {'imagenette': 'imagenette/160px-v2'}
STREAM = ('auto', 'on', 'off')
# Share of the device's memory up to which 'auto' keeps the training images there; the rest is for
# the networks (our choice).
_STREAM_SHARE = 0.3
# A mirrored digit is another sign or none: neither DSA nor IDC flips these sets.
_NO_FLIP = ('digits', 'mnist', 'svhn_cropped')
# Recipe -> whose mean and deviation go with it. DD-Ranking augments as DM does.
_NORMALISATION = {'idc': 'idc', 'dm': 'dm', 'ddranking': 'dm'}
_RUN = dict(devices=0, steps_per_call=0, rows='', checkpoint_every=500, keep=2, log_every=10)

_CONDENSATION = (
  'ipc',
  'factor',
  'init',
  'iterations',
  'batch_real',
  'batch_syn_max',
  'learning_rate',
  'momentum',
  'update',
  'space',
  'composition',
)
# Task -> section -> what a smoke run changes beyond the evaluation and the run.
_SHRUNK = {
  'condense': {'condensation': dict(iterations=4, batch_real=8), 'selection': dict(steps=4)},
  'evaluate': {'evaluation': dict(width=16), 'selection': dict(steps=4)},
}
# Task -> a config with all of its fields. `method` and `model` check their own.
_TEMPLATES = {
  'condense': lambda: defaults(
    'digits', method=dict(name=''), augmentation='', recipe='idc', **dict.fromkeys(_CONDENSATION, 0)
  ),
  'continual': lambda: continual(
    _TEMPLATES['condense'](), steps=1, orders=1, networks=1, recipe='dm'
  ),
  'evaluate': lambda: scoreboard('digits'),
}
_CHOICES = {
  'dtype': models.DTYPES,
  'data.normalisation': statistics.CONVENTIONS,
  'data.stream': STREAM,
  'condensation.init': decode.INITS,
  'condensation.update': engine.UPDATES,
  'condensation.space': engine.SPACES,
  'condensation.composition': augment.COMPOSITIONS,
  'evaluation.recipe': tuple(evaluation.RECIPES),
  'evaluation.search_on': evaluation.SEARCH_ON,
  'selection.network': embedding.NETWORKS,
  'continual.memory': MEMORIES,
}
_BASELINES = ('random', 'mix', 'whole')
# Dotted key -> the smallest value that makes sense.
_AT_LEAST = {
  'seed': 0,
  'data.image_size': 0,
  'data.validation_share': 0,
  'condensation.ipc': 1,
  'condensation.factor': 1,
  'condensation.iterations': 0,
  'condensation.batch_real': 1,
  'condensation.batch_syn_max': 1,
  'condensation.learning_rate': 0,
  'condensation.momentum': 0,
  'evaluation.networks': 1,
  'evaluation.epochs': 0,
  'evaluation.whole_epochs': 0,
  'evaluation.steps': 0,
  'evaluation.every': 0,
  'evaluation.width': 0,
  'baseline.ipc': 0,
  'baseline.factor': 0,
  'selection.epochs': 0,
  'selection.steps': 0,
  'continual.steps': 1,
  'continual.orders': 1,
  'run.devices': 0,
  'run.steps_per_call': 0,
  'run.classes_at_once': 0,
  'run.checkpoint_every': 1,
  'run.keep': 1,
  'run.log_every': 1,
}
# JAX would take a larger seed modulo this number, and two seeds would give one result.
_SEEDS = 2**32
_BELOW_ONE = ('data.validation_share', 'condensation.momentum')


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

  `preset` is one of `PRESETS` (those that end with a colon with a path), `method` what only this
  method has (`name` at least), `recipe` the evaluation recipe, whose statistics normalise the
  images too (IDC uses CIFAR-10's for CIFAR-100), `model` a network of the registry, which gets its
  own defaults, `classes` the class folders to take (see `data.load`), `condensation` the fields of
  that section. `flip` leaves the augmentation where a mirrored image is no longer of its class.
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
  if preset in _NO_FLIP:
    augmentation = '_'.join(part for part in augmentation.split('_') if part != 'flip')
  network = models.defaults(model)
  del network['dtype']  # which is one for the whole run
  if model == 'convnet':
    network['depth'] = _DEPTHS.get(_SIZES.get(kind_of(preset)), network['depth'])
  config = ConfigDict(
    dict(
      _shared(preset, recipe, classes),
      task='condense',
      model=dict(network, name=model),
      method=dict(method),
      # Read the field 'update' as condensation['update']: with a dot it is the method of
      # ConfigDict.
      condensation=dict(condensation, augmentation=augmentation),
      run=dict(_RUN, classes_at_once=0, experts=''),
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
      baseline=dict(ipc=ipc, factor=factor),
      run=dict(_RUN, experts=''),
    )
  )
  # width: of every network that has one, 0 for its own. robustness: train without augmentation as
  # well, for DD-Ranking's ARS.
  config.evaluation.update(architectures=tuple(networks), width=0, robustness=False)
  return shrink(config) if quick else config


def _shared(preset: str, recipe: str, classes: str = '') -> dict[str, Any]:
  """Returns what the configs of every task have."""
  kind = kind_of(preset)
  return dict(
    family='condensation',
    seed=0,
    data=dict(
      name=_VARIANTS.get(preset, preset),
      dir='',
      image_size=_SIZES.get(kind, 0),
      classes=classes,
      normalisation=_NORMALISATION[recipe],
      stream='auto',
      validation_share=0.0 if kind in _PUBLISHED and recipe not in evaluation.SEARCHED else 0.1,
    ),
    dtype='float32',
    evaluation=dict(
      recipe=recipe,
      networks=5,
      epochs=0,
      whole_epochs=200,
      steps=200 if preset == 'digits' else 0,
      every=0,
      # Held-out images or the test set, by which a recipe that searches the learning rate chooses
      # it.
      search_on='validation',
      baselines=_BASELINES,
    ),
    # The network whose features the baselines 'herding', 'kcenter' and 'kmeans' compare.
    selection=dict(network='trained', epochs=10 if preset == 'digits' else 60, steps=0),
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
  config.continual = dict(steps=steps, orders=orders, memory=memory)
  config.evaluation.update(recipe=recipe, networks=networks, epochs=0, baselines=())
  return config


def kind_of(preset: str) -> str:
  """Returns the entry of `PRESETS` that a data set belongs to, without the path.

  >>> kind_of('folder:photos/mine'), kind_of('cifar10')
  ('folder:', 'cifar10')
  """
  name, colon, _ = preset.partition(':')
  return name + colon


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


@functools.lru_cache(maxsize=1)
def _load(share: float, **arguments: Any) -> tuple[Dataset, Dataset | None, Dataset]:
  train, test = data.load(**arguments)
  train, validation = data.hold_out(train, share) if share else (train, None)
  return train, validation, test


def datasets(config: ConfigDict) -> tuple[Dataset, Dataset | None, Dataset]:
  """Returns (train, validation, test) of a config; no validation set when its share is 0.

  The split does not depend on `config.seed`, so that runs with different seeds compare. The last
  data set loaded is kept, because `check` needs it before a run does.

  >>> config = defaults('digits', method=dict(name='dm'), augmentation='', recipe='dm')
  >>> train, validation, test = datasets(config)
  >>> train.image_shape
  (16, 16, 1)
  """
  section = config.data
  share = int(_STREAM_SHARE * machine.memory_bytes())
  return _load(
    section.validation_share,
    name=section.name,
    data_dir=section.dir,
    image_size=section.image_size,
    classes=section.classes,
    normalisation=section.normalisation,
    stream_above={'on': 0, 'auto': share, 'off': None}[section.stream],
  )


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


def check_fields(config: ConfigDict) -> None:
  """Raises `UserError` for a field that is missing or that the config's task does not read."""
  template = _TEMPLATES[config.task]()
  for section, expected in [('', template), *((name, template[name]) for name in template)]:
    if section in ('method', 'model') or not isinstance(expected, ConfigDict):
      continue
    present = config[section] if section else config
    prefix = f'{section}.' if section else ''
    for name in present:
      if name not in expected:
        raise unknown('config key', f'{prefix}{name}', [f'{prefix}{each}' for each in expected])
    missing = [f'{prefix}{name}' for name in expected if name not in present]
    if missing:
      raise UserError(f'The config lacks {", ".join(missing)}.')


def check_values(config: ConfigDict) -> None:
  """Raises `UserError` for a field whose value is out of range or no valid name; of the fields that
  the config's task has."""
  for key, valid in _CHOICES.items():
    if _has(config, key):
      _check_name(key, _field(config, key), valid)
  if 'method' in config:
    methods.find(config.method.name)
    if 'kernel' in config.method:
      _check_name('kernel', config.method.kernel, losses.KERNELS)
    for operation in filter(None, config.condensation.augmentation.split('_')):
      _check_name('augmentation', operation, augment.OPERATIONS)
  for baseline in config.evaluation.baselines:
    _check_name('baseline', baseline, baselines.LABELS)
  for key, smallest in _AT_LEAST.items():
    if _has(config, key) and _field(config, key) < smallest:
      raise UserError(f'{key} is {_field(config, key)}; it must be at least {smallest}.')
  if config.seed >= _SEEDS:
    raise UserError(f'seed is {config.seed}; it must be below {_SEEDS}.')
  for key in _BELOW_ONE:
    if _has(config, key) and _field(config, key) >= 1:
      raise UserError(f'{key} is {_field(config, key)}; it must be below 1.')
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
  model = models.build(config.model, train.num_classes, train.image_shape)
  engine.check_network(model)
  methods.plugs(config.method, model, train.image_shape)
  check_sizes(config, train)


def check_sizes(config: ConfigDict, train: Dataset) -> None:
  """Raises `UserError` when the training set (less the validation share) is too small for `ipc` or
  `factor`."""
  ipc, factor = config.condensation.ipc, config.condensation.factor
  height, width = train.image_shape[:2]
  if factor > min(height, width):
    raise UserError(
      f'condensation.factor is {factor}, but the images of {train.name} are only {height}x{width}; '
      f'a factor of 1 to 3 is usual.'
    )
  smallest = int(train.counts.min())
  shrunk = any(baselines.is_mix(name) for name in config.evaluation.baselines)
  cells = factor**2 if config.condensation.init == 'mix' or shrunk else 1
  if ipc * cells > smallest:
    name = train.class_names[train.counts.argmin()]
    needs = (
      f'ipc={ipc}'
      if cells == 1
      else f'ipc={ipc} with factor={factor} needs {ipc * cells} images a class, which'
    )
    left = ' without the validation share' if config.data.validation_share else ''
    instead = (
      f'ipc={smallest // cells} or less' if smallest >= cells else 'a smaller factor or more images'
    )
    raise UserError(
      f'{needs} is more than class {name!r} of {train.name} has ({smallest} for '
      f'training{left}); use {instead}.'
    )


def _has(config: ConfigDict, key: str) -> bool:
  section, _, name = key.rpartition('.')
  return name in (config.get(section, {}) if section else config)


def _field(config: ConfigDict, key: str) -> Any:
  return functools.reduce(lambda section, name: section[name], key.split('.'), config)


def _check_name(kind: str, name: str, valid: Sequence[str]) -> None:
  if name not in valid:
    raise unknown(kind, name, valid)
