"""Wrong labels made on purpose: their laws, their draws, and what is refused."""

import numpy as np
import pytest
from scipy import stats

from jaxdistill.data.dataset import Dataset
from jaxdistill.data.vectors import Vectors
from jaxdistill.errors import UserError
from jaxdistill.label_noise import confusable, instance
from jaxdistill.label_noise.noise import corrupt

COUNT = 8000


def a_set(class_names=(), classes=4, count=COUNT):
  random = np.random.RandomState(0)
  labels = random.randint(len(class_names) or classes, size=count)
  images = random.randint(256, size=(count, 4, 4, 1)).astype(np.uint8)
  return Dataset(images, labels, class_names)


def check_realised(noisy, errors=3):
  """The counted shares are within some standard errors of the law."""
  counts = np.bincount(noisy.truth, minlength=len(noisy.transition))[:, None]
  deviation = np.sqrt(noisy.transition * (1 - noisy.transition) / counts)
  assert (abs(noisy.realised - noisy.transition) <= errors * deviation + 1e-12).all()
  np.testing.assert_allclose(noisy.transition.sum(1), 1, rtol=1e-12)
  np.testing.assert_allclose(noisy.realised.sum(1), 1, rtol=1e-12)
  pairs = np.stack([noisy.truth, noisy.dataset.labels])
  assert noisy.realised[0, 1] == (pairs[1, pairs[0] == 0] == 1).mean()


LAWS = {
  'symmetric_inclusive': [[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]],
  'symmetric_exclusive': [[0.6, 0.4 / 3, 0.4 / 3, 0.4 / 3], [0.4 / 3, 0.6, 0.4 / 3, 0.4 / 3]],
  'pair_flip': [[0.6, 0.4, 0, 0], [0, 0.6, 0.4, 0]],
}


@pytest.mark.parametrize('kind', LAWS)
def test_the_law_is_that_of_its_name_and_is_realised(kind):
  clean = a_set()
  noisy = corrupt(clean, kind, 0.4, seed=1)
  np.testing.assert_allclose(noisy.transition[:2], LAWS[kind])
  check_realised(noisy)
  np.testing.assert_array_equal(noisy.truth, clean.labels)
  assert noisy.dataset.labels.dtype == np.int32 and noisy.dataset.images is clean.images
  assert abs(noisy.wrong - (0.3 if kind.endswith('inclusive') else 0.4)) < 0.02
  again, other = corrupt(clean, kind, 0.4, seed=1), corrupt(clean, kind, 0.4, seed=2)
  np.testing.assert_array_equal(again.dataset.labels, noisy.dataset.labels)
  assert (other.dataset.labels != noisy.dataset.labels).any()
  assert f'{noisy.wrong:.2%}' in noisy.dataset.notices[-1] and kind in noisy.dataset.notices[-1]


def test_inclusive_noise_redraws_a_whole_number_of_labels():
  clean = a_set(count=100)
  none = corrupt(clean, 'symmetric_inclusive', 0.009)
  np.testing.assert_array_equal(none.dataset.labels, clean.labels)
  # 0.29 * 100 is less than 29 in floating point.
  wrong = [
    (corrupt(clean, 'symmetric_inclusive', 0.29, seed).dataset.labels != clean.labels).sum()
    for seed in range(200)
  ]
  assert max(wrong) <= 29 and abs(np.mean(wrong) - 29 * 3 / 4) < 3 * np.sqrt(29 * 3 / 16 / 200)
  everything = corrupt(a_set(), 'symmetric_inclusive', 1)
  assert abs((1 - everything.wrong) - 1 / 4) < 3 * np.sqrt(3 / 16 / COUNT)


def test_asymmetric_noise_flips_what_looks_alike_on_cifar10():
  order = np.random.RandomState(0).permutation(10)
  names = tuple(confusable.CIFAR10[label] for label in order)
  noisy = corrupt(a_set(names), 'asymmetric', 0.4)
  check_realised(noisy)
  flips = {}
  for label, row in enumerate(noisy.transition):
    others = [names[other] for other in np.flatnonzero(row) if other != label]
    if others:
      flips[names[label]] = others[0], row[names.index(others[0])]
  expected = dict(truck='automobile', bird='airplane', cat='dog', dog='cat', deer='horse')
  assert flips == {name: (other, pytest.approx(0.4)) for name, other in expected.items()}


