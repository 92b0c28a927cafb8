"""What the configs of this family hold, each section declared once."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.errors import UserError
from jaxdistill.experiment import schema
from jaxdistill.experiment import sections as common
from jaxdistill.experiment.sections import Run
from jaxdistill.fscil import recipes
from jaxdistill.fscil.generative import Generative
from jaxdistill.models import heads

# By what the weights of a base network are chosen. The last is how much public code does it, and is
# optimistic, as it looks at the test images.
SELECTIONS = ('last', 'val', 'best_test')
# A base session has no loss for the second output of a contrastive head.
HEADS = ('', *(name for name in heads.HEADS if name != 'contrastive'))


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Which classes come when, and from how many images each is learned."""

  base_classes: int = schema.field(at_least=1, help='classes of the base session')
  way: int = schema.field(at_least=1, help='classes of every later session')
  shot: int = schema.field(at_least=1, help='images of each of them')
  draws: int = schema.field(5, at_least=1, help='draws of these images')
  indices: str = schema.field(
    '',
    help="the images of a fixed list: 'cec' (CIFAR-100's), a file or a folder of files; '': "
    'drawn by the seed',
  )
  order: str = schema.field(
    '', help="of the classes: a file of names or numbers, or a seed; '': as the set has them"
  )
  sessions: int = schema.field(0, at_least=0, help='later sessions; 0: all classes come')
  rates: str = schema.field(
    '',
    help="factors of the learners' rates in the sessions, joined by +, each a row of the table "
    "('0.1+1'); '': 1",
    optional=True,
  )

  @property
  def rate_factors(self) -> tuple[float, ...]:
    """The factors as numbers.

    Raises:
      UserError: for what is no number above 0, or comes twice.

    >>> Protocol(4, 2, 5, rates='0.1+1').rate_factors
    (0.1, 1.0)
    """
    try:
      factors = tuple(float(factor) for factor in (self.rates or '1').split('+'))
    except ValueError:
      factors = ()
    valid = all(0 < factor < math.inf for factor in factors)
    if not factors or not valid or len(set(factors)) < len(factors):
      raise UserError(
        f'protocol.rates is {self.rates!r}; it takes different numbers above 0 joined by +, such '
        'as 0.1+1.'
      )
    return factors


@dataclasses.dataclass(frozen=True)
class Base:
  """How the base networks come about."""

  recipe: str = schema.field(
    choices=tuple(recipes.RECIPES), kind='recipe of base training', help='how they are trained'
  )
  given: str = schema.field(
    '', help="a work dir whose base networks are taken, or a file of weights; '': trained anew"
  )
  networks: int = schema.field(1, at_least=1, help='base networks, each with a seed of its own')
  head: str = schema.field(
    '', choices=HEADS, kind='head', help="behind the encoder; '': that of the learner"
  )
  head_width: int = schema.field(
    0, at_least=0, help="numbers of a projector's output, or units of a hidden layer; 0: its own"
  )
  epochs: int = schema.field(0, at_least=0, help="passes over the base images; 0: the recipe's")
  steps: int = schema.field(0, at_least=0, help='training steps; 0: from the epochs')
  batch: int = schema.field(0, at_least=0, help="images a step; 0: the recipe's")
  learning_rate: float = schema.field(0.0, at_least=0, help="0: the recipe's")
  checks: int = schema.field(6, at_least=1, help='checks on test images while they train')
  select: str = schema.field(
    'last', choices=SELECTIONS, help='the weights that are kept: at the end, or at the best check'
  )
  held_out: float = schema.field(
    0.1, at_least=0, below=1, help="share of the base images to choose by where select is 'val'"
  )
  zoom: int = schema.field(
    0, at_least=0, help='side to which images are scaled before the centre crop of a test; 0: none'
  )
  fit_epochs: int = schema.field(
    20, at_least=1, help='passes over base features where a head is fitted to a finished encoder'
  )
  fit_learning_rate: float = schema.field(0.1, help='of that; above 0')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
  """What the configs of all tasks of this family have; `models.build` checks the fields of
  `model`."""

  model: Mapping[str, Any]
  protocol: Protocol
  base_training: Base
  generative: Generative
  run: Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnConfig(Config):
  """One learner and what it remembers of earlier classes, whose own fields their factories
  check."""

  method: Mapping[str, Any]
  replay: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig(common.Several, Config):
  """Several learners on the same base networks: `memories`, too, has a section a learner."""

  compared: tuple[str, ...] = schema.field(help='the learners in the order of the table')
  memories: Mapping[str, Any]


# Task -> the fields of its config.
CONFIGS = {'learn': LearnConfig, 'compare': CompareConfig}


def of_config(config: ConfigDict) -> Config:
  """Returns the fields of a config as frozen values: a `LearnConfig` or `CompareConfig`, by its
  task."""
  return schema.read(CONFIGS[config.task], config)
