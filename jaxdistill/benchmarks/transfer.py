"""What TAIDTM's two transfers are worth where mistakes depend on annotator and image: from all
annotators to each, and between those who are alike.

This file is a command, such as

  python -m jaxdistill.benchmarks.transfer digits,images=400 --rates=0.1,0.3,0.5

One warm-up and one common matrix serve all stages of a rate.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill import files, metrics
from jaxdistill.benchmarks import phases
from jaxdistill.errors import UserError
from jaxdistill.label_noise import annotator_graph, annotator_matrices, ce, taidtm, vote
from jaxdistill.label_noise.transition_stages import GUESS, HEADS, KEPT, TRUNK
from jaxdistill.label_noise.work import Work
from jaxdistill.numerics import settled
from jaxdistill.training.learner import BELIEFS
from jaxdistill.training.machine import enable_compilation_cache

# Mean rates of the images' noise.
RATES = '0.1,0.3,0.5'
# From which weight on a cut graph has an edge: the method's, and one that chance seldom reaches.
EDGES = (0.1, 0.3)


@dataclasses.dataclass(frozen=True)
class Measured:
  """What one rate gives; R networks.

  Attributes:
    right: share of the labels that are.
    distilled: 'share' of the examples, and 'right', the share of those whose class is the true one,
      [R] each.
    errors: of T^r(x), from 0 to 2, see `annotator_matrices.rows_error`: 'identity', one number, and
      [R] after each phase that trains T.
    inside: share of the graph's edges inside the true groups, [R]: 'neighbours', before the cut of
      its rank, and 'cut, above' each of `EDGES`.
    accuracies: on test examples, {'last', 'selected', 'best_test'} [R] by row.
  """

  right: float
  distilled: dict[str, np.ndarray]
  errors: dict[str, Any]
  inside: dict[str, np.ndarray]
  accuracies: dict[str, dict[str, np.ndarray]]


@settled()
def measure(work: Work, fields: Mapping[str, Any], progress: bool = False) -> Measured:
  """Returns what a run's examples give, labelled by simulated annotators whose laws are known.

  Args:
    work: what is learned from.
    fields: of `taidtm.method`, but for the stages.
    progress: whether to tell how far it is.

  Raises:
    UserError: for labels of other annotators.
  """
  setting, observed = work.setting, work.observed
  if observed.laws is None:
    raise UserError('The true matrices are known of simulated annotators alone: crowd=by_image.')
  staged = lambda stage: taidtm.method(
    setting, **{**fields, 'stage': stage, 'joint_stages': 'global'}
  )
  graph, own = staged('gcn'), staged('individual')
  trained = phases.train(work, graph, checked=True, progress=progress)
  # All but the joint training of the individual heads is in the other one.
  trained = phases.train(work, own, trained, checked=True, progress=progress)
  accuracies = {}
  for row, method in (('vote', vote.method(setting)), ('ce', ce.method(setting))):
    last = method.phases[-1].name
    accuracies[row] = phases.train(work, method, checked=True, progress=progress).accuracies(last)
  for stage in taidtm.STAGES:
    accuracies[stage] = trained.accuracies(f'{stage}_joint')
  by_name = {phase.name: phase for phase in (*graph.phases, *own.phases)}
  errors = {}
  for stage in taidtm.STAGES:
    for name in (stage, f'{stage}_joint'):
      errors[name] = _errors(work, by_name[name], trained.variables[name])
  crowd, truth = observed.evidence.crowd, observed.truth
  return Measured(
    float((crowd.label == truth[crowd.example]).mean()),
    _distilled(trained.variables[taidtm.STAGES[0]][BELIEFS], truth),
    {'identity': _identity_error(observed.laws, truth), **errors},
    _inside(work, by_name, trained.variables, fields),
    accuracies,
  )


def _errors(work, phase, variables):
  """Of T^r(x) as a phase leaves it, [R]."""
  observed = work.observed
  hidden = phases.look_of(work, phase)(variables, TRUNK)['hidden']
  return np.array(
    [
      annotator_matrices.rows_error(
        taidtm.layers_of(variables, work.evidence.annotators, network),
        of_network,
        observed.truth,
        observed.laws,
        observed.group,
      )
      for network, of_network in enumerate(hidden)
    ]
  )


def _identity_error(laws, truth):
  """Of annotators who are always right."""
  return float(2 * (1 - laws[:, np.arange(len(truth)), truth]).mean())


def _distilled(beliefs, truth):
  kept, right = np.asarray(beliefs[KEPT]) > 0, np.asarray(beliefs[GUESS]) == truth
  return {'share': kept.mean(1), 'right': (kept & right).sum(1) / kept.sum(1)}


def _inside(work, by_name, variables, fields):
  """Of the graph by how each annotator's layer has left the common one."""
  phase, group = by_name['individual'], work.observed.group
  # Each has the common layer when its phase begins.
  common = phase.begin(variables, phases.look_of(work, phase))['params'][HEADS]['layers']
  adapted = variables['individual']['params'][HEADS]['layers']
  annotators = work.evidence.annotators
  neighbours = fields['neighbours'] or annotator_graph.usual_neighbours(annotators)
  inside = {'neighbours': []} | {f'cut, above {edge}': [] for edge in EDGES}
  for moved in np.asarray(common) - np.asarray(adapted):
    graph = annotator_graph.neighbour_graph(moved.reshape(len(moved), -1), neighbours)
    cut = annotator_graph.rank_cut(graph, fields['rank'])
    inside['neighbours'].append(annotator_graph.inside_share(graph, group))
    for edge in EDGES:
      inside[f'cut, above {edge}'].append(annotator_graph.inside_share(cut, group, edge))
  return {row: np.array(shares) for row, shares in inside.items()}


