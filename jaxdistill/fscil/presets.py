"""How data sets are divided into sessions where the literature, or this library for its small
default, has settled it."""

import dataclasses

from jaxdistill.data import presets as data_presets


@dataclasses.dataclass(frozen=True)
class Preset:
  """A division of a data set's classes.

  Attributes:
    base_classes: of session 0.
    way: new classes a session.
    shot: training images of a new class.
    sessions: later sessions.
    indices: the published choice of the images where the library has it, see `lists.PUBLISHED`; '':
      they are drawn by seed, or a file lists them.

  >>> find('cifar100').num_classes
  100
  """

  base_classes: int
  way: int
  shot: int
  sessions: int
  indices: str = ''

  @property
  def num_classes(self) -> int:
    """Of all sessions together."""
    return self.base_classes + self.sessions * self.way


# Tao et al., CVPR 2020 (TOPIC), whose divisions all later papers keep; digits: our choice.
_CUB = Preset(base_classes=100, way=10, shot=5, sessions=10)
PRESETS = {
  'digits': Preset(base_classes=4, way=2, shot=5, sessions=3),
  'cifar100': Preset(base_classes=60, way=5, shot=5, sessions=8, indices='cec'),
  'mini': Preset(base_classes=60, way=5, shot=5, sessions=8),
  'cub': _CUB,
  'caltech_birds2011': _CUB,
}


def find(name: str) -> Preset | None:
  """Returns how a data set is divided, whatever path or version its name has; None where nothing is
  settled.

  >>> find('mini:/data/mini').sessions, find('folder:photos')
  (8, None)
  """
  return PRESETS.get(data_presets.find(name).name.rstrip(':'))
