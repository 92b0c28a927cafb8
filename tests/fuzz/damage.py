"""What becomes of files: bits that turn, ends that are cut off, blocks that are lost, moved, or
come from elsewhere, sizes in headers that lie, tokens of JSON that are others."""

import dataclasses
import random
import re
import struct
from collections.abc import Callable, Sequence

# Values at which programs stumble when they stand for a size or a place.
_EDGES = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_TOKENS = (
  b'null',
  b'true',
  b'NaN',
  b'-Infinity',
  b'1e999',
  b'-1',
  b'0.5',
  b'1' * 400,
  b'9' * 5000,
  b'""',
  b'"\\ud800"',
  b'"\\u0000"',
  b'"a\\nb"',
  b'[]',
  b'{}',
  b'[[[]]]',
  b'[' * 3000,
  b'\xff\xfe',
)


@dataclasses.dataclass(frozen=True)
class Damaged:
  """The bytes of a file after something has become of them.

  kinds: what it was, in order; `cut` alone is a file that only ends too early.
  """

  content: bytes
  kinds: tuple[str, ...]

  def of(self, sound, name):
    """What may be read of it, of the values of the sound files by name: its own; where a part of
    another one came in, that may be the whole of the other, and nothing tells."""
    return list(sound.values()) if 'splice' in self.kinds else [sound[name]]


def flip(content, rng, others):
  """Turns a few bits."""
  data = bytearray(content)
  for _ in range(rng.choice((1, 1, 1, 2, 8))):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
  return bytes(data)


def put(content, rng, others):
  """Replaces a few bytes."""
  data = bytearray(content)
  for _ in range(rng.choice((1, 2, 4, 16))):
    data[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
  return bytes(data)


def size(content, rng, others):
  """Replaces two, four or eight bytes by a number at the edge, in either order; mostly near one of
  the ends, where headers and tables are."""
  form = rng.choice(('<H', '>H', '<I', '>I', '<Q'))
  width = struct.calcsize(form)
  if len(content) < width:
    return b''
  last = len(content) - width
  place = rng.choice((rng.randint(0, min(last, 64)), rng.randint(0, last), last - min(last, 22)))
  number = struct.pack(form, rng.choice(_EDGES) % 256**width)
  return content[:place] + number + content[place + width :]


def cut(content, rng, others):
  """Ends early, also at nothing."""
  return content[: rng.choice((0, rng.randrange(len(content)), len(content) - 1))]


def lose(content, rng, others):
  """Loses a block."""
  start, stop = _block(content, rng)
  return content[:start] + content[stop:]


def zero(content, rng, others):
  """Has zeros in place of a block, as a file system leaves them."""
  start, stop = _block(content, rng)
  return content[:start] + bytes(stop - start) + content[stop:]


def repeat(content, rng, others):
  """Holds a block twice."""
  start, stop = _block(content, rng)
  return content[:stop] + content[start:]


def swap(content, rng, others):
  """Has two blocks in the other order."""
  start, middle, stop = sorted(rng.randint(0, len(content)) for _ in range(3))
  return content[:start] + content[middle:stop] + content[start:middle] + content[stop:]


def insert(content, rng, others):
  """Holds bytes that are not its own."""
  place = rng.randint(0, len(content))
  return content[:place] + rng.randbytes(rng.choice((1, 4, 100))) + content[place:]


def append(content, rng, others):
  """Goes on behind its end."""
  return content + rng.choice((bytes(512), rng.randbytes(40), content))


def splice(content, rng, others):
  """Begins as one file and ends as another, but is not that one."""
  other = rng.choice(others)
  place = rng.randint(0, min(len(content), len(other)))
  result = content[:place] + other[place:]
  return content[:-1] if result in others else result


def token(content, rng, others):
  """Has another value at a place of JSON, or another letter."""
  places = list(re.finditer(rb'-?\d+\.?\d*|"[^"]*"|true|false|null|[\[\]{},:]', content))
  if not places:
    return put(content, rng, others)
  start, stop = rng.choice(places).span()
  return content[:start] + rng.choice(_TOKENS) + content[stop:]


KINDS: dict[str, Callable] = {
  kind.__name__: kind
  for kind in (flip, put, size, cut, lose, zero, repeat, swap, insert, append, splice)
}


def damage(content: bytes, rng: random.Random, others: Sequence[bytes], text=False) -> Damaged:
  """Returns what becomes of a file, by one kind of damage or by two.

  Args:
    content: of the file.
    rng: draws the kinds and the places.
    others: files from which a part may come.
    text: whether it is JSON, whose tokens may change too.
  """
  kinds = {**KINDS, 'token': token} if text else KINDS
  names = rng.choices(list(kinds), k=rng.choice((1, 1, 1, 2)))
  if text and rng.random() < 0.5:
    names = ['token']
  for name in names:
    content = kinds[name](content, rng, others) if content else rng.randbytes(3)
  return Damaged(content, tuple(names))


def _block(content, rng):
  start = rng.randint(0, len(content))
  return start, min(len(content), start + rng.choice((1, 4, 16, 64, 512)))
