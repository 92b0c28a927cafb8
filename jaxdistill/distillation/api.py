"""Distillation in Python: from a teacher, two data sets and the name of a method to students."""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import numpy as np

from jaxdistill import config as configs
from jaxdistill import errors, files, models
from jaxdistill.data import Dataset, hold_out
from jaxdistill.data import presets as data_presets
from jaxdistill.distillation import (
  checks,
  running,
  scoring,
  sections,
  settings,
  teachers,
)
from jaxdistill.distillation import work as works
from jaxdistill.distillation.scoring import Numbers
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.distillation.trained import Trained
from jaxdistill.errors import UserError, brief
from jaxdistill.experiment import arguments, datasets
from jaxdistill.experiment.rows import Comparison
from jaxdistill.numerics import settled
from jaxdistill.training import parallel, trees

_FOLDER = 'distillation'
# Of the training images, held out to test on where there are no test images.
_TEST_SHARE = 0.1
_RATE = 'distillation.learning_rate'
_FORMAT = 'jaxdistill distillation, version 1'


@dataclasses.dataclass(frozen=True, eq=False)
class Result(trees.Saved):
  """What the students of a method have come to.

  Attributes:
    numbers: all that was measured.
    trained: the students; None in all processes but the first.
  """

  WHAT: ClassVar[str] = 'result'
  numbers: Numbers
  trained: Trained | None = None

  @property
  def accuracy(self) -> np.ndarray:
    """On the test images at the end of the training, [seeds] in [0, 1]."""
    return self.columns['last']

  @property
  def columns(self) -> dict[str, np.ndarray]:
    """All that a table has of each student, [seeds] each: accuracies 'last', 'best_test' and, with
    validation images, 'selected'; 'agreement' and 'divergence' (KL) with the teacher; what it
    verifies."""
    return self.numbers.columns

  @property
  def students(self) -> Any:
    """Variables of the students, leading axis seeds; None in all processes but the first."""
    return self.trained and self.trained.variables

  def predict(self, images: np.ndarray, degraded: bool = True) -> np.ndarray:
    """Returns logits float32 [seeds, n, C] of native images, uint8 or in [0, 1]; `degraded` as of
    `Trained.logits`."""
    return self._here().logits(images, degraded)

  def export(self, path: str | os.PathLike, student: int = 0) -> pathlib.Path:
    """Writes one student as a folder that runs without the library, on native images, see
    `exporting.export`; returns the path."""
    return self._here().export(path, student)

  def to_bytes(self) -> bytes:
    """Returns the content of the file."""
    numbers = json.dumps(files.jsonable(self.numbers.to_json()))
    trained = self.trained.to_bytes() if self.trained else b''
    return trees.encode({'format': _FORMAT, 'numbers': numbers, 'students': trained})

  @classmethod
  def from_bytes(cls, content: bytes) -> 'Result':
    """Returns the result of what `to_bytes` returned.

    Raises:
      ValueError, KeyError or TypeError: it is something else.
    """
    content = trees.opened(content, _FORMAT)
    numbers = Numbers.from_json(json.loads(content['numbers']))
    trained = Trained.from_bytes(content['students']) if content['students'] else None
    return cls(numbers, trained)

  def _here(self) -> Trained:
    if self.trained is None:
      raise UserError('The students are in the first process alone; ask there.')
    return self.trained


@settled()
def distill(
  teacher: str | os.PathLike | Teacher | Callable,
  train: Dataset,
  test: Dataset | None = None,
  method: str = 'kd',
  student: str | Mapping[str, Any] = '',
  low: int = 0,
  seeds: int = 1,
  seed: int = 0,
  *,
  validation: Dataset | None = None,
  overrides: Mapping[str, Any] | None = None,
  workdir: str | os.PathLike | None = None,
  quick: bool = False,
  progress: bool = False,
) -> Result:
  """Distils a teacher into students.

  Args:
    teacher: the name of a network, which is trained by the same loop and kept for other runs; a
      work dir of this family; a file of weights of the data set's usual teacher (of another
      network: `load_teacher`); a `Teacher` of `load_teacher` or `of_function`; or a function
      images -> logits [n, C] or a dict of arrays with 'logits', of images normalised as the
      students'.
    train, test: of one set of classes, see `data.load`; without test images a tenth of the training
      images is held out for them.
    method: the name of a config of this family, 'alone', 'kd', 'horkd' ..., a sum of terms such as
      'kd+crd', or the .py file of a config of your own.
    student: a network of `models.build`, by name or with its fields; '': the data set's usual one,
      see `presets.find`: of digits a small ConvNet, of ImageNet a ResNet-18, else resnet20.
    low: side of the images that the students read; 0: native.
    seeds: students, in one program.
    seed: of everything random but the teacher, whose own is 'teaching.seed'.
    validation: held-out images to choose a check by; None: the column 'selected' is not there.
    overrides: further fields of the config by dotted name, such as {'distillation.epochs': 5}.
    workdir: keeps checkpoints and metrics and resumes from them, and the teacher beside it; None:
      in memory.
    quick: a smoke run; no number means anything.
    progress: whether to draw progress bars.

  Returns:
    What the students have come to, and they.

  Raises:
    UserError: for a method, field or value that does not exist, or a teacher and data that do not
      go together.
  """
  given = _arguments(train, low, seeds, quick)
  other = functools.partial(settings.of_name, given)
  make = lambda: arguments.config_of(method, _FOLDER, given, other)
  fixed = {'seed': seed, 'distillation.baseline': False}
  ran = _run(make, teacher, train, test, student, fixed, validation, overrides, workdir, progress)
  name, numbers = list(ran.numbers.items())[-1]
  return Result(numbers, ran.students[name])


