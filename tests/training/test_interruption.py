"""Real signals to a real process: what was interrupted ends, bit for bit, where an uninterrupted
run ends."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.training import guard, interrupt, loop
from jaxdistill.training.run import Run

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 160


def train(workdir, tell=None):
  """Trains a few numbers; `tell` slows the evaluations down to give signals the time to come in
  between."""
  import flax

  @flax.struct.dataclass
  class State:
    step: jax.Array
    key: jax.Array
    w: jax.Array

  def step(state, batch):
    w = jnp.tanh(
      state.w
      + 0.1 * batch
      + 0.01 * jax.random.normal(jax.random.fold_in(state.key, state.step), (5,))
    )
    return state.replace(step=state.step + 1, w=w), {'loss': jnp.sum(w)}

  def evaluate(state):
    if tell:
      tell(int(state.step))
    return {'w': state.w.tolist()}

  data = np.linspace(-1, 1, 50, dtype=np.float32).reshape(10, 5)
  draw = lambda data, key, step: data[jax.random.randint(jax.random.fold_in(key, step), (), 0, 10)]
  source = loop.ArraySource(data, draw)
  with Run(workdir, progress=False, tensorboard=False, handle_signals=True, log_every=7) as run:
    state = State(jnp.int32(0), jax.random.key(1), jnp.zeros(5))
    state = loop.fit(
      run,
      'train',
      loop.Problem(step, state, source, STEPS),
      evaluate=loop.Evaluation(evaluate, 10),
      checkpoint_every=20,
    )
    strip = lambda lines: [{**line, 'seconds': 0} for line in lines]
    return np.asarray(state.w), strip(run.history('train')), strip(run.curve('train'))


def child(workdir):
  def tell(step):
    print(step, flush=True)
    time.sleep(0.02)

  train(workdir, tell)


def start(workdir, until):
  """Starts a training in another process and returns when it has come to the step `until`."""
  process = subprocess.Popen(
    [sys.executable, __file__, str(workdir)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
  )
  for line in process.stdout:
    if line.strip() == str(until):
      return process
  raise AssertionError(process.communicate()[1])


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  return train(tmp_path_factory.mktemp('whole'))


def assert_same_end(workdir, uninterrupted):
  w, history, curve = train(workdir)
  assert np.array_equal(w, uninterrupted[0])
  assert history == uninterrupted[1] and len(history) == STEPS // 10
  assert curve == uninterrupted[2] and len(curve) == STEPS // 7 + 1


def test_sigterm_saves_exits_with_75_and_says_how_to_go_on(tmp_path, uninterrupted):
  process = start(tmp_path, 50)
  process.send_signal(signal.SIGTERM)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 75, errors
  assert 'stopped by SIGTERM after step' in errors and 'Start the same command again' in errors
  saved = int(errors.split('after step ')[1].split()[0])
  assert (tmp_path / 'checkpoints' / 'train' / str(saved)).exists() and 50 <= saved < STEPS
  assert_same_end(tmp_path, uninterrupted)


def test_kill_9_loses_nothing_but_time(tmp_path, uninterrupted):
  process = start(tmp_path, 110)
  process.kill()
  process.communicate(timeout=60)
  assert process.returncode == -signal.SIGKILL
  assert_same_end(tmp_path, uninterrupted)


def test_ctrl_c_twice_stops_at_once():
  with pytest.raises(interrupt.AtOnce):
    with interrupt.remembering():
      os.kill(os.getpid(), signal.SIGINT)
      assert interrupt.requested() == 'Ctrl-C'
      os.kill(os.getpid(), signal.SIGINT)
      time.sleep(1)
  assert interrupt.requested() is None


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP'])
def test_a_signal_is_only_remembered_until_one_looks(name):
  number = getattr(signal, name)
  with pytest.raises(interrupt.Terminated) as caught:
    with interrupt.remembering():
      signal.raise_signal(number)
      assert interrupt.requested() == name  # and nothing was raised
      interrupt.check()
  assert interrupt.name_of(caught.value) == name and interrupt.number_of(caught.value) == number
  assert interrupt.requested() is None


def test_a_signal_that_nobody_has_answered_goes_to_the_handler_of_before():
  came = []
  before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
  try:
    with interrupt.remembering():
      signal.raise_signal(signal.SIGTERM)
      assert came == []
    assert came == [signal.SIGTERM]
    with pytest.raises(ZeroDivisionError):
      with interrupt.remembering():
        signal.raise_signal(signal.SIGTERM)
        raise ZeroDivisionError
    assert came == [signal.SIGTERM] * 2
    with pytest.raises(interrupt.Terminated):
      with interrupt.remembering():
        signal.raise_signal(signal.SIGTERM)
        interrupt.check()
    assert came == [signal.SIGTERM] * 2
  finally:
    signal.signal(signal.SIGTERM, before)


def test_in_a_notebook_ctrl_c_keeps_its_meaning():
  """Where nobody has asked for signals to be remembered, as in a call from a program."""
  with pytest.raises(KeyboardInterrupt) as caught:
    with interrupt.remembering(False):
      signal.raise_signal(signal.SIGINT)
      time.sleep(1)
  assert type(caught.value) is KeyboardInterrupt and interrupt.requested() is None


def test_of_several_processes_none_leaves_at_a_look():
  with pytest.raises(interrupt.Terminated):
    with interrupt.remembering():
      signal.raise_signal(signal.SIGTERM)
      with interrupt.together():
        interrupt.check()
      with interrupt.together(False):
        interrupt.check()


def test_signals_are_handed_on_in_order():
  with interrupt.handed_on() as signals:
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
      signal.raise_signal(number)
    assert signals == [signal.SIGINT, signal.SIGINT, signal.SIGTERM]
    assert interrupt.requested() is None


def test_nohup_is_respected():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with interrupt.remembering():
      signal.raise_signal(signal.SIGHUP)
      assert interrupt.requested() is None
  finally:
    signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back():
  numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
  before = [signal.getsignal(number) for number in numbers]
  with interrupt.remembering(), interrupt.remembering():
    assert all(signal.getsignal(number) not in before for number in numbers)
  with interrupt.remembering(False):
    assert signal.getsignal(signal.SIGTERM) == before[1]
  assert [signal.getsignal(number) for number in numbers] == before


def test_the_guard_waits_as_long_as_there_is_something_to_lose():
  state = interrupt.State()
  assert not guard.overdue(state, 100.0, 101.9) and guard.overdue(state, 100.0, 102.1)
  state.answered = 500.0  # it is on its way out
  assert not guard.overdue(state, 100.0, 519.0) and guard.overdue(state, 100.0, 521.0)
  state.answered, state.handed = None, []
  assert not guard.overdue(state, 100.0, 1000.0)
  state.handed, state.joined = None, True
  assert not guard.overdue(state, 100.0, 1000.0)
  state.joined, state.saving = False, 1
  assert not guard.overdue(state, 100.0, 1000.0)
  state.saving, unsaved = 0, [True]
  state.unsaved.append(lambda: unsaved[0])
  assert not guard.overdue(state, 100.0, 1000.0)  # the call under way has not returned
  state.returned = 200.0
  assert not guard.overdue(state, 100.0, 219.0) and guard.overdue(state, 100.0, 221.0)
  unsaved[0] = False
  assert guard.overdue(state, 100.0, 102.1)


def test_outside_the_main_thread_training_goes_without_handlers(tmp_path):
  results = []
  thread = threading.Thread(target=lambda: results.append(train(tmp_path)))
  thread.start()
  thread.join()
  assert len(results) == 1


def test_ctrl_c_in_memory_says_that_nothing_is_saved():
  def tell(step):
    os.kill(os.getpid(), signal.SIGINT)

  with pytest.raises(
    interrupt.Interrupted, match='Ctrl-C after step 10 of 160; nothing is saved'
  ) as caught:
    train(None, tell)
  assert caught.value.code == 75


def test_the_second_ctrl_c_does_not_wait_for_a_save(tmp_path):
  def tell(step):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)

  with pytest.raises(KeyboardInterrupt):
    train(tmp_path, tell)
  assert not (tmp_path / 'checkpoints').exists()


def test_a_phase_within_an_evaluation_stops_both(tmp_path):
  """The inner one saves its own state and the outer one its own."""
  import flax

  @flax.struct.dataclass
  class State:
    step: jax.Array
    key: jax.Array

  def step(state, batch):
    return state.replace(step=state.step + 1), {'loss': 0.0}

  start, source = (
    State(jnp.int32(0), jax.random.key(0)),
    loop.ArraySource((), lambda data, key, step: None),
  )

  def evaluate(state):
    loop.fit(
      run,
      'inner',
      loop.Problem(step, start, source, 8),
      evaluate=loop.Evaluation(lambda s: os.kill(os.getpid(), signal.SIGTERM) or {}, 4),
    )
    return {}

  with Run(tmp_path, progress=False, tensorboard=False, handle_signals=True) as run:
    with pytest.raises(interrupt.Interrupted, match='inner'):
      loop.fit(
        run, 'outer', loop.Problem(step, start, source, 6), evaluate=loop.Evaluation(evaluate, 3)
      )
    assert run.checkpoints('inner').steps() == [4] and run.checkpoints('outer').steps() == [3]


if __name__ == '__main__':
  try:
    child(sys.argv[1])
  except SystemExit as stop:
    print(stop, file=sys.stderr)
    raise
