"""Examples whose true class a network that was trained for a short while is sure of, and what each
annotator said of them."""

from typing import NamedTuple

import numpy as np

from jaxdistill.data.crowds import Crowd


class Distilled(NamedTuple):
  """Which examples are kept, float32 [..., n] of 0 and 1, and the class of each, int32 [..., n]."""

  kept: np.ndarray
  guess: np.ndarray


def distil(probabilities: np.ndarray, margin: float = 0.1, least: int = 6) -> Distilled:
  """Keeps the examples with max_c p_c > (1 + margin) / 2, as of the class of the maximum.

  Above (1 + the largest rate of noise) / 2 the most likely observed label is the true one. Of a
  class with fewer than `least` such examples the `least` most certain are kept, of those that it is
  the guess of.

  Args:
    probabilities: [n, C]; or [R, n, C] of several networks.
    margin: see above.
    least: examples a class, where there are so many.

  Source: Li et al., TPAMI 2024 (TAIDTM), after Yang et al., ICML 2022. Their code repeats the
    short training where a class has too few; filling it up is our choice.

  >>> distil(np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.49, 0.51]]), least=1)
  Distilled(kept=array([1., 0., 1., 0.], dtype=float32), guess=array([0, 0, 1, 1], dtype=int32))
  """
  if probabilities.ndim == 3:
    several = [distil(of_network, margin, least) for of_network in probabilities]
    return Distilled(*map(np.stack, zip(*several)))
  guess, certain = probabilities.argmax(1), probabilities.max(1)
  kept = certain > (1 + margin) / 2
  for label in range(probabilities.shape[1]):
    members = np.flatnonzero(guess == label)
    if kept[members].sum() < least:
      kept[members[np.argsort(-certain[members], kind='stable')[:least]]] = True
  return Distilled(kept.astype(np.float32), guess.astype(np.int32))


class Asked(NamedTuple):
  """Where the kept examples of each annotator stand, int32 [R, b], the first `count` [R] of a row;
  behind them are any others. The count of one with too few is 0."""

  positions: np.ndarray
  count: np.ndarray


def by_annotator(crowd: Crowd, kept: np.ndarray, most: int, least: int, seed: int = 0) -> Asked:
  """Returns the kept examples that each annotator labelled.

  Args:
    crowd: the labels.
    kept: [n], not 0 where an example is kept.
    most: b; of more examples a random choice is taken.
    least: an annotator with fewer is left out.
    seed: of the choice.

  >>> crowd = Crowd.from_table([[0, -1], [1, 1], [0, -1]], classes=2)
  >>> by_annotator(crowd, np.array([1, 0, 1]), most=2, least=1).count.tolist()
  [2, 0]
  """
  random = np.random.RandomState(seed)
  example, annotator = np.asarray(crowd.example), np.asarray(crowd.annotator)
  chosen = np.asarray(kept)[example] > 0
  example, annotator = example[chosen], annotator[chosen]
  # The others fill up a row: what is computed of them counts nowhere.
  positions = random.randint(crowd.num_examples, size=(crowd.num_annotators, most))
  count = np.bincount(annotator, minlength=crowd.num_annotators)
  order = np.argsort(annotator, kind='stable')
  for number, own in enumerate(np.split(example[order], np.cumsum(count)[:-1])):
    own = random.permutation(own)[:most]
    positions[number, : len(own)] = own
  count = np.where(count < least, 0, np.minimum(count, most))
  return Asked(positions.astype(np.int32), count.astype(np.int32))
