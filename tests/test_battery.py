"""One battery over every registered method of every family.

A family answers in tests/FAMILY/battery.py: names() of its methods, METHOD.PHASE for what follows
the first training of one; refuse(name), which asks for a field that the method has not; and either
what one phase of the loop needs: ready(name, mesh=, dtype=, steps=), a small problem for the loop;
learned(state), the arrays to compare, rows of padding left out; pools(name), the stand-in for the
networks that a method wants and such networks, () for none; company(name), (alone, among others,
the rows there) or None, alone None where that is ready(name); perhaps QUICK, the names whose tests
are not slow.

Or, where a method goes through sessions: course(name, devices=, dtype=), all of them ready to run;
poisoned(examples, number), the same data with nonsense in place of those before a session; perhaps
QUICK.
"""

import dataclasses
import functools
import importlib.util
import pathlib
import sys
from typing import NamedTuple

import jax
import numpy as np
import pytest

import jaxdistill
from jaxdistill.errors import UserError
from jaxdistill.numerics import settled
from jaxdistill.training import loop, parallel
from jaxdistill.training.run import Run

TESTS = pathlib.Path(__file__).parent
STEPS = 4


@functools.cache
def battery(family):
  path = TESTS / family / 'battery.py'
  spec = importlib.util.spec_from_file_location(f'battery_of_{family}', path)
  module = importlib.util.module_from_spec(spec)
  sys.path.append(str(path.parent))  # what it stands on lies beside it
  spec.loader.exec_module(module)
  return module


def every(kind):
  """The methods, as (family, name), of the families whose battery has a function `kind`."""
  asked = [family for family in jaxdistill.FAMILIES if hasattr(battery(family), kind)]
  return [(family, name) for family in asked for name in battery(family).names()]


METHODS, LEARNERS = every('ready'), every('course')


def quick_first(methods):
  """The same as parameters: those that a family's battery does not call QUICK, where it has such a
  list, are among the slow tests."""
  slow = [name not in getattr(battery(family), 'QUICK', (name,)) for family, name in methods]
  return [
    pytest.param(*method, marks=pytest.mark.slow if is_slow else ())
    for method, is_slow in zip(methods, slow)
  ]


class Ran(NamedTuple):
  """What a method starts from, what it makes of that in a few steps, and its losses."""

  start: np.ndarray
  end: np.ndarray
  losses: list


@functools.cache
def ran(family, name, devices=1, dtype='float32'):
  asked = battery(family)
  mesh = parallel.make_mesh(devices) if devices > 1 else None
  problem = asked.ready(name, mesh=mesh, dtype=dtype, steps=STEPS)
  start = asked.learned(problem.state)
  with Run(progress=False, log_every=1) as run:
    state = loop.fit(run, 'learn', problem)
    return Ran(start, asked.learned(state), [line['loss'] for line in run.curve('learn')])


@pytest.mark.parametrize('family, name', quick_first(METHODS))
class TestEveryMethod:
  def test_learns_something_finite(self, family, name):
    start, end, losses = ran(family, name)
    moved = np.abs(end - start).reshape(len(end), -1).max(1)
    assert (moved > 1e-5).all() and np.isfinite(end).all() and np.isfinite(losses).all()

  def test_four_devices_learn_what_one_does(self, family, name):
    one, four = ran(family, name), ran(family, name, devices=4)
    np.testing.assert_allclose(four.end, one.end, atol=2e-5)
    assert four.losses == pytest.approx(one.losses, rel=1e-4, abs=1e-6)

  def test_bfloat16_stays_close_to_float32(self, family, name):
    exact, half = ran(family, name), ran(family, name, dtype='bfloat16')
    assert half.end.dtype == exact.end.dtype == np.float32
    assert half.losses != exact.losses and half.losses == pytest.approx(exact.losses, rel=0.1)
    # The steps point the same way.
    step, other = ((end - exact.start).ravel() for end in (exact.end, half.end))
    assert step @ other > 0.9 * np.linalg.norm(step) * np.linalg.norm(other)

  def test_killed_and_resumed_it_ends_with_the_same_bits(self, family, name, tmp_path):
    def kill(state):
      raise InterruptedError

    options = dict(progress=False, tensorboard=False, log_every=1, checkpoint_every=1)
    with pytest.raises(InterruptedError), Run(tmp_path, **options) as run:
      problem = battery(family).ready(name, steps=STEPS)
      loop.fit(run, 'learn', problem, evaluate=loop.Evaluation(kill, every=2))
    with Run(tmp_path, **options) as run:
      state = loop.fit(run, 'learn', battery(family).ready(name, steps=STEPS))
      losses = [line['loss'] for line in run.curve('learn')]
    whole = ran(family, name)
    np.testing.assert_array_equal(battery(family).learned(state), whole.end)
    assert losses == whole.losses

  def test_nothing_is_compiled_after_the_first_step(self, family, name):
    problem, traced = battery(family).ready(name, steps=STEPS), []

    def step(state, batch):
      traced.append(1)
      return problem.step(state, batch)

    with Run(progress=False) as run:
      loop.fit(run, 'learn', dataclasses.replace(problem, step=step), steps_per_call=1)
    assert len(traced) == 1

  def test_is_the_same_alone_and_among_others(self, family, name):
    company = battery(family).company(name)
    if company is None:
      pytest.skip('what it learns of one depends on the others')
    alone, among, rows = company
    learned = battery(family).learned
    with Run(progress=False) as run:
      many = learned(loop.fit(run, 'among', among))
      few = ran(family, name).end if alone is None else learned(loop.fit(run, 'alone', alone))
    np.testing.assert_allclose(few, many[rows], atol=1e-6)

  def test_a_stand_in_has_the_form_of_the_real_pool(self, family, name):
    stand_in, real = battery(family).pools(name)
    assert jax.tree.structure(stand_in) == jax.tree.structure(real)
    for one, other in zip(jax.tree.leaves(stand_in), jax.tree.leaves(real)):
      assert (one.shape, one.dtype) == (other.shape, other.dtype)

  def test_an_unknown_field_is_refused(self, family, name):
    with pytest.raises(UserError, match=f'no field of method {name.partition(".")[0]}'):
      battery(family).refuse(name)


