"""A plain perceptron."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.models.linear import Linear
from jaxdistill.numerics import settled


class MLP(nn.Module):
  """Flattened pixels -> depth x [linear, ReLU] -> linear classifier, with PyTorch's default
  initialisation.

  Attributes:
    num_classes: outputs.
    width: units of every hidden layer.
    depth: number of hidden layers.
    dtype: of the computation.

  Returns:
    (logits float32 [n, num_classes], features: 'block1' ... 'blockD' [n, width], 'embedding' = the
    last of them).

  Source: the MLP of Zhao et al., ICLR 2021 (Dataset Condensation): two hidden layers of 128.

  >>> import jax, jax.numpy as jnp
  >>> (logits, features), _ = MLP(num_classes=10).init_with_output(jax.random.key(0),
  ...   jnp.zeros((2, 8, 8, 1)))
  >>> logits.shape, features['embedding'].shape
  ((2, 10), (2, 128))
  """

  num_classes: int
  width: int = 128
  depth: int = 2
  dtype: str = 'float32'
  choices: ClassVar[dict] = {}

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Every image size will do."""

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    features = {}
    x = x.reshape(len(x), -1)
    for block in range(1, self.depth + 1):
      x = nn.relu(Linear(self.width, dtype=jnp.dtype(self.dtype), name=f'linear{block}')(x))
      features[f'block{block}'] = x
    features['embedding'] = x
    return Linear(self.num_classes, name='classifier')(x), features
