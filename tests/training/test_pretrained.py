"""Networks that others want: what they are found by, and what stands in for them."""

import dataclasses
import os
import pathlib

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxdistill import models
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError
from jaxdistill.training import loop, pretrained
from jaxdistill.training.pretrained import Wanted
from jaxdistill.training.run import Run

SHAPE = (8, 8, 1)


class Around(nn.Module):
  """A network around another one."""

  inner: nn.Module

  def __call__(self, x):
    return self.inner(x)


def images(**changes):
  pixels = np.arange(12 * 64, dtype=np.uint8).reshape(12, *SHAPE)
  return Dataset(pixels, np.arange(12) % 3, mean=(0.5,), std=(0.25,), **changes)


def network():
  return models.build({'name': 'convnet', 'width': 4, 'depth': 1}, 3, SHAPE)


@pytest.mark.parametrize(
  'wanted, seed, name',
  [
    (Wanted(2), 0, 'ef74f0e038d43a7e'),
    (Wanted(5, epochs=10, batch=128), 3, 'b6f5afb0a9ae9ad2'),
    (Wanted(1, epochs=10, steps=7), 0, 'ebf67f804b00eb1d'),
  ],
)
def test_networks_are_found_by_the_names_that_they_had_from_the_first_version_on(
  tmp_path, plain, wanted, seed, name
):
  for flip in (True, False):
    assert pretrained.identity(network(), images(flip=flip), wanted, seed=seed) == name
  assert not pretrained.are_kept(tmp_path, network(), images(), wanted, seed=seed)
  (tmp_path / f'{name}.msgpack').write_bytes(b'')
  assert pretrained.are_kept(tmp_path, network(), images(), wanted, seed=seed)
  assert not pretrained.are_kept(tmp_path, network(), images(), wanted, seed=seed + 1)
  assert not pretrained.are_kept(None, network(), images(), wanted, seed=seed)


def test_networks_with_other_statistics_of_a_short_batch_have_another_name(monkeypatch):
  """Batch normalisation counts what fills up a batch no longer: such networks are made anew, all
  others are found."""
  normed = models.build({'name': 'convnet', 'width': 4, 'depth': 1, 'norm': 'batch'}, 3, SHAPE)
  cases = {
    'short': (normed, Wanted(1, batch=8)),
    'even': (normed, Wanted(1, batch=6)),
    'over before it': (normed, Wanted(1, batch=8, steps=1)),
    'not coupled': (network(), Wanted(1, batch=8)),
  }
  now = {name: pretrained.identity(model, images(), one) for name, (model, one) in cases.items()}
  monkeypatch.setattr(pretrained.classifier, 'rules', lambda **problem: {})
  before = {name: pretrained.identity(model, images(), one) for name, (model, one) in cases.items()}
  assert [name for name in cases if now[name] != before[name]] == ['short']


def test_the_code_of_a_users_network_decides_too():
  def network_with(call):
    return type('Mine', (nn.Module,), {'__call__': call, '__module__': __name__})()

  twice, same, thrice = (
    network_with(call) for call in (lambda s, x: 2 * x, lambda s, x: 2 * x, lambda s, x: 3 * x)
  )
  name = pretrained.identity(twice, images(), Wanted(2))
  assert repr(twice) == repr(thrice)
  assert pretrained.identity(same, images(), Wanted(2)) == name
  assert pretrained.identity(thrice, images(), Wanted(2)) != name
  names = {pretrained.identity(Around(inner), images(), Wanted(2)) for inner in (twice, thrice)}
  assert len(names) == 2


def test_everything_wanted_decides_the_name():
  usual = Wanted(2, epochs=3, batch=4)
  others = [
    usual,
    dataclasses.replace(usual, number=3),
    dataclasses.replace(usual, epochs=4),
    dataclasses.replace(usual, batch=5),
    dataclasses.replace(usual, steps=1),
    dataclasses.replace(usual, recipe=dataclasses.replace(pretrained.RECIPE, cutmix=0.0)),
  ]
  names = [pretrained.identity(network(), images(), wanted) for wanted in others]
  assert len(set(names)) == len(names)


