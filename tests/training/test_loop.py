"""The loop on a linear model and on counters, with numbers worked out by hand."""

import dataclasses
import time

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.training import loop, parallel, phase, program
from jaxdistill.training.run import Run


@flax.struct.dataclass
class State:
  step: jax.Array
  key: jax.Array
  w: jax.Array


def first_state(key=None):
  return State(jnp.int32(0), jax.random.key(7) if key is None else key, jnp.zeros(3))


def descend(state, batch):
  """One step of least squares with a little noise, so that random numbers take part in the
  state."""
  x, y = batch
  loss, gradient = jax.value_and_grad(lambda w: jnp.mean((x @ w - y) ** 2))(state.w)
  noise = 1e-3 * jax.random.normal(jax.random.fold_in(state.key, state.step), state.w.shape)
  return state.replace(step=state.step + 1, w=state.w - 0.1 * (gradient + noise)), {
    'loss': loss,
    'w': state.w,
  }


def draw(data, key, step):
  index = jax.random.randint(jax.random.fold_in(key, step), (4,), 0, 16)
  return data['x'][index], data['y'][index]


def source():
  x = np.asarray(np.random.default_rng(0).normal(size=(16, 3)), np.float32)
  return loop.ArraySource({'x': x, 'y': x @ np.array([1, -2, 0.5], np.float32)}, draw)


def count(state, batch):
  return state.replace(step=state.step + 1, w=state.w + batch), {
    'loss': state.w.sum(),
    'vector': state.w[:2],
  }


def ones(data, key, step):
  return 1.0


COUNTS = loop.ArraySource((), ones)


def quiet(workdir=None, **options):
  return Run(workdir, progress=False, tensorboard=False, **options)


class Crash(Exception):
  pass


def scores(state):
  return {'w0': float(state.w[0]), 'all': state.w.tolist()}


def crash_at(step):
  def evaluate(state):
    if int(state.step) == step:
      raise Crash
    return scores(state)

  return evaluate


def without_seconds(lines):
  return [{name: value for name, value in line.items() if name != 'seconds'} for line in lines]


def test_lines_hold_the_means_over_their_intervals():
  with quiet(log_every=4) as run:
    end = loop.fit(run, 'count', loop.Problem(count, first_state(), COUNTS, 6))
    lines = without_seconds(run.curve('count'))
  # w = step in every element: loss = 3 * step.
  assert lines == [
    {'phase': 'count', 'step': 4, 'kind': 'train', 'loss': 4.5, 'vector': [1.5, 1.5]},
    {'phase': 'count', 'step': 6, 'kind': 'train', 'loss': 13.5, 'vector': [4.5, 4.5]},
  ]
  assert int(end.step) == 6 and end.w.tolist() == [6, 6, 6]


def test_the_caller_keeps_the_state_even_where_two_leaves_are_one_array():
  shared = jnp.ones(3)

  @flax.struct.dataclass
  class Both:
    step: jax.Array
    key: jax.Array
    pair: dict

  def step(state, batch):
    return state.replace(step=state.step + 1, pair=jax.tree.map(lambda v: v + 1, state.pair)), {
      'loss': 0.0
    }

  both = Both(0, jax.random.key(0), {'a': shared, 'b': shared})
  with quiet() as run:
    end = loop.fit(run, 'both', loop.Problem(step, both, COUNTS, 3))
  assert end.pair['a'].tolist() == end.pair['b'].tolist() == [4, 4, 4]
  assert shared.tolist() == [1, 1, 1]


def test_raw_keys_sample_as_typed_ones():
  ends = []
  for key in (jax.random.key(7), jax.random.key_data(jax.random.key(7))):
    with quiet() as run:
      noise = loop.ArraySource((), lambda data, key, step: jax.random.normal(key, (3,)))
      add = lambda s, b: (s.replace(step=s.step + 1, w=s.w + b), {'loss': 0.0})
      ends.append(loop.fit(run, 'key', loop.Problem(add, first_state(key), noise, 2)).w.tolist())
  assert ends[0] == ends[1] and ends[0][0] != 0


