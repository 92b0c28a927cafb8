"""Any function of images as a network to attack: traced once for batches of one size, with what it
holds beside its program."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxdistill import errors
from jaxdistill.robustness import iteration
from jaxdistill.training import program


@dataclasses.dataclass(frozen=True)
class Traced:
  """A network for batches of one shape.

  The arrays that the function closes over are arguments of what is compiled: a network with other
  weights needs no program of its own, and large weights make no large program.

  Args:
    jaxpr: of the function.
    weights: the arrays that it closes over.
    batch: rows.
    classes: of the logits.
    programs: compiled so far, by what they compute.
  """

  jaxpr: Any
  weights: tuple[Any, ...]
  batch: int
  classes: int
  programs: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)

  def with_weights(self, weights: tuple[Any, ...]) -> iteration.Network:
    """Returns the function of images, inside a trace."""
    function = core.jaxpr_as_fun(core.ClosedJaxpr(self.jaxpr, list(weights)))
    return lambda images: function(images)[0].astype(jnp.float32)


def trace(f: iteration.Network, batch: int, shape: tuple[int, ...]) -> Traced:
  """Returns a function as a network for `batch` images of this shape [h, w, c].

  Raises:
    UserError: it is no function of JAX arrays, fails on such images, or returns no logits
      [batch, C] of two classes or more.

  >>> w = jnp.eye(4)
  >>> network = trace(lambda images: images.reshape(len(images), -1) @ w, 2, (2, 2, 1))
  >>> network.classes, [weight.shape for weight in network.weights]
  (4, [(4, 4)])
  """
  if not callable(f):
    raise errors.UserError(
      f'The network must be a function from images to logits; got {type(f).__name__}.'
    )
  while isinstance(f, jax.stages.Wrapped):  # jit would hide the arrays
    f = f.__wrapped__
  images = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
  try:
    closed, returned = jax.make_jaxpr(f, return_shape=True)(images)
  except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
    raise errors.UserError(
      'The network must be made of JAX operations on its images, without values as Python numbers '
      f'or NumPy arrays on the way: {errors.brief(error)}'
    ) from error
  except errors.UserError:
    raise
  except Exception as error:  # a user's function may raise anything
    raise errors.UserError(
      f'The network does not take images {list(images.shape)} ({errors.brief(error)}).'
    ) from error
  if not isinstance(returned, jax.ShapeDtypeStruct):
    raise errors.UserError(
      f'The network must return logits alone; it returns a {type(returned).__name__}.'
    )
  if len(returned.shape) != 2 or returned.shape[0] != batch or returned.shape[1] < 2:
    raise errors.UserError(
      f'The network must return logits [{batch}, classes] for {batch} images, of at least two '
      f'classes; it returns {list(returned.shape)}.'
    )
  if not jnp.issubdtype(returned.dtype, jnp.floating):
    raise errors.UserError(
      f'The network must return floats as logits; it returns {returned.dtype}.'
    )
  return Traced(closed.jaxpr, tuple(closed.consts), batch, returned.shape[1])


def logits(network: Traced, images: np.ndarray) -> np.ndarray:
  """Returns the logits of any number of images, float32 [n, C].

  Raises:
    UserError: some are not finite.

  >>> logits(trace(lambda images: images.reshape(len(images), -1), 2, (1, 2, 1)),
  ...   np.full((3, 1, 2, 1), 0.5, np.float32)).tolist()
  [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
  """

  def step(state, weights):
    return dict(state, logits=network.with_weights(weights)(state['images'])), {}

  parts = [np.zeros((0, network.classes), np.float32)]
  for first in range(0, len(images), network.batch):
    rows = images[first : first + network.batch]
    state = dict(
      images=jnp.asarray(filled(rows, network.batch)),
      logits=jnp.zeros((network.batch, network.classes)),
    )
    state = computed(network, 'logits', step, state)
    parts.append(np.asarray(state['logits'])[: len(rows)])
  whole = np.concatenate(parts)
  bad = ~np.isfinite(whole).all(1)
  if bad.any():
    raise errors.UserError(
      f'The network gives logits that are not finite for {bad.sum()} of {len(whole)} images, the '
      f'first of them number {bad.argmax()}.'
    )
  return whole


def filled(rows: np.ndarray, number: int) -> np.ndarray:
  """Returns rows filled up to a number of them with copies of the first.

  >>> filled(np.array([3, 4]), 4).tolist()
  [3, 4, 3, 3]
  """
  return np.concatenate([rows, np.repeat(rows[:1], number - len(rows), axis=0)])


def computed(network: Traced, name: str, step: Any, state: Any) -> Any:
  """Returns the state after step(state, weights) -> (state, {}), a program compiled once for each
  `name`."""
  sharding = program.common_sharding(state, network.weights)
  state = program.settle(state, sharding)
  weights = program.placer(sharding)(network.weights)
  if name not in network.programs:
    network.programs[name] = program.build(step, None, state, weights)
  return network.programs[name](state, weights)[0]
