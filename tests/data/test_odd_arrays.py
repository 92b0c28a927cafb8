"""Every odd npz file by every way in: the right value, or one sentence."""

import re

import numpy as np
import odd_arrays
import pytest

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.commands import families, main
from jaxdistill.condensation.tasks import evaluate
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError
from jaxdistill.experiment import datasets
from jaxdistill.synthesis.condensed import Condensed


def by_load(file, _, **options):
  """(train, validation, test, lines) of data.load_splits."""
  lines = []
  return *data.load_splits(f'npz:{file}', tell=lines.append, **options), lines


def by_a_run(file, capsys):
  """(train, validation, test, lines) as a command reads and prints them."""
  train, validation, test = datasets.load(datasets.DataSource(f'npz:{file}', validation_share=0.25))
  return train, validation, test, capsys.readouterr().out.splitlines()


def by_a_check(task, **values):
  """What a command does before a run; it returns nothing."""

  def check(file, _):
    config = configs.load(task.format(file))
    for field, value in values.items():
      configs.override(config, f'evaluation.{field}', value)
    families.find_flow(config).check(config)

  return check


WAYS = {
  'loaded': by_load,
  'streamed': lambda file, capsys: by_load(file, capsys, stream_above=0),
  'a run': by_a_run,
}
CHECKS = {
  'condense': by_a_check('m3d:npz:{},ipc=1,factor=1,model=mlp'),
  'evaluate': by_a_check('condensation/evaluate:npz:{},recipe=dm', baselines='random'),
  'continual': by_a_check('condensation/continual:npz:{},ipc=1,factor=1,steps=2'),
}
REFUSED = [row for row, (_, expected) in odd_arrays.ROWS.items() if isinstance(expected, str)]
READ = [row for row in odd_arrays.ROWS if row not in REFUSED]


def written(folder, row):
  file, content = folder / 'mine.npz', odd_arrays.ROWS[row][0]
  if callable(content):
    content(file)
  else:
    np.savez(file, **content)
  return file


def sorted_images(*parts):
  return sorted(
    (int(label), bytes(np.ascontiguousarray(image)))
    for part in parts
    for image, label in zip(np.asarray(part.images), part.labels)
  )


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('row', READ)
def test_read_right(tmp_path, capsys, row, way):
  expected = odd_arrays.ROWS[row][1]
  train, validation, test, lines = WAYS[way](written(tmp_path, row), capsys)
  of_train = [train]
  for part, images in ((validation, expected.validation), (test, expected.test)):
    if images is not None:
      np.testing.assert_array_equal(part.images, images)
    elif part is not None:
      of_train.append(part)
  whole = Dataset(expected.images, expected.labels)
  assert sorted_images(*of_train) == sorted_images(whole)
  for part in filter(None, (train, validation, test)):
    for field, value in expected.fields.items():
      assert getattr(part, field) == value
  assert len(lines) == len(expected.told), lines
  for line, part in zip(lines, expected.told):
    assert part in line and '\n' not in line


@pytest.mark.parametrize('way', [*WAYS, *CHECKS])
@pytest.mark.parametrize('row', REFUSED)
def test_refused_in_one_sentence(tmp_path, capsys, row, way):
  file = written(tmp_path, row)
  with pytest.raises(UserError) as caught:
    (WAYS | CHECKS)[way](file, capsys)
  sentence = str(caught.value)
  assert re.search(odd_arrays.ROWS[row][1], sentence) and '\n' not in sentence
  assert 'mine.npz' in sentence and len(sentence) < 600


@pytest.mark.parametrize('way', CHECKS)
def test_checks_take_what_is_right(tmp_path, capsys, way):
  images = np.random.RandomState(0).randint(0, 256, (40, 16, 16, 3)).astype(np.uint8)
  file = tmp_path / 'mine.npz'
  np.savez(file, images=images, labels=np.arange(40) % 4, class_names=list('abcd'))
  CHECKS[way](file, capsys)
  rgba = np.concatenate([images, images[..., :1]], -1)
  np.savez(file, images=rgba, labels=np.arange(40) % 4)
  with pytest.raises(UserError, match='have 4 channels; a run takes grey images'):
    CHECKS[way](file, capsys)


def test_claims_are_refused_before_they_are_read(tmp_path, monkeypatch):
  def read(*args, **options):
    raise AssertionError('an array was read')

  files = {}
  for row in ('a shape too large', 'contents too large', 'an entry twice', 'a slip'):
    (tmp_path / row).mkdir()
    files[row] = written(tmp_path / row, row)
  monkeypatch.setattr(np.lib.format, 'read_array', read)
  for row, file in files.items():
    with pytest.raises(UserError, match=odd_arrays.ROWS[row][1]):
      data.load(f'npz:{file}')


