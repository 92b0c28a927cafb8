"""Injected faults on a program that stands in for a run: it counts to the end, keeps its count, and
may be made to lose it."""

import random
import signal
import sys

import pytest

from jaxdistill.commands import faults, local_cluster
from jaxdistill.errors import UserError

# Counts to 40 in 2 s and keeps the count; the loss of a line tells its number, or that of this
# start where it forgets.
RUN = """
import json, os, pathlib, signal, sys, time
place = pathlib.Path(sys.argv[-1].partition('=')[2]); place.mkdir(exist_ok=True)
state, forgets = place / 'state', 'forgets' in sys.argv
lines = json.loads(state.read_text()) if state.exists() else []
if lines: print(f'train: continues after step {len(lines)} of 40.', flush=True)
begun = len(lines)
signal.signal(signal.SIGTERM, lambda *_: os._exit(int('wrong' in sys.argv) or 75))
for step in range(begun, 40):
  if step == begun: print('train: first step after 1 s', flush=True)
  time.sleep(.02)
  lines.append({'phase': 'train', 'step': step, 'kind': 'train', 'loss': step - begun * forgets,
                'seconds': time.time()})
  (place / 'new').write_text(json.dumps(lines)); (place / 'new').replace(state)
(place / 'metrics.jsonl').write_text('\\n'.join(map(json.dumps, lines)))
(place / 'result.json').write_text(json.dumps({'rows': [{'last': 1, 'seconds': time.time()}]}))
(place / 'condensed.npz').write_bytes(b'set')
"""


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
  monkeypatch.setattr(local_cluster, 'COMMAND', (sys.executable, '-c', RUN))


def test_runs_are_killed_until_all_signals_are_spent_and_compared(tmp_path, capsys):
  sent = [faults.Fault(number) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)]
  assert faults.run(['honest'], tmp_path, sent, random.Random(0)) == 0
  told = capsys.readouterr().out
  assert '3 signals in' in told and 'Every run ended bit for bit like the undisturbed one.' in told
  assert told.count('SIGKILL after') == 2 and told.count('SIGTERM after') == 1


def test_a_run_that_forgets_is_found_out(tmp_path, capsys):
  assert (
    faults.run(['forgets'], tmp_path, [faults.Fault(signal.SIGKILL)] * 3, random.Random(0))
    == faults.DIFFERENT
  )
  assert 'metrics.jsonl differs' in capsys.readouterr().out


def test_a_run_that_answers_a_signal_wrongly_is_told(tmp_path):
  with pytest.raises(UserError, match='status 1 .SIGTERM.'):
    faults.run(['wrong'], tmp_path, [faults.Fault(signal.SIGTERM)] * 3, random.Random(0))


def test_what_is_there_is_not_written_over(tmp_path, capsys):
  (tmp_path / 'mine').write_text('')
  assert faults.main([f'--workdir={tmp_path}']) == 2 and 'is not empty' in capsys.readouterr().err
