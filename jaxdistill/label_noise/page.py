"""The report of this family: the table of the methods, what they learn and know by heart while they
train, the labels that are believed least."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.data import Dataset
from jaxdistill.experiment import page
from jaxdistill.experiment.results import RECONSTRUCTION, Result
from jaxdistill.experiment.rows import flat
from jaxdistill.label_noise import columns as tables
from jaxdistill.label_noise import outcome, published
from jaxdistill.label_noise.method import Believed
from jaxdistill.label_noise.work import Work
from jaxdistill.report import numbers, pictures
from jaxdistill.training.run import Run

_PHASES = {'training': 'The training'}
_DOUBTED = 24  # labels whose images are shown
_ANNOTATORS = 12  # lines of the annotators' table
# Fields of a training by which it is another one than its recipe's, or of fewer examples.
_CHANGES = ('epochs', 'batch', 'learning_rate', 'train_images', 'trusted')


def html(result: Result, run: Run, work: Work, believed: Believed | None) -> str:
  """Returns the page as one HTML text; `believed` is what the last method thinks of the training
  examples."""
  report = page.begin(result, about(result))
  rows = [flat(row) for row in result.rows]
  cited = references(result)
  score = 'mean average precision, last' if result.extras['multilabel'] else 'last'
  report.headline(page.headline(result.rows, lambda row: score))
  title = 'Mean average precision' if result.extras['multilabel'] else 'Test accuracy'
  if result.extras['reconstructed']:
    title += RECONSTRUCTION
  shown = _with_published(rows, cited)
  report.table(title, shown, columns(shown, result), note=note(result, cited))
  believing = beliefs_columns(rows)
  if len(believing) > 1:
    report.table('What is believed of the training examples', rows, believing, note=_BELIEFS_NOTE)
  report.curves('Training', charts(result, run))
  if believed is not None:
    add_doubted(report, work, believed, result.rows[-1].label)
  return page.end(report, result, run, page.facts(result, _PHASES) | _facts(result))


def about(result: Result) -> str:
  """Returns what a run was, in a few words."""
  extras = result.extras
  return f'{extras["seeds"]} network(s) {extras["network"]}, {extras["images"]:,} examples'


def columns(rows: Sequence[Mapping[str, Any]], result: Result) -> list[tuple]:
  """Returns the table's columns, those left out that no row fills."""
  listed = [
    ('label', 'method'),
    ('last', 'last', 'accuracy', 'max'),
    ('gain_last', f'less {result.extras["compared_with"]}', numbers.gained),
    ('selected', 'selected on validation', 'accuracy', 'max'),
    ('best_test', 'best on test', 'accuracy', 'max'),
    ('knn', 'vote of neighbours', 'accuracy', 'max'),
    ('of1', 'OF1', 'accuracy', 'max'),
    ('cf1', 'CF1', 'accuracy', 'max'),
    ('memorised', 'wrong labels by heart', 'accuracy'),
    ('calibration_error', 'calibration error', 'accuracy'),
    ('published', 'published, last', 'accuracy'),
    ('published_best', 'published, best', 'accuracy'),
    ('parameters', 'parameters', 'count'),
    ('seconds', 'training', 'seconds'),
  ]
  return [column for column in listed if column[0] in _filled(rows)]


def beliefs_columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple]:
  """Returns the columns of the table of beliefs, those left out that no row fills."""
  listed = [
    ('label', 'method'),
    ('label_accuracy', 'believed labels', 'accuracy', 'max'),
    ('auroc', 'wrong labels found (AUROC)', tables.number),
    ('confident_share', 'confident', 'accuracy'),
    ('confident_precision', 'precision of these', 'accuracy'),
    ('confident_recall', 'recall of these', 'accuracy'),
    ('transition_error', 'error of T', tables.number),
    ('confusion_error', "error of annotators' matrices", tables.number),
    ('annotator_correlation', "annotators' accuracy (r)", tables.number),
  ]
  return [column for column in listed if column[0] in _filled(rows)]


_BELIEFS_NOTE = (
  'Believed labels: how often the most probable label of a training example is the true one. '
  'AUROC: of finding wrongly labelled examples where the observed label is believed least. Error '
  'of T: sum |T - T*| / sum |T| with T the true one, of several labels an example summed over '
  'them. Error of matrices: mean absolute error, by the number of labels. r: correlation of '
  'estimated and true accuracy over annotators with 20 labels or more. True labels serve this '
  'table alone.'
)


