"""One figure of a device: what is told of a step, and when; the figures themselves are no test's
business."""

import json
import subprocess
import sys

import flax
import jax
import jax.numpy as jnp
import pytest

from jaxdistill.benchmarks import ceilings, process, steps, timing
from jaxdistill.benchmarks.steps import Subject
from jaxdistill.training import child, loop
from jaxdistill.training.problem import Problem

TIMED = {
  's_per_step',
  's_per_step_waited',
  'spread',
  'compile_s',
  'program_bytes',
  'peak_bytes',
  'peak_of',
  'missing',
}
COUNTED = {'flops', 'bytes', 'operations', 'grouped', 'largest', 'least_s', 'bound'}
SIDE = 64


@flax.struct.dataclass
class State:
  step: jax.Array
  key: jax.Array
  weights: jax.Array


def product(state, factor):
  weights = jnp.tanh(state.weights @ factor)
  return state.replace(step=state.step + 1, weights=weights), {'loss': weights[0, 0]}


@pytest.fixture
def products(monkeypatch):
  """Makes the step one matrix product of 64 x 64."""
  state = State(jnp.int32(0), jax.random.key(0), jnp.ones((SIDE, SIDE)))
  source = loop.ArraySource(jnp.eye(SIDE), lambda data, key, step: data)
  problem = Problem(product, state, source, 100)
  monkeypatch.setattr(Subject, 'problem', lambda self: problem)
  return problem


@pytest.mark.parametrize('per_call', [1, 10])
def test_figures_are_of_one_step_and_come_as_soon_as_they_are_known(products, per_call):
  told = []
  steps.measure(Subject(per_call=per_call, seconds=0.01), lambda figures: told.append({**figures}))
  assert [set(figures) for figures in told] == [
    TIMED,
    TIMED | COUNTED,
    TIMED | COUNTED | {'profile'},
  ]
  figures = told[-1]
  assert figures['missing'] == {} and figures['flops'] == 2 * SIDE**3
  assert 0 < figures['spread'][0] <= figures['s_per_step'] <= figures['spread'][1]
  assert figures['least_s'] is None and figures['bound'] is None  # a CPU has no data sheet here
  # Of a step: two matrices are read and one is written, at least.
  assert 3 * 4 * SIDE**2 <= figures['bytes'] < 30 * 4 * SIDE**2
  longest = figures['profile'][0]
  assert longest['seconds'] > 0 and 0 < longest['share'] <= 1
  assert any('dot' in row['source'] or 'tanh' in row['source'] for row in figures['profile'])


def test_the_bound_is_that_of_the_data_sheet(products, monkeypatch):
  built, _, _ = timing.build(products)
  monkeypatch.setattr(steps.cost, 'peak_flops', lambda kind, dtype: 1e6)
  monkeypatch.setattr(steps.cost, 'peak_bandwidth', lambda kind: 1e12)
  counted = steps.count(built, 'float32')
  assert counted['bound'] == 'compute' and counted['least_s'] == 2 * SIDE**3 / 1e6
  monkeypatch.setattr(steps.cost, 'peak_flops', lambda kind, dtype: 1e15)
  counted = steps.count(built, 'float32')
  assert counted['bound'] == 'memory' and counted['least_s'] == counted['bytes'] / 1e12


def test_what_cannot_be_counted_or_traced_is_told_beside_the_time(products, monkeypatch):
  monkeypatch.setattr(steps.traffic, 'read', lambda *_: 1 / 0)
  monkeypatch.setattr(steps.jax.profiler, 'trace', lambda *_, **__: 1 / 0)
  told = []
  steps.measure(Subject(seconds=0.01), lambda figures: told.append({**figures}))
  assert told[-1].keys() == TIMED
  assert told[-1]['missing'] == dict.fromkeys(
    ('counts', 'profile'), 'ZeroDivisionError: division by zero'
  )


def test_a_figure_of_a_later_round_is_timed_only(products):
  told = []
  steps.measure(Subject(whole=0, seconds=0.01), told.append)
  assert len(told) == 1 and told[0].keys() == TIMED


