"""The programs that run crowd-kit, scikit-learn, torchattacks and PyTorch beside this library."""

import importlib
import json
import pathlib

import numpy as np
import pytest

from jaxdistill import data, robustness
from jaxdistill.benchmarks import yardsticks
from jaxdistill.benchmarks.yardsticks import adversarial, autoattack, dawid_skene, selection

PROGRAMS = sorted(path.stem for path in pathlib.Path(yardsticks.__path__[0]).glob('[a-z]*.py'))


@pytest.mark.parametrize('name', PROGRAMS)
def test_a_yardstick_loads_without_the_package_that_it_times(name):
  module = importlib.import_module(f'jaxdistill.benchmarks.yardsticks.{name}')
  assert f'python jaxdistill/benchmarks/yardsticks/{name}.py' in module.__doc__
  module.read([])


@pytest.mark.parametrize('search', selection.SEARCHES)
def test_searches_have_the_same_neighbours(search):
  rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
  unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
  cosines = unit @ unit.T - 9 * np.eye(40)
  nearest = np.argsort(-cosines, axis=1)[:, :3]
  np.testing.assert_array_equal(selection.neighbours(search, rows, 3), nearest)


def test_a_search_prints_what_it_takes(capsys):
  selection.main('--rows=40 --columns=6 --neighbours=3 --search=euclidean'.split())
  figures = json.loads(capsys.readouterr().out)
  assert set(figures) == {'seconds', 'gib', 'firsts'}


def test_crowd_kits_matrices_have_the_true_classes_in_their_rows():
  pandas = pytest.importorskip('pandas')
  crowd = dawid_skene.crowd_of(dawid_skene.read(['--examples=30']))
  index = pandas.MultiIndex.from_tuples([(2, 0), (2, 1)], names=('worker', 'label'))
  errors = pandas.DataFrame([[0.9, 0.2], [0.1, 0.8]], index=index, columns=[0, 1])
  matrices = dawid_skene.matrices_of(errors, crowd)
  np.testing.assert_array_equal(matrices[2, :2, :2], [[0.9, 0.1], [0.2, 0.8]])
  assert matrices.sum() == pytest.approx(2.0)


def test_crowd_kit_finds_the_same_labels(capsys):
  pytest.importorskip('crowdkit')
  dawid_skene.main(['--examples=200', '--rounds=1'])
  figures = json.loads(capsys.readouterr().out)
  assert figures['labels_apart'] == 0 and figures['confusions_apart'] < 1e-5


def test_an_attack_stays_in_the_ball_and_a_loop_prints_its_seconds(capsys):
  torch = pytest.importorskip('torch')
  images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
  moved = adversarial.attacked(adversarial.convnet(4), images, labels)
  assert (moved - images).abs().max() <= 8 / 255 + 1e-6 and 0 <= moved.min() <= moved.max() <= 1
  adversarial.main('--width=4 --batch=4 --iters=1 --rounds=2'.split())
  figures = json.loads(capsys.readouterr().out)
  assert len(figures['seconds']) == 2 and figures['s_per_step'] > 0


@pytest.fixture(scope='module')
def perceptron():
  train, test = (part.take(np.arange(60)) for part in data.load('digits', image_size=8))
  model = {'name': 'mlp', 'width': 4, 'depth': 1}
  short = {'robustness.epochs': 1, 'robustness.seeds': 1}
  trained = robustness.fit(train, test, 'standard', model, overrides=short).trained
  return trained, np.float32(test.images) / 255, np.int64(test.labels)


def test_a_perceptron_answers_the_same_in_torch(perceptron):
  torch = pytest.importorskip('torch')
  trained, images, _ = perceptron
  answers = autoattack.in_torch(trained)(torch.tensor(images).permute(0, 3, 1, 2))
  expected = trained.logits(images)[0]
  np.testing.assert_allclose(answers.detach().numpy(), expected, atol=1e-5)


def test_both_sides_run_the_same_attacks(perceptron):
  pytest.importorskip('torchattacks')
  trained, images, labels = perceptron
  given = images[:4], labels[:4], 1.0, 0
  ours = autoattack.ours(trained.function(), *given)
  theirs = autoattack.theirs(autoattack.in_torch(trained), *given)
  assert set(ours) == set(theirs) == set(autoattack.ATTACKS)
  # In a ball as large as the range of pixels an image may become that of another class.
  assert ours['autoattack'] == theirs['autoattack'] == 0
