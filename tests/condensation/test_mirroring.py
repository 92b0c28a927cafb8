"""Images that lose their class when they are mirrored are never mirrored, whatever the method's
augmentation lists: `Dataset.flip` decides."""

import dataclasses

import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.condensation import condense, evaluation, protocols, scoring
from jaxdistill.condensation.problem import Condensing
from jaxdistill.data import Dataset

SMALL = {
  'model.width': 4,
  'model.depth': 1,
  'model.norm': 'none',
  'condensation.batch_real': 4,
}
WIDE = {'name': 'mlp', 'width': 64, 'depth': 1}


def arrows(flip):
  """Arrows to the left are one class, to the right the other: mirrored, one becomes the other."""
  random = np.random.default_rng(0)
  images = random.integers(0, 60, (24, 8, 8, 1)).astype(np.uint8)
  labels = np.repeat([0, 1], 12)
  images[:12, 2:6, :3] += 190
  images[12:, 2:6, 5:] += 190
  return Dataset(images, labels, ('left', 'right'), flip=flip)


def condensed(flip, augmentation):
  changes = SMALL | {'condensation.augmentation': augmentation}
  return condense(arrows(flip), 'dm', ipc=1, iterations=3, overrides=changes)


def test_dm_mirrors_only_what_may_be_mirrored():
  plain = condensed(False, '').images
  never, mirrored = condensed(False, 'flip'), condensed(True, 'flip')
  np.testing.assert_array_equal(never.images, plain)
  assert np.abs(mirrored.images - plain).max() > 1e-3
  assert never.augmentation['strategy'] == '' and mirrored.augmentation['strategy'] == 'flip'


@pytest.mark.parametrize('method', ['dm', 'm3d'])
def test_the_rest_of_the_augmentation_stays(method):
  config = configs.load(f'{method}:npz:arrays,quick')
  listed = config.condensation.augmentation.split('_')
  for flip in (True, False):
    wrapped = Condensing.of_config(config).wrap(np.zeros((2, 1, 8, 8, 1)), arrows(flip))
    kept = [name for name in listed if flip or name != 'flip']
    assert wrapped.augmentation['strategy'].split('_') == kept
  # The config is that of the set's kind and does not change with what the file says.
  assert 'flip' in configs.load('dm:npz:arrays').condensation.augmentation.split('_')


def test_evaluation_mirrors_only_where_set_and_real_images_allow_it(monkeypatch):
  recipe = dataclasses.replace(protocols.RECIPES['dm'], strategy='flip', composition='idc')
  monkeypatch.setitem(protocols.RECIPES, 'dm', recipe)
  train, test = data.load('digits', image_size=8)
  options = dict(recipe='dm', seeds=1, steps=30, checks=1, model=WIDE)

  def scored(images, test):
    return evaluation.evaluate(images, test, **options)['last']['values']

  few = train.take(range(100))
  unknown = dataclasses.replace(few, flip=True)  # as a plain file that says nothing
  may = dataclasses.replace(test, flip=True)
  assert scored(unknown, test) == scored(few, may) != scored(unknown, may)


def test_scores_are_shared_by_what_was_trained():
  train, test = data.load('digits', image_size=8)
  few = train.take(range(20))
  unknown, may = (dataclasses.replace(images, flip=True) for images in (few, test))
  keys = [
    scoring.identity(images, real, None, {})
    for images, real in ((few, test), (unknown, test), (few, may), (unknown, may))
  ]
  assert keys[0] == keys[1] == keys[2] != keys[3]
