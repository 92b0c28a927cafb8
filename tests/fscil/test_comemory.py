"""Co-Memory's sessions on synthetic features, against NumPy in float64 and by what its two memories
are for."""

import functools

import gaussians
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from jaxdistill.errors import UserError
from jaxdistill.fscil import comemory
from jaxdistill.fscil.engine import Engine, Runs
from jaxdistill.fscil.learner import Arrivals, Memory, Rows, Start, Task
from jaxdistill.fscil.session import Course, run_sessions
from jaxdistill.training.run import Run

TASK = Task(num_classes=8, base_classes=4, way=2, shot=5, sessions=2, dim=6)
HIDDEN = 7
CENTRES = np.random.default_rng(1).normal(size=(TASK.num_classes, TASK.dim)) * 2


def features(columns, count, seed):
  """Float32 [len(columns) * count, d] around the classes' centres, class by class."""
  noise = np.random.default_rng(seed).normal(size=(len(columns) * count, TASK.dim))
  return (np.repeat(CENTRES[columns], count, 0) + 0.7 * noise).astype(np.float32)


BASE, BASE_LABELS = features(range(4), 40, seed=2), np.repeat(np.arange(4), 40)
TEST, TEST_LABELS = features(range(8), 40, seed=3), np.repeat(np.arange(8), 40)


@functools.cache
def base_head():
  """The head of two layers, trained on the base classes alone."""
  rng = np.random.default_rng(0)
  head = {
    'hidden': {'kernel': rng.normal(size=(TASK.dim, HIDDEN)) / 2, 'bias': np.zeros(HIDDEN)},
    'classifier': {'kernel': rng.normal(size=(HIDDEN, 4)) / 2, 'bias': np.zeros(4)},
  }
  head = jax.tree.map(jnp.float32, head)

  def loss(head):
    activations = comemory.hidden_activation(head['hidden'], BASE)
    logits = activations @ head['classifier']['kernel'] + head['classifier']['bias'][None]
    return optax.softmax_cross_entropy_with_integer_labels(logits, BASE_LABELS).mean()

  def descend(head, _):
    return jax.tree.map(lambda leaf, slope: leaf - 0.3 * slope, head, jax.grad(loss)(head)), None

  return jax.jit(lambda head: jax.lax.scan(descend, head, length=150)[0])(head)


def start():
  means = np.zeros((TASK.num_classes, TASK.dim), np.float32)
  means[:4] = BASE.reshape(4, 40, -1).mean(1)
  counts = np.where(np.arange(TASK.num_classes) < 4, 40, 0)
  return Start(base_head(), jnp.asarray(means), jnp.asarray(counts, jnp.int32))


def arrivals(number, draw=0):
  first, end = TASK.arriving(number)
  column = np.arange(TASK.num_classes)
  return Arrivals(
    jnp.int32(number),
    jnp.asarray(features(range(first, end), TASK.shot, seed=10 + number + 100 * draw)),
    jnp.asarray(np.repeat(np.arange(first, end), TASK.shot), jnp.int32),
    jnp.ones(TASK.way * TASK.shot),
    new=jnp.asarray((column >= first) & (column < end)),
    old=jnp.asarray(column < first),
  )


def memory_before(number, draw=0):
  means = np.array(start().means)
  for earlier in range(1, number):
    first, end = TASK.arriving(earlier)
    came = np.asarray(arrivals(earlier, draw).inputs)
    means[first:end] = came.reshape(TASK.way, TASK.shot, -1).mean(1)
  there = np.arange(TASK.num_classes) < TASK.arriving(number)[0]
  return Memory(jnp.asarray(means)[:, None], jnp.asarray(there, jnp.float32)[:, None])


def begun(learner, state, number):
  return learner.begin(jax.random.key(0), state, arrivals(number), memory_before(number))


def terms(learner, state, number):
  """(the loss, its terms) of all rows of a session."""
  session, memory = arrivals(number), memory_before(number)
  batch = learner.rows(state, session, memory)
  return learner.loss(state, batch, session, memory, jax.random.key(0))