def test_sampling_shares_no_random_numbers_with_the_steps():
  with quiet() as run:
    key_data = loop.ArraySource((), lambda data, key, step: jax.random.key_data(key))
    state = State(jnp.int32(0), jax.random.key(7), jnp.zeros(2, jnp.uint32))
    end = loop.fit(
      run,
      'key',
      loop.Problem(
        lambda s, b: (s.replace(step=s.step + 1, w=b), {'loss': 0.0}), state, key_data, 3
      ),
    )
  seen = [jax.random.key_data(jax.random.fold_in(state.key, step)).tolist() for step in range(3)]
  assert end.w.tolist() not in [*seen, jax.random.key_data(state.key).tolist()]


def test_evaluates_on_schedule_and_at_the_end():
  with quiet() as run:
    loop.fit(
      run,
      'count',
      loop.Problem(count, first_state(), COUNTS, 7),
      evaluate=loop.Evaluation(scores, 3),
    )
    history = run.history('count')
  assert [(line['step'], line['w0'], line['all']) for line in history] == [
    (3, 3.0, [3.0] * 3),
    (6, 6.0, [6.0] * 3),
    (7, 7.0, [7.0] * 3),
  ]


@pytest.mark.parametrize('per_call', [1, 4])
def test_several_steps_a_call_change_neither_result_nor_lines(per_call):
  with quiet(log_every=3) as run:
    end = loop.fit(
      run,
      'fit',
      loop.Problem(descend, first_state(), source(), 11),
      evaluate=loop.Evaluation(scores, 5),
      steps_per_call=per_call,
    )
    lines, history = run.curve('fit'), run.history('fit')
  assert [line['step'] for line in lines] == [3, 6, 9, 11] and [
    line['step'] for line in history
  ] == [5, 10, 11]
  w = np.zeros(3)
  x, y = (np.asarray(source().data[name], np.float64) for name in 'xy')
  key = jax.random.fold_in(jax.random.key(7), 0xFFFFFFFF)
  for step in range(11):  # the same in float64
    index = np.asarray(jax.random.randint(jax.random.fold_in(key, step), (4,), 0, 16))
    noise = np.asarray(jax.random.normal(jax.random.fold_in(jax.random.key(7), step), (3,)))
    w = w - 0.1 * (2 * x[index].T @ (x[index] @ w - y[index]) / 4 + 1e-3 * noise)
  np.testing.assert_allclose(end.w, w, rtol=1e-5)


def test_which_program_computes_a_step_depends_on_its_number_alone():
  cases = [(4, 19, ()), (4, 19, (6,)), (5, 20, (10,)), (3, 2, ()), (8, 40, (5,)), (2, 30, (4, 6))]
  for per_call, num_steps, intervals in cases:
    owner, starts, step = {}, [], 0
    while step < num_steps:
      length = program.call_length(step, per_call, num_steps, intervals)
      owner |= {i: length for i in range(step, step + length)}
      starts.append(step)
      step += length
    assert step == num_steps
    for interval in intervals:
      assert set(range(0, num_steps, interval)) <= set(starts)
    for resumed in starts:  # an interrupted run saves at a start of a call
      step = resumed
      while step < num_steps:
        assert owner[step] == program.call_length(step, per_call, num_steps, intervals)
        step += owner[step]


def test_blocks_stay_where_they_are_whatever_step_one_begins_at():
  blocks = [step for step in range(19) if program.call_length(step, 4, 19) == 4]
  assert blocks == [0, 4, 8, 12]
  blocks = [step for step in range(19) if program.call_length(step, 3, 19, (7,)) == 3]
  assert blocks == [0, 3, 7, 10, 14]


