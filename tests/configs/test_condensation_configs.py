"""The shipped configs of condensation: the sheet's numbers in every preset."""

import pathlib

import numpy as np
import pytest

from jaxdistill import config, models
from jaxdistill.condensation import checks, sections, settings
from jaxdistill.synthesis.condensed import Condensed

NAMES = [name for name in config.names() if name.startswith('condensation/')]


@pytest.mark.parametrize(
  'spec', ['m3d:digits', 'dance:cifar10', 'continual:cifar100', 'evaluate:digits']
)
def test_a_config_holds_what_it_held_when_work_dirs_were_made_with_it(spec):
  """A work dir goes on only under an equal config."""
  stored = pathlib.Path(__file__).parent / 'stored' / f'{spec.replace(":", "-")}.json'
  assert config.to_json(config.load(f'condensation/{spec}')) == stored.read_text().rstrip()


@pytest.mark.parametrize('model', settings.MODELS)
def test_every_network_can_be_chosen_and_shrunk(model):
  for arg in (f'cifar10,model={model}', f'cifar10,model={model},quick'):
    loaded = config.load(f'm3d:{arg}')
    assert loaded.model.name == model
    models.build(loaded.model, 10, (32, 32, 3))


def test_the_default_network_is_the_sheets():
  assert config.load('dm:cifar10').model.to_dict() == dict(
    name='convnet', width=128, depth=3, norm='instance'
  )


@pytest.mark.parametrize(
  'ipc, kernel, rate',
  [(1, 'gaussian', 1), (10, 'gaussian', 10), (50, 'gaussian', 50), (10, 'linear', 0.1)],
)
def test_m3d_numbers_are_those_of_the_public_code(ipc, kernel, rate):
  loaded = config.load(f'm3d:cifar10,ipc={ipc},kernel={kernel}')
  assert loaded.method.to_dict() == dict(name='m3d', kernel=kernel, iterations_per_network=5)
  assert loaded.condensation.to_dict() == dict(
    ipc=ipc,
    factor=2,
    init='mix',
    iterations=10000,
    batch_real=128,
    batch_syn_max=200,
    learning_rate=pytest.approx(rate),
    momentum=0.5,
    update='per_class',
    space='unit',
    augmentation='color_crop_cutout',
    composition='idc',
  )
  assert loaded.evaluation.recipe == 'idc' and loaded.data.normalisation == 'idc'


def test_dm_numbers_are_those_of_the_public_code():
  loaded = config.load('dm:cifar100,ipc=10')
  section = loaded.condensation
  assert (section.iterations, section.batch_real, section.learning_rate, section.momentum) == (
    20000,
    256,
    1.0,
    0.5,
  )
  assert (section['update'], section.space, section.composition, section.init, section.factor) == (
    'joint',
    'normalised',
    'dm',
    'real',
    1,
  )
  assert loaded.evaluation.recipe == 'dm' and loaded.data.normalisation == 'dm'
  rates = {
    data: [config.load(f'dm:{data},ipc={ipc}').condensation.learning_rate for ipc in (50, 100, 500)]
    for data in ('cifar10', 'cifar100', 'svhn_cropped')
  }
  assert rates == {
    'cifar10': [1.0, 10.0, 10.0],
    'cifar100': [1.0, 1.0, 1.0],
    'svhn_cropped': [1.0, 1.0, 1.0],
  }


@pytest.mark.parametrize(
  'data, flips',
  [
    ('digits', False),
    ('mnist', False),
    ('svhn_cropped', False),
    ('fashion_mnist', True),
    ('cifar10', True),
  ],
)
def test_digits_are_never_mirrored(data, flips):
  assert ('flip' in config.load(f'dm:{data}').condensation.augmentation.split('_')) == flips


@pytest.mark.parametrize('name', NAMES)
def test_quick_is_small_in_everything_that_costs(name):
  quick = config.load(f'{name}:cifar10,quick')
  assert quick.evaluation.networks <= 2 and 0 < quick.evaluation.steps <= 10
  if quick.task == 'evaluate':
    assert 0 < quick.evaluation.width <= 16
  else:
    assert (
      quick.condensation.iterations <= 10
      and quick.condensation.batch_real <= 16
      and quick.model.width <= 16
    )


@pytest.mark.parametrize(
  'data, size, depth, dance_depth',
  [
    ('folder:x', 32, 3, 3),
    ('tiny_imagenet:x', 64, 4, 3),
    ('imagenet:x', 128, 5, 5),
    ('imagenette', 128, 5, 5),
  ],
)
def test_larger_images_get_deeper_networks(data, size, depth, dance_depth):
  for name, expected in (('dm', depth), ('m3d', depth), ('dance', dance_depth)):
    loaded = config.load(f'{name}:{data}')
    assert (loaded.data.image_size, loaded.model.depth) == (size, expected)
    models.build(loaded.model, 10, (size, size, 3))
  assert config.load(f'm3d:{data},model=resnet_ap').model.name == 'resnet_ap'
  assert config.load(f'm3d:{data}').data.validation_share == (0.1 if data == 'folder:x' else 0)


