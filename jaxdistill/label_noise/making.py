"""The observed labels of a config: made wrong on purpose, simulated, or read from files; and those
that are handed over."""

import dataclasses
from typing import Any

import numpy as np

from jaxdistill import terminal
from jaxdistill.data import MultiLabelled
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.dataset import as_array
from jaxdistill.data.multilabelled import checked_matrix
from jaxdistill.errors import UserError
from jaxdistill.label_noise import evidence as evidences
from jaxdistill.label_noise import human, multilabel, noise, said, simulation
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.label_noise.sections import EvidenceFields


@dataclasses.dataclass(frozen=True, eq=False)
class Observed:
  """What was observed of a data set, and what only reports may know.

  Attributes:
    evidence: the observed labels.
    truth: the true ones, int32 [n] or [n, q]; None: nobody knows them.
    confusions: of simulated annotators, [R, C, C]; None: they are not known.
    transition: T, [C, C], or [q, 2, 2]; None: it is not known.
    group: of each annotator, int [R]; None: there are none.
    laws: of each group by image, the probabilities of its labels [groups, n, C]; None: there are
      none.
  """

  evidence: Evidence
  truth: np.ndarray | None = None
  confusions: np.ndarray | None = None
  transition: np.ndarray | None = None
  group: np.ndarray | None = None
  laws: np.ndarray | None = None

  def take(self, examples: np.ndarray) -> 'Observed':
    """Returns the same of some examples, by positions."""
    truth = None if self.truth is None else self.truth[examples]
    laws = None if self.laws is None else self.laws[:, examples]
    evidence = self.evidence.take(examples)
    return dataclasses.replace(self, evidence=evidence, truth=truth, laws=laws)


def observe(fields: EvidenceFields, dataset: Any) -> Observed:
  """Returns what a config says was observed of a data set.

  Args:
    fields: of the config.
    dataset: images or vectors with their labels, true ones unless the origin is 'given'.

  Raises:
    UserError: an origin that does not fit the data set, files that are missing, and what the
      generators refuse.

  >>> from jaxdistill.data import Dataset
  >>> pixels = np.zeros((40, 8, 8, 1), np.uint8)
  >>> dataset = Dataset(pixels, np.arange(40) % 4)
  >>> observed = observe(EvidenceFields('corrupt', 'pair_flip', 1.0), dataset)
  >>> observed.evidence.labels[:4].tolist(), observed.truth[:4].tolist()
  ([1, 2, 3, 0], [0, 1, 2, 3])
  """
  origin = fields.origin
  if isinstance(dataset, MultiLabelled) != (origin == 'multilabel') and origin != 'given':
    needed = 'a matrix of labels' if origin == 'multilabel' else 'one label an example'
    raise UserError(
      f'The origin {origin} of labels is for data with {needed}, which {dataset.name} is not; set '
      'evidence.origin, or give noise= or crowd= behind the data set.'
    )
  return _MAKERS[origin](fields, dataset)


def handed(dataset: Any, evidence: Any = None, truth: Any = None) -> Observed:
  """Returns what was handed over of a data set.

  Args:
    dataset: images or vectors.
    evidence: an `Evidence`, a `Crowd`, labels [n], or a matrix [n, q] of a `MultiLabelled`; None:
      the labels of the data set. Crowds are joined with the examples by names, see `said.joined`;
      all else is in their order.
    truth: true labels [n] or [n, q], in the order of the examples; None: nobody knows them.

  Raises:
    UserError: either is not of these examples and classes.

  >>> from jaxdistill.data import Dataset
  >>> train = Dataset(np.zeros((2, 8, 8, 1), np.uint8), [0, 1], ('dog', 'cat'))
  >>> handed(train, Crowd.from_labels([0, 1], classes=['cat', 'dog'])).evidence.labels.tolist()
  [1, 0]
  """
  truth = None if truth is None else _truth(dataset, truth)
  return Observed(_evidence(dataset, evidence), truth)


