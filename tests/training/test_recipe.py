"""A recipe as a value: what it trains by, how long, and the name of what it made."""

import dataclasses

import numpy as np
import pytest

from jaxdistill import files
from jaxdistill.data import augment, mixing
from jaxdistill.data.crops import Crop, Flip
from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.training import pretrained
from jaxdistill.training.averages import Average
from jaxdistill.training.groups import Group
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.schedules import Schedule

EXAMPLES = Examples(np.zeros((10, 4, 4, 1), np.uint8), np.arange(10) % 2, 2, (0.5,), (0.25,))


def test_the_short_batch_is_a_step_unless_it_is_dropped():
  recipe = Recipe('r', batch=64, epochs=10)
  assert recipe.steps(130) == 30 and recipe.epoch_steps(130) == 3
  dropped = dataclasses.replace(recipe, drop_last=True)
  assert dropped.steps(130) == 20 and dropped.epoch_steps(63) == 1  # a small set is one batch


def test_drops_between_epochs_are_those_of_whole_ones_counted_down():
  recipe = Recipe('r', batch=4, epochs=7, drop_at_epochs=True)  # three steps an epoch of 10 images
  assert recipe.boundaries(10) == (4 * 3, 5 * 3)
  assert dataclasses.replace(recipe, epochs=1000).boundaries(4) == (666, 833)
  assert dataclasses.replace(recipe, epochs=6).boundaries(4) == (4, 5)  # 2/3 of 6 is no less than 4
  assert recipe.boundaries(10, 21) == (12, 15)  # its own length, said as a number
  # Other lengths have no epochs: two thirds and five sixths of the steps.
  assert recipe.boundaries(10, 30) == (20, 25)
  delayed = dataclasses.replace(recipe, drop_delay=2, extra_epochs=1)
  assert delayed.boundaries(10) == (6 * 3, 7 * 3) and delayed.steps(10) == 8 * 3
  rates = [float(delayed.learning_rate(10)(step)) for step in (17, 18, 21)]
  assert rates == pytest.approx([0.01, 0.002, 0.0004])
  cosine = Recipe('r', epochs=2, schedule=Schedule('cosine', 0.1))
  assert float(cosine.learning_rate(64)(1)) == pytest.approx(0.05)


def test_the_description_holds_what_an_earlier_version_hashed_and_nothing_else():
  """Experts are found by this text: the fields and values are those of the recipe as it was."""
  assert pretrained.RECIPE.described() == {
    'name': 'expert',
    'batch': 64,
    'epochs': 60,
    'learning_rate': 0.01,
    'drops': (2 / 3, 5 / 6),
    'drop': 0.2,
    'clear_momentum': False,
    'momentum': 0.9,
    'weight_decay': 5e-4,
    'strategy': 'color_crop',
    'composition': 'idc',
    'cutmix': 0.5,
    'label_smoothing': 0.0,
  }


@pytest.mark.parametrize(
  'change',
  [
    dict(schedule=Schedule('cosine', 0.01)),
    dict(schedule=Schedule('multistep', 0.01, (2 / 3, 5 / 6), 0.2, warmup_steps=5)),
    dict(optimizer=Optimizer('sgd', momentum=0.9, weight_decay=5e-4, nesterov=True)),
    dict(optimizer=Optimizer('adamw', weight_decay=5e-4)),
    dict(groups=(Group(('classifier',), learning_rate=0.1),)),
    dict(transforms=(Crop(4), Flip())),
    dict(mixing=mixing.Mixup(alpha=0.2)),
    dict(average=Average(0.99)),
    dict(drop_last=True),
    dict(label_smoothing=0.1),
    dict(drop_at_epochs=True),
    dict(drop_at_epochs=True, drop_delay=1),
    dict(extra_epochs=1),
  ],
  ids=str,
)
def test_every_other_training_has_another_name(change):
  usual = Recipe('r')
  names = {
    files.content_hash([], recipe.described())
    for recipe in (usual, dataclasses.replace(usual, **change))
  }
  assert len(names) == 2


def test_one_mirrored_image_is_enough_to_tell_whether_images_are_mirrored():
  for recipe in (Recipe('r', strategy='flip'), Recipe('r', transforms=(Flip(),))):
    assert _mirrors(recipe, flip=True) and not _mirrors(recipe, flip=False)


def _mirrors(recipe, flip):
  import jax

  ramp = np.broadcast_to(np.arange(0, 200, 50, dtype=np.uint8)[:, None], (16, 4, 4, 1))
  examples = Examples(ramp, np.zeros(16, np.int32), 1, (0.5,), (0.25,), flip)
  views = recipe.views(examples)
  batch = {'images': ramp, 'labels': examples.labels, 'weight': np.ones(16, np.float32)}
  prepared = views.prepare(jax.random.key(0), batch, views.draw(jax.random.key(1)))['images']
  plain = augment.normalise(ramp, (0.5,), (0.25,))
  return not np.array_equal(prepared, plain)


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(strategy='flip', transforms=(Flip(),)), 'augments twice'),
    (dict(cutmix=0.5, mixing=mixing.Mixup(alpha=0.2)), 'augments twice'),
    (dict(batch=0), 'at least 1; got 0 and 1000'),
    (dict(drop_delay=1), 'drop_delay with drop_at_epochs alone'),
    (dict(extra_epochs=-1), 'at least 0; got 0 and -1'),
    (dict(drop_at_epochs=True, schedule=Schedule('cosine')), 'must be multistep, not cosine'),
  ],
)
def test_a_recipe_that_contradicts_itself_is_refused(fields, message):
  with pytest.raises(UserError, match=message):
    Recipe('r', **fields)
