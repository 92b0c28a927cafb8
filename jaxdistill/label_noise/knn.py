"""How well neighbours in an embedding tell a class: the usual measure of contrastive learning."""

import numpy as np

from jaxdistill import errors
from jaxdistill.estimation import neighbours as estimation_neighbours
from jaxdistill.label_noise import evidence


def knn_accuracy(
  embeddings: np.ndarray,
  labels: np.ndarray,
  test_embeddings: np.ndarray,
  test_labels: np.ndarray,
  neighbours: int = 200,
  temperature: float = 0.1,
  classes: int | None = None,
) -> float:
  """Returns the share of test examples whose class wins the vote of their nearest training
  examples, each with exp(cosine / temperature) votes.

  The neighbours vote with the labels that they are given: with noisy ones, what a user has. The
  public code of Sel-CL lets them vote with the true ones, which measures the embedding alone: pass
  those for its numbers. Equal votes go to the lowest class.

  Args:
    embeddings: [n, d] of the training examples, of any length.
    labels: int [n], theirs.
    test_embeddings: [m, d].
    test_labels: int [m], the true ones.
    neighbours: K.
    temperature: of a vote.
    classes: C; None: up to the largest label.

  Raises:
    UserError: for shapes that do not fit, labels out of range, more neighbours than examples, or a
      temperature that is not above 0.

  Source: weighted k-NN of Wu et al., CVPR 2018, with K = 200 and temperature 0.1 as in the public
  code of Sel-CL (Li et al., CVPR 2022).

  >>> points = np.array([[1, 0], [1, 0.1], [0, 1]])
  >>> knn_accuracy(points, [0, 0, 1], np.array([[2, 0.1], [0.1, 1]]), [0, 1], neighbours=1)
  1.0
  """
  labels = evidence.class_labels(labels, classes)
  test_labels = evidence.class_labels(test_labels, classes)
  errors.real_numbers(temperature=temperature)
  if temperature <= 0:
    raise errors.UserError(f'temperature is {temperature}; it must be above 0.')
  for name, rows, those in (
    ('training', embeddings, labels),
    ('test', test_embeddings, test_labels),
  ):
    if np.ndim(rows) != 2 or len(rows) != len(those):
      raise errors.UserError(
        f'The {name} examples are embeddings [n, d] and labels [n]; got {np.shape(rows)} and '
        f'{those.shape}.'
      )
  near = estimation_neighbours.nearest(embeddings, neighbours, queries=test_embeddings)
  classes = classes or int(max(labels.max(), test_labels.max())) + 1
  weights = np.exp((np.asarray(near.similarity, np.float64) - 1) / temperature)
  cells = np.arange(len(test_labels))[:, None] * classes + labels[np.asarray(near.index)]
  votes = np.bincount(cells.ravel(), weights.ravel(), len(test_labels) * classes)
  return float((votes.reshape(-1, classes).argmax(1) == test_labels).mean())
