"""What people are told of the fields of a config, see `experiment.schema`."""

import dataclasses
import typing

from jaxdistill.experiment import schema
from jaxdistill.experiment.schema import Field
from jaxdistill.report import tables


def lines(cls: type) -> dict[str, str]:
  """Returns the line of help of every field, those of sections too, by dotted key.

  The choices of a field follow it.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Data:
  ...   stream: str = schema.field('auto', choices=('auto', 'on'), help='read from disk')
  >>> lines(Data)
  {'stream': 'read from disk: auto, on'}
  """
  explained = {}
  for item in schema.flat(cls):
    if item.rule.help:
      choices = ', '.join(map(str, item.rule.choices))
      explained[item.key] = f'{item.rule.help}: {choices}' if choices else item.rule.help
  return explained


def markdown(*classes: type) -> str:
  """Returns the fields of sections or whole configs as a Markdown table; of several classes, each
  key once.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Data:
  ...   share: float = schema.field(at_least=0, below=1, help='held out')
  ...   stream: str = schema.field('auto', choices=('auto', 'on'), help='read from disk')
  >>> print(markdown(Data))
  | Field | Default | Values | Meaning |
  |:---|:---|:---|:---|
  | `share` |  | a number from 0, below 1 | held out |
  | `stream` | `'auto'` | auto, on | read from disk |
  """
  fields = {}
  for cls in classes:
    for item in schema.flat(cls):
      fields.setdefault(item.key, item)
  rows = [
    {
      'key': f'`{key}`',
      'default': '' if item.default is dataclasses.MISSING else f'`{item.default!r}`',
      'values': _values_text(item),
      'help': item.rule.help,
    }
    for key, item in fields.items()
  ]
  titles = {'key': 'Field', 'default': 'Default', 'values': 'Values', 'help': 'Meaning'}
  return tables.markdown(rows, titles.items())


def _values_text(item: Field) -> str:
  """Returns what a field may be, in words."""
  rule = item.rule
  if rule.choices:
    return ', '.join(map(str, rule.choices))
  words, _ = schema.TYPES[typing.get_origin(item.type) or item.type]
  least = '' if rule.at_least is None else f' from {rule.at_least}'
  return f'{words}{least}' + ('' if rule.below is None else f', below {rule.below}')
