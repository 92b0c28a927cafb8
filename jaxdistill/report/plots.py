"""Scatter plots, drawn by matplotlib as one SVG file each: the one place that imports it, and late.

Lines are drawn by `curves`. Text and axes are dark on light screens and light on dark ones; the
colours of the points are those of `curves`.
"""

import io
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxdistill.errors import UserError
from jaxdistill.report import curves

# What is drawn in these colours follows the screen: they become names of the sheet below.
_INK, _RULE = '#010203', '#040506'
_SHEET = (
  '<style>:root{--ink:#1d2025;--rule:#d5d9de}@media screen and (prefers-color-scheme:dark)'
  '{:root{--ink:#e6e7ea;--rule:#3a3f47}}</style>'
)
_FONT = 'system-ui,-apple-system,Arial,sans-serif'
_LOOK = {
  'svg.fonttype': 'none',  # text stays text
  'text.parse_math': False,  # so do two dollars in a name
  'svg.hashsalt': 'jaxdistill',  # one drawing gives one file
  'font.size': 9,
  'text.color': _INK,
  'axes.edgecolor': _INK,
  'axes.labelcolor': _INK,
  'xtick.color': _INK,
  'ytick.color': _INK,
  'grid.color': _RULE,
}
# Where a label may stand beside its point, best first: alignments, and the way there in points.
_SIDES = (
  ('left', 'center', 6, 0),
  ('right', 'center', -6, 0),
  ('center', 'bottom', 0, 6),
  ('center', 'top', 0, -6),
  ('left', 'bottom', 5, 5),
  ('left', 'top', 5, -5),
  ('right', 'bottom', -5, 5),
  ('right', 'top', -5, -5),
)
_POINT = 5  # pixels around a point that no label may cover


class Point(NamedTuple):
  """One point: its label, where it lies, and perhaps the half-length of a bar about y (a standard
  deviation)."""

  label: str
  x: float
  y: float
  spread: float = 0.0


def scatter(
  points: Iterable[Sequence],
  *,
  title: str = '',
  x_title: str = '',
  y_title: str = '',
  log_x: bool = False,
  percent: bool = False,
  width: int = 440,
  height: int = 320,
) -> str:
  """Draws labelled points, such as accuracy against speed, and returns the text of an SVG file.

  points: `Point`, or tuples (label, x, y[, spread]), all finite.
  percent: y holds shares in [0, 1], written in percent. log_x: logarithmic x axis.
  width, height: in pixels.

  >>> scatter([('resnet8', 78e3, 0.61), ('resnet20', 278e3, 0.69)], log_x=True)[:4]
  '<svg'

  Raises UserError for no points, a value that is not finite, or with log_x not above zero.
  """
  points = [Point(*point) for point in points]
  _check(points, title, log_x)
  import matplotlib
  from matplotlib import style

  with style.context('default'), matplotlib.rc_context(_LOOK):
    figure, axes = _axes(width, height)
    axes.set_title(title, loc='left', fontsize=10, fontweight='bold')
    axes.set_xlabel(x_title, loc='right')
    axes.set_ylabel(y_title)
    factor = 100 if percent else 1
    for place, point in enumerate(points):
      colour = curves.COLOURS[place % len(curves.COLOURS)]
      bar = factor * point.spread if point.spread else None
      y = factor * point.y
      axes.errorbar([point.x], [y], yerr=bar, fmt='o', color=colour, markersize=5, clip_on=False)
    axes.margins(0.12)
    _write_ticks(axes, log_x, percent)
    _label(figure, axes, [point._replace(y=factor * point.y) for point in points])
    return _text_of(figure)


def _check(points, title, log_x):
  if not points:
    raise UserError('A scatter plot needs at least one point (label, x, y).')
  for point in points:
    if not np.isfinite([point.x, point.y, point.spread]).all() or log_x and point.x <= 0:
      kind = 'finite, and x above zero' if log_x else 'finite'
      raise UserError(
        f'The points of the plot {title!r} must be {kind}; {point.label!r} is at '
        f'({point.x}, {point.y}).'
      )


def _axes(width, height):
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  # An SVG has 72 units an inch.
  figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor='none')
  FigureCanvasAgg(figure)  # which can measure text
  axes = figure.add_axes((58 / width, 42 / height, 1 - 78 / width, 1 - 72 / height))
  axes.set_facecolor('none')
  axes.grid(True, linewidth=0.8)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right', 'left']].set_visible(False)
  axes.tick_params(length=0)
  return figure, axes


def _write_ticks(axes, log_x, percent):
  from matplotlib import ticker

  if log_x:
    axes.set_xscale('log')
    low, high = axes.get_xlim()
    digits = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=digits))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=''))
  if percent:
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter('%g %%'))


def _label(figure, axes, points):
  """Writes each label on the first side of its point where it covers nothing, else on the right."""
  from matplotlib.transforms import Bbox

  renderer = figure.canvas.get_renderer()
  places = axes.transData.transform([(point.x, point.y) for point in points])
  covered = [Bbox([place - _POINT, place + _POINT]) for place in places]

  def written(point, side):
    across, along, right, up = side
    return axes.annotate(
      point.label,
      (point.x, point.y),
      (right, up),
      textcoords='offset points',
      ha=across,
      va=along,
      annotation_clip=False,
    )

  def is_free(box):
    inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    return inside and not box.count_overlaps(covered)

  for point in points:
    for side in (*_SIDES, _SIDES[0]):
      text = written(point, side)
      box = text.get_window_extent(renderer)
      if is_free(box):
        break
      text.remove()
    else:
      written(point, _SIDES[0])
    covered.append(box)


def _text_of(figure):
  file = io.StringIO()
  figure.savefig(file, format='svg', facecolor='none', metadata={'Date': None, 'Creator': None})
  text = file.getvalue()
  text = text[text.index('<svg') :].replace(_INK, 'var(--ink)').replace(_RULE, 'var(--rule)')
  text = re.sub(r"'DejaVu Sans'[^;\"]*", _FONT, text)
  start = text.index('>') + 1
  return text[:start] + _SHEET + text[start:]
