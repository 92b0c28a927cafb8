"""The images of a run: loaded, a share held out to choose by, and streamed where they are many."""

import dataclasses
import functools

from jaxdistill import data
from jaxdistill.data import Dataset, statistics
from jaxdistill.errors import unknown
from jaxdistill.experiment import schema
from jaxdistill.training import hosts, machine, progress

STREAM = ('auto', 'on', 'off')
# Share of the device's memory up to which 'auto' keeps the training images there; the rest is for
# the networks (our choice).
_STREAM_SHARE = 0.3


@dataclasses.dataclass(frozen=True)
class DataSource:
  """Which images a run takes, and how: the section `data` of a config.

  Raises:
    UserError: for another value of `stream`.
  """

  name: str = schema.field('digits', help='the data set, as data.load takes it')
  dir: str = schema.field('', help="where it lies; '': the usual place")
  image_size: int = schema.field(0, at_least=0, help='side of the images; 0: as stored')
  classes: str = schema.field('', help="the class folders to take; '': all")
  normalisation: str = schema.field(
    'idc', choices=statistics.CONVENTIONS, help='whose mean and deviation normalise the images'
  )
  stream: str = schema.field(
    'auto', choices=STREAM, help='read training images from disk batch by batch'
  )
  validation_share: float = schema.field(
    0.1, at_least=0, below=1, help='of the training images, held out to choose by'
  )

  def __post_init__(self):
    if self.stream not in STREAM:
      raise unknown('value of stream', self.stream, STREAM)

  @property
  def stream_above(self) -> int | None:
    """Bytes of training images above which they are streamed; None: never."""
    share = int(_STREAM_SHARE * machine.memory_bytes())
    return {'on': 0, 'auto': share, 'off': None}[self.stream]


def load(source: DataSource) -> tuple[Dataset, Dataset | None, Dataset]:
  """Returns (train, validation, test); no validation set when its share is 0.

  A set's own validation images are used in place of a share of the training images. The split does
  not depend on a seed, so that runs with different seeds compare. The last data set
  loaded is kept, because the checks before a run need it first.

  >>> train, validation, test = load(DataSource('digits', image_size=16, validation_share=0.1))
  >>> train.image_shape, len(train) > 9 * len(validation) > 0
  ((16, 16, 1), True)
  """
  return _load(source, source.stream_above)


@functools.lru_cache(maxsize=1)
def _load(source: DataSource, stream_above: int | None) -> tuple[Dataset, Dataset | None, Dataset]:
  train, validation, test = data.load_splits(
    source.name,
    data_dir=source.dir,
    image_size=source.image_size,
    classes=source.classes,
    normalisation=source.normalisation,
    stream_above=stream_above,
    tell=_tell,
  )
  if not source.validation_share:
    if validation is not None:
      _tell(f'{source.name}: its validation images are left out, as data.validation_share is 0.')
    return train, None, test
  if validation is None:
    train, validation = data.hold_out(train, source.validation_share)
  return train, validation, test


def _tell(notice: str) -> None:
  if hosts.is_first():
    progress.say(notice)
