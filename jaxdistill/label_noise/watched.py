"""What is kept of networks while they learn a matrix of noisy labels: their answers early in the
training, and what was best for held-out noisy labels."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.label_noise import corrections
from jaxdistill.label_noise.method import NET, Look, Setting
from jaxdistill.numerics import steady
from jaxdistill.training.outputs import part_variables

# Names of the beliefs: probabilities after some epochs, [epochs, n, q]; of each label after its
# best epoch, and the loss then; the variables of the best epoch, and the loss then.
EARLY, BEST_LABELS, BEST = 'early', 'best_labels', 'best'
# A loss above all others; what a checkpoint keeps is finite.
_NONE_YET = np.finfo(np.float32).max


@dataclasses.dataclass(frozen=True)
class Watch:
  """What is kept, epoch by epoch, as beliefs of a phase.

  The loss is the mean cross-entropy of the held-out noisy labels; without them every epoch counts
  better than those before.

  Attributes:
    setting: the labels and the network.
    last: the epoch after which the last early answers are kept, from 1.
    kept: epochs whose answers are kept, which end there.
  """

  setting: Setting
  last: int
  kept: int

  @property
  def beliefs(self) -> dict[str, Callable[[jax.Array], Any]]:
    """Beliefs before the first epoch, as a game takes them."""
    examples, classes = len(self.setting.evidence), self.setting.classes
    return {
      EARLY: lambda key: jnp.full((self.kept, examples, classes), 0.5),
      BEST_LABELS: lambda key: {
        'loss': jnp.full(classes, _NONE_YET),
        'probabilities': jnp.full((examples, classes), 0.5),
      },
      BEST: lambda key: {'loss': jnp.float32(_NONE_YET), 'variables': _empty(self.setting)},
    }

  def refresh(self, variables: Mapping[str, Any], look: Look, step: int) -> dict[str, Any]:
    """Returns the beliefs of R networks before a step that begins an epoch."""
    return self.after(variables, look, step // self.setting.epoch_steps)

  def after(self, variables: Mapping[str, Any], look: Look, epoch: int) -> dict[str, Any]:
    """Returns the beliefs of R networks after an epoch, from 1."""
    beliefs = jax.tree.map(np.asarray, dict(variables['beliefs']))
    losses = self._losses(variables, look, epoch)
    better = losses < beliefs[BEST_LABELS]['loss']
    place = epoch - 1 - (self.last - self.kept)
    is_early = 0 <= place < self.kept
    if is_early or better.any():
      probabilities = _sigmoid(look(variables, NET, 'train')['logits'])
    if is_early:
      beliefs[EARLY] = beliefs[EARLY].copy()
      beliefs[EARLY][:, place] = probabilities
    if better.any():
      kept = beliefs[BEST_LABELS]
      beliefs[BEST_LABELS] = {
        'loss': np.where(better, losses, kept['loss']),
        'probabilities': np.where(better[:, None], probabilities, kept['probabilities']),
      }
    beliefs[BEST] = _better(beliefs[BEST], losses.mean(1), part_variables(variables, NET))
    return beliefs

  def _losses(self, variables, look, epoch):
    """Of the held-out labels, float32 [R, q]."""
    held = self.setting.validation
    if held is None:
      networks = len(variables['beliefs'][BEST]['loss'])
      return np.full((networks, self.setting.classes), -epoch, np.float32)
    logits = look(variables, NET, 'validation')['logits']
    return np.asarray(_mean_losses(logits, held.matrix))


def _better(best, losses, variables):
  """Of each network the variables with the smaller loss [R], and that loss."""
  better = losses < best['loss']

  def chosen(new, old):
    return np.where(better.reshape(-1, *[1] * (np.ndim(old) - 1)), np.asarray(new), old)

  return {
    'loss': np.where(better, losses, best['loss']),
    'variables': jax.tree.map(chosen, variables, best['variables']),
  }


def _empty(setting):
  """Zeros in the form of the classifier's variables."""

  def initial(key):
    views = setting.views({'images': setting.weak})
    batch = {
      'images': jnp.zeros((1, *setting.examples.image_shape), setting.examples.images.dtype),
      'labels': jnp.zeros((1, setting.classes)),
      'weight': jnp.ones(1),
    }
    images = views.prepare(key, batch, views.draw(key))['images']
    return setting.network.init(key, images)

  return jax.tree.map(
    lambda form: jnp.zeros(form.shape, form.dtype), jax.eval_shape(initial, jax.random.key(0))
  )


@jax.jit
@steady
def _sigmoid(logits):
  return jax.nn.sigmoid(jnp.asarray(logits, jnp.float32))


@jax.jit
@steady
def _mean_losses(logits, noisy):
  """[R, n, q] and [n, q] -> [R, q]."""
  return jax.vmap(lambda each: corrections.plain(each, noisy).mean(0))(logits)
