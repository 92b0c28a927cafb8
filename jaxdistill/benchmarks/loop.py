"""What the loop costs: a step under `loop.fit` beside the same compiled program called in a bare
Python loop."""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp

from jaxdistill.benchmarks import Settings, timing
from jaxdistill.training import loop
from jaxdistill.training.problem import Problem
from jaxdistill.training.run import Run

WAYS = ('bare', 'without checkpoints', 'with checkpoints')
_WIDTH = 256  # of the products that a step is made of
_WEIGHTS = 2**20  # numbers in the state that is saved: a network of a million parameters
_TRIES = 5
# Seconds a step, steps: there is a checkpoint every 500.
_LENGTHS = ((0.0005, 2000), (0.005, 1000), (0.05, 500))


@flax.struct.dataclass
class State:
  """step, key: as for the loop; products: how many a step computes; weights: what is saved beside
  them."""

  step: jax.Array
  key: jax.Array
  products: jax.Array
  weights: jax.Array


def _step(state, factor):
  product = jax.lax.fori_loop(0, state.products, lambda _, x: jnp.tanh(x @ factor), jnp.eye(_WIDTH))
  loss = jnp.square(product).mean()
  return state.replace(step=state.step + 1, weights=state.weights + 1e-6 * loss), {'loss': loss}


def measure(
  step_seconds: float = 0.05, steps: int = 500, rounds: int = 3, tell: Callable[[str], None] = print
) -> dict[str, Any]:
  """Times a step of about `step_seconds` in the three `WAYS`, in turn.

  In a bare loop nothing is read back before the end. `loop.fit` logs metrics, shows its progress
  and works in a work dir (a temporary one), all at its default intervals; with checkpoints it also
  saves at the default interval and at the end.

  Args:
    step_seconds: the length of a step; the number of products in it is chosen to fit.
    steps: of each way in a round; 500 are the default interval of checkpoints.
    rounds: how often each way has its turn; every round begins with another one, so that a drift of
      the machine meets all.
    tell: gets a line a round.

  Returns:
    dict(step_seconds: median of the bare loop; a way: {'wall': [...], 'cpu': [...]}, seconds a step
    of each round, of the clock and of all threads of this process together; overhead: {way:
    {'wall', 'cpu'}}, the median over the rounds of the share that comes on top of the bare loop;
    extra_seconds: the same in seconds, for all steps of a round).
  """
  problem = _problem(step_seconds, steps)
  seconds = {way: {'wall': [], 'cpu': []} for way in WAYS}
  for number in range(rounds):
    for way in WAYS[number % 3 :] + WAYS[: number % 3]:
      for clock, spent in _timed(way, problem).items():
        seconds[way][clock].append(spent / steps)
    tell(
      f'round {number + 1}: '
      + ', '.join(f'{way} {1e3 * seconds[way]["wall"][-1]:.2f} ms a step' for way in WAYS)
    )
  return {
    'step_seconds': statistics.median(seconds['bare']['wall']),
    'steps': steps,
    **seconds,
    'overhead': _compared(seconds, lambda ours, bare: ours / bare - 1),
    'extra_seconds': _compared(seconds, lambda ours, bare: (ours - bare) * steps),
  }


def _compared(seconds, difference: Callable[[float, float], float]) -> dict[str, Any]:
  """Returns {way: {clock: the median over the rounds of its difference to the bare loop}}."""
  result = {}
  for way in WAYS[1:]:
    result[way] = {}
    for clock, bare in seconds['bare'].items():
      result[way][clock] = statistics.median(map(difference, seconds[way][clock], bare))
  return result


def lengths(settings: Settings, tell: Callable[[str], None]) -> list[dict[str, Any]]:
  """What the loop adds to phases of short and of longer steps, with and without checkpoints: what
  `measure` returns, for each length.

  The longer a phase takes, the more the machine itself varies: short ones tell what the loop costs,
  the others what it comes to.
  """
  results = []
  for seconds, steps in _LENGTHS:
    result = measure(seconds, steps, settings.rounds, tell)
    results.append(result)
    for way, share in result['overhead'].items():
      extra, step = result['extra_seconds'][way]['wall'], 1e3 * result['step_seconds']
      tell(
        f'{steps:,} steps of {step:.2g} ms, {way}: {extra:+.2f} s in all, '
        f'{share["wall"]:+.1%} of the time, {share["cpu"]:+.1%} of the work of the processors'
      )
  return results


PARTS = {'loop': lengths}


def _problem(step_seconds: float, steps: int) -> Problem:
  """Returns a problem with as many products as fit into a step."""
  source = loop.ArraySource(
    jax.random.normal(jax.random.key(0), (_WIDTH, _WIDTH)) / _WIDTH**0.5,
    lambda data, key, step: data,
  )
  start = State(jnp.int32(0), jax.random.key(0), jnp.int32(100), jnp.zeros(_WEIGHTS))
  _, spent = timing.time_steps(Problem(_step, start, source, _TRIES), _TRIES)
  products = max(1, round(100 * step_seconds / statistics.median(spent)))
  return Problem(_step, start.replace(products=jnp.int32(products)), source, steps)


def _timed(way: str, problem: Problem) -> dict[str, float]:
  """Returns the seconds of all steps, compiling left out."""
  if way == 'bare':
    built, state, inputs = timing.build(problem)
    return _clocked(lambda: _bare(built, state, inputs, problem.num_steps))
  saving = way == 'with checkpoints'
  with tempfile.TemporaryDirectory() as directory:
    with Run(pathlib.Path(directory, 'run'), **({} if saving else {'checkpoint_every': 0})) as run:
      spent = _clocked(lambda: loop.fit(run, 'train', problem, steps_per_call=1, keep_final=saving))
      compiling = run.timing('train')['compile_seconds']
  return {clock: seconds - compiling for clock, seconds in spent.items()}


def _bare(built, state, inputs, steps):
  for _ in range(steps):
    state, _ = built(state, inputs)
  return state


def _clocked(work: Callable[[], Any]) -> dict[str, float]:
  started, busy = time.perf_counter(), time.process_time()
  jax.block_until_ready(work())
  return {'wall': time.perf_counter() - started, 'cpu': time.process_time() - busy}
