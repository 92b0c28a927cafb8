"""The command line, `jaxdistill` or `python -m launch.run`: from flags to a finished work dir.

Everything that a user may have got wrong is checked before anything is compiled: flags, config keys
and values, the data set, the work dir. A mistake ends in one sentence and exit status 2; an
interrupted run in status 75.
"""

import importlib
import os
import pathlib
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill.commands import flags as command_flags
from jaxdistill.errors import UserError, unknown
from jaxdistill.training import bucket, interrupt

# A family is a sub-package with settings.py, whose TASKS maps the field `task` of a config to the
# name of the module with the flow of that task: check(config), run(config, run), dry_run(config),
# and whose explain(config) tells by dotted key what the fields of a config mean.
FAMILIES = ('condensation',)
USER_ERROR = 2

_USAGE = """\
Condense or distil a data set: runs a config and leaves numbers, pictures and a report in a work
dir.

  jaxdistill --config=m3d:digits                          the scikit-learn digits, in minutes
  jaxdistill --config=m3d:folder:photos,ipc=10            images of yours, one folder a class
  jaxdistill --config=m3d:cifar10,ipc=10 --workdir=DIR    the same command again resumes
  jaxdistill --config=m3d:cifar10,ipc=10 --dry_run        what would run, time and memory
  jaxdistill --list                                       every config, its time and number

In a checkout, `python -m launch.run` takes the same flags and `jaxdistill` need not be installed.

Flags:"""
_AFTER_LIST = """\
Start one with --config=NAME, with a data set and arguments behind a colon:
--config=m3d:cifar10,ipc=10. The family may be left out. Times and numbers are those of the
command at the top of the config, for the data set named there."""


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit status: 0, 2 for a mistake of the user, 75 when
  interrupted.

  `argv` is the arguments without the program's name; those of the process when None.

  >>> main(['--config=m3d:digits', '--config.condensation.ipc=two'])
  2
  """
  return exit_status(_dispatch, argv)


def exit_status(start: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> int:
  """Calls start(arguments) and turns the ways in which a program may end into its exit status and a
  sentence.

  `argv` as for `main`; what `start` returns is the status, None being 0.

  >>> exit_status(lambda arguments: len(arguments), ['a', 'b', 'c'])
  3
  """
  try:
    with interrupt.termination_unwinds():
      return start(list(sys.argv[1:] if argv is None else argv)) or 0
  except UserError as error:
    speaker = f'process {_process()}: ' if _process() else ''
    print(f'{speaker}error: {error}', file=sys.stderr)
    return _left(USER_ERROR, str(error))
  except KeyboardInterrupt as stop:
    told = f'Stopped by {interrupt.name_of(stop)} before the run began; nothing was written.'
    print(told, file=sys.stderr)
    return _left(
      128 + (signal.SIGTERM if isinstance(stop, interrupt.Terminated) else signal.SIGINT), told
    )
  except SystemExit as stop:
    # The loop raises it once the state is saved; its text says how to continue.
    if str(stop) != str(stop.code) and _process() == 0:
      print(stop, file=sys.stderr)
    return stop.code
  except Exception as error:
    if _in_job():
      traceback.print_exc()
    _left(1, f'{type(error).__name__}: {error}')
    raise


def _left(status: int, reason: str) -> int:
  """Returns the status to a process alone; of several, ends this one and tells the others."""
  if _in_job():
    from jaxdistill.training import job

    job.leave(status, reason)
  return status


def _in_job() -> bool:
  """Whether this is one of several processes, without loading JAX for a mistake in the flags."""
  if 'jax' not in sys.modules:
    return False
  from jaxdistill.training import hosts

  return hosts.count() > 1


def _process() -> int:
  """Returns which process of the job this is."""
  if not _in_job():
    return 0
  from jaxdistill.training import hosts

  return hosts.number()


def _dispatch(argv: list[str]) -> None:
  values, overrides = command_flags.parse(argv, _flags())
  if values.help:
    print(command_flags.help_text(values, _USAGE))
  elif values.list:
    print(list_text())
  else:
    _start(values, resolve(values, overrides))


def _start(values: flags.FlagValues, config: ConfigDict) -> None:
  quiet()
  flow = find_flow(config)
  prepare_jax(values)
  flow.check(config)
  if values.dry_run:
    tell(f'{configs.to_text(config, _settings(config).explain(config))}\n')
    tell(flow.dry_run(config))
    return
  workdir = values.workdir or default_workdir(values.config, config)
  if not bucket.is_address(workdir):
    workdir = folder(workdir)
  tell(result_text(run_config(values, flow, config, workdir), workdir))


def tell(text: str) -> None:
  """Prints what one process of a job says for all."""
  if _process() == 0:
    print(text, flush=True)


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
  try:
    # Of several processes none may leave the others: a signal between two phases waits for the next
    # one, where all stop.
    with (
      interrupt.termination_unwinds(),
      Run(workdir, config, **options) as run,
      run.watch.watching(hosts.count() > 1),
    ):
      run.say(f'work dir: {workdir}')
      return flow.run(config, run)
  except KeyboardInterrupt as stop:  # between two phases, or a second Ctrl-C within one
    raise interrupt.Interrupted(
      f'Stopped by {interrupt.name_of(stop)}; what was finished or saved is kept in {workdir}. '
      'Start the same command again to continue.'
    ) from None


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
  flags.DEFINE_string(
    'workdir',
    None,
    'Where the run leaves its files and resumes from: a folder or gs://BUCKET/FOLDER '
    '(default: runs/<config>-<data>-ipc<k>-seed<s>).',
    **at,
  )
  flags.DEFINE_boolean(
    'list', False, 'List every config with what it does, its run time and expected number.', **at
  )
  flags.DEFINE_boolean(
    'dry_run', False, 'Print all fields, the parameters, time and memory, and start nothing.', **at
  )
  command_flags.define_common(values)
  return values


def list_text() -> str:
  """Returns a paragraph a shipped config: its name, what it does, run time and expected number.

  >>> 'condensation/m3d' in list_text()
  True
  """
  blocks = [
    f'{entry.name}\n  {entry.description}\n  Run time: {entry.run_time}\n  Expected: '
    f'{entry.expected}'
    for entry in configs.list_configs()
  ]
  return '\n\n'.join([*blocks, _AFTER_LIST])


def list_markdown() -> str:
  """Returns the shipped configs as a Markdown table: name, what it does, run time and expected
  number of its command.

  >>> list_markdown().splitlines()[0]
  '| Config | What it does | Run time | Expected |'
  """
  from jaxdistill.report import tables

  rows = [entry._asdict() | {'name': f'`{entry.name}`'} for entry in configs.list_configs()]
  return tables.markdown(
    rows,
    [
      ('name', 'Config'),
      ('description', 'What it does'),
      ('run_time', 'Run time'),
      ('expected', 'Expected'),
    ],
  )


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
  return pathlib.Path(workdir).expanduser()


def default_workdir(spec: str, config: ConfigDict) -> pathlib.Path:
  """Returns runs/<config>-<data>-ipc<k>-seed<s>, and -quick for a smoke run, which shares no work
  dir with a full one.

  One of continual learning, whose config serves several methods, has the method and the number of
  steps in its name too.

  >>> spec = 'm3d:npz:photos/mine.npz,quick'
  >>> default_workdir(spec, configs.load(spec)).as_posix()
  'runs/m3d-mine-ipc1-seed0-quick'
  """
  path, arg = configs.split(spec)
  data = pathlib.PurePath(config.data.name.partition(':')[2] or config.data.name).stem
  parts = [
    pathlib.PurePath(path).stem,
    re.sub(r'[^\w.]+', '_', data),
    *map(_set_name, config.get('sets', ())),
  ]
  if 'continual' in config:
    method = (
      config.method.name if config.continual.memory == 'condensed' else config.continual.memory
    )
    parts += [method, f'steps{config.continual.steps}']
  if 'ipc' in config.get('condensation', {}):
    parts.append(f'ipc{config.condensation.ipc}')
  parts.append(f'seed{config.seed}')
  if any(
    re.fullmatch(r'quick(=(true|yes|1))?', item.strip(), re.IGNORECASE) for item in arg.split(',')
  ):
    parts.append('quick')
  return pathlib.Path('runs', '-'.join(parts))


def _set_name(path: str) -> str:
  """Names a condensed set by its file, or by its work dir where a run has given the file its usual
  name."""
  path = pathlib.PurePath(path)
  name = path.parent.name if path.stem == 'condensed' and path.parent.name else path.stem
  return re.sub(r'[^\w.-]+', '_', name)


def find_flow(config: ConfigDict) -> ModuleType:
  """Returns the module with the flow of the config's family and task."""
  tasks, task = _settings(config).TASKS, config.get('task', '')
  if task not in tasks:
    raise unknown(f'task of the family {config.family}', task, tasks)
  return importlib.import_module(f'jaxdistill.{config.family}.{tasks[task]}')


