"""Outputs of a teacher that are kept for all variants of every image, where those can be
enumerated, instead of being computed in every step."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws
from jaxdistill.distillation.method import TEACHER
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.distillation.work import Work, teacher_form
from jaxdistill.errors import UserError
from jaxdistill.numerics import settled
from jaxdistill.training import features, players
from jaxdistill.training import outputs as teaching
from jaxdistill.training.players import Game

_CHUNK = 500  # views that go through the teacher at once
_ROWS = 4  # of the batch that is traced to see what is asked for
# Kept outputs lie beside the images on the device.
_MOST_BYTES = 4 * 2**30


@settled()
def outputs(
  work: Work, teacher: Teacher, game: Game, tables: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Returns what a game asks of the teacher for every variant of every image, float32 [N, k, ...],
  by the names under which the engine looks for it. They are computed once for all games of a run
  that ask for the same, its estimate included.

  Args:
    work: with views that can be enumerated.
    teacher: whose.
    game: that asks.
    tables: other entries of its data.

  Raises:
    UserError: the statistics of a batch, which belong to no image; or so many numbers that they do
      not belong on a device.
  """
  if work.fields.teaching.normalisation != 'running':
    raise UserError(
      'What a teacher says by the statistics of a batch cannot be kept; set '
      "teaching.normalisation to 'running', or distillation.cache to ''."
    )
  names = asked(work, teacher, game, tables)
  _check_bytes(work, teacher, names)
  if (teacher, names) not in work.kept:
    said = _said(work, teacher, names)
    held = sum(map(_bytes, [said, *work.kept.values()]))
    if held > _MOST_BYTES:
      work.kept.clear()
    work.kept[teacher, names] = said
  return dict(work.kept[teacher, names])


def _bytes(arrays):
  return sum(array.nbytes for array in arrays.values())


def _check_bytes(work, teacher, names):
  forms = teacher_form(teacher, work.teacher_shape(teacher))
  count = work.paired.variants.count
  total = sum(4 * len(work.train) * count * forms[name].size for name in names)
  if total > _MOST_BYTES:
    raise UserError(
      f'Keeping {", ".join(names)} of {count} variant(s) of {len(work.train):,} images takes '
      f"{total / 2**30:.1f} GiB; compare smaller outputs, or set distillation.cache to ''."
    )


def _said(work, teacher, names):
  variants, train = work.paired.variants, work.train

  @jax.jit
  def say(variables, images, index):
    seen = variants.all_of(images, index)[work.teacher_view]
    rows = seen.reshape(-1, *seen.shape[2:])
    logits, named = teacher.network.apply(variables, rows, train=False)
    given = {**named, 'logits': logits}
    shape = seen.shape[:2]
    return {name: given[name].reshape(*shape, *given[name].shape[1:]) for name in names}

  said = features.in_chunks(
    lambda rows: say(teacher.variables, train.images[rows], rows),
    len(train),
    max(1, _CHUNK // variants.count),
  )
  return {
    players.kept_name(TEACHER, name): array.astype(np.float32) for name, array in said.items()
  }


def asked(
  work: Work, teacher: Teacher, game: Game, tables: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
  """Returns the outputs of the teacher that the terms and parts of a game ask for; nothing is
  computed.

  Raises:
    UserError: whatever a term refuses.
  """
  entries = {'images': work.train.images[:_ROWS], 'labels': work.train.labels[:_ROWS]}
  entries |= {name: np.asarray(table[:_ROWS]) for name, table in tables.items()}
  variables, names = {TEACHER: teacher.variables} if game.guides else {}, set()
  learner = players.learner(game, entries, work.recipe, work.paired.train, variables, _ROWS)
  forms = teacher_form(teacher, work.teacher_shape(teacher))

  def step(key):
    batch = {name: jnp.asarray(entry) for name, entry in entries.items()}
    batch |= {'index': jnp.arange(_ROWS), 'weight': jnp.ones(_ROWS)}
    batch = learner.views.prepare(key, batch, learner.views.draw(key))
    said = {name: jnp.zeros((_ROWS, *form.shape[1:]), form.dtype) for name, form in forms.items()}
    said |= teaching.prototypes(teacher.variables)
    guides = {TEACHER: _Noted(said, names)} if game.guides else {}
    batch |= {'guides': guides, 'step': jnp.int32(0)}
    own = learner.init(key)
    return [turn.objective(own, batch, key).loss for turn in learner.turns]

  jax.eval_shape(step, draws.key(0))
  return tuple(sorted(names & forms.keys()))


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
