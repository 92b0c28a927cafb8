"""Verification and identification by a network: its embeddings, and the numbers and the curve that
follow."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors, metrics
from jaxdistill.data import Dataset, face_pairs
from jaxdistill.data.face_pairs import Pairs
from jaxdistill.metrics import verification
from jaxdistill.numerics import settled
from jaxdistill.training import features

# False accept rates that are reported; of LFW's 3,000 impostor pairs the last one is 3.
RATES = (0.1, 0.01, 0.001)
_BATCH = 500  # images a call


def verify(
  embed: Callable[[Any, jax.Array], jax.Array],
  variables: Any,
  pairs: Pairs,
  *,
  rates: Sequence[float] = RATES,
  mirrored: bool = False,
  batch: int = _BATCH,
) -> dict[str, Any]:
  """Returns what a network's cosines are worth on pairs.

  Args:
    embed: (variables, uint8 images [n, h, w, c]) -> [n, d], such as `training.features.embedder`
      returns; compiled here, once for all variables of one function and one size of images.
    variables: of the network.
    pairs: see `data.face_pairs`.
    rates: false accept rates to report the true accept rate at.
    mirrored: whether the embedding of an image is the sum of its own and of its mirror image's.
    batch: images a call.

  Returns:
    dict(accuracy: mean over the folds, each with the threshold of the others; accuracy_std: over
    the folds (n - 1); auc; eer: equal error rate; far: list of the rates; tar: list of the true
    accept rates there), all shares in [0, 1].

  Raises:
    UserError: a rate is below one in the impostor pairs, all pairs are of one kind or fold, or an
      embedding is not finite.

  >>> import numpy as np
  >>> images = np.zeros((4, 2, 2, 1), np.uint8)
  >>> images[2:, 0, 0] = 255  # the class shows in one corner, something else in another
  >>> images[1::2, 1, 1] = 100
  >>> pairs = Pairs(images, np.array([0, 2, 0, 1]), np.array([1, 3, 2, 3]),
  ...   np.array([True, True, False, False]), np.array([0, 1, 0, 1]))
  >>> embed = lambda variables, images: images[:, 0, 0] / 255 - 0.5
  >>> numbers = verify(embed, None, pairs, rates=[0.5])
  >>> numbers['accuracy'], numbers['auc'], numbers['tar']
  (1.0, 1.0, [1.0])
  """
  verification.check_pairs(pairs.same, pairs.fold)
  verification.check_rates(pairs.same, rates)
  scores = pair_scores(embed, variables, pairs, mirrored=mirrored, batch=batch)
  by_fold = metrics.fold_accuracies(pairs.same, scores, pairs.fold)
  return {
    'accuracy': float(by_fold.mean()),
    'accuracy_std': float(by_fold.std(ddof=1)),
    'auc': metrics.roc_auc(pairs.same, scores),
    'eer': metrics.equal_error_rate(pairs.same, scores),
    'far': [float(rate) for rate in rates],
    'tar': metrics.true_accept_rates(pairs.same, scores, rates).tolist(),
  }


def pair_scores(
  embed: Callable[[Any, jax.Array], jax.Array],
  variables: Any,
  pairs: Pairs,
  *,
  mirrored: bool = False,
  batch: int = _BATCH,
) -> np.ndarray:
  """Returns the cosine of each pair, float64 [m]; arguments as of `verify`."""
  embeddings = embed_images(embed, variables, pairs.images, mirrored=mirrored, batch=batch)
  return metrics.cosine_scores(embeddings[pairs.left], embeddings[pairs.right])


def identify(
  embed: Callable[[Any, jax.Array], jax.Array],
  variables: Any,
  images: Dataset,
  *,
  per_class: int = 1,
  seed: int = 0,
  distractors: np.ndarray | None = None,
  mirrored: bool = False,
  batch: int = _BATCH,
) -> dict[str, float]:
  """Returns how often a network finds the class of an image among one gallery of all classes.

  Args:
    embed, variables, mirrored, batch: as of `verify`.
    images: of the classes, such as `Dataset.take_classes` of those that no network has seen.
    per_class: images of each class that make the gallery; all others are looked up in it.
    seed: of the gallery, see `face_pairs.gallery_and_probes`.
    distractors: images of other classes in the gallery, uint8 [k, h, w, c]; None: there are none.

  Returns:
    dict(rank1, rank5: shares of the images whose class comes first, or among the first five).

  Raises:
    UserError: a class has too few images, or an embedding is not finite.
  """
  gallery, probes = face_pairs.gallery_and_probes(images.labels, per_class, seed)
  run = functools.partial(embed_images, embed, variables, mirrored=mirrored, batch=batch)
  embeddings = run(images.images)
  ranks = metrics.probe_ranks(
    embeddings[gallery],
    images.labels[gallery],
    embeddings[probes],
    images.labels[probes],
    None if distractors is None else run(distractors),
  )
  shares = metrics.cumulative_match(ranks, 5)
  return {'rank1': float(shares[0]), 'rank5': float(shares[4])}


@settled()
def embed_images(
  embed: Callable[[Any, jax.Array], jax.Array],
  variables: Any,
  images: np.ndarray,
  *,
  mirrored: bool = False,
  batch: int = _BATCH,
) -> np.ndarray:
  """Returns the embeddings of images, float32 [n, d], in batches of one compiled size; arguments as
  of `verify`."""
  size, forward = errors.whole('batch', batch, at_least=1), _compiled(embed, mirrored)
  return features.in_chunks(lambda rows: forward(variables, images[rows]), len(images), size)


def roc_chart(curves: Mapping[str, metrics.ranking.RocCurve], title: str = 'ROC') -> dict[str, Any]:
  """Returns ROC curves by name as a chart of `report.Page.curves`.

  >>> curve = metrics.roc_curve(np.array([1, 0]), np.array([0.9, 0.1]))
  >>> chart = roc_chart({'student': curve})
  >>> chart['series']
  [('student', [0.0, 0.0, 1.0], [0.0, 1.0, 1.0])]
  """
  series = [
    (name, curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist())
    for name, curve in curves.items()
  ]
  return dict(
    title=title,
    x_title='false accept rate',
    y_title='true accept rate',
    percent=True,
    series=series,
  )


@functools.lru_cache(maxsize=32)
def _compiled(embed, mirrored):
  """The compiled function, kept for the next variables."""

  def forward(variables, images):
    embeddings = embed(variables, images)
    if mirrored:
      embeddings = embeddings + embed(variables, images[:, :, ::-1])
    return embeddings.astype(jnp.float32)

  return jax.jit(forward)
