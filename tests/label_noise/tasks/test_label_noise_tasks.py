"""Both tasks from a config to result.json, tables and the page, killed and gone on with."""

import csv
import json

import jax
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill.errors import UserError
from jaxdistill.experiment.results import Result
from jaxdistill.label_noise import checks, flow, tcl
from jaxdistill.label_noise.tasks import compare, train
from jaxdistill.label_noise.trained import Trained
from jaxdistill.training.run import Run

TINY = {
  'model.depth': 1,
  'model.width': 8,
  'data.image_size': 8,
  'learning.epochs': 3,
  'learning.checks': 3,
  'learning.batch': 16,
  'learning.train_images': 70,
}


def load(spec, **changes):
  loaded = configs.load(f'label_noise/{spec},model=mlp,seeds=2')
  for key, value in {**TINY, **changes}.items():
    configs.override(loaded, key, str(value))
  return loaded


def run(flow_of_task, config, workdir, **options):
  flow_of_task.check(config)
  with Run(workdir, config, progress=False, tensorboard=False, **options) as opened:
    return flow_of_task.run(config, opened)


@pytest.fixture(scope='module')
def compared(tmp_path_factory):
  """A finished comparison with its work dir."""
  workdir = tmp_path_factory.mktemp('runs') / 'compare'
  config = load('compare:digits,methods=vote+crowd_layer')
  return config, run(compare, config, workdir), workdir


def test_a_result_holds_accuracies_and_curves(compared):
  _, content, _ = compared
  assert [row['name'] for row in content['rows']] == ['vote', 'crowd_layer']
  for row in content['rows']:
    assert len(row['last']['values']) == len(row['selected']['values']) == 2
    assert row['curve']['steps'] == row['curves']['observed']['steps']
    assert row['wrong'] == content['wrong'] > 0.2 and row['labels'] == 3
  first, second = content['rows']
  gain = np.array(second['last']['values']) - first['last']['values']
  assert second['differences']['last']['mean'] == pytest.approx(gain.mean())
  again = Result.from_json(content).to_json()
  assert json.dumps(again, sort_keys=True) == json.dumps(content, sort_keys=True)


def test_a_page_shows_table_curves_and_doubted_labels(compared):
  page = (compared[2] / 'report.html').read_text()
  for text in (
    'CrowdLayer',
    'less Majority vote',
    'Wrong labels known by heart',
    'believes least',
    'The annotators with most labels',
    'What is believed of the training examples',
  ):
    assert text in page


def test_believed_labels_and_annotators_are_tables(compared):
  config, _, workdir = compared
  work = checks.load(checks.sections.of_config(config))
  with open(workdir / 'tables' / 'crowd_layer_labels.csv') as file:
    labels = list(csv.DictReader(file))
  assert len(labels) == len(work.train)
  doubt = [float(line['probability_of_given']) for line in labels]
  assert doubt == sorted(doubt)
  with open(workdir / 'tables' / 'crowd_layer_annotators.csv') as file:
    annotators = list(csv.DictReader(file))
  assert [int(line['labels']) for line in annotators] == work.evidence.crowd.per_annotator.tolist()


def test_a_finished_run_is_read_back(compared):
  config, content, workdir = compared
  again = run(compare, config, workdir)
  assert again['rows'] == content['rows']


def test_killed_between_two_checks_a_run_ends_with_the_same_bits(tmp_path, monkeypatch):
  config = load('crowd_layer:digits')
  options = dict(checkpoint_every=2)
  whole = run(train, config, tmp_path / 'whole', **options)
  calls, measure = [], flow.scoring.measure

  def killing(*arguments):
    calls.append(1)
    if len(calls) == 2:
      raise InterruptedError
    return measure(*arguments)

  monkeypatch.setattr(flow.scoring, 'measure', killing)
  with pytest.raises(InterruptedError):
    run(train, config, tmp_path / 'killed', **options)
  monkeypatch.undo()
  resumed = run(train, config, tmp_path / 'killed', **options)
  assert resumed['rows'][0]['last'] == whole['rows'][0]['last']
  ends = [Trained.load(tmp_path / name / 'networks.msgpack') for name in ('whole', 'killed')]
  jax.tree.map(np.testing.assert_array_equal, *(end.variables for end in ends))


