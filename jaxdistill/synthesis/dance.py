"""DANCE: dual-view distribution alignment for dataset condensation (Zhang et al., IJCAI 2024, arXiv
2406.01063).

Inner-class view: class means are matched under middle encoders, random interpolations between the
start and the end of a network's training on the real set. Inter-class view: the trained network,
the expert, must recognise the synthetic images.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import draws, errors, losses
from jaxdistill.synthesis import engine
from jaxdistill.training.pretrained import Wanted

ENCODERS = ('middle', 'random')
# Folded into the key in place of a step, so that the choice of an expert shares no random bits with
# a fresh network.
_EXPERTS = 2**32 - 3


def plugs(
  model: nn.Module,
  image_shape: tuple[int, int, int],
  *,
  experts: int = 5,
  encoders: str = 'middle',
  calibrate: bool = True,
) -> engine.Plugs:
  """Fills the engine's plug points for DANCE.

  Each iteration draws an expert k and lambda ~ U(0, 1), one pair for all classes:
    theta = lambda theta_k(start) + (1 - lambda) theta_k(end),
    L_inner = || mean f_theta(synthetic) - mean f_theta(real) ||^2, summed over features, then
    L_inter = mean cross-entropy of the expert k on the synthetic images, in a step of its own.

  Args:
    model: the network.
    image_shape: (h, w, c).
    experts: networks in the pool.
    encoders: 'middle', or 'random' for a new random network every iteration, an ablation.
    calibrate: whether L_inter follows; False is an ablation.

  Returns:
    Plugs. They expect the `pretrained.Pool` that the method wants.

  Raises:
    UserError: for an unknown kind of encoders or an empty pool.

  Source: the paper and its public code. There the random encoder of the ablation is never redrawn;
  here it is, which makes it DM (our choice).
  """
  if encoders not in ENCODERS:
    raise errors.unknown('kind of encoders', encoders, ENCODERS)
  if experts < 1:
    raise errors.UserError(f'DANCE needs at least one expert; its experts are {experts}.')
  fresh = engine.fresh_networks(model, image_shape, every=1)

  def draw(pool, key, step):
    key_k, key_lambda = draws.split(jax.random.fold_in(jax.random.fold_in(key, _EXPERTS), step))
    start, end = (
      jax.tree.map(lambda a: a[draws.integers(key_k, (), 0, experts)], end) for end in pool
    )
    if encoders == 'random':  # the very networks that DM draws
      return fresh((), key, step)._replace(expert=end)
    return engine.Networks(interpolate(start, end, draws.uniform(key_lambda)), expert=end)

  return engine.Plugs(draw, losses.mean_discrepancy, _calibration if calibrate else None)


def wants(
  *, experts: int = 5, expert_epochs: int = 60, expert_batch: int = 64, expert_steps: int = 0
) -> Wanted:
  """Says which networks DANCE trains first, its phase 1.

  Args:
    experts: their number.
    expert_epochs: passes over the real set; 0: 60.
    expert_batch: images a step; 0: 64.
    expert_steps: steps in place of epochs; 0: from the epochs.

  Returns:
    The experts, in the recipe of the public code.
  """
  return Wanted(experts, epochs=expert_epochs, batch=expert_batch, steps=expert_steps)


def interpolate(start: Any, end: Any, share: jax.Array | float) -> Any:
  """Returns share * start + (1 - share) * end for every parameter: share 0 is the expert, 1 the
  untrained network.

  >>> float(interpolate(jnp.float32(1), jnp.float32(3), 0.25))
  2.5
  """
  return jax.tree.map(lambda a, b: share * a + (1 - share) * b, start, end)


def _calibration(logits, label):
  return losses.cross_entropy(logits, jnp.full(len(logits), label))
