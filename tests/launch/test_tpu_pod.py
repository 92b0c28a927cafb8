"""The script for Cloud TPU: the exact calls of gcloud, what a failure leaves, and its commands run
on a pretended worker."""

import pathlib
import shutil
import subprocess
import tarfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / 'launch' / 'tpu_pod.sh'
TPU = ('--name=pod', '--zone=here')
CREATE = ('--type=v6e-16', '--version=v2')
VM = ['gcloud', 'compute', 'tpus', 'tpu-vm']
COMMANDS = (
  'create',
  'copy',
  'install',
  'run',
  'follow',
  'stop',
  'logs',
  'status',
  'collect',
  'delete',
  'all',
)
FLAGS = ('--', '--config=m3d:digits')
AWKWARD = [
  '--config=m3d:folder:my photos',
  "--config.a=it's",
  '--config.b="$HOME" `x` \\',
  '--config.c=two\nlines',
  '*',
  '',
]


@pytest.fixture
def pod(fakes):
  """Returns a function that runs the script with a gcloud that succeeds."""
  fakes.add('gcloud')
  return lambda *arguments, **environment: fakes.run(SCRIPT, *arguments, **environment)


def verbs(calls):
  """Shortens calls to their verbs: create, scp, ssh, delete, storage."""
  return [call[4] if call[3:4] == ['tpu-vm'] else call[1] for call in calls]


def test_create_names_the_machine(pod, fakes):
  assert pod('create', *TPU, *CREATE).returncode == 0
  assert fakes.calls() == [
    [*VM, 'create', 'pod', '--accelerator-type=v6e-16', '--version=v2', '--zone=here']
  ]
  assert pod('create', *TPU, *CREATE, '--spot', '--project', 'mine').returncode == 0
  assert fakes.calls() == [
    [
      *VM,
      'create',
      'pod',
      '--accelerator-type=v6e-16',
      '--version=v2',
      '--spot',
      '--zone=here',
      '--project=mine',
    ]
  ]


def test_the_environment_serves_where_an_option_is_missing(pod, fakes):
  variables = dict(
    TPU_NAME='pod', TPU_ZONE='there', TPU_TYPE='v6e-16', TPU_VERSION='v2', TPU_PROJECT='mine'
  )
  assert pod('create', '--zone=here', **variables).returncode == 0
  assert fakes.calls() == [
    [
      *VM,
      'create',
      'pod',
      '--accelerator-type=v6e-16',
      '--version=v2',
      '--zone=here',
      '--project=mine',
    ]
  ]


@pytest.mark.parametrize(
  'arguments, expected',
  [
    (['delete'], [*VM, 'delete', 'pod', '--quiet', '--zone=here']),
    (['status'], [*VM, 'describe', 'pod', '--format=value(state,health)', '--zone=here']),
    (
      ['stop'],
      [
        *VM,
        'ssh',
        'pod',
        '--worker=all',
        '--command=pkill -TERM -P "$(cat jaxdistill/pod/pid)" || '
        '{ echo "No run is under way on $(hostname)." >&2; exit 2; }',
        '--zone=here',
      ],
    ),
    (
      ['logs', '--to={tmp}/my logs'],
      [
        *VM,
        'ssh',
        'pod',
        '--worker=all',
        '--command=cat jaxdistill/pod/log',
        '--output-directory={tmp}/my logs',
        '--zone=here',
      ],
    ),
    (
      ['collect', '--to={tmp}/out'],
      [
        *VM,
        'scp',
        '--recurse',
        'pod:jaxdistill/runs/pod',
        '{tmp}/out',
        '--worker=0',
        '--zone=here',
      ],
    ),
    (
      ['collect', '--to={tmp}/out', '--workdir=/disk/run'],
      [*VM, 'scp', '--recurse', 'pod:/disk/run', '{tmp}/out', '--worker=0', '--zone=here'],
    ),
    (
      ['collect', '--to={tmp}/out', '--workdir=gs://bucket/a run'],
      ['gcloud', 'storage', 'rsync', '--recursive', 'gs://bucket/a run', '{tmp}/out/a run'],
    ),
    (
      ['collect', '--to=gs://bucket/all/', '--workdir=runs/a run'],
      [
        *VM,
        'ssh',
        'pod',
        '--worker=0',
        '--command=cd jaxdistill && gcloud storage rsync --recursive runs/a\\ run '
        'gs://bucket/all/a\\ run',
        '--zone=here',
      ],
    ),
  ],
)
def test_short_commands(pod, fakes, tmp_path, arguments, expected):
  arguments, expected = (
    [text.replace('{tmp}', str(tmp_path)) for text in texts] for texts in (arguments, expected)
  )
  assert pod(*arguments, *TPU).returncode == 0
  assert fakes.calls() == [expected]