def _truth(dataset, truth):
  truth, wanted = as_array(dataset.name, 'truth', truth), np.shape(dataset.labels)
  if truth.shape != wanted or truth.dtype.kind not in 'iub':
    raise UserError(
      f'truth needs the true labels of the {len(dataset)} examples, integers {list(wanted)}; it '
      f'is {truth.dtype} of shape {list(truth.shape)}.'
    )
  most = 1 if isinstance(dataset, MultiLabelled) else dataset.num_classes - 1
  if truth.min() < 0 or truth.max() > most:
    raise UserError(
      f'truth holds true labels of {dataset.name}, from 0 to {most}; it goes from {truth.min()} to '
      f'{truth.max()}.'
    )
  return truth.astype(np.int32)


def _evidence(dataset, evidence):
  if evidence is None:
    evidence = dataset.labels
  if isinstance(evidence, Evidence):
    observed = evidence
    if evidence.crowd is not None:
      observed = Evidence(said.joined(evidence.crowd, dataset))
  elif isinstance(dataset, MultiLabelled):
    observed = Evidence(matrix=checked_matrix('evidence', evidence, len(dataset)))
  elif isinstance(evidence, Crowd):
    observed = Evidence(said.joined(evidence, dataset))
  else:
    labels = as_array(dataset.name, 'evidence', evidence)
    labels = evidences.class_labels(labels, dataset.num_classes)
    observed = Evidence(Crowd.from_labels(labels, dataset.class_names))
  if len(observed) != len(dataset) or observed.classes != dataset.num_classes:
    raise UserError(
      f'The evidence is of {len(observed)} examples and {observed.classes} classes; {dataset.name} '
      f'has {len(dataset)} and {dataset.num_classes}.'
    )
  return observed


def of_labels(dataset: Any) -> Evidence:
  """Returns the labels of a data set as what was observed."""
  if isinstance(dataset, MultiLabelled):
    return Evidence(matrix=dataset.labels)
  return Evidence(Crowd.from_labels(dataset.labels, dataset.class_names))


def _given(fields, dataset):
  return Observed(of_labels(dataset))


def _corrupt(fields, dataset):
  made = noise.corrupt(dataset, fields.noise, fields.rate, fields.seed)
  return Observed(of_labels(made.dataset), dataset.labels, transition=made.transition)


def _simulate(fields, dataset):
  per_example = int(fields.per_example)
  if per_example != fields.per_example:
    raise UserError(
      f'Simulated annotators give a whole number of labels an example, not {fields.per_example}.'
    )
  activity = (fields.activity_a, fields.activity_b) if fields.activity_a else None
  crowd, confusions = simulation.simulate(
    dataset, fields.groups, per_example, activity, fields.seed
  )
  return Observed(Evidence(crowd), dataset.labels, confusions)


def _by_image(fields, dataset):
  made = simulation.simulate_by_image(
    dataset,
    fields.rate,
    fields.annotators,
    fields.annotator_groups,
    fields.per_example,
    seed=fields.seed,
  )
  return Observed(
    Evidence(made.crowd), dataset.labels, made.confusions, group=made.group, laws=made.laws
  )


def _cifar10n(fields, dataset):
  crowd = human.cifar10n(fields.path, fields.which, dataset)
  if not isinstance(crowd, Crowd):
    crowd = Crowd.from_labels(crowd, dataset.class_names)
  return Observed(Evidence(crowd), dataset.labels)


def _csv(fields, dataset):
  crowd = said.read_crowd(fields.path, dataset, terminal.line)
  return Observed(Evidence(crowd), dataset.labels)


def _multilabel(fields, dataset):
  made = multilabel.corrupt_multilabel(
    dataset.labels, fields.false_positive, fields.rate, fields.seed
  )
  return Observed(Evidence(matrix=made.labels), made.truth, transition=made.transition)


_MAKERS = {
  'given': _given,
  'corrupt': _corrupt,
  'simulate': _simulate,
  'by_image': _by_image,
  'cifar10n': _cifar10n,
  'csv': _csv,
  'multilabel': _multilabel,
}
