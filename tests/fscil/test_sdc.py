"""SDC on features of Gaussian classes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import projected
import pytest
from projected import part

from jaxdistill import errors
from jaxdistill.fscil import nc_fscil, pki, projectors, sdc
from jaxdistill.fscil.learner import Memory
from jaxdistill.fscil.projectors import live_projectors
from jaxdistill.losses.prototypes import cosine_logits

TASK = projected.TASK
FEW = dict(steps=5, learning_rate=0.05)
project = jax.jit(projectors.project)


@pytest.fixture(scope='module')
def worlds():
  return projected.worlds(draws=5, width=16)


@pytest.fixture(scope='module')
def passed(worlds):
  """The sessions of SDC in all draws, five steps each."""
  return projected.run(sdc.learner(TASK, **FEW), worlds)


def session_one(learner, world):
  """Arrivals and memory of session 1, and the state at its start."""
  arrivals = part(world.arrivals, 0)
  memory = Memory(world.start.means[:, None], jnp.float32(arrivals.old[:, None]))
  return arrivals, memory, projected.opening(learner, world)[0]


@functools.partial(jax.jit, static_argnums=0)
def loss(learner, arrivals, memory, state):
  rows = learner.rows(state, arrivals, memory)
  return learner.loss(state, rows, arrivals, memory, jax.random.key(0))[0]


def assert_equal(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(scope='module')
def base_logits(worlds):
  """What the first base network's own head answers to the test set."""
  head, test = part(worlds.start.head, 0), worlds.test[0]
  return cosine_logits(project(head['projector'], test), head['rows'])


@pytest.mark.parametrize('fuse', ['sum', 'gate', 'concat', 'static', 'dynamic'])
def test_without_steps_the_base_classes_are_told_apart_as_before(fuse, worlds, base_logits):
  _, logits, _ = projected.opening(sdc.learner(TASK, fuse=fuse), part(worlds, 0))
  answers = [
    np.asarray(logits)[:, : TASK.base_classes].argmax(1) for logits in (base_logits, logits)
  ]
  np.testing.assert_array_equal(*answers)


def test_two_projectors_live_and_the_static_one_is_never_touched(passed):
  first, sessions = passed
  for session in sessions:
    for state in (session.begun, session.end):
      assert jax.vmap(live_projectors)(state).tolist() == [2] * 5
      static = part(state['frozen']['params'], slice(None), 0)
      assert_equal(static, first['projector'])
  for before, after in zip(sessions, sessions[1:]):  # one dynamic projector goes on and on
    assert_equal(before.end['projector'], after.begun['projector'])


def test_sdc_is_pki_with_the_base_projector_kept(worlds, passed):
  _, sessions = projected.run(pki.learner(TASK, keep='pkiv2', **FEW), worlds)
  for session, other in zip(passed[1], sessions):
    assert_equal(session.end, other.end)


def test_a_gate_of_a_half_is_the_sum(worlds, passed):
  state, world = part(passed[1][2].end, 0), part(worlds, 0)
  summed, gated = sdc.learner(TASK), sdc.learner(TASK, fuse='gate')
  np.testing.assert_allclose(
    jax.jit(gated.embed)(state, world.test),
    jax.jit(summed.embed)(state, world.test),
    rtol=0,
    atol=1e-6,
  )
  static = project(part(state['frozen']['params'], 0), world.test)
  dynamic = project(state['projector'], world.test)
  mixed = 0.9 * static + 0.1 * dynamic
  expected = mixed / jnp.linalg.norm(mixed, axis=1, keepdims=True)
  tenth = sdc.learner(TASK, fuse='gate', gate=0.1)
  np.testing.assert_allclose(jax.jit(tenth.embed)(state, world.test), expected, rtol=0, atol=1e-5)


