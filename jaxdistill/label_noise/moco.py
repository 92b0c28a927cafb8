"""MoCo: contrast of every image with all others, whatever their labels (He et al., CVPR 2020)."""

from jaxdistill.label_noise import sel_cl
from jaxdistill.label_noise.contrast_settings import Stage
from jaxdistill.label_noise.finetune_stage import Finetuning
from jaxdistill.label_noise.method import Method, Setting


def method(
  setting: Setting,
  *,
  temperature: float = 0.1,
  queue: int = 10_000,
  momentum: float = 0.999,
  width: int = 128,
  hidden: int = 0,
  finetune: int = 70,
  finetune_learning_rate: float = 0.001,
  bootstrap_from: int = 30,
  bootstrap: float = 0.2,
) -> Method:
  """Returns the contrast of an image's two views against a queue of a momentum copy's keys, and a
  classifier behind it that a second stage trains on all examples: Sel-CL+ without any pair.

  Args:
    setting: what it is for.
    temperature: of the contrast.
    queue: keys of other images.
    momentum, width, hidden: see `sel_cl.method`.
    finetune, finetune_learning_rate, bootstrap_from, bootstrap: of the second stage, see there.

  Source: He et al., CVPR 2020, with the numbers of Sel-CL (Li et al., CVPR 2022), which warms up by
  it; the second stage is Sel-CL's own, with the labels of all examples.
  """
  stage = Stage(
    pairs='none',
    second_batch=False,
    warmup_epochs=0,
    lambda_c=0.0,
    lambda_s=0.0,
    temperature=temperature,
    queue=queue,
    momentum=momentum,
    mixup_alpha=0.0,
    width=width,
    hidden=hidden,
  )
  tuning = Finetuning(finetune, finetune_learning_rate, bootstrap_from, bootstrap)
  return sel_cl.staged(setting, stage, tuning)
