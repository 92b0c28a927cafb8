"""A cluster on this machine, for rehearsal: several processes of the launcher, each with some fake
CPU devices.

What runs here runs on several hosts: the same start, the same messages, the same way to stop and to
  die.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from absl import flags

from jaxdistill.commands import flags as command_flags
from jaxdistill.commands import run as launcher
from jaxdistill.errors import UserError

_USAGE = """\
Runs the launcher as several processes with fake CPU devices on this machine.

  python -m launch.local_cluster --processes=2 --devices=2 -- \\
      --config=m3d:digits,quick --workdir=DIR

Process 0 shows what it says; what the others said is shown when one of them fails. Ctrl-C and
SIGTERM go to all of them. The exit status is that of the process that failed first, 128 + its
signal if one killed it, else 0.

Flags, before the --:"""
# After one process has failed: until the others, who may just be saving or saying what is wrong,
# have to be gone.
_GRACE_SECONDS = 20.0
_LINES_SHOWN = 30
COMMAND = (
  sys.executable,
  '-c',
  'import sys; from jaxdistill.commands import run; sys.exit(run.main())',
)
_SWEEP = (*COMMAND[:2], COMMAND[2].replace('run', 'sweep'))


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns the exit status of the job; `argv` as for `launcher.main`.

  >>> main(['--processes=two', '--', '--config=m3d:digits'])
  2
  """
  return launcher.exit_status(
    lambda argv: command_flags.forwarding(argv, _flags(), _USAGE, _start_job), argv
  )


def _start_job(values: flags.FlagValues, forwarded: list[str]) -> int:
  if not forwarded:
    raise UserError(
      'Nothing to run: the flags of the launcher come after --, for example -- '
      '--config=m3d:digits,quick.'
    )
  return run(forwarded, values.processes, values.devices, _SWEEP if values.sweep else COMMAND)


def _flags() -> flags.FlagValues:
  values = flags.FlagValues()
  at = dict(flag_values=values)
  flags.DEFINE_integer('processes', 2, 'How many processes to start.', lower_bound=1, **at)
  flags.DEFINE_integer('devices', 2, 'How many fake devices each has.', lower_bound=1, **at)
  flags.DEFINE_boolean(
    'sweep', False, 'Run the grid of `python -m launch.sweep`, whose flags come after the --.', **at
  )
  flags.DEFINE_boolean('help', False, 'Show this.', short_name='h', **at)
  return values


def run(
  arguments: Sequence[str], processes: int, devices: int, command: Sequence[str] = COMMAND
) -> int:
  """Runs `command`, the launcher, with these arguments as `processes` processes of `devices`
  devices; returns the exit status."""
  stop: list[int] = []
  remember = lambda number, frame: stop.append(number)
  before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
  with tempfile.TemporaryDirectory() as directory:
    logs = [pathlib.Path(directory, f'{i}.log') for i in range(processes)]
    started = _start([*command, *arguments], processes, devices, logs)
    try:
      return _watch(started, logs, stop)
    finally:
      for process in started:
        if process.poll() is None:
          process.kill()
          process.wait()
      for number, handler in before.items():
        signal.signal(number, handler)


def _start(command, processes, devices, logs) -> list[subprocess.Popen]:
  coordinator = f'localhost:{_free_port()}'
  started = []
  for i, log in enumerate(logs):
    own = [
      *command,
      f'--coordinator={coordinator}',
      f'--num_processes={processes}',
      f'--process_id={i}',
    ]
    with open(log, 'wb') as file:
      output = {} if i == 0 else dict(stdout=file, stderr=subprocess.STDOUT)
      # In a session of its own, so that Ctrl-C comes through this process alone, and once.
      started.append(
        subprocess.Popen(
          own, env=environment() | fake_devices(devices), start_new_session=True, **output
        )
      )
  return started


def environment() -> dict[str, str]:
  """Returns the environment in which `COMMAND` finds this very package, from whatever folder it is
  started."""
  ours = str(pathlib.Path(__file__).parents[2])
  return os.environ | {
    'PYTHONPATH': os.pathsep.join(filter(None, [ours, os.environ.get('PYTHONPATH')]))
  }


def fake_devices(count: int) -> dict[str, str]:
  """Returns what an environment needs for a process to have so many fake CPU devices.

  >>> fake_devices(2)['XLA_FLAGS'].split()[-1]
  '--xla_force_host_platform_device_count=2'
  """
  return {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} '
    f'--xla_force_host_platform_device_count={count}'.strip(),
  }


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    return probe.getsockname()[1]


def _watch(started, logs, stop) -> int:
  """Waits for the processes to end, hands on signals, ends the others when one has failed; returns
  the status of the job."""
  first, deadline = None, None
  while any(process.poll() is None for process in started) and not (
    deadline and time.monotonic() > deadline
  ):
    while stop:
      number = stop.pop(0)
      for process in started:
        if process.poll() is None:
          process.send_signal(number)
    if first is None:
      first = next((i for i, process in enumerate(started) if process.poll()), None)
      if first is not None:
        # One that was killed cannot take part in anything: the others wait for it in vain.
        deadline = time.monotonic() + (0 if started[first].returncode < 0 else _GRACE_SECONDS)
    time.sleep(0.05)
  if first is None:
    first = next((i for i, process in enumerate(started) if process.poll()), None)
  if first is None:
    return 0
  _tell(first, started[first], logs)
  code = started[first].returncode
  return 128 - code if code < 0 else code


def _tell(number: int, process: subprocess.Popen, logs) -> None:
  """Says which process ended the job and how, and shows the end of what it said if that was not
  shown already."""
  if number:
    for line in logs[number].read_text(errors='replace').splitlines()[-_LINES_SHOWN:]:
      print(f'[process {number}] {line}', file=sys.stderr)
  code = process.returncode
  how = f'was killed by {signal.Signals(-code).name}' if code < 0 else f'ended with status {code}'
  print(
    f'Process {number} (pid {process.pid}) {how}; the job is ended. Start the same command '
    'again to continue.',
    file=sys.stderr,
    flush=True,
  )
