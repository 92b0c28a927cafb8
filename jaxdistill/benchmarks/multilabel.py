"""What MLNTM is worth where the flips of a matrix of labels are made: how near its transitions come
to the true ones, beside other estimators, and what each correction makes of them.

This file is a command, such as

  python -m jaxdistill.benchmarks.multilabel mosaic:digits,model=mlp --rates=0+0.6,0.6+0

One warm-up serves all rows of a rate, and all corrections go on from its best weights. With
--workdir=DIR a measurement that was stopped is gone on with.
"""

import dataclasses
import sys
from typing import Any

import numpy as np

from jaxdistill import metrics
from jaxdistill.benchmarks import rates
from jaxdistill.label_noise import bce, flow, mlntm, multilabel_estimates
from jaxdistill.label_noise.method import Method
from jaxdistill.label_noise.work import Work
from jaxdistill.numerics import settled
from jaxdistill.training.run import Run

# False positives + false negatives.
RATES = '0+0.2,0+0.6,0.2+0,0.6+0,0.1+0.1,0.2+0.2'
# Fields of MLNTM in the rows of the corrections.
CORRECTIONS = {
  'reweight': {},
  'forward': {'correction': 'forward'},
  'backward': {'correction': 'backward'},
  'revision': {'correction': 'revision'},
  'reweight+dual_t': {'estimator': 'dual_t'},
}
# And in those of the estimates.
ESTIMATES = {
  't_max': {'estimator': 't_max'},
  't_97': {'estimator': 't_97'},
  'dual_t': {'estimator': 'dual_t'},
  'mlntm': {},
  'mlntm, released choice': {'choice': 'released'},
}


@dataclasses.dataclass(frozen=True)
class Measured:
  """What one rate of flips gives; R networks.

  Attributes:
    errors: of the transitions, sum over labels of |T - T'| / |T|, [R] by estimator; 'oracle', one
      number, where exactly the right labels are selected.
    scores: on test examples, {'map', 'of1', 'cf1'} [R] by row: 'bce' and the corrections.
    wrong: share of the observed labels that are.
  """

  errors: dict[str, Any]
  scores: dict[str, dict[str, Any]]
  wrong: float


@settled()
def measure(run: Run, work: Work) -> Measured:
  """Returns what a run's examples give; their labels are a matrix whose flips are known.

  Args:
    run: keeps the trainings.
    work: what they learn from.
  """
  setting, observed = work.setting, work.observed
  plain = flow.train_phases(run, work, bce.method(setting), 'bce').variables
  by_row = {row: mlntm.method(setting, **fields) for row, fields in CORRECTIONS.items()}
  first = by_row['reweight'].phases[0]
  corrected = [dataclasses.replace(method.phases[1], name=row) for row, method in by_row.items()]
  ended = flow.train_phases(run, work, Method((first, *corrected)), 'mlntm').variables
  errors = {'oracle': _error(observed, _of_oracle(observed))}
  for row, fields in ESTIMATES.items():
    second = mlntm.method(setting, **fields).phases[1]
    matrices = second.begin(ended, flow.look_of(work, first))['beliefs'][mlntm.TRANSITION]
    errors[row] = np.array([_error(observed, matrix) for matrix in matrices])
  answers = flow.answers_of(work, by_row['reweight'], first)
  variables = {'bce': plain['bce'], **{row: ended[row] for row in by_row}}
  scores = {row: _scores(work, answers, of_row) for row, of_row in variables.items()}
  return Measured(errors, scores, float((observed.evidence.matrix != observed.truth).mean()))


def _of_oracle(observed):
  return multilabel_estimates.oracle(observed.evidence.matrix, observed.truth).transition


def _error(observed, matrices):
  return metrics.transition_error(observed.transition, matrices)


def _scores(work, answers, variables):
  return metrics.label_scores(work.test.labels, answers(variables, work.examples(work.test)))


def table(measured: Measured) -> str:
  """Returns what was measured in a few lines, mean ± standard deviation over the networks.

  >>> scores = {'map': np.array([0.5, 0.7]), 'cf1': np.array([0.25, 0.25])}
  >>> print(table(Measured({'mlntm': np.array([1.0, 2.0]), 'oracle': 0.5}, {'bce': scores}, 0.1)))
  10.0 % of the labels are wrong
    error of T  mlntm 1.50 ± 0.71, oracle 0.50
    bce  map 60.0 ± 14.1, cf1 25.0 ± 0.0
  """
  errors = [f'{row} {rates.mean_std(values, 1, 2)}' for row, values in measured.errors.items()]
  lines = [f'{100 * measured.wrong:.1f} % of the labels are wrong']
  lines.append(f'  error of T  {", ".join(errors)}')
  for row, scores in measured.scores.items():
    said = ', '.join(f'{name} {rates.mean_std(values, 100, 1)}' for name, values in scores.items())
    lines.append(f'  {row}  {said}')
  return '\n'.join(lines)


COMMAND = rates.Command(
  'Measures what MLNTM is worth on labels whose flips are made.',
  'mlntm',
  extra=(),
  rates=RATES,
  meaning='flips (0 -> 1 + 1 -> 0)',
  measure=measure,
  table=table,
  figures=Measured,
)


if __name__ == '__main__':
  sys.exit(COMMAND.main())
