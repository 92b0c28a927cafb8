"""A process that measures something: its figures are the last line of JSON that it prints."""

import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxdistill.errors import UserError, brief
from jaxdistill.training import child


class Ended(NamedTuple):
  """How a measurement ended.

  Attributes:
    figures: its last line of JSON; None: it printed none.
    trouble: why the process did not end well, or has no figures; '' where all is well.
    is_late: whether it was ended, as it took longer than it might.
  """

  figures: dict[str, Any] | None
  trouble: str = ''
  is_late: bool = False


def check_program(flag: str, command: str) -> None:
  """Raises `UserError` where the command that a flag gives names no program; '' is none at all.

  >>> check_program('--yardstick', 'no-such-program --fast')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: --yardstick: there is no program 'no-such-program' to run.
  """
  try:
    program = (shlex.split(command) or [''])[0]
  except ValueError as error:
    raise UserError(f'{flag} is no command: {error}.') from None
  if program and not shutil.which(program):
    raise UserError(f'{flag}: there is no program {program!r} to run.')


def run(
  command: Sequence[Any], environment: Mapping[str, str] = os.environ, seconds: float = math.inf
) -> Ended:
  """Runs a command that prints a line of JSON, and perhaps a fuller one later: one that fails or is
  ended after `seconds` has the figures that it told until then."""
  words = [str(word) for word in command]
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  try:
    process = subprocess.Popen(words, **pipes, text=True, errors='replace', env=environment)
  except (OSError, ValueError) as error:
    return Ended(None, f'gave no JSON line: {error}')
  until = time.monotonic() + seconds
  output, errors = child.read(process, seconds)
  figures = _last_json(output)
  if not process.returncode:
    return Ended(figures, '' if figures else f'gave no JSON line: {brief(output)[-80:]!r}')
  if process.returncode < 0 and time.monotonic() > until:
    return Ended(figures, f'was ended after {seconds:.0f} s', is_late=True)
  lines = (errors or output).strip().splitlines()
  reason = brief(_telling(lines), 400) if lines else f'status {process.returncode}'
  if process.returncode < 0:
    reason = f'{signal.Signals(-process.returncode).name} {brief(_telling(lines or [""]), 400)}'
  return Ended(figures, f'failed: {reason.strip()}')


def figures(command: Sequence[Any], environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
  """Returns the figures of a command that must end well.

  Raises:
    UserError: it does not, or prints none.
  """
  ended = run(command, environment)
  if ended.trouble:
    raise UserError(f'The command {shlex.join(map(str, command))} {ended.trouble}.')
  return ended.figures


def _last_json(output: str) -> dict[str, Any] | None:
  for line in reversed(output.splitlines()):
    try:
      value = json.loads(line)
    except ValueError:
      continue
    if isinstance(value, dict):
      return value
  return None


def _telling(lines: Sequence[str]) -> str:
  """The line that says what was wrong: the last one, unless there is an exception's own."""
  exceptions = [line for line in lines if re.match(r'[\w.]+(Error|Exception)\b', line)]
  return (exceptions or lines)[-1]
