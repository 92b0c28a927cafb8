"""Co-teaching, ELR and forward correction: their losses against float64 numpy, what they remember
and refuse."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill.data.crowds import Crowd
from jaxdistill.errors import UserError
from jaxdistill.label_noise import co_teaching, elr, forward, transitions
from jaxdistill.label_noise.method import Setting
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.losses.classification import cross_entropy

RNG = np.random.default_rng(0)
ROWS, CLASSES = 12, 4
LOGITS, PEER = RNG.normal(size=(2, ROWS, CLASSES)) * 3
LABELS = RNG.integers(CLASSES, size=ROWS)
# Two rows fill the batch up; one of them repeats an example.
WEIGHT = np.r_[np.ones(ROWS - 2), 0, 0].astype(np.float32)
INDEX = np.r_[np.arange(ROWS - 2) + 5, 5, 6]
BATCH = {
  'labels': jnp.asarray(np.eye(CLASSES, dtype=np.float32)[LABELS]),
  'weight': jnp.asarray(WEIGHT),
  'index': jnp.asarray(INDEX),
}


def log_softmax(logits):
  shifted = logits - logits.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def losses_of(logits):
  return -log_softmax(logits)[np.arange(ROWS), LABELS]


def setting(**fields):
  labels = np.arange(20) % CLASSES
  plain = dict(network=nn.Dense(CLASSES), examples=None)
  steps = dict(epochs=3, batch=8, epoch_steps=4, weak=(), strong=())
  made = dict(make_optimizer=lambda *asked: optax.sgd(1.0), make_views=lambda *asked: asked)
  evidence = Evidence(Crowd.from_labels(labels, CLASSES))
  return Setting(**{**plain, **steps, **made, 'evidence': evidence, **fields})


@pytest.mark.parametrize('kept, number', [(1.0, 10), (0.7, 7), (0.55, 5), (0.0, 1)])
def test_co_teaching_learns_on_the_small_losses_of_the_other(kept, number):
  chosen = np.argsort(losses_of(PEER)[: ROWS - 2])[:number]
  loss = co_teaching.peer_loss(jnp.asarray(LOGITS), jnp.asarray(PEER), BATCH, kept)
  np.testing.assert_allclose(loss, losses_of(LOGITS)[chosen].mean(), rtol=1e-5)


def test_co_teaching_hands_no_gradient_to_the_other():
  gradient = jax.grad(lambda peer: co_teaching.peer_loss(jnp.asarray(LOGITS), peer, BATCH, 0.5))
  assert not np.any(gradient(jnp.asarray(PEER)))


def test_the_share_of_co_teaching_grows_by_its_schedule():
  epochs = jnp.array([0, 1, 4, 9, 25])
  growth = {name: co_teaching.grown(epochs, 16, name) for name in ('linear', 'root', 'square')}
  np.testing.assert_allclose(growth['linear'], [0, 1 / 16, 1 / 4, 9 / 16, 1])
  np.testing.assert_allclose(growth['root'], [0, 1 / 16, 2 / 16, 3 / 16, 5 / 16], rtol=1e-6)
  np.testing.assert_allclose(growth['square'], [0, 1 / 16, 1, 1, 1])
  np.testing.assert_array_equal(co_teaching.grown(epochs, 16, 'constant'), np.ones(5))


def test_co_teaching_trusts_the_least_losses_of_both():
  """Of ten labels two are wrong, and one network of the two is fooled by one of them."""
  labels = np.arange(10) % CLASSES
  answers = {name: 5 * np.eye(CLASSES)[labels][None] for name in ('net', 'other')}
  for name, row in (('net', 2), ('other', 2), ('other', 7)):
    answers[name][0, row] = np.roll(answers[name][0, row], 1)
  look = lambda variables, part: {'logits': answers[part]}
  asked = setting(evidence=Evidence(Crowd.from_labels(labels, CLASSES)))
  believed = co_teaching.believed({}, look, asked, tau=0.2)
  assert np.flatnonzero(~believed.confident[0]).tolist() == [2, 7]
  assert believed.labels[0].argmax(1).tolist() == answers['net'][0].argmax(1).tolist()


def test_elr_is_its_formula():
  """Targets by index, moved before they are used; rows that fill the batch up move nothing."""
  beta, before = 0.6, RNG.dirichlet(np.ones(CLASSES), size=20) * 0.9
  p = np.clip(np.exp(log_softmax(LOGITS)), 1e-4, 1 - 1e-4)
  after, real = before.copy(), WEIGHT > 0
  for row in np.flatnonzero(real):
    after[INDEX[row]] = beta * before[INDEX[row]] + (1 - beta) * p[row] / p[row].sum()
  wanted = np.log(1 - (p * after[INDEX]).sum(1))[real].mean()
  targets = elr.moved_targets(jnp.asarray(before), jnp.asarray(LOGITS), BATCH, beta)
  np.testing.assert_allclose(targets, after, atol=1e-6)
  np.testing.assert_allclose(
    elr.regulariser(jnp.asarray(LOGITS), targets, BATCH), wanted, rtol=1e-5
  )


def test_targets_of_elr_have_no_gradient():
  before = jnp.zeros((20, CLASSES))
  total = lambda logits: elr.moved_targets(before, logits, BATCH, 0.5).sum()
  assert not np.any(jax.grad(total)(jnp.asarray(LOGITS)))


def test_elr_believes_its_targets():
  targets = np.array([[[0.2, 0.2, 0.0, 0.0], [0.0] * 4]])
  believed = elr.believe({'memory': {'elr': targets}}, None)
  np.testing.assert_allclose(believed.labels, [[[0.5, 0.5, 0, 0], [0.25] * 4]])


def test_forward_with_the_identity_is_cross_entropy():
  losses = forward.forward_losses(jnp.asarray(30 * LOGITS), jnp.asarray(LABELS), jnp.eye(CLASSES))
  wanted = [cross_entropy(30 * LOGITS[[row]], LABELS[[row]]) for row in range(ROWS)]
  np.testing.assert_allclose(losses, np.asarray(wanted), rtol=1e-6)


def test_forward_is_its_formula():
  matrix = RNG.dirichlet(np.ones(CLASSES), size=CLASSES)
  wanted = -np.log((np.exp(log_softmax(LOGITS)) @ matrix)[np.arange(ROWS), LABELS])
  losses = forward.forward_losses(jnp.asarray(LOGITS), jnp.asarray(LABELS), jnp.asarray(matrix))
  np.testing.assert_allclose(losses, wanted, rtol=1e-5)


@pytest.mark.parametrize('fields', [{}, {'estimator': 'max', 'percentile': 90.0}])
def test_forward_estimates_a_matrix_a_network_from_the_first_phase(fields):
  asked = setting()
  logits = RNG.normal(size=(2, 20, CLASSES))
  first, second = forward.method(asked, **fields).phases
  look = lambda variables: {'logits': logits + variables['shift']}
  matrices = second.begin({'estimate': {'shift': 1.0}}, look)['beliefs']['transition']
  options = (fields.get('estimator', 'dual'), fields.get('percentile'))
  for network, matrix in zip(logits, matrices):
    p = np.exp(log_softmax(network))
    wanted = transitions.transition(asked.evidence.labels, p, *options)
    np.testing.assert_allclose(matrix, wanted, atol=1e-5)
  assert (first.epochs, second.epochs) == (20, asked.epochs)
  assert 'params' not in second.begin({'estimate': {'shift': 0.0}}, look)


@pytest.mark.parametrize(
  'method, fields, word',
  [
    (co_teaching, {'tau': 1.0}, 'tau'),
    (co_teaching, {'warmup': 0}, 'warmup'),
    (elr, {'lam': -1.0}, 'lam'),
    (elr, {'beta': 1.0}, 'beta'),
    (forward, {'percentile': 100.0}, 'percentile'),
    (forward, {'estimate_epochs': -1}, 'estimate_epochs'),
  ],
)
def test_numbers_out_of_range_are_refused(method, fields, word):
  with pytest.raises(UserError, match=word):
    method.method(setting(), **fields)
