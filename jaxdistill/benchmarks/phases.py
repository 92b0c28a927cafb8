"""What commands that look inside a method of label_noise share: their arguments, and its phases
trained one after the other, each with what it ends with."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill import config as configs
from jaxdistill.errors import UserError
from jaxdistill.experiment import arguments
from jaxdistill.label_noise import checks as label_noise_checks
from jaxdistill.label_noise import flow, scoring, sections, settings
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
  work: Work,
  method: Method,
  known: Trained | None = None,
  checked: bool = False,
  progress: bool = False,
) -> Trained:
  """Returns the phases of a method, trained one after the other.

  Args:
    work: what is learned from.
    method: whose phases they are.
    known: phases of it, by their names, that need not be trained again.
    checked: whether those that are scored are, as often as `learning.checks` says.
    progress: whether to tell how far it is.
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
    with Run(progress=progress) as run:
      state = loop.fit(run, phase.name, problem, evaluate=evaluate)
      if evaluate:
        checks[phase.name] = scoring.checked(run.history(phase.name), before=0)
    variables[phase.name] = flow.on_host(work, method, state)
  return Trained(variables, checks)


def look_of(work: Work, phase: Phase) -> Looking:
  """Returns what answers for the parts of a phase."""
  return Looking(phase.game, flow.sets(work))


def arguments_of(
  description: str, rates: str, meaning: str, argv: Sequence[str] | None
) -> argparse.Namespace:
  """Returns the arguments of such a command: 'data', 'rates' and 'set'.

  Args:
    description: of the command.
    rates: the usual ones, joined by commas.
    meaning: of a rate.
    argv: what stands behind its name; None: as it was called.
  """
  parser = argparse.ArgumentParser(description=description)
  parser.add_argument(
    'data', help='the data set, with arguments of the configs of label_noise behind commas'
  )
  parser.add_argument('--rates', default=rates, help=f'{meaning}, joined by commas')
  parser.add_argument(
    '--set', action='append', default=[], metavar='KEY=VALUE', help='a field of the config'
  )
  return parser.parse_args(argv)


def of_arguments(
  method: str, text: str, changes: Sequence[str] = ()
) -> tuple[Work, dict[str, Any]]:
  """Returns what a run of a method works on, and the method's own fields.

  Args:
    method: the name of its config.
    text: what stands behind that name, such as 'digits,images=400'.
    changes: further fields of the config, such as 'learning.augmented=False'.

  Raises:
    UserError: for arguments, fields or values that configs do not take.
  """
  config = settings.defaults(arguments.read(settings.Arguments, text), method)
  for change in changes:
    key, equals, value = change.partition('=')
    if not equals:
      raise UserError(f'--set takes KEY=VALUE, such as learning.augmented=False; got {change!r}.')
    configs.override(config, key, value)
  label_noise_checks.check_fields(config)
  label_noise_checks.check_values(config)
  fields = {name: value for name, value in config.method.items() if name != 'name'}
  return label_noise_checks.load(sections.of_config(config)), fields
