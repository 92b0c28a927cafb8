"""A command as a process of its own: from the first signal that it may get to its exit status.

Imported before all else, so it imports next to nothing. Signals are remembered from here on
(`training.interrupt`), before JAX or anything else that is compiled is loaded. At the end the
process is left by os._exit: the interpreter would take itself apart while threads of XLA still run,
which now and then ends in a segmentation fault instead of the status.
"""

import atexit
import contextlib
import importlib
import os
import sys

from jaxdistill.commands import streams
from jaxdistill.training import guard, interrupt


def main() -> None:
  """Runs the command `jaxdistill` and ends the process; the console script."""
  run('main')


def run(command: str) -> None:
  """Runs main() of a module of this package and ends the process with the status that it returns.

  Args:
    command: name of the module.
  """
  streams.settle()
  guard.start()
  try:
    status = importlib.import_module(f'jaxdistill.commands.{command}').main()
  except SystemExit as stop:
    status = stop.code
  except BaseException:
    import traceback  # takes longer to load than all else here

    traceback.print_exc()
    status = 1
  if isinstance(status, str):  # of sys.exit in a file of the user's
    print(status, file=sys.stderr)
  if streams.lost() and not status:
    print(f'Lines that were to be printed are lost: {streams.lost()}.', file=sys.stderr)
  end(status if isinstance(status, int) else int(status is not None))


def end(status: int) -> None:
  """Ends the process with a status, or with that of a signal that has come since all was done."""
  stopped = interrupt.requested() is not None
  if not stopped or interrupt.state.joined:
    # What libraries have registered: a user's own, and the farewell of a job's processes. After a
    # signal they would have to wait for what is still being computed.
    with contextlib.suppress(Exception):
      atexit._run_exitfuncs()
  if not stopped and interrupt.requested():
    guard.leave(interrupt.state.number)
  guard.flush(None if not stopped else guard.FLUSH_SECONDS)
  os._exit(status)
