"""Both tasks from a config to result.json and the page; teachers that are found again."""

import html
import json

import jax
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill.distillation import checks, flow, running, speed, teachers
from jaxdistill.distillation.tasks import compare, distill
from jaxdistill.distillation.trained import Trained
from jaxdistill.errors import UserError
from jaxdistill.experiment.results import Result
from jaxdistill.training.run import Run

TINY = {
  'model.depth': 1,
  'model.width': 8,
  'teacher_model.depth': 1,
  'teacher_model.width': 12,
  'data.image_size': 8,
  'teaching.steps': 6,
  'distillation.steps': 4,
  'distillation.checks': 2,
  'distillation.batch': 16,
}


def load(spec, **changes):
  loaded = configs.load(f'distillation/{spec},student=mlp,teacher=mlp,seeds=2')
  for key, value in {**TINY, **changes}.items():
    configs.override(loaded, key, str(value))
  return loaded


def run(flow_of_task, config, workdir):
  flow_of_task.check(config)
  with Run(workdir, config, progress=False, tensorboard=False) as opened:
    return flow_of_task.run(config, opened)


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
  """A finished run of KD with its work dir."""
  workdir = tmp_path_factory.mktemp('runs') / 'kd'
  config = load('kd:digits')
  return config, run(distill, config, workdir), workdir


def test_a_result_holds_teacher_alone_and_distilled(ran):
  _, content, workdir = ran
  assert [row['name'] for row in content['rows']] == ['teacher', 'teacher_low', 'alone', 'kd']
  teacher, _, alone, kd = content['rows']
  assert teacher['reference'] and not kd['reference']
  assert teacher['seconds'] == content['seconds']['teacher'] > 0
  assert len(kd['last']['values']) == len(kd['selected']['values']) == 2
  gain = np.array(kd['last']['values']) - alone['last']['values']
  assert kd['differences']['last']['mean'] == pytest.approx(gain.mean())
  assert 0 <= kd['agreement']['mean'] <= 1 and kd['divergence']['mean'] >= 0
  assert not kd['live_teacher']
  assert np.shape(kd['correlation']) == (10, 10)
  assert content['batches'] == 'shared' and content['teacher']['normalisation'] == 'running'
  again = Result.from_json(content).to_json()
  assert json.dumps(again, sort_keys=True) == json.dumps(content, sort_keys=True)
  page = (workdir / 'report.html').read_text()
  texts = ('KD', 'Alone', 'What teacher and students see', 'less alone', 'shared batches')
  for text in (*texts, 'Distance to the teacher (KD)'):
    assert text in page


def test_a_page_has_speed_where_it_was_measured(ran, tmp_path, monkeypatch):
  _, content, workdir = ran
  median = speed._median_seconds
  monkeypatch.setattr(speed, '_median_seconds', lambda *call: median(*call[:2], seconds=0.0))
  changes = {'teaching.given': workdir, 'distillation.baseline': False, 'distillation.speed': True}
  measured = run(distill, load('kd:digits', **changes), tmp_path / 'kd')
  teacher, _, kd = measured['rows']
  rates = [f'images_per_second_{batch}' for batch in (1, 256)]
  assert min(row[rate] for row in (teacher, kd) for rate in rates) > 0
  # The teacher reads native images, and resizes nothing.
  assert min(kd[f'{rate}_resizing'] for rate in rates) > 0
  assert not any(f'{rate}_resizing' in teacher for rate in rates)
  page, other = ((path / 'report.html').read_text() for path in (tmp_path / 'kd', workdir))
  columns = ('images/s at 1', 'images/s at 256', 'at 1, with resizing', 'at 256, with resizing')
  for text in ('Accuracy against speed', 'Batches of 1', 'Batches of 256', *columns):
    assert text in page and text not in other


def test_a_page_shows_how_far_class_correlations_are_apart(ran):
  _, content, workdir = ran
  page = html.unescape((workdir / 'report.html').read_text())
  _, pictures = page.split("The teacher's class correlations less the students'")
  for row in content['rows'][2:]:
    gap = np.abs(row['correlation']).mean()
    assert row['correlation_gap'] == pytest.approx(gap)
    assert f'{row["label"]}: mean difference {gap:.3f}' in pictures
    assert f'<img alt="{row["label"]}: mean difference' in pictures


def test_the_students_of_a_run_answer_as_they_were_scored(ran):
  config, content, workdir = ran
  trained = Trained.load(workdir / 'students.msgpack')
  from jaxdistill.distillation import sections
  from jaxdistill.experiment import datasets

  _, _, test = datasets.load(sections.of_config(config).data)
  right = (trained.logits(test.images).argmax(-1) == test.labels).mean(1)
  np.testing.assert_allclose(right, content['rows'][-1]['last']['values'], atol=1e-6)


