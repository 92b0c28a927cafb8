"""How good a condensed set is: fresh networks trained on it and scored on real images, under a fixed, named recipe."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxdistill import errors, models
from jaxdistill.condensation.condensed import Condensed
from jaxdistill.data import Dataset
from jaxdistill.training import classifier
from jaxdistill.training.run import Run

# Protocols of the field. `idc`: Kim et al., ICML 2022, used by M3D and DANCE, whose public codes report the best of several
# test-set checks; `dm`: Zhao and Bilen, WACV 2023, who report the last epoch. Numbers are those of the public codes.
RECIPES = {
    'idc': classifier.Recipe('idc', batch=64, epochs=1000, drops=(2 / 3, 5 / 6), drop=0.2, cutmix=0.5, composition='idc',
                             strategy='color_crop_flip_scale_rotate'),
    'dm': classifier.Recipe('dm', batch=256, epochs=1000, drops=(1 / 2,), drop=0.1, clear_momentum=True, composition='dm',
                            strategy='color_crop_cutout_flip_scale_rotate'),
}


def find_recipe(name: str, *, flip: bool = True, epochs: int = 0) -> classifier.Recipe:
  """Returns an evaluation recipe.

  Args:
    name: 'idc' or 'dm'.
    flip: whether a mirrored image keeps its label; if not, flips leave the augmentation.
    epochs: passes over the set in place of the recipe's own; 0: the recipe's.

  Raises:
    UserError: for a name that does not exist.

  >>> find_recipe('dm', flip=False).strategy
  'color_crop_cutout_scale_rotate'
  """
  if name not in RECIPES:
    raise errors.unknown('evaluation recipe', name, RECIPES)
  chosen = RECIPES[name]
  strategy = chosen.strategy if flip else '_'.join(op for op in chosen.strategy.split('_') if op != 'flip')
  return dataclasses.replace(chosen, strategy=strategy, epochs=epochs or chosen.epochs)


def evaluate(condensed: Condensed | Dataset, test: Dataset, recipe: str = 'idc', seeds: int = 5, *, seed: int = 0,
             model: Mapping[str, Any] | None = None, epochs: int = 0, steps: int = 0, checks: int = 6,
             validation: Dataset | None = None, run: Run | None = None, name: str = 'evaluate', mesh: Mesh | None = None,
             dtype: str = 'float32') -> dict[str, Any]:
  """Trains `seeds` fresh networks together on a set and scores them on real images.

  Args:
    condensed: the set; a `Dataset` of real images works as well (baselines, whole set).
    test: real images to score on.
    recipe: 'idc' or 'dm', see `RECIPES`.
    seeds: number of networks, each with its own weights, order and augmentation.
    seed: of all of them.
    model: what `models.build` takes; None: ConvNet-3 of width 128 with instance norm.
    epochs: passes over the decoded set; 0: the recipe's.
    steps: training steps; 0: from the epochs.
    checks: how often the networks are scored during training.
    validation: held-out real images by which a check is chosen for the column 'selected'; None: no such column.
    run: keeps metrics and checkpoints; None: in memory.
    name: of the phase in the run.
    mesh: devices over which the networks are spread.
    dtype: of the networks' computation.

  Returns:
    dict with 'last', 'best' and, with validation images, 'selected': each dict(mean, std, n, values), accuracies in [0, 1];
    'best' takes for every network the best of all checks on the test set, as some papers do; 'training_images', 'steps' and
    'seconds'.

  Raises:
    UserError: for an unknown recipe, a number below its least value, or a set that does not fit the test images.

  Source: recipes of the papers' public codes (see `RECIPES`); the last value as headline and 'selected' are our choice.

  >>> import jaxdistill
  >>> train, test = jaxdistill.data.load('digits', image_size=8)
  >>> few = train.take(range(20))
  >>> small = {'name': 'convnet', 'width': 4, 'depth': 1}
  >>> scores = evaluate(few, test.take(range(50)), seeds=2, steps=2, checks=1, model=small)
  >>> scores['last']['n'], len(scores['last']['values'])
  (2, 2)
  """
  if seeds < 1 or checks < 1 or epochs < 0 or steps < 0:
    raise errors.UserError('An evaluation needs seeds >= 1, checks >= 1, epochs >= 0 and steps >= 0; '
                           f'got {seeds}, {checks}, {epochs} and {steps}.')
  images, labels = condensed.decode() if isinstance(condensed, Condensed) else (condensed.images, condensed.labels)
  if images.shape[1:] != test.image_shape:
    raise errors.UserError(f'The set has images of {_shape(images.shape[1:])} and the test set of {_shape(test.image_shape)}; '
                           'they must be alike.')
  if condensed.num_classes != test.num_classes:
    raise errors.UserError(f'The set knows {condensed.num_classes} classes and the test set {test.num_classes}; '
                           'they must be the same ones.')
  chosen = find_recipe(recipe, flip=condensed.flip, epochs=epochs)
  network = models.build(dict(model or models.DEFAULT, dtype=dtype), test.num_classes, test.image_shape)
  scores = classifier.train(
      run or Run(progress=False), name, network, images, labels, chosen, num_classes=test.num_classes, mean=condensed.mean,
      std=condensed.std, test=test, validation=validation, networks=seeds, seed=seed, num_steps=steps, checks=checks, mesh=mesh)
  return {**{column: spread(values) for column, values in scores.columns.items()}, 'training_images': len(images),
          'steps': scores.steps, 'seconds': scores.seconds}


def spread(values: np.ndarray) -> dict[str, Any]:
  """Returns dict(mean, std, n, values) of a list of numbers; std is that of the sample (n - 1), 0 for a single number.

  >>> spread(np.array([0.5, 0.7]))['mean']
  0.6
  """
  values = np.asarray(values, np.float64)
  std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
  return {'mean': round(float(values.mean()), 6), 'std': round(std, 6), 'n': len(values), 'values': values.tolist()}


def _shape(shape) -> str:
  return 'x'.join(map(str, shape))

