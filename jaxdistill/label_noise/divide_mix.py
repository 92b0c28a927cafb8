"""DivideMix: labels with large losses are dropped, and their images guessed (Li, Socher and Hoi,
ICLR 2020)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.errors import UserError
from jaxdistill.estimation import mixtures
from jaxdistill.label_noise import mixmatch
from jaxdistill.label_noise.co_teaching import OTHER
from jaxdistill.label_noise.method import NET, Believed, Method, Phase, Setting
from jaxdistill.label_noise.mixmatch import CLEAN, VIEWS
from jaxdistill.losses.classification import cross_entropy, weighted_mean
from jaxdistill.training import outputs
from jaxdistill.training.game import Game, Part, Player, Term

NETWORKS = (NET, OTHER)
# What is believed of each label beside `mixmatch.CLEAN`: its losses of the last epochs.
LOSSES = 'losses'
# A loss of an epoch that is still to come, below all others: a checkpoint holds finite numbers.
_UNKNOWN = -1.0


def method(
  setting: Setting,
  *,
  warmup: int = 10,
  threshold: float = 0.5,
  temperature: float = 0.5,
  alpha: float = 4.0,
  lambda_u: float = 25.0,
  ramp: int = 16,
  averaged: int = 1,
  penalty: float = 0.0,
) -> Method:
  """Returns DivideMix; its two networks answer together, by the mean of their logits.

  'warmup': CE + penalty sum_c p log p on all labels. Then, before every epoch, each network's
  losses CE(f(x_i), y_i), in eval mode and scaled to [0, 1], are fitted by a mixture of two
  Gaussians; w_i, the probability of the one with the lower mean, says how clean a label is.
  In a step each network gets, by the w of the other one, a batch of examples with w_i > threshold
  and one of the rest, two weak views of each, and learns by `mixmatch.losses`.

  Args:
    setting: what it is for; its epochs are those of both phases.
    warmup: epochs before the labels are divided; 10, on CIFAR-100 30.
    threshold: of w.
    temperature: T, by which what the networks guess is sharpened: p^(1 / T), scaled to sum 1.
    alpha: of mixup, Beta(alpha, alpha).
    lambda_u: weight of the guessed labels; 25, for less noise 0, for more up to 150.
    ramp: epochs in which that weight rises from 0; 0: it does not.
    averaged: epochs whose losses are averaged; 1, with 90 % symmetric noise 5.
    penalty: against sure answers in the first phase; 1 for asymmetric noise.

  Raises:
    UserError: a number out of range.

  Source: the public code of Li et al. Ours: both networks move in one step, where theirs move epoch
    by epoch in turn; an epoch has as many steps as a pass over all examples, where theirs has one
    pass over the clean ones; batch normalisation takes both networks' images for the guesses;
    the rate drops at its share of the epochs behind the warm-up, whose batches are no larger than
    the others; and where no example is left in a half, all are in it.
  """
  _check(setting, warmup, threshold, lambda_u, ramp, averaged, penalty)
  mix = mixmatch.Settings(setting.batch, temperature, alpha)

  def weight(step):
    if not ramp:
      return jnp.float32(lambda_u)
    return lambda_u * jnp.clip(step / setting.epoch_steps / ramp, 0, 1)

  def player(number):
    losses = functools.partial(mixmatch.losses, names=NETWORKS, number=number, mix=mix)
    terms = (
      Term('labelled', lambda scene: losses(scene).labelled),
      Term('unlabelled', lambda scene: losses(scene).unlabelled, weight),
      Term('prior', lambda scene: losses(scene).prior),
    )
    name = NETWORKS[number]
    return Player(name, (name,), terms, setting.optimizer(epochs))

  def refresh(variables, look, step):
    return divided(variables, look, setting.evidence.labels)

  epochs, views = setting.epochs - warmup, setting.views(dict.fromkeys(VIEWS, setting.weak))
  nothing_yet = {
    CLEAN: lambda key: jnp.zeros((2, len(setting.evidence))),
    LOSSES: lambda key: jnp.full((2, averaged, len(setting.evidence)), _UNKNOWN),
  }
  game = Game(
    mixmatch.parts(setting.network, NETWORKS, mix),
    (player(0), player(1)),
    beliefs=nothing_yet,
  )
  phases = (
    Phase('warmup', _warmup(setting, penalty), warmup, views=views),
    Phase(
      'divide_mix',
      game,
      epochs,
      views=views,
      begin=lambda ended, look: dict(ended['warmup']),
      refresh=refresh,
      rows=functools.partial(rows, threshold=threshold, batch=setting.batch),
      chosen=functools.partial(chosen, threshold=threshold),
    ),
  )
  return Method(
    phases,
    answer=functools.partial(answer, setting.network),
    believe=functools.partial(believe, threshold=threshold),
  )


def _warmup(setting, penalty):
  """Both networks on all labels, each on a view of its own."""

  def player(name):
    def loss(scene):
      log_p = jax.nn.log_softmax(scene[name]['logits'])
      certainty = weighted_mean((jnp.exp(log_p) * log_p).sum(-1), scene.batch['weight'])
      ce = cross_entropy(scene[name]['logits'], scene.batch['labels'], scene.batch['weight'])
      return ce + penalty * certainty

    return Player(name, (name,), (Term('ce', loss),), setting.optimizer(constant=True))

  parts = {name: Part(setting.network, view) for name, view in zip(NETWORKS, VIEWS)}
  return Game(parts, tuple(map(player, NETWORKS)))


def rows(
  key: jax.Array, step: jax.Array, beliefs, *, threshold: float, batch: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the positions [4 batch] of a step and their weights, all 1: the labelled and the
  unlabelled half of the first network, then those of the second.

  Each half goes through shuffled passes of its examples, see `data.samplers`.

  >>> beliefs = {'clean': jnp.array([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])}
  >>> index, _ = rows(jax.random.key(0), 0, beliefs, threshold=0.5, batch=2)
  >>> sorted(index[:2].tolist()), index[2:6].tolist(), sorted(index[6:].tolist())
  ([0, 1], [2, 2, 2, 2], [0, 1])
  """
  index = []
  for number, clean in enumerate(beliefs[CLEAN][::-1]):  # each has the other one's belief
    for half, chosen in enumerate((clean > threshold, clean <= threshold)):
      index.append(
        mixmatch.members(jax.random.fold_in(key, 2 * number + half), step, chosen, batch)
      )
  return jnp.concatenate(index), jnp.ones(4 * batch)


