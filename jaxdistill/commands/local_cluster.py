"""A cluster on this machine, for rehearsal: a command as several processes, each with some fake CPU
devices.

What runs here runs on several hosts: the same start, the same messages, the same way to stop and to
  die.
"""

import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from absl import flags

from jaxdistill import terminal
from jaxdistill.commands import flags as command_flags
from jaxdistill.errors import UserError
from jaxdistill.training import child, interrupt
from jaxdistill.training.exits import exit_status

_USAGE = """\
Runs a command as several processes with fake CPU devices on this machine.

  jaxdistill cluster --processes=2 --devices=2 -- --config=m3d:digits,quick --workdir=DIR
  jaxdistill cluster -- sweep --config=m3d:digits,quick --grid.seed=0,1

After the -- stands what would follow `jaxdistill`: run (which may be left out), sweep or evaluate,
and its flags.

Process 0 shows what it says; what the others said is shown when one of them fails. Ctrl-C, SIGTERM
and SIGHUP go to all of them. The exit status is that of the process that failed first, 128 + its
signal if one killed it, else 0.

Flags, before the --:"""
# After one process has failed: until the others, who may just be saving or saying what is wrong,
# have to be gone.
_GRACE_SECONDS = 20.0
_LINES_SHOWN = 30
COMMAND = (sys.executable, '-m', 'jaxdistill')


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns the exit status of the job; `argv` as for `main.main`.

  >>> main(['--processes=two', '--', '--config=m3d:digits'])
  2
  """
  return exit_status(
    lambda argv: command_flags.forwarding(argv, _flags(), _USAGE, _start_job), argv
  )


def _start_job(values: flags.FlagValues, forwarded: list[str]) -> int:
  if not forwarded:
    raise UserError(
      'Nothing to run: the flags of the run come after --, for example -- '
      '--config=m3d:digits,quick.'
    )
  command = ['sweep', *forwarded] if values.sweep else forwarded
  return run(command, values.processes, values.devices)


def _flags() -> flags.FlagValues:
  values = flags.FlagValues()
  at = dict(flag_values=values)
  flags.DEFINE_integer('processes', 2, 'How many processes to start.', lower_bound=1, **at)
  flags.DEFINE_integer('devices', 2, 'How many fake devices each has.', lower_bound=1, **at)
  flags.DEFINE_boolean(
    'sweep', False, 'The flags after the -- are those of `jaxdistill sweep`.', **at
  )
  flags.DEFINE_boolean('help', False, 'Show this.', short_name='h', **at)
  return values


def run(arguments: Sequence[str], processes: int, devices: int) -> int:
  """Runs `jaxdistill` with these arguments as `processes` processes of `devices` devices; returns
  the exit status."""
  started: list[subprocess.Popen] = []
  with interrupt.handed_on() as signals, tempfile.TemporaryDirectory() as directory:
    logs = [pathlib.Path(directory, f'{i}.log') for i in range(processes)]
    try:
      _start([*COMMAND, *arguments], processes, devices, logs, started)
      return _watch(started, logs, signals)
    finally:
      for process in started:
        if process.poll() is None:
          process.kill()
          process.wait()


def _start(command, processes, devices, logs, started) -> None:
  """Starts the processes and adds each to `started`, so that none is left alone where one fails."""
  coordinator = f'localhost:{_free_port()}'
  for i, log in enumerate(logs):
    place = [
      f'--coordinator={coordinator}',
      f'--num_processes={processes}',
      f'--process_id={i}',
    ]
    with open(log, 'wb') as file, interrupt.blocked():
      output = {} if i == 0 else dict(stdout=file, stderr=subprocess.STDOUT)
      # In a session of its own, so that Ctrl-C comes through this process alone, and once.
      started.append(
        subprocess.Popen(
          [*command, *place], env=child.environment(devices), start_new_session=True, **output
        )
      )


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    return probe.getsockname()[1]


def _watch(started, logs, signals) -> int:
  """Waits for the processes to end, hands on signals, ends the others when one has failed; returns
  the status of the job."""
  first, deadline = None, None
  while any(process.poll() is None for process in started) and not (
    deadline and time.monotonic() > deadline
  ):
    while signals:
      number = signals.pop(0)
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
  _report(first, started[first], logs)
  code = started[first].returncode
  return 128 - code if code < 0 else code


def _report(number: int, process: subprocess.Popen, logs) -> None:
  """Says which process ended the job and how, and shows the end of what it said if that was not
  shown already."""
  if number:
    for line in logs[number].read_text(errors='replace').splitlines()[-_LINES_SHOWN:]:
      terminal.complain(f'[process {number}] {line}')
  code = process.returncode
  how = f'was killed by {signal.Signals(-code).name}' if code < 0 else f'ended with status {code}'
  terminal.complain(
    f'Process {number} (pid {process.pid}) {how}; the job is ended. Start the same command '
    'again to continue.'
  )
