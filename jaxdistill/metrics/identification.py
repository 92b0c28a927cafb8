"""Whose image is it? Probes looked up in a gallery, among distractors if there are any.

Closed set: whoever is looked up is in the gallery. For reports: numpy arrays on the host, in
float64.
"""

import numpy as np

from jaxdistill import errors
from jaxdistill.metrics import verification

# Numbers of one block of scores: 64 MB.
_BLOCK = 8_000_000


def probe_ranks(
  gallery: np.ndarray,
  gallery_labels: np.ndarray,
  probes: np.ndarray,
  probe_labels: np.ndarray,
  distractors: np.ndarray | None = None,
) -> np.ndarray:
  """Returns the rank of each probe's own class when the classes of the gallery are ordered by their
  cosine with the probe, int64 [n] from 1.

  A class scores as its best image in the gallery, and every distractor is a class of its own. Of
  equal scores the own class comes last, so that embeddings which are all the same find nobody (our
  choice).

  Args:
    gallery, probes, distractors: embeddings [m, d], [n, d] and [k, d].
    gallery_labels, probe_labels: int [m], [n].

  Raises:
    UserError: for shapes that do not fit, nothing to look up, an embedding that is not finite, or a
      probe whose class has no image in the gallery.

  Source: distractors as in MegaFace (Kemelmacher-Shlizerman et al., CVPR 2016).

  >>> import numpy as np
  >>> gallery, probes = np.eye(3), np.array([[1.0, 0.2, 0.0], [0.9, 0.5, 0.0]])
  >>> probe_ranks(gallery, np.array([4, 5, 6]), probes, np.array([4, 5])).tolist()
  [1, 2]
  """
  gallery, probes = verification.directions(gallery), verification.directions(probes)
  gallery_labels, probe_labels = np.asarray(gallery_labels), np.asarray(probe_labels)
  others = verification.directions(
    np.zeros((0, gallery.shape[1])) if distractors is None else distractors
  )
  _check(gallery, gallery_labels, probes, probe_labels, others)
  order = np.argsort(gallery_labels, kind='stable')
  classes, starts = np.unique(gallery_labels[order], return_index=True)
  known = np.isin(probe_labels, classes)
  if not known.all():
    raise errors.UserError(
      f'Class {probe_labels[~known][0]} is looked up and has no image in the gallery; '
      f'{np.count_nonzero(~known)} of {len(probes)} probes are of such classes.'
    )
  mates = np.searchsorted(classes, probe_labels)
  entries = np.concatenate([gallery[order], others]).T
  ranks = np.empty(len(probes), np.int64)
  rows = max(1, _BLOCK // entries.shape[1])
  for start in range(0, len(probes), rows):
    block = slice(start, start + rows)
    scores = probes[block] @ entries
    by_class = np.maximum.reduceat(scores[:, : len(gallery)], starts, axis=1)
    mate = np.take_along_axis(by_class, mates[block, None], axis=1)
    # The own class is at least as good as itself: it counts as the 1 of the rank.
    ranks[block] = (by_class >= mate).sum(1) + (scores[:, len(gallery) :] >= mate).sum(1)
  return ranks


def cumulative_match(ranks: np.ndarray, most: int) -> np.ndarray:
  """Returns the CMC curve, float64 [most]: entry k - 1 is the share of probes of rank k or better.

  Rank-1 and rank-5 accuracy are entries 0 and 4.

  Args:
    ranks: int [n] from 1, of `probe_ranks`.
    most: the last rank.

  Raises:
    UserError: for no ranks, or `most` below 1.

  >>> import numpy as np
  >>> cumulative_match(np.array([1, 3, 1, 2]), 3).tolist()
  [0.5, 0.75, 1.0]
  """
  ranks = np.asarray(ranks)
  most = errors.whole('most', most, at_least=1)
  if ranks.ndim != 1 or not ranks.size:
    raise errors.UserError(f'A CMC curve needs at least one rank, [n]; got {ranks.shape}.')
  return (ranks[:, None] <= np.arange(1, most + 1)).mean(0)


def _check(gallery, gallery_labels, probes, probe_labels, distractors):
  if not len(gallery) or not len(probes):
    raise errors.UserError(
      f'Identification needs a gallery and probes; got {len(gallery)} and {len(probes)} images.'
    )
  widths = {embeddings.shape[1] for embeddings in (gallery, probes, distractors)}
  if len(widths) > 1:
    raise errors.UserError(
      f'Gallery, probes and distractors need embeddings of one width; got {sorted(widths)}.'
    )
  for name, embeddings, labels in (
    ('gallery', gallery, gallery_labels),
    ('probes', probes, probe_labels),
  ):
    if labels.shape != embeddings.shape[:1] or labels.dtype.kind not in 'iu':
      raise errors.UserError(
        f'Each image of the {name} needs the number of its class, whole numbers '
        f'[{len(embeddings)}]; got {labels.dtype} of shape {labels.shape}.'
      )
