"""Learning from wrong labels in Python: results, own evidence, methods of one's own, what is
refused, what true labels may not touch."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxdistill import data, label_noise
from jaxdistill.data.crowds import Crowd
from jaxdistill.errors import UserError
from jaxdistill.experiment.running import Ran
from jaxdistill.label_noise import ce, fitting, learning, making, methods, trained
from jaxdistill.training.recipe import Recipe

SMALL = {'model.depth': 1, 'model.width': 8, 'learning.epochs': 2, 'learning.batch': 16}


@pytest.fixture(scope='module')
def digits():
  train, test = data.load('digits', image_size=8)
  return train.take(np.arange(80)), test.take(np.arange(30))


@pytest.fixture(scope='module')
def crowd(digits):
  groups = [('expert', 4), ('symmetric', 4)]
  return label_noise.simulate(digits[0], groups, per_example=2).crowd


@pytest.fixture
def reached(monkeypatch):
  """The works of calls that end in an InterruptedError before anything is trained."""
  works = []

  def stop(run, work, **options):
    works.append(work)
    raise InterruptedError

  monkeypatch.setattr(fitting.learning, 'run_all', stop)
  return works


def fit(digits, evidence=None, method='ce', **options):
  given = {'model': 'mlp', 'seeds': 2, **options}
  overrides = {**SMALL, **given.pop('overrides', {})}
  return label_noise.fit(digits[0], evidence, digits[1], method, overrides=overrides, **given)


@pytest.fixture(scope='module')
def result(digits, crowd):
  return fit(digits, crowd, 'crowd_layer', truth=digits[0].labels)


def test_a_result_has_a_number_a_network(result, digits):
  assert {'last', 'selected', 'best_test', 'label_accuracy', 'auroc', 'memorised'} <= set(
    result.scores
  )
  assert result.accuracy.shape == (2,)
  assert result.probabilities(digits[1].images).shape == (2, 30, 10)
  right = (result.predict(digits[1].images) == digits[1].labels).mean(1)
  np.testing.assert_allclose(right, result.accuracy, atol=1e-6)


def test_a_result_believes_something_of_its_examples_and_annotators(result):
  assert len(result.learned) == 72  # a tenth of 80 is held out
  assert result.beliefs.shape == (2, 72, 10)
  np.testing.assert_allclose(result.beliefs.sum(-1), 1, atol=1e-5)
  assert result.confusions.shape == (2, 8, 10, 10)
  np.testing.assert_allclose(result.confusions.sum(-1), 1, atol=1e-5)


def test_saved_a_result_is_the_same(result, digits, tmp_path):
  again = label_noise.Result.load(result.save(tmp_path / 'crowd_layer.msgpack'))
  np.testing.assert_array_equal(again.accuracy, result.accuracy)
  images = digits[1].images
  np.testing.assert_array_equal(again.probabilities(images), result.probabilities(images))
  np.testing.assert_array_equal(again.beliefs, result.beliefs)
  (tmp_path / 'other').write_bytes(b'nothing')
  with pytest.raises(UserError, match='holds no result of this library'):
    label_noise.Result.load(tmp_path / 'other')


def test_true_labels_reach_the_scores_alone(digits, crowd, result):
  """With the truth permuted, and with nonsense as the labels that the set is stored with, every
  array of the run but the scores is the same."""
  train, test = digits
  nonsense = dataclasses.replace(train, labels=np.roll(train.labels, 3))
  other = fit((nonsense, test), crowd, 'crowd_layer', truth=train.labels[::-1])
  jax.tree.map(np.testing.assert_array_equal, other.trained.variables, result.trained.variables)
  np.testing.assert_array_equal(other.beliefs, result.beliefs)
  np.testing.assert_array_equal(other.learned, result.learned)
  assert (other.scores['label_accuracy'] != result.scores['label_accuracy']).any()
  without = fit(digits, crowd, 'crowd_layer')
  jax.tree.map(np.testing.assert_array_equal, without.trained.variables, result.trained.variables)
  assert 'label_accuracy' not in without.scores


def test_all_that_is_handed_over_is_learned_from(reached):
  """The config of a known set takes fewer images; a smoke run and the overrides say how many."""
  train, test = data.load('digits', image_size=8)
  train = train.take(np.arange(700))
  options = dict(validation=0, model='mlp')
  for call in (
    lambda: label_noise.fit(train, None, test, 'ce', **options),
    lambda: label_noise.fit(train, None, test, 'ce', 'mlp', validation=0.1),
    lambda: label_noise.compare(train, None, test, ['ce', 'elr'], **options),
    lambda: label_noise.fit(
      train, None, test, 'ce', overrides={'learning.train_images': 600}, **options
    ),
    lambda: label_noise.fit(train, None, test, 'ce', quick=True, **options),
    lambda: label_noise.fit(train.take(np.arange(80)), None, test, 'ce', quick=True, **options),
  ):
    with pytest.raises(InterruptedError):
      call()
  assert [len(work.train) for work in reached] == [700, 630, 700, 600, 120, 80]


@pytest.mark.slow
@pytest.mark.parametrize('method', ['ccc', 'sel_cl', 'taidtm'])
def test_true_labels_reach_the_scores_alone_of_a_method_that_chooses_examples(
  method, digits, crowd
):
  """Of permuted truth and of none every array is the same."""
  train, test = digits
  nonsense = dataclasses.replace(train, labels=np.roll(train.labels, 3))
  with_truth = lambda handed, truth: fit((handed, test), crowd, method, truth=truth, quick=True)
  one, permuted = with_truth(train, train.labels), with_truth(nonsense, train.labels[::-1])
  for other in (permuted, with_truth(train, None)):
    jax.tree.map(np.testing.assert_array_equal, other.trained.variables, one.trained.variables)
    np.testing.assert_array_equal(other.beliefs, one.beliefs)
    np.testing.assert_array_equal(other.believed.confident, one.believed.confident)
  assert (permuted.scores['label_accuracy'] != one.scores['label_accuracy']).any()


def test_labels_may_be_an_array_or_those_of_the_set(digits):
  one, other = fit(digits), fit(digits, digits[0].labels)
  np.testing.assert_array_equal(one.accuracy, other.accuracy)


def test_vectors_are_learned_from(digits):
  train, test = digits
  flat = lambda images: images.images.reshape(len(images), -1) / 255
  vectors = data.Vectors(flat(train), train.labels)
  tests = data.Vectors(flat(test), test.labels)
  found = fit((vectors, tests), overrides={'learning.epochs': 20, 'learning.learning_rate': 0.01})
  assert found.accuracy.mean() > 0.4
  np.testing.assert_array_equal(found.predict(tests.features), found.predict(tests.images))


def test_without_test_examples_the_held_out_ones_are_scored(digits, crowd):
  alone = label_noise.fit(
    digits[0], crowd, method='ce', model='mlp', seeds=1, validation=0.25, overrides=SMALL
  )
  assert len(alone.learned) == 60
  with pytest.raises(UserError, match='let validation be above 0'):
    label_noise.fit(digits[0], crowd, method='ce', validation=0, overrides=SMALL)


def test_methods_are_compared_seed_by_seed(digits, crowd):
  train, test = digits
  compared = label_noise.compare(
    train, crowd, test, ['vote', 'ce'], 'mlp', seeds=2, overrides=SMALL
  )
  gain = compared.difference('ce')
  expected = compared.results['ce'].accuracy - compared.results['vote'].accuracy
  assert gain.n == 2 and gain.mean == pytest.approx(expected.mean())
  with pytest.raises(UserError, match="no method of this comparison 'ccc'"):
    compared.difference('ccc')


def test_a_method_of_ones_own_learns(digits):
  label_noise.register('plainly', lambda setting, *, weight=1.0: ce.method(setting))
  try:
    mine, shipped = fit(digits, method='plainly'), fit(digits)
  finally:
    del methods.METHODS['plainly']
  jax.tree.map(np.testing.assert_array_equal, mine.trained.variables, shipped.trained.variables)


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(method='cee'), "no method of learning from wrong labels 'cee'; did you mean 'ce'"),
    (dict(method=3), 'method is the name of a method, or a .py file; it is 3'),
    (dict(method='tcl', truth=np.zeros(80, int)), 'trusted'),
    (dict(method='crowd_layer'), 'CrowdLayer reads the labels of several annotators'),
    (dict(method='vote', overrides={'method.weight': 1}), 'method.weight'),
    (dict(evidence=np.full(80, 10)), 'whole numbers from 0 to 9; these go from 10 to 10'),
    (dict(evidence=np.zeros(79, int)), 'The evidence is of 79 examples'),
    (dict(truth=np.zeros(3, int)), 'truth needs the true labels of the 80 examples'),
    (
      dict(truth=np.full(80, -1)),
      'truth holds true labels of digits, from 0 to 9; it goes from -1',
    ),
    (dict(truth=np.full(80, 10)), 'it goes from 10 to 10'),
    (dict(evidence=[[0], [0, 1]]), 'evidence cannot be made one array'),
    (dict(validation='some'), 'validation is a share .* it is a str'),
    (dict(validation=(1, 2, 3)), 'validation is a share .* it is a tuple'),
    (dict(validation=True), 'validation is a share .* it is a bool'),
    (dict(validation=1.5), 'validation_share is 1.5'),
    (dict(validation=0.999), 'validation share of 0.999 holds out 80 of 80 examples'),
    (
      dict(validation=(np.zeros((2, 8, 8, 1)), [0, 1])),
      'validation examples must be too; they are',
    ),
    (dict(model='mlpp'), "no model 'mlpp'"),
    (dict(seeds=0), 'seeds is 0; it must be at least 1'),
    (dict(overrides={'learning.recipe': 'ccc61'}), "no recipe 'ccc61'; did you mean 'ccc60'"),
    (dict(overrides={'learning.train_images': 99}), 'learning.train_images is 99'),
    ({'overrides': {'data.image_size': 16}}, 'data.image_size says how images are loaded'),
  ],
)
def test_a_mistake_ends_in_one_sentence(changes, message, digits):
  with pytest.raises(UserError, match=message):
    fit(digits, **changes)


@pytest.mark.parametrize('use', ['test', 'trusted', 'validation'])
@pytest.mark.parametrize(
  'change, message',
  [
    (lambda one: one.images, 'must be too; they are ndarray'),
    (lambda one: dataclasses.replace(one, images=one.images[:, :4]), 'are not of one kind'),
    (
      lambda one: dataclasses.replace(one, class_names=tuple('abcdefghij')),
      'have different classes',
    ),
  ],
)
def test_all_sets_go_with_the_training_set(use, change, message, digits):
  train, test = digits
  given = change(train.take(np.arange(10)))
  options = {use: (given, np.arange(10)) if use == 'validation' else given}
  with pytest.raises(UserError, match=f'{use} examples .*{message}'):
    label_noise.fit(train, method='ce', model='mlp', **{'test': test, **options})


@pytest.mark.parametrize(
  'validation, held',
  [(0.25, 20), (np.float32(0.25), 20), (0, 0), (None, 0), ('list', 10), ('pair', 10)],
)
def test_examples_are_held_out_or_handed_over(validation, held, digits, reached):
  val = digits[0].take(np.arange(10))
  own = {'list': [val, np.zeros(10, int)], 'pair': (val, np.zeros(10, int))}
  with pytest.raises(InterruptedError):
    fit(digits, validation=own.get(validation, validation) if held else validation)
  (work,) = reached
  assert (0 if work.validation is None else len(work.validation)) == held
  assert len(work.train) == 80 - (held if held == 20 else 0)
  if held == 10:
    assert not work.validation.labels.any()


def test_a_crowd_with_names_is_brought_into_the_order_of_the_set(digits, reached, tmp_path):
  """As a file has them, in the order of the alphabet."""
  names = tuple('jihgfedcba')
  train, test = (dataclasses.replace(one, class_names=names) for one in digits)
  said = Crowd.from_labels(train.labels, classes=names)
  said.to_csv(tmp_path / 'said.csv')
  read = Crowd.from_csv(tmp_path / 'said.csv')
  assert read.names.classes == names[::-1]
  with pytest.raises(InterruptedError):
    fit((train, test), read, validation=(train, read))
  np.testing.assert_array_equal(reached[0].train.labels, train.labels)
  np.testing.assert_array_equal(reached[0].validation.labels, train.labels)


def test_sets_that_are_scored_by_a_matrix_have_some_label():
  some, none = (
    data.MultiLabelled(np.eye(4), np.eye(4, 2)),
    data.MultiLabelled(np.eye(4), np.zeros((4, 2))),
  )
  for words, evidence, test, fields in (
    ('4 training examples', none.labels, some, {}),
    ('4 test examples', None, none, {}),
    ('4 held-out examples', None, some, {'validation': (some, none.labels)}),
    ('4 rows of true labels', None, some, {'truth': none.labels}),
  ):
    with pytest.raises(UserError, match=f'None of the {words} of arrays has any label'):
      label_noise.fit(some, evidence, test, 'bce', **{'validation': None, **fields})


def test_a_matrix_of_labels_may_be_a_nested_list():
  many = data.MultiLabelled([[0.0], [2.0], [5.0]], [[0, 1], [1, 1], [0, 0]])
  observed = making.handed(many, [[1, 1], [0, 1], [1, 0]], [[0, 1], [1, 1], [0, 0]])
  assert observed.evidence.matrix.tolist() == [[1, 1], [0, 1], [1, 0]]
  assert observed.truth.tolist() == [[0, 1], [1, 1], [0, 0]]
  for evidence, truth, message in (
    ([[1, 2], [0, 1], [1, 0]], None, 'that of input 0 for class 1 is 2'),
    ([[0, 1], [1], [0]], None, 'labels cannot be made one array'),
    (None, [[0, 1], [1, 3], [0, 0]], 'from 0 to 1; it goes from 0 to 3'),
    (None, [[0, 1], [1], [0]], 'truth cannot be made one array'),
  ):
    with pytest.raises(UserError, match=message):
      making.handed(many, evidence, truth)


@pytest.mark.parametrize(
  'methods, reference', [(['elr', 'co_teaching'], 'elr'), (['elr', 'ce'], 'ce')]
)
def test_methods_are_compared_with_the_one_that_the_table_has(
  methods, reference, digits, monkeypatch
):
  monkeypatch.setattr(fitting.learning, 'run_all', lambda *run, **options: Ran([], {}, {}))
  compared = label_noise.compare(digits[0], None, digits[1], methods, 'mlp', seeds=2)
  assert compared.reference == reference


def test_a_phase_on_the_trusted_examples_has_a_schedule_of_their_number(
  digits, crowd, reached, monkeypatch
):
  trusted = digits[0].take(np.arange(20))
  with pytest.raises(InterruptedError):
    fit(digits, crowd, trusted=trusted)
  sizes = []
  schedule = lambda recipe, images, num_steps=0: sizes.append(images) or (lambda step: 0.1)
  monkeypatch.setattr(Recipe, 'learning_rate', schedule)
  setting = reached[0].setting
  sizes.clear()
  setting.optimizer(3)
  setting.optimizer(3, on='trusted')
  assert sizes == [72, 20]


def networks(shape, classes=2):
  """Networks that answer with the mean of an example, without any training."""
  form = trained.Form(tuple(map(str, range(classes))), shape)
  answer = lambda variables, images: jax.numpy.tile(
    images.reshape(len(images), -1).mean(1)[:, None] * variables['params']['net'], (1, classes)
  )
  variables = {'params': {'net': np.ones(1, np.float32)}}
  return trained.of_networks(answer, variables, form, (0.0,) * shape[2], (1.0,) * shape[2])


def test_images_are_bytes_or_in_the_unit_range():
  answering, images = networks((2, 2, 1)), np.full((3, 2, 2, 1), 51, np.uint8)
  for same in (images, images / 255, (images / 255).astype(np.float32)):
    np.testing.assert_allclose(answering.probabilities(same), 0.2, rtol=1e-6)
  for other in (
    images.astype(int),
    images.astype(np.float32),
    np.full((3, 2, 2, 1), np.nan),
    images > 0,
    images[:, :1],
    images[:0],
  ):
    with pytest.raises(UserError, match='take images .n, 2, 2, 1., uint8 or floats in .0, 1.; got'):
      answering.predict(other)


def test_vectors_are_any_numbers():
  answering, features = networks((1, 1, 2)), np.array([[200, 100]])
  for same in (features, features.astype(np.uint8), features * 1.0, features[:, None, None] * 1.0):
    np.testing.assert_allclose(answering.probabilities(same), 150)
  with pytest.raises(UserError, match='take vectors of 2 numbers'):
    answering.predict(features[:, :1])


def test_what_is_no_set_is_refused():
  with pytest.raises(UserError, match='needs examples as a Dataset'):
    label_noise.fit(np.zeros((3, 2)), np.zeros(3, int))


class _Stopped(Exception):
  """Before any network is trained."""


@pytest.mark.parametrize('given', [['vote', 3], 5, 'vote'])
def test_methods_to_compare_are_a_list_of_names(given, digits):
  with pytest.raises(UserError, match=r"methods is a list of names, such as \['vote', 'ccc'\]"):
    label_noise.compare(digits[0], methods=given)


def test_one_class_is_refused(digits):
  one = dataclasses.replace(digits[0], labels=np.zeros(80, int), class_names=('only',))
  with pytest.raises(UserError, match='digits has one class'):
    label_noise.fit(one, method='ce', model='mlp')


def test_a_work_dir_knows_its_evidence(digits, crowd, tmp_path, monkeypatch):
  def stop(*arguments, **fields):
    raise _Stopped

  monkeypatch.setattr(learning.running, 'learn_all', stop)
  truth = digits[0].labels
  given = {'workdir': tmp_path, 'truth': truth, 'trusted': digits[0].take(np.arange(20))}
  for _ in range(2):  # the same goes on
    with pytest.raises(_Stopped):
      fit(digits, crowd, **given)
  # Other annotators said the same of every example.
  renamed = dataclasses.replace(crowd, annotator=(crowd.annotator + 1) % crowd.num_annotators)
  for evidence, changed, words in (
    (renamed, {}, 'evidence has changed since'),
    (crowd, {'truth': None}, 'truth: no longer there'),
    (crowd, {'trusted': digits[0].take(np.arange(10))}, 'trusted images: 20 -> 10'),
  ):
    with pytest.raises(UserError, match=words):
      fit(digits, evidence, **{**given, **changed})
