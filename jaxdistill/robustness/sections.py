"""What the configs of this family hold, each section declared once."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from ml_collections import ConfigDict

from jaxdistill.errors import UserError
from jaxdistill.experiment import schema
from jaxdistill.experiment import sections as common
from jaxdistill.experiment.sections import Run
from jaxdistill.robustness import recipes
from jaxdistill.robustness.threat import Norm

FIRST_LAYERS = ('statistics', 'half', 'none')


@dataclasses.dataclass(frozen=True)
class Robust:
  """The attacker, the training and the scores, whatever the method."""

  recipe: str = schema.field(choices=tuple(recipes.RECIPES), kind='recipe', help='of the training')
  eps: float = schema.field(
    at_least=0, help='radius of the ball of the attacker, in units of pixels from 0 to 1'
  )
  norm: str = schema.field('linf', choices=get_args(Norm), help='of the ball')
  seeds: int = schema.field(3, at_least=1, help='networks in one program, each with its own seed')
  train_images: int = schema.field(
    0, at_least=0, help='training images, drawn by a fixed seed; 0: all'
  )
  pseudo: str = schema.field(
    '',
    help='a data set whose training images fill the second half of every batch, with its labels '
    "(pseudo-labels), as npz:PATH; '': none",
  )
  first_layer: str = schema.field(
    'statistics',
    choices=FIRST_LAYERS,
    help='by which the network normalises its images itself: the statistics of the data, mean and '
    'deviation .5, or not at all',
  )
  epochs: int = schema.field(0, at_least=0, help="passes over the images; 0: the recipe's")
  steps: int = schema.field(0, at_least=0, help='training steps; 0: from the epochs')
  batch: int = schema.field(0, at_least=0, help="images a step; 0: the recipe's")
  learning_rate: float = schema.field(0.0, at_least=0, help="0: the recipe's")
  checks: int = schema.field(
    10, at_least=1, help='checks of the robust accuracy while the networks train'
  )
  pgd_steps: int = schema.field(20, at_least=0, help='of PGD at these checks')
  attacks: tuple[str, ...] = schema.field(
    (), help='of the final networks, names of robustness.ATTACKS'
  )
  attack_images: int = schema.field(0, at_least=0, help='test images that these attack; 0: all')

  def __post_init__(self):
    if self.eps > 1 and self.norm == 'linf':
      raise UserError(
        f'robustness.eps is {self.eps}; it is in units of pixels from 0 to 1, such as 8/255 = '
        '0.0314, so at most 1.'
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
  """What the configs of all tasks of this family have; `models.build` checks the fields of
  `model`."""

  model: Mapping[str, Any]
  robustness: Robust
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
