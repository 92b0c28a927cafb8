"""ELR: early-learning regularisation (Liu et al., NeurIPS 2020)."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.label_noise.method import NET, Believed, Method, Phase, Setting
from jaxdistill.losses.classification import cross_entropy, weighted_mean
from jaxdistill.training.game import Game, Part, Player, Term

# The term, and what it remembers.
ELR = 'elr'
_TINY = 1e-4


def method(setting: Setting, *, lam: float = 3.0, beta: float = 0.7) -> Method:
  """Returns ELR: a network is held at what it answered early on.

      L = mean_i CE(f(x_i), y_i) + lam log(1 - <p_i, t_i>)
      t_i <- beta t_i + (1 - beta) p_i / sum_c p_i(c),   t_i = 0 at first, moved before it is used

  with p_i = softmax(f(x_i)) clipped to [1e-4, 1 - 1e-4]; t_i has no gradient.

  Args:
    setting: what it is for.
    lam: lambda; 3, on CIFAR-100 7.
    beta: share of a target that stays; .7, on CIFAR-100 .9.

  Raises:
    UserError: a number out of range.

  Source: the public code of Liu et al.
  """
  errors.real_numbers(lam=lam, beta=beta)
  if lam < 0:
    raise errors.UserError(f'lam is {lam}; it must be at least 0.')
  if not 0 <= beta < 1:
    raise errors.UserError(f'beta is {beta}; it must be from 0 to below 1.')

  def ce(scene):
    return cross_entropy(scene[NET]['logits'], scene.batch['labels'], scene.batch['weight'])

  def pull(scene):
    targets = moved_targets(scene.memory, scene[NET]['logits'], scene.batch, beta)
    return regulariser(scene[NET]['logits'], targets, scene.batch), targets

  def nothing_yet(key):
    return jnp.zeros((len(setting.evidence), setting.classes))

  terms = (Term('ce', ce), Term(ELR, pull, lam, nothing_yet))
  game = Game({NET: Part(setting.network)}, (Player('', (NET,), terms, setting.optimizer()),))
  return Method((Phase(ELR, game, setting.epochs),), believe=believe)


def moved_targets(targets: jax.Array, logits: jax.Array, batch, beta: float) -> jax.Array:
  """Returns the targets [n, C] of the whole set after a batch.

  Args:
    targets: those before.
    logits: [b, C].
    batch: with 'index' [b], where each row stands in the set, and 'weight' [b]; a row of weight 0
      moves nothing.
    beta: share that stays.

  >>> batch = {'index': jnp.array([1]), 'weight': jnp.ones(1)}
  >>> moved_targets(jnp.zeros((2, 2)), jnp.zeros((1, 2)), batch, 0.5).tolist()
  [[0.0, 0.0], [0.25, 0.25]]
  """
  p = jax.lax.stop_gradient(_clipped(logits))
  p = p / p.sum(-1, keepdims=True)
  # A row that fills up a batch stands nowhere: beyond the end nothing is written.
  index = jnp.where(batch['weight'] > 0, batch['index'], len(targets))
  moved = beta * targets[batch['index']] + (1 - beta) * p
  return targets.at[index].set(moved, mode='drop')


def regulariser(logits: jax.Array, targets: jax.Array, batch) -> jax.Array:
  """Returns the mean of log(1 - <p_i, t_i>), with the targets [n, C] of the whole set."""
  agreement = (_clipped(logits) * targets[batch['index']]).sum(-1)
  return weighted_mean(jnp.log(1 - agreement), batch['weight'])


def believe(variables, look) -> Believed:
  """Returns the targets as probabilities; of an example that no step has seen all are alike."""
  targets = np.asarray(variables['memory'][ELR], np.float64)
  total = targets.sum(2, keepdims=True)
  alike = np.full_like(targets, 1 / targets.shape[2])
  return Believed(labels=np.where(total > 0, targets / np.where(total > 0, total, 1), alike))


def _clipped(logits):
  return jnp.clip(jax.nn.softmax(logits), _TINY, 1 - _TINY)
