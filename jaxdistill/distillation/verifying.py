"""Verification and identification: are two images of one class, which no network was trained on,
and of which such class is an image?"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.data import Dataset, face_pairs
from jaxdistill.data.degradations import NAMED, degraded
from jaxdistill.data.face_pairs import Pairs
from jaxdistill.distillation import sections
from jaxdistill.distillation import verify as verification
from jaxdistill.distillation.seeing import Seeing
from jaxdistill.errors import UserError
from jaxdistill.metrics.verification import check_pairs, check_rates
from jaxdistill.numerics import settled
from jaxdistill.training import adaptation

_RANK = 5  # the last one that is reported


class Wanted(NamedTuple):
  """Who is identified.

  images: of the classes, gallery and probes. gallery: images of each class that are known.
  distractors: uint8 [k, h, w, c], of other classes in the gallery; None: there are none.
  """

  images: Dataset
  gallery: int
  distractors: np.ndarray | None = None

  @property
  def entries(self) -> int:
    """Classes of the gallery; each distractor is one of its own."""
    return self.images.num_classes + self.strangers

  @property
  def strangers(self) -> int:
    """Images of the distractors."""
    return 0 if self.distractors is None else len(self.distractors)

  def describe(self) -> str:
    """Returns who is looked up among whom."""
    known = self.gallery * self.images.num_classes
    among = f' and {self.strangers:,} images of other classes' if self.strangers else ''
    return (
      f'{len(self.images) - known:,} images of {self.images.num_classes} unknown classes are '
      f'looked up in a gallery of {self.gallery} each{among}'
    )


@settled()
def pairs(asked: sections.Verifying, unknown: Dataset | None, like: Dataset) -> Pairs | None:
  """Returns the pairs that a run verifies; None for none.

  Args:
    asked: which.
    unknown: test images of classes that nobody is trained on; None: there are none.
    like: images that the networks are trained on: those of a file are brought to their size if
      they are squares, and have it already if they are none.

  Raises:
    UserError: a file of pairs that cannot be read or names a picture that is missing, too few
      images, pairs of one fold or one kind, false accepts below one pair.
  """
  if asked.listed:
    height, width = like.image_shape[:2]
    # Pictures are cut to squares; others have to come as they are read.
    drawn = face_pairs.read(asked.listed, asked.folder, height if height == width else 0)
    _check_channels(asked.listed, drawn, like)
  elif unknown is not None:
    drawn = face_pairs.draw(unknown, asked.pairs)
  else:
    return None
  check_pairs(drawn.same, drawn.fold)
  check_rates(drawn.same, [asked.far])
  if asked.shift:
    clean = dataclasses.replace(
      like, images=drawn.images, labels=np.zeros(len(drawn.images), np.int32), ids=()
    )
    drawn = dataclasses.replace(drawn, images=_shifted(asked, clean).images)
  return drawn


@settled()
def wanted(
  asked: sections.Verifying, unknown: Dataset | None, others: Dataset | None
) -> Wanted | None:
  """Returns who is identified; None for nobody: none is asked for, the pairs are those of a file,
  or a class of a single image leaves none to be looked up.

  Args:
    asked: how.
    unknown: test images of classes that nobody is trained on; None: there are none.
    others: the same of further classes, the distractors; None: there are none.

  Raises:
    UserError: a class whose images all stand in the gallery.
  """
  if unknown is None or asked.listed or not asked.gallery:
    return None
  if unknown.counts.min() < 2 and asked.gallery == 1 and others is None:
    return None
  face_pairs.gallery_and_probes(unknown.labels, asked.gallery)
  strangers = None if others is None else _shifted(asked, others, seed=1).images
  return Wanted(_shifted(asked, unknown), asked.gallery, strangers)


def check(asked: sections.Verifying, drawn: Pairs | None, network: str, form: Any) -> None:
  """Raises `UserError` for an adaptation that nothing can come of.

  Args:
    asked: how.
    drawn: the pairs; None: there are none.
    network: the students', for people.
    form: the shapes of its variables.
  """
  if not asked.adapt:
    return
  if drawn is None:
    raise UserError(
      f'verification.adapt is {asked.adapt!r}, and there are no pairs to whose images anything '
      "could adapt; set verification.classes or verification.listed, or leave adapt at ''."
    )
  if not form.get('batch_stats'):
    raise UserError(
      f'verification.adapt is {asked.adapt!r}, and only batch normalisation has running statistics '
      f"that could adapt; the students' {network} has none here, so take a network with some, or "
      "leave adapt at ''."
    )


def _shifted(asked, images, seed=0):
  chain = [NAMED[name] for name in asked.shift]
  return degraded(images, chain, seed) if chain else images


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


def identify(
  network: Seeing, variables: Any, asked: Wanted, *, mirrored: bool, networks: int
) -> dict[str, np.ndarray]:
  """Returns how often R networks find the class of an image in the gallery, each [R]: 'rank1', and
  'rank5', among the first five, where the gallery has more classes than these.

  Args:
    network, variables, mirrored, networks: see `verify`.
    asked: who is looked up among whom.
  """
  columns = {'rank1': []} | ({f'rank{_RANK}': []} if asked.entries > _RANK else {})
  for number in range(networks):
    one = jax.tree.map(lambda leaf, number=number: jnp.asarray(leaf[number]), variables)
    shares = verification.identify(
      network.embedding,
      one,
      asked.images,
      per_class=asked.gallery,
      distractors=asked.distractors,
      mirrored=mirrored,
    )
    for name, values in columns.items():
      values.append(shares[name])
  return {name: np.asarray(values) for name, values in columns.items()}


def numbers(
  network: Seeing,
  variables: Any,
  asked: sections.Verifying,
  drawn: Pairs | None,
  identified: Wanted | None,
  *,
  mirrored: bool,
  networks: int,
) -> dict[str, np.ndarray]:
  """Returns all columns of R networks, each [R]: of `verify` and `identify`, and the same under
  names that end with _adapted where their normalisation adapts; {} without pairs.

  Args:
    network, variables, mirrored, networks: see `verify`.
    asked: how.
    drawn: the pairs; None: there are none.
    identified: who is identified; None: nobody.
  """
  if drawn is None:
    return {}
  options = dict(mirrored=mirrored, networks=networks)

  def measure(variables):
    columns = verify(network, variables, drawn, far=asked.far, **options)
    if identified is not None:
      columns |= identify(network, variables, identified, **options)
    return columns

  columns = measure(variables)
  if asked.adapt:
    adapted = measure(adapt(network, variables, drawn, asked, networks))
    columns |= {f'{name}_adapted': values for name, values in adapted.items()}
  return columns


@settled()
def adapt(
  network: Seeing, variables: Any, drawn: Pairs, asked: sections.Verifying, networks: int
) -> Any:
  """Returns R networks whose normalisation has adapted to the images of the pairs, each by itself:
  what they verify then is transductive, as it has seen these images, though not their labels.

  Args:
    network: and its view.
    variables: leading axis R.
    drawn: the pairs.
    asked: how, see `adaptation.adapt_batch_stats`.
    networks: R.

  Source: rate and batch of AIRD's setting are our choice.
  """
  view, adapted = jax.jit(network.view), []
  shuffled = adaptation.shuffled(drawn.images, asked.adapt_batch)
  batches = [(view(images), weight) for images, weight in shuffled]
  settings = asked.adapt, asked.adapt_rate, asked.adapt_sweeps
  for number in range(networks):
    one = jax.tree.map(lambda leaf, number=number: jnp.asarray(leaf[number]), variables)
    adapted.append(adaptation.adapt_batch_stats(network.model, one, batches, *settings))
  return jax.tree.map(lambda *leaves: np.stack(leaves), *adapted)
