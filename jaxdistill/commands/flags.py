"""Flags of a command: how they are written, which of them every command has, and what is said of a
wrong one."""

import re
import textwrap
from collections.abc import Callable, Sequence

from absl import flags

from jaxdistill.commands import streams
from jaxdistill.errors import UserError, brief, unknown


def parse(
  argv: Sequence[str], values: flags.FlagValues, sections: Sequence[str] = ('config',)
) -> tuple:
  """Splits the command line into flags and, for every section of dotted flags, its list [(key,
  text), ...].

  Flags may be written with - or _ and one or two dashes; `--no-progress` and `--noprogress` both
  work.

  Args:
    argv: the arguments without the program's name.
    values: the flags there are.
    sections: what may have a key behind a dot: a run has `config`, whose list holds the overrides.

  Returns:
    (values, a list for every section).

  Raises:
    UserError: for an unknown flag, with the nearest valid name, for a value of the wrong type and
      for an argument that belongs to no flag.

  >>> values = flags.FlagValues()
  >>> define_common(values)
  >>> values, overrides = parse(['--config.seed=1', '--no-progress'], values)
  >>> values.progress, overrides
  (False, [('seed', '1')])
  """
  values, *dotted, rest = parse_known(argv, values, sections)
  for argument in rest:
    if argument.startswith('-'):
      raise unknown_flag(argument, values, sections)
  if rest:
    hint = '; a config is named with --config=NAME' if 'config' in sections else ''
    raise UserError(f'The argument {rest[0]!r} belongs to no flag{hint}.')
  return values, *dotted


def parse_known(
  argv: Sequence[str], values: flags.FlagValues, sections: Sequence[str] = ('config',)
) -> tuple:
  """Does what `parse` does, and hands back what is no flag where that refuses it: (values, a list
  for every section, arguments).

  >>> values = flags.FlagValues()
  >>> define_common(values)
  >>> parse_known(['a.npz', '--devices=2', '--recipe=idc'], values)[-1]
  ['a.npz', '--recipe=idc']
  """
  dotted, rest = {section: [] for section in sections}, []
  arguments = iter(argv)
  for argument in arguments:
    match = re.match(r'--?(\w+)\.([^=]*)(=.*)?$', argument, re.DOTALL)
    if match and match[1] in sections:
      text = match[3][1:] if match[3] else next(arguments, None)
      if text is None:
        raise UserError(f'{argument} needs a value: {argument}=VALUE.')
      dotted[match[1]].append((match[2], text))
    else:
      rest.append(_spelling(argument, values))
  values.set_gnu_getopt()  # a flag may stand behind what is none
  try:
    unparsed = values(['jaxdistill', *rest], known_only=True)[1:]
  except flags.IllegalFlagValueError as error:
    name, value = re.match(r'flag --(\w+)=(.*?): ', str(error), re.DOTALL).groups()
    needs = (
      'true or false'
      if values[name].boolean
      else f'a whole number from {values[name].parser.lower_bound} up'
    )
    raise UserError(f'--{name} needs {needs}, not {brief(value)!r}.') from None
  except flags.Error as error:
    raise UserError(brief(error).removeprefix('ERROR:: ').rstrip('.') + '.') from None
  except UnicodeError:
    raise UserError('The file that --flagfile names is no text; give one flag a line.') from None
  return values, *dotted.values(), unparsed


def unknown_flag(
  argument: str, values: flags.FlagValues, sections: Sequence[str] = ('config',)
) -> UserError:
  """Returns the error for an argument that is none of the flags, with the nearest of them."""
  valid = [*(f'--{section}.KEY' for section in sections), *(f'--{name}' for name in names(values))]
  return unknown('flag', argument.partition('=')[0], valid)


def define_common(values: flags.FlagValues) -> None:
  """Adds the flags that say how to run, whatever is run."""
  at = dict(flag_values=values)
  flags.DEFINE_integer(
    'devices',
    None,
    'How many devices to use (default: all); the result does not depend on it.',
    lower_bound=1,
    **at,
  )
  flags.DEFINE_boolean(
    'progress', True, 'Tell the progress: a bar in a terminal, else a line every 30 s.', **at
  )
  flags.DEFINE_boolean('tensorboard', True, 'Write TensorBoard events beside metrics.jsonl.', **at)
  flags.DEFINE_string(
    'compilation_cache',
    'on',
    'Keeps compiled programs for later starts: on (a private folder), off, or a '
    'folder, writable by you alone.',
    **at,
  )
  flags.DEFINE_boolean(
    'profile',
    False,
    'Trace some steps of every phase into WORKDIR/profile and tell where their time went.',
    **at,
  )
  flags.DEFINE_string(
    'coordinator',
    None,
    'HOST:PORT of process 0, where several processes work together and are neither on '
    'Cloud TPU nor tasks of Slurm, which need none of these three.',
    **at,
  )
  flags.DEFINE_integer('num_processes', None, 'How many processes there are.', lower_bound=1, **at)
  flags.DEFINE_integer('process_id', None, 'Which of them this is, from 0.', lower_bound=0, **at)
  flags.DEFINE_boolean('help', False, 'Show this.', short_name='h', **at)


def names(values: flags.FlagValues) -> list[str]:
  """Returns the flags of a command in the order of their definition; absl adds two of its own to
  every registry."""
  return [name for name in values if name not in ('flagfile', 'undefok', 'h')]


def _spelling(argument: str, values: flags.FlagValues) -> str:
  """Rewrites '--dry-run' to '--dry_run' and '--no-progress' to '--noprogress'."""
  name, equals, value = argument.partition('=')
  if not name.startswith('-'):
    return argument
  stem = name.lstrip('-').replace('-', '_')
  if (
    stem not in values
    and stem.startswith('no_')
    and stem[3:] in values
    and values[stem[3:]].boolean
  ):
    stem = f'no{stem[3:]}'
  return f'--{stem}{equals}{value}' if stem else argument


def forwarding(
  argv: Sequence[str],
  values: flags.FlagValues,
  usage: str,
  start: Callable[[flags.FlagValues, list[str]], int],
) -> int:
  """Returns start(flags, the arguments of the command that it starts): they follow the first `--`.

  Shows the help instead, and returns 0, where that is asked for.

  >>> values = flags.FlagValues()
  >>> define_common(values)
  >>> forwarding(['--devices=2', '--', '--config=m3d'], values, '', lambda values,
  ...   forwarded: print(values.devices, forwarded) or 0)
  2 ['--config=m3d']
  0
  """
  cut = argv.index('--') if '--' in argv else len(argv)
  (values,) = parse(argv[:cut], values, sections=())
  if values.help:
    streams.show(help_text(values, usage))
    return 0
  return start(values, list(argv[cut + 1 :]))


def help_text(values: flags.FlagValues, usage: str) -> str:
  """Returns the usage with a few examples and one entry a flag."""
  lines = [usage]
  for name in names(values):
    flag = values[name]
    shown = (
      f'--[no]{name}'
      if flag.boolean and flag.default
      else f'--{name}'
      if flag.boolean
      else f'--{name}=...'
    )
    lines += textwrap.wrap(
      f'{shown:<24} {flag.help}', 100, initial_indent='  ', subsequent_indent=' ' * 27
    )
  return '\n'.join(lines)
