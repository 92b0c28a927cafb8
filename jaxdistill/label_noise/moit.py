"""MOIT: supervised contrast and a classifier on mixed views, wrong labels softly replaced (Ortego
et al., CVPR 2021)."""

from typing import Literal

from jaxdistill.label_noise import sel_cl
from jaxdistill.label_noise.contrast_settings import Stage
from jaxdistill.label_noise.finetune_stage import Finetuning
from jaxdistill.label_noise.method import Method, Setting


def method(
  setting: Setting,
  *,
  alpha: float = 0.5,
  neighbours: int = 250,
  votes: Literal['counts', 'weighted'] = 'counts',
  vote_temperature: float = 0.1,
  warmup_epochs: int = 30,
  temperature: float = 0.1,
  pair_queue: int = 20_000,
  pair_queue_from: int = 3,
  momentum: float = 0.0,
  mixup_alpha: float = 1.0,
  lambda_c: float = 1.0,
  width: int = 128,
  hidden: int = 0,
  finetune: int = 0,
  finetune_learning_rate: float = 0.001,
  bootstrap_from: int = 30,
  bootstrap: float = 0.2,
) -> Method:
  """Returns the contrast of all images of equal labels, mixed, beside the cross-entropy of the same
  mixed views; finetune=70 is MOIT+. A reconstruction.

      L = L_contrast + lambda_c L_class

  After `warmup_epochs`, an example that its neighbours do not confirm (see `label_noise.select`; of
  each class as many as the budget are) has the network's answer to the unaugmented image as soft
  label in L_class.

  Args:
    setting: what it is for.
    alpha, neighbours, votes, vote_temperature: of the selection, see `label_noise.select`.
    warmup_epochs: passes before the first, fewer than there are; 0: labels are never replaced.
    temperature: of the contrast.
    pair_queue: keys that are contrasted with beside the batch; 0: none.
    pair_queue_from, width, hidden: see `sel_cl.method`.
    momentum: of the copy that gives the keys; 0: the network itself, one step old.
    mixup_alpha: of the mixing of each view.
    lambda_c: weight of L_class.
    finetune, finetune_learning_rate, bootstrap_from, bootstrap: of a second stage on the confident
      examples, see there; 0: there is none.

  Raises:
    UserError: a warm-up as long as the training, and what `sel_cl.staged` refuses.

  Source: Ortego et al., CVPR 2021, as the ancestor of Sel-CL (Li et al., CVPR 2022), whose numbers,
  queue, selection and second stage are taken; when labels begin to be replaced is our choice.
  """
  stage = Stage(
    pairs='labels',
    instances=False,
    second_batch=False,
    relabels=True,
    warmup_epochs=warmup_epochs,
    lambda_c=lambda_c,
    lambda_s=0.0,
    temperature=temperature,
    pair_queue=pair_queue,
    pair_queue_from=pair_queue_from,
    momentum=momentum,
    mixup_alpha=mixup_alpha,
    width=width,
    hidden=hidden,
    neighbours=neighbours,
    alpha=alpha,
    votes=votes,
    vote_temperature=vote_temperature,
  )
  setting.check_warmup('warmup_epochs', warmup_epochs, 'labels are replaced')
  tuning = Finetuning(finetune, finetune_learning_rate, bootstrap_from, bootstrap)
  return sel_cl.staged(setting, stage, tuning, reconstruction=True)
