"""DivideMix: which rows a step takes, targets and losses against float64 numpy, a few steps."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.mixture import GaussianMixture

from jaxdistill.data import views
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.label_noise import divide_mix, mixmatch
from jaxdistill.label_noise.method import Setting
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.models import linear, normalisation
from jaxdistill.training import loop, parallel, players
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run
from jaxdistill.training.scene import Scene

RNG = np.random.default_rng(0)
BATCH, CLASSES, N = 3, 4, 24
ROWS = 4 * BATCH
NAMES = divide_mix.NETWORKS
MIX = mixmatch.Settings(BATCH, temperature=0.5, alpha=4.0)
LABELS = np.arange(N) % CLASSES
EXAMPLES = Examples(
  RNG.integers(256, size=(N, 2, 2, 1)).astype(np.uint8), LABELS, CLASSES, (0.5,), (0.25,)
)
# Rows that the parts see: both views of the batch, or the mixed images.
PARTS = {'': 2 * ROWS, '_judge': 2 * ROWS, '_mixed': ROWS}


class Net(nn.Module):
  """A linear classifier behind batch normalisation."""

  @nn.compact
  def __call__(self, x, train=False):
    x = normalisation.norm('batch')(name='norm')(x, train).reshape(len(x), -1)
    return linear.Linear(CLASSES, name='classifier')(x), {}


def setting(**fields):
  asked = dict(
    make_optimizer=lambda *fields: optax.sgd(0.1),
    make_views=lambda named, common: views.make(
      common, named, mean=EXAMPLES.mean, std=EXAMPLES.std, num_classes=CLASSES
    ),
  )
  sizes = dict(epochs=4, batch=BATCH, epoch_steps=8, weak=(), strong=())
  evidence = Evidence(Crowd.from_labels(LABELS, CLASSES))
  return Setting(
    **{**sizes, **asked, 'network': Net(), 'evidence': evidence, **fields}, examples=EXAMPLES
  )


def softmax(logits):
  p = np.exp(logits - logits.max(-1, keepdims=True))
  return p / p.sum(-1, keepdims=True)


def scene():
  """Random answers of all parts to a batch, and how they were mixed."""
  logits = {}
  for name, (part, rows) in itertools.product(NAMES, PARTS.items()):
    logits[f'{name}{part}'] = RNG.normal(size=(rows, CLASSES))
  outputs = {name: {'logits': jnp.asarray(array)} for name, array in logits.items()}
  mixed = {name: dict(share=np.full(ROWS, 0.8), partner=RNG.permutation(ROWS)) for name in NAMES}
  outputs |= {f'{name}_pairs': jax.tree.map(jnp.asarray, pair) for name, pair in mixed.items()}
  labels, index = np.eye(CLASSES)[RNG.integers(CLASSES, size=ROWS)], RNG.integers(N, size=ROWS)
  batch = {'labels': labels, 'index': index, 'weight': np.ones(ROWS)}
  clean = RNG.random((2, N))
  made = Scene(outputs, jax.tree.map(jnp.asarray, batch), beliefs={'clean': jnp.asarray(clean)})
  return made, logits, mixed, labels, clean[:, index]


@pytest.mark.parametrize('number', [0, 1])
def test_the_losses_are_their_formulas(number):
  made, logits, mixed, labels, clean = scene()
  name, peer = NAMES[number], NAMES[1 - number]
  p = {part: softmax(array) for part, array in logits.items()}
  first = 2 * BATCH * number
  x, u = np.arange(first, first + BATCH), np.arange(first + BATCH, first + 2 * BATCH)
  guess = (p[name][x] + p[name][ROWS:][x]) / 2
  trust = clean[1 - number][x][:, None]  # the other network's
  squared = (trust * labels[x] + (1 - trust) * guess) ** 2
  target_x = squared / squared.sum(1, keepdims=True)
  judged = p[f'{peer}_judge'][u] + p[f'{peer}_judge'][ROWS:][u]
  squared = ((p[name][u] + p[name][ROWS:][u] + judged) / 4) ** 2
  target_u = squared / squared.sum(1, keepdims=True)
  targets = np.concatenate([target_x, target_x, target_u, target_u])
  targets = 0.8 * targets + 0.2 * targets[mixed[name]['partner']]
  answer, half = p[f'{name}_mixed'], 2 * BATCH
  losses = mixmatch.losses(made, NAMES, number, MIX)
  wanted = -(targets[:half] * np.log(answer[:half])).sum(1).mean()
  np.testing.assert_allclose(losses.labelled, wanted, rtol=1e-5)
  wanted = ((answer[half:] - targets[half:]) ** 2).mean()
  np.testing.assert_allclose(losses.unlabelled, wanted, rtol=1e-4)
  wanted = (np.log(1 / CLASSES) - np.log(answer.mean(0))).mean()
  np.testing.assert_allclose(losses.prior, wanted, rtol=1e-4, atol=1e-6)


def test_no_gradient_reaches_the_guesses():
  made, logits, *_ = scene()

  def total(logits):
    outputs = {**made.outputs, **{part: {'logits': array} for part, array in logits.items()}}
    changed = Scene(outputs, made.batch, beliefs=made.beliefs)
    return sum(mixmatch.losses(changed, NAMES, 0, MIX))

  slope = jax.jit(jax.grad(total))(jax.tree.map(jnp.asarray, logits))
  assert [part for part in logits if np.any(slope[part])] == ['net_mixed']


@pytest.mark.parametrize('number', [0, 1])
def test_pairs_are_of_a_networks_own_halves(number):
  """Every image keeps the larger part of its own; what it is mixed with is said."""
  name, images = NAMES[number], RNG.random((2, ROWS, 2, 2, 1)).astype(np.float32)
  batch = {'first': images[0], 'second': images[1], 'weight': np.ones(ROWS)}
  part = mixmatch.parts(Net(), NAMES, MIX)[f'{name}_pairs']
  asked = Scene({}, jax.tree.map(jnp.asarray, batch), jax.random.key(0))
  given = part.module.apply({}, *part.reads(asked))
  first = 2 * BATCH * number
  x, u = slice(first, first + BATCH), slice(first + BATCH, first + 2 * BATCH)
  own = np.concatenate([images[0][x], images[1][x], images[0][u], images[1][u]])
  share, partner = np.asarray(given['share'])[0], np.asarray(given['partner'])
  assert 0.5 <= share <= 1 and sorted(partner) == list(range(ROWS))
  np.testing.assert_allclose(given['images'], share * own + (1 - share) * own[partner], atol=1e-6)


def test_no_accuracy_is_measured_on_mixed_images():
  parts = mixmatch.parts(Net(), NAMES, MIX)
  assert not any(parts[f'{name}_mixed'].labels for name in NAMES)


def test_a_step_takes_each_half_by_the_belief_of_the_other_network():
  clean = np.zeros((2, N))
  clean[0, :8], clean[1, 8:18] = 0.9, 0.9
  beliefs = {'clean': jnp.asarray(clean)}
  draw = jax.jit(functools.partial(divide_mix.rows, threshold=0.5, batch=BATCH))
  steps = [np.asarray(draw(jax.random.key(1), step, beliefs)[0]) for step in range(8)]
  halves = np.stack(steps).reshape(8, 4, BATCH)
  # Passes without replacement: 8 steps of 3 go through sets of 8 images three times, once of 24.
  assert set(halves[:, 0].ravel()) == set(range(8, 18))
  assert set(halves[:, 1].ravel()) <= {*range(8), *range(18, 24)}
  assert np.bincount(halves[:, 2].ravel(), minlength=N).tolist() == [3] * 8 + [0] * 16
  assert set(halves[:, 3].ravel()) == set(range(8, 24))


def test_where_no_row_is_chosen_all_are():
  draw = jax.jit(functools.partial(mixmatch.members, batch=5))
  rows = draw(jax.random.key(0), 0, jnp.zeros(5, bool))
  assert sorted(rows.tolist()) == list(range(5))


def test_labels_are_divided_as_two_gaussians_divide_their_losses():
  """Against scikit-learn's mixture, which the public code calls, on the same scaled losses."""
  logits = {name: RNG.normal(size=(1, N, CLASSES)) for name in NAMES}
  for array in logits.values():
    array[0, np.arange(N), np.where(np.arange(N) < 15, LABELS, (LABELS + 1) % CLASSES)] += 4
  look = lambda variables, name: {'logits': logits[name]}
  before = {'beliefs': {'losses': np.full((1, 2, 1, N), -1.0)}}
  after = divide_mix.divided(before, look, LABELS)
  for number, name in enumerate(NAMES):
    losses = -np.log(softmax(logits[name][0]))[np.arange(N), LABELS]
    losses = (losses - losses.min()) / (losses.max() - losses.min())
    np.testing.assert_allclose(after['losses'][0, number, 0], losses, atol=1e-5)
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    mixture.fit(losses[:, None])
    wanted = mixture.predict_proba(losses[:, None])[:, mixture.means_.argmin()]
    np.testing.assert_allclose(after['clean'][0, number], wanted, atol=0.02)
  assert ((after['clean'][0] > 0.5) == (np.arange(N) < 15)).all()


