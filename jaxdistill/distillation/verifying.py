"""Verification: are two images of one class, which no network was trained on?"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.data import Dataset, face_pairs
from jaxdistill.data.degradations import Blur, Darken, Noise, degraded
from jaxdistill.data.face_pairs import Pairs
from jaxdistill.distillation import sections
from jaxdistill.distillation import verify as verification
from jaxdistill.distillation.seeing import Seeing
from jaxdistill.errors import UserError
from jaxdistill.metrics.verification import check_rates
from jaxdistill.numerics import settled
from jaxdistill.training import adaptation

_ADAPTED = 128  # images a batch of an adaptation, as in AIRD's setting here
# Our choice: what blurred, dark and noisy pictures of a camera look like at 32 pixels.
SHIFTS = {'blur': Blur(1.0), 'darken': Darken(0.5), 'noise': Noise(0.05)}


@settled()
def pairs(asked: sections.Verifying, unknown: Dataset | None, like: Dataset) -> Pairs | None:
  """Returns the pairs that a run verifies; None for none.

  Args:
    asked: which.
    unknown: test images of classes that nobody is trained on; None: there are none.
    like: images that the networks are trained on: those of a file are brought to their size.

  Raises:
    UserError: a file of pairs that cannot be read or names a picture that is missing, too few
      images, false accepts below one pair.
  """
  if asked.listed:
    drawn = face_pairs.read(asked.listed, asked.folder, like.image_shape[0])
    _check_channels(asked.listed, drawn, like)
  elif unknown is not None:
    drawn = face_pairs.draw(unknown, asked.pairs)
  else:
    return None
  check_rates(drawn.same, [asked.far])
  if asked.shift:
    clean = dataclasses.replace(
      like, images=drawn.images, labels=np.zeros(len(drawn.images), np.int32), ids=()
    )
    chain = [SHIFTS[name] for name in asked.shift]
    drawn = dataclasses.replace(drawn, images=degraded(clean, chain).images)
  return drawn


def _check_channels(name, drawn, like):
  if drawn.images.shape[1:] != like.image_shape:
    raise UserError(
      f'The pictures of {name} are {drawn.images.shape[1:]}, and the networks read images of shape '
      f'{like.image_shape}; take pairs of such pictures.'
    )


def verify(
  network: Seeing, variables: Any, drawn: Pairs, *, far: float, mirrored: bool, networks: int
) -> dict[str, np.ndarray]:
  """Returns how well R networks verify pairs, each [R]: 'verification', the accuracy over folds
  with the thresholds of the others, 'tar', true accepts at the share `far` of false ones, 'auc',
  the area under the ROC curve, and 'eer', the equal error rate.

  The score of a pair is the cosine of its embeddings; where mirrored images keep their class, an
  embedding is the sum of those of the image and of its mirror image.

  Args:
    network: and its view.
    variables: leading axis R.
    drawn: the pairs.
    far: share of false accepts.
    mirrored: whether mirrored images keep their class.
    networks: R.
  """
  columns = {'verification': [], 'tar': [], 'auc': [], 'eer': []}
  for number in range(networks):
    one = jax.tree.map(lambda leaf, number=number: jnp.asarray(leaf[number]), variables)
    numbers = verification.verify(network.embedding, one, drawn, rates=[far], mirrored=mirrored)
    columns['verification'].append(numbers['accuracy'])
    columns['tar'].append(numbers['tar'][0])
    for name in ('auc', 'eer'):
      columns[name].append(numbers[name])
  return {name: np.asarray(values) for name, values in columns.items()}


@settled()
def adapt(network: Seeing, variables: Any, drawn: Pairs, mode: str, networks: int) -> Any:
  """Returns R networks whose normalisation has adapted to the images of the pairs, each by itself:
  what they verify then is transductive, as it has seen these images, though not their labels.

  Args:
    network: and its view.
    variables: leading axis R.
    drawn: the pairs.
    mode: see `adaptation.adapt_batch_stats`.
    networks: R.
  """
  view, adapted = jax.jit(network.view), []
  batches = [
    (view(images), weight) for images, weight in adaptation.shuffled(drawn.images, _ADAPTED)
  ]
  for number in range(networks):
    one = jax.tree.map(lambda leaf, number=number: jnp.asarray(leaf[number]), variables)
    adapted.append(adaptation.adapt_batch_stats(network.model, one, batches, mode))
  return jax.tree.map(lambda *leaves: np.stack(leaves), *adapted)
