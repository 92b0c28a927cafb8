"""The task 'evaluate': sets of ours and a user's beside baselines, on several networks, resumable;
what it refuses."""

import dataclasses
import html.parser
import json

import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.commands import run as launcher
from jaxdistill.condensation import (
  Condensed,
  checks,
  cross_architecture,
  protocols,
  ranking,
  sections,
)
from jaxdistill.condensation.tasks import evaluate as evaluate_task
from jaxdistill.errors import UserError
from jaxdistill.models import architectures
from jaxdistill.training.run import Run

SMALL = {
  'data.image_size': '8',
  'evaluation.width': '4',
  'evaluation.networks': '1',
  'evaluation.steps': '6',
  'evaluation.every': '3',
}
OWN = {'name': 'convnet', 'width': 8, 'depth': 1, 'norm': 'instance'}


def make(path, size=8, names=tuple('0123456789'), **fields):
  images = np.random.default_rng(0).random((2 * len(names), size, size, 1))
  made = Condensed(
    images,
    np.repeat(np.arange(len(names)), 2),
    names,
    (0.5,),
    (0.3,),
    factor=2,
    dataset='digits',
    **fields,
  )
  made.save(path)
  return path


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
  folder = tmp_path_factory.mktemp('sets')
  return [
    make(folder / 'condensed.npz', method='m3d', config={'model': OWN}),
    make(folder / 'other.npz'),
  ]


def configured(sets, /, **overrides):
  config = configs.load(f'evaluate:digits,set={"+".join(map(str, sets))}')
  for key, value in (SMALL | overrides).items():
    configs.override(config, key, value)
  return config


