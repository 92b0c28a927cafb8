"""A command as a process: its lines reach every terminal."""

import os
import subprocess
import sys


def test_letters_that_the_terminal_lacks_are_written_in_another_way():
  code = (
    'import sys, types; from jaxdistill.commands import console\n'
    'command = types.ModuleType("said"); command.main = lambda: print("caf\\u00e9")\n'
    'sys.modules["jaxdistill.commands.said"] = command\n'
    'console.run("said")\n'
  )
  process = subprocess.run(
    [sys.executable, '-c', code],
    env=os.environ | {'PYTHONIOENCODING': 'ascii'},
    capture_output=True,
  )
  assert (process.returncode, process.stdout) == (0, b'caf\\xe9\n'), process.stderr.decode()
