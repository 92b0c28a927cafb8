"""Evaluation recipes and what they report."""

import dataclasses
import types

import jax
import numpy as np
import own_network
import pytest

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.condensation import baselines, evaluation, protocols
from jaxdistill.data import statistics
from jaxdistill.errors import UserError
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.run import Run
from jaxdistill.training.schedules import Schedule

SMALL = {'name': 'mlp', 'width': 8, 'depth': 1}
RATES = (0.001, 0.01, 0.1)


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
  assert (dm.drop_at_epochs, dm.drop_delay, dm.extra_epochs) == (True, 2, 1)
  assert (idc.drop_at_epochs, idc.drop_delay, idc.extra_epochs) == (True, 0, 0)
  dd = protocols.find_recipe('ddranking')
  assert dd.optimizer == sgd and (dd.batch, dd.epochs, dd.cutmix) == (128, 1000, 0)
  assert (dd.schedule.drops, dd.schedule.drop) == ((0.5,), 0.1)
  assert dd.composition == 'dm' and protocols.SEARCHED == {
    'ddranking': (0.001, 0.005, 0.01, 0.05, 0.1)
  }


def test_ddranking_trains_the_whole_set_plain():
  whole = protocols.find_recipe('ddranking', epochs=200, whole=True)
  usual = protocols.find_recipe('ddranking', epochs=200)
  assert (whole.batch, whole.strategy, whole.cutmix) == (256, '', 0)
  assert whole.boundaries(1000) == (400,)  # the rate drops behind 100 epochs of four steps
  assert dataclasses.replace(whole, batch=usual.batch, strategy=usual.strategy) == usual
  assert protocols.find_recipe('dm', whole=True) == protocols.find_recipe('dm')
  protocol = protocols.Protocol('ddranking', whole=True)
  assert protocol.rates == () and protocols.Protocol('ddranking').rates


@pytest.mark.parametrize(
  'recipe, lengths, checks',
  [
    ('ddranking', {}, 100),
    ('ddranking', dict(epochs=200), 20),
    ('ddranking', dict(epochs=4), 1),
    ('ddranking', dict(steps=200), 6),
    ('ddranking', dict(checks=3), 3),
    ('dm', {}, 6),
    ('idc', dict(epochs=200), 4),
  ],
)
def test_ddranking_checks_every_ten_epochs(recipe, lengths, checks):
  assert protocols.Protocol(recipe, **lengths).checks == checks


def test_ddrankings_statistics_are_idcs():
  normalisations = {
    recipe: configs.load(f'evaluate:cifar100,recipe={recipe}').data.normalisation
    for recipe in ('idc', 'dm', 'ddranking')
  }
  assert normalisations == {'idc': 'idc', 'dm': 'dm', 'ddranking': 'idc'}
  assert statistics.choose('cifar100', np.zeros((1, 2, 2, 3), np.uint8), 'idc')[0] == (
    (0.4914, 0.4822, 0.4465)
  )


def test_every_network_learns_from_a_draw_of_its_own(digits, monkeypatch):
  monkeypatch.setitem(protocols.SEARCHED, 'ddranking', RATES)
  train, test = digits
  sets = [baselines.make('random', train, ipc=2, seed=seed) for seed in (0, 1)]
  protocol = protocols.Protocol('ddranking', 2, seed=5, model=SMALL)
  problem = evaluation.setup(baselines.Draws(tuple(sets)), test, protocol)
  assert problem.epoch_steps == 1 and problem.num_steps == 1000
  key = jax.random.wrap_key_data(problem.state.key)
  drawn = jax.jit(problem.source.sample)(problem.source.data, key, 0)
  assert drawn['images'].shape[:2] == (6, 20)  # three learning rates of two networks each
  for number, shown in enumerate(np.asarray(drawn['images'])):
    own = sets[number % 2].decode()[0]
    np.testing.assert_allclose(np.sort(shown, 0), np.sort(own, 0), atol=1e-6)
  with pytest.raises(UserError, match='2 sets were drawn for 3 networks'):
    evaluation.setup(baselines.Draws(tuple(sets)), test, dataclasses.replace(protocol, networks=3))
  with pytest.raises(UserError, match='sets of one form'):
    baselines.Draws((sets[0], baselines.make('random', train, ipc=3)))


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
    made,
    test,
    seeds=2,
    steps=3,
    checks=1,
    model=SMALL,
    validation=train.take(range(40)),
    augment=False,
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
    augment=False,
  )
  with Run(progress=False) as work, pytest.MonkeyPatch.context() as patch:
    patch.setitem(protocols.SEARCHED, 'ddranking', RATES)
    scores = evaluation.evaluate(train.take(range(60)), test, run=work, **options)
    history = work.history('evaluate')
  return scores, [
    np.array([record[f'{split}_accuracies'] for record in history]).reshape(4, 3, 2)
    for split in ('test', 'validation')
  ]


def test_the_learning_rate_is_the_one_that_held_out_images_choose_for_every_network(searched):
  scores, (on_test, on_validation) = searched
  for network in range(2):
    rate = on_validation[:, :, network].max(0).argmax()
    check = on_validation[:, rate, network].argmax()
    assert scores['learning_rates'][network] == RATES[rate]
    assert scores['last']['values'][network] == on_test[-1, rate, network]
    assert scores['selected']['values'][network] == on_test[check, rate, network]
    assert scores['best_test']['values'][network] == on_test[:, rate, network].max()
  assert len(set(on_test[-1, :, 0])) > 1  # the rates lead to different networks
  curve = scores['curve']
  assert curve['steps'] == [10, 20, 30, 40]
  # The end of the curve is the column 'last', spread and all.
  for name in ('mean', 'std'):
    assert curve[name][-1] == pytest.approx(scores['last'][name], abs=1e-6)
  assert curve['std'][-1] > 0


