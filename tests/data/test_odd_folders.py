"""Every odd folder by every way in: the right value, or one sentence."""

import re

import numpy as np
import odd_folders
import pytest

from jaxdistill import data
from jaxdistill.condensation import Condensed
from jaxdistill.errors import UserError
from jaxdistill.experiment import datasets


def by_load(reader, **options):
  """(train, test, lines) of data.load."""

  def load(root, _):
    lines = []
    return *data.load(f'{reader}:{root}', image_size=8, tell=lines.append, **options), lines

  return load


def by_a_run(root, capsys):
  """(train, test, lines) as a command reads and prints them."""
  source = datasets.DataSource(f'folder:{root}', image_size=8, validation_share=0.0)
  train, _, test = datasets.load(source)
  return train, test, capsys.readouterr().out.splitlines()


WAYS = {
  'loaded': by_load('folder'),
  'streamed': by_load('folder', stream_above=0),
  'imagenet': by_load('imagenet'),
  'a run': by_a_run,
}


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('row', odd_folders.ROWS)
def test_read_right_or_refused_in_one_sentence(tmp_path, capsys, row, way):
  build, expected = odd_folders.ROWS[row]
  build(tmp_path)
  before = sorted(tmp_path.rglob('*'))
  if isinstance(expected, str):
    with pytest.raises(UserError) as caught:
      WAYS[way](tmp_path, capsys)
    assert re.search(expected, str(caught.value)) and '\n' not in str(caught.value)
  else:
    train, test, lines = WAYS[way](tmp_path, capsys)
    assert train.class_names == tuple(expected.counts)
    assert (train.counts + test.counts).tolist() == list(expected.counts.values())
    assert train.image_shape == (8, 8, expected.channels)
    assert np.asarray(train.images).shape == (len(train), 8, 8, expected.channels)
    assert len(lines) == len(expected.told), lines
    for line, part in zip(lines, expected.told):
      assert part in line and '\n' not in line
  assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('row', odd_folders.ROWS)
def test_a_folder_is_no_condensed_set(tmp_path, row):
  odd_folders.ROWS[row][0](tmp_path)
  with pytest.raises(
    UserError, match='is a folder, and a condensed set is one .npz file; data.load'
  ):
    Condensed.load(tmp_path)
