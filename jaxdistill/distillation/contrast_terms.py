"""Terms of contrastive representation distillation: CRD with a bank of all training images, with a
queue of the last ones, or among the images of the batch. The batch is that of all devices.

Both sides are embedded to `width` numbers of length 1; the teacher's embedding is trained too.
`warmup` is that of `pieces.weighted`, in epochs of 240.
"""

import dataclasses

import jax

from jaxdistill import errors, losses
from jaxdistill.distillation.method import Pair
from jaxdistill.distillation.pieces import (
  Piece,
  check_momentum,
  embeddings,
  labels,
  weighted,
)
from jaxdistill.losses.banks import Bank, Queue


def crd(
  pair: Pair,
  *,
  weight: float = 0.8,
  warmup: int = 0,
  negatives: int = 16384,
  width: int = 128,
  temperature: float = 0.07,
  momentum: float = 0.5,
  student: str = 'embedding',
  teacher: str = 'embedding',
) -> Piece:
  """CRD with a bank: its rows are the training images, `negatives` of other classes an image, at
  most as many as there are images (our choice)."""
  check_momentum(momentum)
  parts = embeddings(pair, 'crd', width, student, teacher, unit=True)
  classes = losses.by_class(pair.labels, pair.num_classes)
  number = min(errors.whole('negatives', negatives, at_least=1), pair.images)

  def loss(scene):
    scene = scene.gathered()
    images = scene.batch['index']
    drawn = _drawn(scene.key, images, labels(scene), classes, number)
    arguments = (images, drawn, temperature, momentum, scene.batch['weight'])
    embedded = [scene[part]['output'] for part in parts]
    value, bank = losses.crd(*embedded, Bank(**scene.memory), *arguments)
    return value, _entries(bank)

  def memory(key):
    return _entries(losses.crd_bank(key, pair.images, width))

  return Piece((weighted(pair, 'crd', loss, weight, warmup, memory),), parts)


def crd_queue(
  pair: Pair,
  *,
  weight: float = 0.8,
  warmup: int = 0,
  length: int = 16384,
  width: int = 128,
  temperature: float = 0.07,
  student: str = 'embedding',
  teacher: str = 'embedding',
) -> Piece:
  """CRD with a queue of the last `length` images, of all of them at most: for data sets of which a
  bank would be too large."""
  parts = embeddings(pair, 'crd_queue', width, student, teacher, unit=True)
  errors.whole('length', length, at_least=pair.batch)
  # As many rows as the devices fill a batch up to; a queue longer than the data repeats itself.
  length = max(min(length, pair.images), 2 * pair.batch)

  def loss(scene):
    scene = scene.gathered()
    embedded = [scene[part]['output'] for part in parts]
    arguments = (Queue(**scene.memory), temperature, scene.batch['weight'])
    value, queue = losses.queued_crd(*embedded, labels(scene), *arguments)
    return value, _entries(queue)

  def memory(key):
    del key
    return _entries(losses.crd_queue(length, width))

  return Piece((weighted(pair, 'crd_queue', loss, weight, warmup, memory),), parts)


def crd_batch(
  pair: Pair,
  *,
  weight: float = 0.8,
  warmup: int = 0,
  width: int = 128,
  temperature: float = 0.07,
  student: str = 'embedding',
  teacher: str = 'embedding',
) -> Piece:
  """CRD whose negatives are the images of other classes in the batch, without a memory."""
  parts = embeddings(pair, 'crd_batch', width, student, teacher, unit=True)

  def loss(scene):
    scene = scene.gathered()
    embedded = [scene[part]['output'] for part in parts]
    return losses.in_batch_crd(*embedded, labels(scene), temperature, scene.batch['weight'])

  return Piece((weighted(pair, 'crd_batch', loss, weight, warmup),), parts)


def _drawn(key, images, labels, classes, number):
  """Negatives [n, number], of each image by a key of its own: they do not depend on how many rows
  fill up the devices."""

  def of_image(image, label):
    own = jax.random.fold_in(key, image)
    return losses.draw_negatives(own, label[None], classes, number)[0]

  return jax.vmap(of_image)(images, labels)


def _entries(state):
  """A bank or a queue as a mapping, which checkpoints keep under its names."""
  return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
