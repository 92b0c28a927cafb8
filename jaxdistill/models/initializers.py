"""How weights start: PyTorch's defaults, which the condensation papers rely on, and He's for
residual networks."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import draws

# Kernel ~ N(0, 2 / (kh kw c_out)), which keeps the size of the gradient from layer to layer (He et
# al., ICCV 2015).
he_normal_fan_out = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


def torch_uniform(fan_in: int) -> Callable:
  """Uniform on +-1/sqrt(fan_in), so of standard deviation 1/sqrt(3 fan_in), for a kernel and for
  its bias alike.

  This is what PyTorch's convolution and linear layers do when nobody asks for anything else. flax
  has no such initialiser for biases, because a bias's own shape does not tell the fan-in.

  Args:
    fan_in: inputs of one output: kh * kw * c for a convolution, the input size for a linear layer.

  Returns:
    An initialiser (key, shape, dtype) -> array.

  Source: torch.nn.Conv2d and torch.nn.Linear, documented defaults.

  >>> import jax
  >>> bias = torch_uniform(16)(jax.random.key(0), (1000,))
  >>> bool((abs(bias) <= 0.25).all()), round(float(bias.std()), 2)
  (True, 0.14)
  """
  bound = fan_in**-0.5

  def init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    return draws.uniform(key, shape, -bound, bound, dtype)

  return init
