"""The flows of one learner and of several: what is in their work dirs, that a stopped run ends with
the same numbers, and what the page shows."""

import json
import pathlib
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill.errors import UserError
from jaxdistill.experiment.results import Row
from jaxdistill.fscil import page, published, running, scoring, selection
from jaxdistill.fscil.scoring import Numbers
from jaxdistill.fscil.tasks import compare, learn
from jaxdistill.training.run import Run

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import patterns  # noqa: E402

ARRIVE = 'base_classes=2,way=2,shot=3,draws=2,model=mlp'


@pytest.fixture(scope='module')
def own(tmp_path_factory):
  return f'npz:{patterns.save(tmp_path_factory.mktemp("own") / "mine.npz")}'


def small(own, name, arguments='', **changes):
  config = configs.load(f'fscil/{name}:{own},{ARRIVE}{arguments}')
  for key, value in {**patterns.SMALL, **changes}.items():
    configs.override(config, key, value)
  return config


def start(flow, config, workdir, **options):
  flow.check(config)
  options = dict(progress=False, tensorboard=False, checkpoint_every=4, **options)
  with Run(workdir, config, **options) as run:
    return flow.run(config, run)


MEMBERS = {f'members.{name}.steps': 6 for name in ('pki', 'nc_fscil')}


@pytest.fixture(scope='module')
def compared(own, tmp_path_factory):
  """A comparison of three learners, one of which starts from another head than the base network's
  has."""
  config = small(own, 'compare', ',methods=ncm+pki+nc_fscil,memory=exemplars', **MEMBERS)
  workdir = tmp_path_factory.mktemp('runs') / 'compared'
  return config, start(compare, config, workdir), workdir


def test_a_comparison_has_a_row_a_learner_in_the_order_asked_for(compared):
  _, result, _ = compared
  assert [row['name'] for row in result['rows']] == ['ncm', 'pki', 'nc_fscil']
  for row in result['rows']:
    assert np.shape(row['accuracy']) == (2, 3) and row['last']['n'] == 2
    assert np.shape(row['confusion']) == (6, 6)
  # The rows of exemplars, one 8-bit image a class.
  assert result['rows'][1]['memory_bytes'] >= 64
  assert result['reconstructed'] == ['pki'] and result['sizes'] == [2, 2, 2]


def test_learners_are_compared_with_ncm_run_by_run(compared):
  ncm, pki, _ = compared[1]['rows']
  assert 'differences' not in ncm
  gained = np.mean(np.subtract(pki['accuracy'], ncm['accuracy'])[:, -1])
  assert pki['differences']['last']['mean'] == pytest.approx(gained)
  assert pki['differences']['last']['n'] == 2


def test_the_page_of_a_comparison(compared):
  text = (compared[2] / 'report.html').read_text()
  for part in (
    'Test accuracy over the sessions (reconstruction)',
    'On base classes',
    'average, less NCM',
    'What the last session confuses',
    'taken for another novel class',
    'what is remembered of a class',
    'Accuracy on base classes',
  ):
    assert part in text


@pytest.mark.slow
def test_a_killed_comparison_ends_with_the_same_numbers(compared, tmp_path, monkeypatch):
  """Once while the base networks learn, once while a head is fitted, once in a session."""
  config, result, _ = compared
  log, points = Run.log, ['base', 'head-etf', 'nc_fscil/session-2']

  def interrupt(self, name, step, *rest, **more):
    log(self, name, step, *rest, **more)
    if points and name == points[0]:
      points.pop(0)
      raise KeyboardInterrupt

  # Of its own shelf: nothing of the first run is found.
  monkeypatch.setattr(Run, 'log', interrupt)
  for _ in range(3):
    with pytest.raises(KeyboardInterrupt):
      start(compare, config, tmp_path / 'run', log_every=2)
  assert not points
  again = start(compare, config, tmp_path / 'run', log_every=2)
  for row, other in zip(result['rows'], again['rows']):
    assert row['accuracy'] == other['accuracy'] and row['confusion'] == other['confusion']


def test_one_learner_leaves_its_numbers_page_and_classifier(own, tmp_path):
  config = small(own, 'teen', **{'base_training.select': 'val', 'base_training.checks': 3})
  result = start(learn, config, tmp_path / 'teen')
  there = {path.name for path in (tmp_path / 'teen').iterdir()}
  assert {'result.json', 'report.html', 'classifier.msgpack', 'base.json'} <= there
  assert 'best-base.msgpack' not in there
  saved = json.loads((tmp_path / 'teen' / 'result.json').read_text())
  assert saved['rows'][0]['accuracy'] == result['rows'][0]['accuracy']
  assert saved['method'] == 'teen'
  assert set(saved['base']['checks']) == {'steps', 'test', 'validation'}
  assert 'reconstruction' not in (tmp_path / 'teen' / 'report.html').read_text()


@pytest.mark.usefixtures('timed')
def test_a_dry_run_tells_sessions_parameters_and_time(own):
  text = learn.dry_run(small(own, 'pki'))
  assert '2 base classes with' in text and 'head/projector/linear1/kernel' in text
  assert 'pki/sessions' in text and 'in all about' in text