def test_install_runs_on_every_worker(pod, fakes):
  assert pod('install', *TPU).returncode == 0
  (call,) = fakes.calls()
  assert call[:7] == [*VM, 'ssh', 'pod', '--worker=all'] and call[8:] == ['--zone=here']
  assert call[7].startswith('--command=set -e\ncd jaxdistill\n')
  assert call[7].endswith("uv pip install --quiet --python .venv/bin/python -e '.[tpu,stream,gcs]'")


def test_all_goes_through_every_command_in_order(pod, fakes, tmp_path):
  done = pod('all', *TPU, *CREATE, f'--to={tmp_path}/out', *FLAGS)
  assert done.returncode == 0, done.stderr
  calls = fakes.calls()
  assert verbs(calls) == ['create', 'scp', 'ssh', 'ssh', 'ssh', 'ssh', 'scp', 'delete']
  assert calls[1][5].endswith('/jaxdistill.tar.gz') and calls[1][6:] == [
    'pod:jaxdistill.tar.gz',
    '--worker=all',
    '--zone=here',
  ]
  assert not pathlib.Path(calls[1][5]).exists()
  assert (
    'launch.run' in calls[4][7]
    and '--config=m3d:digits' in calls[4][7]
    and '--workdir=runs/pod' in calls[4][7]
  )
  assert 'still there' not in done.stderr


@pytest.mark.parametrize('command', COMMANDS)
def test_a_dry_run_calls_nothing_and_prints_what_a_run_calls(pod, fakes, tmp_path, command):
  arguments = [command, *TPU, *CREATE, '--workdir=gs://bucket/a run', f'--to={tmp_path}/my runs']
  flags = ['--', *AWKWARD] if command in ('run', 'all') else []
  dry = pod(*arguments, '--dry_run', *flags)
  assert dry.returncode == 0 and fakes.calls() == [] and not (tmp_path / 'my runs').exists()
  assert pod(*arguments, *flags).returncode == 0
  real = fakes.calls()
  printed = '\n'.join(
    line for line in dry.stdout.splitlines() if line.startswith(('gcloud', 'mkdir'))
  )
  assert fakes.run('bash', '-ec', printed).returncode == 0
  replayed = fakes.calls()

  def without_stage(calls):
    return [
      [pathlib.Path(word).name if word.endswith('/jaxdistill.tar.gz') else word for word in call]
      for call in calls
    ]

  assert without_stage(replayed) == without_stage(real) and real


@pytest.mark.parametrize(
  'arguments, words',
  [
    ([], 'Give a command'),
    (['start'], "There is no command 'start'"),
    (['create', 'copy'], "Give one command, not both 'create' and 'copy'"),
    (['create', '--nmae=x'], "There is no option '--nmae=x'"),
    (['create', '--name='], '--name needs a value'),
    (['create', '--name'], '--name needs a value'),
    (['create', '--zone=here'], 'Name the TPU with --name=NAME or TPU_NAME.'),
    (['delete', '--name=pod'], 'Name the zone with --zone=ZONE or TPU_ZONE'),
    (['create', *TPU], 'Name the accelerator with --type=TYPE'),
    (['all', *TPU, '--type=v6e-16', *FLAGS], 'Name the runtime with --version=VERSION'),
    (['run', *TPU], "run needs the launcher's flags behind --"),
    (['delete', *TPU, *FLAGS], 'delete takes no flags of the launcher'),
    (['run', *TPU, *FLAGS, '--workdir=x'], 'Give --workdir before the --'),
  ],
)
def test_mistakes_are_told_before_anything_is_called(pod, fakes, arguments, words):
  done = pod(*arguments)
  assert done.returncode == 2 and fakes.calls() == []
  assert (
    done.stderr.startswith('error: ')
    and words in done.stderr
    and len(done.stderr.splitlines()) == 1
  )