def test_a_recipe_that_mirrors_does_so_only_where_the_class_stays():
  plain, mirroring = (
    Wanted(1, recipe=dataclasses.replace(pretrained.RECIPE, strategy=strategy))
    for strategy in ('color_crop', 'color_crop_flip')
  )
  kept, lost = images(flip=True), images(flip=False)
  names = [
    pretrained.identity(network(), examples, wanted)
    for examples, wanted in ((lost, mirroring), (lost, plain), (kept, plain), (kept, mirroring))
  ]
  assert names[0] == names[1] == names[2] != names[3]


def test_the_stand_in_has_the_form_of_what_is_trained():
  wanted = Wanted(2, steps=1)
  with Run(progress=False) as run:
    pool = pretrained.train(run, network(), images(), wanted)
  blank = pretrained.untrained(network(), SHAPE, wanted)
  assert jax.tree.structure(pool) == jax.tree.structure(blank)
  assert [leaf.shape for leaf in jax.tree.leaves(pool)] == [
    leaf.shape for leaf in jax.tree.leaves(blank)
  ]
  moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, pool), strict=True)]
  assert max(moved) > 0


def test_where_nothing_is_wanted_nothing_is_done(tmp_path):
  with Run(progress=False) as run:
    assert pretrained.train(run, network(), images(), None, directory=tmp_path) == ()
    assert not run.timing('experts')
  assert pretrained.untrained(network(), SHAPE, None) == ()
  assert pretrained.setup(network(), images(), None) is None
  assert not pretrained.are_kept(tmp_path, network(), images(), None)


@pytest.mark.parametrize(
  'fields', [dict(number=0), dict(epochs=-1), dict(batch=-2), dict(steps=-1)]
)
def test_what_cannot_be_wanted_is_refused(fields):
  with pytest.raises(UserError, match='a number of at least 1, and epochs, batch and steps of at'):
    Wanted(**fields)


def test_networks_lie_beside_the_work_dir_or_where_one_says(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  with Run(progress=False) as memory:
    assert pretrained.directory(memory) is None and pretrained.directory(memory, 'mine') is None
  with Run(tmp_path / 'runs' / 'first', progress=False) as run:
    assert pretrained.directory(run) == tmp_path / 'runs' / 'experts'
    assert pretrained.directory(run, 'mine').as_posix() == 'mine'
    assert pretrained.directory(run, '~/mine') == tmp_path / 'mine'


def test_where_nothing_may_be_written_beside_the_work_dir_they_lie_in_it(
  tmp_path, monkeypatch, capsys
):
  access = os.access
  closed = lambda path, mode: pathlib.Path(path) != tmp_path and access(path, mode)
  monkeypatch.setattr(os, 'access', closed)  # the owner of all files is refused nothing
  with Run(tmp_path / 'mine', progress=False) as run:
    assert pretrained.directory(run) == tmp_path / 'mine' / 'experts'
  assert 'experts may not be written: trained networks are kept in' in capsys.readouterr().out


def test_a_pool_does_not_go_on_with_what_another_one_has_left(tmp_path, monkeypatch, capsys):
  wanted, last = Wanted(1, steps=4, batch=4), []
  fit = loop.fit

  def stopped(run, name, problem, **options):
    options['keep_final'] = True
    end = fit(run, name, dataclasses.replace(problem, num_steps=2), **options)
    last.append(end)
    raise KeyboardInterrupt

  def trained(run, seed):
    return pretrained.train(run, network(), images(), wanted, seed=seed)

  with Run(progress=False) as memory:
    alone = trained(memory, seed=0)
  with Run(tmp_path, progress=False) as run:
    trained(run, seed=0)
    monkeypatch.setattr(loop, 'fit', stopped)
    with pytest.raises(KeyboardInterrupt):
      trained(run, seed=1)
  monkeypatch.undo()
  assert last
  with Run(tmp_path, progress=False) as run:
    again = trained(run, seed=0)
    assert 'experts: it was begun with other settings' in capsys.readouterr().out
    trained(run, seed=2)
  assert 'begun with other settings' not in capsys.readouterr().out
  jax.tree.map(np.testing.assert_array_equal, again, alone)