@pytest.mark.parametrize(
  'ipc, factor, epochs',
  [(1, 1, 3000), (1, 2, 2000), (10, 2, 1500), (20, 3, 1000), (50, 3, 500), (60, 3, 300)],
)
def test_numbers_of_imagenet_subsets_are_those_of_the_public_code(ipc, factor, epochs):
  loaded = config.load(f'dance:imagenet:x,classes=nette,ipc={ipc},factor={factor}')
  assert (loaded.data.classes, loaded.data.normalisation) == ('nette', 'idc')
  assert (loaded.method.expert_epochs, loaded.method.expert_batch, loaded.method.experts) == (
    80,
    128,
    5,
  )
  assert (
    loaded.condensation.learning_rate == pytest.approx(0.1 * ipc)
    and loaded.evaluation.epochs == epochs
  )
  m3d = config.load(f'm3d:imagenet:x,classes=nette,ipc={ipc},factor={factor}')
  assert m3d.condensation.learning_rate == ipc and m3d.evaluation.epochs == epochs
  assert config.load(
    f'm3d:imagenet:x,ipc={ipc},kernel=linear'
  ).condensation.learning_rate == pytest.approx(0.1 * ipc)


def test_numbers_of_tiny_imagenet_are_those_of_the_public_code():
  loaded = config.load('dance:tiny_imagenet:x,ipc=10')
  assert (loaded.method.expert_epochs, loaded.method.expert_batch, loaded.evaluation.epochs) == (
    60,
    64,
    1500,
  )
  assert loaded.condensation.learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize('spec', ['m3d', 'dm', 'dance', 'evaluate', 'continual'])
def test_every_config_takes_a_subset_of_imagenet(spec):
  loaded = config.load(f'{spec}:imagenet:x,classes=idc10')
  assert (loaded.data.name, loaded.data.classes, loaded.data.image_size) == (
    'imagenet:x',
    'idc10',
    128,
  )


@pytest.mark.parametrize(
  'spec, recipe, matching',
  [
    ('m3d:svhn_cropped,ipc=1,factor=1', 'idc_svhn', 'color_crop_cutout'),
    ('dance:svhn_cropped,ipc=1,factor=1', 'idc_svhn', 'color_crop_cutout'),
    ('m3d:svhn_cropped,ipc=1', 'idc', 'color_crop_cutout'),
    ('m3d:svhn_cropped,ipc=10,factor=1', 'idc', 'color_crop_cutout'),
    ('m3d:mnist,ipc=10', 'idc_mnist', 'color_crop'),
    ('m3d:mnist,ipc=10,factor=1', 'idc', 'color_crop_cutout'),
    ('dance:mnist,ipc=10', 'idc_mnist', 'color_crop_cutout'),
    ('m3d:fashion_mnist', 'idc', 'color_crop_cutout'),
    ('dm:mnist,factor=2', 'dm', 'color_crop_cutout_scale_rotate'),
  ],
)
def test_the_exceptions_of_idcs_code_are_chosen_where_it_makes_them(spec, recipe, matching):
  loaded = config.load(spec)
  assert (loaded.evaluation.recipe, loaded.condensation.augmentation) == (recipe, matching)
  config.override(loaded, 'evaluation.recipe', 'idc')  # a field like any other
  checks.check_values(loaded)


@pytest.mark.parametrize(
  'arg, recipe',
  [
    ('svhn_cropped,ipc=1,factor=1,method=m3d', 'idc_svhn'),
    ('svhn_cropped,ipc=1', 'idc_svhn'),  # DM's own factor is 1
    ('svhn_cropped,ipc=1,method=random', 'idc_svhn'),
    ('svhn_cropped,ipc=1,method=m3d', 'idc'),
    ('svhn_cropped', 'idc'),
    ('mnist,method=dance', 'idc_mnist'),
    ('mnist,method=herding,factor=2', 'idc_mnist'),
    ('mnist', 'idc'),
    ('cifar100,method=m3d', 'idc'),
    ('imagenette', 'idc'),
    ('imagenet224:x,classes=idc10,method=m3d', 'idc_imagenet'),
    ('imagenet:x,classes=idc100', 'idc_imagenet100'),
  ],
)
def test_continual_learning_takes_the_exceptions_as_condensing_does(arg, recipe):
  loaded = config.load(f'continual:{arg},recipe=idc')
  assert (loaded.evaluation.recipe, loaded.evaluation.epochs) == (recipe, 0)
  assert config.load(f'continual:{arg}').evaluation.recipe == 'dm'
  config.override(loaded, 'evaluation.recipe', 'idc')  # a field like any other
  checks.check_values(loaded)