def killing(monkeypatch, owner, name, call):
  """Lets a function fail at one of its calls."""
  calls, function = [], getattr(owner, name)

  def asked(*arguments, **options):
    calls.append(1)
    if len(calls) == call:
      raise InterruptedError
    return function(*arguments, **options)

  monkeypatch.setattr(owner, name, asked)


@pytest.mark.slow
def test_killed_in_a_refresh_and_in_a_later_phase_a_run_ends_with_the_same_bits(
  tmp_path, monkeypatch
):
  """TCL renews its co-labels between passes, and begins anew in its second phase."""
  short = {'method.rounds': 3, 'method.retrain': 2, 'method.finetune': 1, 'learning.trusted': 1}
  config = load('tcl:digits', **{**short, 'learning.train_images': 120})
  options = dict(checkpoint_every=2)
  whole = run(train, config, tmp_path / 'whole', **options)
  deaths = ((tcl.Agreement, '__call__', 2), (flow.scoring, 'measure', 3))
  phases = []
  for owner, name, call in deaths:
    with monkeypatch.context() as patch:
      killing(patch, owner, name, call)
      with pytest.raises(InterruptedError):
        run(train, config, tmp_path / 'killed', **options)
    phases.append(sorted(path.name for path in (tmp_path / 'killed').glob('**/tcl.*')))
  assert not any('retrain' in name for name in phases[0])
  assert any('retrain' in name for name in phases[1])
  resumed = run(train, config, tmp_path / 'killed', **options)
  assert resumed['rows'][0]['last'] == whole['rows'][0]['last']
  ends = [Trained.load(tmp_path / name / 'networks.msgpack') for name in ('whole', 'killed')]
  jax.tree.map(np.testing.assert_array_equal, *(end.variables for end in ends))


def test_the_precision_of_what_a_method_chooses_has_a_curve(tmp_path):
  """It ends where the final networks' is."""
  content = run(train, load('co_teaching:digits'), tmp_path)
  (row,) = content['rows']
  curve = row['curves']['precision']
  assert curve['steps'] == row['curve']['steps'] and len(curve['mean']) == 3
  assert curve['mean'][-1] == pytest.approx(row['confident_precision']['mean'])
  assert 'those whose label is right' in (tmp_path / 'report.html').read_text()


@pytest.mark.parametrize('seed', [5, 5 + 2**31])
def test_seeds_of_32_bits_have_networks_of_their_own(seed, tmp_path, monkeypatch):
  seeds = []

  def stopped(*arguments, seed, **options):
    seeds.append(seed)
    raise InterruptedError

  monkeypatch.setattr(flow.players, 'problem', stopped)
  with pytest.raises(InterruptedError):
    run(train, load('ce:digits', seed=seed), tmp_path)
  assert seeds == [seed]


@pytest.mark.usefixtures('timed')
def test_a_dry_run_tells_labels_and_time():
  text = train.dry_run(load('ce:digits'))
  assert 'one label an example' in text and '% of them are wrong' in text and 'ce.ce' in text


@pytest.mark.parametrize(
  'spec, changes, message',
  [
    ('crowd_layer:digits,noise=pair_flip', {}, 'CrowdLayer reads the labels of several annotators'),
    ('ce:digits', {'learning.trusted': 40}, 'class'),
    ('ce:digits', {'learning.train_images': 99999}, 'training examples'),
    ('ce:digits,crowd=cifar10n:/nowhere', {}, 'nowhere'),
    ('ce:digits,noise=asymmetric', {}, 'symmetric'),
  ],
)
def test_what_does_not_go_together_is_refused_before_any_work(spec, changes, message):
  with pytest.raises(UserError, match=message):
    train.check(load(spec, **changes))
