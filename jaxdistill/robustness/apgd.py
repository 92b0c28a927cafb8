"""Auto-PGD: PGD with momentum that halves its step where the loss no longer rises, so that no
length of a step is left to choose.

Source: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks (ICML 2020), algorithm 1.
"""

from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.robustness import iteration, objectives, threat

_MOMENTUM = 0.75  # alpha
_RISING = 0.75  # rho: the share of steps that must raise the loss


def checkpoints(steps: int) -> list[int]:
  """Returns after which steps the length of a step is looked at: ceil(p_j N) with p_1 = .22 and
  p_(j+1) = p_j + max(p_j - p_(j-1) - .03, .06).

  >>> checkpoints(100)
  [22, 41, 57, 70, 80, 87, 93, 99]
  """
  marks, percent, gap = [], 22, 22
  while percent <= 100:
    marks.append(-(-percent * steps // 100))
    gap = max(gap - 3, 6)
    percent += gap
  return marks


@flax.struct.dataclass
class _Ascent(iteration.Search):
  targets: jax.Array  # int32 [b, turns], the class that each turn goes to
  points: jax.Array  # x_k
  before: jax.Array  # x_(k-1)
  loss: jax.Array  # f(x_k), [b]
  best: jax.Array  # x_max
  best_loss: jax.Array  # f_max, [b]
  best_gradient: jax.Array
  length: jax.Array  # eta, [b]
  rises: jax.Array  # steps since the last checkpoint that raised the loss, int32 [b]
  marked_loss: jax.Array  # f_max at the last checkpoint, [b]
  marked_at: jax.Array  # the step of the last checkpoint, int32
  halved: jax.Array  # whether eta was halved there, bool [b]


def _ascent(
  objective: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
  ball: threat.Ball,
  steps: int,
  turns: int,
) -> iteration.Attack:
  """Auto-PGD on objective(logits, labels, targets), one turn after the other, each from a random
  point of its own towards the next likely wrong class."""
  errors.whole('steps', steps, at_least=1)
  is_checkpoint = np.isin(np.arange(steps + 1), checkpoints(steps))

  def init(batch):
    images, row = batch.images, jnp.zeros(batch.labels.shape)
    return _Ascent(
      **iteration.beginning(batch, ball.eps),
      targets=objectives.ranked(batch.logits, batch.labels, turns),
      **dict.fromkeys(('points', 'before', 'best', 'best_gradient'), images),
      **dict.fromkeys(('loss', 'best_loss', 'length', 'marked_loss'), row),
      rises=jnp.zeros(row.shape, jnp.int32),
      marked_at=jnp.int32(0),
      halved=jnp.zeros(row.shape, bool),
    )

  def step(f, state):
    around = threat.Ball(state.eps, ball.norm)
    turn, k = jnp.divmod(state.number, steps + 1)
    targets = state.targets[:, turn]
    points = jax.lax.cond(
      k == 0,
      lambda: around.start(state.images, threat.fold(state.keys, turn)),
      lambda: state.points,
    )

    def losses(points):
      logits = f(points)
      loss = objective(logits, state.labels, targets)
      return jnp.sum(loss), (loss, logits)

    gradient, (loss, logits) = jax.grad(losses, has_aux=True)(points)
    state = state.record(points, logits)
    state = _climbed(state.replace(points=points), loss, gradient, k, around)
    state, gradient = _checked(state, gradient, k, jnp.asarray(is_checkpoint)[k])
    return _next(state, gradient, k, around).replace(number=state.number + 1)

  return iteration.Attack(init, (iteration.Phase(step, turns * (steps + 1)),))


def _climbed(state, loss, gradient, k, ball):
  """The state that knows the loss at x_k; x_0 begins everything anew."""
  first = k == 0
  better = first | (loss > state.best_loss)
  rises = jnp.where(first, 0, state.rises + (loss > state.loss))
  return state.replace(
    before=jnp.where(first, state.points, state.before),
    loss=loss,
    best=_chosen(better, state.points, state.best),
    best_loss=jnp.where(better, loss, state.best_loss),
    best_gradient=_chosen(better, gradient, state.best_gradient),
    length=jnp.where(first, 2 * ball.eps, state.length),
    rises=rises,
    marked_loss=jnp.where(first, loss, state.marked_loss),
    marked_at=jnp.where(first, 0, state.marked_at),
    halved=~first & state.halved,
  )


def _checked(state, gradient, k, checkpoint):
  """The state after a checkpoint, and the gradient at its point: where the loss rose too seldom, or
  did not rise over what it was at the last checkpoint with the same step, the step is halved and
  goes on from the best point."""
  seldom = state.rises < _RISING * (k - state.marked_at)
  stuck = ~state.halved & (state.best_loss <= state.marked_loss)
  halved = (seldom | stuck) & checkpoint
  state = state.replace(
    points=_chosen(halved, state.best, state.points),
    loss=jnp.where(halved, state.best_loss, state.loss),
    length=jnp.where(halved, state.length / 2, state.length),
    rises=jnp.where(checkpoint, 0, state.rises),
    marked_loss=jnp.where(checkpoint, state.best_loss, state.marked_loss),
    marked_at=jnp.where(checkpoint, k, state.marked_at),
    halved=jnp.where(checkpoint, halved, state.halved),
  )
  return state, _chosen(halved, state.best_gradient, gradient)


def _next(state, gradient, k, ball):
  """The state at x_(k+1) = P(x_k + alpha (z - x_k) + (1 - alpha) (x_k - x_(k-1))), where
  z = P(x_k + eta · direction); the first step has no momentum."""
  points, images = state.points, state.images
  length = state.length[:, None, None, None]
  ahead = ball.project(points + length * ball.ascent(gradient), images)
  alpha = jnp.where(k == 0, 1.0, _MOMENTUM)
  moved = points + alpha * (ahead - points) + (1 - alpha) * (points - state.before)
  return state.replace(points=ball.project(moved, images), before=points)


def _chosen(rows, new, old):
  return jnp.where(rows[:, None, None, None], new, old)


def ce(
  classes: int, *, eps: float = 8 / 255, norm: threat.Norm = 'linf', steps: int = 100
) -> iteration.Attack:
  """APGD-CE: Auto-PGD on the cross-entropy, from one random start.

  >>> ce(10).phases[0].steps
  101
  """
  return _untargeted(objectives.cross_entropy, eps, norm, steps)


def dlr(
  classes: int, *, eps: float = 8 / 255, norm: threat.Norm = 'linf', steps: int = 100
) -> iteration.Attack:
  """APGD-DLR: Auto-PGD on the difference of logits ratio.

  Raises:
    UserError: fewer than three classes, whose third largest logit the ratio needs.

  >>> dlr(2)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: The DLR loss needs logits of at least 3 classes; these have 2: ...
  """
  if classes < 3:
    raise errors.UserError(
      f'The DLR loss needs logits of at least 3 classes; these have {classes}: name another '
      'attack, such as apgd_ce.'
    )
  return _untargeted(objectives.dlr, eps, norm, steps)


def _untargeted(objective, eps, norm, steps):
  ball = threat.ball(eps, norm)
  return _ascent(lambda logits, labels, _: objective(logits, labels), ball, steps, turns=1)


def targeted(
  classes: int,
  *,
  eps: float = 8 / 255,
  norm: threat.Norm = 'linf',
  steps: int = 100,
  targets: int = 9,
) -> iteration.Attack:
  """APGD-T: Auto-PGD on the targeted DLR, towards each of the likeliest wrong classes in turn.

  Args:
    classes: of the logits.
    eps: radius of the ball.
    norm: of the ball.
    steps: of one turn.
    targets: the number of turns; at most as many as there are wrong classes.

  Raises:
    UserError: fewer than four classes.

  >>> targeted(10).phases[0].steps, targeted(5, steps=10).phases[0].steps
  (909, 44)
  """
  if classes < 4:
    raise errors.UserError(
      f'The targeted DLR loss of apgd_t and autoattack needs logits of at least 4 classes; these '
      f'have {classes}: name other attacks, such as pgd20, apgd_ce, fab_t and square.'
    )
  errors.whole('targets', targets, at_least=1)
  ball = threat.ball(eps, norm)
  return _ascent(objectives.targeted_dlr, ball, steps, min(targets, classes - 1))
