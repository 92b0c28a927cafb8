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

from jaxdistill.training import interrupt, loop
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
  watch = interrupt.Watch()
  with watch.watching():
    os.kill(os.getpid(), signal.SIGINT)
    assert watch.requested == 'Ctrl-C'
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)
      time.sleep(1)


def test_a_signal_that_compiled_code_turned_into_an_error_still_stops():
  with pytest.raises(interrupt.Terminated):
    with interrupt.termination_unwinds():
      try:
        signal.raise_signal(signal.SIGTERM)
      except KeyboardInterrupt as stop:
        raise ImportError('initializing the extension') from stop
  with pytest.raises(ImportError), interrupt.termination_unwinds():
    raise ImportError('without any signal')


def test_handlers_are_put_back():
  before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
  watch = interrupt.Watch()
  with watch.watching(), watch.watching():
    assert signal.getsignal(signal.SIGTERM) != before[1]
  with watch.watching(False):
    assert signal.getsignal(signal.SIGTERM) == before[1]
  assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


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
