"""Commands of a cluster that only write down how they were called."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]

_RECORDER = """#!{python} -SE
import json, os, sys
with open({calls!r}, 'a') as file:
  file.write(json.dumps([{name!r}, *sys.argv[1:]]) + '\\n')
os.execvp('bash', ['bash', '-c', {script!r}, {name!r}, *sys.argv[1:]])
"""


class Fakes:
  """A folder of commands for the head of PATH; each records its arguments and then runs a text of
  bash with them."""

  def __init__(self, folder: pathlib.Path):
    self.bin, self._calls = folder / 'bin', folder / 'calls.jsonl'
    self.bin.mkdir()

  def add(self, name: str, script: str = 'exit 0') -> None:
    path = self.bin / name
    path.write_text(
      _RECORDER.format(python=sys.executable, calls=str(self._calls), name=name, script=script)
    )
    path.chmod(0o755)

  def calls(self) -> list[list[str]]:
    """Returns [name, argument, ...] of every call so far and forgets them."""
    lines = self._calls.read_text().splitlines() if self._calls.exists() else []
    self._calls.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]

  def run(
    self, *command: str | os.PathLike, cwd: pathlib.Path = ROOT, **environment: str
  ) -> subprocess.CompletedProcess:
    kept = {
      name: value for name, value in os.environ.items() if not name.startswith(('TPU_', 'SLURM_'))
    }
    path = f'{self.bin}:{os.environ["PATH"]}'
    return subprocess.run(
      command,
      cwd=cwd,
      env=kept | {'PATH': path} | environment,
      capture_output=True,
      text=True,
      timeout=60,
    )


@pytest.fixture
def fakes(tmp_path):
  return Fakes(tmp_path)
