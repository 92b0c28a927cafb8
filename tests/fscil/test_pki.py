"""PKI on features of Gaussian classes."""

import jax
import jax.numpy as jnp
import numpy as np
import projected
import pytest
from projected import part

from jaxdistill.fscil import methods, pki, projectors
from jaxdistill.fscil.learner import Start, cross_entropy, replay
from jaxdistill.fscil.projectors import live_projectors
from jaxdistill.losses.prototypes import cosine_logits, unit
from jaxdistill.models.heads import Projector

TASK = projected.TASK
FEW = dict(steps=5, learning_rate=0.05)
project = jax.jit(projectors.project)


@pytest.fixture(scope='module')
def worlds():
  return projected.worlds(draws=5, width=16)


@pytest.fixture(scope='module')
def passed(worlds):
  """The sessions of PKI in all draws, five steps each."""
  return projected.run(pki.learner(TASK, **FEW), worlds)


@jax.jit
def base_network(world):
  """What the base network's own head answers, and its unit outputs."""
  head = world.start.head
  outputs = project(head['projector'], world.test)
  return cosine_logits(outputs, head['rows']), unit(outputs)


def test_a_session_starts_with_the_decisions_of_the_base_network(worlds):
  world = part(worlds, 0)
  before, outputs = base_network(world)
  state, logits, embedded = projected.opening(pki.learner(TASK), world)
  assert int(live_projectors(state)) == 2
  np.testing.assert_allclose(logits[:, :4], before[:, :4], rtol=0, atol=1e-5)
  np.testing.assert_allclose(embedded, outputs, rtol=0, atol=1e-5)


def test_concat_starts_with_the_same_decisions(worlds):
  world = part(worlds, 0)
  before, _ = base_network(world)
  _, logits, _ = projected.opening(pki.learner(TASK, combine='concat'), world)
  # Half of the squared length of v lies in columns that no old row reads.
  np.testing.assert_allclose(logits[:, :4], before[:, :4] / np.sqrt(2), rtol=0, atol=1e-5)


def test_fresh_projectors_change_decisions(worlds):
  world = part(worlds, 0)
  before, _ = base_network(world)
  _, logits, _ = projected.opening(pki.learner(TASK, new_projector='fresh'), world)
  assert np.abs(logits - before)[:, :4].max() > 0.1


def test_without_steps_new_rows_are_nearest_means(worlds):
  """Rows are the mean unit outputs of the base projector, in numpy."""
  world = part(worlds, 0)
  state, logits, _ = projected.opening(pki.learner(TASK, steps=0), world)
  arrivals, params = part(world.arrivals, 0), world.start.head['projector']
  shots, test = (
    np.asarray(project(params, features), np.float64) for features in (arrivals.inputs, world.test)
  )
  shots, test = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (shots, test))
  for column in np.flatnonzero(arrivals.new):
    mean = shots[arrivals.labels == column].mean(0)
    np.testing.assert_allclose(state['rows'][column], mean, rtol=0, atol=1e-5)
    cosine = 16 * test @ mean / np.linalg.norm(mean)
    np.testing.assert_allclose(logits[:, column], cosine, rtol=0, atol=1e-4)


def test_without_steps_it_is_close_to_the_nearest_mean_classifier(worlds):
  """That of unit outputs, whose base rows are means too."""
  world, learner = part(worlds, 0), pki.learner(TASK, steps=0)
  state = projected.starting(learner, world)[-1]
  answers = np.asarray(jax.jit(learner.logits)(state, world.test)).argmax(1)
  rows = np.array(state['rows'])
  rows[: TASK.base_classes] = project(
    world.start.head['projector'], world.start.means[: TASK.base_classes]
  )
  nearest = np.asarray(cosine_logits(jax.jit(learner.embed)(state, world.test), rows)).argmax(1)
  accuracies = [float((labels == world.labels).mean()) for labels in (answers, nearest)]
  assert abs(accuracies[0] - accuracies[1]) < 0.1 and min(accuracies) > 0.3


