"""The tables of this family: which students are put together, what is told of them, and beside what
published numbers they stand."""

import json
import pathlib

import invented
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import files
from jaxdistill.distillation import columns, published, scoring, sections
from jaxdistill.experiment import aggregate, kept, schema
from jaxdistill.experiment.aggregate import Finished
from jaxdistill.experiment.results import Row

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
  result = invented.result(config.to_dict(), rows, seed, method='kd')
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


def test_the_side_of_the_images_is_the_x_axis_of_one_line_for_all_students_of_a_method():
  """Students who see native images have no side, and no point."""
  runs = [finished(loaded(**{'distillation.low': low})) for low in (16, 0, 8)]
  groups = aggregate.groups(runs, columns.GROUPING)
  assert [group.setting for group in groups] == ['low=16', 'low=0', 'low=8'] * 2
  (chart,) = columns.charts(groups)
  lines = {name: (x, mean) for name, x, mean, _ in chart['series']}
  assert lines == {'KD': ([8, 16], [0.6, 0.6]), 'ALONE': ([8, 16], [0.5, 0.5])}
  assert columns.charts(groups[:2]) == []


def test_a_number_that_is_not_there_has_a_dash_and_no_difference():
  def kept_numbers(*divergences):
    accuracies, imitation = np.full((2, 2), 0.5), {'divergence': np.array(divergences)}
    numbers = scoring.Numbers(np.array([1, 2]), accuracies, None, imitation, {}, None, {}, 1.0)
    return scoring.Numbers.from_json(kept.from_json(kept.to_json(numbers.to_json())))

  row = scoring.row('kd', 'KD', kept_numbers(0.25, np.nan), kept_numbers(0.25, 0.5))
  assert set(row.extras['differences']) == {'last', 'best_test'}
  shown = json.loads(json.dumps(files.jsonable(row.to_json())))
  assert columns.plain(shown['divergence']) == '–'


def test_a_single_test_image_has_no_correlations():
  numbers, correlation = scoring.imitate(np.eye(3)[None, :1], np.eye(3)[:1])
  assert numbers['agreement'].tolist() == [1.0] and correlation is None


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


def test_published_numbers_stand_beside_what_json_holds_and_any_seeds():
  config = loaded(
    **{'seed': 3, 'teaching.seed': 5, 'distillation.seeds': 2, 'distillation.batches': 'own'}
  )
  stored = json.loads(configs.to_json(config))
  assert published.of_config(stored)['kd'].accuracy == 0.7066
  del stored['method']['fields']['kd']['standardize']  # as of before the field was there
  assert set(published.of_config(stored)) == {'teacher', 'alone', 'kd'}


# Another training than that of the papers.
CHANGES = {
  'dtype': 'bfloat16',
  'data.image_size': 16,
  'data.classes': 'a',
  'data.normalisation': 'dm',
  'data.validation_share': 0.1,
  'teaching.recipe': 'short',
  'teaching.given': 'runs/other',
  'teaching.epochs': 30,
  'teaching.steps': 30,
  'teaching.batch': 128,
  'teaching.learning_rate': 0.1,
  'teaching.normalisation': 'batch',
  'distillation.recipe': 'short',
  'distillation.low': 16,
  'distillation.share': 0.5,
  'distillation.public': 40,
  'distillation.augmentation': 'none',
  'distillation.cache': 8,
  'distillation.epochs': 30,
  'distillation.steps': 30,
  'distillation.batch': 128,
  'distillation.learning_rate': 0.1,
  'verification.classes': 20,
  'model.width': 8,
  'teacher_model.norm': 'group',
}
# Fields by which a run is another one, but not another training; what small images suffer, an
# assistant and distractors are there beside others of the above alone.
FREE = {
  *('family', 'task', 'seed', 'data.name', 'data.dir', 'data.stream', 'teaching.seed'),
  *('seeds how shown degrade batches checks assistant baseline speed'.split()),
}


def test_every_field_is_one_of_the_protocol_or_free():
  keys = {item.key for item in schema.flat(sections.DistilConfig)}
  free = {key for key in keys if key.partition('.')[0] in ('run', 'verification')}
  free |= {key for key in keys if {key, key.removeprefix('distillation.')} & FREE}
  assert keys == set(published.PROTOCOL) | free - {'verification.classes'}
  assert set(CHANGES) == {*published.PROTOCOL, 'model.width', 'teacher_model.norm'}


@pytest.mark.parametrize('field, value', CHANGES.items())
def test_another_protocol_has_no_published_numbers(field, value):
  assert published.of_config(loaded(**{field: value})) == {}


def test_a_given_teacher_is_not_that_of_the_papers():
  assert published.of_config(loaded('kd:cifar100,teacher=runs/other')) == {}
  assert published.of_config(loaded(f'{PROTOCOL},weights=mine.safetensors')) == {}


@pytest.mark.parametrize(
  'field, value', [('method.gamma', 5.0), ('method.fields.kd.temperature', 2.0)]
)
def test_a_method_with_other_fields_has_no_published_number(field, value):
  assert set(published.of_config(loaded(**{field: value}))) == {'teacher', 'alone'}


def test_of_a_comparison_each_method_has_its_own_number():
  spec = 'compare:cifar100,teacher=resnet56,student=resnet20,methods=alone+kd+crd+kd&crd+horkd'
  compared = loaded(spec, **{'members.crd.fields.crd.negatives': 100})
  known = published.of_config(compared)
  assert {name: row.accuracy for name, row in known.items()} == {
    'teacher': 0.7234,
    'alone': 0.6906,
    'kd': 0.7066,
  }
  assert set(published.of_config(loaded(spec))) == {'teacher', 'alone', 'kd', 'crd'}


@pytest.mark.parametrize(
  'name', ['fitnet', 'at', 'sp', 'cc', 'vid', 'rkd', 'pkt', 'reviewkd', 'dkd']
)
def test_every_published_method_has_its_number_by_its_own_config(name):
  known = published.of_config(loaded(f'{name}:cifar100,teacher=vgg13,student=vgg8'))
  assert 0.70 < known[name].accuracy < 0.75
