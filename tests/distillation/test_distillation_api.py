"""Distillation in Python: results, teachers of every kind, what is saved and exported."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import data, distillation, models
from jaxdistill.distillation import checks, flow, keeping, logit_terms, methods, running, terms
from jaxdistill.errors import UserError
from jaxdistill.models import weights

SMALL = {
  'model.depth': 1,
  'model.width': 8,
  'distillation.steps': 4,
  'distillation.batch': 16,
  'distillation.checks': 2,
}


@pytest.fixture(scope='module')
def digits():
  train, test = data.load('digits', image_size=8)
  return train.take(np.arange(200)), test.take(np.arange(60))


def distil(teacher, digits, method='kd', **options):
  given = {'student': 'mlp', 'low': 4, 'seeds': 2, **options}
  overrides = {**SMALL, **given.pop('overrides', {})}
  return distillation.distill(teacher, *digits, method, overrides=overrides, **given)


def linear(images):
  """A teacher that any function may be: fixed random projections of native images."""
  weight = jax.random.normal(jax.random.key(0), (64, 10))
  rows = images.reshape(len(images), -1)
  return {'logits': rows @ weight, 'embedding': rows}


@pytest.fixture(scope='module')
def result(digits):
  return distil(linear, digits)


def test_a_result_has_a_number_a_student(result, digits):
  assert result.accuracy.shape == (2,) and set(result.columns) == {
    'last',
    'best_test',
    'agreement',
    'divergence',
  }
  logits = result.predict(digits[1].images)
  assert logits.shape == (2, 60, 10)
  right = (logits.argmax(-1) == digits[1].labels).mean(1)
  np.testing.assert_allclose(right, result.accuracy, atol=1e-6)
  assert len(jax.tree.leaves(result.students)[0]) == 2


def test_agreement_is_with_the_function_on_native_images(result, digits):
  test = digits[1]
  images = (test.images / 255 - np.array(test.mean)) / np.array(test.std)
  said = np.asarray(linear(jnp.asarray(images, jnp.float32))['logits']).argmax(-1)
  same = (result.predict(test.images).argmax(-1) == said).mean(1)
  np.testing.assert_allclose(same, result.columns['agreement'], atol=1e-6)


def test_images_in_no_known_unit_are_refused(result, digits):
  images = digits[1].images[:3]
  np.testing.assert_allclose(
    result.predict(images), result.predict(images / np.float32(255)), rtol=1e-4, atol=1e-4
  )
  for other in (images.astype(np.int64), images.astype(np.float32), images[:, :4]):
    with pytest.raises(UserError, match=r'These students take images \[n, 8, 8, 1\], uint8 or'):
      result.predict(other)


def test_saved_it_is_the_same(result, digits, tmp_path):
  again = distillation.Result.load(result.save(tmp_path / 'kd.msgpack'))
  np.testing.assert_array_equal(again.accuracy, result.accuracy)
  np.testing.assert_array_equal(again.predict(digits[1].images), result.predict(digits[1].images))
  (tmp_path / 'other').write_bytes(b'nothing')
  with pytest.raises(UserError, match='holds no result of this library'):
    distillation.Result.load(tmp_path / 'other')


def test_an_exported_student_stands_alone(result, tmp_path):
  folder = result.export(tmp_path / 'student')
  assert (folder / 'classifier.stablehlo').is_file() and (folder / 'weights.safetensors').is_file()


def test_a_teacher_from_a_file_of_weights(digits, tmp_path):
  network = {'name': 'mlp', 'width': 12, 'depth': 1}
  model = models.build(network, 10, (8, 8, 1))
  variables = model.init(jax.random.key(1), jnp.zeros((1, 8, 8, 1)))
  weights.save(tmp_path / 'mlp.safetensors', model, variables)
  teacher = distillation.load_teacher(tmp_path / 'mlp.safetensors', network, 10, (8, 8, 1))
  result = distil(teacher, digits, seeds=1)
  (logits, _) = model.apply(variables, _normalised(digits[1]))
  same = (result.predict(digits[1].images)[0].argmax(-1) == np.asarray(logits).argmax(-1)).mean()
  assert result.columns['agreement'][0] == pytest.approx(same)


@pytest.mark.parametrize(
  'name, message',
  [
    # Which of its names come first is that of the network, then that of the file.
    (
      'convnet',
      "holds no 'params/linear1/bias', which the network needs, but 'params/classifier/bias' and",
    ),
    ('lenet', "'params/classifier/kernel' is 84x10 where the network has 12x10"),
  ],
)
def test_a_foreign_file_is_told_by_its_first_name_that_does_not_fit(name, message, tmp_path):
  other = models.build({'name': name}, 10, (16, 16, 1))
  form = jax.eval_shape(other.init, jax.random.key(1), jnp.zeros((1, 16, 16, 1)))
  variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), form)
  weights.save(tmp_path / 'foreign.safetensors', other, variables)
  network = {'name': 'mlp', 'width': 12, 'depth': 1}
  with pytest.raises(UserError, match=message):
    distillation.load_teacher(tmp_path / 'foreign.safetensors', network, 10, (8, 8, 1))


def test_a_function_with_images_of_its_own(digits):
  seen = []

  def teacher(images):
    seen.append(images.shape)
    return images.mean((1, 2))[:, :1] * jnp.arange(10.0)[None]

  own = distillation.of_function(teacher, mean=(0.0,), std=(1.0,), size=16)
  distil(own, digits, seeds=1)
  assert {shape[1:] for shape in seen} == {(16, 16, 1)}


def with_prototypes(images):
  """The same, which tells the weights of its classes."""
  given = linear(images)
  return {**given, 'prototypes': jax.random.normal(jax.random.key(0), (64, 10)).T}


@pytest.mark.slow
@pytest.mark.parametrize(
  'method, fields',
  [('aird', {}), ('bridge', {'method.recovered': 'predictions', 'method.hidden': 8})],
)
def test_prototypes_of_a_function_are_there_live_and_beside_kept_outputs(digits, method, fields):
  changes = {'distillation.augmentation': 'none', **fields}
  live, kept = (
    distil(with_prototypes, digits, method, overrides={**changes, 'distillation.cache': cache})
    for cache in ('', 'none')
  )
  close = lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5)
  jax.tree.map(close, live.students, kept.students)


def test_prototypes_that_are_no_rows_of_classes_are_refused(digits):
  def turned(images):
    given = with_prototypes(images)
    return {**given, 'prototypes': given['prototypes'].T}

  with pytest.raises(UserError, match=r'one a class over the embedding: here \(10, 64\)'):
    distil(turned, digits, 'aird')


WEIGHT = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize('variables', [WEIGHT, (WEIGHT, {'scale': np.ones(1)})])
def test_a_function_takes_a_tree_of_any_form(digits, variables):
  def teacher(variables, images):
    weight, *_ = jax.tree.leaves(variables)
    rows = images.reshape(len(images), -1)
    return {'logits': rows @ weight, 'embedding': rows}

  def fixed(images):
    return teacher(WEIGHT, images)

  given, same = (
    distil(of, digits, seeds=1)
    for of in (distillation.of_function(teacher, variables=variables), fixed)
  )
  np.testing.assert_allclose(given.columns['divergence'], same.columns['divergence'], rtol=1e-4)


def test_methods_are_compared_seed_by_seed(digits):
  compared = distillation.compare(
    linear, *digits, methods=['alone', 'kd'], student='mlp', low=4, seeds=3, overrides=SMALL
  )
  gain = compared.difference('kd')
  expected = compared.accuracy['kd'] - compared.accuracy['alone']
  assert gain.n == 3 and gain.mean == pytest.approx(expected.mean())
  assert [row.name for row in compared.rows] == ['teacher', 'teacher_low', 'alone', 'kd']
  with pytest.raises(UserError, match="no method of this comparison 'rkd'"):
    compared.difference('rkd')


def test_a_sum_of_terms_is_compared_under_the_name_that_it_was_asked_by(digits, tmp_path):
  overrides = {**SMALL, 'distillation.steps': 2, 'distillation.checks': 1}
  given = dict(student='mlp', low=4, seeds=1, overrides=overrides, workdir=tmp_path / 'run')
  compared = distillation.compare(linear, *digits, methods=['kd&dkd'], **given)
  assert list(compared.results) == ['kd&dkd'] and compared.rows[-1].label == 'KD + DKD'
  assert (tmp_path / 'run' / 'students' / 'kd&dkd.msgpack').is_file()


def foreign(images):
  """A teacher of four classes of a data set that is not there."""
  rows = images.reshape(len(images), -1)
  return {'logits': rows @ jax.random.normal(jax.random.key(1), (64, 4)), 'embedding': rows}


@pytest.mark.slow
def test_a_teacher_from_another_data_set_teaches_by_its_features(digits):
  """Its images are nowhere; what it has been compared through is not in the students."""
  public = [images.take_classes([4, 5, 6, 7, 8, 9]) for images in digits]
  small = {**SMALL, 'members.bridge.hidden': 8}
  given = dict(student='mlp', low=4, seeds=2)
  compared = distillation.compare(
    foreign, *public, methods=['bridge', 'selective'], overrides=small, **given
  )
  assert [row.name for row in compared.rows] == ['bridge', 'selective']
  for result in compared.results.values():
    assert set(result.columns) == {'last', 'best_test'}
    network = result.trained.built.network
    form = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 4, 4, 1)))
    of_one = jax.tree.map(lambda leaf: leaf.shape[1:], dict(result.students))
    assert of_one == jax.tree.map(lambda leaf: leaf.shape, dict(form))
    assert result.numbers.facts['parameters'] == models.count(form) < 250_000
  with pytest.raises(UserError, match='foreign answers with 4 classes, and digits has 6 here'):
    distil(foreign, public)


def test_kept_outputs_are_the_live_ones(digits):
  changes = {'distillation.augmentation': 'none'}
  live, kept = (
    distil(linear, digits, overrides={**changes, 'distillation.cache': cache})
    for cache in ('', 'none')
  )
  close = lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5)
  jax.tree.map(close, live.students, kept.students)


def test_a_run_computes_kept_outputs_once_for_all_methods_that_ask_for_the_same(
  digits, monkeypatch
):
  asked = []
  compute = keeping._said

  def counted(*arguments):
    asked.append(arguments[-1])
    return compute(*arguments)

  monkeypatch.setattr(keeping, '_said', counted)
  kept = {**SMALL, 'distillation.augmentation': 'none', 'distillation.cache': 'none'}
  given = dict(student='mlp', low=4, seeds=2, overrides=kept)
  together = distillation.compare(linear, *digits, methods=['kd', 'dkd', 'rkd'], **given)
  assert asked == [('logits',), ('embedding',)]
  alone = distil(linear, digits, 'dkd', overrides=kept)
  same = lambda one, other: np.testing.assert_array_equal(one, other)
  jax.tree.map(same, together.results['dkd'].students, alone.students)


def test_a_student_with_batches_of_its_own_is_the_same_alone_and_among_others(digits):
  own = {'distillation.batches': 'own'}
  alone, among = (distil(linear, digits, seeds=seeds, overrides=own) for seeds in (1, 3))
  for one, other in zip(jax.tree.leaves(alone.students), jax.tree.leaves(among.students)):
    np.testing.assert_allclose(one[0], other[0], atol=1e-6)


@pytest.mark.parametrize('name', ['test', 'validation'])
def test_sets_that_do_not_go_together_are_refused_before_training(digits, name, unlike):
  train, test = digits
  change, message = unlike
  sets = {'test': test, 'validation': test, name: change(test)}
  with pytest.raises(UserError, match=message.format(name)):
    distillation.distill(linear, train, student='mlp', **sets)


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(method='kdd'), "no distillation method 'kdd'; did you mean 'kd'"),
    (dict(teacher=3), 'a function of images, or what load_teacher returns; got 3'),
    (dict(teacher='runs/none'), 'runs/none does not exist; name a network'),
    (dict(teacher=lambda images: images), 'must give logits'),
    (dict(teacher=lambda images: (images, images)), "it gives {'logits': 'tuple'}"),
    (dict(teacher=lambda images: jnp.zeros((3, 10))), r'of one image it gives .*\(3, 10\)'),
    (
      dict(teacher=lambda images: {'logits': images[:, 0, :, 0], 'scale': jnp.float32(2)}),
      r"with a row an image, .* of one image 'scale' is \(\)",
    ),
    (dict(teacher=lambda images: {}['logits']), 'does not take images of shape'),
    (
      dict(teacher=models.build({'name': 'mlp'}, 10, (8, 8, 1))),
      'The teacher MLP is a network without its weights',
    ),
    (dict(overrides={'data.image_size': 16}), 'data.image_size says how images are loaded'),
    (dict(teacher=lambda images: images[:, 0, :7, 0]), 'answers with 7 classes'),
    (dict(low=3), 'A low size of 3 does not divide'),
    (dict(student='mlpp'), "no model 'mlpp'"),
    (dict(student={'name': 'resnet20', 'depth': 56}), "'resnet20' has depth 20, and beside its"),
  ],
)
def test_a_mistake_ends_in_one_sentence(changes, message, digits):
  given = {'teacher': linear, **changes}
  with pytest.raises(UserError, match=message):
    distil(given.pop('teacher'), digits, **given)


def _normalised(images):
  return jnp.asarray((images.images / 255 - np.array(images.mean)) / images.std, jnp.float32)


class _Stopped(Exception):
  """Before any student is trained."""


def test_a_work_dir_knows_its_teacher(digits, tmp_path, monkeypatch):
  def stop(*arguments, **fields):
    raise _Stopped

  def teacher_of(weight):
    return lambda images: images.reshape(len(images), -1) @ weight

  monkeypatch.setattr(running, '_teacher_rows', stop)
  weight = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
  held = digits[1].take(np.arange(20))
  for _ in range(2):  # the same goes on
    with pytest.raises(_Stopped):
      distil(teacher_of(weight), digits, workdir=tmp_path, validation=held)
  for other, changed, words in (
    (weight, {'validation': None}, 'validation: no longer there'),
    (2 * weight, {}, 'the code of the function of the teacher has changed'),
  ):
    with pytest.raises(UserError, match=words):
      distil(teacher_of(other), digits, **{'workdir': tmp_path, 'validation': held, **changed})
  with_weights = lambda weight, images: images.reshape(len(images), -1) @ weight
  first, second = (
    distillation.teachers.of_function(with_weights, variables=one) for one in (weight, 2 * weight)
  )
  with pytest.raises(_Stopped):
    distil(first, digits, workdir=tmp_path / 'weights')
  with pytest.raises(UserError, match='teacher has changed since'):
    distil(second, digits, workdir=tmp_path / 'weights')


@pytest.fixture
def begun(monkeypatch):
  """The fields of what a call works on, before anything is computed."""

  def of(*arguments, call=distillation.distill, **options):
    works = []

    def stop(work):
      works.append(work)
      raise _Stopped

    monkeypatch.setattr(checks, 'check_parts', stop)
    with pytest.raises(_Stopped):
      call(*arguments, **options)
    return works[0].fields

  return of


def colour(name):
  images = np.zeros((20, 32, 32, 3), np.uint8)
  return data.Dataset(images, np.arange(20) % 10, name=name)


def test_a_set_with_a_path_has_its_usual_networks_and_recipe(begun):
  fields = begun('', colour('imagenet:pictures'), colour('imagenet:pictures'), quick=True)
  assert fields.teacher_model['name'] == fields.model['name'] == 'torchvision_resnet'
  assert (fields.teacher_model['depth'], fields.distillation.recipe) == (34, 'imagenet')
  assert fields.method['gamma'] == 0.5
  other = begun('', colour('mine'), colour('mine'), quick=True)
  assert (other.model['name'], other.distillation.recipe) == ('resnet20', 'crd240')


@pytest.mark.parametrize(
  'student, overrides, rate',
  [
    ('shufflenet_v1', {}, 0.01),
    ('shufflenet_v1', {'distillation.learning_rate': 0.02}, 0.02),
    ({'name': 'shufflenet_v2', 'norm': 'group'}, {'distillation.recipe': 'short'}, 0.01),
    ('shufflenet_v1', {'distillation.recipe': 'imagenet'}, 0.0),
    ('resnet8', {}, 0.0),
  ],
)
def test_light_students_start_at_their_own_rate(begun, student, overrides, rate):
  sets = colour('cifar100'), colour('cifar100')
  fields = begun('resnet8', *sets, quick=True, student=student, overrides=overrides)
  assert fields.distillation.learning_rate == rate


def test_what_one_has_registered_is_compared_by_its_name(begun, digits):
  distillation.register('mine', methods.find('sum'), 'Mine')
  distillation.register_term('twice', logit_terms.kd, 'Twice')
  try:
    names = ['alone', 'mine', 'twice']
    given = dict(student='mlp', overrides=SMALL)
    fields = begun(linear, *digits, names, call=distillation.compare, **given)
  finally:
    del methods.METHODS['mine'], terms.TERMS['twice']
  assert fields.compared == tuple(names)
  assert fields.members['mine']['name'] == 'mine' and fields.members['twice']['terms'] == ('twice',)


def test_the_first_process_says_whether_the_teacher_is_kept(monkeypatch):
  """The others know of no work dir."""
  monkeypatch.setattr(flow.hosts, 'first', lambda what, value: True)
  work = SimpleNamespace(
    fields=SimpleNamespace(run=SimpleNamespace(experts='')),
    given=None,
    training=None,
    taught=None,
    teacher_test=None,
  )
  assert flow.is_trained(SimpleNamespace(workdir=None), work)