def test_asymmetric_noise_turns_within_superclasses_on_cifar100():
  names = tuple(sorted(sum(confusable.SUPERCLASSES, ())))
  assert len(set(names)) == 100 and {len(group) for group in confusable.SUPERCLASSES} == {5}
  partner = confusable.taken_for(a_set(names, count=2000))
  by_name = {names[label]: names[other] for label, other in enumerate(partner)}
  assert (by_name['beaver'], by_name['whale']) == ('dolphin', 'beaver')
  assert (by_name['willow_tree'], by_name['rocket']) == ('maple_tree', 'streetcar')
  np.testing.assert_array_equal(np.sort(partner), np.arange(100))


@pytest.mark.parametrize('pixels, upper', [('normalised', 1.0), ('raw', 0.6)])
def test_noise_by_image_is_the_formula(pixels, upper):
  dataset = a_set(count=300)
  probabilities = instance.law(dataset, 0.5, np.random.RandomState(3), upper, pixels)
  random = np.random.RandomState(3)
  uniform = random.random_sample(300)
  rates = stats.truncnorm(-5, (upper - 0.5) / 0.1, 0.5, 0.1).ppf(uniform)
  weights = np.stack([random.standard_normal((16, 4)) for _ in range(4)])
  for row in range(300):
    label = dataset.labels[row]
    x = dataset.images[row].reshape(-1).astype(float)
    if pixels == 'normalised':
      x = (x / 255 - dataset.mean[0]) / dataset.std[0]
    scores = x @ weights[label]
    scores[label] = -np.inf
    softmax = np.exp(scores - scores.max())
    expected = rates[row] * softmax / softmax.sum() + (1 - rates[row]) * np.eye(4)[label]
    np.testing.assert_allclose(probabilities[row], expected, atol=1e-3)
  assert rates.max() <= upper
  # Raw pixels leave an image one wrong label.
  wrong = np.where(np.eye(4, dtype=bool)[dataset.labels], 0, probabilities).max(1) / rates
  assert (wrong > 0.999).mean() > (0.9 if pixels == 'raw' else 0) and (wrong.mean() < 0.97) == (
    pixels == 'normalised'
  )


def test_noise_by_image_is_realised_at_its_rate():
  noisy = corrupt(a_set(), 'instance', 0.3, upper=0.6)
  check_realised(noisy)
  assert abs(noisy.wrong - 0.3) < 0.02


@pytest.mark.parametrize(
  'kind, rate, fields, sentence',
  [
    ('symmetric', 0.2, {}, "no kind of label noise 'symmetric'"),
    ('pair_flip', 1.1, {}, 'rate is 1.1; it must be from 0 to 1'),
    ('pair_flip', float('nan'), {}, 'rate is nan'),
    ('pair_flip', 0.1, dict(upper=0.6), "no field of pair_flip noise 'upper'"),
    ('asymmetric', 0.2, {}, 'asymmetric noise is known of CIFAR-10 and CIFAR-100'),
    ('instance', 0.7, dict(upper=0.6), 'The rate is 0.7, and no image has a rate above upper, 0.6'),
    ('instance', 0.7, dict(upper=1.5), 'upper is 1.5; it must be above 0'),
    ('instance', 0.2, dict(pixels='white'), "no kind of pixels 'white'"),
  ],
)
def test_noise_that_cannot_be_made_is_refused(kind, rate, fields, sentence):
  with pytest.raises(UserError, match=sentence):
    corrupt(a_set(count=40), kind, rate, **fields)


@pytest.mark.parametrize(
  'given, kind, sentence',
  [
    (Vectors(np.eye(4), np.arange(4)), 'instance', 'looks at the images of a Dataset.*a Vectors'),
    (np.arange(4), 'pair_flip', 'corrupt takes a Dataset or Vectors.*got ndarray'),
  ],
)
def test_what_has_no_images_or_labels_is_refused(given, kind, sentence):
  with pytest.raises(UserError, match=sentence):
    corrupt(given, kind, 0.2)
