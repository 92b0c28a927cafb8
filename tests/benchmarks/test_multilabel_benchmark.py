"""What MLNTM is worth on made flips: a warm-up for all rows, errors and scores of the tools."""

import json

import numpy as np
import pytest

from jaxdistill import label_noise, metrics
from jaxdistill.benchmarks import multilabel


@pytest.mark.slow
def test_a_rate_is_measured_and_printed(monkeypatch, capsys):
  # The last row's name is the longest one that a phase has.
  kept = {row: multilabel.CORRECTIONS[row] for row in ('reweight', 'reweight+dual_t')}
  monkeypatch.setattr(multilabel, 'CORRECTIONS', kept)
  monkeypatch.setattr(multilabel, 'ESTIMATES', {'t_max': {'estimator': 't_max'}, 'mlntm': {}})
  data = 'mosaic:160:digits,model=mlp,quick'
  multilabel.COMMAND.main([data, '--rates=0.1+0.5'])
  *lines, figures = capsys.readouterr().out.splitlines()
  assert (
    'flips (0 -> 1 + 1 -> 0) 0.1+0.5' in lines[-5] and 'oracle' in lines[-4] and 'cf1' in lines[-1]
  )
  figures = json.loads(figures)['0.1+0.5']
  observed = multilabel.COMMAND.work(data, '0.1+0.5').observed
  expected = np.tile([[0.9, 0.1], [0.5, 0.5]], (10, 1, 1))
  np.testing.assert_allclose(observed.transition, expected)
  noisy, truth = observed.evidence.matrix, observed.truth
  assert figures['wrong'] == pytest.approx((noisy != truth).mean())
  oracle = label_noise.multilabel_transition(noisy, noisy == truth, least_selected=1).transition
  error = metrics.transition_error(expected, oracle)
  assert figures['errors']['oracle'] == pytest.approx(error)
  for row in ('t_max', 'mlntm'):
    assert len(figures['errors'][row]) == 2 and min(figures['errors'][row]) > 0
  assert list(figures['scores']) == ['bce', *kept]
  for scores in figures['scores'].values():
    assert all(0 <= value <= 1 for values in scores.values() for value in values)
    assert list(scores) == ['map', 'of1', 'cf1']
