"""Memories of any learner: what they choose, that they leave alone what they hold, what they cost,
what they refuse."""

import dataclasses
import functools

import numpy as np
import pictured
import pytest

from jaxdistill.errors import UserError
from jaxdistill.fscil import condensed, memory, ncm
from jaxdistill.synthesis import decode
from jaxdistill.training import loop, pretrained
from jaxdistill.training.run import Run

RUNS = pictured.SEEDS * pictured.DRAWS
FIRST, END = pictured.BASE, pictured.BASE + pictured.WAY
QUICK = dict(iterations=0, width=4)  # what the steps do is tested where they are


@functools.cache
def began():
  """A course without a memory, and where its runs stand behind the base session."""
  course = pictured.course(ncm.learner, memory.Nothing())
  with Run(progress=False) as run:
    return course, course.first(run)._replace(memory=None)


def remembered(policy, sessions=1, pictures=None):
  """The memories behind the base session and the later ones; nothing is trained between them."""
  course, standing = began()
  policy, memories = memory.make(policy, pictures or pictured.pictures()), []
  with Run(progress=False) as run:
    for number in range(sessions + 1):
      standing = standing._replace(number=number)
      standing = standing._replace(memory=policy(run, course, standing))
      memories.append(standing.memory)
  return policy, memories


@functools.cache
def of(name, **fields):
  return remembered({'name': name, **fields}, sessions=pictured.T)


POLICIES = {
  'means': {},
  'exemplars': {'ipc': 2},
  'random': {'ipc': 2},
  'cd2': {'ipc': 2, 'iterations': 0},
  'm3d': {'ipc': 1, 'factor': 2, **QUICK},
  'dm': {'ipc': 1, **QUICK},
}


@pytest.mark.parametrize('name', POLICIES)
class TestEveryMemory:
  def test_it_holds_the_classes_that_arrived(self, name):
    _, memories = of(name, **POLICIES[name])
    for number, held in enumerate(memories):
      end, weight = pictured.BASE + number * pictured.WAY, np.asarray(held.weight)
      assert weight.shape[:2] == (RUNS, pictured.COLUMNS) == held.inputs.shape[:2]
      assert (weight[:, :end] == 1).all() and not weight[:, end:].any()
      assert np.isfinite(held.inputs).all()

  def test_what_it_holds_of_old_classes_stays(self, name):
    _, memories = of(name, **POLICIES[name])
    if name == 'means':
      pytest.skip('the means are the standing')
    for number, (before, behind) in enumerate(zip(memories, memories[1:])):
      end = pictured.BASE + number * pictured.WAY
      np.testing.assert_array_equal(before.inputs[:, :end], behind.inputs[:, :end])
      assert np.asarray(behind.inputs[:, end : end + pictured.WAY]).any()

  def test_it_takes_nothing_of_past_sessions(self, name):
    if name == 'means':
      pytest.skip('the means are the standing')
    _, memories = of(name, **POLICIES[name])
    seen = pictured.pictures()
    shots, vectors = seen.shots.copy(), seen.shot_vectors.copy()
    shots[:, 0], vectors[:, :, 0] = 77, np.nan
    poisoned = dataclasses.replace(
      seen, shots=shots, shot_vectors=vectors, vectors=np.full_like(seen.vectors, np.nan)
    )
    policy = memory.make({'name': name, **POLICIES[name]}, poisoned)
    course, standing = began()
    standing = standing._replace(number=pictured.T, memory=memories[pictured.T - 1])
    with Run(progress=False) as run:
      last = policy(run, course, standing)
    np.testing.assert_array_equal(last.inputs, memories[pictured.T].inputs)


def nearest_to_the_mean(vectors, number):
  """Herding by hand."""
  mean, picks = vectors.mean(0), []
  for count in range(1, number + 1):
    free = [row for row in range(len(vectors)) if row not in picks]
    distance = [
      np.linalg.norm(mean - (vectors[picks].sum(0) + vectors[row]) / count) for row in free
    ]
    picks.append(free[int(np.argmin(distance))])
  return picks


