"""The second stage of Sel-CL+ and its relatives: the encoder of a contrastive stage and a new
classifier, trained on the examples whose labels are believed, as a phase."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws, errors
from jaxdistill.data import mixing, samplers
from jaxdistill.data.views import Views
from jaxdistill.errors import UserError
from jaxdistill.label_noise import contrast_stage
from jaxdistill.label_noise.contrast_settings import CONFIDENT, PLAIN
from jaxdistill.label_noise.method import NET, Look, Phase, Setting
from jaxdistill.losses.classification import cross_entropy
from jaxdistill.training.game import Game, Part, Player, Term

NAME = 'finetune'
_MIXED, _SHARE, _PARTNER = 'mixed', 'share', 'partner'


@dataclasses.dataclass(frozen=True)
class Finetuning:
  """How the second stage goes; numbers are those of Sel-CL+.

  Attributes:
    epochs: as many steps as passes over all examples have, of which it takes the believed ones.
    learning_rate: constant.
    bootstrap_from: epochs before the targets change.
    bootstrap: share of the network's own answer in a target then.
    mixup_alpha: of the mixing, Beta(alpha, alpha).
  """

  epochs: int = 70
  learning_rate: float = 0.001
  bootstrap_from: int = 30
  bootstrap: float = 0.2
  mixup_alpha: float = 1.0

  def __post_init__(self):
    errors.whole('finetune', self.epochs)
    errors.whole('bootstrap_from', self.bootstrap_from)
    errors.real_numbers(learning_rate=self.learning_rate, bootstrap=self.bootstrap)
    if self.learning_rate <= 0:
      raise UserError(f'finetune_learning_rate is {self.learning_rate}; it must be above 0.')
    if not 0 <= self.bootstrap <= 1:
      raise UserError(f'bootstrap is {self.bootstrap}; it must be from 0 to 1.')


def phase(
  setting: Setting,
  tuning: Finetuning,
  classifier: nn.Module,
  confident: Callable[[Mapping[str, Any], Look], np.ndarray],
) -> Phase:
  """Returns the stage as a phase.

      L = mean_i share CE(x~_i, t_i) + (1 - share) CE(x~_i, t_partner),   x~ a mixed weak view
      t_i = y_i, later (1 - b) y_i + b onehot(argmax of the answer to the image as it is)

  The projection stays as it was. A pass goes over the believed examples alone, so that there are
  more of them than `Finetuning.epochs` (our choice: the number of steps is known before).

  Args:
    setting: what it is for.
    tuning: how it goes.
    classifier: the network of the first stage.
    confident: (last variables of the first stage, look) -> bool [R, n], whose labels are believed.

  Source: the public code of Sel-CL (Li et al., CVPR 2022); the targets are those of Arazo et al.,
  ICML 2019.
  """
  examples = len(setting.examples)
  parts = {NET: Part(classifier, _MIXED), PLAIN: Part(classifier, PLAIN, twin_of=NET)}
  optimizer = setting.optimizer(tuning.epochs, tuning.learning_rate, constant=True)
  term = Term('ce', _loss(tuning, setting.epoch_steps))
  player = Player('', (NET,), (term,), optimizer, frozen=(f'{NET}/head/projection',))
  beliefs = {CONFIDENT: lambda key: jnp.ones(examples, bool)}

  def begin(ended, look):
    before = ended[contrast_stage.NAME]
    believed = confident(before, look)
    _check_believed(believed)
    return {**_encoder(before), 'beliefs': {CONFIDENT: believed}}

  return Phase(
    NAME,
    Game(parts, (player,), beliefs=beliefs),
    tuning.epochs,
    views=_views(setting, tuning),
    rows=_rows(min(setting.batch, examples)),
    begin=begin,
  )


def _check_believed(believed):
  """Refuses networks, [R, n], of which one believes no label: it would learn from nothing."""
  alone = int((~believed.any(1)).sum())
  if alone:
    raise UserError(
      f'Neighbours confirm no label for {alone} of {len(believed)} networks, so that the second '
      'stage has nothing to learn from. Ask for fewer neighbours (method.neighbours) or a larger '
      'budget (method.alpha), or leave the stage out (method.finetune=0).'
    )


def _encoder(variables):
  """The network without its classifier, which begins anew."""
  kept = {}
  for collection in ('params', 'batch_stats'):
    if NET in variables.get(collection, {}):
      kept[collection] = {NET: dict(variables[collection][NET])}
  head = {name: leaf for name, leaf in kept['params'][NET]['head'].items() if name != 'classifier'}
  kept['params'][NET]['head'] = head
  return kept


def _views(setting, tuning):
  inner = setting.views({'images': setting.weak, PLAIN: ()})

  def prepare(key, batch, choices):
    key_views, key_mixing = draws.split(key)
    seen = inner.prepare(key_views, batch, choices)
    images, share, partner = mixing.mixup_view(
      key_mixing, seen['images'], seen['weight'], alpha=tuning.mixup_alpha
    )
    share = jnp.broadcast_to(share, seen['weight'].shape)
    return {**seen, _MIXED: images, _SHARE: share, _PARTNER: partner}

  return Views(inner.draw, prepare)


def _rows(batch):
  """Shuffled passes over the believed examples."""

  def rows(key, step, beliefs):
    reached = jnp.cumsum(beliefs[CONFIDENT])
    ranks, weight = samplers.epoch_batch(key, step, reached[-1], batch)
    return jnp.searchsorted(reached, ranks + 1).astype(jnp.int32), weight

  return rows


def _loss(tuning, epoch_steps):
  def loss(scene):
    scene = scene.gathered()
    labels, partner = scene.batch['labels'], scene.batch[_PARTNER]
    answers = jax.lax.stop_gradient(scene[PLAIN]['logits'])
    answers = jax.nn.one_hot(answers.argmax(-1), answers.shape[-1])
    later = scene.step >= tuning.bootstrap_from * epoch_steps
    targets = labels + jnp.where(later, tuning.bootstrap, 0) * (answers - labels)
    share = scene.batch[_SHARE][:, None]
    mixed = share * targets + (1 - share) * targets[partner]
    return cross_entropy(scene[NET]['logits'], mixed, scene.batch['weight'])

  return loss
