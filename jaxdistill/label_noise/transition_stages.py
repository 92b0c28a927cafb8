"""The phases by which a classifier and the matrices T^r(x) of annotators are learned: the
classifier alone, the matrices alone on examples of well-known class, and both together."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.label_noise import terms
from jaxdistill.label_noise.annotator_steps import AnnotatorSteps, asked_alone
from jaxdistill.label_noise.keeping import Keeping
from jaxdistill.label_noise.method import NET, Phase, Setting
from jaxdistill.label_noise.observed import ANNOTATORS, GIVEN
from jaxdistill.label_noise.transition_networks import Trunk
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.learner import BELIEFS

# The parts of T^r(x).
TRUNK, HEADS = 'trunk', 'heads'
# Beliefs: the class of each example, which are distilled, and the annotators' graph.
GUESS, KEPT, GRAPH = 'guess', 'kept', 'graph'
_TINY = 1e-20  # added to a probability


def classifier_alone(setting: Setting, epochs: int, keeping: Keeping) -> Phase:
  """Returns the phase of the classifier alone, on all labels, with every class held in use."""
  player = Player(
    '',
    (NET,),
    (Term('ce', plain_loss), Term('balance', balance)),
    setting.optimizer(epochs, constant=True, weight_decay=0.0),
  )
  game = Game({NET: Part(setting.network)}, (player,), beliefs=keeping.beliefs)
  return Phase(
    'warmup',
    game,
    epochs,
    tables=setting.evidence.tables,
    refresh=keeping.refresh,
    first=1,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
  """The phases of one kind of last layers.

  Attributes:
    setting: of the method.
    heads: the layers, of `transition_networks`.
    width: of the trunk.
    has_graph: whether the layers read the annotators' graph.
  """

  setting: Setting
  heads: nn.Module
  width: int
  has_graph: bool = False

  def alone(self, name: str, epochs: int, begin, trains: tuple[str, ...]) -> Phase:
    """Returns the phase of T^r(x) on the distilled examples, the classifier at rest.

    Args:
      name, epochs, begin: of the phase.
      trains: `TRUNK`, `HEADS` or both.
    """
    optimizer = self.setting.optimizer(epochs, constant=True, weight_decay=0.0)
    player = Player('', trains, (Term('nll', distilled_loss),), optimizer)
    return Phase(
      name,
      self._game(player),
      epochs,
      tables=self.setting.evidence.tables,
      begin=begin,
      scored=False,
    )

  def in_turn(self, name: str, begin, steps: AnnotatorSteps) -> Phase:
    """Returns the same in steps of one annotator each."""
    optimizer = self.setting.optimizer(steps.passes, constant=True, weight_decay=0.0)
    term = Term('nll', steps.loss(distilled_loss))
    player = Player('', (TRUNK, HEADS), (term,), asked_alone(optimizer, HEADS))
    return Phase(
      name,
      self._game(player, steps.beliefs),
      steps.passes,
      tables=self.setting.evidence.tables,
      begin=begin,
      batch=steps.rows,
      rows=steps.draw,
      scored=False,
    )

  def joint(self, name: str, epochs: int, begin, keeping: Keeping | None = None) -> Phase:
    """Returns the phase of the classifier and T^r(x) together, on all examples; `keeping` says what
    of it is needed later."""
    player = Player(
      '', (NET, TRUNK, HEADS), (Term('nll', joint_loss),), self.setting.optimizer(epochs)
    )
    return Phase(
      name,
      self._game(player, keeping.beliefs if keeping else {}),
      epochs,
      tables=self.setting.evidence.tables,
      begin=begin,
      refresh=keeping.refresh if keeping else None,
      first=1,
      chosen=self.chosen,
    )

  def chosen(self, variables, look) -> np.ndarray:
    """Returns the distilled examples whose most frequent label is their class, bool [networks,
    n]."""
    guess, kept = (np.asarray(variables[BELIEFS][name]) for name in (GUESS, KEPT))
    return (guess == self.setting.evidence.labels) & (kept > 0)

  def keeping(self) -> Keeping:
    """Returns what keeps trunk and layers of a joint phase at their best."""
    hidden, annotators = jnp.zeros((1, self.width)), jnp.zeros((1, 1), jnp.int32)
    forms = {
      TRUNK: first_of(self.setting, self._trunk),
      HEADS: lambda key: self.heads.init(key, hidden, annotators),
    }
    return Keeping(forms, self.setting.validation)

  @property
  def _trunk(self):
    return Trunk(self.setting.network, self.width)

  def _game(self, player, further_beliefs=None):
    is_joint = NET in player.trains

    def reads(scene):
      guess = None if is_joint else scene.beliefs[GUESS][scene.batch['index']]
      read = (scene[TRUNK]['hidden'], scene.batch[ANNOTATORS], guess)
      return (*read, scene.beliefs[GRAPH]) if self.has_graph else read

    parts = {
      NET: Part(self.setting.network, mode='train' if is_joint else 'eval'),
      TRUNK: Part(self._trunk, mode='train' if TRUNK in player.trains else 'batch'),
      HEADS: Part(self.heads, reads=reads),
    }
    return Game(parts, (player,), beliefs={**self._beliefs, **(further_beliefs or {})})

  @property
  def _beliefs(self):
    number, annotators = len(self.setting.evidence), self.setting.evidence.annotators
    beliefs = {
      GUESS: lambda key: jnp.zeros(number, jnp.int32),
      KEPT: lambda key: jnp.zeros(number, jnp.float32),
    }
    if self.has_graph:
      beliefs[GRAPH] = lambda key: jnp.eye(annotators, dtype=jnp.float32)
    return beliefs


def first_of(setting: Setting, module: nn.Module):
  """Returns key -> the first variables of a network of images."""
  images = jnp.zeros((1, *setting.examples.image_shape))
  return lambda key: module.init(key, images)


def plain_loss(scene) -> jax.Array:
  """The mean of -log p[a] over all observed labels a, p = f(x)."""
  scene = scene.gathered()
  log_p = jnp.log(jax.nn.softmax(scene[NET]['logits']) + _TINY)
  return terms.observed_nll(log_p[:, None], scene.batch)


def balance(scene) -> jax.Array:
  """sum_c (1/C) log((1/C) / mean p_c), of the mean over the batch."""
  scene = scene.gathered()
  p, weight = jax.nn.softmax(scene[NET]['logits']), scene.batch['weight'][:, None]
  mean = (weight * p).sum(0) / jnp.maximum(weight.sum(), 1e-12)
  classes = p.shape[-1]
  return -jnp.log(classes * mean + _TINY).sum() / classes


def distilled_loss(scene) -> jax.Array:
  """The mean of -log T^r(x)[y, a] over the labels of distilled examples, y the class of each."""
  scene = scene.gathered()
  batch = {name: scene.batch[name] for name in (ANNOTATORS, GIVEN)}
  batch['weight'] = scene.batch['weight'] * scene.beliefs[KEPT][scene.batch['index']]
  return terms.observed_nll(jnp.log(scene[HEADS]['rows'] + _TINY), batch)


def joint_loss(scene) -> jax.Array:
  """The mean of -log (p^T T^r(x))[a] over all observed labels."""
  scene = scene.gathered()
  p = jax.nn.softmax(scene[NET]['logits'])
  said = jnp.einsum('nj,nkjc->nkc', p, scene[HEADS]['transition'])
  return terms.observed_nll(jnp.log(said + _TINY), scene.batch)
