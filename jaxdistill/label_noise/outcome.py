"""What a run leaves for further work: the believed label of every example, and what is known of
every annotator, as tables."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdistill.label_noise.method import Believed
from jaxdistill.label_noise.work import Work


def tables(work: Work, believed: Believed) -> dict[str, str]:
  """Returns CSV texts by file name: 'labels.csv', and 'annotators.csv' where a crowd gave the
  labels; of several seeds the mean probabilities."""
  texts = {'labels.csv': _written(*label_table(work, believed))}
  if work.evidence.kind == 'crowd':
    texts['annotators.csv'] = _written(*annotator_table(work, believed))
  return texts


def label_table(work: Work, believed: Believed) -> tuple[list[str], list[list[Any]]]:
  """Returns header and lines: an example, its given label, the believed one, the probability of
  each; the least believed given labels first."""
  names, probabilities = work.train.class_names, believed.labels.mean(0)
  ids = work.train.ids if len(work.train.ids) else np.arange(len(work.train))
  if work.is_multilabel:
    return _label_matrix(work, ids, names, probabilities)
  given, best = work.evidence.labels, probabilities.argmax(1)
  rows = np.arange(len(given))
  lines = [
    [
      ids[row],
      names[given[row]],
      names[best[row]],
      round(float(probabilities[row, given[row]]), 4),
      round(float(probabilities[row, best[row]]), 4),
    ]
    for row in rows[np.argsort(probabilities[rows, given], kind='stable')]
  ]
  header = ['example', 'given', 'believed', 'probability_of_given', 'probability_of_believed']
  return header, lines


def _label_matrix(work, ids, names, probabilities):
  matrix = work.evidence.matrix
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


def annotator_table(work: Work, believed: Believed) -> tuple[list[str], list[list[Any]]]:
  """Returns header and lines: an annotator, how many labels he gave, how often they are the
  believed ones, and how often he is right by his matrix where there is one."""
  crowd, probabilities = work.evidence.crowd, believed.labels.mean(0)
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
