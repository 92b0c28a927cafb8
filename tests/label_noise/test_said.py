"""What people said of pictures, read from a file that names them."""

import numpy as np
import pytest

from jaxdistill import data, label_noise
from jaxdistill.data.crowds import Crowd
from jaxdistill.errors import UserError
from jaxdistill.label_noise import said


def pictures(name='arrays', ids=()):
  return data.Dataset(np.zeros((2, 8, 8, 1), np.uint8), [0, 1], ('cat', 'dog'), name, ids=ids)


def written(tmp_path, *lines):
  path = tmp_path / 'said.csv'
  path.write_text('\n'.join(['task,worker,label', *lines]))
  return path


def test_pictures_of_a_folder_are_called_by_their_path_in_it(tmp_path):
  ids = [tmp_path / 'photos' / 'cat' / '1.png', tmp_path / 'photos' / 'dog' / '1.png']
  examples = pictures(f'folder:{tmp_path / "photos"}', ids)
  path = written(tmp_path, 'dog/1.png,bob,cat', 'cat/1.png,ann,cat', 'cat/1.png,bob,dog')
  crowd = label_noise.read_crowd(path, examples)
  assert crowd.to_table().tolist() == [[0, 1], [-1, 0]]
  assert crowd.names.annotators == ('ann', 'bob')
  assert crowd.names.examples == ('cat/1.png', 'dog/1.png')


def test_a_folder_below_the_home_directory_is_one(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  ids = [tmp_path / 'photos' / 'cat' / '1.png', tmp_path / 'photos' / 'dog' / '1.png']
  assert said.example_names(pictures('folder:~/photos', ids)) == ['cat/1.png', 'dog/1.png']


def test_labels_of_other_pictures_are_left_out_and_told_of(tmp_path):
  path = written(tmp_path, '0,ann,cat', '1,ann,dog', '2,ann,dog', '2,bob,cat')
  lines = []
  assert len(label_noise.read_crowd(path, pictures(), lines.append)) == 2
  assert '2 labels of 1 tasks that are no train examples of arrays are left out' in lines[0]
  with pytest.warns(UserWarning, match='are left out'):
    label_noise.read_crowd(path, pictures())


@pytest.mark.parametrize(
  'lines, message',
  [
    (['a,ann,cat'], "no task is an example of arrays; its first is called '0', the first task 'a'"),
    (['0,ann,cat', '1,ann,bird'], "the label 'bird' is none of the 2 given"),
    (['0,ann,cat'], 'label'),
  ],
)
def test_what_does_not_fit_is_refused(tmp_path, lines, message):
  with pytest.raises(UserError, match=message):
    label_noise.read_crowd(written(tmp_path, *lines), pictures())


def test_a_crowd_is_joined_by_names_of_classes_and_examples(tmp_path):
  """A file numbers both by the alphabet; a set in another order has what was said of its own."""
  path = written(tmp_path, 'b,ann,dog', 'a,ann,cat', 'a,bob,dog', 'c,ann,cat')
  pixels = np.zeros((3, 8, 8, 1), np.uint8)
  examples = data.Dataset(pixels, [0, 1, 1], ('dog', 'cat', 'eel'), ids=['b', 'c', 'a'])
  crowd = said.joined(Crowd.from_csv(path), examples)
  assert crowd.to_table().tolist() == [[0, -1], [1, -1], [1, 0]]
  assert crowd.num_classes == 3 and crowd.names.annotators == ('ann', 'bob')
  assert said.joined(label_noise.read_crowd(path, examples), examples).to_table().tolist() == (
    crowd.to_table().tolist()
  )


def test_examples_of_a_divided_set_are_called_by_their_rows_or_places(tmp_path):
  examples = pictures(ids=[4, 1])
  of_rows = written(tmp_path, '1,ann,dog', '4,ann,cat', '0,ann,cat')
  with pytest.warns(UserWarning, match='1 labels of 1 tasks'):
    assert label_noise.read_crowd(of_rows, examples).to_table().tolist() == [[0], [1]]
  # As a crowd without names is written.
  unnamed = Crowd.from_labels([1, 0], ['cat', 'dog'])
  unnamed.to_csv(of_rows)
  assert label_noise.read_crowd(of_rows, examples).to_table().tolist() == [[1], [0]]
  assert said.joined(Crowd.from_csv(of_rows), examples).to_table().tolist() == [[1], [0]]
  rows = Crowd.from_triples([0, 1], [0, 0], [1, 0], ['cat', 'dog'], examples=['1', '4'])
  assert said.joined(rows, examples).to_table().tolist() == [[0], [1]]
  others = Crowd.from_triples([0, 1], [0, 0], [1, 0], ['cat', 'dog'], examples=['b', 'a'])
  assert said.joined(others, examples) is others


@pytest.mark.parametrize(
  'names, ids', [(('0', '1'), ['b', 'a']), (('cat', 'dog'), ()), (('dog', 'cat'), ['b', 'a'])]
)
def test_what_cannot_be_compared_is_in_the_order_of_the_set(names, ids):
  """Numbers of a crowd, and names where the set has none."""
  examples = data.Dataset(np.zeros((2, 8, 8, 1), np.uint8), [0, 1], names, ids=ids)
  unnamed = Crowd.from_table([[1], [0]], classes=2)
  assert said.joined(unnamed, examples) is unnamed
  if names == ('0', '1'):
    named = Crowd.from_table([[1], [0]], classes=['cat', 'dog'])
    assert said.joined(named, examples) is named
  if not ids:
    named = Crowd.from_triples([0, 1], [0, 0], [1, 0], classes=2, examples=['b', 'a'])
    assert said.joined(named, examples) is named


@pytest.mark.parametrize(
  'crowd, message',
  [
    (Crowd.from_labels([0, 1], ['cat', 'rat']), "the class 'rat', which arrays .train. does not"),
    (
      Crowd.from_triples([0, 1], [0, 0], [0, 1], 2, examples=['a', 'z']),
      "the example 'z', which arrays .train. does not know; its first is called 'b'",
    ),
    (
      Crowd.from_triples([0], [0], [0], 2, examples=['a']),
      'Nobody labelled example 0',
    ),
  ],
)
def test_a_crowd_of_other_names_is_refused(crowd, message):
  with pytest.raises(UserError, match=message):
    said.joined(crowd, pictures(ids=['b', 'a']))


def test_classes_called_by_numbers_in_another_order_need_names():
  """As folders are sorted: 0, 1, 10, 2, ...; a simulated crowd has the names of its set."""
  names = tuple(sorted(map(str, range(11))))
  examples = data.Dataset(np.zeros((11, 8, 8, 1), np.uint8), np.arange(11), names)
  with pytest.raises(UserError, match='have no names that tell which is which'):
    said.joined(Crowd.from_labels(np.arange(11), classes=11), examples)
  named = Crowd.from_labels(np.arange(11), classes=list(map(str, range(12)))[:11][::-1])
  assert said.joined(named, examples).label.tolist() == [
    names.index(str(10 - k)) for k in range(11)
  ]
  simulated = label_noise.simulate(examples, [('expert', 2)], per_example=1).crowd
  assert said.joined(simulated, examples) is simulated
