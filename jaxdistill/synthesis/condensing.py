"""A condensation ready for the loop: a method's plug points in the engine, data and canvases on the
devices."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from jaxdistill import draws
from jaxdistill.data import Dataset, augment, samplers
from jaxdistill.numerics import settled
from jaxdistill.synthesis import decode, engine, methods
from jaxdistill.training import parallel, problem


class Part(NamedTuple):
  """Where the classes of a training set stand in a larger one.

  numbers: of each class there, which its random draws follow. least, most: the images of the
  smallest and of the largest class there, so that all parts share one program.
  """

  numbers: Sequence[int] | None = None
  most: int = 0
  least: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Problem(problem.Problem):
  """A condensation ready for the loop, and the canvases [classes, ipc, h, w, c] it starts from."""

  canvases: np.ndarray | None = None


@settled()
def setup(
  method: Mapping[str, Any],
  settings: engine.Settings,
  model: nn.Module,
  train: Dataset,
  *,
  init: str,
  iterations: int,
  seed: int = 0,
  mesh: Mesh | None = None,
  pool: Any = (),
  part: Part = Part(),
) -> Problem:
  """Builds a condensation and places data, canvases and the method's networks on the devices.

  Args:
    method: its name and its own fields, see `methods.plugs`.
    settings: the engine's numbers.
    model: a network of `models.build` for the classes and images of `train`.
    train: the real images.
    init: what the canvases start from, see `decode.first_canvases`.
    iterations: steps on the canvases.
    seed: of everything random.
    mesh: devices over which the classes are spread; None: the default device.
    pool: the networks that the method wants.
    part: where `train` stands in a larger set.
  """
  images, counts = samplers.class_major(train, part.most)
  functions = engine.make(
    methods.plugs(method, model, train.image_shape),
    # No class has more to give than the largest one.
    dataclasses.replace(settings, batch_real=min(settings.batch_real, images.shape[1])),
    model,
    num_classes=train.num_classes,
    mean=train.mean,
    std=train.std,
    mesh=mesh,
    smallest=part.least or int(counts.min()),
  )
  key_canvases, key = draws.split(draws.key(seed))
  canvases = decode.first_canvases(
    key_canvases,
    images,
    counts,
    ipc=settings.ipc,
    factor=settings.factor,
    init=init,
    mean=train.mean,
    std=train.std,
    numbers=part.numbers,
  )
  canvases = np.asarray(canvases)
  state = engine.start(functions, jax.random.key_data(key), canvases, mesh)
  source = engine.source(functions, state, iterations, images, counts, mesh, pool, part.numbers)
  return Problem(
    functions.step, state, source, iterations, rows=train.num_classes, canvases=canvases
  )


@settled()
def learned(state: engine.State, settings: engine.Settings, train: Dataset) -> np.ndarray:
  """Returns the canvases of a state on the host, float32 [classes, ipc, h, w, c] in units of
  [0, 1]; those that were learned as normalised images may leave the range."""
  images = np.asarray(parallel.gather(state.images))[: train.num_classes]
  if settings.space == 'normalised':
    return np.asarray(augment.denormalise(images, train.mean, train.std))
  return np.clip(images, 0, 1)
