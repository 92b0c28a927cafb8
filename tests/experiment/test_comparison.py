"""A tiny grid for real, stopped within a run and continued, and the page that compares its runs."""

import html.parser
import itertools
import json
import math
import pathlib
import signal
import types

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxdistill.commands import sweep
from jaxdistill.condensation import columns, published
from jaxdistill.experiment import aggregate, comparison
from jaxdistill.experiment.aggregate import Finished
from jaxdistill.experiment.results import Result, Row
from jaxdistill.training import loop
from jaxdistill.training.records import Records

SMALL = [
  'data.image_size=8',
  'model.width=4',
  'model.depth=1',
  'model.norm=none',
  'condensation.batch_real=4',
  'condensation.iterations=4',
  'condensation.augmentation=',
  'run.checkpoint_every=2',
  'run.log_every=1',
  'evaluation.networks=2',
  'evaluation.steps=4',
  'evaluation.every=4',
  'evaluation.recipe=idc',
  'evaluation.baselines=mix',
]


def start(workdir):
  return sweep.main(
    [
      '--config=m3d:digits,factor=2',
      '--config=dm:digits,factor=2',
      '--grid.seed=0,1',
      f'--workdir={workdir}',
      '--no-progress',
      '--no-tensorboard',
      '--compilation_cache=off',
      *(f'--config.{setting}' for setting in SMALL),
    ]
  )


@pytest.fixture(scope='module')
def grid(tmp_path_factory, unaugmented, measured_estimate):
  """Runs the grid, stops it by SIGTERM within the second run, continues; returns its folder, the
  statuses, what was read."""
  workdir = tmp_path_factory.mktemp('grid')
  append, seen = Records.append, []

  def stop_once(self, line):
    append(self, line)
    if line['phase'] == 'condense' and 'seed1' in str(self.path) and line['step'] == 2 and not seen:
      seen.append(self.path.parent.name)
      signal.raise_signal(signal.SIGTERM)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loop, 'estimate', measured_estimate)
    patch.setattr(Records, 'append', stop_once)
    statuses = [start(workdir)]
    halfway = json.loads((workdir / 'sweep.json').read_text())
    stopped = sorted(
      path.name
      for path in (workdir / seen[0] / 'checkpoints' / 'condense').iterdir()
      if path.name.isdigit()
    )
    patch.setattr(Records, 'append', append)
    statuses.append(start(workdir))
  return workdir, statuses, halfway, stopped


def results(workdir):
  return [json.loads(path.read_text()) for path in sorted(workdir.glob('*/result.json'))]


def test_a_stopped_sweep_keeps_its_state_and_continues(grid):
  workdir, statuses, halfway, stopped = grid
  assert statuses == [75, 0]
  assert [run['status'] for run in halfway['runs']] == ['done', 'to do', 'to do', 'to do'] and len(
    halfway['rows']
  ) == 2
  assert stopped and int(stopped[-1]) in (2, 3)
  assert len(results(workdir)) == 4


def test_a_third_start_computes_nothing(grid, capsys):
  workdir = grid[0]
  before = {path: path.stat().st_mtime_ns for path in workdir.glob('*/metrics.jsonl')}
  assert start(workdir) == 0
  assert {path: path.stat().st_mtime_ns for path in before} == before
  assert capsys.readouterr().out.count('is done already') == 4


def test_the_table_pools_what_the_result_files_say(grid):
  workdir = grid[0]
  rows = {row['name']: row for row in json.loads((workdir / 'sweep.json').read_text())['rows']}
  assert list(rows) == ['m3d', 'dm', 'mix']
  for name in ('m3d', 'dm'):
    of_method = [result for result in results(workdir) if result['method'] == name]
    values = sum((result['rows'][0]['last']['values'] for result in of_method), [])
    mean = sum(values) / 4
    assert rows[name]['last']['n'] == 4 and rows[name]['last']['mean'] == pytest.approx(
      mean, abs=1e-6
    )
    assert rows[name]['last']['std'] == pytest.approx(
      math.sqrt(sum((v - mean) ** 2 for v in values) / 3), abs=1e-6
    )
    first, second = (result['rows'][0]['last']['mean'] for result in of_method)
    assert rows[name]['between_seeds'] == pytest.approx(
      abs(first - second) / math.sqrt(2), abs=2e-6
    )
    assert rows[name]['seconds'] == pytest.approx(
      sum(result['seconds']['condense'] for result in of_method) / 2
    )
    assert rows[name]['program_bytes'] > 0


