"""From a step function to compiled programs: where arrays go, and which program computes which
step."""

import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxdistill import backend, draws
from jaxdistill.training import parallel, surroundings

MAX_STEPS_PER_CALL = 50
# Sampling must not share random bits with the step, which folds step numbers into the same key: no
# run gets this far.
_SAMPLING = 0xFFFFFFFF
# Enough for a job that comes back to its programs: continual learning in ten steps has one for each
# number of classes seen, in every order of the classes again, beside those that condense.
_KEPT = 32
_compiled: dict[tuple, Any] = {}


@flax.struct.dataclass
class Metrics:
  """The metrics of the steps of one call, side by side: values float32 [steps, m]; layout ((name,
  shape), ...)."""

  values: jax.Array
  layout: tuple = flax.struct.field(pytree_node=False)


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled program of `length` steps: call(state, inputs) -> state, Metrics; it reuses the
  memory of `state`."""

  length: int
  lowered: Any
  compiled: Any
  seconds: float

  def __call__(self, state: Any, inputs: Any) -> tuple[Any, Metrics]:
    return self.compiled(state, inputs)


def build(
  step: Callable, sample: Callable | None, state: Any, inputs: Any, length: int = 1
) -> Program:
  """Compiles `length` steps ahead of time, for arrays that lie where `settle` and `placer` put
  them.

  A program that was compiled lately is not compiled again, even where its step comes from another
  factory: the same text of a program on the same devices is the same program (an estimate and its
  run; two sets of equal size).

  Raises:
    TypeError: the step changes the structure, a shape or a type of the state.
  """
  shardings, structure = jax.tree.flatten(jax.tree.map(lambda leaf: leaf.sharding, state))
  started = time.perf_counter()
  replicated = common_sharding(state, inputs)
  jitted = _jitted(step, sample, length, structure, tuple(shardings), replicated)
  with backend.compiling_for(next(iter(replicated.device_set)).platform):
    lowered = jitted.lower(state, inputs)
  # Types too: a typed key is plain numbers in the text of a program.
  compiled = _compile(
    lowered, tuple((leaf.sharding, leaf.dtype) for leaf in jax.tree.leaves((state, inputs)))
  )
  return Program(length, lowered, compiled, time.perf_counter() - started)


def _compile(lowered, arguments):
  text = lowered.as_text()
  # What a call back to Python does is not in the text; nor are, by this option of JAX, the arrays
  # that a step closes over.
  if 'callback' in text or getattr(jax.config, 'jax_use_simplified_jaxpr_constants', False):
    return lowered.compile()
  # How XLA compiles is not in the text either, and may be set in Python on the way.
  options = tuple(surroundings.settings().items())
  digest = hashlib.sha256(text.encode()).digest()
  key = (digest, lowered.in_tree, lowered.out_tree, arguments, options)
  compiled = _compiled.pop(key, None) or lowered.compile()
  _compiled[key] = compiled  # the newest at the end
  while len(_compiled) > _KEPT:
    del _compiled[next(iter(_compiled))]
  return compiled


@functools.lru_cache(maxsize=_KEPT)
def _jitted(step, sample, length, structure, shardings, replicated):
  def one(state, inputs):
    batch = inputs if sample is None else sample(inputs, sampling_key(state.key), state.step)
    new, metrics = step(state, batch)
    return _like(new, state), _packed(metrics)

  def several(state, inputs):
    from jaxdistill.models import convolution

    with convolution.inside_loop():
      return jax.lax.scan(lambda carry, _: one(carry, inputs), state, None, length=length)

  return jax.jit(
    one if length == 1 else several,
    donate_argnums=0,
    out_shardings=(jax.tree.unflatten(structure, shardings), replicated),
  )


def sampling_key(key: jax.Array) -> jax.Array:
  """Returns the key that `sample` gets where the state has `key`."""
  return _fold(_typed(key), _SAMPLING)


def _typed(key):
  return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else draws.typed(key)


def _fold(key, number):
  return (
    jax.random.fold_in(key, number)
    if key.ndim == 0
    else jax.vmap(lambda one: _fold(one, number))(key)
  )


def _like(new, old):
  """Checks that a step keeps the form of the state, and gives Python scalars in it their fixed
  type."""
  if jax.tree.structure(new) != jax.tree.structure(old):
    raise TypeError(
      f'The step must return a state of the same structure: it got {jax.tree.structure(old)} '
      f'and returned {jax.tree.structure(new)}.'
    )

  def leaf(path, before, after):
    after = jnp.asarray(after)
    if (before.shape, before.dtype) != (after.shape, after.dtype):
      raise TypeError(
        f'The step must keep the form of the state: {jax.tree_util.keystr(path)} was {before.dtype}'
        f'{list(before.shape)} and became {after.dtype}{list(after.shape)}.'
      )
    return _strong(after)

  return jax.tree_util.tree_map_with_path(leaf, old, new)


def _packed(metrics: dict[str, Any]) -> Metrics:
  """One vector instead of many scalars: one transfer to the host a call."""
  arrays = {name: jnp.asarray(metrics[name], jnp.float32) for name in sorted(metrics)}
  layout = tuple((name, array.shape) for name, array in arrays.items())
  return Metrics(
    jnp.concatenate([jnp.ravel(array) for array in arrays.values()] or [jnp.zeros(0, jnp.float32)]),
    layout,
  )


def common_sharding(*trees: Any) -> jax.sharding.Sharding:
  """Returns where an array goes that has no place yet: replicated over the mesh of the others, else
  on their device."""
  arrays = (jax.Array, jax.ShapeDtypeStruct)
  leaves = [leaf for leaf in jax.tree.leaves(trees) if isinstance(leaf, arrays)]
  for leaf in leaves:
    if isinstance(leaf.sharding, NamedSharding):
      return NamedSharding(leaf.sharding.mesh, PartitionSpec())
  for leaf in leaves:
    if isinstance(leaf, jax.Array) and leaf.committed:
      return leaf.sharding
  return jnp.zeros(()).sharding


def placer(sharding: jax.sharding.Sharding) -> Callable[[Any], Any]:
  """Returns the function that puts a pytree on the devices: leaves on a mesh stay, the others go to
  `sharding`."""

  def place(tree):
    return jax.tree.map(lambda leaf: parallel.put(leaf, _goal(leaf, sharding)), tree)

  return place


def settle(state: Any, sharding: jax.sharding.Sharding) -> Any:
  """Returns a copy of the state on the devices; the loop may destroy it without harm to the
  caller's arrays."""
  # In two steps: sending an array to a mesh shares its memory on the device where it already is.
  here = jax.tree.map(
    lambda leaf: leaf if isinstance(leaf, jax.Array) else jax.device_put(np.asarray(leaf)), state
  )
  copy = jax.device_put(here, jax.tree.map(lambda leaf: leaf.sharding, here), may_alias=False)
  return jax.tree.map(_strong, placer(sharding)(copy))


