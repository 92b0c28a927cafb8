"""What the figures of speed measure: a file a family, and one for what all of them stand on.

  condensation   seconds an iteration of the methods: beside another program, by size, by devices
  fscil          seconds a session of the few-shot learners: one draw, several, another program
  distillation   seconds of a student's step: one, several together, one by one, another program
  robustness     seconds of a step of AT, AWP and RWP
  label_noise    seconds of a step of two CrowdLayers and of CCC
  growth         how the cost of an iteration grows, as lines and a page
  networks       many networks at once against one by one; the forms of a convolution
  loop           what the loop costs beside the bare compiled steps
  timing         seconds of compiled steps and functions
  process        a process that measures, and its last line
  device         the plan for a device that is there for minutes; kept, its file; device_page, its
                 page; steps and ceilings, the processes that measure its figures
  yardsticks     programs that time other packages beside this library
  multilabel     no seconds, and a command of its own: what transitions of several labels are worth

A file holds the parts of the benchmark that it knows in `PARTS`, {name: function (Settings, tell)
-> figures for JSON}; `tell` gets a line as soon as there is something to say. A file with settings
of its own to check has `check(settings)`, which is called before any part begins.
"""

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from jaxdistill.errors import unknown

# Part of the benchmark -> the file that knows it, in the order in which they run.
PARTS = {
  'condense': 'condensation',
  'evaluate': 'networks',
  'experts': 'networks',
  'convolution': 'networks',
  'networks': 'networks',
  'scaling': 'condensation',
  'devices': 'condensation',
  'loop': 'loop',
  'sessions': 'fscil',
  'distil': 'distillation',
  'robust': 'robustness',
  'crowds': 'label_noise',
}
# The same of the plan for a device, see `device`.
PLAN_PARTS = ('methods', 'networks', 'steps')


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is measured.

  Attributes:
    methods: names of the methods, for parts that measure methods.
    yardstick: command of another program that is timed in turn with them; '' for none.
    rounds: how often what is compared has its turn.
    iters: timed iterations a round.
    ipc, factor, batch_real, classes: the size of a condensation.
    width: of the ConvNet.
    dtype: type that the networks compute in.
    networks: how many are trained at once; students, in the part distil.
    learners: names of the few-shot learners of the part sessions.
    draws: of the few images, that go through the sessions at once.
    dim: size of the features there.
    session_steps: steps a session there.
    images: whether sessions go through images too, without kept features.
    distillations: names of the methods of the part distil, or terms that are joined by +.
    teacher, student: depths of the ResNets there.
    low: side of the student's images there, the teacher's have 32.
    batch: images a step there.
  """

  methods: tuple[str, ...] = ('m3d', 'dance', 'dm')
  yardstick: str = ''
  rounds: int = 3
  iters: int = 5
  ipc: int = 10
  factor: int = 2
  batch_real: int = 128
  dtype: str = 'float32'
  networks: int = 5
  classes: int = 10
  width: int = 128
  learners: tuple[str, ...] = ('ncm', 'nc_fscil')
  draws: int = 10
  dim: int = 64
  session_steps: int = 100
  images: bool = False
  distillations: tuple[str, ...] = ('alone', 'kd', 'fitnet', 'sp', 'rkd', 'crd')
  teacher: int = 20
  student: int = 8
  low: int = 16
  batch: int = 64


def check(parts: Sequence[str], settings: Settings) -> None:
  """Raises `UserError` for a part that does not exist, and for settings that one of the parts
  refuses.

  >>> check(['condens'], Settings())
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no part of the benchmark 'condens'; did you mean ...
  """
  for part in parts:
    if part not in PARTS:
      raise unknown('part of the benchmark', part, PARTS)
  for name in dict.fromkeys(PARTS[part] for part in parts):
    module = importlib.import_module(f'jaxdistill.benchmarks.{name}')
    if hasattr(module, 'check'):
      module.check(settings)


def measure(part: str, settings: Settings, tell: Callable[[str], None]) -> Any:
  """Returns the figures of one part, as its own function describes them."""
  module = importlib.import_module(f'jaxdistill.benchmarks.{PARTS[part]}')
  return module.PARTS[part](settings, tell)
