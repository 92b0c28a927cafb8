"""The batch script for Slurm: what it starts, when it queues itself again, and its options."""

import pathlib
import re
import shutil

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / 'launch' / 'slurm.sbatch'
AWKWARD = ['--config=m3d:folder:my photos', "--config.a=it's", '--config.b="$HOME"', '*', '']
START = ['srun', '--kill-on-bad-exit=0', 'python', '-m', 'launch.run']


@pytest.fixture
def job(fakes, tmp_path):
  """Returns a function that does what sbatch does: runs a copy of the script from a spool folder,
  with its variables."""
  checkout, spool = tmp_path / 'my checkout', tmp_path / 'spool'
  (checkout / 'launch').mkdir(parents=True)
  (checkout / 'launch' / 'run.py').write_text('')
  (checkout / '.venv' / 'bin').mkdir(parents=True)
  (checkout / '.venv' / 'bin' / 'activate').write_text('export ACTIVATED=.venv')
  spool.mkdir()
  shutil.copy(SCRIPT, spool / 'slurm_script')
  fakes.add('scontrol')

  def start(*arguments, srun='exit 0', **environment):
    fakes.add('srun', srun)
    variables = {'SLURM_SUBMIT_DIR': str(checkout), 'SLURM_JOB_ID': '17'} | environment
    return fakes.run('bash', spool / 'slurm_script', *arguments, cwd=spool, **variables)

  return start


def test_starts_the_launcher_in_the_checkout_with_the_arguments_as_given(job, fakes, tmp_path):
  done = job(*AWKWARD, srun='echo "$ACTIVATED in $PWD"')
  assert done.returncode == 0 and done.stdout == f'.venv in {tmp_path}/my checkout\n'
  assert fakes.calls() == [[*START, *AWKWARD]]


def test_an_interrupted_run_is_queued_again(job, fakes):
  done = job('--config=m3d', srun='exit 75')
  assert done.returncode == 75 and 'job 17 is queued again' in done.stdout
  assert fakes.calls() == [[*START, '--config=m3d'], ['scontrol', 'requeue', '17']]


@pytest.mark.parametrize('status', [0, 1, 2, 137])
def test_any_other_end_is_final(job, fakes, status):
  assert job('--config=m3d', srun=f'exit {status}').returncode == status
  assert [call[0] for call in fakes.calls()] == ['srun']


def test_a_cancelled_job_saves_and_stays_away(job, fakes):
  done = job('--config=m3d', srun='kill -TERM $PPID; sleep 0.2; echo saved; exit 75')
  assert done.returncode == 75 and done.stdout == 'saved\n'
  assert [call[0] for call in fakes.calls()] == ['srun']


def test_another_environment_is_named_with_venv(job, tmp_path):
  (tmp_path / 'other' / 'bin').mkdir(parents=True)
  (tmp_path / 'other' / 'bin' / 'activate').write_text('export ACTIVATED=other')
  assert job('--config=m3d', srun='echo "$ACTIVATED"', VENV=f'{tmp_path}/other').stdout == 'other\n'


@pytest.mark.parametrize(
  'variables, words',
  [
    ({'VENV': 'nowhere'}, 'there is no virtual environment in nowhere'),
    ({'SLURM_SUBMIT_DIR': '/'}, 'holds no launch/run.py'),
    ({'SLURM_SUBMIT_DIR': ''}, 'This script is for sbatch'),
  ],
)
def test_mistakes_start_nothing(job, fakes, variables, words):
  done = job('--config=m3d', **variables)
  assert done.returncode in (1, 2) and words in done.stderr and fakes.calls() == []


def test_the_tasks_are_warned_in_time_and_the_log_is_continued():
  options = re.findall(r'^#SBATCH (--\S+)', SCRIPT.read_text(), re.MULTILINE)
  assert {
    '--signal=TERM@120',
    '--requeue',
    '--open-mode=append',
    '--nodes=1',
    '--ntasks-per-node=1',
  } <= set(options)
