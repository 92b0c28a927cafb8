"""What every flow of this family does with a set: score it under the config's recipe, and tell
beforehand how long that takes."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxdistill import files, models
from jaxdistill.condensation import baselines, evaluation, protocols
from jaxdistill.condensation.baselines import Draws, Storage
from jaxdistill.condensation.protocols import Protocol
from jaxdistill.condensation.sections import Evaluation
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.experiment import estimates, kept
from jaxdistill.experiment.results import Row
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import classifier, pretrained, scorer, surroundings
from jaxdistill.training.run import Run


class Contestant(NamedTuple):
  """A set that is to be scored; `name` for files, `label` for people."""

  name: str
  label: str
  images: Condensed | Dataset | Draws


def protocol(
  section: Evaluation,
  images: Condensed | Dataset | Draws,
  *,
  seed: int,
  model: Mapping[str, Any],
  dtype: str,
  augment: bool = True,
  data: str = '',
) -> Protocol:
  """Returns how a set is scored where a config's section says how all are.

  The whole real set trains for `whole_epochs`, and no learning rate is searched for it, as in
  DD-Ranking's public code. A check every so many steps becomes at most that many checks of the
  training, evenly spread.

  Args:
    section: `evaluation` of the config.
    images: the set.
    seed, model, dtype, augment: see `protocols.Protocol`.
    data: name of the data set, for which a recipe may have an exception.
  """
  real = isinstance(images, Dataset)
  epochs = section.whole_epochs if real else section.epochs
  if not real and not epochs:
    network = model.get('name', models.DEFAULT['name'])
    epochs = evaluation.epochs_of(images, section.recipe, data=data, network=network)
  chosen = Protocol(
    section.recipe,
    section.networks,
    seed,
    model,
    dtype,
    epochs=epochs,
    steps=section.steps,
    search_on='' if real else section.search_on,
    augment=augment,
    whole=real,
  )
  if not section.every:
    return chosen
  recipe = protocols.find_recipe(section.recipe, epochs=chosen.epochs, whole=real)
  steps = section.steps or recipe.steps(_trained_on(images))
  return dataclasses.replace(chosen, checks=max(1, steps // section.every))


def row(
  run: Run,
  contestant: Contestant,
  protocol: Protocol,
  test: Dataset,
  validation: Dataset | None = None,
  *,
  mesh: Mesh | None = None,
  rows: str = '',
  phase: str = '',
) -> Row:
  """Scores one set; a finished row is read back, but one of an earlier version that trained by
  other rules.

  Args:
    run: keeps the row as results/PHASE.json.
    contestant: the set.
    protocol: how it is scored.
    test: images to score on.
    validation: held-out images to choose by, or None.
    mesh: devices over which the networks are spread.
    rows: folder in which runs share scores; '': none.
    phase: of the training; '': evaluate-NAME.

  Returns:
    What `evaluation.evaluate` gives, with images_per_class and factor, and the key under which runs
    share the scores.
  """
  images, phase = contestant.images, phase or f'evaluate-{contestant.name}'
  rules = evaluation.rules(images, test, protocol)

  def evaluated():
    return evaluation.score(
      images, test, protocol, validation=validation, run=run, name=phase, mesh=mesh
    )

  def compute():
    network = evaluation.network(protocol.model, test, protocol.dtype)
    options = protocol.described() | pretrained.code_fields(network)
    options |= {'rules': rules} if rules else {}
    key = identity(images, test, validation, options)
    scores = kept.once(run, rows, key, lambda: {'key': key, **evaluated()})
    return {
      'name': contestant.name,
      'label': contestant.label,
      'images_per_class': len(images.images) / test.num_classes,
      'factor': getattr(images, 'factor', 1),
      'reference': contestant.name == 'whole',
      **scores,
    }

  scored = Row.from_json(run.once(classifier.settle(run, phase, rules), compute))
  run.discard(phase)
  return scored


def phase(
  name: str,
  images: Condensed | Dataset | Draws,
  test: Dataset,
  protocol: Protocol,
  mesh: Mesh | None = None,
  times: int = 0,
) -> estimates.Phase:
  """Returns what `row` would do as a phase, before it is done; `times` as in `estimates.Phase`."""

  def score(state):
    few = test.take(range(min(len(test), scorer.MOST_SCORED)))
    scored = Examples.of(few).normalised_as(images)
    network = evaluation.network(protocol.model, test, protocol.dtype)
    scorer.Scorer(network, scored)(state.variables)

  training = evaluation.setup(images, test, protocol, mesh)
  return estimates.Phase(name, training, protocol.dtype, times, score)


def baseline_sets(
  names: Sequence[str],
  train: Dataset,
  storage: Storage,
  recipe: str,
  select: Callable[[str], np.ndarray],
  before: Condensed | None = None,
) -> Iterator[Contestant]:
  """Yields the set of every baseline.

  Args:
    names: of the baselines.
    train: the real images.
    storage: what a set stores of each class.
    recipe: of the evaluation that goes with the sets.
    select: from a baseline to the positions of the images that it takes, of several draws where it
      is drawn anew for each network, see `selector`.
    before: the canvases that a condensation started from, which are the baseline 'mix' where it
      starts from a mix.
  """
  for name in names:
    if name == 'whole':
      images = train
    elif baselines.is_mix(name) and storage.factor == 1 and baselines.selected_by(name) in names:
      continue  # without cells it is the row of the images at full size
    elif name == 'mix' and storage.init == 'mix' and before is not None:
      images = before
    else:
      images = _built(name, train, select(name), storage.factor, recipe)
    yield Contestant(name, baselines.LABELS[name], images)


def _built(name, train, picks, factor, recipe):
  """The set of a baseline, or one a network from positions [networks, classes, n]."""
  if picks.ndim == 2:
    return baselines.build(name, train, picks, factor=factor, recipe=recipe)
  sets = (baselines.build(name, train, drawn, factor=factor, recipe=recipe) for drawn in picks)
  return Draws(tuple(sets))


def selector(
  storage: Storage,
  section: Evaluation,
  seed: int,
  train: Dataset,
  run: Run,
  features: Callable[[], np.ndarray],
) -> Callable[[str], np.ndarray]:
  """Returns the function from a baseline to the images that it takes, int [classes, n] positions,
  which the run keeps in results/selection/NAME.json.

  Under a recipe that draws random images anew for each network (`protocols.DRAWN_ANEW`) those have
  a leading axis [networks], and are kept in NAME-draws.json.

  Args:
    storage: what a set stores of each class.
    section: `evaluation` of the config.
    seed: of the draws.
    train: the real images.
    run: keeps what is chosen.
    features: called at most once, and only if a baseline that compares features was not chosen
      before.
  """
  features = functools.cache(features)

  def choose(name, draw=0):
    return baselines.pick(
      name,
      train,
      ipc=storage.ipc,
      factor=storage.factor,
      seed=seed,
      features=features() if baselines.needs_features(name) else None,
      draw=draw,
    )

  def draws(name):
    return [choose(name, draw) for draw in range(section.networks)]

  def select(name):
    if section.recipe in protocols.DRAWN_ANEW and baselines.selected_by(name) == 'random':
      return np.asarray(run.once(f'selection/{name}-draws', lambda: draws(name)))
    return np.asarray(run.once(f'selection/{name}', lambda: choose(name)))

  return select


@contextlib.contextmanager
def stand_in(
  storage: Storage, section: Evaluation, seed: int, train: Dataset
) -> Iterator[Callable[[str], np.ndarray]]:
  """Gives a `selector` for estimates: what is picked makes no difference to the time, so features
  that cost nothing stand in."""
  with Run(progress=False) as memory:
    blank = np.zeros((len(train), 1), np.float32)
    yield selector(storage, section, seed, train, memory, lambda: blank)


def identity(
  images: Condensed | Dataset | Draws,
  test: Dataset,
  validation: Dataset | None,
  options: Mapping[str, Any],
) -> str:
  """Returns the hash of everything that decides the scores of a set.

  A random draw of real images, or the whole training set, scores the same beside every method: runs
  that name one folder for such rows (`run.rows` of the config) compute each of them once.

  Args:
    images: the set that is scored.
    test, validation: the real images that score it.
    options: the protocol, see `protocols.Protocol.described`, and `evaluation.rules` where there
      are any.

  >>> import jaxdistill
  >>> train, test = jaxdistill.data.load('digits', image_size=8)
  >>> identity(train, test, None, {'seed': 0}) == identity(train, test, None, {'seed': 1})
  False
  """
  pixels, labels = evaluation.trained_on(images)
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
      **surroundings.described(),
    },
  )


def _trained_on(images: Condensed | Dataset | Draws) -> int:
  """Returns the number of images that networks see of a set."""
  return len(images.images) * getattr(images, 'factor', 1) ** 2