def of_arguments(text: str, rate: str, changes: Sequence[str] = ()) -> tuple[Work, dict[str, Any]]:
  """Returns what a run of TAIDTM works on, and the fields of the method, see
  `phases.of_arguments`; `rate` is that of the images' noise."""
  return phases.of_arguments('taidtm', f'{text},crowd=by_image,rate={rate}', changes)


def table(measured: Measured) -> str:
  """Returns what was measured in a few lines, mean ± standard deviation over the networks.

  >>> one = np.array([0.5])
  >>> print(table(Measured(0.7, {'share': one}, {'identity': 0.6}, {'neighbours': one},
  ...                      {'ce': {'last': one}})))
  70.0 % of the labels are right
    distilled (%)  share 50.0
    error of T^r(x)  identity 0.600
    edges inside groups (%)  neighbours 50.0
    ce (%)  last 50.0
  """
  lines = [f'{100 * measured.right:.1f} % of the labels are right']
  for title, values, factor, digits in (
    ('distilled (%)', measured.distilled, 100, 1),
    ('error of T^r(x)', measured.errors, 1, 3),
    ('edges inside groups (%)', measured.inside, 100, 1),
    *((f'{row} (%)', values, 100, 1) for row, values in measured.accuracies.items()),
  ):
    said = [f'{name} {_pair(value, factor, digits)}' for name, value in values.items()]
    lines.append(f'  {title}  {", ".join(said)}')
  return '\n'.join(lines)


def _pair(values, factor, digits):
  summary = metrics.mean_std(np.atleast_1d(values))
  spread = f' ± {factor * summary["std"]:.{digits}f}' if np.size(values) > 1 else ''
  return f'{factor * summary["mean"]:.{digits}f}{spread}'


def main(argv: Sequence[str] | None = None) -> None:
  """Measures a data set and prints a table a rate, and all figures as a line of JSON."""
  values = phases.arguments_of(main.__doc__, RATES, 'of wrong labels', argv)
  enable_compilation_cache()
  works = {rate: of_arguments(values.data, rate, values.set) for rate in values.rates.split(',')}
  figures = {}
  for rate, (work, fields) in works.items():
    measured = measure(work, fields, progress=True)
    figures[rate] = files.jsonable(dataclasses.asdict(measured))
    print(f'{work.train.describe()}, rate {rate}: {table(measured)}', flush=True)
  print(json.dumps(figures))


if __name__ == '__main__':
  main()
