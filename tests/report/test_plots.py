"""Scatter plots: the file that matplotlib writes, read back as XML."""

import base64
import re
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.report import Page, plots

POINTS = [('teacher', 278e3, 0.83, 0.004), ('alone', 78e3, 0.61, 0.01), ('KD <&>', 78e3, 0.63)]


def texts(svg):
  return [
    ''.join(node.itertext()).strip()
    for node in ElementTree.fromstring(svg).iter('{http://www.w3.org/2000/svg}text')
  ]


def places(svg):
  """(x, y) of the markers, in the order of the points."""
  markers = re.findall(r'<use xlink:href="#\w+" x="([\d.]+)" y="([\d.]+)" style="fill', svg)
  return np.array(markers, float)


def test_points_lie_where_their_values_say():
  svg = plots.scatter([('a', 1.0, 10.0), ('b', 2.0, 20.0), ('c', 4.0, 15.0)])
  (ax, ay), (bx, by), (cx, cy) = places(svg)
  assert (cx - ax) == pytest.approx(3 * (bx - ax), rel=1e-4)
  assert (ay - by) == pytest.approx(2 * (ay - cy), rel=1e-4) and ay > by


def test_a_logarithmic_axis_has_equal_steps_for_equal_ratios():
  svg = plots.scatter([('a', 1e3, 1.0), ('b', 1e4, 2.0), ('c', 1e5, 3.0)], log_x=True)
  x = places(svg)[:, 0]
  assert x[1] - x[0] == pytest.approx(x[2] - x[1], rel=1e-4)
  assert {'1k', '10k', '100k'} <= set(texts(svg))


def test_texts_are_written_as_they_stand():
  svg = plots.scatter(POINTS, title='Size', x_title='parameters', y_title='accuracy', percent=True)
  written = texts(svg)
  assert {'teacher', 'alone', 'KD <&>', 'Size', 'parameters', 'accuracy'} <= set(written)
  assert any(re.fullmatch(r'\d+ %', text) for text in written)


def test_dollars_in_a_name_are_no_formula():
  assert {r'$\KD$', 'a $b$'} <= set(texts(plots.scatter([(r'$\KD$', 1.0, 2.0)], title='a $b$')))


def test_labels_of_near_points_do_not_cover_each_other():
  svg = plots.scatter([(f'method {n}', 1.0, 0.5 + 0.01 * n) for n in range(4)] + [('far', 9, 0.9)])
  pattern = r'transform="translate\(([\d.]+) ([\d.]+)\)|<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>'
  lines = [match for match in re.finditer(pattern + r'method', svg)]
  spots = {(match[3], match[4]) for match in lines}
  assert len(spots) == len(lines) == 4


def test_one_drawing_gives_one_file_whatever_the_users_style():
  first = plots.scatter(POINTS, title='Size')
  with matplotlib.rc_context({'axes.facecolor': 'black', 'font.size': 30, 'svg.fonttype': 'path'}):
    assert plots.scatter(POINTS, title='Size') == first
  assert matplotlib.rcParams['text.color'] != plots._INK


def test_ink_follows_the_screen():
  svg = plots.scatter(POINTS)
  assert 'prefers-color-scheme:dark' in svg and 'var(--ink)' in svg and 'var(--rule)' in svg
  assert plots._INK not in svg and plots._RULE not in svg


def test_a_page_holds_it_in_itself():
  html = Page('run').scatter('Accuracy against size', [dict(points=POINTS, title='Size')]).html()
  data = re.search(r'alt="Size" src="data:image/svg\+xml;base64,([^"]+)"', html)[1]
  assert 'teacher' in texts(base64.b64decode(data).decode())
  assert 'http' not in html


@pytest.mark.parametrize(
  'points, options, message',
  [
    ([], {}, 'at least one point'),
    ([('a', 1, np.nan)], {}, "must be finite; 'a' is at"),
    ([('a', 0, 1)], {'log_x': True}, 'x above zero'),
  ],
)
def test_what_cannot_be_drawn_is_told(points, options, message):
  with pytest.raises(UserError, match=message):
    plots.scatter(points, **options)


def test_a_page_tells_what_a_plot_lacks():
  with pytest.raises(UserError, match="no option of a scatter plot 'log_y'"):
    Page('run').scatter('Size', [dict(points=POINTS, log_y=True)])
  with pytest.raises(UserError, match='has no points'):
    Page('run').scatter('Size', [{}])
  with pytest.raises(UserError, match='at least one plot'):
    Page('run').scatter('Size', [])


def test_matplotlib_is_imported_when_something_is_drawn():
  code = (
    'import sys; from jaxdistill.report import plots; print("matplotlib" in sys.modules); '
    'plots.scatter([("a", 1, 1)]); print("matplotlib" in sys.modules, '
    '"matplotlib.pyplot" in sys.modules)'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert done.stdout.split() == ['False', 'True', 'False']
