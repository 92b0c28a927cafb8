"""Named protocols by which sets are scored, fixed as the papers' public codes have them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdistill import errors
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.schedules import Schedule

# Protocols of the field, with the numbers of the public codes. `idc`: Kim et al., ICML 2022, used
# by M3D and DANCE, whose codes report the best of several test-set checks; `dm`: Zhao and Bilen,
# WACV 2023, who report the last epoch; `ddranking`: the hard-label protocol of DD-Ranking (Li et
# al., arXiv 2505.13300), which reports the best check and searches the learning rate.
RECIPES = {
  'idc': Recipe(
    'idc',
    batch=64,
    epochs=1000,
    schedule=Schedule('multistep', 0.01, drops=(2 / 3, 5 / 6), drop=0.2),
    cutmix=0.5,
    composition='idc',
    strategy='color_crop_flip_scale_rotate',
  ),
  'dm': Recipe(
    'dm',
    batch=256,
    epochs=1000,
    schedule=Schedule('multistep', 0.01, drops=(1 / 2,), drop=0.1),
    clear_momentum=True,
    composition='dm',
    strategy='color_crop_cutout_flip_scale_rotate',
  ),
  'ddranking': Recipe(
    'ddranking',
    batch=128,
    epochs=1000,
    schedule=Schedule('multistep', 0.01, drops=(1 / 2,), drop=0.1),
    composition='dm',
    strategy='color_crop_cutout_flip_scale_rotate',
  ),
}
# The learning rates that a recipe tries on every set but the real one.
SEARCHED = {'ddranking': (0.001, 0.005, 0.01, 0.05, 0.1)}
# By which images a searched learning rate is chosen. The public code takes the test set.
SEARCH_ON = ('validation', 'test')
# Recipes that train on one label an image, whatever the set brings.
HARD_LABELS = ('ddranking',)


def find_recipe(name: str, *, flip: bool = True, epochs: int = 0) -> Recipe:
  """Returns an evaluation recipe.

  Args:
    name: 'idc', 'dm' or 'ddranking'.
    flip: whether a mirrored image keeps its label; if not, flips leave the augmentation.
    epochs: passes over the set in place of the recipe's own; 0: the recipe's.

  Raises:
    UserError: for a name that does not exist.

  >>> find_recipe('dm', flip=False).strategy
  'color_crop_cutout_scale_rotate'
  """
  if name not in RECIPES:
    raise errors.unknown('evaluation recipe', name, RECIPES)
  chosen = RECIPES[name] if flip else RECIPES[name].unmirrored()
  return dataclasses.replace(chosen, epochs=epochs or chosen.epochs)


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How a set is scored: all that decides its scores beside the images.

  Attributes:
    recipe: 'idc', 'dm' or 'ddranking', see `RECIPES`.
    networks: fresh networks that are trained, each with its own weights, order and augmentation.
    seed: of all of them.
    model: what `models.build` takes; None: ConvNet-3 of width 128 with instance norm.
    dtype: of the networks' computation.
    epochs: passes over the decoded set; 0: the recipe's.
    steps: training steps; 0: from the epochs.
    checks: how often the networks are scored during training, evenly spread.
    search_on: the images by which a recipe that searches the learning rate chooses it, 'validation'
      or 'test'; '': no search.
    augment: False leaves out the recipe's augmentation and CutMix.

  Raises:
    UserError: for an unknown name, or a number below its least value.
  """

  recipe: str = 'idc'
  networks: int = 5
  seed: int = 0
  model: Mapping[str, Any] | None = None
  dtype: str = 'float32'
  epochs: int = 0
  steps: int = 0
  checks: int = 6
  search_on: str = 'validation'
  augment: bool = True

  def __post_init__(self):
    find_recipe(self.recipe)
    if self.checks < 1:
      raise errors.UserError(f'An evaluation needs checks >= 1; got {self.checks}.')
    if self.networks < 1 or self.epochs < 0 or self.steps < 0:
      raise errors.UserError(
        'An evaluation needs seeds >= 1, epochs >= 0 and steps >= 0; got '
        f'{self.networks}, {self.epochs} and {self.steps}.'
      )
    if self.search_on and self.search_on not in SEARCH_ON:
      raise errors.unknown('way to search the learning rate', self.search_on, SEARCH_ON)

  @property
  def rates(self) -> tuple[float, ...]:
    """The learning rates that are tried; () for the recipe's own."""
    return SEARCHED.get(self.recipe, ()) if self.search_on else ()

  def described(self) -> dict[str, Any]:
    """Returns the fields under the names by which scores are found again, see
    `scoring.identity`."""
    fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return {'seeds': fields.pop('networks'), **fields, 'model': self.model and dict(self.model)}
