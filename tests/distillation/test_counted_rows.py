"""A network whose batch normalisation cannot count rows is told before any work, where batches are
spread over devices or short."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data, distillation, models
from jaxdistill.distillation import checks, flow
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.errors import UserError

CHANGES = {'data.image_size': 8, 'distillation.baseline': False}
MISTAKE = "layer norm is flax's BatchNorm, which devices cannot share a batch under"


class Foreign(nn.Module):
  """A network with flax's own layer."""

  num_classes: int
  dtype: str = 'float32'
  choices: ClassVar[dict] = {}

  def check(self, image_shape):
    pass

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.BatchNorm(use_running_average=not train, name='norm')(x).mean((1, 2))
    return nn.Dense(self.num_classes, name='classifier')(x), {'embedding': x}


@pytest.fixture(autouse=True)
def foreign():
  models.REGISTRY['foreign'] = Foreign
  yield
  del models.REGISTRY['foreign']


def load(spec, **changes):
  loaded = configs.load(f'distillation/{spec}')
  for key, value in {**CHANGES, **changes}.items():
    configs.override(loaded, key, str(value))
  return loaded


@pytest.mark.parametrize('spec', ['student=foreign,teacher=mlp', 'student=mlp,teacher=foreign'])
def test_batches_over_four_devices_need_rows_that_count(spec):
  with pytest.raises(UserError, match=MISTAKE):
    checks.check(load(f'kd:digits,seeds=2,{spec}'))
  checks.check(load(f'kd:digits,seeds=2,{spec}', **{'run.devices': 1}))


def test_four_students_on_four_devices_share_no_batch():
  checks.check(load('kd:digits,seeds=4,student=foreign,teacher=mlp'))


def test_a_teacher_by_the_statistics_of_its_batches_is_one_of_them():
  model = Foreign(10)
  variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
  given = Teacher('foreign', 10, model, variables)
  sets = [part.take(np.arange(40)) for part in data.load('digits', image_size=8)]
  fields = {key: value for key, value in CHANGES.items() if not key.startswith('data.')}
  batch = {**fields, 'distillation.steps': 1, 'teaching.normalisation': 'batch'}
  with pytest.raises(UserError, match=MISTAKE):
    distillation.distill(given, *sets, student='mlp', low=4, overrides=batch)


def test_a_teacher_that_draws_dropout_is_trained_over_devices():
  checks.check(load('kd:digits,seeds=2,student=mlp,teacher=dropout_mlp'))


def test_no_teacher_is_trained_for_students_that_cannot_be(monkeypatch):
  def train(*args):
    raise AssertionError('a teacher is trained')

  monkeypatch.setattr(flow, 'get_teacher', train)
  sets = [part.take(np.arange(40)) for part in data.load('digits', image_size=8)]
  with pytest.raises(UserError, match=MISTAKE):
    distillation.distill('mlp', *sets, student='foreign', low=4)
