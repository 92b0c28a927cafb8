"""Yeast: 2,417 genes as 103 numbers each, with 14 groups of functions, of which a gene has some."""

import importlib.util
import os
import pathlib

import numpy as np

from jaxdistill.data.multilabelled import MultiLabelled, divided
from jaxdistill.data.tables import read_table
from jaxdistill.errors import UserError, shown

FEATURES, LABELS = 103, 14
_TEST_SHARE = 0.2
# What lies in a folder: both parts, or the whole under one of these names.
_PARTS = ('yeast-train.arff', 'yeast-test.arff')
_WHOLE = ('yeast.csv.gz', 'yeast.csv', 'yeast.arff')


def read_yeast(path: str = '', seed: int = 0) -> tuple[MultiLabelled, MultiLabelled]:
  """Returns (train, test) of the yeast set, vectors with a matrix of labels.

  Args:
    path: the file yeast.csv.gz that the package river (0.26) ships, MULAN's yeast.arff, or a folder
      with one of them; a folder with yeast-train.arff and yeast-test.arff is divided so (1,500 and
      917). '': the file of an installed river, which is not imported.
    seed: of the division of a single file, of which a fifth is the test; `ids` are then its rows.

  Raises:
    UserError: there is no such file, or it holds something else.

  Source: Elisseeff & Weston, NeurIPS 2001; the files of MULAN (Tsoumakas et al., JMLR 2011).

  >>> read_yeast('nowhere.csv')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: yeast:nowhere.csv: there is no such file; ...
  """
  place = pathlib.Path(os.path.expanduser(path)) if path else _of_river()
  where = f'yeast:{shown(place)}'
  if os.path.isdir(place):
    if all(os.path.isfile(place / name) for name in _PARTS):
      train, test = (_read(where, place / name) for name in _PARTS)
      return _set(where, *train), _set(where, *test, split='test', like=_set(where, *train))
    present = [name for name in _WHOLE if os.path.isfile(place / name)]
    if not present:
      raise UserError(
        f'{where}: the folder holds none of {", ".join((*_WHOLE, " with ".join(_PARTS)))}.'
      )
    place = place / present[0]
  train, test = divided(_set(where, *_read(where, place)), _TEST_SHARE, seed)
  fresh = _set(where, train.inputs, train.labels, train.class_names, ids=train.ids)
  return fresh, _set(where, test.inputs, test.labels, split='test', like=fresh)


def _of_river():
  """The file of an installed river."""
  found = importlib.util.find_spec('river')
  for folder in (found and found.submodule_search_locations) or ():
    file = pathlib.Path(folder, 'datasets', 'yeast.csv.gz')
    if os.path.isfile(file):
      return file
  raise UserError(
    "yeast: give yeast:PATH with the file yeast.csv.gz of the package river 0.26 or MULAN's "
    'yeast.arff, or install river.'
  )


def _read(where, file):
  """(features, labels, names of the labels) of a file."""
  names, values = read_table(where, file)
  if len(names) != FEATURES + LABELS:
    raise UserError(
      f'{where}: {shown(file.name)} has {len(names)} columns; yeast has {FEATURES} features and '
      f'{LABELS} labels behind them.'
    )
  return values[:, :FEATURES], values[:, FEATURES:], names[FEATURES:]


def _set(where, features, labels, names=(), split='train', like=None, ids=()):
  """One split, with statistics of its own or those of the training set."""
  known = dict(ids=ids) if like is None else dict(mean=like.mean, std=like.std)
  names = names if like is None else like.class_names
  return MultiLabelled(np.asarray(features), labels, names, name=where, split=split, **known)
