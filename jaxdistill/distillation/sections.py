"""What the configs of this family hold, each section declared once."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.data import degradations, resolution
from jaxdistill.distillation import recipes
from jaxdistill.errors import SEEDS, UserError
from jaxdistill.experiment import schema
from jaxdistill.experiment import sections as common
from jaxdistill.experiment.sections import Run
from jaxdistill.training import replicas

NORMALISATIONS = ('running', 'batch')
# Teacher outputs that can be kept: of images as they are, of both mirrorings; or of so many draws.
AUGMENTATIONS = ('recipe', 'flip', 'none')
CACHES = ('none', 'flip')
ADAPTATIONS = ('batch', 'online', 'full')
# Numbers of an adaptation -> the ways that read them.
_ADAPTING = {'adapt_rate': ('online',), 'adapt_batch': ADAPTATIONS, 'adapt_sweeps': ('full',)}
DEGRADATIONS = tuple(degradations.NAMED)


@dataclasses.dataclass(frozen=True)
class Teaching:
  """How the teacher comes about."""

  recipe: str = schema.field(
    choices=tuple(recipes.RECIPES), kind='recipe', help='how it is trained'
  )
  given: str = schema.field(
    '', help="a work dir whose teacher is taken, or a file of its weights; '': trained anew"
  )
  epochs: int = schema.field(0, at_least=0, help="passes over its images; 0: the recipe's")
  steps: int = schema.field(0, at_least=0, help='training steps; 0: from the epochs')
  batch: int = schema.field(0, at_least=0, help="images a step; 0: the recipe's")
  learning_rate: float = schema.field(0.0, at_least=0, help="0: the recipe's")
  seed: int = schema.field(
    0, at_least=0, below=SEEDS, help='of its weights, order and augmentation'
  )
  normalisation: str = schema.field(
    'running',
    choices=NORMALISATIONS,
    help='of its batches while it teaches: by its running statistics, or by those of the batch',
  )


@dataclasses.dataclass(frozen=True)
class Distilling:
  """How the students are trained, whatever the method."""

  recipe: str = schema.field(choices=tuple(recipes.RECIPES), kind='recipe', help='of the students')
  seeds: int = schema.field(5, at_least=1, help='students in one program, each with its own seed')
  low: int = schema.field(
    0, at_least=0, help='side of the images that the students read; 0: native'
  )
  how: str = schema.field('bicubic', choices=resolution.HOW, help='by what such images are made')
  shown: str = schema.field(
    'native',
    choices=resolution.SHOWN,
    help='whether they stay small or are brought back to the old size',
  )
  # Configs of before it was there lack it.
  degrade: tuple[str, ...] = schema.field(
    (),
    choices=DEGRADATIONS,
    kind='degradation',
    optional=True,
    help='what these small images suffer one after the other, in training and in tests; the '
    "teacher's stay clean",
  )
  share: float = schema.field(
    1.0, at_least=0, help='of the images of a class that the students see; the teacher saw all'
  )
  public: int = schema.field(
    0,
    at_least=0,
    help="classes of the students alone, the last ones: the teacher's are those before them; 0: "
    'all are shared',
  )
  batches: str = schema.field(
    'shared',
    choices=replicas.BATCHES,
    help='whether all students see the same batches, with one forward of the teacher a step',
  )
  augmentation: str = schema.field(
    'recipe', choices=AUGMENTATIONS, help="of the students' views: the recipe's, mirrors, or none"
  )
  cache: str = schema.field(
    '',
    help='teacher outputs that are kept instead of computed in every step: none (images as they '
    "are), flip (both mirrorings), or a number of fixed draws an image; '': nothing is",
  )
  epochs: int = schema.field(
    0, at_least=0, help="passes over all images, whatever the share; 0: the recipe's"
  )
  steps: int = schema.field(0, at_least=0, help='training steps; 0: from the epochs')
  batch: int = schema.field(0, at_least=0, help="images a step; 0: the recipe's")
  learning_rate: float = schema.field(0.0, at_least=0, help="0: the recipe's")
  checks: int = schema.field(6, at_least=1, help='checks on test images while they train')
  assistant: str = schema.field(
    '', help="network of an assistant between teacher and student; '': the student's"
  )
  baseline: bool = schema.field(True, help='whether students are trained alone, too')
  speed: bool = schema.field(True, help='whether images a second are measured')

  def __post_init__(self):
    if not 0 < self.share <= 1:
      raise UserError(
        f'distillation.share is {self.share}; it must be above 0 and at most 1, the share of the '
        'images of a class that the students see.'
      )
    if self.cache and self.cache not in CACHES and not self.cache.isdecimal():
      raise UserError(
        f'distillation.cache is {self.cache!r}; it must be none, flip, or a number of fixed draws '
        "an image; '' keeps nothing."
      )


@dataclasses.dataclass(frozen=True)
class Verifying:
  """What is verified beside the classes: whether two images that nobody was trained on are of one
  class, by the cosine of their embeddings; and of which class in a gallery an image is."""

  classes: int = schema.field(
    0,
    at_least=0,
    help='that nobody is trained on, the last ones of all, of whose test images pairs are drawn; '
    '0: none',
  )
  listed: str = schema.field(
    '', help="a file of pairs instead, LFW's pairs.txt or a .csv table; '': none"
  )
  folder: str = schema.field('', help='of the pictures that the file names')
  pairs: int = schema.field(3000, at_least=20, help='that are drawn, half of them of one class')
  far: float = schema.field(
    0.01, at_least=0, below=1, help='share of false accepts at which true ones are counted'
  )
  shift: tuple[str, ...] = schema.field(
    (),
    choices=DEGRADATIONS,
    kind='shift',
    help='what the images of pairs and gallery suffer at full size',
  )
  adapt: str = schema.field(
    '',
    choices=('', *ADAPTATIONS),
    help="how the students' normalisation adapts to these images, without labels; '': it does not",
  )
  # Configs of before they were there lack these and the next ones.
  adapt_rate: float = schema.field(
    0.1,
    at_least=0,
    optional=True,
    help='by which online statistics move to those of a batch, at most 1',
  )
  adapt_batch: int = schema.field(
    128, at_least=1, optional=True, help='images a batch of this adaptation'
  )
  adapt_sweeps: int = schema.field(
    0,
    at_least=0,
    optional=True,
    help='of full statistics over all these images; 0: until nothing moves',
  )
  gallery: int = schema.field(
    1,
    at_least=0,
    optional=True,
    help='images of each of these classes in which the other ones are looked up; 0: nobody is '
    'identified',
  )
  distractors: int = schema.field(
    0,
    at_least=0,
    optional=True,
    help='further classes that nobody is trained on, the last ones before those, whose test images '
    'stand in the gallery, too',
  )

  def __post_init__(self):
    if self.listed and self.classes:
      raise UserError(
        'verification.listed takes the pairs of a file, and verification.classes leaves out '
        f'{self.classes} classes to draw pairs of; set one of them.'
      )
    if self.folder and not self.listed:
      raise UserError(
        f'verification.folder is {self.folder!r}, of the pictures that a list of pairs names, and '
        "verification.listed names none; set it, or leave folder at ''."
      )
    if self.shift and not (self.listed or self.classes):
      raise UserError(
        f'verification.shift is {" and ".join(self.shift)}, which the images of pairs suffer, and '
        'there are no pairs; set verification.classes or verification.listed, or leave shift at '
        '(). What the small images of the students suffer is distillation.degrade.'
      )
    if self.distractors and (self.listed or not self.classes or not self.gallery):
      raise UserError(
        'verification.distractors stand among the images in which those of other unknown classes '
        'are looked up; that needs verification.classes and verification.gallery above 0, and no '
        'list of pairs.'
      )
    if self.adapt_rate > 1:
      raise UserError(f'verification.adapt_rate is {self.adapt_rate}; it is a share from 0 to 1.')
    for name, modes in _ADAPTING.items():
      if self.adapt not in modes and getattr(self, name) != getattr(Verifying, name):
        raise UserError(
          f'verification.{name} is read where verification.adapt is {" or ".join(modes)}, and here '
          f'it is {self.adapt!r}; leave it at {getattr(Verifying, name)}.'
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
  """What the configs of all tasks of this family have; `models.build` checks the fields of `model`,
  the students' network, and of `teacher_model`."""

  model: Mapping[str, Any]
  teacher_model: Mapping[str, Any]
  teaching: Teaching
  distillation: Distilling
  verification: Verifying
  run: Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilConfig(Config):
  """One method, whose own fields its factory checks."""

  method: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig(common.Several, Config):
  """Several methods with one teacher."""


# Task -> the fields of its config.
CONFIGS = {'distill': DistilConfig, 'compare': CompareConfig}


def of_config(config: ConfigDict) -> Config:
  """Returns the fields of a config as frozen values: a `DistilConfig` or `CompareConfig`, by its
  task."""
  return schema.read(CONFIGS[config.task], config)
