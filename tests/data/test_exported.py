"""The manifest of an exported set: damage, and pictures that are not those it tells of."""

import json

import numpy as np
import PIL.Image
import pytest

from jaxdistill.condensation import Condensed
from jaxdistill.data import exported, load
from jaxdistill.errors import UserError


@pytest.fixture
def root(tmp_path):
  """Two classes of three images, each of another grey."""
  images = np.linspace(0, 1, 6).reshape(6, 1, 1, 1) * np.ones((1, 4, 4, 1))
  made = Condensed(images, np.repeat([0, 1], 3), ('dog', 'ant'), (0.5,), (0.25,), flip=True)
  return made.to_png(tmp_path / 'png')


def edit(root, **changes):
  file = root / exported.MANIFEST
  file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_pictures_that_were_changed_added_or_removed_are_named(root):
  PIL.Image.new('L', (4, 4), 9).save(root / '0-dog' / '1.png')
  (root / '1-ant' / '5.png').unlink()
  PIL.Image.new('L', (4, 4), 9).save(root / '1-ant' / '9.png')
  told = (
    r'not those that manifest.json tells of: 1 missing \(1-ant/5.png\), 1 changed '
    r'\(0-dog/1.png\), 1 new \(1-ant/9.png\); export the set again, or take manifest.json away'
  )
  with pytest.raises(UserError, match=told):
    load(f'folder:{root}')
  (root / exported.MANIFEST).unlink()
  train, _ = load(f'folder:{root}')
  assert train.class_names == ('0-dog', '1-ant')


def test_other_files_beside_are_told(root):
  (root / '1-ant' / 'notes.txt').write_text('')
  lines = []
  load(f'folder:{root}', tell=lines.append)
  assert lines == [f'folder:{root}: 1 file is not read: 1 of other kinds (1-ant/notes.txt).']


def test_statistics_flip_and_size_are_those_of_the_set(root):
  edit(root, flip=False)
  train, test = load(f'folder:{root}')
  assert (train.mean, train.std, train.flip) == ((0.5,), (0.25,), False)
  assert train.image_shape == (4, 4, 1) and train.class_names == ('dog', 'ant')
  measured, _ = load(f'folder:{root}', normalisation='measured', image_size=8, flip=True)
  assert measured.mean != (0.5,) and measured.image_shape == (8, 8, 1) and measured.flip


def test_classes_are_chosen_by_their_real_names(root):
  train, test = load(f'folder:{root}', classes='ant,dog')
  assert train.class_names == ('ant', 'dog') and sorted(train.labels) == [0, 0, 1, 1]
  assert train.images[train.labels == 0].min() > train.images[train.labels == 1].max()
  with pytest.raises(UserError, match="no class '1-ant'; did you mean 'ant'"):
    load(f'folder:{root}', classes='1-ant,dog')


def test_a_manifest_of_another_program_is_a_file_like_others(root):
  (root / exported.MANIFEST).write_text('{"name": "my app", "icons": []}')
  lines = []
  train, _ = load(f'folder:{root}', tell=lines.append)
  assert train.class_names == ('0-dog', '1-ant')
  assert lines == [
    f'folder:{root}: 1 file is not read: 1 beside the class folders (manifest.json).'
  ]


@pytest.mark.parametrize(
  'changes',
  [
    dict(class_names=[]),
    dict(class_names=['dog', 3]),
    dict(class_names=['dog']),
    dict(mean=[0.5, 0.5]),
    dict(std=[0.0]),
    dict(std='x'),
    dict(mean=[10**400]),
    dict(factor=0),
    dict(flip='yes'),
    dict(images=3),
    dict(images=[{'file': '../x.png', 'label': 0, 'sha256': ''}]),
    dict(images=[{'file': '/x.png', 'label': 0, 'sha256': ''}]),
    dict(images=[{'file': 'x.png', 'label': 2, 'sha256': ''}]),
    dict(images=[{'file': 'x.png', 'label': True, 'sha256': ''}]),
    dict(images=[{'file': 'x.png', 'label': [1, 'x'], 'sha256': ''}]),
    dict(images=[{'label': 0}]),
  ],
)
def test_damaged_manifests_end_in_one_sentence(root, changes):
  edit(root, **changes)
  with pytest.raises(
    UserError, match='manifest.json is damaged .*; export the set again'
  ) as caught:
    load(f'folder:{root}')
  assert '\n' not in str(caught.value)


def test_what_is_no_json_is_damaged(root):
  content = (root / exported.MANIFEST).read_bytes()
  for damaged in (content[:200], b'', b'\xff\xfe', b'[' * 100_000):
    (root / exported.MANIFEST).write_bytes(damaged)
    with pytest.raises(UserError, match='manifest.json is damaged'):
      load(f'folder:{root}')


def test_a_manifest_without_pictures_is_refused(root):
  edit(root, images=[])
  with pytest.raises(UserError, match='manifest.json tells of no pictures'):
    load(f'folder:{root}')
