"""Four fake devices: what is spread, what is whole, and that per-device code computes what one
device does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxdistill.errors import UserError
from jaxdistill.training import parallel


@pytest.fixture(scope='module')
def mesh():
  return parallel.make_mesh()


def test_the_mesh_has_the_devices_asked_for(mesh):
  assert dict(mesh.shape) == {'data': 4} and dict(parallel.make_mesh(2).shape) == {'data': 2}
  assert mesh.axis_types == (jax.sharding.AxisType.Auto,)
  for wrong in (5, -1):
    with pytest.raises(UserError, match='more than the 4 here'):
      parallel.make_mesh(wrong)


def test_leading_axes_are_spread_and_copies_are_whole(mesh):
  tree = {'a': np.arange(8), 'key': jax.random.split(jax.random.key(0), 4)}
  spread = parallel.shard(tree, mesh)
  assert [shard.data.tolist() for shard in spread['a'].addressable_shards] == [
    [0, 1],
    [2, 3],
    [4, 5],
    [6, 7],
  ]
  assert len(spread['key'].sharding.device_set) == 4
  whole = parallel.replicate(tree, mesh)
  assert all(shard.data.shape == (8,) for shard in whole['a'].addressable_shards)
  with pytest.raises(ValueError, match='padded_rows'):
    parallel.shard(np.zeros(6), mesh)
  with pytest.raises(ValueError, match='padded_rows'):
    parallel.shard(np.float32(1), mesh)


def test_whole_arrays_come_back(mesh):
  x = np.arange(8)
  assert np.asarray(parallel.gather(parallel.shard(x, mesh))).tolist() == x.tolist()
  for array in (parallel.shard(x, mesh), parallel.replicate(x, mesh), jnp.asarray(x)):
    local = parallel.local(array)
    assert local.tolist() == x.tolist() and len(local.devices()) == 1


def test_padding_repeats_rows():
  assert parallel.padded_rows(5, 4).tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
  assert parallel.padded_rows(2, 8).tolist() == [0, 1] * 4
  assert parallel.padded_rows(4, 4).tolist() == [0, 1, 2, 3]


def test_code_per_device_equals_code_of_one(mesh):
  x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
  w = np.array([1, 2, 3], np.float32)

  def gradient(w, x):
    return jax.lax.pmean(jax.grad(lambda w: jnp.mean((x @ w) ** 2))(w), 'data')

  found = {}
  for devices in (1, 4):
    some = parallel.make_mesh(devices)
    spread = parallel.per_device(gradient, some, (P(), P('data')), P())
    found[devices] = np.asarray(spread(parallel.replicate(w, some), parallel.shard(x, some)))
  np.testing.assert_allclose(found[4], found[1], rtol=1e-6)
  np.testing.assert_allclose(found[1], 2 * x.astype(np.float64).T @ (x @ w) / 8, rtol=1e-5)


def test_random_numbers_do_not_depend_on_the_devices(mesh):
  def noise(key, index):
    return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i)))(index)

  spread = parallel.per_device(noise, mesh, (P(), P('data')), P('data'))
  assert (
    spread(jax.random.key(0), np.arange(8)).tolist()
    == noise(jax.random.key(0), jnp.arange(8)).tolist()
  )


def test_states_arise_where_they_belong(mesh):
  specs = {'spread': P('data'), 'whole': P()}
  made = parallel.make_sharded(lambda n: {'spread': jnp.arange(8) * n, 'whole': n}, specs, mesh, 2)
  assert made['spread'].addressable_shards[1].data.tolist() == [4, 6] and int(made['whole']) == 2
  assert made['whole'].is_fully_replicated