@settled()
def compare(
  teacher: str | os.PathLike | Teacher | Callable,
  train: Dataset,
  test: Dataset | None = None,
  methods: Sequence[str] = settings.COMPARED,
  student: str | Mapping[str, Any] = '',
  low: int = 0,
  seeds: int = 2,
  seed: int = 0,
  *,
  validation: Dataset | None = None,
  overrides: Mapping[str, Any] | None = None,
  workdir: str | os.PathLike | None = None,
  quick: bool = False,
  progress: bool = False,
) -> Comparison:
  """Distils one teacher by several methods, on the same batches from the same seeds; `methods` are
  their names, a sum of terms written 'kd&crd', the other arguments those of `distill`.

  Raises:
    UserError: see `distill`.
  """
  names = arguments.names('methods', methods, "['alone', 'kd']", 1, sums="as in 'kd&crd'")
  given = {**_arguments(train, low, seeds, quick), 'methods': '+'.join(names)}
  make = lambda: configs.load(f'{_FOLDER}/compare', given)
  fixed = {'seed': seed}
  ran = _run(make, teacher, train, test, student, fixed, validation, overrides, workdir, progress)
  results = {name: Result(numbers, ran.students[name]) for name, numbers in ran.numbers.items()}
  return Comparison(results, ran.table, scoring.REFERENCE)


def _arguments(train, low, seeds, quick):
  if not isinstance(train, Dataset):
    raise UserError(
      'Distillation needs training and test images as Datasets, the two that data.load(name) '
      'returns.'
    )
  errors.whole('seeds', seeds, at_least=1)
  errors.whole_numbers(low=low)
  return dict(data=data_presets.offered(train.name), low=str(low), seeds=seeds, quick=quick)


def _teacher(teacher: Any) -> tuple[Teacher | None, dict[str, Any]]:
  """A teacher that is there already, or the sections of the config that one is named by."""
  if isinstance(teacher, Teacher):
    return teacher, {}
  if isinstance(teacher, nn.Module):
    raise UserError(
      f'The teacher {type(teacher).__name__} is a network without its weights; give a function of '
      'images that applies them, or what load_teacher returns.'
    )
  if isinstance(teacher, str | os.PathLike):
    name = os.fspath(teacher)
    if name in models.names():
      return None, {'teacher_model': arguments.network_of(name)}
    return None, {'teaching': {'given': name}} if name else {}
  if callable(teacher):
    return teachers.of_function(teacher), {}
  raise UserError(
    'teacher is the name of a network, a work dir, a file of weights, a function of images, or '
    f'what load_teacher returns; got {brief(repr(teacher))}.'
  )


def _run(
  make: Callable,
  teacher: Any,
  train: Dataset,
  test: Dataset | None,
  student: str | Mapping[str, Any],
  fixed: Mapping[str, Any],
  validation: Dataset | None,
  overrides: Mapping[str, Any] | None,
  workdir: str | os.PathLike | None,
  progress: bool,
) -> running.Ran:
  """Runs a config on data that are there already; `fixed` are fields that the call says."""
  errors.seed(fixed['seed'])
  if test is None:
    train, test = hold_out(train, _TEST_SHARE)
  if not isinstance(test, Dataset) or not isinstance(validation, Dataset | None):
    raise UserError('test and validation are Datasets, as data.load returns them.')
  config, (given, named) = make(), _teacher(teacher)
  config.data.name = train.name
  if 'teacher_model' in named:
    config.teacher_model = named['teacher_model']
  config.teaching.update(named.get('teaching', {}))
  usual_rate = settings.learning_rate(config)
  if student:
    config.model = arguments.network_of(student)
  asked = arguments.overrides(fixed, overrides)
  for key, value in asked.items():
    configs.override(config, key, value)
  if config.distillation.learning_rate == usual_rate and _RATE not in asked:
    # The config was made for another student, and perhaps for another recipe.
    config.distillation.learning_rate = settings.learning_rate(config)
  checks.check_fields(config)
  checks.check_values(config)
  fields = sections.of_config(config)
  mesh = parallel.make_mesh(config.run.devices)
  work = works.make(fields, train, validation, test, mesh, given)
  checks.check_parts(work)
  with datasets.opened(workdir, settings.recorded(config), train, test, progress) as run:
    return running.run_all(run, work, tell=False)
