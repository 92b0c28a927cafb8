"""How far condensed sets drift from the real one while a network trains: DANCE's Fig. 3a for any
sets.

A set that matches the real images under untrained networks need not match them under trained ones.
The networks here take no part in condensing: their weights are drawn from another seed than the
  experts', and they train on the real images alone.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill import errors
from jaxdistill.condensation import evaluation
from jaxdistill.data import Dataset
from jaxdistill.experiment import arguments
from jaxdistill.numerics import settled
from jaxdistill.report import curves
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.synthesis.fit import check_fit
from jaxdistill.training import loop, pretrained, provenance
from jaxdistill.training.features import embedder
from jaxdistill.training.run import Run

_BATCH = 500


class Drift(NamedTuple):
  """What `along_training` measures at T moments, averaged over classes and networks.

  Attributes:
    steps: [T], training steps done, from 0.
    distance: by name of the set [T], squared distance between the mean features of its images and
      of the real ones.
    spread: [T], mean squared distance of a real image's features from the mean of its class, the
      scale of `distance`.
  """

  steps: np.ndarray
  distance: dict[str, np.ndarray]
  spread: np.ndarray

  def relative(self) -> dict[str, np.ndarray]:
    """Returns distance / spread: n random images a class would give about 1/n at every step,
    whatever the features' scale."""
    return {name: values / self.spread for name, values in self.distance.items()}


@settled()
def along_training(
  sets: Mapping[str, Condensed],
  train: Dataset,
  networks: int = 4,
  *,
  epochs: int = 10,
  steps: int = 0,
  checks: int = 5,
  per_class: int = 500,
  seed: int = 1234,
  model: str | Mapping[str, Any] | None = None,
  run: Run | None = None,
) -> Drift:
  """Measures the mean discrepancy of sets along the training of networks on the real images.

    distance = || mean f(synthetic images of a class) - mean f(its real images) ||^2, summed over
    features,

  without augmentation, where f is the embedding of a network that trains on `train` with the
  experts' recipe.

  Args:
    sets: condensed sets by name.
    train: the real training images.
    networks: trained together; distances are averaged over them.
    epochs: passes over `train`.
    steps: training steps; 0: from the epochs.
    checks: measurements after the one before the first step, at most so many, evenly spread, the
      last at the end.
    per_class: the first so many real images of a class are compared with.
    seed: of weights, order and augmentation; not that of a set's own experts.
    model: what `models.build` takes, a name or fields; None: ConvNet-3 of width 128.
    run: keeps metrics and checkpoints under the phase 'drift'; None: in memory.

  Returns:
    Drift.

  Raises:
    UserError: for no sets, sets that do not fit `train`, a set or `train` without an image of some
      class, numbers below 1, or an unknown network.

  Source: Fig. 3a of DANCE (Zhang et al., IJCAI 2024) shows such curves; whether its distance is
  squared is not stated, and the spread to compare with is our choice: over a short training the
  features of all images grow or shrink several-fold together.

  >>> import jaxdistill
  >>> train, _ = jaxdistill.data.load('digits', image_size=8)
  >>> same = Condensed(train.images / np.float32(255), train.labels, train.class_names,
  ...   train.mean, train.std)
  >>> drift = along_training({'all': same}, train, 1, steps=2, checks=2, model={'name': 'mlp',
  ...   'width': 4})
  >>> drift.steps.tolist(), bool(drift.distance['all'].max() < 1e-6)
  ([0, 1, 2], True)
  """
  _check(sets, train, run, networks=networks, epochs=epochs, checks=checks, per_class=per_class)
  model = {} if model is None else arguments.fields_of(model)
  network = evaluation.network(model, train)
  wanted = pretrained.Wanted(networks, epochs=epochs, steps=steps)
  problem = pretrained.setup(network, train, wanted, seed=seed)
  real = train.take(
    np.concatenate([train.of_class(label)[:per_class] for label in range(train.num_classes)])
  )
  decoded = {
    name: dataclasses.replace(one, labels=one.hard_labels).decode() for name, one in sets.items()
  }
  embed = jax.jit(embedder(network, train.mean, train.std))

  def features(variables, images):
    return np.concatenate(
      [embed(variables, images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)]
    )

  def one_network(variables):
    of_real = features(variables, real.images)
    means = class_means(of_real, real.labels, train.num_classes)
    gaps = [of_real - means[real.labels]]
    gaps += [
      class_means(features(variables, images), labels, train.num_classes) - means
      for images, labels in decoded.values()
    ]
    return [np.square(gap).sum(1).mean() for gap in gaps]

  def measure(state):
    by_network = [
      one_network(jax.tree.map(lambda a, k=k: a[k], state.variables)) for k in range(networks)
    ]
    means = np.mean(by_network, 0).tolist()
    return dict(zip(('spread', *map(_column, sets)), means, strict=True))

  run = run or Run(progress=False)
  if run.place is not None:
    facts = {name: evaluation.fact(one) for name, one in {**sets, 'training': train}.items()}
    provenance.settle(run, {'phase drift': facts})
    settings = dict(networks=networks, epochs=epochs, steps=steps, checks=checks, seed=seed)
    settings |= {'per_class': per_class, 'model': model, **pretrained.code_fields(network)}
    provenance.begin(run, 'drift', settings)
  first = measure(problem.state)  # before the loop takes the state over
  every = math.ceil(problem.num_steps / checks)
  loop.fit(run, 'drift', problem, evaluate=loop.Evaluation(measure, every))
  rows = [{'step': 0} | first, *run.history('drift')]
  values = lambda column: np.asarray([row[column] for row in rows])
  return Drift(values('step'), {name: values(_column(name)) for name in sets}, values('spread'))