class Journey:
  """A course that has been travelled to its end, once: what lay behind every session, and which
  functions were traced on the way."""

  def __init__(self, course):
    self.course, self.traced = self.counted(course), []
    self.before, self.behind = {}, {}
    self.standings, self.scores, self.known = [], [], None
    with settled(), Run(progress=False) as run:
      self.take_in(self.course.first(run))
      self.watch()
      for _ in range(self.course.engine.task.sessions):
        self.take_in(self.course.advance(run, self.standings[-1])[0])
        if self.known is None:
          self.known = list(self.traced)

  def counted(self, course):
    """The same course, whose learner tells when one of its functions is traced."""
    learner = course.engine.learner

    def telling(name, function):
      @functools.wraps(function)
      def call(*arguments):
        self.traced.append(name)
        return function(*arguments)

      return call

    names = ('begin', 'rows', 'loss', 'logits', 'embed')
    told = {name: telling(name, getattr(learner, name)) for name in names if getattr(learner, name)}
    engine = dataclasses.replace(course.engine, learner=dataclasses.replace(learner, **told))
    return dataclasses.replace(course, engine=engine)

  def watch(self):
    """Keeps what `begin` gives and what `finish` is given: the state before and behind the
    steps."""
    engine = self.course.engine
    begin, finish = engine.begin, engine.finish

    def begun(key, identity, parts, arrivals, memory):
      begun = begin(key, identity, parts, arrivals, memory)
      self.before[int(arrivals.number[0])] = jax.device_get(begun[0])
      return begun

    def finished(parts, arrivals, memory):
      self.behind[int(arrivals.number[0])] = jax.device_get(parts)
      return finish(parts, arrivals, memory)

    engine.__dict__.update(begin=begun, finish=finished)

  def take_in(self, standing):
    self.standings.append(standing)
    self.scores.append(self.course.score(standing))


@functools.cache
def journey(family, name, devices=1):
  return Journey(battery(family).course(name, devices=devices))


def same_bits(tree, other):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(tree), jax.device_get(other))


