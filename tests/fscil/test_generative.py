"""Base networks by reconstruction, on images of 8x8; the transformers have no block, which compiles
sooner."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jaxdistill import models
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.fscil import base, generative
from jaxdistill.fscil.generative import Generative
from jaxdistill.models import heads
from jaxdistill.models.mae_vit import MaeViT
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run
from jaxdistill.training.schedules import Schedule

SHAPE, COLUMNS = (8, 8, 1), 6
RECIPE = Recipe(
  'tiny', batch=8, epochs=2, schedule=Schedule('cosine', 0.01), optimizer=Optimizer('adamw')
)
SETTINGS = Generative(alpha=0.5, decoder_width=12, decoder_depth=0, pretrain_epochs=2)


@functools.cache
def base_images():
  rng = np.random.default_rng(0)
  labels = np.arange(24) % 3
  pixels = 60 * labels[:, None, None, None] + rng.integers(0, 60, (24, *SHAPE))
  return Dataset(pixels.astype(np.uint8), labels, mean=(0.3,), std=(0.25,))


@functools.cache
def encoder():
  return MaeViT(COLUMNS, width=8, depth=0, patch=4)


def pretrain(run, directory=None, **changes):
  settings = dataclasses.replace(SETTINGS, **changes)
  return generative.pretrain(run, encoder(), base_images(), settings, RECIPE, directory=directory)


def test_a_pre_trained_encoder_is_kept_and_found_by_what_made_it(tmp_path, capsys):
  with Run(progress=False) as run:
    first = pretrain(run, tmp_path)
    assert run.timing('pretrain')['steps'] == 6
  with Run(progress=False) as run:
    again = pretrain(run, tmp_path)
    assert not run.timing('pretrain')
  assert 'read from' in capsys.readouterr().out
  jax.tree.map(np.testing.assert_array_equal, first, again)
  network = heads.attach(encoder(), 'two_layer')
  wanted = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, *SHAPE), np.float32))
  forms = lambda tree: jax.tree.map(lambda leaf: leaf.shape, tree)
  assert forms(first['params']['encoder']) == forms(wanted['params']['encoder'])


def test_what_decides_the_encoder_decides_its_name():
  def name(settings=SETTINGS, recipe=RECIPE, seed=0):
    return generative.identity(encoder(), base_images(), settings, recipe, seed=seed)

  change = functools.partial(dataclasses.replace, SETTINGS)
  assert name(change(alpha=0.1, layer_decay=0.5)) == name()
  others = {
    name(change(pretrain_mask_ratio=0.5)),
    name(change(normalise_pixels=False)),
    name(change(decoder_width=16)),
    name(recipe=dataclasses.replace(RECIPE, epochs=3)),
    name(seed=1),
  }
  assert len(others) == 5 and name() not in others


def test_blocks_learn_the_slower_the_nearer_they_are_to_the_image():
  deep = models.build({'name': 'mae_vit', 'width': 8, 'depth': 3, 'patch': 4}, COLUMNS, SHAPE)
  network = heads.attach(deep, 'two_layer')
  assert Generative().grouped(RECIPE, network, SHAPE) is RECIPE
  recipe = Generative(layer_decay=0.5).grouped(RECIPE, network, SHAPE)
  rates, decays = {}, {}
  for group in recipe.groups:
    rates |= dict.fromkeys(group.paths, group.learning_rate)
    decays |= dict.fromkeys(group.paths, group.weight_decay)
  expected = {
    'encoder/patches/kernel': 0.5**4,
    'encoder/cls': 0.5**4,
    'encoder/block1/qkv/kernel': 0.5**3,
    'encoder/block3/contract/kernel': 0.5,
    'encoder/norm/scale': 1.0,
    'head/classifier/kernel': 1.0,
  }
  assert {path: rates[path] for path in expected} == expected
  assert [path for path in expected if decays[path] == 0] == ['encoder/cls', 'encoder/norm/scale']


def test_mistakes_are_told_in_a_sentence():
  SETTINGS.check(encoder())
  Generative().check(models.build({'name': 'mlp'}, COLUMNS, SHAPE))
  for changes, words in (
    (dict(alpha=1.5), 'alpha is 1.5; it must lie between 0 and 1'),
    (dict(decoder_width=10), 'divisible by 4'),
    (dict(pretrain_mask_ratio=0.0), 'without a masked patch'),
  ):
    with pytest.raises(UserError, match=words):
      dataclasses.replace(SETTINGS, **changes).check(encoder())
  with pytest.raises(UserError, match='are for the model mae_vit; this run has MLP'):
    SETTINGS.check(models.build({'name': 'mlp'}, COLUMNS, SHAPE))


# Base training with a decoder, and without.


def trained(run, directory=None, head='two_layer'):
  settings = Generative(alpha=0.5, decoder_width=12, decoder_depth=0, layer_decay=0.5)
  training = base.Training(RECIPE, steps=3, checks=1, generative=settings)
  network = base.network(encoder(), head, COLUMNS, width=8)
  images, scored = base_images(), {'test': Examples.of(base_images())}
  return base.train(run, network, images, training, COLUMNS, scored=scored, directory=directory)


def test_base_networks_are_kept_without_their_decoder(tmp_path, capsys):
  with Run(progress=False) as run:
    first = trained(run, tmp_path)
    curve = run.curve('base')
  assert {'reconstruction', 'classification', 'train_accuracy'} <= set(curve[0])
  assert sorted(first.variables['params']) == ['encoder', 'head']
  assert first.checks['test'].shape == (1, 1)
  logits, _ = first.model.apply(
    jax.tree.map(lambda leaf: leaf[0], first.variables), np.zeros((2, *SHAPE), np.float32)
  )
  assert logits.shape == (2, COLUMNS)
  with Run(progress=False) as run:
    again = trained(run, tmp_path)
  assert 'read from' in capsys.readouterr().out
  jax.tree.map(np.testing.assert_array_equal, first.variables, again.variables)


def test_what_is_reconstructed_decides_the_name_of_base_networks():
  def name(settings, **start):
    training = base.Training(RECIPE, generative=settings, **start)
    network = base.network(encoder(), 'two_layer', COLUMNS)
    return base.identity(network, base_images(), training, COLUMNS, {})

  changes = (
    {},
    {'alpha': 0.5},
    {'alpha': 0.5, 'recon_on': 'masked'},
    {'alpha': 0.5, 'decoder_depth': 0},
    {'layer_decay': 0.5},
  )
  names = [name(Generative(**fields)) for fields in changes]
  assert len(set(names)) == len(names)
  # What is off decides nothing, and a pre-training decides by what made it.
  assert name(Generative(recon_on='masked', pretrain_epochs=3)) == names[0]
  begun = [name(Generative(), begun=key) for key in ('', 'a1', 'b2')]
  assert begun[0] == names[0] and len(set(begun)) == 3
  assert name(Generative(), begun='a1', initial={'params': {'x': np.ones(2)}}) == begun[1]


def test_a_head_that_is_not_trained_by_cross_entropy_is_refused():
  with Run(progress=False) as run, pytest.raises(UserError, match='not with etf'):
    trained(run, head='etf')
