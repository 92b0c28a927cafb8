"""Sup-CL: supervised contrast of all images of equal labels, right or wrong (Khosla et al., NeurIPS
2020)."""

from jaxdistill.label_noise import sel_cl
from jaxdistill.label_noise.contrast_settings import Stage
from jaxdistill.label_noise.finetune_stage import Finetuning
from jaxdistill.label_noise.method import Method, Setting


def method(
  setting: Setting,
  *,
  temperature: float = 0.1,
  pair_queue: int = 0,
  pair_queue_from: int = 3,
  momentum: float = 0.999,
  width: int = 128,
  hidden: int = 0,
  finetune: int = 70,
  finetune_learning_rate: float = 0.001,
  bootstrap_from: int = 30,
  bootstrap: float = 0.2,
) -> Method:
  """Returns the supervised contrast of two views of a batch, and a classifier behind it that a
  second stage trains on all examples: Sel-CL+ without selection, mixing, and further losses.

  Args:
    setting: what it is for.
    temperature: of the contrast.
    pair_queue: keys of a momentum copy that are contrasted with too; 0: none, as in the paper.
    pair_queue_from, momentum, width, hidden: see `sel_cl.method`.
    finetune, finetune_learning_rate, bootstrap_from, bootstrap: of the second stage, see there.

  Source: Khosla et al., NeurIPS 2020, with the numbers of Sel-CL (Li et al., CVPR 2022), which
  compares with it; the second stage is Sel-CL's own, with the labels of all examples.
  """
  stage = Stage(
    pairs='labels',
    instances=False,
    second_batch=False,
    warmup_epochs=0,
    lambda_c=0.0,
    lambda_s=0.0,
    temperature=temperature,
    pair_queue=pair_queue,
    pair_queue_from=pair_queue_from,
    momentum=momentum,
    mixup_alpha=0.0,
    width=width,
    hidden=hidden,
  )
  tuning = Finetuning(finetune, finetune_learning_rate, bootstrap_from, bootstrap)
  return sel_cl.staged(setting, stage, tuning)
