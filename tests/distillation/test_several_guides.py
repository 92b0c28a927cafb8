"""Guides beside the teacher, from a method's file: what each reads, what is kept of it, what is
refused before any training."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdistill import config as configs
from jaxdistill import data, distillation
from jaxdistill.distillation import checks, flow, keeping, methods, running, sections
from jaxdistill.distillation import work as works
from jaxdistill.distillation.flow import Flow
from jaxdistill.distillation.scoring import Numbers
from jaxdistill.errors import UserError
from jaxdistill.training import loop
from jaxdistill.training.run import Run

FILE = """
from jaxdistill import distillation, losses
from jaxdistill.distillation import settings
from jaxdistill.experiment import arguments
from jaxdistill.models.adapters import Projection
from jaxdistill.training.players import Part, Player, Term

SEEN = set()


def pixels(images):
  SEEN.add(images.shape[1:])
  return images.reshape(len(images), -1)


GUIDES = {
  'coarse': distillation.of_function(pixels, mean=(0.0,), std=(1.0,), size=2),
  'fine': distillation.of_function(pixels, mean=(0.5,), std=(0.5,), size=16),
}


def method(pair, *, weight=1.0):
  parts = {'student': Part(pair.student, view=pair.student_view)}
  terms = []
  for name, guide in GUIDES.items():
    width = pair.form_of(guide)['logits'].shape[-1]
    reads = lambda scene: (scene['student']['embedding'],)
    parts[f'to_{name}'] = Part(Projection(width), reads=reads)

    def loss(scene, name=name):
      sides = scene[f'to_{name}']['output'], scene[name]['logits']
      return losses.fitnet(*sides, scene.batch['weight'])

    terms.append(Term(name, loss, weight))

  def kd(scene):
    logits = scene['student']['logits'], scene['teacher']['logits']
    return losses.kd(*logits, 4.0, scene.batch['weight'])

  terms.append(Term('kd', kd))
  player = Player('student', tuple(parts), tuple(terms), pair.optimizer(pair.steps))
  stage = distillation.Stage('student', parts, (player,), guides=('teacher', *GUIDES))
  return distillation.Method((stage,), guides=GUIDES)


distillation.register('three_guides', method, 'Three guides')


def get_config(arg=''):
  return settings.defaults(arguments.read(settings.Arguments, arg), 'three_guides')
