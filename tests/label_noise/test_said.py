"""What people said of pictures, read from a file that names them."""

import numpy as np
import pytest

from jaxdistill import data, label_noise
from jaxdistill.errors import UserError


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
