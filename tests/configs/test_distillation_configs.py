"""The shipped configs of distillation: the sheet's numbers, and what arguments change."""

import pytest

from jaxdistill import config, models
from jaxdistill.distillation import methods, recipes
from jaxdistill.distillation.sum import CLASSICAL
from jaxdistill.errors import UserError

NAMES = [name for name in config.names() if name.startswith('distillation/')]
METHODS = [name for name in NAMES if name != 'distillation/compare']


def test_every_method_and_every_classical_sum_has_a_config():
  names = {name.split('/')[1] for name in METHODS}
  assert names == {*methods.METHODS, *CLASSICAL}


@pytest.mark.parametrize(
  'data, teacher, student, recipe, low, held_out',
  [
    ('digits', 'convnet', 'convnet', 'digits', 4, 0.1),
    ('cifar100', 'resnet56', 'resnet20', 'crd240', 0, 0.0),
    ('folder:photos', 'resnet56', 'resnet20', 'crd240', 0, 0.1),
    ('tiny_imagenet:x', 'resnet56', 'resnet20', 'tiny', 0, 0.0),
    ('imagenet:x', 'torchvision_resnet', 'torchvision_resnet', 'imagenet', 0, 0.0),
  ],
)
def test_the_usual_pairs(data, teacher, student, recipe, low, held_out):
  loaded = config.load(f'distillation/kd:{data}')
  assert (loaded.teacher_model.name, loaded.model.name) == (teacher, student)
  assert loaded.teaching.recipe == loaded.distillation.recipe == recipe
  assert (loaded.distillation.low, loaded.data.validation_share) == (low, held_out)
  for network in (loaded.model, loaded.teacher_model):
    models.build(network, 10, (16, 16, 1) if data == 'digits' else (32, 32, 3))


def test_the_fields_recipe_is_that_of_the_sheet():
  loaded = config.load('distillation/kd:cifar100,teacher=resnet32x4,student=resnet8x4')
  recipe = recipes.find(loaded.distillation.recipe)
  assert (recipe.epochs, recipe.batch, recipe.optimizer.weight_decay) == (240, 64, 5e-4)
  rate = recipe.learning_rate(50_000)
  step = 781
  rates = [float(rate(epoch * step)) for epoch in (149, 150, 180, 210)]
  assert rates == pytest.approx([0.05, 0.005, 5e-4, 5e-5])


def test_kd_weighs_as_the_public_code_does():
  method = config.load('distillation/kd:cifar100').method
  assert (method.gamma, method.fields.kd.weight, method.fields.kd.temperature) == (0.1, 0.9, 4.0)
  on_imagenet = config.load('distillation/kd:imagenet:x').method
  assert (on_imagenet.gamma, on_imagenet.fields.kd.weight) == (0.5, 0.9)
  assert config.load('distillation/kd:cifar100,recipe=imagenet').method.gamma == 0.5


def test_mobile_students_start_at_their_own_rate():
  loaded = config.load('distillation/kd:cifar100,student=shufflenet_v1')
  assert loaded.distillation.learning_rate == 0.01 and loaded.teaching.learning_rate == 0


def test_a_path_in_place_of_a_teachers_network_is_a_work_dir():
  loaded = config.load('distillation/kd:cifar100,teacher=runs/kd')
  assert (loaded.teaching.given, loaded.teacher_model.name) == ('runs/kd', 'resnet56')


def test_weights_of_a_work_dirs_teacher_are_its_own():
  with pytest.raises(UserError, match='runs/kd is taken with its own weights, and weights='):
    config.load('distillation/kd:cifar100,teacher=runs/kd,weights=x.safetensors')
  loaded = config.load('distillation/kd:cifar100,teacher=resnet32,weights=x.safetensors')
  assert (loaded.teaching.given, loaded.teacher_model.depth) == ('x.safetensors', 32)


@pytest.mark.parametrize('network', ['wrn_16_2', 'mobilenetv2_half', 'resnet8x4'])
def test_quick_networks_can_be_built(network):
  loaded = config.load(f'distillation/kd:cifar100,quick,student={network}')
  assert models.build(loaded.model, 10, (32, 32, 3)).width == 8


def test_a_comparison_gives_every_method_the_fields_of_its_own_config():
  loaded = config.load('distillation/compare:cifar100,methods=alone+kd+kd&crd')
  assert loaded.compared == ('alone', 'kd', 'kd&crd')
  assert loaded.members.kd == config.load('distillation/kd:cifar100').method
  assert loaded.members['kd&crd'].terms == ('kd', 'crd')
  for name, message in (('kdd', "'kdd'; did you mean 'kd'"), ('compare', "'compare'")):
    with pytest.raises(UserError, match=f'There is no distillation method {message}'):
      config.load(f'distillation/compare:digits,methods=alone+{name}')


def test_low_and_val_are_numbers():
  with pytest.raises(UserError, match='low=small behind the data set must be a whole number'):
    config.load('distillation/kd:digits,low=small')


@pytest.mark.parametrize('name', NAMES)
def test_a_quick_distillation_is_small_in_everything_that_costs(name):
  quick = config.load(f'{name}:cifar100,quick')
  assert quick.teaching.steps <= 10 and quick.distillation.steps <= 10
  assert quick.distillation.seeds <= 2 and quick.model.get('width', 8) <= 8
