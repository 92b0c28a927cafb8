"""Seconds of a step of learning from a crowd: two CrowdLayers, and CCC's pair that correct each
other."""

from typing import Any

import numpy as np

from jaxdistill import config as configs
from jaxdistill.benchmarks import Settings, timing
from jaxdistill.benchmarks.timing import Timed
from jaxdistill.data import Vectors
from jaxdistill.label_noise import flow, methods, sections, simulation
from jaxdistill.label_noise import work as works
from jaxdistill.label_noise.making import Observed
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.numerics import settled

METHODS = ('crowd_layer', 'ccc')
# CIFAR-10N's annotators and labels an image, and features of its images.
_ANNOTATORS, _LABELS, _FEATURES, _CLASSES = 747, 3, 256, 10
_BATCHES = 20


@settled()
def crowds(chosen: Settings, tell: Any) -> dict[str, Any]:
  """Seconds of a step of two CrowdLayers side by side and of CCC's two members behind their
  warm-up, in turn: one hidden layer of 256 on 256 features, 747 annotators who give 3 labels an
  example.

  Returns:
    {method: {seconds: median of each round, ratio: how many times as long as CrowdLayer's, of
    medians}}.
  """
  timed = {name: Timed(_problem(name, chosen)) for name in METHODS}
  return timing.in_turn(timed, chosen.rounds, chosen.iters, tell)


def _problem(name, chosen):
  """The training of a method, as its config says, from the first refresh on."""
  config = configs.load(f'label_noise/{name}:vectors:made.npz,crowd=ind,val=0')
  # CCC's answer has two members.
  config.learning.update(seeds=2 if name == 'crowd_layer' else 1, batch=chosen.batch)
  if name == 'ccc':
    config.method.warmup = 0
  random = np.random.default_rng(0)
  labels = np.arange(_BATCHES * chosen.batch) % _CLASSES
  vectors = Vectors(random.normal(size=(len(labels), _FEATURES)), labels)
  crowd = simulation.simulate(labels, [('expert', _ANNOTATORS)], _LABELS).crowd
  fields = sections.of_config(config)
  divided = works.divide(fields, vectors, Observed(Evidence(crowd)))
  work = works.assemble(fields, divided, vectors)
  method = methods.make(work.setting, work.fields.method)
  return flow.problem(work, method, 0, None)


PARTS = {'crowds': crowds}