def test_losses_of_several_epochs_are_averaged():
  logits = {name: RNG.normal(size=(1, N, CLASSES)) for name in NAMES}
  look = lambda variables, name: {'logits': logits[name]}
  history = RNG.random((1, 2, 3, N)).astype(np.float32)
  history[:, :, 2] = -1  # of which two epochs are known
  after = divide_mix.divided({'beliefs': {'losses': history}}, look, LABELS)
  latest = divide_mix.scaled_losses(logits['net'], LABELS)
  np.testing.assert_allclose(after['losses'][:, 0, 0], latest, rtol=1e-5)
  np.testing.assert_array_equal(after['losses'][:, :, 1:], history[:, :, :2])


def test_epochs_that_are_still_to_come_count_nothing_and_can_be_saved():
  logits = {name: RNG.normal(size=(1, N, CLASSES)) for name in NAMES}
  look = lambda variables, name: {'logits': logits[name]}
  after = {}
  for averaged in (1, 3):
    phase = divide_mix.method(setting(), warmup=1, averaged=averaged).phases[1]
    first = np.asarray(phase.game.beliefs['losses'](jax.random.key(0)))[None]
    after[averaged] = divide_mix.divided({'beliefs': {'losses': first}}, look, LABELS)
    assert np.isfinite(first).all() and np.isfinite(after[averaged]['losses']).all()
  np.testing.assert_array_equal(after[1]['clean'], after[3]['clean'])


