"""The tables of this family: which students are put together, what is told of them, and beside what
published numbers they stand."""

import pathlib

import pytest

from jaxdistill import config as configs
from jaxdistill.distillation import columns, published
from jaxdistill.experiment import aggregate
from jaxdistill.experiment.aggregate import Finished
from jaxdistill.experiment.results import Result, Row

PROTOCOL = 'kd:cifar100,teacher=resnet56,student=resnet20'


def loaded(spec=PROTOCOL, **changes):
  config = configs.load(f'distillation/{spec}')
  for key, value in changes.items():
    configs.override(config, key, str(value))
  return config


def scores(*values):
  mean = sum(values) / len(values)
  return {'mean': mean, 'std': 0.0, 'n': len(values), 'values': list(values)}


def finished(config, seed=0, adapted=None):
  """A run of KD with students alone, whose accuracies tell its seed."""
  low, share = config.distillation.low, config.distillation.share
  # What decides a row, but not by which method another one of the run learned.
  decides = [config.data.name, config.verification.to_dict(), low, share, seed]
  rows = []
  for name, last in (('alone', 0.5), ('kd', 0.6)):
    of_row = {'last': scores(last + 0.1 * seed, last)}
    if adapted is not None:
      of_row['verification_adapted'] = scores(adapted)
    extras = {'low': low, 'share': share, 'reconstruction': False}
    key = str([name, *decides])
    rows.append(Row(name, name.upper(), 10.0, of_row, None, False, key, extras))
  result = Result(
    title='',
    family='distillation',
    dataset=config.data.name,
    seed=seed,
    rows=tuple(rows),
    seconds={},
    config=config.to_dict(),
    peak_memory_bytes=0,
    peak_memory_of='process',
    versions={},
    device={},
    git_commit=None,
    date='',
    task='distill',
    extras={'method': 'kd'},
  )
  return Finished(f'distillation/{PROTOCOL}', {'seed': str(seed)}, result, pathlib.Path('nowhere'))


def table(*runs):
  return [columns.table_row(group) for group in aggregate.groups(runs, columns.GROUPING)]


def test_students_of_all_seeds_are_one_row():
  rows = table(*(finished(loaded(), seed) for seed in (0, 1)))
  assert [row['name'] for row in rows] == ['kd', 'alone']
  assert rows[0]['last']['mean'] == pytest.approx(0.625)
  assert rows[0]['last']['n'] == 4 and rows[0]['seeds'] == 2
  assert columns.section_title(rows[0]) == 'cifar100, resnet56 to resnet20'
  assert 'verification_adapted' not in {column[0] for column in columns.columns(rows)}


def test_students_of_fewer_classes_are_told_apart():
  """With 20 classes left out for verification, students alone learn something else, too."""
  of_all, of_some = loaded(), loaded(**{'verification.classes': 20})
  rows = table(finished(of_all), finished(of_some, adapted=0.7))
  alone = [row for row in rows if row['name'] == 'alone']
  assert [row['setting'] for row in alone] == ['classes=0', 'classes=20']
  assert [row['last']['n'] for row in alone] == [2, 2]
  shown = {column[0]: column[1] for column in columns.columns(rows)}
  assert shown['verification_adapted'] == 'adapted (transductive)'


def test_results_of_before_a_field_was_there_stand_with_its_default():
  older, newer = finished(loaded(), 0), finished(loaded(), 1)
  del older.result.config['distillation']['degrade'], older.result.config['verification']['gallery']
  rows = table(older, newer)
  assert [row['name'] for row in rows] == ['kd', 'alone'] and rows[0]['last']['n'] == 4
  low = {'distillation.low': 16}
  worse = loaded(**low, **{'distillation.degrade': 'blur,darken'})
  settings = {row['setting'] for row in table(finished(loaded(**low)), finished(worse, 2))}
  assert len(settings) == 2 and any('blur' in setting for setting in settings)


def test_published_numbers_stand_beside_the_same_protocol_alone():
  (kd, alone) = table(finished(loaded()))
  assert kd['published']['mean'] == 0.7066 and kd['source'] == 'public code'
  assert alone['published'] is None  # of a baseline no config is known
  assert published.of_config(loaded())['alone'].accuracy == 0.6906
  assert published.of_config(loaded('kd:cifar100,teacher=resnet110,student=resnet20')) == {}
  assert published.of_config(loaded('kd:cifar10,teacher=resnet56,student=resnet20')) == {}


@pytest.mark.parametrize(
  'field, value',
  [
    ('distillation.epochs', 30),
    ('distillation.low', 16),
    ('distillation.share', 0.5),
    ('distillation.batch', 128),
    ('distillation.public', 40),
    ('distillation.augmentation', 'none'),
    ('distillation.recipe', 'short'),
    ('teaching.epochs', 30),
    ('teaching.recipe', 'short'),
    ('data.validation_share', 0.1),
    ('verification.classes', 20),
  ],
)
def test_another_protocol_has_no_published_numbers(field, value):
  assert published.of_config(loaded(**{field: value})) == {}
