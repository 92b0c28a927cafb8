"""What a method of learning from wrong labels is: which networks learn in which phases, and what is
thought of the training set in between.

A method's file has one function, (setting, *, fields with defaults) -> Method. It sees the labels
as they were observed, never the true ones.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import flax.linen as nn
import jax
import numpy as np
import optax

from jaxdistill.data.examples import Examples
from jaxdistill.data.transform import Transform
from jaxdistill.data.views import Views
from jaxdistill.errors import UserError
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.training.game import Game

# The part of a game that is the classifier.
NET = 'net'


class Look(Protocol):
  """What the networks of a game answer to a whole set, in eval mode and without augmentation."""

  def __call__(
    self, variables: Mapping[str, Any], part: str = NET, of: str = 'train'
  ) -> dict[str, np.ndarray]:
    """Returns the outputs of a part by name, [R, n, ...] each: 'logits', 'embedding', ...

    Args:
      variables: of R games side by side, collections by name with the leading axis R.
      part: a part of the phase's game that reads a view.
      of: 'train', 'validation' or 'trusted'.
    """


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
  """All that a method is made for.

  Attributes:
    network: the classifier, without weights.
    evidence: the observed labels of the training examples.
    examples: these examples; their labels are the majority votes of the evidence.
    trusted: examples whose labels are believed; None: there are none.
    validation: the observed labels of held-out examples; None: none are held out.
    epochs: passes over the training examples that the recipe asks for.
    batch: rows a step.
    epoch_steps: steps of a pass.
    weak: operations of the recipe's usual view.
    strong: operations of a view for contrastive learning.
    make_optimizer: see `optimizer`.
    make_views: see `views`.
    rate: the recipe's learning rate as a function of the step.
  """

  network: nn.Module
  evidence: Evidence
  examples: Examples
  epochs: int
  batch: int
  epoch_steps: int
  weak: tuple[Transform, ...]
  strong: tuple[Transform, ...]
  make_optimizer: Callable[..., optax.GradientTransformation]
  make_views: Callable[..., Views]
  trusted: Examples | None = None
  validation: Evidence | None = None
  rate: optax.Schedule = optax.constant_schedule(0.01)

  @property
  def classes(self) -> int:
    """C, or q of a matrix of labels."""
    return self.evidence.classes

  def check_warmup(self, field: str, warmup: int, what: str) -> None:
    """Raises `UserError` for a warm-up that leaves no epoch to what follows it.

    Args:
      field: of the method, how many epochs the warm-up takes.
      warmup: its value.
      what: happens after the warm-up, for people.
    """
    if warmup >= self.epochs:
      raise UserError(
        f'{field} is {warmup}, and there are {self.epochs} epochs; {what} after the warm-up, so it '
        f'must be shorter: lower method.{field}, or raise learning.epochs.'
      )

  def optimizer(
    self,
    epochs: int = 0,
    learning_rate: float = 0.0,
    *,
    constant: bool = False,
    weight_decay: float | None = None,
    on: str = 'train',
  ) -> optax.GradientTransformation:
    """Returns the recipe's optimiser for a phase.

    Args:
      epochs: of the phase, over which the schedule is stretched; 0: the recipe's.
      learning_rate: 0: the recipe's.
      constant: whether it stays what it is in place of the schedule.
      weight_decay: None: the recipe's.
      on: the examples that the phase goes over, `Phase.on`: their number is that of its steps.
    """
    return self.make_optimizer(epochs or self.epochs, learning_rate, constant, weight_decay, on)

  def views(
    self, named: Mapping[str, tuple[Transform, ...]], common: tuple[Transform, ...] = ()
  ) -> Views:
    """Returns views by name, each with its operations, normalised; mirrored only where an example
    keeps its class. Without a `Phase.views` there is one view, 'images', the weak one."""
    return self.make_views(named, common)


@dataclasses.dataclass(frozen=True, eq=False)
class Phase:
  """One training of a method's networks.

  Attributes:
    name: unique in the method.
    game: parts, players and beliefs.
    epochs: passes over the examples.
    on: the examples, 'train' or 'trusted'.
    tables: further entries of a batch, [n, ...] by name.
    views: what a step makes of its rows; None: the weak view, 'images'.
    begin: (ended, look) -> variables [R, ...] to begin with, or some of them: {'params': {part:
      ...}, 'batch_stats': {part: ...}, 'beliefs': {name: ...}}; `ended` has the last variables of
      the phases before, by name, and `look` answers with this phase's parts. None: all are new.
    refresh: (variables, look, step) -> beliefs [R, ...] by name, all or some: what is thought of
      the whole set anew. `step` is the number of the next step.
    first: passes before the first refresh, a multiple of `every`.
    every: passes from one refresh to the next.
    rows: (key, step, beliefs) -> (positions int [b], weights float [b]) of the rows of a step, by
      the beliefs of one network; None: shuffled passes.
    batch: rows a step; 0: the setting's.
    scored: whether `Method.answer` makes sense of this phase's parts, so that the networks are
      scored on the way.
    chosen: (variables, look) -> bool [R, n] (or a row a seed), the training examples whose label is
      believed now; a row of none says that nothing was chosen yet. None: the phase takes all.
    embedding: output of the part `NET` in which the training examples nearest to a test example
      vote for its class, with their observed labels, once the phase has ended; '': none do.
  """

  name: str
  game: Game
  epochs: int
  on: str = 'train'
  tables: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  views: Views | None = None
  begin: Callable[[Mapping[str, Any], Look], Mapping[str, Any]] | None = None
  refresh: Callable[[Mapping[str, Any], Look, int], Mapping[str, Any]] | None = None
  first: int = 0
  every: int = 1
  rows: Callable[..., tuple[jax.Array, jax.Array]] | None = None
  batch: int = 0
  scored: bool = True
  chosen: Callable[[Mapping[str, Any], Look], np.ndarray] | None = None
  embedding: str = ''


@dataclasses.dataclass(frozen=True, eq=False)
class Believed:
  """What R networks of a method think of the training set in the end; None: nothing of its own.

  Attributes:
    labels: probabilities of the true labels, [R, n, C] (of a matrix [R, n, q]).
    confident: which examples it trusts, bool [R, n].
    confusions: of the annotators, [R, annotators, C, C], rows true.
    transition: T, [R, C, C], or of a matrix [R, q, 2, 2].
  """

  labels: np.ndarray | None = None
  confident: np.ndarray | None = None
  confusions: np.ndarray | None = None
  transition: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
  """A way to learn from wrong labels.

  Attributes:
    phases: one after the other; the networks of the last one are the result.
    members: networks side by side that make one answer, the mean of their probabilities; number k
      of a seed s is network `s * members + k`.
    answer: (variables of one game, images) -> probabilities [n, C]; None: the softmax of the part
      `NET` (the sigmoid for a matrix of labels).
    believe: (variables of the last phase, look) -> what they think of the training set; None: what
      they answer is all.
    reconstruction: whether it follows a paper that could not be read whole.
  """

  phases: tuple[Phase, ...]
  members: int = 1
  answer: Callable[[Mapping[str, Any], jax.Array], jax.Array] | None = None
  believe: Callable[[Mapping[str, Any], Look], Believed] | None = None
  reconstruction: bool = False
