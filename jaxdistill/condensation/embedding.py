"""The features by which the selection baselines choose real images."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from jaxdistill import draws
from jaxdistill.condensation import baselines
from jaxdistill.data import Dataset
from jaxdistill.experiment import schema
from jaxdistill.numerics import settled
from jaxdistill.training import features, pretrained
from jaxdistill.training.pretrained import Wanted
from jaxdistill.training.run import Run

NETWORKS = ('trained', 'random')
# Folded into the seed's key for the weights of a random network; the canvases take 0 and the
# selection 1.
_WEIGHTS = 2


@dataclasses.dataclass(frozen=True)
class Selection:
  """The network whose features the baselines herding, kcenter and kmeans compare."""

  network: str = schema.field('trained', choices=NETWORKS, help='whose features select real images')
  epochs: int = schema.field(60, at_least=0, help='passes of its training; 0: 60')
  steps: int = schema.field(0, at_least=0, help='steps of its training; 0: from the epochs')

  @property
  def expert(self) -> Wanted | None:
    """The network that is trained on the real images; None where it stays random."""
    if self.network == 'random':
      return None
    return Wanted(1, epochs=self.epochs, steps=self.steps)

  def wants(self, names: Sequence[str]) -> Wanted | None:
    """Returns the network that is trained for the baselines `names`; None if none of them needs it.

    >>> Selection(epochs=3).wants(['random', 'herding_mix']).epochs, Selection().wants(['random'])
    (3, None)
    """
    return self.expert if any(map(baselines.needs_features, names)) else None


@settled()
def embed(
  selection: Selection,
  train: Dataset,
  model: nn.Module,
  run: Run,
  *,
  seed: int,
  mesh: Mesh | None = None,
  pool: Any = (),
  directory: pathlib.Path | None = None,
) -> np.ndarray:
  """Returns the features by which selection baselines choose: the embedding of `train` under one
  network.

  Args:
    selection: whether the network is trained on `train` first or stays random. A trained one is an
      expert, found again by other runs.
    train: the real images.
    model: the network, the one that condenses.
    run: keeps what is trained.
    seed: of its weights.
    mesh: the devices.
    pool: what the method trained; if these are experts, the network is the first of them.
    directory: where experts are kept for other runs.
  """
  if selection.network == 'random':
    key = jax.random.fold_in(draws.key(seed), _WEIGHTS)
    variables = jax.jit(model.init)(key, np.zeros((1, *train.image_shape), np.float32))
  else:
    if not isinstance(pool, pretrained.Pool):
      pool = pretrained.train(
        run, model, train, selection.expert, seed=seed, mesh=mesh, directory=directory
      )
    variables = jax.tree.map(lambda a: a[0], pool.final)
  run.say(f'Embedding {len(train):,} images to select from.')
  return features.embed(model, variables, train, mesh=mesh, progress=run.progress)
