"""Five hundred damaged inputs, each read right or refused in a sentence."""

import json
import pathlib
import random
import subprocess
import sys

import damage
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def fuzz(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'tests.fuzz', *arguments], cwd=ROOT, capture_output=True, text=True
  )


def test_no_damaged_input_is_read_wrong_or_ends_in_a_traceback():
  done = fuzz('--count=500', '--seed=1')
  assert done.returncode == 0, done.stdout + done.stderr
  last = done.stdout.splitlines()[-1]
  assert last.startswith('500 inputs with seed 1: 0 findings')
  counts = {}
  for line in done.stdout.splitlines()[:-1]:
    outcome, count = line[13:].split('  ')[0].strip(), int(line.split()[-1])
    counts[outcome] = counts.get(outcome, 0) + count
  assert sum(counts.values()) == 500
  # The damage is neither always fatal nor never.
  assert min(counts['right'], counts['refused'], counts['told']) > 20


def test_a_number_repeats_its_input():
  runs = [fuzz('--only=7', '--seed=1').stdout.splitlines()[0] for _ in range(2)]
  assert runs[0] == runs[1] and runs[0].startswith('--only=7 ')


@pytest.mark.parametrize('kind', [*damage.KINDS, 'token'])
def test_every_kind_of_damage_changes_files(kind):
  content = json.dumps({'a': [1, 2.5], 'b': 'text'} | {f'k{n}': n for n in range(50)}).encode()
  functions = {**damage.KINDS, 'token': damage.token}
  changed = 0
  for number in range(20):
    result = functions[kind](content, random.Random(number), [content[::-1]])
    assert isinstance(result, bytes)
    changed += result != content
  assert changed >= 12
