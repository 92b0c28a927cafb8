"""Numbers that the literature gives by the student's network."""

from collections.abc import Mapping

import flax.linen as nn

from jaxdistill import models
from jaxdistill.models.named import NAMED


def published(student: nn.Module, numbers: Mapping[str, float], other: float) -> float:
  """Returns the number of a student's network.

  Args:
    student: the network.
    numbers: by the short names of networks, see `models.named`.
    other: that of any other network.

  >>> student = models.build('resnet20', 100, (32, 32, 3))
  >>> published(student, {'resnet20': 0.6, 'resnet32': 1.0}, 2.0)
  0.6
  >>> published(models.build('mlp', 100, (32, 32, 3)), {'resnet20': 0.6}, 2.0)
  2.0
  """
  for name, number in numbers.items():
    fields = dict(NAMED.get(name, {'name': name}))
    network = models.REGISTRY.find(fields.pop('name'))
    same = all(getattr(student, field, None) == value for field, value in fields.items())
    if same and type(student) is network:
      return number
  return other
