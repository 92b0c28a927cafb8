"""What students and teacher read of one image, and by which statistics the teacher answers: small
images brought back, the teacher on them, batches of the teacher, mirrored images that are kept."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdistill import config as configs
from jaxdistill import data, distillation, models
from jaxdistill.distillation import checks, flow, keeping, methods, running, sections
from jaxdistill.distillation import work as works
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.errors import UserError
from jaxdistill.models import normalisation, weights
from jaxdistill.models.linear import Linear
from jaxdistill.training.run import Run

SMALL = {
  'model.depth': 1,
  'model.width': 8,
  'distillation.steps': 3,
  'distillation.checks': 1,
  'distillation.augmentation': 'none',
  'distillation.batch': 40,
}
IMAGES = 40


@pytest.fixture(scope='module')
def digits():
  train, test = data.load('digits', image_size=8)
  return train.take(np.arange(IMAGES)), test.take(np.arange(60))


def work_of(digits, teacher, arguments='', **changes):
  config = configs.load(f'distillation/kd:digits,student=mlp,seeds=1{arguments}')
  for key, value in {**SMALL, **changes}.items():
    configs.override(config, key, str(value))
  return works.make(sections.of_config(config), digits[0], None, digits[1], given=teacher)


def distil(teacher, digits, **changes):
  given = dict(student='mlp', low=4, overrides={**SMALL, **changes})
  return distillation.distill(teacher, *digits, 'kd', **given)


def linear(images):
  return images.reshape(len(images), -1) @ jax.random.normal(jax.random.key(0), (64, 10))


LINEAR = distillation.of_function(linear)


def upsampled(images):
  """Images in [0, 1] at 4 pixels, brought back to 8, by Pillow without rounding."""
  for side in (4, 8):
    pictures = [Image.fromarray(np.float32(image)) for image in images]
    images = [picture.resize((side, side), Image.Resampling.BICUBIC) for picture in pictures]
    images = [np.asarray(image).clip(0, 1) for image in images]
  return np.stack(images)[..., None]


def normalised(images, like):
  return (images - np.array(like.mean)) / np.array(like.std)


def test_small_images_that_are_brought_back_are_seen_in_training_and_in_tests(digits):
  work = work_of(digits, LINEAR, ',low=4,shown=upsampled')
  assert work.student_shape == (8, 8, 1)
  images = digits[0].images[:6]
  expected = normalised(upsampled(images[..., 0] / 255), work.train)
  np.testing.assert_allclose(work.seeing(None, 'low').view(images), expected, atol=1e-4)
  np.testing.assert_allclose(work.paired.test(images)['low'], expected, atol=1e-4)
  views, key = work.paired.train, jax.random.key(0)
  batch = {'images': images, 'labels': digits[0].labels[:6], 'weight': jnp.ones(6)}
  prepared = views.prepare(key, batch, views.draw(key))
  np.testing.assert_allclose(prepared['low'], expected, atol=1e-4)
  native = normalised(images / 255, work.train)
  np.testing.assert_allclose(prepared['images'], native, atol=1e-4)


@pytest.mark.parametrize('shown', ['native', 'upsampled'])
def test_the_teacher_is_scored_on_the_students_images_brought_back(digits, shown):
  """It knows the test images at full size by heart."""
  test = digits[1]
  native = test.images / 255
  flat = lambda images: normalised(images, test).reshape(len(images), -1)
  weight = np.linalg.pinv(flat(native), rcond=1e-3) @ np.eye(10)[test.labels]
  teacher = distillation.of_function(
    lambda images: images.reshape(len(images), -1) @ jnp.float32(weight)
  )
  work = work_of(digits, teacher, f',low=4,shown={shown}')
  with Run(progress=False) as run:
    rows = running._teacher_rows(run, work, teacher)
  scores = [row.scores['last']['mean'] for row in rows]
  expected = []
  for images in (native, upsampled(native[..., 0])):
    expected.append(((flat(images) @ weight).argmax(1) == test.labels).mean())
  assert scores == pytest.approx(expected, abs=1e-6) and scores[0] > 0.9 > scores[1] + 0.2


# By which statistics the teacher normalises.


class Normed(nn.Module):
  """A linear classifier of standardised pixels."""

  @nn.compact
  def __call__(self, x, train=False):
    x = normalisation.norm('batch')(name='norm')(x, train).reshape(len(x), -1)
    return Linear(10, name='classifier')(x), {'embedding': x}


def normed(statistics=None):
  variables = Normed().init(jax.random.key(1), jnp.zeros((1, 8, 8, 1)))
  if statistics:
    mean, var = statistics
    variables = {**variables, 'batch_stats': {'norm': {'mean': mean, 'var': var}}}
  return Teacher('normed', 10, Normed(), variables)


def test_a_teacher_answers_by_the_statistics_of_the_batch_or_its_own(digits):
  """Where a batch has all images, a teacher whose own statistics are theirs teaches the same."""
  view = normalised(digits[0].images / 255, digits[0])
  of_all = normed((jnp.float32(view.mean((0, 1, 2))), jnp.float32(view.var((0, 1, 2)))))

  def students(teacher, statistics):
    work = work_of(digits, teacher, ',low=4', **{'teaching.normalisation': statistics})
    method = methods.make(work.pair(teacher), work.fields.method)
    with Run(progress=False) as run:
      return flow.students(run, work, teacher, method, 'kd').variables['params']

  batch = students(normed(), 'batch')
  for teacher, agrees in ((of_all, True), (normed(), False)):
    own = students(teacher, 'running')
    pairs = zip(jax.tree.leaves(batch), jax.tree.leaves(own), strict=True)
    assert all(np.allclose(one, other, atol=1e-5) for one, other in pairs) == agrees


def test_what_has_no_statistics_of_a_batch_is_refused(digits):
  by_batch = {'teaching.normalisation': 'batch'}
  with pytest.raises(UserError, match="'batch', but the teacher linear is a function; take 'runn"):
    distil(LINEAR, digits, **by_batch)
  work = work_of(digits, normed(), ',cache=none', **by_batch)
  with pytest.raises(UserError, match='statistics of a batch cannot be kept; set teaching.normal'):
    checks.check_parts(work)


# Mirrored images.


@pytest.mark.slow
def test_kept_outputs_of_mirrored_images_are_the_live_ones(digits, monkeypatch):
  """The same draws, on which the teacher is asked in every step."""
  mirrored = [dataclasses.replace(images, flip=True) for images in digits]
  changes = {'distillation.augmentation': 'flip', 'distillation.cache': 'flip'}
  kept = distil(linear, mirrored, **changes)
  compute, tables = keeping.outputs, []

  def live(*arguments):
    tables.append(compute(*arguments))
    return {}

  monkeypatch.setattr(keeping, 'outputs', live)
  asked = distil(linear, mirrored, **changes)
  (table,) = (table['teacher:logits'] for table in tables)
  assert table.shape == (IMAGES, 2, 10) and np.abs(table[:, 0] - table[:, 1]).max() > 1
  close = lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5)
  jax.tree.map(close, kept.students, asked.students)


def test_a_teacher_that_draws_dropout_has_no_statistics_of_its_batches(digits):
  work = work_of(digits, None, ',teacher=dropout_mlp', **{'teaching.normalisation': 'batch'})
  with pytest.raises(UserError, match='the teacher dropout_mlp would answer with dropout'):
    checks.check_parts(work)


@pytest.mark.parametrize(
  'statistics', [dict(mean=(0.5,)), dict(std=(0.5,)), dict(mean=(0.5,), std=(0.2,) * 3)]
)
def test_images_of_a_teachers_own_need_mean_and_std(statistics, tmp_path):
  with pytest.raises(UserError, match='needs both mean and std, of every channel'):
    distillation.of_function(linear, **statistics)
  model = models.build('mlp', 10, (8, 8, 1))
  form = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), form)
  weights.save(tmp_path / 'mlp.safetensors', model, zeros)
  with pytest.raises(UserError, match='needs both mean and std, of every channel'):
    distillation.load_teacher(tmp_path / 'mlp.safetensors', 'mlp', 10, (8, 8, 1), **statistics)