def test_steps_per_call_covers_an_interval_in_the_fewest_calls():
  assert program.steps_per_call(0, 'cpu', 500) == 1
  assert program.steps_per_call(7, 'cpu', 500) == 7
  assert program.steps_per_call(0, 'gpu', 500) == 50
  assert program.steps_per_call(0, 'gpu', 30) == 30
  assert program.steps_per_call(0, 'gpu', 79) == 39  # two blocks and one step
  assert program.steps_per_call(0, 'tpu', 1) == 1


def test_several_evaluations_keep_their_own_time_and_share_a_line_where_they_meet():
  evaluations = [
    loop.Evaluation(lambda state: {'weight': float(state.w[0])}, every=2),
    loop.Evaluation(lambda state: {'passes': int(state.step) / 3}, epochs=1),
    loop.Evaluation(lambda state: {'end': int(state.step)}),
  ]
  with quiet() as run:
    loop.fit(
      run,
      'count',
      loop.Problem(count, first_state(), COUNTS, 7, epoch_steps=3),
      evaluate=evaluations,
    )
    reported = {
      line['step']: line.keys() - {'phase', 'kind', 'seconds', 'step'}
      for line in run.history('count')
    }
  assert reported == {
    2: {'weight'},
    3: {'passes'},
    4: {'weight'},
    6: {'weight', 'passes'},
    7: {'weight', 'passes', 'end'},
  }


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(epochs=1), 'knows no epochs'),
    (dict(every=-1), 'not negative'),
    (dict(every=1, epochs=1), 'one of the two'),
  ],
)
def test_an_evaluation_without_a_time_is_refused(options, message):
  with quiet() as run, pytest.raises(UserError, match=message):
    evaluation = loop.Evaluation(scores, **options)
    loop.fit(run, 'count', loop.Problem(count, first_state(), COUNTS, 7), evaluate=evaluation)


def test_evaluations_that_give_one_metric_twice_are_refused():
  with quiet() as run, pytest.raises(ValueError, match="give the metric 'all'"):
    problem = loop.Problem(count, first_state(), COUNTS, 2)
    loop.fit(run, 'count', problem, evaluate=[loop.Evaluation(scores), loop.Evaluation(scores)])


@pytest.mark.usefixtures('trainings_of_users')
@pytest.mark.parametrize('per_call', [1, 4])
def test_resume_equals_uninterrupted_bit_for_bit(tmp_path, per_call):
  options = dict(steps_per_call=per_call, checkpoint_every=5)
  with quiet(tmp_path / 'whole', log_every=4) as run:
    whole = loop.fit(
      run,
      'fit',
      loop.Problem(descend, first_state(), source(), 27),
      evaluate=loop.Evaluation(scores, 6),
      **options,
    )
    lines, history = run.curve('fit'), run.history('fit')
  for crash in (6, 18, 27):
    workdir = tmp_path / f'{crash}'
    with quiet(workdir, log_every=4) as run, pytest.raises(Crash):
      loop.fit(
        run,
        'fit',
        loop.Problem(descend, first_state(), source(), 27),
        evaluate=loop.Evaluation(crash_at(crash), 6),
        **options,
      )
    with quiet(workdir, log_every=4) as run:
      resumed = loop.fit(
        run,
        'fit',
        loop.Problem(descend, first_state(), source(), 27),
        evaluate=loop.Evaluation(scores, 6),
        **options,
      )
      assert without_seconds(run.curve('fit')) == without_seconds(lines)
      assert without_seconds(run.history('fit')) == without_seconds(history)
    assert np.array_equal(resumed.w, whole.w) and int(resumed.step) == 27
    with quiet(workdir) as run:  # from the file alone
      assert without_seconds(run.history('fit')) == without_seconds(history)
      assert without_seconds(run.curve('fit')) == without_seconds(lines)