@pytest.mark.parametrize(
  'arg, recipe',
  [
    ('svhn_cropped', 'idc_svhn'),  # one image a class where nothing is said
    ('svhn_cropped,ipc=10', 'idc'),
    ('svhn_cropped,factor=2', 'idc'),
    ('mnist,factor=2', 'idc_mnist'),
    ('mnist,factor=2,recipe=idc', 'idc'),
    ('mnist,recipe=dm', 'dm'),
    ('cifar10,factor=2', 'idc'),
    ('imagenet224:x,classes=idc10', 'idc_imagenet'),
    ('imagenet224:x,classes=idc100', 'idc_imagenet100'),
  ],
)
def test_evaluation_takes_the_recipe_of_what_it_scores(arg, recipe):
  loaded = config.load(f'evaluate:{arg}')
  assert loaded.evaluation.recipe == recipe
  assert loaded.data.normalisation == ('dm' if recipe == 'dm' else 'idc')


def test_the_first_set_says_what_is_scored(tmp_path):
  images, path = np.zeros((20, 8, 8, 1), np.float32), tmp_path / 'made.npz'
  made = Condensed(images, np.arange(20) % 10, tuple('abcdefghij'), (0.0,), (1.0,), factor=2)
  made.save(path)
  assert config.load(f'evaluate:mnist,set={path}').evaluation.recipe == 'idc_mnist'
  assert config.load(f'evaluate:svhn_cropped,set={path}').evaluation.recipe == 'idc'
  # What cannot be read is told by the checks.
  absent = config.load(f'evaluate:mnist,set={tmp_path}/absent.npz')
  assert absent.evaluation.recipe == 'idc'


def test_imagenet_at_224_pixels_is_idcs_setting():
  for name, factor in (('m3d', 3), ('dance', 3), ('dm', 1)):
    loaded = config.load(f'{name}:imagenet224:x,classes=idc10,ipc=10')
    assert (loaded.data.image_size, loaded.data.classes) == (224, 'idc10')
    assert loaded.model.to_dict() == dict(name='resnet_ap', width=0, depth=10, norm='instance')
    assert loaded.condensation.factor == factor and loaded.data.validation_share == 0
    models.build(loaded.model, 10, (224, 224, 3))
    if name != 'dm':
      assert (loaded.evaluation.recipe, loaded.evaluation.epochs) == ('idc_imagenet', 1000)
  chosen = config.load('m3d:imagenet224:x,classes=idc10,model=convnet')
  assert chosen.model.name == 'convnet'


@pytest.mark.parametrize(
  'spec, decoding',
  [
    ('m3d:imagenet224:x,ipc=20', 'bounded'),
    ('dance:imagenet224:x,ipc=50,classes=idc100', 'bounded'),
    ('m3d:imagenet:x,ipc=20,factor=3', 'bounded'),
    ('continual:imagenet224:x,method=m3d,ipc=20', 'bounded'),
    ('m3d:imagenet224:x,ipc=10', None),
    ('m3d:imagenet224:x,ipc=20,factor=2', None),
    ('m3d:imagenet:x,ipc=50', None),
    ('m3d:cifar10,ipc=50,factor=3', None),
    ('dm:imagenet224:x,ipc=50,factor=3', None),
  ],
)
def test_imagenets_decoded_images_are_bounded_as_in_idcs_code(spec, decoding):
  """Where it is not, the config has no such field, as ever."""
  loaded = config.load(spec)
  assert loaded.condensation.get('decoding') == decoding
  checks.check_fields(loaded)
  checks.check_values(loaded)
  fields = sections.of_config(loaded).condensation
  assert fields.engine_settings(flip=True).decoding == (decoding or 'all')


@pytest.mark.parametrize(
  'ipc, factor, epochs', [(1, 1, 2000), (1, 3, 1300), (20, 1, 1000), (10, 3, 600), (50, 3, 300)]
)
def test_a_hundred_classes_train_for_two_thirds_of_the_epochs(ipc, factor, epochs):
  """Rounded down to hundreds, as IDC's code does."""
  for data in ('imagenet224:x', 'imagenet:x'):
    for name in ('m3d', 'dance'):
      loaded = config.load(f'{name}:{data},classes=idc100,ipc={ipc},factor={factor}')
      assert loaded.evaluation.epochs == epochs
      assert loaded.evaluation.recipe == 'idc_imagenet100'
