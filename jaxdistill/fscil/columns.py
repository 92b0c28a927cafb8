"""What tables say of this family's runs: the columns of a finished run, and of its page."""

from collections.abc import Mapping
from typing import Any

from jaxdistill.report import numbers


def points(value: Mapping[str, Any] | None) -> str:
  """Writes a difference of accuracies, or another number that may be negative, in percentage
  points.

  >>> points(dict(mean=-0.0213, std=0.004, n=5)), points(None)
  ('-2.1 ± 0.4', '–')
  """
  if value is None or value.get('mean') is None:
    return numbers.MISSING
  text = f'{100 * value["mean"]:.1f}'
  spread = value.get('std')
  return f'{text} ± {100 * spread:.1f}' if spread and value.get('n', 2) > 1 else text


def gained(interval: Mapping[str, float] | None) -> str:
  """Writes a paired difference with its interval in percentage points.

  >>> gained(dict(mean=0.012, standard_error=0.004, low=0.002, high=0.022, n=5))
  '+1.2 [+0.2, +2.2]'
  """
  if not interval:
    return numbers.MISSING
  mean, low, high = (100 * interval[name] for name in ('mean', 'low', 'high'))
  return f'{mean:+.1f} [{low:+.1f}, {high:+.1f}]'


# What a finished run prints.
RESULT = (
  ('label', 'Learner'),
  ('average', 'Average (%)', 'accuracy'),
  ('last', 'Last (%)', 'accuracy'),
  ('base', 'Base (%)', 'accuracy'),
  ('novel', 'Novel (%)', 'accuracy'),
  ('hm', 'HM (%)', 'accuracy'),
  ('pd', 'PD', points),
  ('seconds', 'Sessions', 'seconds'),
)
