"""Injected faults: a run is stopped at random moments and started again until it ends, as an
uninterrupted one must."""

import collections
import json
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags

from jaxdistill import files, terminal
from jaxdistill.commands import families, local_cluster
from jaxdistill.commands import flags as command_flags
from jaxdistill.commands.run import folder
from jaxdistill.errors import UserError
from jaxdistill.report import numbers, tables
from jaxdistill.training import child, interrupt
from jaxdistill.training.exits import exit_status

DIFFERENT = 1
_USAGE = """\
Stops a run at random moments, starts it again, and compares its end with that of an uninterrupted
run.

  jaxdistill faults --kills=20 --terms=5 --ints=5 --seed=0
  jaxdistill faults --kills=0 --terms=100 --ints=100 --compiling=100
  jaxdistill faults --kills=20 -- --config=dm:digits,quick --config.seed=1

The flags after the -- are those of `jaxdistill run`, without --workdir; left out, a small one on
digits that condenses and then trains classifiers. It runs twice undisturbed, the second time with
compiled programs in the cache, which says how long it takes. Then a signal comes a random time
after each start, between none and that length, until all are spent; a run that ends before is
compared, and the next one begun. --compiling of the signals come to a start without compiled
programs, and wait for the next compilation. One that comes while Python itself starts waits for the
first import. Compared are the condensed sets (their bytes), every
line of metrics and the rows of the result, all but times. A start that ends with a status which its
signal does not have, 75 once the work dir is open, ends this command; one that takes longer than
10 s to leave counts as a difference. Exit status: 0 if nothing differs, 1 if something does, 2 for
a mistake.

Flags, before the --:"""
# How a start may end, by the signal, until the work dir is open.
_ENDS = {
  'SIGKILL': (-signal.SIGKILL,),
  'SIGTERM': (128 + signal.SIGTERM,),
  'SIGINT': (128 + signal.SIGINT,),
}
LEAVE_SECONDS = 10.0
_LOOK_SECONDS = 0.01
_LINES_SHOWN = 20
# What JAX says with JAX_LOG_COMPILES=1 before a compilation; it says another line after it.
_COMPILES = re.compile('Finished jaxpr to MLIR module conversion')
_HANDED_OVER = re.compile(_COMPILES.pattern + r' [^\n]*\n?\Z')
_PLACES = re.compile(
  r'^(?:work dir: |(Compiling what) |(\S+): (?:continues after|first step))', re.M
)


class Fault(NamedTuple):
  """A signal, and whether it comes while a program is compiled."""

  number: signal.Signals
  compiling: bool = False


class Life(NamedTuple):
  """One start of a run.

  Attributes:
    code: its exit status.
    output: what it said.
    before: what of it before the signal came.
    sent: the signal's name, '' without one.
    moment: seconds from the start to the signal.
    leaving: seconds from the signal to the end.
  """

  code: int
  output: str
  before: str = ''
  sent: str = ''
  moment: float = 0.0
  leaving: float = 0.0

  @property
  def seconds(self) -> float:
    """From the start to the end."""
    return self.moment + self.leaving

  def phase(self) -> str:
    """Returns what was under way at the signal: a phase, 'estimate', 'data' or 'start-up'.

    >>> Life(75, '', 'work dir: here\\ncondense: first step after 3.4 s\\n').phase()
    'condense'
    """
    places = list(_PLACES.finditer(self.before))
    if not places:
      return 'start-up'
    if places[-1][1]:
      return 'estimate'
    return places[-1][2] or 'data'

  def is_compiling(self) -> bool:
    """Whether the signal came while a program was compiled."""
    return is_compiling(self.before)

  def resumed(self) -> str:
    """Returns from where this start went on, '' if its own signal came before it could say.

    >>> Life(0, 'work dir: here\\ncondense: continues after step 40 of 90.').resumed()
    'condense, step 40'
    """
    match = re.search(r'^(\S+): continues after step ([\d,]+)', self.output, re.MULTILINE)
    if match:
      return f'{match[1]}, step {match[2]}'
    early = self.sent and self.phase() in ('start-up', 'data', 'estimate')
    return '' if early else 'the beginning of a phase'


