"""What a user calls: one attack, or several and the accuracy that they leave."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdistill import draws, errors
from jaxdistill.numerics import settled
from jaxdistill.robustness import attacks as attacks_by_name
from jaxdistill.robustness import iteration, running, sanity, threat
from jaxdistill.robustness import network as networks


@settled()
def attack(
  f: iteration.Network,
  images: ArrayLike,
  labels: ArrayLike,
  name: str,
  *,
  eps: float = 8 / 255,
  norm: str = 'linf',
  seed: int = 0,
  batch: int = 128,
  progress: bool = False,
  **fields: Any,
) -> np.ndarray:
  """Changes images, each within its ball, so that a network gets them wrong.

  An image's answer follows from the image, its label, its place and the seed: neither `batch` nor
  the images around it matter (up to rounding).

  Args:
    f: any JAX function from images float32 [b, h, w, c] in [0, 1] to logits [b, C]: normalisation
      is inside, and batch normalisation takes its running statistics, so that no image's logits
      depend on another image. It is traced, jitted or not.
    images: [n, h, w, c] in [0, 1].
    labels: integers [n] below C.
    name: 'fgsm', 'pgd', 'pgd20', 'pgd100', 'cw', 'apgd_ce', 'apgd_dlr', 'apgd_t', 'fab_t',
      'square', 'autoattack', or one that was added to `robustness.ATTACKS`.
    eps: radius of the ball, in units of pixels from 0 to 1.
    norm: 'linf' or 'l2'.
    seed: of random starts and squares.
    batch: images at a time.
    progress: whether to show a bar.
    **fields: of the attack, such as `steps`, `step` and `restarts` of 'pgd'.

  Returns:
    float32 [n, h, w, c]. PGD, FGSM and C&W give their last points; the others the first point that
    fools the network, and the image itself where none was found, or where it is wrong as it is.

  Raises:
    UserError: images outside [0, 1], labels out of range, an unknown attack, norm or field, too few
      classes for the attack, or a function that gives no finite logits [b, C].

  >>> import jax.numpy as jnp
  >>> f = lambda images: images.reshape(len(images), -1) @ jnp.array([[1.0, -1.0], [0.0, 0.0]])
  >>> images = np.full((1, 1, 2, 1), 0.5)
  >>> attack(f, images, [0], 'fgsm', eps=0.25).ravel().tolist()
  [0.25, 0.5]
  """
  chosen = attacks_by_name.choose(name, eps, norm, fields)
  images, labels = _examples(images, labels)
  network = _network(f, images, labels, batch)
  keys = threat.image_keys(draws.key(seed), len(images))
  return running.attacked(
    chosen.make(network.classes), network, images, labels, keys, name, progress
  )


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Accuracies under attacks.

  Args:
    accuracies: shares in [0, 1] by name: 'clean', the attacks, 'worst'.
    correct: bool [n] by the same names: right on the image and after the attack; 'worst': after
      every attack.
    warnings: a sentence for each rule of sane evaluations that these numbers break.
    eps: radius of the ball.
    norm: of the ball.
  """

  accuracies: dict[str, float]
  correct: dict[str, np.ndarray]
  warnings: tuple[str, ...]
  eps: float
  norm: str

  @property
  def clean(self) -> float:
    """Accuracy without an attack."""
    return self.accuracies['clean']

  @property
  def worst(self) -> float:
    """Share of images that no attack changed into a wrong answer."""
    return self.accuracies['worst']

  def __str__(self) -> str:
    labels = attacks_by_name.ATTACKS.labels
    lines = [
      f'{labels.get(name, name):12} {100 * share:6.2f} %' for name, share in self.accuracies.items()
    ]
    return '\n'.join([*lines, *(f'Warning: {warning}' for warning in self.warnings)])


