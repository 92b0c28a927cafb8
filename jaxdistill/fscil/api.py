"""Few-shot class-incremental learning in Python: from two data sets and the name of a learner to
accuracies by session and a classifier."""

import dataclasses
import json
import numbers
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from jaxdistill import config as configs
from jaxdistill import errors, files
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError, brief
from jaxdistill.experiment import arguments, checking, datasets
from jaxdistill.fscil import checks, methods, presets, running, scoring, sections, settings
from jaxdistill.fscil import memory as memories
from jaxdistill.fscil.learned import Learned
from jaxdistill.fscil.scoring import Numbers
from jaxdistill.fscil.stage import stage
from jaxdistill.numerics import settled
from jaxdistill.training import parallel, trees

_FORMAT = 'jaxdistill few-shot result, version 1'


@dataclasses.dataclass(frozen=True, eq=False)
class Result(trees.Saved):
  """What the runs of a learner have come to.

  Run number r has base network `numbers.seeds[r]` and draw `numbers.draws[r]`; without more base
  networks than one, r is the draw.

  Attributes:
    numbers: all counts.
    learner: the classifier that the first run has become; None in all processes but the first.
  """

  WHAT: ClassVar[str] = 'result'
  numbers: Numbers
  learner: Learned | None = None

  @property
  def accuracy(self) -> np.ndarray:
    """After each session on the test images of all classes seen, [runs, T + 1] in [0, 1]."""
    return self.numbers.accuracies.seen

  @property
  def base(self) -> np.ndarray:
    """On those of the base classes, [runs, T + 1]."""
    return self.numbers.accuracies.base

  @property
  def novel(self) -> np.ndarray:
    """On those of all later classes so far, [runs, T + 1]; NaN for session 0."""
    return self.numbers.accuracies.novel

  @property
  def old(self) -> np.ndarray:
    """On those of later classes of earlier sessions, [runs, T + 1]; NaN where there are none."""
    return self.numbers.accuracies.old

  @property
  def last(self) -> np.ndarray:
    """On those of the classes that came in the session, [runs, T + 1]; NaN for session 0."""
    return self.numbers.accuracies.last

  @property
  def summary(self) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over the runs of 'average', 'last', 'pd', 'base', 'novel', 'hm',
    'gacc', 'forgetting' and 'bwt', see `metrics.incremental`; of 'nme_average' and 'nme_last', the
    same by the nearest class mean; of 'batch_average' and 'batch_last', by means over batches."""
    scores = scoring.row('', '', self.numbers).scores
    return {name: (score['mean'], score['std']) for name, score in scores.items()}

  def to_bytes(self) -> bytes:
    """Returns the content of the file."""
    numbers = json.dumps(files.jsonable(self.numbers.to_json()))
    learner = self.learner.to_bytes() if self.learner else b''
    return trees.encode({'format': _FORMAT, 'numbers': numbers, 'learner': learner})

  @classmethod
  def from_bytes(cls, content: bytes) -> 'Result':
    """Returns the result of what `to_bytes` returned.

    Raises:
      ValueError, KeyError or TypeError: it is something else.
    """
    content = trees.opened(content, _FORMAT)
    numbers = Numbers.from_json(json.loads(content['numbers']))
    learner = Learned.from_bytes(content['learner']) if content['learner'] else None
    return cls(numbers, learner)


@settled()
def run(
  method: str,
  train: Dataset,
  test: Dataset,
  base_classes: int,
  way: int,
  shot: int,
  draws: int = 5,
  seed: int = 0,
  *,
  model: str = '',
  networks: int = 1,
  indices: str | os.PathLike = '',
  order: str | os.PathLike | int = '',
  memory: str = '',
  ipc: int = 0,
  base: str | os.PathLike = '',
  quick: bool = False,
  overrides: Mapping[str, Any] | None = None,
  workdir: str | os.PathLike | None = None,
  progress: bool = False,
) -> Result:
  """Learns the base classes of a data set, then `way` new ones a session from `shot` images each.

  Args:
    method: the learner: 'ncm', 'pki' ..., or the .py file of a config of your own (which registers
      its learner).
    train, test: of one set of classes, see `data.load`; a data set that the configs know by its
      name has their numbers.
    base_classes: B, the first classes, learned from all their images.
    way: new classes a session; must divide the others.
    shot: images of a new class.
    draws: of these images, which go through the sessions side by side.
    seed: of everything random.
    model: the encoder, a network of `models.build`; '': the data set's usual one.
    networks: base networks, each with a seed of its own; all draws go through each.
    indices: a fixed choice of the images in place of draws, see `protocol.sessions`.
    order: of the classes: a seed, or a file; '': as the data set has them.
    memory: what is remembered of every class, a name of `memory.MEMORIES`: 'means', 'exemplars',
      'm3d' ...; '': the learner's own.
    ipc: images a class of such a memory; 0: its own number.
    base: a work dir whose base networks are taken, or a file of an encoder's weights.
    quick: a smoke run; no number means anything.
    overrides: further fields of the learner's config by dotted name, such as
      {'base_training.epochs': 5}.
    workdir: keeps checkpoints and metrics and resumes from them, and base networks beside it; None:
      in memory.
    progress: whether to draw progress bars.

  Returns:
    Accuracies of all runs by session, and the classifier of the first one.

  Raises:
    UserError: for a learner, field or value that does not exist, data that do not divide so, a file
      with another config than that of one learner, a memory that the learner never reads, `ipc` of
      a memory without it, or several factors of the learning rate.

  Source: the protocol of Tao et al., CVPR 2020 (TOPIC); the configs of the learners, whose headers
  name the papers.
  """
  errors.seed(seed)
  indices, base = _path('indices', indices), _path('base', base)
  order = _order(order)
  counts = dict(base_classes=base_classes, way=way, shot=shot, draws=draws, networks=networks)
  counts = {name: errors.whole(name, count, at_least=1) for name, count in counts.items()}
  if indices:
    counts['draws'] = 1
  ipc = errors.whole('ipc', ipc)
  if not (isinstance(train, Dataset) and isinstance(test, Dataset)):
    raise UserError(
      'fscil.run needs training and test images as Datasets, the two that data.load(name) returns.'
    )
  if not isinstance(method, str):
    raise UserError(f'method is the name of a learner, or a .py file; it is {method!r}.')
  if not method.endswith('.py'):
    variant, fields = settings.VARIANTS.get(method, (method, {}))
    methods.find(variant)
    method = f'fscil/{variant}'
  else:
    fields = {}
  given = dict(
    data=train.name if presets.has_numbers(train.name) else '',
    **counts,
    indices=indices,
    order=order,
    model=model,
    memory=memory,
    ipc=ipc,
    base=base,
    quick=quick,
    **fields,
  )
  config = configs.load(method, given)
  checking.check_single(config, 'fscil', method)
  config.data.name = train.name
  side, usual = min(train.image_shape[:2]), config.data.image_size
  if usual:
    # The same part of images of another size.
    config.base_training.zoom = round(config.base_training.zoom * side / usual)
  if not quick:
    config.protocol.draws = counts['draws']
  memories.check_ipc(config.get('replay', {}), ipc)
  for key, value in arguments.overrides({'seed': seed}, overrides).items():
    configs.override(config, key, value)
  checks.check_fields(config)
  checks.check_values(config)
  fields = sections.of_config(config)
  rates = fields.protocol.rates
  if len(fields.protocol.rate_factors) > 1:
    raise UserError(
      f'protocol.rates is {rates}, and fscil.run has one result: give one factor of the learning '
      f'rate, or run the config fscil/compare with rates={rates}, whose table has a row for each.'
    )
  checks.check_parts(fields, train, test)
  work = stage(fields, train, test, parallel.make_mesh(config.run.devices))
  with datasets.opened(workdir, config, train, test, progress) as opened:
    ran = running.run_all(opened, work, tell=False)
  ((name, numbers),) = ran.numbers.items()
  return Result(numbers, ran.classifiers[name])


def _path(name, value):
  """A name or path as text; '' for None, which says as much."""
  if value is None:
    return ''
  if not isinstance(value, str | os.PathLike):
    raise UserError(f'{name} is a name or a path; got {brief(repr(value))}.')
  return os.fspath(value)


def _order(order):
  """The same of the order of the classes, which may be a seed too."""
  if isinstance(order, bool) or not isinstance(order, str | os.PathLike | numbers.Integral | None):
    raise UserError(f'order is a seed, or a file with a class a line; got {brief(repr(order))}.')
  if isinstance(order, numbers.Integral):
    return str(errors.whole('order', order, below=errors.SEEDS))
  return _path('order', order)
