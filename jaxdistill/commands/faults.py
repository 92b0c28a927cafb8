"""Injected faults: a run is killed at random moments and started again until it ends, as an
uninterrupted one must."""

import collections
import json
import pathlib
import random
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags

from jaxdistill import files
from jaxdistill.commands import families, local_cluster
from jaxdistill.commands import flags as command_flags
from jaxdistill.commands.process import exit_status
from jaxdistill.commands.run import folder
from jaxdistill.errors import UserError
from jaxdistill.report import numbers, tables
from jaxdistill.training import child, interrupt, progress

DIFFERENT = 1
_USAGE = """\
Kills a run at random moments, starts it again, and compares its end with that of an uninterrupted
run.

  jaxdistill faults --kills=20 --terms=5 --seed=0
  jaxdistill faults --kills=20 -- --config=dm:digits,quick --config.seed=1

The flags after the -- are those of `jaxdistill run`, without --workdir; left out, a small one on
digits that condenses and then trains classifiers. It runs twice undisturbed, the second time with
compiled programs in the cache, which says how long it takes. Then a signal comes a random time
after each start, between none and that length, until all are spent; a run that ends before is
compared, and the next one begun. Compared are the condensed sets (their bytes), every line of
metrics and the rows of the result, all but times. Exit status: 0 if nothing differs, 1 if
something does, 2 for a mistake.

Flags, before the --:"""
# How a start may end, by the signal. On SIGTERM: with its state saved, before the run began, or
# before Python could tell.
_ENDS = {
  '': (0,),
  'SIGKILL': (-signal.SIGKILL,),
  'SIGTERM': (interrupt.EXIT_CODE, 128 + signal.SIGTERM, -signal.SIGTERM),
}
_LINES_SHOWN = 20


class Life(NamedTuple):
  """One start of a run: its exit status, after how many seconds it ended, what it said, and the
  signal that it was sent."""

  code: int
  seconds: float
  output: str
  sent: str = ''

  def phase(self) -> str:
    """Returns the phase that was under way at the end, or 'start-up'."""
    phases = re.findall(r'^(\S+): (?:continues after|first step)', self.output, re.MULTILINE)
    return phases[-1] if phases else 'start-up'

  def resumed(self) -> str:
    """Returns from where this start went on, '' if its own signal came before it could say.

    >>> Life(0, 1.0, 'work dir: here\\ncondense: continues after step 40 of 90.').resumed()
    'condense, step 40'
    """
    match = re.search(r'^(\S+): continues after step ([\d,]+)', self.output, re.MULTILINE)
    if match:
      return f'{match[1]}, step {match[2]}'
    return '' if self.sent and self.phase() == 'start-up' else 'the beginning of a phase'


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
  signals = [signal.SIGKILL] * values.kills + [signal.SIGTERM] * values.terms
  draw.shuffle(signals)
  return run(forwarded or families.trial(), workdir, signals, draw)


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
  signals: Sequence[signal.Signals],
  draw: random.Random,
) -> int:
  """Sends the signals to runs with these arguments, below `workdir`; returns the exit status."""
  command = [
    *local_cluster.COMMAND,
    *arguments,
    f'--compilation_cache={workdir.absolute() / "programs"}',
  ]
  for name in ('first', 'whole'):
    length = _finish(command, workdir / name, workdir / f'{name}.log').seconds
    progress.say(f'{name}: {numbers.seconds(length)} undisturbed')
  rows, waiting = [], collections.deque(signals)
  different = differences(workdir / 'first', workdir / 'whole')
  number = 0
  while waiting or not number:
    number += 1
    place = workdir / f'killed{number}'
    rows += _disturb(command, place, waiting, draw, length)
    here = differences(place, workdir / 'whole')
    progress.say(f'{place.name}: ' + ('; '.join(here) or 'identical to the undisturbed run'))
    different += here
    _keep(workdir, rows, different)
  print(_text(rows))
  print(f'{len(rows)} signals in {number} runs, {_count(rows)}.')
  print('; '.join(different) or 'Every run ended bit for bit like the undisturbed one.')
  return DIFFERENT if different else 0


def _disturb(command, place, waiting, draw, length) -> list[dict[str, Any]]:
  """Runs to the end in `place`, with the next of the waiting signals at a random moment of each
  start."""
  rows = []
  while True:
    log = place.with_name(f'{place.name}-start{len(rows) + 1}.log')
    moment = draw.uniform(0, length) if waiting else None
    life = _live(command, place, log, moment, waiting[0] if waiting else None)
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
        'moment': life.seconds,
        'phase': life.phase(),
        'resumed': '',
      }
    )
    progress.say(
      f'{place.name}: {life.sent} after {numbers.seconds(life.seconds)}, in {life.phase()}'
    )


def _finish(command, place, log) -> Life:
  life = _live(command, place, log)
  _check(life)
  return life


def _live(
  command, place, log, moment: float | None = None, number: signal.Signals | None = None
) -> Life:
  """Starts a run, sends it a signal after so many seconds if it is still there, and waits for its
  end."""
  started, sent = time.monotonic(), ''
  with open(log, 'wb') as file:
    process = subprocess.Popen(
      [*command, f'--workdir={place}'],
      stdout=file,
      stderr=subprocess.STDOUT,
      start_new_session=True,
      env=child.environment(),
    )
    try:
      process.wait(moment)
    except subprocess.TimeoutExpired:
      process.send_signal(number)
      sent = number.name
    finally:
      if not sent and process.poll() is None:  # we ourselves are stopped
        process.kill()
      code = process.wait()
  life = Life(code, time.monotonic() - started, log.read_text(errors='replace'), sent)
  # It may have come to its end just before the signal did.
  return life._replace(sent='') if code == 0 else life


def _check(life: Life) -> None:
  """Raises `UserError` for a start that ended otherwise than its signal, or none, lets it."""
  if life.code not in _ENDS[life.sent]:
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
  files.write_atomic(workdir / 'faults.json', f'{content}\n'.encode())


def _text(rows: list[dict[str, Any]]) -> str:
  return tables.text(
    rows,
    [
      ('run', 'Run'),
      ('signal', 'Signal'),
      ('moment', 'After', 'seconds'),
      ('phase', 'In'),
      ('resumed', 'The next start went on from'),
    ],
  )


def _count(rows: list[dict[str, Any]]) -> str:
  counts = collections.Counter((row['signal'], row['phase']) for row in rows)
  return ', '.join(f'{count} {sent} in {phase}' for (sent, phase), count in sorted(counts.items()))