def test_the_static_branch_alone_is_the_nearest_mean_behind_the_base_projector(worlds):
  world, learner = part(worlds, 0), sdc.learner(TASK, fuse='static', steps=0)
  states = projected.starting(learner, world)
  assert [int(live_projectors(state)) for state in states] == [1] * 3
  logits = jax.jit(learner.logits)(states[-1], world.test)

  def outputs(features):
    v = np.asarray(project(world.start.head['projector'], features), np.float64)
    return v / np.linalg.norm(v, axis=1, keepdims=True)

  test = outputs(world.test)
  for session in range(TASK.sessions):
    arrivals = part(world.arrivals, session)
    for column in np.flatnonzero(arrivals.new):
      mean = outputs(arrivals.inputs)[arrivals.labels == column].mean(0)
      cosine = 16 * test @ mean / np.linalg.norm(mean)
      np.testing.assert_allclose(logits[:, column], cosine, rtol=0, atol=1e-4)


def test_reset_is_the_same_in_session_1_and_another_later(worlds, passed):
  first, sessions = projected.run(sdc.learner(TASK, dynamic_reset=True, **FEW), worlds)
  assert_equal(passed[1][0].end, sessions[0].end)
  for number in (1, 2):
    assert_equal(sessions[number].begun['projector'], first['projector'])
    kernels = [other[number].end['rows'] for other in (sessions, passed[1])]
    assert (kernels[0] != kernels[1]).any()


def test_reset_of_the_dynamic_branch_alone_answers_by_that_branch(worlds, passed):
  learner = sdc.learner(TASK, fuse='dynamic', dynamic_reset=True)
  state, world = part(passed[1][2].end, 0), part(worlds, 0)
  alone = sdc.learner(TASK, fuse='dynamic')
  bare = alone.start(jax.random.key(0), world.start)
  bare = {**bare, 'projector': state['projector'], 'rows': state['rows']}
  np.testing.assert_allclose(
    jax.jit(learner.logits)(state, world.test),
    jax.jit(alone.logits)(bare, world.test),
    rtol=0,
    atol=1e-5,
  )


def test_readings_of_static_memory(worlds):
  """The base classes' rows are replayed or not; later classes always are."""
  world = part(worlds, 0)
  arrivals = part(world.arrivals, 1)
  memory = Memory(world.start.means[:, None], jnp.float32(arrivals.old[:, None]))
  replayed = {}
  for reading in ('both', 'parameters', 'features'):
    learner = sdc.learner(TASK, static_memory=reading)
    state = projected.starting(learner, world)[1]
    rows = learner.rows(state, arrivals, memory)
    replayed[reading] = sorted(set(np.asarray(rows.labels)[rows.weight > 0].tolist()))
    assert int(live_projectors(state)) == (1 if reading == 'features' else 2)
  assert replayed == {
    'both': list(range(8)),
    'parameters': [4, 5, 6, 7],
    'features': list(range(8)),
  }


def test_the_dynamic_branch_before_an_etf_is_nc_fscil(worlds):
  """The same rows, loss and steps; its own copies, lengths and mixtures of rows are left out."""
  head = {'projector': worlds.start.head['projector']}
  worlds = worlds._replace(start=worlds.start._replace(head=head))
  ours = sdc.learner(TASK, fuse='dynamic', classifier='etf', **FEW)
  theirs = nc_fscil.learner(TASK, lengths=False, mixing=0.0, **FEW)
  theirs = dataclasses.replace(theirs, schedule=ours.schedule)
  (first, sessions), (_, others) = (projected.run(one, worlds) for one in (ours, theirs))
  for session, other in zip(sessions, others):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5),
      session.end['projector'],
      other.end['projector'],
    )
    assert_equal(session.end['rows'], first['rows'])
  world, state, other = part(worlds, 0), part(sessions[-1].end, 0), part(others[-1].end, 0)
  logits, cosines = (
    jax.jit(ours.logits)(state, world.test),
    jax.jit(theirs.logits)(other, world.test),
  )
  np.testing.assert_allclose(logits, 16 * cosines, rtol=0, atol=1e-3)