def doubled(state):
  """Twice the weights, and a number that it draws for the step."""
  noise = jax.random.uniform(jax.random.fold_in(state.key, 1000 + state.step), state.w.shape)
  return state.replace(w=2 * state.w + noise)


def refreshing():
  refresh = loop.Refresh(doubled, every=3)
  return loop.Problem(descend, first_state(), source(), 9, refresh=refresh)


@pytest.mark.parametrize('per_call', [1, 2, 3])
@pytest.mark.parametrize('first, weight', [(0, 28.0), (3, 24.0)])
def test_a_refresh_comes_before_its_steps_and_never_in_a_call(first, weight, per_call):
  """Each step adds 1, each refresh makes 2 w + 1 of w: 0, 1, 4, 9, 12, 25, 28."""
  twice_and_one = loop.Refresh(lambda s: s.replace(w=2 * s.w + 1), every=3, first=first)
  made = loop.Problem(count, first_state(), COUNTS, 9, refresh=twice_and_one)
  with quiet() as run:
    end = loop.fit(run, 'count', made, steps_per_call=per_call)
  assert end.w.tolist() == [weight] * 3


@pytest.mark.parametrize('at', [0, 3, 6])
@pytest.mark.parametrize('checkpoint_every', [2, 3])
def test_a_refresh_is_repeated_bit_for_bit_after_a_restart(tmp_path, at, checkpoint_every):
  """Of a run that is stopped in one: the state before it is what is saved."""
  with quiet(tmp_path / 'whole') as run:
    whole = loop.fit(run, 'fit', refreshing(), steps_per_call=1)

  def stopping(state):
    if int(state.step) == at:
      raise KeyboardInterrupt
    return doubled(state)

  stopped = dataclasses.replace(refreshing(), refresh=loop.Refresh(stopping, every=3))
  with quiet(tmp_path / 'stopped') as run, pytest.raises(KeyboardInterrupt):
    loop.fit(run, 'fit', stopped, steps_per_call=1, checkpoint_every=checkpoint_every)
  with quiet(tmp_path / 'stopped') as run:
    resumed = loop.fit(run, 'fit', refreshing(), steps_per_call=1)
  np.testing.assert_array_equal(resumed.w, whole.w)


def test_a_refresh_that_changes_the_form_of_the_state_is_told():
  wrong = loop.Refresh(lambda state: state.replace(w=state.w[:2]), every=3)
  made = loop.Problem(descend, first_state(), source(), 3, refresh=wrong)
  with quiet() as run, pytest.raises(TypeError, match='another form'):
    loop.fit(run, 'fit', made)
  with pytest.raises(ValueError, match='every=3 and first=4'):
    loop.Refresh(doubled, every=3, first=4)


def test_work_of_an_earlier_start_is_taken_up_with_a_word_where_nothing_tells_its_data(
  tmp_path, capsys
):
  def start(**things):
    with quiet(tmp_path) as run:
      if things:
        run.works_on(**things)
      loop.fit(run, 'count', loop.Problem(count, first_state(), COUNTS, 2))
      loop.fit(run, 'again', loop.Problem(count, first_state(), COUNTS, 2))
    return capsys.readouterr().out

  assert start() == ''
  word = f'{tmp_path} does not say which data it was begun with; run.works_on(training=...) keeps'
  assert start().startswith(word) and start().count('works_on') == 1
  assert 'it goes on with those that are there now' in start(ones=[1.0])
  assert start(ones=[1.0]) == ''
  with pytest.raises(UserError, match='begun with other data: ones has changed since'):
    start(ones=[2.0])


