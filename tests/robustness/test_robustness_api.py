"""Adversarial training in Python: results, pseudo-labels, methods of one's own, what is refused."""

import types

import jax
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data, robustness
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError
from jaxdistill.experiment.running import Ran
from jaxdistill.robustness import learning, methods, sections, standard, trained
from jaxdistill.robustness import work as works
from jaxdistill.robustness.threat import Ball
from jaxdistill.robustness.under_attack import Attacked

SMALL = {
  'model.depth': 1,
  'model.width': 8,
  'robustness.steps': 4,
  'robustness.batch': 16,
  'robustness.checks': 1,
  'robustness.pgd_steps': 3,
}
SHORT = {'at': {'method.attack_steps': 1}, 'rwp': {'method.attack_steps': 1, 'method.ascents': 2}}


@pytest.fixture(scope='module')
def digits():
  train, test = data.load('digits', image_size=8)
  return train.take(np.arange(64)), test.take(np.arange(30))


def fit(digits, method='at', **options):
  given = {'model': 'mlp', 'seeds': 2, 'eps': 0.05, **options}
  overrides = {**SMALL, **SHORT.get(method, {}), **given.pop('overrides', {})}
  return robustness.fit(*digits, method, overrides=overrides, **given)


@pytest.fixture(scope='module')
def result(digits):
  return fit(digits, attacks=('fgsm',))


def test_a_result_has_a_number_a_network(result, digits):
  assert set(result.scores) == {
    *('last', 'best_test', 'clean', 'clean_best', 'train', 'gap', 'drop', 'fgsm', 'worst')
  }
  assert result.robust.shape == result.clean.shape == (2,)
  logits = result.predict(digits[1].images)
  assert logits.shape == (2, 30, 10)
  right = (logits.argmax(-1) == digits[1].labels).mean(1)
  np.testing.assert_allclose(right, result.clean, atol=1e-6)


def test_a_network_is_a_function_that_attacks_take(result, digits):
  images, labels = digits[1].images / np.float32(255), digits[1].labels
  evaluation = robustness.evaluate(result.function(1), images, labels, ['fgsm'], eps=0.05)
  assert evaluation.worst == pytest.approx(result.scores['fgsm'][1], abs=1e-6)
  with pytest.raises(UserError, match='There are 2 networks, from 0; got 2'):
    result.function(2)


def test_networks_side_by_side_are_attacked_as_each_alone(result, digits):
  """And not less than clean, and less with more room."""
  trained = result.trained
  examples = data.examples.Examples.of(digits[1])
  scored = {}
  for eps in (0.0, 0.05, 1.0):
    scored[eps] = Attacked(trained.network, examples, Ball(eps, 'linf'), 3)(trained.variables)
  np.testing.assert_allclose(scored[0.0].robust, scored[0.0].clean)
  np.testing.assert_allclose(scored[0.05].robust, result.robust, atol=1e-6)
  assert (scored[1.0].robust <= scored[0.05].robust).all()
  second = jax.tree.map(lambda leaf: leaf[1:], trained.variables)
  alone = Attacked(trained.network, examples, Ball(0.05, 'linf'), 3)(second)
  np.testing.assert_allclose(alone.robust, result.robust[1:], atol=1e-6)


def test_saved_it_is_the_same(result, digits, tmp_path):
  again = robustness.Result.load(result.save(tmp_path / 'at.msgpack'))
  np.testing.assert_array_equal(again.robust, result.robust)
  np.testing.assert_array_equal(again.predict(digits[1].images), result.predict(digits[1].images))
  (tmp_path / 'other').write_bytes(b'nothing')
  with pytest.raises(UserError, match='holds no result of this library'):
    robustness.Result.load(tmp_path / 'other')


def test_methods_are_compared_seed_by_seed(digits):
  compared = robustness.compare(
    *digits,
    methods=['standard', 'at'],
    model='mlp',
    eps=0.05,
    overrides={**SMALL, 'members.at.attack_steps': 1},
  )
  gain = compared.difference('at', 'standard')
  expected = compared.results['at'].robust - compared.results['standard'].robust
  assert gain.n == 2 and gain.mean == pytest.approx(expected.mean())
  with pytest.raises(UserError, match="no method of this comparison 'rwp'"):
    compared.difference('rwp')


def test_a_comparison_without_at_is_with_what_its_table_has(digits, monkeypatch):
  """Its first method; nothing is trained for it here."""
  scores = {name: columns(seed) for seed, name in enumerate(('standard', 'trades'))}
  monkeypatch.setattr(
    learning, 'run_all', lambda run, work, tell: Ran([], scores, dict.fromkeys(scores))
  )
  given = dict(methods=list(scores), model='mlp', eps=0.05, overrides=SMALL)
  compared = robustness.compare(*digits, **given)
  assert compared.difference('trades') == compared.difference('trades', 'standard')


def columns(seed):
  """Numbers of two networks that nobody has trained."""
  return types.SimpleNamespace(columns={'last': np.random.default_rng(seed).uniform(size=2)})


