"""Entries that npz data and plain condensed sets have in common."""

from collections.abc import Mapping

import numpy as np

from jaxdistill.data.dataset import boolean


def column(labels: np.ndarray) -> np.ndarray:
  """Returns labels [n, 1] as [n], all others as they are.

  >>> column(np.zeros((3, 1), int)).shape, column(np.zeros((3, 2))).shape
  ((3,), (3, 2))
  """
  return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def first_absent(present: np.ndarray) -> int:
  """Returns the least whole number from 0 that is not among ascending, different ones.

  >>> first_absent(np.array([0, 1, 3])), first_absent(np.array([0, 1]))
  (2, 2)
  """
  # What is behind the last one is never its own place.
  return int(np.argmax(np.append(present, -1) != np.arange(len(present) + 1)))


def flip_of(where: str, entries: Mapping[str, np.ndarray]) -> bool:
  """Returns the entry `flip`, true where there is none, see `dataset.boolean`.

  >>> flip_of('mine', {'flip': np.array([False])}), flip_of('mine', {})
  (False, True)
  """
  flip = entries.get('flip', np.array(True))
  return boolean(where, flip.item() if flip.size == 1 else flip.tolist())
