"""A line chart as one inline <svg> element: no plotting library, no script, readable on light and
dark pages.

Text and grid take the colour of the surrounding text. Line colours are the CSS variables --series-1
.. --series-7, and where a page sets none, a palette that colour-blind readers can tell apart (after
Okabe and Ito, 2008: Color Universal Design; darkened for lines on white, without the yellow). An
  eighth series starts again with dashes.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from jaxdistill.errors import UserError
from jaxdistill.report import axes, numbers

COLOURS = ('#0072b2', '#d55e00', '#009e73', '#b5599a', '#998500', '#3a9bdc', '#6b6b6b')
_DASHES = ('', '6 3', '2 3')
_FONT = 12  # px, in the units of the view box
# Mean width of a character at that size in a wide font; only a browser could measure the text.
_ADVANCE = 7.3
_LINE = 18
# The lines have at least so many pixels.
_LEAST_WIDTH, _LEAST_HEIGHT = 50, 110
_MARKED = 40  # Series of at most so many points show each of them, with its value on hover.


class Series(NamedTuple):
  """One line: name, x and y of its points, and perhaps the half-width of a band around it (a
  standard deviation)."""

  label: str
  x: Sequence[float]
  y: Sequence[float]
  band: Sequence[float] | None = None


def svg(
  series: Iterable[Sequence],
  *,
  title: str = '',
  x_title: str = '',
  y_title: str = '',
  log_y: bool = False,
  percent: bool = False,
  width: int = 440,
  height: int = 280,
  max_points: int = 800,
  palette: Mapping[str, int] | None = None,
) -> str:
  """Draws several series in one chart and returns its <svg> element.

  series: `Series`, or tuples (label, x, y[, band]). Points whose x or y is not finite are skipped,
    with log_y also those not above zero. A series of one point is a dot; one without any stays in
    the legend and is named as empty.
  percent: y holds shares in [0, 1], written in percent. log_y: logarithmic y axis.
  width, height: of the view box in pixels; the element scales to its container. A chart of many
    names is higher.
  max_points: longer series are thinned by `downsample`.
  palette: label -> place in the palette, to give a series the same colour in several charts.

  >>> chart = svg([('loss', [0, 1, 2], [4.0, 2.0, 1.0])], title='Loss', x_title='step')
  >>> chart.startswith('<svg') and chart.endswith('</svg>')
  True

  Raises UserError for no series, series without a single point to draw, or x, y and band of
  different lengths.
  """
  if log_y and percent:
    raise UserError('A chart is either in percent or logarithmic; choose one of percent and log_y.')
  lines = [_clean(Series(*one), log_y, percent) for one in series]
  if not lines:
    raise UserError('A chart needs at least one series (label, x, y).')
  if not any(line.x.size for line in lines):
    values = 'finite value above zero' if log_y else 'finite value'
    raise UserError(f'Nothing to draw in the chart {title!r}: no series has a {values}.')
  colours = [(palette or {}).get(line.label, i) for i, line in enumerate(lines)]
  drawn = [(line, colour) for line, colour in zip(lines, colours, strict=True) if line.x.size]
  x_axis, y_axis = _axes([line for line, _ in drawn], log_y, percent)

  legend, legend_height = _legend(
    zip(lines, colours, strict=True), top=_LINE + 4 if title else 0, width=width
  )
  top = (_LINE + 4 if title else 0) + legend_height + (_LINE if y_title else 0) + 8
  below = 22 + (_LINE if x_title else 0)
  # Names of many series take room, and must not take it from the lines.
  height = max(height, math.ceil(top + _LEAST_HEIGHT + below))
  bottom = height - below
  left = 10 + math.ceil(max(map(len, y_axis.labels)) * _ADVANCE)
  right = width - 14
  if right - left < _LEAST_WIDTH:
    raise UserError(f'The chart {title!r} has no room at a width of {width}; make it wider.')

  parts = [f'<title>{escape(_summary(title, [line for line, _ in drawn], percent))}</title>']
  if title:
    parts.append(
      f'<text class="title" x="0" y="{_FONT + 1}" font-size="14" '
      f'font-weight="600">{escape(title)}</text>'
    )
  parts.append(legend)
  parts.append(_frame(x_axis, y_axis, (left, right, top, bottom), x_title, y_title))
  parts.extend(
    _drawing(line, colour, x_axis, y_axis, (left, right, top, bottom), max_points, percent)
    for line, colour in drawn
  )
  return (
    f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" fill="currentColor" '
    f'font-size="{_FONT}" '
    f'style="width:100%;height:auto;overflow:visible">{"".join(parts)}</svg>'
  )


def downsample(values, max_points: int) -> np.ndarray:
  """Returns increasing indices of at most `max_points` of the values [n], for a line that looks the
  same.

  The first and the last value stay, and of each of (max_points - 2) // 2 equal stretches its
  smallest and largest: no peak is lost, as it would be with every k-th value. Own choice, the
    simplest that keeps peaks.

  >>> downsample([0, 1, 9, 1, 0, 1, -9, 1, 2, 0], 6).tolist()
  [0, 2, 6, 8, 9]

  Raises UserError for max_points below 4.
  """
  if max_points < 4:
    raise UserError(
      f'max_points must be at least 4 (first, last, smallest, largest), but {max_points} was given.'
    )
  values = np.asarray(values, np.float64)
  if values.size <= max_points:
    return np.arange(values.size)
  borders = np.linspace(0, values.size, (max_points - 2) // 2 + 1).astype(int)
  keep = {0, values.size - 1}
  for start, end in zip(borders[:-1], borders[1:], strict=True):
    keep.update((start + int(values[start:end].argmin()), start + int(values[start:end].argmax())))
  return np.array(sorted(keep))


class _Line(NamedTuple):
  """A series without its undrawable points, percentages as such; float64 [n], low and high None
  without a band."""

  label: str
  x: np.ndarray
  y: np.ndarray
  low: np.ndarray | None
  high: np.ndarray | None


def _clean(series: Series, log_y: bool, percent: bool) -> _Line:
  x, y = (_numbers(v, series.label) for v in (series.x, series.y))
  band = None if series.band is None else _numbers(series.band, series.label)
  if not x.shape == y.shape == (x.shape if band is None else band.shape):
    sizes = ', '.join(str(v.size) for v in (x, y, band) if v is not None)
    raise UserError(f'The series {series.label!r} has x, y and band of different lengths: {sizes}.')
  if percent:
    y, band = 100 * y, None if band is None else 100 * band
  keep = np.isfinite(x) & np.isfinite(y)
  if log_y:
    keep &= np.where(keep, y, -1.0) > 0
  x, y = x[keep], y[keep]
  if band is None:
    return _Line(series.label, x, y, None, None)
  band = np.where(np.isfinite(band[keep]), np.abs(band[keep]), 0.0)
  low, high = y - band, y + band
  if log_y:
    low = np.where(
      low > 0, low, y
    )  # Below zero the axis has no place: the band then starts at the line.
  if percent:
    # A share is never beyond 0 and 100 %, whatever its standard deviation.
    low, high = np.maximum(low, np.minimum(y, 0)), np.minimum(high, np.maximum(y, 100))
  return _Line(series.label, x, y, low, high)


def _numbers(values, label: str) -> np.ndarray:
  try:
    # None is how JSON writes a value that was not measured or not finite: float64 makes it NaN,
    # which is skipped.
    array = np.asarray(values, np.float64)
  except (TypeError, ValueError):
    raise UserError(f'The series {label!r} must hold plain numbers, one for each point.') from None
  if array.ndim != 1:
    raise UserError(
      f'The series {label!r} must be one-dimensional, but has the shape {list(array.shape)}.'
    )
  return array


def _axes(lines: list[_Line], log_y: bool, percent: bool) -> tuple[axes.Axis, axes.Axis]:
  x = np.concatenate([line.x for line in lines])
  parts = itertools.chain.from_iterable((line.y, line.low, line.high) for line in lines)
  y = np.concatenate([part for part in parts if part is not None])
  x_axis = axes.linear(float(x.min()), float(x.max()), whole=bool((x == np.rint(x)).all()))
  if log_y:
    return x_axis, axes.logarithmic(float(y.min()), float(y.max()))
  return x_axis, axes.linear(
    float(y.min()), float(y.max()), outward=True, unit=' %' if percent else ''
  )


def _legend(lines: Iterable[tuple[_Line, int]], top: float, width: int) -> tuple[str, float]:
  """A key of line samples and labels, flowing over as many rows as it needs; returns it and its
  height."""
  shown = [(line, colour) for line, colour in lines if line.label]
  if not shown:
    return '', 0.0
  parts, x, y = [], 0.0, top + _LINE / 2
  for line, colour in shown:
    label = line.label if len(line.label) <= 40 else line.label[:39] + '…'
    label += '' if line.x.size else ' (no finite values)'
    needed = 24 + len(label) * _ADVANCE
    if x and x + needed > width:
      x, y = 0.0, y + _LINE
    parts.append(
      f'<g><title>{escape(line.label)}</title>'
      f'<path d="M{x:.1f} {y:.1f}h18" fill="none" stroke-width="3" {_stroke(colour)}/>'
      f'<text x="{x + 24:.1f}" y="{y + 4:.1f}">{escape(label)}</text></g>'
    )
    x += needed + 14
  return f'<g class="legend">{"".join(parts)}</g>', y + _LINE / 2 + 4 - top


def _frame(
  x_axis: axes.Axis, y_axis: axes.Axis, box: tuple[float, ...], x_title: str, y_title: str
) -> str:
  """Grid lines at the y ticks, a base line with the x ticks, their labels, and the titles of the
  axes."""
  left, right, top, bottom = box
  parts = []
  for y, label in zip(y_axis.place(y_axis.ticks, bottom, top), y_axis.labels, strict=True):
    parts.append(
      f'<path d="M{left} {y:.1f}H{right}" stroke="currentColor" stroke-opacity=".14"/>'
      f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" opacity=".75">{escape(label)}</text>'
    )
  parts.append(f'<path d="M{left} {bottom}H{right}" stroke="currentColor" stroke-opacity=".5"/>')
  for x, label in zip(x_axis.place(x_axis.ticks, left, right), x_axis.labels, strict=True):
    parts.append(
      f'<path d="M{x:.1f} {bottom}v4" stroke="currentColor" stroke-opacity=".5"/>'
      f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle" '
      f'opacity=".75">{escape(label)}</text>'
    )
  if y_title:
    parts.append(f'<text x="0" y="{top - 12}" opacity=".75">{escape(y_title)}</text>')
  if x_title:
    parts.append(
      f'<text x="{right}" y="{bottom + 35}" text-anchor="end" '
      f'opacity=".75">{escape(x_title)}</text>'
    )
  return f'<g class="axes">{"".join(parts)}</g>'


def _drawing(
  line: _Line,
  colour: int,
  x_axis: axes.Axis,
  y_axis: axes.Axis,
  box: tuple[float, ...],
  max_points: int,
  percent: bool,
) -> str:
  """One series: its band, its line, and its points where they are few; each says its value on
  hover."""
  left, right, top, bottom = box
  keep = downsample(line.y, max_points)
  x = x_axis.place(line.x[keep], left, right)
  y = y_axis.place(line.y[keep], bottom, top)
  parts = [f'<title>{escape(_last(line, percent))}</title>']
  if line.low is not None and x.size > 1:
    low, high = (y_axis.place(edge[keep], bottom, top) for edge in (line.low, line.high))
    outline = _points(np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]]))
    parts.append(
      f'<polygon class="band" points="{outline}" style="fill:{_colour(colour)}" '
      'fill-opacity=".18"/>'
    )
  if x.size > 1:
    # A dense, noisy line would fill its own valleys at full width.
    width = 1.75 if x.size <= 200 else 1.1
    parts.append(
      f'<polyline points="{_points(x, y)}" fill="none" stroke-width="{width}" '
      'stroke-linejoin="round" '
      f'{_stroke(colour)}/>'
    )
  if line.x.size <= _MARKED:
    radius = 4 if x.size == 1 else 2.5
    for px, py, vx, vy in zip(x, y, line.x[keep], line.y[keep], strict=True):
      hint = (
        f'{line.label + ": " if line.label else ""}{_value(vy, percent)} at {numbers.number(vx)}'
      )
      parts.append(
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius}" style="fill:{_colour(colour)}">'
        f'<title>{escape(hint)}</title></circle>'
      )
  return f'<g class="series">{"".join(parts)}</g>'


def _points(x: np.ndarray, y: np.ndarray) -> str:
  return ' '.join(f'{a:.1f},{b:.1f}' for a, b in zip(x, y, strict=True))


def _colour(place: int) -> str:
  place %= len(COLOURS)
  return f'var(--series-{place + 1},{COLOURS[place]})'


def _stroke(place: int) -> str:
  dash = _DASHES[place // len(COLOURS) % len(_DASHES)]
  return f'style="stroke:{_colour(place)}"' + (f' stroke-dasharray="{dash}"' if dash else '')


def _value(value: float, percent: bool) -> str:
  return f'{value:.1f} %' if percent else numbers.number(float(value))


def _last(line: _Line, percent: bool) -> str:
  low, high, last = (_value(v, percent) for v in (line.y.min(), line.y.max(), line.y[-1]))
  return (
    f'{line.label + ": " if line.label else ""}{last} at {numbers.number(line.x[-1])} '
    f'(from {low} to {high})'
  )


def _summary(title: str, lines: list[_Line], percent: bool) -> str:
  """What a reader who cannot see the chart is told."""
  return f'{title or "Chart"}. ' + '; '.join(_last(line, percent) for line in lines)
