"""Evaluation recipes and what they report."""

import types

import numpy as np
import pytest

from jaxdistill import data
from jaxdistill.condensation import evaluation, protocols
from jaxdistill.errors import UserError
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.run import Run
from jaxdistill.training.schedules import Schedule

SMALL = {'name': 'mlp', 'width': 8}


@pytest.fixture(scope='module')
def digits():
  return data.load('digits', image_size=8)


def test_recipes_are_those_of_the_published_codes():
  idc, dm = protocols.find_recipe('idc'), protocols.find_recipe('dm')
  sgd = Optimizer('sgd', momentum=0.9, weight_decay=5e-4)
  assert idc.optimizer == dm.optimizer == sgd
  assert (idc.batch, idc.epochs, idc.cutmix, idc.clear_momentum) == (64, 1000, 0.5, False)
  assert idc.schedule == Schedule('multistep', 0.01, drops=(2 / 3, 5 / 6), drop=0.2)
  assert 'cutout' not in idc.strategy  # CutMix is on
  assert (dm.batch, dm.epochs, dm.cutmix) == (256, 1000, 0)
  assert dm.schedule == Schedule('multistep', 0.01, drops=(0.5,), drop=0.1)
  assert dm.clear_momentum and dm.composition == 'dm'
  dd = protocols.find_recipe('ddranking')
  assert dd.optimizer == sgd and (dd.batch, dd.epochs, dd.cutmix) == (128, 1000, 0)
  assert (dd.schedule.drops, dd.schedule.drop) == ((0.5,), 0.1)
  assert dd.composition == 'dm' and protocols.SEARCHED == {
    'ddranking': (0.001, 0.005, 0.01, 0.05, 0.1)
  }


def test_flips_leave_where_they_change_the_label_and_epochs_can_be_set():
  assert 'flip' not in protocols.find_recipe('idc', flip=False).strategy
  assert protocols.find_recipe('idc', epochs=3).steps(128) == 6


def test_unknown_recipe_names_the_nearest():
  with pytest.raises(UserError, match="no evaluation recipe 'icd'; did you mean 'idc'"):
    protocols.find_recipe('icd')


def test_a_condensed_set_is_decoded_and_scored(digits):
  train, test = digits
  rng = np.random.default_rng(0)
  made = Condensed(
    rng.random((10, 8, 8, 1)), np.arange(10), train.class_names, train.mean, train.std, factor=2
  )
  scores = evaluation.evaluate(
    made, test, seeds=2, steps=3, checks=1, model=SMALL, validation=train.take(range(40))
  )
  assert scores['training_images'] == 40 and scores['steps'] == 3
  assert {'last', 'best_test', 'selected'} <= scores.keys()
  assert all(0 <= value <= 1 for value in scores['last']['values'])
  assert scores['best_test']['mean'] >= scores['last']['mean']


@pytest.mark.slow
def test_soft_labels_train_as_hard_ones_where_they_are_sure(digits):
  train, test = digits
  images = np.random.default_rng(0).random((10, 8, 8, 1))

  def losses(labels):
    made = Condensed(images, labels, train.class_names, train.mean, train.std, factor=2)
    with Run(progress=False, log_every=1) as run:
      evaluation.evaluate(made, test, seeds=1, steps=3, checks=1, model=SMALL, run=run)
      return [record['loss'] for record in run.curve('evaluate')]

  sure, unsure = losses(np.eye(10)), losses(np.full((10, 10), 0.1))
  assert sure == losses(np.arange(10)) and len(sure) == 3
  assert not np.allclose(sure, unsure)


@pytest.fixture(scope='module')
def searched(digits):
  train, test = digits
  options = dict(
    recipe='ddranking',
    seeds=2,
    steps=40,
    checks=4,
    model=SMALL,
    validation=train.take(range(600, 800)),
  )
  with Run(progress=False) as work:
    scores = evaluation.evaluate(train.take(range(60)), test, run=work, **options)
    history = work.history('evaluate')
  return scores, [
    np.array([record[f'{split}_accuracies'] for record in history]).reshape(4, 5, 2)
    for split in ('test', 'validation')
  ]


def test_the_learning_rate_is_the_one_that_held_out_images_choose_for_every_network(searched):
  scores, (on_test, on_validation) = searched
  rates = protocols.SEARCHED['ddranking']
  for network in range(2):
    rate = on_validation[:, :, network].max(0).argmax()
    check = on_validation[:, rate, network].argmax()
    assert scores['learning_rates'][network] == rates[rate]
    assert scores['last']['values'][network] == on_test[-1, rate, network]
    assert scores['selected']['values'][network] == on_test[check, rate, network]
    assert scores['best_test']['values'][network] == on_test[:, rate, network].max()
  assert len(set(on_test[-1, :, 0])) > 1  # the rates lead to different networks
  assert scores['curve']['steps'] == [10, 20, 30, 40] and scores['curve']['mean'][
    -1
  ] == pytest.approx(scores['last']['mean'])