def test_help_names_every_command(pod):
  done = pod('--help')
  assert done.returncode == 0
  for command in COMMANDS:
    assert f'\n  {command} ' in done.stdout


FAILURES = """
case "$*" in
  *{0}*) exit {1} ;;
esac"""


@pytest.mark.parametrize(
  'where, status, called, kept',
  [
    ('create', 7, ['create'], False),
    ('jaxdistill.tar.gz', 1, ['create', 'scp'], True),
    ('stream', 3, ['create', 'scp', 'ssh', 'ssh'], True),
    ('setsid', 2, ['create', 'scp', 'ssh', 'ssh', 'ssh', 'scp', 'delete'], False),
    ('tail', 75, ['create', 'scp', 'ssh', 'ssh', 'ssh', 'ssh', 'scp', 'delete'], False),
    ('recurse', 4, ['create', 'scp', 'ssh', 'ssh', 'ssh', 'ssh', 'scp'], True),
  ],
)
def test_all_stops_at_a_failure_but_fetches_what_a_run_left(
  fakes, tmp_path, where, status, called, kept
):
  fakes.add('gcloud', FAILURES.format(where, status))
  done = fakes.run(SCRIPT, 'all', *TPU, *CREATE, f'--to={tmp_path}/out', *FLAGS)
  assert done.returncode == status
  assert verbs(fakes.calls()) == called
  assert ('is still there and is charged for' in done.stderr) == kept


def test_the_launcher_itself_keeps_to_a_bucket(fakes, worker):
  fakes.add('python')
  assert fakes.run(SCRIPT, 'run', *TPU, '--workdir=gs://bucket/my run', *FLAGS).returncode == 0
  assert python_calls(fakes) == [
    ['python', '-m', 'launch.run', '--workdir=gs://bucket/my run', *FLAGS[1:]]
  ]
  assert not [call for call in fakes.calls() if call[:2] == ['gcloud', 'storage']]


def test_copy_sends_the_commit_and_the_changes_to_tracked_files(fakes, tmp_path):
  fakes.add('gcloud', f'case "$*" in *" scp "*) cp "$5" {tmp_path}/sent.tar.gz ;; esac')
  checkout = tmp_path / 'my checkout'
  (checkout / 'launch').mkdir(parents=True)
  shutil.copy(SCRIPT, checkout / 'launch')
  git(checkout, 'init', '--quiet')
  (checkout / 'kept.py').write_text('old')
  (checkout / 'gone.py').write_text('old')
  git(checkout, 'add', '.')
  git(checkout, 'commit', '--quiet', '--message=first')
  (checkout / 'kept.py').write_text('new')
  (checkout / 'gone.py').unlink()
  (checkout / 'notes.txt').write_text('untracked')
  done = fakes.run(checkout / 'launch' / 'tpu_pod.sh', 'copy', *TPU)
  assert done.returncode == 0, done.stderr
  with tarfile.open(tmp_path / 'sent.tar.gz') as sent:
    sent.extractall(tmp_path / 'worker', filter='data')
  names = {path.name for path in (tmp_path / 'worker').iterdir()}
  assert (
    names == {'.git', 'launch', 'kept.py'}
    and (tmp_path / 'worker' / 'kept.py').read_text() == 'new'
  )
  assert git(tmp_path / 'worker', 'rev-parse', 'HEAD') == git(checkout, 'rev-parse', 'HEAD')


