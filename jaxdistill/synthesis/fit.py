"""Whether a set and real images go together: images of one shape, and the same classes in one
order."""

from typing import Any

from jaxdistill.data import Dataset
from jaxdistill.errors import UserError


def check_fit(images: Any, test: Dataset, name: str = 'The set', against: str = 'test') -> None:
  """Raises `UserError` where a set and real images differ in shape, in the number of classes or in
  the classes' order.

  Names of which some differ are no mistake: a plain file of images may number its classes.

  Args:
    images: the set, a `condensed.Condensed`, a `Dataset`, or what has images, num_classes and
      class_names as they do.
    test: the real images.
    name: of the set, for people.
    against: what the real images are called.

  >>> import numpy as np
  >>> pixels, labels = np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1])
  >>> a, b = (Dataset(pixels, labels, names) for names in [('cat', 'dog'), ('dog', 'cat')])
  >>> check_fit(a, b)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: The set numbers the classes in another order than the test set: ...
  """
  shape = images.images.shape[1:]
  if shape != test.image_shape:
    raise UserError(
      f'{name} has images of {_shape(shape)} and the {against} set of {_shape(test.image_shape)}; '
      'they must be alike.'
    )
  if images.num_classes != test.num_classes:
    raise UserError(
      f'{name} knows {images.num_classes} classes and the {against} set {test.num_classes}; '
      'they must be the same ones.'
    )
  ours, theirs = images.class_names, test.class_names
  if ours != theirs and set(ours) == set(theirs):
    label = next(i for i, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
    raise UserError(
      f'{name} numbers the classes in another order than the {against} set: class {label} is '
      f'{ours[label]!r} there and {theirs[label]!r} here.'
    )


def _shape(shape) -> str:
  return 'x'.join(map(str, shape))
