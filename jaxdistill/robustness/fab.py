"""FAB, targeted: steps onto the linearised boundary between two classes, drawn back to the image,
so that the change becomes as small as it can.

Source: Croce and Hein, Minimally distorted adversarial examples with a fast adaptive boundary
attack (ICML 2020); its targeted form and settings in their Reliable evaluation of adversarial
robustness with an ensemble of diverse parameter-free attacks (ICML 2020).
"""

import flax
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.robustness import iteration, objectives, threat

_BIAS = 0.1  # alpha_max: the most weight of the projection from the image
_OVERSHOOT = 1.05  # eta
_BACK = 0.9  # beta: what is left of the change after a step back to the image
_SEARCH = 3  # steps of the final search
_NEWTON = 20
_TINY = 1e-8


def to_hyperplane(
  points: jax.Array, normal: jax.Array, level: jax.Array, norm: threat.Norm
) -> jax.Array:
  """Returns the shortest changes d with level + normal · d = 0 that leave points in [0, 1].

  Where pixels from 0 to 1 do not reach the hyperplane, d goes as far as they do. With lambda the
  common speed, pixel i moves by min(lambda v_i, room_i) against the sign of level · normal_i, with
  v = 1 in L-inf and v = |normal| in L2; lambda is the root of a concave, piecewise linear function,
  which Newton's steps from 0 reach from below.

  Args:
    points: [b, d] in [0, 1].
    normal: [b, d].
    level: [b], the linear function at the points.
    norm: in which d is short.

  Returns:
    float32 [b, d].

  >>> points = jnp.array([[0.5, 0.9]])
  >>> change = to_hyperplane(points, jnp.array([[1.0, 1.0]]), jnp.array([-0.3]), 'linf')
  >>> [round(float(number), 4) for number in change[0]]
  [0.2, 0.1]
  """
  way = -jnp.sign(normal) * jnp.sign(level)[:, None]
  room = jnp.where(way > 0, 1.0 - points, points)
  slope = jnp.abs(normal)
  speed = slope if norm == 'l2' else jnp.ones_like(slope)

  def newton(_, scale):
    moved = scale[:, None] * speed
    free = moved < room
    missing = jnp.abs(level) - jnp.sum(slope * jnp.minimum(moved, room), axis=1)
    rate = jnp.sum(jnp.where(free, slope * speed, 0.0), axis=1)
    return jnp.where(rate > 0, scale + missing / jnp.where(rate > 0, rate, 1.0), scale)

  scale = jax.lax.fori_loop(0, _NEWTON, newton, jnp.zeros_like(level))
  return way * jnp.minimum(scale[:, None] * speed, room)


@flax.struct.dataclass
class _Boundary(iteration.Search):
  targets: jax.Array  # int32 [b, turns]
  points: jax.Array
  best: jax.Array  # the nearest point that the network gets wrong
  distance: jax.Array  # its, [b]; inf where there is none
  best_margin: jax.Array  # its margin, [b]
  right: jax.Array  # in the final search, the point on the way to `best` that is still right
  right_margin: jax.Array  # its margin, [b]


def targeted(
  classes: int,
  *,
  eps: float = 8 / 255,
  norm: threat.Norm = 'linf',
  steps: int = 100,
  targets: int = 9,
) -> iteration.Attack:
  """FAB-T: for each of the likeliest wrong classes in turn, `steps` from the image towards the
  boundary with it; an image counts as fooled once a point within eps is.

  Images whose nearest such point lies outside the ball come back as they were.

  Args:
    classes: of the logits.
    eps: radius of the ball.
    norm: in which changes are made small.
    steps: of one turn.
    targets: the number of turns; at most as many as there are wrong classes.

  >>> [phase.steps for phase in targeted(10).phases]
  [900, 3]
  """
  errors.whole('steps', steps, at_least=1)
  errors.whole('targets', targets, at_least=1)
  ball, turns = threat.ball(eps, norm), min(targets, classes - 1)

  def init(batch):
    unknown = jnp.full(batch.labels.shape, jnp.inf)
    return _Boundary(
      **iteration.beginning(batch, ball.eps),
      targets=objectives.ranked(batch.logits, batch.labels, turns),
      points=batch.images,
      best=batch.images,
      distance=unknown,
      best_margin=jnp.zeros(unknown.shape),
      right=batch.images,
      right_margin=objectives.margin(batch.logits, batch.labels),
    )

  def step(f, state):
    around = threat.Ball(state.eps, ball.norm)
    turn, k = jnp.divmod(state.number, steps)
    points = jnp.where(k == 0, state.images, state.points)
    target = state.targets[:, turn]

    def differences(points):
      difference = objectives.difference(f(points), state.labels, target)
      return jnp.sum(difference), difference

    gradient, difference = jax.grad(differences, has_aux=True)(points)
    points = _towards(around, points, state.images, gradient, difference)
    state, wrong = _measured(state, points, f(points), around)
    back = state.images + _BACK * (points - state.images)
    points = jnp.where(wrong[:, None, None, None], back, points)
    return state.replace(points=points, number=state.number + 1)

  def search(f, state):
    return _searched(f, state, threat.Ball(state.eps, ball.norm)).replace(number=state.number + 1)

  return iteration.Attack(
    init, (iteration.Phase(step, turns * steps), iteration.Phase(search, _SEARCH))
  )


def _towards(ball, points, images, gradient, difference):
  """The next points: a little beyond the linearised boundary, biased to the image by how near the
  points are to it already."""
  shape, flat = points.shape, (points.shape[0], -1)
  normal = gradient.reshape(flat)
  here, image = points.reshape(flat), images.reshape(flat)
  there = difference + jnp.sum(normal * (image - here), axis=1)  # the same function at the image
  from_here = to_hyperplane(here, normal, difference, ball.norm).reshape(shape)
  from_image = to_hyperplane(image, normal, there, ball.norm).reshape(shape)
  near = jnp.maximum(ball.length(from_here), _TINY)
  far = jnp.maximum(ball.length(from_image), _TINY)
  bias = jnp.minimum(near / (near + far), _BIAS)[:, None, None, None]
  moved = (1 - bias) * (points + _OVERSHOOT * from_here)
  return jnp.clip(moved + bias * (images + _OVERSHOOT * from_image), 0.0, 1.0)


def _measured(state, points, logits, ball):
  """The state that knows the logits at points, and whether the network gets them wrong, [b]."""
  wrong = objectives.wrong(logits, state.labels)
  distance = ball.length(points - state.images)
  nearer = wrong & (distance < state.distance)
  state = state.record(points, logits, distance <= ball.eps)
  return state.replace(
    best=jnp.where(nearer[:, None, None, None], points, state.best),
    distance=jnp.where(nearer, distance, state.distance),
    best_margin=jnp.where(nearer, objectives.margin(logits, state.labels), state.best_margin),
  ), wrong


def _searched(f, state, ball):
  """One step of the search for the boundary between the image and the nearest point that is wrong:
  to where the margin would be 0 if it changed evenly between the two ends."""
  span = state.right_margin - state.best_margin
  share = jnp.where(span > 0, state.right_margin / jnp.where(span > 0, span, 1.0), 1.0)
  points = state.right + share[:, None, None, None] * (state.best - state.right)
  logits = f(points)
  state, wrong = _measured(state, points, logits, ball)
  margin = objectives.margin(logits, state.labels)
  return state.replace(
    right=jnp.where(wrong[:, None, None, None], state.right, points),
    right_margin=jnp.where(wrong, state.right_margin, margin),
  )
