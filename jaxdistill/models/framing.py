"""The frame around small images: 28x28x1 is computed as 32x32.

The condensation codes widen the padding of the first convolution for one-channel images, so that
MNIST and its like run through the networks made for CIFAR with maps of the same sides.
"""


def margin(image_shape: tuple[int, int, int]) -> int:
  """Returns the pixels that the first convolution pads on every side beyond its own padding.

  >>> margin((28, 28, 1)), margin((28, 28, 3)), margin((32, 32, 3))
  (2, 0, 0)
  """
  return 2 if tuple(image_shape) == (28, 28, 1) else 0


def sides(image_shape: tuple[int, int, int]) -> tuple[int, int]:
  """Returns height and width with the margin.

  >>> sides((28, 28, 1)), sides((16, 16, 1))
  ((32, 32), (16, 16))
  """
  extra = 2 * margin(image_shape)
  return image_shape[0] + extra, image_shape[1] + extra
