"""Square: random search by squares of one colour a channel, which reads logits alone.

Source: Andriushchenko, Croce, Flammarion and Hein, Square attack: a query-efficient black-box
adversarial attack via random search (ECCV 2020). Ours: a square's change in L2 is brought to length
1 as a whole; the public codes, as they are remembered, bring each of its halves to it before.
"""

import flax
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws, errors
from jaxdistill.robustness import iteration, objectives, threat

_TINY = 1e-12
# After so many of 10,000 queries the share of an image that a square covers is halved again.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_TILES = 5  # a side, of the first change in L2


def sides(height: int, width: int, queries: int, share: float, norm: str) -> np.ndarray:
  """Returns the side of the square of each query, int32 [queries]: that of `share` of the image,
  halved on a schedule that is stretched to the number of queries.

  In L2 a side is odd and at least 3, where the image is large enough.

  >>> sides(32, 32, 10000, 0.8, 'linf')[[0, 11, 60, 9999]].tolist()
  [29, 20, 14, 1]
  """
  place = np.arange(queries) * 10_000 // queries
  halvings = (place[:, None] > np.array(_HALVINGS)).sum(1)
  side = np.round(np.sqrt(share * height * width * 0.5**halvings)).astype(np.int32)
  most, least = min(height, width), 1
  if norm == 'l2':
    side, least = side + (side % 2 == 0), 3
    most -= most % 2 == 0 and most > 1
  return np.clip(side, min(least, most), most).astype(np.int32)


def bump(side: int) -> np.ndarray:
  """Returns the change of a square in L2, float32 [side, side], of length 1: two halves of opposite
  sign, each largest in its middle.

  >>> bump(3).astype(float).round(2).tolist()
  [[0.13, 0.66, 0.13], [-0.13, -0.13, -0.13], [-0.13, -0.66, -0.13]]
  """
  upper = side // 2
  change = np.concatenate([_hill(upper, side), -_hill(side - upper, side)])
  return (change / np.sqrt((change**2).sum())).astype(np.float32)


