"""Checkpoints: what comes back, and what happens to damaged ones."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.training import checkpoint, parallel


def state(value):
  return {
    'step': jnp.int32(value),
    'key': jax.random.key(value),
    'raw': jax.random.key_data(jax.random.key(value)),
    'layers': [{'w': jnp.full((3, 2), value / 3)}, {'w': jnp.full(2, value, jnp.bfloat16)}],
    'empty': jnp.zeros((0, 4)),
    'flag': jnp.asarray(True),
    'nothing': None,
  }


def same(a, b):
  unkey = lambda leaf: (
    jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
  )
  left, right = ([np.asarray(unkey(leaf)) for leaf in jax.tree.leaves(tree)] for tree in (a, b))
  return jax.tree.structure(a) == jax.tree.structure(b) and all(
    x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(left, right, strict=True)
  )


@pytest.fixture
def saved(tmp_path):
  """A directory with the checkpoints of steps 10 and 20."""
  checkpoints = checkpoint.Checkpoints(tmp_path / 'saved')
  for step in (10, 20):
    checkpoints.save(step, state(step), {'step': step})
  checkpoints.close()
  return tmp_path / 'saved'


def restore(directory, template=None):
  told = []
  checkpoints = checkpoint.Checkpoints(directory, say=told.append)
  try:
    return (
      checkpoints.restore(state(0) if template is None else template),
      told,
      checkpoints.steps(),
    )
  finally:
    checkpoints.close()


def test_every_leaf_and_the_notes_come_back(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path / 'a')
  assert checkpoints.restore(state(0)) is None and checkpoints.steps() == []
  notes = {'times': {'seconds': 1.25}, 'history': [{'accuracy': 0.1 + 0.2}], 'position': None}
  checkpoints.save(3, state(3), notes)
  found, meta = checkpoints.restore(state(0))
  assert same(found, state(3)) and meta == notes
  assert jax.random.uniform(found['key']) == jax.random.uniform(jax.random.key(3))
  checkpoints.close()


def test_the_newest_ones_stay(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path / 'a', keep=2)
  for step in range(1, 5):
    checkpoints.save(step, {'w': jnp.ones(1)}, {})
  assert checkpoints.steps() == [3, 4]
  checkpoints.delete()
  assert checkpoints.steps() == [] and not (tmp_path / 'a').exists()


def test_a_save_is_over_when_the_arrays_may_change(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path / 'a')
  w = jnp.zeros(1000)
  checkpoints.save(1, {'w': w}, {})
  overwrite = jax.jit(lambda w: w + 1, donate_argnums=0)
  for _ in range(10):
    w = overwrite(w)
  found, _ = checkpoints.restore({'w': w})
  assert not found['w'].any()
  checkpoints.close()


def files(directory):
  return sorted(
    path.relative_to(directory)
    for path in pathlib.Path(directory, '20').rglob('*')
    if path.is_file()
  )


def damage(path, kind):
  content = bytearray(path.read_bytes())
  if kind == 'missing':
    path.unlink()
  elif kind == 'half':
    path.write_bytes(content[: len(content) // 2])
  elif content:
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize('kind', ['flipped', 'half', 'missing'])
def test_whatever_file_is_damaged_the_state_is_a_true_one(saved, tmp_path, kind):
  passed_over = 0
  for i, name in enumerate(files(saved)):
    copy = tmp_path / f'{kind}{i}'
    shutil.copytree(saved, copy)
    damage(copy / name, kind)
    (found, meta), told, steps = restore(copy)
    assert same(found, state(meta['step'])) and meta['step'] == steps[-1]
    if meta['step'] == 10:
      passed_over += 1
      assert (
        len(told) == 1
        and 'step 20' in told[0]
        and 'damaged (' in told[0]
        and 'step 10 is used' in told[0]
      )
      assert steps == [10]  # so that step 20 can be saved again
  assert passed_over >= 3  # the notes, and the files that hold the arrays


def test_content_that_does_not_match_its_checksum_is_damaged(saved, monkeypatch):
  monkeypatch.setattr(
    checkpoint,
    '_digest',
    lambda leaves, content: 'other' if content['meta']['step'] == 20 else content['sha256'],
  )
  (found, meta), told, _ = restore(saved)
  assert meta['step'] == 10 and 'does not match its checksum' in told[0]


def test_when_all_are_damaged_nothing_is_deleted(saved):
  for step in ('10', '20'):
    shutil.rmtree(saved / step / 'state')
  with pytest.raises(
    UserError, match='(?s)No checkpoint in .* can be read .*step 20.*step 10.*Delete that directory'
  ):
    restore(saved)
  assert (saved / '10').exists() and (saved / '20').exists()


def test_a_save_that_did_not_finish_does_not_exist(saved):
  shutil.copytree(saved / '20', saved / '30.orbax-checkpoint-tmp')
  (_, meta), told, steps = restore(saved)
  assert meta['step'] == 20 and not told and steps == [10, 20]


def test_another_state_is_refused_with_the_name_of_the_leaf(saved):
  for template, text in [
    ({**state(0), 'step': jnp.zeros(2)}, "'step' is int32.* there and float32"),
    ({**state(0), 'new': jnp.zeros(1)}, "'new' is missing there"),
    ({'step': jnp.int32(0)}, 'missing here'),
  ]:
    with pytest.raises(UserError, match=text):
      restore(saved, template)


def test_nan_is_not_saved(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path / 'a')
  for bad in (jnp.nan, jnp.inf):
    with pytest.raises(checkpoint.NonFinite, match='layer.w'):
      checkpoints.save(1, {'layer': {'w': jnp.array([1, bad])}}, {})
  assert checkpoints.steps() == []
  checkpoints.close()


def test_leaves_go_where_the_template_has_them(saved, tmp_path):
  mesh = parallel.make_mesh()
  checkpoints = checkpoint.Checkpoints(tmp_path / 'spread')
  x = np.arange(8, dtype=np.float32)
  checkpoints.save(1, {'x': jnp.asarray(x)}, {})
  for template in ({'x': parallel.shard(np.zeros(8, np.float32), mesh)}, {'x': jnp.zeros(8)}):
    found, _ = checkpoints.restore(template)
    assert found['x'].sharding == template['x'].sharding and found['x'].tolist() == x.tolist()
    checkpoints.save(len(found['x'].devices()) + 1, found, {})
  checkpoints.close()


def test_a_place_that_cannot_be_written_is_told(tmp_path):
  (tmp_path / 'file').write_text('')
  checkpoints = checkpoint.Checkpoints(tmp_path / 'file' / 'a')
  with pytest.raises(UserError, match='could not be written'):
    checkpoints.save(1, {'w': jnp.ones(1)}, {})


def test_two_leaves_of_one_name_are_refused(tmp_path):
  with pytest.raises(ValueError, match='same name'):
    checkpoint.Checkpoints(tmp_path).save(1, {'a': {'b': jnp.ones(1)}, 'a.b': jnp.ones(1)}, {})


def test_padding_of_the_devices_is_not_saved_and_comes_from_the_template(tmp_path):
  """Three real rows: written with four devices, read with one, and the other way round."""
  mesh = parallel.make_mesh()
  rows = np.arange(1.0, 7.0, dtype=np.float32).reshape(3, 2)

  def spread(filler):
    return {
      'x': parallel.shard(np.concatenate([rows, np.full((1, 2), filler, np.float32)]), mesh),
      'n': jnp.int32(5),
    }

  alone = {'x': jnp.asarray(rows), 'n': jnp.int32(5)}
  checkpoints = checkpoint.Checkpoints(tmp_path / 'a')
  for step, written in enumerate((spread(9), alone)):
    checkpoints.save(step, written, {}, rows=3)
    found, _ = checkpoints.restore({'x': jnp.zeros((3, 2)), 'n': jnp.int32(0)}, rows=3)
    assert found['x'].tolist() == rows.tolist() and int(found['n']) == 5
    template = spread(7)
    found, _ = checkpoints.restore(template, rows=3)
    assert found['x'].sharding == template['x'].sharding
    assert found['x'].tolist() == [*rows.tolist(), [7, 7]]
  with pytest.raises(UserError, match="'x' is float32.3, 2. there and float32.2, 2. here"):
    checkpoints.restore(alone | {'x': jnp.zeros((2, 2))}, rows=2)
  checkpoints.close()
