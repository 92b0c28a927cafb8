"""The checks of a config before any work: what would fail later, told in one sentence."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from jaxdistill import files, models
from jaxdistill.condensation import methods, protocols, sections
from jaxdistill.condensation.baselines import Storage
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError
from jaxdistill.experiment import checking, datasets, schema
from jaxdistill.experiment.datasets import DataSource
from jaxdistill.numerics import settled
from jaxdistill.synthesis import decode, engine
from jaxdistill.training import parallel


@settled()
def check(config: ConfigDict) -> None:
  """Raises `UserError` for what would fail later, cheapest first: fields, values, then the data set
  and its sizes.

  >>> from jaxdistill.condensation import settings
  >>> method, recipe = dict(name='dm'), 'dm'
  >>> config = settings.defaults('digits', method=method, augmentation='color_crop', recipe=recipe)
  >>> check(config)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: The config lacks condensation.batch_real, ...
  """
  check_fields(config)
  check_values(config)
  parallel.make_mesh(config.run.devices)
  train, _, _ = datasets.load(schema.read(DataSource, config.data))
  check_parts(config, train)


def check_fields(config: ConfigDict) -> None:
  """Raises `UserError` for a field that is missing or that the config's task does not read."""
  schema.check_fields(sections.CONFIGS[config.task], config)


def check_values(config: ConfigDict) -> None:
  """Raises `UserError` for a field whose value is of the wrong type, out of range or no valid name;
  of the fields that the config's task has."""
  checking.check_values(sections.CONFIGS[config.task], config)
  files.check_folder('run.rows', config.run.rows)
  if 'method' in config:
    methods.check(config.method)
  _check_recipe(config)


def _check_recipe(config: ConfigDict) -> None:
  recipe = config.evaluation.recipe
  if (
    recipe in protocols.SEARCHED
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
  fields = sections.of_config(config)
  model = models.build(fields.model, train.num_classes, train.image_shape)
  engine.check_network(model)
  methods.plugs(fields.method, model, train.image_shape)
  methods.wants(fields.method)  # the numbers of the networks that it trains first
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
  height, width, channels = train.image_shape
  if channels not in (1, 3):
    raise UserError(
      f'The images of {train.name} have {channels} channels; a run takes grey images (1) or '
      'colours (3): lay transparent ones on a background.'
    )
  if factor > min(height, width):
    raise UserError(
      f'{section}.factor is {factor}, but the images of {train.name} are only {height}x{width}; '
      f'a factor of 1 to 3 is usual.'
    )
  filling = decode.nearest_filling(factor, height, width)
  if factor not in filling:
    raise UserError(
      f'{section}.factor is {factor}, whose last cells lie outside the images of {train.name}, '
      f'{height}x{width}, altogether; the nearest that fill them: '
      f'{", ".join(map(str, filling))}.'
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