def test_a_baseline_is_scored_once_for_all_methods(grid):
  workdir = grid[0]
  by_seed = {}
  for result in results(workdir):
    by_seed.setdefault(result['seed'], []).append(result['rows'][1])
  assert [rows[0]['name'] for rows in by_seed.values()] == ['mix', 'mix']
  for rows in by_seed.values():
    assert rows[0] == rows[1]  # the seconds too: one was read
  # Two methods and one baseline, of two seeds: each with a file of its own.
  assert len(list((workdir / 'rows').iterdir())) == 3 * 2


def test_the_page_has_rows_charts_and_the_condensed_sets(grid):
  workdir = grid[0]
  page = (workdir / 'sweep.html').read_text()
  html.parser.HTMLParser().feed(page)
  for words in (
    '4 of 4 runs are done',
    'digits, 1 image(s) a class, recipe idc',
    'M3D',
    'DM',
    'Mix-init, not optimised',
    'n=4',
    'Accuracy against seconds of condensing',
    'std between seeds',
  ):
    assert words in page, words
  assert page.count('<img') == 2 and 'http' not in page.replace('http://www.w3.org', '')
  # Digits have no published mean and deviation: DM's convention makes no difference, and no row
  # speaks of it.
  assert 'normalisation' not in page
  table = (workdir / 'sweep.md').read_text()
  assert table.count('\n| ') == 4 and '## digits, 1 image(s) a class, recipe idc' in table


def run_of(
  method='m3d',
  ipc=1,
  seed=0,
  kernel='gaussian',
  recipe='idc',
  epochs=0,
  values=(0.5, 0.6),
  factor=2,
  with_axis=True,
  spec='',
):
  """An invented run of a sweep over kernel, ipc, epochs and seed."""
  accuracies = dict(mean=float(np.mean(values)), values=list(values))

  def row(name, factor, ipc, key):
    return dict(
      name=name,
      label=name,
      images_per_class=ipc,
      factor=factor,
      reference=name == 'whole',
      steps=1,
      last=accuracies,
      best_test=accuracies,
      key=key,
      training_images=10 * ipc * factor**2,
      seconds=1.0,
    )

  content = dict(
    title=method,
    family='condensation',
    method=method,
    dataset='cifar10',
    seed=seed,
    peak_memory_bytes=1,
    peak_memory_of='process',
    versions={},
    device={},
    git_commit=None,
    date='2026-01-01',
    steps_per_second=2.0,
    program_bytes=1,
    seconds=dict(condense=3.0 * ipc),
    rows=[
      row(method, factor, ipc, f'{method}{ipc}{seed}{kernel}{epochs}'),
      row('random', 1, ipc, f'random{ipc}{seed}{epochs}'),
      row('whole', 1, 5000, f'whole{seed}'),
    ],
    config=dict(
      seed=seed,
      data=dict(name='cifar10'),
      model=dict(width=128),
      dtype='float32',
      run=dict(keep=2),
      method=dict(name=method, kernel=kernel),
      evaluation=dict(recipe=recipe, epochs=epochs, baselines=['random']),
      condensation=dict(
        ipc=ipc, factor=factor, learning_rate=ipc * (1 if kernel == 'gaussian' else 0.01)
      ),
    ),
  )
  point = dict(ipc=str(ipc), seed=str(seed))
  if with_axis:
    point['kernel'] = kernel
  return Finished(
    f'{method}:cifar10{spec}', point, Result.from_json(content), pathlib.Path('nowhere')
  )