def test_fields_that_are_not_there_are_told(own):
  config = small(own, 'compare', ',methods=ncm')
  config.compared = ('ncm', 'pki')
  with pytest.raises(UserError, match="no section of members 'pki'"):
    compare.check(config)
  config = small(own, 'ncm')
  config.replay = {'name': 'means', 'ipc': 2}
  with pytest.raises(UserError, match="field of memory means 'ipc'"):
    learn.check(config)


# Parts of the flow, without a run.


@pytest.mark.parametrize(
  'select, split, other', [('val', 'validation', 'test'), ('best_test', 'test', 'validation')]
)
def test_the_best_check_of_each_network_is_kept_whatever_comes_twice(
  select, split, other, tmp_path
):
  def update(best, step, accuracies):
    checked = {split: np.array(accuracies), other: np.array([0.1 * step] * 2)}
    best.update(step, checked, {'w': jnp.full((2, 3), step)})

  with Run(tmp_path, progress=False, tensorboard=False) as run:
    best = selection.Best(run, select, networks=2)
    for step, accuracies in ((1, [0.5, 0.9]), (2, [0.7, 0.9]), (3, [0.6, 0.2])):
      update(best, step, accuracies)
    # A training that goes on from step 1 meets the checks of the steps 2 and 3 once more.
    again = selection.Best(run, select, networks=2)
    for step, accuracies in ((2, [0.7, 0.9]), (3, [0.6, 0.2])):
      update(again, step, accuracies)
  for kept in (best, again):
    assert kept.variables({'w': jnp.zeros((2, 3), int)})['w'][:, 0].tolist() == [2, 1]
  last = selection.Best(run, 'last', networks=2)
  assert last.variables({'w': jnp.zeros((3, 1))})['w'].shape == (2, 1)


def test_published_rows_stand_only_beside_their_own_protocol():
  rows = published.find('cifar100', 60, 5, 5)
  (nc_fscil,) = rows['nc_fscil']
  assert (nc_fscil.accuracies[0], nc_fscil.accuracies[-1]) == (0.8252, 0.5611)
  assert round(nc_fscil.average, 3) == 0.675 and 'pki' not in rows and len(rows['']) >= 8
  assert published.find('cub:birds', 100, 10, 5)['nc_fscil'][0].average == 0.6728
  assert not published.find('cifar100', 60, 5, 1) and not published.find('digits', 4, 2, 5)


def result_of(data, sizes, names=('pki', 'nc_fscil'), task='compare', order=''):
  """As much of a result as the page's references read."""
  protocol = dict(base_classes=sizes[0], way=sizes[1], shot=5, order=order)
  return types.SimpleNamespace(
    config={'data': {'name': data}, 'protocol': protocol},
    rows=[types.SimpleNamespace(name=name) for name in names],
    task=task,
    extras={'sizes': sizes},
  )


def test_the_page_cites_the_rows_of_its_own_protocol():
  cifar = (60, *(5,) * 8)
  (row,) = page.references(result_of('cifar100', cifar, task='learn'))
  assert row['label'] == 'NC-FSCIL, published' and row['network'] == 'ResNet-12'
  assert row['pd']['mean'] == pytest.approx(0.2641) and row['average'] == 0.675
  assert {row['label'] for row in page.references(result_of('cifar100', cifar))} > {
    'NC-FSCIL, published',
    'CEC, published',
  }
  assert len(page.references(result_of('caltech_birds2011', (100, *(10,) * 10)))) == 1
  # Fewer sessions, another order of the classes, other data: no paper has that.
  for other in (
    result_of('cifar100', cifar[:4]),
    result_of('cifar100', cifar, order='1'),
    result_of('digits', (4, 2, 2, 2)),
    result_of('npz:mine.npz', cifar),
  ):
    assert page.references(other) == []


def test_the_note_names_reconstructions_at_any_rate():
  rows = [Row('pki-rate-0.1', 'PKI, rate x 0.1', 1.0), Row('ncm', 'NCM', 0.0)]
  base = {'networks': 1, 'head': 'projector'}
  extras = {'draws': 2, 'base': base, 'reconstructed': ['pki']}
  text = page.note(types.SimpleNamespace(extras=extras, rows=rows), cited=False)
  assert ' PKI, rate x 0.1: parts of the papers were not at hand' in text


def test_numbers_come_back_from_json(compared):
  confusions = np.arange(2 * 2 * 9).reshape(2, 2, 3, 3)
  numbers = Numbers(
    (2, 1), confusions, confusions, np.zeros(2, int), np.arange(2), np.ones(1), np.ones((2, 2)), 8.0
  )
  again = Numbers.from_json(json.loads(json.dumps(running.files.jsonable(numbers.to_json()))))
  np.testing.assert_array_equal(again.confusions, confusions)
  assert again.sizes == (2, 1) and again.memory_bytes == 8.0


def test_a_confusion_is_told_in_blocks():
  shares = scoring.blocks(np.array([[6, 2, 2], [1, 9, 0], [5, 0, 5]]), base_classes=2)
  np.testing.assert_allclose(shares, [[0.75, 0.15, 0.1], [0.5, 0.5, 0]])
  rows = page.confusion_rows([{'label': 'X', 'confusion': np.eye(3)}], 2)
  assert [row['right'] for row in rows] == [1.0, 1.0]
