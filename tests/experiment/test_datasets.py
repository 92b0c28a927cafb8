"""Loading for a run: the held-out share, the kept set, and when images are streamed."""

import dataclasses
import json
import os

import numpy as np
import PIL.Image
import pytest

from jaxdistill.data import sources
from jaxdistill.errors import UserError
from jaxdistill.experiment import datasets
from jaxdistill.experiment.datasets import DataSource
from jaxdistill.training import machine


def test_a_share_is_held_out_of_the_training_images():
  whole, none, test = datasets.load(DataSource('digits', image_size=8, validation_share=0.0))
  train, validation, same = datasets.load(DataSource('digits', image_size=8, validation_share=0.25))
  assert none is None and len(train) + len(validation) == len(whole)
  assert len(validation) == pytest.approx(len(whole) / 4, abs=whole.num_classes)
  np.testing.assert_array_equal(test.images, same.images)


def test_the_last_set_is_kept_for_the_next_call():
  source = DataSource('digits', image_size=8, validation_share=0.1)
  first, again = datasets.load(source), datasets.load(DataSource(**vars(source)))
  assert first[0] is again[0] and first[1] is again[1]
  other, _, _ = datasets.load(
    DataSource('digits', image_size=8, normalisation='dm', validation_share=0.1)
  )
  assert other is not first[0]


def test_a_set_that_was_replaced_is_read_anew(tmp_path):
  file = tmp_path / 'mine.npz'
  source = DataSource(f'npz:{file}', validation_share=0.0)
  labels, times = np.repeat([0, 1], 10), (10**18, 10**18)

  def load(value):
    pixels = np.full((20, 8, 8, 1), value, np.uint8)
    pixels[:, 0] = 255  # an image of one value has no deviation
    np.savez(file, images=pixels, labels=labels)
    os.utime(file, ns=times)  # as replaced within one tick of the clock
    train, _, _ = datasets.load(source)
    return train, train.images[0, 1, 0, 0]

  first, value = load(3)
  assert value == 3 and datasets.load(source)[0] is first
  assert load(4)[1] == 4


def test_auto_streams_what_takes_more_than_its_share_of_the_memory(monkeypatch):
  monkeypatch.setattr(machine, 'memory_bytes', lambda: 1000)
  limits = {way: DataSource('digits', stream=way).stream_above for way in datasets.STREAM}
  assert limits == {'on': 0, 'auto': 300, 'off': None}


def test_a_mistyped_way_to_stream_is_a_mistake_of_the_user():
  with pytest.raises(UserError, match="'of'; did you mean 'off'"):
    DataSource('digits', stream='of')


def test_notices_are_told_once_a_load(monkeypatch, capsys):
  digits = sources._read_digits(8)
  monkeypatch.setattr(sources, '_read_digits', lambda _: digits._replace(notices=('a notice',)))
  for _ in range(2):
    datasets.load(DataSource('digits', image_size=8, validation_share=0.2, normalisation='dm'))
  assert capsys.readouterr().out == 'a notice\n'


def test_a_sets_own_validation_images_are_used_in_place_of_a_share(tmp_path, capsys):
  for split in ('train', 'val', 'test'):
    for name in ('a', 'b'):
      (tmp_path / split / name).mkdir(parents=True)
      for number in range(5 if split == 'train' else 2):
        PIL.Image.new('L', (4, 4), len(split)).save(tmp_path / split / name / f'{number}.png')
  source = DataSource(f'folder:{tmp_path}', image_size=4, validation_share=0.2)
  train, validation, test = datasets.load(source)
  assert train.counts.tolist() == [5, 5] and validation.counts.tolist() == [2, 2]
  assert (validation.images == len('val')).all() and (test.images == len('test')).all()
  assert not capsys.readouterr().out
  train, validation, _ = datasets.load(dataclasses.replace(source, validation_share=0.0))
  assert len(train) == 10 and validation is None
  assert 'its validation images are left out' in capsys.readouterr().out


def test_a_work_dir_knows_the_sets_again_that_were_handed_over(tmp_path):
  train, _, test = datasets.load(DataSource('digits', image_size=8, validation_share=0.0))
  config = {'method': {'name': 'at'}}
  with datasets.opened(tmp_path, config, train, test) as run:
    assert run.config == config and not run.progress
  assert set(json.loads((tmp_path / 'data.json').read_text())['data']) == {'training', 'test'}
  with datasets.opened(tmp_path, config, train, test):
    pass
  with pytest.raises(UserError, match='begun with other data: training images'):
    with datasets.opened(tmp_path, config, train.take(np.arange(20)), test):
      pass
  with datasets.opened(None, config, train) as run:  # in memory
    assert run.workdir is None
