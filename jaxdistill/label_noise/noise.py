"""Wrong labels made on purpose, by a known law.

T[i, j] is the probability that an example of class i is labelled j; rows sum to 1.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxdistill import errors
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.vectors import Vectors
from jaxdistill.errors import UserError, unknown
from jaxdistill.label_noise import confusable, instance

_Law = Callable[..., tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True, eq=False)
class Corrupted:
  """A data set with wrong labels, and what is known of them.

  Attributes:
    dataset: with the labels as observed; a notice says how they came about.
    truth: the labels as they were, int32 [n].
    transition: the law T, [C, C]; where it depends on the image, its mean over those of a class.
    realised: the shares counted, [C, C]; a row of zeros where a class has no example.
    kind, rate, seed: what they were made by.
  """

  dataset: Dataset | Vectors
  truth: np.ndarray
  transition: np.ndarray
  realised: np.ndarray
  kind: str
  rate: float
  seed: int

  @property
  def wrong(self) -> float:
    """The share of labels that are wrong."""
    return float((self.dataset.labels != self.truth).mean())


def corrupt(
  dataset: Dataset | Vectors, kind: str, rate: float, seed: int = 0, **fields
) -> Corrupted:
  """Returns a data set in which some labels are wrong, the same for the same seed.

  Kinds, with C classes and the rate r:
    symmetric_inclusive: floor(r n) examples are drawn, and their labels anew among all classes, the
      right one included: a share r (C - 1) / C is wrong.
    symmetric_exclusive: each label becomes, with probability r, one of the C - 1 others.
    asymmetric: with probability r a label becomes that of the class it is taken for. On CIFAR-10
      truck becomes automobile, bird airplane, deer horse, and cat and dog each other; on CIFAR-100
      a class becomes the next of its superclass, the last the first. Both are known by the names
      of their classes.
    pair_flip: class c becomes (c + 1) mod C with probability r.
    instance: which label is wrong, and how easily, depends on the image, see `instance.law`; takes
      `upper` (1.0) and `pixels` ('normalised' or 'raw').

  "80 % symmetric noise" is 72 % wrong labels on ten classes when inclusive, and 80 % when
  exclusive; so a kind says which.

  Args:
    dataset: with the true labels; of images for the kind 'instance'.
    kind: one of `KINDS`.
    rate: in [0, 1].
    seed: of all draws, by numpy's frozen `RandomState`.
    **fields: of the kind.

  Raises:
    UserError: an unknown kind or field, a rate outside [0, 1], asymmetric noise on another set,
      what is no data set of one label an example.

  Source: inclusive and asymmetric noise as in the public code of Sel-CL (Li et al., CVPR 2022);
  pair flips of Co-teaching (Han et al., NeurIPS 2018); noise by image of Xia et al., NeurIPS 2020.

  >>> dataset = Dataset(np.zeros((1000, 8, 8, 1), np.uint8), np.arange(1000) % 4)
  >>> noisy = corrupt(dataset, 'pair_flip', 0.3)
  >>> noisy.transition[0].tolist(), noisy.realised[0].round(1).tolist()
  ([0.7, 0.3, 0.0, 0.0], [0.7, 0.3, 0.0, 0.0])
  """
  if kind not in KINDS:
    raise unknown('kind of label noise', kind, KINDS)
  valid = FIELDS.get(kind, ())
  for field in fields:
    if field not in valid:
      raise unknown(f'field of {kind} noise', field, valid)
  rate = checked_rate(rate)
  if not isinstance(dataset, Dataset | Vectors):
    raise UserError(
      'corrupt takes a Dataset or Vectors, whose examples have one label each; got '
      f'{type(dataset).__name__}.'
    )
  if dataset.num_classes < 2:
    raise UserError(f'{dataset.name} has one class; labels are wrong among at least two.')
  random = np.random.RandomState(errors.seed(seed))
  labels, transition = KINDS[kind](dataset, rate, random, **fields)
  truth = dataset.labels
  wrong = (labels != truth).mean()
  notice = (
    f'{dataset.name}: {wrong:.2%} of the labels are wrong on purpose ({kind}, rate {rate:g}, seed '
    f'{seed}).'
  )
  noisy = dataclasses.replace(
    dataset, labels=labels.astype(np.int32), notices=(*dataset.notices, notice)
  )
  realised = counted(truth, labels, dataset.num_classes)
  return Corrupted(noisy, truth, transition, realised, kind, rate, seed)


def checked_rate(rate: float) -> float:
  """Returns a rate of noise as a float.

  Raises `UserError` for one outside [0, 1].

  >>> checked_rate(1)
  1.0
  """
  errors.real_numbers(rate=rate)
  if not 0 <= rate <= 1:
    raise UserError(f'rate is {rate}; it must be from 0 to 1, the share of labels at stake.')
  return float(rate)


def counted(truth: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
  """Returns which share of each class has which label, [C, C]; zeros for a class without examples.

  >>> counted(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
  [[0.5, 0.5], [0.0, 1.0]]
  """
  pairs = np.asarray(truth, np.int64) * classes + labels
  counts = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
  return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def drawn(random: np.random.RandomState, transition: np.ndarray, truth: np.ndarray) -> np.ndarray:
  """Returns a label for each true one, [n], drawn from its row of [C, C].

  >>> drawn(np.random.RandomState(0), np.eye(3)[[1, 2, 0]], np.array([0, 2])).tolist()
  [1, 0]
  """
  labels = np.empty(len(truth), np.int64)
  uniform = random.random_sample(len(truth))
  for label, row in enumerate(np.cumsum(transition, axis=1)):
    members = truth == label
    # Scaled by the last sum, which rounding may have left beside 1.
    labels[members] = np.searchsorted(row, uniform[members] * row[-1], side='right')
  return labels


def _symmetric_inclusive(dataset, rate, random):
  count, classes = len(dataset), dataset.num_classes
  labels = dataset.labels.copy()
  # What a product such as 0.29 * 100 loses in rounding is given back before it is cut.
  chosen = random.permutation(count)[: int(np.floor(rate * count + 1e-9))]
  labels[chosen] = random.randint(classes, size=len(chosen))
  return labels, (1 - rate) * np.eye(classes) + rate / classes


def _symmetric_exclusive(dataset, rate, random):
  identity = np.eye(dataset.num_classes)
  transition = (1 - rate) * identity + rate / (dataset.num_classes - 1) * (1 - identity)
  return drawn(random, transition, dataset.labels), transition


def _asymmetric(dataset, rate, random):
  return _flipped(dataset, rate, random, confusable.taken_for(dataset))


def _pair_flip(dataset, rate, random):
  return _flipped(dataset, rate, random, np.roll(np.arange(dataset.num_classes), -1))


def _flipped(dataset, rate, random, partner):
  """Class c becomes partner[c] with probability `rate`; one that is its own partner stays."""
  identity = np.eye(dataset.num_classes)
  transition = (1 - rate) * identity + rate * identity[partner]
  return drawn(random, transition, dataset.labels), transition


def _instance(dataset, rate, random, upper=1.0, pixels='normalised'):
  law = instance.law(dataset, rate, random, upper, pixels)
  transition = instance.mean_law(dataset, law)
  return instance.drawn(random, law), transition


KINDS: dict[str, _Law] = {
  'symmetric_inclusive': _symmetric_inclusive,
  'symmetric_exclusive': _symmetric_exclusive,
  'asymmetric': _asymmetric,
  'pair_flip': _pair_flip,
  'instance': _instance,
}
# Of the kinds that have any.
FIELDS = {'instance': ('upper', 'pixels')}
