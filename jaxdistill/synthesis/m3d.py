"""M3D: dataset condensation by minimising the maximum mean discrepancy (Zhang et al., AAAI 2024,
arXiv 2312.15927).

Random networks, each kept for a few iterations; the discrepancy of a class is the squared MMD
between the embeddings of its synthetic and its real images under a bank of five Gaussian kernels,
which matches all moments where DM matches the mean.
"""

import functools
from typing import Literal

import flax.linen as nn

from jaxdistill import errors, losses
from jaxdistill.synthesis import engine


def plugs(
  model: nn.Module,
  image_shape: tuple[int, int, int],
  *,
  kernel: Literal['gaussian', 'linear', 'polynomial'] = 'gaussian',
  iterations_per_network: int = 5,
) -> engine.Plugs:
  """Fills the engine's plug points for M3D.

  L_c = 1/n^2 sum k(F,F) - 2/(nm) sum k(F,G) + 1/m^2 sum k(G,G), F the embeddings of the n synthetic
  and G of the m real images.

  Args:
    model: the network.
    image_shape: (h, w, c).
    kernel: of `losses.mmd`.
    iterations_per_network: how long a random network is kept (the paper's IPM).

  Returns:
    Plugs.

  Raises:
    UserError: for networks that serve no iteration.

  Source: the paper; the bank of kernels and the bandwidth are those of the authors' code, see
    `losses.mmd`.

  >>> from jaxdistill import models
  >>> model = models.build({'name': 'convnet', 'width': 4, 'depth': 1}, 2, (8, 8, 1))
  >>> plugs(model, (8, 8, 1), kernel='linear').discrepancy.keywords
  {'kernel': 'linear'}
  """
  if iterations_per_network < 1:
    raise errors.UserError(
      f'iterations_per_network is {iterations_per_network}; it must be at least 1.'
    )
  return engine.Plugs(
    engine.fresh_networks(model, image_shape, iterations_per_network),
    functools.partial(losses.mmd, kernel=kernel),
  )
