"""Permutations that are functions, and the passes made of them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import backend
from jaxdistill.data import Dataset, samplers
from jaxdistill.errors import UserError

KEY = jax.random.key(11)


@jax.jit
def _first_300(key, size, epoch):
  return samplers.shuffled_index(key, jnp.arange(300), size, epoch)


@pytest.mark.parametrize(
  'size', [*range(1, 20), 31, 32, 33, 63, 64, 65, 99, 100, 127, 255, 256, 257, 299, 300]
)
def test_is_a_bijection_for_a_traced_size(size):
  for epoch in range(3):
    index = np.asarray(_first_300(KEY, size, epoch))[:size]
    np.testing.assert_array_equal(np.sort(index), np.arange(size))


def test_is_a_bijection_for_a_large_size():
  index = np.asarray(
    jax.jit(samplers.shuffled_index, static_argnums=2)(KEY, jnp.arange(70_001), 70_001)
  )
  np.testing.assert_array_equal(np.sort(index), np.arange(70_001))
  assert index.dtype == np.int32
  # No trace of the old order: neighbours are as far apart as two random entries, a third of the
  # size on average.
  assert abs(np.abs(np.diff(index)).mean() / 70_001 - 1 / 3) < 0.01
  assert abs(np.corrcoef(index, np.arange(70_001))[0, 1]) < 0.02


def test_a_gpu_draws_what_others_draw_without_asking_the_host():
  def draw(key, size):
    return samplers.shuffled_index(key, jnp.arange(100), size)

  with backend.compiling_for('gpu'):
    drawn = jax.jit(lambda key, size: draw(key, size))
    # A loop of so many passes as are known beforehand.
    assert 'while' not in str(jax.make_jaxpr(drawn)(KEY, 100))
    for size in (1, 3, 7, 100):
      np.testing.assert_array_equal(drawn(KEY, size), draw(KEY, size))


def test_positions_are_independent_of_what_else_is_asked():
  whole = _first_300(KEY, 300, 5)
  picked = jax.jit(samplers.shuffled_index)(KEY, jnp.array([7, 0, 299]), 300, jnp.array([5, 5, 5]))
  np.testing.assert_array_equal(picked, whole[jnp.array([7, 0, 299])])


@pytest.mark.parametrize('size', [3, 4])
def test_all_orders_of_few_images_occur_equally_often(size):
  draw = jax.jit(
    jax.vmap(lambda epoch: samplers.shuffled_index(KEY, jnp.arange(size), size, epoch))
  )
  orders = draw(jnp.arange(6000))
  _, counts = np.unique(np.asarray(orders), axis=0, return_counts=True)
  assert len(counts) == len(list(itertools.permutations(range(size))))
  assert counts.max() / counts.min() < 1.7


def test_every_image_is_as_likely_at_every_position():
  keys = jax.random.split(KEY, 5000)
  index = np.asarray(
    jax.jit(jax.vmap(lambda key: samplers.shuffled_index(key, jnp.arange(10), 10)))(keys)
  )
  counts = np.stack([np.bincount(column, minlength=10) for column in index.T])
  np.testing.assert_allclose(counts, 500, atol=5 * np.sqrt(500))


@pytest.mark.parametrize('size, batch', [(10, 4), (12, 4), (3, 8), (1, 1)])
def test_epoch_visits_every_image_once(size, batch):
  draw = jax.jit(functools.partial(samplers.epoch_batch, size=size, batch=batch))
  steps = -(-size // batch)
  epochs = []
  for epoch in range(3):
    index, weight = zip(*(draw(KEY, epoch * steps + k) for k in range(steps)))
    index, weight = np.concatenate(index), np.concatenate(weight)
    assert (index < size).all() and weight.sum() == size and (np.diff(weight) <= 0).all()
    np.testing.assert_array_equal(np.sort(index[weight > 0]), np.arange(size))
    epochs.append(tuple(index[weight > 0]))
  assert size < 10 or len(set(epochs)) == 3


def test_epoch_without_its_short_batch():
  draw = jax.jit(lambda step: samplers.epoch_batch(KEY, step, 10, 4, drop_last=True))
  index, weight = zip(*(draw(step) for step in range(4)))
  assert (np.stack(weight) == 1).all()
  assert len(np.unique(np.concatenate(index[:2]))) == len(np.unique(np.concatenate(index[2:]))) == 8
  with pytest.raises(UserError, match='batch of 4 does not fit into 3 images'):
    samplers.epoch_batch(KEY, 0, 3, 4, drop_last=True)


COUNTS = jnp.array([12, 5, 4, 1, 0, 2])


@jax.jit
def _class_batch(key, step, counts=COUNTS, classes=jnp.arange(6)):
  return samplers.class_batch(key, step, counts, 4, classes)


def test_class_passes_are_without_replacement():
  draws = np.stack([_class_batch(KEY, step)[0] for step in range(6)])
  assert draws.shape == (6, 6, 4) and draws.dtype == np.int32
  assert (draws < np.maximum(COUNTS, 1).reshape(1, -1, 1)).all() and (draws >= 0).all()
  for start in (0, 3):
    np.testing.assert_array_equal(np.sort(draws[start : start + 3, 0].ravel()), np.arange(12))
  assert (draws[:3, 0] != draws[3:, 0]).any()
  for step in range(6):
    # Five images: one batch a pass, the fifth image is dropped. Four: the batch is the whole class.
    assert len(set(draws[step, 1])) == 4
    assert set(draws[step, 2]) == {0, 1, 2, 3}
    assert set(draws[step, 3]) == {0} and sorted(draws[step, 5]) == [0, 0, 1, 1]


def test_a_class_smaller_than_the_batch_gives_each_image_once_a_step():
  orders = set()
  for step in range(6):
    index, weight = _class_batch(KEY, step)
    assert weight.dtype == np.float32
    assert weight.sum(1).tolist() == [4, 4, 4, 1, 0, 2]
    for label, count in enumerate(COUNTS.tolist()):
      assert len(set(index[label, :count].tolist())) == min(count, 4)
    assert set(index[5, :2].tolist()) == {0, 1}
    orders.add(tuple(index[5, :2].tolist()))
  assert len(orders) == 2  # a new order every step


def test_full_classes_draw_as_before():
  """The bits of condensed sets that are there follow these draws."""
  index, weight = _class_batch(jax.random.key(5), 3, jnp.array([9, 4, 30, 8, 100, 57]))
  assert (weight == 1).all()
  assert index.tolist() == [
    [3, 0, 1, 4],
    [3, 1, 2, 0],
    [26, 22, 12, 27],
    [0, 6, 5, 4],
    [40, 22, 61, 29],
    [30, 3, 1, 6],
  ]


def test_class_draws_depend_on_key_step_and_class_alone():
  index, weight = _class_batch(KEY, 2)
  np.testing.assert_array_equal(index, _class_batch(KEY, 2)[0])
  assert (index != _class_batch(jax.random.key(12), 2)[0]).any()
  order = jnp.array([4, 2, 0, 1, 5, 3])
  elsewhere, weight_elsewhere = _class_batch(KEY, 2, COUNTS[order], order)
  np.testing.assert_array_equal(elsewhere, index[order])
  np.testing.assert_array_equal(weight_elsewhere, weight[order])
  alike, _ = _class_batch(KEY, 0, jnp.full(6, 50))
  assert len(np.unique(alike, axis=0)) == 6


def test_class_major_keeps_every_image_at_its_place():
  labels = np.array([2, 0, 2, 2, 1, 0])
  images = np.arange(1, 7, dtype=np.uint8).reshape(6, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)
  sorted_images, counts = samplers.class_major(Dataset(images, labels))
  assert counts.tolist() == [2, 1, 3] and counts.dtype == np.int32
  assert sorted_images.dtype == np.uint8 and sorted_images.shape == (3, 3, 2, 2, 1)
  assert sorted_images[:, :, 0, 0, 0].tolist() == [[2, 6, 0], [5, 0, 0], [1, 3, 4]]
  padded, _ = samplers.class_major(Dataset(images, labels), most=4)
  assert padded.shape[1] == 4 and not padded[:, 3].any() and (padded[:, :3] == sorted_images).all()
