"""What is told of a phase, with a clock that the test turns."""

import io
import os
import sys
import time

import flax
import jax
import jax.numpy as jnp
import pytest

from jaxdistill import terminal
from jaxdistill.training import loop, progress
from jaxdistill.training.run import Run


def make(enabled=True):
  said, now = [], [0.0]
  bar = progress.Bar('condense', 2000, 1000, enabled=enabled, say=said.append, clock=lambda: now[0])
  return bar, said, now


def test_without_a_terminal_one_line_now_and_then(monkeypatch):
  monkeypatch.setattr(terminal, 'watched', lambda: False)
  bar, said, now = make()
  for step in range(1001, 1201):
    now[0] += 0.5  # two steps a second, from step 1,000 on
    bar.update(step, 0.123456)
  bar.close()
  assert said[0] == 'condense: 1,060 of 2,000 steps, 2 steps/s, 7 min 50 s left, loss 0.1235'
  assert len(said) == 3  # after 30, 60 and 90 of 100 seconds


def test_what_comes_once_is_left_out_of_the_rate(monkeypatch):
  """Resumed at 1,000 of 2,000: 50 s of compiling, then 4 steps a second with a program of another
  length compiled on the way."""
  monkeypatch.setattr(terminal, 'watched', lambda: False)
  bar, said, now = make()
  bar.leave_out(40.0)  # before anything has come to its end: it is left out anyway
  now[0] = 50.0
  bar.update(1010, 0.5)  # the first call: no rate yet
  assert said.pop() == 'condense: 1,010 of 2,000 steps, 0 steps/s, loss 0.5'
  now[0] = 60.0
  bar.update(1050)
  assert bar.line(None, 60.0) == 'condense: 1,050 of 2,000 steps, 4 steps/s, 3 min 58 s left'
  now[0] = 85.0
  bar.leave_out(20.0)
  bar.update(1070)  # 60 steps in 35 - 20 s; 930 / 4 = 232.5 s
  assert said == ['condense: 1,070 of 2,000 steps, 4 steps/s, 3 min 52 s left']


def test_a_bar_in_a_terminal_shows_the_same_rate(monkeypatch):
  monkeypatch.setattr(terminal, 'watched', lambda: True)
  screen = io.StringIO()
  monkeypatch.setattr(sys, 'stderr', screen)
  bar, _, now = make()
  now[0] = 3000.0
  bar.update(1001, 0.5)
  now[0] = 3010.0
  bar.update(1101, 0.5)  # ten a second: 899 / 10 = 89.9 s
  bar.close()
  shown = screen.getvalue().split('\r')
  assert any('1101/2000' in text and '10 steps/s, 1 min 30 s left' in text for text in shown)


def test_silent_when_told(monkeypatch):
  monkeypatch.setattr(terminal, 'watched', lambda: False)
  bar, said, now = make(enabled=False)
  now[0] = 1000.0
  bar.update(1500, 1.0)
  bar.close()
  assert said == []


def test_a_terminal_gets_a_bar_with_the_loss(monkeypatch):
  monkeypatch.setattr(terminal, 'watched', lambda: True)
  screen = io.StringIO()
  monkeypatch.setattr(sys, 'stderr', screen)
  bar, said, now = make()
  now[0] = 1.0
  bar.update(1500, 0.25)
  bar.update(1600, 0.125)  # too soon to draw
  bar.close()
  shown = screen.getvalue()
  assert (
    'condense' in shown and '1500/2000' in shown and 'loss 0.25' in shown and '1600/2000' in shown
  )
  assert said == []


def test_no_steps_yet_means_no_time_left(monkeypatch):
  monkeypatch.setattr(terminal, 'watched', lambda: False)
  bar, _, _ = make()
  assert bar.line(None, 5.0) == 'condense: 1,000 of 2,000 steps, 0 steps/s'


def test_a_terminal_of_unknown_size_gets_a_bar_all_the_same(monkeypatch):
  leader, follower = os.openpty()  # its size is 0 x 0 until somebody sets it
  with open(follower, 'w') as side, open(leader, 'rb', buffering=0) as screen:
    monkeypatch.setattr(sys, 'stderr', side)
    bar, _, now = make()
    now[0] = 1.0
    bar.update(1500, 0.25)
    bar.close()
    side.flush()
    assert b'1500/2000' in screen.read(10_000)


def test_time_left_of_a_job_follows_the_pace_of_what_is_finished():
  job = progress.Job({'a': 10.0, 'b': 20.0, 'c': 30.0})
  assert job.left == 60 and job.line() == '0 of 3 parts done, about 1 min 00 s left'
  job.finish('b', 10.0)
  assert job.left == 20
  job.finish('a', 20.0)
  job.finish('c', 1.0)
  assert job.left == 0 and job.line() == '3 of 3 parts done'


def test_a_part_that_an_earlier_start_has_done_tells_nothing_of_the_pace():
  job = progress.Job({'a': 10.0, 'b': 20.0, 'c': 30.0})
  job.finish('a', None)
  assert job.left == 50 and job.line() == '1 of 3 parts done, about 50.0 s left'
  job.finish('b', 40.0)  # half as fast as expected
  assert job.left == 60


def test_a_phase_leaves_out_what_it_does_for_the_first_time(monkeypatch):
  """Eight steps, four a call and an evaluation after six: programs of 4 and of 2 steps, and one
  evaluation that compiles."""
  left_out = []
  monkeypatch.setattr(progress.Bar, 'leave_out', lambda bar, seconds: left_out.append(seconds))

  @flax.struct.dataclass
  class State:
    step: jax.Array
    key: jax.Array

  def step(state, batch):
    return state.replace(step=state.step + 1), {'loss': 0.0}

  source = loop.ArraySource((), lambda data, key, step: None)
  problem = loop.Problem(step, State(jnp.int32(0), jax.random.key(0)), source, 12)
  with Run(progress=False) as run:
    evaluation = loop.Evaluation(lambda state: time.sleep(0.05) or {}, every=6)
    loop.fit(run, 'train', problem, evaluate=evaluation, steps_per_call=4)
    compiling = run.timing('train')['compile_seconds']
  assert len(left_out) == 3 and left_out[2] >= 0.05
  assert sum(left_out[:2]) == pytest.approx(compiling)