def _strong(leaf):
  """A number that came from a Python scalar bends to other types; in a state it must not."""
  return (
    jax.lax.convert_element_type(leaf, leaf.dtype) if getattr(leaf, 'weak_type', False) else leaf
  )


def _goal(leaf, sharding):
  return (
    leaf.sharding
    if isinstance(leaf, jax.Array) and isinstance(leaf.sharding, NamedSharding)
    else sharding
  )


def steps_per_call(requested: int, platform: str, interval: int) -> int:
  """Returns how many steps one call computes: `requested`, or for 0 what suits the backend.

  One on CPU, whose convolutions inside compiled loops are an order of magnitude slower. Elsewhere
  the number up to 50 that covers an interval (of evaluation, else of checkpoints) in the fewest
  calls.

  >>> steps_per_call(0, 'gpu', 500), steps_per_call(0, 'gpu', 79), steps_per_call(0, 'cpu', 500)
  (50, 39, 1)
  """
  if requested or platform == 'cpu':
    return requested or 1
  candidates = range(1, min(MAX_STEPS_PER_CALL, interval) + 1)
  return min(candidates, key=lambda k: (interval // k + interval % k, k), default=1)


def call_length(step: int, per_call: int, num_steps: int, intervals: Sequence[int] = ()) -> int:
  """Returns the number of steps (per_call or 1) of the call that begins at `step`.

  Blocks of `per_call` steps are counted from the last point at which something is evaluated, every
  so many steps for each of `intervals`; what is left before the next one, or before the end, goes
  step by step. So the program that computes a step depends on its number alone, never on where a
  run was stopped.

  >>> [call_length(step, 4, 10) for step in (0, 4, 8, 9)]
  [4, 4, 1, 1]
  >>> [call_length(step, 2, 10, (3, 4)) for step in range(5)]
  [2, 1, 1, 1, 2]
  """
  base = max((step - step % interval for interval in intervals), default=0)
  end = min([num_steps, *(step - step % interval + interval for interval in intervals)])
  return per_call if (step - base) % per_call == 0 and step + per_call <= end else 1
