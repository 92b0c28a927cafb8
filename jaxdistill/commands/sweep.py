"""A grid of runs and one page that compares them: `jaxdistill sweep`.

Every cell of the grid is a run as `jaxdistill run` starts it, in a work dir of its own below that
of the sweep. The name of the work dir holds a hash of the config, so that a cell is found again
whatever grid it is part of. All cells are checked before the first one starts.
"""

import dataclasses
import difflib
import hashlib
import itertools
import json
import pathlib
import traceback
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill import files, terminal
from jaxdistill.commands import families, process, streams
from jaxdistill.commands import flags as command_flags
from jaxdistill.commands import run as launcher
from jaxdistill.errors import UserError
from jaxdistill.experiment import comparison
from jaxdistill.experiment.comparison import Cell, Family, describe
from jaxdistill.experiment.results import Result
from jaxdistill.report import numbers, tables
from jaxdistill.training import exits, interrupt

FAILED = 1
# Sections of a config that say how to compute, not what.
_FREE = 'run'

_USAGE = """\
Runs every combination of some configs and some values, and writes one page that compares them.

  jaxdistill sweep --config=m3d:digits --config=dm:digits --config=dance:digits \\
      --grid.ipc=1,10 --grid.seed=0,1,2 --workdir=runs/digits

  --config=NAME[:DATA,ARGUMENTS]  a config, as for `jaxdistill run`; once for each that takes part
  --grid.KEY=VALUE,VALUE,...      an axis of the grid: KEY is an argument of the configs (ipc
                                  ...) or a field (seed, model.width ...; the dry run of a config
                                  shows all)
  --config.KEY=VALUE              changes one field of every config; methods are comparable where
                                  they are evaluated alike, see the page of their family

The same command continues: what is done is skipped, what was stopped goes on, what failed is
tried again. A larger grid in the same work dir keeps what the smaller one has computed.
sweep.html, sweep.md and sweep.json in the work dir are written after each run. Baselines that are
the same beside several methods, and experts, are computed once. Exit status: 0 all runs are done,
1 some failed, 2 a mistake in the command, 75 stopped.

Flags:"""


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit status, see `main.main`; 1 when a run of the
  grid failed.

  >>> main(['--config=m3d:digits', '--grid.icp=1,10'])
  2
  """
  return exits.exit_status(_dispatch, argv)


def _dispatch(argv: list[str]) -> int:
  values, overrides, axes = command_flags.parse(argv, _flags(), ('config', 'grid'))
  if values.help:
    streams.show(command_flags.help_text(values, _USAGE))
    return 0
  process.quiet()
  cells = grid(values, overrides, axes)
  interrupt.check()
  process.prepare_jax(values)
  family = _family(cells)
  from jaxdistill.training import hosts

  for cell in cells:
    interrupt.check()
    try:
      families.find_flow(cell.config).check(cell.config)
    except UserError as error:
      raise UserError(f'{cell.spec}: {error}') from None
    # The first of several processes looks, for all, while the data of the cell are at hand.
    content = hosts.first('finished run', lambda cell=cell: _finished_content(cell, family))
    cell.result = content and Result.from_json(content)
  if values.dry_run:
    process.tell(plan_text(cells))
    return 0
  return run(values, cells, family)


def _flags() -> flags.FlagValues:
  values = flags.FlagValues()
  at = dict(flag_values=values)
  flags.DEFINE_multi_string(
    'config', [], 'NAME[:DATA,ARGUMENTS] of a config; give the flag once for each.', **at
  )
  flags.DEFINE_string(
    'workdir', 'runs/sweep', 'Where the page and the work dirs of the runs lie.', **at
  )
  flags.DEFINE_boolean(
    'dry_run',
    False,
    'Print the runs, what is done of them, time and memory, and start nothing.',
    **at,
  )
  command_flags.define_common(values)
  return values


def grid(
  values: flags.FlagValues, overrides: Sequence[tuple[str, str]], axes: Sequence[tuple[str, str]]
) -> list[Cell]:
  """Returns the cells of a grid in the order in which they run; cheap, touches no data.

  Cells that differ only in the seed follow each other, then the configs of one point of the grid:
  they share compiled programs. Cells of one data set stay together.

  Raises:
    UserError: for what no run can be made of: a name, a value, an axis that is also fixed, a run
      that is there twice.
  """
  if not values.config:
    raise UserError(
      'Name the configs with --config=NAME, once for each, for example --config=m3d:digits '
      '--config=dm:digits.'
    )
  table = _axes(axes, {key for key, _ in overrides})
  seeds = {key: table.pop(key) for key in ('seed',) if key in table}
  workdir = launcher.folder(values.workdir)
  cells, places = [], {}
  for point in _points(table):
    for spec in values.config:
      for seed in _points(seeds):
        cells.append(_cell(values, spec, point | seed, overrides, workdir))
        twin = places.setdefault(cells[-1].workdir, cells[-1])
        if twin is not cells[-1]:
          raise UserError(
            f'The grid has one run twice: {twin.spec} and {cells[-1].spec} have the same settings.'
          )
  order = list(dict.fromkeys(_data(cell) for cell in cells))
  return sorted(cells, key=lambda cell: order.index(_data(cell)))


def _data(cell: Cell) -> str:
  return json.dumps(cell.config.data.to_dict(), sort_keys=True)


def _axes(axes: Sequence[tuple[str, str]], fixed: set[str]) -> dict[str, list[str]]:
  table = {}
  for key, text in axes:
    points = [value.strip() for value in text.split(',')]
    if key in table:
      raise UserError(f'The axis --grid.{key} is given twice; give all of its values at once.')
    if key in fixed:
      raise UserError(
        f'{key} is an axis of the grid and fixed by --config.{key}; give one of the two.'
      )
    if not all(points):
      raise UserError(f'--grid.{key} needs values divided by commas, not {text!r}.')
    if len(set(points)) < len(points):
      raise UserError(f'--grid.{key}={text} holds a value twice.')
    table[key] = points
  return table


def _points(table: dict[str, list[str]]) -> list[dict[str, str]]:
  return [dict(zip(table, point)) for point in itertools.product(*table.values())]


def _cell(values, spec: str, point: dict[str, str], overrides, workdir: pathlib.Path) -> Cell:
  """Makes a cell: what is a field of the config is overridden, all else is an argument of the
  config file."""
  fields = configs.flat(configs.load(spec))
  arguments = [
    f'{key}={value}' for key, value in point.items() if key not in fields and '.' not in key
  ]
  for key in point:
    if isinstance(fields.get(key), tuple):
      raise UserError(
        f'{key} cannot be an axis of the grid, as its values hold commas; name a config for '
        'each of them.'
      )
  try:
    config = configs.load(_with(spec, arguments))
  except UserError as error:
    raise UserError(f'{describe(spec, point)}: {error}{_hint(arguments, fields)}') from None
  rest = [(key, value) for key, value in point.items() if key in fields or '.' in key]
  try:
    launcher.changed(values, config, [*overrides, *rest])
  except UserError as error:
    raise UserError(f'{describe(spec, point)}: {error}') from None
  try:
    if 'rows' in config.run and not config.run.rows:
      config.run.rows = str(workdir / 'rows')
    name = f'{launcher.default_workdir(spec, config).name}-{_hash(config)}'
    return Cell(spec, config, workdir / name, point)
  except (AttributeError, LookupError, TypeError):
    _refuse(spec, config, point)
    raise


def _refuse(spec: str, config: ConfigDict, point: dict[str, str]) -> None:
  """Raises `UserError` for a config of the user's own that lacks what the name of a work dir is
  made of, in the words of a single run."""
  try:
    families.find_flow(config).check(config)
  except UserError as error:
    raise UserError(f'{describe(spec, point)}: {error}') from None


def _with(spec: str, arguments: list[str]) -> str:
  path, arg = configs.split(spec)
  return f'{path}:{",".join(filter(None, [arg, *arguments]))}' if arguments else spec


def _hint(arguments: list[str], fields: dict[str, Any]) -> str:
  """Helps where a field without a dot was mistyped: the config takes it for an argument."""
  plain = [field for field in fields if '.' not in field]
  for argument in arguments:
    near = difflib.get_close_matches(argument.partition('=')[0], plain, n=1)
    if near:
      return f' Or did you mean the field {near[0]!r}?'
  return ''


def _hash(config: ConfigDict) -> str:
  described = families.recorded(config).to_dict()
  content = {key: value for key, value in described.items() if key != _FREE}
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _family(cells: list[Cell]) -> Family:
  """Returns what the cells' family says of its runs in a comparison."""
  names = list(dict.fromkeys(cell.config.get('family', '') for cell in cells))
  for cell in cells:
    families.find_flow(cell.config)
  if len(names) > 1:
    raise UserError(f'A sweep compares runs of one family, and these are of {" and ".join(names)}.')
  family = families.find_columns(names[0])
  if not hasattr(family, 'TASKS'):
    raise UserError(f'The family {names[0]} does not say how its runs compare; start them singly.')
  for cell in cells:
    if cell.config.task not in family.TASKS:
      raise UserError(
        f'{cell.spec}: a sweep compares runs of the task {" or ".join(family.TASKS)}, '
        f'not {cell.config.task}; start it with jaxdistill run.'
      )
  return family


