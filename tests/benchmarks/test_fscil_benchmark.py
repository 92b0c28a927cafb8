"""The benchmark of few-shot sessions: what a process measures, and its turn beside another one."""

import dataclasses
import json

import pytest

from jaxdistill import benchmarks
from jaxdistill.benchmarks import fscil, process
from jaxdistill.errors import UserError

SMALL = benchmarks.Settings(learners=('nc_fscil',), draws=2, dim=8, session_steps=3, iters=2)


def test_a_process_prints_the_seconds_of_a_session(capsys):
  fscil.main('--learner=ft_cos --dim=8 --steps=3 --sessions=2 --draws=2'.split())
  figures = json.loads(capsys.readouterr().out)
  assert figures['draws'] == 2 and len(figures['seconds']) == 2
  assert 0 < min(figures['seconds']) <= figures['s_per_session'] < figures['whole_s']


def test_every_head_has_its_sessions():
  course = fscil.build('nc_fscil', SMALL, draws=2)
  assert course.engine.task.num_classes == 70 and course.engine.learner.steps == (3, 3)
  assert course.examples.shots.shape == (1, 2, 2, 25, 8)
  assert set(course.base.head) == {'projector'}


@pytest.mark.parametrize('yardstick', ['', 'other --fast'])
def test_what_is_compared_has_its_turn(monkeypatch, yardstick):
  commands, seconds = [], iter([1.0, 2.0, 4.0, 1.0, 4.0, 2.0, 3.0, 9.0, 3.0])

  def figures(command):
    commands.append([str(word) for word in command])
    return {'s_per_session': next(seconds)}

  monkeypatch.setattr(process, 'figures', figures)
  settings, told = dataclasses.replace(SMALL, rounds=3, yardstick=yardstick), []
  result = fscil.sessions(settings, told.append)['nc_fscil']
  flags = '--learner nc_fscil --dim 8 --steps 3 --sessions 2 --draws'.split()
  if yardstick:
    assert commands[2] == ['other', '--fast', *flags, '1'] and len(commands) == 9
    assert result['one_s'] == [1.0, 1.0, 3.0] and result['yardstick_s'] == [4.0, 2.0, 3.0]
    assert result['growth'] == 4.0 and result['ratio'] == 3.0 and len(told) == 5
  else:
    assert commands[1][-8:] == [*flags[2:], '2'] and len(commands) == 6
    assert result['growth'] == 0.5 and 'ratio' not in result


def test_learners_of_images_and_programs_that_are_not_there_are_refused():
  with pytest.raises(UserError, match='reads images'):
    fscil.check(dataclasses.replace(SMALL, learners=('finetune',)))
  with pytest.raises(UserError, match='no program'):
    fscil.check(dataclasses.replace(SMALL, yardstick='no-such-program --fast'))
  with pytest.raises(UserError, match='few-shot learner'):
    fscil.check(dataclasses.replace(SMALL, learners=('nmc',)))
