"""How a program ends: its exit status and its last words, as one process or as one of several."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from jaxdistill import terminal
from jaxdistill.errors import UserError, brief, shown
from jaxdistill.training import interrupt

USER_ERROR = 2
# Letters of a sentence; of a longer one, with a name of a thousand letters, begin and end are told.
_LONGEST, _BEGIN = 2000, 1000


def exit_status(
  start: Callable[[list[str]], int | None],
  argv: Sequence[str] | None = None,
  *,
  stopped: str = interrupt.BEFORE,
) -> int:
  """Calls start(arguments) and turns the ways in which a program may end into its exit status and a
  sentence.

  SIGINT, SIGTERM and SIGHUP are remembered meanwhile (`training.interrupt`); the process is the
  caller's, and goes on (`commands.console` ends one that is not).

  Args:
    start: the command; what it returns is the status, None being 0.
    argv: the arguments without the program's name; those of the process when None.
    stopped: what is so after a signal that no run has answered.

  >>> exit_status(lambda arguments: len(arguments), ['a', 'b', 'c'])
  3
  """
  arguments = list(sys.argv[1:] if argv is None else argv)
  with interrupt.remembering(), interrupt.command(stopped):
    try:
      interrupt.check()
      _check_directory()
      status = start(arguments) or 0
    except UserError as error:
      speaker = f'process {process_number()}: ' if process_number() else ''
      terminal.complain(f'{speaker}error: {_sentence(error)}')
      status = _leave(USER_ERROR, str(error))
    except KeyboardInterrupt as stop:
      status, reason = interrupt.ending(interrupt.number_of(stop))
      terminal.complain(reason)
      return _leave(status, reason)
    except SystemExit as stop:
      # The loop raises it once the state is saved; its text says how to continue.
      if str(stop) != str(stop.code) and process_number() == 0:
        terminal.complain(str(stop))
      return stop.code
    except Exception as error:
      if refused := _refused_by_jax(error) or _out_of_memory(error):
        terminal.complain(f'error: {refused}')
        return _answered(_leave(USER_ERROR, refused))
      if not (_in_job() or interrupt.requested()):
        raise
      traceback.print_exc()  # after a signal: what went wrong may come of it
      status = _leave(1, f'{type(error).__name__}: {error}')
    return _answered(status)


def _sentence(error: UserError) -> str:
  """What an error says, as one line that can be read, whatever names are in it."""
  text = shown(error)
  return text if len(text) <= _LONGEST else f'{text[:_BEGIN]} ... {text[_BEGIN - _LONGEST :]}'


def _refused_by_jax(error: Exception) -> str:
  """What is wrong with a variable by which JAX ends while it is imported; '' for other errors."""
  if not isinstance(error, ValueError) or 'jax.numpy' in sys.modules:
    return ''
  for name, value in os.environ.items():
    if name.startswith('JAX_') and (name in str(error) or name.lower() in str(error)):
      return f'{name}={value} is no value that JAX knows; correct it, or leave it unset.'
  return ''


def _out_of_memory(error: Exception) -> str:
  """What to do where the memory of a device or of the machine did not suffice; '' for other
  errors."""
  lacking = 'RESOURCE_EXHAUSTED' in str(error) and type(error).__module__.startswith('jax')
  if not (lacking or isinstance(error, MemoryError)):
    return ''
  reason = brief(str(error).removeprefix('RESOURCE_EXHAUSTED:').strip() or 'no more is to be had')
  return (
    f'The memory does not suffice ({reason}); take a smaller network, smaller batches or fewer '
    'images, or more devices.'
  )


def _answered(status: int) -> int:
  """Returns the status, or that of a signal which nothing has answered: it came in the last lines,
  or something went wrong after it."""
  if interrupt.requested() is None:
    return status
  interrupt.answer()
  status, reason = interrupt.ending(interrupt.state.number)
  terminal.complain(reason)
  return status


def _check_directory() -> None:
  """Raises `UserError` where the current directory was deleted: no relative path means anything."""
  try:
    os.getcwd()
  except OSError:
    raise UserError(
      'The directory that this was started in is gone; change into one that exists.'
    ) from None


def _leave(status: int, reason: str) -> int:
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


def process_number() -> int:
  """Returns which process of the job this is."""
  if not _in_job():
    return 0
  from jaxdistill.training import hosts

  return hosts.number()