def test_what_was_trained_before_stays_bit_for_bit(worlds, passed):
  first, sessions = passed
  stored = {0: first['projector']}
  for number, session in enumerate(sessions, 1):
    for state in (session.begun, session.end):
      held = np.asarray(state['frozen']['number'])
      assert (held[:, :number] == np.arange(number)).all() and (held[:, number:] == -1).all()
      for slot in range(number):
        kept = part(state['frozen']['params'], slice(None), slot)
        jax.tree.map(np.testing.assert_array_equal, kept, stored[slot])
    stored[number] = session.end['projector']
    moved = jax.tree.map(
      lambda old, new: bool((old != new).any()), stored[number - 1], stored[number]
    )
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize(
  'keep, live', [('pki', (2, 3, 4)), ('pkiv1', (2, 3, 3)), ('pkiv2', (2, 2, 2))]
)
def test_live_projectors_and_numbers(keep, live, worlds):
  learner, world = pki.learner(TASK, keep=keep), part(worlds, 0)
  size = 16 * 32 + 32 + 32 * 32 + 32 + 4 * 32 + 32 * 16 + 16 * 16
  for session, state in enumerate(projected.starting(learner, world)):
    assert int(live_projectors(state)) == live[session]
    numbers = live[session] * size + (4 + 2 * (session + 1)) * 16
    assert int(learner.live(state, part(world.arrivals, session).seen)) == numbers


@pytest.mark.parametrize('dim, numbers', [(640, 3_448_320), (512, 2_365_440)])
def test_published_size_of_a_projector(dim, numbers):
  shapes = jax.eval_shape(Projector(512).init, jax.random.key(0), jnp.zeros((1, dim)))
  learner = pki.learner(TASK, keep='pki')
  state = {
    'frozen': {'number': jnp.array([0, 1, -1])},
    'projector': shapes['params'],
    'rows': jax.ShapeDtypeStruct((10, 512), jnp.float32),
  }
  assert int(learner.live(state, jnp.arange(10) < 8)) == 3 * numbers + 8 * 512


@pytest.mark.parametrize('combine', ['sum', 'concat'])
def test_stored_outputs_give_the_gradient_of_the_whole_ensemble(combine, passed):
  """All projectors are computed for every row, without what `rows` stores."""
  learner = pki.learner(TASK, combine=combine, **FEW)
  session = part(passed[1][2], 0)
  state, arrivals, memory = session.begun, session.arrivals, session.memory
  if combine == 'concat':
    wide = jax.random.normal(jax.random.key(0), (TASK.num_classes, 4 * 16))
    state = {**state, 'rows': wide}
  rows = jax.jit(learner.rows)(state, arrivals, memory)
  plain = replay(state, arrivals, memory)

  def whole(trained):
    outputs = []
    for slot in range(3):
      outputs.append(project(part(state['frozen']['params'], slot), plain.inputs))
    outputs.append(project(trained['projector'], plain.inputs))
    joined = sum(outputs) if combine == 'sum' else jnp.concatenate(outputs, axis=1)
    logits = cosine_logits(joined, trained['rows'])
    return cross_entropy(logits, plain.labels, plain.weight, arrivals.seen)

  def stored(trained):
    return learner.loss({**state, **trained}, rows, arrivals, memory, jax.random.key(0))[0]

  trained = {name: state[name] for name in learner.trained}
  expected, actual = jax.jit(jax.grad(whole))(trained), jax.jit(jax.grad(stored))(trained)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), actual, expected
  )
  assert float(jnp.abs(actual['rows']).max()) > 1e-3


def test_without_memory_the_base_classes_are_forgotten(worlds):
  learner = pki.learner(TASK, learning_rate=0.01)
  with_memory, without = (projected.final(learner, worlds, remember)[0] for remember in (1.0, 0.0))
  assert with_memory - without > 0.2


@pytest.mark.slow
def test_the_classifier_alone_learns_new_classes_less_well(worlds):
  both, rows = (
    pki.learner(TASK, learning_rate=0.01, train_projector=train) for train in (True, False)
  )
  assert rows.trained == ('rows',)
  assert projected.final(both, worlds)[1] - projected.final(rows, worlds)[1] > 0.02


def test_variants_have_names_of_their_own():
  for name, slots in (('pki', 3), ('pkiv1', 2), ('pkiv2', 1)):
    learner = methods.make(TASK, {'name': name, 'steps': 1})
    start = Start({'projector': {}, 'rows': jnp.ones((4, 2))}, None, None)
    assert learner.start(None, start)['frozen']['number'].shape == (slots,)
    assert methods.head(name) == 'projector'
