"""The page as a whole: well-formed, self-contained, escaped."""

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from jaxdistill.errors import UserError
from jaxdistill.report import Page, page, pictures

VOID = {'meta', 'img', 'br', 'link', 'input', 'hr'}
EVIL = '</title></style><script>alert("x")</script><img src=x onerror=y>&amp;\'"'


class Outline(HTMLParser):
  """Reads a page strictly: every element is closed in order; collects elements, attributes and
  text."""

  def __init__(self, html):
    super().__init__(convert_charrefs=True)
    self.open, self.elements, self.text = [], [], []
    self.feed(html)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def full_page(text='plain'):
  grid = pictures.grid(np.linspace(0, 1, 10 * 8 * 8).reshape(10, 8, 8, 1), 5)
  return (
    Page(text, text)
    .headline([(text, text, text), (text, '90.7 %')])
    .text(f'{text}\n\nsecond paragraph', title=text)
    .table(
      text,
      [{text: text, 'top1': dict(mean=0.5, std=0.1, n=2)}],
      [(text, text), ('top1', text, 'accuracy')],
      note=text,
    )
    .curves(
      text,
      [dict(title=text, x_title=text, y_title=text, series=[(text, [0, 1], [1, 2], [0.1, 0.2])])],
    )
    .pictures(text, [(text, grid), (text, grid, [text, text])])
    .facts({text: text, 'count': 3}, title=text)
    .config({text: {'inner': text}}, title=text)
  )


@pytest.mark.parametrize('text', ['plain', EVIL])
def test_a_page_is_balanced_and_reads_back_what_was_put_in(text):
  html = full_page(text).html()
  outline = Outline(html)
  assert html.startswith('<!DOCTYPE html>') and ('html', {'lang': 'en'}) in outline.elements
  tags = [tag for tag, _ in outline.elements]
  assert (
    tags.count('title') >= 1
    and tags.count('h1') == 1
    and tags.count('svg') == 1
    and tags.count('img') == 2
  )
  assert 'script' not in tags and not any(
    name.startswith('on') for _, attrs in outline.elements for name in attrs
  )
  assert [attrs['alt'] for tag, attrs in outline.elements if tag == 'img'] == [text, text]
  assert outline.text.count(text) >= 18  # Every place that shows user text shows it literally.


def test_a_page_refers_to_nothing_outside():
  html = full_page().html()
  outline = Outline(html)
  assert not {'link', 'script', 'iframe', 'object', 'base'} & {tag for tag, _ in outline.elements}
  for tag, attrs in outline.elements:
    for name in ('src', 'href', 'srcset', 'data', 'xlink:href', 'action'):
      assert attrs.get(name, 'data:').startswith('data:'), (tag, attrs)
  assert 'http' not in html and 'url(' not in html and '@import' not in html


def test_a_page_serves_light_dark_phone_and_paper():
  html = full_page().html()
  assert (
    'prefers-color-scheme: dark' in html
    and '@media print' in html
    and 'image-rendering: pixelated' in html
  )
  assert 'name="viewport" content="width=device-width' in html and '<meta charset="utf-8">' in html
  css = re.search(r'<style>(.*)</style>', html, re.S)[1]
  assert css.count('{') == css.count('}')
  used, defined = (
    set(re.findall(r'var\((--[\w-]+)[),]', html)),
    set(re.findall(r'(--[\w-]+):', css)),
  )
  assert used <= defined


def test_pictures_are_embedded_exactly():
  picture = np.random.default_rng(0).integers(0, 256, [12, 20, 3], dtype=np.uint8)
  outline = Outline(Page('p').pictures('P', [('caption', picture)]).html())
  (image,) = [attrs for tag, attrs in outline.elements if tag == 'img']
  assert (image['width'], image['height']) == ('20', '12')
  data = base64.b64decode(image['src'].removeprefix('data:image/png;base64,'))
  with Image.open(io.BytesIO(data)) as read:
    np.testing.assert_array_equal(np.asarray(read), picture)


def test_row_labels_stand_in_order():
  outline = Outline(
    Page('p')
    .pictures('P', [('c', pictures.grid(np.zeros([2, 4, 4, 1]), 1), ('cat', 'dog'))])
    .html()
  )
  assert [tag for tag, _ in outline.elements].count('li') == 2
  assert [text for text in outline.text if text in ('cat', 'dog')] == ['cat', 'dog']


def test_sections_keep_their_order_and_the_headline_is_on_top():
  outline = Outline(
    Page('p').text('first').facts({'second': 2}).text('third').headline([('top', '1')]).html()
  )
  shown = [text for text in outline.text if text in ('top', 'first', 'second', 'third')]
  assert shown == ['top', 'first', 'second', 'third']


def test_a_label_keeps_its_colour_over_charts():
  charts = [
    dict(series=[('a', [0, 1], [0, 1]), ('b', [0, 1], [1, 0])]),
    dict(series=[('b', [0, 1], [0, 1])]),
  ]
  outline = Outline(Page('p').curves('C', charts).html())
  strokes = [attrs['style'] for tag, attrs in outline.elements if tag == 'polyline']
  assert len(strokes) == 3 and strokes[1] == strokes[2] != strokes[0]


def test_config_is_json_with_dotted_keys():
  config = ConfigDict(
    dict(seed=1, data=dict(name='digits', sizes=(8, 16)), model=dict(norm=dict(name='instance')))
  )
  outline = Outline(Page('p').config(config).html())
  (shown,) = [text for text in outline.text if text.startswith('{\n')]
  assert json.loads(shown) == {
    'seed': 1,
    'data.name': 'digits',
    'data.sizes': [8, 16],
    'model.norm.name': 'instance',
  }
  assert len(shown.split('\n')) == 6
  assert page.dotted(config) == page.dotted(config.to_dict())


@pytest.mark.parametrize(
  'add, message',
  [
    (lambda p: Page(' '), 'needs a title'),
    (lambda p: p.headline([]), 'at least one figure'),
    (lambda p: p.headline(['M3D']), 'label, value'),
    (lambda p: p.table('T', [], [('a', 'A')]), 'at least one row'),
    (lambda p: p.curves('C', []), 'at least one chart'),
    (lambda p: p.curves('C', [dict(title='x')]), 'no series'),
    (lambda p: p.curves('C', [dict(series=[('a', [0], [1])], logy=True)]), "did you mean 'log_y'"),
    (lambda p: p.curves('C', [dict(series=[])]), 'at least one series'),
    (lambda p: p.pictures('P', []), 'at least one picture'),
    (lambda p: p.pictures('P', [np.zeros([4, 4, 3])]), 'caption, array'),
    (lambda p: p.pictures('P', [('c', np.zeros([2, 4, 4, 3], np.uint8))]), 'pictures.grid'),
    (lambda p: p.facts({}), 'at least one fact'),
  ],
)
def test_mistakes_are_named_at_the_call(add, message):
  with pytest.raises(UserError, match=message):
    add(Page('p'))


def test_importing_the_report_imports_nothing_heavy():
  code = (
    'import sys, jaxdistill.report; '
    'print([m for m in ("jax", "PIL", "matplotlib", "ml_collections", "sklearn") if m in '
    'sys.modules])'
  )
  assert (
    subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, check=True
    ).stdout.strip()
    == '[]'
  )
