"""Sel-CL and Sel-CL+: supervised contrast of the pairs that neighbours confirm (Li et al., CVPR
2022)."""

import dataclasses
from typing import Literal

import jax
import numpy as np

from jaxdistill.errors import UserError
from jaxdistill.label_noise import contrast_stage, finetune_stage
from jaxdistill.label_noise.contrast_settings import CONFIDENT, Stage
from jaxdistill.label_noise.finetune_stage import Finetuning
from jaxdistill.label_noise.method import Believed, Method, Setting


def method(
  setting: Setting,
  *,
  alpha: float = 0.5,
  beta: float = 0.25,
  neighbours: int = 250,
  votes: Literal['counts', 'weighted'] = 'counts',
  vote_temperature: float = 0.1,
  warmup: Literal['uns', 'sup'] = 'uns',
  warmup_epochs: int = 1,
  temperature: float = 0.1,
  queue: int = 10_000,
  pair_queue: int = 20_000,
  pair_queue_from: int = 3,
  momentum: float = 0.999,
  mixup_alpha: float = 1.0,
  lambda_c: float = 1.0,
  lambda_s: float = 0.01,
  clip: float = 0.25,
  width: int = 128,
  hidden: int = 0,
  finetune: int = 70,
  finetune_learning_rate: float = 0.001,
  bootstrap_from: int = 30,
  bootstrap: float = 0.2,
) -> Method:
  """Returns Sel-CL+, or Sel-CL with finetune=0, whose classifier is then the first stage's.

      L = L_contrast + lambda_c L_class + lambda_s L_similarity

  L_contrast is the supervised contrast of mixed views with the pairs that were selected, in the
  batch and in a queue of a momentum copy's keys, and for an image without partner MoCo's contrast
  of instances. L_class is the cross-entropy of mixed views of a second batch, drawn from the
  confident examples. L_similarity says whether two answers are of one class; its gradient is cut to
  the norm `clip` before it is added to the rest. Examples and pairs are selected anew after every
  pass by the embeddings of the unaugmented images, see `label_noise.select`.

  Args:
    setting: what it is for.
    alpha: of the budget a class, see `label_noise.select`.
    beta: of the threshold of pairs.
    neighbours: K.
    votes: of the neighbours; 'counts' is the first form of the public code, 'weighted' its second.
    vote_temperature: of weighted votes.
    warmup: before the first selection: 'uns', MoCo alone; 'sup', all pairs of equal labels and
      cross-entropy, nothing mixed.
    warmup_epochs: passes before it; 0: there is none, the warm-up goes on to the end. With 'uns'
      the first stage's classifier learns from selected examples alone, so that finetune=0 needs a
      selection: 1 or more passes, and less than there are epochs.
    temperature: of all contrasts.
    queue: keys of MoCo.
    pair_queue: keys of both views that pairs are sought among; 0: none.
    pair_queue_from: passes before those count.
    momentum: of the copy.
    mixup_alpha: of the mixing of each view; 0: none.
    lambda_c, lambda_s: weights.
    clip: norm of the similarity's gradient; 0: it is not cut.
    width, hidden: of the projection, see `models.heads`.
    finetune: epochs of the second stage, see `finetune_stage.phase`; 0: there is none.
    finetune_learning_rate: of that stage.
    bootstrap_from, bootstrap: epochs before its targets take a share of the network's answers.

  Raises:
    UserError: numbers out of range, more neighbours than other examples, a queue shorter than what
      a step brings, and where nothing trains the classifier.

  Source: Li et al., CVPR 2022, numbers of CIFAR-10 (CIFAR-100: alpha 0.75 and beta 0.35, with
  asymmetric noise 0.25 and 0), and the public code, but for its two slips: an example that votes
  for itself, and a partner's own column that counts twice. Its network on CIFAR is a preact_resnet
  with stem_norm=True and last_norm=False. Older keys of the image itself are positives and no
  partners, queues may have any length, and the confident examples of the second stage are those
  after the last step (our choices).
  """
  stage = Stage(
    warmup=warmup,
    warmup_epochs=warmup_epochs,
    lambda_c=lambda_c,
    lambda_s=lambda_s,
    clip=clip,
    temperature=temperature,
    queue=queue,
    pair_queue=pair_queue,
    pair_queue_from=pair_queue_from,
    momentum=momentum,
    mixup_alpha=mixup_alpha,
    width=width,
    hidden=hidden,
    neighbours=neighbours,
    alpha=alpha,
    beta=beta,
    votes=votes,
    vote_temperature=vote_temperature,
  )
  tuning = Finetuning(finetune, finetune_learning_rate, bootstrap_from, bootstrap)
  return staged(setting, stage, tuning)


def staged(
  setting: Setting, stage: Stage, tuning: Finetuning, reconstruction: bool = False
) -> Method:
  """Returns a method of a first stage and, with epochs for it, a second one; Sel-CL's relatives are
  other values of the two.

  Raises:
    UserError: where nothing trains the classifier, and what the stages refuse.
  """
  if not (stage.classified or tuning.epochs):
    raise UserError(
      'With lambda_c=0 and finetune=0 nothing trains the classifier; give finetune epochs.'
    )
  # The classifier's own batch is drawn from believed examples: none before a selection.
  waits = stage.second_batch and not stage.believes_at_first
  if waits and not tuning.epochs and not 0 < stage.warmup_epochs < setting.epochs:
    raise UserError(
      f"With finetune=0 and warmup='uns' nothing trains the classifier before the first selection; "
      f'warmup_epochs is {stage.warmup_epochs}, and must be from 1 to less than the '
      f'{setting.epochs} epochs.'
    )
  classifier = contrast_stage.network(setting, stage)
  chosen = _confident if stage.selects else None
  phases = [dataclasses.replace(contrast_stage.phase(setting, stage, classifier), chosen=chosen)]

  def confident(variables, look):
    if not stage.selects:
      networks = len(jax.tree.leaves(variables['params'])[0])
      return np.ones((networks, len(setting.examples)), bool)
    chosen = contrast_stage.select(setting, stage, variables, look)
    return np.stack([np.asarray(selection.confident) for selection in chosen])

  def believe(variables, look):
    if tuning.epochs:
      return Believed(confident=_confident(variables, look))
    return Believed(confident=confident(variables, look))

  if tuning.epochs:
    second = finetune_stage.phase(setting, tuning, classifier, confident)
    phases.append(dataclasses.replace(second, chosen=chosen))
  return Method(
    tuple(phases),
    believe=believe if stage.selects else None,
    reconstruction=reconstruction,
  )


def _confident(variables, look):
  """Whose labels the last selection believes."""
  return np.asarray(variables['beliefs'][CONFIDENT])