def descent(learner):
  """(state, arrivals, memory) -> the state behind the learner's own steps, compiled."""
  optimizer = learner.optimizer.build(learner.schedule.build(learner.steps[0]))

  @jax.jit
  def run(state, session, memory):
    batch = learner.rows(state, session, memory)
    loss = lambda mine: learner.loss({**state, **mine}, batch, session, memory, None)[0]

    def step(carried, _):
      mine, optimized = carried
      updates, optimized = optimizer.update(jax.grad(loss)(mine), optimized, mine)
      return (optax.apply_updates(mine, updates), optimized), None

    mine = {name: state[name] for name in learner.trained}
    (mine, _), _ = jax.lax.scan(step, (mine, optimizer.init(mine)), length=learner.steps[0])
    return {**state, **mine}

  return run


@functools.cache
def sessions(**fields):
  """The states behind the base session and each session after it."""
  learner = comemory.learner(TASK, **fields)
  states, run = [learner.start(jax.random.key(0), start())], descent(learner)
  for number in (1, 2):
    session, memory = arrivals(number), memory_before(number)
    state = run(begun(learner, states[-1], number), session, memory)
    states.append(learner.finish(state, session, memory))
  return learner, states


def accuracy(learner, state, columns, seen):
  rows = np.isin(TEST_LABELS, columns)
  logits = np.asarray(learner.logits(state, TEST[rows]))[:, :seen]
  return float((logits.argmax(1) == TEST_LABELS[rows]).mean())


def assert_same(tree, other):
  jax.tree.map(np.testing.assert_array_equal, tree, other)


# The terms.


@pytest.mark.parametrize('weights', ['square', 'cosine'])
@pytest.mark.parametrize('representation', ['cross_entropy', 'output'])
def test_the_loss_is_that_of_its_formula_in_float64(representation, weights):
  fields = dict(representation=representation, lambda_r=0.7, weights=weights, lambda_w=0.3)
  learner = comemory.learner(TASK, train_hidden=True, lambda_u=0.2, **fields)
  before = begun(learner, learner.start(jax.random.key(0), start()), 1)
  rng = np.random.default_rng(4)
  shift = lambda leaf: leaf + 0.1 * jnp.asarray(rng.normal(size=leaf.shape), jnp.float32)
  state = {**before, **jax.tree.map(shift, {'rows': before['rows'], 'hidden': before['hidden']})}
  loss, _ = terms(learner, state, 1)

  def numbers(state):
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state)
    return *wide['hidden'].values(), *wide['rows'].values()

  def logits(state, x):
    # In the order of the names: bias and kernel of either layer.
    u, U, b, W = numbers({name: dict(sorted(state[name].items())) for name in ('hidden', 'rows')})
    z = x @ U + u
    return (z * special.ndtr(z)) @ W.T + b

  def entropy(logits, labels):
    return -special.log_softmax(logits[:, :6], axis=1)[np.arange(len(labels)), labels].mean()

  new = np.asarray(arrivals(1).inputs, np.float64)
  r = np.asarray(memory_before(1).inputs[:4, 0], np.float64)
  classification = entropy(logits(state, new), np.asarray(arrivals(1).labels))
  if representation == 'cross_entropy':
    kept = entropy(logits(state, r), np.arange(4))
  else:
    kept = np.square((logits(state, r) - logits(before, r))[:, :4]).sum(1).mean()
  w, stored = (
    np.asarray(part['kernel'], np.float64)[:4] for part in (state['rows'], before['rows'])
  )
  if weights == 'square':
    biases = np.asarray(state['rows']['bias'] - before['rows']['bias'], np.float64)[:4]
    moved = (np.square(w - stored).sum(1) + np.square(biases)).mean()
  else:
    lengths = np.linalg.norm(w, axis=1) * np.linalg.norm(stored, axis=1)
    moved = (1 - (w * stored).sum(1) / lengths).mean()
  hidden = sum(
    np.square(np.asarray(state['hidden'][name] - before['hidden'][name], np.float64)).sum()
    for name in ('kernel', 'bias')
  )
  expected = classification + 0.7 * kept + 0.3 * moved + 0.2 * hidden
  assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('weights', ['square', 'cosine'])
def test_what_keeps_the_old_is_exactly_zero_before_the_first_step(weights):
  fields = dict(representation='output', weights=weights, train_hidden=True)
  learner, states = sessions(refresh_weights=True, steps=5, **fields)
  for number in (1, 2):
    _, values = terms(learner, begun(learner, states[number - 1], number), number)
    zero = {name: float(values[name]) for name in ('representation', 'weights')}
    assert zero == {'representation': 0.0, 'weights': 0.0}
    # U is held to what the base session left, so it is off that from session 1 on.
    assert (float(values['hidden']) == 0) is (number == 1)
    assert float(values['classification']) > 0


