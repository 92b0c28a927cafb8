"""What README.md and the pages of the families show is what the code does: their tables of configs,
their commands, and the README's examples, run as a user would."""

import importlib
import json
import pathlib
import re
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdistill
from jaxdistill import config
from jaxdistill.commands import flags as command_flags
from jaxdistill.commands import listing
from jaxdistill.commands import main as door
from jaxdistill.commands import run as launcher
from jaxdistill.condensation import methods
from jaxdistill.errors import UserError
from jaxdistill.training import pretrained

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
PAGES = {
  family: (ROOT / 'configs' / family / 'README.md').read_text() for family in jaxdistill.FAMILIES
}
SMALL = {'model.width': 4, 'model.depth': 1, 'condensation.batch_real': 4}


def test_the_tables_of_configs_are_current():
  """The list of all configs, as `listing.markdown` writes it, divided by its headings."""
  _, *blocks = re.split('^### ', listing.markdown(), flags=re.MULTILINE)
  tables = dict(block.strip().split('\n\n') for block in blocks)
  assert tables.keys() == PAGES.keys() == set(jaxdistill.FAMILIES)
  for family, table in tables.items():
    assert f'\n{table}\n' in PAGES[family], (
      f'configs/{family}/README.md shows another table of configs; put this one there:\n{table}'
    )


@pytest.mark.parametrize('family', PAGES)
def test_readme_names_every_family_and_its_methods(family):
  (row,) = re.findall(
    rf'^\| \[{family}\]\(configs/{family}/README\.md\) \|.*$', README, re.MULTILINE
  )
  module = importlib.import_module(f'jaxdistill.{family}.methods')
  for name, label in module.LABELS.items():
    assert label in row and f'`{family}/{name}`' in PAGES[family]


@pytest.mark.parametrize('path', ['README.md', 'BUILD_NOTES.md', *sorted(PAGES)])
def test_links_lead_somewhere(path):
  path = ROOT / path if path not in PAGES else ROOT / 'configs' / path / 'README.md'
  links = re.findall(r'\]\(([^)#:\s]*)(?:#([^)\s]*))?\)', path.read_text())
  assert links
  for target, anchor in links:
    file = path.parent / target if target else path
    assert file.exists(), target
    if anchor:
      headings = re.findall(r'^#+ (.*)$', file.read_text(), re.MULTILINE)
      anchors = [re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings]
      assert anchor in anchors, f'{target}#{anchor}'


def commands():
  """Returns the words of every `jaxdistill` command of the pages: in code blocks, where a backslash
  continues a line, and between backticks."""
  text = '\n'.join([README, *PAGES.values()])
  lines = re.findall(r'^jaxdistill (?:.*\\\n)*.*$', text, re.MULTILINE)
  lines += re.findall(r'`(jaxdistill [^`\n]*)`', text)
  words = [shlex.split(line.replace('\\\n', ' '), comments=True)[1:] for line in lines]
  return [command for command in words if command[0] != 'COMMAND']


def test_the_table_of_commands_is_current():
  rows = re.findall(r'^\| `jaxdistill (\w+)` \| (.*) \|$', README, re.MULTILINE)
  assert rows == [(name, command.summary) for name, command in door.COMMANDS.items()]


@pytest.mark.parametrize('words', commands(), ids=' '.join)
def test_every_flag_that_readme_names_exists(words):
  """Reads the flags as the command would, and starts nothing."""
  name, words = (words[0], words[1:]) if words[0] in door.COMMANDS else ('run', words)
  cut = words.index('--') if '--' in words else len(words)
  words, forwarded = words[:cut], words[cut + 1 :]
  module = importlib.import_module(f'jaxdistill.commands.{door.COMMANDS[name].module}')
  if name == 'evaluate' and words:
    values, _, rest = command_flags.parse_known(words, module._flags())
    assert config.load(module.spec(values, rest)).sets
  else:
    command_flags.parse(words, module._flags(), ('config', 'grid'))
  command_flags.parse(forwarded, launcher._flags())


def test_commands_of_readme_are_seen():
  seen = {words[0] for words in commands()}
  assert door.COMMANDS.keys() < seen and '--list' in seen and '--config=m3d:digits' in seen


@pytest.fixture
def example(tmp_path, monkeypatch):
  """The two examples of the section 'Add a method' as files; the methods that they register are
  forgotten afterwards."""
  section = README.split('\n## Add a method\n')[1].split('\n## ')[0]
  codes = re.findall(r'```python\n(.*?)```', section, re.DOTALL)
  for name, code in zip(('variance.py', 'trained.py'), codes, strict=True):
    assert len(code.splitlines()) < 60
    (tmp_path / name).write_text(code)
  monkeypatch.chdir(tmp_path)
  shipped = set(methods.METHODS)
  yield
  for name in set(methods.METHODS) - shipped:
    del methods.METHODS[name]


def test_the_added_method_matches_means_and_variances(example):
  assert 'variance' not in methods.METHODS
  loaded = config.load('variance.py:digits,variance=0.5')
  model = jaxdistill.models.build({'name': 'mlp'}, 10, (4, 4, 1))
  plugs = methods.plugs(loaded.method, model, (4, 4, 1))
  # Means 1 and 3, variances 1 and 0: (1 - 3)^2 + 0.5 (1 - 0)^2.
  assert plugs.discrepancy(jnp.array([[0.0], [2.0]]), jnp.array([[3.0], [3.0], [3.0]])) == 4.5
  with pytest.raises(
    UserError, match="no field of method variance 'varianc'; did you mean 'variance'"
  ):
    methods.plugs({'name': 'variance', 'varianc': 1}, model, (4, 4, 1))


