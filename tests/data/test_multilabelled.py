"""Sets with a matrix of labels, over images and over vectors: what they hold, files, refusals."""

import numpy as np
import pytest

from jaxdistill import data
from jaxdistill.data.examples import Examples
from jaxdistill.data.multilabelled import MultiLabelled, divided
from jaxdistill.errors import UserError
from jaxdistill.experiment import datasets

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 4, 6, 3)).astype(np.uint8)
FEATURES = RNG.normal(size=(20, 5))
LABELS = (RNG.random((20, 3)) < 0.4).astype(int)


@pytest.mark.parametrize('inputs', [IMAGES, FEATURES], ids=['images', 'vectors'])
def test_what_a_set_holds(inputs):
  whole = MultiLabelled(inputs, LABELS, tuple('abc'))
  assert whole.labels.dtype == np.int32 and whole.num_classes == 3 and len(whole) == 20
  np.testing.assert_array_equal(whole.counts, LABELS.sum(0))
  assert whole.is_vectors == (inputs is FEATURES)
  assert whole.image_shape == (inputs.shape[1:] if inputs is IMAGES else (1, 1, 5))
  assert whole.flip == (inputs is IMAGES)
  if inputs is IMAGES:
    np.testing.assert_allclose(whole.mean, (IMAGES / 255).mean((0, 1, 2)))
  else:
    np.testing.assert_allclose(whole.mean, FEATURES.mean(0), atol=1e-6)
  part = whole.take([3, 1], 'held')
  np.testing.assert_array_equal(part.labels, LABELS[[3, 1]])
  np.testing.assert_array_equal(part.inputs, whole.inputs[[3, 1]])
  assert part.mean == whole.mean and part.split == 'held'
  examples = Examples.of(whole)
  assert examples.image_shape == whole.image_shape and examples.labels.shape == (20, 3)


def test_booleans_and_floats_that_are_zeros_and_ones_are_labels():
  for labels in (LABELS.astype(bool), LABELS.astype(float), LABELS.tolist()):
    np.testing.assert_array_equal(MultiLabelled(FEATURES, labels).labels, LABELS)


@pytest.mark.parametrize(
  'inputs, labels, fields, message',
  [
    (FEATURES, LABELS * 2, {}, r'labels must be 0 or 1; that of input \d+ for class \d is 2'),
    (FEATURES, np.where(LABELS, np.nan, 0.0), {}, 'labels must be 0 or 1; .* is nan'),
    (FEATURES, LABELS[:, 0], {}, r'matrix of zeros and ones of shape \[n, q\].*shape \[20\]'),
    (FEATURES, LABELS[:5], {}, '20 inputs but 5 rows of labels'),
    (FEATURES, LABELS, {'class_names': tuple('abcd')}, '3 columns of labels need as many class'),
    (FEATURES, LABELS, {'class_names': tuple('ab')}, 'at least 3 class names; there are 2'),
    (np.where(FEATURES > 2, np.inf, FEATURES), LABELS, {}, 'no finite float32'),
    (IMAGES / 255, LABELS, {}, 'images must be uint8'),
  ],
)
def test_what_is_no_such_set_is_told(inputs, labels, fields, message):
  with pytest.raises(UserError, match=message):
    MultiLabelled(inputs, labels, **fields)


def test_division_at_random_keeps_every_input_once():
  whole = MultiLabelled(np.arange(20.0)[:, None], LABELS)
  train, test = divided(whole, 0.25, seed=5)
  assert len(test) == 5
  np.testing.assert_array_equal(np.sort(np.r_[train.inputs, test.inputs].ravel()), np.arange(20))
  np.testing.assert_array_equal(train.labels, LABELS[train.inputs[:, 0].astype(int)])
  np.testing.assert_array_equal(divided(whole, 0.25, seed=5)[1].inputs, test.inputs)
  assert (divided(whole, 0.25, seed=6)[1].inputs != test.inputs).any()
  with pytest.raises(UserError, match='leaves one of the parts empty'):
    divided(whole, 0.01)


@pytest.mark.parametrize('kind', ['images', 'features'])
def test_files(tmp_path, kind):
  inputs, file = {'images': IMAGES, 'features': FEATURES}[kind], tmp_path / 'mine.npz'
  np.savez(file, **{kind: inputs}, labels=LABELS, class_names=list('abc'))
  train, test = data.load(f'multilabel:{file}')
  assert [len(train), len(test)] == [16, 4] and test.class_names == ('a', 'b', 'c')
  assert train.mean == test.mean and test.split == 'test'
  measured = MultiLabelled(train.inputs, train.labels).mean
  np.testing.assert_allclose(train.mean, measured)
  names = (f'train_{kind}', 'train_labels', f'test_{kind}', 'test_labels')
  np.savez(file, **dict(zip(names, (inputs, LABELS, inputs[:3], LABELS[:3]))))
  train, test = data.load(f'multilabel:{file}')
  np.testing.assert_array_equal(test.labels, LABELS[:3])
  np.testing.assert_array_equal(test.inputs, train.inputs[:3])


def test_a_file_that_is_divided_calls_its_inputs_by_their_rows(tmp_path):
  file = tmp_path / 'mine.npz'
  np.savez(file, features=FEATURES, labels=LABELS)
  train, _ = data.load(f'multilabel:{file}')
  np.testing.assert_array_equal(train.inputs, FEATURES.astype(np.float32)[train.ids.astype(int)])


def test_images_of_a_file_are_not_mirrored_where_the_caller_says_so(tmp_path):
  file = tmp_path / 'mine.npz'
  np.savez(file, images=IMAGES, labels=LABELS)
  assert [part.flip for part in data.load(f'multilabel:{file}')] == [True, True]
  assert [part.flip for part in data.load(f'multilabel:{file}', flip=False)] == [False, False]


def test_a_file_holds_images_or_features(tmp_path):
  file = tmp_path / 'mine.npz'
  np.savez(file, images=IMAGES, features=FEATURES, labels=LABELS)
  with pytest.raises(UserError, match='images and features .*: leave one out'):
    data.load(f'multilabel:{file}')


def test_images_of_a_file_are_resized_and_vectors_are_not(tmp_path):
  file = tmp_path / 'mine.npz'
  np.savez(file, images=IMAGES, labels=LABELS)
  assert data.load(f'multilabel:{file}', image_size=8)[0].image_shape == (8, 8, 3)
  np.savez(file, features=FEATURES, labels=LABELS)
  with pytest.raises(UserError, match='leave image_size at 0'):
    data.load(f'multilabel:{file}', image_size=8)
  np.savez(
    file, features=FEATURES, labels=LABELS, test_features=FEATURES[:1], test_labels=[[2, 0, 0]]
  )
  with pytest.raises(UserError, match=r'\(test\): labels must be 0 or 1; .* is 2'):
    data.load(f'multilabel:{file}')


def test_families_of_labelled_images_refuse_a_matrix(tmp_path):
  file = tmp_path / 'mine.npz'
  np.savez(file, images=IMAGES, labels=LABELS)
  with pytest.raises(UserError, match='holds a matrix of labels, and this task takes images'):
    datasets.load(datasets.DataSource(f'multilabel:{file}'))
