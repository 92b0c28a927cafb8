"""Which labels to take for clean: those whose loss was small while a network learned."""

import numpy as np

from jaxdistill import errors
from jaxdistill.estimation import mixtures
from jaxdistill.label_noise import evidence
from jaxdistill.label_noise.multilabel import check_harmless

_LARGEST = 100.0  # loss of a label with probability 0


def select_small_losses(
  probabilities: np.ndarray,
  noisy: np.ndarray,
  threshold: float = 0.5,
  harmless: str = 'both',
  max_steps: int = 10,
  tolerance: float = 1e-2,
  added_variance: float = 5e-4,
) -> np.ndarray:
  """Selects labels by their losses in some epochs, for each label and each of its values apart.

  The losses -log P(noisy value) of the examples with that value are scaled to [0, 1] in every
  epoch, averaged over the epochs, and fitted by a mixture of two Gaussians (see
  `estimation.mixtures.fit`); a label is selected where the component with the lower mean has a
  probability above `threshold`.

  Args:
    probabilities: of the labels being 1, [epochs, n, q], from an eval-mode pass after each epoch.
    noisy: a matrix of 0 and 1 [n, q].
    threshold: see above.
    harmless: 'missing' (no label was added) selects every 1, 'partial' (none was taken away) every
      0; 'both': neither is known.
    max_steps, tolerance, added_variance: of the mixtures.

  Returns:
    bool [n, q].

  Raises:
    UserError: for shapes that do not fit, numbers that are no probabilities or labels, a threshold
      outside [0, 1], an unknown kind of flips, or numbers that are none of a mixture.

  Source: MLNTM (Li et al., NeurIPS 2022): 5 epochs up to the 10th of 20 (VOC) or the 15th of 30
    (COCO).

  >>> sure = np.array([0.9, 0.95, 0.92, 0.2, 0.1, 0.05, 0.08, 0.8])[None, :, None]
  >>> select_small_losses(sure, np.array([[1], [1], [1], [1], [0], [0], [0], [0]])).T.tolist()
  [[True, True, True, False, True, True, True, False]]
  """
  evidence.unit_interval(threshold=threshold)
  check_harmless(harmless)
  probabilities = np.asarray(probabilities)
  if probabilities.ndim != 3 or not len(probabilities):
    raise errors.UserError(
      f'Probabilities of epochs have the shape [epochs, n, q]; got {probabilities.shape}.'
    )
  noisy = evidence.label_matrix(noisy, probabilities.shape[2])
  for epoch in probabilities:
    evidence.multi(noisy, epoch)
  members = np.concatenate([~noisy, noisy], 1)  # the zeros of each label, then the ones
  scaled = np.mean([_scaled_losses(epoch, noisy, members) for epoch in probabilities], 0)
  values = np.asarray(scaled.T, np.float32)
  fitted = mixtures.fit(
    values, members.T.astype(np.float32), 2, max_steps, tolerance, added_variance
  )
  low = np.asarray(mixtures.posterior(fitted, values))[..., 0].T > threshold
  zeros, ones = np.split(low & members, 2, axis=1)
  if harmless == 'missing':
    ones = noisy
  if harmless == 'partial':
    zeros = ~noisy
  return zeros | ones


def _scaled_losses(probabilities, noisy, members):
  """[n, 2 q], each column's losses scaled to [0, 1] over its members; 0 where all are equal."""
  with np.errstate(divide='ignore'):
    losses = -np.log(np.where(noisy, probabilities, 1 - probabilities).astype(np.float64))
  losses = np.tile(np.minimum(losses, _LARGEST), (1, 2))
  least = np.where(members, losses, np.inf).min(0, keepdims=True)
  most = np.where(members, losses, -np.inf).max(0, keepdims=True)
  span = most - least
  shifted = np.where(members, losses - np.where(members.any(0), least, 0), 0)
  return shifted / np.where(span > 0, span, 1)
