"""The page of a run: which numbers have a column, and what is said of the teacher."""

import invented
import pytest
import staged

from jaxdistill import config as configs
from jaxdistill.distillation import methods, page
from jaxdistill.experiment.results import Row

VERIFIED = ('verification', 'tar', 'auc', 'eer', 'rank1', 'rank5')


def result(share=1.0, **live):
  """A run of some methods, by name whether each has a live teacher."""
  rows = []
  for name, is_live in live.items():
    extras = {'reconstruction': False} | ({} if is_live is None else {'live_teacher': is_live})
    rows.append(Row(name, methods.LABELS.get(name, name), 1.0, {}, None, False, '', extras))
  config = configs.load('distillation/kd:digits').to_dict()
  seen = dict(seeds=2, low=0, shown='native', batches='shared', share=share, images=100)
  taught = dict(teacher={'normalisation': 'running'}, transductive=False, reconstructed=[])
  return invented.result(config, rows, **seen, **taught)


def test_every_number_of_a_verification_has_a_column():
  row = {name: 0.5 for name in VERIFIED} | {f'{name}_adapted': 0.5 for name in VERIFIED}
  shown = {column[0]: column[1] for column in page.columns([row])}
  assert set(shown) == set(row) and len(set(shown.values())) == len(row)


def test_of_a_live_teacher_it_is_said_whom_the_students_are_compared_with():
  note = page.note(result(share=0.5, alone=False, evokd=True), {})
  assert 'EvoKD: a teacher of their own learns beside the students, from the images that' in note
  assert 'with the teacher of this table, which did not teach them' in note
  # One from before the fact was kept has a frozen teacher.
  assert 'beside the students' not in page.note(result(alone=None, kd=False), {})


@pytest.mark.parametrize('name', sorted(methods.METHODS))
def test_evokd_alone_has_a_live_teacher(name):
  method = methods.make(staged.pair(4, 6), {'name': name})
  assert method.has_live_teacher == (name == 'evokd')