@pytest.mark.parametrize('family, name', quick_first(LEARNERS))
class TestEveryLearner:
  def test_it_learns_something_finite(self, family, name):
    gone, learner = journey(family, name), battery(family).course(name).engine.learner
    assert sorted(gone.before) == [1, 2, 3]
    for number, before in gone.before.items():
      for part in learner.trained:
        pairs = zip(jax.tree.leaves(before[part]), jax.tree.leaves(gone.behind[number][part]))
        moved = [np.abs(end - start).max() for start, end in pairs]
        assert np.isfinite(moved).all() and max(moved) > 1e-6, part
    for standing in gone.standings:
      assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(standing.parts))

  def test_what_it_freezes_stays_bit_for_bit(self, family, name):
    gone, trained = journey(family, name), journey(family, name).course.engine.learner.trained
    for number, before in gone.before.items():
      for part in before.keys() - set(trained):
        same_bits(before[part], gone.behind[number][part])

  def test_it_never_sees_past_data_beyond_its_memory(self, family, name):
    gone = journey(family, name)
    if gone.course.engine.learner.replays == 'everything':
      pytest.skip('it keeps all data, by its definition')
    seen = battery(family).poisoned(gone.course.examples, 3)
    with settled(), Run(progress=False) as run:
      course = dataclasses.replace(gone.course, examples=seen)
      last, _ = course.advance(run, gone.standings[2])
    same_bits(last.parts, gone.standings[3].parts)
    same_bits(last.memory, gone.standings[3].memory)

  def test_it_answers_with_seen_classes_alone(self, family, name):
    gone = journey(family, name)
    for number, scores in enumerate(gone.scores):
      end = gone.course.engine.task.arriving(number)[1]
      for confusion in scores[:2]:
        assert confusion[..., :end, :end].sum() > 0
        assert not confusion[..., end:].any() and not confusion[..., end:, :].any()

  def test_nothing_is_traced_after_the_first_session(self, family, name):
    gone = journey(family, name)
    assert gone.known and gone.traced == gone.known

  def test_four_devices_learn_what_one_does(self, family, name):
    one, four = journey(family, name), journey(family, name, devices=4)
    real = len(one.course.engine.runs)
    close = lambda a, b: np.testing.assert_allclose(a[:real], b[:real], atol=1e-4, rtol=1e-4)
    jax.tree.map(close, one.standings[-1].parts, four.standings[-1].parts)
    for few, many in zip(one.scores, four.scores):
      assert np.abs(few[0] - many[0]).sum() <= 0.02 * few[0].sum()

  def test_killed_in_a_session_and_resumed_it_ends_with_the_same_bits(
    self, family, name, tmp_path, monkeypatch
  ):
    gone, fit = journey(family, name), loop.fit
    if not gone.course.engine.learner.trained:
      pytest.skip('there is nothing to be killed in')

    def kill(state):
      raise InterruptedError

    def dying(run, name, problem, **options):
      if name.endswith('session-2'):
        options['evaluate'] = loop.Evaluation(kill)
      return fit(run, name, problem, **options)

    def travel(run):
      standing = gone.course.first(run)
      for _ in range(3):
        standing, _ = gone.course.advance(run, standing)
      return standing

    options = dict(progress=False, tensorboard=False, checkpoint_every=1)
    with monkeypatch.context() as patch:
      patch.setattr(loop, 'fit', dying)
      with settled(), pytest.raises(InterruptedError), Run(tmp_path, **options) as run:
        travel(run)
    with settled(), Run(tmp_path, **options) as run:
      same_bits(travel(run).parts, gone.standings[-1].parts)

  def test_bfloat16_stays_close_to_float32(self, family, name):
    course, number = battery(family).course(name, dtype='bfloat16'), 1
    engine, gone = course.engine, journey(family, name)
    if not engine.learner.trained or 'bf16' not in traced_loss(course):
      pytest.skip('it computes in float32 alone')
    with settled(), Run(progress=False) as run:
      standing, _ = course.advance(run, course.first(run))
    start, exact = gone.before[number], gone.behind[number]
    for part in engine.learner.trained:
      assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(standing.parts[part]))
    steps = []
    for end in (exact, jax.device_get(standing.parts)):
      trained = ((start[part], end[part]) for part in engine.learner.trained)
      steps.append(np.concatenate([difference(*pair) for pair in trained]))
    # The steps point the same way.
    assert steps[0] @ steps[1] > 0.9 * np.linalg.norm(steps[0]) * np.linalg.norm(steps[1])

  def test_an_unknown_field_is_refused(self, family, name):
    with pytest.raises(UserError, match=f'field of method {name}'):
      battery(family).refuse(name)


def traced_loss(course):
  """The text of what a session's steps differentiate; '' where they read no rows of a session."""
  engine = course.engine
  if engine.learner.replays == 'everything':
    return ''
  with settled(), Run(progress=False) as run:
    standing, arrivals = course.first(run), course.arrivals(1)
  parts, _, rows, _ = engine.begin(
    course.key, engine.identity, standing.parts, arrivals, standing.memory
  )
  of_run = jax.tree.map(lambda leaf: leaf[0], (parts, rows, arrivals, standing.memory))
  return str(jax.make_jaxpr(engine.learner.loss)(*of_run, jax.random.key(0)))


def difference(start, end):
  pairs = zip(jax.tree.leaves(start), jax.tree.leaves(end))
  return np.concatenate([(after - before).ravel() for before, after in pairs])