def test_the_weight_memory_is_what_a_class_came_with_unless_it_is_refreshed():
  learner, states = sessions(lambda_w=0.0)
  rows = [np.asarray(state['rows']['kernel']) for state in states]
  stored = [np.asarray(state['stored']['rows']['kernel']) for state in states]
  np.testing.assert_array_equal(stored[2][:4], rows[0][:4])
  np.testing.assert_array_equal(stored[2][4:6], rows[1][4:6])
  np.testing.assert_array_equal(stored[2][6:], rows[2][6:])
  assert np.abs(rows[2][:6] - stored[2][:6]).max() > 0.01
  assert float(terms(learner, begun(learner, states[1], 2), 2)[1]['weights']) > 0
  _, states = sessions(lambda_w=0.0, refresh_weights=True)
  assert_same(states[2]['stored']['rows'], states[2]['rows'])


# The sessions.


def test_a_new_row_is_the_mean_hidden_activation_at_the_length_of_the_old_ones():
  learner = comemory.learner(TASK)
  state = learner.start(jax.random.key(0), start())
  rows = begun(learner, state, 1)['rows']
  hidden = np.asarray(comemory.hidden_activation(state['hidden'], arrivals(1).inputs), np.float64)
  old = np.asarray(state['rows']['kernel'], np.float64)[:4]
  for place, column in enumerate((4, 5)):
    mean = hidden[5 * place : 5 * place + 5].mean(0)
    expected = mean / np.linalg.norm(mean) * np.linalg.norm(old, axis=1).mean()
    np.testing.assert_allclose(rows['kernel'][column], expected, rtol=1e-5)
  bias = np.asarray(base_head()['classifier']['bias'])
  np.testing.assert_allclose(rows['bias'], [*bias, bias.mean(), bias.mean(), 0, 0], rtol=1e-5)
  np.testing.assert_array_equal(rows['kernel'][:4], base_head()['classifier']['kernel'].T)
  assert not np.asarray(rows['kernel'][6:]).any()


def test_a_base_head_may_have_the_classes_to_come_already():
  grown = jax.tree.map(jnp.asarray, base_head())
  wide = {name: jnp.pad(leaf, (*((0, 0),) * (leaf.ndim - 1), (0, 4)), constant_values=9)
          for name, leaf in grown['classifier'].items()}  # fmt: skip
  learner = comemory.learner(TASK)
  state = learner.start(jax.random.key(0), start()._replace(head={**grown, 'classifier': wide}))
  assert_same(state, learner.start(jax.random.key(0), start()))


def test_only_the_classifier_is_trained_and_classes_to_come_stay_empty():
  for train_hidden in (False, True):
    _, (base, first, second) = sessions(train_hidden=train_hidden, lambda_u=0.1, steps=20)
    kept = [jax.tree.leaves(state['hidden']) for state in (base, second)]
    same = all(np.array_equal(a, b) for a, b in zip(*kept))
    assert same is not train_hidden
    assert not np.asarray(first['rows']['kernel'][6:]).any()
    assert not np.asarray(first['rows']['bias'][6:]).any()
    assert np.abs(np.asarray(second['rows']['kernel'][6:])).min() > 0


def test_a_strong_weight_memory_holds_old_rows_and_answers_among_the_old():
  """The bound of stability is 1.9 * 4 / 0.01 = 760 of lambda_w."""
  learner, (base, first, second) = sessions(lambda_w=500.0)
  for earlier, later, old in ((base, first, 4), (first, second, 6)):
    gap = np.asarray(later['rows']['kernel'] - earlier['rows']['kernel'])[:old]
    assert np.abs(gap).max() < 2e-3
    answers = [np.asarray(learner.logits(state, TEST))[:, :old] for state in (earlier, later)]
    np.testing.assert_array_equal(*(logits.argmax(1) for logits in answers))
  free = sessions(lambda_w=0.0)[1][1]
  gap = np.asarray(free['rows']['kernel'] - base['rows']['kernel'])[:4]
  assert np.abs(gap).max() > 0.05


