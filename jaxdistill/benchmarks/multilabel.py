"""What MLNTM is worth where the flips of a matrix of labels are made: how near its transitions come
to the true ones, beside other estimators, and what each correction makes of them.

This file is a command, such as

  python -m jaxdistill.benchmarks.multilabel mosaic:digits,model=mlp --rates=0+0.6,0.6+0

One warm-up serves all rows of a rate, and all corrections go on from its best weights.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdistill import files, metrics
from jaxdistill.benchmarks import phases
from jaxdistill.label_noise import bce, mlntm, multilabel_estimates
from jaxdistill.label_noise.answers import Answers, answer_of
from jaxdistill.label_noise.method import Method
from jaxdistill.label_noise.work import Work
from jaxdistill.numerics import settled
from jaxdistill.training.machine import enable_compilation_cache

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
def measure(work: Work, progress: bool = False) -> Measured:
  """Returns what a run's examples give; their labels are a matrix whose flips are known;
  `progress`: whether to tell how far it is."""
  setting, observed = work.setting, work.observed
  plain = phases.train(work, bce.method(setting), progress=progress).variables
  made = {row: mlntm.method(setting, **fields) for row, fields in CORRECTIONS.items()}
  first = made['reweight'].phases[0]
  corrected = [dataclasses.replace(method.phases[1], name=row) for row, method in made.items()]
  ended = phases.train(work, Method((first, *corrected)), progress=progress).variables
  look = phases.look_of(work, first)
  errors = {'oracle': _error(observed, _of_oracle(observed))}
  for row, fields in ESTIMATES.items():
    begun = mlntm.method(setting, **fields).phases[1].begin(ended, look)
    matrices = begun['beliefs'][mlntm.TRANSITION]
    errors[row] = np.array([_error(observed, matrix) for matrix in matrices])
  scores = {row: _scores(work, made['reweight'], ended[row]) for row in made}
  wrong = (observed.evidence.matrix != observed.truth).mean()
  return Measured(errors, {'bce': _scores(work, made['reweight'], plain['bce']), **scores}, wrong)


def _of_oracle(observed):
  return multilabel_estimates.oracle(observed.evidence.matrix, observed.truth).transition


def _error(observed, matrices):
  return metrics.transition_error(observed.transition, matrices)


def _scores(work, method, variables):
  """Of networks that answer as those of a method do."""
  answer = answer_of(method, method.phases[0].game, multilabel=True)
  answers = Answers(answer, method.members, work.fields.learning.seeds)
  probabilities = answers(variables, work.examples(work.test))
  return metrics.label_scores(work.test.labels, probabilities)


def of_arguments(text: str, rate: str, changes: Sequence[str] = ()) -> Work:
  """Returns what a run of MLNTM works on, see `phases.of_arguments`; `rate` is that of the flips,
  false positives + false negatives."""
  return phases.of_arguments('mlntm', f'{text},rate={rate}', changes)[0]


def table(measured: Measured) -> str:
  """Returns what was measured in a few lines, mean ± standard deviation over the networks.

  >>> scores = {'map': np.array([0.5, 0.7]), 'cf1': np.array([0.25, 0.25])}
  >>> print(table(Measured({'mlntm': np.array([1.0, 2.0]), 'oracle': 0.5}, {'bce': scores}, 0.1)))
  10.0 % of the labels are wrong
    error of T  mlntm 1.50 ± 0.71, oracle 0.50 ± 0.00
    bce  map 60.0 ± 14.1, cf1 25.0 ± 0.0
  """
  errors = [f'{row} {_pair(values, 1, 2)}' for row, values in measured.errors.items()]
  lines = [f'{100 * measured.wrong:.1f} % of the labels are wrong']
  lines.append(f'  error of T  {", ".join(errors)}')
  for row, scores in measured.scores.items():
    said = ', '.join(f'{name} {_pair(values, 100, 1)}' for name, values in scores.items())
    lines.append(f'  {row}  {said}')
  return '\n'.join(lines)


def _pair(values, factor, digits):
  summary = metrics.mean_std(np.atleast_1d(values))
  return f'{factor * summary["mean"]:.{digits}f} ± {factor * summary["std"]:.{digits}f}'


def main(argv: Sequence[str] | None = None) -> None:
  """Measures a data set and prints a table a rate, and all figures as a line of JSON."""
  values = phases.arguments_of(main.__doc__, RATES, 'of flips, 0 -> 1 + 1 -> 0', argv)
  enable_compilation_cache()
  figures = {}
  works = {rate: of_arguments(values.data, rate, values.set) for rate in values.rates.split(',')}
  for rate, work in works.items():
    measured = measure(work, progress=True)
    figures[rate] = files.jsonable(dataclasses.asdict(measured))
    print(f'{work.train.describe()}, flips {rate}: {table(measured)}', flush=True)
  print(json.dumps(figures))


if __name__ == '__main__':
  main()
