"""Students that learn from degraded small images: what they read in training and in tests, what the
teacher does not, and what is kept of it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data, distillation
from jaxdistill.commands import families, sweep
from jaxdistill.data import augment
from jaxdistill.data.degradations import NAMED
from jaxdistill.distillation import checks, sections, standalone, standing
from jaxdistill.distillation import work as works
from jaxdistill.distillation.trained import Trained
from jaxdistill.errors import UserError
from jaxdistill.experiment import running
from jaxdistill.training import trees
from jaxdistill.training.run import Run

TINY = {
  'data.image_size': 8,
  'model.depth': 1,
  'model.width': 8,
  'teacher_model.depth': 1,
  'teacher_model.width': 8,
}


@pytest.fixture(scope='module')
def digits():
  train, test = data.load('digits', image_size=8)
  return train.take(np.arange(200)), test.take(np.arange(60))


def load(arguments='', **changes):
  words = f'digits,quick,student=mlp,teacher=mlp,seeds=2{arguments}'
  config = configs.load(f'distillation/kd:{words}')
  for key, value in {**TINY, **changes}.items():
    configs.override(config, key, str(value))
  return config


def made(digits, arguments='', **changes):
  config = load(arguments, **changes)
  return works.make(sections.of_config(config), digits[0], None, digits[1])


def unit(work, view):
  return augment.denormalise(view, work.train.mean, work.train.std)


def test_the_students_view_alone_is_degraded_in_training_and_in_tests(digits):
  clean, worse = made(digits), made(digits, ',degrade=blur+darken')
  images = jnp.asarray(digits[1].images[:5])
  expected = unit(clean, clean.seeing(None, 'low').view(images))
  for name in ('blur', 'darken'):
    expected = NAMED[name](None, expected)
  np.testing.assert_allclose(
    unit(worse, worse.seeing(None, 'low').view(images)), expected, atol=1e-5
  )
  for work, low in ((clean, None), (worse, expected)):
    views = work.paired.test(images)
    np.testing.assert_allclose(unit(work, views['images']), images / 255, atol=1e-5)
    if low is not None:
      np.testing.assert_allclose(unit(work, views['low']), low, atol=1e-5)


def test_noise_of_a_test_image_depends_on_its_pixels_alone(digits):
  work, images = made(digits, ',degrade=noise'), digits[1].images[:6]
  view = jax.jit(work.seeing(None, 'low').view)
  seen = view(images)
  np.testing.assert_array_equal(view(images[::-1])[::-1], seen)
  np.testing.assert_array_equal(view(images[2:3]), seen[2:3])
  np.testing.assert_allclose(view(images.astype(np.float32) / 255), seen, atol=1e-5)
  noise = np.asarray(unit(work, seen) - unit(work, made(digits).seeing(None, 'low').view(images)))
  assert (np.abs(np.corrcoef(noise.reshape(6, -1)) - np.eye(6)) < 0.95).all()


def test_new_noise_cannot_be_kept_and_fixed_noise_can(digits):
  still = {'distillation.augmentation': 'none'}
  with pytest.raises(UserError, match='cannot be enumerated under Noise'):
    checks.check_parts(made(digits, ',degrade=noise,cache=none', **still))
  for arguments in (',degrade=blur,cache=none', ',degrade=noise,cache=3'):
    work = made(digits, arguments, **still)
    checks.check_parts(work)
    assert work.paired.variants.count == (3 if 'noise' in arguments else 1)


def test_degraded_images_need_a_size_and_names_that_exist(digits):
  with pytest.raises(UserError, match='distillation.low is 0; set low to 8 for students at full'):
    made(digits, ',degrade=blur,low=0')
  assert made(digits, ',degrade=blur,low=8').student_shape == (8, 8, 1)
  with pytest.raises(UserError, match="no degradation 'blurr'; did you mean 'blur'"):
    checks.check_values(load(',degrade=blurr'))
  with pytest.raises(UserError, match="degrade names 'blur' twice"):
    checks.check_values(load(',degrade=blur+blur'))


@pytest.fixture(scope='module')
def compared(digits):
  """KD on dark and noisy images."""
  changes = {
    'model.depth': 1,
    'model.width': 8,
    'distillation.steps': 4,
    'distillation.degrade': ('darken', 'noise'),
  }
  teacher = distillation.of_function(lambda images: images.mean((1, 2)) * jnp.arange(10.0)[None])
  return distillation.compare(
    teacher, *digits, ['kd'], 'mlp', low=4, seeds=2, quick=True, overrides=changes
  )


def test_rows_tell_it_and_students_answer_as_they_were_scored(compared, digits):
  _, low, kd = compared.rows
  assert low.label.endswith('at 4 pixels, darken + noise')
  assert kd.extras['degrade'] == ['darken', 'noise']
  trained, test = compared.results['kd'].trained, digits[1]
  again = Trained.from_bytes(trained.to_bytes())
  assert again.built == trained.built and again.built.degrade == ('darken', 'noise')
  right = (again.logits(test.images).argmax(-1) == test.labels).mean(1)
  np.testing.assert_allclose(right, compared.accuracy['kd'], atol=1e-6)


def test_pictures_that_are_dark_already_are_not_darkened_again(compared, digits, tmp_path):
  trained, images = compared.results['kd'].trained, digits[1].images
  as_they_come = trained.logits(images, degraded=False)
  clean = dataclasses.replace(trained.built, degrade=())
  np.testing.assert_array_equal(as_they_come, Trained(clean, trained.variables).logits(images))
  assert (as_they_come != trained.logits(images)).any()
  folder = compared.results['kd'].export(tmp_path / 'student')
  classify, description = standalone.load(folder)
  np.testing.assert_allclose(classify(images), as_they_come[0], atol=1e-5)
  assert description['description']['learned_on'] == ['darken', 'noise']


def test_students_of_before_degradations_are_read(compared, digits):
  trained = compared.results['kd'].trained
  clean = Trained(dataclasses.replace(trained.built, degrade=()), trained.variables)
  content = trees.plain(clean.to_bytes())
  assert 'degrade' not in json.loads(content['built'])
  np.testing.assert_array_equal(
    Trained.from_bytes(clean.to_bytes()).logits(digits[1].images), clean.logits(digits[1].images)
  )


def test_what_is_not_asked_for_changes_no_work_dir_and_no_hash(digits, tmp_path):
  """Names that earlier versions gave to these configs and rows."""
  plain = configs.load('distillation/kd:digits')
  assert sweep._hash(plain) == '94b28f9d'
  assert sweep._hash(configs.load('distillation/kd:digits,degrade=blur')) != '94b28f9d'
  old = plain.to_dict()
  del old['distillation']['degrade']
  for name in ('gallery', 'distractors', 'adapt_rate', 'adapt_batch', 'adapt_sweeps'):
    del old['verification'][name]
  (tmp_path / 'config.json').write_text(json.dumps(old))
  with Run(tmp_path, families.recorded(plain), progress=False, tensorboard=False):
    assert json.loads((tmp_path / 'config.json').read_text()) == json.loads(json.dumps(old))
  worse = configs.load('distillation/kd:digits,degrade=blur')
  with pytest.raises(UserError, match="distillation.degrade: nothing -> .'blur',."):
    Run(tmp_path, families.recorded(worse), progress=False, tensorboard=False)
  teacher_key = lambda work: standing.teacher(work).key
  key = lambda work: running.key(work.fields, {'name': 'kd'}, teacher=teacher_key(work))
  assert key(made(digits)) == '6772fd0772c82793' != key(made(digits, ',degrade=blur'))
