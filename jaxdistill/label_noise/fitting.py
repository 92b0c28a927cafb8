"""Learning from wrong labels in Python: from examples, what was observed of them and the name of a
method to networks."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from jax.typing import ArrayLike

from jaxdistill import config as configs
from jaxdistill import errors, files
from jaxdistill.data import MultiLabelled, presets
from jaxdistill.data.crowds import Crowd
from jaxdistill.errors import UserError
from jaxdistill.experiment import arguments, datasets, running
from jaxdistill.experiment.rows import Comparison
from jaxdistill.label_noise import checks, learning, making, sections, settings
from jaxdistill.label_noise import work as works
from jaxdistill.label_noise.method import Believed
from jaxdistill.label_noise.scoring import Numbers
from jaxdistill.label_noise.trained import Trained
from jaxdistill.numerics import settled
from jaxdistill.training import parallel, trees

_FOLDER = 'label_noise'
_FORMAT = 'jaxdistill label-noise result, version 1'
# Of the training examples, held out with their observed labels to choose a check by.
_HELD_OUT = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Result(trees.Saved):
  """What the networks of a method have come to.

  Attributes:
    numbers: all that was measured.
    believed: what they think of the training examples that they learned from, in the order of
      `learned`; None in all processes but the first.
    trained: the networks; None likewise.
    learned: positions of these examples in the training set, int [n].
  """

  WHAT: ClassVar[str] = 'result'
  numbers: Numbers
  believed: Believed | None = None
  trained: Trained | None = None
  learned: np.ndarray | None = None

  @property
  def scores(self) -> dict[str, np.ndarray]:
    """All that a table has of each network, [seeds] each, see `scoring.Numbers.columns`: 'last' is
    the accuracy on the test examples at the end of the training."""
    return self.numbers.columns

  @property
  def accuracy(self) -> np.ndarray:
    """Accuracy on the test examples at the end of the training, [seeds] in [0, 1] (of a matrix of
    labels mean average precision)."""
    return self.scores['last']

  @property
  def beliefs(self) -> np.ndarray:
    """Probabilities of the true labels of the examples `learned`, float [seeds, n, C]."""
    return self._here('believed').labels

  @property
  def confusions(self) -> np.ndarray | None:
    """Of the annotators, [seeds, annotators, C, C], rows true; None: the method has none."""
    return self._here('believed').confusions

  def probabilities(self, examples: np.ndarray) -> np.ndarray:
    """Returns float32 [seeds, n, C] of images, uint8 or in [0, 1], or of vectors."""
    return self._here('trained').probabilities(examples)

  def predict(self, examples: np.ndarray) -> np.ndarray:
    """Returns the most probable classes, int32 [seeds, n]; of a matrix of labels [seeds, n, q]."""
    return self._here('trained').predict(examples)

  def to_bytes(self) -> bytes:
    """Returns the content of the file."""
    numbers = json.dumps(files.jsonable(self.numbers.to_json()))
    believed = learning.plain(self.believed) if self.believed else {}
    trained = self.trained.to_bytes() if self.trained else b''
    learned = np.zeros(0, int) if self.learned is None else self.learned
    content = {'format': _FORMAT, 'numbers': numbers, 'believed': believed, 'networks': trained}
    return trees.encode({**content, 'learned': learned})

  @classmethod
  def from_bytes(cls, content: bytes) -> 'Result':
    """Returns the result of what `to_bytes` returned.

    Raises:
      ValueError, KeyError or TypeError: it is something else.
    """
    content = trees.opened(content, _FORMAT)
    numbers = Numbers.from_json(json.loads(content['numbers']))
    if not content['networks']:
      return cls(numbers)
    trained = Trained.from_bytes(content['networks'])
    return cls(numbers, Believed(**content['believed']), trained, np.asarray(content['learned']))

  def _here(self, name):
    value = getattr(self, name)
    if value is None:
      raise UserError('The networks are in the first process alone; ask there.')
    return value


@settled()
def fit(
  train: Any,
  evidence: Crowd | ArrayLike | None = None,
  test: Any | None = None,
  method: str = 'ccc',
  model: str | Mapping[str, Any] = '',
  seeds: int = 3,
  seed: int = 0,
  *,
  trusted: Any | None = None,
  truth: ArrayLike | None = None,
  validation: float | tuple[Any, Any] | None = _HELD_OUT,
  overrides: Mapping[str, Any] | None = None,
  workdir: str | os.PathLike | None = None,
  quick: bool = False,
  progress: bool = False,
) -> Result:
  """Trains networks on examples some of whose labels are wrong.

  Args:
    train: a `Dataset`, `Vectors` or `MultiLabelled`; its own labels are the observed ones where no
      evidence is given, and else are not looked at.
    evidence: what was observed of its examples: a `Crowd`, labels int [n], or a matrix of 0 and 1
      [n, q] where `train` is `MultiLabelled`; None: its labels. A crowd with names of classes or
      examples is brought into the order of `train` by them. Where `train` has no `ids`, or the
      crowd no names, nothing can be compared: it is in the order of `train`.
    test: examples with true labels, of the same classes; None: the held-out examples, with their
      observed labels.
    method: the name of a method, one that was registered, or the .py file of a config of your own.
    model: a network of `models.build`, by name or with its fields; '': the data set's usual one.
    seeds: networks, in one program.
    seed: of everything random.
    trusted: examples whose labels are believed, of the same kind as `train`.
    truth: true labels [n] or [n, q], in the order of `train`, for the scores alone.
    validation: share of the examples that is held out to choose a check by, or the pair of such
      examples and their evidence (None: their labels); 0 or None: none.
    overrides: further fields of the config by dotted name, such as {'learning.epochs': 5}.
    workdir: keeps checkpoints and metrics and resumes from them; None: in memory.
    quick: a smoke run, of a hundred examples or so; no number means anything.
    progress: whether to draw progress bars.

  Returns:
    What the networks have come to, what they believe, and they.

  Raises:
    UserError: for a method, field or value that does not exist, data that do not go together, or
      evidence that the method cannot read.
  """
  given = _arguments(train, seeds, quick)
  registered = lambda name: settings.defaults(arguments.read(settings.Arguments, given), name)
  make = lambda: arguments.config_of(method, _FOLDER, given, registered)
  handed = _Handed(train, evidence, test, trusted, truth, validation)
  ran, work, learned = _run(make, handed, model, seed, overrides, workdir, quick, progress)
  return _results(ran, learned)[list(ran.numbers)[-1]]


@settled()
def compare(
  train: Any,
  evidence: Crowd | ArrayLike | None = None,
  test: Any | None = None,
  methods: Sequence[str] = (),
  model: str | Mapping[str, Any] = '',
  seeds: int = 3,
  seed: int = 0,
  *,
  trusted: Any | None = None,
  truth: ArrayLike | None = None,
  validation: float | tuple[Any, Any] | None = _HELD_OUT,
  overrides: Mapping[str, Any] | None = None,
  workdir: str | os.PathLike | None = None,
  quick: bool = False,
  progress: bool = False,
) -> Comparison:
  """Trains networks by several methods, on the same examples from the same seeds; `methods` are
  their names, () for the usual ones, the other arguments those of `fit`.

  Raises:
    UserError: see `fit`.
  """
  methods = arguments.names('methods', methods, "['vote', 'ccc']")
  if not methods:
    methods = settings.COMPARED[making.handed(train, evidence, None).evidence.kind]
  given = {**_arguments(train, seeds, quick), 'methods': '+'.join(methods)}
  make = lambda: configs.load(f'{_FOLDER}/compare', given)
  handed = _Handed(train, evidence, test, trusted, truth, validation)
  ran, work, learned = _run(make, handed, model, seed, overrides, workdir, quick, progress)
  return Comparison(_results(ran, learned), ran.table, learning.reference_of(work.fields))


@dataclasses.dataclass(frozen=True)
class _Handed:
  """What a user hands over."""

  train: Any
  evidence: Any
  test: Any
  trusted: Any
  truth: Any
  validation: Any


def _results(ran, learned):
  results = {}
  for name, numbers in ran.numbers.items():
    networks = ran.networks[name] or learning.Learned(None, None)
    results[name] = Result(numbers, networks.believed, networks.trained, learned)
  return results


def _arguments(train, seeds, quick):
  if not isinstance(train, works.SETS):
    raise UserError(
      'Learning from wrong labels needs examples as a Dataset, Vectors or MultiLabelled, as '
      f'data.load returns them; got {type(train).__name__}.'
    )
  errors.whole('seeds', seeds, at_least=1)
  known = ''
  if isinstance(train, MultiLabelled):
    known = 'multilabel:handed'
  elif not hasattr(train, 'features'):
    known = presets.offered(train.name)
  else:
    known = 'vectors:handed'
  # What was observed is handed over.
  return dict(data=known, noise='none', seeds=seeds, quick=quick)


def _validation(validation):
  """(Share of the training examples, pair of other examples and their evidence), one of the two."""
  if validation is None:
    return 0.0, None
  if isinstance(validation, tuple | list) and len(validation) == 2:
    return 0.0, tuple(validation)
  if getattr(validation, 'shape', None) == ():  # a scalar of NumPy or JAX
    validation = np.asarray(validation).item()
  if isinstance(validation, Real) and not isinstance(validation, bool):
    return float(validation), None
  raise UserError(
    'validation is a share of the training examples, or the pair (examples, evidence) of held-out '
    f'ones; it is a {type(validation).__name__}.'
  )


def _run(
  make: Callable,
  handed: _Handed,
  model: str | Mapping[str, Any],
  seed: int,
  overrides: Mapping[str, Any] | None,
  workdir: str | os.PathLike | None,
  quick: bool,
  progress: bool,
) -> tuple[running.Ran, works.Work, np.ndarray]:
  """Runs a config on examples that are there already."""
  errors.seed(seed)
  config = make()
  config.data.name = handed.train.name
  if model:
    config.model = arguments.network_of(model)
  share, pair = _validation(handed.validation)
  # All examples that were handed over, unless a smoke run or the overrides say fewer. Trusted
  # examples are those that are handed over; the truth is for the scores alone.
  fixed = {
    'seed': seed,
    'data.validation_share': share,
    'learning.train_images': min(config.learning.train_images, len(handed.train)) if quick else 0,
    'learning.trusted': 0,
  }
  for key, value in arguments.overrides(fixed, overrides).items():
    configs.override(config, key, value)
  checks.check_fields(config)
  checks.check_values(config)
  fields = sections.of_config(config)
  mesh = parallel.make_mesh(config.run.devices)
  held = None if pair is None else pair[0]
  others = {'test': handed.test, 'trusted': handed.trusted, 'validation': held}
  datasets.check_alike(handed.train, others, many='examples')
  observed = making.handed(handed.train, handed.evidence, handed.truth)
  validation = None if pair is None else (held, making.handed(held, pair[1], None))
  divided = works.divide(fields, handed.train, observed, validation, handed.trusted)
  test = handed.test
  if test is None:
    if divided.validation is None:
      raise UserError('Without test examples some are held out: let validation be above 0.')
    held, held_observed = divided.validation
    test = dataclasses.replace(held, labels=held_observed.evidence.labels)
  work = works.assemble(fields, divided, test, mesh)
  checks.check_parts(work)
  with datasets.opened(workdir, config, work.train, test, progress) as run:
    return learning.run_all(run, work, tell=False), work, divided.rows
