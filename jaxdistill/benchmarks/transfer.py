"""What TAIDTM's two transfers are worth where mistakes depend on annotator and image: from all
annotators to each, and between those who are alike.

This file is a command, such as

  python -m jaxdistill.benchmarks.transfer digits,images=400 --rates=0.1,0.3,0.5

One warm-up and one common matrix serve all stages of a rate. With --workdir=DIR a measurement that
was stopped is gone on with.
"""

import dataclasses
import sys
from typing import Any

import numpy as np

from jaxdistill.benchmarks import rates
from jaxdistill.errors import UserError
from jaxdistill.label_noise import (
  annotator_graph,
  annotator_matrices,
  ce,
  flow,
  methods,
  taidtm,
  vote,
)
from jaxdistill.label_noise.transition_stages import GUESS, HEADS, KEPT, TRUNK
from jaxdistill.label_noise.work import Work
from jaxdistill.numerics import settled
from jaxdistill.training import classifier
from jaxdistill.training.learner import BELIEFS
from jaxdistill.training.run import Run

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
def measure(run: Run, work: Work) -> Measured:
  """Returns what a run's examples give, labelled by simulated annotators whose laws are known.

  Args:
    run: keeps the trainings.
    work: what they learn from; the stages of its method are those of the rows.

  Raises:
    UserError: for labels of other annotators.
  """
  setting, observed = work.setting, work.observed
  if observed.laws is None:
    raise UserError('The true matrices are known of simulated annotators alone: crowd=by_image.')

  def trained(name, method, known=None):
    # Each of them has all the checks for itself.
    checks = {phase.name: work.fields.learning.checks for phase in method.phases if phase.scored}
    return flow.train_phases(run, work, method, name, checks, known)

  section = work.fields.method
  staged = lambda stage: methods.make(
    setting, {**section, 'stage': stage, 'joint_stages': 'global'}
  )
  graph, own = staged('gcn'), staged('individual')
  # All but the joint training of the individual heads is in the other one.
  ended = trained('taidtm', own, trained('taidtm', graph))
  checks = {stage: ended.checks[f'{stage}_joint'] for stage in taidtm.STAGES}
  for row, method in (('vote', vote.method(setting)), ('ce', ce.method(setting))):
    checks[row] = trained(row, method).checks[method.phases[-1].name]
  by_name = {phase.name: phase for phase in (*graph.phases, *own.phases)}
  errors = {}
  for stage in taidtm.STAGES:
    for name in (stage, f'{stage}_joint'):
      errors[name] = _errors(work, by_name[name], ended.variables[name])
  crowd, truth = observed.evidence.crowd, observed.truth
  return Measured(
    float((crowd.label == truth[crowd.example]).mean()),
    _distilled(ended.variables[taidtm.STAGES[0]][BELIEFS], truth),
    {'identity': _identity_error(observed.laws, truth), **errors},
    _inside(work, by_name, ended.variables),
    {
      row: classifier.columns(checks[row]['test'], checks[row].get('validation'))
      for row in ('vote', 'ce', *taidtm.STAGES)
    },
  )


def _errors(work, phase, variables):
  """Of T^r(x) as a phase leaves it, [R]."""
  observed = work.observed
  hidden = flow.look_of(work, phase)(variables, TRUNK)['hidden']
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


def _inside(work, by_name, variables):
  """Of the graph by how each annotator's layer has left the common one."""
  phase, group = by_name['individual'], work.observed.group
  # Each has the common layer when its phase begins.
  common = phase.begin(variables, flow.look_of(work, phase))['params'][HEADS]['layers']
  adapted = variables['individual']['params'][HEADS]['layers']
  annotators, section = work.evidence.annotators, work.fields.method
  neighbours = section['neighbours'] or annotator_graph.usual_neighbours(annotators)
  inside = {'neighbours': []} | {f'cut, above {edge}': [] for edge in EDGES}
  for moved in np.asarray(common) - np.asarray(adapted):
    graph = annotator_graph.neighbour_graph(moved.reshape(len(moved), -1), neighbours)
    cut = annotator_graph.rank_cut(graph, section['rank'])
    inside['neighbours'].append(annotator_graph.inside_share(graph, group))
    for edge in EDGES:
      inside[f'cut, above {edge}'].append(annotator_graph.inside_share(cut, group, edge))
  return {row: np.array(shares) for row, shares in inside.items()}


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
    said = [f'{name} {rates.mean_std(value, factor, digits)}' for name, value in values.items()]
    lines.append(f'  {title}  {", ".join(said)}')
  return '\n'.join(lines)


COMMAND = rates.Command(
  'Measures what TAIDTM is worth on crowds whose laws are made.',
  'taidtm',
  extra=('crowd=by_image',),
  rates=RATES,
  meaning='wrong labels',
  measure=measure,
  table=table,
  figures=Measured,
)


if __name__ == '__main__':
  sys.exit(COMMAND.main())
