"""What a run of this family leaves in its work dir."""

import types

import numpy as np
import pytest

from jaxdistill import label_noise
from jaxdistill.data import Crowd, Dataset
from jaxdistill.errors import UserError
from jaxdistill.label_noise import learning, page
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
  with pytest.raises(UserError, match='The evidence is of 1 examples'):
    label_noise.tables(pictures, crowd.take([0]), believed)


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
