"""The report of a run of continual learning: accuracy against the classes seen, and the memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill.condensation.page import CONDENSING, ITERATION
from jaxdistill.condensation.page import columns as columns_of_a_run
from jaxdistill.experiment import page
from jaxdistill.experiment.results import Result
from jaxdistill.synthesis.condensed import Condensed, join
from jaxdistill.training.run import Run

_IMAGES_SHOWN = 10  # of a class
_CLASSES_SHOWN = 20  # of a step

# Accuracy at the end of CIFAR-100 in 5 steps with 20 images a class, ConvNet-3, read off a figure
# of Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization, ICML 2022: good
# to about a point.
_REFERENCES = {'DSA': 0.31, 'Herding': 0.33, 'DM': 0.39, 'IDC-I': 0.43, 'IDC': 0.50}
_REFERENCES_NOTE = (
  'Rows set back are read off a figure of Kim et al. (ICML 2022), good to about a point; '
  'their networks are '
  'trained with the recipe idc and also learn from those of the step before.'
)


def html(result: Result, run: Run, kept: Condensed, way: int) -> str:
  """Returns the page as one HTML text; `kept` is the memory at the end of the first order."""
  config, last_step, average = result.config, result.rows[-2], result.rows[-1]
  report = page.begin(
    result,
    f'{config["continual"]["orders"]} order(s) of the classes, '
    f'{config["evaluation"]["networks"]} network(s) each',
  )
  figures = page.headline([last_step, average])
  labels = ('At the end', 'Average over the steps')
  report.headline([(label, *figure[1:]) for label, figure in zip(labels, figures, strict=True)])
  cited, rows = references(config), [row.to_json() for row in result.rows]
  report.table(
    'Test accuracy on all classes seen so far',
    [*rows, *cited],
    columns(rows),
    note=_note(config, bool(cited)),
  )
  report.curves('Accuracy', _charts(result, cited))
  if losses := _losses(result, run):
    report.curves('Condensing', [losses])
  report.pictures(
    'The memory at the end of the first order',
    [_picture(kept, start, way) for start in range(0, kept.num_classes, way)],
  )
  return page.end(report, result, run, page.facts(result, CONDENSING, ITERATION))


def references(config: dict[str, Any]) -> list[dict[str, Any]]:
  """Returns the rows of published numbers for the setting of a config; none where no paper has that
  setting."""
  same = (
    config['data']['name'],
    config['continual']['steps'],
    config['condensation']['ipc'],
    config['model']['name'],
  )
  if same != ('cifar100', 5, 20, 'convnet'):
    return []
  return [
    {'label': f'{label}, published', 'classes': 100, 'last': accuracy, 'reference': True}
    for label, accuracy in _REFERENCES.items()
  ]


def columns(rows: list[dict]) -> list[tuple]:
  """Returns the table's columns: those of a condensation run, by classes seen."""
  skipped = ('images_per_class',)
  titles = {'label': 'after'}
  return [
    (key, titles.get(key, title), *rest[:1])
    for key, title, *rest in columns_of_a_run(rows)
    if key not in skipped
  ]


def _note(config: dict[str, Any], cited: bool) -> str:
  networks, orders = config['evaluation']['networks'], config['continual']['orders']
  text = (
    f'Accuracy in percent, mean ± standard deviation over {networks} network(s) in each of '
    f'{orders} order(s); in the last '
    f'row over the orders. Recipe {config["evaluation"]["recipe"]}, fresh networks after '
    'every step. "best on test" takes '
    "each network's best check on the test set and is optimistic."
  )
  return f'{text} {_REFERENCES_NOTE}' if cited else text


def _charts(result: Result, cited: Sequence[Mapping[str, Any]]) -> list[dict]:
  steps, orders = result.rows[:-1], result.extras['orders']
  seen = [row['classes'] for row in steps]
  accuracies = [row.scores['last'] for row in steps]
  mean = (
    result.extras['label'],
    seen,
    [accuracy['mean'] for accuracy in accuracies],
    [accuracy['std'] for accuracy in accuracies],
  )
  axis = dict(x_title='classes seen', percent=True)
  published = ((row['label'], [row['classes']], [row['last']]) for row in cited)
  charts = [dict(axis, title='Mean of all orders', series=[mean, *published])]
  if len(orders) > 1:
    series = [(f'order {number}', seen, order['last']) for number, order in enumerate(orders, 1)]
    charts.append(dict(axis, title='Each order of the classes', series=series))
  return charts


def _losses(result: Result, run: Run) -> dict[str, Any]:
  """The matching loss of the memories, those of the first order where there are many."""
  first_order = result.extras['condensed'][: result.config['continual']['steps']]
  series = []
  for name in first_order:
    if curve := run.curve(f'condense-{name}'):
      losses = [line['loss'] for line in curve]
      series.append((name, [line['step'] for line in curve], losses))
  if not series:
    return {}
  return dict(title='Matching loss', x_title='iteration', log_y=True, series=series)


def _picture(kept: Condensed, start: int, way: int) -> tuple:
  step = join((kept, label) for label in range(start, start + way))
  names = list(step.class_names[:_CLASSES_SHOWN])
  return (
    f'Step {start // way + 1}',
    step.picture(_IMAGES_SHOWN, _CLASSES_SHOWN),
    names if step.ipc > 1 else (),
  )
