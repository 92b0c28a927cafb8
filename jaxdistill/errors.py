"""The one exception for mistakes that the user can mend, and the sentence for a name that does not
exist."""

import difflib
from collections.abc import Iterable

_MANY = 20


class UserError(Exception):
  """A mistake in a config, a data set, a file or a value, told in one sentence: what was wrong and
  what would be right."""


def unknown(kind: str, name: object, valid: Iterable[str]) -> UserError:
  """Returns the error for a `name` that is none of the `valid` ones, with the nearest of them; long
  lists are left out.

  >>> unknown('data set', 'cifar', ['cifar10', 'digits'])
  UserError("There is no data set 'cifar'; did you mean 'cifar10'? Valid: cifar10, digits.")
  """
  valid = sorted(map(str, valid))
  spelt = {word.lower(): word for word in valid}
  near = difflib.get_close_matches(str(name).lower(), spelt, n=1, cutoff=0.5)
  hint = f'; did you mean {spelt[near[0]]!r}?' if near else '.'
  listed = '' if near and len(valid) > _MANY else f' Valid: {", ".join(valid)}.'
  return UserError(f'There is no {kind} {str(name)!r}{hint}{listed}')
