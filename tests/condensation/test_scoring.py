"""How sets are scored, and scores that several runs share: found again by all that decides
them."""

import dataclasses

import numpy as np
import pytest

from jaxdistill import data
from jaxdistill.condensation import Condensed, baselines, evaluation, protocols, scoring
from jaxdistill.condensation.baselines import Storage
from jaxdistill.condensation.protocols import Protocol
from jaxdistill.condensation.sections import Evaluation
from jaxdistill.experiment import kept
from jaxdistill.training.run import Run


def test_scores_are_read_only_where_everything_is_the_same(tmp_path, capsys):
  images, other = (
    Condensed(np.full((2, 2, 2, 1), value, np.float32), [0, 1], ('a', 'b'), (0.0,), (1.0,))
    for value in (0.5, 0.25)
  )
  computed = []

  def once(images, test=images, **options):
    return kept.once(
      Run(progress=False),
      str(tmp_path),
      scoring.identity(images, test, None, options),
      lambda: computed.append(1) or {'n': 1},
    )

  assert once(images, seed=0) == once(images, seed=0) and len(computed) == 1
  once(images, seed=1), once(other, seed=0), once(images, other, seed=0)
  assert len(computed) == 4 == len(list(tmp_path.iterdir()))
  for path in tmp_path.iterdir():
    path.write_text('{')
  assert (
    once(images, seed=0)['n'] == 1 and len(computed) == 5 and 'damaged' in capsys.readouterr().out
  )


def test_the_key_of_a_row_is_that_of_earlier_versions(plain):
  """Rows that earlier versions left in a shared folder are found."""
  train, test = data.load('digits', image_size=8)
  protocol = Protocol(
    'dm', 2, seed=3, model={'name': 'mlp', 'width': 4}, steps=12, checks=2, search_on=''
  )
  key = scoring.identity(train.take(range(20)), test.take(range(50)), None, protocol.described())
  assert key == '99891986f319c833'


@pytest.mark.parametrize(
  'recipe, epochs, checks',
  [
    ('idc', 0, 4),
    ('idc', 1500, 6),  # DANCE: every 250
    ('idc_mnist', 1500, 6),
    ('idc_imagenet', 1500, 4),  # IDC's ImageNet at 11 to 50 images a class
    ('dm', 0, 6),
  ],
)
def test_idc_has_four_checks_where_dance_has_six(recipe, epochs, checks):
  few = Condensed(np.zeros((2, 8, 8, 1)), [0, 1], ('a', 'b'), (0.0,), (1.0,))
  section = Evaluation(recipe, epochs=epochs)
  protocol = scoring.protocol(section, few, seed=0, model={}, dtype='float32')
  assert protocol.checks == protocol.described()['checks'] == checks


@pytest.mark.parametrize(
  'ipc, factor, data, recipe, given, epochs',
  [
    (50, 2, 'cifar10', 'idc', 0, 400),
    (50, 2, 'cifar100', 'idc', 0, 400),
    (50, 2, 'cifar10', 'idc', 700, 700),
    (50, 1, 'cifar10', 'idc', 0, 0),
    (49, 2, 'cifar10', 'idc', 0, 0),
    (50, 2, 'svhn_cropped', 'idc', 0, 0),
    (50, 2, 'cifar10', 'dm', 0, 0),
  ],
)
def test_a_densenet_trains_for_400_epochs_on_large_sets(ipc, factor, data, recipe, given, epochs):
  images = np.zeros((2 * ipc, 8, 8, 1), np.float32)
  made = Condensed(images, np.arange(2 * ipc) % 2, ('a', 'b'), (0.0,), (1.0,), factor=factor)
  section = Evaluation(recipe, epochs=given)
  of = dict(seed=0, dtype='float32', data=data)
  densenet = scoring.protocol(section, made, model={'name': 'densenet'}, **of)
  other = scoring.protocol(section, made, model={'name': 'convnet'}, **of)
  assert (densenet.epochs, other.epochs) == (epochs, given)


def test_imagenets_epochs_follow_the_decoded_images():
  of = dict(seed=0, model={}, dtype='float32', data='imagenet224:x')
  for classes, recipe, factor, epochs in (
    (2, 'idc_imagenet', 1, 2000),
    (2, 'idc_imagenet', 3, 1500),
    (100, 'idc_imagenet100', 3, 1000),
    (20, 'idc_imagenet100', 3, 1000),  # a step on the way to a hundred
    (200, 'idc_imagenet100', 3, 1500),
  ):
    names, labels = tuple(map(str, range(classes))), np.arange(3 * classes) % classes
    images = np.zeros((3 * classes, 6, 6, 3), np.float32)
    made = Condensed(images, labels, names, (0.0,) * 3, (1.0,) * 3, factor=factor)
    assert scoring.protocol(Evaluation(recipe), made, **of).epochs == epochs
    assert scoring.protocol(Evaluation(recipe, epochs=7), made, **of).epochs == 7


