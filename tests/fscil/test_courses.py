"""The engine of the sessions: what it hands to a learner, what it trains, what it counts."""

import dataclasses
import functools

import gaussians
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussians import TASK, course, rows_learner

from jaxdistill.errors import UserError
from jaxdistill.fscil import learner as learners
from jaxdistill.fscil.engine import Engine, Runs
from jaxdistill.fscil.session import Course, nothing, run_sessions
from jaxdistill.training import loop, parallel
from jaxdistill.training.run import Run


def outcome(*arguments, **options):
  with Run(progress=False) as run:
    return run_sessions(run, course(*arguments, **options))


@functools.cache
def shared(devices=1, **options):
  """The outcome of small batches, made once for all tests that ask for it."""
  mesh = parallel.make_mesh(devices) if devices > 1 else None
  return outcome(rows_learner(batch=5), mesh=mesh, **options)


def by_hand(seen, draw, steps, scale=1.0, rate=0.1, momentum=0.5):
  """The rows after each session of `rows_learner` in float64, with full batches."""
  means = np.zeros((10, gaussians.DIM))
  for column in range(4):
    means[column] = seen.base[0][seen.base_labels == column].mean(0)
  rows, memory, history = means.copy(), means.copy(), []
  for number, count in enumerate(steps):
    inputs, labels = seen.shots[0, draw, number].astype(np.float64), seen.shot_labels[draw, number]
    first, end = TASK.arriving(number + 1)
    for column in range(first, end):
      rows[column] = inputs[labels == column].mean(0)
    batch = np.concatenate([inputs, memory[:first]])
    truth = np.eye(10)[np.concatenate([labels, np.arange(first)])]
    velocity = np.zeros_like(rows)
    for _ in range(count):
      logits = batch @ rows[:end].T
      shares = np.exp(logits - logits.max(1, keepdims=True))
      shares /= shares.sum(1, keepdims=True)
      gradient = np.zeros_like(rows)
      gradient[:end] = (shares - truth[:, :end]).T @ batch / len(batch)
      velocity = momentum * velocity + gradient
      rows = rows - rate * scale * velocity
    for column in range(first, end):
      memory[column] = inputs[labels == column].mean(0)
    history.append(rows.copy())
  return history


@pytest.fixture(scope='module')
def ended():
  """Two draws at two rates each, with full batches."""
  return outcome(rows_learner(batch=64), scales=(1.0, 0.25))


class TestAgainstPlainNumpy:
  def test_full_batches_move_the_rows_as_gradient_descent_by_hand(self, ended):
    seen, rows = gaussians.examples(), np.asarray(ended.standing.parts['rows'])
    for run, (draw, scale) in enumerate([(0, 1.0), (0, 0.25), (1, 1.0), (1, 0.25)]):
      expected = by_hand(seen, draw, (6, 9, 6), scale)[-1]
      np.testing.assert_allclose(rows[run], expected, atol=2e-6)

  def test_confusions_count_the_answers_of_seen_classes(self, ended):
    seen = gaussians.examples()
    rows = by_hand(seen, 1, (6, 9, 6))
    for number in (1, 2, 3):
      end = TASK.arriving(number)[1]
      answers = (seen.test[0] @ rows[number - 1][:end].T).argmax(1)
      expected = np.zeros((10, 10), int)
      arrived = seen.test_labels < end
      np.add.at(expected, (seen.test_labels[arrived], answers[arrived]), 1)
      np.testing.assert_array_equal(ended.confusions[2, number], expected)

  def test_the_nearest_mean_needs_no_training(self, ended):
    seen = gaussians.examples()
    rows = by_hand(seen, 0, (0, 0, 0))[-1]
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    answers = (unit(seen.test[0]) @ unit(rows).T).argmax(1)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (seen.test_labels, answers), 1)
    np.testing.assert_array_equal(ended.nearest[0, 3], expected)
    np.testing.assert_array_equal(ended.nearest[1, 3], expected)

  def test_the_live_numbers_grow_with_the_classes(self, ended):
    expected = [3 + classes * gaussians.DIM for classes in (4, 6, 8, 10)]
    assert ended.parameters.tolist() == [expected] * 4
    assert ended.memory_bytes == 4 * gaussians.DIM


