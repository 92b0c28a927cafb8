"""What was observed of the labels: what annotators said of each example, or a matrix of labels."""

import dataclasses
import functools

import numpy as np

from jaxdistill.data.crowds import Crowd

# Names of the entries of a batch that have an example's labels: who gave them, and which.
ANNOTATORS, GIVEN = 'annotators', 'given'


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
  """The observed labels of n examples: a crowd's, or a matrix. One noisy label an example is a
  crowd of one annotator.

  Attributes:
    crowd: of the classes; None where there is a matrix.
    matrix: int32 [n, q] of 0 and 1; None where there is a crowd.

  >>> evidence = Evidence(Crowd.from_table([[1, 0], [1, -1]], classes=2))
  >>> evidence.labels.tolist(), evidence.soft.tolist(), evidence.annotators
  ([0, 1], [[0.5, 0.5], [0.0, 1.0]], 2)
  """

  crowd: Crowd | None = None
  matrix: np.ndarray | None = None

  def __post_init__(self):
    if (self.crowd is None) == (self.matrix is None):
      raise ValueError('Evidence is a crowd or a matrix, one of the two.')

  def __len__(self) -> int:
    return len(self.matrix) if self.crowd is None else self.crowd.num_examples

  @property
  def arrays(self) -> tuple[np.ndarray, ...]:
    """All that tells it from other evidence: the triples of the crowd, or the matrix."""
    if self.crowd is None:
      return (self.matrix,)
    return tuple(map(np.asarray, (self.crowd.example, self.crowd.annotator, self.crowd.label)))

  @property
  def kind(self) -> str:
    """'labels': one label an example, 'crowd': labels of several annotators, 'matrix'."""
    if self.crowd is None:
      return 'matrix'
    return 'labels' if self.crowd.num_annotators == 1 else 'crowd'

  @property
  def classes(self) -> int:
    """C of a crowd, q of a matrix."""
    return self.matrix.shape[1] if self.crowd is None else self.crowd.num_classes

  @property
  def annotators(self) -> int:
    """R."""
    return self.crowd.num_annotators

  @functools.cached_property
  def counts(self) -> np.ndarray:
    """How often each class was said of each example, int64 [n, C]."""
    cells = np.asarray(self.crowd.example) * self.classes + np.asarray(self.crowd.label)
    return np.bincount(cells, minlength=len(self) * self.classes).reshape(-1, self.classes)

  @functools.cached_property
  def soft(self) -> np.ndarray:
    """The share of an example's labels that say each class, float32 [n, C]."""
    return (self.counts / self.counts.sum(1, keepdims=True)).astype(np.float32)

  @functools.cached_property
  def labels(self) -> np.ndarray:
    """The majority's label, int32 [n], a tie to the lowest; a matrix as it is, [n, q]."""
    return self.matrix if self.crowd is None else self.counts.argmax(1).astype(np.int32)

  @functools.cached_property
  def tables(self) -> dict[str, np.ndarray]:
    """Entries of a batch: who labelled an example and what he said, int32 [n, K] each with -1
    where an example has less than K labels.

    >>> Evidence(Crowd.from_table([[-1, 1], [0, 1]], classes=2)).tables['annotators'].tolist()
    [[1, -1], [0, 1]]
    """
    position, mask = self.crowd.padded()
    return {
      ANNOTATORS: np.where(mask, np.asarray(self.crowd.annotator)[position], -1).astype(np.int32),
      GIVEN: np.where(mask, np.asarray(self.crowd.label)[position], -1).astype(np.int32),
    }

  def take(self, examples: np.ndarray) -> 'Evidence':
    """Returns what was observed of some examples, by positions; the annotators stay all."""
    if self.crowd is None:
      return Evidence(matrix=self.matrix[examples])
    return Evidence(self.crowd.take(examples))
