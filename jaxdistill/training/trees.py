"""Trees of arrays as the content of a file, which tells when it is damaged."""

import os
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar, Self

import jax
from flax import serialization

from jaxdistill import files
from jaxdistill.errors import UserError, brief, shown


def encode(tree: Any) -> bytes:
  """Returns a tree of arrays as bytes with their checksum; `decode` gives an equal tree back.

  >>> import numpy as np
  >>> content = encode({'scale': np.ones(2)})
  >>> decode({'scale': np.zeros(2)}, content)
  {'scale': array([1., 1.])}
  """
  return files.sealed(serialization.to_bytes(tree))


def decode(template: Any, content: bytes) -> Any:
  """Returns the tree of some bytes.

  Args:
    template: a tree of the same form, of arrays or of their shapes.
    content: what `encode` returned.

  Raises:
    ValueError: the content is damaged, or of another form.
  """
  tree = serialization.from_bytes(template, files.unsealed(content))
  forms = lambda tree: [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]
  if forms(tree) != forms(template):
    raise ValueError('the arrays have another form')
  return tree


def plain(content: bytes) -> Any:
  """Returns the tree of some bytes as nested dicts, without a template.

  Raises:
    ValueError: the content is damaged.

  >>> import numpy as np
  >>> plain(encode({'scale': np.ones(2)}))
  {'scale': array([1., 1.])}
  """
  return serialization.msgpack_restore(files.unsealed(content))


def opened(content: bytes, form: str) -> dict[str, Any]:
  """Returns the tree of some bytes as nested dicts, if its entry 'format' is this one.

  Raises:
    ValueError: the content is damaged, or another format.

  >>> opened(encode({'format': 'mine', 'scale': 2}), 'mine')['scale']
  2
  """
  tree = plain(content)
  if tree['format'] != form:
    raise ValueError('another format')
  return tree


def write(path: str | os.PathLike, content: bytes, what: str) -> pathlib.Path:
  """Writes a file that a user has asked for, whole or not at all, and returns its path.

  Args:
    path: where.
    content: of the file.
    what: it is, in a word: 'result'.

  Raises:
    UserError: the file cannot be written.
  """
  file = files.expanded(path)
  try:
    files.write_atomic(file, content)
  except OSError as error:
    raise UserError(
      f'The {what} cannot be written to {shown(file)} ({error.strerror or error}).'
    ) from error
  return file


def read(path: str | os.PathLike, decode: Callable[[bytes], Any], what: str) -> Any:
  """Returns decode(content) of a file that a user names.

  Args:
    path: of the file.
    decode: raises ValueError, KeyError or TypeError for a content that is something else.
    what: it should be, in a word: 'result'.

  Raises:
    UserError: there is no such file, or it holds something else.
  """
  file = files.expanded(path)
  try:
    return decode(file.read_bytes())
  except OSError as error:
    raise UserError(f'{shown(file)} cannot be read ({error.strerror or error}).') from error
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f'{shown(file)} holds no {what} of this library ({brief(error)}).') from error


class Saved:
  """What `save` writes as a file and `load` reads back. A class has `to_bytes()` and
  `from_bytes(content)`, which raises ValueError, KeyError or TypeError for a content that is
  something else; WHAT it is, in a word."""

  WHAT: ClassVar[str]

  def save(self, path: str | os.PathLike) -> pathlib.Path:
    """Writes it as one file, and returns its path.

    Raises:
      UserError: the file cannot be written.
    """
    return write(path, self.to_bytes(), self.WHAT)

  @classmethod
  def load(cls, path: str | os.PathLike) -> Self:
    """Reads what `save` has written.

    Raises:
      UserError: there is no such file, or it holds something else.
    """
    return read(path, cls.from_bytes, cls.WHAT)