def test_interrupt_in_an_evaluation_saves_and_evaluates_again_after_the_resume(tmp_path):
  def interrupt(state):
    raise KeyboardInterrupt

  with quiet(tmp_path) as run, pytest.raises(KeyboardInterrupt):
    loop.fit(
      run,
      'fit',
      loop.Problem(descend, first_state(), source(), 9),
      evaluate=loop.Evaluation(interrupt, 4),
    )
  with quiet(tmp_path) as run:
    assert run.checkpoints('fit').steps() == [4]
    loop.fit(
      run,
      'fit',
      loop.Problem(descend, first_state(), source(), 9),
      evaluate=loop.Evaluation(scores, 4),
    )
    assert [line['step'] for line in run.history('fit')] == [4, 8, 9]


def test_a_finished_phase_returns_at_once_with_its_history(tmp_path):
  with quiet(tmp_path) as run:
    end = loop.fit(
      run,
      'fit',
      loop.Problem(descend, first_state(), source(), 4),
      evaluate=loop.Evaluation(scores),
    )
    history, timing = run.history('fit'), run.timing('fit')

  def never(*arguments):
    raise AssertionError('computed again')

  with quiet(tmp_path) as run:
    again = loop.fit(
      run,
      'fit',
      loop.Problem(never, first_state(), loop.ArraySource((), never), 4),
      evaluate=loop.Evaluation(never),
    )
    assert run.history('fit') == history
    assert (
      run.timing('fit')['steps'] == 4
      and run.timing('fit')['compile_seconds'] == timing['compile_seconds']
    )
  assert np.array_equal(again.w, end.w)


def test_a_phase_without_its_final_checkpoint_is_done_again_to_the_same_end(tmp_path):
  ends = []
  for _ in range(2):
    with quiet(tmp_path, checkpoint_every=3) as run:
      ends.append(
        loop.fit(
          run,
          'fit',
          loop.Problem(descend, first_state(), source(), 5),
          evaluate=loop.Evaluation(scores),
          keep_final=False,
        ).w
      )
      assert run.checkpoints('fit').steps() == [3]
      assert [line['step'] for line in run.history('fit')] == [5]
  assert np.array_equal(*ends)
  with quiet(tmp_path) as run:
    run.discard('fit')
    assert run.checkpoints('fit').steps() == []


def test_fewer_steps_than_done_are_refused(tmp_path):
  with quiet(tmp_path) as run:
    loop.fit(run, 'fit', loop.Problem(count, first_state(), COUNTS, 4))
    with pytest.raises(UserError, match='has done 4 steps already, more than the 3'):
      loop.fit(run, 'fit', loop.Problem(count, first_state(), COUNTS, 3))


@pytest.mark.parametrize('per_call', [1, 5])
def test_a_loss_that_is_not_finite_stops_with_advice_and_without_a_checkpoint(tmp_path, per_call):
  def blow_up(state, batch):
    return count(state, batch)[0], {'loss': jnp.where(state.step == 12, jnp.nan, state.step * 1.0)}

  with quiet(tmp_path) as run:
    with pytest.raises(UserError) as caught:
      loop.fit(
        run,
        'fit',
        loop.Problem(blow_up, first_state(), COUNTS, 30),
        checkpoint_every=5,
        steps_per_call=per_call,
      )
    assert run.checkpoints('fit').steps() == [5, 10]
  for part in (
    'fit: the loss is not finite at step 13',
    '10, 11, nan',
    'that of step 10',
    'lower learning rate',
  ):
    assert part in str(caught.value)


def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
  def spoil(state, batch):
    return state.replace(step=state.step + 1, w=state.w / 0), {'loss': 1.0}

  with quiet(tmp_path) as run:
    with pytest.raises(
      UserError, match=r'the state \(w\) is not finite after step 2.*No checkpoint'
    ):
      loop.fit(run, 'fit', loop.Problem(spoil, first_state(), COUNTS, 2))
    assert run.checkpoints('fit').steps() == []


