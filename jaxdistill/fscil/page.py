"""The report of this family: accuracy by session of every learner, the table, and what the last
session confuses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.experiment import page
from jaxdistill.experiment.results import RECONSTRUCTION, Result
from jaxdistill.fscil import presets, published, scoring
from jaxdistill.fscil.columns import gained, points
from jaxdistill.fscil.protocol import Sessions
from jaxdistill.report import numbers, pictures
from jaxdistill.training.run import Run

_PHASES = {'base': 'Base training', 'sessions': 'Sessions'}
_BLOCKS = ('right', 'taken for another base class', 'taken for another novel class')
# The side of a picture of a confusion, in pixels, at least.
_SIDE = 240
_SHOWN = 4  # pictures of confusions
_CLASSES_SHOWN = 10
_IMAGES_SHOWN = 5  # of a class


def html(result: Result, run: Run, images: Sequence[tuple] = ()) -> str:
  """Returns the page as one HTML text; `images` are pictures of what is remembered."""
  extras, rows = result.extras, [row.to_json() for row in result.rows]
  report = page.begin(result, about(result))
  report.headline(_headline(rows))
  cited = references(result)
  title = 'Test accuracy over the sessions'
  if extras['reconstructed']:
    title += RECONSTRUCTION
  table = [flat_row(row) for row in rows]
  report.table(title, [*table, *cited], columns(table, cited), note=note(result, bool(cited)))
  report.curves('Sessions', charts(result, cited))
  blocks = confusion_rows(rows, extras['sizes'][0])
  report.table(
    'What the last session confuses',
    blocks,
    [('label', 'learner'), ('images', 'test images of'), *((b, b, 'accuracy') for b in _BLOCKS)],
    note='Shares of the test images of base and of novel classes, in percent, all runs together.',
  )
  report.pictures('Confusion of the last session', confusion_pictures(rows))
  if images:
    report.pictures('Memory', images)
  if curve := _base_chart(run):
    report.curves('Base training', [curve])
  return page.end(report, result, run, page.facts(result, _PHASES) | _facts(result))


def about(result: Result) -> str:
  """Returns what a run was, in a few words.

  The draws and base networks are those of all its rows.
  """
  draws, networks = result.extras['draws'], result.extras['base']['networks']
  return f'{draws} draw(s) of the few images, {networks} base network(s)'


def _headline(rows: Sequence[Mapping[str, Any]]) -> list[tuple]:
  figures = []
  for row in rows[:4]:
    mean, deviation, _ = numbers.accuracy_parts(row['last'])
    average = numbers.accuracy_parts(row['average'])[0]
    figures.append((row['label'], f'{mean} %', f'{deviation} last, {average} % average'.strip()))
  return figures


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a row of result.json as the table shows it."""
  seconds = row['session_seconds']
  gains = {f'gain_{name}': gain for name, gain in row.get('differences', {}).items()}
  return {
    **row,
    **gains,
    'live': row['parameters'][-1],
    'session': sum(seconds) / len(seconds),
  }


def columns(
  rows: Sequence[Mapping[str, Any]], cited: Sequence[Mapping[str, Any]] = ()
) -> list[tuple]:
  """Returns the table's columns, those left out that no row fills."""
  listed = [
    ('label', 'learner'),
    ('average', 'average', 'accuracy', 'max'),
    ('last', 'last', 'accuracy', 'max'),
    ('pd', 'PD', points),
    ('hm', 'HM', 'accuracy', 'max'),
    ('base', 'base', 'accuracy', 'max'),
    ('novel', 'novel', 'accuracy', 'max'),
    ('gacc', 'gAcc', 'accuracy', 'max'),
    ('gain_average', 'average, less NCM', gained),
    ('gain_last', 'last, less NCM', gained),
    ('nme_last', 'last by NME', 'accuracy'),
    ('batch_average', 'average over batches', 'accuracy'),
    ('forgetting', 'forgetting', points),
    ('live', 'parameters', 'count'),
    ('memory_bytes', 'memory a class', 'bytes'),
    ('session', 'a session', 'seconds'),
    ('network', 'network', 'text'),
  ]
  filled = set().union(*rows, *cited)
  return [column for column in listed if column[0] in filled]


def note(result: Result, cited: bool) -> str:
  """Returns the remark below the table: what its columns mean."""
  extras = result.extras
  base = extras['base']
  text = (
    f'Accuracy in percent, mean ± standard deviation over {extras["draws"]} draw(s) of the few '
    f'images on {base["networks"]} base network(s), trained with the head {base["head"]}. '
    'Average: over all sessions, that of the base included. PD: first less last. HM: harmonic '
    'mean of base and novel accuracy after the last session. gAcc: the mean over all weights of '
    'the base session. NME: nearest class mean of what the classifier sees. '
    'Average over batches: of the accuracies of 100 test images each, class by class, a short last '
    'batch counting whole, as in the code of CEC and its descendants. Parameters: behind '
    'the encoder, at the end. A session: its training, all runs together.'
  )
  if any('differences' in row.extras for row in result.rows):
    text += ' Less NCM: paired differences of runs, with their 95 % interval.'
  if extras['reconstructed']:
    ours = extras['reconstructed']
    labels = [row.label for row in result.rows if row.name.partition('-rate-')[0] in ours]
    text += (
      f' {", ".join(labels)}: parts of the papers were not at hand; what is our choice is said in '
      "each learner's page of code, and is a field of the config."
    )
  if cited:
    text += (
      ' Rows set back are published: single runs on the fixed list of few-shot images, with other '
      'networks and augmentation.'
    )
  return text


