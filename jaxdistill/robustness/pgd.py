"""PGD: steepest ascent of a loss inside the ball, from a random point.

Source: Madry, Makelov, Schmidt, Tsipras and Vladu, Towards deep learning models resistant to
adversarial attacks (ICLR 2018).
"""

import functools
from collections.abc import Callable
from typing import Literal

import flax
import jax
import jax.numpy as jnp

from jaxdistill import draws, errors
from jaxdistill.models import convolution
from jaxdistill.robustness import iteration, objectives, threat

Start = Literal['uniform', 'image']
_NEAR = 1e-3  # deviation of the start 'near'


def perturb(
  loss: Callable[[jax.Array], jax.Array],
  images: jax.Array,
  key: jax.Array,
  *,
  eps: float,
  norm: str = 'linf',
  steps: int = 10,
  step: float | None = None,
  start: Start | Literal['near'] = 'uniform',
) -> jax.Array:
  """The ascent itself, for a jitted training step: x <- P(x + step · direction of ∇ loss(x)).

  Args:
    loss: from images [b, h, w, c] to the losses [b] that the attack raises; whatever parameters it
      needs are inside. An image's loss must not depend on the others.
    images: float32 in [0, 1].
    key: one key, or one for each image, [b].
    eps: radius of the ball.
    norm: 'linf' or 'l2'.
    steps: 0 returns the start.
    step: length of a step; None: see `step_length`.
    start: 'uniform' in the ball, the 'image' itself, or 'near' it: normal noise of deviation .001,
      for losses whose gradient is 0 at the image, such as TRADES's.

  Returns:
    The last points, float32 [b, h, w, c] in the ball and in [0, 1], without a gradient.

  >>> images = jnp.full((1, 1, 1, 2), 0.5)
  >>> perturb(lambda x: x.sum((1, 2, 3)), images, draws.key(0), eps=0.25).tolist()
  [[[[0.75, 0.75]]]]
  """
  ball = threat.ball(eps, norm)
  length = step_length(ball, step)
  images = jax.lax.stop_gradient(images)
  keys = key if key.ndim else threat.image_keys(key, images.shape[0])
  gradient = jax.grad(lambda points: jnp.sum(loss(points)))

  def climb(_, points):
    return moved(ball, length, points, gradient(points), images)

  if start == 'near':
    noise = jax.vmap(lambda key: draws.normal(key, images.shape[1:]))(keys)
    first = ball.project(images + _NEAR * noise, images)
  else:
    first = ball.start(images, keys) if start == 'uniform' else images
  with convolution.inside_loop():
    return jax.lax.stop_gradient(jax.lax.fori_loop(0, steps, climb, first))


def step_length(ball: threat.Ball, step: float | None) -> float:
  """Returns the length of a step: what is asked for, or for None the usual share of eps, 2 of 8 in
  L-inf and 15 of 128 in L2.

  >>> step_length(threat.ball(8 / 255, 'linf'), None) == 2 / 255
  True
  """
  if step is not None:
    errors.real_numbers(step=step)
    if not 0 < step < float('inf'):
      raise errors.UserError(f'step is {step}; it must be above 0.')
    return step
  return ball.eps * (2 / 8 if ball.norm == 'linf' else 15 / 128)


def moved(
  ball: threat.Ball,
  length: float | jax.Array,
  points: jax.Array,
  gradient: jax.Array,
  images: jax.Array,
) -> jax.Array:
  """Returns the points one step further up, inside the ball around the images.

  >>> half = jnp.full((1, 1, 1, 1), 0.5)
  >>> moved(threat.Ball(0.5, 'linf'), 0.25, half, -3 * half, half).tolist()
  [[[[0.25]]]]
  """
  return ball.project(points + length * ball.ascent(gradient), images)


@flax.struct.dataclass
class _Climb(iteration.Search):
  points: jax.Array
  loss: jax.Array  # [b], of what would be returned
  length: jax.Array  # of a step


def climb(
  objective: Callable[[jax.Array, jax.Array], jax.Array],
  ball: threat.Ball,
  steps: int,
  length: float,
  restarts: int = 1,
  start: Start = 'uniform',
) -> iteration.Attack:
  """The attack that raises objective(logits, labels) [b] by PGD.

  Of several restarts' last points it keeps one that the network gets wrong, and among equals that
  of the largest loss.
  """
  errors.whole('steps', steps)
  errors.whole('restarts', restarts, at_least=1)
  if start not in ('uniform', 'image'):
    raise errors.unknown('start', start, ('uniform', 'image'))

  def init(batch):
    begun = iteration.beginning(batch, ball.eps) | dict(fooled=~batch.real)
    loss = jnp.full(batch.labels.shape, -jnp.inf)
    return _Climb(**begun, points=batch.images, loss=loss, length=jnp.float32(length))

  def first(around, state, restart):
    if start == 'image':
      return state.images
    return around.start(state.images, threat.fold(state.keys, restart))

  def step(f, state):
    around = threat.Ball(state.eps, ball.norm)
    restart, place = jnp.divmod(state.number, steps + 1)
    points = jax.lax.cond(place == 0, lambda: first(around, state, restart), lambda: state.points)

    def losses(points):
      logits = f(points)
      loss = objective(logits, state.labels)
      return jnp.sum(loss), (loss, logits)

    gradient, (loss, logits) = jax.grad(losses, has_aux=True)(points)
    state = _keep(state, points, loss, logits, place == steps)
    points = moved(around, state.length, points, gradient, state.images)
    return state.replace(points=points, number=state.number + 1)

  return iteration.Attack(init, (iteration.Phase(step, restarts * (steps + 1)),))


def _keep(state, points, loss, logits, last):
  """The state after the last points of a restart, where these are better."""
  wrong = objectives.wrong(logits, state.labels)
  better = (wrong & ~state.fooled) | ((wrong == state.fooled) & (loss > state.loss))
  better &= last
  return state.replace(
    adversarial=jnp.where(better[:, None, None, None], points, state.adversarial),
    loss=jnp.where(better, loss, state.loss),
    fooled=state.fooled | (wrong & last),
  )


def attack(
  classes: int,
  *,
  eps: float = 8 / 255,
  norm: threat.Norm = 'linf',
  steps: int = 20,
  step: float | None = None,
  restarts: int = 1,
  start: Start = 'uniform',
) -> iteration.Attack:
  """PGD on the cross-entropy; fields as in `perturb`, and the number of random restarts.

  >>> attack(10, steps=20, restarts=2).phases[0].steps   # the end of each is looked at
  42
  """
  ball = threat.ball(eps, norm)
  return climb(objectives.cross_entropy, ball, steps, step_length(ball, step), restarts, start)


pgd20 = functools.partial(attack, steps=20)
pgd100 = functools.partial(attack, steps=100)