@pytest.fixture(scope='module')
def finished(sets, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('evaluated') / 'run'
  config = configured(
    sets,
    **{
      'evaluation.architectures': 'MLP,Flat',
      'evaluation.recipe': 'ddranking',
      'evaluation.robustness': 'true',
      'evaluation.baselines': 'random,whole',
    },
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(
      architectures.ARCHITECTURES, 'Flat', {'name': 'mlp', 'depth': 1}
    )  # compiles in no time
    patch.setitem(protocols.SEARCHED, 'ddranking', (0.01, 0.05))
    evaluate_task.check(config)
    with Run(workdir, config, progress=False) as work:
      result = evaluate_task.run(config, work)
    yield workdir, config, result


@pytest.mark.slow
def test_every_set_and_baseline_has_a_row(finished):
  _, _, result = finished
  rows = {row['name']: row for row in result['rows']}
  assert list(rows) == ['set1', 'set2', 'random', 'whole']
  assert rows['set1']['label'] == 'M3D' and rows['set2']['label'] == 'other'
  # Two stored images a class, of factor 2; the baselines take both numbers from the first set.
  assert [rows[name]['training_images'] for name in ('set1', 'random')] == [80, 20]
  assert (result['ipc'], result['factor']) == (2, 2) and rows['whole']['reference']
  assert {'last', 'selected', 'best_test', 'learning_rates'} <= rows['random'].keys()
  assert 'learning_rates' not in rows['whole']  # one fixed rate, as in the public code


@pytest.mark.slow
def test_the_table_across_architectures_averages_the_transfer(finished):
  _, _, result = finished
  across = {each['name']: each for each in result['across']}
  assert (
    list(across['set1']['networks']) == ['MLP,width=4', 'Flat,width=4']
    and result['network'] == 'MLP,width=4'
  )
  assert (
    across['set1']['average']['last'] == across['set1']['networks']['Flat,width=4']['last']['mean']
  )
  assert across['set2']['networks']['MLP,width=4']['last'] == result['rows'][1]['last']


@pytest.mark.slow
def test_ddranking_scores_are_those_of_the_rows(finished):
  _, _, result = finished
  rows = {row['name']: row for row in result['rows']}
  plain = {row['name']: row for row in result['rows_without_augmentation']}
  assert 'whole' not in plain
  score = next(
    score for score in result['scores'] if (score['name'], score['column']) == ('set2', 'selected')
  )
  mean = lambda table, name: table[name]['selected']['mean']
  assert score['lrs'] == ranking.lrs(mean(rows, 'whole'), mean(rows, 'set2'), mean(rows, 'random'))
  assert score['ars'] == ranking.ars(
    mean(rows, 'set2'), mean(rows, 'random'), mean(plain, 'set2'), mean(plain, 'random')
  )


@pytest.mark.slow
def test_files_and_page(finished):
  workdir, _, result = finished
  stored = json.loads((workdir / 'result.json').read_text())
  assert stored == json.loads(json.dumps(result)) and len(stored['sets'][0]['sha256']) == 64
  assert (workdir / 'condensed.png').read_bytes().startswith(b'\x89PNG')
  page = (workdir / 'report.html').read_text()
  html.parser.HTMLParser().feed(page)
  for text in (
    'M3D',
    'Random real images',
    'Across architectures',
    'average of the others',
    'DD-Ranking',
    'LRS',
    'ARS',
    'selected on validation',
    'best on test',
    'chosen by held-out images',
    'Real training images',
  ):
    assert text in page
  assert 'M3D' in launcher.result_text(result, workdir)


@pytest.mark.slow
def test_a_second_start_computes_nothing_again(finished):
  workdir, config, result = finished
  lines = (workdir / 'metrics.jsonl').read_text()
  with Run(workdir, config, progress=False) as work:
    again = evaluate_task.run(config, work)
  assert again['rows'] == result['rows'] and (workdir / 'metrics.jsonl').read_text() == lines


@pytest.mark.slow
def test_a_set_that_changed_is_not_mixed_with_old_rows(finished, sets):
  workdir, config, _ = finished
  kept = sets[1].read_bytes()
  try:
    make(sets[1], method='dm')
    with (
      Run(workdir, config, progress=False) as work,
      pytest.raises(UserError, match='other.npz has changed since'),
    ):
      evaluate_task.run(config, work)
  finally:
    sets[1].write_bytes(kept)


def test_a_set_that_was_written_anew_is_the_same(sets, tmp_path, monkeypatch):
  file = tmp_path / 'mine.npz'
  file.write_bytes(sets[1].read_bytes())
  config = configured([file])
  monkeypatch.setattr(evaluate_task.estimates, 'estimate_once', _stop)

  def start(workdir):
    with Run(workdir, config, progress=False, tensorboard=False) as work:
      evaluate_task.run(config, work)

  for workdir in (tmp_path / 'new', tmp_path / 'old'):
    with pytest.raises(KeyboardInterrupt):
      start(workdir)
  record = json.loads((tmp_path / 'old' / 'data.json').read_text())
  del record['sets']  # as an earlier version left it
  (tmp_path / 'old' / 'data.json').write_text(json.dumps(record))
  with np.load(file) as archive:
    np.savez_compressed(file, **{name: archive[name] for name in reversed(archive.files)})
  assert file.read_bytes() != sets[1].read_bytes()
  with pytest.raises(KeyboardInterrupt):
    start(tmp_path / 'new')
  # Of an earlier version nothing but the bytes is known.
  with pytest.raises(UserError, match='mine.npz has changed since'):
    start(tmp_path / 'old')


def _stop(*arguments):
  raise KeyboardInterrupt


@pytest.mark.usefixtures('timed')
def test_the_network_is_the_first_sets_own_and_dry_run_tells_its_cost(sets, monkeypatch):
  # Augmentation is most of what is compiled for a short training.
  plain = dataclasses.replace(protocols.RECIPES['idc'], strategy='', cutmix=0.0)
  monkeypatch.setitem(protocols.RECIPES, 'idc', plain)
  config = configured(sets[:1], **{'evaluation.width': '0', 'evaluation.baselines': '()'})
  evaluate_task.check(config)
  fields = sections.of_config(config)
  assert evaluate_task.networks(fields.evaluation, evaluate_task.load(fields.sets)) == {
    'convnet,width=8,depth=1': OWN
  }
  text = evaluate_task.dry_run(config)
  for words in (
    '1,295 images',
    'condensed.npz (M3D): 20 stored images of 8x8x1, factor 2',
    'convnet,width=8,depth=1: 1,386 parameters',
    'evaluate-set1',
    'in all about',
  ):
    assert words in text


def test_two_sets_of_one_method_are_told_apart(sets, tmp_path):
  other = make(tmp_path / 'second.npz', method='m3d')
  labels = [entry.label for entry in evaluate_task.load([str(sets[0]), str(other)])]
  assert labels == [f'M3D ({sets[0]})', f'M3D ({other})']


@pytest.mark.parametrize(
  'fields, words',
  [
    (dict(size=6), 'wrong.npz has images of 6x6x1 and the test set of 8x8x1'),
    (dict(names=tuple('012345678')), 'wrong.npz knows 9 classes and the test set 10'),
    (
      dict(names=tuple('1023456789')),
      "another order than the test set: class 0 is '1' there and '0' here",
    ),
  ],
)
def test_sets_that_do_not_fit_are_refused(tmp_path, fields, words):
  with pytest.raises(UserError, match=words):
    evaluate_task.check(configured([make(tmp_path / 'wrong.npz', **fields)]))


@pytest.mark.parametrize(
  'overrides, words',
  [
    ({'sets': 'nowhere.npz'}, 'nowhere.npz'),
    ({'evaluation.architectures': 'ConvNet3'}, "did you mean 'ConvNet-3'"),
    ({'evaluation.recipe': 'ddranknig'}, "did you mean 'ddranking'"),
    (
      {'evaluation.recipe': 'ddranking', 'evaluation.baselines': 'random'},
      'put random and whole into',
    ),
    (
      {'evaluation.recipe': 'ddranking', 'data.validation_share': '0'},
      'or evaluation.search_on=test',
    ),
    ({'sets': '()', 'evaluation.baselines': '()'}, 'There is nothing to score'),
    ({'baseline.ipc': '1000'}, 'ipc=1000'),
  ],
)
def test_mistakes_are_refused_before_any_work(sets, overrides, words):
  with pytest.raises(UserError, match=words):
    evaluate_task.check(configured(sets, **overrides))


def test_a_field_of_another_task_is_none_of_this_one(sets):
  config = configured(sets)
  config.condensation = dict(ipc=1)
  with pytest.raises(UserError, match="no config key 'condensation'"):
    checks.check_fields(config)


def test_arguments_and_work_dir():
  sets = 'runs/m3d-cifar10-ipc10-seed0/condensed.npz+mine.npz'
  spec = f'evaluate:cifar10,set={sets},recipe=dm,models=ConvNet-3+MLP,ipc=10,epochs=1500'
  config = configs.load(spec)
  assert (
    config.sets == ('runs/m3d-cifar10-ipc10-seed0/condensed.npz', 'mine.npz')
    and config.evaluation.recipe == 'dm'
  )
  assert (
    config.evaluation.architectures == ('ConvNet-3', 'MLP') and config.evaluation.epochs == 1500
  )
  assert config.baseline.ipc == 10
  assert (
    launcher.default_workdir(spec, config).as_posix()
    == 'runs/evaluate-cifar10-m3d-cifar10-ipc10-seed0-mine-seed0'
  )
  assert configs.load('evaluate:cifar10,recipe=ddranking').data.validation_share == 0.1
  assert configs.load('evaluate:cifar10').data.validation_share == 0


def test_python_across_architectures_refuses_an_unknown_one_before_training():
  train, test = data.load('digits', image_size=8)
  for names, options, words in (
    (('MLP', 'LeNt'), {}, "did you mean 'LeNet'"),
    ('MLP', {}, "architectures is a list of names, such as .*; got 'MLP'"),
    ((), {}, 'architectures is a list of names'),
    (('MLP', 'MLP'), {}, "architectures holds 'MLP' twice"),
    (('MLP',), {'model': 'mlp'}, 'leave model out'),
  ):
    with pytest.raises(UserError, match=words):
      cross_architecture(train, test, names, **options)


def test_a_set_may_be_larger_than_the_real_classes_where_no_baseline_takes_their_images(tmp_path):
  large = Condensed(
    np.zeros((2000, 8, 8, 1), np.float32),
    np.repeat(np.arange(10), 200),
    tuple('0123456789'),
    (0.5,),
    (0.5,),
  )
  config = configured([large.save(tmp_path / 'large.npz')])
  config.evaluation.baselines = ('whole',)
  evaluate_task.check(config)
  config.evaluation.baselines = ('random',)
  with pytest.raises(UserError, match='ipc=200 is more than class'):
    evaluate_task.check(config)


def test_a_dry_run_tells_the_epochs_for_which_the_recipe_has_a_rule():
  images = np.zeros((500, 8, 8, 3), np.float32)
  made = Condensed(
    images, np.arange(500) % 10, tuple('abcdefghij'), (0.0,) * 3, (1.0,) * 3, factor=2
  )
  entries = [evaluate_task.Entry('set1', 'M3D', 'm3d.npz', made)]
  densenet, convnet = (architectures.find(name) for name in ('DenseNet', 'ConvNet-3'))

  def text(spec, model):
    fields = sections.of_config(configs.load(f'evaluate:{spec}'))
    return evaluate_task._epochs(fields, entries, model)

  assert text('cifar10', densenet) == ', 400 epochs (a rule of the recipe idc)'
  assert text('cifar10', convnet) == text('svhn_cropped', densenet) == ''
  assert text('cifar10,epochs=700', densenet) == text('cifar10,recipe=dm', densenet) == ''
  assert text('imagenet224:x', convnet) == ', 1,000 epochs (a rule of the recipe idc_imagenet)'
