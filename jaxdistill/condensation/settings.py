"""What the configs of this family share: their arguments, and whole configs from a data set and the
numbers of a method."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxdistill import files, models
from jaxdistill.condensation import protocols, sections
from jaxdistill.data import Dataset, augment, presets, subsets
from jaxdistill.errors import UserError
from jaxdistill.experiment import arguments, schema
from jaxdistill.experiment import explain as explaining
from jaxdistill.experiment.datasets import DataSource, load
from jaxdistill.files import expanded
from jaxdistill.synthesis.condensed import Condensed

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
MEMORIES = sections.MEMORIES
MODELS = ('convnet', *sorted(models.REGISTRY.keys() - {'convnet'}))
# Depth of the ConvNet by the side of the images, where it is not 3.
_DEPTHS = {64: 4, 128: 5}
# The network by the side of the images, where it is not a ConvNet: IDC's, and DANCE's code takes no
# other there.
_NETWORKS = {224: 'resnet_ap'}
# Width of the ConvNet on the digits, a first job that ends within 90 seconds on two cores; the
# papers' 128 would take twice as long for a point or two (our choice).
_WIDTH_OF_DIGITS = 32
# Task -> section -> what a smoke run changes beyond the evaluation and the run.
_SHRUNK = {
  'condense': {'condensation': dict(iterations=4, batch_real=8), 'selection': dict(steps=4)},
  'evaluate': {'evaluation': dict(width=16), 'selection': dict(steps=4)},
}


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
    '',
    choices=MODELS,
    example='resnet_ap',
    help='the network that condenses and evaluates (convnet; at 224 pixels resnet_ap)',
  )


def defaults(
  preset: str,
  *,
  method: Mapping[str, Any],
  augmentation: str,
  recipe: str,
  model: str = '',
  quick: bool = False,
  classes: str = '',
  **condensation: Any,
) -> ConfigDict:
  """Returns the whole config of a condensation run from a data set and the method's own numbers.

  `preset` is one of `PRESETS` (those that end with a colon with a path, see `data.presets`),
  `method` what only this method has (`name` at least), `recipe` the evaluation recipe, whose
  statistics normalise the images too (IDC uses CIFAR-10's for CIFAR-100); 'idc' becomes the
  exception that its code makes for the data set, `ipc` and `factor`, if it does (see
  `protocols.of_set`), and of ImageNet some canvases are decoded at a lower factor while they are
  matched, as there, from 20 a class and factor 3 on. `model` is a network of the registry, which
  gets its own defaults ('': the data set's usual one), `classes` the class folders to take (see
  `data.load`), `condensation` the fields of that section. `flip` leaves the augmentation of a
  preset whose mirrored images lose their class; of any other set, `Dataset.flip` decides when it is
  loaded. `quick` makes a smoke run (`shrink`).

  The scikit-learn digits are enlarged to 16x16, images of a folder are brought to 32x32,
  Tiny-ImageNet's to 64x64 and ImageNet's to 128x128, for which a ConvNet gets depth 4 and 5, or to
  224x224; other sets keep their stored size. The first two sizes, the short evaluation on digits,
  its narrow ConvNet and 200 epochs for networks trained on the whole set are our own choice.

  >>> config = defaults('svhn_cropped', method=dict(name='dm'), augmentation='color_crop_flip',
  ...   recipe='dm', ipc=1)
  >>> config.condensation.augmentation, config.data.normalisation, config.model.width
  ('color_crop', 'dm', 128)
  """
  known = presets.find(preset)
  augmentation = augmentation if known.flip else augment.unmirrored(augmentation)
  if recipe == 'idc' and _is_bounded(preset, **condensation):
    condensation['decoding'] = 'bounded'
  recipe = _with_exceptions(recipe, preset, condensation, classes)
  model = model or _NETWORKS.get(known.size, MODELS[0])
  network = models.defaults(model)
  del network['dtype']  # which is one for the whole run
  if model == 'convnet':
    network['depth'] = _DEPTHS.get(known.size, network['depth'])
    network['width'] = _WIDTH_OF_DIGITS if preset == 'digits' else network['width']
  config = ConfigDict(
    dict(
      _shared(preset, recipe, classes),
      task='condense',
      model=dict(network, name=model),
      method=dict(method),
      condensation=dict(condensation, augmentation=augmentation),
      run=schema.section(sections.CondensingRun()),
    )
  )
  return shrink(config) if quick else config


def scoreboard(
  preset: str,
  *,
  sets: Sequence[str] = (),
  networks: Sequence[str] = (),
  recipe: str = '',
  ipc: int = 0,
  factor: int = 0,
  classes: str = '',
  quick: bool = False,
) -> ConfigDict:
  """Returns the whole config of an evaluation of condensed sets (task 'evaluate').

  `sets` are paths of condensed sets, `networks` names of `models.architectures` (none: the first
  set's own network), `recipe` the evaluation recipe ('': that by which IDC's code scores the first
  set, or the baselines where there is none, see `protocols.of_set`), `ipc` and `factor` those of
  the baselines (0: the first set's), `classes` the class folders to take (see `data.load`). `quick`
  makes a smoke run.

  >>> config = scoreboard('cifar10', sets=['made.npz'], recipe='ddranking')
  >>> config.sets, config.evaluation.recipe, config.data.validation_share
  (('made.npz',), 'ddranking', 0.1)
  """
  recipe = recipe or protocols.of_set(preset, *_stored(preset, sets, ipc, factor), classes)
  config = ConfigDict(
    dict(
      _shared(preset, recipe, classes),
      task='evaluate',
      sets=tuple(sets),
      baseline=schema.section(sections.Baseline(ipc, factor)),
      run=schema.section(sections.Run()),
    )
  )
  scoring = sections.EvaluationOnSeveral(**config.evaluation, architectures=tuple(networks))
  config.evaluation = schema.section(scoring)
  return shrink(config) if quick else config


def _is_bounded(preset: str, ipc: int = 1, factor: int = 1, **condensation: Any) -> bool:
  """Returns whether IDC's code bounds the images that it decodes while it condenses."""
  del condensation
  return presets.find(preset).of_imagenet and factor >= 3 and ipc >= 20


def _with_exceptions(recipe: str, data: str, condensation: Mapping[str, Any], classes: str) -> str:
  """Returns the recipe of a config; 'idc' as its code has it for these images."""
  if recipe != 'idc':
    return recipe
  ipc, factor = condensation.get('ipc', 1), condensation.get('factor', 1)
  return protocols.of_set(data, ipc, factor, classes)


def _stored(preset: str, sets: Sequence[str], ipc: int, factor: int) -> tuple[int, int]:
  """Returns the stored images a class and the factor of what is scored first.

  A set is opened only where they decide the recipe; one that cannot be read is told by the checks.
  """
  matters = protocols.of_set(preset, 1, 1) != protocols.of_set(preset, 1, 2)
  if sets and matters:
    try:
      first = Condensed.load(expanded(sets[0]))
      return first.ipc, first.factor
    except (UserError, OSError, RuntimeError):
      pass
  return ipc or 1, factor or 1


def _shared(preset: str, recipe: str, classes: str = '') -> dict[str, Any]:
  """Returns what the configs of every task have."""
  known = presets.find(preset)
  held_out = not known.published or recipe in protocols.SEARCHED
  source = DataSource(
    name=known.variant or preset,
    image_size=known.size,
    classes=classes,
    normalisation=protocols.convention(recipe),
    validation_share=0.1 if held_out else 0.0,
  )
  digits = preset == 'digits'
  return dict(
    family='condensation',
    seed=0,
    data=schema.section(source),
    dtype='float32',
    evaluation=schema.section(sections.Evaluation(recipe, steps=200 if digits else 0)),
    selection=schema.section(sections.Selection(epochs=10 if digits else 60)),
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
  of every order, the evaluation `recipe` at its own length (the short one on digits stays); 'idc'
  becomes its exception as in `defaults`. What normalises the images stays the method's. `memory` is
  one of `MEMORIES`: condensed by the method, or real images selected from those of the step.

  >>> config = defaults('digits', method=dict(name='dm'), augmentation='', recipe='dm', ipc=1)
  >>> config = continual(config, steps=5, orders=2, networks=3, recipe='idc')
  >>> config.task, config.continual.steps, config.evaluation.networks
  ('continual', 5, 3)
  """
  config = ConfigDict(config.to_dict())
  config.task = 'continual'
  config.continual = schema.section(sections.Arrival(steps, orders, memory))
  recipe = _with_exceptions(recipe, config.data.name, config.condensation, config.data.classes)
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
  return files.safe_name(name)


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
    config.model = arguments.narrowed(config.model, 16)
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


def explain(config: ConfigDict) -> dict[str, str]:
  """Returns what each field of a config means, by its dotted key."""
  return explaining.lines(sections.CONFIGS[config.task])