def test_a_choice_on_the_test_set_takes_the_highest_of_all_checks(searched):
  on_test = searched[1][0]
  flat = on_test.reshape(4, -1)
  best = evaluation.choose(flat, len(RATES))
  np.testing.assert_array_equal(flat[:, best].max(0), on_test.max((0, 1)))


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
    dict(seeds=1, steps=300, checks=1, model={'name': 'mlp', 'width': 64}, augment=False),
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


def test_a_network_is_given_by_its_name_too(digits, monkeypatch):
  train, test = digits
  monkeypatch.setattr(evaluation, 'score', lambda images, test, protocol, **options: protocol)
  assert evaluation.evaluate(train, test, model='mlp').model == {'name': 'mlp'}
  assert evaluation.evaluate(train, test, model=SMALL).model == SMALL
  assert evaluation.evaluate(train, test).model is None
  for wrong, words in (
    ('mlpp', "There is no model 'mlpp'; did you mean 'mlp'"),
    ({'width': 8}, 'A model needs a name'),
    (8, 'A network is given by its name, or by fields .*; got 8'),
  ):
    with pytest.raises(UserError, match=words):
      evaluation.evaluate(train, test, model=wrong)


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
    (dict(run='runs/mine'), "run is an open run .*; got 'runs/mine'"),
    (dict(augmnt=False), "no argument of evaluate 'augmnt'; did you mean 'augment'"),
    (dict(recipe='ddranking'), 'searches the learning rate on held-out images: give some'),
  ],
)
def test_numbers_are_checked(digits, arguments, words):
  with pytest.raises(UserError, match=words):
    evaluation.evaluate(*digits, **arguments)


@pytest.mark.parametrize('wrong', [None, 'm3d.npz', np.zeros((2, 8, 8, 1))])
def test_what_is_no_set_is_refused(digits, wrong):
  train, test = digits
  with pytest.raises(UserError, match='evaluate takes a condensed set .*; got'):
    evaluation.evaluate(wrong, test)
  with pytest.raises(UserError, match='and the test images as a Dataset; got'):
    evaluation.evaluate(train, wrong)


def test_the_two_sets_must_fit_each_other(digits):
  train, test = digits
  with pytest.raises(UserError, match='images of 8x8x1 and the test set of 16x16x1'):
    evaluation.evaluate(train, data.load('digits')[1])
  with pytest.raises(UserError, match='The set knows 10 classes and the test set 2'):
    evaluation.evaluate(train, data.Dataset(test.images[:2], np.array([0, 1])))


@pytest.mark.parametrize('evaluate', [evaluation.evaluate, evaluation.cross_architecture])
def test_validation_images_must_be_like_the_test_images(digits, evaluate):
  train, test = digits
  few = train.take(range(20))
  for validation, words in (
    (few.images, 'test images are Dataset, and validation images must be too; they are ndarray'),
    (
      data.load('digits')[0],
      r'\[8, 8, 1\] and validation images \[16, 16, 1\] are not of one',
    ),
    (train.take_classes([0, 1]), r'test and validation images have different classes \(10 and 2'),
    (train.take_classes(range(9, -1, -1)), r'have different classes \(10 and 10, or other names'),
  ):
    with pytest.raises(UserError, match=words):
      evaluate(few, test, validation=validation)
  with pytest.raises(UserError, match='and the test images as a Dataset; got Dataset and ndarray'):
    evaluate(few, test.images)


@pytest.mark.slow
def test_a_phase_that_was_stopped_is_not_gone_on_with_under_other_settings(
  digits, tmp_path, monkeypatch, capsys
):
  train, test = digits
  few, test = train.take(range(60)), test.take(range(50))
  options = dict(seeds=1, steps=4, checks=4, model=SMALL)
  with Run(progress=False) as run:
    expected = evaluation.evaluate(few, test, 'dm', run=run, **options)
  log = Run.log

  def stopped(self, phase, step, *rest, **more):
    log(self, phase, step, *rest, **more)
    if step == 2:
      raise KeyboardInterrupt

  def start(recipe):
    with Run(tmp_path, progress=False, tensorboard=False, checkpoint_every=1) as run:
      return evaluation.evaluate(few, test, recipe, run=run, **options)

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(Run, 'log', stopped)
    start('idc')
  capsys.readouterr()
  assert start('dm')['curve'] == expected['curve']
  printed = capsys.readouterr().out
  assert "evaluate: it was begun with other settings (recipe: 'idc' -> 'dm')" in printed
  assert 'continues after' not in printed


def test_a_phase_is_not_gone_on_with_under_another_code_of_the_network(
  digits, tmp_path, monkeypatch, capsys
):
  train, test = digits
  monkeypatch.setattr(evaluation, 'score', lambda *arguments, **options: 'scores')

  def start(factor):
    own_network.register(monkeypatch, factor)
    capsys.readouterr()
    with Run(tmp_path, progress=False, tensorboard=False) as run:
      evaluation.evaluate(train, test, model='mine', run=run)
    return 'evaluate: it was begun with other settings (code: ' in capsys.readouterr().out

  assert [start(factor) for factor in (1, 1, 2)] == [False, False, True]


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
