"""The checks that configs of all families share: folders of `run`, and the methods of a config."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from ml_collections import ConfigDict

from jaxdistill.errors import UserError
from jaxdistill.experiment import checking, schema, sections


@dataclasses.dataclass(frozen=True)
class Config:
  width: int = schema.field(4, at_least=1)
  run: sections.Run = sections.Run()
  method: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def config(**fields):
  return ConfigDict({**schema.section(Config()).to_dict(), **fields})


def refuse(method):
  if method['name'] == 'wrong':
    raise UserError('It is wrong.')


def several(**members):
  return ConfigDict(dict(compared=('one', 'two'), members=members))


def test_values_and_folders_are_checked():
  checking.check_values(Config, config())
  checking.check_values(Config, ConfigDict(dict(width=1)))  # without a section `run`
  with pytest.raises(UserError, match='width is 0'):
    checking.check_values(Config, config(width=0))
  wrong = config()
  wrong.run.experts = f'{__file__}/folder'
  with pytest.raises(UserError, match='run.experts is '):
    checking.check_values(Config, wrong)


def test_every_method_of_a_config_is_checked():
  seen = []
  one, two = dict(name='one', weight=1), dict(name='two', weight=2)
  checking.check_methods(several(one=one, two=two, three={}), seen.append, 'one+two')
  checking.check_methods(config(method=one), seen.append, 'one+two')
  assert seen == [one, two, one]


@pytest.mark.parametrize(
  'fields, message',
  [
    (config(method={'name': 'wrong'}), 'It is wrong'),
    (config(method={'nam': 'one'}), 'The learner method needs a field name, which learner it is'),
    (several(one={'name': 'one'}), "no section of members 'two'"),
    (several(one={}, two={'name': 'two'}), 'The learner one needs a field name'),
    (config(method={'name': 'my own'}), "'my own' cannot name a phase or a result"),
    (
      ConfigDict(dict(compared=('my own',), members={'my own': {'name': 'one'}})),
      "'my own' cannot name a phase or a result",
    ),
    (
      ConfigDict(dict(compared=(), members={})),
      'A comparison needs learners: methods=one.two behind the data set',
    ),
  ],
)
def test_a_method_that_is_not_named_or_refused_ends_in_one_sentence(fields, message):
  with pytest.raises(UserError, match=message):
    checking.check_methods(fields, refuse, 'one+two', kind='learner')
