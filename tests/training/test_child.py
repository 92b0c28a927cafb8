"""Processes that this one starts: what they print, and their end."""

import subprocess
import sys
import time

import pytest

from jaxdistill.training import child


def start(code):
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  return subprocess.Popen([sys.executable, '-c', code], **pipes)


def test_what_a_process_prints_is_returned_at_its_end():
  process = start("import sys; print('figures'); print('warning', file=sys.stderr)")
  assert child.read(process, seconds=60) == ('figures\n', 'warning\n') and process.returncode == 0


def test_a_process_that_takes_too_long_is_ended_and_what_it_has_printed_is_kept(tmp_path):
  begun = tmp_path / 'begun'
  process = start(
    f"import pathlib, time; print('early', flush=True); pathlib.Path({str(begun)!r}).touch(); "
    "time.sleep(60); print('late')"
  )
  while not begun.exists():
    time.sleep(0.01)
  assert child.read(process, seconds=0) == ('early\n', '') and process.returncode < 0


def test_a_process_is_ended_with_the_block():
  with pytest.raises(RuntimeError), child.ended(start('import time; time.sleep(60)')) as process:
    raise RuntimeError
  assert process.returncode < 0
