"""`--dry_run --target=v5e-4`: every phase of a run compiled for a machine that is not here, and
counted."""

import json
from types import ModuleType

from absl import flags
from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill import files
from jaxdistill.commands.process import tell
from jaxdistill.errors import UserError
from jaxdistill.training import interrupt


def check(values: flags.FlagValues) -> None:
  """Raises `UserError` for flags of this kind that do not go together."""
  if values.json and not values.target:
    raise UserError('--json keeps what --target counts: give both, with --dry_run.')
  if values.target and not values.dry_run:
    raise UserError(
      '--target compiles for a machine that is not here, which can run nothing: give --dry_run too.'
    )
  if values.json:
    files.check_writable('--json', values.json)


def dry_run(values: flags.FlagValues, flow: ModuleType, config: ConfigDict) -> None:
  """Compiles the phases of a config for the machine of `--target`, and prints a line for each.

  Raises:
    UserError: an unknown machine or one without its compiler, more devices than it has, a task
      without phases, a wrong config.
  """
  from jaxdistill.experiment import compiling
  from jaxdistill.numerics import settled
  from jaxdistill.training import targets

  target = targets.find(values.target)
  if not hasattr(flow, 'phases'):
    raise UserError(f'A run of the task {config.task!r} compiles nothing; leave --target out.')
  targets.prepare(target)
  mesh = targets.make_mesh(target, config.run.devices)
  # The rest of the checks is about what is here.
  config = ConfigDict(config.to_dict())
  configs.override(config, 'run.devices', '0')
  flow.check(config)
  counts = {}
  with settled():
    for phase in flow.phases(config, mesh):
      counts[phase.name] = compiling.count(phase, target, mesh)
      interrupt.check()
      tell(compiling.line(phase.name, counts[phase.name]))
  tell(f'\n{compiling.text_of_all(counts, target, mesh.size)}')
  if values.json:
    _write(values.json, json.dumps(compiling.as_json(counts), indent=2) + '\n')


def _write(path: str, text: str) -> None:
  try:
    files.write_atomic(files.expanded(path), files.encoded(text))
  except OSError as error:
    raise UserError(f'--json={path} cannot be written: {error.strerror or error}.') from error