def finished(cell: Cell, family: Family) -> Result | None:
  """Returns the result of a cell that is done, None of one that is not."""
  path = cell.workdir / 'result.json'
  try:
    content = path.read_bytes()
  except OSError:
    return None
  try:
    result = Result.from_json(files.read_json(content))
    changed = {key.split('.')[0] for key in configs.differences(result.config, cell.config)}
    if changed - {_FREE} or not (cell.workdir / 'report.html').is_file():
      return None
    comparison.check(dataclasses.replace(cell, result=result), family)
  except Exception:  # there is nothing that a damaged file may not lack
    process.tell(f'{path} is damaged; the run is started, and writes it again.')
    return None
  # One that was begun with other data is started, to be refused: the page tells.
  return None if launcher.refusal(cell.config, cell.workdir) else result


def _finished_content(cell: Cell, family: Family) -> dict[str, Any] | None:
  """Returns what `finished` does in a form that goes from one process to another."""
  result = finished(cell, family)
  return result and files.jsonable(result.to_json())


def run(values: flags.FlagValues, cells: list[Cell], family: Family) -> int:
  """Runs what is not done, each cell as the launcher would, and renews the page after each; returns
  the exit status."""
  workdir = launcher.folder(values.workdir)
  page = workdir / comparison.PAGE
  kept = lambda: f'; {_count(cells)}. Start the same command again to continue'
  interrupt.begun(kept)
  try:
    _write_page(family, workdir, cells)
    for number, cell in enumerate(cells, 1):
      interrupt.check()
      where = f'run {number} of {len(cells)}: {cell.spec}'
      process.tell(f'{where} is done already' if cell.result else where + time_left(cells))
      if not cell.result:
        _run_cell(values, cell)
        interrupt.begun(kept)
        _write_page(family, workdir, cells)
  except interrupt.Interrupted as stop:
    raise interrupt.Interrupted(f'{stop}\n{_count(cells)}; the page so far: {page}') from None
  except KeyboardInterrupt as stop:  # between two runs
    raise interrupt.Interrupted(f'Stopped by {interrupt.name_of(stop)}{kept()}.') from None
  failed = [f'failed:  {cell.spec}: {cell.error}' for cell in cells if cell.error]
  again = ['Start the same command again to try what failed.'] if failed else []
  process.tell(
    '\n'.join(
      [comparison.text(cells, family), '', _count(cells), *failed, *again, f'page:    {page}']
    )
  )
  return FAILED if failed else 0