def divided(variables, look, labels: np.ndarray) -> dict[str, np.ndarray]:
  """Returns how clean each of R pairs of networks thinks each label is, [R, 2, n], and the losses
  [R, 2, averaged, n] that say so, the last ones first.

  Args:
    variables: of the R pairs, with the losses of before.
    look: see `method.Look`.
    labels: int [n].
  """
  latest = np.stack(
    [scaled_losses(look(variables, name)['logits'], labels) for name in NETWORKS], 1
  )
  before = np.asarray(variables['beliefs'][LOSSES])
  losses = np.concatenate([latest[:, :, None], before], 2)[:, :, : before.shape[2]]
  mean = jnp.asarray(losses.mean(2, where=losses >= 0), jnp.float32)
  clean = mixtures.posterior(mixtures.fit(mean), mean)[..., 0]
  return {CLEAN: np.asarray(clean), LOSSES: losses.astype(np.float32)}


def scaled_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the cross-entropies [R, n] of logits [R, n, C], those of each network scaled to [0, 1];
  0 where all are equal.

  >>> scaled_losses(np.array([[[9.0, 0.0], [0.0, 0.0], [0.0, 9.0]]]), np.array([0, 0, 0])).round(2)
  array([[0.  , 0.08, 1.  ]])
  """
  logits = np.asarray(logits, np.float64)
  chosen = np.take_along_axis(logits, labels[None, :, None], 2)[..., 0]
  top = logits.max(2)
  losses = top + np.log(np.exp(logits - top[..., None]).sum(2)) - chosen
  losses -= losses.min(1, keepdims=True)
  span = losses.max(1, keepdims=True)
  return losses / np.where(span > 0, span, 1)


def answer(network, variables, images: jax.Array) -> jax.Array:
  """Returns what both networks say of images, the softmax of their mean logits [n, C]."""
  logits = [
    outputs.apply(network, outputs.part_variables(variables, name), (images,), False)[0]['logits']
    for name in NETWORKS
  ]
  return jax.nn.softmax(sum(logits) / 2)


def believe(variables, look, *, threshold: float) -> Believed:
  """Returns what both networks answer to the training set, and which labels both together thought
  clean at the last division."""
  logits = sum(look(variables, name)['logits'] for name in NETWORKS) / 2
  confident = chosen(variables, look, threshold=threshold)
  return Believed(np.asarray(jax.nn.softmax(jnp.asarray(logits))), confident)


def chosen(variables, look, *, threshold: float) -> np.ndarray:
  """Returns which labels both networks together thought clean at the last division, bool [R, n]."""
  return np.asarray(variables['beliefs'][CLEAN]).mean(1) > threshold


def _check(setting, warmup, threshold, lambda_u, ramp, averaged, penalty):
  errors.whole('warmup', warmup, at_least=1)
  errors.whole('ramp', ramp)
  errors.whole('averaged', averaged, at_least=1)
  errors.real_numbers(threshold=threshold, lambda_u=lambda_u, penalty=penalty)
  setting.check_warmup('warmup', warmup, 'the labels are divided')
  if not 0 < threshold < 1:
    raise UserError(f'threshold is {threshold}; it must be between 0 and 1.')
  for name, value in dict(lambda_u=lambda_u, penalty=penalty).items():
    if value < 0:
      raise UserError(f'{name} is {value}; it must be at least 0.')
