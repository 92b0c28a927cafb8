"""The term of one's own that the page of the family shows, run as a user would."""

import pathlib
import re

import pytest

from jaxdistill import config as configs
from jaxdistill.distillation import checks, methods, terms
from jaxdistill.distillation.tasks import distill
from jaxdistill.errors import UserError
from jaxdistill.training.run import Run

PAGE = pathlib.Path(__file__).parents[2] / 'configs' / 'distillation' / 'README.md'


@pytest.fixture
def file(tmp_path):
  """The example as a file; its term is forgotten afterwards."""
  section = PAGE.read_text().split('\n## A term of your own\n')[1].split('\n## ')[0]
  (code,) = re.findall(r'```python\n(.*?)```', section, re.DOTALL)
  path = tmp_path / 'cosine.py'
  path.write_text(code)
  yield path
  for name in terms.TERMS.added:
    del terms.TERMS[name]


def test_a_term_from_a_file_is_trained_by(file):
  loaded = configs.load(f'{file}:digits,quick,student=mlp,teacher=mlp')
  assert loaded.method.fields.cosine.weight == 1.0
  configs.override(loaded, 'distillation.baseline', 'False')
  checks.check(loaded)
  with Run(progress=False) as run:
    content = distill.run(loaded, run)
    curve = run.curve('cosine/student')
  assert content['rows'][-1]['label'] == 'Cosine'
  assert 0 < curve[-1]['cosine'] < 2 and 'cross_entropy' in curve[-1]


def test_a_sum_whose_name_no_phase_can_have_is_refused_before_any_work(monkeypatch):
  monkeypatch.setitem(terms.TERMS, 'my own', None)
  with pytest.raises(UserError, match="'kd.my own' cannot name a phase"):
    methods.check({'name': 'sum', 'terms': ('kd', 'my own')})
