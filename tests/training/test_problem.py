"""Ready for the loop: what lies where, padding, held and streamed images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data import streaming
from jaxdistill.training import parallel, problem
from jaxdistill.training.batches import ArraySource, HostSource
from jaxdistill.training.problem import SHARE, WHOLE

PIXELS = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)


def functions():
  """Adds up the images that each row points to; `network` is shared out, `images` are whole."""

  def init(start):
    return {'total': start, 'step': jnp.int32(0)}

  def sample(data, key, step):
    del key
    return {'images': data['images'][(data['network'] + step) % 8], 'scale': data['scale']}

  def step(state, batch):
    sums = batch['images'].astype(jnp.float32).sum((1, 2, 3)) * batch['scale']
    return {'total': state['total'] + sums, 'step': state['step'] + 1}, {}

  return problem.Functions(init, sample, step, draw=sample)


def placement(devices):
  mesh = parallel.make_mesh(devices) if devices else None
  state = {'total': SHARE, 'step': WHOLE}
  batch = {'images': SHARE, 'scale': WHOLE}
  return problem.Placement(mesh, state, {'images': WHOLE, 'network': SHARE, 'scale': WHOLE}, batch)


def data(images, rows=8):
  return {'images': images, 'network': np.arange(rows), 'scale': np.float32(2)}


@pytest.mark.parametrize('devices', [0, 1, 4])
def test_a_problem_is_the_same_on_every_number_of_devices(devices):
  placed = placement(devices)
  spread = problem.spread(functions(), placed)
  state = problem.start(spread, placed, jnp.zeros(8))
  source = problem.source(spread, placed, data(PIXELS), jax.random.key(0), 2)
  assert isinstance(source, ArraySource)
  batch = spread.sample(source.data, jax.random.key(0), 1)
  after, _ = spread.step(state, batch)
  np.testing.assert_array_equal(after['total'], 8.0 * ((np.arange(8) + 1) % 8))
  assert len(after['total'].sharding.device_set) == max(devices, 1)
  assert parallel.is_spread(after['total']) == (devices == 4)
  assert not parallel.is_spread(source.data['images'])


@pytest.mark.parametrize('devices', [0, 4])
def test_streamed_images_make_the_batches_of_held_ones_and_what_is_resident_stays(devices):
  placed = placement(devices)
  spread = problem.spread(functions(), placed)
  key = jax.random.key(0)
  held = problem.source(spread, placed, data(PIXELS), key, 3, resident=('scale',))
  streamed = problem.source(
    spread, placed, data(streaming.Streamed.of_array(PIXELS)), key, 3, resident=('scale',)
  )
  assert isinstance(streamed, HostSource)
  feed = streamed.feed(lambda tree: jax.tree.map(jnp.asarray, tree), 0, 3)
  batch, expected = feed.take(), spread.sample(held.data, key, 0)
  assert batch.keys() == expected.keys()
  jax.tree.map(np.testing.assert_array_equal, dict(batch), dict(expected))
  assert parallel.is_spread(batch['images']) == (devices == 4)


def test_rows_fill_the_devices_by_beginning_again():
  assert problem.padded_rows(5, parallel.make_mesh(4)).tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
  assert problem.padded_rows(5, None).tolist() == [0, 1, 2, 3, 4]
