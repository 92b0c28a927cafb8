"""How a command begins: what it says for all processes of a job, other libraries' lines, JAX."""

import os

from absl import flags, logging

from jaxdistill import terminal
from jaxdistill.errors import UserError, unknown
from jaxdistill.files import expanded
from jaxdistill.training.exits import process_number


def tell(text: str) -> None:
  """Prints what one process of a job says for all."""
  if process_number() == 0:
    terminal.line(text)


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

  from jaxdistill.training import job, surroundings

  job.join(values.coordinator, values.num_processes, values.process_id)
  if (values.devices or 0) > len(surroundings.devices()):
    raise UserError(
      f'--devices={values.devices} is more than the {jax.device_count()} here '
      f'({jax.default_backend()}).'
    )
  place = values.compilation_cache
  if place not in ('on', 'off') and os.sep not in place and not os.path.isdir(place):
    raise unknown('value of --compilation_cache', place, ('on', 'off', './FOLDER'))
  if place != 'off':
    from jaxdistill.training.machine import enable_compilation_cache

    folder = None if place == 'on' else expanded(place)
    enable_compilation_cache(folder)
