"""Sections of configs declared as dataclasses: what is refused and with which words, values to and
from configs, and what is told of a field."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill.errors import UserError
from jaxdistill.experiment import explain, schema


@dataclasses.dataclass(frozen=True)
class Storage:
  size: int = schema.field(at_least=1, help='stored images')
  order: str = schema.field('joint', key='update', choices=('joint', 'alone'), help='of the steps')
  rate: float = schema.field(0.5, at_least=0, below=1)
  views: str = schema.field('crop_flip', choices=('crop', 'flip'), separator='_', kind='view')
  rows: tuple[str, ...] = schema.field((), choices=('random', 'whole'), kind='row')
  plain: bool = schema.field(False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
  seed: int = schema.field(0, at_least=0, help='of everything')
  storage: Storage
  model: Mapping[str, Any]


@pytest.fixture
def config():
  return schema.section(Whole(storage=Storage(size=3), model={'name': 'mlp', 'width': 4}))


def test_a_value_becomes_a_config_and_comes_back(config):
  assert config.to_dict() == dict(
    seed=0,
    storage=dict(size=3, update='joint', rate=0.5, views='crop_flip', rows=(), plain=False),
    model=dict(name='mlp', width=4),
  )
  again = schema.read(Whole, configs.from_json(configs.to_json(config)))
  assert again.storage == Storage(size=3) and dict(again.model) == dict(name='mlp', width=4)
  schema.check_fields(Whole, config)
  schema.check_values(Whole, config)


def test_a_list_names_each_choice_once(config):
  config.storage.rows = ('random', 'whole', 'random')
  with pytest.raises(UserError, match="storage.rows names 'random' twice"):
    schema.check_values(Whole, config)


def test_an_optional_field_may_be_lacking_and_is_checked_where_it_is_there():
  @dataclasses.dataclass(frozen=True)
  class Later:
    size: int = schema.field(1)
    way: str = schema.field('old', choices=('old', 'new'), optional=True)

  lacking, new = ConfigDict(dict(size=2)), ConfigDict(dict(size=2, way='new'))
  for config, value in ((lacking, Later(2)), (new, Later(2, 'new'))):
    schema.check_fields(Later, config)
    schema.check_values(Later, config)
    assert schema.read(Later, config) == value
  new.way = 'newer'
  with pytest.raises(UserError, match="no way 'newer'; did you mean 'new'"):
    schema.check_values(Later, new)
  with pytest.raises(UserError, match='lacks size'):
    schema.check_fields(Later, ConfigDict(dict(way='new')))


def test_what_is_read_is_frozen_and_follows_the_config_no_more(config):
  config.storage['update'] = 'alone'
  value = schema.read(Whole, config)
  config.storage['update'] = 'joint'
  config.model.width = 8
  assert value.storage.order == 'alone' and value.model['width'] == 4
  with pytest.raises(dataclasses.FrozenInstanceError):
    value.seed = 1
  with pytest.raises(TypeError):
    value.model['width'] = 2


@pytest.mark.parametrize(
  'key, value, words',
  [
    ('storage.size', 0, 'storage.size is 0; it must be at least 1.'),
    ('storage.size', 'ten', "storage.size is 'ten'; it must be a whole number."),
    ('storage.size', True, 'storage.size is True; it must be a whole number.'),
    ('storage.size', 1.5, 'storage.size is 1.5; it must be a whole number.'),
    ('storage.rate', 1.0, 'storage.rate is 1.0; it must be below 1.'),
    ('storage.rate', 'fast', "storage.rate is 'fast'; it must be a number."),
    ('storage.rate', float('nan'), 'storage.rate is nan; it must be a finite number.'),
    ('storage.rate', float('-inf'), 'storage.rate is -inf; it must be a finite number.'),
    ('storage.plain', 1, 'storage.plain is 1; it must be true or false.'),
    ('storage.rows', 'random', "storage.rows is 'random'; it must be a list of texts."),
    ('storage.rows', ('random', 'hole'), "There is no row 'hole'; did you mean 'whole'?"),
    ('storage.views', 'crop_flop', "There is no view 'flop'; did you mean 'flip'?"),
    ('storage.update', 'jiont', "There is no storage.update 'jiont'; did you mean 'joint'?"),
    ('seed', -1, 'seed is -1; it must be at least 0.'),
  ],
)
def test_values_are_refused_in_one_sentence(config, key, value, words):
  fields = config.to_dict()
  section = fields['storage'] if key.startswith('storage.') else fields
  section[key.rpartition('.')[2]] = value
  with pytest.raises(UserError) as refusal:
    schema.check_values(Whole, ConfigDict(fields))
  assert str(refusal.value).startswith(words)


@pytest.mark.parametrize(
  'key, value', [('storage.rate', 0), ('storage.views', ''), ('storage.rows', ['whole'])]
)
def test_values_that_need_no_conversion_pass(config, key, value):
  fields = config.to_dict()
  fields['storage'][key.rpartition('.')[2]] = value
  schema.check_values(Whole, ConfigDict(fields))
  assert isinstance(schema.read(Whole, ConfigDict(fields)).storage.rows, tuple)


def test_fields_too_much_and_too_few_are_named(config):
  config.storage.sise = 3
  with pytest.raises(UserError, match="no config key 'storage.sise'; did you mean 'storage.size'"):
    schema.check_fields(Whole, config)
  del config.storage['sise'], config.storage['size'], config.storage['rate']
  for refuse in (schema.check_fields, schema.read):
    with pytest.raises(UserError, match='^The config lacks storage.rate, storage.size.$'):
      refuse(Whole, config)
  schema.check_values(Whole, config)  # of the fields that are there
  plain = ConfigDict(dict(seed=0, storage=3, model=dict()))
  with pytest.raises(UserError, match='storage is 3; it must be a section of fields'):
    schema.check_fields(Whole, plain)


def test_an_open_section_takes_any_field(config):
  config.model.depth = 'deep'
  schema.check_fields(Whole, config)
  schema.check_values(Whole, config)


def test_one_section_may_serve_two_readers(config):
  @dataclasses.dataclass(frozen=True)
  class Size:
    size: int = schema.field(at_least=1)

  assert schema.read(Size, config.storage) == Size(3)


def test_every_field_is_explained_by_its_key_in_the_config():
  assert explain.lines(Whole) == {
    'seed': 'of everything',
    'storage.size': 'stored images',
    'storage.update': 'of the steps: joint, alone',
  }
