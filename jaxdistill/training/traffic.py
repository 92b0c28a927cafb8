"""What a compiled program moves, read from its text: bytes to and from memory, messages between
devices.

XLA's own analysis of costs is not there for machines that are not here, and counts a slice of a
large array as the whole. The text is that of one device: its entry computation is a list of
operations, each of which reads its operands from memory and writes its result (what is fused into
one operation stays on the chip).
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

_BITS = {
  'pred': 8,
  's4': 4,
  'u4': 4,
  's8': 8,
  'u8': 8,
  's16': 16,
  'u16': 16,
  'f16': 16,
  'bf16': 16,
  's32': 32,
  'u32': 32,
  'f32': 32,
  's64': 64,
  'u64': 64,
  'f64': 64,
  'c64': 64,
}
_ARRAY = re.compile(r'\b(' + '|'.join(_BITS) + r')\[([\d,]*)\](\{[^{}]*\})?')
# A layout names another memory than the large one by S(number): the chip's own, or the host's.
_ELSEWHERE = re.compile(r'S\(([1-9]\d*)\)')
_OPERATION = re.compile(r'\s*(ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)')
_COMPUTATION = re.compile(r'(ENTRY )?%?([\w.\-]+) (\(.*)?\{\s*$')
# After optimisation names begin with %, before it they do not.
_NAME = re.compile(r'%([\w.\-]+)')
_PLAIN_NAME = re.compile(r'[A-Za-z_][\w.\-]*')
# They name memory, and move none.
_FREE = {
  'parameter',
  'tuple',
  'get-tuple-element',
  'bitcast',
  'constant',
  'after-all',
  'partition-id',
  'replica-id',
  'optimization-barrier',
  'opt-barrier',
}
_SLICES = {'slice', 'dynamic-slice', 'gather'}
COLLECTIVES = (
  'all-reduce',
  'all-gather',
  'all-to-all',
  'collective-permute',
  'reduce-scatter',
)


@dataclasses.dataclass(frozen=True)
class Operation:
  """One line of a program: result = kind(operands), attributes."""

  name: str
  kind: str
  shape: str
  arguments: str
  attributes: str
  is_root: bool

  @property
  def operands(self) -> tuple[str, ...]:
    """The names of its operands."""
    names = _NAME if '%' in self.arguments else _PLAIN_NAME
    return tuple(names.findall(self.arguments))


@dataclasses.dataclass(frozen=True)
class Traffic:
  """What one call moves on one device.

  Attributes:
    bytes: read from and written to memory.
    bytes_everywhere: the same with what lies in the chip's own memory, as XLA places it there: how
      much the operations hand on to each other, whatever fits on the chip.
    collectives: bytes of the messages between devices, by kind.
    counts: their number, by kind.
    operations: that are started one after the other.
    grouped: convolutions in groups, as `vmap` over weights makes them.
    largest: the operations that move most: (bytes, kind, shape, the code's own name of it).
  """

  bytes: int
  bytes_everywhere: int
  collectives: Mapping[str, int]
  counts: Mapping[str, int]
  operations: int
  grouped: int
  largest: tuple[tuple[int, str, str, str], ...]


@dataclasses.dataclass(frozen=True)
class Moved:
  """One operation that is started by itself, and what it moves.

  Attributes:
    bytes: read from and written to memory in one call of the program, however often it runs.
    kind, shape: as the text has them.
    source: the code's own name of it.
  """

  bytes: int
  kind: str
  shape: str
  source: str


def operations(text: str) -> dict[str, Moved]:
  """Returns the operations of a compiled program by the names that a trace has for them.

  >>> operations('''
  ... ENTRY %main (a: f32[4]) -> f32[4] {
  ...   %a = f32[4]{0} parameter(0)
  ...   ROOT %tanh.1 = f32[4]{0} tanh(%a), metadata={op_name="jit(step)/tanh"}
  ... }''')
  {'tanh.1': Moved(bytes=32, kind='tanh', shape='f32[4]{0}', source='jit(step)/tanh')}
  """
  program = _Program(text)
  rows = {}
  for one, known, times in program.started():
    moved = times * program.moved(one, known)
    rows[one.name] = Moved(moved, one.kind, one.shape[:60], _named(one))
  return rows


def read(text: str, largest: int = 20) -> Traffic:
  """Reads the text of a compiled program (`compiled.as_text()`).

  Operations in a loop count as often as it is known to run, of a conditional's branches the one
  that moves most, of an array of which only slices are read the slices.

  Args:
    text: of the program, after optimisation and for one device.
    largest: operations to list.

  >>> traffic = read('''
  ... ENTRY %main (a: f32[4,8]) -> f32[4] {
  ...   %a = f32[4,8]{1,0} parameter(0)
  ...   ROOT %sum = f32[4]{0} all-reduce(%a), replica_groups={{0,1}}
  ... }''')
  >>> traffic.bytes, dict(traffic.collectives)
  (144, {'all-reduce': 16})
  """
  program = _Program(text)
  started = list(program.started())
  collectives, counts = collections.Counter(), collections.Counter()
  for operation, _, times in started:
    kind = operation.kind.removesuffix('-start')
    if kind in COLLECTIVES:
      counts[kind] += times
      collectives[kind] += times * program.message(operation)
  rows = [(times * program.moved(one, known), one) for one, known, times in started]
  rows.sort(key=lambda row: -row[0])
  program.everywhere = True
  return Traffic(
    sum(size for size, _ in rows),
    sum(times * program.moved(one, known) for one, known, times in started),
    dict(collectives),
    dict(counts),
    sum(times for _, _, times in started),
    len(re.findall(r'feature_group_count=(?!1\b)\d+|batch_group_count=(?!1\b)\d+', text)),
    tuple(
      (size, operation.kind, operation.shape[:60], _named(operation))
      for size, operation in rows[:largest]
    ),
  )


def flops(text: str) -> int:
  """Returns the multiplications and additions of the matrix products and convolutions of a program
  (`lowered.as_text('hlo')`, before it is optimised for a machine); loops and branches as in `read`.

  A product of [m, k] and [k, n] counts 2 m k n; a convolution 2 |output| |kernel| / (its outputs).

  >>> flops('''
  ... ENTRY main.1 {
  ...   a.1 = f32[2,3]{1,0} parameter(0)
  ...   b.1 = f32[3,5]{1,0} parameter(1)
  ...   ROOT dot.1 = f32[2,5]{1,0} dot(a.1, b.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ... }''')
  60
  """
  program = _Program(text)
  return sum(program.work(one, known) * times for one, known, times in program.started())


def size(shape: str, everywhere: bool = False) -> int:
  """Returns the bytes of a shape in a program's text, or of all that a tuple holds; arrays that lie
  in the chip's own memory count only where `everywhere`.

  >>> size('f32[2,3]{1,0}'), size('(bf16[4], pred[])'), size('f32[8]{0:T(128)S(1)}')
  (24, 9, 0)
  """
  total = 0
  for kind, sides, layout in _ARRAY.findall(shape):
    if everywhere or not _ELSEWHERE.search(layout):
      total += math.prod(map(int, filter(None, sides.split(',')))) * _BITS[kind] // 8
  return total


def _named(operation: Operation) -> str:
  match = re.search(r'op_name="([^"]*)"', operation.attributes)
  return match[1][-70:] if match else ''


class _Program:
  """The computations of a program by name, each a list of operations.

  What lies in the chip's own memory counts as moved only while `everywhere` is set.
  """

  def __init__(self, text: str):
    self.everywhere = False
    self.computations: dict[str, dict[str, Operation]] = {}
    self.entry, current = '', None
    for line in text.splitlines():
      head = _COMPUTATION.match(line)
      if head and ' = ' not in line.split('(')[0]:
        current = self.computations.setdefault(head[2], {})
        self.entry = head[2] if head[1] else self.entry
      elif line.startswith('}'):
        current = None
      elif current is not None and (match := _OPERATION.match(line)):
        root, name, shape, kind, rest = match.groups()
        arguments, _, attributes = rest.partition('), ')
        current[name] = Operation(name, kind, shape, arguments, attributes, bool(root))

  def started(self) -> Iterator[tuple[Operation, Mapping[str, Operation], int]]:
    """Yields (operation, its computation, how often it runs) of what is started one by one."""
    return self._walk(self.entry, 1)

  def _walk(self, computation: str, times: int):
    known = self.computations[computation]
    for operation in known.values():
      if operation.kind in _FREE or operation.kind.endswith('-done'):
        continue
      if operation.kind == 'while':
        yield from self._walk(self._called(operation, 'body'), times * self._trips(operation))
      elif operation.kind == 'call':
        yield from self._walk(self._called(operation, 'to_apply'), times)
      elif operation.kind == 'conditional':
        branches = [list(self._walk(name, times)) for name in self._branches(operation)]
        yield from max(branches, key=self._moved_by)
      else:
        yield operation, known, times

  def _moved_by(self, started) -> int:
    return sum(self.moved(operation, known) * times for operation, known, times in started)

  def _trips(self, operation: Operation) -> int:
    """How often a loop runs: as the compiler found out, or as JAX writes loops, whose counter runs
    from 0 to a constant; 1 where neither is so."""
    counted = re.search(r'known_trip_count[^\d]*"?n"?\s*:?\s*"?(\d+)', operation.attributes)
    if counted:
      return int(counted[1])
    condition = self.computations[self._called(operation, 'condition')]
    root = next(one for one in condition.values() if one.is_root)
    limits = [condition[name] for name in root.operands if name in condition]
    constants = [one.arguments for one in limits if one.kind == 'constant']
    plain = root.kind == 'compare' and 'direction=LT' in root.attributes and len(constants) == 1
    number = constants[0].rstrip(')') if plain else ''
    return int(number) if number.isdecimal() else 1

  def work(self, operation: Operation, known: Mapping[str, Operation]) -> int:
    """Multiplications and additions of a matrix product or a convolution, else 0."""
    if operation.kind not in ('dot', 'convolution'):
      return 0
    shapes = [_sides(known[name].shape) for name in operation.operands]
    outputs = math.prod(_sides(operation.shape))
    if operation.kind == 'dot':
      contracted = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', operation.attributes)
      axes = map(int, filter(None, contracted[1].split(','))) if contracted else ()
      return 2 * outputs * math.prod(shapes[0][axis] for axis in axes)
    kernel_axes = re.search(r'dim_labels=\w+_(\w+)->', operation.attributes)[1]
    return 2 * outputs * math.prod(shapes[1]) // shapes[1][kernel_axes.index('o')]

  def message(self, operation: Operation) -> int:
    """Bytes that a collective hands to the others: those of its result."""
    shape = operation.shape
    if operation.kind.endswith('-start') and shape.startswith('('):
      # A start holds operands and results side by side.
      return size(shape, everywhere=True) // 2
    return size(shape, everywhere=True)

  def size(self, shape: str) -> int:
    """Bytes of a shape that count as moved."""
    return size(shape, self.everywhere)

  def _called(self, operation: Operation, role: str) -> str:
    return re.search(rf'{role}=%?([\w.\-]+)', operation.attributes)[1]

  def _branches(self, operation: Operation) -> list[str]:
    listed = re.search(r'branch_computations=\{([^}]*)\}', operation.attributes)
    if listed:
      return _NAME.findall(listed[1]) or [name.strip() for name in listed[1].split(',')]
    return [self._called(operation, role) for role in ('true_computation', 'false_computation')]

  def moved(self, operation: Operation, known: Mapping[str, Operation]) -> int:
    inner = None
    if operation.kind == 'async-start':
      wrapped = self.computations[self._called(operation, 'calls')]
      started = [one for one in wrapped.values() if one.kind not in _FREE]
      return sum(self.moved(one, wrapped) for one in started)
    if operation.kind == 'fusion':
      inner = self.computations[self._called(operation, 'calls')]
    if operation.kind in _SLICES:
      return 2 * self.size(operation.shape)
    shapes = [known[name].shape if name in known else '' for name in operation.operands]
    if operation.kind == 'dynamic-update-slice':
      return 2 * self.size(shapes[1])
    if operation.kind == 'custom-call' and operation.shape.startswith('('):
      # Behind its result a library's call has the room that it works in.
      return self.size(_ARRAY.search(operation.shape)[0]) + sum(map(self.size, shapes))
    if operation.kind == 'copy-start':
      return self.size(operation.shape)  # it holds target and source
    read = sum(
      self._read(inner, number, shape) if inner else self.size(shape)
      for number, shape in enumerate(shapes)
    )
    return read + (self._written(inner, operation.shape) if inner else self.size(operation.shape))

  def _read(self, inner: Mapping[str, Operation], number: int, shape: str) -> int:
    """Bytes of an operand that a fused computation reads: of its slices where nothing else is."""
    whole = self.size(shape)
    name = next((name for name, one in inner.items() if _is_parameter(one, number)), None)
    uses = [one for one in inner.values() if name in one.operands]
    if not whole or name is None or not uses:
      return whole
    sizes = [self._read_by(one, name, inner) for one in uses]
    return whole if None in sizes else min(whole, sum(sizes))

  def _read_by(self, operation: Operation, name: str, inner: Mapping[str, Operation]) -> int | None:
    """Bytes that an operation reads of its operand; None: all of them."""
    first = operation.operands[0] == name and name not in operation.operands[1:]
    if operation.kind in _SLICES and first:
      return size(operation.shape, everywhere=True)
    if operation.kind == 'dynamic-update-slice' and first:
      return 0  # what is not written stays where it is
    return None

  def _written(self, inner: Mapping[str, Operation], shape: str) -> int:
    root = next((one for one in inner.values() if one.is_root), None)
    if root is not None and root.kind == 'dynamic-update-slice' and self.size(shape):
      return size(inner[root.operands[1]].shape, everywhere=True)
    return self.size(shape)


def _is_parameter(operation: Operation, number: int) -> bool:
  return operation.kind == 'parameter' and operation.arguments.rstrip(')') == str(number)


def _sides(shape: str) -> list[int]:
  """The sides of an array's shape."""
  return [int(side) for side in _ARRAY.search(shape)[2].split(',') if side]