def note(result: Result, cited: Mapping[str, published.Published]) -> str:
  """Returns the remark below the table: what its columns mean."""
  extras = result.extras
  wrong = extras['wrong']
  measure = 'Mean average precision' if extras['multilabel'] else 'Accuracy'
  text = (
    f'{measure} in percent on clean test examples, mean ± standard deviation over '
    f'{extras["seeds"]} network(s) in one program. {extras["observed"]}'
  )
  text += '. ' if wrong is None else f', {100 * wrong:.2f} % of these are wrong. '
  text += (
    '"last": the network at the end of its training; "selected": its best check on held-out '
    'examples by their observed labels; "best on test": its best check on the test set, which is '
    'optimistic. Wrong labels by heart: of the wrongly labelled training examples the share whose '
    'wrong label the final network answers. Differences are paired, seed by seed, with their '
    'standard error.'
  )
  if extras['reconstructed']:
    labels = [row.label for row in result.rows if row.name in extras['reconstructed']]
    text += (
      f' {", ".join(labels)}: the tables of the paper could not be read; what is our choice is a '
      'field of the config.'
    )
  if cited:
    sources = dict.fromkeys(known.source for known in cited.values())
    text += f' Published: {"; ".join(sources)}.'
  return text


def references(result: Result) -> dict[str, published.Published]:
  """Returns the published numbers of the run's protocol by the row of ours."""
  config = result.config
  asked = config['learning']
  is_changed = any(asked[name] for name in _CHANGES) or not asked['augmented']
  if is_changed:
    return {}
  sections = config.get('members') or {config['method']['name']: config['method']}
  return published.find(
    config['data']['name'],
    config['model'],
    asked['recipe'],
    config['evidence'],
    config['data']['validation_share'],
    {row.name: sections[row.name] for row in result.rows},
    config['data']['image_size'],
  )


def charts(result: Result, run: Run) -> list[dict[str, Any]]:
  """Returns accuracies on test and training examples while the networks train."""
  rows = result.rows
  shown = [page.accuracy_chart(rows) | {'title': 'Clean test examples'}]
  titles = {
    'memorised': 'Wrong labels known by heart',
    'precision': 'Of the chosen training examples those whose label is right',
    'truth': 'Training examples, by their true labels',
    'observed': 'Training examples, by their observed labels',
    'validation': 'Held-out examples, by their observed labels',
  }
  for name, title in titles.items():
    series = []
    for row in rows:
      if curve := row.extras['curves'].get(name):
        series.append((row.label, curve['steps'], curve['mean'], curve['std']))
    if series:
      shown.append(dict(title=title, x_title='step', percent=True, series=series))
  return shown


def add_doubted(report: Any, work: Work, believed: Believed, label: str) -> None:
  """Adds the examples whose observed label is believed least, and the annotators who are."""
  if not work.is_multilabel and isinstance(work.train, Dataset):
    probabilities, given = believed.labels.mean(0), work.evidence.labels
    least = np.argsort(probabilities[np.arange(len(given)), given], kind='stable')[:_DOUBTED]
    names = work.train.class_names
    listed = ', '.join(
      f'{names[given[row]]} → {names[probabilities[row].argmax()]}' for row in least
    )
    images = np.asarray(work.train.images[least])
    report.pictures(
      f'The labels that {label} believes least',
      [(f'Given → believed: {listed}', pictures.grid(images, columns=8))],
    )
  if work.evidence.kind == 'crowd':
    header, lines = outcome.annotator_table(work.evidence, believed)
    many = sorted(lines, key=lambda line: -line[1])[:_ANNOTATORS]
    rows = [dict(zip(header, line)) for line in many]
    titles = dict(
      annotator='annotator', labels='labels', believed='believed', right_by_matrix='right by matrix'
    )
    report.table(
      'The annotators with most labels',
      rows,
      [(name, titles[name]) for name in header],
      note='Believed: mean probability of the labels that an annotator gave.',
    )


def _filled(rows):
  filled = set()
  for row in rows:
    filled |= {key for key, value in row.items() if value is not None}
  return filled


def _with_published(rows, cited):
  joined = []
  for row in rows:
    known, beside = cited.get(row['name']), {}
    if known:
      both = {'published': known.last, 'published_best': known.best}
      beside = {
        key: {'mean': value, 'std': None} for key, value in both.items() if value is not None
      }
    joined.append({**row, **beside})
  return joined


def _facts(result: Result) -> dict[str, str]:
  extras = result.extras
  facts = {'Training examples': numbers.count(extras['images']), 'Labels': extras['observed']}
  if extras['wrong'] is not None:
    facts['Wrong labels'] = f'{100 * extras["wrong"]:.2f} %'
  return facts
