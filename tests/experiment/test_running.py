"""A run of one method or of several: their sections, networks that are trained once, their rows."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from jaxdistill.experiment import running, schema, sections
from jaxdistill.experiment.datasets import DataSource
from jaxdistill.experiment.results import Row
from jaxdistill.training.run import Run

SECTIONS = {'one': {'name': 'kd', 'weight': 0.5}, 'two': {'name': 'kd', 'weight': 0.9}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alone(sections.Config):
  run: sections.Run = sections.Run()
  width: int = schema.field(4, optional=True)
  method: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared(sections.Several, sections.Config):
  run: sections.Run = sections.Run()
  width: int = schema.field(4, optional=True)


@dataclasses.dataclass(frozen=True)
class Numbers:
  last: float
  seconds: float = 1.5
  reconstruction: bool = False

  def to_json(self):
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, content):
    return cls(**content)


def alone(method=SECTIONS['one'], **fields):
  given = {'family': 'mine', 'task': 'train', 'data': DataSource(), **fields}
  return Alone(method=method, **given)


def compared(*names, **fields):
  given = {'family': 'mine', 'task': 'compare', 'data': DataSource(), **fields}
  return Compared(compared=names, members=SECTIONS, **given)


def row(numbers, name):
  values = dict(mean=numbers[name].last, std=0.0, n=2)
  return Row(name, running.label(name.upper(), numbers[name]), 1.0, {'last': values})


def test_methods_stand_in_the_order_of_the_table():
  assert list(running.methods_of(compared('two', 'one'))) == ['two', 'one']
  assert running.methods_of(compared('two')) == {'two': SECTIONS['two']}
  assert running.methods_of(alone()) == {'kd': SECTIONS['one']}


def test_every_method_is_learned_in_turn_and_told(capsys):
  learned = []

  def learn(name, section):
    learned.append(name)
    return Numbers(section['weight'], reconstruction=name == 'two'), f'networks of {name}'

  def start(tell):
    with Run(progress=False) as run:
      return running.learn_all(run, SECTIONS, learn, row, ['last', 'selected'], tell)

  ran = start(tell=True)
  said = capsys.readouterr().out.splitlines()
  two = 'TWO (reconstruction): last 90.0 ± 0.0 (n=2) %'
  assert said[-2:] == ['ONE: last 50.0 ± 0.0 (n=2) %', two]
  assert [each.name for each in ran.table] == list(ran.numbers) == learned == ['one', 'two']
  assert ran.networks == {'one': 'networks of one', 'two': 'networks of two'}
  assert running.seconds(ran) == 3.0
  assert start(tell=False).table == ran.table and not capsys.readouterr().out


def test_networks_are_trained_once_in_the_life_of_a_work_dir(tmp_path):
  trained = []

  def start(workdir):
    with Run(workdir, progress=False, tensorboard=False) as run:

      def compute():
        trained.append(1)
        run.write_bytes('networks/kd', b'weights')
        return Numbers(0.1 + 0.2), b'weights', []

      there = lambda folder: (folder / 'networks/kd').read_bytes()
      return running.once(run, 'kd', compute, Numbers.from_json, there)

  first, again = start(tmp_path), start(tmp_path)
  assert first == again == (Numbers(0.1 + 0.2), b'weights') and len(trained) == 1
  assert (tmp_path / 'results/methods/kd.json').exists()
  assert start(None) == first and len(trained) == 2


def test_checkpoints_go_once_the_numbers_are_kept(tmp_path):
  class Unkept(Numbers):
    def to_json(self):
      raise OSError('the disk is full')

  discarded = []

  def start(numbers):
    with Run(tmp_path, progress=False, tensorboard=False) as run:
      run.discard = lambda phase: discarded.append((phase, run.has('methods/kd')))
      compute = lambda: (numbers, b'weights', ['kd/one', 'kd/two'])
      return running.once(run, 'kd', compute, Numbers.from_json, lambda folder: None)

  with pytest.raises(OSError):
    start(Unkept(0.1))
  assert not discarded
  start(Numbers(0.1))
  assert discarded == [('kd/one', True), ('kd/two', True)]


def test_a_row_is_known_by_all_that_decides_it_and_nothing_else():
  section, other = SECTIONS['one'], SECTIONS['two']
  key = running.key(alone(), section)
  # Neither by how the run goes about it, nor by an optional field that says nothing.
  assert key == running.key(alone(run=sections.Run(devices=1), width=4), section)
  assert key == running.key(alone(method=other), section)
  several = running.key(compared('one', 'two'), section)
  assert several == running.key(compared('one'), section)
  changed = [alone(seed=1), alone(width=5), alone(data=DataSource('mnist'))]
  keys = {running.key(fields, section) for fields in changed}
  keys |= {key, running.key(alone(), other), running.key(alone(), section, teacher='resnet')}
  assert len(keys) == 6


@pytest.mark.parametrize('fields, method', [(alone(), 'two'), (compared('one', 'two'), 'compare')])
def test_a_result_says_whose_run_it_was(fields, method):
  numbers = {'one': Numbers(0.5, reconstruction=True), 'two': Numbers(0.9)}
  facts = running.facts(fields, running.Ran(['row'], numbers, {}))
  assert (facts['family'], facts['task'], facts['seed']) == ('mine', fields.task, 0)
  assert (facts['rows'], facts['method'], facts['reconstructed']) == (['row'], method, ['one'])


def test_the_reference_is_the_first_wanted_one_that_is_there():
  assert running.reference_of(['ce', 'bce'], ('vote', 'bce', 'ce')) == 'bce'
  assert running.reference_of(dict(elr=1, ccc=2), ('vote',)) == 'elr'


def test_words_of_a_row_leave_out_scores_that_it_has_not():
  numbers = {'one': Numbers(0.25)}
  assert running.in_words(row(numbers, 'one'), ('worst',)) == 'ONE: '
  assert running.listed(['A', 'B', 'C']) == 'A, B, C' and running.listed([]) == ''
  assert np.isclose(running.seconds(running.Ran([], numbers, {})), 1.5)
