"""Every shell script of the repository passes shellcheck and may be executed where it is meant to
be."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = [*sorted((ROOT / 'launch').glob('*.sh')), *sorted((ROOT / 'launch').glob('*.sbatch'))]
SHELLCHECK = shutil.which(
  'shellcheck', path=os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])
)


@pytest.mark.skipif(
  SHELLCHECK is None, reason='shellcheck is not installed; the extra "test" brings it'
)
@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_is_clean(script):
  done = subprocess.run([SHELLCHECK, script], capture_output=True, text=True)
  assert done.returncode == 0, done.stdout


def test_the_script_for_pods_is_executable():
  assert os.access(ROOT / 'launch' / 'tpu_pod.sh', os.X_OK)
