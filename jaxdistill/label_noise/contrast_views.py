"""What a step of contrastive learning sees: two views of each image, mixed in pairs, and perhaps
as much of a second batch beside it."""

import jax
import jax.numpy as jnp

from jaxdistill import draws
from jaxdistill.data import mixing
from jaxdistill.data.views import Views
from jaxdistill.label_noise.contrast_settings import CLASS, PLAIN, VIEWS, Stage
from jaxdistill.label_noise.method import Setting


def make(setting: Setting, stage: Stage) -> Views:
  """Returns the views of a first stage.

  A batch of twice as many rows, where there is a second batch, becomes one of n rows whose entries
  'class_...' are those of the second half. Each of the two views v has 'mixed_v', 'share_v' and
  'partner_v' beside it, where it is mixed, see `mixing.mixup_view`.
  """
  named = {view: setting.strong for view in VIEWS}
  if stage.relabels:
    named[PLAIN] = ()
  inner = setting.views(named)

  def prepare(key, batch, choices):
    key_views, *keys = draws.split(key, 5)
    seen = dict(inner.prepare(key_views, batch, choices))
    halves = {'': seen}
    if stage.second_batch:
      rows = len(seen['weight']) // 2
      halves = {
        '': {name: entry[:rows] for name, entry in seen.items()},
        CLASS: {name: entry[rows:] for name, entry in seen.items()},
      }
    prepared = {}
    for prefix, half in halves.items():
      if stage.mixes:
        half |= mixed(keys[:2], half, stage.mixup_alpha)
        keys = keys[2:]
      prepared |= {f'{prefix}{name}': entry for name, entry in half.items()}
    return prepared

  return Views(inner.draw, prepare)


def mixed(keys: jax.Array, seen: dict[str, jax.Array], alpha: float) -> dict[str, jax.Array]:
  """Returns both views mixed, each with a share and an order of its own, by name."""
  entries, weight = {}, seen['weight']
  for key, view in zip(keys, VIEWS):
    images, share, partner = mixing.mixup_view(key, seen[view], weight, alpha=alpha)
    entries[f'mixed_{view}'] = images
    entries[f'share_{view}'] = jnp.broadcast_to(share, weight.shape)
    entries[f'partner_{view}'] = partner
  return entries


def drawn_from(
  key: jax.Array, step: jax.Array, among: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
  """Returns positions int [count] drawn with replacement where `among` [n] is true, and whether
  there are any such; where there are none they are drawn from all.

  >>> positions, is_any = drawn_from(jax.random.key(0), 0, jnp.array([False, True, False]), 2)
  >>> positions.tolist(), bool(is_any)
  ([1, 1], True)
  """
  is_any = among.any()
  reached = jnp.cumsum(among | ~is_any)
  key = jax.random.fold_in(jax.random.fold_in(key, 1), step)
  ranks = draws.integers(key, (count,), 1, reached[-1] + 1)
  return jnp.searchsorted(reached, ranks).astype(jnp.int32), is_any
