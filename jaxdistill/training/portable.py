"""A network as a program that runs with JAX alone: on CPUs, NVIDIA's GPUs and TPUs, for any number
of images."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from jaxdistill import backend
from jaxdistill.numerics import settled

PLATFORMS = ('cpu', 'cuda', 'tpu')


@settled()
def program_of(
  answer: Callable[[Any, jax.Array], jax.Array], weights: Any, image_shape: tuple[int, int, int]
) -> bytes:
  """Returns the program (weights, float32 images [n, h, w, c]) -> answers [n, C] as `jax.export`
  writes it, for all of `PLATFORMS` and any n.

  Args:
    answer: (weights, images [1, h, w, c]) -> [1, C].
    weights: a tree of arrays, or only of their shapes.
    image_shape: of the images.

  >>> import numpy as np
  >>> weights = {'w': np.ones((2, 3), np.float32)}
  >>> written = program_of(lambda w, x: x.reshape(1, -1) @ w['w'], weights, (1, 2, 1))
  >>> called(written)(weights, np.ones((4, 1, 2, 1), np.float32)).shape
  (4, 3)
  """

  def traced_for(platform):
    def answers(weights, images):
      def one(image):
        with backend.compiling_for(platform):
          return answer(weights, image[None])[0]

      # Image by image: whatever in a network reckons with the number of images knows it is one.
      return jax.vmap(one)(images)

    return answers

  def forward(weights, images):
    # The forms of layers that are fast on CPUs there, and the plain ones everywhere else.
    return jax.lax.platform_dependent(
      weights, images, cpu=traced_for('cpu'), default=traced_for('others')
    )

  (number,) = jax_export.symbolic_shape('n')
  forms = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), weights)
  images = jax.ShapeDtypeStruct((number, *image_shape), jnp.float32)
  return bytes(jax_export.export(jax.jit(forward), platforms=PLATFORMS)(forms, images).serialize())


def called(program: bytes) -> Callable[[Any, jax.Array], jax.Array]:
  """Returns what `program_of` wrote as a compiled function."""
  return jax.jit(jax_export.deserialize(bytearray(program)).call)
