"""MLNTM: a matrix of labels whose transitions are counted from their correlations (Li et al.,
NeurIPS 2022)."""

from collections.abc import Callable, Mapping
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdistill import errors
from jaxdistill.label_noise import bce, corrections, evidence, multilabel_estimates, watched
from jaxdistill.label_noise.method import NET, Believed, Method, Phase, Setting
from jaxdistill.label_noise.multilabel_estimates import Choice, Estimator, Harmless
from jaxdistill.label_noise.watched import Watch
from jaxdistill.losses.classification import weighted_mean
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.scene import Scene

Correction = Literal['reweight', 'forward', 'backward', 'revision']
# The phases; the belief with T, float32 [q, 2, 2]; the part that revises it.
WARMUP, CORRECT = 'warmup', 'correct'
TRANSITION, SLACK = 'transition', 'slack'


def method(
  setting: Setting,
  *,
  correction: Correction = 'reweight',
  estimator: Estimator = 'mlntm',
  choice: Choice = 'medoid',
  harmless: Harmless = 'both',
  tau: float = 0.5,
  warmup_epochs: int = 0,
  selection_epoch: int = 0,
  averaged: int = 5,
  clip: float = 10.0,
  least_selected: int = 50,
  slack_rate: float = 5e-5,
) -> Method:
  """Returns MLNTM: a warm-up on the labels as they are, transitions by counting, and a training
  that corrects for them.

  The warm-up minimises binary cross-entropy. Small losses around an early epoch select labels that
  are taken for clean; how the other labels go with them, and how they go with the noisy label, give
  T[j], 2 x 2, for every label j. From the warm-up's best weights the training goes on with

      L = mean_i mean_j beta BCE(g_ij, y_ij),  beta = clean[y] / noisy[y],  noisy = T[j]^T clean,

  clean = (1 - g, g), without gradient through beta; or with another of the `corrections`. Best are
  the weights, and of each label the answers that Dual-T and T-max read, with the least loss on the
  held-out noisy labels; without such labels the last ones.

  Args:
    setting: what it is for.
    correction: 'reweight', 'forward' or 'backward', see `corrections`; 'revision': reweight with a
      learned slack, T + S, whose rows are made probabilities again.
    estimator: of T, see `multilabel_estimates.estimate`.
    choice: among the partners' candidates, see `multilabel_transition`.
    harmless: what is known of the flips: 'missing': no label was added, 'partial': none was taken
      away, 'both': nothing.
    tau: posterior of a small loss above which a label is selected.
    warmup_epochs: 0: the recipe's, as many as are trained with T.
    selection_epoch: the last epoch whose losses select; 0: the middle of the warm-up.
    averaged: epochs whose losses select, which end there; fewer where there are fewer.
    clip: largest norm of the warm-up's gradient.
    least_selected: of either value; with less, Dual-T is taken.
    slack_rate: learning rate of Adam for S, which descends L through beta, while the classifier
      does not.

  Raises:
    UserError: numbers out of their range.

  Source: Li et al. and their public code. Without a look at the true T, with `harmless` and Dual-T
    for labels with few selected examples in its place (our choices); 'revision' is T-Revision's
    (Xia et al., NeurIPS 2019), where the rows, and that S has a rate of its own, are our choices.
  """
  warmup_epochs = errors.whole('warmup_epochs', warmup_epochs) or setting.epochs
  last = errors.whole('selection_epoch', selection_epoch) or max(1, warmup_epochs // 2)
  kept = min(errors.whole('averaged', averaged, at_least=1), last)
  errors.whole('least_selected', least_selected)
  evidence.unit_interval(tau=tau)
  errors.real_numbers(clip=clip, slack_rate=slack_rate)
  if last > warmup_epochs:
    raise errors.UserError(
      f'selection_epoch is {last}; it must be one of the {warmup_epochs} epochs of the warm-up.'
    )
  if clip <= 0:
    raise errors.UserError(f'clip is {clip}; it must be above 0.')
  if slack_rate < 0:
    raise errors.UserError(f'slack_rate is {slack_rate}; it must be at least 0.')
  watch = Watch(setting, last, kept)

  def transition(early, best):
    return multilabel_estimates.estimate(
      estimator,
      setting.evidence.matrix,
      early,
      best,
      tau=tau,
      choice=choice,
      harmless=harmless,
      least_selected=least_selected,
    )

  phases = (
    _warm_up(setting, watch, warmup_epochs, clip),
    _corrected(setting, correction, slack_rate, _beginning(watch, warmup_epochs, transition)),
  )
  return Method(phases, believe=_believing(setting))


class Slack(nn.Module):
  """T + S with rows that are made probabilities again: negative numbers are 0, and the sum is 1. S
  is 0 at first.

  >>> exact = jnp.eye(2)[None]
  >>> Slack().init_with_output(jax.random.key(0), exact)[0]['transition'].tolist()
  [[[1.0, 0.0], [0.0, 1.0]]]
  """

  @nn.compact
  def __call__(self, transition: jax.Array) -> dict[str, jax.Array]:
    slack = self.param('slack', nn.initializers.zeros, transition.shape)
    revised = jnp.maximum(transition + slack, 0)
    return {TRANSITION: revised / jnp.maximum(revised.sum(-1, keepdims=True), 1e-6)}


def _warm_up(setting, watch, epochs, clip):
  """Training on the labels as they are, while what it answers is kept."""
  optimizer = optax.chain(optax.clip_by_global_norm(clip), setting.optimizer(epochs))
  player = Player('', (NET,), (Term('bce', bce.loss),), optimizer)
  game = Game({NET: Part(setting.network)}, (player,), beliefs=watch.beliefs)
  return Phase(
    WARMUP, game, epochs, tables=bce.tables(setting), refresh=watch.refresh, first=1, every=1
  )


def _beginning(watch: Watch, epochs: int, transition: Callable):
  """What the corrected training begins with: the best weights of the warm-up, and T."""

  def begin(ended, look):
    beliefs = watch.after(ended[WARMUP], look, epochs)
    answers = zip(beliefs[watched.EARLY], beliefs[watched.BEST_LABELS]['probabilities'])
    matrices = np.stack([transition(early, best) for early, best in answers])
    best = beliefs[watched.BEST]['variables'].items()
    variables = {collection: {NET: tree} for collection, tree in best}
    return {**variables, 'beliefs': {TRANSITION: matrices.astype(np.float32)}}

  return begin


def _corrected(setting, correction, slack_rate, begin):
  """Training that corrects for T."""
  parts = {NET: Part(setting.network)}
  beliefs = {TRANSITION: lambda key: jnp.tile(jnp.eye(2), (setting.classes, 1, 1))}
  if correction == 'revision':
    parts[SLACK] = Part(Slack(), reads=lambda scene: (scene.beliefs[TRANSITION],))
    revised = lambda scene: scene[SLACK]
    loss = _loss(corrections.reweight, revised)
    slack_loss = _loss(corrections.revision, revised)
    players = (
      Player(NET, (NET,), (Term('reweight', loss),), setting.optimizer()),
      Player(SLACK, (SLACK,), (Term('revision', slack_loss),), optax.adam(slack_rate)),
    )
  else:
    loss = _loss(getattr(corrections, correction), lambda scene: scene.beliefs)
    players = (Player('', (NET,), (Term(correction, loss),), setting.optimizer()),)
  game = Game(parts, players, beliefs=beliefs)
  return Phase(CORRECT, game, setting.epochs, tables=bce.tables(setting), begin=begin)


def _loss(of_labels: Callable, source: Callable[[Scene], Mapping]) -> Callable[[Scene], jax.Array]:
  """The mean over labels and rows of a correction by the T of a source."""

  def loss(scene):
    losses = of_labels(scene[NET]['logits'], scene.batch[bce.NOISY], source(scene)[TRANSITION])
    return weighted_mean(losses.mean(-1), scene.batch['weight'])

  return loss


def _believing(setting):
  """What the networks think: T, and of every label how likely it is there, by its noisy value and
  the answer."""

  def believe(variables, look):
    logits = look(variables, NET, 'train')['logits']
    transition = np.asarray(variables['beliefs'][TRANSITION])
    if SLACK in variables['params']:
      slack = variables['params'][SLACK]
      transition = jax.vmap(lambda slack, t: Slack().apply({'params': slack}, t)[TRANSITION])(
        slack, transition
      )
    noisy = setting.evidence.matrix
    labels = jax.vmap(corrections.posterior, in_axes=(0, None, 0))(logits, noisy, transition)
    return Believed(np.asarray(labels), transition=np.asarray(transition))

  return believe