def test_exemplars_are_those_whose_mean_is_near():
  policy, memories = of('exemplars', ipc=2)
  seen = pictured.pictures()
  for run in range(RUNS):
    seed, draw = divmod(run, pictured.DRAWS)
    for column in (0, FIRST):
      if column:
        vectors, images = seen.shot_vectors[seed, draw, 0][: pictured.SHOT], seen.shots[draw, 0]
      else:
        members = seen.base.of_class(column)
        vectors, images = seen.vectors[seed][members], seen.base.images[members]
      picks = nearest_to_the_mean(vectors.astype(np.float64), 2)
      np.testing.assert_array_equal(policy.album()[run, column], images[picks])
      np.testing.assert_array_equal(memories[-1].inputs[run, column], vectors[picks])


def test_drawn_images_follow_the_draw_and_not_the_base_network():
  images = of('random', ipc=2)[0].album().reshape(pictured.SEEDS, pictured.DRAWS, -1)
  np.testing.assert_array_equal(images[0], images[1])
  assert (images[0, 0] != images[0, 1]).any()


def test_learners_of_images_get_the_images():
  course = dataclasses.replace(began()[0])
  learner = dataclasses.replace(course.engine.learner, reads='images')
  course = dataclasses.replace(course, engine=dataclasses.replace(course.engine, learner=learner))
  policy = memory.make({'name': 'random', 'ipc': 2}, pictured.pictures())
  with Run(progress=False) as run:
    held = policy(run, course, began()[1])
  assert held.inputs.dtype == np.uint8
  np.testing.assert_array_equal(held.inputs[:, : pictured.BASE], policy.album())


class TestCondensedSets:
  def test_a_canvas_is_read_as_its_cells_and_costs_itself(self):
    policy, memories = of('m3d', **POLICIES['m3d'])
    canvases = policy.album()
    assert canvases.shape == (RUNS, pictured.COLUMNS, 1, *pictured.SHAPE)
    assert memories[-1].inputs.shape == (RUNS, pictured.COLUMNS, 4, pictured.DIM)
    assert policy.bytes_a_class(pictured.task()) == 64
    course, _ = began()
    cells = np.asarray(decode.decode(canvases[0, 0] / np.float32(255), 2))
    images = np.rint(cells * 255).astype(np.uint8)[None, None]
    images = np.repeat(images, RUNS, 0)
    # Two programs may round a number between two bytes differently.
    inputs = np.asarray(memories[-1].inputs)[:, 0]
    np.testing.assert_allclose(policy.read(course, images)[:, 0], inputs, atol=0.02)

  def test_base_networks_and_draws_share_what_is_theirs(self):
    canvases = of('m3d', **POLICIES['m3d'])[0].album()
    base, later = canvases[:, :FIRST], canvases[:, FIRST:]
    assert (base == base[:1]).all()
    np.testing.assert_array_equal(later[0], later[pictured.DRAWS])
    assert (later[0] != later[1]).any()

  def test_experts_of_dance_are_trained_on_every_draw(self, monkeypatch):
    sizes = []

    def untrained(run, model, images, wanted, **options):
      sizes.append((len(images), images.num_classes, wanted.number))
      return pretrained.untrained(model, images.image_shape, wanted)

    monkeypatch.setattr(pretrained, 'train', untrained)
    fields = dict(ipc=1, factor=2, experts=2, **QUICK)
    policy = memory.make({'name': 'dance', **fields}, pictured.pictures())
    course, standing = began()
    standing = standing._replace(number=1, memory=of('m3d', **POLICIES['m3d'])[1][0])
    with Run(progress=False) as run:
      held = policy(run, course, standing)
    assert sizes == [(pictured.WAY * pictured.SHOT, pictured.WAY, 2)] * pictured.DRAWS
    stored = policy.stored[1]
    np.testing.assert_array_equal(stored[0], stored[pictured.DRAWS])
    assert (stored[0] != stored[1]).any()
    assert np.asarray(held.inputs[:, FIRST:END]).any(-1).all()

  def test_a_set_is_learned_once_for_all_learners(self, tmp_path, monkeypatch):
    pictures = dataclasses.replace(pictured.pictures(), directory=tmp_path)
    fields = {'name': 'm3d', **POLICIES['m3d'], 'iterations': 2}
    first, _ = remembered(fields, sessions=0, pictures=pictures)
    start = of('m3d', **POLICIES['m3d'])[0].stored[0]
    assert (first.album() != start).any()
    monkeypatch.setattr(loop, 'fit', None)
    again, _ = remembered(fields, sessions=0, pictures=pictures)
    np.testing.assert_array_equal(again.album(), first.album())
    with pytest.raises(TypeError):
      remembered(fields | {'iterations': 4}, sessions=0, pictures=pictures)

  def test_dm_has_its_own_settings(self):
    settings = condensed.dm(None, ipc=2).settings
    assert (settings.order, settings.space, settings.clamped) == ('joint', 'normalised', True)
    assert [condensed.dm(None, factor=factor).init for factor in (1, 2)] == ['real', 'mix']

  def test_learning_rates_follow_the_method_and_the_size(self):
    rates = lambda name, **fields: getattr(condensed, name)(None, **fields).learning_rate
    assert rates('m3d', ipc=2) == (0.6, 2.0) and rates('dance', ipc=2) == (0.02, 0.02)
    assert rates('m3d', learning_rate=0.5) == (0.5, 0.5) and rates('dm') == (1.0, 1.0)


