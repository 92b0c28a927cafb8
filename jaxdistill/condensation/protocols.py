"""Named protocols by which sets are scored, fixed as the papers' public codes have them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdistill import errors
from jaxdistill.data import crops, mixing, photometric, presets, subsets
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.schedules import Schedule

_IDC = Recipe(
  'idc',
  batch=64,
  epochs=1000,
  schedule=Schedule('multistep', 0.01, drops=(2 / 3, 5 / 6), drop=0.2),
  drop_at_epochs=True,
  cutmix=0.5,
  composition='idc',
  strategy='color_crop_flip_scale_rotate',
)
# ImageNet's images are augmented in [0, 1] and none of a batch escapes CutMix.
_IDC_IMAGENET = dataclasses.replace(
  _IDC,
  name='idc_imagenet',
  cutmix=0.0,
  strategy='',
  transforms=(
    crops.ResizedCrop(0, scale=(0.5, 1.0)),
    crops.Flip(),
    photometric.UnclippedJitter(brightness=0.4, contrast=0.4, saturation=0.4),
    photometric.Lighting(0.1),
  ),
  mixing=mixing.CutMix(),
)
# Protocols of the field, with the numbers of the public codes. `idc`: Kim et al., ICML 2022, used
# by M3D and DANCE, whose codes report the best of several test-set checks, with the exceptions that
# IDC's code makes (see `of_set`); `dm`: Zhao and Bilen, WACV 2023, who report the last epoch;
# `ddranking`: the hard-label protocol of DD-Ranking (Li et al., arXiv 2505.13300), which reports
# the best check and searches the learning rate.
RECIPES = {
  'idc': _IDC,
  'idc_svhn': dataclasses.replace(
    _IDC, name='idc_svhn', cutmix=0.0, strategy='color_crop_cutout_flip_scale_rotate'
  ),
  'idc_mnist': dataclasses.replace(_IDC, name='idc_mnist', cutmix=0.0),
  'idc_imagenet': _IDC_IMAGENET,
  'idc_imagenet100': dataclasses.replace(
    _IDC_IMAGENET,
    name='idc_imagenet100',
    batch=128,
    schedule=dataclasses.replace(_IDC.schedule, learning_rate=0.1),
    optimizer=dataclasses.replace(_IDC.optimizer, weight_decay=1e-4),
  ),
  # Its code counts the epochs from 0 to E inclusive, and lowers the rate behind number E // 2 + 1.
  'dm': Recipe(
    'dm',
    batch=256,
    epochs=1000,
    extra_epochs=1,
    schedule=Schedule('multistep', 0.01, drops=(1 / 2,), drop=0.1),
    drop_at_epochs=True,
    drop_delay=2,
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
# What a recipe changes where the whole real set is trained.
WHOLE = {'ddranking': dict(batch=256, strategy='')}
# Epochs between two checks, where a recipe says so.
CHECKED_EVERY = {'ddranking': 10}
# Recipes that draw random real images anew for each network.
DRAWN_ANEW = ('ddranking',)
# The learning rates that a recipe tries on every set but the real one.
SEARCHED = {'ddranking': (0.001, 0.005, 0.01, 0.05, 0.1)}
# By which images a searched learning rate is chosen. The public code takes the test set.
SEARCH_ON = ('validation', 'test')
# Recipes that train on one label an image, whatever the set brings.
HARD_LABELS = ('ddranking',)
# Checks of a training where the code that a recipe is from has none between, or another rule.
_CHECKS = 6
_EPOCHS_OF_DANCE = 1500


def of_set(data: str, ipc: int = 1, factor: int = 1, classes: str = '') -> str:
  """Returns the recipe by which IDC's code scores sets of a data set, 'idc' or one of its
  exceptions.

  'idc_svhn' (SVHN, one image a class, factor 1) has no CutMix and therefore cutout; 'idc_mnist'
  (MNIST, factor above 1) neither; 'idc_imagenet' (224 pixels) random resized crops, colour jitter,
  lighting and CutMix for every batch; 'idc_imagenet100' (a hundred classes and more) the same at
  ten times the learning rate, a fifth of the decay and batches of 128.

  Args:
    data: the data set, as configs name it.
    ipc: stored images a class.
    factor: cells along the side of one.
    classes: the class folders that are taken, see `data.load`.

  Source: public code of Kim et al., ICML 2022 (IDC). That of DANCE scores finished sets likewise,
    but not the snapshots among which it chooses.

  >>> of_set('svhn_cropped'), of_set('mnist', 10, 2), of_set('mnist', 10, 1), of_set('cifar10')
  ('idc_svhn', 'idc_mnist', 'idc', 'idc')
  >>> of_set('imagenet224:photos', classes='idc10'), of_set('imagenet:photos', classes='idc100')
  ('idc_imagenet', 'idc_imagenet100')
  """
  known = presets.find(data)
  if known.exception == 'svhn' and ipc == factor == 1:
    return 'idc_svhn'
  if known.exception == 'mnist' and factor > 1:
    return 'idc_mnist'
  if known.of_imagenet and len(subsets.names(classes)) >= 100:
    return 'idc_imagenet100'
  return 'idc_imagenet' if known.of_imagenet and known.size == 224 else 'idc'


def convention(recipe: str) -> str:
  """Returns whose mean and deviation normalise the images that a recipe trains on, see
  `data.statistics.choose`.

  DD-Ranking augments as DM does, but its code takes CIFAR-10's numbers for CIFAR-100, as IDC's.

  >>> convention('idc_mnist'), convention('dm'), convention('ddranking')
  ('idc', 'dm', 'idc')
  """
  return 'dm' if recipe == 'dm' else 'idc'


def epochs_of_set(
  recipe: str, images: int, classes: int, *, data: str = '', ipc: float = 0, network: str = ''
) -> int:
  """Returns the passes over a set for which IDC's code has a rule of its own, 0 where the recipe
  says them.

  Args:
    recipe: one of `RECIPES`.
    images: training images a class, that is decoded ones.
    classes: number of classes.
    data: the data set.
    ipc: stored images a class.
    network: name of the network that is trained, as `models.build` takes it.

  Source: public code of Kim et al., ICML 2022 (IDC): on ImageNet by the number of images; a
    DenseNet makes 400 on CIFAR from 50 stored images a class and factor 2 on.

  >>> epochs_of_set('idc_imagenet', 90, 10), epochs_of_set('idc_imagenet100', 90, 100)
  (1000, 600)
  >>> epochs_of_set('idc', 200, 10, data='cifar10', ipc=50, network='densenet')
  400
  """
  if RECIPES[recipe].transforms == _IDC_IMAGENET.transforms:
    # Fewer classes under the recipe of a hundred are on their way there, as in continual learning.
    of_hundred = recipe == 'idc_imagenet100' and classes < 100
    return imagenet_epochs(images, 100 if of_hundred else classes)
  large = ipc >= 50 and images > ipc
  of_densenet = network == 'densenet' and presets.find(data).exception == 'cifar'
  return 400 if recipe == 'idc' and of_densenet and large else 0


def imagenet_epochs(images: int, classes: int = 10) -> int:
  """Returns the passes of an evaluation on ImageNet's classes over a set of so many training images
  a class.

  For a hundred classes they are two thirds, rounded down to hundreds.

  Source: the public codes of IDC (Kim et al., ICML 2022) and DANCE.

  >>> imagenet_epochs(1), imagenet_epochs(10 * 2**2), imagenet_epochs(10 * 3**2, classes=100)
  (3000, 1500, 600)
  """
  limits = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))
  epochs = next((epochs for most, epochs in limits if images <= most), 300)
  return 2 * epochs // 3 // 100 * 100 if classes == 100 else epochs


def usual_checks(recipe: str, epochs: int = 0, steps: int = 0) -> int:
  """Returns how often networks are scored during a training where nobody says: four times under the
  recipes of IDC, as in its code, and six times in the 1,500 epochs of DANCE, every 250 of them;
  every ten epochs under 'ddranking', as in its code.

  Elsewhere six times, our choice.

  >>> usual_checks('idc'), usual_checks('idc_mnist', 1500), usual_checks('dm')
  (4, 6, 6)
  >>> usual_checks('ddranking'), usual_checks('ddranking', epochs=200)
  (100, 20)
  """
  if recipe in CHECKED_EVERY and not steps:
    return max(1, round((epochs or RECIPES[recipe].epochs) / CHECKED_EVERY[recipe]))
  of_idc = recipe.startswith('idc')
  of_dance = epochs == _EPOCHS_OF_DANCE and not steps and not RECIPES[recipe].transforms
  return 4 if of_idc and not of_dance else _CHECKS


def find_recipe(name: str, *, flip: bool = True, epochs: int = 0, whole: bool = False) -> Recipe:
  """Returns an evaluation recipe.

  Args:
    name: one of `RECIPES`.
    flip: whether a mirrored image keeps its label; if not, flips leave the augmentation.
    epochs: E, passes over the set in place of the recipe's own 1,000 (of which 'dm' does E + 1, as
      its code); 0: the recipe's.
    whole: whether the set is the whole real one, which 'ddranking' trains in batches of 256 without
      augmentation.

  Raises:
    UserError: for a name that does not exist.

  >>> find_recipe('dm', flip=False).strategy
  'color_crop_cutout_scale_rotate'
  """
  if name not in RECIPES:
    raise errors.unknown('evaluation recipe', name, RECIPES)
  chosen = RECIPES[name] if flip else RECIPES[name].unmirrored()
  changes = WHOLE.get(name, {}) if whole else {}
  return dataclasses.replace(chosen, epochs=epochs or chosen.epochs, **changes)


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How a set is scored: all that decides its scores beside the images.

  Attributes:
    recipe: one of `RECIPES`.
    networks: fresh networks that are trained, each with its own weights, order and augmentation.
    seed: of all of them.
    model: what `models.build` takes; None: ConvNet-3 of width 128 with instance norm.
    dtype: of the networks' computation.
    epochs: passes over the decoded set, see `find_recipe`; 0: the recipe's.
    steps: training steps; 0: from the epochs.
    checks: at most so often the networks are scored during training, evenly spread; None: as
      `usual_checks` says.
    search_on: the images by which a recipe that searches the learning rate chooses it, 'validation'
      or 'test'; '': no search.
    augment: False leaves out the recipe's augmentation and CutMix.
    whole: whether the set is the whole real one, for which a recipe may have a training of its own,
      see `find_recipe`; no learning rate is searched for it.

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
  checks: int | None = None
  search_on: str = 'validation'
  augment: bool = True
  whole: bool = False

  def __post_init__(self):
    find_recipe(self.recipe)
    errors.whole_numbers(seeds=self.networks, epochs=self.epochs, steps=self.steps)
    errors.seed(self.seed)
    if self.checks is None:  # what is kept of a score, and its hash, say the number
      checks = usual_checks(self.recipe, self.epochs, self.steps)
      object.__setattr__(self, 'checks', checks)
    errors.whole_numbers(checks=self.checks)
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
    return SEARCHED.get(self.recipe, ()) if self.search_on and not self.whole else ()

  def described(self) -> dict[str, Any]:
    """Returns the fields under the names by which scores are found again, see `scoring.identity`;
    what `whole` changes is among `evaluation.rules`."""
    fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    fields.pop('whole')
    return {'seeds': fields.pop('networks'), **fields, 'model': self.model and dict(self.model)}
