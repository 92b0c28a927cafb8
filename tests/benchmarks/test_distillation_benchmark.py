"""The benchmark of students' steps: what a process measures, and its turn beside others."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from jaxdistill import benchmarks
from jaxdistill.benchmarks import distillation, process, timing
from jaxdistill.distillation import recipes
from jaxdistill.errors import UserError

SMALL = benchmarks.Settings(
  distillations=('kd',), networks=2, iters=1, batch=4, low=4, teacher=14, student=8
)


@pytest.fixture
def tiny(monkeypatch):
  """Networks that compile soon in place of the ResNets, half as wide as those are deep, and few
  images."""
  fields = lambda depth: {'name': 'convnet', 'width': depth // 2, 'depth': 1, 'norm': 'batch'}
  monkeypatch.setattr(distillation, '_fields', fields)
  monkeypatch.setattr(distillation, '_IMAGES_A_CLASS', 2)


def test_a_process_prints_the_seconds_of_a_step_and_the_speed_of_the_student(tiny, capsys):
  distillation.main('--method=kd --iters=2 --batch=4 --low=4 --teacher=14 --student=8'.split())
  figures = json.loads(capsys.readouterr().out)
  assert (figures['method'], figures['seeds'], len(figures['seconds'])) == ('kd', 1, 2)
  assert min(figures['seconds']) <= figures['s_per_iter'] <= max(figures['seconds'])
  assert set(figures['images_per_s']) == {'1', '256'} and figures['compile_s'] > 0
  assert figures['peak_bytes'] > 0


def test_a_run_of_the_family_is_what_is_timed(tiny):
  problem = distillation.build('kd', SMALL, students=2)
  assert problem.num_steps == recipes.find('crd240', batch=4).steps(20)
  kernel = problem.state.variables['params']['student']['classifier']['kernel']
  assert kernel.shape == (2, 16, 10)
  again = distillation.build('kd', SMALL, students=1, seed=1)
  other = again.state.variables['params']['student']['classifier']['kernel']
  assert other.shape == (1, 16, 10) and not np.isclose(other[0], kernel[0]).any()
  built, state, inputs = timing.build(problem)
  _, metrics = built(state, inputs)
  assert {'cross_entropy', 'kd', 'kd_weighted'} <= {name for name, _ in metrics.layout}


@pytest.mark.parametrize('name', ['alone', 'sp+rkd'])
def test_students_one_by_one_are_problems_of_their_own(monkeypatch, name):
  asked = []

  def build(name, chosen, students, seed):
    asked.append((name, students, seed))
    return asked[-1]

  program = SimpleNamespace(seconds=1.0)
  monkeypatch.setattr(distillation, 'build', build)
  monkeypatch.setattr(timing, 'build', lambda problem, length: (program, problem, 'inputs'))
  times = lambda built, states, inputs, count: [float(len(states))] * count
  monkeypatch.setattr(distillation, '_time_steps', times)
  figures = distillation.measure(name, SMALL, seeds=3, one_by_one=True)
  assert asked == [(name, 1, 0), (name, 1, 1), (name, 1, 2)] and figures['s_per_iter'] == 3.0
  assert 'images_per_s' not in figures
  assert distillation.measure(name, SMALL, seeds=3)['s_per_iter'] == 1.0
  assert asked[3:] == [(name, 3, 0)]


def test_every_student_steps_in_every_timed_step(monkeypatch):
  clock = iter([0.0, 5.0, 5.0, 7.0, 7.0, 11.0])
  monkeypatch.setattr(distillation, 'time', SimpleNamespace(perf_counter=lambda: next(clock)))

  class Steps:
    length = 2

    def __call__(self, state, inputs):
      return state + inputs, {}

  states = [0, 100]
  assert distillation._time_steps(Steps(), states, 1, 2) == [1.0, 2.0]
  assert states == [3, 103]


@pytest.mark.parametrize('yardstick', ['', 'other --fast'])
def test_what_is_compared_has_its_turn(monkeypatch, yardstick):
  commands, seconds, rates = [], iter(range(1, 100)), iter(range(10, 100))

  def figures(command):
    commands.append([str(word) for word in command])
    rate = {'images_per_s': {'1': next(rates), '256': 7.0}} if command[-1] == 1 else {}
    return {'s_per_iter': float(next(seconds)), **rate}

  monkeypatch.setattr(process, 'figures', figures)
  chosen, told = dataclasses.replace(SMALL, rounds=3, yardstick=yardstick), []
  result = distillation.distil(chosen, told.append)['kd']
  flags = '--method kd --iters 1 --batch 4 --low 4 --teacher 14 --student 8 --seeds'.split()
  assert commands[0][3:] == ['--dtype', 'float32', *flags, '1']
  assert commands[1][5:] == [*flags, '2'] and commands[2][5:] == [*flags, '2', '--one-by-one']
  if yardstick:
    assert commands[3:5] == [['other', '--fast', *flags, count] for count in '12']
    assert commands[5] == commands[0] and len(commands) == 15
    assert result['one_s'] == [1.0, 6.0, 11.0] and result['yardstick_all_s'] == [5.0, 10.0, 15.0]
    assert result['share'] == 7 / 8 and result['ratio'] == 9 / 6
    assert result['together_ratio'] == 10 / 7
    assert result['images_per_s'] == {'1': 12, '256': 7.0}
    assert result['yardstick_images_per_s'] == {'1': 13, '256': 7.0}
  else:
    assert commands[3] == commands[0] and len(commands) == 9
    assert result['together_s'] == [2.0, 5.0, 8.0] and result['share'] == 5 / 6
    assert result['images_per_s'] == {'1': 11, '256': 7.0} and 'ratio' not in result
  assert len(told) == (7 if yardstick else 6) and told[0].startswith('kd, round 1: one step 1.0')


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(distillations=('kd', 'kdd')), "distillation term 'kdd'; did you mean 'kd'"),
    (dict(distillations=('kd+crdd',)), "distillation term 'crdd'; did you mean 'crd'"),
    (dict(teacher=9), 'depth of a resnet is 6 k'),
    (dict(low=5), 'does not divide'),
    (dict(yardstick='no-such-program --fast'), "no program 'no-such-program'"),
    (dict(yardstick="'open"), 'is no command'),
  ],
)
def test_a_mistake_is_one_sentence_before_any_work(changes, message):
  with pytest.raises(UserError, match=message):
    distillation.check(dataclasses.replace(SMALL, **changes))


def test_usual_settings_are_fine():
  distillation.check(benchmarks.Settings())
