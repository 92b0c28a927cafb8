"""What the configs of this family hold, each section declared once."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.errors import SEEDS, UserError
from jaxdistill.experiment import schema
from jaxdistill.experiment import sections as common
from jaxdistill.experiment.sections import Run
from jaxdistill.label_noise import human, noise, recipes

# Where the observed labels come from.
ORIGINS = ('given', 'corrupt', 'simulate', 'by_image', 'cifar10n', 'csv', 'multilabel')


@dataclasses.dataclass(frozen=True)
class EvidenceFields:
  """Where the observed labels come from; `origin` says which fields are read."""

  origin: str = schema.field(
    choices=ORIGINS,
    help="given: the data set's own labels are the observed ones; else they are the true ones, and "
    'the observed are corrupt: made wrong by a law, simulate: given by simulated annotators, '
    'by_image: whose mistakes depend on the image, cifar10n: given by people, csv: of a file, '
    'multilabel: a matrix with flips',
  )
  noise: str = schema.field(
    'symmetric_inclusive', choices=tuple(noise.KINDS), help='law of the origin corrupt'
  )
  rate: float = schema.field(
    0.4, at_least=0, help='of corrupt and by_image; of multilabel that of 1 -> 0'
  )
  false_positive: float = schema.field(0.0, at_least=0, help='rate of 0 -> 1 of multilabel')
  groups: str = schema.field('ind', help='annotators of simulate, see annotators.build')
  annotators: int = schema.field(300, at_least=1, help='annotators of by_image')
  annotator_groups: int = schema.field(3, at_least=1, help='groups of annotators of by_image')
  per_example: float = schema.field(
    3.0, at_least=1, help='labels an example, of simulate and, in the mean, of by_image'
  )
  activity_a: float = schema.field(
    0.4, at_least=0, help='a of the Beta(a, b) by which annotators of simulate are active; 0: alike'
  )
  activity_b: float = schema.field(4.0, at_least=0, help='b of it')
  path: str = schema.field('', help='of the files of cifar10n and csv')
  which: str = schema.field('aggregate', choices=human.LABELS, help='which labels of cifar10n')
  seed: int = schema.field(0, at_least=0, below=SEEDS, help='of what is made')

  def __post_init__(self):
    for name in ('rate', 'false_positive'):
      if getattr(self, name) > 1:
        raise UserError(f'evidence.{name} is {getattr(self, name)}; a rate is from 0 to 1.')
    if self.origin in ('cifar10n', 'csv') and not self.path:
      raise UserError(
        f'The origin {self.origin} of labels needs evidence.path: crowd={self.origin}:PATH behind '
        'the data set.'
      )


@dataclasses.dataclass(frozen=True)
class Learning:
  """The training and the scores, whatever the method."""

  recipe: str = schema.field(choices=tuple(recipes.RECIPES), kind='recipe', help='of the training')
  seeds: int = schema.field(3, at_least=1, help='networks in one program, each with its own seed')
  train_images: int = schema.field(
    0, at_least=0, help='training examples, drawn by a fixed seed; 0: all'
  )
  trusted: int = schema.field(
    0,
    at_least=0,
    help='examples of each class with their true labels, taken out of the training examples',
  )
  epochs: int = schema.field(0, at_least=0, help="passes over the examples; 0: the recipe's")
  batch: int = schema.field(0, at_least=0, help="examples a step; 0: the recipe's")
  learning_rate: float = schema.field(0.0, at_least=0, help="0: the recipe's")
  augmented: bool = schema.field(True, help="whether a step sees the recipe's augmented views")
  checks: int = schema.field(10, at_least=1, help='checks while the networks train')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
  """What the configs of all tasks of this family have; `models.build` checks the fields of
  `model`."""

  model: Mapping[str, Any]
  evidence: EvidenceFields
  learning: Learning
  run: Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
  """One method, whose own fields its factory checks."""

  method: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig(common.Several, Config):
  """Several methods."""


# Task -> the fields of its config.
CONFIGS = {'train': TrainConfig, 'compare': CompareConfig}


def of_config(config: ConfigDict) -> Config:
  """Returns the fields of a config as frozen values: a `TrainConfig` or `CompareConfig`, by its
  task."""
  return schema.read(CONFIGS[config.task], config)
