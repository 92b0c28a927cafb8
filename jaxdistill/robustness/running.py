"""An attack on any number of images: batches of one size, each program compiled once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.robustness import iteration, objectives, threat
from jaxdistill.robustness import network as networks
from jaxdistill.training import program
from jaxdistill.training.progress import Bar


def attacked(
  attacks: tuple[iteration.Attack, ...],
  network: networks.Traced,
  images: np.ndarray,
  labels: np.ndarray,
  keys: jax.Array,
  name: str = 'attack',
  progress: bool = False,
) -> np.ndarray:
  """Returns the images after attacks one after the other, each on those that the network still gets
  right; float32 [n, h, w, c].

  Args:
    attacks: at least one.
    network: to attack.
    images: float32 [n, h, w, c] in [0, 1].
    labels: int32 [n].
    keys: [n], from which each image's draws follow.
    name: of the bar.
    progress: whether to show one.
  """
  adversarial, left = images.copy(), np.arange(len(images))
  for number, attack in enumerate(attacks):
    if number:
      left = left[right(network, adversarial[left], labels[left])]
    title = name if len(attacks) == 1 else f'{name}, {number + 1} of {len(attacks)}'
    adversarial[left] = _one(
      attack, network, images[left], labels[left], threat.fold(keys[left], number), title, progress
    )
  return adversarial


def right(network: networks.Traced, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns which images the network gets right, bool [n]."""
  return ~np.asarray(objectives.wrong(networks.logits(network, images), labels))


def _one(attack, network, images, labels, keys, name, progress):
  """The images [n, h, w, c] after one attack."""
  batch = network.batch
  logits = networks.logits(network, images)
  phases = [_Steps(phase, network) for phase in attack.phases]
  length = sum(phase.steps for phase in attack.phases)
  adversarial = np.empty_like(images)
  starts = range(0, len(images), batch)
  bar = Bar(name, length * len(starts), enabled=progress)
  try:
    for number, first in enumerate(starts):
      rows = np.arange(first, min(first + batch, len(images)))
      place = networks.filled(rows, batch)
      state = attack.init(
        iteration.Batch(
          jnp.asarray(images[place]),
          jnp.asarray(labels[place]),
          jnp.asarray(logits[place]),
          keys[place],
          jnp.arange(batch) < len(rows),
        )
      )
      done = number * length
      for phase in phases:
        state = phase.run(state, bar, done)
        done += phase.steps
      adversarial[rows] = np.asarray(state.adversarial)[: len(rows)]
      bar.update((number + 1) * length)
  finally:
    bar.close()
  return adversarial


class _Steps:
  """The steps of a phase, compiled: one a call on a CPU, several elsewhere, see
  `program.steps_per_call`."""

  def __init__(self, phase: iteration.Phase, network: networks.Traced):
    self.steps = phase.steps
    self._network, self._phase = network, phase
    self._programs: dict[int, Any] = {}

  def _step(self, state, weights):
    state = self._phase.step(self._network.with_weights(weights), state)
    return state, {'open': jnp.sum(~state.fooled)}

  def run(self, state: iteration.Search, bar: Bar, done: int) -> iteration.Search:
    """Returns the state after the phase, which ends early where every image is fooled."""
    weights = self._network.weights
    sharding = program.common_sharding(state, weights)
    platform = next(iter(sharding.device_set)).platform
    per_call = program.steps_per_call(0, platform, self.steps)
    state = program.settle(state.replace(number=jnp.int32(0)), sharding)
    weights = program.placer(sharding)(weights)
    step = 0
    if bool(state.fooled.all()):
      return state
    while step < self.steps:
      length = program.call_length(step, per_call, self.steps)
      if length not in self._programs:
        self._programs[length] = program.build(self._step, None, state, weights, length)
      state, metrics = self._programs[length](state, weights)
      step += length
      bar.update(done + step)
      if not float(metrics.values[-1]):
        break
    return state
