"""The file format safetensors: eight bytes with the length of a JSON header, the header, the
numbers.

The header maps the name of every array to its type, its shape and where its bytes lie. No code runs
when such a file is read, and no package is needed for it.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdistill import files
from jaxdistill.errors import UserError, shown

_TYPES = {
  'F64': np.dtype('<f8'),
  'F32': np.dtype('<f4'),
  'F16': np.dtype('<f2'),
  'BF16': np.dtype(jnp.bfloat16),
  'I64': np.dtype('<i8'),
  'I32': np.dtype('<i4'),
  'I16': np.dtype('<i2'),
  'I8': np.dtype('i1'),
  'U64': np.dtype('<u8'),
  'U32': np.dtype('<u4'),
  'U16': np.dtype('<u2'),
  'U8': np.dtype('u1'),
  'BOOL': np.dtype('?'),
}
_LENGTH = 8  # bytes of the header's length, which the header is padded to a multiple of
_META = '__metadata__'


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Returns the arrays of a file by name. They lie in the file until they are looked at.

  Raises:
    UserError: there is no such file, it is damaged or another kind of file, or it holds numbers of
      a type that is not read.

  >>> write('weights.safetensors', {'bias': np.arange(3.0, dtype=np.float32)})
  >>> read('weights.safetensors')['bias'].tolist()
  [0.0, 1.0, 2.0]
  """
  path = files.expanded(path)
  try:
    content = np.memmap(path, np.uint8, 'r') if os.path.getsize(path) else np.zeros(0, np.uint8)
  except (OSError, ValueError) as error:  # ValueError: a name that the system does not allow
    reason = getattr(error, 'strerror', None) or error
    raise UserError(
      f'The weights {shown(path)} cannot be read ({reason}); name a .safetensors file.'
    ) from error
  try:
    return _arrays(path, content)
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise UserError(
      f'{shown(path)} is no whole safetensors file; write it with safetensors.torch.save_file or '
      'with jaxdistill.models.weights.save.'
    ) from error


def write(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
  """Writes arrays by name as one file, whole or not at all.

  Raises:
    UserError: the file cannot be written.
  """
  names = {dtype: name for name, dtype in _TYPES.items()}
  header, parts, end = {}, [], 0
  for name, array in arrays.items():
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    begin, end = end, end + array.nbytes
    kind = names[array.dtype.newbyteorder('<') if array.dtype.kind in 'iuf' else array.dtype]
    header[name] = {'dtype': kind, 'shape': list(array.shape), 'data_offsets': [begin, end]}
    parts.append(array.tobytes())
  text = json.dumps(header).encode()
  text += b' ' * (-len(text) % _LENGTH)
  content = b''.join([len(text).to_bytes(_LENGTH, 'little'), text, *parts])
  path = files.expanded(path)
  files.check_writable('path', path)
  files.write_atomic(path, content)


def _arrays(path: pathlib.Path, content: np.ndarray) -> dict[str, np.ndarray]:
  """The arrays of a file's bytes; one of several exceptions where they are something else."""
  length = int.from_bytes(content[:_LENGTH].tobytes(), 'little')
  if len(content) < _LENGTH or length > len(content) - _LENGTH:
    raise ValueError('the header is not whole')
  header = json.loads(content[_LENGTH:][:length].tobytes())
  numbers = content[_LENGTH + length :]
  arrays = {}
  for name, entry in header.items():
    if name == _META:
      continue
    if entry['dtype'] not in _TYPES:
      raise UserError(
        f'{shown(path)} holds {shown(name)!r} as {shown(entry["dtype"])}, a type that is not read; '
        f'write it as one of {", ".join(_TYPES)}.'
      )
    dtype, shape, (begin, end) = _TYPES[entry['dtype']], entry['shape'], entry['data_offsets']
    if not 0 <= begin <= end <= len(numbers) or end - begin != math.prod(shape) * dtype.itemsize:
      raise ValueError(f'{name} is not whole')
    arrays[name] = numbers[begin:end].view(dtype).reshape(shape)
  return arrays