class TestRuns:
  def test_a_run_is_the_same_in_any_company(self):
    company = shared(number=3, scales=(0.5, 1.0))
    seen = gaussians.examples(draws=3)
    few = dataclasses.replace(seen, shots=seen.shots[:, :1], shot_labels=seen.shot_labels[:1])
    with Run(progress=False) as run:
      one = dataclasses.replace(course(rows_learner(batch=5), number=1), examples=few)
      one = dataclasses.replace(one, base=gaussians.start(few))
      alone = run_sessions(run, one)
    rows = alone.standing.parts['rows'], company.standing.parts['rows']
    np.testing.assert_allclose(rows[0][0], rows[1][1], atol=1e-6)
    np.testing.assert_array_equal(alone.confusions[0], company.confusions[1])

  def test_four_devices_end_where_one_does(self):
    one = shared(number=3, scales=(0.5, 1.0))
    four = shared(number=3, scales=(0.5, 1.0), devices=4)
    assert len(four.standing.parts['rows']) == 8 and len(four.confusions) == 6
    rows = four.standing.parts['rows'][:6]
    np.testing.assert_allclose(rows, one.standing.parts['rows'], atol=1e-6)
    np.testing.assert_array_equal(four.confusions, one.confusions)
    np.testing.assert_array_equal(four.nearest, one.nearest)

  def test_another_seed_draws_other_batches(self):
    one, other = (shared(seed=seed).standing.parts['rows'] for seed in (0, 1))
    assert np.abs(one - other).max() > 1e-4

  def test_scales_are_factors_above_zero(self):
    with pytest.raises(UserError, match='numbers above 0'):
      Runs(scales=(0.0, 1.0))


class TestBatches:
  def sampled(self, batch, steps, number):
    """The rows that the steps of a session take, of two runs: [steps, R, n]."""
    drawn = []

    def loss(state, batch, arrivals, memory, key):
      places = jnp.sum(batch.inputs, -1)
      jax.debug.callback(lambda *values: drawn.append(values), places, batch.weight)
      return jnp.sum(state['rows'] ** 2) * 0, {}

    learner = rows_learner(loss=loss, batch=batch, steps=(steps,) * 3)
    with Run(progress=False) as run:
      going = course(learner)
      standing = going.first(run)
      for _ in range(number):
        drawn.clear()
        standing, _ = going.advance(run, standing)
        jax.effects_barrier()
    return drawn

  def test_short_batches_pass_through_all_rows_before_any_comes_again(self):
    # 10 new rows and 6 remembered ones, by fours: every pass is four steps.
    drawn = self.sampled(batch=4, steps=8, number=2)
    passes = {}
    assert all((np.asarray(weight) == 1).all() for _, weight in drawn)
    sums = np.stack([np.asarray(values) for values, _ in drawn])
    for one in np.split(sums.reshape(8, 2, 4), 2):
      for run in range(2):
        passes.setdefault(run, []).append(np.sort(one[:, run].ravel()))
    for first, second in passes.values():
      np.testing.assert_allclose(first, second)
      assert len(np.unique(first)) == 16

  def test_a_batch_as_large_as_all_rows_takes_each_once(self):
    ((_, weight), *_) = self.sampled(batch=64, steps=1, number=1)
    assert np.asarray(weight).shape[-1] == 20 and (np.asarray(weight).sum(-1) == 14).all()

  def test_a_batch_between_the_rows_and_their_padding_takes_each_once(self):
    drawn = self.sampled(batch=16, steps=1, number=1)
    assert len(drawn) == 2
    for values, weight in drawn:
      assert len(weight) == 16 and sum(weight) == 14
      assert len(np.unique(np.asarray(values)[np.asarray(weight) > 0])) == 14

  def test_later_sessions_change_nothing_of_the_first(self):
    seen, few = gaussians.examples(), dataclasses.replace(TASK, num_classes=6, sessions=1)
    first = dataclasses.replace(
      seen, shots=seen.shots[:, :, :1], shot_labels=seen.shot_labels[:, :1]
    )
    means = gaussians.start(seen)
    alone = Course(
      Engine(rows_learner(steps=(6,), batch=15), few, Runs(draws=2)),
      first,
      means._replace(means=means.means[:, :6], counts=means.counts[:, :6]),
      np.array([0, 0], np.uint32),
    )
    among = course(rows_learner(steps=(6, 9, 6), batch=15))
    with Run(progress=False) as run:
      rows = [
        np.asarray(going.advance(run, going.first(run))[0].parts['rows'])[:, :6]
        for going in (alone, among)
      ]
    np.testing.assert_allclose(*rows, atol=1e-6)
    np.testing.assert_allclose(rows[1][0], by_hand(seen, 0, (6, 9, 6))[0][:6], atol=2e-6)


