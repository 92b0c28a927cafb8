"""The recipes' rates, steps, border and statistics, by the numbers of their sources."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data import statistics
from jaxdistill.data.crops import Flip, Rotate
from jaxdistill.data.examples import Examples
from jaxdistill.distillation import recipes
from jaxdistill.errors import UserError

CIFAR, IMAGENET, TINY = 50_000, 1_281_167, 100_000


def rates(name, images, *epochs, **changes):
  """The learning rates in the first and the last step of epochs that are counted from 1."""
  recipe = recipes.find(name, **changes)
  schedule, steps = recipe.learning_rate(images), recipe.epoch_steps(images)
  ends = [(schedule((epoch - 1) * steps), schedule(epoch * steps - 1)) for epoch in epochs]
  assert all(first == last for first, last in ends)
  return [float(first) for first, _ in ends]


def test_rates_of_the_fields_recipe():
  assert recipes.find('crd240').epoch_steps(CIFAR) == 781
  np.testing.assert_allclose(
    rates('crd240', CIFAR, 1, 150, 151, 180, 181, 210, 211, 240),
    [0.05, 0.05, 5e-3, 5e-3, 5e-4, 5e-4, 5e-5, 5e-5],
    rtol=1e-6,
  )
  low = rates('crd240', CIFAR, 150, 151, learning_rate=0.01)
  np.testing.assert_allclose(low, [0.01, 1e-3], rtol=1e-6)


@pytest.mark.parametrize(
  'name, images, epochs, rate',
  [
    ('short', CIFAR, (18, 24, 28), 0.05),
    ('imagenet', IMAGENET, (30, 60, 90), 0.1),
    ('tiny', TINY, (60, 120, 160), 0.2),
  ],
)
def test_rates_are_divided_by_ten_once_epochs_are_done(name, images, epochs, rate):
  for number, epoch in enumerate(epochs):
    expected = [rate / 10**number, rate / 10 ** (number + 1)]
    np.testing.assert_allclose(rates(name, images, epoch, epoch + 1), expected, rtol=1e-6)


def test_drops_keep_their_share_of_another_length():
  np.testing.assert_allclose(
    rates('crd240', CIFAR, 6, 7, 8, 9, 10, epochs=10), [0.05, 5e-3, 5e-4, 5e-5, 5e-5], rtol=1e-6
  )


def test_decay_and_momentum_are_coupled():
  optimizer = recipes.find('crd240').optimizer.build(0.05)
  params, gradient = jnp.array([2.0]), jnp.array([0.5])
  state, velocity = optimizer.init(params), 0.0
  for _ in range(3):
    updates, state = optimizer.update(gradient, state, params)
    velocity = 0.9 * velocity + 0.5 + 5e-4 * float(params[0])
    np.testing.assert_allclose(updates, [-0.05 * velocity], rtol=1e-5)
    params = params + updates
  assert recipes.find('imagenet').optimizer.weight_decay == 1e-4


def test_border_of_the_crop_is_black():
  """White images come out with the values of white and, at the border, of black alone."""
  mean, std = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
  examples = Examples(np.full((8, 32, 32, 3), 255, np.uint8), np.zeros(8, int), 2, mean, std)
  views = recipes.find('crd240').views(examples)
  batch = {'images': examples.images, 'labels': examples.labels, 'weight': np.ones(8)}
  images = jax.jit(views.prepare)(jax.random.key(0), batch, views.draw(jax.random.key(1)))['images']
  white, black = (1 - np.array(mean)) / std, -np.array(mean) / std
  is_white = np.abs(images - white.reshape(1, 1, 1, 3)).max(-1) < 1e-5
  is_black = np.abs(images - black.reshape(1, 1, 1, 3)).max(-1) < 1e-5
  assert (is_white ^ is_black).all() and 0.05 < is_black.mean() < 0.3
  assert is_white[:, 4:28, 4:28].all()


def test_statistics_are_those_of_the_public_codes():
  pictures = np.zeros((1, 2, 2, 3), np.uint8)
  assert statistics.choose('cifar100', pictures, 'crd') == (
    (0.5071, 0.4867, 0.4408),
    (0.2675, 0.2565, 0.2761),
  )
  assert statistics.choose('tiny_imagenet:x', pictures, 'crd') == (
    (0.4802, 0.4481, 0.3975),
    (0.2302, 0.2265, 0.2262),
  )
  for name in ('cifar10', 'imagenet:x'):
    assert statistics.choose(name, pictures, 'crd') == statistics.choose(name, pictures, 'idc')


def test_students_of_their_own_rate():
  light = [recipes.learning_rate_for('short', name) for name in ('mobilenetv2', 'shufflenet_v2')]
  assert light == [0.01, 0.01]
  assert recipes.learning_rate_for('imagenet', 'mobilenetv2') == 0


def test_digits_are_not_mirrored_and_tiny_images_are_turned():
  assert not any(isinstance(step, Flip) for step in recipes.find('digits').transforms)
  assert recipes.find('tiny').transforms == (Rotate(20), Flip())


def test_mistakes_are_told():
  with pytest.raises(UserError, match="no recipe of distillation 'crd'; did you mean 'crd240'"):
    recipes.find('crd')
  with pytest.raises(UserError, match='epochs, batch and learning_rate of at least 0'):
    recipes.find('short', epochs=-1)


@pytest.mark.parametrize('epochs', [1, 2])
def test_drops_of_a_short_training_fall_on_steps_of_their_own(epochs):
  recipe, steps = recipes.find('short', epochs=epochs), epochs * 100
  boundaries = recipe.boundaries(100 * recipe.batch)
  np.testing.assert_allclose(boundaries, [share * steps for share in (0.6, 0.8, 28 / 30)], atol=1)