def is_compiling(output: str) -> bool:
  """Whether the last that a run has said is that a program goes to the compiler.

  >>> is_compiling('Finished jaxpr to MLIR module conversion jit(f) in 0.1 sec\\n')
  True
  """
  return _HANDED_OVER.search(output[-300:]) is not None


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit status; `argv` as for `main.main`.

  >>> main(['--kills=some'])
  2
  """
  return exit_status(
    lambda argv: command_flags.forwarding(argv, _flags(), _USAGE, _start),
    argv,
    stopped='before all signals were sent',
  )


def _start(values: flags.FlagValues, forwarded: list[str]) -> int:
  workdir = folder(values.workdir)
  if workdir.exists() and any(workdir.iterdir()):
    raise UserError(f'--workdir={workdir} is not empty; name another one.')
  workdir.mkdir(parents=True, exist_ok=True)
  draw = random.Random(values.seed)
  counts = {
    signal.SIGKILL: values.kills,
    signal.SIGTERM: values.terms,
    signal.SIGINT: values.ints,
  }
  signals = list(collections.Counter(counts).elements())
  if values.compiling > len(signals):
    raise UserError(
      f'--compiling={values.compiling} is more than the {len(signals)} signals there are.'
    )
  draw.shuffle(signals)
  faults = [Fault(number, i < values.compiling) for i, number in enumerate(signals)]
  draw.shuffle(faults)
  return run(forwarded or families.trial(), workdir, faults, draw)


def _flags() -> flags.FlagValues:
  values = flags.FlagValues()
  at = dict(flag_values=values)
  flags.DEFINE_integer(
    'kills', 20, 'How often SIGKILL comes, which no program can answer.', lower_bound=0, **at
  )
  flags.DEFINE_integer(
    'terms', 5, 'How often SIGTERM comes, on which a run saves its state.', lower_bound=0, **at
  )
  flags.DEFINE_integer(
    'ints', 5, 'How often SIGINT comes, which is what Ctrl-C sends.', lower_bound=0, **at
  )
  flags.DEFINE_integer(
    'compiling',
    0,
    'How many of all signals come while a program is compiled.',
    lower_bound=0,
    **at,
  )
  flags.DEFINE_integer(
    'seed', 0, 'Of the moments and of the order of the signals.', lower_bound=0, **at
  )
  flags.DEFINE_string(
    'workdir', 'runs/faults', 'Empty or new: for the runs, what they said, and faults.json.', **at
  )
  flags.DEFINE_boolean('help', False, 'Show this.', short_name='h', **at)
  return values


def run(
  arguments: Sequence[str],
  workdir: pathlib.Path,
  faults: Sequence[Fault],
  draw: random.Random,
) -> int:
  """Sends the signals to runs with these arguments, below `workdir`; returns the exit status."""
  command = [*local_cluster.COMMAND, *arguments]
  cache = workdir / 'programs'
  lengths = {}
  for name, compiling in (('first', True), ('whole', False)):
    life = _live(command, workdir / name, workdir / f'{name}.log', cache)
    _check(life)
    lengths[compiling] = life.seconds
    if compiling and any(fault.compiling for fault in faults) and not _COMPILES.search(life.output):
      raise UserError(
        'The run does not say when it compiles, with JAX_LOG_COMPILES=1; leave out --compiling.'
      )
    terminal.line(f'{name}: {numbers.seconds(life.seconds)} undisturbed')
  rows, waiting = [], collections.deque(faults)
  different = differences(workdir / 'first', workdir / 'whole')
  number = 0
  while waiting or not number:
    number += 1
    place = workdir / f'killed{number}'
    rows += _disturb(command, place, cache, waiting, draw, lengths)
    here = differences(place, workdir / 'whole')
    terminal.line(f'{place.name}: ' + ('; '.join(here) or 'identical to the undisturbed run'))
    different += here
    _keep(workdir, rows, different)
  slow = [row for row in rows if row['leaving'] > LEAVE_SECONDS]
  different += [f'{row["run"]}: {row["leaving"]:.1f} s to leave in {row["phase"]}' for row in slow]
  _keep(workdir, rows, different)
  terminal.line(_text(rows))
  terminal.line(f'{len(rows)} signals in {number} runs.\n{_count(rows)}')
  terminal.line('; '.join(different) or 'Every run ended bit for bit like the undisturbed one.')
  return DIFFERENT if different else 0


def _disturb(command, place, cache, waiting, draw, lengths) -> list[dict[str, Any]]:
  """Runs to the end in `place`, with the next of the waiting signals at a random moment of each
  start."""
  rows = []
  while True:
    log = place.with_name(f'{place.name}-start{len(rows) + 1}.log')
    fault = waiting[0] if waiting else None
    if fault is None:
      life = _live(command, place, log, cache)
    else:
      moment = draw.uniform(0, lengths[fault.compiling])
      with tempfile.TemporaryDirectory(dir=place.parent) as empty:
        programs = pathlib.Path(empty) if fault.compiling else cache
        life = _live(command, place, log, programs, fault, moment)
    if rows:
      rows[-1]['resumed'] = life.resumed()
    _check(life)
    if not life.sent:
      return rows
    waiting.popleft()
    rows.append(
      {
        'run': place.name,
        'signal': life.sent,
        'moment': life.moment,
        'phase': life.phase(),
        'compiling': life.is_compiling(),
        'status': life.code,
        'leaving': life.leaving,
        'resumed': '',
      }
    )
    terminal.line(
      f'{place.name}: {life.sent} after {numbers.seconds(life.moment)}, in {life.phase()}'
      f'{", compiling" * life.is_compiling()}: {life.code} after {numbers.seconds(life.leaving)}'
    )


def _live(command, place, log, programs, fault: Fault | None = None, moment: float = 0.0) -> Life:
  """Starts a run, sends it a signal after so many seconds if it is still there, and waits for its
  end."""
  started, sent_at, before = time.monotonic(), None, ''
  flags_of_place = [f'--compilation_cache={programs.absolute()}', f'--workdir={place}']
  with open(log, 'wb') as file, interrupt.blocked():
    process = subprocess.Popen(
      [*command, *flags_of_place],
      stdout=file,
      stderr=subprocess.STDOUT,
      start_new_session=True,
      env=child.environment() | {'JAX_LOG_COMPILES': '1'},
    )
  with child.ended(process):
    while process.poll() is None:
      interrupt.check()
      now = time.monotonic()
      if fault and sent_at is None and now - started >= moment:
        before = log.read_text(errors='replace')
        if is_compiling(before) or not fault.compiling:
          sent_at = time.monotonic()
          process.send_signal(fault.number)
      time.sleep(_LOOK_SECONDS)
  end, output = time.monotonic(), log.read_text(errors='replace')
  # One that was sent may have come when all was done.
  if sent_at is None or process.returncode == 0:
    return Life(process.returncode, output, moment=end - started)
  name = fault.number.name
  return Life(process.returncode, output, before, name, sent_at - started, end - sent_at)


def _check(life: Life) -> None:
  """Raises `UserError` for a start that ended otherwise than its signal, or none, lets it."""
  ends = (0,)
  if life.sent:
    opened = life.phase() != 'start-up' and life.sent != 'SIGKILL'
    # In start-up the work dir may have been opened since.
    ends = (interrupt.EXIT_CODE,) if opened else (*_ENDS[life.sent], interrupt.EXIT_CODE)
  if life.code not in ends:
    last = '\n'.join(life.output.splitlines()[-_LINES_SHOWN:])
    raise UserError(
      f'The run ended with status {life.code} ({life.sent or "no signal was sent"}); it said '
      f'last:\n{last}'
    )


def differences(ours: pathlib.Path, whole: pathlib.Path) -> list[str]:
  """Returns what differs between the work dirs of two finished runs, a sentence each; times may
  differ."""
  different = [
    f'{ours.name}: {path.relative_to(whole)} differs'
    for path in sorted(whole.rglob('*.npz'))
    if not (other := ours / path.relative_to(whole)).is_file()
    or other.read_bytes() != path.read_bytes()
  ]
  if _lines(ours) != _lines(whole):
    different.append(f'{ours.name}: metrics.jsonl differs')
  if _rows(ours) != _rows(whole):
    different.append(f'{ours.name}: the rows of result.json differ')
  return different


def _lines(workdir: pathlib.Path) -> list[dict[str, Any]]:
  # In the order of the steps: a resumed phase writes its evaluations in one block.
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  return sorted(
    map(_without_times, lines), key=lambda line: (line['phase'], line['step'], line['kind'])
  )


def _rows(workdir: pathlib.Path) -> list[dict[str, Any]]:
  return _without_times(json.loads((workdir / 'result.json').read_bytes())['rows'])


def _without_times(value: Any) -> Any:
  if isinstance(value, list):
    return [_without_times(item) for item in value]
  if isinstance(value, dict):
    return {name: _without_times(item) for name, item in value.items() if 'second' not in name}
  return value


def _keep(workdir, rows, different) -> None:
  content = json.dumps({'signals': rows, 'differences': different}, indent=2)
  files.write_atomic(workdir / 'faults.json', files.encoded(f'{content}\n'))


def _text(rows: list[dict[str, Any]]) -> str:
  return tables.text(
    rows,
    [
      ('run', 'Run'),
      ('signal', 'Signal'),
      ('moment', 'After', 'seconds'),
      ('phase', 'In'),
      ('status', 'Status'),
      ('leaving', 'Left after', 'seconds'),
      ('resumed', 'The next start went on from'),
    ],
  )


def _count(rows: list[dict[str, Any]]) -> str:
  """Returns, for each signal and what was under way, how many there were, their statuses, and the
  slowest end."""
  groups = collections.defaultdict(list)
  for row in rows:
    groups[row['signal'], row['phase'], row['compiling']].append(row)
  summary = []
  for (sent, phase, compiling), group in sorted(groups.items()):
    statuses = sorted({row['status'] for row in group})
    summary.append(
      {
        'signal': sent,
        'phase': phase + ', compiling' * compiling,
        'count': len(group),
        'statuses': ', '.join(map(str, statuses)),
        'slowest': max(row['leaving'] for row in group),
      }
    )
  columns = [
    ('signal', 'Signal'),
    ('phase', 'In'),
    ('count', 'Times', 'count'),
    ('statuses', 'Statuses'),
    ('slowest', 'Slowest end', 'seconds'),
  ]
  return tables.text(summary, columns)
