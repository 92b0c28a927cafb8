"""What the first stage of a contrastive method is made of, and the names of its entries."""

import dataclasses

from jaxdistill import errors
from jaxdistill.errors import UserError
from jaxdistill.label_noise import evidence
from jaxdistill.label_noise.method import NET

# The two views of contrast, and the image without augmentation.
FIRST, SECOND, PLAIN = 'first', 'second', 'plain'
VIEWS = (FIRST, SECOND)
# Before the names of a second batch's entries, and of the parts that read them.
CLASS = 'class_'
# The part that is a momentum copy, and before the names of its twins.
KEYS = 'keys'
# What is thought of the training set: which pairs are of one class; which examples' labels are
# believed; whether neighbours have chosen yet.
PAIRS, CONFIDENT, SELECTED = 'pairs', 'confident', 'selected'


@dataclasses.dataclass(frozen=True)
class Stage:
  """What a first stage is made of; numbers are those of Sel-CL.

  Attributes:
    pairs: which images are contrasted as one class: 'selected' pairs, all of equal 'labels', or
      'none'.
    instances: whether an image without partner is contrasted with a queue of other images (MoCo).
    second_batch: whether the classifier learns from a batch of its own, drawn with replacement from
      the confident examples; else from the images that are contrasted.
    relabels: whether examples that are not confident have the classifier's own answer to the plain
      image as label, once they were chosen.
    warmup: what is done before the first selection: 'uns', no pairs; 'sup', all pairs of equal
      labels and no mixing.
    warmup_epochs: passes before it; 0: nothing is ever selected, and the warm-up goes on.
    lambda_c, lambda_s: weights of the classifier's cross-entropy and of the similarity.
    clip: norm that the gradient of the similarity is cut to; 0: it is not.
    temperature: of all contrasts.
    queue: keys that instances are contrasted with.
    pair_queue: keys that pairs are sought among; 0: none.
    pair_queue_from: passes before those count.
    momentum: of the copy that gives the keys.
    mixup_alpha: of the mixing of a view, Beta(alpha, alpha); 0: none.
    width, hidden: of the projection, see `models.heads`.
    neighbours, alpha, beta, votes, vote_temperature: see `selection.select`.
  """

  pairs: str = 'selected'
  instances: bool = True
  second_batch: bool = True
  relabels: bool = False
  warmup: str = 'uns'
  warmup_epochs: int = 1
  lambda_c: float = 1.0
  lambda_s: float = 0.01
  clip: float = 0.25
  temperature: float = 0.1
  queue: int = 10_000
  pair_queue: int = 20_000
  pair_queue_from: int = 3
  momentum: float = 0.999
  mixup_alpha: float = 1.0
  width: int = 128
  hidden: int = 0
  neighbours: int = 250
  alpha: float = 0.5
  beta: float = 0.25
  votes: str = 'counts'
  vote_temperature: float = 0.1

  def __post_init__(self):
    for name in ('warmup_epochs', 'queue', 'pair_queue', 'pair_queue_from', 'hidden'):
      errors.whole(name, getattr(self, name))
    errors.whole('width', self.width, at_least=1)
    errors.whole('neighbours', self.neighbours, at_least=1)
    evidence.unit_interval(alpha=self.alpha, beta=self.beta)
    for name in ('lambda_c', 'lambda_s', 'mixup_alpha'):
      _at_least_0(name, getattr(self, name))
    for name in ('temperature', 'vote_temperature'):
      _at_least_0(name, getattr(self, name))
      if not getattr(self, name):
        raise UserError(f'{name} is 0; it must be above 0.')

  @property
  def selects(self) -> bool:
    """Whether neighbours choose what is believed."""
    return self.pairs == 'selected' or self.relabels

  @property
  def believes_at_first(self) -> bool:
    """Whether all labels are believed before the first selection."""
    return not (self.pairs == 'selected' and self.warmup == 'uns')

  @property
  def mixes(self) -> bool:
    """Whether the views are mixed."""
    return self.pairs != 'none' and self.mixup_alpha > 0

  @property
  def plain_warmup(self) -> bool:
    """Whether they are not before the first selection."""
    return self.mixes and self.selects and self.warmup == 'sup'

  @property
  def anchors(self) -> tuple[str, ...]:
    """The parts that give both views' embeddings for the contrast of pairs, of which the network
    itself is one where it has nothing else to read."""
    if self.pairs == 'none':
      return ()
    apart = self.instances or self.relabels
    return (f'anchors_{FIRST}' if apart else NET, f'anchors_{SECOND}')

  @property
  def has_pair_queue(self) -> bool:
    """Whether pairs are sought in a queue too."""
    return bool(self.pair_queue and self.anchors)

  @property
  def classified(self) -> tuple[str, ...]:
    """The parts whose logits of both views the classifier learns by; () where it learns nothing."""
    if not self.lambda_c:
      return ()
    return tuple(f'{CLASS}{view}' for view in VIEWS) if self.second_batch else self.anchors


def _at_least_0(name, value):
  errors.real_numbers(**{name: value})
  if value < 0:
    raise UserError(f'{name} is {value}; it must be at least 0.')