@settled()
def evaluate(
  f: iteration.Network,
  images: ArrayLike,
  labels: ArrayLike,
  attacks: Iterable[str] | Mapping[str, Mapping[str, Any]] = ('pgd20', 'autoattack'),
  *,
  eps: float = 8 / 255,
  norm: str = 'linf',
  seed: int = 0,
  batch: int = 128,
  progress: bool = False,
) -> Evaluation:
  """Measures the accuracy of a network without and under attacks.

  An image counts as right under an attack if it is so without it and after it. So every attack
  works only on images that the network gets right.

  Args:
    f: as in `attack`.
    images: as in `attack`.
    labels: as in `attack`.
    attacks: names, or a mapping from names to the fields of each, such as {'pgd20': {}, 'square':
      {'queries': 1000}}.
    eps: as in `attack`.
    norm: as in `attack`.
    seed: as in `attack`.
    batch: as in `attack`.
    progress: as in `attack`.

  Returns:
    An `Evaluation`. Its `warnings` name what makes the numbers doubtful: more steps that leave a
    higher accuracy, Square that leaves less than the attacks that see gradients, AutoAttack that
    leaves more than PGD, an eps of 1 that leaves anything, gradients that vanish.

  Raises:
    UserError: as in `attack`; no attack or one named twice; no images.

  >>> import jax.numpy as jnp
  >>> f = lambda images: images.reshape(len(images), -1) @ jnp.array([[1.0, -1.0], [0.0, 0.0]])
  >>> result = evaluate(f, np.full((2, 1, 2, 1), [[[[0.5], [0.5]]], [[[0.1], [0.5]]]]), [0, 1],
  ...   attacks=['fgsm'], eps=0.25)
  >>> result.accuracies
  {'clean': 0.5, 'fgsm': 0.5, 'worst': 0.5}
  """
  chosen = _chosen(attacks, eps, norm)
  images, labels = _examples(images, labels)
  network = _network(f, images, labels, batch)
  keys = threat.image_keys(draws.key(seed), len(images))
  stages = [one.make(network.classes) for one in chosen]  # refuses before anything runs
  clean = running.right(network, images, labels)
  left = np.flatnonzero(clean)
  correct = {'clean': clean}
  for one, made in zip(chosen, stages):
    adversarial = running.attacked(
      made, network, images[left], labels[left], keys[left], one.name, progress
    )
    correct[one.name] = np.zeros_like(clean)
    correct[one.name][left] = running.right(network, adversarial, labels[left])
  correct['worst'] = np.logical_and.reduce(list(correct.values()))
  vanishing = sanity.vanishing(network, images[left], labels[left])
  warnings = (*sanity.broken(chosen, correct, eps, norm), *vanishing)
  accuracies = {name: float(mask.mean()) for name, mask in correct.items()}
  return Evaluation(accuracies, correct, warnings, eps, norm)


def _chosen(attacks, eps, norm):
  if isinstance(attacks, str):
    attacks = [attacks]
  if not isinstance(attacks, Iterable):
    raise errors.UserError(
      f'attacks are names, or fields by name; got {errors.brief(repr(attacks))}.'
    )
  named = attacks.items() if isinstance(attacks, Mapping) else [(name, {}) for name in attacks]
  chosen = [attacks_by_name.choose(name, eps, norm, fields) for name, fields in named]
  if not chosen:
    raise errors.UserError('There is no attack to evaluate; name at least one, such as pgd20.')
  names = [one.name for one in chosen]
  for name in names:
    if names.count(name) > 1:
      raise errors.UserError(f'attacks names {name!r} twice; an attack is evaluated once.')
  return chosen


def _examples(images, labels):
  """Images float32 [n, h, w, c] and labels int32 [n], looked through."""
  images, labels = np.asarray(images), np.asarray(labels)
  if images.dtype == jnp.bfloat16:  # which NumPy does not know as a kind of float
    images = images.astype(np.float32)
  if images.ndim != 4 or not images.size:
    raise errors.UserError(f'Images must be an array [n, h, w, c]; got {list(images.shape)}.')
  if images.dtype.kind not in 'fiu' or not (np.min(images) >= 0 and np.max(images) <= 1):
    bounds = f', got {images.min()} to {images.max()}' if images.dtype.kind in 'fiu' else ''
    raise errors.UserError(
      f'Images must be numbers in [0, 1]{bounds}; divide 8-bit images by 255, and normalise inside '
      'the network.'
    )
  if labels.shape != images.shape[:1] or labels.dtype.kind not in 'iu':
    raise errors.UserError(
      f'Labels must be {len(images)} integers, one an image; got {labels.dtype}'
      f'{list(labels.shape)}.'
    )
  return images.astype(np.float32), labels


def _network(f, images, labels, batch):
  """The function as a network for batches of the static size."""
  batch = min(errors.whole('batch', batch, at_least=1), len(images))
  network = networks.trace(f, batch, images.shape[1:])
  outside = (labels < 0) | (labels >= network.classes)
  if outside.any():
    raise errors.UserError(
      f'The network has {network.classes} classes, so labels are from 0 to {network.classes - 1}; '
      f'number {outside.argmax()} is {labels[outside.argmax()]}.'
    )
  return network
