"""Distances of condensed sets along a training that took no part in them."""

import numpy as np
import own_network
import pytest

from jaxdistill import data, models
from jaxdistill.condensation import Condensed, drift
from jaxdistill.errors import UserError
from jaxdistill.training import pretrained
from jaxdistill.training.run import Run

MODEL = {'name': 'mlp', 'width': 8}
# The same of all measurements, so that they share a program.
TRAINING = dict(networks=2, steps=60, model=MODEL)


def digits():
  train, _ = data.load('digits', image_size=8)
  return train.take(np.concatenate([train.of_class(label)[:12] for label in range(10)]))


def of(train, images, labels, **fields):
  return Condensed(
    np.asarray(images, np.float32), labels, train.class_names, train.mean, train.std, **fields
  )


def parts(train):
  """The whole set, its first images, and the first images of the next class."""
  images = train.images / np.float32(255)
  first = np.stack([train.of_class(label)[0] for label in range(10)])
  return {
    'all': of(train, images, train.labels),
    'first': of(train, images[first], np.arange(10)),
    'wrong': of(train, images[np.roll(first, -1)], np.arange(10)),
  }


def test_the_whole_set_is_at_no_distance_and_images_of_other_classes_move_away():
  train = digits()
  found = drift.along_training(parts(train), train, checks=3, **TRAINING)
  assert found.steps.tolist() == [0, 20, 40, 60] and list(found.distance) == [
    'all',
    'first',
    'wrong',
  ]
  np.testing.assert_allclose(found.distance['all'], 0, atol=1e-8)
  assert (found.distance['first'] < found.distance['wrong']).all()
  # One image is as far from the mean of its class as the images are on average, or nearly.
  relative = found.relative()
  assert (
    0.5 < relative['first'].min()
    and relative['first'].max() < 2
    and relative['wrong'][-1] > relative['wrong'][0]
  )


def embedded(images, mean, std, layers, k):
  """The embedding of the k-th perceptron, float64 [n, 8]."""
  x = ((images.astype(np.float64) - mean) / std).reshape(len(images), -1)
  for layer in (layers['linear1'], layers['linear2']):
    x = np.maximum(x @ np.float64(layer['kernel'][k]) + np.float64(layer['bias'][k]), 0)
  return x


def test_distances_are_those_of_a_plain_reference():
  """Before the first step, where the networks are those that the same seed draws."""
  train = digits()
  one = parts(train)['first']
  found = drift.along_training({'first': one}, train, checks=1, per_class=5, seed=7, **TRAINING)
  layers = pretrained.setup(
    models.build(MODEL, 10, (8, 8, 1)), train, pretrained.Wanted(2, steps=60), seed=7
  ).state.variables['params']
  first_five = np.concatenate([train.of_class(label)[:5] for label in range(10)])
  distances, spreads = [], []
  for k in range(2):
    real = embedded(train.images[first_five] / 255, train.mean[0], train.std[0], layers, k).reshape(
      10, 5, -1
    )
    gap = embedded(one.images, train.mean[0], train.std[0], layers, k) - real.mean(1)
    distances.append((gap**2).sum(1).mean())
    spreads.append(((real - real.mean(1, keepdims=True)) ** 2).sum(2).mean())
  np.testing.assert_allclose(found.distance['first'][0], np.mean(distances), rtol=1e-4)
  np.testing.assert_allclose(found.spread[0], np.mean(spreads), rtol=1e-4)


def test_soft_labels_and_cells_count_by_their_likeliest_class():
  train = digits()
  hard = parts(train)['first']
  soft = of(train, hard.images, np.eye(10, dtype=np.float32) * 0.55 + 0.045, factor=2)
  again = of(train, hard.images, np.arange(10), factor=2)
  found = drift.along_training({'soft': soft, 'hard': again}, train, checks=1, **TRAINING)
  np.testing.assert_array_equal(found.distance['soft'], found.distance['hard'])


def test_a_finished_measurement_is_read_back(tmp_path):
  train = digits()
  measured = []
  for _ in range(2):
    with Run(tmp_path, progress=False) as run:
      measured.append(drift.along_training(parts(train), train, checks=2, run=run, **TRAINING))
      steps = run.timing('drift')['steps']
  assert steps == 60
  for name, values in measured[0].distance.items():
    np.testing.assert_allclose(values, measured[1].distance[name], rtol=1e-6)


