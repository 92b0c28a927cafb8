"""One HTML page that shows a run: a single file without scripts, links or remote parts, to open,
mail or print."""

import base64
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from jaxdistill.errors import UserError, unknown
from jaxdistill.report import curves, pictures, plots, style, tables

_SCATTER_OPTIONS = (
  'points',
  'title',
  'x_title',
  'y_title',
  'log_x',
  'percent',
  'width',
  'height',
)
_CHART_OPTIONS = (
  'series',
  'title',
  'x_title',
  'y_title',
  'log_y',
  'percent',
  'width',
  'height',
  'max_points',
)


class Page:
  """A report under construction: each method adds one section and returns the page; `html` returns
  the file's text.

  Sections appear in the order of the calls, the headline always on top. All text is escaped;
  nothing is read as HTML.

  >>> page = Page('M3D on digits', 'ten images').headline([('M3D',
  ...   '90.7 %')]).text('One image per class.')
  >>> page.html()[:15]
  '<!DOCTYPE html>'

  Every method raises UserError for content that cannot be shown, at the call that adds it.
  """

  def __init__(self, title: str, subtitle: str = ''):
    self.title, self.subtitle = str(title), str(subtitle)
    self._headline = ''
    self._sections: list[str] = []
    if not self.title.strip():
      raise UserError('A page needs a title.')

  def headline(self, figures: Iterable[Sequence[str]]) -> 'Page':
    """Puts a few large figures on top of the page: tuples (label, value) or (label, value,
    note)."""
    parts = []
    for figure in figures:
      if isinstance(figure, str) or len(figure) not in (2, 3):
        raise UserError(
          f'A headline figure is (label, value) or (label, value, note), but {figure!r} was given.'
        )
      label, value, note = (*figure, '')[:3]
      note = f'<dd class="note">{_text(note)}</dd>' if note else ''
      parts.append(f'<div><dt>{_text(label)}</dt><dd class="value">{_text(value)}</dd>{note}</div>')
    if not parts:
      raise UserError('A headline needs at least one figure (label, value, note).')
    self._headline = f'<dl class="headline">{"".join(parts)}</dl>'
    return self

  def text(self, text: str, title: str = '') -> 'Page':
    """Adds prose; an empty line starts a new paragraph."""
    paragraphs = [part.strip() for part in str(text).split('\n\n') if part.strip()]
    return self._add(title, ''.join(f'<p>{_text(part)}</p>' for part in paragraphs))

  def table(
    self, title: str, rows: Iterable[Mapping], columns: Iterable[Sequence], note: str = ''
  ) -> 'Page':
    """Adds a table of rows and columns as `tables` describes them, with a remark below."""
    note = f'<p class="note">{_text(note)}</p>' if note else ''
    return self._add(title, f'<div class="scroll">{tables.html(rows, columns)}</div>{note}')

  def curves(self, title: str, charts: Iterable[Mapping]) -> 'Page':
    """Adds charts side by side where there is room.

    charts: mappings of the arguments of `curves.svg`: `series` and perhaps title, x_title, y_title,
      log_y, percent ...
    A label has the same colour in all charts of one call (as long as the palette lasts).

    >>> losses = dict(title='Loss', x_title='step', log_y=True, series=[('M3D', [0, 1, 2], [4.0,
    ...   2.0, 1.0])])
    >>> 'polyline' in Page('run').curves('Training', [losses]).html()
    True
    """
    charts = [dict(chart) for chart in charts]
    if not charts:
      raise UserError(f'The section {title!r} needs at least one chart (series and options).')
    for chart in charts:
      for key in chart.keys() - set(_CHART_OPTIONS):
        raise unknown('option of a chart', key, _CHART_OPTIONS)
      if 'series' not in chart:
        raise UserError(f'A chart of the section {title!r} has no series.')
      chart['series'] = list(chart['series'])
    drawn = itertools.chain.from_iterable(chart['series'] for chart in charts)
    labels = dict.fromkeys(series[0] for series in drawn)
    # With more labels than colours each chart counts for itself, else a lone line could come out
    # dashed.
    palette = (
      {label: i for i, label in enumerate(labels)} if len(labels) <= len(curves.COLOURS) else None
    )
    figures = (f'<figure>{curves.svg(**chart, palette=palette)}</figure>' for chart in charts)
    return self._add(title, f'<div class="charts">{"".join(figures)}</div>')

  def scatter(self, title: str, charts: Iterable[Mapping]) -> 'Page':
    """Adds scatter plots side by side where there is room.

    charts: mappings of the arguments of `plots.scatter`: `points` and perhaps title, x_title,
      y_title, log_x, percent ...

    >>> sizes = dict(title='Size', points=[('resnet8', 78e3, 0.61), ('resnet20', 278e3, 0.69)])
    >>> 'svg+xml' in Page('run').scatter('Accuracy against size', [sizes]).html()
    True
    """
    figures = []
    for chart in charts:
      for key in chart.keys() - set(_SCATTER_OPTIONS):
        raise unknown('option of a scatter plot', key, _SCATTER_OPTIONS)
      if 'points' not in chart:
        raise UserError(f'A plot of the section {title!r} has no points.')
      data = base64.b64encode(plots.scatter(**chart).encode()).decode('ascii')
      figures.append(
        f'<figure><img class="plot" alt="{_text(chart.get("title") or title)}" '
        f'src="data:image/svg+xml;base64,{data}"></figure>'
      )
    if not figures:
      raise UserError(f'The section {title!r} needs at least one plot (points and options).')
    return self._add(title, f'<div class="charts">{"".join(figures)}</div>')

  def pictures(self, title: str, items: Iterable[Sequence]) -> 'Page':
    """Adds pictures with captions.

    items: (caption, picture) or (caption, picture, row_labels); a picture is uint8 [h, w, 3], as
      `pictures.grid` makes
    it, and row_labels name its rows (the classes, say) from top to bottom. It shrinks only where
    there is no room.
    """
    figures = [_figure(item) for item in items]
    if not figures:
      raise UserError(f'The section {title!r} needs at least one picture (caption, array).')
    return self._add(title, f'<div class="pictures">{"".join(figures)}</div>')

  def facts(self, facts: Mapping[str, object], title: str = '') -> 'Page':
    """Adds short facts by name: versions, device, durations."""
    if not facts:
      raise UserError('A section of facts needs at least one fact.')
    parts = (
      f'<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>' for name, value in facts.items()
    )
    return self._add(title, f'<dl class="facts">{"".join(parts)}</dl>')

  def config(self, config: Mapping, title: str = 'Configuration') -> 'Page':
    """Adds a config (ConfigDict or nested mapping), folded: JSON, a line for each dotted key of the
    command line."""

    def written(value):
      return json.dumps(value, ensure_ascii=False, default=str)

    lines = ',\n'.join(
      f'  {written(key)}: {written(value)}' for key, value in dotted(config).items()
    )
    return self.folded(title, f'{{\n{lines}\n}}')

  def folded(self, title: str, text: str) -> 'Page':
    """Adds text as it stands, in type of one width, folded under its title."""
    return self._add(
      '', f'<details><summary>{_text(title)}</summary><pre>{_text(text)}</pre></details>'
    )

  def html(self) -> str:
    """Returns the page: one HTML5 document that needs no other file."""
    subtitle = f'<p class="subtitle">{_text(self.subtitle)}</p>' if self.subtitle else ''
    return (
      '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
      '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
      f'<title>{_text(self.title)}</title>\n<style>{style.CSS}</style>\n</head>\n<body>\n<main>\n'
      f'<header><h1>{_text(self.title)}</h1>{subtitle}{self._headline}</header>\n'
      + '\n'.join(self._sections)
      + '\n</main>\n</body>\n</html>\n'
    )

  def _add(self, title: str, content: str) -> 'Page':
    heading = f'<h2>{_text(title)}</h2>' if title else ''
    self._sections.append(f'<section>{heading}{content}</section>')
    return self