def test_nothing_compiles_after_the_first_steps():
  traces = []

  def traced(state, batch):
    traces.append(1)
    return descend(state, batch)

  with quiet() as run:
    loop.fit(run, 'fit', loop.Problem(traced, first_state(), source(), 20))
    assert len(traces) == 1
    loop.fit(
      run, 'again', loop.Problem(traced, first_state(), source(), 20)
    )  # alike, so compiled already
    assert len(traces) == 1
    loop.fit(run, 'calls', loop.Problem(traced, first_state(), source(), 20), steps_per_call=6)
    assert len(traces) == 2  # the scan; its tail uses the one-step program


def make_step(rate):
  return lambda state, batch: (
    state.replace(step=state.step + 1, w=state.w * rate + batch),
    {'loss': 0.0},
  )


def test_equal_programs_of_several_factories_compile_once():
  place = program.common_sharding(jnp.zeros(()))
  built = [
    program.build(make_step(rate), ones, program.settle(state, place), ()).compiled
    for rate, state in (
      (2.0, first_state()),
      (2.0, first_state()),
      (3.0, first_state()),
      (2.0, first_state().replace(w=jnp.zeros(4))),
    )
  ]
  assert built[0] is built[1] and len({id(compiled) for compiled in built}) == 3
  spread = parallel.replicate(first_state(), parallel.make_mesh())
  assert (
    program.build(make_step(2.0), ones, program.settle(spread, spread.w.sharding), ()).compiled
    is not built[0]
  )


def test_programs_that_call_python_are_not_mistaken_for_each_other():
  def make(seen):
    def step(state, batch):
      jax.debug.callback(seen.append, state.step)
      return count(state, batch)

    return step

  seen = [], []
  with quiet() as run:
    for i in range(2):
      loop.fit(run, f'{i}', loop.Problem(make(seen[i]), first_state(), COUNTS, 3))
  jax.effects_barrier()
  assert len(seen[0]) == len(seen[1]) == 3


def test_programs_that_close_over_other_arrays_are_not_mistaken_for_each_other():
  try:
    jax.config.update('jax_use_simplified_jaxpr_constants', True)
  except AttributeError:
    pytest.skip('this JAX has no such option')

  def adding(array):
    return lambda state, batch: (
      state.replace(step=state.step + 1, w=state.w + array.sum()),
      {'loss': 0.0},
    )

  try:
    with quiet() as run:
      ends = [
        loop.fit(run, f'{i}', loop.Problem(adding(jnp.full(50, i)), first_state(), COUNTS, 1)).w
        for i in (1.0, 2.0)
      ]
  finally:
    jax.config.update('jax_use_simplified_jaxpr_constants', False)
  np.testing.assert_allclose(ends[1] - ends[0], 50.0)


def test_steps_that_break_the_rules_are_told_so():
  wrong = [
    (lambda s, b: (s.replace(w=s.w), {'loss': 0.0}), ValueError, 'counted up by the step'),
    (
      lambda s, b: (s.replace(w=s.w.sum()), {'loss': 0.0}),
      TypeError,
      r'\.w was float32\[3\] and became float32\[\]',
    ),
    (lambda s, b: ((s.step, s.key), {'loss': 0.0}), TypeError, 'same structure'),
  ]
  for step, error, text in wrong:
    with quiet() as run, pytest.raises(error, match=text):
      loop.fit(run, 'fit', loop.Problem(step, first_state(), COUNTS, 3))


class Batches:
  """An iterator with a position, as grain's; remembers where it was set."""

  def __init__(self):
    self.at, self.set_to = 0, None

  def __next__(self):
    self.at += 1
    return np.full(3, self.at, np.float32)

  def get_state(self):
    return {'at': self.at}

  def set_state(self, state):
    self.at = self.set_to = state['at']


def plain():
  return (np.full(3, i + 1, np.float32) for i in range(20))


