"""Projectors beside each other: those that earlier sessions left, frozen, and the newest one, which
is trained.

Every projector k maps the same encoder features f [n, d] to φ_k(f) [n, e]. The frozen ones lie on a
leading axis of slots; `number` says which projector a slot holds, -1 none, so that all sessions
have the same shapes. Which of them a session t keeps is a rule, the set K_t. What their outputs
make together is

    v = a · Σ_{k in K_t} φ_k(f) + b · φ_new(f)     or, by 'concat', (a · φ_k(f), ..., b · φ_new(f))
    v̂ = v / ‖v‖

The frozen part u of v does not change while a session trains, so it is computed once for the rows
of a session and handed to every step beside f.

Source: the ensemble of frozen projectors and a new one is that of PKI (Bao et al., Neural Networks
192, 2025); how the outputs are combined is our choice, as the paper's formula was not at hand.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.fscil.learner import (
  Arrivals,
  Memory,
  Rows,
  Start,
  State,
  cross_entropy,
  new_means,
  replay,
)
from jaxdistill.losses.prototypes import cosine_logits, unit
from jaxdistill.models.heads import Projector


def width(params: Mapping[str, Any]) -> int:
  """Returns e of one projector of the form `models.heads.Projector`."""
  return params['linear3']['kernel'].shape[-1]


def of_head(start: Start, *parts: str) -> list[Any]:
  """Returns parts of the head that the base session leaves: 'projector', 'rows'.

  Raises:
    UserError: the base network has a head of another kind.

  >>> of_head(Start({'rows': jnp.ones((3, 2))}, None, None), 'projector', 'rows')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: This learner goes on from a base network whose head has a ...
  """
  head = start.head or {}
  if not set(parts) <= set(head):
    raise errors.UserError(
      f'This learner goes on from a base network whose head has a {" and ".join(parts)}; there is '
      f'{", ".join(sorted(head)) or "no head"}.'
    )
  return [head[part] for part in parts]


def project(params: Mapping[str, Any], features: jax.Array) -> jax.Array:
  """Returns φ(f) [n, e] of such a projector."""
  return Projector(width(params)).apply({'params': params}, features)


@dataclasses.dataclass(frozen=True)
class Ensemble:
  """The pure functions of such a stack of projectors and of the classifier behind it,

      logit_c = s · v̂ᵀ w_c / ‖w_c‖

  They take a learner's state and return it with these parts changed:

      frozen     {'params': every leaf [slots, ...], 'number': int [slots]}
      projector  parameters of the newest one
      rows       [C, width], the classifier's; with 'concat' e columns for every slot, then e for
                 the newest projector

  Attributes:
    keep: (number k, session t) -> bool, whether k is in K_t; of numbers or of arrays.
    sessions: T, those after the base session.
    combine: 'sum' or 'concat'.
    frozen_weight, newest_weight: a and b. As long as nothing is frozen, v is φ_new(f) alone.
    scale: s.
    unit_rows: whether w_c is divided by its length.
    project: (parameters, features [n, d]) -> [n, e], one projector.

  >>> ensemble = Ensemble(lambda k, t: k < t, sessions=3, project=lambda p, f: p * f)
  >>> state = ensemble.start(jnp.float32(2.0), jnp.ones((1, 2)), num_classes=3)
  >>> state = ensemble.advance(state, 1)                 # 2 is frozen, the newest is a copy of it
  >>> state = {**state, 'projector': jnp.float32(5.0)}   # trained
  >>> ensemble.outputs(state, jnp.ones((1, 2))).tolist(), int(live_projectors(state))
  ([[7.0, 7.0]], 2)
  """

  keep: Callable[[Any, Any], Any]
  sessions: int
  combine: str = 'sum'
  frozen_weight: float = 1.0
  newest_weight: float = 1.0
  scale: float = 16.0
  unit_rows: bool = True
  project: Callable[[Any, jax.Array], jax.Array] = project

  def __post_init__(self):
    errors.positive_numbers(scale=self.scale)

  @property
  def slots(self) -> int:
    """The most projectors that any K_t holds.

    >>> rules = [lambda k, t: k < t, lambda k, t: k == 0, lambda k, t: k < 0]
    >>> [Ensemble(rule, sessions=4).slots for rule in rules]
    [4, 1, 0]
    """
    return max((self._kept(session) for session in range(1, self.sessions + 1)), default=0)

  def _kept(self, session):
    return sum(bool(self.keep(number, session)) for number in range(session))

  def start(self, params: Any, rows: jax.Array, num_classes: int) -> State:
    """Returns the state after the base session: nothing frozen, the base's projector the newest.

    Args:
      params: of the base network's projector.
      rows: [B, e] of its classifier.
      num_classes: C.
    """
    rows = jnp.pad(rows, ((0, num_classes - len(rows)), (0, 0)))

    def empty(leaf):
      return jnp.zeros((self.slots, *leaf.shape), leaf.dtype)

    if self.combine == 'concat':
      rows = jnp.pad(rows, ((0, 0), (self.slots * rows.shape[1], 0)))
    frozen = {'params': jax.tree.map(empty, params), 'number': jnp.full(self.slots, -1, jnp.int32)}
    return {'frozen': frozen, 'projector': params, 'rows': rows}

  def advance(self, state: State, session: jax.Array | int) -> State:
    """Returns the state at the start of session t >= 1: projectors outside K_t dropped, the last
    session's frozen if it is in K_t, the newest a copy of it.

    With 'concat' the columns of `rows` follow their projectors. Those of a newest projector whose
    original is frozen start at 0, which divides all old logits of an example by one factor: no
    decision changes.
    """
    if not self.slots:
      return state
    number, last = state['frozen']['number'], jnp.asarray(session, jnp.int32) - 1
    number = jnp.where((number >= 0) & self.keep(number, session), number, -1)
    # Behind the last slot, where nothing is written, if it is not kept.
    slot = jnp.where(self.keep(last, session), jnp.argmin(number), self.slots)
    params = jax.tree.map(
      lambda stack, leaf: stack.at[slot].set(leaf, mode='drop'),
      state['frozen']['params'],
      state['projector'],
    )
    frozen = {'params': params, 'number': number.at[slot].set(last, mode='drop')}
    rows = state['rows']
    if self.combine == 'concat':
      rows = self._follow(rows, number >= 0, slot)
    return {**state, 'frozen': frozen, 'rows': rows}

  def _follow(self, rows, kept, slot):
    """Moves the columns of the classifier as `advance` moves the projectors."""
    blocks = rows.reshape(len(rows), self.slots + 1, -1)
    last = blocks[:, -1]
    blocks = blocks * jnp.append(kept, True).reshape(1, -1, 1)
    # A newest projector that is not frozen keeps its columns, in the last block.
    blocks = blocks.at[:, slot].set(last)
    blocks = blocks.at[:, -1].set(jnp.where(slot < self.slots, 0.0, last))
    return blocks.reshape(rows.shape)

  def past(self, frozen: Mapping[str, Any], features: jax.Array) -> jax.Array:
    """Returns u, the frozen projectors' part of v: [n, e], or [n, slots · e] with 'concat'."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), frozen)
    zero = jnp.zeros(jax.eval_shape(self.project, one['params'], features).shape)

    def output(params, number):
      return jnp.where(number >= 0, self.frozen_weight * self.project(params, features), zero)

    # One after the other, as the outputs of all slots for a whole test set are large.
    if self.combine == 'concat':
      if not self.slots:
        return zero[:, :0]
      blocks = jax.lax.map(lambda slot: output(*slot), (frozen['params'], frozen['number']))
      return jnp.moveaxis(blocks, 0, 1).reshape(len(features), -1)
    slots = (frozen['params'], frozen['number'])
    return jax.lax.scan(lambda total, slot: (total + output(*slot), None), zero, slots)[0]

  def join(self, state: State, features: jax.Array, past: jax.Array) -> jax.Array:
    """Returns v from the features and the frozen projectors' part of it."""
    begun = jnp.any(state['frozen']['number'] >= 0)
    weight = jnp.where(begun, self.newest_weight, 1.0)
    newest = weight * self.project(state['projector'], features)
    return jnp.append(past, newest, axis=1) if self.combine == 'concat' else past + newest

  def outputs(self, state: State, features: jax.Array) -> jax.Array:
    """Returns v [n, width]."""
    return self.join(state, features, self.past(state['frozen'], features))

  def embed(self, state: State, features: jax.Array) -> jax.Array:
    """Returns v̂ [n, width]."""
    return unit(self.outputs(state, features))

  def rows(self, state: State, arrivals: Arrivals, memory: Memory) -> Rows:
    """Returns the rows of a session, new ones and memory, each with its features and u."""
    rows = replay(state, arrivals, memory)
    past = self.past(state['frozen'], rows.inputs)
    return rows._replace(inputs={'features': rows.inputs, 'past': past})

  def embed_rows(self, state: State, inputs: Mapping[str, jax.Array]) -> jax.Array:
    """Returns v̂ of such rows, for which only the newest projector is computed."""
    return unit(self.join(state, inputs['features'], inputs['past']))

  def imprint(self, state: State, arrivals: Arrivals) -> State:
    """Returns the state with the rows of the new classes at the mean v̂ of their images."""
    means = new_means(self.embed(state, arrivals.inputs), arrivals)
    return {**state, 'rows': jnp.where(arrivals.new[:, None], means, state['rows'])}

  def classify(self, state: State, embedded: jax.Array) -> jax.Array:
    """Returns the logits [n, C] of v̂ [n, width]."""
    if self.unit_rows:
      return cosine_logits(embedded, state['rows'], self.scale)
    return self.scale * jnp.matmul(embedded, state['rows'].T, precision='highest')

  def logits(self, state: State, features: jax.Array) -> jax.Array:
    """Returns the logits [n, C] of features [n, d]."""
    return self.classify(state, self.embed(state, features))

  def loss(self, state: State, batch: Rows, arrivals: Arrivals) -> jax.Array:
    """Returns the mean cross-entropy of such rows over the classes that have arrived."""
    logits = self.classify(state, self.embed_rows(state, batch.inputs))
    return cross_entropy(logits, batch.labels, batch.weight, arrivals.seen)

  def live(self, state: State, seen: jax.Array) -> jax.Array:
    """Returns how many numbers the projectors and the rows of the classes seen have, empty slots
    left out."""
    projectors, rows = live_projectors(state), state['rows']
    size = sum(leaf.size for leaf in jax.tree.leaves(state['projector']))
    columns = rows.shape[1]
    if self.combine == 'concat':
      columns = columns // (self.slots + 1) * projectors
    return projectors * size + jnp.sum(seen) * columns


def live_projectors(state: State) -> jax.Array:
  """Returns how many projectors the model has: the frozen ones and the newest."""
  return (state['frozen']['number'] >= 0).sum() + 1