class TestPhases:
  def test_only_named_parts_move(self):
    fixed = shared(seed=0).standing.parts['fixed']
    np.testing.assert_array_equal(fixed, np.ones((2, 3), np.float32))

  def test_nothing_is_traced_after_the_first_session(self):
    traced = []
    plain = rows_learner(steps=(4, 8, 12))

    def counted(name):
      function = getattr(plain, name)

      def call(*arguments):
        traced.append(name)
        return function(*arguments)

      return call

    names = ('loss', 'begin', 'logits', 'embed', 'finish', 'rows')
    learner = dataclasses.replace(plain, **{name: counted(name) for name in names})
    with Run(progress=False) as run:
      going = course(learner)
      standing, _ = going.advance(run, going.first(run))
      going.score(standing)
      before = list(traced)
      assert set(names) <= set(before)
      for _ in range(2):
        standing, _ = going.advance(run, standing)
        going.score(standing)
    assert traced == before

  def test_killed_in_two_sessions_it_ends_with_the_same_bits(self, tmp_path, monkeypatch):
    whole = shared(seed=0)
    fit = loop.fit

    def dying(session):
      def kill(state):
        raise InterruptedError

      def killed(run, name, problem, **options):
        if name == session:
          options['evaluate'] = loop.Evaluation(kill, every=3)
        return fit(run, name, problem, **options)

      return killed

    options = dict(progress=False, tensorboard=False, checkpoint_every=1)
    going = course(rows_learner(batch=5))
    for session in ('session-1', 'session-3'):
      with monkeypatch.context() as patch:
        patch.setattr(loop, 'fit', dying(session))
        with pytest.raises(InterruptedError), Run(tmp_path, **options) as run:
          run_sessions(run, going)
    with Run(tmp_path, **options) as run:
      again = run_sessions(run, going)
      assert run.curve('session-3')[-1]['step'] == 6
    np.testing.assert_array_equal(again.standing.parts['rows'], whole.standing.parts['rows'])
    np.testing.assert_array_equal(again.confusions, whole.confusions)

  def test_every_session_has_a_schedule_of_its_own_length(self):
    learner = rows_learner(schedule=lambda steps: lambda step: (step + 1) / steps, steps=(2, 4, 1))
    engine = Engine(learner, TASK, Runs())
    assert engine.rates(4).tolist() == [0.25, 0.5, 0.75, 1.0]
    assert engine.rates(2).tolist() == [0.5, 1.0, 0.0, 0.0]

  def test_zero_steps_leave_everything(self):
    ended = outcome(rows_learner(steps=(0, 0, 0)), number=1)
    expected = by_hand(gaussians.examples(draws=1), 0, (0, 0, 0))[-1]
    np.testing.assert_allclose(ended.standing.parts['rows'][0], expected, atol=1e-6)


