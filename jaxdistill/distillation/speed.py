"""How fast a network answers, to stand beside its accuracy."""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.data import augment
from jaxdistill.data.transform import Transform
from jaxdistill.numerics import settled
from jaxdistill.training import interrupt

# One image, as it comes, and so many that the device is full.
BATCHES = (1, 256)
_LEAST, _MOST = 5, 1000  # calls that are timed


@settled()
def images_per_second(
  network: nn.Module,
  variables: Mapping[str, Any],
  image_shape: Sequence[int],
  *,
  view: Transform | None = None,
  batches: Sequence[int] = BATCHES,
  seconds: float = 1.0,
) -> dict[int, float]:
  """Times a compiled network on the default device, from uint8 images there to logits.

  Of each size of batch the program runs once untimed, then for about so many seconds, at least five
  times, each call ended before the next begins; the median call counts. Compiling and the way of
  the images to the device are not in it.

  Args:
    network: of `models.build`.
    variables: its weights.
    image_shape: (h, w, c) of the images that the program begins with.
    view: what it does to them before the network, such as `data.crops.Resize`: then `image_shape`
      is native and the time includes the resizing. None: nothing; `image_shape` is what the network
      reads.
    batches: images a call.
    seconds: for each size of batch.

  Returns:
    Images a second by size of batch.

  Raises:
    UserError: for a size of batch below 1.

  >>> from jaxdistill import models
  >>> network = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 3, (4, 4, 1))
  >>> variables = network.init(jax.random.key(0), np.zeros((1, 4, 4, 1), np.float32))
  >>> speeds = images_per_second(network, variables, (4, 4, 1), batches=(1, 8), seconds=0.01)
  >>> sorted(speeds), speeds[8] > 0
  ([1, 8], True)
  """
  sizes = [errors.whole('batch', batch, at_least=1) for batch in batches]
  half = (0.5,) * image_shape[-1]

  def forward(variables, images):
    unit = images.astype(jnp.float32) / 255
    unit = unit if view is None else view(None, unit)
    return network.apply(variables, augment.normalise(unit, half, half), train=False)[0]

  generator, speeds = np.random.default_rng(0), {}
  variables = jax.device_put(variables)
  for size in sizes:
    images = jax.device_put(generator.integers(0, 256, (size, *image_shape), np.uint8))
    compiled = jax.jit(forward).lower(variables, images).compile()
    speeds[size] = size / _median_seconds(compiled, (variables, images), seconds)
  return speeds


def _median_seconds(function, arguments, seconds):
  """Of a call, see `images_per_second`."""
  jax.block_until_ready(function(*arguments))
  calls, end = [], time.perf_counter() + seconds
  while len(calls) < _LEAST or len(calls) < _MOST and time.perf_counter() < end:
    started = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    calls.append(time.perf_counter() - started)
    interrupt.check()
  return statistics.median(calls)
