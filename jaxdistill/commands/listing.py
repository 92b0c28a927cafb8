"""The shipped configs, family by family, for a terminal and for Markdown."""

import itertools

from jaxdistill import config as configs

_AFTER_LIST = """\
Start one with --config=NAME, with a data set and arguments behind a colon:
--config=m3d:cifar10,ipc=10. The family may be left out. Times and numbers are those of the
command at the top of the config, for the data set named there."""


def families() -> dict[str, list[configs.Entry]]:
  """Returns the shipped configs of every family, in the order of their names.

  >>> [entry.name for entry in families()['condensation']][-1]
  'condensation/m3d'
  """
  entries = itertools.groupby(configs.list_configs(), lambda entry: entry.name.rpartition('/')[0])
  return {family: list(members) for family, members in entries}


def text() -> str:
  """Returns a heading a family and below it a paragraph a config: its name, what it does, run time
  and expected number.

  >>> print(text().splitlines()[0])
  condensation
  """
  blocks = []
  for family, entries in families().items():
    blocks.append(f'{family}\n{"=" * len(family)}')
    blocks += [
      f'{entry.name}\n  {entry.description}\n  Run time: {entry.run_time}\n  Expected: '
      f'{entry.expected}'
      for entry in entries
    ]
  return '\n\n'.join([*blocks, _AFTER_LIST])


def markdown() -> str:
  """Returns a heading a family and below it a Markdown table: name, what it does, run time and
  expected number of its command.

  >>> print(markdown().splitlines()[2])
  | Config | What it does | Run time | Expected |
  """
  from jaxdistill.report import tables

  columns = [
    ('name', 'Config'),
    ('description', 'What it does'),
    ('run_time', 'Run time'),
    ('expected', 'Expected'),
  ]
  blocks = []
  for family, entries in families().items():
    rows = [entry._asdict() | {'name': f'`{entry.name}`'} for entry in entries]
    blocks += [f'### {family}', tables.markdown(rows, columns)]
  return '\n\n'.join(blocks)
