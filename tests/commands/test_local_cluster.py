"""Two processes with two fake devices each: the numbers of one device, and the same bits after a
signal and after a kill."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxdistill.commands import local_cluster, sweep
from jaxdistill.condensation import Condensed
from jaxdistill.training import hosts, job

CHEAP = ' '.join(
  [
    '--xla_backend_optimization_level=0',
    '--xla_llvm_disable_expensive_passes=true',
    '--xla_cpu_use_fusion_emitters=false',
  ]
)
ROOT = pathlib.Path(__file__).parents[2]
OVERRIDES = {
  'data.image_size': 8,
  'data.stream': 'on',
  'model.width': 4,
  'model.depth': 1,
  'condensation.batch_real': 4,
  'condensation.iterations': 400,
  'condensation.learning_rate': 0.003,
  'selection.steps': 20,
  'evaluation.networks': 2,
  'evaluation.steps': 4,
  'evaluation.every': 2,
  'evaluation.baselines': 'herding',
  'run.checkpoint_every': 20,
  'run.log_every': 20,
}


def start(workdir, *module):
  flags = [
    '--config=m3d:digits,factor=2',
    f'--workdir={workdir}',
    f'--compilation_cache={workdir.parents[1]}/programs',
    *(f'--config.{key}={value}' for key, value in OVERRIDES.items()),
  ]
  return subprocess.Popen(
    [sys.executable, '-m', *module, *flags],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env=os.environ | {'XLA_FLAGS': CHEAP, 'JAX_PLATFORMS': 'cpu'},
  )


def cluster(workdir):
  return start(workdir, 'launch.local_cluster', '--processes=2', '--devices=2', '--')


def finish(process):
  told, _ = process.communicate(timeout=240)
  return process.returncode, told


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('cluster') / 'whole' / 'run'  # beside which the experts lie
  code, told = finish(cluster(workdir))
  assert code == 0, told
  return workdir


def steps_saved(workdir):
  directory = workdir / 'checkpoints' / 'condense'
  return (
    sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())
    if directory.is_dir()
    else []
  )


def wait_for_a_save_after(job, workdir, step):
  """Returns the pids of the two processes once a newer checkpoint than that of `step` is
  complete."""
  deadline = time.monotonic() + 120
  while not any(saved > step for saved in steps_saved(workdir)):
    assert job.poll() is None and time.monotonic() < deadline, job.communicate()[0]
    time.sleep(0.02)
  children = pathlib.Path(f'/proc/{job.pid}/task/{job.pid}/children').read_text().split()
  of_number = {
    re.search(r'--process_id=(\d)', pathlib.Path(f'/proc/{pid}/cmdline').read_text())[1]: int(pid)
    for pid in children
  }
  return of_number['0'], of_number['1']


def lines(workdir):
  return [
    {**json.loads(line), 'seconds': 0}
    for line in (workdir / 'metrics.jsonl').read_text().splitlines()
  ]


@pytest.mark.slow
def test_four_devices_of_two_processes_give_the_numbers_of_one(uninterrupted):
  alone = uninterrupted.parents[1] / 'alone' / 'run'
  code, told = finish(start(alone, 'launch.run'))
  assert code == 0, told
  ours, theirs = (Condensed.load(workdir / 'condensed.npz') for workdir in (uninterrupted, alone))
  # 400 steps that differ in rounding alone.
  np.testing.assert_allclose(ours.images, theirs.images, atol=1e-3)
  assert (
    lines(alone)[0]['loss']
    > 1.05 * [line for line in lines(alone) if line['phase'] == 'condense'][-1]['loss']
  )
  for one, other in zip(lines(alone), lines(uninterrupted), strict=True):
    assert {name: one[name] for name in ('phase', 'step', 'kind')} == {
      name: other[name] for name in ('phase', 'step', 'kind')
    }
    if one['kind'] == 'train':
      assert other['loss'] == pytest.approx(one['loss'], rel=1e-3)
  result = json.loads((uninterrupted / 'result.json').read_text())
  assert result['device']['count'] == 4 and result['seconds']['first_step'] > 0
  assert not (uninterrupted / 'run.lock').exists()


@pytest.mark.slow
def test_a_signal_to_one_and_the_death_of_one_lose_nothing(uninterrupted):
  workdir = uninterrupted.parents[1] / 'stopped' / 'run'
  job = cluster(workdir)
  _, second = wait_for_a_save_after(job, workdir, 0)
  os.kill(second, signal.SIGTERM)
  code, told = finish(job)
  assert code == 75 and 'stopped by SIGTERM after step' in told, told
  stopped_at = int(told.split('after step ')[1].split()[0])
  assert stopped_at == steps_saved(workdir)[-1] < 400 and not (workdir / 'condensed.npz').exists()

  job = cluster(workdir)
  _, second = wait_for_a_save_after(job, workdir, stopped_at)
  killed = time.monotonic()
  os.kill(second, signal.SIGKILL)
  code, told = finish(job)
  assert code == 128 + signal.SIGKILL and time.monotonic() - killed < 60
  assert (
    f'continues after step {stopped_at}' in told
    and f'Process 1 (pid {second}) was killed by SIGKILL' in told
  ), told
  assert not (workdir / 'condensed.npz').exists()

  code, told = finish(cluster(workdir))
  assert code == 0, told
  ours, theirs = (Condensed.load(place / 'condensed.npz') for place in (workdir, uninterrupted))
  np.testing.assert_array_equal(ours.images, theirs.images)
  assert lines(workdir) == lines(uninterrupted)


def two_processes(code, *arguments):
  """Returns (exit status, what was said) of two processes with two devices; `code` gets the
  coordinator and its number."""
  address = f'localhost:{local_cluster._free_port()}'
  environment = os.environ | {
    'XLA_FLAGS': '--xla_force_host_platform_device_count=2',
    'JAX_PLATFORMS': 'cpu',
  }
  jobs = [
    subprocess.Popen(
      [sys.executable, '-c', code, address, str(number), *arguments],
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      env=environment,
    )
    for number in range(2)
  ]
  return [finish(job) for job in jobs]


READER = """
import sys
import jax, numpy as np
from jaxdistill.data import streaming
from jaxdistill.training import batches, job, parallel
job.join(sys.argv[1], 2, int(sys.argv[2]))
mesh, read = parallel.make_mesh(), []
pixels = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
def fetch(positions):
  read.extend(positions.tolist())
  return pixels[positions]
