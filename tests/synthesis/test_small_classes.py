"""Classes with fewer real images than a batch takes: each image once, beside whatever others."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import losses, models
from jaxdistill.condensation import problem, sections
from jaxdistill.condensation.problem import Condensing
from jaxdistill.data import Dataset, augment, samplers, streaming
from jaxdistill.synthesis import engine
from jaxdistill.training import loop, parallel, program
from jaxdistill.training.run import Run

SHAPE, CLASSES, BATCH = (8, 8, 1), 4, 4
COUNTS = (6, 3, 4, 1)
MEAN, STD = (0.4,), (0.3,)
SETTINGS = engine.Settings(ipc=2, batch_real=BATCH, learning_rate=0.5, augmentation='')
KEY = jax.random.key_data(jax.random.key(3))


@functools.cache
def model():
  return models.build({'name': 'convnet', 'width': 4, 'depth': 1}, CLASSES, SHAPE)


@functools.cache
def real_set(counts=COUNTS):
  """Images of which no two are alike; those of a class do not depend on the size of the others."""
  labels = np.repeat(np.arange(CLASSES), counts)
  rng = [np.random.default_rng(label) for label in range(CLASSES)]
  images = [rng[label].integers(0, 256, SHAPE).astype(np.uint8) for label in labels]
  return Dataset(np.stack(images), labels, mean=MEAN, std=STD)


@functools.cache
def canvases():
  return np.random.default_rng(9).random((CLASSES, 2, *SHAPE)).astype(np.float32)


def plugs(discrepancy):
  return engine.Plugs(engine.fresh_networks(model(), SHAPE, 1), discrepancy)


def advance(discrepancy, train, mesh=None, settings=SETTINGS, steps=1, smallest=0):
  """Canvases and losses by class after some steps."""
  images, counts = samplers.class_major(train)
  functions = engine.make(
    plugs(discrepancy),
    settings,
    model(),
    num_classes=CLASSES,
    mean=MEAN,
    std=STD,
    mesh=mesh,
    smallest=smallest,
  )
  state = engine.start(functions, KEY, canvases(), mesh)
  source = engine.source(functions, state, steps, images, counts, mesh)
  step, measured = jax.jit(functions.step), []
  if isinstance(images, streaming.Streamed):
    feed = source.feed(None, 0, steps)
  else:
    sample = jax.jit(source.sample)
  for number in range(steps):
    if isinstance(images, streaming.Streamed):
      batch = feed.take()
    else:
      batch = sample(source.data, program.sampling_key(state.key), jnp.int32(number))
    state, metrics = step(state, batch)
    measured.append(np.asarray(metrics['class_loss']))
    if isinstance(images, streaming.Streamed):
      feed.prepare(number + 1)
  return np.asarray(parallel.gather(state.images))[:CLASSES], np.stack(measured)


@jax.jit
def embedded(images):
  key = jax.random.fold_in(jax.random.wrap_key_data(KEY), engine._NETWORKS)
  variables = plugs(losses.mmd).draw((), key, 0)
  normalised = augment.normalise(images, MEAN, STD)
  return model().apply(variables.matching, normalised)[1]['embedding']


def features(images):
  """In float64; one program for all numbers of images."""
  filled = np.zeros((max(COUNTS), *SHAPE), images.dtype)
  filled[: len(images)] = images
  return np.asarray(embedded(filled)[: len(images)], np.float64)


@pytest.mark.parametrize('smallest', [0, 1])
def test_the_mean_of_a_small_class_is_that_of_its_images(smallest):
  """Class 1 has three images and class 3 one, where a batch takes four; class 2 fills it."""
  train = real_set()
  _, measured = advance(losses.mean_discrepancy, train, smallest=smallest)
  for label in (1, 2, 3):
    real = features(train.images[train.of_class(label)]).mean(0)
    synthetic = features(canvases()[label]).mean(0)
    assert measured[0, label] == pytest.approx(np.square(real - synthetic).sum(), rel=1e-4)


def test_the_mmd_of_a_small_class_knows_its_images_once():
  train = real_set()
  _, measured = advance(losses.mmd, train)
  for label in (1, 3):
    x, y = (
      features(images)
      for images in (
        canvases()[label],
        train.images[train.of_class(label)],
      )
    )
    points = np.concatenate([x, y])
    distances = np.square(points[:, None] - points[None]).sum(-1)
    number = len(points)
    bandwidth = distances.sum() / (number**2 - number)
    kernel = sum(np.exp(-distances / (q * bandwidth)) for q in (0.25, 0.5, 1, 2, 4))
    sign = np.repeat([1 / len(x), -1 / len(y)], [len(x), len(y)])
    assert measured[0, label] == pytest.approx(sign @ kernel @ sign, rel=1e-3)


def test_full_classes_do_not_know_of_the_small_ones():
  for discrepancy in (losses.mean_discrepancy, losses.mmd):
    beside, losses_beside = advance(discrepancy, real_set(), steps=3)
    alone, losses_alone = advance(discrepancy, real_set((6, 6, 4, 6)), steps=3)
    np.testing.assert_array_equal(losses_beside[:, [0, 2]], losses_alone[:, [0, 2]])
    np.testing.assert_array_equal(beside[[0, 2]], alone[[0, 2]])
    assert np.abs(beside[3] - alone[3]).max() > 1e-3


@pytest.mark.slow
def test_where_no_class_is_small_nothing_is_weighed():
  train = real_set((6, 6, 4, 6))
  for discrepancy in (losses.mean_discrepancy, losses.mmd):
    plain, _ = advance(lambda x, y, by=discrepancy: by(x, y), train, steps=3)
    known, _ = advance(discrepancy, train, steps=3, smallest=4)
    np.testing.assert_array_equal(known, plain)
    unknown, _ = advance(discrepancy, train, steps=3)
    np.testing.assert_allclose(unknown, plain, atol=1e-6)


def test_devices_portions_and_streams_give_a_small_class_the_same():
  train = real_set()
  expected, measured = advance(losses.mmd, train, steps=2)
  streamed = dataclasses.replace(train, images=streaming.Streamed.of_array(train.images))
  others = {
    'devices': advance(losses.mmd, train, parallel.make_mesh(3), steps=2),
    'portions': advance(
      losses.mmd, train, settings=dataclasses.replace(SETTINGS, classes_at_once=3), steps=2
    ),
    'stream': advance(losses.mmd, streamed, steps=2),
    'stream to devices': advance(losses.mmd, streamed, parallel.make_mesh(2), steps=2),
  }
  for name, (images, by_class) in others.items():
    np.testing.assert_allclose(images, expected, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(by_class, measured, rtol=1e-4, err_msg=name)


def test_a_discrepancy_without_a_mask_sees_the_images_again():
  seen = []

  def discrepancy(x, y):
    seen.append(y.shape[0])
    return losses.mean_discrepancy(x, y)

  _, measured = advance(discrepancy, real_set())
  _, weighed = advance(losses.mean_discrepancy, real_set())
  assert set(seen) == {BATCH}
  # The one image of class 3 repeated is itself; of class 1 one of three counts twice.
  np.testing.assert_allclose(measured[0, [0, 2, 3]], weighed[0, [0, 2, 3]], rtol=1e-5)
  assert measured[0, 1] != pytest.approx(weighed[0, 1], rel=1e-3)


def small_condensing(iterations=1):
  section = sections.Condensation(
    ipc=2,
    factor=1,
    init='real',
    iterations=iterations,
    batch_real=64,
    batch_syn_max=64,
    learning_rate=0.5,
    momentum=0.5,
    order='per_class',
    space='unit',
    augmentation='',
    composition='idc',
  )
  return Condensing(section, {'name': 'dm'}, {'name': 'convnet', 'width': 4, 'depth': 1})


def test_a_batch_is_no_larger_than_the_largest_class():
  """So that small classes of one size need no mask, whatever the method."""
  for counts, weighed in (((5, 5, 5, 5), False), (COUNTS, True)):
    ready = problem.setup(small_condensing(), real_set(counts))
    batch = jax.jit(ready.source.sample)(
      ready.source.data, program.sampling_key(ready.state.key), jnp.int32(0)
    )
    assert batch['images'].shape[:2] == (CLASSES, max(counts))
    assert ('weight' in batch) == weighed
  assert batch['weight'].sum(1).tolist() == list(COUNTS)


def test_what_an_earlier_version_left_unfinished_begins_anew(tmp_path, capsys):
  train, condensing = real_set((2, 3, 2, 4)), small_condensing(iterations=3)
  ready = problem.setup(condensing, train)
  with Run(progress=False) as memory:
    expected, _ = problem.condense(condensing, train, ready, memory)
  with Run(tmp_path, progress=False, checkpoint_every=1) as earlier:
    loop.fit(earlier, 'condense', dataclasses.replace(ready, num_steps=2))
  for begins in (True, False):
    with Run(tmp_path, progress=False, checkpoint_every=1) as run:
      condensed, _ = problem.condense(condensing, train, ready, run)
      assert run.checkpoints('condense').steps()[-1] == 3
    np.testing.assert_array_equal(condensed.images, expected.images)
    assert ('condense: begins anew; an earlier version' in capsys.readouterr().out) == begins
