"""Tables of numbers in text files, and the yeast set that lies in some."""

import gzip

import numpy as np
import pytest

from jaxdistill import data
from jaxdistill.data import tables
from jaxdistill.errors import UserError

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(20, 103)).round(6)
LABELS = (RNG.random((20, 14)) < 0.3).astype(int)
NAMES = [f'Att{n}' for n in range(1, 104)] + [f'Class{n}' for n in range(1, 15)]


def lines(values=VALUES, labels=LABELS):
  return [','.join([*map(str, v), *map(str, y)]) for v, y in zip(values.tolist(), labels.tolist())]


def csv(rows=None):
  return '\n'.join([','.join(NAMES), *(rows or lines())]) + '\n'


def arff(rows):
  kinds = ['numeric'] * 103 + ['{0,1}'] * 14
  head = [f'@attribute {name} {kind}' for name, kind in zip(NAMES, kinds)]
  return '\n'.join(['% a comment', "@relation 'yeast: -C 14'", '', *head, '@data', *rows, ''])


def sparse():
  rows = []
  for values, labels in zip(VALUES, LABELS):
    row = np.r_[values, labels]
    rows.append('{' + ', '.join(f'{place} {row[place]}' for place in np.flatnonzero(row)) + '}')
  return arff(rows)


@pytest.mark.parametrize(
  'name, content',
  [
    ('yeast.csv', csv().encode()),
    ('yeast.csv.gz', gzip.compress(csv().encode())),
    ('yeast.arff', arff(lines()).encode()),
    ('yeast.arff', arff(lines()).replace('@attribute', '@ATTRIBUTE').encode()),
    ('yeast.arff', sparse().encode()),
  ],
  ids=['csv', 'packed', 'arff', 'upper', 'sparse'],
)
def test_every_form_of_the_table_is_read_alike(tmp_path, name, content):
  (tmp_path / name).write_bytes(content)
  names, values = tables.read_table('mine', tmp_path / name)
  assert list(names) == NAMES
  np.testing.assert_array_equal(values, np.c_[VALUES, LABELS])
  for path in (tmp_path / name, tmp_path):
    train, test = data.load(f'yeast:{path}', seed=1)
    assert [len(train), len(test)] == [16, 4] and train.class_names == tuple(NAMES[103:])
    rows = np.concatenate([train.inputs, test.inputs])
    order = [int(np.flatnonzero((VALUES.astype(np.float32) == row).all(1))[0]) for row in rows]
    assert sorted(order) == list(range(20))
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), LABELS[order])
    np.testing.assert_allclose(test.mean, train.inputs.mean(0, np.float64))


def test_the_division_of_mulan_is_kept(tmp_path):
  for name, rows in (('train', slice(0, 15)), ('test', slice(15, 20))):
    (tmp_path / f'yeast-{name}.arff').write_text(arff(lines(VALUES[rows], LABELS[rows])))
  train, test = data.load(f'yeast:{tmp_path}')
  np.testing.assert_array_equal(train.labels, LABELS[:15])
  np.testing.assert_array_equal(test.labels, LABELS[15:])
  assert train.mean == test.mean and test.split == 'test'


def test_the_file_of_an_installed_package_is_found(tmp_path, monkeypatch):
  folder = tmp_path / 'river' / 'datasets'
  folder.mkdir(parents=True)
  (tmp_path / 'river' / '__init__.py').write_text('raise ImportError("it is not imported")')
  monkeypatch.syspath_prepend(str(tmp_path))
  with pytest.raises(UserError, match='give yeast:PATH with the file yeast.csv.gz'):
    data.load('yeast')
  (folder / 'yeast.csv.gz').write_bytes(gzip.compress(csv().encode()))
  assert len(data.load('yeast')[0]) == 16


@pytest.mark.parametrize(
  'content, message',
  [
    (
      csv([lines()[0].rsplit(',', 1)[0]]),
      'line 2 of yeast.csv has 116 values; the names are those',
    ),
    (
      csv([lines()[0].replace('0,', 'x,', 1)]),
      "line 2 of yeast.csv has the value '.*x', which is no",
    ),
    (csv([lines()[0][:-1] + '2']), r'labels must be 0 or 1; .* for class 13 is 2.0'),
    (csv([f'nan,{lines()[0].split(",", 1)[1]}'] * 5), 'feature 0 of vector 0 is nan'),
    ('a,b\n1,0\n', 'has 2 columns; yeast has 103 features and 14 labels'),
    (csv().splitlines()[0], 'has no lines of values'),
    ('', 'has no lines of values'),
  ],
)
def test_a_table_that_does_not_fit_is_told(tmp_path, content, message):
  (tmp_path / 'yeast.csv').write_text(content)
  with pytest.raises(UserError, match=message):
    data.load(f'yeast:{tmp_path / "yeast.csv"}')


@pytest.mark.parametrize(
  'content, message',
  [
    ('@relation a\n@attribute b string\n@data\n1\n', "line 2 of a.arff is '@attribute b string'"),
    ('@relation a\n@attribute b {x,y}\n@data\nx\n', 'only attributes that are numeric'),
    ('@attribute b numeric\n', 'no ARFF file: it needs lines @attribute'),
    (
      '@attribute b numeric\n@data\n?\n',
      "line 3 of a.arff has the value '\\?', which is no number",
    ),
    ('@attribute b numeric\n@data\n{1 5}\n', "has the value '1 5', which is no number"),
    ('@attribute b numeric\n@data\n{0 z}\n', "has the value 'z', which is no number"),
  ],
)
def test_an_arff_file_that_does_not_fit_is_told(tmp_path, content, message):
  (tmp_path / 'a.arff').write_text(content)
  with pytest.raises(UserError, match=message):
    tables.read_table('mine', tmp_path / 'a.arff')


def test_files_that_cannot_be_read_are_told(tmp_path):
  with pytest.raises(UserError, match='there is no such file; give the path of a .csv'):
    data.load(f'yeast:{tmp_path / "none.csv"}')
  with pytest.raises(UserError, match='the folder holds none of yeast.csv.gz'):
    data.load(f'yeast:{tmp_path}')
  for content in (gzip.compress(csv().encode())[:-30], b'\xff\xfe\0'):
    (tmp_path / 'yeast.csv.gz').write_bytes(content)
    with pytest.raises(UserError, match='cannot be read .*it should be text'):
      data.load(f'yeast:{tmp_path / "yeast.csv.gz"}')