def _settings(config: ConfigDict) -> ModuleType:
  family = config.get('family', '')
  if family not in FAMILIES:
    raise unknown('family', family, FAMILIES)
  return importlib.import_module(f'jaxdistill.{family}.settings')


def find_columns(family: str) -> ModuleType | None:
  """Returns the module `columns` of a family, None of one that has none.

  >>> find_columns('condensation').TASKS
  ('condense',)
  """
  name = f'jaxdistill.{family}.columns'
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    if not name.startswith(error.name):
      raise
    return None


def quiet() -> None:
  """Leaves the terminal to the run's own lines: libraries report through absl and the
  environment."""
  logging.set_verbosity(logging.ERROR)
  for variable, level in {'TF_CPP_MIN_LOG_LEVEL': '3', 'GRPC_VERBOSITY': 'ERROR'}.items():
    os.environ.setdefault(variable, level)


def prepare_jax(values: flags.FlagValues) -> None:
  """Joins the other processes of the job, checks the number of devices and points JAX to the
  compilation cache."""
  import jax

  from jaxdistill.training import job

  job.join(values.coordinator, values.num_processes, values.process_id)
  if values.devices and values.devices > jax.device_count():
    raise UserError(
      f'--devices={values.devices} is more than the {jax.device_count()} here '
      f'({jax.default_backend()}).'
    )
  place = values.compilation_cache
  if place not in ('on', 'off') and os.sep not in place and not os.path.isdir(place):
    raise unknown('value of --compilation_cache', place, ('on', 'off', './FOLDER'))
  if place != 'off':
    from jaxdistill.training.machine import enable_compilation_cache

    folder = None if place == 'on' else pathlib.Path(place).expanduser()
    enable_compilation_cache(folder)


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

  family = result.get('family') and find_columns(result['family'])
  columns = family.RESULT if family else results.COLUMNS
  rows = result.get('rows', ())
  columns = [column for column in columns if any(column[0] in row for row in rows)]
  table = tables.text(rows, columns) + '\n\n' if columns else ''
  return f'{table}report:  {workdir}/report.html\nnumbers: {workdir}/result.json'