def test_a_choice_on_the_test_set_takes_the_highest_of_all_checks(searched):
  on_test = searched[1][0]
  best = evaluation.choose(on_test.reshape(4, 10), 5)
  np.testing.assert_array_equal(on_test.reshape(4, 10)[:, best].max(0), on_test.max((0, 1)))


def test_soft_labels_of_a_hard_label_protocol_are_their_largest(digits):
  train, test = digits
  few = train.take(range(20))
  soft = np.full((20, 10), 0.05, np.float32)
  soft[np.arange(20), few.labels] = 0.55
  made = types.SimpleNamespace(
    images=few.images,
    labels=soft,
    class_names=few.class_names,
    num_classes=10,
    mean=few.mean,
    std=few.std,
    flip=False,
  )
  problems = {
    recipe: evaluation.setup(made, test, protocols.Protocol(recipe, 1, model=SMALL))
    for recipe in ('idc', 'ddranking')
  }
  np.testing.assert_array_equal(problems['ddranking'].source.data['labels'], few.labels)
  np.testing.assert_array_equal(problems['idc'].source.data['labels'], soft)


def test_real_images_teach_more_than_wrong_labels(digits):
  train, test = digits
  few, options = (
    train.take(range(300)),
    dict(seeds=2, steps=300, checks=1, model={'name': 'mlp', 'width': 64}),
  )
  right = evaluation.evaluate(few, test, **options)
  turned = data.Dataset(
    few.images, (few.labels + 1) % 10, few.class_names, mean=few.mean, std=few.std, flip=False
  )
  wrong = evaluation.evaluate(turned, test, **options)
  assert right['last']['mean'] > 0.5 and wrong['last']['mean'] < 0.2


def test_the_network_is_the_papers_unless_another_is_named(digits, monkeypatch):
  built = []
  monkeypatch.setattr(
    evaluation.models,
    'build',
    lambda config, *shape: built.append(config) or (_ for _ in ()).throw(KeyError),
  )
  with pytest.raises(KeyError):
    evaluation.evaluate(digits[0].take(range(20)), digits[1], seeds=1, steps=1)
  assert built == [{'name': 'convnet', 'dtype': 'float32'}]


def test_images_of_another_shape_are_refused(digits):
  made = Condensed(
    np.zeros((10, 4, 4, 3)), np.arange(10), tuple('abcdefghij'), (0.5,) * 3, (0.5,) * 3
  )
  with pytest.raises(UserError, match='images of 4x4x3 and the test set of 8x8x1'):
    evaluation.evaluate(made, digits[1])


@pytest.mark.parametrize(
  'arguments, words',
  [
    (dict(seeds=0), 'needs seeds >= 1'),
    (dict(checks=0), 'checks >= 1'),
    (dict(steps=-1), 'steps >= 0; got 5, 0 and -1'),
    (dict(search_on='vaildation'), "did you mean 'validation'"),
    (dict(augmnt=False), "no argument of evaluate 'augmnt'; did you mean 'augment'"),
    (dict(recipe='ddranking'), 'searches the learning rate on held-out images: give some'),
  ],
)
def test_numbers_are_checked(digits, arguments, words):
  with pytest.raises(UserError, match=words):
    evaluation.evaluate(*digits, **arguments)


def test_the_two_sets_must_fit_each_other(digits):
  train, test = digits
  with pytest.raises(UserError, match='images of 8x8x1 and the test set of 16x16x1'):
    evaluation.evaluate(train, data.load('digits')[1])
  with pytest.raises(UserError, match='The set knows 10 classes and the test set 2'):
    evaluation.evaluate(train, data.Dataset(test.images[:2], np.array([0, 1])))


def test_a_phase_is_not_taken_for_that_of_another_set(digits, tmp_path, monkeypatch):
  train, test = digits
  monkeypatch.setattr(evaluation, 'score', lambda *arguments, **options: 'scores')
  few, others = train.take(range(60)), train.take(range(60, 120))
  with Run(tmp_path, progress=False, tensorboard=False) as run:
    evaluation.evaluate(few, test, run=run)
    assert evaluation.evaluate(few, test, run=run) == 'scores'
    with pytest.raises(UserError, match='other pixels of the scored images'):
      evaluation.evaluate(others, test, run=run)
    with pytest.raises(UserError, match='test images: 359 -> 50'):
      evaluation.evaluate(few, test.take(range(50)), run=run)
    assert evaluation.evaluate(others, test, run=run, name='others') == 'scores'
