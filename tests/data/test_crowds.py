"""Crowds from triples, tables and files and back, and what is refused on the way."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxdistill.data.crowds import Crowd
from jaxdistill.errors import UserError

WRAPS = 2**32  # 0 in 32 bits
TABLE = np.array([[1, -1, 2, -1], [-1, 0, -1, -1], [2, 2, 2, -1]])


def test_triples_are_sorted_and_give_the_table_back():
  example, annotator = np.nonzero(TABLE >= 0)
  label = TABLE[example, annotator]
  order = np.random.default_rng(0).permutation(len(label))
  crowd = Crowd.from_triples(
    example[order], annotator[order], label[order], classes=3, annotators=4
  )
  assert [array.dtype for array in crowd.triples] == [np.int32] * 3
  assert crowd.example.tolist() == [0, 0, 1, 2, 2, 2]
  assert crowd.annotator.tolist() == [0, 2, 1, 0, 1, 2]
  np.testing.assert_array_equal(crowd.to_table(), TABLE)
  assert crowd.per_example.tolist() == [2, 1, 3] and crowd.per_annotator.tolist() == [2, 2, 2, 0]


def test_tables_mark_what_is_missing_by_minus_one_nan_or_a_mask():
  whole = Crowd.from_table(TABLE, classes=3)
  with_nan = Crowd.from_table(np.where(TABLE < 0, np.nan, TABLE), classes=3)
  masked = Crowd.from_table(np.ma.masked_array(np.abs(TABLE), TABLE < 0), classes=3)
  for crowd in (whole, with_nan, masked):
    np.testing.assert_array_equal(crowd.to_table(), TABLE)


def test_the_padded_index_gathers_each_examples_labels():
  crowd = Crowd.from_table(TABLE, classes=3)
  position, mask = crowd.padded()
  assert position.shape == mask.shape == (3, 3)
  for row, table_row in enumerate(TABLE):
    gathered = position[row][mask[row]]
    np.testing.assert_array_equal(crowd.annotator[gathered], np.flatnonzero(table_row >= 0))
    np.testing.assert_array_equal(crowd.label[gathered], table_row[table_row >= 0])


@pytest.mark.parametrize('rows', [[2, 0, 2], [False, True, True]])
def test_taking_examples_takes_rows_of_the_table(rows):
  crowd = Crowd.from_triples(*Crowd.from_table(TABLE, 3).triples, 3, examples=['x', 'y', 'z'])
  taken = crowd.take(rows)
  np.testing.assert_array_equal(taken.to_table(), TABLE[np.array(rows), :3])
  assert taken.names.examples == tuple(np.array(['x', 'y', 'z'])[np.array(rows)])
  assert (np.diff(taken.example) >= 0).all()


def test_a_crowd_is_a_pytree_of_its_triples():
  crowd = Crowd.from_table(TABLE, classes=3)
  later = jax.jit(lambda crowd: dataclasses.replace(crowd, label=crowd.label + 0))(crowd)
  assert len(jax.tree.leaves(crowd)) == 3 and later.num_annotators == 4
  np.testing.assert_array_equal(later.to_table(), TABLE)


def test_files_hold_any_text_and_come_back(tmp_path):
  path = tmp_path / 'crowd.csv'
  names = ['a "b", c', 'Zoë', ' 3']
  crowd = Crowd.from_triples(
    *Crowd.from_table(TABLE, 3).triples, ['cat', 'dog', 'eel'], examples=['t2', 't10', 't1']
  )
  crowd.to_csv(path)
  again = Crowd.from_csv(path, classes=['cat', 'dog', 'eel'], examples=['t2', 't10', 't1'])
  np.testing.assert_array_equal(again.to_table(), TABLE[:, :3])
  assert again.names.classes == ('cat', 'dog', 'eel')
  # In the order of the alphabet where none is given.
  assert Crowd.from_csv(path).names.examples == ('t1', 't10', 't2')

  quoted = Crowd.from_triples([0, 1, 2], [0, 0, 0], [0, 1, 2], 3, examples=names)
  quoted.to_csv(path)
  assert Crowd.from_csv(path).names.examples == tuple(sorted(names))


def test_whole_numbers_in_files_are_numbers(tmp_path):
  path = tmp_path / 'crowd.csv'
  rows = [f'{task},{task % 2},{task % 3}' for task in range(12)]
  path.write_text('\ufefftask,worker,label\r\n' + '\r\n'.join(rows))
  crowd = Crowd.from_csv(path)
  assert crowd.names.examples == crowd.names.classes == ()
  assert crowd.label.tolist() == [task % 3 for task in range(12)]
  assert Crowd.from_csv(path, classes=5).num_classes == 5


@pytest.mark.parametrize(
  'lines',
  [
    ['task, worker, label', '0, ann, cat', '1,ann,dog'],  # spaces behind the commas
    ['task,worker,label', '0,"ann","cat",,', '1,ann,dog,'],  # lines filled up
  ],
)
def test_spaces_before_values_and_empty_ones_behind_them_are_nothing(lines, tmp_path):
  path = tmp_path / 'crowd.csv'
  path.write_text('\n'.join(lines))
  crowd = Crowd.from_csv(path)
  assert crowd.names.annotators == ('ann',) and crowd.names.classes == ('cat', 'dog')
  assert crowd.to_table().tolist() == [[0], [1]]


@pytest.mark.parametrize(
  'make, sentence',
  [
    (lambda: Crowd.from_triples([0], [0], [3], 3), 'label 3 is out of range; .* from 0 to 2'),
    (lambda: Crowd.from_triples([0], [-1], [0], 3), 'annotator -1 is out of range'),
    (lambda: Crowd.from_triples([0], [5], [0], 3, annotators=4), 'annotator 5 is out of range'),
    (lambda: Crowd.from_triples([0], [0], [WRAPS], 2), f'label {WRAPS} is out of range'),
    (lambda: Crowd.from_triples([0], [WRAPS], [0], 2), f'annotators go up to the number {WRAPS}'),
    (lambda: Crowd.from_triples([WRAPS], [0], [0], 2), f'examples go up to the number {WRAPS}'),
    (lambda: Crowd.from_triples([0], [0], [0], WRAPS), f'classes is {WRAPS}; it must be below'),
    (lambda: Crowd.from_triples([9**9], [0], [0], 3), 'Nobody labelled example 0 .387,420,489 of'),
    (lambda: Crowd.from_triples([0, 2], [0, 0], [0, 0], 3), 'Nobody labelled example 1 .1 of 3'),
    (lambda: Crowd.from_triples([4, 4], [2, 2], [0, 1], 3), 'Nobody labelled example 0'),
    (lambda: Crowd.from_triples([0, 0], [2, 2], [0, 0], 3), 'Annotator 2 labels example 0 twice'),
    (lambda: Crowd.from_triples([0, 0], [2], [0, 0], 3), 'there are 2, 1 and 2'),
    (lambda: Crowd.from_triples([], [], [], 3), 'at least one label'),
    (lambda: Crowd.from_triples([[0]], [0], [0], 3), r'example must be .* shape \[1, 1\]'),
    (lambda: Crowd.from_triples([0], [0], [0.5], 3), 'label must be whole numbers'),
    (lambda: Crowd.from_triples([0], [0], [0], 0), 'classes is 0; it must be at least 1'),
    (lambda: Crowd.from_triples([0], [0], [0], 'cat'), 'classes is a number, or a list of names'),
    (lambda: Crowd.from_triples([0], [0], [0], ['a', 'a']), 'two of the names are the same'),
    (lambda: Crowd.from_table([0, 1], 2), r'shape \[examples, annotators\]'),
    (lambda: Crowd.from_table([[0.5]], 2), 'holds 0.5; labels are whole numbers'),
    (lambda: Crowd.from_table([[0.0, np.inf]], 2), 'holds inf; labels are whole numbers'),
    (lambda: Crowd.from_table([[WRAPS, -1], [1, 0]], 2), f'label {WRAPS} is out of range'),
    (lambda: Crowd.from_table([[0, 1], [-1, -1]], 2), 'Nobody labelled example 1'),
    (lambda: Crowd.from_table([[-1]], 2), 'holds none'),
    (lambda: Crowd.from_table([[-2]], 2), 'label -2 is out of range'),
    (lambda: Crowd.from_labels([0, 1], 2).take([2]), 'examples 2 is out of range'),
    (lambda: Crowd.from_labels([0, 1], 2).take([False, False]), 'none was taken'),
    (lambda: Crowd.from_csv('absent.csv'), 'absent.csv cannot be read .No such file'),
  ],
)
def test_what_is_no_crowd_is_refused(make, sentence):
  with pytest.raises(UserError, match=sentence):
    make()


@pytest.mark.parametrize(
  'content, sentence',
  [
    (b'', "has no column 'task'"),
    (b'task,annotator,label\n1,2,3\n', "has no column 'worker'; .* task, worker, label"),
    (b'task,worker,label\n', 'holds no line'),
    (b'task,worker,label\n1,2\n', 'entry 1 has 2 values'),
    (b'task,worker,label\n1,2,3\n1,,3\n', 'entry 2 has an empty worker'),
    (b'task,worker,label\n1,2,1\n1,Smith, J.,1\n', 'entry 2 has 4 values, and 3 columns are named'),
    (b'task,worker,label,label\n1,2,0,1\n', "has two columns 'label'"),
    (b'task,worker,label\n1,ann,0\n2,ann ,0\n', "'ann' and the worker 'ann ', which differ in sp"),
    (b'task,worker,label\n1,2,\xff\n', 'cannot be read as a csv file of UTF-8'),
    (b'task,worker,label\n1,2,cat\n', "the label 'cat' is none of the 2 given"),
    (b'task,worker,label\n1,2,0\n1,2,1\n', "Annotator '2' labels example '1' twice"),
  ],
)
def test_files_that_hold_no_crowd_are_refused(content, sentence, tmp_path):
  path = tmp_path / 'crowd.csv'
  path.write_bytes(content)
  with pytest.raises(UserError, match=sentence):
    Crowd.from_csv(path, classes=2)
