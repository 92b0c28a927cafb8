"""How the cost of an iteration grows: with the number of classes, and with the synthetic images a
class."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxdistill.report import numbers
from jaxdistill.report.page import Page

CLASSES = (5, 10, 20)
IPC = (1, 5, 10, 20)
# Key of the points of an axis -> what it counts, for people.
AXES = {'classes': 'classes', 'synthetic': 'synthetic images a class, IPC x f²'}


def measure(ipc: int, factor: int, seconds: Callable[[int, int], float]) -> dict[str, Any]:
  """Measures a method along both axes.

  Args:
    ipc: canvases a class while the number of classes varies; with 10 classes the other axis varies.
    factor: cells along a canvas' side.
    seconds: (classes, ipc) -> seconds an iteration.

  Returns:
    axis ('classes', 'synthetic') -> dict(x, seconds, slope, intercept, deviation), see `line`.

  >>> measured = measure(10, 2, lambda classes, ipc: 1 + classes / 10)
  >>> round(measured['classes']['slope'], 3), measured['synthetic']['x']
  (0.1, [4, 20, 40, 80])
  """
  return {
    'classes': line(CLASSES, [seconds(classes, ipc) for classes in CLASSES]),
    'synthetic': line([ipc * factor**2 for ipc in IPC], [seconds(10, ipc) for ipc in IPC]),
  }


def describe(axis: str, along: dict[str, Any]) -> str:
  """Returns the points of an axis in one line."""
  points = ', '.join(f'{x}: {numbers.seconds(y)}' for x, y in zip(along['x'], along['seconds']))
  return f'{AXES[axis]}: {points}; at most {along["deviation"]:.0%} off a straight line'


def line(x: Sequence[float], seconds: Sequence[float]) -> dict[str, Any]:
  """Fits a straight line; 'deviation' is the largest distance of a point from it, as a share of the
  line there.

  >>> line([1, 2, 3], [2.0, 3.0, 4.0])['deviation'] < 1e-9
  True
  """
  slope, intercept = np.polyfit(x, seconds, 1)
  fitted = slope * np.asarray(x) + intercept
  return {
    'x': list(x),
    'seconds': list(seconds),
    'slope': float(slope),
    'intercept': float(intercept),
    'deviation': float(np.abs(np.asarray(seconds) / fitted - 1).max()),
  }


def html(result: dict[str, Any], subtitle: str) -> str:
  """Returns the figure of the measured points as one HTML page."""
  page = Page('Cost of an iteration', subtitle)
  charts = [_chart(result, axis) for axis in AXES]
  page.curves('Measured points', charts)
  return page.html()


def _chart(result: dict[str, Any], axis: str) -> dict[str, Any]:
  lines = {method: along[axis] for method, along in result.items()}
  return dict(
    title=f'Seconds against {AXES[axis]}',
    x_title=AXES[axis],
    y_title='seconds an iteration',
    series=[(method, points['x'], points['seconds']) for method, points in lines.items()],
  )
