"""A work dir whose files are not as they were left: read right, told, or refused in a sentence."""

import json

import pytest

from jaxdistill.errors import UserError
from jaxdistill.training.run import Run

CONFIG = {'seed': 0, 'run': {'keep': 2}}
LINE = dict(phase='train', step=1, kind='train', seconds=0.5, loss=0.25)


def opened(workdir, **options):
  return Run(workdir, CONFIG, progress=False, tensorboard=False, **options)


@pytest.fixture
def workdir(tmp_path):
  """A work dir with two logged steps, an evaluation and a kept result."""
  with opened(tmp_path / 'run') as run:
    run.log('train', 1, {'loss': 0.5})
    run.log('train', 2, {'loss': 0.25})
    run.log('train', 2, {'accuracy': 0.75}, 'evaluate')
    assert run.once('numbers/answer', lambda: 0.1) == 0.1
  return tmp_path / 'run'


def steps(run):
  return [line['step'] for line in run.curve('train') + run.history('train')]


@pytest.mark.parametrize(
  'rest', [b'{"phase": "train", "st', b'\xff\xfe\x00', b'[' * 5000, b'{"a": "' + b'x' * 10**6]
)
def test_a_line_that_was_never_finished_is_left_out(workdir, capsys, rest):
  file = workdir / 'metrics.jsonl'
  before = file.read_bytes()
  file.write_bytes(before + rest)
  with opened(workdir) as run:
    assert steps(run) == [1, 2, 2]
  assert file.read_bytes() == before and capsys.readouterr().out == ''


@pytest.mark.parametrize(
  'line',
  [
    b'',
    b'\x00' * 40,
    b'null',
    b'[1, 2]',
    b'{"phase": "train"}',
    b'[' * 5000,
    json.dumps(LINE | {'step': '2'}).encode(),
    json.dumps(LINE | {'seconds': None}).encode(),
    json.dumps(LINE | {'loss': float('nan')}).encode(),
    json.dumps(LINE).encode().replace(b'0.25', b'1e999'),
    json.dumps(LINE).encode().replace(b'0.25', b'9' * 5000),
  ],
)
def test_lines_that_are_none_are_told_and_left_out(workdir, capsys, line):
  file = workdir / 'metrics.jsonl'
  before = file.read_bytes()
  file.write_bytes(line + b'\n' + before)
  with opened(workdir) as run:
    assert steps(run) == [1, 2, 2]
  assert file.read_bytes() == before
  assert capsys.readouterr().out == f'{file}: lines that cannot be read, left out: 1.\n'


@pytest.mark.parametrize(
  'content', ['', '{', 'null', '[' * 5000, '{"result": 0.2, "sha256": ""}', '{"reslt": 0.1}', '0.1']
)
def test_a_damaged_result_is_computed_again_and_told(workdir, capsys, content):
  file = workdir / 'results' / 'numbers' / 'answer.json'
  file.write_text(content)
  with opened(workdir) as run:
    assert run.once('numbers/answer', lambda: 0.3) == 0.3
  assert capsys.readouterr().out == f'{file} is damaged and is written again.\n'
  with opened(workdir) as run:
    assert run.once('numbers/answer', lambda: 0.4) == 0.3


def test_another_digit_in_a_result_is_noticed(workdir, capsys):
  file = workdir / 'results' / 'numbers' / 'answer.json'
  file.write_text(file.read_text().replace('0.1', '0.7'))
  with opened(workdir) as run:
    assert run.once('numbers/answer', lambda: 0.1) == 0.1
  assert 'is damaged' in capsys.readouterr().out


def test_a_result_of_an_earlier_version_is_read(workdir, capsys):
  (workdir / 'results' / 'numbers' / 'answer.json').write_text('{"result": 0.1}')
  with opened(workdir) as run:
    assert run.once('numbers/answer', lambda: 0.3) == 0.1
  assert capsys.readouterr().out == ''


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'3', b'null', b'\xff', b'[' * 5000])
def test_a_damaged_config_is_told_and_written_again(workdir, capsys, content):
  (workdir / 'config.json').write_bytes(content)
  with opened(workdir):
    pass
  assert capsys.readouterr().out == f'{workdir / "config.json"} is damaged and is written again.\n'
  assert json.loads((workdir / 'config.json').read_text()) == CONFIG


@pytest.mark.parametrize(
  'content',
  [b'', b'{', b'[]', b'3', b'{"pid": 1}', b'{"pid": "x", "host": "h"}', b'\xff', b'[' * 5000],
)
def test_a_damaged_lock_holds_nothing(workdir, content):
  (workdir / 'run.lock').write_bytes(content)
  with opened(workdir) as run:
    assert steps(run) == [1, 2, 2]


@pytest.mark.parametrize('name', ['config.json', 'metrics.jsonl', 'run.lock', 'environment.json'])
def test_a_folder_in_place_of_a_file_is_refused_by_name(workdir, name):
  (workdir / name).unlink(missing_ok=True)
  (workdir / name).mkdir()
  with pytest.raises(UserError) as caught:
    opened(workdir)
  assert name in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('kind', ['file', 'dead link', 'in a file', 'too long', 'null byte'])
def test_a_place_that_can_be_no_folder_is_refused(tmp_path, kind):
  place = tmp_path / 'place'
  if kind == 'dead link':
    place.symlink_to(tmp_path / 'nowhere' / 'deeper')
  else:
    place.write_text('')
  names = {'in a file': 'place/run', 'too long': 'x' * 300, 'null byte': 'a\0b'}
  with pytest.raises(UserError, match='The work dir .* cannot be written'):
    opened(tmp_path / names.get(kind, 'place'))


def test_a_name_that_is_no_text_is_refused_before_anything_is_made(tmp_path):
  with pytest.raises(UserError, match='The name of the work dir .* is no UTF-8'):
    opened(tmp_path / 'w\udce9')
  # As a process sees the name that has no locale for it.
  with pytest.raises(UserError, match='The name .*/läufe has letters that the locale here lacks'):
    opened(tmp_path / 'l\udcc3\udca4ufe')
  assert list(tmp_path.iterdir()) == []


def test_an_unreadable_kept_file_is_made_again(workdir, tmp_path, capsys, monkeypatch):
  file = tmp_path / 'kept.bin'
  file.write_bytes(b'old')
  with opened(workdir) as run:
    for decode in (lambda content: {}[content], lambda content: None + content):
      value = run.kept(file, lambda: b'new', lambda value: value, decode)
      assert value == b'new' and file.read_bytes() == b'new'
  assert capsys.readouterr().out.count(f'{file} is damaged and is written again.') == 2
