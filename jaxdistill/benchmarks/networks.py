"""Many networks at once against as many times one, in every way that they can share a program; and
the forms of their convolution."""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill import models
from jaxdistill.benchmarks import Settings, timing
from jaxdistill.condensation import protocols
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.models import convolution
from jaxdistill.training import classifier, pretrained, together
from jaxdistill.training.problem import Problem
from jaxdistill.training.recipe import Recipe

_COUNTS = (1, 4)  # of networks that share a program
_INPUTS = ((64, 32, 3), (64, 16, 128), (64, 8, 128))  # images, side, channels
_STEPS_AN_ITERATION = 4  # of a training, which are shorter than those of a condensation


class Training(NamedTuple):
  """What one training took: the median `step`, and the `whole` of compiling and all steps, in
  seconds."""

  step: float
  whole: float


def evaluated(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
  """Training `networks` networks on a condensed set of CIFAR-10's shape at once, and one by one in
  calls of their own; see `compare`."""
  images = timing.random_images(settings.ipc * settings.factor**2)
  return compare(settings, images, protocols.find_recipe('idc'), tell)


def experts(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
  """The same for the experts of DANCE on a real set."""
  return compare(settings, timing.random_images(500), pretrained.RECIPE, tell)


def compare(
  settings: Settings, images: Dataset, recipe: Recipe, tell: Callable[[str], None]
) -> dict[str, Any]:
  """Returns medians over the rounds, and how many times as fast all at once are as one by one.

  `step_ratio` counts steps alone, `whole_ratio` compiling as well.
  """
  train = functools.partial(_train, settings, images, recipe)
  at_once, steps, wholes = [], [], []
  for number in range(settings.rounds):  # in turn, so that a drift of the machine meets both
    at_once.append(train(settings.networks, seed=number))
    one_by_one = [train(1, seed=seed) for seed in range(settings.networks)]
    steps += [training.step for training in one_by_one]
    wholes.append(sum(training.whole for training in one_by_one))
  step_together = statistics.median(training.step for training in at_once)
  whole_together = statistics.median(training.whole for training in at_once)
  step_alone, whole_alone = statistics.median(steps), statistics.median(wholes)
  result = {
    'networks': settings.networks,
    'way': together.choose_way('auto', settings.networks),
    'step_together_s': step_together,
    'step_alone_s': step_alone,
    'step_ratio': settings.networks * step_alone / step_together,
    'whole_together_s': whole_together,
    'whole_one_by_one_s': whole_alone,
    'whole_ratio': whole_alone / whole_together,
  }
  tell(
    f'a step of {settings.networks} networks {step_together:.3f} s, of one {step_alone:.3f} s: '
    f'{result["step_ratio"]:.2f} times as fast; '
    f'with compilation {result["whole_ratio"]:.2f} times'
  )
  return result


def _train(
  settings: Settings, images: Dataset, recipe: Recipe, networks: int, seed: int
) -> Training:
  started = time.perf_counter()
  problem = _problem(settings, images, recipe, networks=networks, seed=seed)
  _, seconds = timing.time_steps(problem, settings.iters * _STEPS_AN_ITERATION)
  return Training(statistics.median(seconds), time.perf_counter() - started)


def evaluation(settings: Settings, networks: int, way: str = 'auto') -> Problem:
  """Returns the training of networks on a condensed set of CIFAR-10's shape, ready for the loop."""
  images = timing.random_images(settings.ipc * settings.factor**2, settings.classes)
  return _problem(settings, images, protocols.find_recipe('idc'), networks=networks, way=way)


def _problem(settings: Settings, images: Dataset, recipe: Recipe, **options: Any) -> Problem:
  """Returns the training of a ConvNet on images, ready for the loop."""
  fields = {'name': 'convnet', 'width': settings.width, 'dtype': settings.dtype}
  model = models.build(fields, images.num_classes, images.image_shape)
  return classifier.setup(model, Examples.of(images), recipe, **options)


def ways(settings: Settings, tell: Callable[[str], None]) -> list[dict[str, Any]]:
  """Seconds of a training step for 1 and 4 networks, in every way that they can share a program."""
  images = timing.random_images(settings.ipc * settings.factor**2)
  rows = []
  for way in together.WAYS:
    for count in _COUNTS:
      recipe = protocols.find_recipe('idc')
      problem = _problem(settings, images, recipe, networks=count, way=way)
      built, seconds = timing.time_steps(problem, settings.iters)
      median = statistics.median(seconds)
      rows.append({'way': way, 'networks': count, 's_per_step': median, 'compile_s': built.seconds})
      tell(f'{way}, {count} networks: {median:.3f} s a step, compiled in {built.seconds:.1f} s')
  return rows


def convolutions(settings: Settings, tell: Callable[[str], None]) -> list[dict[str, Any]]:
  """Milliseconds of a convolution and its gradients in every form: alone, inside a compiled loop,
  under vmap over 4 kernels."""
  del settings
  rows = []
  for images, side, channels in _INPUTS:
    x = jax.random.normal(jax.random.key(0), (images, side, side, channels))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, channels, 128)) * 0.05
    for form in convolution.FORMS:
      row = {'input': f'{images}x{side}x{side}x{channels}', 'form': form}
      with convolution.using(form):
        for place, (function, arguments) in _placements(x, kernel).items():
          row[place] = 1e3 * timing.median_seconds(jax.jit(function), arguments)
      rows.append(row)
      times = (f'{place} {row[place]:.1f} ms' for place in list(row)[2:])
      tell(', '.join([row['input'], form, *times]))
  return rows


def _placements(x: jax.Array, kernel: jax.Array) -> dict[str, tuple[Callable, tuple]]:
  """Returns where a convolution may stand: {place: (function, arguments)}."""

  def gradient(x, kernel):
    loss = lambda x, kernel: jnp.square(convolution.convolve(x, kernel)).sum()
    return jax.grad(loss, argnums=(0, 1))(x, kernel)

  def loop(x, kernel):
    def body(carry, _):
      dx, dk = gradient(*carry)
      return (x + 1e-9 * dx, kernel + 1e-9 * dk), None

    return jax.lax.scan(body, (x, kernel), None, length=2)[0]

  kernels = jnp.stack([kernel] * 4)
  return {
    'forward': (convolution.convolve, (x, kernel)),
    'gradient': (gradient, (x, kernel)),
    'gradient in a loop, 2 steps': (loop, (x, kernel)),
    'gradient, vmap over 4': (jax.vmap(gradient, in_axes=(None, 0)), (x, kernels)),
  }


PARTS = {'evaluate': evaluated, 'experts': experts, 'convolution': convolutions, 'networks': ways}
