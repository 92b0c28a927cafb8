"""A command as a process: its lines reach every terminal, and none that it cannot write to ends
it."""

import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxdistill import terminal
from jaxdistill.synthesis.condensed import Condensed

ROOT = pathlib.Path(__file__).parents[2]
# A command that stands for a run: it speaks, on both streams, and leaves a file.
SPEAKER = """
import pathlib, sys, types
from jaxdistill import terminal
from jaxdistill.commands import console
from jaxdistill.training import progress

def main():
  terminal.watched = lambda: True
  bar = progress.Bar('condense', 3, clock=iter(range(100)).__next__)
  for step in range(1, 4):
    bar.update(step, 0.5)
    terminal.line(f'step {step}: caf\\u00e9, \\u65e5\\u672c, \\udce9, 1 \\u00b1 2')
    print('from a library', file=sys.stderr, flush=True)
  bar.close()
  pathlib.Path(sys.argv[1]).write_text('done')
  return 0

command = types.ModuleType('said')
command.main = main
sys.modules['jaxdistill.commands.said'] = command
console.run('said')
"""


def shell(line, *arguments, environment=None):
  """The process of a shell line in which $@ is Python with arguments."""
  return subprocess.run(
    ['bash', '-c', f'set -o pipefail; {line}', 'bash', sys.executable, *arguments],
    env=os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'} | (environment or {}),
    capture_output=True,
  )


def test_letters_that_the_terminal_lacks_are_written_in_another_way(tmp_path):
  plain = {'LANG': 'C', 'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
  process = shell('"$@"', '-c', SPEAKER, str(tmp_path / 'file'), environment=plain)
  assert process.returncode == 0, process.stderr.decode()
  lines = process.stdout.decode('ascii').splitlines()
  assert lines[0] == 'step 1: caf\\xe9, \\u65e5\\u672c, \\udce9, 1 +-2' and len(lines) == 3
  assert process.stderr.count(b'from a library') == 3
  assert b'condense: 100%' in process.stderr


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize(
  'streams',
  [
    '| true',
    '2>&1 | true',
    '>&-',
    '2>&-',
    '<&- >&- 2>&-',
    '2>/dev/full',
    '>/dev/full 2>/dev/full',
    '>/dev/null',
  ],
)
def test_what_is_done_with_the_output_ends_no_run(tmp_path, streams, unbuffered):
  file = tmp_path / 'file'
  process = shell(
    f'"$@" {streams}', '-c', SPEAKER, str(file), environment={'PYTHONUNBUFFERED': unbuffered}
  )
  assert (process.returncode, file.read_text()) == (0, 'done'), process.stderr.decode()
  assert b'Traceback' not in process.stderr and b'ignored' not in process.stderr


def test_lines_that_are_lost_on_a_full_disk_are_told_of(tmp_path):
  process = shell('"$@" >/dev/full', '-c', SPEAKER, str(tmp_path / 'file'))
  assert process.returncode == 0
  last = process.stderr.decode().splitlines()[-1]
  assert last == 'Lines that were to be printed are lost: No space left on device.'


def test_nothing_that_a_run_opens_gets_the_number_of_a_closed_stream(tmp_path):
  code = (
    'import sys, types; from jaxdistill.commands import console\n'
    'command = types.ModuleType("said")\n'
    f'command.main = lambda: open({str(tmp_path / "log")!r}, "w").fileno()\n'
    'sys.modules["jaxdistill.commands.said"] = command\n'
    'console.run("said")\n'
  )
  assert shell('"$@" <&- >&- 2>&-', '-c', code).returncode > 2


@pytest.mark.parametrize(
  'line, status, said',
  [
    ('"$@" --list | head -n 1', 0, b''),
    ('"$@" --help | true', 0, b''),
    ('"$@" run --help | true', 0, b''),
    ('"$@" evaluate --help | true', 0, b''),
    ('"$@" --list >&-', 0, b''),
    (
      '"$@" --list >/dev/full',
      2,
      b'error: The output cannot be written: No space left on device.\n',
    ),
    ('"$@" --config=nowhere 2>&-', 2, b''),
    ('"$@" --config=nowhere 2>/dev/full', 2, b''),
  ],
)
def test_what_is_only_printed_ends_quietly_where_nobody_reads(line, status, said):
  process = shell(line, '-m', 'jaxdistill')
  assert (process.returncode, process.stderr) == (status, said)


class Broken(io.StringIO):
  """A stream of a user's program whose reader is gone."""

  def write(self, text):
    raise BrokenPipeError(32, 'Broken pipe')


def closed():
  stream = io.StringIO()
  stream.close()
  return stream


@pytest.mark.parametrize('stream', [None, Broken(), closed()])
def test_streams_of_a_users_program_end_nothing(monkeypatch, stream):
  monkeypatch.setattr(sys, 'stdout', stream)
  monkeypatch.setattr(sys, 'stderr', stream)
  terminal.line('hello')
  terminal.complain('hello')
  assert not terminal.watched() and list(terminal.bar([1, 2], 'files')) == [1, 2]


def test_a_users_stream_of_few_letters(monkeypatch):
  content = io.BytesIO()
  monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(content, 'latin-1'))
  terminal.line('caf\u00e9 \u65e5')
  assert content.getvalue() == b'caf\xe9 \\u65e5\n'


