"""What runs keep for each other: made once under a key, and made again where it is damaged."""

import pytest

from jaxdistill.experiment import kept
from jaxdistill.training.run import Run


@pytest.fixture
def computed():
  return []


def once(computed, folder, key, **options):
  with Run(progress=False) as run:
    return kept.once(run, folder, key, lambda: computed.append(key) or {'key': key}, **options)


def test_another_run_reads_what_is_there(computed, tmp_path, capsys):
  folder = tmp_path / 'rows'
  assert once(computed, folder, 'a') == once(computed, str(folder), 'a') == {'key': 'a'}
  assert computed == ['a'] and f'read from {folder / "a.json"}' in capsys.readouterr().out
  assert once(computed, folder, 'b') == {'key': 'b'} and computed == ['a', 'b']
  assert sorted(path.name for path in folder.iterdir()) == ['a.json', 'b.json']


def test_without_a_folder_nothing_is_kept(computed, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for folder in ('', None):
    once(computed, folder, 'a')
  assert computed == ['a', 'a'] and list(tmp_path.iterdir()) == []


def test_what_is_damaged_is_made_again(computed, tmp_path, capsys):
  once(computed, tmp_path, 'a')
  (tmp_path / 'a.json').write_text('{')
  assert once(computed, tmp_path, 'a') == {'key': 'a'} and computed == ['a', 'a']
  assert 'damaged' in capsys.readouterr().out
  assert kept.from_json((tmp_path / 'a.json').read_bytes()) == {'key': 'a'}


def test_another_digit_is_noticed_and_files_of_earlier_versions_are_read(
  computed, tmp_path, capsys
):
  once(computed, tmp_path, 'a')
  file = tmp_path / 'a.json'
  file.write_text(file.read_text().replace('"key": "a"', '"key": "b"'))
  assert once(computed, tmp_path, 'a') == {'key': 'a'} and computed == ['a', 'a']
  assert 'is damaged and is written again' in capsys.readouterr().out
  file.write_text('{"key": "old"}')
  assert once(computed, tmp_path, 'a') == {'key': 'old'} and computed == ['a', 'a']


def test_any_form_of_file(computed, tmp_path):
  coding = dict(
    encode=lambda value: value['key'].encode(),
    decode=lambda content: {'key': content.decode()},
    suffix='.txt',
  )
  assert once(computed, tmp_path, 'a', **coding) == once(computed, tmp_path, 'a', **coding)
  assert computed == ['a'] and (tmp_path / 'a.txt').read_text() == 'a'
