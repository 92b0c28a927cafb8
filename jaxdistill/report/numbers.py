"""How a number is written for people: durations, sizes in memory, large counts, plain numbers,
accuracies.

Every function takes None for a value that is not there and writes a dash for it; a non-finite value
is written as such, because a report that hides a NaN misleads.
"""

import math
from collections.abc import Mapping

from jaxdistill.errors import UserError

MISSING = '–'


def seconds(value: float | None) -> str:
  """Writes a duration given in seconds with the two units that matter.

  >>> [seconds(v) for v in (0.0042, 0.25, 12.34, 75, 3725, 200000)]
  ['4.2 ms', '0.25 s', '12.3 s', '1 min 15 s', '1 h 02 min', '2 d 08 h']
  """
  if not _is_finite(value):
    return _unusual(value)
  if value < 0:
    return f'−{seconds(-value)}'
  if value == 0:
    return '0 s'
  if value < 0.0995:
    return f'{_significant(value * 1e3, 2)} ms'
  if value < 0.995:
    return f'{value:.2f} s'
  if value < 59.95:
    return f'{value:.1f} s'
  # Rounding to the smaller unit comes first, else 3599.7 would read '59 min 60 s'.
  for larger, smaller, unit, ratio, limit in (('min', 's', 1, 60, 60), ('h', 'min', 60, 60, 24)):
    whole, rest = divmod(round(value / unit), ratio)
    if whole < limit:
      return f'{whole} {larger} {rest:02d} {smaller}'
  days, hours = divmod(round(value / 3600), 24)
  return f'{days:,} d {hours:02d} h'


def size(value: float | None) -> str:
  """Writes a number of bytes in binary units (1 KiB = 1024 B).

  >>> [size(v) for v in (512, 1536, 3 * 2**30, 143771 * 2**20)]
  ['512 B', '1.5 KiB', '3.0 GiB', '140 GiB']
  """
  return _scaled(value, 1024, ('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'), plain_below=1024)


def traffic(value: float | None) -> str:
  """Writes a number of bytes that are moved in decimal units, as bandwidths are given.

  >>> [traffic(v) for v in (40, 1213e6, 3.35e12)]
  ['40 B', '1.2 GB', '3.4 TB']
  """
  return _scaled(value, 1000, ('B', 'kB', 'MB', 'GB', 'TB', 'PB'), plain_below=999.5)


def count(value: float | None) -> str:
  """Writes a count in full below a million, with a decimal prefix above.

  >>> [count(v) for v in (7, 320010, 1234567, 2.5e12)]
  ['7', '320,010', '1.2 M', '2.5 T']
  """
  return _scaled(value, 1000, ('', 'k', 'M', 'G', 'T', 'P', 'E'), plain_below=999_999.5)


def flops(value: float | None) -> str:
  """Writes a number of floating-point operations with a decimal prefix.

  >>> [flops(v) for v in (700, 587795, 13.3e9, None)]
  ['700 FLOP', '588 kFLOP', '13.3 GFLOP', '–']
  """
  return _scaled(
    value, 1000, ('FLOP', 'kFLOP', 'MFLOP', 'GFLOP', 'TFLOP', 'PFLOP', 'EFLOP'), plain_below=999.5
  )


def number(value: float | None) -> str:
  """Writes any number with four significant digits, integers in full.

  >>> [number(v) for v in (3, 0.123456, 12345.678, 1.5e-7, float('nan'), None)]
  ['3', '0.1235', '12,346', '1.5e-07', 'nan', '–']
  """
  if not _is_finite(value):
    return _unusual(value)
  if isinstance(value, int) or float(value).is_integer() and abs(value) < 1e15:
    return f'{int(value):,}'
  if abs(value) < 1e-4 or abs(value) >= 1e15:
    return f'{value:.4g}'
  return _significant(value, 4)


def accuracy_parts(value: float | Mapping | None) -> tuple[str, str, str]:
  """Returns mean, deviation and number of runs of an accuracy as three strings, in percent, the
  last two possibly empty.

  `value` is a share in [0, 1], or a mapping with `mean` and perhaps `std` (same unit) and `n`. The
  deviation of a single run is not written: it would read as certainty.

  >>> accuracy_parts(dict(mean=0.9071, std=0.0042, n=5))
  ('90.7', '± 0.4', 'n=5')
  >>> accuracy_parts(0.5)
  ('50.0', '', '')

  Raises UserError for a finite mean outside [0, 1], which is most likely already in percent.
  """
  if value is None:
    return MISSING, '', ''
  entry = value if isinstance(value, Mapping) else {'mean': value}
  mean, std, n = entry.get('mean'), entry.get('std'), entry.get('n')
  if not _is_finite(mean):
    return _unusual(mean), '', f'n={n}' if n is not None else ''
  if not -1e-6 <= mean <= 1 + 1e-6:
    raise UserError(
      f'An accuracy is a share between 0 and 1, but {mean:g} was given; divide percentages by 100.'
    )
  deviation = (
    '' if std is None or n == 1 else f'± {100 * std:.1f}' if _is_finite(std) else f'± {std}'
  )
  return f'{100 * mean:.1f}', deviation, f'n={n}' if n is not None else ''


def accuracy(value: float | Mapping | None) -> str:
  """Writes an accuracy in percent as 'mean ± std (n=runs)'; takes what `accuracy_parts` takes.

  >>> accuracy(dict(mean=0.9071, std=0.0042, n=5))
  '90.7 ± 0.4 (n=5)'
  """
  mean, deviation, runs = accuracy_parts(value)
  return ' '.join(filter(None, (mean, deviation, f'({runs})' if runs else '')))


def gained(difference: Mapping[str, float] | None) -> str:
  """Writes a paired difference with its standard error in percentage points.

  >>> gained(dict(mean=0.0123, standard_error=0.0041, low=0.0, high=0.02, n=5)), gained(None)
  ('+1.2 ± 0.4', '–')
  """
  if not difference:
    return MISSING
  mean, error = (100 * difference[name] for name in ('mean', 'standard_error'))
  return f'{mean:+.1f} ± {error:.1f}'


def _is_finite(value) -> bool:
  return value is not None and math.isfinite(value)


def _unusual(value) -> str:
  return MISSING if value is None else str(float(value))


def _significant(value: float, digits: int) -> str:
  """Fixed-point notation with so many significant digits, at least none after the point; no
  trailing zeros."""
  decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
  text = f'{value:,.{decimals}f}'
  return text.rstrip('0').rstrip('.') if '.' in text else text


def _scaled(value: float | None, base: int, units: tuple[str, ...], plain_below: float) -> str:
  if not _is_finite(value):
    return _unusual(value)
  if abs(value) < plain_below:
    return ' '.join(filter(None, (f'{round(value):,}', units[0])))
  power = 0
  # 999.95 would be written 1000.0: such a value belongs to the next unit.
  while abs(value) >= base - 0.05 and power < len(units) - 1:
    value, power = value / base, power + 1
  return f'{value:.1f} {units[power]}' if abs(value) < 99.95 else f'{value:.0f} {units[power]}'
