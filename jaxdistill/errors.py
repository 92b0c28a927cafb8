"""The one exception for mistakes that the user can mend, and the sentences for a name that does not
exist and for a number that cannot be."""

import difflib
import numbers
from collections.abc import Iterable

_MANY = 20
_LONG = 160  # letters of a name that are told
SEEDS = 2**32  # a seed is a number of 32 bits


class UserError(Exception):
  """A mistake in a config, a data set, a file or a value, told in one sentence: what was wrong and
  what would be right. On one line, whatever the names in it hold.

  >>> str(UserError('The key a' + chr(10) + 'b is unknown.'))
  'The key a b is unknown.'
  """

  def __str__(self) -> str:
    return ' '.join(super().__str__().splitlines())


def shown(path: object) -> str:
  """Returns a path as text for a sentence: one line, whatever bytes the name has.

  >>> shown('a\\nb' + chr(0xDCE9) + '.png')
  'a\\\\nb\\\\xe9.png'
  """
  text = str(path)
  try:
    content = text.encode('utf-8', 'surrogateescape')
  except UnicodeError:  # no name of a file, but of a class in a file that anything may hold
    content = text.encode('utf-8', 'backslashreplace')
  text = content.decode('utf-8', 'backslashreplace')
  return ''.join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def brief(text: object, most: int = 160) -> str:
  """Returns a text, such as that of a foreign error, as part of a sentence: on one line, cut where
  it is long.

  >>> brief('two\\nlines'), brief('abcdefgh', most=6)
  ('two lines', 'abc...')
  """
  line = ' '.join(str(text).split())
  if not line and isinstance(text, BaseException):
    line = type(text).__name__
  return line if len(line) <= most else f'{line[: most - 3]}...'


def unknown(kind: str, name: object, valid: Iterable[str]) -> UserError:
  """Returns the error for a `name` that is none of the `valid` ones, with the nearest of them; long
  lists are left out.

  >>> unknown('data set', 'cifar', ['cifar10', 'digits'])
  UserError("There is no data set 'cifar'; did you mean 'cifar10'? Valid: cifar10, digits.")
  """
  valid = sorted(filter(None, map(str, valid)))  # '' is for what is left out
  spelt = {word.lower(): word for word in valid}
  name = str(name)
  shown = name if len(name) <= _LONG else f'{name[:_LONG]}...'
  near = difflib.get_close_matches(name[:_LONG].lower(), spelt, n=1, cutoff=0.5)
  hint = f'; did you mean {spelt[near[0]]!r}?' if near else '.'
  listed = '' if near and len(valid) > _MANY else f' Valid: {", ".join(valid)}.'
  return UserError(f'There is no {kind} {shown!r}{hint}{listed}')


def whole(name: str, value: object, at_least: int = 0, below: int | None = None) -> int:
  """Returns a count, or another whole number, as an int; NumPy's whole numbers are ones too.

  Args:
    name: of the number, for people.
    value: to check.
    at_least: the least that makes sense.
    below: the first that is too large; None: none is.

  Raises:
    UserError: the value is no whole number (True and 2.0 are none), or out of range.

  >>> whole('ipc', 10, at_least=1)
  10
  >>> whole('ipc', 0, at_least=1)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: ipc is 0; it must be at least 1.
  """
  whole_numbers(**{name: value})
  if value < at_least:
    raise UserError(f'{name} is {value}; it must be at least {at_least}.')
  if below is not None and value >= below:
    raise UserError(f'{name} is {value}; it must be below {below}.')
  return int(value)


def whole_numbers(**values: object) -> None:
  """Raises `UserError` for the first of the values, by name, that is no whole number.

  >>> whole_numbers(epochs=3, batch=2.5)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: batch is 2.5; it must be a whole number.
  """
  for name, value in values.items():
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
      raise UserError(f'{name} is {value!r}; it must be a whole number.')


def real_numbers(**values: object) -> None:
  """Raises `UserError` for the first of the values, by name, that is no number; NaN is none.

  Numbers of NumPy and JAX are ones, those inside a compiled function too.

  >>> real_numbers(momentum=0, share='half')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: share is 'half'; it must be a number.
  """
  for name, value in values.items():
    plain = isinstance(value, numbers.Real) and not isinstance(value, bool)
    array = getattr(getattr(value, 'dtype', None), 'kind', 'f' if plain else '') in ('i', 'u', 'f')
    if not array or plain and value != value:
      raise UserError(f'{name} is {value!r}; it must be a number.')


def positive_numbers(**values: object) -> None:
  """Raises `UserError` for the first of the values, by name, that is no number above 0. Of an array
  of JAX, which may stand for numbers that a compiled function gets, it is not asked which it holds.

  >>> positive_numbers(temperature=0)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: temperature is 0; it must be above 0.
  """
  real_numbers(**values)
  for name, value in values.items():
    if isinstance(value, numbers.Real) and value <= 0:
      raise UserError(f'{name} is {value}; it must be above 0.')


def seed(value: object) -> int:
  """Returns a seed as an int, see `whole`: from 0 to 2^32 - 1.

  >>> seed(-1)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: seed is -1; it must be at least 0.
  """
  return whole('seed', value, below=SEEDS)
