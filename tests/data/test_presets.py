"""The table of data sets: what every name stands for, and that nothing else keeps such a list."""

import io
import pathlib
import re
import tokenize

import numpy as np
import pytest

from jaxdistill import config, data
from jaxdistill.condensation import settings
from jaxdistill.data import presets, statistics
from jaxdistill.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_what_configs_take_in_its_order():
  assert settings.PRESETS is presets.NAMES
  assert tuple(presets.NAMES) == (
    'digits',
    'mnist',
    'fashion_mnist',
    'svhn_cropped',
    'cifar10',
    'cifar100',
    'imagenette',
    'npz:',
    'folder:',
    'tiny_imagenet:',
    'imagenet:',
    'imagenet224:',
  )


@pytest.mark.parametrize(
  'name, idc, dm',
  [
    ('mnist', ((0.1307,), (0.3081,)), None),
    ('mnist:3.0.1', ((0.1307,), (0.3081,)), None),
    ('fashion_mnist', ((0.2861,), (0.3530,)), None),
    ('svhn_cropped', ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)), None),
    ('cifar10', CIFAR10, None),
    ('cifar100', CIFAR10, ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))),
    ('imagenette/160px-v2', IMAGENET, None),
    ('imagenet:/somewhere', IMAGENET, None),
    ('imagenet2012', IMAGENET, None),
    ('caltech_birds2011', IMAGENET, None),
    ('imagenet_resized/64x64', IMAGENET, None),
    ('tiny_imagenet:/somewhere', IMAGENET, None),
  ],
)
def test_statistics_of_the_published_codes(name, idc, dm):
  images = np.zeros((2, 2, 2, len(idc[0])), np.uint8)
  assert statistics.choose(name, images, 'idc') == idc
  assert statistics.choose(name, images, 'dm') == (dm or idc)
  assert statistics.choose(name, images, 'measured') == statistics.measure(images)


@pytest.mark.parametrize(
  'name', ['digits', 'npz:cifar10', 'folder:cifar10', 'emnist', 'oxford_flowers102']
)
def test_other_statistics_are_measured(name):
  images = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
  for convention in statistics.CONVENTIONS:
    assert statistics.choose(name, images, convention) == statistics.measure(images)


def test_characters_are_never_mirrored():
  lost = {name for name, row in presets.TABLE.items() if not row.flip}
  assert lost == {
    'binary_alpha_digits',
    'cmaterdb',
    'digits',
    'emnist',
    'idx',
    'kmnist',
    'mnist',
    'mnist_corrupted',
    'omniglot',
    'svhn_cropped',
  }


def test_a_user_says_whether_images_may_be_mirrored(tmp_path):
  images, labels = np.zeros((4, 2, 2, 1), np.uint8), [0, 0, 1, 1]
  for stored in (True, False):
    np.savez(tmp_path / 'mine.npz', images=images, labels=labels, flip=stored)
    name = f'npz:{tmp_path / "mine.npz"}'
    assert [part.flip for part in data.load(name)] == [stored, stored]
    assert [part.flip for part in data.load(name, flip=not stored)] == [not stored, not stored]
  assert not data.load('digits')[0].flip and data.load('digits', flip=True)[1].flip


def test_a_row_is_all_that_a_data_set_needs(tmp_path, monkeypatch):
  """A set that no other file knows: configs take it, and it is read, resized and normalised."""
  monkeypatch.setitem(
    presets.TABLE,
    'scans',
    presets.Preset(
      'scans:',
      size=64,
      flip=False,
      published=True,
      idc=((0.3,), (0.2,)),
      reader='jaxdistill.data.arrays:read_npz',
    ),
  )
  images = np.zeros((10, 8, 8, 1), np.uint8)
  np.savez(tmp_path / 'a.npz', images=images, labels=np.repeat([0, 1], 5))
  name = f'scans:{tmp_path / "a.npz"}'
  for method in ('dm', 'm3d', 'dance', 'evaluate', 'continual'):
    loaded = config.load(f'{method}:{name}')
    assert (loaded.data.name, loaded.data.image_size) == (name, 64)
    assert loaded.data.validation_share == 0
  loaded = config.load(f'dm:{name}')
  assert loaded.model.depth == 4
  assert loaded.condensation.augmentation == 'color_crop_cutout_scale_rotate'
  train, test = data.load(name)
  assert train.image_shape == (64, 64, 1) and (train.mean, train.std) == ((0.3,), (0.2,))
  assert not train.flip and not test.flip
  with pytest.raises(UserError, match='scans:PATH'):
    data.load('no_such_set', data_dir=str(tmp_path))


def test_the_readme_lists_what_configs_take():
  section = (ROOT / 'README.md').read_text().split('\n### Your data\n')[1].split('\n###')[0]
  cells = [line.split('|')[1] for line in section.splitlines() if line.startswith('| `')]
  shown = {re.sub(r'PATH.*', '', name) for name in re.findall(r'`(.*?)`', ' '.join(cells))}
  assert shown - {'--config.data.name=NAME'} == set(presets.NAMES)


def test_no_other_file_keeps_a_list_of_data_sets():
  """Two names of the table in one file, as strings of code, would be another list. A single one is
  none, nor are the papers' numbers by data set."""
  known = {row.name for row in presets.TABLE.values()} | set(presets.TABLE)
  for path in [*(ROOT / 'jaxdistill').rglob('*.py'), *(ROOT / 'configs').rglob('*.py')]:
    if path.name not in ('presets.py', 'published.py'):
      tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
      strings = {token.string.strip('\'"') for token in tokens if token.type == tokenize.STRING}
      assert len((strings & known) - {'digits'}) < 2, path
