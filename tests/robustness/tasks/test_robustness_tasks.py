"""Both tasks from a config to result.json and the page, killed and gone on with."""

import json

import jax
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.errors import UserError
from jaxdistill.experiment.results import Result
from jaxdistill.robustness import checks, flow
from jaxdistill.robustness.tasks import compare, train
from jaxdistill.robustness.trained import Trained
from jaxdistill.training.run import Run

TINY = {
  'model.depth': 1,
  'model.width': 4,
  'data.image_size': 8,
  'robustness.steps': 4,
  'robustness.checks': 2,
  'robustness.batch': 16,
  'robustness.train_images': 48,
  'robustness.pgd_steps': 2,
  'robustness.attacks': "('fgsm',)",
  'robustness.attack_images': 20,
}
SHORT = {'attack_steps': 1, 'ascents': 2}


def load(spec, **changes):
  loaded = configs.load(f'robustness/{spec},model=mlp,seeds=2')
  members = [loaded.method] if 'method' in loaded else loaded.members.values()
  for method in members:
    method.update({key: value for key, value in SHORT.items() if key in method})
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
  config = load('compare:digits,methods=at+rwp')
  return config, run(compare, config, workdir), workdir


def test_a_result_holds_robust_and_clean_accuracies_and_the_gap(compared):
  _, content, workdir = compared
  assert [row['name'] for row in content['rows']] == ['at', 'rwp']
  for row in content['rows']:
    columns = {name: np.array(row[name]['values']) for name in ('last', 'train', 'gap', 'clean')}
    assert all(len(values) == 2 for values in columns.values())
    np.testing.assert_allclose(columns['gap'], columns['train'] - columns['last'])
    assert (columns['last'] <= columns['clean']).all()
    assert len(row['selected']['values']) == len(row['fgsm']['values']) == 2
    assert row['curve']['steps'] == row['curves']['train']['steps'] == [2, 4]
  first, second = content['rows']
  gain = np.array(second['last']['values']) - first['last']['values']
  assert second['differences']['last']['mean'] == pytest.approx(gain.mean())
  assert second['reconstruction'] and not first['reconstruction']
  again = Result.from_json(content).to_json()
  assert json.dumps(again, sort_keys=True) == json.dumps(content, sort_keys=True)
  page = (workdir / 'report.html').read_text()
  for text in (
    'RWP (reconstruction)',
    'Adversarial images',
    'less AT',
    'Training images less test',
  ):
    assert text in page


def test_a_run_of_one_method_is_its_part_of_a_comparison(compared, tmp_path):
  _, content, workdir = compared
  alone = run(train, load('rwp:digits'), tmp_path / 'rwp')
  assert alone['rows'][0]['last'] == content['rows'][1]['last']
  assert alone['compared_with'] == 'RWP' and 'differences' not in alone['rows'][0]
  there = Trained.load(workdir / 'networks' / 'rwp.msgpack')
  here = Trained.load(tmp_path / 'rwp' / 'networks.msgpack')
  jax.tree.map(np.testing.assert_array_equal, there.variables, here.variables)


def test_the_networks_of_a_run_answer_as_they_were_scored(compared):
  config, content, workdir = compared
  trained = Trained.load(workdir / 'networks' / 'at.msgpack')
  _, test = data.load('digits', image_size=8)
  right = (trained.logits(test.images).argmax(-1) == test.labels).mean(1)
  np.testing.assert_allclose(right, content['rows'][0]['clean']['values'], atol=1e-6)


def test_a_run_that_is_killed_goes_on_bit_for_bit(compared, tmp_path, monkeypatch):
  _, content, _ = compared
  config = load('rwp:digits', **{'run.checkpoint_every': 1})
  fit = flow.loop.fit

  def dying(opened, name, problem, **options):
    def kill(state):
      raise InterruptedError

    return fit(opened, name, problem, evaluate=flow.loop.Evaluation(kill, every=3))

  with monkeypatch.context() as patch:
    patch.setattr(flow.loop, 'fit', dying)
    with pytest.raises(InterruptedError):
      run(train, config, tmp_path / 'killed', checkpoint_every=1)
  again = run(train, config, tmp_path / 'killed', checkpoint_every=1)
  # The check after step 2 was never made in the run that was killed.
  assert again['rows'][0]['last'] == content['rows'][1]['last']


@pytest.mark.usefixtures('timed')
def test_dry_run_tells_the_network_and_the_time():
  text = train.dry_run(load('at:digits'))
  assert 'parameter' in text and 'at ' in text and 'eps = 0.2' in text


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'robustness.eps': 8}, 'eps is 8.0; it is in units of pixels from 0 to 1'),
    ({'robustness.attacks': "('pgd21',)"}, "no attack 'pgd21'; did you mean 'pgd20'"),
    ({'robustness.train_images': 9999}, 'train_images is 9999; digits has'),
    ({'robustness.norm': 'l1'}, "no robustness.norm 'l1'"),
    ({'robustness.recipe': 'at20'}, "no recipe 'at20'; did you mean 'at200'"),
    ({'robustness.pseudo': 'npz:no.npz'}, 'no.npz'),
    ({'method.gamma': -1.0}, 'gamma is -1.0'),
    ({'method.warmup': 2}, 'warmup is 2 epochs of 3 steps, and there are 4 steps'),
  ],
)
def test_what_would_fail_later_is_told_before_any_training(changes, message):
  with pytest.raises(UserError, match=message):
    checks.check(load('rwp:digits', **changes))


def test_a_comparison_of_nothing_is_refused():
  with pytest.raises(UserError, match='A comparison needs methods'):
    checks.check_values(load('compare:digits,methods=+'))