def dotted(config: Mapping) -> dict[str, object]:
  """Flattens a nested config to dotted keys.

  >>> dotted({'seed': 0, 'data': {'name': 'digits'}})
  {'seed': 0, 'data.name': 'digits'}
  """
  flat = {}
  for key, value in (config.to_dict() if hasattr(config, 'to_dict') else config).items():
    if isinstance(value, Mapping) or hasattr(value, 'to_dict'):
      flat.update({f'{key}.{inner}': leaf for inner, leaf in dotted(value).items()})
    else:
      flat[str(key)] = value
  return flat


def _figure(item: Sequence) -> str:
  if isinstance(item, (str, np.ndarray)) or len(item) not in (2, 3):
    raise UserError('A picture is given as (caption, array) or (caption, array, row_labels).')
  caption, picture, labels = (*item, ())[:3]
  picture = np.asarray(picture)
  if picture.ndim != 3:
    raise UserError(
      f'The picture {caption!r} must have the shape [h, w, 3], but has {list(picture.shape)}; '
      'pictures.grid makes one picture of many images.'
    )
  data = base64.b64encode(pictures.png_bytes(picture)).decode('ascii')
  image = (
    f'<img alt="{_text(caption)}" width="{picture.shape[1]}" height="{picture.shape[0]}" '
    f'src="data:image/png;base64,{data}">'
  )
  if len(labels):
    rows = ''.join(f'<li>{_text(label)}</li>' for label in labels)
    image = f'<div class="labelled"><ol>{rows}</ol><div>{image}</div></div>'
  return f'<figure><figcaption>{_text(caption)}</figcaption>{image}</figure>'


def _text(value: object) -> str:
  return escape(str(value))