def test_the_weight_of_guesses_rises():
  phase = divide_mix.method(setting(), warmup=1, lambda_u=25.0, ramp=2).phases[1]
  weight = phase.game.players[0].terms[1].weight
  np.testing.assert_allclose([weight(step) for step in (0, 8, 16, 99)], [0, 12.5, 25, 25])


def stepped(mesh=None, steps=2, **options):
  """The method, its variables before and after some steps of its second phase."""
  method = divide_mix.method(setting(), warmup=1, lambda_u=1.0)
  phase = method.phases[1]
  clean = np.zeros((1, 2, N), np.float32)
  clean[..., ::2] = 1
  training = players.problem(
    phase.game,
    EXAMPLES,
    Recipe('tiny', batch=BATCH, epochs=1),
    views=phase.views,
    drawn=phase.rows,
    initial={'beliefs': {'clean': clean}},
    num_steps=steps,
    mesh=mesh,
    **options,
  )
  before = jax.tree.map(np.asarray, training.state.variables)
  with Run(progress=False) as run:
    after = loop.fit(run, 'phase', training).variables
  return method, before, jax.tree.map(np.asarray, after)


def test_both_networks_learn_in_a_step():
  method, before, after = stepped()
  for name in NAMES:
    for collection in ('params', 'batch_stats'):
      pairs = zip(*(jax.tree.leaves(tree[collection][name]) for tree in (before, after)))
      assert all((old != new).any() for old, new in pairs)
  np.testing.assert_array_equal(after['beliefs']['clean'], before['beliefs']['clean'])
  assert set(after['params']) == set(NAMES) == set(method.phases[0].game.parts)
  one, images = jax.tree.map(lambda leaf: leaf[0], after), jnp.ones((2, 2, 2, 1))
  of_part = lambda name: {key: one[key][name] for key in ('params', 'batch_stats')}
  logits = sum(Net().apply(of_part(name), images)[0] for name in NAMES) / 2
  np.testing.assert_allclose(method.answer(one, images), softmax(np.asarray(logits)), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('devices', [2, 4])
def test_devices_that_share_a_batch_make_the_same_step(devices):
  """Pairs, targets and statistics are those of the whole batch, whose twelve rows are three a
  device."""
  *_, alone = stepped()
  *_, shared = stepped(parallel.make_mesh(devices), spread='batch')
  close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
  jax.tree.map(close, shared['params'], alone['params'])
  jax.tree.map(close, shared['batch_stats'], alone['batch_stats'])


@pytest.mark.parametrize(
  'fields, word',
  [
    ({'warmup': 4}, 'warmup'),
    ({'threshold': 1.0}, 'threshold'),
    ({'temperature': 0.0}, 'temperature'),
    ({'alpha': 0.0}, 'alpha'),
    ({'lambda_u': -1.0}, 'lambda_u'),
    ({'averaged': 0}, 'averaged'),
  ],
)
def test_bad_fields_are_refused(fields, word):
  with pytest.raises(UserError, match=word):
    divide_mix.method(setting(), **{'warmup': 1, **fields})