TINY = """
--config=dm:digits,factor=2 --compilation_cache=off --config.data.image_size=8
--config.model.width=4 --config.model.depth=1 --config.condensation.batch_real=4
--config.condensation.iterations=4 --config.evaluation.networks=1 --config.evaluation.steps=2
--config.evaluation.baselines=mix --config.run.log_every=1
""".split()


@pytest.mark.slow
def test_a_run_without_anybody_to_speak_to_leaves_what_it_always_does(tmp_path):
  rows = []
  for number, streams in enumerate(['', '| true', '>/dev/full 2>&1', '<&- >&- 2>&-']):
    workdir = tmp_path / str(number)
    process = shell(f'"$@" {streams}', '-m', 'jaxdistill', *TINY, f'--workdir={workdir}')
    assert process.returncode == 0, process.stderr.decode()
    result = json.loads((workdir / 'result.json').read_text())
    rows.append([row['last'] for row in result['rows']])
    assert (workdir / 'report.html').is_file()
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    assert all(json.loads(line)['phase'] for line in lines)
  assert rows[0] == rows[1] == rows[2] == rows[3]


@pytest.mark.slow
def test_a_run_in_a_terminal_of_few_letters_has_all_names_right(tmp_path):
  names = ['Käse', 'weiß', 'Öl', '日本']
  for number, name in enumerate(names):
    folder = tmp_path / 'fotö' / name
    folder.mkdir(parents=True)
    for image in range(4):
      pixels = np.random.RandomState(4 * number + image).randint(0, 256, (8, 8, 3))
      Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{image}.png')
  plain = {'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0'}
  environment = plain | {'PYTHONCOERCECLOCALE': '0'}
  arguments = [f'--config=dm:folder:{tmp_path}/fotö,ipc=1', *TINY[1:], f'--workdir={tmp_path}/run']
  arguments += ['--config.condensation.batch_real=2', '--config.evaluation.networks=2']
  process = shell('"$@"', '-m', 'jaxdistill', *arguments, environment=environment)
  assert process.returncode == 0 and b'Traceback' not in process.stderr, process.stderr.decode()
  lines = process.stdout.decode('ascii').splitlines()
  assert lines[1].startswith(f'folder:{tmp_path}/fot\\xf6 (train): ') and '4 classes' in lines[1]
  table = lines.index(next(line for line in lines if line.startswith('Training set')))
  titles, rule, row, baseline = lines[table : table + 4]
  assert row.startswith('DM') and '+-' in row
  assert len(titles) == len(rule) == len(row) == len(baseline)
  made = Condensed.load(tmp_path / 'run' / 'condensed.npz')
  assert made.class_names == tuple(names) and made.dataset == f'folder:{tmp_path}/fotö'
  page = (tmp_path / 'run' / 'report.html').read_text('utf-8')
  result = json.loads((tmp_path / 'run' / 'result.json').read_text())
  assert all(name in page for name in names) and f'folder:{tmp_path}/fotö' in page
  assert result['dataset'] == f'folder:{tmp_path}/fotö'
  # Another start finds all done and says the same.
  again = shell('"$@"', '-m', 'jaxdistill', *arguments, environment=environment)
  assert again.returncode == 0 and again.stdout.decode('ascii').splitlines()[-5:] == lines[-5:]