@pytest.mark.slow
def test_the_added_method_runs_from_the_command_line(example, tmp_path, capsys):
  assert (
    launcher.main(
      [
        '--config=variance.py:digits,quick,ipc=1',
        '--workdir=made',
        '--no-progress',
        '--no-tensorboard',
        '--compilation_cache=off',
        '--config.evaluation.baselines=',
        '--config.data.image_size=8',
        '--config.condensation.iterations=2',
        *(f'--config.{key}={value}' for key, value in SMALL.items()),
      ]
    )
    == 0
  )
  result = json.loads((tmp_path / 'made' / 'result.json').read_text())
  assert [row['label'] for row in result['rows']] == ['Mean and variance']
  assert 'Mean and variance' in capsys.readouterr().out


def test_the_added_method_condenses_from_python(example):
  train, _ = jaxdistill.data.load('digits', image_size=8)
  made = jaxdistill.condensation.condense(
    train, 'variance.py', ipc=1, iterations=2, quick=True, overrides=SMALL
  )
  assert made.method == 'variance' and made.images.shape == (10, 8, 8, 1)
  start = jaxdistill.condensation.condense(
    train, 'variance.py', ipc=1, overrides=SMALL | {'condensation.iterations': 0}
  )
  assert np.abs(made.images - start.images).max() > 0


def test_the_method_that_wants_networks_draws_from_those(example):
  loaded = config.load('trained.py:digits')
  assert methods.wants(loaded.method) == pretrained.Wanted(5, epochs=20)
  model = jaxdistill.models.build({'name': 'mlp', 'width': 4}, 10, (4, 4, 1))
  drawn = methods.plugs(loaded.method, model, (4, 4, 1)).draw
  numbers = np.arange(5)
  pool = pretrained.Pool({'number': -numbers}, {'number': numbers})
  seen = {int(drawn(pool, jax.random.key(0), step).matching['number']) for step in range(40)}
  assert seen == set(range(5))
  with pytest.raises(UserError, match="no field of method trained 'epoch'; did you mean 'epochs'"):
    methods.wants({'name': 'trained', 'epoch': 3})


@pytest.mark.slow
def test_the_networks_that_a_method_wants_are_trained_once_for_all_runs(example, tmp_path, capsys):
  fields = SMALL | {'method.networks': 2, 'method.steps': 2, 'condensation.iterations': 2}
  only_once = {'evaluation.baselines': '', 'data.image_size': 8, 'data.validation_share': 0}
  changes = [f'--config.{key}={value}' for key, value in (fields | only_once).items()]
  flags = ['--no-progress', '--no-tensorboard', '--compilation_cache=off', '--workdir=runs/first']
  assert launcher.main(['--config=trained.py:digits,quick,ipc=1', *flags, *changes]) == 0
  (kept,) = (tmp_path / 'runs' / 'experts').iterdir()
  capsys.readouterr()
  train, _ = jaxdistill.data.load('digits', image_size=8)
  second = jaxdistill.condensation.condense(
    train, 'trained.py', ipc=1, quick=True, overrides=fields, workdir='runs/second'
  )
  assert f'read from {kept}' in capsys.readouterr().out
  first = tmp_path / 'runs' / 'first'
  assert 'experts' in json.loads((first / 'results' / 'estimate.json').read_text())['result']
  np.testing.assert_array_equal(np.load(first / 'condensed.npz')['images'], second.images)
  lines = (tmp_path / 'runs' / 'second' / 'metrics.jsonl').read_text().splitlines()
  assert {json.loads(line)['phase'] for line in lines} == {'condense'}


def test_a_method_of_ones_own_may_be_replaced_but_none_of_the_package(example):
  config.load('variance.py:digits')
  config.load('variance.py:digits')
  assert (
    list(methods.METHODS).count('variance') == 1
    and methods.LABELS['variance'] == 'Mean and variance'
  )
  with pytest.raises(UserError, match="'m3d' belongs to a condensation method of jaxdistill"):
    methods.register('m3d', methods.find('dm'))
  assert methods.LABELS['m3d'] == 'M3D'


@pytest.mark.slow
def test_the_objective_of_ones_own_trains_and_goes_on(tmp_path, monkeypatch, capsys):
  """As `python focal.py` would; the second start finds all done and says the same."""
  section = README.split('\n## Train with your own loss\n')[1].split('\n## ')[0]
  (code,) = re.findall(r'```python\n(.*?)```', section, re.DOTALL)
  assert len(code.splitlines()) < 60
  monkeypatch.chdir(tmp_path)
  printed = []
  for _ in range(2):
    exec(compile(code, 'focal.py', 'exec'), {'__name__': '__main__'})
    printed.append(capsys.readouterr().out.splitlines()[-1])
  assert printed[0] == printed[1]
  accuracies = np.array(json.loads(printed[0]))
  assert accuracies.shape == (4, 3) and accuracies[-1].min() > 0.8
  lines = (tmp_path / 'runs' / 'focal' / 'metrics.jsonl').read_text().splitlines()
  trained = [line for line in map(json.loads, lines) if line['kind'] == 'train']
  assert trained[-1]['confidence'] > trained[0]['confidence']
  assert trained[-1]['loss'] < trained[0]['loss'] / 2
  for old, new, what in (
    ('import dataclasses', 'import dataclasses', ''),
    ('\nexamples =', '\ntrain = train.take(range(99))\nexamples =', 'images: 1,438 -> 99'),
    ('\nscore =', '\ntest = test.take(range(99))\nscore =', 'test images: 359 -> 99'),
    ('gamma=2.0', 'gamma=3.0', 'other code: the code of the objective has changed'),
  ):
    assert old in code
    try:
      exec(compile(code.replace(old, new), 'focal.py', 'exec'), {'__name__': '__main__'})
    except UserError as error:
      assert what and what in str(error)
    else:
      assert not what
