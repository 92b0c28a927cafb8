"""DDM, the dataset distillation module of CD² (Bao, IJCAI 2025, arXiv 2601.08519): a few synthetic
images a class whose mean response under the frozen model is that of the class.

For each class c of a session, by gradient descent on the pixels alone from real images of c,

    L_DDM(c) = || mean_m φ(x_m) - mean_i φ(x_i) ||²

with x_m the synthetic and x_i the real images, and φ what the model gives: its logits, its
projection, the encoder's embedding, or all of these one behind another. It is the engine of
`synthesis` with one network throughout, the encoder followed by the learner as the session left it.
The real images' responses are computed once. All runs of a base network share its encoder and go
side by side.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors, losses
from jaxdistill.data import augment
from jaxdistill.data.stored import to_uint8
from jaxdistill.fscil import memory
from jaxdistill.fscil.features import of_seed
from jaxdistill.fscil.learner import Learner, Task
from jaxdistill.fscil.memory import Images, Pictures
from jaxdistill.fscil.session import Course, Standing
from jaxdistill.synthesis import decode, engine, several
from jaxdistill.training import loop, parallel, problem
from jaxdistill.training.features import embedding

Feature = Literal['logits', 'projected', 'embedding', 'concat']
PLUGS = engine.Plugs(engine.constant_network, losses.mean_discrepancy)


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """The frozen model of a run as a network of the engine: an encoder in eval mode, then a learner.

  Its variables are {'shared': those of the base network, 'own': {'state': the learner's, 'seen':
  bool [C]}}.

  Attributes:
    learner: what answers.
    task: its static facts; of the base network, learners that read features use the embedding.
  """

  learner: Learner
  task: Task

  def apply(self, variables: Any, images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns (logits, features) of normalised images."""
    task = self.task
    if self.learner.reads == 'images':
      return self.answer(variables['own'], augment.denormalise(images, task.mean, task.std))
    inputs = embedding(task.network, variables['shared'], images, task.view)
    return self.answer(variables['own'], inputs)

  def answer(self, own: Any, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the same of what the learner reads. Classes to come have the logit 0."""
    logits = jnp.where(own['seen'], self.learner.logits(own['state'], inputs), 0.0)
    features = {'projected': self.learner.embed(own['state'], inputs)}
    if self.learner.reads == 'features':
      features['embedding'] = inputs
    features['concat'] = jnp.concatenate([logits, *features.values()], axis=-1)
    return logits, features


class Real(NamedTuple):
  """The real images of k classes for r runs.

  images: uint8 [r, k, n, h, w, c]. inputs: [r, k, n, ...], what the learner reads of them. counts:
  int [r, k], valid ones. numbers: int [r, k], on which the draws of each class depend.
  """

  images: np.ndarray
  inputs: np.ndarray
  counts: np.ndarray
  numbers: np.ndarray


@dataclasses.dataclass(eq=False)
class Distilled(Images):
  """The policy 'cd2', see `policy`, which documents the fields."""

  iterations: int = 1000
  learning_rate: float = 0.2
  momentum: float = 0.5
  feature: str = 'logits'
  real_images: int = 0
  clip: str = 'always'

  def __post_init__(self):
    super().__post_init__()
    errors.whole_numbers(iterations=self.iterations, real_images=self.real_images)
    errors.real_numbers(learning_rate=self.learning_rate, momentum=self.momentum)
    if self.learning_rate <= 0 or not 0 <= self.momentum < 1:
      raise errors.UserError(
        'The images of the memory cd2 need a learning_rate above 0 and a momentum from 0 to below '
        f'1; got {self.learning_rate} and {self.momentum}.'
      )

  def choose(self, run, course, standing):
    runs, mean, std = course.engine.runs, self.pictures.base.mean, self.pictures.base.std
    stored = []
    for seed in range(runs.seeds):
      ready = self.setup(course, standing, seed)
      state = loop.fit(run, _phase(course, standing.number, seed), ready)
      learned = np.asarray(parallel.gather(state.images))[: ready.rows]
      images = to_uint8(np.asarray(augment.denormalise(learned, mean, std)))
      if not standing.number:
        images = np.repeat(images[None], len(runs) // runs.seeds, 0)
      stored.append(images)
    stored = np.concatenate(stored)
    return stored, self.read(course, stored)

  def phases(self, course: Course) -> list[str]:
    seeds, names = range(course.engine.runs.seeds), []
    for number in range(course.engine.task.sessions + 1):
      names += [_phase(course, number, seed) for seed in seeds]
    return names

  def setup(self, course: Course, standing: Standing, seed: int) -> problem.Problem:
    """Returns the distillation behind a session for all runs of one base network, ready for the
    loop.

    The base classes, of which these runs have the same images, are distilled once, under the state
    of the first of them; there the classes are spread over the devices, later the runs.
    """
    engine_of_runs, base, number = course.engine, self.pictures.base, standing.number
    rows = np.flatnonzero(engine_of_runs.runs.seed == seed)
    rows = rows if number else rows[:1]
    real = self._real(course, number, rows)
    own = self._models(course, standing, rows)
    learner = engine_of_runs.learner
    shared = () if learner.reads == 'images' else of_seed(self.pictures.variables, seed)
    model = Model(learner, engine_of_runs.task)
    responses, counts = self._responses(model, own, real)
    options = dict(mean=base.mean, std=base.std, mesh=engine_of_runs.runs.mesh)
    key = memory.key_of(course, number, seed)
    canvases = self._first(key, real, base)
    settings = self._settings(responses)
    parts = (PLUGS, settings, model)
    if number:
      return several.setup(
        *parts, responses, counts, canvases, shared=shared, own=own, numbers=real.numbers,
        iterations=self.iterations, key=jax.random.key_data(key), **options,
      )  # fmt: skip
    functions = engine.make(
      *parts, num_classes=canvases.shape[1], smallest=int(counts.min()), **options
    )
    state = engine.start(functions, jax.random.key_data(key), canvases[0], options['mesh'])
    pool = {'shared': shared, 'own': jax.tree.map(lambda leaf: leaf[0], own)}
    source = engine.source(
      functions, state, self.iterations, responses[0], counts[0], options['mesh'], pool
    )
    return problem.Problem(functions.step, state, source, self.iterations, rows=canvases.shape[1])

  def _settings(self, responses):
    return engine.Settings(
      ipc=self.ipc,
      batch_real=min(self.real_images or 1, responses.shape[2]),
      batch_syn_max=self.ipc,
      learning_rate=self.learning_rate,
      momentum=self.momentum,
      order='joint',
      space='normalised',
      augmentation='',
      feature=self.feature,
      clamped=self.clip == 'always',
      real='features',
    )

  def _real(self, course, number, rows):
    """The images of the columns that arrived, for the runs `rows`."""
    pictures, runs, task = self.pictures, course.engine.runs, course.engine.task
    first, end = task.arriving(number)
    parts = []
    for row in rows:
      seed, draw = int(runs.seed[row]), int(runs.draw[row])
      if number:
        images, vectors = pictures.shots[draw, number - 1], pictures.shot_vectors[seed, draw]
        vectors, labels = vectors[number - 1], course.examples.shot_labels[draw, number - 1] - first
      else:
        images, vectors, labels = pictures.base.images, pictures.vectors[seed], pictures.base.labels
      positions, counts = memory.by_class(np.asarray(labels), end - first)
      images = np.asarray(images[positions])
      inputs = images if course.engine.learner.reads == 'images' else vectors[positions]
      numbers = draw * task.num_classes + np.arange(first, end)
      parts.append(Real(images, inputs, counts, numbers))
    return Real(*map(np.stack, zip(*parts)))

  def _models(self, course, standing, rows):
    """The learners of the runs `rows` as they stand, {'state', 'seen'}, leaves [r, ...]."""
    task = course.engine.task
    seen = np.arange(task.num_classes) < task.arriving(standing.number)[1]
    state = parallel.on_host(standing.parts, rows)
    return {'state': state, 'seen': np.tile(seen, (len(rows), 1))}

  def _responses(self, model, own, real):
    """What the models give for the real images: float32 [r, k, n, e] and counts [r, k], or, where
    all count in every iteration, their means [r, k, 1, e]."""
    flat = real.inputs.reshape(len(real.inputs), -1, *real.inputs.shape[3:])

    @jax.jit
    @jax.vmap
    def answer(own, inputs):
      return engine.pick_feature(*model.answer(own, inputs), self.feature)

    responses = np.asarray(answer(own, flat)).reshape(*real.inputs.shape[:3], -1)
    if self.real_images:
      return responses, real.counts
    valid = np.arange(responses.shape[2]) < real.counts[..., None]
    means = responses.mean(2, keepdims=True, where=valid[..., None])
    return means.astype(np.float32), np.ones_like(real.counts)

  def _first(self, key, real, base):
    """The canvases [r, k, ipc, h, w, c] that the distillation starts from, real images."""
    flat = lambda array: array.reshape(-1, *array.shape[2:])
    canvases = decode.first_canvases(
      key,
      flat(real.images),
      flat(real.counts),
      ipc=self.ipc,
      factor=1,
      init='real',
      mean=base.mean,
      std=base.std,
      numbers=flat(real.numbers),
    )
    return np.asarray(canvases).reshape(*real.counts.shape, *canvases.shape[1:])


def _phase(course, number, seed):
  name = f'{course.name}memory-{number}'
  return f'{name}-network-{seed}' if course.engine.runs.seeds > 1 else name


def policy(
  pictures: Pictures,
  *,
  ipc: int = 2,
  iterations: int = 1000,
  learning_rate: float = 0.2,
  momentum: float = 0.5,
  ddm_feature: Feature = 'logits',
  real_images: int = 0,
  clip: Literal['always', 'end'] = 'always',
) -> Distilled:
  """Returns the policy 'cd2'.

  Args:
    pictures: the training images.
    ipc: K, synthetic images a class.
    iterations: steps on the pixels.
    learning_rate, momentum: of SGD on normalised pixels.
    ddm_feature: φ: the learner's 'logits' of the classes seen, its projection ('projected', what
      its nearest-mean classifier compares), the encoder's 'embedding', or 'concat', all three.
    real_images: of a class, drawn anew in every iteration; 0: all of them.
    clip: pixels come to the valid range in every iteration ('always'), or at the 'end' alone, by
      which images with much black or white lose most of what was learned.

  Source: real images at the start, K, iterations, learning rate and the squared distance are the
    paper's, which also samples real images to save time. Our choices: logits, momentum (of DM's
    code), all real images, as their responses are there, the range in every iteration, and 8 bits
    at the end.
  """
  return Distilled(
    pictures, ipc, iterations, learning_rate, momentum, ddm_feature, real_images, clip
  )
