"""A sweep over few-shot learners: one table over all seeds, and its page."""

import json

import numpy as np
import pytest

from jaxdistill.commands import sweep
from jaxdistill.experiment import comparison
from jaxdistill.fscil import columns, methods, running


@pytest.mark.slow
def test_learners_and_seeds_become_one_table(tmp_path):
  grid = ['--config=fscil/ncm:digits,quick', '--config=fscil/ft_cos:digits,quick']
  assert sweep.main([*grid, '--grid.seed=0,1', f'--workdir={tmp_path}']) == 0
  rows = json.loads((tmp_path / 'sweep.json').read_text())['rows']
  assert [row['label'] for row in rows] == ['NCM', 'ft_cos']
  assert [row['seeds'] for row in rows] == [2, 2] and rows[0]['last']['n'] == 4
  runs = [json.loads(path.read_text()) for path in sorted(tmp_path.glob('ncm-*/result.json'))]
  values = [run['rows'][0]['last']['values'] for run in runs]
  assert rows[0]['last']['mean'] == pytest.approx(np.mean(values), abs=1e-6)
  page = (tmp_path / 'sweep.html').read_text()
  assert 'digits, 4 classes and sessions of 2-way 5-shot' in page
  assert 'Accuracy on all classes so far' in page


def test_a_table_is_a_division_of_a_data_set():
  row = dict(dataset='cifar100', base_classes=60, way=5, shot=5, indices='cec')
  assert columns.section_title(row).endswith('5-way 5-shot, images of cec')
  assert columns.table_of(row) != columns.table_of({**row, 'shot': 1})


def test_a_table_with_a_reconstruction_is_headed_so():
  for name in running.RECONSTRUCTED:
    assert methods.LABELS[name].endswith(' (reconstruction)')
  row = dict(dataset='cifar100', base_classes=60, way=5, shot=5, indices='', reference=False)
  label = running.label({'name': 'pki', 'keep': 'single'}, 0.1)
  rows = [{**row, 'label': 'NCM'}, {**row, 'label': label}, {**row, 'label': 'NCM', 'shot': 1}]
  titles = [title for title, _ in comparison.sections(rows, columns)]
  title = columns.section_title(row)
  assert titles == [title.replace('5-shot', '1-shot'), f'{title} (reconstruction)']