def test_host_batches_continue_where_they_were(tmp_path):
  made = []

  def make():
    made.append(Batches())
    return made[-1]

  for make_iterator, name in ((make, 'stateful'), (plain, 'replayed')):
    batches = loop.HostSource(make_iterator)
    with quiet(tmp_path, checkpoint_every=4) as run:
      with pytest.raises(Crash):
        loop.fit(
          run,
          name,
          loop.Problem(count, first_state(), batches, 10),
          evaluate=loop.Evaluation(crash_at(6), 6),
        )
      end = loop.fit(run, name, loop.Problem(count, first_state(), batches, 10))
    assert end.w.tolist() == [55.0] * 3
  assert [batches.set_to for batches in made] == [None, 4]


@pytest.mark.parametrize('before_the_position', [False, True])
def test_host_batches_continue_after_an_interrupt_between_two_of_them(
  tmp_path, before_the_position
):
  """By then the state is that of the next step; the position saved with it must be so too."""

  class Interrupted(Batches):
    def stop(self, here):
      if here and self.at == 5:
        raise KeyboardInterrupt

    def __next__(self):
      self.stop(not before_the_position)
      return super().__next__()

    def get_state(self):
      self.stop(before_the_position)
      return super().get_state()

  stopped = loop.Problem(count, first_state(), loop.HostSource(Interrupted), 8)
  with quiet(tmp_path) as run, pytest.raises(KeyboardInterrupt):
    loop.fit(run, 'fit', stopped, checkpoint_every=2)
  whole = dataclasses.replace(stopped, source=loop.HostSource(Batches))
  with quiet(tmp_path) as run:
    assert run.checkpoints('fit').steps()[-1] == (4 if before_the_position else 5)
    assert loop.fit(run, 'fit', whole).w.tolist() == [36.0] * 3


@pytest.mark.parametrize('evaluate', [(), loop.Evaluation(scores)])
def test_an_interrupt_while_the_last_steps_land_keeps_their_line(tmp_path, monkeypatch, evaluate):
  counting = loop.Problem(count, first_state(), COUNTS, 6)
  with quiet(log_every=4) as run:
    loop.fit(run, 'fit', counting, steps_per_call=1)
    whole = run.curve('fit')
  land = phase.Phase.land

  def interrupted(self):
    if self.landed == self.num_steps - 1:
      monkeypatch.undo()
      raise KeyboardInterrupt
    land(self)

  monkeypatch.setattr(phase.Phase, 'land', interrupted)
  with quiet(tmp_path, log_every=4) as run:
    with pytest.raises(KeyboardInterrupt):
      loop.fit(run, 'fit', counting, steps_per_call=1)
    assert run.checkpoints('fit').steps() == [6]
  with quiet(tmp_path, log_every=4) as run:
    loop.fit(run, 'fit', counting, steps_per_call=1, evaluate=evaluate)
    strip = lambda lines: [{**line, 'seconds': 0} for line in lines]
    assert strip(run.curve('fit')) == strip(whole)


def test_host_batches_that_end_or_change_shape_are_told():
  with quiet() as run:
    with pytest.raises(UserError, match='ended before step 20 of 21'):
      loop.fit(run, 'short', loop.Problem(count, first_state(), loop.HostSource(plain), 21))
    ragged = loop.HostSource(lambda: iter([np.zeros(3), np.zeros(2)]))
    with pytest.raises(UserError, match='drop or pad the last short batch'):
      loop.fit(
        run, 'ragged', loop.Problem(lambda s, b: count(s, b.sum()), first_state(), ragged, 2)
      )


def test_one_and_four_devices_agree():
  mesh = parallel.make_mesh()
  data = source().data
  everywhere = loop.ArraySource(
    parallel.shard(data, mesh), lambda data, key, step: (data['x'], data['y'])
  )
  here = loop.ArraySource(data, everywhere.sample)
  ends = {}
  for name, batches in (('one', here), ('four', everywhere)):
    with quiet() as run:
      ends[name] = loop.fit(
        run, name, loop.Problem(descend, first_state(), batches, 8), steps_per_call=4
      )
  assert (
    len(ends['four'].w.sharding.device_set) == 4 and len(ends['one'].w.sharding.device_set) == 1
  )
  np.testing.assert_allclose(ends['one'].w, ends['four'].w, rtol=1e-5)


