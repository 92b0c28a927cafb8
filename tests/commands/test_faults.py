"""Injected faults on a program that stands in for a run: it counts to the end, keeps its count, and
may be made to lose it."""

import json
import random
import re
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
def leave(number, frame):
  time.sleep(.4 * ('slow' in sys.argv))
  os._exit(1 if 'wrong' in sys.argv else 130 if 'forgets the run' in sys.argv else 75)
signal.signal(signal.SIGTERM, leave); signal.signal(signal.SIGINT, leave)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGINT])
print('work dir: here', flush=True)
cold = not any(pathlib.Path(sys.argv[-2].partition('=')[2]).glob('*'))
if 'compiles' in sys.argv and cold:
  print('Finished jaxpr to MLIR module conversion jit(f) in 0.1 sec', flush=True)
  time.sleep(.5)
  print('Finished XLA compilation of jit(f) in 0.5 sec', flush=True)
pathlib.Path(sys.argv[-2].partition('=')[2]).mkdir(exist_ok=True)
pathlib.Path(sys.argv[-2].partition('=')[2], 'f').touch()
for step in range(begun, 40):
  if step == begun: print('train: first step after 1 s', flush=True)
  time.sleep(.001 if 'compiles' in sys.argv else .02)
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


def test_signals_come_while_a_start_without_programs_compiles(tmp_path, capsys):
  sent = [faults.Fault(signal.SIGINT, compiling=True), faults.Fault(signal.SIGTERM, True)]
  assert faults.run(['compiles'], tmp_path, sent, random.Random(0)) == 0
  assert capsys.readouterr().out.count('in data, compiling: 75 after') == 2
  kept = json.loads((tmp_path / 'faults.json').read_text())['signals']
  assert [(row['phase'], row['compiling'], row['status']) for row in kept] == [
    ('data', True, 75),
    ('data', True, 75),
  ]


def test_once_the_work_dir_is_open_the_status_is_75(tmp_path):
  """130 would keep a queue from starting it again."""
  with pytest.raises(UserError, match='status 130 .SIGINT.'):
    faults.run(['forgets the run'], tmp_path, [faults.Fault(signal.SIGINT)] * 3, random.Random(0))


def test_a_run_that_takes_long_to_leave_is_told(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(faults, 'LEAVE_SECONDS', 0.3)
  sent = [faults.Fault(signal.SIGTERM)]
  assert faults.run(['slow'], tmp_path, sent, random.Random(0)) == faults.DIFFERENT
  assert re.search(r'killed1: 0[.][4-9] s to leave in (data|train)', capsys.readouterr().out)


def test_more_compilations_than_signals_are_a_mistake(tmp_path, capsys):
  flags = ['--kills=1', '--terms=0', '--ints=1', '--compiling=3', f'--workdir={tmp_path}']
  assert faults.main(flags) == 2 and 'more than the 2 signals' in capsys.readouterr().err


def test_what_is_there_is_not_written_over(tmp_path, capsys):
  (tmp_path / 'mine').write_text('')
  assert faults.main([f'--workdir={tmp_path}']) == 2 and 'is not empty' in capsys.readouterr().err
