"""Condensations side by side: R at once, each under a network of its own, in one program.

Networks that differ in a small part only (a head behind one shared encoder) share the rest: the
images of all runs then go through it in one call. Runs are independent, so they are what is spread
over the devices.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdistill.numerics import settled
from jaxdistill.synthesis import engine
from jaxdistill.training import parallel, problem
from jaxdistill.training.batches import ArraySource
from jaxdistill.training.problem import SHARE, WHOLE

_STATE = engine.State(0, 0, None, None)
_BATCH = {'images': 0, 'classes': None, 'numbers': 0, 'pool': {'shared': None, 'own': 0}}


@settled()
def setup(
  plugs: engine.Plugs,
  settings: engine.Settings,
  model: Any,
  images: np.ndarray,
  counts: np.ndarray,
  canvases: np.ndarray,
  *,
  shared: Any,
  own: Any,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  iterations: int,
  key: jax.Array,
  numbers: np.ndarray | None = None,
  mesh: Mesh | None = None,
) -> problem.Problem:
  """Builds R condensations of as many classes each, ready for the loop.

  Args:
    plugs: the method; its `draw` gets the pool {'shared': shared, 'own': that of its run}.
    settings: the engine's numbers.
    model: see `engine.make`.
    images: [R, classes, n_max, ...], the real data of every run, see `Settings.real`.
    counts: int [R, classes], how many of them are valid.
    canvases: float32 [R, classes, ipc, h, w, c] in [0, 1], what each run starts from.
    shared: what all networks have in common.
    own: leaves [R, ...], what each has for itself.
    mean, std: per channel, of images in [0, 1].
    iterations: steps on the canvases.
    key: raw key data, of everything random.
    numbers: int [R, classes], on which a class's random draws depend; None: 0, 1, ... in every run.
    mesh: devices over which the runs are spread; None: the default one.

  Returns:
    The problem; its state's images are [R, classes, ipc, h, w, c], R padded to fill the devices. It
    reports 'loss' and 'class_loss' [classes], means over the runs.
  """
  runs, classes = canvases.shape[:2]
  one = engine.make(
    plugs, settings, model, num_classes=classes, mean=mean, std=std, smallest=int(np.min(counts))
  )
  takes_weight = 'weight' in jax.eval_shape(
    one.sample, _one_run(images, counts), jax.random.key(0), jnp.int32(0)
  )
  several = _Several(one, runs, mesh, {**_BATCH, **({'weight': 0} if takes_weight else {})})
  placement = problem.Placement(
    mesh,
    engine.State(SHARE, SHARE, WHOLE, WHOLE),
    dict(
      images=SHARE, counts=SHARE, numbers=SHARE, own=SHARE, runs=SHARE, classes=WHOLE, shared=WHOLE
    ),
    dict(
      images=SHARE, numbers=SHARE, runs=SHARE, classes=WHOLE,
      pool={'shared': WHOLE, 'own': SHARE}, **({'weight': SHARE} if takes_weight else {}),
    ),
  )  # fmt: skip
  functions = problem.Functions(several.init, several.sample, several.step, draw=several.sample)
  functions = problem.spread(functions, placement)
  rows = problem.padded_rows(runs, mesh)
  if numbers is None:
    numbers = np.tile(np.arange(classes), (runs, 1))
  data = dict(
    images=np.asarray(images)[rows],
    counts=np.asarray(counts, np.int32)[rows],
    numbers=np.asarray(numbers, np.int32)[rows],
    own=jax.tree.map(lambda leaf: np.asarray(leaf)[rows], own),
    runs=np.arange(len(rows), dtype=np.int32),
    classes=np.arange(classes, dtype=np.int32),
    shared=shared,
  )
  state = problem.start(functions, placement, key, np.asarray(canvases)[rows])
  source = ArraySource(problem.place(data, placement), functions.sample)
  return problem.Problem(functions.step, state, source, iterations, rows=runs)


def _one_run(images, counts):
  """The form of the data of one run, without a network."""
  classes = np.arange(counts.shape[1], dtype=np.int32)
  own = jax.ShapeDtypeStruct(images.shape[1:], images.dtype)
  counts = jax.ShapeDtypeStruct(counts.shape[1:], np.int32)
  return dict(images=own, counts=counts, classes=classes, numbers=classes, pool=())


@dataclasses.dataclass(frozen=True, eq=False)
class _Several:
  """The functions of `setup` as code for one device.

  one: those of one run. runs: R, without padding. axes: where a batch has the axis of the runs.
  """

  one: problem.Functions
  runs: int
  mesh: Mesh | None
  axes: Mapping[str, Any]

  def init(self, key, canvases):
    return jax.vmap(self.one.init, (None, 0), _STATE)(key, canvases)

  def sample(self, data, key, step):
    def of_run(images, counts, numbers):
      classes = data['classes']
      run = dict(images=images, counts=counts, classes=classes, numbers=numbers, pool=())
      batch = self.one.sample(run, key, step)
      return {name: leaf for name, leaf in batch.items() if name not in ('classes', 'pool')}

    batch = jax.vmap(of_run)(data['images'], data['counts'], data['numbers'])
    pool = {'shared': data['shared'], 'own': data['own']}
    return batch | {'classes': data['classes'], 'runs': data['runs'], 'pool': pool}

  def step(self, state, batch):
    runs = batch['runs']
    batch = {name: batch[name] for name in self.axes}
    state, metrics = jax.vmap(self.one.step, (_STATE, dict(self.axes)), (_STATE, 0))(state, batch)
    real = (runs < self.runs).astype(jnp.float32) / self.runs
    mean = jax.tree.map(lambda by_run: jnp.tensordot(real, by_run, 1), metrics)
    several = problem.count_devices(self.mesh) > 1
    return state, parallel.sum_over(mean, parallel.AXIS) if several else mean
