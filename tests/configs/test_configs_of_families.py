"""The shipped configs of every family: headers that say what a newcomer needs, fields that are
explained, presets that pass the checks."""

import functools
import importlib
import importlib.util

import pytest

import jaxdistill
from jaxdistill import config
from jaxdistill.errors import UserError
from jaxdistill.experiment import arguments, explain, schema

NAMES = config.names()
# What presets are tried with.
TRIED = {
  'condensation': ('', ',ipc=10', ',quick'),
  'distillation': ('', ',quick'),
  'fscil': (',base_classes=4,way=2,shot=5', ',base_classes=4,way=2,shot=5,quick'),
  'label_noise': ('', ',quick', ',noise=none'),
  'robustness': ('', ',quick', ',norm=l2'),
}


def of_family(name, module):
  """A module of the family of a config."""
  return importlib.import_module(f'jaxdistill.{name.split("/")[0]}.{module}')


@functools.cache
def loaded(name):
  return config.load(name)


@functools.cache
def headers():
  return {entry.name: entry for entry in config.list_configs()}


def with_a_method():
  """The configs of one method that a registry of its family has, with all its fields."""
  families = {name.split('/')[0] for name in NAMES if 'compared' in loaded(name)}
  return [name for name in NAMES if name.split('/')[0] in families and 'method' in loaded(name)]


def tasks():
  pairs = []
  for family in TRIED:
    pairs += [(family, task) for task in of_family(family, 'sections').CONFIGS]
  return pairs


def presets():
  pairs = []
  for name in NAMES:
    pairs += [(name, preset) for preset in of_family(name, 'settings').PRESETS]
  return pairs


def test_every_family_is_tried():
  assert set(TRIED) == set(jaxdistill.FAMILIES) == {name.split('/')[0] for name in NAMES}


@pytest.mark.parametrize('name', NAMES)
def test_a_header_states_description_command_run_time_and_number(name):
  header = headers()[name]
  assert header.description and header.run_time and header.expected
  assert len(header.description) <= 120
  assert header.command.startswith(f'python -m launch.run --config=configs/{name}.py')
  config.load(header.command.partition('--config=')[2].split()[0])


@pytest.mark.parametrize('name', NAMES)
def test_a_header_lists_the_arguments_that_the_config_takes(name):
  path = config.find(name)
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  listed = arguments.listing(module.Arguments)
  assert f'\n\n{listed}\n' in module.__doc__, (
    f'The header of {path} lists other arguments; put these there:\n{listed}'
  )


@pytest.mark.parametrize('family, task', tasks())
def test_every_field_is_explained(family, task):
  shipped = next(
    loaded(name) for name in NAMES if name.startswith(f'{family}/') and loaded(name).task == task
  )
  fields = of_family(family, 'sections').CONFIGS[task]
  open_ones = {item.name for item in schema.declared(fields) if item.is_open}
  keys = {key for key in config.flat(shipped) if key.split('.')[0] not in open_ones}
  explained = set(of_family(family, 'settings').explain(shipped))
  assert keys == explained - (schema.optional(fields).keys() - keys)


@pytest.mark.parametrize('family', jaxdistill.FAMILIES)
def test_the_page_of_fields_is_current(family):
  table = explain.markdown(*of_family(family, 'sections').CONFIGS.values())
  page = config.root() / family / 'FIELDS.md'
  assert table in page.read_text(), f'{page} shows another table; put this one there:\n{table}'


@pytest.mark.parametrize('name, preset', presets())
def test_every_preset_passes_the_checks_that_need_no_data(name, preset):
  family, data = name.split('/')[0], f'{preset}x.npz' if preset.endswith(':') else preset
  checks, fields = of_family(name, 'checks'), of_family(name, 'sections').CONFIGS
  for given in TRIED[family]:
    made = config.load(f'{name}:{data}{given}')
    checks.check_fields(made)
    checks.check_values(made)
    assert made.data.name.startswith(data) and made.family == family
    assert config.from_json(config.to_json(made)) == made
    schema.read(fields[made.task], made)


@pytest.mark.parametrize(
  'family, method',
  [('distillation', 'kd'), ('fscil', 'ncm'), ('label_noise', 'ce'), ('robustness', 'at')],
)
def test_a_comparison_names_each_method_once(family, method):
  name = f'{family}/compare'
  made = config.load(f'{name}:digits,methods={method}+{method}')
  with pytest.raises(UserError, match=f"compared names '{method}' twice"):
    of_family(name, 'checks').check_values(made)


@pytest.mark.parametrize('name', with_a_method())
def test_a_config_shows_all_fields_of_its_method(name):
  method = loaded(name).method
  assert set(method) == {'name', *of_family(name, 'methods').defaults(method.name)}
