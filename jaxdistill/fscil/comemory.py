"""Co-Memory: generative co-memory regularisation (Bao, Li, Zeng, Ge, arXiv 2601.07117).
Reconstruction: of the sessions only what is stored and what is regularised is known; the formulas
and the numbers are our choice.

The base session fine-tunes a vision transformer that was pre-trained without labels, see
`generative`. Then two things are remembered of a class: its mean feature r_c (the representation
memory, which the engine keeps) and the row and bias w_c of the classifier's last layer (the weight
memory). A session trains only the classifier phi on the new images D_t, regularised by both:

    CE(phi(f), y over D_t) + lambda_r CE(phi(r_c), c over old c)
      + lambda_w mean over old c of ||w_c - w_c stored||^2

with phi(f) = W GELU(U f + u) + b, a softmax over all classes seen, and means over each set, so that
lambda_r alone, not the number of images, sets the balance of old and new.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.fscil.learner import (
  Arrivals,
  Learner,
  Memory,
  Rows,
  Start,
  State,
  Task,
  cross_entropy,
  in_sessions,
  mean_over,
  new_means,
  remembered_rows,
)
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.schedules import Schedule

HEAD = 'two_layer'


def learner(
  task: Task,
  *,
  representation: Literal['cross_entropy', 'output'] = 'cross_entropy',
  lambda_r: float = 1.0,
  weights: Literal['square', 'cosine'] = 'square',
  lambda_w: float = 0.1,
  train_hidden: bool = False,
  lambda_u: float = 1.0,
  refresh_weights: bool = False,
  steps: int = 100,
  learning_rate: float = 0.01,
  momentum: float = 0.9,
) -> Learner:
  """Returns Co-Memory's classifier and its sessions.

  The learner's state has the parts 'rows' (W and b), 'hidden' (U and u), 'stored' (the weight
  memory, and with `train_hidden` what U was) and, for 'output', 'before' (the classifier at the
  session's start).

  Args:
    task: the static facts.
    representation: the term of the remembered features. 'cross_entropy': they are still classified
      as their class. 'output': the logits of the old classes stay what they were at the session's
      start, mean over r_c of ||phi(r_c) - phi_before(r_c)||^2.
    lambda_r: its factor.
    weights: the term of the remembered rows. 'square': see the module, bias included. 'cosine':
      mean over old c of 1 - cos(w_c, w_c stored), rows alone.
    lambda_w: its factor. Plain steps are stable for 'square' below (1 + momentum) C_old /
      learning_rate.
    train_hidden: whether the first layer is trained as well.
    lambda_u: the factor of ||U - U stored||^2 (and of u), only with `train_hidden`.
    refresh_weights: whether the weight memory of an old class follows its row at the end of every
      session; else it stays what it was at the end of the one in which the class came.
    steps, learning_rate, momentum: of the full-batch descent of each session.

  Returns:
    The learner.

  Raises:
    UserError: a factor that is negative.

  Source: what is stored and that it regularises: the abstract. Two layers: summaries of the paper.
  All else, every default included: our choice.

  >>> task = Task(num_classes=4, base_classes=2, way=2, shot=1, sessions=1, dim=3)
  >>> learner(task).trained, learner(task, train_hidden=True).trained
  (('rows',), ('rows', 'hidden'))
  """
  factors = {'lambda_r': lambda_r, 'lambda_w': lambda_w, 'lambda_u': lambda_u}
  errors.real_numbers(**factors)
  for name, factor in factors.items():
    if factor < 0:
      raise errors.UserError(f'{name} is {factor}; it must be at least 0.')
  dtype = jnp.dtype(task.dtype)

  def start(key: jax.Array, start: Start) -> State:
    del key
    _check_head(start.head)
    hidden, last = start.head['hidden'], start.head['classifier']
    state = {
      'hidden': {'kernel': hidden['kernel'], 'bias': hidden['bias']},
      'rows': {'kernel': _rows(last['kernel'].T, task), 'bias': _rows(last['bias'], task)},
    }
    state['stored'] = {'rows': state['rows']}
    if train_hidden:
      state['stored']['hidden'] = state['hidden']
    return _with_before(state)

  def begin(key: jax.Array, state: State, arrivals: Arrivals, memory: Memory) -> State:
    del key, memory
    activations = hidden_activation(state['hidden'], arrivals.inputs, dtype)
    return _with_before({**state, 'rows': imprint(state['rows'], activations, arrivals)})

  def _with_before(state):
    if representation == 'cross_entropy':
      return state
    return {**state, 'before': {'hidden': state['hidden'], 'rows': state['rows']}}

  def rows(state: State, arrivals: Arrivals, memory: Memory) -> Rows:
    del state, memory
    return Rows(arrivals.inputs, arrivals.labels, arrivals.weight)

  def logits(state: State, inputs: jax.Array) -> jax.Array:
    return classify(state, inputs, dtype)

  def loss(state: State, batch: Rows, arrivals: Arrivals, memory: Memory, key: jax.Array):
    del key
    remembered = remembered_rows(arrivals, memory)
    answers = logits(state, remembered.inputs)
    if representation == 'cross_entropy':
      kept = cross_entropy(answers, remembered.labels, remembered.weight, arrivals.seen)
    else:
      earlier = jax.lax.stop_gradient(logits(state['before'], remembered.inputs))
      gaps = jnp.where(arrivals.old[None], jnp.square(answers - earlier), 0.0).sum(-1)
      kept = mean_over(gaps, remembered.weight)
    terms = {
      'classification': cross_entropy(
        logits(state, batch.inputs), batch.labels, batch.weight, arrivals.seen
      ),
      'representation': kept,
      'weights': weight_distance(state['rows'], state['stored']['rows'], arrivals.old, weights),
    }
    total = terms['classification'] + lambda_r * kept + lambda_w * terms['weights']
    if train_hidden:
      terms['hidden'] = _square(state['hidden'], state['stored']['hidden'])
      total += lambda_u * terms['hidden']
    return total, terms

  def finish(state: State, arrivals: Arrivals, memory: Memory) -> State:
    del memory
    columns = arrivals.seen if refresh_weights else arrivals.new
    stored = _chosen(columns, state['rows'], state['stored']['rows'])
    return {**state, 'stored': {**state['stored'], 'rows': stored}}

  return Learner(
    start=start,
    logits=logits,
    embed=lambda state, inputs: inputs,
    begin=begin,
    rows=rows,
    loss=loss,
    finish=finish,
    trained=('rows', 'hidden') if train_hidden else ('rows',),
    steps=in_sessions(steps, task),
    batch=task.way * task.shot,
    schedule=Schedule('constant', learning_rate),
    optimizer=Optimizer('sgd', momentum=momentum),
    live=live_numbers,
    remembers=('stored',),
  )


def hidden_activation(hidden: Any, features: jax.Array, dtype: Any = jnp.float32) -> jax.Array:
  """Returns GELU(f U + u), float32 [n, h], of features [n, d].

  Args:
    hidden: 'kernel' [d, h] and 'bias' [h].
    features: of the encoder.
    dtype: of the matrix product.
  """
  product = features.astype(dtype) @ hidden['kernel'].astype(dtype)
  return nn.gelu(product.astype(jnp.float32) + hidden['bias'][None], approximate=False)


def classify(state: State, features: jax.Array, dtype: Any = jnp.float32) -> jax.Array:
  """Returns the logits [n, C] of features [n, d] by a state's parts 'hidden' and 'rows'.

  >>> state = {'hidden': {'kernel': jnp.eye(2), 'bias': jnp.zeros(2)},
  ...   'rows': {'kernel': jnp.eye(3, 2), 'bias': jnp.arange(3.0)}}
  >>> classify(state, jnp.array([[9.0, 0.0]])).tolist()
  [[9.0, 1.0, 2.0]]
  """
  activations = hidden_activation(state['hidden'], features, dtype)
  return activations @ state['rows']['kernel'].T + state['rows']['bias'][None]


def imprint(rows: Any, activations: jax.Array, arrivals: Arrivals) -> Any:
  """Returns the rows of the last layer with those of the new classes: each the mean hidden
  activation of its images, at the mean length of the old rows; its bias is the mean of theirs.

  Args:
    rows: 'kernel' [C, h] and 'bias' [C].
    activations: [way * shot, h], of the arriving images.
    arrivals: of the session.

  >>> rows = {'kernel': jnp.array([[0.0, 5.0], [0.0, 0.0]]), 'bias': jnp.array([0.5, 0.0])}
  >>> arrivals = Arrivals(jnp.int32(1), None, jnp.array([1]), jnp.ones(1),
  ...   new=jnp.array([False, True]), old=jnp.array([True, False]))
  >>> grown = imprint(rows, jnp.array([[6.0, 0.0]]), arrivals)
  >>> grown['kernel'].tolist(), grown['bias'].tolist()
  ([[0.0, 5.0], [5.0, 0.0]], [0.5, 0.5])
  """
  old = arrivals.old.astype(jnp.float32)
  lengths = jnp.linalg.norm(rows['kernel'], axis=-1)
  length, bias = mean_over(lengths, old), mean_over(rows['bias'], old)
  means = new_means(activations, arrivals)
  directions = means / jnp.maximum(jnp.linalg.norm(means, axis=-1, keepdims=True), 1e-12)
  grown = {'kernel': length * directions, 'bias': jnp.broadcast_to(bias, rows['bias'].shape)}
  return _chosen(arrivals.new, grown, rows)


def weight_distance(rows: Any, stored: Any, old: jax.Array, form: str = 'square') -> jax.Array:
  """Returns how far the old rows are from the weight memory, a mean over the old classes; exactly 0
  where they are equal.

      'square': ||w_c - w_c stored||^2, bias included
      'cosine': 1 - cos(w_c, w_c stored) = ||u - u stored||^2 / 2 with u = w_c / ||w_c||, rows alone

  Args:
    rows, stored: 'kernel' [C, h] and 'bias' [C].
    old: bool [C].
    form: 'square' or 'cosine'.

  >>> rows = {'kernel': jnp.array([[0.0, 2.0], [5.0, 5.0]]), 'bias': jnp.array([1.0, 0.0])}
  >>> stored = {'kernel': jnp.array([[1.0, 0.0], [0.0, 0.0]]), 'bias': jnp.zeros(2)}
  >>> old = jnp.array([True, False])
  >>> [float(weight_distance(rows, stored, old, form)) for form in ('square', 'cosine')]
  [6.0, 1.0]
  """
  kernel, reference = rows['kernel'], stored['kernel']
  if form == 'cosine':
    squares = jnp.square(_unit(kernel) - _unit(reference)).sum(-1) / 2
  else:
    squares = jnp.square(kernel - reference).sum(-1) + jnp.square(rows['bias'] - stored['bias'])
  return mean_over(squares, old.astype(jnp.float32))


def live_numbers(state: State, seen: jax.Array) -> jax.Array:
  """Returns how many numbers the classifier has: the first layer and the rows of what is seen; what
  is remembered is not counted."""
  kernel, bias = state['hidden']['kernel'], state['hidden']['bias']
  return kernel.size + bias.size + jnp.sum(seen) * (state['rows']['kernel'].shape[1] + 1)


def _chosen(columns: jax.Array, rows: Any, others: Any) -> Any:
  """The rows of some columns, and the others' elsewhere."""
  return {
    'kernel': jnp.where(columns[:, None], rows['kernel'], others['kernel']),
    'bias': jnp.where(columns, rows['bias'], others['bias']),
  }


def _rows(of_base: jax.Array, task: Task) -> jax.Array:
  """What a head has for each base class, float32 [C, ...], with zeros for the classes to come."""
  of_base = jnp.asarray(of_base, jnp.float32)[: task.base_classes]
  missing = task.num_classes - len(of_base)
  return jnp.pad(of_base, ((0, missing), *((0, 0),) * (of_base.ndim - 1)))


def _square(tree: Any, other: Any) -> jax.Array:
  gaps = jax.tree.map(lambda a, b: jnp.sum(jnp.square(a - b)), tree, other)
  return sum(jax.tree.leaves(gaps))


def _unit(rows: jax.Array) -> jax.Array:
  """Rows of length 1. The root is taken of numbers above 0 alone: rows of classes to come are 0,
  and must have a gradient."""
  squares = jnp.sum(jnp.square(rows), axis=-1, keepdims=True)
  return rows * jax.lax.rsqrt(jnp.maximum(squares, 1e-24))


def _check_head(head: Any) -> None:
  if head is None or not {'hidden', 'classifier'} <= set(head):
    raise errors.UserError(
      'Co-Memory continues a classifier of two layers: train the base network with the head '
      "'two_layer'."
    )
