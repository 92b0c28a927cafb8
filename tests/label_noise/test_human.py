"""CIFAR-10N's files: joined to images in any order, and refused where they do not belong."""

import numpy as np
import pytest

from jaxdistill.data.crowds import Crowd
from jaxdistill.data.dataset import Dataset
from jaxdistill.errors import UserError
from jaxdistill.label_noise.human import cifar10n

COUNT = 30
random = np.random.RandomState(0)
TRUTH = random.randint(10, size=COUNT)
SAID = {f'random{number}': random.randint(10, size=COUNT) for number in (1, 2, 3)}
SAID |= {name: random.randint(10, size=COUNT) for name in ('aggregate', 'worst')}
PACKED = {'aggregate': 'aggre'}
AUTHORS = {'aggregate': 'aggre_label', 'worst': 'worse_label'}
AUTHORS |= {f'random{number}': f'random_label{number}' for number in (1, 2, 3)}
WORKERS = [['9', '10', '2'], ['2', '9', '0'], ['10', '0', '9']]


def write(folder, authors=False, **changes):
  names = {key: f'cifar10n_{PACKED.get(key, key)}' for key in SAID}
  names = AUTHORS if authors else names
  entries = {names[key]: values.astype(np.uint8) for key, values in SAID.items()}
  entries['clean_label' if authors else 'train'] = TRUTH.astype(np.uint8)
  np.savez(folder / 'labels.npz', **{**entries, **changes})
  lines = ['Image-batch,Worker1-id,Work-time-in-seconds-1,Worker2-id,Worker3-id']
  for batch, (one, two, three) in enumerate(WORKERS):
    lines.append(f'{10 * batch}--{10 * batch + 9},{one},25,{two},{three}')
  table = 'side_info_cifar10N.csv' if authors else 'annotators.csv'
  (folder / table).write_text('\n'.join(lines) + '\n')


def a_set(rows, with_ids=True):
  images = np.zeros((len(rows), 4, 4, 1), np.uint8)
  ids = [f'train_{row:05d}' for row in rows] if with_ids else ()
  return Dataset(images, TRUTH[rows], tuple('abcdefghij'), ids=ids)


@pytest.mark.parametrize('authors', [False, True])
def test_labels_are_joined_by_id(authors, tmp_path):
  write(tmp_path, authors)
  rows = random.permutation(COUNT)[:20]
  for name, values in SAID.items():
    joined = cifar10n(tmp_path, name, a_set(rows))
    assert joined.dtype == np.int32
    np.testing.assert_array_equal(joined, values[rows])
    np.testing.assert_array_equal(cifar10n(tmp_path / 'labels.npz', name), values)
  whole = a_set(np.arange(COUNT), with_ids=False)
  np.testing.assert_array_equal(cifar10n(tmp_path, 'worst', whole), SAID['worst'])


@pytest.mark.parametrize('authors', [False, True])
def test_the_crowd_is_three_workers_a_batch_of_ten(authors, tmp_path):
  write(tmp_path, authors)
  crowd = cifar10n(tmp_path, 'crowd')
  assert isinstance(crowd, Crowd) and crowd.names.annotators == ('0', '2', '9', '10')
  assert (crowd.per_example == 3).all() and crowd.num_classes == 10
  table = crowd.to_table()
  for row in range(COUNT):
    for number, worker in enumerate(WORKERS[row // 10], 1):
      column = crowd.names.annotators.index(worker)
      assert table[row, column] == SAID[f'random{number}'][row]
  rows = random.permutation(COUNT)[:7]
  np.testing.assert_array_equal(cifar10n(tmp_path, 'crowd', a_set(rows)).to_table(), table[rows])


def test_other_clean_labels_are_refused(tmp_path):
  write(tmp_path, train=((TRUTH + 1) % 10).astype(np.uint8))
  with pytest.raises(UserError, match='the clean labels of 30 of 30 images are not those'):
    cifar10n(tmp_path, 'worst', a_set(np.arange(COUNT)))


def test_images_that_cannot_be_joined_are_refused(tmp_path):
  write(tmp_path)
  with pytest.raises(UserError, match='do not tell their rows in CIFAR-10 .no ids.'):
    cifar10n(tmp_path, 'worst', a_set(np.arange(9), with_ids=False))
  beyond = Dataset(np.zeros((1, 4, 4, 1), np.uint8), np.array([3]), ids=['train_00030'])
  with pytest.raises(UserError, match='has the image train_30'):
    cifar10n(tmp_path, 'worst', beyond)


@pytest.mark.parametrize(
  'changes, labels, sentence',
  [
    ({}, 'worse', "no kind of human labels 'worse'; did you mean 'worst'"),
    ({'cifar10n_worst': np.zeros(9, int)}, 'worst', 'has 9 labels, and there are 30'),
    ({'cifar10n_worst': np.full(COUNT, 10)}, 'worst', 'must be labels from 0 to 9'),
    ({'cifar10n_worst': np.array([{}])}, 'worst', 'cannot be read as an npz file of plain arrays'),
  ],
)
def test_files_that_hold_something_else_are_refused(changes, labels, sentence, tmp_path):
  write(tmp_path, **changes)
  with pytest.raises(UserError, match=sentence):
    cifar10n(tmp_path, labels)


def test_missing_and_pickled_files_are_refused(tmp_path):
  with pytest.raises(UserError, match='there is no such file'):
    cifar10n(tmp_path)
  with pytest.raises(UserError, match='is a pickle'):
    cifar10n(tmp_path / 'CIFAR-10_human.pt')
  np.savez(tmp_path / 'labels.npz', clean_label=TRUTH)
  with pytest.raises(UserError, match='neither cifar10n_aggre nor aggre_label'):
    cifar10n(tmp_path)
  with pytest.raises(UserError, match='The workers of the crowd are in annotators.csv'):
    cifar10n(tmp_path, 'crowd')
  write(tmp_path)
  (tmp_path / 'annotators.csv').write_text(
    'Image-batch,Worker1-id,Worker2-id,Worker3-id\n0--9,1,2,3\n'
  )
  with pytest.raises(UserError, match='Image-batch must go through 30 images ten by ten'):
    cifar10n(tmp_path, 'crowd')
