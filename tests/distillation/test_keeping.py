"""What a game asks of its teacher, and what of it is kept."""

import dataclasses

import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.distillation import checks, flow, keeping, methods, sections, teachers
from jaxdistill.distillation import work as works
from jaxdistill.distillation.flow import Flow
from jaxdistill.errors import UserError
from jaxdistill.training import guides, players
from jaxdistill.training.game import Part

WEIGHT = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
SMALL = {
  'model.width': 4,
  'model.depth': 1,
  'distillation.batch': 16,
  'distillation.augmentation': 'none',
  'distillation.cache': 'none',
}


def linear(images):
  """A teacher with the weights of its classes."""
  rows = images.reshape(len(images), -1)
  return {'logits': rows @ WEIGHT, 'embedding': rows, 'prototypes': WEIGHT.T}


def work_of(method, teacher, **changes):
  """What a run of a method on few digits works on."""
  config = configs.load(f'distillation/{method}:digits,seeds=1,student=mlp')
  for key, value in {**SMALL, **changes}.items():
    configs.override(config, key, str(value))
  train, test = (part.take(np.arange(40)) for part in data.load('digits', image_size=8))
  return works.make(sections.of_config(config), train, None, test, given=teacher)


@pytest.mark.parametrize(
  'method, changes, names',
  [
    ('aird', {}, ('embedding',)),
    ('bridge', {'method.recovered': 'predictions'}, ('embedding', 'logits')),
  ],
)
def test_prototypes_of_a_function_belong_to_no_image(method, changes, names):
  teacher = teachers.of_function(linear)
  work = work_of(method, teacher, **changes)
  checks.check_parts(work)
  made = methods.make(work.pair(teacher), work.fields.method)
  begun = Flow(work, teacher, made, {})
  game = flow.stage_game(begun, made.stages[0])
  kept = keeping.outputs(work, begun.views, begun.guides, game, {})
  assert set(kept) == {players.kept_name('teacher', name) for name in names}


@pytest.mark.parametrize('images', [1, 3])
def test_students_may_see_fewer_images_than_are_traced(images):
  work = work_of('kd', teachers.of_function(linear))
  few = dataclasses.replace(work, train=work.train.take(np.arange(images)))
  checks.check_parts(few)


def test_prototypes_of_a_function_are_there_beside_kept_outputs():
  watch = guides.watching({'teacher': Part(None, function=lambda _, images: linear(images))})
  images = np.ones((2, 3, 8, 8, 1), np.float32)
  kept = {players.kept_name('teacher', 'logits'): np.ones((2, 3, 1, 10), np.float32)}
  batch, common = watch({'teacher': ()}, {'images': images, **kept}, True, 'unroll')
  np.testing.assert_array_equal(common['guides']['teacher']['prototypes'], WEIGHT.T)
  assert set(batch['guides']['teacher']) == {'logits'}


@pytest.mark.parametrize('variables', [WEIGHT, [WEIGHT], (WEIGHT, {'scale': WEIGHT})])
def test_a_function_takes_a_tree_of_any_form(variables):
  def scaled(variables, images):
    assert type(variables) in (list, tuple) or variables.shape == WEIGHT.shape
    return linear(images)

  teacher = teachers.of_function(scaled, variables=variables)
  checks.check_parts(work_of('kd', teacher))


def test_outputs_too_large_to_keep_are_refused_before_anything_is_computed(monkeypatch):
  work = work_of('kd', teachers.of_function(linear))
  monkeypatch.setattr(keeping, '_MOST_BYTES', 1599)  # 40 images, 10 logits each
  with pytest.raises(UserError, match=r'Keeping logits of 1 variant\(s\) of 40 images takes'):
    checks.check_parts(work)
  monkeypatch.setattr(keeping, '_MOST_BYTES', 1600)
  checks.check_parts(work)
