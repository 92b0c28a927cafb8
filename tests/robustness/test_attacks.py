"""What every attack keeps, on networks whose weakest point is known."""

import jax
import jax.numpy as jnp
import linear_network
import numpy as np
import pytest

from jaxdistill import robustness
from jaxdistill.errors import UserError
from jaxdistill.robustness import cw

EPS = 0.1
# Short, but with the same programs as the long ones.
SHORT = {
  'fgsm': {},
  'pgd': dict(steps=10),
  'cw': dict(steps=10),
  'apgd_ce': dict(steps=20),
  'apgd_dlr': dict(steps=20),
  'apgd_t': dict(steps=20),
  'fab_t': dict(steps=10),
  'square': dict(queries=150),
}
AUTOATTACK = dict(steps=20, queries=100)
BALLS = {'linf': 0.06, 'l2': 0.35}
QUICK = [('pgd', 'linf'), ('apgd_t', 'linf'), ('fab_t', 'l2'), ('square', 'linf'), ('square', 'l2')]


def cases():
  """Every attack in both balls; the quick ones have every projection, start and draw."""
  for name in SHORT:
    for norm in BALLS:
      marks = [] if (name, norm) in QUICK else [pytest.mark.slow]
      yield pytest.param(name, norm, marks=marks)


@pytest.fixture(scope='module')
def linear():
  """Images, labels, weights and bias, and which images are right in the whole box."""
  images, labels, weights, bias = linear_network.examples()
  margins = linear_network.worst_margins(images, labels, weights, bias, EPS)
  assert np.abs(margins).min() > 1e-4 and 0.2 < (margins > 0).mean() < 0.8
  return images, labels, weights, bias, margins > 0


@pytest.fixture(scope='module')
def curved():
  """A network of one hidden layer, and images that it gets right."""
  random = np.random.default_rng(5)
  first = jax.device_put(np.float32(random.normal(size=(75, 24))))
  last = jax.device_put(np.float32(random.normal(size=(24, 6))))
  f = lambda images: jnp.tanh(images.reshape(len(images), -1) @ first / 5) @ last
  images = random.uniform(size=(24, 5, 5, 3)).astype(np.float32)
  return images, np.asarray(f(images)).argmax(1), f


def right(f, images, labels):
  return np.asarray(f(jnp.asarray(images))).argmax(1) == labels


@pytest.mark.parametrize('name, norm', list(cases()))
def test_an_attack_stays_in_its_ball_and_is_the_same_in_any_company(curved, name, norm):
  images, labels, f = curved
  fields = dict(eps=BALLS[norm], norm=norm, batch=8, **SHORT[name])
  adversarial = robustness.attack(f, images, labels, name, **fields)
  assert adversarial.dtype == np.float32 and adversarial.shape == images.shape
  assert adversarial.min() >= 0 and adversarial.max() <= 1
  change = (adversarial - images).reshape(24, -1).astype(np.float64)
  length = np.abs(change).max(1) if norm == 'linf' else np.sqrt((change**2).sum(1))
  assert length.max() <= BALLS[norm] + 1e-6
  assert right(f, adversarial, labels).mean() < 1
  # The last batch of 13 is filled up with three rows of no meaning.
  part = robustness.attack(f, images[:13], labels[:13], name, **fields)
  assert (part == adversarial[:13]).all()


@pytest.mark.parametrize('name', ['pgd', 'square'])
def test_a_seed_gives_the_same_images_and_another_one_others(curved, name):
  images, labels, f = curved
  fields = dict(eps=0.06, batch=8, **SHORT[name])
  first, again, other = (
    robustness.attack(f, images[:8], labels[:8], name, seed=seed, **fields) for seed in (0, 0, 1)
  )
  assert (first == again).all() and (first != other).any()


