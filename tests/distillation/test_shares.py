"""Students that see a share of the images train by the steps and the epochs of all of them."""

import numpy as np

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.distillation import sections, teachers, terms
from jaxdistill.distillation import work as works


def pair(share):
  config = configs.load(
    f'distillation/dkd:digits,recipe=crd240,epochs=240,student=mlp,share={share}'
  )
  train, test = data.load('digits', image_size=8)
  teacher = teachers.of_function(lambda images: images.reshape(len(images), -1)[:, :10])
  work = works.make(sections.of_config(config), train, None, test, given=teacher)
  return work.pair(teacher)


def test_a_warmup_is_the_same_share_of_a_training_on_few_images():
  whole, few = pair(1.0), pair(0.1)
  assert few.images < whole.images / 5 and few.steps == whole.steps
  weights = []
  for one in (whole, few):
    (term,) = terms.make(one, 'dkd', {'beta': 2.0, 'warmup': 20}).terms
    weights.append(np.asarray(term.weight(np.arange(one.steps))))
  np.testing.assert_array_equal(*weights)
  # It ends with the twentieth epoch of 240.
  assert int((weights[1] < 1).sum()) == whole.steps * 19 // 240
