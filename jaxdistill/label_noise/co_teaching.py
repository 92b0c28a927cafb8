"""Co-teaching: two networks, each learning on the small losses of the other (Han et al., NeurIPS
2018)."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.label_noise.method import NET, Believed, Method, Phase, Setting
from jaxdistill.losses.classification import weighted_mean
from jaxdistill.training.game import Game, Part, Player, Term

# The part that is the second network.
OTHER = 'other'
# Exponents c of the epoch in R(t).
_EXPONENTS = {'root': 0.5, 'linear': 1.0, 'square': 2.0}

Growth = Literal['linear', 'root', 'square', 'constant']


def method(
  setting: Setting, *, tau: float = 0.2, warmup: int = 10, schedule: Growth = 'linear'
) -> Method:
  """Returns Co-teaching; the first of its two networks answers.

      L_a = mean over S_b of CE(f_a(x_i), y_i),   L_b = mean over S_a of CE(f_b(x_i), y_i)
      S_b: the floor(R(t) m) of a batch's m examples with the least CE(f_b(x_i), y_i), at least one
      R(t) = 1 - tau min(t^c / warmup, 1),   t finished epochs

  Both see the same images, and both move at once.

  Args:
    setting: what it is for.
    tau: share of the examples that is left out in the end: that of the wrong labels, or a guess.
    warmup: epochs after which it is left out, T_k; with 'constant' it is from the first step on.
    schedule: 'linear', 'root' and 'square' have c = 1, 1/2 and 2; 'constant' has R = 1 - tau.

  Raises:
    UserError: a number out of range.

  Source: Han et al.; floor, shared images and t = 0 in the first epoch as in their public code,
    whose last epoch of the growth is one earlier. 'constant' is ours.
  """
  errors.real_numbers(tau=tau)
  errors.whole('warmup', warmup, at_least=1)
  if not 0 <= tau < 1:
    raise errors.UserError(f'tau is {tau}; it must be from 0 to below 1.')

  def kept(step):
    return 1 - tau * grown(step // setting.epoch_steps, warmup, schedule)

  def player(name, peer):
    def loss(scene):
      scene = scene.gathered()
      return peer_loss(scene[name]['logits'], scene[peer]['logits'], scene.batch, kept(scene.step))

    return Player(name, (name,), (Term('ce', loss),), setting.optimizer())

  def believe(variables, look):
    return believed(variables, look, setting, tau)

  parts = {NET: Part(setting.network), OTHER: Part(setting.network)}
  game = Game(parts, (player(NET, OTHER), player(OTHER, NET)))
  chosen = lambda variables, look: believe(variables, look).confident
  return Method((Phase('co_teaching', game, setting.epochs, chosen=chosen),), believe=believe)


def grown(epoch: jax.Array, warmup: int, schedule: Growth) -> jax.Array:
  """Returns which part of tau is left out after so many epochs, see `method`.

  >>> [round(float(grown(epoch, 4, 'linear')), 2) for epoch in (0, 1, 4, 9)]
  [0.0, 0.25, 1.0, 1.0]
  """
  if schedule == 'constant':
    return jnp.ones(jnp.shape(epoch))
  epoch = jnp.asarray(epoch, jnp.float32)
  return jnp.minimum(epoch ** _EXPONENTS[schedule] / warmup, 1)


def peer_loss(logits: jax.Array, peer: jax.Array, batch, kept: jax.Array) -> jax.Array:
  """Returns the mean cross-entropy of the examples that another network has small losses of.

  Args:
    logits, peer: of the two networks on the whole batch, [n, C].
    batch: with 'labels' [n, C] and 'weight' [n].
    kept: share of the examples that count.

  >>> batch = {'labels': jnp.eye(2), 'weight': jnp.ones(2)}
  >>> sure, unsure = jnp.array([[3.0, 0.0], [3.0, 0.0]]), jnp.zeros((2, 2))
  >>> round(float(peer_loss(unsure, sure, batch, 0.5)), 4)   # log 2, of the first one
  0.6931
  """
  real = batch['weight'] > 0
  losses = jnp.where(real, _losses(peer, batch['labels']), jnp.inf)
  # A share that is exact in decimals may fall below a whole number by its rounding.
  number = jnp.maximum(jnp.floor(kept * real.sum() + 1e-4), 1)
  rank = jnp.argsort(jnp.argsort(losses))
  chosen = jax.lax.stop_gradient((rank < number) & real)
  return weighted_mean(_losses(logits, batch['labels']), chosen.astype(jnp.float32))


def believed(variables, look, setting: Setting, tau: float) -> Believed:
  """Returns what the networks answer, and the share 1 - tau of the set with the least loss in the
  mean of both."""
  answers = [look(variables, part)['logits'] for part in (NET, OTHER)]
  log_p = np.stack([np.asarray(jax.nn.log_softmax(jnp.asarray(logits))) for logits in answers])
  losses = -np.take_along_axis(log_p.mean(0), setting.evidence.labels[None, :, None], 2)[..., 0]
  number = max(int((1 - tau) * losses.shape[1] + 1e-4), 1)
  ranks = losses.argsort(1, kind='stable').argsort(1)
  return Believed(labels=np.exp(log_p[0]), confident=ranks < number)


def _losses(logits, labels):
  return -(labels * jax.nn.log_softmax(logits)).sum(-1)
