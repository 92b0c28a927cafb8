"""Where the time goes: times of nested operations, and the files of a real trace."""

import signal
from types import SimpleNamespace

import flax
import jax
import jax.numpy as jnp
import pytest

from jaxdistill.training import interrupt, loop, trace
from jaxdistill.training.run import Run


def event(name, start, duration, **stats):
  return SimpleNamespace(name=name, start_ns=start, duration_ns=duration, stats=list(stats.items()))


def line(name, *events):
  return SimpleNamespace(name=name, events=events)


def test_an_operation_counts_without_those_inside_it():
  thread = line(
    'thread',
    event('while.1', 0, 100, hlo_op='while.1'),
    event('dot.3', 10, 30, hlo_op='dot.3'),
    event('dot.4', 50, 25, hlo_op='dot.4'),
    event('Execute', 0, 500),
    event('end: dot.4', 75, 5, hlo_op='dot.4'),
    event('tanh.clone', 100, 7, hlo_op='tanh.clone'),
  )
  found = trace.operations([SimpleNamespace(lines=[thread])])
  assert [(o.name, o.count, round(o.seconds * 1e9)) for o in found] == [
    ('dot', 2, 55),
    ('while', 1, 45),
    ('tanh', 1, 7),
  ]


def test_a_plane_that_lists_operations_by_name_counts_once():
  lines = [
    line('XLA Ops', event('%fusion.2 = f32[3] fusion(...)', 0, 10)),
    line('Steps', event('1', 0, 50, hlo_op='x')),
  ]
  assert trace.operations([SimpleNamespace(lines=lines)]) == [trace.Operation('fusion', 1, 1e-8)]


def test_operations_keep_their_numbers_where_they_are_asked_for():
  stream = line(
    'Stream #13', event('kernel', 0, 30, hlo_op='dot.3'), event('k', 30, 9, hlo_op='dot.4')
  )
  plane = SimpleNamespace(lines=[stream])
  assert trace.operations([plane], numbered=True) == [
    trace.Operation('dot.3', 1, 3e-8),
    trace.Operation('dot.4', 1, 9e-9),
  ]
  assert [o.name for o in trace.operations([plane])] == ['dot']


def test_kernels_of_a_gpu_that_name_no_operation_count_by_their_own_names():
  """In a graph of kernels nothing tells which operation one belongs to."""
  stream = line(
    'Stream #13',
    event('loop_fusion_2', 0, 20),
    event('void gemm<float>(int)', 20, 30, hlo_op='dot.3'),
  )
  gpu = SimpleNamespace(name='/device:GPU:0', lines=[stream])
  host = SimpleNamespace(name='/host:CPU', lines=[stream])
  assert [o.name for o in trace.operations([gpu])] == ['dot', 'loop_fusion_2']
  # What the host did meanwhile is not added.
  assert trace.operations([host, gpu]) == trace.operations([gpu])
  assert [o.name for o in trace.operations([host])] == ['dot']


def test_kernels_that_overlap_count_whole_and_those_of_a_graph_by_their_names():
  stream = line(
    'Stream',
    event('gemm', 0, 100, hlo_op='dot.1'),
    event('sum', 98, 50, hlo_op='command_buffer_3'),  # begins before the first has ended
    event('tail', 110, 10, hlo_op='tail.2'),  # inside the second
  )
  timed = trace.operations([SimpleNamespace(name='/device:GPU:0', lines=[stream])])
  assert {o.name: round(o.seconds * 1e9) for o in timed} == {'dot': 100, 'sum': 40, 'tail': 10}


@flax.struct.dataclass
class State:
  step: jax.Array
  key: jax.Array
  w: jax.Array


def problem(steps):
  def step(state, batch):
    w = jnp.tanh(state.w @ state.w)
    return state.replace(step=state.step + 1, w=w), {'loss': w.sum()}

  state = State(jnp.int32(0), jax.random.key(0), jnp.ones((50, 50)) / 50)
  return loop.Problem(step, state, loop.ArraySource((), lambda data, key, step: None), steps)


@pytest.mark.parametrize('steps', [5, 20])
def test_a_run_with_a_profile_leaves_trace_and_table(tmp_path, steps, capsys):
  """A phase shorter than the trace ends it early."""
  with Run(tmp_path, progress=False, tensorboard=False, profile=True) as run:
    loop.fit(run, 'train', problem(steps))
  text = (tmp_path / 'profile' / 'train.txt').read_text()
  assert (
    text.startswith(f'train: where the time goes. {min(steps - 3, 5)} calls took')
    and 'tanh' in text
  )
  assert text in capsys.readouterr().out
  assert run.profiles() == {'train': text}
  assert list((tmp_path / 'profile' / 'train').rglob('*.xplane.pb'))


def test_a_stop_after_the_traced_calls_says_where_it_saved(tmp_path):
  terminate = loop.Evaluation(lambda state: signal.raise_signal(signal.SIGTERM) or {}, 6)
  options = dict(progress=False, tensorboard=False, profile=True, handle_signals=True)
  with Run(tmp_path, **options) as run:
    with pytest.raises(BaseException, match='SIGTERM after step 6 of 8; the state is') as stop:
      loop.fit(run, 'train', problem(8), evaluate=terminate, steps_per_call=1)
    assert stop.type is interrupt.Interrupted
    assert run.timing('train')['steps'] == 6
    assert 'where the time goes' in run.profiles()['train']


def test_a_table_that_cannot_be_made_leaves_the_rest_in_order(tmp_path, monkeypatch):
  monkeypatch.setattr(trace.Trace, 'text', lambda self: 1 / 0)
  with Run(tmp_path, progress=False, tensorboard=False, profile=True) as run:
    with pytest.raises(ZeroDivisionError):
      loop.fit(run, 'train', problem(5), steps_per_call=1)
    assert run.timing('train')['steps'] == 5
    assert run.checkpoints('train').steps() == [5]
