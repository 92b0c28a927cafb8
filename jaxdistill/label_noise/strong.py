"""The view of contrastive learning."""

from jaxdistill.data.crops import Flip, ResizedCrop
from jaxdistill.data.photometric import Grey, Jitter
from jaxdistill.data.transform import Transform


def transforms(image_shape: tuple[int, int, int]) -> tuple[Transform, ...]:
  """Returns the operations of a strong view: a random part of the image at its full size, mirrored;
  of colour images colours that change, or go. Of vectors none.

  Source: the views of Sel-CL's first stage (Li et al., CVPR 2022), without changes of colour where
  there is none.

  >>> [type(operation).__name__ for operation in transforms((32, 32, 3))]
  ['ResizedCrop', 'Flip', 'Jitter', 'Grey']
  """
  height, _, channels = image_shape
  if height == 1:
    return ()
  crop = (ResizedCrop(0), Flip())
  if channels != 3:
    return crop
  return (*crop, Jitter(0.4, 0.4, 0.4, 0.1, probability=0.8), Grey(0.2))
