"""What TAIDTM's transfers are worth on made crowds: stages that share their beginning, errors and
edges against the laws that are known."""

import json

import numpy as np
import pytest

from jaxdistill.benchmarks import transfer
from jaxdistill.errors import UserError
from jaxdistill.training.run import Run

DATA = 'digits,quick'


@pytest.mark.slow
def test_a_rate_is_measured_and_printed(capsys, tmp_path):
  start = [DATA, '--rates=0.3', '--set', 'method.neighbours=4', f'--workdir={tmp_path}']
  transfer.COMMAND.main(start)
  *lines, figures = capsys.readouterr().out.splitlines()
  # From the trainings that are kept.
  (tmp_path / '0.3' / 'results' / 'figures.json').unlink()
  transfer.COMMAND.main(start)
  assert capsys.readouterr().out.splitlines()[-1] == figures
  assert 'edges inside groups' in lines[-6]
  assert [line for line in lines if 'wrong labels 0.3: ' in line and 'digits (train)' in line]
  figures = json.loads(figures)['0.3']
  observed = transfer.COMMAND.work(DATA, '0.3').observed
  crowd, truth = observed.evidence.crowd, observed.truth
  right = observed.laws[:, np.arange(len(truth)), truth]
  # Rates of a normal distribution around .3, cut to [0, .6].
  assert right.mean() == pytest.approx(0.7, abs=0.03)
  assert figures['right'] == pytest.approx((crowd.label == truth[crowd.example]).mean())
  # Of an annotator who is always right: 1 - p too much on the true label, too little elsewhere.
  assert figures['errors'].pop('identity') == pytest.approx(2 * (1 - right).mean())
  stages = ['global', 'individual', 'gcn']
  assert list(figures['errors']) == [name for stage in stages for name in (stage, f'{stage}_joint')]
  assert all(0 < value < 2 for values in figures['errors'].values() for value in values)
  assert list(figures['accuracies']) == ['vote', 'ce', *stages]
  for scores in figures['accuracies'].values():
    assert list(scores) == ['last', 'selected', 'best_test']
    assert len(scores['last']) == 2 and max(scores['best_test']) <= 1
  assert set(figures['inside']) == {'neighbours', 'cut, above 0.1', 'cut, above 0.3'}


@pytest.mark.parametrize(
  'change, message',
  [('learning.augmented', '--set takes KEY=VALUE'), ('learning.augmentd=False', 'augmented')],
)
def test_a_change_that_is_none_is_refused(change, message):
  with pytest.raises(UserError, match=message):
    transfer.COMMAND.work(DATA, '0.3', [change])


def test_other_crowds_have_no_law_by_image():
  work = transfer.COMMAND.work(DATA, '0.3', ['evidence.origin=simulate'])
  with Run(progress=False) as run, pytest.raises(UserError, match='crowd=by_image'):
    transfer.measure(run, work)
