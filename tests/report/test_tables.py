"""One table, three ways of writing it."""

import math

import pytest

from jaxdistill.errors import UserError
from jaxdistill.report import tables

ROWS = [
  dict(name='M3D', top1=dict(mean=0.9071, std=0.0042, n=5), seconds=72.4, images=10),
  dict(name='random', top1=dict(mean=0.75, std=0.021, n=5), seconds=0.02, images=10),
  dict(
    name='whole', top1=dict(mean=0.984, std=0.002, n=5), seconds=None, images=1437, reference=True
  ),
]
COLUMNS = [
  ('name', 'Method'),
  ('top1', 'Top-1 (%)', 'accuracy', 'max'),
  ('seconds', 'Time', 'seconds', 'min'),
  ('images', 'n', 'count'),
]


def test_text_is_aligned():
  assert tables.text(ROWS, COLUMNS).split('\n') == [
    'Method         Top-1 (%)        Time      n',
    '------  ----------------  ----------  -----',
    'M3D     90.7 ± 0.4 (n=5)  1 min 12 s     10',
    'random  75.0 ± 2.1 (n=5)       20 ms     10',
    'whole   98.4 ± 0.2 (n=5)           –  1,437',
  ]


def test_markdown_marks_the_best_but_not_the_reference():
  assert tables.markdown(ROWS, COLUMNS).split('\n') == [
    '| Method | Top-1 (%) | Time | n |',
    '|:---|---:|---:|---:|',
    '| M3D | **90.7** ± 0.4 (n=5) | 1 min 12 s | 10 |',
    '| random | 75.0 ± 2.1 (n=5) | **20 ms** | 10 |',
    '| whole | 98.4 ± 0.2 (n=5) | – | 1,437 |',
  ]


def test_html_carries_numbers_best_and_reference():
  html = tables.html(ROWS, COLUMNS)
  assert html.count('<tr') == 4 and html.count('<tr class="reference">') == 1
  assert html.count('<strong>') == 2
  assert (
    '<td class="number"><strong>90.7</strong> <span class="spread">± 0.4</span> '
    '<span class="runs">n=5</span></td>'
  ) in html
  assert '<strong>20 ms</strong>' in html


def test_values_that_read_the_same_are_equally_good():
  rows = [dict(v=0.90712), dict(v=0.90698), dict(v=0.5), dict(v=None), dict(v=math.nan)]
  assert tables.html(rows, [('v', 'v', 'accuracy', 'max')]).count('<strong>90.7</strong>') == 2


def test_a_single_competitor_is_not_the_best():
  assert '<strong>' not in tables.html([dict(v=0.9), dict(v=None)], [('v', 'v', 'accuracy', 'max')])


def test_text_of_others_cannot_break_the_table():
  evil = '<script>"a" & \'b\'</script>|\nnext'
  columns = [('name', evil)]
  html = tables.html([dict(name=evil)], columns)
  assert (
    '<script' not in html and html.count('&lt;script&gt;&quot;a&quot; &amp; &#x27;b&#x27;') == 2
  )
  assert len(tables.markdown([dict(name=evil)], columns).split('\n')) == 3
  assert '\\|' in tables.markdown([dict(name=evil)], columns)
  assert len(tables.text([dict(name=evil)], columns).split('\n')) == 3


def test_formats():
  rows = [dict(a=0.123456, b=3 * 2**20, c=True, d=[1, 2], e=2.5e12)]
  columns = [
    ('a', 'a', '.2f'),
    ('b', 'b', 'bytes'),
    ('c', 'c', 'flag'),
    ('d', 'd', lambda v: f'{sum(v)} in all'),
    ('e', 'e', 'count'),
  ]
  assert tables.text(rows, columns).split('\n')[-1].split('  ') == [
    '0.12',
    '3.0 MiB',
    'yes',
    '3 in all',
    '2.5 T',
  ]
  assert tables.text([dict(a=None), dict(a=1)], [('a', 'a', '.2f')]).split('\n')[2:] == [
    '   –',
    '1.00',
  ]


@pytest.mark.parametrize(
  'rows, columns, message',
  [
    ([], COLUMNS, 'at least one row'),
    (ROWS, [], 'at least one column'),
    (ROWS, [('top', 'Top')], "no column 'top'; did you mean 'top1'"),
    (ROWS, [('seconds', 's', 'second')], "did you mean 'seconds'"),
    (ROWS, [('seconds', 's', 'seconds', 'least')], 'Valid: max, min'),
    (ROWS, [('name', 'Method', 'text', 'max')], 'not all of its values are numbers'),
  ],
)
def test_mistakes_are_named(rows, columns, message):
  for write in (tables.text, tables.markdown, tables.html):
    with pytest.raises(UserError, match=message):
      write(rows, columns)
