"""Trains the phases of a method that learns from wrong labels, and keeps what each of them ends
with."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdistill.label_noise import flow, scoring
from jaxdistill.label_noise.looking import Looking
from jaxdistill.label_noise.method import Method, Phase
from jaxdistill.label_noise.work import Work
from jaxdistill.numerics import settled
from jaxdistill.training import classifier, loop
from jaxdistill.training.run import Run


@dataclasses.dataclass(frozen=True)
class Trained:
  """Phases that have ended, by name.

  Attributes:
    variables: their last ones, leading axis networks.
    checks: of those that were checked, see `scoring.checked`.
  """

  variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  checks: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(default_factory=dict)

  def accuracies(self, phase: str) -> dict[str, np.ndarray]:
    """Returns 'last', 'selected' and 'best_test' [networks] of a checked phase, see
    `classifier.columns`."""
    checks = self.checks[phase]
    return classifier.columns(checks['test'], checks.get('validation'))


@settled()
def train(
  work: Work, method: Method, known: Trained | None = None, checked: bool = False
) -> Trained:
  """Returns the phases of a method, trained one after the other.

  Args:
    work: what is learned from.
    method: whose phases they are.
    known: phases of it, by their names, that need not be trained again.
    checked: whether those that are scored are, as often as `learning.checks` says.
  """
  known = known or Trained()
  variables, checks = dict(known.variables), dict(known.checks)
  for number, phase in enumerate(method.phases):
    if phase.name in variables:
      continue
    initial = phase.begin(variables, look_of(work, phase)) if phase.begin else None
    problem = flow.problem(work, method, number, initial)
    evaluate = ()
    if checked and phase.scored:
      alone = dataclasses.replace(method, phases=(phase,))
      answers = flow.answers_of(work, alone, phase)
      evaluate = flow.evaluation_of(work, alone, phase, answers, problem.num_steps)
    with Run(progress=False) as run:
      state = loop.fit(run, phase.name, problem, evaluate=evaluate)
      if evaluate:
        checks[phase.name] = scoring.checked(run.history(phase.name), before=0)
    variables[phase.name] = flow.on_host(work, method, state)
  return Trained(variables, checks)


def look_of(work: Work, phase: Phase) -> Looking:
  """Returns what answers for the parts of a phase."""
  return Looking(phase.game, flow.sets(work))
