"""Outputs of guides that are kept for all variants of every image, where those can be
enumerated, instead of being computed in every step."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws
from jaxdistill.data.paired import PairedViews
from jaxdistill.distillation.method import TEACHER
from jaxdistill.distillation.teachers import Teacher, check_counting
from jaxdistill.distillation.work import Work
from jaxdistill.errors import UserError
from jaxdistill.models import normalisation
from jaxdistill.numerics import settled
from jaxdistill.training import features, players, replicas
from jaxdistill.training import outputs as teaching
from jaxdistill.training.players import Game

_CHUNK = 500  # views that go through a guide at once
_ROWS = 4  # of the batch that is traced to see what is asked for
# Kept outputs lie beside the images on the device.
_MOST_BYTES = 4 * 2**30


@settled()
def outputs(
  work: Work,
  views: PairedViews,
  guides: Mapping[str, Teacher],
  game: Game,
  tables: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Returns what a game asks of its guides for every variant of every image, float32 [N, k, ...],
  by the names under which the engine looks for it. They are computed once for all games of a run
  that ask for the same, its estimate included.

  Args:
    work: that the game is of.
    views: of its students and guides, which can be enumerated.
    guides: by name.
    game: that asks.
    tables: other entries of its data.

  Raises:
    UserError: the statistics of a batch, which belong to no image; or so many numbers that they do
      not belong on a device.
  """
  by_guide, kept = asked(work, views, guides, game, tables), {}
  check(work, views, guides, game, by_guide)
  for guide, names in by_guide.items():
    place = guides[guide], names
    if place not in work.kept:
      said = _said(work, views.variants, guides[guide], game.guides[guide].view, names)
      held = sum(map(_bytes, [said, *work.kept.values()]))
      if held > _MOST_BYTES:
        work.kept.clear()
      work.kept[place] = said
    kept |= {players.kept_name(guide, name): array for name, array in work.kept[place].items()}
  return kept


def _bytes(arrays):
  return sum(array.nbytes for array in arrays.values())


def check(
  work: Work,
  views: PairedViews,
  guides: Mapping[str, Teacher],
  game: Game,
  by_guide: Mapping[str, tuple[str, ...]],
) -> None:
  """Raises `UserError` as `outputs` does, whose arguments these are, where a game's guides cannot
  be kept; `by_guide`: the outputs that `asked` has listed. Nothing is computed."""
  if TEACHER in game.guides and work.fields.teaching.normalisation != 'running':
    raise UserError(
      'What a teacher says by the statistics of a batch cannot be kept; set '
      "teaching.normalisation to 'running', or distillation.cache to ''."
    )
  rows, count, total = len(work.train), views.variants.count, 0
  for guide, names in by_guide.items():
    forms = work.form_of(guides[guide])
    total += sum(4 * rows * count * forms[name].size for name in names)
  if total > _MOST_BYTES:
    listed = ', '.join(itertools.chain.from_iterable(by_guide.values()))
    raise UserError(
      f'Keeping {listed} of {count} variant(s) of {rows:,} images takes '
      f"{total / 2**30:.1f} GiB; compare smaller outputs, or set distillation.cache to ''."
    )


def _said(work, variants, guide, view, names):
  train = work.train

  @jax.jit
  def say(variables, images, index):
    seen = variants.all_of(images, index)[view]
    rows = seen.reshape(-1, *seen.shape[2:])
    logits, named = guide.network.apply(variables, rows, train=False)
    given = {**named, 'logits': logits}
    shape = seen.shape[:2]
    return {name: given[name].reshape(*shape, *given[name].shape[1:]) for name in names}

  said = features.in_chunks(
    lambda rows: say(guide.variables, train.images[rows], rows),
    len(train),
    max(1, _CHUNK // variants.count),
  )
  return {name: array.astype(np.float32) for name, array in said.items()}


def asked(
  work: Work,
  views: PairedViews,
  guides: Mapping[str, Teacher],
  game: Game,
  tables: Mapping[str, np.ndarray],
) -> dict[str, tuple[str, ...]]:
  """Returns the outputs of every guide of a game that its terms and parts ask for; nothing is
  computed. The arguments are those of `outputs`.

  Raises:
    UserError: whatever a term refuses, or a network that cannot count the rows of a batch where the
      run's batches and devices need that.
  """
  guides = {name: guides[name] for name in game.guides}
  images = len(work.train)
  rows = np.arange(_ROWS) % images  # of few images some come twice
  entries = {'images': work.train.images[rows], 'labels': work.train.labels[rows]}
  entries |= {name: np.asarray(table)[rows] for name, table in tables.items()}
  variables = {name: guide.variables for name, guide in guides.items()}
  learner = players.learner(game, entries, work.recipe, views.train, variables, images)
  counted = replicas.counts_rows(learner, work.fields.distillation.seeds, work.mesh)
  for name, guide in guides.items():
    if counted and game.guides[name].mode == 'batch':
      check_counting(guide.module, work.teacher_shape(guide))
  forms = {name: work.form_of(guide) for name, guide in guides.items()}
  names = {name: set() for name in guides}

  def step(key):
    batch = {name: jnp.asarray(entry) for name, entry in entries.items()}
    batch |= {'index': jnp.arange(_ROWS), 'weight': jnp.ones(_ROWS)}
    batch = learner.views.prepare(key, batch, learner.views.draw(key))
    noted = {name: _Noted(_stand_ins(guides[name], forms[name]), names[name]) for name in guides}
    batch |= {replicas.GUIDES: noted, 'step': jnp.int32(0)}
    own = learner.init(key)
    with normalisation.weighted(batch['weight'] if counted else None):
      return [turn.objective(own, batch, key).loss for turn in learner.turns]

  jax.eval_shape(step, draws.key(0))
  # What belongs to no image is kept nowhere, see `guides.watching`.
  kept = {name: names[name] & forms[name].keys() - {teaching.PROTOTYPES} for name in guides}
  return {name: tuple(sorted(kept[name])) for name in guides}


def _stand_ins(guide, forms):
  """What stands for the outputs of a guide while it is noted which are asked for."""
  said = {name: _blank(name, form) for name, form in forms.items()}
  return said if guide.module is None else said | teaching.prototypes(guide.variables)


def _blank(name, form):
  """What stands for an output of a guide while a step is traced."""
  shape = form.shape if name == teaching.PROTOTYPES else (_ROWS, *form.shape[1:])
  return jnp.zeros(shape, form.dtype)


class _Noted(Mapping):
  """Arrays by name that note which of them are asked for."""

  def __init__(self, arrays: Mapping[str, Any], names: set[str]):
    self._arrays, self._names = arrays, names

  def __getitem__(self, name: str) -> Any:
    array = self._arrays[name]
    self._names.add(name)
    return array

  def __contains__(self, name: object) -> bool:
    return name in self._arrays

  def __iter__(self) -> Iterator[str]:
    return iter(self._arrays)

  def __len__(self) -> int:
    return len(self._arrays)
