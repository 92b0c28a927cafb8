"""`jaxdistill evaluate`: what it makes of files and flags, over the real config and a flow that
computes nothing."""

import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill.commands import evaluate, main
from jaxdistill.condensation.tasks import evaluate as flow


@pytest.fixture
def started(tmp_path, monkeypatch):
  """Replaces the scoring by a note of its config and work dir; returns the notes."""
  notes = []

  def invent(config, run):
    notes.append((config, run.workdir))
    return dict(rows=[])

  monkeypatch.setattr(flow, 'check', lambda config: None)
  monkeypatch.setattr(flow, 'run', invent)
  monkeypatch.chdir(tmp_path)
  return notes


def start(*arguments):
  quiet = ['--no-progress', '--no-tensorboard', '--compilation_cache=off']
  return main.main(['evaluate', *arguments, *quiet])


def test_it_is_short_for_a_run_of_the_config(started, tmp_path):
  arguments = ['a.npz', '--data=cifar10', 'there/b.npz', '--recipe=dm', '--models=MLP+LeNet']
  assert start(*arguments, '--ipc=5', '--config.seed=3', '--devices=1') == 0
  spec = 'evaluate:cifar10,set=a.npz+there/b.npz,recipe=dm,models=MLP+LeNet,ipc=5'
  expected = configs.load(spec)
  expected.seed, expected.run.devices = 3, 1
  ((config, workdir),) = started
  assert config.to_dict() == expected.to_dict() and config.sets == ('a.npz', 'there/b.npz')
  assert workdir == tmp_path / 'runs' / 'evaluate-cifar10-a-b-seed3'


def test_a_smoke_run_and_a_work_dir_are_asked_for_as_everywhere(started):
  assert start('a.npz', '--quick') == start('a.npz', '--workdir=here') == 0
  (quick, shared), (full, here) = started
  assert quick == configs.load('evaluate:digits,set=a.npz,quick') and full.data.name == 'digits'
  assert shared.name == 'evaluate-digits-a-seed0-quick' and here.name == 'here'


def test_another_config_may_score(started, tmp_path):
  text = 'from jaxdistill import config\nget_config = lambda arg: config.load(f"evaluate:{arg}")\n'
  (tmp_path / 'mine.py').write_text(text)
  assert start('a.npz', '--config=mine.py', '--recipe=dm') == 0
  ((config, workdir),) = started
  assert config.evaluation.recipe == 'dm' and workdir.name == 'mine-digits-a-seed0'


@pytest.mark.parametrize(
  'arguments, words',
  [
    ([], 'Name the sets to score: jaxdistill evaluate FILE ... --data=NAME'),
    (['--data=digits'], 'Name the sets to score'),
    (['a.npz', '--data=digit'], "did you mean 'digits'?"),
    (['a.npz', '--recip=idc'], "no data set or argument 'recip='; did you mean 'recipe='?"),
    (['a.npz', '--recipe=icd'], "no value of recipe 'icd'; did you mean 'idc'?"),
    (['a.npz', '--workdri=here'], "There is no flag '--workdri'; did you mean '--workdir'?"),
    (['a.npz', '--devics=2'], "There is no flag '--devics'; did you mean '--devices'?"),
    (['a.npz', '--devices=two'], "--devices needs a whole number from 1 up, not 'two'."),
    (['a.npz', '--config=evalute'], "There is no config 'evalute'; did you mean 'evaluate'?"),
    (['a.npz', '--config.sede=1'], "There is no config key 'sede'; did you mean 'seed'?"),
    (['a.npz', '--ipc', '5'], "no data set or argument 'ipc'; did you mean 'ipc='?"),
    (['a.npz', '--set=b.npz'], "The argument 'set' is given twice."),
    (['a,b.npz'], "The name 'a,b.npz' holds a comma or a plus; give the file another name."),
    (['a+b.npz'], 'holds a comma or a plus'),
  ],
)
def test_a_mistake_is_one_sentence_and_starts_nothing(started, tmp_path, capsys, arguments, words):
  assert start(*arguments) == 2
  captured = capsys.readouterr()
  assert captured.err.startswith('error: ') and words in captured.err
  assert captured.err.count('\n') == 1 and captured.out == ''
  assert started == [] and not (tmp_path / 'runs').exists()


def test_help_shows_the_arguments_of_the_config(capsys):
  assert main.main(['evaluate', '--help']) == 0
  out = capsys.readouterr().out
  for word in ('--data=', '--workdir=', 'recipe=', 'models=', 'epochs='):
    assert word in out


def test_a_file_that_is_none_is_said(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert start('missing.npz') == 2 and 'missing.npz' in capsys.readouterr().err
  np.savez('foreign.npz', other=np.zeros(3))
  assert start('foreign.npz') == 2 and 'foreign.npz' in capsys.readouterr().err
  assert not (tmp_path / 'runs').exists()


def test_a_set_of_ones_own_passes_the_checks_and_reaches_the_scoring(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(flow, 'run', lambda config, run: dict(rows=[dict(label=config.sets[0])]))
  images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), np.uint8)
  np.savez('noise.npz', images=images, labels=np.arange(10))
  assert start('noise.npz', '--models=MLP', '--quick', '--config.data.image_size=8') == 0
  out = capsys.readouterr().out
  assert 'noise.npz' in out and 'runs/evaluate-digits-noise-seed0-quick/report.html' in out
  assert (tmp_path / 'runs/evaluate-digits-noise-seed0-quick/config.json').is_file()


def test_the_spec_without_a_data_set_takes_the_configs_default():
  values, _, rest = evaluate.command_flags.parse_known(['a.npz'], evaluate._flags())
  assert evaluate.spec(values, rest) == 'evaluate:set=a.npz'
