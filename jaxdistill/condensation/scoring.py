"""What every flow of this family does with a set: score it under the config's recipe, and tell
beforehand how long that takes."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxdistill import files, models
from jaxdistill.condensation import baselines, evaluation
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.experiment import estimates, kept
from jaxdistill.experiment.results import Row
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import loop, scorer
from jaxdistill.training.run import Run, peak_memory_bytes

# How often a training is scored where the config does not say; DANCE's public code has six checks.
CHECKS = 6


def row(
  config: ConfigDict,
  run: Run,
  mesh,
  name: str,
  label: str,
  images: Condensed | Dataset,
  test: Dataset,
  validation: Dataset | None,
  *,
  seed: int | None = None,
  model: Mapping[str, Any] | None = None,
  phase: str = '',
  augment: bool = True,
) -> Row:
  """Scores one set under the config's recipe; a finished row is read back.

  Args:
    config: with the sections `evaluation` and, unless `model` is given, `model`.
    run: keeps the row as results/PHASE.json.
    mesh: devices over which the networks are spread.
    name, label: of the row, for files and for people.
    images: the set; real images train for `evaluation.whole_epochs`.
    test: images to score on.
    validation: held-out images to choose by, or None.
    seed: in place of the config's.
    model: in place of the config's network.
    phase: of the training; '': evaluate-NAME.
    augment: False trains without augmentation.

  Returns:
    What `evaluation.evaluate` gives, with images_per_class and factor, and the key under which runs
    with one folder `run.rows` share the scores.
  """
  section, phase = config.evaluation, phase or f'evaluate-{name}'
  options = dict(
    recipe=section.recipe,
    seeds=section.networks,
    seed=config.seed if seed is None else seed,
    model=_network(config, model),
    dtype=config.dtype,
    epochs=_epochs(config, images),
    steps=section.steps,
    checks=_checks(config, images),
    search_on=_search_on(config, images),
    augment=augment,
  )

  def evaluated():
    return evaluation.evaluate(
      images, test, **options, validation=validation, run=run, name=phase, mesh=mesh
    )

  def compute():
    key = identity(images, test, validation, options)
    scores = kept.once(run, config.run.rows, key, lambda: {'key': key, **evaluated()})
    stored = len(images) if isinstance(images, Dataset) else len(images.images)
    return {
      'name': name,
      'label': label,
      'images_per_class': stored / test.num_classes,
      'factor': getattr(images, 'factor', 1),
      'reference': name == 'whole',
      **scores,
    }

  scored = Row.from_json(run.once(phase, compute))
  run.discard(phase)
  return scored


def estimate(
  config: ConfigDict,
  images: Condensed | Dataset,
  test: Dataset,
  mesh,
  *,
  model: Mapping[str, Any] | None = None,
  augment: bool = True,
) -> loop.Estimate:
  """Measures a few steps of what `row` would do, and the memory of scoring."""
  section = config.evaluation
  training = evaluation.setup(
    images,
    test,
    section.recipe,
    section.networks,
    model=_network(config, model),
    dtype=config.dtype,
    epochs=_epochs(config, images),
    steps=section.steps,
    search_on=_search_on(config, images),
    augment=augment,
    mesh=mesh,
  )
  measured = estimates.measure(training, config.dtype)
  network = models.build(
    dict(_network(config, model), dtype=config.dtype), test.num_classes, test.image_shape
  )
  few = test.take(range(min(len(test), scorer.MOST_SCORED)))
  scorer.Scorer(network, Examples.of(few).normalised_as(images))(training.state.variables)
  return dataclasses.replace(measured, needed_bytes=peak_memory_bytes().bytes)


def baseline_sets(
  config: ConfigDict,
  train: Dataset,
  select: Callable[[str], np.ndarray],
  before: Condensed | None = None,
) -> Iterator[tuple[str, str, Condensed | Dataset]]:
  """Yields (name, label, set) for every baseline that a config asks for.

  Args:
    config: with the sections `condensation` (ipc, factor, init) and `evaluation`.
    train: the real images.
    select: from a baseline to the positions of the images that it takes, see `selector`.
    before: the canvases that a condensation started from, which are the baseline 'mix' where it
      starts from a mix.
  """
  section, wanted = config.condensation, config.evaluation.baselines
  for name in wanted:
    if name == 'whole':
      images = train
    elif baselines.is_mix(name) and section.factor == 1 and baselines.selected_by(name) in wanted:
      continue  # without cells it is the row of the images at full size
    elif name == 'mix' and section.init == 'mix' and before is not None:
      images = before
    else:
      images = baselines.build(
        name, train, select(name), factor=section.factor, recipe=config.evaluation.recipe
      )
    yield name, baselines.LABELS[name], images


def selector(
  config: ConfigDict, train: Dataset, run: Run, features: Callable[[], np.ndarray]
) -> Callable[[str], np.ndarray]:
  """Returns the function from a baseline to the images that it takes, which the run keeps in
  results/selection/NAME.json.

  `features` is called at most once, and only if a baseline that compares features was not chosen
  before.
  """
  features = functools.cache(features)
  section = config.condensation

  def choose(name):
    return baselines.pick(
      name,
      train,
      ipc=section.ipc,
      factor=section.factor,
      seed=config.seed,
      features=features() if baselines.needs_features(name) else None,
    )

  return lambda name: np.asarray(run.once(f'selection/{name}', lambda: choose(name)))


@contextlib.contextmanager
def stand_in(config: ConfigDict, train: Dataset) -> Iterator[Callable[[str], np.ndarray]]:
  """Gives a `selector` for estimates: what is picked makes no difference to the time, so features
  that cost nothing stand in."""
  with Run(progress=False) as memory:
    yield selector(config, train, memory, lambda: np.zeros((len(train), 1), np.float32))


def identity(
  images: Condensed | Dataset, test: Dataset, validation: Dataset | None, options: Mapping[str, Any]
) -> str:
  """Returns the hash of everything that decides the scores of a set.

  A random draw of real images, or the whole training set, scores the same beside every method: runs
  that name one folder for such rows (`config.run.rows`) compute each of them once.

  Args:
    images: the set that is scored.
    test, validation: the real images that score it.
    options: the other arguments of the evaluation.

  >>> import jaxdistill
  >>> train, test = jaxdistill.data.load('digits', image_size=8)
  >>> identity(train, test, None, {'seed': 0}) == identity(train, test, None, {'seed': 1})
  False
  """
  pixels, labels = (
    images.decode() if isinstance(images, Condensed) else (images.images, images.labels)
  )
  arrays = [pixels, labels, test.images, test.labels]
  if validation is not None:
    arrays += [validation.images, validation.labels]
  return files.content_hash(
    arrays,
    {
      'mean': images.mean,
      'std': images.std,
      'flip': evaluation.mirrored(images, test),
      'classes': test.num_classes,
      **options,
    },
  )


def _network(config: ConfigDict, model: Mapping[str, Any] | None) -> dict[str, Any]:
  return dict(config.model.to_dict() if model is None else model)


def _epochs(config: ConfigDict, images: Condensed | Dataset) -> int:
  return config.evaluation.whole_epochs if isinstance(images, Dataset) else config.evaluation.epochs


def _checks(config: ConfigDict, images: Condensed | Dataset) -> int:
  if not config.evaluation.every:
    return CHECKS
  count = len(images) if isinstance(images, Dataset) else len(images.images) * images.factor**2
  recipe = evaluation.find_recipe(config.evaluation.recipe, epochs=_epochs(config, images))
  return max(1, (config.evaluation.steps or recipe.steps(count)) // config.evaluation.every)


def _search_on(config: ConfigDict, images: Condensed | Dataset) -> str:
  """On what the learning rate is searched; not at all for real images, as in DD-Ranking's public
  code."""
  return '' if isinstance(images, Dataset) else config.evaluation.search_on
