"""The sections and fields that the configs of every family have."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdistill import errors, models
from jaxdistill.experiment import schema
from jaxdistill.experiment.datasets import DataSource

# JAX would take a larger seed modulo this number, and two seeds would give one result.


@dataclasses.dataclass(frozen=True)
class Run:
  """How a run goes about it; nothing here changes a result."""

  devices: int = schema.field(0, at_least=0, help='at most so many; 0: all')
  steps_per_call: int = schema.field(
    0, at_least=0, help='steps in one call of the compiled program; 0: by the backend'
  )
  experts: str = schema.field(
    '', help="folder of trained networks that several runs share; '': beside the work dir"
  )
  checkpoint_every: int = schema.field(500, at_least=1, help='steps between two checkpoints')
  keep: int = schema.field(2, at_least=1, help='checkpoints that are kept')
  log_every: int = schema.field(10, at_least=1, help='steps between two lines of metrics')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """What every config says; each task of a family adds the sections of its own and `run`."""

  family: str = schema.field(help='family of methods')
  task: str = schema.field(help='what is done')
  seed: int = schema.field(0, at_least=0, below=errors.SEEDS, help='of everything random')
  dtype: str = schema.field('float32', choices=models.DTYPES, help="of the networks' computation")
  data: DataSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Several:
  """What the config of a comparison says beside: `members` has a section a method, by its name in
  the table."""

  compared: tuple[str, ...] = schema.field(help='the methods in the order of the table')
  members: Mapping[str, Any]