@pytest.mark.parametrize('name', ['test', 'validation'])
def test_sets_that_do_not_go_together_are_refused_before_training(digits, name, unlike):
  train, test = digits
  change, message = unlike
  sets = {'test': test, 'validation': test, name: change(test)}
  with pytest.raises(UserError, match=message.format(name)):
    robustness.fit(train, model='mlp', **sets)


def test_a_method_of_ones_own_trains(digits):
  robustness.register('plainly', lambda setting, *, weight=1.0: standard.method(setting))
  try:
    mine, shipped = fit(digits, 'plainly'), fit(digits, 'standard')
  finally:
    del methods.METHODS['plainly']
  np.testing.assert_array_equal(mine.robust, shipped.robust)
  close = lambda one, other: np.testing.assert_array_equal(one, other)
  jax.tree.map(close, mine.trained.variables, shipped.trained.variables)


def test_half_of_every_batch_is_pseudo_labelled(digits, tmp_path):
  """With labels that are all one class the networks learn it in half of their images."""
  train, _ = digits
  path = tmp_path / 'made.npz'
  labels = np.zeros(40, int)
  labels[:20] = np.arange(20) % 10
  np.savez(path, images=np.zeros((40, 8, 8), np.uint8), labels=labels)
  options = {'method.over': 'trades', 'method.attack_steps': 1, 'method.ascents': 2}
  with_pseudo, without = (
    fit(digits, 'rwp', overrides={**options, 'robustness.pseudo': pseudo})
    for pseudo in (f'npz:{path}', '')
  )
  blank = np.zeros((1, 8, 8, 1), np.uint8)
  first = [
    result.predict(blank)[:, 0, 0] - result.predict(blank)[:, 0].mean(1)
    for result in (with_pseudo, without)
  ]
  assert (first[0] > first[1]).all()


@pytest.mark.parametrize('order, are_alike', [([1, 0], False), ([0, 1], True), (None, True)])
def test_pseudo_labels_number_the_classes_of_the_training_images(tmp_path, order, are_alike):
  names = np.array(['cat', 'dog'])
  labels = np.arange(8) % 2
  train = Dataset(np.zeros((8, 8, 8, 1), np.uint8), labels, class_names=tuple(names))
  named = {} if order is None else {'class_names': names[order]}
  np.savez(tmp_path / 'made.npz', images=np.zeros((8, 8, 8), np.uint8), labels=labels, **named)
  config = configs.load(f'robustness/at:digits,pseudo=npz:{tmp_path / "made.npz"},images=8')
  config.data.image_size = 8
  fields = sections.of_config(config)
  if are_alike:
    assert len(works.make(fields, train, None, train).pseudo) > 0
    return
  with pytest.raises(UserError, match='made.npz and .* have different classes'):
    works.make(fields, train, None, train)


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(method='rwpp'), "no method of adversarial training 'rwpp'; did you mean 'rwp'"),
    (dict(method=3), 'method is the name of a method, or a .py file; it is 3'),
    (dict(model='mlpp'), "no model 'mlpp'"),
    (dict(eps=8), 'eps is 8.0; it is in units of pixels'),
    (dict(norm='l3'), "no value of norm 'l3'"),
    (dict(eps=np.array([0.1, 0.2])), r'eps is \[0.1 0.2\]; it must be a number from 0 on'),
    (dict(attacks='pgd20'), "attacks is a list of names, such as .*; got 'pgd20'"),
    (dict(model=3), 'A network is given by its name'),
    (dict(overrides={'data.validation_share': 0.2}), 'data.validation_share says how images are'),
    (dict(attacks=('pgd21',)), "no attack 'pgd21'"),
    (dict(seeds=0), 'seeds is 0; it must be at least 1'),
    (dict(over='rst'), 'over=rst fills half of every batch'),
  ],
)
def test_a_mistake_ends_in_one_sentence(changes, message, digits):
  with pytest.raises(UserError, match=message):
    fit(digits, **changes)


class _Stopped(Exception):
  """Before any network is trained."""


def test_a_work_dir_knows_its_validation_images(digits, tmp_path, monkeypatch):
  def stop(*arguments, **fields):
    raise _Stopped

  monkeypatch.setattr(learning.running, 'learn_all', stop)
  held = digits[1].take(np.arange(10))
  for _ in range(2):  # the same goes on
    with pytest.raises(_Stopped):
      fit(digits, validation=held, workdir=tmp_path)
  for other, words in (
    (held.take(np.arange(5)), 'validation images: 10 -> 5'),
    (None, 'no longer'),
  ):
    with pytest.raises(UserError, match=words):
      fit(digits, validation=other, workdir=tmp_path)


def test_images_of_another_unit_are_refused():
  """Nothing is built: only the images are looked at."""
  built = trained.Built({}, ('a', 'b'), (2, 2, 1), (0.5,), (0.5,))
  answering = trained.Trained(built, {'params': np.zeros((1, 3), np.float32)})
  images = np.full((3, 2, 2, 1), 51, np.uint8)
  for other in (images.astype(int), images.astype(np.float32), images / -255.0, images[..., 0]):
    with pytest.raises(UserError, match='take images .n, 2, 2, 1., uint8 or floats in .0, 1.; got'):
      answering.logits(other)
