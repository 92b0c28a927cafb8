"""Seconds a session of the few-shot learners: one draw, several at once, beside another program.

Every figure is taken in a process of its own, so that another program, the yardstick, can be timed
in turn with it on the same machine. That process is this file as a command, on random features of
CIFAR-100's division: 60 classes, then sessions of 5 with 5 images each. A yardstick takes the same
flags, and its last line is JSON with `s_per_session`.

`through_images` is the same session without kept features: every step sends its images through the
frozen encoder, a ResNet-20.
"""

import argparse
import dataclasses
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import models, registry
from jaxdistill.benchmarks import Settings, process
from jaxdistill.data import augment
from jaxdistill.errors import UserError
from jaxdistill.fscil import learner as learners
from jaxdistill.fscil import methods
from jaxdistill.fscil.engine import Engine, Runs
from jaxdistill.fscil.session import Course, Examples, run_sessions
from jaxdistill.models import heads
from jaxdistill.numerics import settled
from jaxdistill.training.run import Run

_COMMAND = (sys.executable, '-m', 'jaxdistill.benchmarks.fscil')
_TEST = 20  # test images a class
_BASE, _WAY, _SHOT = 60, 5, 5
# The encoder of sessions through images, whose features have 64 numbers.
_ENCODER, _SIDE = {'name': 'resnet', 'depth': 20, 'shortcut': 'B'}, 32


def check(settings: Settings) -> None:
  """Raises `UserError` for a learner that does not exist or reads images, and for a yardstick that
  does not exist."""
  for name in settings.learners:
    if _make(name, _task(settings, 1), settings).reads != 'features':
      raise UserError(f'The part sessions has features alone, and {name} reads images.')
  process.check_program('--yardstick', settings.yardstick)


