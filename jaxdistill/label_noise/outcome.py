"""What a run leaves for further work: the believed label of every example, and what is known of
every annotator, as tables."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from jaxdistill.data.crowds import Crowd
from jaxdistill.errors import UserError
from jaxdistill.label_noise import making
from jaxdistill.label_noise.method import Believed
from jaxdistill.label_noise.observed import Evidence


def tables(
  examples: Any,
  evidence: Evidence | Crowd | ArrayLike,
  believed: Believed,
  rows: ArrayLike | None = None,
) -> dict[str, str]:
  """Returns CSV texts by file name: 'labels.csv', and 'annotators.csv' where a crowd gave the
  labels; of several seeds the mean probabilities.

  Args:
    examples: n of them, a `Dataset`, `Vectors` or `MultiLabelled`.
    evidence: what was observed of them, see `making.handed`.
    believed: what networks think of them.
    rows: int [n], the places of the examples in the set that they are a part of, such as
      `Result.learned`: those without `ids` are called by them; None: by their own places.

  Raises:
    UserError: the evidence or the beliefs are not of these examples and classes, or there is not a
      row an example.

  >>> from jaxdistill.data import Crowd, Dataset
  >>> pictures = Dataset(np.zeros((2, 8, 8, 1), np.uint8), [0, 1], ('cat', 'dog'))
  >>> evidence = Evidence(Crowd.from_table([[0, 0], [0, 1]], ['cat', 'dog']))
  >>> texts = tables(pictures, evidence, Believed(np.array([[[0.75, 0.25], [0.25, 0.75]]])))
  >>> texts['labels.csv'].split()[1:], texts['annotators.csv'].split()[1:]
  (['1,cat,dog,0.25,0.75', '0,cat,cat,0.75,0.75'], ['0,2,0.5', '1,2,0.75'])
  """
  if not isinstance(evidence, Evidence):
    evidence = making.handed(examples, evidence).evidence
  rows = np.arange(len(examples)) if rows is None else np.asarray(rows)
  if rows.shape != (len(examples),):
    raise UserError(f'{len(examples)} examples need as many rows; got {list(rows.shape)}.')
  shape, wanted = np.shape(believed.labels), (len(examples), examples.num_classes)
  if len(shape) != 3 or shape[1:] != wanted:
    raise UserError(
      f'The beliefs are an array {list(shape)}, and there are {wanted[0]} examples of {wanted[1]} '
      'classes; give [seeds, examples, classes]. A result has those of train.take(result.learned).'
    )
  texts = {'labels.csv': _written(*label_table(examples, evidence, believed, rows))}
  if evidence.kind == 'crowd':
    texts['annotators.csv'] = _written(*annotator_table(evidence, believed))
  return texts


def label_table(
  examples: Any, evidence: Evidence, believed: Believed, rows: np.ndarray
) -> tuple[list[str], list[list[Any]]]:
  """Returns header and lines: an example, its given label, the believed one, the probability of
  each; the least believed given labels first."""
  names, probabilities = examples.class_names, believed.labels.mean(0)
  ids = examples.ids if len(examples.ids) else rows
  if evidence.kind == 'matrix':
    return _label_matrix(evidence.matrix, ids, names, probabilities)
  given, best = evidence.labels, probabilities.argmax(1)
  of_given = probabilities[np.arange(len(given)), given]
  lines = [
    [
      ids[place],
      names[given[place]],
      names[best[place]],
      round(float(of_given[place]), 4),
      round(float(probabilities[place, best[place]]), 4),
    ]
    for place in np.argsort(of_given, kind='stable')
  ]
  header = ['example', 'given', 'believed', 'probability_of_given', 'probability_of_believed']
  return header, lines


def _label_matrix(matrix, ids, names, probabilities):
  doubt = np.abs(matrix - probabilities)
  cells = np.argsort(-doubt, axis=None, kind='stable')
  lines = []
  for row, column in zip(*np.unravel_index(cells, doubt.shape)):
    if doubt[row, column] <= 0.5:
      break
    lines.append(
      [
        ids[row],
        names[column],
        int(matrix[row, column]),
        round(float(probabilities[row, column]), 4),
      ]
    )
  return ['example', 'label', 'given', 'probability'], lines


def annotator_table(evidence: Evidence, believed: Believed) -> tuple[list[str], list[list[Any]]]:
  """Returns header and lines: an annotator, how many labels he gave, how often they are the
  believed ones, and how often he is right by his matrix where there is one."""
  crowd, probabilities = evidence.crowd, believed.labels.mean(0)
  counts = crowd.per_annotator
  agreed = np.bincount(
    crowd.annotator, probabilities[crowd.example, crowd.label], minlength=len(counts)
  )
  names = crowd.names.annotators or range(len(counts))
  header = ['annotator', 'labels', 'believed']
  right = None
  if believed.confusions is not None:
    header.append('right_by_matrix')
    right = np.einsum('rcc,c->r', believed.confusions.mean(0), probabilities.mean(0))
  lines = []
  for number, name in enumerate(names):
    share = agreed[number] / counts[number] if counts[number] else float('nan')
    line = [name, int(counts[number]), round(float(share), 4)]
    lines.append(line if right is None else [*line, round(float(right[number]), 4)])
  return header, lines


def _written(header: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(header)
  writer.writerows(lines)
  return text.getvalue()
