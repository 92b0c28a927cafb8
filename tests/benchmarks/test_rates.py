"""A measurement a rate: what is whole is kept, what was stopped goes on, mistakes are one
sentence."""

import dataclasses
import json
import signal

import pytest

from jaxdistill.benchmarks import rates
from jaxdistill.training import interrupt
from jaxdistill.training.interrupt import Interrupted

DATA = 'digits,quick'


@dataclasses.dataclass(frozen=True)
class Figures:
  noise: float
  networks: int


@pytest.fixture
def measured():
  """The rates that were measured, in order."""
  return []


@pytest.fixture
def command(measured):
  def measure(run, work):
    rate = work.fields.evidence.rate
    measured.append(rate)
    if measured == [0.1, 0.4]:
      raise Interrupted('Stopped by SIGTERM.')
    if measured == [0.1, 0.4, 0.4]:
      signal.raise_signal(signal.SIGINT)
      interrupt.check()
    return Figures(rate, work.fields.learning.seeds)

  return rates.Command(
    'Measures nothing.',
    'ce',
    extra=('noise=symmetric_inclusive',),
    rates='0.1,0.4',
    meaning='noise',
    measure=measure,
    table=lambda figures: f'noise {figures.noise}',
    figures=Figures,
  )


def test_a_stopped_measurement_goes_on_where_it_was(command, measured, tmp_path, capsys):
  start = [DATA, f'--workdir={tmp_path}']
  assert command.main(start) == 75
  assert 'Stopped by SIGTERM.' in capsys.readouterr().err
  assert command.main(start) == 75
  assert f'Stopped by Ctrl-C; what was finished is kept in {tmp_path}' in capsys.readouterr().err
  assert command.main(start) == 0
  assert measured == [0.1, 0.4, 0.4, 0.4]
  *tables, figures = capsys.readouterr().out.splitlines()[-3:]
  assert [table.partition(', noise ')[2] for table in tables] == [
    '0.1: noise 0.1',
    '0.4: noise 0.4',
  ]
  assert json.loads(figures) == {
    '0.1': {'noise': 0.1, 'networks': 2},
    '0.4': {'noise': 0.4, 'networks': 2},
  }


@pytest.mark.parametrize(
  'change, sentence',
  [
    ('--set=learning.seedz=3', 'learning.seedz'),
    ('--set=learning.seeds=0', 'seeds'),
    ('--rates=0.1,2', '2'),
  ],
)
def test_a_mistake_is_one_sentence_before_any_work(change, sentence, command, measured, capsys):
  assert command.main([DATA, change]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('error: ') and sentence in line
  assert not measured


def test_without_a_work_dir_a_stop_says_that_all_is_lost(command, measured, capsys):
  measured += [0.1, 0.4]
  assert command.main([DATA, '--rates=0.4']) == 130
  line = capsys.readouterr().err.splitlines()[-1]
  assert line == 'Stopped by Ctrl-C and not kept, for want of --workdir.'


def test_other_fields_are_no_continuation(command, measured, tmp_path, capsys):
  start = [DATA, '--rates=0.1', f'--workdir={tmp_path}']
  assert command.main(start) == 0
  assert command.main([*start, '--set=learning.epochs=3']) == 2
  assert 'epochs' in capsys.readouterr().err
  assert measured == [0.1]
