"""What a run of this family leaves in its work dir."""

import types

import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import label_noise
from jaxdistill.data import Crowd, Dataset
from jaxdistill.errors import UserError
from jaxdistill.label_noise import learning, making, page, sections, work
from jaxdistill.label_noise.method import Believed
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.training.run import Run


def test_tables_are_made_of_a_crowd_as_of_evidence():
  """Joined by the names of classes, as everywhere."""
  pictures = Dataset(np.zeros((2, 8, 8, 1), np.uint8), [0, 1], ('cat', 'dog'))
  believed = Believed(np.array([[[0.75, 0.25], [0.25, 0.75]]]))
  crowd = Crowd.from_table([[1, 1], [1, 0]], ['dog', 'cat'])
  texts = label_noise.tables(pictures, crowd, believed)
  assert texts['labels.csv'].split()[1:] == ['1,cat,dog,0.25,0.75', '0,cat,cat,0.75,0.75']
  texts = label_noise.tables(pictures, crowd, believed, rows=[4, 7])
  assert [line[0] for line in texts['labels.csv'].split()[1:]] == ['7', '4']
  with pytest.raises(UserError, match='2 examples need as many rows'):
    label_noise.tables(pictures, crowd, believed, rows=[4])
  with pytest.raises(UserError, match='The evidence is of 1 examples'):
    label_noise.tables(pictures, crowd.take([0]), believed)
  # Those of a result, where some examples were held out.
  for beliefs in (Believed(believed.labels[:, :1]), Believed(believed.labels[0]), Believed()):
    with pytest.raises(UserError, match=r'there are 2 examples of 2 classes.*train\.take'):
      label_noise.tables(pictures, crowd, beliefs)


def test_tables_take_names_of_files_that_are_no_utf8(tmp_path, monkeypatch):
  ended = types.SimpleNamespace(to_json=dict)
  monkeypatch.setattr(learning, 'result', lambda *_: ended)
  monkeypatch.setattr(page, 'html', lambda *_: '')
  train = Dataset(
    np.zeros((2, 4, 4, 1), np.uint8), [0, 1], ('cat', 'dog'), ids=['caf\udce9.png', 'b.png']
  )
  work = types.SimpleNamespace(
    train=train, evidence=Evidence(Crowd.from_table([[0], [1]], ['cat', 'dog']))
  )
  learned = learning.Learned(None, Believed(np.eye(2)[None]))
  ran = types.SimpleNamespace(networks={'vote': learned})
  with Run(tmp_path, {}, progress=False, tensorboard=False) as run:
    learning.write(run, work, ran, {})
  lines = (tmp_path / 'tables' / 'vote_labels.csv').read_text('utf-8').splitlines()
  assert [line.partition(',')[0] for line in lines[1:]] == ['caf\\udce9.png', 'b.png']


def test_an_example_without_a_name_is_called_by_its_row_whatever_is_held_out():
  pixels = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
  whole = Dataset(pixels, np.arange(20) % 2)
  fields = sections.of_config(configs.load('label_noise/vote:digits,val=.3,images=12'))
  divided = work.divide(fields, whole, making.handed(whole, whole.labels))
  believed = Believed(np.full((1, len(divided.train), 2), 0.5))
  lines = label_noise.tables(divided.train, divided.observed.evidence, believed)['labels.csv']
  named = [int(line.partition(',')[0]) for line in lines.split()[1:]]
  assert named == divided.rows.tolist() == divided.train.images[:, 0, 0, 0].tolist()