def _hill(height, width):
  """The sum over k of 1 / (n + 1 - k)^2, from 0 to how far a pixel lies inside concentric
  rectangles."""
  largest = max(height, width)
  n = largest // 2
  rows = np.abs(np.arange(height) - height // 2)[:, None]
  columns = np.abs(np.arange(width) - width // 2)[None, :]
  inside = n - np.maximum(rows, columns)
  terms = 1.0 / (n + 1 - np.arange(n + 1)) ** 2
  sums = np.concatenate([[0.0], np.cumsum(terms)])
  return sums[np.clip(inside + 1, 0, n + 1)]


@flax.struct.dataclass
class _Random(iteration.Search):
  points: jax.Array  # the best so far
  margin: jax.Array  # theirs, [b]


def attack(
  classes: int,
  *,
  eps: float = 8 / 255,
  norm: threat.Norm = 'linf',
  queries: int = 5000,
  share: float = 0.8,
) -> iteration.Attack:
  """Square: the change of a random square is kept where it makes the margin smaller.

  Args:
    classes: of the logits.
    eps: radius of the ball.
    norm: of the ball.
    queries: how often the network is asked.
    share: of the image that the first squares cover, p in the paper.

  >>> attack(10).phases[0].steps
  5000
  """
  errors.whole('queries', queries, at_least=1)
  errors.real_numbers(share=share)
  if not 0 < share <= 1:
    raise errors.UserError(f'share is {share}; it must be above 0 and at most 1.')
  ball = threat.ball(eps, norm)

  def init(batch):
    worst = jnp.full(batch.labels.shape, jnp.inf)
    return _Random(**iteration.beginning(batch, ball.eps), points=batch.images, margin=worst)

  def step(f, state):
    propose = _linf if norm == 'linf' else _l2
    candidates = propose(threat.Ball(state.eps, norm), state, queries, share)
    logits = f(candidates)
    margin = objectives.margin(logits, state.labels)
    better = margin < state.margin
    return state.record(candidates, logits).replace(
      points=jnp.where(better[:, None, None, None], candidates, state.points),
      margin=jnp.where(better, margin, state.margin),
      number=state.number + 1,
    )

  return iteration.Attack(init, (iteration.Phase(step, queries),))


def _side(state, queries, share, norm):
  height, width = state.images.shape[1:3]
  return sides(height, width, queries, share, norm)


def _square(key, side, height, width):
  """Whether a pixel lies in a square at a random place, bool [h, w], and that place."""
  across, down = draws.split(key)
  row = draws.integers(down, (), 0, height - side + 1)
  column = draws.integers(across, (), 0, width - side + 1)
  rows, columns = jnp.arange(height), jnp.arange(width)
  inside_rows = (rows >= row) & (rows < row + side)
  inside_columns = (columns >= column) & (columns < column + side)
  return inside_rows[:, None] & inside_columns[None, :], (row, column)


# L-inf: every pixel of the change is eps or -eps.


def _linf(ball, state, queries, share):
  """First vertical stripes one pixel wide, then squares in one colour of -eps and eps a channel."""
  height, width, channels = state.images.shape[1:]
  keys = threat.fold(state.keys, state.number)
  side = jnp.asarray(_side(state, queries, share, 'linf'))[state.number]

  def stripes():
    signs = jax.vmap(lambda key: draws.signs(key, (1, width, channels)))(keys)
    return state.images + ball.eps * signs

  def squares():
    def one(key, image, points):
      place, colour = draws.split(key)
      inside, _ = _square(place, side, height, width)
      changed = image + ball.eps * draws.signs(colour, (1, 1, channels))
      return jnp.where(inside[:, :, None], changed, points)

    return jax.vmap(one)(keys, state.images, state.points)

  return ball.project(jax.lax.cond(state.number == 0, stripes, squares), state.images)


# L2: the length that one square gives up goes to another.


def _l2(ball, state, queries, share):
  """First tiles of bumps, then the length that two squares have, and what is left of eps, in a new
  bump in the first of them."""
  shape = state.images.shape[1:]
  keys = threat.fold(state.keys, state.number)
  side = _side(state, queries, share, 'l2')
  kinds, kind = np.unique(side, return_inverse=True)
  table = jnp.asarray(np.stack([_placed(bump(number), *shape[:2]) for number in kinds]))
  bumps = table[jnp.asarray(kind)[state.number]]
  number = jnp.asarray(side)[state.number]

  def tiles():
    return jax.vmap(lambda key: ball.eps * _tiles(key, shape))(keys)

  def squares():
    change = state.points - state.images
    return jax.vmap(lambda key, row: _exchanged(key, row, bumps, number, ball.eps))(keys, change)

  change = jax.lax.cond(state.number == 0, tiles, squares)
  return ball.project(state.images + change, state.images)


def _placed(change, height, width):
  """A square change in the upper left corner of an image, [h, w]."""
  return np.pad(change, ((0, height - len(change)), (0, width - len(change))))


def _tiles(key, shape):
  """A change [h, w, c] of length 1: tiles of bumps, each upright or lying and of either sign."""
  height, width, channels = shape
  across = min(_TILES, height, width)
  side = min(height, width) // across
  down, right = -(-height // side), -(-width // side)
  lying, sign = draws.split(key)
  single = jnp.asarray(bump(side))
  flip = draws.coins(lying, 0.5, (down, right))[:, :, None, None]
  tiles = jnp.where(flip, single.T[None, None], single[None, None])  # [down, right, side, side]
  signs = draws.signs(sign, (down, right, channels))
  tiles = tiles[..., None] * signs[:, :, None, None, :]
  change = tiles.transpose(0, 2, 1, 3, 4).reshape(down * side, right * side, channels)
  change = change[:height, :width]
  return change / jnp.sqrt(jnp.sum(change**2))


def _exchanged(key, change, bumps, side, eps):
  """One image's change [h, w, c] with a new bump in one square, and nothing in another."""
  height, width, channels = change.shape
  first, second, sign, lying = draws.split(key, 4)
  taken, (row, column) = _square(first, side, height, width)
  emptied, _ = _square(second, side, height, width)
  taken, emptied = taken[:, :, None], emptied[:, :, None]
  # A lying bump fits as it stands only in a square corner, which may be wider than it is high.
  turned = jnp.zeros_like(bumps)
  most = min(height, width)
  turned = turned.at[:most, :most].set(bumps[:most, :most].T)
  upright = draws.coins(lying, 0.5)
  pattern = jnp.where(upright, bumps, turned)
  pattern = jnp.roll(pattern, (row, column), (0, 1))[:, :, None]
  old = jnp.where(taken, change, 0.0)
  new = draws.signs(sign, (1, 1, channels)) * pattern + old / (_long(old) + _TINY)
  spare = jnp.maximum(eps**2 - jnp.sum(change**2), 0.0) / channels
  both = jnp.where(taken | emptied, change, 0.0)
  new = new / (_long(new) + _TINY) * jnp.sqrt(_long(both) ** 2 + spare)
  return jnp.where(taken, new, jnp.where(emptied, 0.0, change))


def _long(change):
  """The length of each channel, [1, 1, c]."""
  return jnp.sqrt(jnp.sum(change**2, (0, 1), keepdims=True))
