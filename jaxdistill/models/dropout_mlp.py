"""A perceptron with dropout, for features that were computed beforehand."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.models import normalisation
from jaxdistill.models.dropout import Dropout
from jaxdistill.models.linear import Linear
from jaxdistill.models.mlp import MLP
from jaxdistill.numerics import settled


class DropoutMLP(MLP):
  """Flattened input -> depth x [norm, linear, ReLU, dropout] -> norm -> linear classifier, with
  PyTorch's default initialisation.

  It reads maps, images, and plain vectors [n, d]. In training it needs random numbers:
  apply(variables, x, train=True, rngs={'dropout': key}, ...). Attributes as those of MLP, and

  Attributes:
    dropout: probability with which an activation is dropped, in [0, 1).
    norm: 'batch': batch norm before every linear layer; 'none'.

  Returns:
    (logits float32 [n, num_classes], features: 'block1' ... 'blockD' [n, width] behind each ReLU,
    'embedding' what the classifier reads).

  Source: the head of LabelMe's features (Rodrigues & Pereira, AAAI 2018; TCL, Li et al., IEEE TMM
  2022), without norm: with 8192 features and 8 classes it has 1,049,736 parameters. With norm, that
  of the literature for the features of MUSIC: with 124 features and ten classes 17,794.

  >>> import jax, jax.numpy as jnp
  >>> net = DropoutMLP(num_classes=8)
  >>> (logits, features), _ = net.init_with_output(jax.random.key(0), jnp.zeros((2, 4, 4, 512)))
  >>> logits.shape, features['embedding'].shape
  ((2, 8), (2, 128))
  """

  depth: int = 1
  dropout: float = 0.5
  norm: str = 'none'
  choices: ClassVar[dict] = {'norm': ('batch', 'none')}

  @property
  def random(self) -> bool:
    """Whether it draws random numbers in training."""
    return self.dropout > 0

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for a dropout outside of [0, 1); every image size will do."""
    errors.real_numbers(dropout=self.dropout)
    if not 0 <= self.dropout < 1:
      raise errors.UserError(
        f'The dropout of a dropout_mlp is a probability from 0 to below 1; got {self.dropout}.'
      )

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    dtype, features = jnp.dtype(self.dtype), {}
    norm = normalisation.norm(self.norm, dtype)
    # The layer reads maps: a vector is one pixel.
    x = x.reshape(len(x), 1, 1, -1)
    for block in range(1, self.depth + 1):
      x = norm(name=f'norm{block}')(x, train)
      x = nn.relu(Linear(self.width, dtype=dtype, name=f'linear{block}')(x))
      features[f'block{block}'] = x.reshape(len(x), -1)
      x = Dropout(self.dropout, name=f'dropout{block}')(x, train)
    x = norm(name=f'norm{self.depth + 1}')(x, train)
    features['embedding'] = x.reshape(len(x), -1)
    return Linear(self.num_classes, name='classifier')(features['embedding']), features