def test_bytes_of_a_class():
  task = dataclasses.replace(pictured.task(), image_shape=(32, 32, 3), dim=64)
  cost = lambda name, **fields: memory.make({'name': name, **fields}, None).bytes_a_class(task)
  assert cost('means') == 256 and cost('none') == 0
  assert cost('exemplars', ipc=2) == cost('cd2') == cost('m3d', ipc=2, factor=2) == 6144


@pytest.mark.parametrize(
  'fields, message',
  [
    ({'name': 'random', 'ipc': 6}, 'later sessions have 5; keep 5 or fewer'),
    ({'name': 'm3d', 'ipc': 1, 'factor': 9}, 'factor of 9 cells .* images of 8 pixels'),
    ({'name': 'dm', 'factor': 5}, 'factor of 5 .* 8x8 pixels altogether; .* fill them: 4, 8'),
    ({'name': 'exemplar'}, "no memory 'exemplar'; did you mean 'exemplars'"),
    ({'name': 'means', 'ipc': 1}, "no field of memory means 'ipc'"),
    ({'name': 'cd2', 'ddm_feature': 'logit'}, "no ddm_feature 'logit'; did you mean 'logits'"),
    ({'name': 'random', 'ipc': 0}, 'ipc is 0; it must be at least 1'),
    ({'name': 'cd2', 'learning_rate': -1.0}, 'learning_rate above 0 .* got -1.0 and 0.5'),
    ({'name': 'cd2', 'momentum': 1.0}, 'momentum from 0 to below 1; got 0.2 and 1.0'),
    ({'name': 'm3d', 'learning_rate': -1.0}, 'learning_rate of canvases is above 0; got -1.0'),
    ({'name': 'dm', 'learning_rate': 0.0}, 'learning_rate of canvases is above 0; got 0.0'),
    ({'name': 'm3d', 'batch_real': 0}, 'batch_real is 0; it must be at least 1'),
    ({'name': 'dance', 'experts': 0}, 'a number of at least 1, .* got 0'),
    ({'name': 'dance', 'expert_epochs': -1}, 'epochs, batch and steps of at least 0; got 5, -1'),
  ],
)
def test_what_cannot_be_is_refused(fields, message):
  with pytest.raises(UserError, match=message):
    memory.check_size(fields, pictured.task(), pictured.parts().base)


def test_a_base_class_may_be_the_smallest():
  base = pictured.parts().base
  few = base.take(np.flatnonzero((base.labels != 2) | (np.arange(len(base)) < 20)))
  count, task = int(few.counts.min()), dataclasses.replace(pictured.task(), shot=50)
  memory.check_size({'name': 'random', 'ipc': count}, task, few)
  with pytest.raises(UserError, match=f"the base class '2' has {count}"):
    memory.check_size({'name': 'random', 'ipc': count + 1}, task, few)