"""
SMALL = {
  'model.depth': 1,
  'model.width': 8,
  'distillation.steps': 3,
  'distillation.batch': 16,
  'distillation.checks': 1,
  'distillation.augmentation': 'none',
}


@pytest.fixture(scope='module')
def digits():
  train, test = data.load('digits', image_size=8)
  return train.take(np.arange(40)), test.take(np.arange(20))


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp('methods') / 'three_guides.py'
  path.write_text(FILE)
  yield path
  for name in methods.METHODS.added:
    del methods.METHODS[name]


def teacher(images):
  rows = images.reshape(len(images), -1)
  return {'logits': rows @ jax.random.normal(jax.random.key(0), (64, 10)), 'embedding': rows}


TEACHER = distillation.of_function(teacher)


def work(file, digits, **changes):
  config = configs.load(f'{file}:digits,student=mlp,seeds=1,low=4')
  for key, value in {**SMALL, **changes}.items():
    configs.override(config, key, str(value))
  return works.make(sections.of_config(config), digits[0], None, digits[1], given=TEACHER)


def begun(file, digits, **changes):
  """The flow of the method of the file before its stage."""
  asked = work(file, digits, **changes)
  method = methods.make(asked.pair(TEACHER), asked.fields.method)
  return Flow(asked, TEACHER, method, {})


def resized(images, side):
  """Pixels of images in [0, 1] at another size, by Pillow; of such pixels without rounding."""
  bicubic = Image.Resampling.BICUBIC
  images = [Image.fromarray(np.float32(image[..., 0]) / 255) for image in images]
  return np.stack([np.asarray(image.resize((side, side), bicubic)) for image in images]).clip(0, 1)


def test_students_learn_from_guides_of_several_sizes(file, digits):
  given = dict(student='mlp', low=4, seeds=2, overrides=SMALL)
  result = distillation.distill(TEACHER, *digits, str(file), **given)
  assert result.accuracy.shape == (2,)
  by_name = methods.METHODS['three_guides'].__globals__
  assert by_name['SEEN'] == {(2, 2, 1), (16, 16, 1)}
  keys = {name: guide.key for name, guide in by_name['GUIDES'].items()}
  assert result.numbers.facts['guides'] == keys and len({TEACHER.key, *keys.values()}) == 3


@pytest.mark.slow
def test_kept_outputs_of_every_guide_are_the_live_ones(file, digits):
  ends = []
  for cache in ('', 'none'):
    current = begun(file, digits, **{'distillation.cache': cache})
    problem = flow.stage_problem(current, current.method.stages[0])
    assert ('fine:logits' in problem.source.data) == bool(cache)
    with Run(progress=False, log_every=1) as run:
      end = loop.fit(run, 'student', problem)
      ends.append((jax.tree.map(np.asarray, end.variables), run.curve('student')))
  (live, lines), (kept, others) = ends
  jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5), live, kept)
  for name in ('coarse', 'fine', 'kd', 'loss'):
    assert lines[-1][name] == pytest.approx(others[-1][name], rel=1e-4) and lines[-1][name] > 0


def test_each_guide_says_what_its_own_images_hold(file, digits):
  current, images = begun(file, digits, **{'distillation.cache': 'none'}), digits[0].images
  game = flow.stage_game(current, current.method.stages[0])
  views = {name: guide.view for name, guide in game.guides.items()}
  assert views == {'teacher': 'images', 'coarse': 'coarse', 'fine': 'fine'}
  asks = current.work, current.views, current.guides, game, {}
  tables = keeping.outputs(*asks)
  assert sorted(tables) == ['coarse:logits', 'fine:logits', 'teacher:logits']
  coarse, fine = resized(images, 2), (resized(images, 16) - 0.5) / 0.5
  for name, expected in (('coarse', coarse), ('fine', fine)):
    rows = expected.reshape(len(images), -1)
    np.testing.assert_allclose(tables[f'{name}:logits'][:, 0], rows, atol=1e-5)
    seen = current.features(name, outputs=('logits',))['logits']
    np.testing.assert_allclose(seen, rows, atol=1e-5)
  again = keeping.outputs(*asks)
  assert all(again[name] is table for name, table in tables.items())


def test_guides_that_cannot_be_are_refused_before_any_training(file, digits):
  current = begun(file, digits)
  (stage,) = current.method.stages
  coarse = current.method.guides['coarse']
  for guides, sentence in (
    ({'coarse': teacher}, "guide 'coarse' is to be what load_teacher or of_function returns"),
    ({'teacher': coarse}, "called by letters, digits and _, and not 'teacher'; got 'teacher'"),
    ({'a:b': coarse}, "got 'a:b'"),
    ({**current.method.guides, 'other': coarse}, "No stage of the method names its guide 'other'"),
  ):
    with pytest.raises(UserError, match=re.escape(sentence)):
      dataclasses.replace(current.method, guides=guides)


def test_checks_tell_a_guide_that_is_not_there_and_one_that_takes_no_such_images(
  file, digits, monkeypatch
):
  asked = work(file, digits)
  by_name = methods.METHODS['three_guides'].__globals__
  checks.check_parts(asked)
  narrow = distillation.of_function(
    lambda images: images[..., 0] @ jnp.ones((3, 1)), label='narrow'
  )
  with monkeypatch.context() as patch:
    patch.setitem(by_name['GUIDES'], 'coarse', narrow)
    with pytest.raises(UserError, match='narrow does not take images of shape .8, 8, 1.'):
      checks.check_parts(asked)
  alone = distillation.Method((distillation.Stage('student', {}, (), guides=('coars',)),))
  with pytest.raises(UserError, match="no guide 'coars'. Valid: teacher"):
    flow.stage_game(Flow(asked, TEACHER, alone, {}), alone.stages[0])


def test_other_guides_make_another_row(file, digits):
  asked = work(file, digits, **{'distillation.baseline': False})
  numbers = Numbers(np.ones(1), np.ones((1, 1)), None, {}, {}, None, {'parameters': 1}, 1.0)
  keys = set()
  for further in ({}, {'guides': {'coarse': 'a'}}, {'guides': {'coarse': 'b'}}):
    of_method = dataclasses.replace(numbers, facts={**numbers.facts, **further})
    row = running._row(asked, TEACHER, {'three_guides': of_method}, 'three_guides')
    assert row.extras.get('guides') == further.get('guides')
    keys.add(row.key)
  assert len(keys) == 3