def groups_of(runs):
  return aggregate.groups(runs, columns.GROUPING)


def test_variants_of_a_method_are_told_apart_by_one_field():
  groups = groups_of(
    [
      run_of(ipc=ipc, kernel=kernel)
      for ipc, kernel in itertools.product((1, 10), ('gaussian', 'linear'))
    ]
  )
  labels = [group.label for group in groups]
  # The learning rate differs as well, but the kernel says it all; so that a line in a chart keeps
  # its name over the sizes.
  assert labels == ['m3d (kernel=gaussian)', 'm3d (kernel=linear)'] * 2 + [
    'random',
    'whole',
    'random',
  ]
  lines = columns.charts(groups)[0]['series']
  assert [(name, x) for name, x, *_ in lines] == [
    ('m3d (kernel=gaussian)', [1, 10]),
    ('m3d (kernel=linear)', [1, 10]),
    ('random', [1, 10]),
  ]


def test_configs_of_one_method_without_an_axis_are_told_apart_by_their_fields():
  runs = [
    run_of(with_axis=False),
    run_of(kernel='linear', with_axis=False, spec=',kernel=linear'),
    run_of(seed=1, with_axis=False),
  ]
  groups = groups_of(runs)
  assert [group.label for group in groups[:2]] == ['m3d (kernel=gaussian)', 'm3d (kernel=linear)']
  assert [len(group.rows) for group in groups[:2]] == [2, 1]


def test_an_axis_names_a_variant_that_no_field_of_the_config_tells_better():
  runs = [
    run_of(kernel=kernel)._replace(point=dict(kind=kind, seed='0'))
    for kernel, kind in (('gaussian', 'a'), ('linear', 'b'))
  ]
  assert [group.label for group in groups_of(runs)[:2]] == ['m3d (kind=a)', 'm3d (kind=b)']


def test_rows_scored_in_another_way_stand_apart():
  rows = [
    columns.table_row(group)
    for group in groups_of(
      [run_of('m3d'), run_of('dance', epochs=1500), run_of('dm', recipe='dm', factor=1)]
    )
  ]
  settings = {(row['recipe'], row['name'], row['setting']) for row in rows}
  assert settings == {
    ('idc', 'm3d', 'epochs=0'),
    ('idc', 'random', 'epochs=0'),
    ('idc', 'dance', 'epochs=1500'),
    ('idc', 'random', 'epochs=1500'),
    ('idc', 'whole', ''),
    ('dm', 'dm', ''),
    ('dm', 'random', ''),
    ('dm', 'whole', ''),
  }
  titles = [title for title, _ in comparison.sections(rows, columns)]
  assert titles == [
    'cifar10, 1 image(s) a class, recipe dm',
    'cifar10, 1 image(s) a class, recipe idc',
  ]
  assert [len(members) for _, members in comparison.sections(rows, columns)] == [3, 5]


def test_published_numbers_stand_beside_rows_of_the_same_size():
  rows = [
    columns.table_row(group)
    for group in groups_of([run_of('dance', ipc=10), run_of('m3d', ipc=10, factor=1)])
  ]
  numbers = {row['name']: row['published'] for row in rows}
  assert numbers == {
    'dance': dict(mean=0.708, std=0.002),
    'm3d': None,
    'random': dict(mean=0.26, std=0.012),
    'whole': dict(mean=0.848, std=0.001),
  }
  assert (
    published.find('m3d', 'svhn_cropped', 1, 2).std is None
    and published.find('m3d', 'svhn_cropped', 10, 2) is None
  )
  assert (
    published.find('m3d', 'digits', 1, 2) is None and published.find('dm', 'cifar10', 20) is None
  )


def test_published_numbers_do_not_stand_beside_ablations():
  usual, linear = (
    columns.table_row(groups_of([run_of('m3d', ipc=10, kernel=kernel)])[0])
    for kernel in ('gaussian', 'linear')
  )
  assert usual['published'] == dict(mean=0.635, std=0.002) and linear['published'] is None