def test_without_memories_the_base_classes_are_forgotten_and_with_them_kept():
  reached = {}
  for name, factors in {'none': (0.0, 0.0), 'both': (1.0, 50.0)}.items():
    fields = dict(lambda_r=factors[0], lambda_w=factors[1], learning_rate=0.05)
    learner, states = sessions(**fields)
    reached[name] = accuracy(learner, states[2], range(4), 8)
  assert accuracy(learner, states[0], range(4), 4) > 0.9
  assert reached['none'] < 0.5 and reached['both'] > reached['none'] + 0.3


@pytest.mark.slow
def test_both_memories_are_better_than_one_and_one_is_better_than_none():
  """HM after the last session, the mean over five draws of the few images."""
  factors = {'none': (0.0, 0.0), 'weights': (0.0, 10.0), 'means': (10.0, 0.0), 'both': (10.0, 10.0)}
  reached = {}
  for name, (lambda_r, lambda_w) in factors.items():
    fields = dict(lambda_r=lambda_r, lambda_w=lambda_w, learning_rate=0.05)
    learner = comemory.learner(TASK, **fields)
    run, begin = descent(learner), jax.jit(learner.begin)
    values = []
    for draw in range(5):
      state = learner.start(jax.random.key(0), start())
      for number in (1, 2):
        session, memory = arrivals(number, draw), memory_before(number, draw)
        state = run(begin(jax.random.key(0), state, session, memory), session, memory)
        state = learner.finish(state, session, memory)
      base, novel = accuracy(learner, state, range(4), 8), accuracy(learner, state, range(4, 8), 8)
      values.append(2 * base * novel / max(base + novel, 1e-9))
    reached[name] = np.mean(values)
  assert reached['none'] < min(reached['weights'], reached['means'])
  assert reached['both'] > max(reached['weights'], reached['means']) - 0.01


def test_both_memories_hold_d_and_h_and_one_number_a_class_and_features_recomputed():
  rng = np.random.default_rng(5)
  head = {
    'hidden': {
      'kernel': rng.normal(size=(1, gaussians.DIM, HIDDEN)),
      'bias': np.zeros((1, HIDDEN)),
    },
    'classifier': {'kernel': rng.normal(size=(1, HIDDEN, 4)), 'bias': np.zeros((1, 4))},
  }
  seen, task = gaussians.examples(), gaussians.TASK
  engine = Engine(comemory.learner(task, steps=3), task, Runs(draws=2))
  base = gaussians.start(seen, jax.tree.map(np.float32, head))
  key = jax.random.key_data(jax.random.key(0))
  with Run(progress=False) as run:
    outcome = run_sessions(run, Course(engine, seen, base, key))
  end = outcome.standing
  assert outcome.memory_bytes == 4 * (gaussians.DIM + HIDDEN + 1)
  for draw in range(2):
    inputs = np.concatenate([seen.base[0], seen.shots[0, draw].reshape(-1, gaussians.DIM)])
    labels = np.concatenate([seen.base_labels, seen.shot_labels[draw].ravel()])
    expected = np.stack([inputs[labels == column].mean(0) for column in range(10)])
    np.testing.assert_allclose(end.memory.inputs[draw, :, 0], expected, rtol=1e-5, atol=1e-6)
    state = jax.tree.map(lambda leaf, draw=draw: leaf[draw], end.parts)
    half = comemory.live_numbers(state, jnp.arange(10) < 6)
    assert int(half) == gaussians.DIM * HIDDEN + HIDDEN + 6 * (HIDDEN + 1)


def test_rows_without_an_image_count_nowhere():
  learner = comemory.learner(TASK)
  state = begun(learner, learner.start(jax.random.key(0), start()), 1)
  session, memory = arrivals(1), memory_before(1)
  batch = learner.rows(state, session, memory)
  padded = Rows(
    jnp.concatenate([batch.inputs, jnp.full((3, TASK.dim), 9.0)]),
    jnp.concatenate([batch.labels, jnp.array([0, 7, 7])]),
    jnp.concatenate([batch.weight, jnp.zeros(3)]),
  )
  key = jax.random.key(0)
  whole, with_padding = (
    learner.loss(state, rows, session, memory, key)[0] for rows in (batch, padded)
  )
  assert float(with_padding) == pytest.approx(float(whole), rel=1e-6)


def test_mistakes_are_told_in_a_sentence():
  with pytest.raises(UserError, match='lambda_w is -1; it must be at least 0'):
    comemory.learner(TASK, lambda_w=-1)
  with pytest.raises(UserError, match="with the head 'two_layer'"):
    comemory.learner(TASK).start(jax.random.key(0), start()._replace(head=None))