def test_a_run_of_one_device_continues_on_four(tmp_path):
  mesh = parallel.make_mesh()
  with quiet(tmp_path) as run:
    loop.fit(
      run,
      'fit',
      loop.Problem(count, first_state(), COUNTS, 4),
      checkpoint_every=2,
      keep_final=False,
    )
    spread = first_state().replace(w=parallel.shard(jnp.zeros(4), mesh))
    with pytest.raises(UserError, match=r"'w' is float32\[3\] there and float32\[4\] here"):
      loop.fit(run, 'fit', loop.Problem(count, spread, COUNTS, 4))
    replicated = parallel.replicate(first_state(), mesh)
    end = loop.fit(run, 'fit', loop.Problem(count, replicated, COUNTS, 4))
  assert end.w.tolist() == [4.0] * 3 and len(end.w.sharding.device_set) == 4


@pytest.mark.usefixtures('timed')
def test_estimate_counts_one_step_and_leaves_no_trace(tmp_path):
  size = 64

  def multiply(state, batch):
    return state.replace(step=state.step + 1, w=jnp.tanh(state.w @ batch)), {'loss': 0.0}

  state = State(jnp.int32(0), jax.random.key(0), jnp.eye(size))
  matrices = loop.ArraySource(np.eye(size, dtype=np.float32), lambda data, key, step: data)
  found = loop.estimate(loop.Problem(multiply, state, matrices, 1000))
  assert found.flops_per_step == pytest.approx(2 * size**3, rel=0.02)
  assert found.peak_bytes >= 2 * size * size * 4  # the state and the resident matrix
  assert found.total_seconds == pytest.approx(found.compile_seconds + 1000 * found.seconds_per_step)
  assert found.num_steps == 1000 and found.peak_share is None  # no peak is known for a CPU
  assert state.w.tolist() == np.eye(size).tolist() and int(state.step) == 0


@pytest.mark.usefixtures('timed')
def test_estimate_counts_all_devices():
  mesh = parallel.make_mesh()
  x = np.ones((64, 64), np.float32)

  def multiply(state, batch):
    return state.replace(step=state.step + 1, w=batch @ state.w), {'loss': 0.0}

  state = State(jnp.int32(0), jax.random.key(0), jnp.eye(64))
  counted = [
    loop.estimate(
      loop.Problem(multiply, state, loop.ArraySource(data, lambda data, key, step: data), 1)
    ).flops_per_step
    for data in (x, parallel.shard(x, mesh))
  ]
  assert counted[0] == pytest.approx(2 * 64**3, rel=0.02) and counted[1] == pytest.approx(
    counted[0], rel=0.02
  )


def test_times_of_a_phase_add_up_over_restarts(tmp_path):
  with quiet(tmp_path) as run, pytest.raises(Crash):
    loop.fit(
      run,
      'fit',
      loop.Problem(descend, first_state(), source(), 8),
      evaluate=loop.Evaluation(crash_at(6), 6),
      checkpoint_every=2,
    )
  with quiet(tmp_path) as run:
    before = run.seconds
    time.sleep(0.1)
    loop.fit(
      run,
      'fit',
      loop.Problem(descend, first_state(), source(), 8),
      evaluate=loop.Evaluation(scores),
    )
    timing = run.timing('fit')
    first = run.first_step_seconds
    assert first > timing['first_step_seconds'] + 0.1
    loop.fit(run, 'next', loop.Problem(descend, first_state(), source(), 2))
    assert run.first_step_seconds == first
  assert before > 0 and timing['steps'] == 8 and timing['steps_per_second'] > 0
  assert timing['seconds'] > timing['compile_seconds'] > 0 and timing['first_step_seconds'] > 0
