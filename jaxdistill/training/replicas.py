"""Several networks of one form in training at once, on all devices, whatever they learn.

R networks share a program and the clock; each has weights, data order and random numbers of its
own, which depend on its number alone, so that a network is the same in any company; or they share
one order and one batch. What one of them does is a `Learner`; what is here is the same for all
learners: the networks side by side, their spreading over devices or that of their batch, the
padding that fills the devices, the optimisers' steps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jaxdistill import draws, errors
from jaxdistill.numerics import settled
from jaxdistill.training import together
from jaxdistill.training.learner import Learner
from jaxdistill.training.problem import (
  SHARE,
  WHOLE,
  Functions,
  Placement,
  Problem,
  count_devices,
  source,
  spread,
  start,
)
from jaxdistill.training.side_by_side import BATCHES, GUIDES, Options, SideBySide, State
from jaxdistill.training.whole_batch import all_rows, row_numbers

__all__ = [
  'BATCHES',
  'GUIDES',
  'SPREADS',
  'Options',
  'State',
  'all_rows',
  'choose_spread',
  'counts_rows',
  'make',
  'problem',
  'row_numbers',
]

SPREADS = ('networks', 'batch')


def choose_spread(way: str, networks: int, mesh: Mesh | None) -> str:
  """Returns what is spread over the devices: for 'auto' the networks, or the batch where there are
  fewer networks than devices.

  Args:
    way: one of `SPREADS`, or 'auto'.
    networks: R.
    mesh: the devices.

  Raises:
    UserError: an unknown name.

  >>> choose_spread('auto', 4, None)
  'networks'
  """
  if way not in (*SPREADS, 'auto'):
    raise errors.unknown('way to use several devices', way, (*SPREADS, 'auto'))
  devices = count_devices(mesh)
  if devices == 1:
    return 'networks'
  return way if way != 'auto' else 'networks' if networks >= devices else 'batch'


def counts_rows(learner: Learner, networks: int, mesh: Mesh | None) -> bool:
  """Returns whether a step of so many networks needs to know the weights of its rows, see
  `models.normalisation.weighted`: the last batch of an epoch is short, or batches are spread over
  the devices.

  >>> import types
  >>> counts_rows(types.SimpleNamespace(always_full=True), 1, None)
  False
  """
  return not learner.always_full or choose_spread('auto', networks, mesh) == 'batch'


def make(
  learner: Learner,
  optimizer: optax.GradientTransformation | Mapping[str, optax.GradientTransformation],
  options: Options,
  entries: Sequence[str] = ('images', 'labels'),
) -> tuple[Functions, Placement]:
  """Returns the pure functions of the training, spread over the devices, and where its parts lie.

  `step` reports the metrics of `Turn.differentiate`, each as the mean over the networks. `entries`
  are the names of the data.
  """
  # Refuses a name that does not exist; what 'auto' is depends on what is compiled for.
  together.choose_way(options.way)
  replicas = SideBySide(learner, optimizer, options)
  functions = Functions(replicas.init, replicas.sample, replicas.step, draw=replicas.sample)
  share = WHOLE if options.spread == 'batch' else SHARE
  batch = WHOLE if options.batches == 'shared' else share
  if GUIDES in entries:
    drawn = (*(name for name in entries if name != GUIDES), 'index', 'weight')
    batch = {**dict.fromkeys(drawn, batch), GUIDES: WHOLE}
  if learner.drawn:
    batch = {**dict.fromkeys(entries, WHOLE), 'network': share}
  placement = Placement(
    options.mesh,
    State(share, share, share, WHOLE, WHOLE, share),
    {**dict.fromkeys(entries, WHOLE), 'network': share},
    batch,
  )
  return spread(functions, placement), placement


@settled()
def problem(
  learner: Learner,
  optimizer: optax.GradientTransformation | Mapping[str, optax.GradientTransformation],
  options: Options,
  data: Mapping[str, Any],
  *,
  num_steps: int,
  seed: int = 0,
  epoch_steps: int = 0,
  initial: Mapping[str, Any] | None = None,
) -> Problem:
  """Places data and networks on the devices: a training ready for the loop.

  Args:
    learner: what a network does.
    optimizer: of each network; of several players by their names.
    options: how they train side by side.
    data: arrays by name with one leading axis, `images` among them, which may be streamed; under
      'guides' the variables of guides.
    num_steps: length of the training.
    seed: of weights, order and views.
    epoch_steps: of a pass over the data, for evaluations that come every so many passes.
    initial: variables [networks, ...] to begin with, or some of them; None: the learner's.

  Raises:
    UserError: initial variables that are none of the networks', or of another shape.
  """
  functions, placement = make(learner, optimizer, options, tuple(data))
  key = jax.random.key_data(draws.key(seed))
  arguments = (key,) if initial is None else (key, dict(initial))
  state = start(functions, placement, *arguments)
  data = {**data, 'network': np.arange(options.padded)}
  resident = (GUIDES,) if GUIDES in data else ()
  drawn = source(functions, placement, data, state.key, num_steps, resident)
  return Problem(functions.step, state, drawn, num_steps, options.networks, epoch_steps)
