"""What a run of this family leaves in its work dir."""

import types

import numpy as np

from jaxdistill.data import Crowd, Dataset
from jaxdistill.label_noise import learning, page
from jaxdistill.label_noise.method import Believed
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.training.run import Run


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
