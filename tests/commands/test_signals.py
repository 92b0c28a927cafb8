"""Signals to commands as processes of their own, each sent by the process itself at a certain point
of its way, from a config file of the user's: with which status it ends, and how the next start
does."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from jaxdistill.training import interrupt

ROOT = pathlib.Path(__file__).parents[2]
SMALL = (
  '--config.data.image_size=8',
  '--config.model.width=4',
  '--config.model.depth=1',
  '--config.condensation.iterations=20',
  '--config.condensation.batch_real=4',
  '--config.evaluation.networks=2',
  '--config.evaluation.steps=8',
  '--config.evaluation.every=4',
  '--config.evaluation.baselines=()',
  '--config.run.checkpoint_every=5',
  '--config.run.log_every=5',
)
# A config file that sends a signal at one of its points, once: where the file ONCE is not there.
CONFIG = """
import os, pathlib, signal, threading, time
from jaxdistill import config as configs

ONCE = pathlib.Path({once!r})

def here(point):
  if point == {point!r} and not ONCE.exists():
    ONCE.touch()
    os.kill(os.getpid(), signal.{name})
    return True

def before(owner, name, point, when=lambda *arguments: True):
  function = getattr(owner, name)
  def replaced(*arguments, **options):
    if when(*arguments):
      here(point)
    return function(*arguments, **options)
  setattr(owner, name, replaced)

here('import')

def get_config(arg=''):
  here('config')
  if here('hanging config'):
    time.sleep(1000)
  if here('flooding config'):
    print('x' * 10_000_000)
  from jaxdistill import data
  from jaxdistill.training import checkpoint, program, records, run, scorer
  before(data, 'load_splits', 'data')
  before(program, '_packed', 'tracing')
  lines = lambda phase, step: (
    lambda records, line: line['phase'].startswith(phase) and line['step'] == step)
  before(records.Records, 'append', 'condensing', lines('condense', 10))
  before(scorer.Scorer, '__call__', 'evaluating')
  before(run.Run, 'write_bytes', 'report', lambda run, name, content: name == 'report.html')
  before(run.Run, 'close', 'closing')
  before(run.Run, '_unlock', 'unlocking')
  compile = program._compile
  def compiling(lowered, arguments):
    if {point!r} == 'compiling':
      threading.Timer(0.05, here, ['compiling']).start()
    return compile(lowered, arguments)
  program._compile = compiling
  return configs.load('m3d:digits')
"""


def start(folder, point, name, *flags, module='jaxdistill'):
  """Starts a run whose config sends the signal; returns the process."""
  config = folder / 'mine.py'
  config.write_text(CONFIG.format(once=str(folder / 'once'), point=point, name=name))
  return subprocess.Popen(
    [sys.executable, '-m', module, f'--config={config}', *SMALL, '--noprogress', *flags],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  output, errors = process.communicate(timeout=240)
  return process.returncode, output, errors


@pytest.mark.parametrize(
  'point, name, status, module',
  [
    ('import', 'SIGINT', 130, 'jaxdistill'),
    ('import', 'SIGTERM', 143, 'launch.run'),
    ('config', 'SIGTERM', 143, 'jaxdistill'),
    ('config', 'SIGHUP', 129, 'launch.run'),
    ('data', 'SIGTERM', 143, 'jaxdistill'),
  ],
)
def test_before_the_run_the_status_is_that_of_the_signal(tmp_path, point, name, status, module):
  code, output, errors = finish(
    start(tmp_path, point, name, f'--workdir={tmp_path / "run"}', module=module)
  )
  shown = 'Ctrl-C' if name == 'SIGINT' else name
  assert code == status and output == '', errors
  assert f'Stopped by {shown} before the run began; nothing was written.' in errors
  assert 'Traceback' not in errors and not (tmp_path / 'run').exists()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_what_comes_while_python_starts_waits_for_the_first_import(number):
  """For the processes that a command of ours starts."""
  with interrupt.blocked():
    process = subprocess.Popen(
      [sys.executable, '-m', 'jaxdistill', '--list'], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
  process.send_signal(number)
  _, errors = process.communicate(timeout=30)
  assert process.returncode == 128 + number and 'Traceback' not in errors, errors
  assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_code_that_never_looks_is_ended_by_the_guard(tmp_path):
  process = start(tmp_path, 'hanging config', 'SIGTERM')
  while not (tmp_path / 'once').exists():
    assert process.poll() is None
    time.sleep(0.02)
  came = time.monotonic()
  code, _, errors = finish(process)
  assert code == 143 and time.monotonic() - came < 5
  assert errors.strip() == 'Stopped by SIGTERM before the run began; nothing was written.'


def test_a_reader_that_does_not_read_keeps_no_process(tmp_path):
  process = start(tmp_path, 'flooding config', 'SIGTERM')
  with process.stdout, process.stderr:
    assert process.wait(timeout=30) == 143


IN_TERMINAL = """
import os, pathlib, pty, sys, time
pid, terminal = pty.fork()
if not pid:
  os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
