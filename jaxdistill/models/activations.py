"""How much memory the activations of a network take, from shapes alone."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.models import normalisation
from jaxdistill.models.convolution import Conv, Maps
from jaxdistill.models.linear import Linear

_NORMS = (normalisation.InstanceNorm, normalisation.GroupNorm, normalisation.BatchNorm)
_LAYERS = (Conv, Linear, nn.LayerNorm, *_NORMS)


def count(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
  """Returns `models.activation_bytes`."""
  sizes = []

  def record(call, args, kwargs, context):
    output = call(*args, **kwargs)
    if context.method_name == '__call__' and isinstance(context.module, _LAYERS):
      sizes.append(_bytes(output, args))
    return output

  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  with nn.intercept_methods(record):
    jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), images)
  return sum(sizes)


def _bytes(output, args):
  """Of what a layer makes. A convolution may be left to the norm behind it, which gets it as an
  argument and may pool what it returns."""
  before = output if isinstance(output, Maps) else args[2] if len(args) > 2 else None
  if before is not None:
    output = jax.eval_shape(before.of, args[0])
  return math.prod(output.shape) * output.dtype.itemsize
