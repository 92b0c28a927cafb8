"""MixMatch between two networks: labelled and unlabelled images of one batch, refined and guessed
labels, and mixup of all of them; see `label_noise.divide_mix`."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws, errors
from jaxdistill.data import samplers
from jaxdistill.data.mixing import Mixup
from jaxdistill.errors import UserError
from jaxdistill.training import turns, whole_batch
from jaxdistill.training.game import Part
from jaxdistill.training.scene import Scene

# Two weak views of every image.
VIEWS = ('first', 'second')
# How clean each network thinks each label is, [2, n].
CLEAN = 'clean'
# Behind a network's name, those of its further parts.
_JUDGE, _PAIRS, _MIXED = 'judge', 'pairs', 'mixed'


@dataclasses.dataclass(frozen=True)
class Settings:
  """Of a step.

  Attributes:
    batch: b, labelled images of a network; as many are unlabelled.
    temperature: by which guesses are sharpened.
    alpha: of mixup.
  """

  batch: int
  temperature: float
  alpha: float

  def __post_init__(self):
    Mixup(self.alpha)  # checks it
    errors.real_numbers(temperature=self.temperature)
    if not self.temperature > 0:
      raise UserError(f'temperature is {self.temperature}; it must be above 0.')


class Losses(NamedTuple):
  """Scalars: of the labelled images, of the unlabelled ones, and of the mean answer."""

  labelled: jax.Array
  unlabelled: jax.Array
  prior: jax.Array


class Pairs(nn.Module):
  """Images mixed in pairs, share · first + (1 - share) · second, handed on with what mixed them."""

  def __call__(self, first, second, share, partner) -> dict[str, jax.Array]:
    share_of_image = share.reshape(-1, *(1,) * (first.ndim - 1))
    images = second + share_of_image * (first - second)
    return {'images': images, 'share': share, 'partner': partner}


def parts(network: nn.Module, names: Sequence[str], mix: Settings) -> dict[str, Part]:
  """Returns the parts of a game of two networks.

  Of a batch of 4 b rows, see `divide_mix.rows`, each network sees: both views of all, by the
  batch's statistics, to guess its own labels; the same by running statistics, as the other one's
  adviser; and the 4 b images mixed from both views of its own two halves.
  """

  def both_views(scene):
    return (jnp.concatenate([scene.batch[view] for view in VIEWS]),)

  game = {}
  for number, name in enumerate(names):
    game[name] = Part(network, reads=both_views)
    game[f'{name}_{_JUDGE}'] = Part(network, reads=both_views, mode='eval', twin_of=name)
    game[f'{name}_{_PAIRS}'] = Part(Pairs(), reads=_pairs_of(name, number, mix))
    mixed = lambda scene, name=name: (scene[f'{name}_{_PAIRS}']['images'],)
    # A mixed image has no label of its own to be right about.
    game[f'{name}_{_MIXED}'] = Part(network, reads=mixed, twin_of=name, labels='')
  return game


def losses(scene: Scene, names: Sequence[str], number: int, mix: Settings) -> Losses:
  """Returns what a network minimises; with its own halves X and U, two views of each image:

      guess_x = mean over the views of p(x)        guess_u = mean over views and networks of p(u)
      target_x = sharp(w y + (1 - w) guess_x)      target_u = sharp(guess_u)
      labelled = mean CE(f(x'), target'_x)         unlabelled = mean (p(u') - target'_u)^2
      prior = sum_c (1 / C) log((1 / C) / mean of p(x') and p(u'))

  where x', u' and their targets are mixed with those of a permutation of all, each the larger part
  of its own. Targets have no gradient.

  Args:
    scene: of a game of `parts`.
    names: of its two networks, whose beliefs are `CLEAN`.
    number: 0 or 1, whose loss it is; w is the belief of the other one.
    mix: settings of the step.
  """
  half, name = 2 * mix.batch, names[number]
  targets = jax.lax.stop_gradient(_targets(scene, name, names[1 - number], number, mix))
  scene = scene.gathered()
  pairs = scene[f'{name}_{_PAIRS}']
  share, partner = pairs['share'][: 2 * half, None], pairs['partner'][: 2 * half]
  mixed = share * targets + (1 - share) * targets[partner]
  log_p = jax.nn.log_softmax(scene[f'{name}_{_MIXED}']['logits'][: 2 * half])
  p = jnp.exp(log_p)
  alike = 1 / p.shape[1]
  return Losses(
    -(mixed[:half] * log_p[:half]).sum(1).mean(),
    jnp.square(p[half:] - mixed[half:]).mean(),
    (alike * (jnp.log(alike) - jnp.log(p.mean(0)))).sum(),
  )


def sharpened(p: jax.Array, temperature: float) -> jax.Array:
  """Returns p^(1 / temperature), scaled to sum 1.

  >>> sharpened(jnp.array([0.75, 0.25]), 0.5).round(3).tolist()
  [0.9..., 0.1...]
  """
  return jax.nn.softmax(jnp.log(jnp.maximum(p, 1e-37)) / temperature)


def members(key: jax.Array, step: jax.Array, chosen: jax.Array, batch: int) -> jax.Array:
  """Returns the positions int32 [batch] of step number `step` through shuffled passes of the chosen
  rows of a set; of all rows, where none is chosen.

  Args:
    key: of the order.
    step: its number.
    chosen: bool [n].
    batch: rows a step.

  >>> chosen = jnp.array([True, False, True, True])
  >>> sorted(members(jax.random.key(0), 0, chosen, 3).tolist())
  [0, 2, 3]
  """
  chosen = chosen | ~chosen.any()
  reached = jnp.cumsum(chosen, dtype=jnp.uint32)
  size = reached[-1]
  places = jnp.asarray(step, jnp.uint32) * batch + jnp.arange(batch, dtype=jnp.uint32)
  ranks = samplers.shuffled_index(key, places % size, size, places // size)
  return jnp.searchsorted(reached, ranks.astype(jnp.uint32) + 1).astype(jnp.int32)


def _guesses(scene, part):
  """The mean probabilities of both views, for all rows of the batch."""
  p = jax.nn.softmax(scene[part]['logits'])
  return whole_batch.all_rows(p.reshape(len(VIEWS), -1, p.shape[1]).mean(0))


def _halves(number, batch):
  """The rows of a network's labelled and of its unlabelled images in a batch."""
  first = 2 * batch * number
  return slice(first, first + batch), slice(first + batch, first + 2 * batch)


def _targets(scene, name, peer, number, mix):
  """The targets [4 b, C] of both views of the labelled images, then of the unlabelled ones."""
  x, u = _halves(number, mix.batch)
  own, judged = _guesses(scene, name), _guesses(scene, f'{peer}_{_JUDGE}')
  batch = scene.gathered().batch
  clean = scene.beliefs[CLEAN][1 - number][batch['index'][x]][:, None]
  target_x = sharpened(clean * batch['labels'][x] + (1 - clean) * own[x], mix.temperature)
  target_u = sharpened((own[u] + judged[u]) / 2, mix.temperature)
  return jnp.concatenate([target_x, target_x, target_u, target_u])


def _pairs_of(name, number, mix):
  """What makes the arguments of `Pairs` for this device's part of the mixed images."""
  rows = np.arange(4 * mix.batch)
  x, u = (rows[half] for half in _halves(number, mix.batch))
  row, view = np.concatenate([x, x, u, u]), np.repeat([0, 1, 0, 1], mix.batch)

  def reads(scene) -> tuple:
    images = jnp.stack([scene.gathered().batch[seen] for seen in VIEWS])
    key_share, key_order = draws.split(jax.random.fold_in(scene.key, turns.name_number(name)))
    share = draws.beta(key_share, mix.alpha, mix.alpha)
    share = jnp.maximum(share, 1 - share)
    count = len(scene.batch['weight'])
    # Rows that fill up the devices lie beyond the end: they take the last image.
    numbers = jnp.minimum(whole_batch.row_numbers(count), len(rows) - 1)
    partner = draws.order(key_order, len(rows))[numbers]
    image = lambda at: images[jnp.asarray(view)[at], jnp.asarray(row)[at]]
    return image(numbers), image(partner), jnp.broadcast_to(share, (count,)), partner

  return reads