class TestMemory:
  def test_old_rows_come_from_the_memory_and_nowhere_else(self):
    """What the earlier sessions and the base showed can be poisoned, once they are over."""
    seen = gaussians.examples()
    poisoned = seen.shots.copy()
    poisoned[:, :, :2] = np.nan
    with Run(progress=False) as run:
      going = course(rows_learner(batch=5))
      standing = going.first(run)
      for _ in range(2):
        standing, _ = going.advance(run, standing)
      clean, _ = going.advance(run, standing)
      last = dataclasses.replace(
        going, examples=dataclasses.replace(seen, shots=poisoned, base=seen.base * np.nan)
      )
      run.discard('session-3')
      other, _ = last.advance(run, standing)
    np.testing.assert_array_equal(clean.parts['rows'], other.parts['rows'])

  def test_without_memory_the_batch_holds_new_rows_alone(self):
    ended = outcome(rows_learner(batch=64), remember=nothing)
    assert ended.memory_bytes == 0
    # Old rows are only pushed away: the base classes are lost.
    base = ended.confusions[:, -1, :4]
    assert np.trace(base[..., :4], axis1=1, axis2=2).mean() < base.sum((1, 2)).mean()


class TestEverything:
  def test_all_rows_so_far_are_learned_from(self):
    """Full-batch-like passes: the sum of the labels over a pass is that of all rows."""
    counted = []

    def loss(state, batch, arrivals, memory, key):
      jax.debug.callback(lambda labels: counted.append(np.asarray(labels)), batch.labels)
      return jnp.sum(state['rows'] ** 2) * 0, {}

    # 80 base rows, then 90, 100, 110 with those of the sessions; ten a step.
    learner = rows_learner(loss=loss, batch=10, steps=(9, 10, 11), replays='everything')
    with Run(progress=False) as run:
      going = course(learner, number=1)
      standing = going.first(run)
      for number in (1, 2, 3):
        counted.clear()
        standing, _ = going.advance(run, standing)
        jax.effects_barrier()
        labels = np.concatenate([one.ravel() for one in counted])
        expected = [20] * 4 + [5] * 2 * number + [0] * (6 - 2 * number)
        assert np.bincount(labels, minlength=10).tolist() == expected

  def test_it_needs_the_base_rows(self):
    going = course(rows_learner(replays='everything'))
    bare = dataclasses.replace(going.examples, base=None)
    with pytest.raises(UserError, match='replays everything'):
      dataclasses.replace(going, examples=bare)


def test_bad_forms_are_told():
  going = course()
  with pytest.raises(UserError, match='by draw, session and image'):
    dataclasses.replace(
      going, examples=dataclasses.replace(going.examples, shots=going.examples.shots[:, :1])
    )
  with pytest.raises(UserError, match='base networks were asked for'):
    dataclasses.replace(going, engine=Engine(rows_learner(), TASK, Runs(seeds=2, draws=2)))
  with pytest.raises(UserError, match='3 sessions are 3 numbers; got 2'):
    Engine(rows_learner(steps=(1, 2)), TASK, Runs())
  with pytest.raises(UserError, match='has a loss'):
    Engine(rows_learner(loss=None), TASK, Runs())


def test_cross_entropy_and_its_gradient_stay_finite_where_rows_fill_up():
  logits, seen = jnp.array([[1.0, 2.0, 3.0]] * 2), jnp.array([True, True, False])
  loss = lambda x: learners.cross_entropy(x, jnp.array([0, 2]), jnp.array([1.0, 0.0]), seen)
  value, gradient = jax.jit(jax.value_and_grad(loss))(logits)
  assert float(value) == pytest.approx(np.log(1 + np.e))
  assert np.isfinite(gradient).all() and not gradient[1].any() and not gradient[:, 2].any()
