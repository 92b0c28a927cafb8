"""Things that runs keep for each other: found again by a hash of all that decides them.

Scores, trained networks, features or weights depend on images and settings, not on the run that
happened to need them first. Runs that name one folder compute each of them once.
"""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

from jaxdistill import files
from jaxdistill.files import expanded
from jaxdistill.training import trees
from jaxdistill.training.run import Run


def to_json(value: Any) -> bytes:
  """Returns the content of a file for what JSON can hold.

  >>> from_json(to_json({'a': (1, 2)}))
  {'a': [1, 2]}
  """
  content = files.with_checksum('value', files.jsonable(value))
  return json.dumps(content, indent=2).encode()


def from_json(content: bytes) -> Any:
  """Returns the value of a file's content; ValueError where it is damaged.

  Files of earlier versions hold the value alone.

  >>> from_json(b'{"last": 0.5}')
  {'last': 0.5}
  """
  value = files.read_json(content)
  if isinstance(value, dict) and value.keys() & {'value', 'sha256'}:
    return files.under_checksum('value', value)
  return value


def once(
  run: Run,
  folder: str | os.PathLike | None,
  key: str,
  compute: Callable[[], Any],
  encode: Callable[[Any], bytes] = to_json,
  decode: Callable[[bytes], Any] = from_json,
  suffix: str = '.json',
) -> Any:
  """Returns what the folder holds under a key, else compute(), which is then kept there.

  Args:
    run: tells what is read, and lets the first of several processes alone read and write.
    folder: where things are kept for other runs; '' or None: nowhere.
    key: the hash of all that decides the value, see `files.content_hash`.
    compute: makes the value.
    encode: from the value to the content of the file.
    decode: the way back; an error says that the content is damaged, and the value is computed
      again.
    suffix: of the file's name, by its form.

  >>> import tempfile
  >>> with tempfile.TemporaryDirectory() as folder, Run(progress=False) as run:
  ...   first = once(run, folder, 'a1b2', lambda: {'answer': 42})
  ...   once(run, folder, 'a1b2', lambda: {'answer': 0}) == first
  read from ...a1b2.json
  True
  """
  return run.kept(place(folder, key, suffix), compute, encode, decode)


def tree_once(
  run: Run,
  folder: str | os.PathLike | None,
  key: str,
  compute: Callable[[], Any],
  template: Callable[[], Any],
  suffix: str = '.msgpack',
) -> Any:
  """Returns a tree of arrays that the folder holds under a key, else compute(), which is then kept
  there.

  Args:
    run, folder, key, compute, suffix: see `once`.
    template: () -> a tree of the same form, of arrays or of their shapes; asked for only where
      there is a file.

  >>> import numpy as np
  >>> with Run(progress=False) as run:
  ...   tree_once(run, None, 'a1b2', lambda: {'scale': np.ones(2)}, lambda: {'scale': np.ones(2)})
  {'scale': array([1., 1.])}
  """
  decode = lambda content: trees.decode(template(), content)
  return once(run, folder, key, compute, trees.encode, decode, suffix)


def place(folder: str | os.PathLike | None, key: str, suffix: str = '.json') -> pathlib.Path | None:
  """Returns the file that holds what is kept under a key; None where nothing is kept.

  >>> place('rows', 'a1b2').as_posix(), place('', 'a1b2')
  ('rows/a1b2.json', None)
  """
  return expanded(folder) / f'{key}{suffix}' if folder else None