def test_a_measurement_with_other_settings_begins_anew(tmp_path, capsys):
  train = digits()

  def measured(workdir, **changes):
    with Run(workdir, progress=False, tensorboard=False) as run:
      settings = TRAINING | dict(steps=2, checks=1) | changes
      return drift.along_training(parts(train), train, run=run, **settings).distance['first']

  measured(tmp_path)
  for changes, words in (
    ({'seed': 1}, 'seed: 1234 -> 1'),
    ({'per_class': 2}, 'per_class: 500 -> 2'),
  ):
    capsys.readouterr()
    again = measured(tmp_path, **changes)
    assert f'drift: it was begun with other settings ({words}' in capsys.readouterr().out
    np.testing.assert_array_equal(again, measured(None, **changes))


def test_a_measurement_with_another_code_of_the_network_begins_anew(tmp_path, monkeypatch, capsys):
  train = digits()

  class Started(Exception):
    pass

  def stop(*arguments, **options):
    raise Started

  def start(factor):
    own_network.register(monkeypatch, factor)
    capsys.readouterr()
    with Run(tmp_path, progress=False, tensorboard=False) as run, pytest.raises(Started):
      drift.along_training(parts(train), train, 1, steps=1, model=MODEL | {'name': 'mine'}, run=run)
    return 'drift: it was begun with other settings (code: ' in capsys.readouterr().out

  # The first thing behind the settings.
  monkeypatch.setattr(drift, 'embedder', lambda *arguments: stop)
  assert [start(factor) for factor in (1, 1, 2)] == [False, False, True]


def test_the_chart_has_a_line_for_each_set():
  found = drift.Drift(
    np.array([0, 10]),
    {'dm': np.array([0.5, 2.0]), 'm3d': np.array([0.5, 1.0])},
    np.array([1.0, 2.0]),
  )
  for relative in (True, False):
    chart = drift.chart(found, relative=relative)
    assert '>dm<' in chart and '>m3d<' in chart and ('/ spread' in chart) is relative


def test_a_network_is_given_by_its_name_too(monkeypatch):
  given = []

  def stop(model, train):
    given.append(model)
    raise KeyboardInterrupt

  monkeypatch.setattr(drift.evaluation, 'network', stop)
  train = digits()
  for model in ('mlp', MODEL, None):
    with pytest.raises(KeyboardInterrupt):
      drift.along_training(parts(train), train, model=model)
  assert given == [{'name': 'mlp'}, MODEL, {}]


@pytest.mark.parametrize(
  'change, message',
  [
    (dict(sets={}), 'at least one condensed set'),
    (dict(sets='m3d.npz'), "condensed ones by name, such as .* got 'm3d.npz' and Dataset"),
    (dict(sets={'m3d': 'm3d.npz'}), 'condensed ones by name'),
    (dict(train='digits'), 'the training images a Dataset; got .* and str'),
    (dict(run='runs/drift'), "run is an open run .*; got 'runs/drift'"),
    (dict(networks=0), 'networks needs to be at least 1; got 0'),
    (dict(checks=0), 'checks needs'),
    (dict(epochs=0), 'epochs needs'),
    (dict(per_class=0), 'per_class needs'),
    (dict(model='mlpp'), "There is no model 'mlpp'; did you mean 'mlp'"),
    (dict(model=8), 'A network is given by its name, or by fields .*; got 8'),
  ],
)
def test_wrong_numbers_and_networks_are_refused(change, message):
  train = digits()
  options = dict(sets=parts(train), train=train, model=MODEL, steps=1) | change
  with pytest.raises(UserError, match=message):
    drift.along_training(**options)


def test_sets_that_do_not_fit_are_refused():
  train = digits()
  one = parts(train)['first']
  with pytest.raises(UserError, match="The set 'few' has no image of class '3'"):
    drift.along_training({'few': of(train, one.images[:3], np.arange(3))}, train, model=MODEL)
  without = train.take(np.flatnonzero(train.labels != 4))
  with pytest.raises(UserError, match="The training set has no image of class '4'"):
    drift.along_training({'first': one}, without, model=MODEL)
  with pytest.raises(
    UserError, match="The set 'large' has images of 16x16x1 and the training set of 8x8x1"
  ):
    drift.along_training(
      {'large': of(train, np.zeros((10, 16, 16, 1)), np.arange(10))}, train, model=MODEL
    )