images = streaming.Streamed(fetch, (2, 2, 1), np.arange(40), 'numbers')
wanted = np.arange(24).reshape(8, 3) if sys.argv[3] == 'spread' else np.arange(10, 19).reshape(3, 3)
def pick(data, key, step):
  return {'images': data['images'][wanted + step], 'labels': wanted}
spread = sys.argv[3] == 'spread'
source = batches.streamed({'images': images}, pick, jax.random.key(0), 1, mesh, spread)
batch = source.feed(None, 0, 1).take()
whole = np.asarray(parallel.gather(batch['images']))
assert np.array_equal(whole, pixels[wanted]) and batch['labels'].shape == wanted.shape
assert batch['images'].is_fully_replicated == (sys.argv[3] == 'whole')
print(sorted(set(read)))
"""


@pytest.mark.parametrize(
  'way, shares',
  [
    # Eight rows of three images over four devices; nine images, of which the fourth device has none
    # but the first ones again.
    ('spread', (range(12), range(12, 24))),
    ('whole', (range(10, 16), (*range(10, 13), *range(16, 19)))),
  ],
)
def test_each_process_reads_its_own_share(way, shares):
  told = two_processes(READER, way)
  assert [code for code, _ in told] == [0, 0], told
  assert tuple(json.loads(text.splitlines()[-1]) for _, text in told) == tuple(map(list, shares))


FAILING = """
import sys
from jaxdistill import errors
from jaxdistill.training import exits, hosts, job
job._LEAVE_SECONDS = 1
def start(arguments):
  job.join(arguments[0], 2, int(arguments[1]))
  if hosts.number() == int(arguments[2]):
    raise (errors.UserError if arguments[3] == 'user' else RuntimeError)('no memory is left')
  hosts.collect('what the other never gives', 1)
