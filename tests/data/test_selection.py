"""Data selection against plain numpy in float64, one class at a time."""

import time

import jax
import numpy as np
import pytest

from jaxdistill.data import selection
from jaxdistill.errors import UserError

COUNTS = (23, 17, 30)
KEY = jax.random.key(3)


@pytest.fixture(scope='module')
def classes():
  """Features and labels of three classes, the images of a class scattered over the set."""
  rng = np.random.default_rng(0)
  labels = rng.permutation(np.repeat(np.arange(3), COUNTS))
  return rng.normal(5, 2, (len(labels), 6)).astype(np.float32) * (1 + labels[:, None]), labels


def herding(features, number):
  """As the paper writes it: the nearest to (k + 1) mean - sum of the picked."""
  features, picked = features.astype(np.float64), []
  for k in range(number):
    target = (k + 1) * features.mean(0) - features[picked].sum(0)
    distance = ((features - target) ** 2).sum(1)
    distance[picked] = np.inf
    picked.append(int(distance.argmin()))
  return picked


def kcenter(features, number):
  features = features.astype(np.float64)
  picked = [int(((features - features.mean(0)) ** 2).sum(1).argmin())]
  while len(picked) < number:
    nearest = np.min([((features - features[p]) ** 2).sum(1) for p in picked], 0)
    nearest[picked] = -1
    picked.append(int(nearest.argmax()))
  return picked


@pytest.mark.parametrize('name, reference', [('herding', herding), ('kcenter', kcenter)])
@pytest.mark.parametrize('number', [1, 17])
def test_greedy_methods_equal_numpy(classes, name, reference, number):
  features, labels = classes
  picks = selection.select(name, features, labels, number, KEY)
  for label in range(3):
    members = np.flatnonzero(labels == label)
    assert picks[label].tolist() == members[reference(features[members], number)].tolist()


def test_herding_keeps_the_mean_where_a_random_choice_does_not(classes):
  features, labels = classes
  away = {}
  for name in ('herding', 'random'):
    picks = selection.select(name, features, labels, 8, KEY)
    away[name] = np.mean(
      [
        np.linalg.norm(features[p].mean(0) - features[labels == c].mean(0))
        for c, p in enumerate(picks)
      ]
    )
  assert away['herding'] < 0.3 * away['random']


def test_kcenter_leaves_no_image_far_from_a_picked_one(classes):
  features, labels = classes

  def radius(name):
    picks = selection.select(name, features, labels, 8, KEY)
    return max(
      ((features[labels == c][:, None] - features[p][None]) ** 2).sum(-1).min(1).max()
      for c, p in enumerate(picks)
    )

  assert radius('kcenter') < radius('random') and radius('kcenter') < radius('herding')


def test_kmeans_picks_the_image_nearest_the_middle_of_each_cluster():
  centres = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 80.0]])
  sizes = (5, 9, 7)
  rng = np.random.default_rng(1)
  features = np.concatenate(
    [centre + rng.normal(size=(size, 2)) for centre, size in zip(centres, sizes)]
  )
  expected = []
  for start, size in sorted(
    zip((0, 5, 14), sizes), key=lambda cluster: -cluster[1]
  ):  # the largest chooses first
    members = features[start : start + size]
    expected.append(start + int(((members - members.mean(0)) ** 2).sum(1).argmin()))
  for seed in range(3):
    assert (
      selection.select('kmeans', features, np.zeros(21, int), 3, jax.random.key(seed))[0].tolist()
      == expected
    )


@pytest.mark.parametrize('name', sorted(selection.METHODS))
def test_every_method_picks_different_images_of_the_class_up_to_all_of_them(classes, name):
  features, labels = classes
  for number in (5, 17):
    picks = selection.select(name, features, labels, number, KEY)
    assert picks.shape == (3, number)
    for label, picked in enumerate(picks):
      assert len(set(picked.tolist())) == number and (labels[picked] == label).all()
    np.testing.assert_array_equal(picks, selection.select(name, features, labels, number, KEY))


@pytest.mark.parametrize('name', ['herding', 'kcenter'])
def test_of_equal_images_the_first_is_picked_and_each_once(name):
  features = np.repeat([[0.0], [4.0], [8.0]], 3, axis=0)
  picks = selection.select(name, features, np.zeros(9, int), 9, KEY)[0].tolist()
  assert sorted(picks) == list(range(9)) and picks[0] == 3
  assert picks[1:3] == {'herding': [4, 5], 'kcenter': [0, 6]}[name]


def test_equal_images_only_can_be_clustered():
  assert sorted(
    selection.select('kmeans', np.ones((4, 2)), np.zeros(4, int), 4, KEY)[0].tolist()
  ) == [0, 1, 2, 3]


def test_random_follows_the_key_alone():
  labels = np.repeat([0, 1], 50)
  draw = lambda seed: selection.select('random', None, labels, 10, jax.random.key(seed))  # noqa: E731
  assert draw(0).tolist() == draw(0).tolist() != draw(1).tolist()
  assert draw(0)[0].tolist() != (draw(0)[1] - 50).tolist()


def test_classes_of_all_sizes_share_one_program(classes):
  features, labels = classes
  selection.herding.clear_cache()
  selection.select('herding', features, labels, 4, KEY)
  assert selection.herding._cache_size() == 1


def test_a_large_class_takes_no_python_loop_over_images():
  features = np.random.default_rng(0).random((5000, 256), np.float32)
  for name in ('herding', 'kcenter'):
    selection.select(name, features, np.zeros(5000, int), 50, KEY)  # compiles
    started = time.process_time()
    selection.select(name, features, np.zeros(5000, int), 50, KEY)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(name='herdin'), "no selection method 'herdin'; did you mean 'herding'"),
    (dict(number=4), "4 images a class cannot be selected: class 'dog' has 3"),
    (dict(number=0), 'At least one image'),
    (dict(features=None), "'herding' compares features, and none were given"),
    (
      dict(features=np.zeros((4, 2))),
      r'features \[n, d\] and labels \[n\]; got \(4, 2\) and \(8,\)',
    ),
    (dict(class_names=('cat', 'dog', 'owl')), "class 'owl' has 0"),
  ],
)
def test_what_cannot_be_selected_is_refused(changes, message):
  arguments = (
    dict(
      name='herding',
      features=np.zeros((8, 2)),
      labels=np.repeat([0, 1], [5, 3]),
      number=3,
      class_names=('cat', 'dog'),
    )
    | changes
  )
  with pytest.raises(UserError, match=message):
    selection.select(**arguments, key=KEY)
