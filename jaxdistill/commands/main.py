"""The command `jaxdistill`: its first word says which command, without one it is `run`."""

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from jaxdistill import config as configs
from jaxdistill.commands import streams
from jaxdistill.errors import UserError, unknown
from jaxdistill.training import exits


class Command(NamedTuple):
  """A command: the module of this package whose main(arguments) it is, and what it does."""

  module: str
  summary: str


COMMANDS = {
  'run': Command('run', 'runs a config and leaves numbers, pictures and a report in a work dir'),
  'sweep': Command('sweep', 'runs a grid of configs and values and compares them on one page'),
  'evaluate': Command('evaluate', 'scores sets, yours or ours, side by side under one recipe'),
  'benchmark': Command('benchmark', 'measures the speed on this machine'),
  'cluster': Command('local_cluster', 'runs a command as several processes here, for rehearsal'),
  'faults': Command('faults', 'kills a run at random moments and compares how it ends'),
}
_USAGE = """\
Published distillation and condensation methods.

  jaxdistill --list                               every config, its time and number
  jaxdistill run --config=m3d:digits              the scikit-learn digits, in minutes
  jaxdistill sweep --config=m3d:digits --config=dm:digits --grid.seed=0,1,2
  jaxdistill evaluate condensed.npz --data=digits

Commands:
{commands}

`jaxdistill COMMAND --help` shows the flags of one. `run` may be left out:
`jaxdistill --config=m3d:digits`."""


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command that the first argument names and returns its exit status.

  Args:
    argv: the arguments without the program's name; those of the process when None.

  Returns:
    0, 2 for a mistake of the user, 75 when interrupted, or another status of the command's own.

  >>> main(['sweep', '--config=m3d:digits', '--grid.icp=1,10'])
  2
  """
  argv = list(sys.argv[1:] if argv is None else argv)
  word = argv[0] if argv else ''
  if word in ('--help', '-h'):
    return exits.exit_status(lambda _: streams.show(usage()), argv)
  if not word or word.startswith('-'):
    return _load('run')(argv)
  if word in COMMANDS:
    return _load(word)(argv[1:])
  return exits.exit_status(_refuse, argv)


def usage() -> str:
  """Returns the help of `jaxdistill`: every command with what it does."""
  width = max(map(len, COMMANDS))
  commands = '\n'.join(f'  {name:<{width}}  {COMMANDS[name].summary}' for name in COMMANDS)
  return _USAGE.format(commands=commands)


def _load(name: str):
  return importlib.import_module(f'jaxdistill.commands.{COMMANDS[name].module}').main


def _refuse(argv: list[str]) -> NoReturn:
  if _is_config(argv[0]):
    raise UserError(f'{argv[0]!r} is a config; start it with jaxdistill run --config={argv[0]}.')
  raise unknown('command', argv[0], COMMANDS)


def _is_config(spec: str) -> bool:
  try:
    configs.find(configs.split(spec)[0])
  except UserError:
    return False
  return True
