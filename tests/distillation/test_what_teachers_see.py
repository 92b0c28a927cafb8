"""What students and teacher read of one image, and by which statistics the teacher answers: small
images brought back, the teacher on them, batches of the teacher, mirrored images that are kept."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdistill import config as configs
from jaxdistill import data, distillation, models
from jaxdistill.distillation import checks, flow, keeping, methods, running, sections, teachers
from jaxdistill.distillation import work as works
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.errors import UserError
from jaxdistill.models import normalisation, weights
from jaxdistill.models.linear import Linear
from jaxdistill.training import trees
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


@pytest.mark.parametrize(
  'statistics, message',
  [
    (dict(mean=0.5, std=0.5), r'The mean of a teacher is one number a channel, such as \(0.5,\)'),
    (dict(mean=(0.5,), std=(0.0,)), 'it must not hold a 0'),
    (dict(mean=(0.5,), std=(np.nan,)), 'std is nan; it must be a number'),
    (dict(mean=(np.inf,), std=(1.0,)), 'The mean of a teacher holds inf; it must be finite'),
  ],
)
def test_statistics_that_are_none_are_refused(statistics, message):
  with pytest.raises(UserError, match=message):
    distillation.of_function(linear, **statistics)


def test_statistics_are_of_the_students_channels_or_of_one():
  grey, colour = ((0.5,), (0.2,)), ((0.5,) * 3, (0.2,) * 3)
  of_colour = distillation.of_function(linear, mean=colour[0], std=colour[1])
  assert of_colour.view(*colour) is None
  assert of_colour.view(*grey).mean == (0.5,) * 3  # grey images become coloured ones
  with pytest.raises(UserError, match="are of 3 channels, and the students' images have 4"):
    of_colour.view((0.5,) * 4, (0.2,) * 4)


def test_a_guide_with_a_size_reads_images_of_the_old_ratio(digits):
  wide = [
    dataclasses.replace(images, images=np.repeat(images.images, 2, axis=2)) for images in digits
  ]
  seen = []

  def teacher(images):
    seen.append(images.shape[1:])
    return images[:, 0, :10, 0]

  work = work_of(wide, distillation.of_function(teacher, size=16), '')
  assert work.teacher_shape(work.given) == (16, 32, 1)
  assert work.form_of(work.given)['logits'].shape == (1, 10) and seen == [(16, 32, 1)]


def saved(path, network, shape):
  """A file of weights of a network for images of a shape."""
  model = models.build(network, 10, shape)
  form = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), form)
  weights.save(path, model, zeros)
  return path


MLP = {'name': 'mlp', 'width': 4, 'depth': 1}


def test_a_teacher_of_images_of_another_size_has_them_brought_to_it(digits, tmp_path):
  path = saved(tmp_path / 'mlp.safetensors', MLP, (16, 16, 1))
  work = work_of(digits, distillation.load_teacher(path, MLP, 10, (16, 16, 1)), '')
  assert work.teacher_shape(work.given) == (16, 16, 1)
  checks.check_parts(work)
  path = saved(tmp_path / 'same.safetensors', MLP, (8, 8, 1))
  same = work_of(digits, distillation.load_teacher(path, MLP, 10, (8, 8, 1)), '')
  assert same.guide_view(same.given) is None


def test_weights_for_other_images_are_refused_before_training(digits, tmp_path):
  path = saved(tmp_path / 'mlp.safetensors', MLP, (32, 32, 3))
  teacher = distillation.load_teacher(path, MLP, 10)
  with pytest.raises(
    UserError,
    match=r'not those of its network for images of 8x8x1: params/linear1/kernel is of shape '
    r'\(3072, 4\), and would be of shape \(64, 4\)',
  ):
    checks.check_parts(work_of(digits, teacher, ''))


def test_what_a_teacher_is_kept_by_tells_networks_and_statistics_apart(tmp_path):
  network = {'name': 'resnet', 'width': 4, 'depth': 8}
  path = saved(tmp_path / 'resnet.safetensors', network, (8, 8, 1))
  statistics = dict(mean=(0.5,), std=(0.2,))
  loaded = [
    distillation.load_teacher(path, network, 10, (8, 8, 1), **given) for given in ({}, statistics)
  ]
  # The same weights in another network.
  module = models.build({**network, 'shortcut': 'B'}, 10, (8, 8, 1))
  other = dataclasses.replace(loaded[0], module=module)
  assert len({teacher.key for teacher in loaded}) == 2
  assert len({teacher.content for teacher in (*loaded, other)}) == 3


def test_a_work_dirs_teacher_of_upright_images_reads_their_shorter_side(digits, tmp_path):
  model = models.build(MLP, 10, (16, 12, 1))
  variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 12, 1)))
  (tmp_path / 'teacher.msgpack').write_bytes(trees.encode({'variables': variables}))
  facts = {'network': MLP, 'class_names': digits[0].class_names, 'image_shape': (16, 12, 1)}
  facts |= {'mean': (0.5,), 'std': (0.2,), 'key': 'k', 'weights': 'teacher.msgpack'}
  (tmp_path / teachers.FILE).write_text(json.dumps(facts))
  assert teachers.read(tmp_path, {}, digits[0]).size == 12