def test_arrays_larger_than_the_memory_are_refused(tmp_path, monkeypatch):
  from jaxdistill.data import archives

  file = written(tmp_path, 'compressed')
  monkeypatch.setattr(archives.os, 'sysconf', lambda name: 32)
  with pytest.raises(UserError, match='GiB unpacked, and this machine has 0.0 GiB'):
    data.load(f'npz:{file}')


# What becomes of a row that is given as a condensed set.
OF_SETS = {row: expected for row, (_, expected) in odd_arrays.ROWS.items()} | odd_arrays.AS_A_SET
SETS_REFUSED = [row for row, expected in OF_SETS.items() if isinstance(expected, str)]
SETS_READ = [row for row in OF_SETS if row not in SETS_REFUSED]


def by_condensed_load(file):
  return Condensed.load(file)


def by_evaluate(file):
  """As `evaluate` checks and reads its set=, beside images that fit it, or else of its own."""
  made = file.exists() and file.is_file() and loaded_quietly(file)
  shape, names = (made.images.shape[1:], made.class_names) if made else ((8, 9, 3), ('0', '1'))
  names = names if len(names) > 1 else ('0', '1')
  labels = np.arange(16 * len(names)) % len(names)
  images = np.random.RandomState(0).randint(0, 256, (len(labels), *shape)).astype(np.uint8)
  np.savez(file.parent / 'data.npz', images=images, labels=labels, class_names=names)
  config = configs.load(f'condensation/evaluate:npz:{file.parent}/data.npz,set={file},recipe=dm')
  configs.override(config, 'evaluation.baselines', 'random')
  families.find_flow(config).check(config)
  return evaluate.load(config.sets)[0].condensed


def loaded_quietly(file):
  try:
    return Condensed.load(file)
  except UserError:
    return None


WAYS_OF_SETS = {'Condensed.load': by_condensed_load, 'evaluate': by_evaluate}
# Sets that are right, but not beside any data set.
FITTING_NONE = {
  'one class': 'mine.npz knows 1 classes and the test set 2; they must be the same ones',
  'four channels': 'have 4 channels; a run takes grey images',
}


def test_every_row_of_sets_is_one_of_the_table():
  assert odd_arrays.AS_A_SET.keys() <= odd_arrays.ROWS.keys()


@pytest.mark.parametrize('way', WAYS_OF_SETS)
@pytest.mark.parametrize('row', SETS_READ)
def test_sets_are_read_right(tmp_path, row, way):
  expected, file = OF_SETS[row], written(tmp_path, row)
  if way == 'evaluate' and row in FITTING_NONE:
    with pytest.raises(UserError, match=FITTING_NONE[row]):
      by_evaluate(file)
    return
  made = WAYS_OF_SETS[way](file)
  np.testing.assert_array_equal(np.rint(made.images * 255), expected.images)
  np.testing.assert_array_equal(made.labels, expected.labels)
  for field, value in expected.fields.items():
    assert getattr(made, field) == value


@pytest.mark.parametrize('way', WAYS_OF_SETS)
@pytest.mark.parametrize('row', SETS_REFUSED)
def test_sets_are_refused_in_one_sentence(tmp_path, row, way):
  file = written(tmp_path, row)
  with pytest.raises(UserError) as caught:
    WAYS_OF_SETS[way](file)
  sentence = str(caught.value)
  assert re.search(OF_SETS[row], sentence) and '\n' not in sentence, sentence
  assert 'mine.npz' in sentence and len(sentence) < 600


def test_the_command_tells_what_is_wrong_with_a_set(tmp_path, capsys):
  """From the command line, over a few rows of each kind."""
  np.savez(tmp_path / 'data.npz', **odd_arrays.whole())
  for row in ('a slip', 'train alone', 'labels of bytes', 'an empty file', 'nothing there', 'cut'):
    (tmp_path / row).mkdir()
    file = written(tmp_path / row, row)
    arguments = [str(file), f'--data=npz:{tmp_path}/data.npz', '--compilation_cache=off']
    assert main.main(['evaluate', *arguments, '--dry_run']) == 2
    error = capsys.readouterr().err
    assert re.search(OF_SETS[row], error) and error.count('\n') == 1 and str(file) in error