def test_the_page_stands_before_anything_is_done(tmp_path):
  cell = comparison.Cell('m3d:digits', None, pathlib.Path('nowhere'))
  path = comparison.write(tmp_path, [cell], columns)
  assert (
    '0 of 1 runs are done' in path.read_text()
    and 'to do' in path.read_text()
    and comparison.text([cell], columns) == ''
  )


def test_what_one_network_has_not_is_nan_in_all():
  def scored(values):
    return Row('a', 'A', 1.0, {'hm': dict(mean=0.5, std=0.1, n=2, values=values)})

  rows = {'x': (0, scored([0.5, None])), 'y': (1, scored([0.25, 0.75]))}
  group = aggregate.Group(('sheep',), 'a', 'A', (), {}, rows=rows)
  pooled = aggregate.pooled(group, 'hm')
  assert math.isnan(pooled['mean']) and math.isnan(pooled['between_seeds'])
  assert pooled['seeds'] == 2 and pooled['n'] == 4


COUNTING = types.SimpleNamespace(
  TASKS=('count',),
  TITLE='Who counts best',
  NOTE='Accuracy in percent.',
  GROUPING=aggregate.Grouping(
    table=('data.name',), conditions=('data',), elsewhere=(), size=('way',), method='counter'
  ),
  TERMINAL=('label', 'last'),
  table_row=lambda group: dict(
    label=group.label,
    way=group['way'],
    reference=group.reference,
    last=aggregate.pooled(group, 'last'),
  ),
  table_of=lambda row: ('sheep',),
  table_title=lambda table: f'Counting {table[0]}',
  size_of=lambda row: row['way'],
  section_title=lambda row: f'{row["way"]} at a time',
  columns=lambda rows, best='': [('label', 'counted by'), ('last', 'last', 'accuracy', best)],
  charts=lambda members: [],
  pictures=lambda table, members: ('', []),
)


def counted(workdir, way, seed, finger):
  """A run of another family, which has neither classes nor images."""
  accuracy = dict(mean=way / 10, std=0.0, n=1, values=[way / 10 + seed / 100])
  result = Result(
    title='Counting',
    family='counting',
    dataset='sheep',
    seed=seed,
    rows=(
      Row('hand', 'Hand', 1.0, {'last': accuracy}, key=f'{way}{seed}{finger}', extras={'way': way}),
    ),
    seconds={'total': 1.0},
    config=dict(seed=seed, data=dict(name='sheep'), count=dict(way=way, fingers=finger)),
    peak_memory_bytes=1,
    peak_memory_of='process',
    versions={},
    device=dict(kind='cpu', count=1, platform='cpu'),
    git_commit=None,
    date='2026-01-01',
    extras={'counter': 'hand'},
  )
  point = {'way': str(way), 'count.fingers': str(finger), 'seed': str(seed)}
  return comparison.Cell('hand:sheep', ConfigDict(), workdir / 'run', point, result=result)


def test_any_family_is_compared_by_what_it_says_of_its_rows(tmp_path):
  cells = [
    counted(tmp_path, way, seed, finger)
    for way, finger, seed in itertools.product((2, 3), (5, 10), (0, 1))
  ]
  page = comparison.write(tmp_path, cells, COUNTING).read_text()
  rows = json.loads((tmp_path / 'sweep.json').read_text())['rows']
  assert [(row['label'], row['way'], row['last']['n']) for row in rows] == [
    ('Hand (fingers=5)', 2, 2),
    ('Hand (fingers=10)', 2, 2),
    ('Hand (fingers=5)', 3, 2),
    ('Hand (fingers=10)', 3, 2),
  ]
  assert rows[0]['last']['mean'] == pytest.approx(0.205)
  for words in ('Who counts best', '2 at a time', '3 at a time', '8 of 8 runs are done', '1 x cpu'):
    assert words in page
  text = comparison.text(cells, COUNTING)
  assert text.count('Hand (fingers=10)') == 2 and 'image' not in text + page.split('</style>')[1]
