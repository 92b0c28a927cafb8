"""The arrays of an npz file, read after what the file claims of them was compared with what it
holds."""

import collections
import math
import os
import pathlib
import struct
import zipfile
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from jaxdistill.data.pictures import shown
from jaxdistill.data.stored import memory_bytes
from jaxdistill.errors import UserError

_NPY = b'\x93NUMPY'
# Deflate makes at most 1,032 bytes of one.
_DENSEST = 1032
# Where the header before an array has the lengths of what follows it, and the most bytes that may
# stand between one array and the next.
_LOCAL_LENGTHS, _DESCRIPTOR = 26, 24
_NOT_AN_NPZ = 'cannot be read as an npz file of plain arrays'


def read(
  where: str, file: pathlib.Path, check: Callable[[list[str]], None] = lambda names: None
) -> dict[str, np.ndarray]:
  """Returns the arrays of an npz file by name.

  Nothing is allocated for an array before the bytes that its header claims are those that the
  archive holds of it; checksums are compared.

  Args:
    where: names the file in errors.
    file: that `numpy.savez` or `numpy.savez_compressed` wrote.
    check: is called with the names before any array is read.

  Raises:
    UserError: the file is missing, a folder, empty, damaged, no npz, holds something besides plain
      arrays or one name twice, or its arrays are larger than the memory of the machine.

  >>> import tempfile
  >>> file = pathlib.Path(tempfile.mkdtemp(), 'two.npz')
  >>> np.savez(file, a=[1, 2], b='text')
  >>> sorted(read('mine', file))
  ['a', 'b']
  """
  _check_kind(where, file)
  try:
    with open(file, 'rb') as opened:
      return unpack(where, opened, os.path.getsize(file), check)
  except UserError:
    raise
  except OSError as error:
    raise UserError(
      f'{where}: {_NOT_AN_NPZ} ({error.strerror or error}); see to it or give another one.'
    ) from error
  except Exception as error:  # a damaged archive raises almost anything
    raise UserError(
      f'{where}: {_NOT_AN_NPZ} ({_in_words(error)}); write it with numpy.savez.'
    ) from error


def unpack(
  where: str,
  file: BinaryIO,
  size: int,
  check: Callable[[list[str]], None] = lambda names: None,
) -> dict[str, np.ndarray]:
  """Returns the arrays of an opened npz of `size` bytes, as `read`; what is damaged raises almost
  anything.

  >>> import io
  >>> np.savez(content := io.BytesIO(), a=[1, 2])
  >>> unpack('mine', content, len(content.getvalue()))['a'].tolist()
  [1, 2]
  """
  file.seek(0)
  _check_start(where, file.read(len(_NPY)))
  with zipfile.ZipFile(file) as archive:
    members = archive.infolist()
    names = [member.filename.removesuffix('.npy') for member in members]
    _check_names(where, names)
    check(names)
    _check_sizes(where, size, members)
    _check_complete(archive, members)
    for member in members:
      _check_header(archive, member)
    return {name: _array(archive, member) for name, member in zip(names, members)}


def _check_kind(where, file):
  if os.path.isdir(file):
    raise UserError(
      f'{where}: {shown(file)} is a folder; give folder:PATH for a folder of images, npz:PATH for '
      'a file that numpy.savez wrote.'
    )
  if not os.path.isfile(file):
    raise UserError(
      f'{where}: there is no such file; give npz:PATH with the path of a file that '
      'numpy.savez wrote.'
    )


def _check_start(where, start):
  if not start:
    raise UserError(f'{where}: {_NOT_AN_NPZ} (it is empty); write it with numpy.savez.')
  if start == _NPY:
    raise UserError(
      f'{where}: {_NOT_AN_NPZ} (it is a single array, as numpy.save writes it); '
      'numpy.savez(PATH, images=..., labels=...) writes images with their labels.'
    )


def _check_names(where, names):
  repeated = next((name for name, count in collections.Counter(names).items() if count > 1), None)
  if repeated is not None:
    raise UserError(
      f'{where}: the file holds {repeated!r} twice, and nothing tells which of them counts; write '
      'it again with numpy.savez.'
    )


def _check_sizes(where, size, members):
  """Compares the sizes that the table of contents claims with the file's and the machine's."""
  for member in members:
    if member.compress_size > size or member.file_size > _DENSEST * member.compress_size + 1024:
      raise zipfile.BadZipFile(f'{member.filename} cannot be as large as it claims')
  needed = sum(member.file_size for member in members)
  memory = memory_bytes()
  if needed > memory:
    raise UserError(
      f'{where}: the arrays are {needed / 2**30:,.1f} GiB unpacked, and this machine has '
      f'{memory / 2**30:,.1f} GiB of memory; store uint8, or a folder of images (folder:PATH).'
    )


def _check_complete(archive, members):
  """Raises unless the members fill the file: one wrong bit in its table of contents can hide
  some."""
  end = 0
  for member in sorted(members, key=lambda member: member.header_offset):
    archive.fp.seek(member.header_offset + _LOCAL_LENGTHS)
    name, extra = struct.unpack('<HH', archive.fp.read(4))
    if not 0 <= member.header_offset - end <= _DESCRIPTOR:
      break
    end = member.header_offset + _LOCAL_LENGTHS + 4 + name + extra + member.compress_size
  if not 0 <= archive.start_dir - end <= _DESCRIPTOR:
    raise zipfile.BadZipFile('its table of contents lacks a part of what it holds')


def _check_header(archive, member):
  """Raises unless a member is an array whose header claims as many bytes as there are."""
  with archive.open(member) as opened:
    version = np.lib.format.read_magic(opened)
    readers = {
      (1, 0): np.lib.format.read_array_header_1_0,
      (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
      raise ValueError(f'{member.filename} is no plain array')
    shape, _, dtype = readers[version](opened)
    if dtype.hasobject:
      raise ValueError(f'{member.filename} holds Python objects, not numbers')
    if not all(isinstance(length, int) and length >= 0 for length in shape):
      raise ValueError(f'{member.filename} claims the shape {shape}')
    claimed, present = math.prod(shape) * dtype.itemsize, member.file_size - opened.tell()
    if claimed != present:
      raise ValueError(f'{member.filename} claims {claimed:,} bytes and holds {present:,}')


def _array(archive, member):
  with archive.open(member) as opened:
    array = np.lib.format.read_array(opened, allow_pickle=False)
    opened.read(1)  # at its end the checksum is compared
  return array


def _in_words(error):
  text = ' '.join(str(error).split())
  return f'{type(error).__name__}: {text}' if text else type(error).__name__
