"""Guides: what networks that nobody trains say of a batch, computed once a step for all networks
side by side, outside of what is differentiated; or read from what was kept of them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation
from jaxdistill.training import outputs, together
from jaxdistill.training.game import Part
from jaxdistill.training.outputs import PROTOTYPES
from jaxdistill.training.side_by_side import GUIDES

# Stands between a guide and its output in the name of an entry of the data.
_OF = ':'


def watching(guides: Mapping[str, Part]) -> Callable[..., tuple[dict, dict]]:
  """Returns what all networks side by side see of the guides: a function

      (variables, batch, always_full, way) -> (batch, common)

  of their variables by name and a batch [B, n, ...], for which `common` has what does not belong to
  rows, and the new batch under 'guides' what does: {guide: {output: [B, n, ...]}}. The rows of all
  B batches go through a guide at once, but for one that takes the statistics of its batch.

  The data may hold outputs instead, [N, k, ...] of k variants of every image under
  '<guide>:<output>'; then the guide is not run, and the batch's 'variant' int [B, n] says which
  ones its views are. A function whose variables are there, though they be none, is still asked for
  its prototypes, by one row: they are those of all images.
  """

  def watch(variables, batch, always_full, way):
    batch, said, common = dict(batch), {}, {}
    for name, part in guides.items():
      weights = variables.get(name, {})
      arrays = _kept(name, batch)
      if not arrays:
        arrays = _run(part, weights, batch, always_full, way)
      elif part.function is not None and name in variables:
        arrays |= _without_rows(part, weights, batch)
      common[name] = {PROTOTYPES: arrays.pop(PROTOTYPES)} if PROTOTYPES in arrays else {}
      if part.module is not None:
        common[name] |= outputs.prototypes(weights)
      said[name] = arrays
    return {**batch, GUIDES: said}, {GUIDES: common}

  return watch


def kept_name(guide: str, output: str) -> str:
  """Returns the name of the entry of the data that holds an output of a guide.

  >>> kept_name('teacher', 'logits')
  'teacher:logits'
  """
  return f'{guide}{_OF}{output}'


def is_kept(guide: str, entries: Any) -> bool:
  """Returns whether entries of the data hold outputs of a guide.

  >>> is_kept('teacher', ['images', 'teacher:logits']), is_kept('teacher', ['images'])
  (True, False)
  """
  return any(name.startswith(kept_name(guide, '')) for name in entries)


def _kept(guide, batch):
  """Takes the kept outputs of a guide out of a batch; {} where there are none."""
  arrays = {}
  for name in [name for name in batch if name.startswith(kept_name(guide, ''))]:
    variants = batch.pop(name)
    if 'variant' in batch:
      variant = batch['variant'].reshape(*batch['variant'].shape, *(1,) * (variants.ndim - 2))
      variants = jnp.take_along_axis(variants, variant, axis=2)
    elif variants.shape[2] != 1:
      raise errors.UserError(
        f'{name} holds {variants.shape[2]} variants of every image, but the views of this recipe '
        'do not say which one they are.'
      )
    arrays[name.partition(_OF)[2]] = variants[:, :, 0]
  return arrays


def _without_rows(part, variables, batch):
  """What a function gives beside the outputs of the rows; the rest of it is compiled away."""
  arrays = part.function(variables, _seen(part, batch)[0, :1])
  return {PROTOTYPES: arrays[PROTOTYPES]} if PROTOTYPES in arrays else {}


def _run(part, variables, batch, always_full, way):
  """The outputs [B, n, ...] of a guide for a batch."""
  images = _seen(part, batch)
  if part.function is not None:
    return _rows_at_once(lambda rows: dict(part.function(variables, rows)), images)
  if part.mode != 'batch':
    return _rows_at_once(
      lambda rows: outputs.apply(part.module, variables, (rows,), train=False)[0], images
    )

  def one_batch(rows, weight):
    with normalisation.weighted(None if always_full else weight):
      return outputs.apply(part.module, variables, (rows,), train=True)[0]

  return together.over_networks(one_batch, way)(images, batch['weight'])


def _seen(part, batch):
  """The view [B, n, ...] that a guide reads."""
  if part.view not in batch:
    raise errors.unknown('view of the batch', part.view, batch)
  return batch[part.view]


def _rows_at_once(function, images):
  """The outputs of a function of images [n, ...] for images [B, n, ...]."""
  arrays = function(images.reshape(-1, *images.shape[2:]))
  return {
    name: array if name == PROTOTYPES else array.reshape(*images.shape[:2], *array.shape[1:])
    for name, array in arrays.items()
  }
