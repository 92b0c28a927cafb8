"""A game as a value: parts, and players that train them; see `training.players`."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import optax

from jaxdistill import errors
from jaxdistill.training.scene import Scene

MODES = ('train', 'eval', 'batch')
DECAYS = ('moved', 'own')


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
  """A named network of a game.

  What it gives is a dict of arrays by name: of a classifier, which returns (logits, features), it
  is {'logits': logits, **features}; of a module that returns a dict that dict; of one that returns
  an array {'output': array}. A guide with a linear last layer gives 'prototypes' [C, d] too, the
  weights of its classes.

  Attributes:
    module: the network; None for a guide that is a function.
    view: of the batch that it reads.
    reads: in place of the view: scene -> the arguments of the module, made from the outputs of
      guides and of parts named before it. It sees constants where its player trains nothing.
    mode: 'train': batch normalisation by the batch, running statistics move; what nobody trains
      uses its running statistics then. 'eval': running statistics. 'batch': the statistics of the
      batch, and nothing moves.
    function: (variables, images) -> dict of arrays [n, ...] as a guide.
    twin_of: name of a part before it whose network it is, on another view: it has no weights of its
      own, and moves the running statistics further.
    follows: name of a part before it of the same network, whose copy it is at first; after every
      step its weights are `momentum` times themselves and the rest of that part's. Nobody trains
      it.
    momentum: share of its own weights that it keeps.
    labels: entry of the batch that the accuracy of its logits is measured by; '': none is measured.
  """

  module: nn.Module | None = None
  view: str = 'images'
  reads: Callable[[Scene], tuple] | None = None
  mode: str = 'train'
  function: Callable[[Any, jax.Array], Mapping[str, jax.Array]] | None = None
  twin_of: str = ''
  follows: str = ''
  momentum: float = 0.999
  labels: str = 'labels'

  def __post_init__(self):
    if self.mode not in MODES:
      raise errors.unknown('mode of a part', self.mode, MODES)
    errors.real_numbers(momentum=self.momentum)
    if not 0 <= self.momentum <= 1:
      raise errors.UserError(f'momentum is {self.momentum}; it must be from 0 to 1.')
    if (self.module is None) == (self.function is None):
      raise ValueError('A part is a module or a function, one of the two.')


@dataclasses.dataclass(frozen=True)
class Term:
  """One named loss of a player.

  Attributes:
    name: under which it is reported.
    loss: scene -> scalar, the mean over the rows by their weight: of the rows of this device, or of
      the whole batch (`Scene.gathered`). With a memory: scene -> (scalar, new memory), and the
      scene is gathered, so that all devices remember the same.
    weight: of the term in the sum, or a schedule: step -> number.
    memory: key -> what the term remembers at first, a tree of arrays; None: nothing.
    clip: greatest global norm of the gradient of the weighted term, or of all that have the same
      one together; it is cut to that before it is added to the rest. A second pass backwards
      through the parts that such terms read. 0: it is not cut.
  """

  name: str
  loss: Callable[[Scene], Any]
  weight: float | Callable[[jax.Array], jax.Array] = 1.0
  memory: Callable[[jax.Array], Any] | None = None
  clip: float = 0.0

  def __post_init__(self):
    errors.real_numbers(clip=self.clip)
    if self.clip < 0:
      raise errors.UserError(f'clip of a term is {self.clip}; it must be at least 0.')


@dataclasses.dataclass(frozen=True, eq=False)
class PerturbedView:
  """A view that is made against a part as it stands, such as adversarial images.

  Attributes:
    part: whom it is made against, a part that reads a view.
    change: (respond, batch, keys) -> images [n, ...]: `respond` says of images the outputs of the
      part by name, with a gradient to the images alone; `batch` has what the batch has so far, and
      `keys` [n] are random numbers of every row, the same on any number of devices.
    view: whose form the new one has.
    mode: of the part meanwhile: 'eval': running statistics, 'batch': those of the images that it is
      given. Nothing moves.
  """

  part: str
  change: Callable[[Callable, Mapping[str, jax.Array], jax.Array], jax.Array]
  view: str = 'images'
  mode: str = 'eval'

  def __post_init__(self):
    if self.mode not in MODES[1:]:
      raise errors.unknown('mode of a part under a perturbation', self.mode, MODES[1:])


@dataclasses.dataclass(frozen=True, eq=False)
class Standpoint:
  """What is known where weights are perturbed.

  Attributes:
    params: what the player trains.
    gradient: params -> gradient of the weighted sum of the terms there, over the whole batch. It
      may be differentiated itself.
    answer: (part, params, images) -> outputs of a part that reads a view, with other parameters of
      the player's, for images that all devices have whole; batch normalisation by these images,
      and nothing moves.
    beliefs: what is thought of the whole data, by name.
    step: number of the step, the same for networks side by side.
    key: random numbers, the same on all devices.
  """

  params: Any
  gradient: Callable[[Any], Any]
  answer: Callable[[str, Any, jax.Array], Mapping[str, jax.Array]]
  beliefs: Mapping[str, Any]
  step: jax.Array | int
  key: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class PerturbedWeights:
  """Weights away from a player's own at which its gradient is taken, such as those of a sharper
  loss; the step is then made from its own ones.

  Attributes:
    terms: what `move` has the gradient of; none has a memory.
    move: standpoint -> params of the same form.
    decay_at: the weights that the optimiser is called with, so that a decay is of those: 'moved',
      at which the gradient was taken, or the player's 'own'.
  """

  terms: tuple[Term, ...]
  move: Callable[[Standpoint], Any]
  decay_at: str = 'moved'

  def __post_init__(self):
    if self.decay_at not in DECAYS:
      raise errors.unknown('place of a decay', self.decay_at, DECAYS)
    if any(term.memory for term in self.terms):
      raise ValueError('A term that weights are perturbed by has no memory.')


@dataclasses.dataclass(frozen=True)
class Player:
  """Who trains what, and what for.

  Attributes:
    name: under which its terms are reported, where there are several players.
    trains: paths of the parts that it trains: 'student', 'student/classifier', see
      `training.parts`.
    terms: whose weighted sum it minimises.
    optimizer: of what it trains.
    frozen: paths of those that it leaves as they are.
    perturb_weights: where its gradient is taken; None: at its weights as they are. Such a player
      moves alone.
  """

  name: str
  trains: tuple[str, ...]
  terms: tuple[Term, ...]
  optimizer: optax.GradientTransformation
  frozen: tuple[str, ...] = ()
  perturb_weights: PerturbedWeights | None = None


@dataclasses.dataclass(frozen=True)
class Game:
  """One phase of a training.

  Attributes:
    parts: by name, in the order in which they are computed. Their variables are those of the state:
      {'params': {part: ...}, 'batch_stats': {part: ...}, 'memory': {term: ...}}, each with a
      leading axis of the networks side by side. A single part may be called '': then it has no
      name in them.
    players: who trains the parts. A part that nobody trains stays what it is, bit for bit.
    guides: parts that nobody trains and that all networks side by side share. Their variables lie
      with the data and are in no checkpoint.
    in_turn: whether the players move one after the other in a step, each seeing what those before
      have changed; else all move at once.
    perturb_inputs: further views by name, made in this order against the parts as they stand.
    beliefs: what is thought of the whole data, such as labels, weights or neighbours of every row,
      by name: key -> a tree of arrays to begin with. No step moves them; a `problem.Refresh` may,
      and terms see them. They are in the state as {'beliefs': {name: ...}}.
  """

  parts: Mapping[str, Part]
  players: tuple[Player, ...]
  guides: Mapping[str, Part] = dataclasses.field(default_factory=dict)
  in_turn: bool = False
  perturb_inputs: Mapping[str, PerturbedView] = dataclasses.field(default_factory=dict)
  beliefs: Mapping[str, Callable[[jax.Array], Any]] = dataclasses.field(default_factory=dict)

  @property
  def followers(self) -> dict[str, tuple[str, float]]:
    """The parts that follow another: (that part, momentum) by name."""
    return {
      name: (part.follows, part.momentum) for name, part in self.parts.items() if part.follows
    }

  def __post_init__(self):
    if not self.parts or not self.players:
      raise ValueError('A game needs a part and a player.')
    if '' in self.parts and len(self.parts) > 1:
      raise ValueError("A part without a name, '', is the only one.")
    _check_once('part or guide', (*self.parts, *self.guides))
    _check_once('player', [player.name for player in self.players])
    for player in self.players:
      _check_once(f'term of {player.name or "the player"}', [term.name for term in player.terms])
      if not player.terms:
        raise ValueError(f'The player {player.name!r} has no term.')
    terms = itertools.chain.from_iterable(player.terms for player in self.players)
    _check_once('term with a memory', [term.name for term in terms if term.memory])
    for name, part in self.parts.items():
      if part.module is None:
        raise ValueError(f'The part {name!r} is a function: only guides are.')
      if part.twin_of and part.twin_of not in self._owners_before(name, part.module):
        raise ValueError(f'The part {name!r} is the twin of no part before it with its network.')
      if part.follows and part.follows not in self._owners_before(name, part.module):
        raise ValueError(f'The part {name!r} follows no part before it with its network.')
      if part.follows and part.twin_of:
        raise ValueError(f'The part {name!r} has no weights of its own, so it follows none.')
    for player in self.players:
      followed = [name for name in self.followers if _leads_into(player, name)]
      if followed:
        raise ValueError(f'The part {followed[0]!r} follows another, and nobody trains it.')
    for name, guide in self.guides.items():
      if guide.reads is not None or guide.twin_of:
        raise ValueError(f'The guide {name!r} reads a view by itself, not what others give.')
    for name, view in self.perturb_inputs.items():
      if view.part not in self.parts:
        raise errors.unknown('part', view.part, self.parts)
      if self.parts[view.part].reads is not None:
        raise ValueError(f'The view {name!r} is made against a part that reads no view.')
    if len(self.players) > 1 and not self.in_turn:
      for player in self.players:
        if player.perturb_weights is not None:
          raise ValueError(f'The player {player.name!r} with perturbed weights moves in turn.')

  def _owners_before(self, name, module):
    """Names of the parts before one that have a network, with weights of their own."""
    before = itertools.takewhile(lambda item: item[0] != name, self.parts.items())
    return [owner for owner, part in before if part.module is module and not part.twin_of]


def _leads_into(player, part):
  """Whether a player trains something of a part."""
  return any(path.partition('/')[0] == part for path in player.trains)


def _check_once(kind, names):
  twice = [name for number, name in enumerate(names) if name in names[:number]]
  if twice:
    raise ValueError(f'There are two of one name: {kind} {twice[0]!r}.')
