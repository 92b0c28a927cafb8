"""A whole run: its phases, its files, its second start, and its end after a kill."""

import contextlib
import html.parser
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill.condensation import Condensed, checks
from jaxdistill.condensation.tasks import condense as condense_task
from jaxdistill.experiment import estimates
from jaxdistill.training import loop
from jaxdistill.training.run import Run

pytestmark = pytest.mark.usefixtures('unaugmented')

ROOT = pathlib.Path(__file__).parents[3]
SMALL = {
  'data.image_size': '8',
  'model.width': '4',
  'model.depth': '1',
  'condensation.batch_real': '4',
  'evaluation.networks': '2',
  'evaluation.steps': '6',
  'evaluation.every': '3',
}


def small(**overrides):
  config = configs.load('condensation/m3d:digits,factor=2')
  short = {
    'condensation.iterations': '6',
    'condensation.augmentation': '',
    'model.norm': 'none',
    'run.checkpoint_every': '3',
  }
  for key, value in (SMALL | short | overrides).items():
    configs.override(config, key, value)
  checks.check(config)
  return config


@pytest.fixture(scope='module')
def shown():
  """What the run of `finished` prints."""
  return io.StringIO()


@pytest.fixture(scope='module')
def finished(tmp_path_factory, shown, unaugmented, measured_estimate):
  workdir = tmp_path_factory.mktemp('run')
  config = small()
  with (
    pytest.MonkeyPatch.context() as patch,
    contextlib.redirect_stdout(shown),
    Run(workdir, config, progress=False) as work,
  ):
    patch.setattr(estimates, 'SHORT_SECONDS', 1e9)
    patch.setattr(loop, 'estimate', measured_estimate)
    result = condense_task.run(config, work)
  return workdir, config, result


def test_every_contestant_has_a_row(finished):
  _, _, result = finished
  assert [row['name'] for row in result['rows']] == ['m3d', 'random', 'mix', 'whole']
  by_name = {row['name']: row for row in result['rows']}
  assert by_name['m3d']['training_images'] == by_name['mix']['training_images'] == 40
  assert by_name['random']['training_images'] == 10
  assert by_name['whole']['reference'] and all(row['last']['n'] == 2 for row in result['rows'])


def test_result_file_says_what_was_done(finished):
  workdir, config, result = finished
  stored = json.loads((workdir / 'result.json').read_text())
  assert stored == json.loads(json.dumps(result))
  assert stored['config']['condensation']['iterations'] == 6
  assert {'jax', 'flax', 'python'} <= stored['versions'].keys() and stored['device'][
    'platform'
  ] == 'cpu'
  assert (
    stored['seconds']['total'] >= stored['seconds']['condense'] > 0 and stored['flops_per_step'] > 0
  )


def test_condensed_set_and_picture_are_there(finished):
  workdir, _, _ = finished
  made = Condensed.load(workdir / 'condensed.npz')
  assert made.images.shape == (10, 8, 8, 1) and made.factor == 2 and made.method == 'm3d'
  assert (workdir / 'condensed.png').read_bytes().startswith(b'\x89PNG')


def test_report_is_one_page_with_all_rows(finished):
  page = (finished[0] / 'report.html').read_text()
  html.parser.HTMLParser().feed(page)
  for text in (
    'M3D',
    'Random real images',
    'Mix-init, not optimised',
    'Whole training set',
    'Matching loss',
    'After: ',
  ):
    assert text in page
  assert 'src="http' not in page and 'href="http' not in page


def test_a_second_start_computes_nothing_again_and_says_so(finished, capsys):
  workdir, config, result = finished
  lines = (workdir / 'metrics.jsonl').read_text()
  with Run(workdir, config, progress=False) as work:
    again = condense_task.run(config, work)
  assert again['rows'] == result['rows']
  assert (workdir / 'metrics.jsonl').read_text() == lines
  text = capsys.readouterr().out
  assert text.count('This run is finished') == 1 and 'takes about' not in text


@pytest.mark.usefixtures('timed')
def test_dry_run_shows_parameters_time_and_memory(capsys):
  text = condense_task.dry_run(small(**{'evaluation.baselines': 'whole'}))
  for word in ('conv1', 'Estimate', 'condense', 'evaluate-whole', 'in all about', '1,295 images'):
    assert word in text


def launch(workdir, iterations):
  overrides = SMALL | {
    'condensation.iterations': iterations,
    'run.checkpoint_every': '20',
    'evaluation.baselines': '()',
  }
  command = [
    sys.executable,
    '-m',
    'launch.run',
    '--config=m3d:digits,factor=2',
    f'--workdir={workdir}',
    f'--compilation_cache={workdir.parent}/programs',
    *(f'--config.{key}={value}' for key, value in overrides.items()),
  ]
  return subprocess.Popen(
    command,
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env=os.environ | {'XLA_FLAGS': ''},
  )


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_bits(tmp_path):
  steps = '3000'
  killed = launch(tmp_path / 'killed', steps)
  checkpoints, deadline = tmp_path / 'killed' / 'checkpoints' / 'condense', time.monotonic() + 120
  while not (checkpoints.is_dir() and any(path.name.isdigit() for path in checkpoints.iterdir())):
    assert killed.poll() is None and time.monotonic() < deadline, killed.communicate()[0]
    time.sleep(0.02)
  killed.send_signal(signal.SIGKILL)
  killed.wait()
  assert not (tmp_path / 'killed' / 'condensed.npz').exists()
  again, whole = launch(tmp_path / 'killed', steps), launch(tmp_path / 'whole', steps)
  told, _ = again.communicate(timeout=180)
  assert again.returncode == 0 and 'continu' in told, told
  assert whole.wait(timeout=180) == 0
  first, second = (
    Condensed.load(tmp_path / name / 'condensed.npz') for name in ('whole', 'killed')
  )
  np.testing.assert_array_equal(first.images, second.images)


def order(text):
  """Returns the milestones of a first start in the order in which it prints them."""
  places = {'images': 'the images take about', 'table': 'the table takes about'}
  places['pictures'] = 'pictures:'
  return sorted(places, key=lambda name: text.index(places[name]))


def test_pictures_come_before_the_table_is_measured_where_they_take_little(finished, shown):
  assert order(shown.getvalue()) == ['images', 'pictures', 'table']


@pytest.mark.slow
def test_the_table_is_measured_before_pictures_that_take_long(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(estimates, 'SHORT_SECONDS', 0.0)
  config = small(**{'evaluation.baselines': '()'})

  def start():
    with Run(tmp_path, config, progress=False, tensorboard=False) as run:
      condense_task.run(config, run)
    return capsys.readouterr().out

  assert order(start()) == ['images', 'table', 'pictures']
  again = start()
  assert again.count('This run is finished') == 1 and 'takes about' not in again