def _write_page(family: Family, workdir: pathlib.Path, cells: list[Cell]) -> None:
  from jaxdistill.training import hosts

  hosts.first('page', lambda: str(comparison.write(workdir, cells, family)))


def _run_cell(values: flags.FlagValues, cell: Cell) -> None:
  from jaxdistill.training import hosts

  try:
    flow = families.find_flow(cell.config)
    cell.result = Result.from_json(launcher.run_config(values, flow, cell.config, cell.workdir))
    if hosts.is_first():
      (cell.workdir / 'error.txt').unlink(missing_ok=True)
  except Exception as error:  # whatever it is: the other cells do not depend on it
    if (
      hosts.count() > 1
    ):  # the others are not told, and may be anywhere in the run: nothing can go on with them
      raise
    cell.error = str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'
    _keep_traceback(cell)
    terminal.line(f'failed: {cell.spec}: {cell.error}')


def _keep_traceback(cell: Cell) -> None:
  """Leaves the traceback in the work dir, if there is one to write to."""
  try:
    files.write_atomic(cell.workdir / 'error.txt', files.encoded(traceback.format_exc()))
  except OSError as error:
    terminal.line(f'{cell.workdir}: the traceback cannot be kept there ({error.strerror}).')


def _count(cells: list[Cell]) -> str:
  failed = sum(bool(cell.error) for cell in cells)
  done = sum(cell.status == 'done' for cell in cells)
  return f'{done} of {len(cells)} runs are done' + (f', {failed} failed' if failed else '')


def time_left(cells: list[Cell]) -> str:
  """Returns about how long the cells that are neither done nor failed will take: each as long as
  the done one most like it."""
  done = [cell for cell in cells if cell.result]
  if not done:
    return ''
  left = 0.0
  for cell in cells:
    if not cell.result and not cell.error:
      nearest = min(done, key=lambda other: len(configs.differences(other.config, cell.config)))
      left += nearest.result.seconds['total']
  return f'; about {numbers.seconds(left)} left for all'


def plan_text(cells: list[Cell]) -> str:
  """Returns the cells with their status and, for one of each group that differs only in the seed,
  the run's own estimate."""
  rows = [{'run': cell.spec, 'status': cell.status, 'workdir': str(cell.workdir)} for cell in cells]
  parts = [tables.text(rows, [('run', 'Run'), ('status', 'Status'), ('workdir', 'Work dir')])]
  seen = set()
  for cell in cells:
    alike = ConfigDict(cell.config.to_dict())
    alike.seed = 0
    if not cell.result and _hash(alike) not in seen:
      seen.add(_hash(alike))
      interrupt.check()
      parts.append(f'{cell.spec}\n\n{families.find_flow(cell.config).dry_run(cell.config)}')
  return '\n\n'.join(parts)