def chart(drift: Drift, *, relative: bool = True) -> str:
  """Draws the curves of all sets as one <svg> element for a page or a notebook: distances in units
  of the spread, or as they are.

  >>> chart(Drift(np.array([0, 10]), {'dm': np.array([.5, 2.])}, np.array([1.,
  ...   2.]))).startswith('<svg')
  True
  """
  lines = drift.relative() if relative else drift.distance
  return curves.svg(
    [(name, drift.steps, values) for name, values in lines.items()],
    title='Distance to the real images',
    x_title='training steps of a network that took no part',
    y_title='squared distance of the class means' + (' / spread of a class' if relative else ''),
  )


def class_means(features: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Returns the mean of each class' rows [classes, d]; every class needs one.

  >>> class_means(np.array([[1.], [3.], [5.]]), np.array([0, 0, 1]), 2).tolist()
  [[2.0], [5.0]]
  """
  return np.stack([features[labels == label].mean(0) for label in range(num_classes)])


def _column(name):
  return f'distance/{name}'


def _check(sets, train, run, **numbers):
  evaluation.check_run(run)
  named = isinstance(sets, Mapping) and all(isinstance(one, Condensed) for one in sets.values())
  if not named or not isinstance(train, Dataset):
    raise errors.UserError(
      "The sets are condensed ones by name, such as {'m3d': Condensed.load(PATH)}, and the "
      f'training images a Dataset; got {errors.brief(repr(sets))} and {type(train).__name__}.'
    )
  if not sets:
    raise errors.UserError("Give at least one condensed set, such as {'m3d': condensed}.")
  errors.whole_numbers(**numbers)
  for name, value in numbers.items():
    if value < 1:
      raise errors.UserError(f'{name} needs to be at least 1; got {value}.')
  _check_classes('The training set', train.labels, train.class_names)
  for name, one in sets.items():
    check_fit(one, train, f'The set {name!r}', 'training')
    _check_classes(f'The set {name!r}', one.hard_labels, train.class_names)


def _check_classes(what, labels, names):
  missing = np.setdiff1d(np.arange(len(names)), labels)
  if len(missing):
    raise errors.UserError(
      f'{what} has no image of class {names[missing[0]]!r}; every class needs one.'
    )
