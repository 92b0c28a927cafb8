"""CD²: its loss against numpy, what ties a session to the one before, what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import projected
import pytest

from jaxdistill.errors import UserError
from jaxdistill.fscil import cd2
from jaxdistill.fscil.learner import Arrivals, Memory, Start, Task
from jaxdistill.losses.retention import structure_weight
from jaxdistill.models.heads import ProjectorHead

DIM, WIDTH, BASE, CLASSES, PLACES = 5, 6, 4, 8, 2
TASK = Task(num_classes=CLASSES, base_classes=BASE, way=2, shot=3, sessions=2, dim=DIM)
SMALL = dict(alpha_rule='fixed', steps=20, batch=64)
CENTRES = np.random.default_rng(0).normal(size=(CLASSES, DIM))


@functools.cache
def head():
  network = ProjectorHead(CLASSES, width=WIDTH)
  return jax.jit(network.init)(jax.random.key(1), jnp.ones((1, DIM)))['params']


def learner(**changes):
  return cd2.learner(TASK, **{**SMALL, **changes})


def around(labels, seed):
  noise = np.random.default_rng(seed).normal(size=(len(labels), DIM))
  return jnp.asarray(CENTRES[labels] + 0.3 * noise, jnp.float32)


def arrivals(number=1):
  first, end = TASK.arriving(number)
  labels = np.repeat(np.arange(first, end), TASK.shot)
  columns = np.arange(CLASSES)
  return Arrivals(
    jnp.int32(number),
    around(labels, seed=number),
    jnp.asarray(labels),
    jnp.ones(len(labels)),
    new=jnp.asarray((columns >= first) & (columns < end)),
    old=jnp.asarray(columns < first),
  )


def memory(number=1, missing=0.0):
  """Two vectors a class; those of classes to come hold whatever `missing` is."""
  here = np.arange(CLASSES) < TASK.arriving(number)[0]
  inputs = around(np.repeat(np.arange(CLASSES), PLACES), seed=7).reshape(CLASSES, PLACES, DIM)
  inputs = jnp.where(here[:, None, None], inputs, missing)
  return Memory(inputs, jnp.asarray(np.repeat(here[:, None], PLACES, 1), jnp.float32))


def started(one):
  return one.start(jax.random.key(0), Start(head(), jnp.zeros((CLASSES, DIM)), None))


def begun(one):
  begin = jax.jit(one.begin)
  return begin(jax.random.key(0), started(one), arrivals(), memory())


def loss_of(one, state, remembered=None):
  """(loss, metrics) of the batch of all rows, and the gradient of the trained parts."""
  came, remembered = arrivals(), memory() if remembered is None else remembered
  rows = one.rows(state, came, remembered)

  def loss(trained):
    return one.loss({**state, **trained}, rows, came, remembered, jax.random.key(0))

  trained = {name: state[name] for name in one.trained}
  return jax.jit(jax.value_and_grad(loss, has_aux=True))(trained)


def moved(state):
  """A state whose classifier has left that of the session before."""
  shift = lambda leaf: leaf + 0.05 * jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape)
  return {**state, **jax.tree.map(shift, {name: state[name] for name in ('projector', 'rows')})}


def test_a_session_begins_where_the_last_one_ended():
  """Nothing is lost by what is kept, and nothing pulls."""
  for reduction, normalize in (('mean', True), ('sum', False)):
    one = learner(reduction=reduction, normalize=normalize)
    (_, metrics), _ = loss_of(one, begun(one))
    assert float(metrics['feature']) == float(metrics['structure']) == 0
    (_, metrics), _ = loss_of(one, moved(begun(one)))
    assert float(metrics['feature']) > 1e-3 and float(metrics['structure']) > 1e-3


def test_the_classifier_before_is_kept_and_the_new_rows_are_mean_projections():
  one = learner()
  start, state = started(one), begun(one)
  for name in ('projector', 'rows'):
    kept, was = jax.tree.leaves(state['previous'][name]), jax.tree.leaves(start[name])
    assert all(np.array_equal(ours, other) for ours, other in zip(kept, was, strict=True))
  np.testing.assert_array_equal(state['rows'][:BASE], start['rows'][:BASE])
  projected = np.asarray(one.embed(start, arrivals().inputs)).reshape(2, TASK.shot, WIDTH)
  np.testing.assert_allclose(state['rows'][BASE : BASE + 2], projected.mean(1), atol=1e-6)
  np.testing.assert_array_equal(state['rows'][BASE + 2 :], start['rows'][BASE + 2 :])


@pytest.mark.parametrize('reduction, normalize', [('mean', True), ('sum', False)])
def test_the_loss_is_the_sum_of_its_three_terms(reduction, normalize):
  one = learner(alpha=0.7, beta=0.2, reduction=reduction, normalize=normalize)
  state = moved(begun(one))
  (loss, metrics), _ = loss_of(one, state)
  remembered = memory().inputs[:BASE].reshape(-1, DIM)
  outputs = [
    np.asarray(one.logits(classifier, remembered), np.float64)[:, :BASE]
    for classifier in (state['previous'], state)
  ]
  feature = np.abs(outputs[0] - outputs[1]).sum() / len(remembered)
  if normalize:
    outputs = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in outputs]
  grams = [vectors @ vectors.T for vectors in outputs]
  structure = np.abs(grams[0] - grams[1]).sum() / len(remembered)
  if reduction == 'mean':
    feature, structure = feature / BASE, structure / len(remembered)
  inputs = jnp.concatenate([arrivals().inputs, remembered])
  logits = np.asarray(one.logits(state, inputs), np.float64)[:, : BASE + 2]
  labels = np.concatenate([arrivals().labels, np.repeat(np.arange(BASE), PLACES)])
  gce = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels])
  np.testing.assert_allclose(metrics['gce'], gce, rtol=1e-5)
  np.testing.assert_allclose(metrics['feature'], feature, rtol=1e-4)
  np.testing.assert_allclose(metrics['structure'], structure, rtol=1e-4)
  np.testing.assert_allclose(loss, gce + 0.7 * structure + 0.2 * feature, rtol=1e-5)


def test_what_is_not_in_the_memory_has_no_part():
  one = learner()
  state = moved(begun(one))
  (loss, _), gradient = loss_of(one, state)
  (poisoned, _), other = loss_of(one, state, memory(missing=100.0))
  np.testing.assert_allclose(loss, poisoned, rtol=1e-6)
  for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(other), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_without_a_memory_the_cross_entropy_is_left():
  one = learner()
  empty = Memory(jnp.zeros((CLASSES, 0, DIM)), jnp.zeros((CLASSES, 0)))
  (loss, metrics), _ = loss_of(one, moved(begun(one)), empty)
  assert float(metrics['feature']) == float(metrics['structure']) == 0
  assert float(loss) == pytest.approx(float(metrics['gce']))


def test_each_retention_holds_what_it_is_about():
  """After the same steps it has moved less."""

  def after_steps(**changes):
    one = learner(**changes)
    state, came, remembered = begun(one), arrivals(), memory()
    rows = one.rows(state, came, remembered)

    @jax.jit
    def step(state):
      def loss(trained):
        return one.loss({**state, **trained}, rows, came, remembered, jax.random.key(0))

      trained = {name: state[name] for name in one.trained}
      gradient, metrics = jax.grad(loss, has_aux=True)(trained)
      change = lambda leaf, slope: leaf - 0.02 * slope
      return {**state, **jax.tree.map(change, trained, gradient)}, metrics

    for _ in range(20):
      state, metrics = step(state)
    return metrics

  free = after_steps(alpha=0.0, beta=0.0)
  assert after_steps(alpha=0.0, beta=1.0)['feature'] < 0.8 * free['feature']
  assert after_steps(alpha=5.0, beta=0.0)['structure'] < 0.8 * free['structure']


@pytest.mark.slow
def test_without_a_memory_it_collapses_and_retention_costs_nothing():
  """Accuracy on all classes after the last session, the mean over five draws; on such features
  retention moves accuracy from base to novel classes."""
  worlds, task = projected.worlds(draws=5, width=16), projected.TASK
  make = functools.partial(cd2.learner, task, alpha_rule='fixed', learning_rate=0.05, steps=100)

  def reached(remember=1.0, **fields):
    base, novel = projected.final(make(**fields), worlds, remember)
    share = task.base_classes / task.num_classes
    return share * base + (1 - share) * novel

  whole, plain, none = reached(), reached(alpha=0.0, beta=0.0), reached(remember=0.0)
  assert whole > plain - 0.01 and plain > none + 0.3


def test_alpha_follows_the_classes_seen():
  large = Task(num_classes=100, base_classes=60, way=5, shot=5, sessions=8, dim=DIM)
  weights = cd2._weights(large, 'paper', 0.5)
  assert weights[0] == 0 and weights[1:] == tuple(structure_weight(60 + 5 * t) for t in range(1, 9))


def test_few_classes_need_a_weight_of_their_own():
  with pytest.raises(UserError, match='session 1 ends with 6; set method.alpha_rule=fixed'):
    cd2.learner(TASK)


@pytest.mark.parametrize('fields', [dict(alpha=-0.1), dict(beta=-0.1)])
def test_factors_below_0_are_refused(fields):
  with pytest.raises(UserError, match='alpha and beta are at least 0'):
    learner(**fields)


def test_steps_are_one_number_or_one_a_session():
  assert learner(steps=(3, 4)).steps == (3, 4) and learner(steps=5).steps == (5, 5)
  with pytest.raises(UserError, match='one for each of the 2 sessions; got 3'):
    learner(steps=(1, 2, 3))


def test_another_head_is_refused():
  with pytest.raises(UserError, match='whose head has a projector and rows'):
    learner().start(jax.random.key(0), Start({'rows': jnp.ones((CLASSES, DIM))}, None, None))


def test_the_classifier_before_is_no_part_of_the_model():
  one = learner()
  state = begun(one)
  projector = sum(leaf.size for leaf in jax.tree.leaves(head()['projector']))
  assert int(one.live(state, jnp.arange(CLASSES) < 6)) == projector + 6 * WIDTH
