"""Sets scored side by side: `jaxdistill evaluate m3d.npz dance.npz --data=cifar10`.

A short way to start the config of the name `evaluate`: the files become its argument `set`, and
what is no flag here becomes one of its other arguments. So this command knows no family: one whose
sets are scored ships a config of this name.
"""

import difflib
from collections.abc import Sequence

from absl import flags

from jaxdistill import config as configs
from jaxdistill.commands import flags as command_flags
from jaxdistill.commands import run as launcher
from jaxdistill.commands import streams
from jaxdistill.errors import UserError
from jaxdistill.training.exits import exit_status

_USAGE = """\
Scores sets, yours or ours, side by side and beside baselines, under one recipe.

  jaxdistill evaluate m3d.npz dance.npz --data=cifar10
  jaxdistill evaluate m3d.npz --data=cifar10 --recipe=ddranking
  jaxdistill evaluate m3d.npz --data=cifar10 --models=ConvNet-3+ResNet-18 --workdir=runs/across

  FILE ...           the sets
  --ARGUMENT=VALUE   an argument of the config, as it is listed below
  --config.KEY=VALUE changes one field of the config; --dry_run shows them all

The first command is short for
`jaxdistill run --config=evaluate:cifar10,set=m3d.npz+dance.npz`: the same command again resumes.

Flags:"""
# Characters that part the arguments of a config, and the files of one argument.
_SEPARATORS = ',+'
_LIKENESS = 0.75  # from which on an argument is a flag that was mistyped


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit status; `argv` as for `main.main`.

  >>> main(['m3d.npz', '--data=cifar'])
  2
  """
  return exit_status(_dispatch, argv)


def _dispatch(argv: list[str]) -> None:
  values, overrides, rest = command_flags.parse_known(argv, _flags())
  if values.help:
    header = configs.header(values.config)
    usage = command_flags.help_text(values, _USAGE)
    streams.show(f'{usage}\n\nThe config {values.config}:\n\n{header}')
    return
  values.config = spec(values, rest)
  config = _load(values, rest)
  launcher.start(values, launcher.changed(values, config, overrides))


def _flags() -> flags.FlagValues:
  values = flags.FlagValues()
  at = dict(flag_values=values)
  flags.DEFINE_string('data', '', 'The data set that the sets stand for (default: digits).', **at)
  flags.DEFINE_string('config', 'evaluate', 'The config that scores; or a .py file of yours.', **at)
  launcher.define_flags(values)
  return values


def spec(values: flags.FlagValues, rest: Sequence[str]) -> str:
  """Returns the config and its arguments as `jaxdistill run --config=` takes them.

  Args:
    values: the flags of the command.
    rest: what is none of them: files, and arguments of the config.

  >>> values, _, rest = command_flags.parse_known(['a.npz', 'b.npz', '--recipe=dm'], _flags())
  >>> spec(values, rest)
  'evaluate:set=a.npz+b.npz,recipe=dm'
  """
  paths = [argument for argument in rest if argument and not argument.startswith('-')]
  if not paths:
    raise UserError(
      'Name the sets to score: jaxdistill evaluate FILE ... --data=NAME; baselines alone are '
      f'scored by jaxdistill run --config={values.config}:NAME.'
    )
  for path in paths:
    if any(character in path for character in _SEPARATORS):
      raise UserError(f'The name {path!r} holds a comma or a plus; give the file another name.')
  arguments = [values.data, f'set={"+".join(paths)}', *_arguments(rest)]
  return f'{values.config}:{",".join(filter(None, arguments))}'


def _arguments(rest: Sequence[str]) -> list[str]:
  """Returns what stands for an argument of the config, without its dashes."""
  return [argument.lstrip('-') for argument in rest if argument.startswith('-')]


def _load(values: flags.FlagValues, rest: Sequence[str]):
  """Loads the config; where it refuses an argument that is nearly a flag, the flag was meant."""
  try:
    return configs.load(values.config)
  except UserError:
    names = command_flags.names(values)
    for argument in _arguments(rest):
      if difflib.get_close_matches(argument.partition('=')[0], names, n=1, cutoff=_LIKENESS):
        raise command_flags.unknown_flag(f'--{argument}', values) from None
    raise
