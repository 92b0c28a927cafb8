"""Crowds made on purpose: who labels what, and what they say."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxdistill import errors
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.dataset import Dataset
from jaxdistill.data.vectors import Vectors
from jaxdistill.errors import UserError
from jaxdistill.label_noise import annotators, confusable, instance
from jaxdistill.label_noise.noise import checked_rate

# Examples whose annotators are drawn in one go.
_BLOCK = 4096


class Simulated(NamedTuple):
  """A crowd, and the matrices [R, C, C] that its labels were drawn by."""

  crowd: Crowd
  confusions: np.ndarray


class SimulatedByImage(NamedTuple):
  """A crowd whose mistakes depend on the image.

  Attributes:
    crowd: the labels.
    confusions: the mean of an annotator's law over the examples of each class, [R, C, C].
    group: of each annotator, int [R].
    laws: of each group: the probabilities of the labels that it gives an example, [groups, n, C].
  """

  crowd: Crowd
  confusions: np.ndarray
  group: np.ndarray
  laws: np.ndarray


def simulate(
  truth: ArrayLike | Dataset | Vectors,
  groups: str | Sequence[annotators.Group] = 'ind',
  per_example: int = 3,
  activity: tuple[float, float] | None = (0.4, 4.0),
  seed: int = 0,
) -> Simulated:
  """Returns a crowd of simulated annotators, the same for the same seed.

  An annotator is active by w ~ Beta(activity); the `per_example` annotators of an example are
  drawn without replacement by w, as the largest of log w + Gumbel noise. With Beta(.4, 4) most
  annotators give few labels, about as in CIFAR-10N. What they say follows their confusion matrices,
  each label drawn by itself; a copier says what the other one says of that example, whether or not
  the other labelled it.

  Args:
    truth: the true labels, int [n], of classes 0 to the largest; or a data set.
    groups: what annotators there are, see `annotators.build`; 'ind' (our choice) are 250 in three
      groups, right with .8, .5 and .3.
    per_example: labels an example, at most the number of annotators.
    activity: a and b of the Beta distribution; None: all are equally active.
    seed: of all draws, by numpy's frozen `RandomState`.

  Raises:
    UserError: for labels, groups or numbers that do not fit.

  >>> groups = [('expert', 3, {'diagonal': 0.8}), ('constant', 2)]
  >>> crowd, confusions = simulate(np.arange(100) % 4, groups, per_example=2)
  >>> len(crowd), confusions.shape
  (200, (5, 4, 4))
  """
  labels, classes, pairs = _classes_of(truth)
  random = np.random.RandomState(errors.seed(seed))
  matrices, source = annotators.build(groups, classes, pairs, random)
  count = len(source)
  errors.whole('per_example', per_example, at_least=1)
  if per_example > count:
    raise UserError(
      f'per_example is {per_example}, and there are {count} annotators; no one labels an example '
      'twice, so give at most as many.'
    )
  weights = _activity(activity, count, random)
  chosen = sampled(random, weights, len(labels), per_example)
  example = np.repeat(np.arange(len(labels)), per_example)
  annotator = chosen.ravel()
  # One draw for each pair of an example and an annotator that is not a copy.
  pair, of_pair = np.unique(example * count + source[annotator], return_inverse=True)
  example_of, speaker = np.divmod(pair, count)
  said = instance.drawn(random, matrices[speaker, labels[example_of]])
  names = _named(truth) if isinstance(truth, Dataset | Vectors) else classes
  crowd = Crowd.from_triples(
    example, annotator, said[of_pair], names, examples=len(labels), annotators=count
  )
  return Simulated(crowd, matrices)


def sampled(
  random: np.random.RandomState, weights: np.ndarray, examples: int, number: int
) -> np.ndarray:
  """Returns `number` different annotators for each example, [examples, number], drawn by weight
  without replacement.

  >>> sampled(np.random.RandomState(0), np.ones(3), 2, 3).sum(1).tolist()
  [3, 3]
  """
  logs = np.log(np.maximum(weights, np.finfo(float).tiny))
  blocks = []
  for start in range(0, examples, _BLOCK):
    size = min(_BLOCK, examples - start)
    scores = logs + random.gumbel(size=(size, len(weights)))
    blocks.append(np.argpartition(-scores, number - 1, axis=1)[:, :number])
  return np.concatenate(blocks)


def simulate_by_image(
  dataset: Dataset,
  rate: float,
  num_annotators: int = 300,
  num_groups: int = 3,
  per_example: float = 2.0,
  upper: float = 0.6,
  pixels: str = 'raw',
  seed: int = 0,
) -> SimulatedByImage:
  """Returns the crowd of TAIDTM: annotators whose mistakes depend on the image, alike within a
  group.

  Each group has a law P_g of noise by image, see `instance.law`, from which its members draw each
  for himself. Every example has one annotator for sure, uniform, and each annotator labels it
  besides with probability (per_example - 1) / R.

  Args:
    dataset: with the true labels.
    rate: mean of the images' rates of noise, from 0 to `upper`.
    num_annotators, num_groups: R and G; annotator r is of group floor(r G / R).
    per_example: labels an example, about, in the mean.
    upper, pixels: see `instance.law`.
    seed: of all draws, by numpy's frozen `RandomState`.

  Raises:
    UserError: for numbers that do not fit.

  Source: Li et al., TPAMI 2024 (TAIDTM), and its public code.

  >>> images = np.random.RandomState(0).randint(256, size=(40, 8, 8, 1)).astype(np.uint8)
  >>> made = simulate_by_image(Dataset(images, np.arange(40) % 4), 0.3, num_annotators=6)
  >>> made.laws.shape, made.group.tolist()
  ((3, 40, 4), [0, 0, 1, 1, 2, 2])
  """
  rate = checked_rate(rate)
  count = errors.whole('num_annotators', num_annotators, at_least=1)
  groups = errors.whole('num_groups', num_groups, at_least=1, below=count + 1)
  errors.real_numbers(per_example=per_example)
  if not 1 <= per_example <= count:
    raise UserError(f'per_example is {per_example}; it must be from 1 to {count}, the annotators.')
  random = np.random.RandomState(errors.seed(seed))
  laws, means = [], []
  for _ in range(groups):
    laws.append(instance.law(dataset, rate, random, upper, pixels))
    means.append(instance.mean_law(dataset, laws[-1]))
  group = np.arange(count) * groups // count
  sure = random.randint(count, size=len(dataset))
  examples, chosen = [], []
  for start in range(0, len(dataset), _BLOCK):
    block = sure[start : start + _BLOCK]
    labels_it = random.random_sample((len(block), count)) < (per_example - 1) / count
    labels_it[np.arange(len(block)), block] = True
    row, annotator = np.nonzero(labels_it)
    examples.append(start + row)
    chosen.append(annotator)
  example, annotator = np.concatenate(examples), np.concatenate(chosen)
  laws = np.stack(laws)
  said = instance.drawn(random, laws[group[annotator], example])
  crowd = Crowd.from_triples(
    example, annotator, said, _named(dataset), examples=len(dataset), annotators=count
  )
  return SimulatedByImage(crowd, np.stack(means)[group], group, laws)


def _classes_of(truth):
  """The labels, how many classes there are, and pairs of them that are hard to tell apart."""
  if isinstance(truth, Dataset | Vectors):
    return truth.labels, truth.num_classes, confusable.hard_pairs(truth.class_names)
  labels = np.asarray(truth)
  if labels.ndim != 1 or labels.dtype.kind not in 'iu' or not labels.size or labels.min() < 0:
    raise UserError(
      'truth is a Dataset, or labels from 0 of an integer type, shape [n]; it is '
      f'{labels.dtype} of shape {list(labels.shape)}.'
    )
  classes = int(labels.max()) + 1
  return labels, classes, confusable.hard_pairs(tuple(map(str, range(classes))))


def _named(dataset):
  """The classes of a set by their names, or how many there are where two are called alike."""
  names = dataset.class_names
  return names if len(set(names)) == len(names) else len(names)


def _activity(activity, count, random):
  """How active each of `count` annotators is."""
  if activity is None:
    return np.ones(count)
  parameters = np.asarray(activity, float)
  # Written so that NaN fails too.
  if parameters.shape != (2,) or not ((parameters > 0) & (parameters < np.inf)).all():
    raise UserError(
      f'activity is the pair (a, b) of a Beta distribution, both above 0, or None; it is '
      f'{activity!r}.'
    )
  return random.beta(*parameters, size=count)