def references(result: Result) -> list[dict[str, Any]]:
  """Returns the published rows of the run's protocol, with all its sessions and classes in their
  usual order: those of its learners, or of a comparison all."""
  protocol, name = result.config['protocol'], result.config['data']['name']
  settled = presets.find(name)
  sessions = len(result.extras['sizes']) - 1
  if settled is None or protocol['order'] or sessions != settled.sessions:
    return []
  known = published.find(name, protocol['base_classes'], protocol['way'], protocol['shot'])
  names = {row.name for row in result.rows}
  if result.task == 'compare':
    names |= {''}
  cited = []
  for name, entries in known.items():
    for entry in entries if name in names else ():
      first, last = entry.accuracies[0], entry.accuracies[-1]
      cited.append(
        {
          'label': f'{entry.label}, published',
          'average': entry.average,
          'last': last,
          'pd': {'mean': first - last, 'std': None},
          'network': entry.network,
          'accuracy': entry.accuracies,
          'reference': True,
        }
      )
  return cited


def charts(result: Result, cited: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Returns accuracy against the classes seen: on all of them, on base and on novel classes."""
  seen = np.cumsum(result.extras['sizes']).tolist()
  axis = dict(x_title='classes seen', percent=True)
  groups = {'On all classes seen': None, 'On base classes': 'base', 'On novel classes': 'novel'}
  drawn = []
  for title, group in groups.items():
    series = [(row.label, *_curve(row.extras, group, seen)) for row in result.rows]
    if group is None:
      whole = [row for row in cited if len(row['accuracy']) == len(seen)]
      series += [(row['label'], seen, list(row['accuracy'])) for row in whole]
    if any(len(x) for _, x, *_ in series):
      drawn.append(dict(axis, title=title, series=series))
  return drawn


def _curve(extras: Mapping[str, Any], group: str | None, seen: Sequence[int]) -> tuple:
  values = extras['accuracy'] if group is None else extras['by_group'][group]
  values = np.asarray(values, np.float64)
  there = ~np.isnan(values).any(0)
  mean, std = values.mean(0), values.std(0, ddof=1) if len(values) > 1 else 0 * values[0]
  pick = lambda line: np.asarray(line)[there].tolist()
  return pick(seen), pick(mean), pick(std)


def confusion_rows(rows: Sequence[Mapping[str, Any]], base_classes: int) -> list[dict[str, Any]]:
  """Returns two rows a learner, its base and its novel classes, with shares by block."""
  table = []
  for row in rows:
    shares = scoring.blocks(row['confusion'], base_classes)
    for kind, line in zip(('base classes', 'novel classes'), shares):
      table.append({'label': row['label'], 'images': kind, **dict(zip(_BLOCKS, line.tolist()))})
  return table


def confusion_pictures(rows: Sequence[Mapping[str, Any]]) -> list[tuple]:
  """Returns the confusion of the first learners as pictures: row the true class in the order of
  arrival, column the answer, the darker the more often."""
  shown = []
  for row in rows[:_SHOWN]:
    counts = np.asarray(row['confusion'], np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    grey = (255 * (1 - np.sqrt(shares))).round().astype(np.uint8)
    scale = max(1, _SIDE // len(grey))
    large = np.kron(grey, np.ones((scale, scale), np.uint8))
    shown.append((row['label'], np.repeat(large[..., None], 3, -1)))
  return shown


def remembered(
  albums: Mapping[str, np.ndarray], sessions: Sessions, labels: Mapping[str, str]
) -> list[tuple]:
  """Returns a picture a learner: the images that it remembers of a class in a row, then as many
  real ones of the class.

  Args:
    albums: uint8 [C, ipc, h, w, c] by learner.
    sessions: of the first draw.
    labels: of the learners.
  """
  shown = []
  for name, album in albums.items():
    rows = []
    columns = _columns_shown(sessions)
    for column in columns:
      kept = album[column][:_IMAGES_SHOWN]
      members = sessions.train.of_class(sessions.order[column])[: len(kept)]
      real = sessions.train.images[members]
      rows += [kept, real]
    names = [sessions.test.class_names[column] for column in columns]
    width = 2 * min(album.shape[1], _IMAGES_SHOWN)
    caption = f'{labels[name]}: what is remembered of a class, and as many real images'
    shown.append((caption, pictures.grid(np.concatenate(rows), columns=width), names))
  return shown


def _columns_shown(sessions: Sessions) -> list[int]:
  """The first base classes, and the first of the later ones."""
  half, base = _CLASSES_SHOWN // 2, sessions.base_classes
  first = list(range(min(base, half)))
  return first + list(range(base, min(sessions.num_classes, base + half)))


def _base_chart(run: Run) -> dict[str, Any]:
  """The checks of base training on base classes; {} where the networks were not trained here."""
  history = run.history('base')
  if not history:
    return {}
  steps, series = [line['step'] for line in history], []
  for split in ('test', 'validation'):
    if f'{split}_accuracy' in history[0]:
      series.append((f'{split} images', steps, [line[f'{split}_accuracy'] for line in history]))
  return dict(title='Accuracy on base classes', x_title='step', percent=True, series=series)


def _facts(result: Result) -> dict[str, str]:
  base = result.extras['base']
  return {
    'Base networks': f'{base["networks"]} x {numbers.count(base["parameters"])} parameters, '
    f'head {base["head"]}',
    'Classes by session': ' + '.join(map(str, result.extras['sizes'])),
  }