while not pathlib.Path(sys.argv[1]).exists():
  time.sleep(0.01)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def close_terminal(folder, point, *flags):
  """Runs a config in a terminal that is closed when it has come to a point; returns the status."""
  config = folder / 'mine.py'
  config.write_text(CONFIG.format(once=str(folder / 'once'), point=point, name='SIGCONT'))
  command = ['-m', 'jaxdistill', f'--config={config}', *SMALL, *flags]
  done = subprocess.run(
    [sys.executable, '-c', IN_TERMINAL, str(folder / 'once'), *command],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  return int(done.stdout)


def test_a_closed_terminal_is_a_signal_too(tmp_path):
  assert close_terminal(tmp_path, 'hanging config') == 129


@pytest.mark.slow
def test_in_a_closed_terminal_the_state_is_saved(tmp_path, whole):
  flag = f'--workdir={tmp_path / "run"}'
  assert close_terminal(tmp_path, 'condensing', flag, '--config.run.checkpoint_every=1000') == 75
  steps = [path.name for path in (tmp_path / 'run' / 'checkpoints' / 'condense').iterdir()]
  assert steps and all(0 < int(step) <= 20 for step in steps)
  code, _, errors = finish(start(tmp_path, 'condensing', 'SIGCONT', flag))
  assert code == 0, errors
  assert rows(tmp_path / 'run') == whole


def test_ctrl_c_twice_ends_what_hangs_at_once(tmp_path):
  process = start(tmp_path, 'hanging config', 'SIGINT')
  while not (tmp_path / 'once').exists():
    time.sleep(0.02)
  time.sleep(0.5)
  came = time.monotonic()
  process.send_signal(signal.SIGINT)
  code, _, errors = finish(process)
  assert code == 130 and time.monotonic() - came < 1 and 'Ctrl-C again stops at once' in errors


def test_a_signal_from_within_tracing_stops_after_the_compilation():
  """Python runs the handler inside code that XLA's bindings have called."""
  program = """
import os, signal, sys, types
from jaxdistill.commands import console
from jaxdistill.training import exits
def main():
  def start(arguments):
    import flax, jax, jax.numpy as jnp
    from jaxdistill.training import loop
    @flax.struct.dataclass
    class State:
      step: jax.Array
      key: jax.Array
    def step(state, batch):
      os.kill(os.getpid(), signal.SIGTERM)
      print('traced', flush=True)
      return state.replace(step=state.step + 1), {'loss': 0.0}
    source = loop.ArraySource((), lambda data, key, step: None)
    loop.estimate(loop.Problem(step, State(jnp.int32(0), jax.random.key(0)), source, 8))
    print('computed')
  return exits.exit_status(start, [])
sys.modules['jaxdistill.commands.mine'] = types.SimpleNamespace(main=main)
console.run('mine')
"""
  done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 143 and done.stdout == 'traced\n', done.stderr
  assert done.stderr.strip() == 'Stopped by SIGTERM before the run began; nothing was written.'


@pytest.mark.slow
def test_a_signal_to_an_estimate_while_it_compiles(tmp_path):
  code, _, errors = finish(start(tmp_path, 'compiling', 'SIGINT', '--dry_run'))
  assert code == 130, errors
  assert 'Stopped by Ctrl-C before the run began; nothing was written.' in errors


@pytest.mark.parametrize(
  'code, status, said',
  [
    ('import jax; jax.jit(lambda x: x + 1)(1)', 0, ''),
    ('raise SystemExit("my own words")', 1, 'my own words'),
    ('import jax; jax.jit(lambda x: x + 1)(1); 1 / 0', 1, 'ZeroDivisionError'),
    ('import jaxdistill; raise jaxdistill.errors.UserError("a mistake")', 2, 'error: a mistake'),
  ],
)
def test_other_ends_keep_their_status(code, status, said):
  """A command in a process of its own, with threads of XLA and functions for the end."""
  program = f"""
import atexit, types, sys
from jaxdistill.commands import console
from jaxdistill.training import exits
def main():
  def start(arguments):
    atexit.register(lambda: print('last'))
    print('first', end=' ')
    {code or 'pass'}
  return exits.exit_status(start, [])
sys.modules['jaxdistill.commands.mine'] = types.SimpleNamespace(main=main)
console.run('mine')
"""
  done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == status and done.stdout == 'first last\n', done.stderr
  assert said in done.stderr and ('Traceback' in done.stderr) == ('/ 0' in code)


def test_a_signal_after_the_last_line_ends_with_75_too():
  program = """
import atexit, os, signal, sys, types
from jaxdistill.commands import console
from jaxdistill.training import exits, interrupt
def main():
  def start(arguments):
    interrupt.begun(' when all was done; the results are here')
    atexit.register(os.kill, os.getpid(), signal.SIGTERM)
  return exits.exit_status(start, [])
sys.modules['jaxdistill.commands.mine'] = types.SimpleNamespace(main=main)
console.run('mine')
"""
  done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 75
  assert done.stderr.strip() == 'Stopped by SIGTERM when all was done; the results are here.'


def rows(workdir):
  """What a finished run leaves, without times."""
  result = json.loads((workdir / 'result.json').read_text())
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  lines = sorted(
    ({**line, 'seconds': 0} for line in lines),
    key=lambda line: (line['phase'], line['step'], line['kind']),
  )
  return (
    (workdir / 'condensed.npz').read_bytes(),
    [row['last'] for row in result['rows']],
    lines,
  )


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole')
  code, _, errors = finish(start(folder, 'nowhere', 'SIGTERM', f'--workdir={folder / "run"}'))
  assert code == 0, errors
  return rows(folder / 'run')


@pytest.mark.slow
@pytest.mark.parametrize(
  'point, name, words',
  [
    ('tracing', 'SIGINT', 'what was finished or saved is kept in'),
    ('compiling', 'SIGTERM', 'what was finished or saved is kept in'),
    ('compiling', 'SIGINT', 'what was finished or saved is kept in'),
    ('condensing', 'SIGTERM', 'stopped by SIGTERM after step'),
    ('condensing', 'SIGHUP', 'stopped by SIGHUP after step'),
    ('evaluating', 'SIGINT', 'Ctrl-C'),
    ('report', 'SIGTERM', 'what was finished or saved is kept in'),
    ('closing', 'SIGTERM', ''),
    ('unlocking', 'SIGINT', ''),
  ],
)
def test_a_stopped_run_ends_with_75_and_goes_on_to_the_same_end(
  tmp_path, whole, point, name, words
):
  flag = f'--workdir={tmp_path / "run"}'
  process = start(tmp_path, point, name, flag)
  code, _, errors = finish(process)
  assert (tmp_path / 'once').exists(), errors
  assert code == 75 and words in errors and 'Traceback' not in errors, errors
  code, _, errors = finish(start(tmp_path, point, name, flag))
  assert code == 0, errors
  assert rows(tmp_path / 'run') == whole


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_job_hands_a_signal_on_from_its_first_moment(tmp_path, number):
  """The processes that it starts are gone with it, whatever they were doing."""
  command = ['cluster', '--', f'--config={tmp_path / "mine.py"}', *SMALL]
  (tmp_path / 'mine.py').write_text(f"""
import os, pathlib, time
def get_config():
  pathlib.Path({str(tmp_path)!r}, f'pid{{os.getpid()}}').touch()
  time.sleep(1000)
""")
  process = subprocess.Popen(
    [sys.executable, '-m', 'jaxdistill', *command], cwd=ROOT, stderr=subprocess.PIPE, text=True
  )
  while not list(tmp_path.glob('pid*')):
    time.sleep(0.01)
  process.send_signal(number)
  _, errors = process.communicate(timeout=30)
  assert process.returncode == 128 + number, errors
  for path in tmp_path.glob('pid*'):
    with pytest.raises(ProcessLookupError):
      os.kill(int(path.name[3:]), 0)