def test_a_teacher_is_trained_once_and_found_again(ran, tmp_path):
  _, content, workdir = ran
  facts = json.loads((workdir / teachers.FILE).read_text())
  taken = load('kd:digits', **{'teaching.given': workdir, 'distillation.baseline': False})
  second = run(distill, taken, tmp_path / 'second')
  assert second['teacher']['key'] == facts['key'] == content['teacher']['key']
  assert second['rows'][-1]['last'] == content['rows'][-1]['last']


def test_a_comparison_pairs_every_method_with_those_alone(ran, tmp_path):
  _, content, workdir = ran
  config = load('compare:digits,methods=alone+kd', **{'teaching.given': workdir})
  compared = run(compare, config, tmp_path / 'compare')
  assert [row['name'] for row in compared['rows']] == ['teacher', 'teacher_low', 'alone', 'kd']
  for one, other in zip(compared['rows'], content['rows']):
    assert one['last'] == other['last']


def test_titles_name_the_methods_or_say_that_students_learn_alone(ran, tmp_path):
  _, content, workdir = ran
  alone = run(distill, load('alone:digits', **{'teaching.given': workdir}), tmp_path / 'alone')
  assert [each['title'].partition(':')[0] for each in (content, alone)] == ['KD', 'Alone']


def test_a_run_that_is_killed_goes_on_bit_for_bit(ran, tmp_path, monkeypatch):
  config, content, workdir = ran
  given = load('kd:digits', **{'teaching.given': workdir, 'run.checkpoint_every': 1})
  fit, seen = flow.loop.fit, []

  def dying(opened, name, problem, **options):
    seen.append(name)
    if name == 'kd/student':

      def kill(state):
        raise InterruptedError

      options['evaluate'] = flow.loop.Evaluation(kill, every=2)
    return fit(opened, name, problem, **options)

  options = dict(progress=False, tensorboard=False, checkpoint_every=1)
  with monkeypatch.context() as patch:
    patch.setattr(flow.loop, 'fit', dying)
    with pytest.raises(InterruptedError), Run(tmp_path / 'killed', given, **options) as opened:
      distill.run(given, opened)
  with Run(tmp_path / 'killed', given, **options) as opened:
    again = distill.run(given, opened)
  assert 'kd/student' in seen and again['rows'][-1]['last'] == content['rows'][-1]['last']
  there, here = (Trained.load(path / 'students.msgpack') for path in (workdir, tmp_path / 'killed'))
  jax.tree.map(np.testing.assert_array_equal, there.variables, here.variables)


def test_few_images_for_the_students_and_all_for_the_teacher(ran):
  from jaxdistill.distillation import sections
  from jaxdistill.distillation import work as works
  from jaxdistill.experiment import datasets

  fields = sections.of_config(load('kd:digits', **{'distillation.share': 0.2}))
  work = works.make(fields, *datasets.load(fields.data))
  assert len(work.train) == pytest.approx(0.2 * len(work.taught), abs=10)
  assert len(work.everything) == len(work.taught) and work.steps == 4
  assert '20% of a class' in running.describe(work)


@pytest.mark.usefixtures('timed')
def test_dry_run_tells_both_networks_and_the_time():
  text = distill.dry_run(load('kd:digits', **{'distillation.baseline': False}))
  assert 'Teacher:' in text and 'Student:' in text and 'kd/student' in text and 'teacher' in text


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'distillation.low': 3}, 'A low size of 3 does not divide'),
    ({'distillation.low': 32}, 'A low size of 32 exceeds'),
    ({'distillation.cache': 'none'}, 'cannot be enumerated under Crop'),
    ({'distillation.cache': 'some'}, 'it must be none, flip, or a number'),
    ({'distillation.share': 0.0}, 'it must be above 0 and at most 1'),
    ({'teaching.given': 'no/such/file'}, 'no/such/file does not exist; name a network, a work dir'),
    ({'teacher_model.name': 'resnet20'}, "'resnet20' has depth 20, and beside its name depth is 1"),
    ({'teaching.seed': 5_000_000_000}, 'teaching.seed is 5000000000; it must be below 4294967296'),
    ({'verification.classes': 9}, 'fewer than 2 are left for the teacher'),
    (
      {'verification.classes': 3, 'verification.pairs': 40, 'verification.far': 0.001},
      'below one in the 20 impostor',
    ),
    (
      {'verification.listed': 'no/pairs.txt', 'verification.folder': 'no'},
      'no/pairs.txt',
    ),
  ],
)
def test_what_would_fail_later_is_told_before_any_training(changes, message):
  with pytest.raises(UserError, match=message):
    checks.check(load('kd:digits', **changes))


def test_a_feature_that_does_not_exist_is_told_with_those_that_do():
  config = load('fitnet:digits')
  config.method.fields.fitnet.student = ('stage9',)
  with pytest.raises(UserError, match="no feature of the student 'stage9'"):
    checks.check(config)


def test_a_teacher_of_other_classes_is_refused(ran):
  _, _, workdir = ran
  config = load('kd:digits', **{'teaching.given': workdir, 'verification.classes': 2})
  with pytest.raises(UserError, match='answers with 10 classes, and digits has 8 here'):
    checks.check(config)
