"""Charts: ticks, coordinates, thinning, and what is not drawn."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.report import axes, curves


def parse(svg):
  return ET.fromstring(svg)


def points(element):
  return np.array([[float(v) for v in pair.split(',')] for pair in element.get('points').split()])


def polylines(svg):
  return [points(element) for element in parse(svg).iter('polyline')]


def texts(svg):
  return [element.text for element in parse(svg).iter('text')]


@pytest.mark.parametrize(
  'low, high, ticks',
  [
    (0, 10, (0, 2, 4, 6, 8, 10)),
    (0.13, 0.91, (0.2, 0.4, 0.6, 0.8)),
    (-1, 1, (-1, -0.5, 0, 0.5, 1)),
    (0, 4999, (0, 1000, 2000, 3000, 4000)),
    (1e-7, 5e-7, (1e-7, 2e-7, 3e-7, 4e-7, 5e-7)),
    (0, 0.3, (0, 0.1, 0.2, 0.3)),
  ],
)
def test_ticks_are_round_and_inside(low, high, ticks):
  axis = axes.linear(low, high)
  assert axis.ticks == pytest.approx(ticks) and (axis.low, axis.high) == (low, high)


def test_outward_ticks_enclose_the_values():
  axis = axes.linear(0.13, 0.91, outward=True)
  assert (axis.low, axis.high) == (0, 1) and axis.ticks == (0, 0.2, 0.4, 0.6, 0.8, 1)


def test_whole_ticks_and_labels():
  assert axes.linear(0, 2, whole=True).ticks == (0, 1, 2)
  assert axes.linear(0, 50000).labels == ('0', '10k', '20k', '30k', '40k', '50k')
  assert axes.linear(0, 1e6).labels[-1] == '1M'
  assert axes.linear(-1, 1, unit=' %').labels == ('-1 %', '-0.5 %', '0 %', '0.5 %', '1 %')


@pytest.mark.parametrize('value', [0.0, 5.0, -3e8, 1e-12])
def test_a_range_without_extent_is_widened(value):
  axis = axes.linear(value, value, outward=True)
  assert axis.low < value < axis.high


def test_logarithmic_ticks():
  assert axes.logarithmic(0.01, 100).ticks == (0.01, 0.1, 1, 10, 100)
  assert axes.logarithmic(3, 3).ticks == (1, 2, 5, 10)
  wide = axes.logarithmic(1e-12, 1e6)
  assert wide.ticks == tuple(float(f'1e{p}') for p in range(-12, 7, 3))
  np.testing.assert_allclose(axes.logarithmic(0.01, 100).place([0.01, 1, 100], 0, 80), [0, 40, 80])


def test_coordinates_by_hand():
  # No titles, no legend: the box runs from y = 8 to 200 - 22, and x from 10 + 3 characters of '0.5'
  # to 300 - 14.
  svg = curves.svg([('', [0, 5, 10], [0.0, 1.0, 0.5])], width=300, height=200)
  left = 10 + math.ceil(3 * 7.3)
  expected = [[left, 178], [(left + 286) / 2, 8], [286, 93]]
  (line,) = polylines(svg)
  np.testing.assert_allclose(line, expected, atol=0.051)
  circles = [(float(c.get('cx')), float(c.get('cy'))) for c in parse(svg).iter('circle')]
  np.testing.assert_allclose(circles, expected, atol=0.051)


@pytest.mark.parametrize(
  'options', [dict(), dict(log_y=True), dict(title='T', x_title='x', y_title='y')]
)
def test_values_fall_on_the_grid_lines_of_their_ticks(options):
  values = [1.0, 10.0, 100.0, 1000.0] if options.get('log_y') else [0.0, 2.0, 4.0, 10.0]
  svg = curves.svg([('a', [0, 1, 2, 3], values)], **options)
  lines = {}  # tick label -> y of its grid line
  for group in parse(svg).iter('g'):
    if group.get('class') == 'axes':
      for path, text in zip(group.findall('path'), group.findall('text'), strict=False):
        match = re.fullmatch(r'M\S+ (\S+)H\S+', path.get('d'))
        if match and text.get('text-anchor') == 'end':
          lines[text.text] = float(match[1])
  (line,) = polylines(svg)
  np.testing.assert_allclose(line[:, 1], [lines[f'{v:g}'] for v in values], atol=0.11)


def test_percent_writes_shares_in_percent_and_keeps_the_band_within():
  svg = curves.svg([('a', [0, 1], [0.2, 0.99], [0.1, 0.3])], percent=True)
  assert {'0 %', '20 %', '100 %'} <= set(texts(svg)) and '120 %' not in texts(svg)
  assert '99.0 % at 1' in svg
  low_and_high = points(next(parse(svg).iter('polygon')))[:, 1]
  # The outline is the upper edge forth (30 %, 100 %), then the lower edge back (69 %, 10 %); the
  # axis ends at 100 %.
  per_percent = (low_and_high[0] - low_and_high[1]) / 70
  np.testing.assert_allclose(
    (low_and_high - low_and_high[1]) / per_percent, [70, 0, 31, 90], atol=0.1
  )


def test_values_that_are_not_finite_are_skipped():
  x, y = [0, 1, 2, math.nan, 4, 5], [1.0, math.nan, 3.0, 2.0, None, math.inf]
  (line,) = polylines(curves.svg([('a', x, y)]))
  assert line.shape == (2, 2)


def test_log_skips_what_is_not_above_zero():
  (line,) = polylines(
    curves.svg([('a', [0, 1, 2, 3], [1.0, 0.0, -1.0, 10.0], [5.0, 0, 0, 0])], log_y=True)
  )
  assert line.shape == (2, 2) and np.isfinite(line).all()


def test_a_single_point_is_a_dot_and_an_empty_series_is_named():
  svg = curves.svg([('dot', [3], [0.5]), ('gone', [1, 2], [math.nan, math.nan])])
  assert not polylines(svg) and len(list(parse(svg).iter('circle'))) == 1
  assert 'gone (no finite values)' in texts(svg)


def test_points_tell_their_value_on_hover():
  svg = curves.svg([('M3D', [100, 200], [0.25, 0.75])])
  titles = [circle.find('title').text for circle in parse(svg).iter('circle')]
  assert titles == ['M3D: 0.25 at 100', 'M3D: 0.75 at 200']


def test_downsampling_keeps_extremes_and_ends():
  values = np.random.default_rng(0).normal(size=10_000)
  values[[1234, 8888]] = 50, -70
  keep = curves.downsample(values, 100)
  assert len(keep) <= 100 and (np.diff(keep) > 0).all()
  assert {0, 1234, 8888, 9999} <= set(keep.tolist())
  for stretch in np.array_split(
    np.arange(10_000), 10
  ):  # No stretch of a tenth loses its own extremes.
    shown = values[np.intersect1d(keep, stretch)]
    assert shown.max() >= np.quantile(values[stretch], 0.98) and shown.min() <= np.quantile(
      values[stretch], 0.02
    )
  assert curves.downsample(values[:50], 100).tolist() == list(range(50))


def test_long_series_become_small_charts_with_their_peaks():
  y = np.zeros(100_000)
  y[54_321] = 10.0
  svg = curves.svg([('a', np.arange(100_000), y)], max_points=200)
  (line,) = polylines(svg)
  assert len(line) <= 200 and len(svg) < 10_000
  assert line[:, 1].min() == line[:, 1].max() - (
    280 - 22 - 8 - (18 + 4)
  )  # The peak reaches the top of the box.


def test_a_short_series_is_thinned_with_what_its_points_tell():
  svg = curves.svg([('a', [10, 20, 30, 40, 50, 60], [0, 1, 9, 2, 3, 4])], max_points=4)
  titles = [circle.find('title').text for circle in parse(svg).iter('circle')]
  assert 2 <= len(titles) <= 4 and len(titles) == len(polylines(svg)[0])
  assert titles[0] == 'a: 0 at 10' and 'a: 9 at 30' in titles and titles[-1] == 'a: 4 at 60'


def test_a_palette_keeps_colours_over_charts_and_wraps_with_dashes():
  def strokes(svg):
    return [
      (line.get('style'), line.get('stroke-dasharray')) for line in parse(svg).iter('polyline')
    ]

  many = strokes(curves.svg([(f's{i}', [0, 1], [i, i + 1]) for i in range(9)]))
  assert len(set(many)) == 9 and many[0][0] == many[7][0] and many[7][1]
  assert strokes(curves.svg([('b', [0, 1], [0, 1])], palette={'a': 0, 'b': 1})) == [many[1]]


def test_text_is_escaped():
  evil = '<script>alert("1")</script>&'
  svg = curves.svg([(evil, [0, 1], [0, 1])], title=evil, x_title=evil, y_title=evil)
  assert '<script' not in svg
  assert texts(svg).count(evil) == 4  # title, legend, both axes: read back as they were


@pytest.mark.parametrize(
  'series, options, message',
  [
    ([], {}, 'at least one series'),
    ([('a', [], [])], dict(title='Loss'), "'Loss'.*finite value"),
    ([('a', [0, 1], [-1, 0])], dict(log_y=True), 'above zero'),
    ([('a', [0, 1], [1])], {}, "'a' has x, y and band of different lengths: 2, 1"),
    ([('a', [0, 1], [1, 2], [1])], {}, 'different lengths: 2, 2, 1'),
    ([('a', [[0, 1]], [[1, 2]])], {}, 'one-dimensional'),
    ([('a', [0, 1], ['x', 'y'])], {}, 'plain numbers'),
    ([('a', [0, 1], [1, 2])], dict(log_y=True, percent=True), 'percent or logarithmic'),
    ([('a', [0, 1], [1, 2])], dict(width=40), 'no room'),
    ([('a', [0, 1], [1, 2])], dict(max_points=2), 'at least 4'),
  ],
)
def test_mistakes_are_named(series, options, message):
  with pytest.raises(UserError, match=message):
    curves.svg(series, **options)


def test_many_long_names_make_a_chart_higher_and_leave_the_lines_their_room():
  names = [f'a learner with a very long name, number {number}' for number in range(20)]
  few = curves.svg([('short', [0, 1], [0.1, 0.2])])
  many = curves.svg([(name, [0, 1], [0.1, 0.2]) for name in names])
  heights = [int(re.search(r'viewBox="0 0 440 (\d+)"', chart)[1]) for chart in (few, many)]
  assert heights[0] == 280 and heights[1] > 400 and all(name in many for name in names)
