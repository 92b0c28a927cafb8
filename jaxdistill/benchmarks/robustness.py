"""Seconds of a step of adversarial training: AT, and what perturbing the weights costs on top."""

from typing import Any

from jaxdistill import config as configs
from jaxdistill.benchmarks import Settings, timing
from jaxdistill.benchmarks.timing import Timed
from jaxdistill.experiment import arguments
from jaxdistill.numerics import settled
from jaxdistill.robustness import flow, methods, sections
from jaxdistill.robustness import work as works

METHODS = ('at', 'awp', 'rwp')
_ROWS = 4  # batches of images


@settled()
def robust(chosen: Settings, tell: Any) -> dict[str, Any]:
  """Seconds of a step of AT, AWP and RWP with their usual numbers of ascents, in turn, of one
  ConvNet on random images of CIFAR-10's shape.

  Returns:
    {method: {seconds: median of each round, ratio: how many times as long as AT's, of medians}}.
  """
  timed = {name: Timed(_problem(name, chosen)) for name in METHODS}
  return timing.in_turn(timed, chosen.rounds, chosen.iters, tell)


def _problem(name, chosen):
  """The training of a method, as its config says."""
  config = configs.load(f'robustness/{name}:cifar10,seeds=1')
  config.model = arguments.network('convnet', {'name': 'convnet', 'width': chosen.width})
  config.dtype = chosen.dtype
  config.robustness.update(batch=chosen.batch, steps=chosen.rounds * chosen.iters + 1)
  images = timing.random_images(max(1, _ROWS * chosen.batch // chosen.classes), chosen.classes)
  work = works.make(sections.of_config(config), images, None, images)
  return flow.problem(work, methods.make(work.setting, work.fields.method))


PARTS = {'robust': robust}
