"""`jaxdistill run`, or `python -m launch.run` in a checkout: from flags to a finished work dir.

Everything that a user may have got wrong is checked before anything is compiled: flags, config keys
and values, the data set, the work dir. A mistake ends in one sentence and exit status 2; an
interrupted run in status 75.
"""

import pathlib
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill.commands import families, listing, streams, target
from jaxdistill.commands import flags as command_flags
from jaxdistill.commands.process import prepare_jax, quiet, tell
from jaxdistill.errors import UserError
from jaxdistill.files import expanded
from jaxdistill.training import bucket, interrupt
from jaxdistill.training.exits import exit_status

_USAGE = """\
Condense or distil a data set: runs a config and leaves numbers, pictures and a report in a work
dir.

  jaxdistill run --config=m3d:digits                          the scikit-learn digits, in minutes
  jaxdistill run --config=m3d:folder:photos,ipc=10            images of yours, one folder a class
  jaxdistill run --config=m3d:cifar10,ipc=10 --workdir=DIR    the same command again resumes
  jaxdistill run --config=m3d:cifar10,ipc=10 --dry_run        what would run, time and memory
  jaxdistill --list                                           every config, its time and number

`run` may be left out. In a checkout, `python -m launch.run` takes the same flags and jaxdistill
need not be installed.

Flags:"""


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit status: 0, 2 for a mistake of the user, 75 when
  interrupted.

  `argv` is the arguments without the program's name; those of the process when None.

  >>> main(['--config=m3d:digits', '--config.condensation.ipc=two'])
  2
  """
  return exit_status(_dispatch, argv)


def _dispatch(argv: list[str]) -> None:
  values, overrides = command_flags.parse(argv, _flags())
  if values.help:
    streams.show(command_flags.help_text(values, _USAGE))
  elif values.list:
    streams.show(listing.text())
  else:
    start(values, resolve(values, overrides))


def start(values: flags.FlagValues, config: ConfigDict) -> None:
  """Checks a config and runs it, or says what it would do where the flags ask for that."""
  quiet()
  target.check(values)
  interrupt.check()
  flow = families.find_flow(config)
  interrupt.check()
  if values.target:
    target.dry_run(values, flow, config)
    return
  prepare_jax(values)
  interrupt.check()
  flow.check(config)
  interrupt.check()
  if values.dry_run:
    tell(f'{configs.to_text(config, families.settings(config).explain(config))}\n')
    tell(flow.dry_run(config))
    if refused := refusal(config, values.workdir or default_workdir(values.config, config)):
      tell(f'\nIt would not start: {refused}')
    return
  workdir = values.workdir or default_workdir(values.config, config)
  if not bucket.is_address(workdir):
    workdir = folder(workdir)
  tell(result_text(run_config(values, flow, config, workdir), workdir))


def refusal(config: ConfigDict, workdir: pathlib.Path | str) -> str:
  """Returns the sentence with which a run would be refused in a work dir that was begun with other
  data or code; '' where it would not, or nothing is known."""
  from jaxdistill.experiment import datasets, schema
  from jaxdistill.training import provenance

  if bucket.is_address(workdir) or not (folder(workdir) / provenance.FILE).is_file():
    return ''
  source = schema.read(datasets.DataSource, config.data)
  return provenance.refusal_of(folder(workdir), datasets.facts(source, config))


def run_config(
  values: flags.FlagValues, flow: ModuleType, config: ConfigDict, workdir: pathlib.Path | str
) -> dict[str, Any]:
  """Runs a config in its work dir, or goes on there, and returns what its result.json holds.

  Raises:
    Interrupted: after SIGTERM or Ctrl-C, when what was finished or saved is in the work dir.
  """
  from jaxdistill.training import hosts
  from jaxdistill.training.run import Run

  options = {
    name: config.run[name] for name in ('keep', 'checkpoint_every', 'log_every', 'steps_per_call')
  }
  options |= dict(
    progress=values.progress,
    tensorboard=values.tensorboard,
    profile=values.profile,
    handle_signals=True,
  )
  kept = (
    f'; what was finished or saved is kept in {workdir}. Start the same command again to continue'
  )
  interrupt.begun(kept)
  try:
    # Of several processes none may leave the others: a signal between two phases waits for the next
    # one, where all stop.
    with (
      Run(workdir, families.recorded(config), **options) as run,
      interrupt.holding(lambda: bucket.is_address(workdir)),
      interrupt.together(hosts.count() > 1),
    ):
      run.say(f'work dir: {workdir}')
      interrupt.check()
      result = flow.run(config, run)
      interrupt.check()
  except KeyboardInterrupt as stop:  # between two phases, or a second Ctrl-C within one
    raise interrupt.Interrupted(f'Stopped by {interrupt.name_of(stop)}{kept}.') from None
  interrupt.begun(f' when all was done; the results are in {workdir}')
  return result


def _flags() -> flags.FlagValues:
  """Defines the flags in a registry of their own: absl's global one would keep them from one call
  to the next."""
  values = flags.FlagValues()
  at = dict(flag_values=values)
  flags.DEFINE_string(
    'config',
    None,
    'NAME[:DATA,ARGUMENTS] of a shipped config or of a .py file of yours; --list shows '
    'the names. --config.KEY=VALUE changes one field, for example --config.seed=1; --dry_run shows '
    'all fields.',
    **at,
  )
  flags.DEFINE_boolean(
    'list', False, 'List every config with what it does, its run time and expected number.', **at
  )
  define_flags(values)
  return values


def define_flags(values: flags.FlagValues) -> None:
  """Adds the flags of a single run, whatever says its config."""
  at = dict(flag_values=values)
  flags.DEFINE_string(
    'workdir',
    None,
    'Where the run leaves its files and resumes from: a folder or gs://BUCKET/FOLDER '
    '(default: runs/<config>-<data>-...-seed<s>).',
    **at,
  )
  flags.DEFINE_boolean(
    'dry_run', False, 'Print all fields, the parameters, time and memory, and start nothing.', **at
  )
  flags.DEFINE_string(
    'target',
    '',
    'With --dry_run: compile every phase for a machine that is not here (v4-8, v5e-1, v5e-4, '
    'v5e-16, v5p-8, v6e-4, h100, h100x8, or a name as v5e:2x2) and tell memory, work, traffic and '
    'the least time there.',
    **at,
  )
  flags.DEFINE_string('json', '', 'With --target: keep its figures in this file.', **at)
  command_flags.define_common(values)


def resolve(values: flags.FlagValues, overrides: Sequence[tuple[str, str]]) -> ConfigDict:
  """Loads the config that the flags name and applies the overrides; cheap, touches no data.

  >>> resolve(*command_flags.parse(['--config=m3d:digits', '--config.seed=3'], _flags())).seed
  3
  """
  if not values.config:
    raise UserError(
      'Name a config with --config=NAME, for example --config=m3d:digits; --list shows them all.'
    )
  return changed(values, configs.load(values.config), overrides)


def changed(
  values: flags.FlagValues, config: ConfigDict, overrides: Sequence[tuple[str, str]]
) -> ConfigDict:
  """Applies overrides, and the flags that have a field in the config, in place; returns the
  config."""
  for key, text in overrides:
    configs.override(config, key, text)
  if values.devices:
    configs.override(config, 'run.devices', str(values.devices))
  return config


def folder(workdir: str | pathlib.Path) -> pathlib.Path:
  """Returns a work dir as a folder of this machine; raises `UserError` for an address.

  >>> folder('runs/m3d')
  PosixPath('runs/m3d')
  """
  if bucket.is_address(workdir):
    raise UserError(
      f'--workdir={workdir} is no folder; name one. A single run may have its work dir in a bucket.'
    )
  return expanded(workdir)


def default_workdir(spec: str, config: ConfigDict) -> pathlib.Path:
  """Returns runs/<config>-<data>-<what the family adds>-seed<s>, and -quick for a smoke run, which
  shares no work dir with a full one.

  >>> spec = 'm3d:npz:photos/mine.npz,quick'
  >>> default_workdir(spec, configs.load(spec)).as_posix()
  'runs/m3d-mine-ipc1-seed0-quick'
  """
  path, argument = configs.split(spec)
  data = pathlib.PurePath(config.data.name.partition(':')[2] or config.data.name).stem
  parts = [
    pathlib.PurePath(path).stem,
    re.sub(r'[^\w.]+', '_', data),
    *families.settings(config).workdir_parts(config),
    f'seed{config.seed}',
  ]
  quick = re.compile(r'quick(=(true|yes|1))?', re.IGNORECASE)
  if any(quick.fullmatch(item.strip()) for item in argument.split(',')):
    parts.append('quick')
  return pathlib.Path('runs', '-'.join(parts))


def result_text(result: Mapping[str, Any], workdir: pathlib.Path | str) -> str:
  """Returns what a finished run prints: the table of its rows, then where the report and the
  numbers are.

  The columns are those that the result's family names; one that no row fills is left out.

  >>> rows = [dict(label='M3D', last=dict(mean=0.907, std=0.004, n=5))]
  >>> print(result_text(dict(rows=rows), pathlib.Path('runs/m3d')))
  Training set          Last (%)
  ------------  ----------------
  M3D           90.7 ± 0.4 (n=5)
  <BLANKLINE>
  report:  runs/m3d/report.html
  numbers: runs/m3d/result.json
  """
  from jaxdistill.experiment import results
  from jaxdistill.report import tables

  family = result.get('family') and families.find_columns(result['family'])
  columns = family.RESULT if family else results.COLUMNS
  rows = result.get('rows', ())
  filled = set().union(*rows)
  columns = [column for column in columns if column[0] in filled]
  table = tables.text(rows, columns) + '\n\n' if columns else ''
  return f'{table}report:  {workdir}/report.html\nnumbers: {workdir}/result.json'
