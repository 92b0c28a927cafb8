"""What the configs of this family hold, each section declared once."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.condensation import baselines, protocols
from jaxdistill.condensation.baselines import Storage
from jaxdistill.condensation.embedding import Selection
from jaxdistill.data import augment, selection
from jaxdistill.experiment import schema
from jaxdistill.experiment import sections as common
from jaxdistill.synthesis import decode, engine

# What continual learning may keep of the classes of a step.
MEMORIES = ('condensed', *selection.METHODS)


@dataclasses.dataclass(frozen=True)
class Run(common.Run):
  """A run that scores sets, which other runs score too."""

  rows: str = schema.field('', help="folder of scores that several runs share; '': none")


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
  # Configs of before it was there lack it.
  decoding: str = schema.field(
    'all',
    choices=engine.DECODINGS,
    optional=True,
    help='of more images than batch_syn_max: a random subset, or some canvases at a lower factor; '
    "in M3D's and DANCE's configs of ImageNet from ipc=20 and factor=3 on alone",
  )

  @property
  def storage(self) -> Storage:
    """What is stored of each class."""
    return Storage(self.ipc, self.factor, self.init)

  def augmentation_of(self, flip: bool) -> str:
    """Returns the augmentation of images that may be mirrored, or that would lose their class.

    >>> from jaxdistill import config
    >>> of_config(config.load('dm:cifar10')).condensation.augmentation_of(flip=False)
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
      decoding=self.decoding,
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

  recipe: str = schema.field('idc', choices=tuple(protocols.RECIPES), help='the protocol')
  networks: int = schema.field(5, at_least=1, help='fresh networks a set')
  epochs: int = schema.field(0, at_least=0, help="passes over a set; 0: the recipe's")
  whole_epochs: int = schema.field(
    200, at_least=0, help="passes over the whole training set; 0: the recipe's"
  )
  steps: int = schema.field(0, at_least=0, help='training steps; 0: from the epochs')
  every: int = schema.field(0, at_least=0, help="steps between two checks; 0: the recipe's checks")
  search_on: str = schema.field(
    'validation',
    choices=protocols.SEARCH_ON,
    help='images by which a searched learning rate is chosen',
  )
  baselines: tuple[str, ...] = schema.field(
    ('random', 'mix', 'whole'),
    choices=tuple(baselines.LABELS),
    kind='baseline',
    help='sets to compare with',
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
class Config(common.Config):
  """What the configs of all tasks of this family have."""

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


# Task -> the fields of its config.
CONFIGS = {'condense': CondenseConfig, 'continual': ContinualConfig, 'evaluate': EvaluateConfig}


def of_config(config: ConfigDict) -> Config:
  """Returns the fields of a config as frozen values: a `CondenseConfig`, `ContinualConfig` or
  `EvaluateConfig`, by its task."""
  return schema.read(CONFIGS[config.task], config)
