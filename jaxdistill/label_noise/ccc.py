"""CCC: two CrowdLayers that correct each other's confusion matrices (Zhang et al., AAAI 2024; arXiv
2312.07331)."""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws, errors
from jaxdistill.data import augment
from jaxdistill.errors import UserError
from jaxdistill.estimation.kmeans import kmeans
from jaxdistill.label_noise import crowd_layer, meta_sets
from jaxdistill.label_noise.crowd_layer import CROWD
from jaxdistill.label_noise.method import NET, Believed, Method, Phase, Setting
from jaxdistill.losses.classification import cross_entropy
from jaxdistill.training.game import Game, Part, PerturbedWeights, Player, Term
from jaxdistill.training.outputs import part_variables

MEMBERS = 2
# Beliefs: the annotators' groups, and the meta set that the other member has chosen.
GROUPS, IMAGES, LABELS, WEIGHTS = 'groups', 'meta_images', 'meta_labels', 'meta_weights'
# Its positions in the training set.
EXAMPLES = 'meta_examples'
_LAST = 'classifier'
_LEAST = 1e-30  # of max|D|: below it nothing is corrected

Through = Literal['last', 'all']


def method(
  setting: Setting,
  *,
  rho: float = 0.5,
  meta: int = 1000,
  groups: int = 30,
  warmup: int = 10,
  meta_batch: int = 128,
  through: Through = 'last',
  duplicates: bool = False,
  finetune: int = 0,
  finetune_rate: float = 1e-4,
) -> Method:
  """Returns CCC: two members, whose mean of probabilities is the answer.

  Both learn with CrowdLayer's loss L(theta, T + V). After `warmup` passes, before each further one:
  k-means groups the annotators of a member by their matrices T, and each member chooses of every
  class the `meta` / C examples with the smallest losses among those that some annotator called so.
  Then in each step, with a batch of the meta set that the *other* member chose:

      theta'(V) = theta - lr · grad_theta L(theta, T + V),     V [groups, C, C], 0
      D = grad_V of the cross-entropy of theta'(V) on the meta batch
      V = - rho · max(T) / max|D| · D

  and the optimiser's step is made with the gradient of L at (theta, T + V). Annotators of a group
  share their part of V, so that rare ones borrow strength. V is thrown away after the step.

  Args:
    setting: what it is for.
    rho: how large V is; with 0 this is CrowdLayer, twice.
    meta: M, examples of a meta set, as many of each class.
    groups: G; at most as many as there are annotators.
    warmup: passes without V.
    meta_batch: examples of the meta set in a step.
    through: which gradient of theta'(V) depends on V: that of the last layer as in the public code,
      or 'all' of them, which it does on LabelMe.
    duplicates: whether the meta set has an example once for every annotator who called it so, as
      the public code; once is our choice.
    finetune: passes in the end over the other's meta set, with cross-entropy; each has as many
      steps as one over all examples.
    finetune_rate: learning rate of these.

  Raises:
    UserError: a number out of range, or a network without a linear last layer 'classifier' for
      `through='last'`.

  Source: the public code of Zhang et al. The virtual step is plain SGD at the rate of the recipe,
    whatever the optimiser, and its running statistics are dropped, as there.
  """
  _check(rho, groups, warmup, meta_batch, finetune)
  errors.whole('meta', meta, at_least=setting.classes)
  if through == 'last':
    _check_last_layer(setting)
  if rho == 0:
    phases = (crowd_layer.phase(setting),)
  else:
    groups = min(groups, setting.evidence.annotators)
    correction = functools.partial(
      corrected, rate=setting.rate, rho=rho, groups=groups, batch=meta_batch, through=through
    )
    renew = functools.partial(refresh, setting, meta // setting.classes, groups, duplicates)
    phases = (_learning(setting, correction, renew, warmup),)
    if finetune:
      phases += (_finetuning(setting, renew, finetune, finetune_rate, meta_batch),)
  return Method(phases, MEMBERS, believe=believe)