def test_autoattack_reaches_the_worst_case_of_a_linear_network_and_nobody_undercuts_it(linear):
  images, labels, weights, bias, robust = linear
  f = linear_network.network(weights, bias)
  names = {'pgd20': {}, 'cw': SHORT['cw'], 'apgd_t': SHORT['apgd_t'], 'autoattack': AUTOATTACK}
  result = robustness.evaluate(f, images, labels, names, eps=EPS)
  assert (result.correct['autoattack'] == robust).all()
  assert (result.correct['apgd_t'] == robust).all()  # every boundary is a plane: one turn finds it
  for name in names:
    assert (result.correct[name] >= robust).all()
  assert result.clean == 1 and result.worst == robust.mean() and not result.warnings


def test_fab_alone_finds_the_worst_case_of_a_linear_network(linear):
  images, labels, weights, bias, robust = linear
  f = linear_network.network(weights, bias)
  adversarial = robustness.attack(f, images, labels, 'fab_t', eps=EPS, steps=20)
  assert (right(f, adversarial, labels) == robust).all()
  unharmed = (adversarial == images).all((1, 2, 3))
  assert (unharmed == robust).all()  # no image comes back changed where nothing was found


def test_saturated_logits_fool_pgd_and_not_autoattack(linear):
  images, labels, weights, bias, robust = linear
  f = linear_network.network(1e4 * weights, 1e4 * bias)
  names = {'pgd20': {}, 'autoattack': AUTOATTACK}
  result = robustness.evaluate(f, images, labels, names, eps=EPS)
  assert (result.correct['autoattack'] == robust).all()
  assert result.accuracies['pgd20'] > robust.mean() + 0.2
  assert any('saturate softmax' in warning for warning in result.warnings)


def test_nothing_changes_without_a_radius_and_nothing_is_left_with_all(linear):
  images, labels, weights, bias, _ = linear
  f = linear_network.network(weights, bias)
  for name in ('pgd20', 'apgd_t'):
    fields = SHORT.get(name, {})
    assert (robustness.attack(f, images, labels, name, eps=0, **fields) == images).all()
  result = robustness.evaluate(f, images, labels, ['pgd20'], eps=1)
  assert result.accuracies == {'clean': 1.0, 'pgd20': 0.0, 'worst': 0.0}


@pytest.mark.slow
def test_accuracy_falls_with_the_radius_and_with_steps(curved):
  images, labels, f = curved
  accuracy = lambda steps, eps: right(
    f, robustness.attack(f, images, labels, 'pgd', eps=eps, steps=steps, step=0.01), labels
  ).mean()
  by_radius = [accuracy(10, eps) for eps in (0, 0.03, 0.06, 0.12)]
  by_steps = [accuracy(0, 0.06), by_radius[2]]
  for accuracies in (by_radius, by_steps):
    assert (np.diff(accuracies) <= 0).all() and accuracies[-1] < accuracies[0]


def test_restarts_keep_the_worst(curved):
  images, labels, f = curved
  masks = []
  for restarts in (1, 4):
    fields = dict(eps=0.02, steps=2, restarts=restarts)
    masks.append(right(f, robustness.attack(f, images, labels, 'pgd', **fields), labels))
  assert (masks[1] <= masks[0]).all()  # the first of four is the only one of one


@pytest.mark.parametrize('name', ['apgd_ce', 'square', 'fab_t'])
def test_images_that_are_wrong_already_stay_as_they_are(curved, name):
  images, labels, f = curved
  others = (labels + 1) % 6
  assert (robustness.attack(f, images, others, name, **SHORT[name]) == images).all()


@pytest.mark.slow
def test_the_published_settings_reach_the_worst_case(linear):
  images, labels, weights, bias, robust = linear
  result = robustness.evaluate(linear_network.network(weights, bias), images, labels, eps=EPS)
  assert list(result.accuracies) == ['clean', 'pgd20', 'autoattack', 'worst']
  assert (result.correct['worst'] == robust).all() and not result.warnings


@pytest.mark.parametrize('confidence', [float('nan'), float('inf'), -1.0, 'x'])
def test_a_confidence_is_a_number_of_at_least_0(confidence):
  with pytest.raises(UserError, match='confidence is'):
    cw.attack(3, confidence=confidence)
