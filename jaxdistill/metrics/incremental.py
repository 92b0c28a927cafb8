"""What a classifier is worth that meets its classes session by session: accuracies by group of
classes, what is forgotten, and one number a run.

Classes are numbered by arrival: session 0 brings the classes 0 to sizes[0] - 1, session 1 the next
sizes[1], and so on to session T. All is computed from the confusion counts after each session. For
reports: numpy arrays on the host, in float64, in [0, 1]; leading axes (runs) pass through.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdistill import errors
from jaxdistill.metrics.summary import Interval, mean_std, paired_difference


class SessionAccuracies(NamedTuple):
  """Accuracies after each session by the classes whose test images are asked, float64
  [..., T + 1]; nan where there are none. The answer is one of all classes, whatever the group."""

  seen: np.ndarray  # all classes that have arrived: A_t
  base: np.ndarray  # those of session 0: B_t
  novel: np.ndarray  # those of all later sessions so far: N_t
  old: np.ndarray  # those of later sessions before session t: O_t
  last: np.ndarray  # those of session t, t >= 1: L_t


def session_accuracies(confusions: np.ndarray, sizes: Sequence[int]) -> SessionAccuracies:
  """Accuracies after each session over groups of the classes that have arrived.

  A_t = sum_c n_cc / sum_c n_c over the classes c that have arrived by session t, with n_c the test
  images of class c and n_cc those answered right after it; B_t, N_t, O_t and L_t are the same over
  the base, novel, older novel and last classes. Rows of classes yet to come are not read.

  Args:
    confusions: counts [..., T + 1, C, C] after sessions 0 to T, rows the class, columns the answer.
    sizes: number of classes that each session brings, T + 1 numbers with the sum C.

  Raises:
    UserError: for counts and sizes that do not fit.

  Source: the groups are those which the public code of Yang et al., ICLR 2023 (NC-FSCIL), prints.

  >>> first, second = [[3, 1, 0], [1, 3, 0], [0, 0, 0]], [[2, 1, 1], [0, 4, 0], [0, 1, 3]]
  >>> accuracies = session_accuracies(np.array([first, second]), (2, 1))
  >>> accuracies.seen.tolist(), accuracies.novel.tolist()
  ([0.75, 0.75], [nan, 0.75])
  """
  confusions, ends = _checked(confusions, sizes)
  base = np.full_like(ends, ends[0])
  # Session 0 brings the base, of which no last or older novel class is.
  begins = np.concatenate([base[:1], ends[:-1]])
  groups = [(0 * ends, ends), (0 * ends, base), (base, ends), (base, begins), (begins, ends)]
  return SessionAccuracies(*(_accuracies(confusions, *group) for group in groups))


def class_shares(confusions: np.ndarray) -> np.ndarray:
  """Confusion counts with every row divided by its sum, so that the accuracies made from them are
  means over classes; rows without examples stay 0.

  Args:
    confusions: counts [..., C, C].

  Source: how the public code of Zhang et al., CVPR 2021 (CEC), and its descendants count seen and
  unseen classes.

  >>> class_shares(np.array([[3, 1], [0, 0]])).tolist()
  [[0.75, 0.25], [0.0, 0.0]]
  """
  confusions = np.asarray(confusions, np.float64)
  totals = confusions.sum(-1, keepdims=True)
  return confusions / np.where(totals > 0, totals, 1.0)


def accuracy_matrix(confusions: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
  """R[t, i]: the accuracy after session t, among all classes, on the test images of the classes
  that session i brought.

  Args, Raises: see `session_accuracies`.

  Returns:
    float64 [..., T + 1, T + 1]; nan above the diagonal, as what is yet to come is not asked.

  Source: Lopez-Paz and Ranzato, NeurIPS 2017.

  >>> first, second = [[4, 0], [0, 0]], [[3, 1], [2, 2]]
  >>> accuracy_matrix(np.array([first, second]), (1, 1)).tolist()
  [[1.0, nan], [0.75, 0.5]]
  """
  confusions, ends = _checked(confusions, sizes)
  begins = np.concatenate([[0], ends[:-1]])
  sessions = np.arange(len(ends))
  columns = []
  for session, begin, end in zip(sessions, begins, ends):
    stops = np.where(sessions >= session, end, begin)
    columns.append(_accuracies(confusions, np.full_like(ends, begin), stops))
  return np.stack(columns, -1)


def batch_mean_accuracy(
  labels: np.ndarray, predictions: np.ndarray, batch: int = 100
) -> np.ndarray:
  """Mean over batches of each batch's accuracy: a short last batch counts as much as the others.

  Equal to the share of right answers where `batch` divides n, else not.

  Args:
    labels: int [n], in the order in which they are tested.
    predictions: int [..., n].
    batch: of how many images the batches are.

  Returns:
    float64 [...].

  Raises:
    UserError: for no images, lengths that differ, or a batch below 1.

  Source: the test loops of the public code of Zhang et al., CVPR 2021 (CEC), and of its
  descendants, whose tables therefore hold this number; they test class by class.

  >>> batch_mean_accuracy(np.array([0, 0, 1]), np.array([0, 1, 1]), batch=2).tolist()  # (1/2 + 1)/2
  0.75
  """
  labels, predictions = np.asarray(labels), np.asarray(predictions)
  errors.whole('batch', batch, at_least=1)
  if labels.ndim != 1 or not labels.size or predictions.shape[-1:] != labels.shape:
    raise errors.UserError(
      'A mean over batches takes labels [n] and answers [..., n], n >= 1; got '
      f'{labels.shape} and {predictions.shape}.'
    )
  starts = np.arange(0, len(labels), batch)
  right = np.add.reduceat((predictions == labels).astype(np.float64), starts, axis=-1)
  return (right / np.diff(np.append(starts, len(labels)))).mean(-1)


def harmonic_mean(base: np.ndarray, novel: np.ndarray) -> np.ndarray:
  """HM = 2 B N / (B + N), elementwise; 0 where both are 0, nan where one is.

  >>> harmonic_mean(np.array([0.8, 0.0]), np.array([0.2, 0.0])).round(4).tolist()
  [0.32, 0.0]
  """
  base, novel = np.asarray(base, np.float64), np.asarray(novel, np.float64)
  total = base + novel
  return 2 * base * novel / np.where(total == 0, 1.0, total)


def generalised_accuracy(matrix: np.ndarray, ratio: int) -> tuple[np.ndarray, np.ndarray]:
  """gAcc: accuracies of the sessions' classes averaged with a weight alpha for the base, and the
  mean of these over alpha.

  With R the accuracy matrix, after session k
    g_k(alpha) = (alpha R[k, 0] + sum_{j=1..k} R[k, j]) / (alpha + k),
  g(alpha) is its mean over k = 0..T, and the area is the trapezoid rule over alpha = 0, 1, ...,
  ratio, divided by ratio. At alpha = 1 every session counts alike, at alpha = 0 the novel ones
  alone, where g_0 = 0 as in the public code (it would be 0 / 0).

  Args:
    matrix: [..., T + 1, T + 1], see `accuracy_matrix`; what is above the diagonal is not read.
    ratio: base classes to those of a later session, rounded down, at least 1.

  Returns:
    (g [..., ratio + 1], area [...]).

  Source: Tang et al., Rethinking Few-shot Class-incremental Learning: Learning from Yourself, ECCV
  2024, and its public code.

  >>> g, area = generalised_accuracy(np.array([[0.8, np.nan], [0.6, 0.2]]), ratio=2)
  >>> g.round(4).tolist(), float(area.round(4))  # (0 + 0.2)/2, (0.8 + 0.4)/2, (0.8 + 1.4/3)/2
  ([0.1, 0.6, 0.6333], 0.4833)
  """
  errors.whole('ratio', ratio, at_least=1)
  matrix = np.asarray(matrix, np.float64)
  sessions = np.arange(matrix.shape[-1])
  novel = np.where(np.tri(len(sessions), dtype=bool), matrix, 0.0)[..., 1:].sum(-1)
  values = []
  for alpha in range(ratio + 1):
    total = alpha + sessions
    values.append(((alpha * matrix[..., 0] + novel) / np.where(total > 0, total, 1)).mean(-1))
  values = np.stack(values, -1)
  return values, (values[..., 1:] + values[..., :-1]).sum(-1) / (2 * ratio)


def forgetting(matrix: np.ndarray) -> np.ndarray:
  """F_t = mean over i < t of max_{i <= l < t} R[l, i] - R[t, i]: what has been lost of the best
  that was known.

  Args:
    matrix: R [..., T + 1, T + 1], see `accuracy_matrix`.

  Returns:
    float64 [..., T + 1]; nan for session 0.

  Source: Chaudhry et al., ECCV 2018.

  >>> forgetting(np.array([[0.9, np.nan], [0.7, 0.5]])).round(4).tolist()
  [nan, 0.2]
  """
  matrix = np.asarray(matrix, np.float64)
  losses = [np.full(matrix.shape[:-2], np.nan)]
  for session in range(1, matrix.shape[-1]):
    best = np.fmax.reduce(matrix[..., :session, :session], axis=-2)
    losses.append((best - matrix[..., session, :session]).mean(-1))
  return np.stack(losses, -1)


def backward_transfer(matrix: np.ndarray) -> np.ndarray:
  """BWT_t = mean over i < t of R[t, i] - R[i, i]; negative where later sessions hurt.

  Args:
    matrix: R [..., T + 1, T + 1], see `accuracy_matrix`.

  Returns:
    float64 [..., T + 1]; nan for session 0.

  Source: Lopez-Paz and Ranzato, NeurIPS 2017.

  >>> backward_transfer(np.array([[0.9, np.nan], [0.7, 0.5]])).round(4).tolist()
  [nan, -0.2]
  """
  matrix = np.asarray(matrix, np.float64)
  first = np.diagonal(matrix, axis1=-2, axis2=-1)
  changes = [np.full(matrix.shape[:-2], np.nan)]
  for session in range(1, matrix.shape[-1]):
    changes.append((matrix[..., session, :session] - first[..., :session]).mean(-1))
  return np.stack(changes, -1)


def run_metrics(confusions: np.ndarray, sizes: Sequence[int]) -> dict[str, np.ndarray]:
  """The numbers by which whole runs are compared, each float64 [...], one a run.

  average = mean_t A_t, session 0 included; last = A_T; pd = A_0 - A_T (performance drop: smaller
  is better, but a weak base has little to lose); base = B_T, novel = N_T, hm their harmonic mean;
  gacc, the area of `generalised_accuracy` with the ratio of sizes[0] to sizes[1], rounded down but
  at least 1; forgetting and bwt after session T. Where T = 0 there are only average, last, pd and
  base.

  Args, Raises: see `session_accuracies`.

  >>> first, second = [[4, 0], [0, 0]], [[3, 1], [2, 2]]
  >>> numbers = run_metrics(np.array([first, second]), (1, 1))
  >>> {name: round(float(value), 4) for name, value in numbers.items() if name in ('pd', 'hm')}
  {'pd': 0.375, 'hm': 0.6}
  """
  accuracies = session_accuracies(confusions, sizes)
  numbers = {
    'average': accuracies.seen.mean(-1),
    'last': accuracies.seen[..., -1],
    'pd': accuracies.seen[..., 0] - accuracies.seen[..., -1],
    'base': accuracies.base[..., -1],
  }
  if len(sizes) > 1:
    matrix = accuracy_matrix(confusions, sizes)
    novel = accuracies.novel[..., -1]
    numbers |= {
      'novel': novel,
      'hm': harmonic_mean(numbers['base'], novel),
      'gacc': generalised_accuracy(matrix, max(1, sizes[0] // sizes[1]))[1],
      'forgetting': forgetting(matrix)[..., -1],
      'bwt': backward_transfer(matrix)[..., -1],
    }
  return numbers


def summary_over_runs(numbers: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
  """Returns `mean_std` of each of the numbers over all runs.

  Args:
    numbers: name to [...], such as those of `run_metrics`.

  >>> summary_over_runs({'last': np.array([0.5, 0.7])})['last']['mean']
  0.6
  """
  return {name: mean_std(np.ravel(values)) for name, values in numbers.items()}


def differences_over_runs(
  numbers: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray], level: float = 0.95
) -> dict[str, Interval]:
  """Returns `paired_difference` of the numbers that both have, run by run: run r of both has the
  same few-shot images and the same base network, so that what these decide cancels.

  The standard errors are those of independent runs: of draws on one base network they say how far
  the draws carry, not how far another base network would.

  Args:
    numbers, others: name to [...] of at least two runs.
    level: of the intervals.

  >>> differences = differences_over_runs({'pd': [0.3, 0.2]}, {'pd': [0.2, 0.0], 'hm': [1, 1]})
  >>> list(differences), round(differences['pd'].mean, 2)
  (['pd'], 0.15)
  """
  return {
    name: paired_difference(np.ravel(values), np.ravel(others[name]), level)
    for name, values in numbers.items()
    if name in others
  }


def _accuracies(confusions, begins, ends):
  """After session t, the share of right answers on classes begins[t] to ends[t] - 1; nan where
  there is no image of these."""
  classes = np.arange(confusions.shape[-1])
  asked = (classes >= begins[:, None]) & (classes < ends[:, None])
  right = np.where(asked, np.diagonal(confusions, axis1=-2, axis2=-1), 0.0).sum(-1)
  total = np.where(asked, confusions.sum(-1), 0.0).sum(-1)
  return right / np.where(total > 0, total, np.nan)


def _checked(confusions, sizes):
  """The counts in float64, and how many classes have arrived by each session."""
  confusions = np.asarray(confusions, np.float64)
  errors.whole_numbers(**{f'sizes[{place}]': size for place, size in enumerate(sizes)})
  classes = int(sum(sizes))
  if not len(sizes) or min(sizes) < 1 or confusions.shape[-3:] != (len(sizes), classes, classes):
    raise errors.UserError(
      f'Sessions of {tuple(sizes)} classes need confusion counts [..., {len(sizes)}, {classes}, '
      f'{classes}], and each session at least one class; the counts are {confusions.shape}.'
    )
  return confusions, np.cumsum(sizes)
