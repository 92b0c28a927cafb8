"""The axis of a chart: its range, its ticks at round values, their labels, and where a value falls
in pixels."""

import itertools
import math
from typing import NamedTuple

import numpy as np

_PREFIXES = (
  (1e9, 'G', 1e9),
  (1e6, 'M', 1e6),
  (1e3, 'k', 1e4),
  (1, '', 0),
)  # size, prefix, used from this value on


class Axis(NamedTuple):
  """A range of values laid over a range of pixels, linear or logarithmic, with ticks and their
  labels."""

  low: float
  high: float
  ticks: tuple[float, ...]
  labels: tuple[str, ...]
  log: bool = False

  def place(self, values, start: float, end: float) -> np.ndarray:
    """Returns the pixel of each value: `low` falls on `start`, `high` on `end`; values outside go
    to the border.

    >>> Axis(0.0, 10.0, (), ()).place([0, 2.5, 10], 100, 0).tolist()
    [100.0, 75.0, 0.0]
    """
    low, high, values = (
      self.low,
      self.high,
      np.clip(np.asarray(values, np.float64), self.low, self.high),
    )
    if self.log:
      low, high, values = math.log10(low), math.log10(high), np.log10(values)
    return start + (values - low) / (high - low) * (end - start)


def linear(
  low: float,
  high: float,
  *,
  count: int = 5,
  outward: bool = False,
  whole: bool = False,
  unit: str = '',
) -> Axis:
  """Returns a linear axis over [low, high] with about `count` ticks at multiples of 1, 2 or 5 times
  a power of ten.

  outward: the range grows to the next tick on either side. whole: no tick between whole numbers.
  unit: follows each label.
  A range of no extent is widened around its value.

  >>> linear(0.13, 0.91, outward=True).labels
  ('0', '0.2', '0.4', '0.6', '0.8', '1')
  """
  if high - low <= 1e-9 * max(abs(low), abs(high)):
    margin = 0.1 * max(abs(low), abs(high)) or 1.0
    low, high = low - margin, high + margin
  step = _round_step((high - low) / count)
  step = max(step, 1.0) if whole else step
  inside = (math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9))
  around = (math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9))
  first, last = around if outward else inside
  decimals = max(0, -math.floor(math.log10(step) + 1e-9))
  ticks = tuple(round(k * step, decimals) for k in range(first, last + 1))
  if outward:
    low, high = ticks[0], ticks[-1]
  return Axis(low, high, ticks, _linear_labels(ticks, step, unit))


def logarithmic(low: float, high: float, *, count: int = 6) -> Axis:
  """Returns a logarithmic axis over [low, high] > 0, grown outward to its ticks.

  Ticks are powers of ten, at most about `count` of them; over less than two decades 1, 2 and 5
  times those.

  >>> logarithmic(0.03, 4.0).labels
  ('0.01', '0.1', '1', '10')
  >>> logarithmic(0.3, 4.0).labels
  ('0.2', '0.5', '1', '2', '5')
  """
  if high <= low * (1 + 1e-9):
    low, high = low / 2, high * 2
  bottom, top = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
  if math.log10(high / low) < 2:
    steps = itertools.product(range(bottom - 1, top + 1), (1, 2, 5))
    fine = [float(f'{digit}e{power}') for power, digit in steps]
    first = max(i for i, tick in enumerate(fine) if tick <= low * (1 + 1e-9))
    last = min(i for i, tick in enumerate(fine) if tick >= high * (1 - 1e-9))
    ticks = tuple(fine[first : last + 1])
  else:
    stride = max(1, math.ceil((top - bottom) / count))
    top += -(top - bottom) % stride
    ticks = tuple(float(f'1e{power}') for power in range(bottom, top + 1, stride))
  return Axis(ticks[0], ticks[-1], ticks, tuple(f'{tick:g}' for tick in ticks), log=True)


def _round_step(rough: float) -> float:
  """The smallest of 1, 2, 5, 10 times a power of ten that is not below `rough`."""
  power = 10.0 ** math.floor(math.log10(rough))
  return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough * (1 - 1e-9))


def _linear_labels(ticks: tuple[float, ...], step: float, unit: str) -> tuple[str, ...]:
  """All labels of an axis share one prefix (k, M, G), so that they compare at a glance."""
  largest = max(map(abs, ticks), default=0.0)
  if largest >= 1e12 or 0 < largest < 1e-4:
    return tuple(f'{tick:g}{unit}' for tick in ticks)
  # Four digits are as short without a prefix.
  size, prefix = next((s, p) for s, p, least in _PREFIXES if largest >= least)
  decimals = max(0, -math.floor(math.log10(step / size) + 1e-9))
  labels = (f'{tick / size:.{decimals}f}' for tick in ticks)
  return tuple(
    '0' + unit if float(label) == 0 else _trim(label) + prefix + unit for label in labels
  )


def _trim(label: str) -> str:
  # '1.0' beside '0.5' reads heavier than '1'; both stay exact.
  return label.rstrip('0').rstrip('.') if '.' in label else label
