"""DM: dataset condensation with distribution matching (Zhao and Bilen, WACV 2023, arXiv
2110.04181).

A new random network every iteration; the discrepancy of a class is the squared distance between the
mean embeddings of its synthetic and its real images.
"""

import flax.linen as nn

from jaxdistill import losses
from jaxdistill.synthesis import engine


def plugs(model: nn.Module, image_shape: tuple[int, int, int]) -> engine.Plugs:
  """Fills the engine's plug points for DM: L_c = || mean_i f(synthetic_i) - mean_j f(real_j) ||^2,
  summed over features.

  Args:
    model: the network.
    image_shape: (h, w, c).

  Returns:
    Plugs.

  Source: the paper and its public code.

  >>> import jax.numpy as jnp
  >>> from jaxdistill import models
  >>> model = models.build({'name': 'convnet', 'width': 4, 'depth': 1}, 2, (8, 8, 1))
  >>> float(plugs(model, (8, 8, 1)).discrepancy(jnp.ones((2, 3)), jnp.zeros((5, 3))))
  3.0
  """
  return engine.Plugs(engine.fresh_networks(model, image_shape, every=1), losses.mean_discrepancy)