def test_copy_outside_a_checkout_is_refused(fakes, tmp_path):
  fakes.add('gcloud')
  shutil.copytree(
    SCRIPT.parent, tmp_path / 'plain' / 'launch', ignore=shutil.ignore_patterns('__pycache__')
  )
  done = fakes.run(
    tmp_path / 'plain' / 'launch' / 'tpu_pod.sh',
    'copy',
    *TPU,
    GIT_CEILING_DIRECTORIES=str(tmp_path),
  )
  assert done.returncode == 2 and 'is no git checkout' in done.stderr and fakes.calls() == []


def git(folder, *arguments):
  identity = ['-c', 'user.name=a', '-c', 'user.email=a@example.com']
  return subprocess.run(
    ['git', *identity, '-C', folder, *arguments], check=True, capture_output=True, text=True
  ).stdout


WORKER = """
for word; do
  case $word in
    --command=*) cd {home} && exec bash -c "${{word#--command=}}" ;;
  esac
done"""


@pytest.fixture
def worker(fakes, tmp_path):
  """Pretends to be a worker: gcloud's ssh runs its text in a home folder where `python` is a fake,
  given as bash text."""
  home = tmp_path / 'home'
  activate = home / 'jaxdistill' / '.venv' / 'bin' / 'activate'
  activate.parent.mkdir(parents=True)
  activate.write_text('')
  fakes.add('gcloud', WORKER.format(home=home))
  return home


def python_calls(fakes):
  return [call for call in fakes.calls() if call[0] == 'python']


def test_arguments_reach_the_launcher_as_they_were_given(fakes, worker):
  fakes.add('python', 'echo output; echo trouble >&2; exit 75')
  done = fakes.run(SCRIPT, 'run', *TPU, '--workdir=runs/my run', '--', *AWKWARD)
  assert done.returncode == 75 and done.stdout == 'output\ntrouble\n'
  assert python_calls(fakes) == [['python', '-m', 'launch.run', '--workdir=runs/my run', *AWKWARD]]
  again = fakes.run(SCRIPT, 'follow', *TPU)
  assert again.returncode == 75 and again.stdout == 'output\ntrouble\n'
  assert (worker / 'jaxdistill' / 'pod' / 'log').read_text() == 'output\ntrouble\n'


def test_a_run_outlives_its_connection_and_is_stopped_by_name(fakes, worker):
  fakes.add('python', "trap 'echo saved; exit 75' TERM; echo began; while :; do sleep 0.1; done")
  process = subprocess.Popen(
    [SCRIPT, 'run', *TPU, *FLAGS],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
    env={'PATH': f'{fakes.bin}:/usr/bin:/bin'},
  )
  assert process.stdout.readline() == 'began\n'
  process.terminate()
  process.wait(10)
  busy = fakes.run(SCRIPT, 'run', *TPU, *FLAGS)
  assert busy.returncode == 2 and 'A run is under way' in busy.stderr
  assert fakes.run(SCRIPT, 'stop', *TPU).returncode == 0
  followed = fakes.run(SCRIPT, 'follow', *TPU)
  assert followed.returncode == 75 and followed.stdout == 'began\nsaved\n'
  idle = fakes.run(SCRIPT, 'stop', *TPU)
  assert idle.returncode == 2 and 'No run is under way' in idle.stderr


def test_a_run_that_was_killed_with_its_shell_reads_as_killed(fakes, worker):
  pod = worker / 'jaxdistill' / 'pod'
  pod.mkdir()
  (pod / 'log').write_text('began\n')
  ended = subprocess.Popen(['true'])
  ended.wait()
  (pod / 'pid').write_text(str(ended.pid))
  assert fakes.run(SCRIPT, 'follow', *TPU).returncode == 137


def test_follow_without_a_run_says_so(fakes, worker):
  done = fakes.run(SCRIPT, 'follow', *TPU)
  assert done.returncode == 2 and 'No run was started' in done.stderr
