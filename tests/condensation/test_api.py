"""The Python interface on data of one's own: condense, save, load, evaluate, and what it
refuses."""

import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

import jaxdistill
from jaxdistill.condensation import Condensed, condense, evaluate
from jaxdistill.errors import UserError

SMALL = {
  'model.width': 4,
  'model.depth': 1,
  'model.norm': 'none',
  'condensation.batch_real': 4,
  'condensation.augmentation': 'color',
}
NETWORK = {'name': 'convnet', 'width': 4, 'depth': 1, 'norm': 'none'}
LABELS = np.repeat([0, 1, 2], 10)


@pytest.fixture(scope='module', params=['npz', pytest.param('folder', marks=pytest.mark.slow)])
def own(request, tmp_path_factory):
  """Images of three classes, each brighter than the one before, as a file of arrays and as a folder
  of pictures."""
  root = tmp_path_factory.mktemp('own') / 'my, photos'
  root.mkdir()
  random = np.random.default_rng(0)
  if request.param == 'npz':
    images = random.integers(0, 100, (30, 20, 20, 3)) + 70 * LABELS[:, None, None, None]
    np.savez(
      root / 'mine.npz',
      images=images.astype(np.uint8),
      labels=LABELS,
      class_names=['ant', 'bee', 'cat'],
    )
    return jaxdistill.data.load(f'npz:{root / "mine.npz"}')
  for number, label in enumerate(LABELS):
    folder = root / ('ant', 'bee', 'cat')[label]
    folder.mkdir(exist_ok=True)
    size = random.integers(10, 40, 2)
    image = random.integers(0, 100, (*size, 3)) + 70 * label
    PIL.Image.fromarray(image.astype(np.uint8)).save(folder / f'{number}.png')
  return jaxdistill.data.load(f'folder:{root}', image_size=16)


def test_condense_save_load_evaluate(own, tmp_path):
  train, test = own
  made = condense(train, method='m3d', ipc=2, seed=3, iterations=2, overrides=SMALL)
  path = made.save(tmp_path / 'made.npz')
  again = Condensed.load(path)
  np.testing.assert_array_equal(again.images, made.images)
  assert again.images.shape == (6, *train.image_shape) and again.class_names == (
    'ant',
    'bee',
    'cat',
  )
  assert again.dataset == again.config['data']['name'] == train.name and again.config['seed'] == 3
  assert 0 <= again.images.min() and again.images.max() <= 1
  # Two small steps do not change what a class looks like.
  assert (np.diff([again.images[again.labels == label].mean() for label in range(3)]) > 0.15).all()
  scores = evaluate(
    again, test, recipe='idc', seeds=2, steps=2, checks=1, model=NETWORK, augment=False
  )
  assert scores['training_images'] == 24 and scores['last']['n'] == 2


def images_of(**changes):
  return jaxdistill.data.Dataset(np.zeros((30, 20, 20, 3), np.uint8), LABELS, **changes)


@pytest.mark.parametrize(
  'arguments, words',
  [
    (dict(method='m3'), "no condensation method 'm3'; did you mean 'm3d'"),
    (
      dict(ipc=3),
      "ipc=3 with factor=2 needs 12 images a class, .* class '0' of arrays has .10 for "
      'training.; use ipc=2 or less',
    ),
    (dict(ipc=0), 'ipc is 0; it must be at least 1'),
    (dict(ipc='two'), "ipc is 'two'; it must be a whole number"),
    (dict(ipc=1, factor=30), 'condensation.factor is 30, but the images of arrays are only 20x20'),
    (dict(ipc=1, seed=-1), 'seed is -1; it must be at least 0'),
    (dict(ipc=1, overrides={'model.norm': 'batch'}), 'treats every sample alone'),
    (dict(ipc=1, overrides={'iterations': 3}), "did you mean 'condensation.iterations'"),
    (dict(ipc=1, overrides={'data.image_size': 8}), 'data.image_size says how images are loaded'),
    (dict(ipc=1, overrides=[1]), 'overrides are values by the dotted names of fields'),
  ],
)
def test_mistakes_are_refused_before_a_work_dir_is_made(arguments, words, tmp_path):
  with pytest.raises(UserError, match=words):
    condense(images_of(), workdir=tmp_path / 'run', **arguments)
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'name, words',
  [
    ('fscil/ncm', 'no config of one method of the family condensation: its field family says fsc'),
    ('condensation/evaluate', 'its section method is not there'),
    ('condensation/continual', 'is a config of the task continual; condense takes one of the'),
  ],
)
def test_a_file_with_another_config_is_refused(tmp_path, name, words):
  file = tmp_path / 'mine.py'
  file.write_text(
    f'from jaxdistill import config\nget_config = lambda arg: config.load({name!r}, "digits")\n'
  )
  with pytest.raises(UserError, match=words):
    condense(images_of(), str(file), 1)


def test_what_is_no_path_is_told_and_the_home_is_found(tmp_path, monkeypatch):
  made = Condensed(np.zeros((2, 8, 8, 1)), np.array([0, 1]), ('a', 'b'), (0.5,), (0.5,))
  monkeypatch.setenv('HOME', str(tmp_path))
  assert made.save('~/made.npz') == tmp_path / 'made.npz'
  assert Condensed.load('~/made.npz') == made
  for attempt in (
    lambda: Condensed.load(None),
    lambda: made.save(3),
    lambda: made.to_tfds(None),
    lambda: condense(images_of(), ipc=1, factor=1, iterations=1, workdir=3, overrides=SMALL),
  ):
    with pytest.raises(UserError, match='A path is a text or a pathlib.Path; got'):
      attempt()
  with pytest.raises(UserError, match='3 cannot name a set of TensorFlow Datasets'):
    made.to_tfds(tmp_path, name=3)


def test_a_name_or_both_sets_are_no_training_images():
  for wrong in ('digits', (images_of(), images_of())):
    with pytest.raises(UserError, match='first of the two that data.load'):
      condense(wrong)


def test_a_condensed_set_is_read_without_the_packages_that_made_it(tmp_path):
  made = Condensed(np.zeros((2, 8, 8, 1)), np.array([0, 1]), ('a', 'b'), (0.5,), (0.5,))
  made.save(tmp_path / 'made.npz')
  heavy = (
    'tensorflow_datasets',
    'grain',
    'orbax',
    'sklearn',
    'matplotlib',
    'flax',
    'optax',
    'tqdm',
  )
  code = (
    'import sys, jaxdistill; '
    f'jaxdistill.condensation.Condensed.load({str(tmp_path / "made.npz")!r}).decode(); '
    f'print([name for name in {heavy} if name in sys.modules])'
  )
  assert (
    subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    == '[]\n'
  )


@pytest.mark.parametrize('method', [None, 3, b'dm'])
def test_a_method_is_named_by_a_text(method):
  train, _ = jaxdistill.data.load('digits', image_size=8)
  with pytest.raises(UserError, match='method is the name of one, or a .py file'):
    jaxdistill.condensation.condense(train, method, ipc=1)