@pytest.mark.parametrize('fuse', ['sum', 'concat'])
def test_the_anchor_of_rows_is_their_squared_distance(fuse, worlds):
  world = part(worlds, 0)
  plain, anchored = (sdc.learner(TASK, fuse=fuse, row_anchor=weight) for weight in (0.0, 0.5))
  arrivals, memory, state = session_one(anchored, world)
  start = loss(plain, arrivals, memory, state)
  np.testing.assert_allclose(loss(anchored, arrivals, memory, state), start, rtol=1e-5)
  moved = np.array(state['rows'])
  moved[0] = -moved[0]  # of the four base rows one is at distance 2
  state = {**state, 'rows': jnp.asarray(moved)}
  extra = loss(anchored, arrivals, memory, state) - loss(plain, arrivals, memory, state)
  np.testing.assert_allclose(extra, 0.5 * 4 / 4, rtol=1e-4)


def test_the_anchor_of_outputs_is_their_squared_distance(worlds, passed):
  world = part(worlds, 0)
  plain, anchored = (sdc.learner(TASK, output_anchor=weight) for weight in (0.0, 0.5))
  arrivals, memory, state = session_one(anchored, world)
  start = loss(plain, arrivals, memory, state)
  np.testing.assert_allclose(loss(anchored, arrivals, memory, state), start, rtol=1e-5)
  state = {**state, 'projector': part(passed[1][2].end['projector'], 0)}
  means = world.start.means[:4]
  before = np.asarray(project(world.start.head['projector'], means), np.float64)
  after = before + np.asarray(project(state['projector'], means))
  before, after = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (before, after))
  extra = loss(anchored, arrivals, memory, state) - loss(plain, arrivals, memory, state)
  assert extra > 1e-4
  np.testing.assert_allclose(extra, 0.5 * ((after - before) ** 2).sum(1).mean(), rtol=1e-2)


@pytest.fixture(scope='module')
def finals(worlds):
  """(base, novel) accuracy at the end by what SDC has, the mean over five draws."""
  kinds = {
    'both': {},
    'static': dict(fuse='static'),
    'features': dict(static_memory='features'),
    'parameters': dict(static_memory='parameters'),
    'neither': dict(static_memory='parameters', fuse='dynamic'),
  }
  accuracy = {}
  for kind, fields in kinds.items():
    accuracy[kind] = projected.final(sdc.learner(TASK, learning_rate=0.01, **fields), worlds)
  return accuracy


@pytest.mark.slow
def test_stability_and_plasticity(finals):
  base, novel = ({kind: pair[place] for kind, pair in finals.items()} for place in (0, 1))
  # On these features static and both keep the base classes alike.
  assert base['static'] > base['both'] - 0.03 and base['both'] - base['neither'] > 0.2
  assert novel['both'] - novel['static'] > 0.02
  harmonic = {kind: 2 * base[kind] * novel[kind] / (base[kind] + novel[kind]) for kind in base}
  assert harmonic['both'] > max(harmonic['static'], harmonic['neither'])


@pytest.mark.slow
def test_what_each_reading_of_static_memory_keeps(finals):
  base = {kind: pair[0] for kind, pair in finals.items()}
  assert base['both'] - base['parameters'] > 0.1
  assert base['both'] - base['features'] < base['both'] - base['neither']


@pytest.mark.parametrize(
  'fields, words',
  [
    (dict(static_memory='features', fuse='gate', gate=0.2), 'no static branch'),
    (dict(fuse='gate', gate=1.0), 'between 0 and 1'),
    (dict(gate=0.3), "for fuse='gate' alone"),
    (dict(fuse='static', dynamic_reset=True), 'no dynamic_reset'),
    (dict(fuse='concat', output_anchor=0.1), 'wider'),
    (dict(classifier='etf', row_anchor=0.1), 'fixed rows'),
    (dict(row_anchor=-0.1), 'from 0 on'),
    (dict(steps=(1, 2)), '3 sessions'),
  ],
)
def test_contradictions_are_refused(fields, words):
  with pytest.raises(errors.UserError, match=words):
    sdc.learner(TASK, **fields)