@pytest.mark.parametrize(
  'every, steps, factor, checks',
  [
    (0, 200, 1, 6),  # six where nothing is said
    (50, 200, 1, 4),
    (30, 200, 1, 6),  # evenly spread, so that they come a little later than asked for
    (300, 200, 1, 1),
    (10, 0, 1, 30),  # 300 epochs of one batch of 20 images
    (10, 0, 3, 60),  # 180 images: two batches of 128
  ],
)
def test_a_check_every_so_many_steps_gives_their_number(every, steps, factor, checks):
  images = Condensed(
    np.zeros((20, 6, 6, 1), np.float32),
    np.arange(20) % 2,
    ('a', 'b'),
    (0.0,),
    (1.0,),
    factor=factor,
  )
  section = Evaluation('ddranking', epochs=300, steps=steps, every=every)
  protocol = scoring.protocol(section, images, seed=0, model={'name': 'mlp'}, dtype='float32')
  assert protocol.checks == checks


def test_real_images_train_for_their_own_epochs_without_a_search():
  train, _ = data.load('digits', image_size=8)
  section = Evaluation('ddranking', epochs=5, whole_epochs=7)
  few = Condensed(np.zeros((2, 8, 8, 1)), [0, 1], ('a', 'b'), (0.0,), (1.0,))
  real, condensed = (
    scoring.protocol(section, images, seed=0, model={}, dtype='float32') for images in (train, few)
  )
  assert (real.epochs, real.search_on, real.rates) == (7, '', ())
  assert (condensed.epochs, condensed.search_on) == (5, 'validation') and len(condensed.rates) == 5


def test_a_start_from_a_mix_needs_an_image_for_every_cell():
  assert Storage(2, factor=3, init='mix').needed([]) == 18
  assert Storage(2, factor=3, init='real').needed(['herding', 'whole']) == 2
  assert Storage(2, factor=3, init='noise').needed(['herding_mix']) == 18


SMALL = {'name': 'mlp', 'width': 4}
NORMED = {'name': 'convnet', 'width': 2, 'depth': 1, 'norm': 'batch'}


@pytest.mark.parametrize(
  'options, names',
  [
    (dict(recipe='dm', steps=12), []),
    (dict(recipe='dm', epochs=5), ['steps', 'drops']),
    (dict(recipe='idc', epochs=7), ['steps', 'drops']),
    (dict(recipe='idc', epochs=6), []),  # two thirds and five sixths of six epochs are whole ones
    (dict(recipe='idc', steps=2, model=NORMED), ['statistics']),
    (dict(recipe='idc', steps=1, model=NORMED), []),  # over before the short batch
    (dict(recipe='dm', steps=9, model=NORMED), []),  # one batch holds all
    (dict(recipe='ddranking', epochs=8, whole=True), ['whole']),
    (dict(recipe='ddranking', epochs=8), []),
  ],
)
def test_rules_name_what_is_decided_otherwise_than_in_the_first_version(options, names):
  train, test = data.load('digits', image_size=8)
  protocol = Protocol(**{'networks': 1, 'model': SMALL, **options})
  assert list(evaluation.rules(train.take(range(70)), test, protocol)) == names


def test_scores_by_other_rules_are_not_taken_for_those_of_today(tmp_path, monkeypatch, capsys):
  """A work dir and a folder of rows that an earlier version left, where the recipe's epochs
  changed: the row is computed anew, in a file and under a key of its own."""
  train, test = data.load('digits', image_size=8)
  contestant = scoring.Contestant('random', 'Random', train.take(range(20)))
  test = test.take(range(30))
  rows = tmp_path / 'rows'

  def row(epochs):
    protocol = Protocol('dm', 1, model=SMALL, epochs=epochs, checks=1, augment=False)
    with Run(tmp_path / 'run', progress=False, tensorboard=False) as run:
      return scoring.row(run, contestant, protocol, test, rows=str(rows))

  with monkeypatch.context() as patch:  # the first version
    patch.setattr(evaluation, 'rules', lambda *_: {})
    recipe = dataclasses.replace(
      protocols.RECIPES['dm'], drop_at_epochs=False, drop_delay=0, extra_epochs=0
    )
    patch.setitem(protocols.RECIPES, 'dm', recipe)
    old = row(epochs=4)
  capsys.readouterr()
  new = row(epochs=4)
  assert (old['steps'], new['steps']) == (4, 5) and old['key'] != new['key']
  assert 'computed by other rules is computed anew' in capsys.readouterr().out
  assert len(list(rows.iterdir())) == 2
  again = row(epochs=4)
  assert again.to_json() == new.to_json() and 'anew' not in capsys.readouterr().out


def test_random_images_are_drawn_anew_for_each_network_where_the_recipe_says_so():
  train, _ = data.load('digits', image_size=8)
  storage = Storage(ipc=2, factor=2)

  def sets(recipe):
    section = Evaluation(recipe, networks=3)
    with Run(progress=False) as run:
      select = scoring.selector(storage, section, 7, train, run, lambda: None)
      names = ['random', 'mix', 'whole']
      return {
        one.name: one.images for one in scoring.baseline_sets(names, train, storage, recipe, select)
      }

  usual, anew = sets('idc'), sets('ddranking')
  assert isinstance(anew['random'], baselines.Draws) and len(anew['mix'].sets) == 3
  assert anew['whole'] is train
  np.testing.assert_array_equal(anew['random'].sets[0].images, usual['random'].images)
  first, second, third = (one.images for one in anew['random'].sets)
  assert not np.array_equal(first, second) and not np.array_equal(second, third)
  one = Evaluation('ddranking', epochs=20)
  protocol = scoring.protocol(one, anew['random'], seed=0, model={}, dtype='float32')
  assert protocol.checks == 2 and len(protocol.rates) == 5 and not protocol.whole
