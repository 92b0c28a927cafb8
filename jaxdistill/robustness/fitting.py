"""Adversarial training in Python: from two data sets and the name of a method to networks."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from jaxdistill import config as configs
from jaxdistill import errors, files
from jaxdistill.data import Dataset, hold_out, presets
from jaxdistill.errors import UserError
from jaxdistill.experiment import arguments, datasets, running
from jaxdistill.experiment.rows import Comparison
from jaxdistill.numerics import settled
from jaxdistill.robustness import checks, learning, sections, settings, threat
from jaxdistill.robustness import work as works
from jaxdistill.robustness.scoring import Numbers
from jaxdistill.robustness.trained import Trained
from jaxdistill.training import parallel, trees

_FOLDER = 'robustness'
# Of the training images, held out to test on where there are no test images.
_TEST_SHARE = 0.1
_FORMAT = 'jaxdistill robust result, version 1'


@dataclasses.dataclass(frozen=True, eq=False)
class Result(trees.Saved):
  """What the networks of a method have come to.

  Attributes:
    numbers: all that was measured.
    trained: the networks; None in all processes but the first.
  """

  WHAT: ClassVar[str] = 'result'
  numbers: Numbers
  trained: Trained | None = None

  @property
  def scores(self) -> dict[str, np.ndarray]:
    """All that a table has of each network, [seeds] each, see `scoring.Numbers.columns`: 'last' is
    the robust accuracy at the end of the training, 'clean' that without an attack."""
    return self.numbers.columns

  @property
  def robust(self) -> np.ndarray:
    """Accuracy on the test images under PGD at the end of the training, [seeds] in [0, 1]."""
    return self.scores['last']

  @property
  def clean(self) -> np.ndarray:
    """Accuracy on the test images as they are, [seeds]."""
    return self.scores['clean']

  def predict(self, images: np.ndarray) -> np.ndarray:
    """Returns logits float32 [seeds, n, C] of images, uint8 or in [0, 1]."""
    return self._here().logits(images)

  def function(self, number: int = 0) -> Callable[[jax.Array], jax.Array]:
    """Returns one network as what `attack` and `evaluate` take: images in [0, 1] -> logits."""
    return self._here().function(number)

  def to_bytes(self) -> bytes:
    """Returns the content of the file."""
    numbers = json.dumps(files.jsonable(self.numbers.to_json()))
    trained = self.trained.to_bytes() if self.trained else b''
    return trees.encode({'format': _FORMAT, 'numbers': numbers, 'networks': trained})

  @classmethod
  def from_bytes(cls, content: bytes) -> 'Result':
    """Returns the result of what `to_bytes` returned.

    Raises:
      ValueError, KeyError or TypeError: it is something else.
    """
    content = trees.opened(content, _FORMAT)
    numbers = Numbers.from_json(json.loads(content['numbers']))
    trained = Trained.from_bytes(content['networks']) if content['networks'] else None
    return cls(numbers, trained)

  def _here(self) -> Trained:
    if self.trained is None:
      raise UserError('The networks are in the first process alone; ask there.')
    return self.trained


@settled()
def fit(
  train: Dataset,
  test: Dataset | None = None,
  method: str = 'rwp',
  model: str | Mapping[str, Any] = '',
  seeds: int = 1,
  seed: int = 0,
  *,
  eps: float | None = None,
  norm: str = 'linf',
  over: str = 'at',
  attacks: Sequence[str] = (),
  validation: Dataset | None = None,
  overrides: Mapping[str, Any] | None = None,
  workdir: str | os.PathLike | None = None,
  quick: bool = False,
  progress: bool = False,
) -> Result:
  """Trains networks that withstand small changes of their images.

  Args:
    train, test: of one set of classes, see `data.load`; without test images a tenth of the training
      images is held out for them.
    method: 'standard', 'at', 'trades', 'awp' or 'rwp', one that was registered, or the .py file of
      a config of your own.
    model: a network of `models.build`, by name or with its fields; '': the data set's usual one.
    seeds: networks, in one program.
    seed: of everything random.
    eps: radius of the attacker's ball, in units of pixels from 0 to 1; None: the usual one.
    norm: of that ball, 'linf' or 'l2'.
    over: whose loss 'awp' and 'rwp' are put over, 'at' or 'trades'.
    attacks: of the final networks, names of `ATTACKS`; (): none.
    validation: held-out images to choose a check by; None: the column 'selected' is not there.
    overrides: further fields of the config by dotted name, such as {'robustness.epochs': 5}.
    workdir: keeps checkpoints and metrics and resumes from them; None: in memory.
    quick: a smoke run; no number means anything.
    progress: whether to draw progress bars.

  Returns:
    What the networks have come to, and they.

  Raises:
    UserError: for a method, field or value that does not exist, or data that do not go together.
  """
  given = _arguments(train, seeds, eps, norm, over, quick)
  registered = lambda name: settings.defaults(arguments.read(settings.Arguments, given), name)
  make = lambda: arguments.config_of(method, _FOLDER, given, registered)
  ran, _ = _run(make, train, test, model, seed, attacks, validation, overrides, workdir, progress)
  name, numbers = list(ran.numbers.items())[-1]
  return Result(numbers, ran.networks[name])


@settled()
def compare(
  train: Dataset,
  test: Dataset | None = None,
  methods: Sequence[str] = settings.COMPARED,
  model: str | Mapping[str, Any] = '',
  seeds: int = 2,
  seed: int = 0,
  *,
  eps: float | None = None,
  norm: str = 'linf',
  over: str = 'at',
  attacks: Sequence[str] = (),
  validation: Dataset | None = None,
  overrides: Mapping[str, Any] | None = None,
  workdir: str | os.PathLike | None = None,
  quick: bool = False,
  progress: bool = False,
) -> Comparison:
  """Trains networks by several methods, on the same images from the same seeds; `methods` are their
  names, the other arguments those of `fit`.

  Raises:
    UserError: see `fit`.
  """
  names = arguments.names('methods', methods, "['at', 'rwp']", 1)
  given = {**_arguments(train, seeds, eps, norm, over, quick), 'methods': '+'.join(names)}
  make = lambda: configs.load(f'{_FOLDER}/compare', given)
  ran, work = _run(
    make, train, test, model, seed, attacks, validation, overrides, workdir, progress
  )
  results = {name: Result(numbers, ran.networks[name]) for name, numbers in ran.numbers.items()}
  return Comparison(results, ran.table, learning.reference_of(work.fields))


def _arguments(train, seeds, eps, norm, over, quick):
  if not isinstance(train, Dataset):
    raise UserError(
      'Adversarial training needs training and test images as Datasets, the two that '
      'data.load(name) returns.'
    )
  errors.whole('seeds', seeds, at_least=1)
  radius = '' if eps is None else repr(threat.radius(eps))
  return dict(
    data=presets.offered(train.name), seeds=seeds, eps=radius, norm=norm, over=over, quick=quick
  )


def _run(
  make: Callable,
  train: Dataset,
  test: Dataset | None,
  model: str | Mapping[str, Any],
  seed: int,
  attacks: Sequence[str],
  validation: Dataset | None,
  overrides: Mapping[str, Any] | None,
  workdir: str | os.PathLike | None,
  progress: bool,
) -> tuple[running.Ran, works.Work]:
  """Runs a config on data that are there already."""
  errors.seed(seed)
  attacks = arguments.names('attacks', attacks, "['pgd20', 'autoattack']")
  if test is None:
    train, test = hold_out(train, _TEST_SHARE)
  if not isinstance(test, Dataset) or not isinstance(validation, Dataset | None):
    raise UserError('test and validation are Datasets, as data.load returns them.')
  config = make()
  config.data.name = train.name
  if model:
    config.model = arguments.network_of(model)
  # All images that were handed over, unless the overrides say fewer.
  handed = {'seed': seed, 'robustness.attacks': attacks, 'robustness.train_images': 0}
  for key, value in arguments.overrides(handed, overrides).items():
    configs.override(config, key, value)
  checks.check_fields(config)
  checks.check_values(config)
  fields = sections.of_config(config)
  mesh = parallel.make_mesh(config.run.devices)
  work = works.make(fields, train, validation, test, mesh)
  checks.check_parts(work)
  with datasets.opened(workdir, config, train, test, progress) as run:
    return learning.run_all(run, work, tell=False), work
