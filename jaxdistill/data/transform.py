"""What the operations of a view have in common: `Transform`, and the check of their fields."""

from typing import Any, ClassVar

import jax

from jaxdistill import errors
from jaxdistill.errors import UserError


class Transform:
  """One operation of a view: a frozen dataclass whose fields say how, a pure function of a key.

  `transform(key, images, choice)` maps float32 images [n, h, w, c] to such images; each image has
  its own draw. What decides which program runs (the branch of a switch) is the `choice`, which
  `draw` returns: it is drawn once a step and serves all networks, because a choice mapped by `vmap`
  makes XLA compute every branch for every network.

  Attributes:
    acts_on: 'unit' (images in [0, 1]), 'normalised' or 'both'.
    random: whether two keys may give two results.
  """

  acts_on: ClassVar[str] = 'both'
  random: ClassVar[bool] = True

  def draw(self, key: jax.Array) -> Any:
    """Returns the choice, a pytree of arrays; () where there is nothing to choose."""
    return ()

  def unmirrored(self) -> 'Transform | None':
    """Returns the operation for images that a mirror takes out of their class; None: it goes."""
    return self

  @property
  def overshoots(self) -> bool:
    """Whether images in [0, 1] may leave that range, so that a view has to clip them."""
    return False

  def __call__(self, key: jax.Array, images: jax.Array, choice: Any = ()) -> jax.Array:
    raise NotImplementedError


def check_range(owner: object, least: float, most: float, *fields: str) -> None:
  """Raises `UserError` unless these fields of `owner` lie within [least, most].

  >>> import types
  >>> check_range(types.SimpleNamespace(share=2), 0, 1, 'share')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: SimpleNamespace needs share from 0 to 1; it is 2.
  """
  for field in fields:
    value = getattr(owner, field)
    errors.real_numbers(**{field: value})
    if not least <= value <= most:
      limit = f'from {least:g} to {most:g}' if most < float('inf') else f'of at least {least:g}'
      raise UserError(f'{type(owner).__name__} needs {field} {limit}; it is {value}.')