def test_calls_are_timed_alone_and_several_at_once(products, monkeypatch):
  """On a clock on which a call that is waited for takes 0.1 s, as do all others."""
  now, calls = [0.0], []

  def call(state, inputs):
    calls.append(1)
    now[0] += 0.1
    return state, None

  monkeypatch.setattr(timing.time, 'perf_counter', lambda: now[0])
  timed, _ = timing.time_calls(call, 'state', 'inputs', seconds=3.0)
  assert timed.waited == pytest.approx([0.1] * len(timed.waited)) and 9 <= len(timed.waited) <= 11
  assert timed.several == pytest.approx([0.1] * 5)  # five rows of four calls
  assert len(calls) == 1 + len(timed.waited) + 5 * 4
  calls.clear()
  timed, _ = timing.time_calls(call, 'state', 'inputs', seconds=0.0)
  assert (len(timed.waited), len(timed.several), len(calls)) == (2, 1, 4)


@pytest.mark.parametrize('per_call', [1, 10])
def test_nothing_goes_to_the_device_or_comes_from_it_between_calls(products, per_call):
  built, state, inputs = timing.build(products, per_call)
  with jax.transfer_guard('disallow'):
    for _ in range(3):
      state, metrics = built(state, inputs)
  assert metrics.values.size == per_call and int(state.step) == 3 * per_call
  text = built.compiled.as_text()
  for kind in ('infeed', 'outfeed', ' send(', ' recv(', 'callback'):
    assert kind not in text


def test_the_subjects_are_those_of_the_library():
  sizes = dict(width=4, ipc=2, factor=1, classes=3)
  condensing = Subject(method='dm', batch_real=5, dtype='bfloat16', **sizes).problem()
  assert condensing.state.images.shape == (3, 2, 32, 32, 3)
  training = Subject(networks=4, way='unroll', **sizes).problem()
  assert {leaf.shape[0] for leaf in jax.tree.leaves(training.state.variables)} == {4}
  assert training.source.data['images'].shape == (3 * 2, 32, 32, 3)


def test_flags_make_the_subject_again_in_a_process_of_its_own(tmp_path):
  subject = Subject('dance', 2, 'vmap', 3, 0.5, 0, 'bfloat16', 4, 5, 6, 7, 8)
  code = (
    'import sys, dataclasses; from jaxdistill.benchmarks import steps\n'
    'steps.measure = lambda subject, tell: tell(dataclasses.asdict(subject))\n'
    'steps.main(sys.argv[1:])'
  )
  done = subprocess.run(
    [sys.executable, '-c', code, *subject.flags()],
    cwd=tmp_path,
    env=child.environment(),
    capture_output=True,
    text=True,
    check=True,
  )
  assert Subject(**json.loads(done.stdout)) == subject


# The machine.


def test_what_a_device_reaches_is_measured_in_both_types(capsys, monkeypatch):
  monkeypatch.setattr(ceilings, '_SIDES', {'': 16})
  monkeypatch.setattr(ceilings, '_MIB', {'': 1})
  ceilings.main(['--machine-only'])
  (line,) = capsys.readouterr().out.splitlines()
  machine = json.loads(line)['machine']
  assert machine['device']['platform'] == 'cpu' and len(machine['code']) == 16
  ceilings.main([])
  figures = json.loads(capsys.readouterr().out.splitlines()[-1])
  assert figures['machine']['memory_bytes'] > 0 and figures['bytes_per_s'] > 0
  assert set(figures['flops_per_s']) == {'float32', 'bfloat16'}


# The process.


def python(code, **options):
  return process.run([sys.executable, '-c', code], **options)


def test_the_last_line_of_json_counts_whatever_follows():
  ended = python("print('{\"a\": 1}'); print('{\"a\": 2}'); print('[3]'); print('done')")
  assert ended == process.Ended({'a': 2})


def test_a_process_that_fails_keeps_what_it_told_and_the_line_that_says_why():
  code = (
    "print('{\"a\": 1}', flush=True); import sys; sys.stderr.write('ValueError: too much\\nnote'); "
  )
  ended = python(f'{code}sys.exit(3)')
  assert ended.figures == {'a': 1} and ended.trouble == 'failed: ValueError: too much'
  assert python('import sys; sys.exit(3)') == process.Ended(None, 'failed: status 3')
  assert 'gave no JSON line' in python("print('hello')").trouble
  crashed = python('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)', seconds=60)
  assert crashed == process.Ended(None, 'failed: SIGSEGV')


def test_a_process_that_takes_too_long_is_late():
  ended = python('import time; time.sleep(60)', seconds=0)
  assert ended == process.Ended(None, 'was ended after 0 s', is_late=True)
