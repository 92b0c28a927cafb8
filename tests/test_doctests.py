"""The examples in public docstrings run, module by module, and importing the package stays
cheap."""

import doctest
import importlib
import pkgutil
import statistics
import subprocess
import sys

import pytest

import jaxdistill

HEAVY = (
  'tensorflow',
  'tensorflow_datasets',
  'grain',
  'matplotlib',
  'orbax',
  'sklearn',
  'PIL',
  'tqdm',
  'tensorboardX',
)


# Examples that compile for seconds are run with the slow tests.
SLOW = {
  'condensation',
  'condensation.drift',
  'condensation.evaluation',
  'data.augment',
  'data.autoaugment',
  'data.crops',
  'data.eight_bit',
  'data.operations',
  'data.photometric',
  'data.samplers',
  'distillation',
  'fscil',
  'label_noise.folds',
  'losses.banks',
  'losses.discrepancy',
  'losses.distillation',
  'losses.orders',
  'losses.relational',
  'models.convnet',
  'models.mae',
  'models.normalisation',
  'models.weights',
  'models.winograd',
  'robustness.api',
  'synthesis.decode',
}


def public_modules():
  found = pkgutil.walk_packages(jaxdistill.__path__, 'jaxdistill.')
  return [
    'jaxdistill',
    *sorted(
      module.name
      for module in found
      if '._' not in module.name and not module.name.startswith('jaxdistill.configs')
    ),
  ]


def quick_and_slow(names):
  """The names as parameters, those in SLOW among the slow tests."""
  marks = [pytest.mark.slow if name.removeprefix('jaxdistill.') in SLOW else () for name in names]
  return [pytest.param(name, marks=mark) for name, mark in zip(names, marks)]


@pytest.mark.parametrize('name', quick_and_slow(public_modules()))
def test_examples(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # an example may write a file
  results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
  assert results.failed == 0


def run_python(code):
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  return done.stdout.strip()


def test_import_leaves_heavy_packages_alone():
  packages = [name for name in jaxdistill.__all__ if not name.startswith('__')]
  code = f"""
import sys, jaxdistill
for name in {packages}:
  getattr(jaxdistill, name)
print([name for name in {HEAVY} if name in sys.modules])"""
  assert run_python(code) == '[]'


def test_import_costs_at_most_half_a_second_beyond_jax():
  # Processor time of the statement alone: other work on the machine does not count.
  code = (
    'import time, jax; start = time.process_time(); import jaxdistill; '
    'print(time.process_time() - start)'
  )
  assert statistics.median(float(run_python(code)) for _ in range(3)) <= 0.5
