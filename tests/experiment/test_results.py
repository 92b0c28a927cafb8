"""result.json as dataclasses: files of earlier versions come back as they were, key by key."""

import json
import pathlib

import pytest

from jaxdistill.experiment import results
from jaxdistill.experiment.results import Result, Row
from jaxdistill.training.run import Run

FILES = sorted((pathlib.Path(__file__).parent / 'data').glob('*.json'))


def content_of(name):
  return json.loads((pathlib.Path(__file__).parent / 'data' / f'{name}.json').read_text())


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_a_file_of_an_earlier_version_comes_back_as_it_was(path):
  content = json.loads(path.read_text())
  result = Result.from_json(content)
  assert json.loads(json.dumps(result.to_json())) == content
  assert Result.from_json(result.to_json()) == result


def test_the_common_part_is_typed_and_the_rest_is_open():
  result = Result.from_json(content_of('condense'))
  assert (result.family, result.task, result.dataset, result.seed) == (
    'condensation',
    '',
    'digits',
    0,
  )
  assert {'condense', 'evaluate', 'total', 'first_step'} == result.seconds.keys()
  assert result.extras.keys() == {
    'method',
    'ipc',
    'factor',
    'steps_per_second',
    'flops_per_step',
    'peak_share',
    'program_bytes',
  }
  row = result.rows[0]
  assert (row.name, row.label, row.reference, row.key) == (
    'dance',
    'DANCE',
    False,
    '91846689802f92b6',
  )
  assert list(row.scores) == ['last', 'selected', 'best_test'] and row.curve['steps'] == [6, 12]
  assert row['factor'] == row.extras['factor'] == 2 and row['last'] is row.scores['last']


def test_a_row_without_a_competition_has_neither_reference_nor_key_nor_curve():
  result = Result.from_json(content_of('continual'))
  average = result.rows[-1]
  assert result.task == 'continual' and average.reference is None
  assert average.to_json().keys() == {'name', 'label', 'last', 'selected', 'best_test', 'seconds'}


def test_what_a_result_must_have_is_missed():
  content = content_of('condense')
  del content['date']
  with pytest.raises(KeyError, match='date'):
    Result.from_json(content)


def test_a_run_adds_its_time_memory_and_origin(tmp_path):
  row = Row('dm', 'DM', 1.5)
  with Run(tmp_path, progress=False, tensorboard=False) as run:
    run.first_step_seconds = 0.25
    result = results.of_run(
      run,
      title='DM on digits',
      family='counting',
      dataset='digits',
      seed=3,
      rows=[row],
      seconds={'count': 2.0},
      config={'seed': 3},
      way=2,
    )
    content = json.loads(run.write_json('result.json', result.to_json()).read_text())
  assert list(content['seconds']) == ['count', 'total', 'first_step']
  assert content['seconds']['count'] == 2.0 and content['seconds']['first_step'] == 0.25
  assert content['way'] == 2 and content['rows'] == [row.to_json()] and 'task' not in content
  assert content['peak_memory_bytes'] > 0 and content['device']['platform'] == 'cpu'
  assert Result.from_json(content) == result
