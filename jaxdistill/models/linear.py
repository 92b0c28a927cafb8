"""The linear layer of every network here, with PyTorch's default initialisation."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.models import initializers


class Linear(nn.Module):
  """y = x kernel + bias, kernel and bias ~ U(+-1/sqrt(d)) for inputs [..., d].

  Attributes:
    features: number of outputs.
    dtype: of the computation; parameters stay float32. Classifiers keep float32, so that logits are
      exact to float32 even behind a bfloat16 network.
    use_bias: whether a bias is added.
    kernel_init, bias_init: initialisers; None: PyTorch's default.

  >>> import jax, jax.numpy as jnp
  >>> Linear(3).init_with_output(jax.random.key(0), jnp.ones((2, 5)))[0].shape
  (2, 3)
  """

  features: int
  dtype: jnp.dtype = jnp.float32
  use_bias: bool = True
  kernel_init: Callable | None = None
  bias_init: Callable | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    init = initializers.torch_uniform(x.shape[-1])
    kernel = self.param('kernel', self.kernel_init or init, (x.shape[-1], self.features))
    y = x.astype(self.dtype) @ kernel.astype(self.dtype)
    if not self.use_bias:
      return y
    bias = self.param('bias', self.bias_init or init, (self.features,))
    return y + bias.astype(self.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