def sessions(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
  """Seconds a session of each learner with one draw, with `settings.draws` of them at once, through
  images where that is asked for, and of the yardstick with one, in turn.

  Returns:
    {learner: {one_s, all_s: medians by round; growth: how many times as long all take; with a
    yardstick also yardstick_s and ratio, how many times as fast as it one draw is; with
    `settings.images` images_s, through images, and cached, how many times as fast kept features
    are}}.
  """
  return {name: _of_learner(name, settings, tell) for name in settings.learners}


def _of_learner(name, settings, tell):
  commands = {
    'one_s': [*_COMMAND, *_flags(name, settings, 1)],
    'all_s': [*_COMMAND, *_flags(name, settings, settings.draws)],
  }
  if settings.yardstick:
    commands['yardstick_s'] = [*shlex.split(settings.yardstick), *_flags(name, settings, 1)]
  if settings.images:
    commands['images_s'] = [*_COMMAND, *_flags(name, settings, 1), '--images']
  result = {figure: [] for figure in commands}
  for number in range(1, settings.rounds + 1):
    for figure, command in commands.items():
      result[figure].append(process.figures(command)['s_per_session'])
    others = {'yardstick_s': 'yardstick', 'images_s': 'through images'}
    others = [f', {text} {result[key][-1]:.3f} s' for key, text in others.items() if key in result]
    beside = ''.join(others)
    tell(
      f'{name}, round {number}: {result["one_s"][-1]:.3f} s a session, {settings.draws} draws '
      f'{result["all_s"][-1]:.3f} s{beside}'
    )
  median = {figure: statistics.median(seconds) for figure, seconds in result.items()}
  result['growth'] = median['all_s'] / median['one_s']
  tell(f'{name}: {settings.draws} draws take {result["growth"]:.2f} times as long as one')
  if settings.yardstick:
    result['ratio'] = median['yardstick_s'] / median['one_s']
    tell(f'{name}: {result["ratio"]:.2f} times as fast as the yardstick')
  if settings.images:
    result['cached'] = median['images_s'] / median['one_s']
    tell(f'{name}: kept features are {result["cached"]:.1f} times as fast as images')
  return result


PARTS = {'sessions': sessions}


def _flags(name: str, settings: Settings, draws: int) -> list[Any]:
  """Returns the flags of a measurement, which a yardstick takes too."""
  return [
    *('--learner', name),
    *('--dim', settings.dim),
    *('--steps', settings.session_steps),
    *('--sessions', settings.iters),
    *('--draws', draws),
  ]


def _task(settings: Settings, sessions: int) -> learners.Task:
  return learners.Task(
    _BASE + sessions * _WAY, _BASE, _WAY, _SHOT, sessions, settings.dim, dtype=settings.dtype
  )


def _make(name: str, task: learners.Task, settings: Settings) -> learners.Learner:
  known = registry.fields(methods.find(name))
  given = {'steps': settings.session_steps} if 'steps' in known else {}
  return methods.make(task, {'name': name, **given})


def build(name: str, settings: Settings, draws: int) -> Course:
  """Returns the sessions of a learner on random features, ready to run."""
  count = settings.iters
  task, rng = _task(settings, count), np.random.default_rng(0)
  vectors = lambda *shape: np.maximum(rng.normal(size=(*shape, settings.dim)), 0).astype('f')
  labels = np.repeat(np.arange(_BASE, task.num_classes).reshape(count, _WAY), _SHOT, axis=1)
  test = np.repeat(np.arange(task.num_classes), _TEST)
  seen = Examples(
    vectors(1, draws, count, _WAY * _SHOT),
    np.repeat(labels[None], draws, 0),
    vectors(1, len(test)),
    test,
    vectors(1, _BASE * _TEST),
    np.repeat(np.arange(_BASE), _TEST),
  )
  head = heads.HEADS.find(methods.head(name))(num_classes=task.num_classes)
  variables = head.init(jax.random.key(0), jnp.zeros((1, settings.dim)))
  means, counts = vectors(1, task.num_classes), np.full((1, task.num_classes), _TEST, np.int32)
  means[:, _BASE:], counts[:, _BASE:] = 0, 0
  start = learners.Start(jax.tree.map(lambda leaf: leaf[None], variables['params']), means, counts)
  engine = Engine(_make(name, task, settings), task, Runs(draws=draws))
  return Course(engine, seen, start, np.zeros(2, np.uint32))


def through_images(learner: learners.Learner, task: learners.Task) -> learners.Learner:
  """Returns a learner of features as one of images, that knows no kept features: its steps send the
  images of their batch through the encoder `task.network`, with random weights.

  Its memory is images too. `learner.rows` must make something of each row alone.
  """
  side = (1, *task.image_shape)
  variables = jax.jit(task.network.init)(jax.random.key(0), jnp.zeros(side))

  def encode(images):
    images = augment.normalise(images, task.mean, task.std)
    return task.network.apply(variables, images, train=False)[1]['embedding']

  def begin(key, state, arrivals, memory):
    return learner.begin(key, state, arrivals._replace(inputs=encode(arrivals.inputs)), memory)

  def loss(state, batch, arrivals, memory, key):
    seen = encode(batch.inputs)
    nothing = learners.Memory(seen[None, :0], batch.weight[None, :0])
    drawn = arrivals._replace(inputs=seen, labels=batch.labels, weight=batch.weight)
    return learner.loss(state, learner.rows(state, drawn, nothing), drawn, memory, key)

  return dataclasses.replace(
    learner,
    logits=lambda state, images: learner.logits(state, encode(images)),
    # Class means are compared as the encoder gives them: nobody projects them for such a learner.
    embed=lambda state, images: encode(images),
    begin=begin,
    rows=learners.replay,
    loss=loss,
    reads='images',
  )


def build_through_images(name: str, settings: Settings, draws: int) -> Course:
  """Returns the same sessions through images, with as much memory: an image a class."""
  network = models.build(_ENCODER, _BASE, (_SIDE, _SIDE, 3))
  settings = dataclasses.replace(settings, dim=64)
  course = build(name, settings, draws)
  engine, seen = course.engine, course.examples
  task = dataclasses.replace(engine.task, image_shape=(_SIDE, _SIDE, 3), network=network)
  learner, rng = through_images(engine.learner, task), np.random.default_rng(0)
  images = lambda *shape: rng.integers(0, 256, (*shape, _SIDE, _SIDE, 3), np.uint8)
  examples = dataclasses.replace(
    seen, shots=images(1, *seen.shots.shape[1:4]), test=images(1, len(seen.test_labels)), base=None
  )

  def remember(run, course, standing):
    del run
    places = (course.engine.size, task.num_classes, 1)
    kept = course.engine.put(images(*places))
    return learners.Memory(kept, course.arrived(standing.number, (1,)))

  return Course(Engine(learner, task, engine.runs), examples, course.base, course.key, remember)


@settled()
def measure(name: str, settings: Settings, draws: int) -> dict[str, Any]:
  """Measures a learner in this process.

  Returns:
    dict(s_per_session: the median training of a session, all draws together, without compiling;
    seconds: of each; whole_s: everything from the base session's end on, with compiling and the
    scores; draws).
  """
  started = time.perf_counter()
  with Run(progress=False) as run:
    make = build_through_images if settings.images else build
    seconds = run_sessions(run, make(name, settings, draws)).seconds.tolist()
  whole = time.perf_counter() - started
  median = statistics.median(seconds)
  return {'s_per_session': median, 'seconds': seconds, 'whole_s': whole, 'draws': draws}


def main(argv: Sequence[str] | None = None) -> None:
  """Measures one learner as the flags say and prints the figures as a line of JSON."""
  parser = argparse.ArgumentParser(description=main.__doc__)
  parser.add_argument('--learner', required=True)
  parser.add_argument('--dtype', default=Settings.dtype)
  parser.add_argument('--dim', type=int, default=Settings.dim)
  parser.add_argument('--steps', type=int, default=Settings.session_steps)
  parser.add_argument('--sessions', type=int, default=Settings.iters)
  parser.add_argument('--draws', type=int, default=1)
  parser.add_argument('--images', action='store_true')
  values = parser.parse_args(argv)
  settings = Settings(
    dtype=values.dtype,
    dim=values.dim,
    session_steps=values.steps,
    iters=values.sessions,
    images=values.images,
  )
  print(json.dumps(measure(values.learner, settings, values.draws)))


if __name__ == '__main__':
  main()
