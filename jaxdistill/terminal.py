"""What is written for the person who watches: lines and bars that end no run, whatever there is to
write to.

The streams may be those of a user's program or of a notebook, closed, on a full disk, or absent as
under pythonw; and a terminal may lack letters.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO


def line(text: str, stream: TextIO | None = None) -> None:
  """Writes one line without tearing a bar that is on the screen, to the standard output where no
  stream is named; nothing where that is impossible.

  Letters that the stream has none for are written as \\xe9, and '90.7 ± 0.4' as '90.7 +-0.4', which
  is as wide.

  >>> line('90.7 %')
  90.7 %
  """
  with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
    write(text, stream)


def write(text: str, stream: TextIO | None = None) -> None:
  """Does what `line` does, but raises what a stream does that cannot be written.

  >>> write('90.7 %')
  90.7 %
  """
  stream = sys.stdout if stream is None else stream
  if stream is None:
    return
  with _bars_away(stream):
    stream.write(_spelt(text, getattr(stream, 'encoding', None) or 'utf-8') + '\n')
    stream.flush()


def _spelt(text: str, encoding: str) -> str:
  """Returns a text in the letters that an encoding has."""
  try:
    '±'.encode(encoding)
  except UnicodeError:
    text = text.replace('± ', '+-')
  return text.encode(encoding, 'backslashreplace').decode(encoding)


def complain(text: str) -> None:
  """Writes one line to the standard error, as `line` does."""
  if sys.stderr is not None:
    line(text, sys.stderr)


def let_go(number: int) -> None:
  """Lets what is written to a standard stream of this number (0, 1 or 2), or read from it, go
  nowhere."""
  nowhere = os.open(os.devnull, os.O_RDWR)
  if nowhere != number:
    os.dup2(nowhere, number)
    os.close(nowhere)
  os.set_inheritable(number, True)


def bar(items: Iterable | None = None, desc: str = '', **options: Any) -> Any:
  """Returns a bar of tqdm on the standard error, which shows itself in a terminal only.

  >>> list(bar([1, 2], 'files'))
  [1, 2]
  """
  import tqdm

  return tqdm.tqdm(items, desc, disable=not _is_terminal(), leave=False, **options)


def watched() -> bool:
  """Whether a person sees the output as it comes: a terminal or a notebook."""
  return 'ipykernel' in sys.modules or _is_terminal()


def _is_terminal() -> bool:
  try:
    return sys.stderr.isatty()
  except (AttributeError, ValueError):  # absent or closed
    return False


@contextlib.contextmanager
def _bars_away(stream: TextIO) -> Iterator[None]:
  tqdm = sys.modules.get('tqdm')
  if tqdm is None:
    yield
    return
  with tqdm.tqdm.external_write_mode(file=stream):
    yield
