"""The checks before a run: a wrong field, value, data set or size ends in one sentence that names
what is right."""

import numpy as np
import pytest

from jaxdistill import config
from jaxdistill.condensation import checks, sections, settings
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError


@pytest.fixture
def digits():
  return config.load('m3d:digits')


def ten_and_six():
  return Dataset(
    np.zeros((16, 8, 8, 1), np.uint8), np.repeat([0, 1], [10, 6]), class_names=('cat', 'dog')
  )


@pytest.mark.parametrize(
  'key, text, words',
  [
    ('condensation.init', 'mixx', "no condensation.init 'mixx'; did you mean 'mix'"),
    ('condensation.update', 'per-class', "did you mean 'per_class'"),
    ('condensation.space', 'units', "did you mean 'unit'"),
    ('condensation.composition', 'icd', "did you mean 'idc'"),
    ('condensation.augmentation', 'color_cut', "no augmentation 'cut'; did you mean 'cutout'"),
    ('evaluation.recipe', 'icd', "no evaluation.recipe 'icd'; did you mean 'idc'"),
    ('evaluation.baselines', 'random,hole', "no baseline 'hole'; did you mean 'whole'"),
    ('method.name', 'm3', "no condensation method 'm3'; did you mean 'm3d'"),
    ('method.kernel', 'gausian', "no kernel 'gausian'; did you mean 'gaussian'"),
    ('dtype', 'float16', "no dtype 'float16'; did you mean 'bfloat16'"),
    ('data.normalisation', 'icd', "did you mean 'idc'"),
    ('condensation.ipc', '0', 'condensation.ipc is 0; it must be at least 1'),
    ('condensation.factor', '-1', 'condensation.factor is -1; it must be at least 1'),
    ('condensation.momentum', '1', 'condensation.momentum is 1.0; it must be below 1'),
    ('data.validation_share', '1.5', 'data.validation_share is 1.5; it must be below 1'),
    ('seed', '4294967296', 'seed is 4294967296; it must be below 4294967296'),
    ('evaluation.search_on', 'tset', "no evaluation.search_on 'tset'; did you mean 'test'"),
    ('evaluation.networks', '0', 'evaluation.networks is 0; it must be at least 1'),
  ],
)
def test_check_values_refuses(digits, key, text, words):
  config.override(digits, key, text)
  with pytest.raises(UserError, match=words):
    checks.check_values(digits)


def test_check_fields_finds_what_is_too_much_and_what_lacks(digits):
  digits.condensation.itertions = 3
  with pytest.raises(
    UserError,
    match="no config key 'condensation.itertions'; did you mean 'condensation.iterations'",
  ):
    checks.check_fields(digits)
  del digits.condensation['itertions'], digits.condensation['space']
  with pytest.raises(UserError, match='The config lacks condensation.space'):
    checks.check_fields(digits)


def test_a_search_needs_images_to_choose_by(digits):
  digits.evaluation.recipe = 'ddranking'
  checks.check_values(digits)
  digits.data.validation_share = 0.0
  with pytest.raises(
    UserError, match='searches the learning rate on held-out images: set data.validation_share'
  ):
    checks.check_values(digits)
  digits.evaluation.search_on = 'test'
  checks.check_values(digits)


@pytest.mark.parametrize(
  'ipc, factor, init, baselines, words',
  [
    (
      7,
      1,
      'real',
      (),
      "ipc=7 is more than class 'dog' of arrays has .6 for training without the validation "
      'share.; use ipc=6',
    ),
    (
      2,
      2,
      'mix',
      (),
      "ipc=2 with factor=2 needs 8 images a class, which is more than class 'dog'.*use ipc=1 "
      'or less',
    ),
    (2, 2, 'noise', ('mix',), 'use ipc=1 or less'),
    (1, 3, 'mix', (), 'use a smaller factor or more images'),
    (1, 9, 'noise', (), 'condensation.factor is 9, but the images of arrays are only 8x8'),
    (
      1,
      5,
      'noise',
      (),
      'condensation.factor is 5, whose last cells lie outside the images of arrays, 8x8, '
      'altogether; the nearest that fill them: 4, 8.',
    ),
  ],
)
def test_check_sizes_refuses(digits, ipc, factor, init, baselines, words):
  digits.condensation.update(ipc=ipc, factor=factor, init=init)
  digits.evaluation.baselines = baselines
  with pytest.raises(UserError, match=words):
    check_sizes(digits)


@pytest.mark.parametrize(
  'ipc, factor, init',
  [(6, 1, 'mix'), (1, 2, 'mix'), (6, 2, 'noise'), (6, 3, 'real'), (6, 8, 'real')],
)
def test_check_sizes_allows_the_last_image(digits, ipc, factor, init):
  digits.condensation.update(ipc=ipc, factor=factor, init=init)
  digits.evaluation.baselines = ()
  check_sizes(digits)


def check_sizes(config):
  fields = sections.of_config(config)
  checks.check_sizes(
    fields.condensation.storage, fields.evaluation.baselines, ten_and_six(), held_out=True
  )


def test_check_reads_the_data_set_and_builds_the_model(digits):
  checks.check(digits)
  config.override(digits, 'model.name', 'convnt')
  with pytest.raises(UserError, match="did you mean 'convnet'"):
    checks.check(digits)
  config.override(digits, 'data.name', 'cifra10')
  with pytest.raises(UserError, match='cifar10'):
    checks.check(digits)


@pytest.mark.parametrize(
  'key, text, words',
  [
    ('method.iterations_per_network', '0', 'iterations_per_network is 0; it must be at least 1'),
    (
      'method.name',
      'dm',
      'no field of method dm .*, it has none of its own; start from its config, --config=dm',
    ),
    ('model.norm', 'batch', "use model.norm='instance', 'group' or 'none'"),
    ('model.depth', '9', 'A convnet of depth 9 needs images of at least 512x512 pixels'),
    ('run.devices', '99', '99 devices were asked for, more than the 4 here'),
  ],
)
def test_check_refuses_what_only_the_parts_know(digits, key, text, words):
  config.override(digits, key, text)
  with pytest.raises(UserError, match=words):
    checks.check(digits)


def test_check_refuses_numbers_of_networks_that_could_not_be_trained_first():
  dance = config.load('dance:digits')
  dance.method.expert_epochs = -1
  with pytest.raises(UserError, match='epochs, batch and steps of at least 0; got 3, -1, 64'):
    checks.check(dance)


def test_datasets_split_is_disjoint_and_does_not_follow_the_seed(digits):
  train, validation, test = settings.datasets(digits)
  assert len(train) + len(validation) + len(test) == 1797
  digits.seed = 5
  np.testing.assert_array_equal(settings.datasets(digits)[1].images, validation.images)
  digits.data.validation_share = 0.0
  whole, none, _ = settings.datasets(digits)
  assert none is None and len(whole) == len(train) + len(validation)


@pytest.mark.parametrize('field', ['rows', 'experts'])
def test_a_folder_for_other_runs_is_tried_before_any_work(tmp_path, field):
  loaded = config.load('m3d:digits')
  (tmp_path / 'file').touch()
  for place in ('file', 'file/deeper/still'):
    config.override(loaded, f'run.{field}', f'{tmp_path}/{place}')
    with pytest.raises(UserError, match=f'run.{field} is .*, and {tmp_path}/file is no folder'):
      checks.check_values(loaded)
  config.override(loaded, f'run.{field}', f'{tmp_path}/new/deeper')
  checks.check_values(loaded)
  assert [path.name for path in tmp_path.iterdir()] == ['file']