sys.exit(exits.exit_status(start))
"""


@pytest.mark.parametrize(
  'failing, kind', [pytest.param(0, 'user', marks=pytest.mark.slow), (1, 'other')]
)
def test_a_process_that_fails_alone_ends_the_others_with_a_word(failing, kind):
  told = two_processes(FAILING, str(failing), kind)
  status, what = (2, '') if kind == 'user' else (1, 'RuntimeError: ')
  assert told[failing][0] == status and told[failing][1].strip().endswith(
    f'{what or "error: "}no memory is left'
  ), told
  assert told[1 - failing][0] == 1 and told[1 - failing][1].splitlines()[-1] == (
    f'Process {1 - failing} ends because process {failing} has failed ({what}no memory is left). '
    'Start all of them again to continue.'
  ), told


@pytest.mark.slow
def test_a_sweep_of_two_processes_gives_the_rows_of_one(tmp_path):
  flags = [
    '--config=m3d:digits,quick,model=mlp',
    '--config.data.image_size=8',
    '--config.evaluation.baselines=()',
    '--grid.seed=1',
    '--compilation_cache=off',
    '--no-tensorboard',
  ]
  assert (
    local_cluster.main(['--sweep', '--devices=1', '--', *flags, f'--workdir={tmp_path}/two']) == 0
  )
  assert sweep.main([*flags, f'--workdir={tmp_path}/one']) == 0
  two, one = (json.loads((tmp_path / name / 'sweep.json').read_text()) for name in ('two', 'one'))
  assert [run['status'] for run in two['runs']] == ['done']
  for ours, theirs in zip(two['rows'], one['rows'], strict=True):
    assert ours['label'] == theirs['label'] and ours['last']['values'] == pytest.approx(
      theirs['last']['values'], abs=1e-6
    )


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--coordinator=localhost:1'], 'all three of --coordinator=HOST:PORT'),
    (['--coordinator=localhost', '--num_processes=2', '--process_id=0'], 'must be HOST:PORT'),
    (['--coordinator=localhost:1', '--num_processes=2', '--process_id=2'], 'must be from 0 to 1'),
  ],
)
def test_flags_of_a_process_are_checked(flags, message, capsys):
  from jaxdistill.commands import run as launcher

  assert launcher.main(['--config=m3d:digits,quick', *flags]) == 2
  assert message in capsys.readouterr().err


def test_a_process_that_waits_in_vain_says_for_whom():
  port = local_cluster._free_port()
  code = f'from jaxdistill.training import job; job.join("localhost:{port}", 2, 1, seconds=2)'
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60
  )
  assert done.returncode == 2
  assert (
    f'After 2 s not all of the 2 processes are here; nothing answers at localhost:{port}'
    in done.stderr
  )


def test_one_process_settles_with_itself():
  settling = hosts.Settling()
  assert settling.settle(0, None, False) == (None, False) and settling.settle(
    1, 'SIGTERM', True
  ) == ('SIGTERM', True)


def test_slurm_is_seen_by_its_step_alone(monkeypatch):
  step = {
    'SLURM_JOB_ID': '1',
    'SLURM_NTASKS': '2',
    'SLURM_PROCID': '0',
    'SLURM_LOCALID': '0',
    'SLURM_STEP_NODELIST': 'a,b',
  }
  for name in step:
    monkeypatch.delenv(name, raising=False)
  assert not job._in_slurm()
  for name, value in step.items():
    monkeypatch.setenv(name, value)
  assert job._in_slurm()
  monkeypatch.setenv('SLURM_NTASKS', '1')
  assert not job._in_slurm()
  monkeypatch.setenv('SLURM_NTASKS', '2')
  monkeypatch.delenv('SLURM_STEP_NODELIST')  # in a batch script, before srun
  assert not job._in_slurm()


def test_nothing_to_run_is_said(capsys):
  assert local_cluster.main(['--processes=2']) == 2 and 'come after --' in capsys.readouterr().err
