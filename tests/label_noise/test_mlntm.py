"""MLNTM: what it keeps of its warm-up, what the corrected training begins with, and what it is
worth where the flips are known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill import label_noise, metrics, models
from jaxdistill.data import views
from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.label_noise import bce, methods, mlntm, multilabel_estimates, watched
from jaxdistill.label_noise.method import NET, Setting
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.training import loop, players
from jaxdistill.training.outputs import part_variables
from jaxdistill.training.problem import Refresh
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run
from jaxdistill.training.scene import Scene

NETWORKS, FEATURES = 2, 20


def generated(number, seed, labels=10, topics=3):
  """Features [n, d] of labels [n, q] that go together by topic."""
  rng = np.random.default_rng(0)
  related = np.arange(labels)[None] % topics == np.arange(topics)[:, None]
  directions = rng.normal(size=(labels, FEATURES))
  rng = np.random.default_rng(seed)
  chance = np.where(related, 0.6, 0.08)[rng.integers(topics, size=number)]
  truth = (rng.random((number, labels)) < chance).astype(np.int32)
  return (truth @ directions + rng.normal(size=(number, FEATURES))).astype(np.float32), truth


def setting(features, noisy, held=None, epochs=4, batch=100, width=4):
  """A setting of vectors, as of a run; the last `held` rows are held out."""
  last = len(features) - (held or 0)
  images = features[:, None, None]
  examples = Examples(
    images[:last], noisy[:last], noisy.shape[1], features.mean(0), features.std(0), False
  )

  def make_views(named, common):
    kind = dict(mean=examples.mean, std=examples.std, num_classes=noisy.shape[1], flip=False)
    return views.make(common, named, **kind)

  return Setting(
    models.build({'name': 'mlp', 'width': width, 'depth': 1}, noisy.shape[1], images.shape[1:]),
    Evidence(matrix=noisy[:last]),
    examples,
    epochs,
    batch,
    -(-last // batch),
    (),
    (),
    lambda epochs, rate, constant, decay, on: optax.adam(rate or 1e-3),
    make_views,
    validation=Evidence(matrix=noisy[last:]) if held else None,
  )


def looking(asked, features):
  """Look at all features: the training set, what is held out, and behind them unseen ones."""
  first = len(asked.evidence)
  second = first + len(asked.validation or ())
  rows = {'train': slice(first), 'validation': slice(first, second), 'test': slice(second, None)}
  inputs = (features - asked.examples.mean) / asked.examples.std
  inputs = jnp.asarray(inputs[:, None, None], jnp.float32)
  answers = jax.jit(jax.vmap(lambda of: asked.network.apply(of, inputs)[0]))

  def look(variables, part=NET, of='train'):
    return {'logits': np.asarray(answers(part_variables(variables, part)))[:, rows[of]]}

  return look


def trained(method, asked, look, seed=0):
  """The last variables of every phase."""
  ended = {}
  for phase in method.phases:
    refresh = phase.refresh and Refresh(
      functools.partial(refreshed, phase.refresh, look),
      phase.every * asked.epoch_steps,
      phase.first * asked.epoch_steps,
    )
    problem = players.problem(
      phase.game,
      asked.examples,
      Recipe(phase.name, batch=asked.batch, epochs=phase.epochs),
      tables=phase.tables,
      views=asked.views({'images': ()}),
      networks=NETWORKS,
      seed=seed,
      initial=phase.begin(ended, look) if phase.begin else None,
    )
    with Run(progress=False) as run:
      state = loop.fit(run, phase.name, dataclasses.replace(problem, refresh=refresh))
    ended[phase.name] = jax.tree.map(np.asarray, state.variables)
  return ended


def refreshed(refresh, look, state):
  new = jax.tree.map(jnp.asarray, refresh(state.variables, look, int(state.step)))
  beliefs = {**state.variables['beliefs'], **new}
  return state.replace(variables={**state.variables, 'beliefs': beliefs})


@functools.cache
def tiny():
  """(setting, noisy labels of all, truth of all, look) of a small set with missing labels."""
  features, truth = generated(240, 1, labels=4, topics=2)
  noisy = label_noise.corrupt_multilabel(truth, 0.0, 0.4).labels
  asked = setting(features, noisy, held=40)
  return asked, noisy, truth, looking(asked, features)


def first_beliefs(watch):
  """Of the networks side by side, before anything is known."""
  keys = jax.random.split(jax.random.key(0), NETWORKS)
  return {name: jax.vmap(first)(keys) for name, first in watch.beliefs.items()}


def filled(asked, value):
  """Variables of the networks that are all one number."""
  form = asked.network.init(jax.random.key(0), jnp.zeros((1, 1, 1, FEATURES)))
  return jax.tree.map(lambda leaf: np.full((NETWORKS, *leaf.shape), value, np.float32), form)


def test_the_watch_keeps_early_answers_and_what_was_best():
  asked, noisy, _, _ = tiny()
  held = noisy[200:]
  watch = watched.Watch(asked, last=3, kept=2)
  rng = np.random.default_rng(0)
  train = rng.normal(size=(6, NETWORKS, 200, 4)).astype(np.float32)
  validation = rng.normal(size=(6, NETWORKS, 40, 4)).astype(np.float32)
  beliefs = first_beliefs(watch)
  for epoch in range(1, 7):
    answers = {'train': train[epoch - 1], 'validation': validation[epoch - 1]}
    look = lambda variables, part, of, answers=answers: {'logits': answers[of]}
    variables = {'params': {NET: filled(asked, epoch)['params']}, 'beliefs': beliefs}
    beliefs = watch.refresh(variables, look, epoch * asked.epoch_steps)
  sigmoid = lambda logits: 1 / (1 + np.exp(-np.float64(logits)))
  losses = np.log1p(np.exp(np.where(held, -validation, validation))).mean(2)  # [6, R, q]
  np.testing.assert_allclose(beliefs['early'], sigmoid(train[1:3]).swapaxes(0, 1), atol=1e-6)
  best = np.argmin(losses, 0)
  np.testing.assert_allclose(beliefs['best_labels']['loss'], losses.min(0), rtol=1e-5)
  for network, label in np.ndindex(NETWORKS, 4):
    expected = sigmoid(train[best[network, label], network, :, label])
    of_label = beliefs['best_labels']['probabilities'][network, :, label]
    np.testing.assert_allclose(of_label, expected, atol=1e-6)
  best = 1 + losses.mean(2).argmin(0)
  for leaf in jax.tree.leaves(beliefs['best']['variables']):
    np.testing.assert_array_equal(leaf.reshape(NETWORKS, -1).max(1), best)
    np.testing.assert_array_equal(leaf.reshape(NETWORKS, -1).min(1), best)


def test_a_method_corrects_from_the_best_weights_with_the_matrices_of_its_estimator():
  asked, noisy, _, look = tiny()
  method = mlntm.method(asked, averaged=2, correction='revision', slack_rate=1e-2)
  ended = trained(method, asked, look)
  warm = ended['warmup']
  beliefs = method.phases[0].refresh(warm, look, 4 * asked.epoch_steps)
  begun = method.phases[1].begin(ended, look)
  matrix = asked.evidence.matrix
  for network in range(NETWORKS):
    early, best = beliefs['early'][network], beliefs['best_labels']['probabilities'][network]
    selected = label_noise.select_small_losses(early, matrix)
    counted = label_noise.multilabel_transition(matrix, selected, best).transition
    np.testing.assert_allclose(begun['beliefs']['transition'][network], counted, rtol=1e-6)
  # The loss still falls at the end of so short a training: the last weights are the best ones.
  jax.tree.map(np.testing.assert_array_equal, begun['params'][NET], warm['params'][NET])
  kept = ended['correct']['beliefs']['transition']
  np.testing.assert_array_equal(kept, begun['beliefs']['transition'])
  assert ended['correct']['params']['slack']['slack'].any()
  believed = method.believe(ended['correct'], look)
  revised = np.maximum(kept + ended['correct']['params']['slack']['slack'], 0)
  expected = revised / revised.sum(-1, keepdims=True)
  np.testing.assert_allclose(believed.transition, expected, rtol=1e-5)
  assert np.abs(believed.transition - kept).max() > 1e-3
  g = 1 / (1 + np.exp(-np.float64(look(ended['correct'])['logits'])))
  for network, row, label in np.ndindex(NETWORKS, 5, 4):
    of_value = expected[network, label, :, matrix[row, label]]
    there, absent = of_value[::-1] * [g[network, row, label], 1 - g[network, row, label]]
    answer = there / (there + absent)
    assert believed.labels[network, row, label] == pytest.approx(answer, rel=1e-3)


def test_without_held_out_labels_the_last_epoch_counts():
  asked = dataclasses.replace(tiny()[0], validation=None)
  watch = watched.Watch(asked, last=2, kept=2)
  beliefs, answers = first_beliefs(watch), np.zeros((2, NETWORKS, 200, 4), np.float32)
  answers[1] = 1
  for epoch in (1, 2):
    look = lambda variables, part, of, at=epoch: {'logits': answers[at - 1]}
    variables = {'params': {NET: filled(asked, epoch)['params']}, 'beliefs': beliefs}
    beliefs = watch.after(variables, look, epoch)
  last = filled(asked, 2)
  jax.tree.map(np.testing.assert_array_equal, beliefs['best']['variables'], last)
  np.testing.assert_allclose(beliefs['best_labels']['probabilities'], 0.7311, atol=1e-4)


def test_plain_training_minimises_the_mean_cross_entropy_of_all_labels():
  logits = np.random.default_rng(0).normal(0, 3, (6, 4)).astype(np.float32)
  noisy, weight = tiny()[1][:6], np.array([1, 1, 1, 1, 0, 0], np.float32)
  batch = {name: table[:6] for name, table in bce.tables(tiny()[0]).items()} | {'weight': weight}
  (phase,) = bce.method(tiny()[0]).phases
  (term,) = phase.game.players[0].terms
  expected = np.log1p(np.exp(np.where(noisy, -logits, logits)))[:4].mean()
  assert term.loss(Scene({NET: {'logits': logits}}, batch)) == pytest.approx(expected, rel=1e-5)


def test_estimates_are_those_of_the_tools_and_the_oracle_is_nearest():
  truth = generated(5000, 2, labels=6, topics=2)[1]
  noise = label_noise.corrupt_multilabel(truth, 0.0, 0.5)
  noisy, rng = noise.labels, np.random.default_rng(0)
  # Answers that lean to the truth, and to the noisy share of it.
  sure = np.where(truth, 0.45, 0.05) + rng.uniform(-0.05, 0.1, (3, *truth.shape))
  best = sure.mean(0)
  estimate = lambda name: multilabel_estimates.estimate(name, noisy, sure, best)
  selected = label_noise.select_small_losses(sure, noisy)
  counted = label_noise.multilabel_transition(noisy, selected, best).transition
  expected = {
    'mlntm': counted,
    'dual_t': label_noise.transition(noisy, best, 'dual'),
    't_max': label_noise.transition(noisy, best, 'max'),
    't_97': label_noise.transition(noisy, best, 'max', 97),
  }
  for name, matrices in expected.items():
    np.testing.assert_array_equal(estimate(name), matrices)
  oracle = multilabel_estimates.oracle(noisy, truth).transition
  error = functools.partial(metrics.transition_error, noise.transition)
  assert error(oracle) < 0.3 and error(oracle) < error(counted)
  few = multilabel_estimates.oracle(noisy[:60], truth[:60]).partner
  assert (few >= 0).all()  # a handful of examples of each value serves


@pytest.mark.parametrize(
  'fields, words',
  [
    (dict(selection_epoch=5), 'selection_epoch is 5; it must be one of the 4 epochs'),
    (dict(warmup_epochs=2, selection_epoch=3), 'one of the 2 epochs'),
    (dict(averaged=0), 'averaged'),
    (dict(tau=1.5), 'tau is 1.5'),
    (dict(clip=0.0), 'clip is 0.0; it must be above 0'),
    (dict(slack_rate=-1.0), 'slack_rate is -1.0; it must be at least 0'),
    (dict(correction='sideways'), 'sideways'),
    (dict(estimator='t_98'), 't_98'),
    (dict(harmless='mising'), 'mising'),
  ],
)
def test_what_cannot_be_is_told(fields, words):
  with pytest.raises(UserError, match=words):
    methods.make(tiny()[0], {'name': 'mlntm', **fields})


@pytest.mark.parametrize('name', ['bce', 'mlntm'])
def test_only_a_matrix_is_read(name):
  methods.check_reads(name, 'matrix')
  for kind in ('labels', 'crowd'):
    with pytest.raises(UserError, match='reads a matrix of labels'):
      methods.check_reads(name, kind)
  with pytest.raises(UserError, match='one label an example'):
    methods.check_reads('ce', 'matrix')


@pytest.mark.slow
@pytest.mark.parametrize('flips', [(0.0, 0.6), (0.6, 0.0)])
def test_ours_is_nearest_and_reweighting_finds_what_plain_training_does_not(flips):
  features, truth = generated(6000, 1)
  noise = label_noise.corrupt_multilabel(truth, *flips, seed=3)
  unseen, answers = generated(2000, 2)
  asked = setting(features, noise.labels, held=600, epochs=20, batch=128, width=64)
  look = looking(asked, np.concatenate([features, unseen]))

  def scores(variables):
    logits = np.float64(look(variables, NET, 'test')['logits'])
    return metrics.label_scores(answers, 1 / (1 + np.exp(-logits)))

  method = mlntm.method(asked)
  ended = trained(method, asked, look)
  begun = {'mlntm': ended['correct']}
  for name in ('dual_t', 't_max'):  # after the same warm-up
    begun[name] = mlntm.method(asked, estimator=name).phases[1].begin(ended, look)
  error = functools.partial(metrics.transition_error, noise.transition)
  errors = {
    name: np.mean(list(map(error, variables['beliefs']['transition'])))
    for name, variables in begun.items()
  }
  assert errors['mlntm'] < min(errors['dual_t'], errors['t_max'])
  plain = trained(bce.method(asked), asked, look)['bce']
  assert (scores(ended['correct'])['cf1'] > scores(plain)['cf1'] + 0.1).all()
  believed = method.believe(ended['correct'], look).labels > 0.5
  right = [(labels == truth[:5400]).mean() for labels in (*believed, noise.labels[:5400])]
  assert min(right[:-1]) > right[-1] + 0.05
