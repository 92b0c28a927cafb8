"""Contrastive representation distillation (CRD) against embeddings that are kept: of every training
image in a bank, or of the last batches in a queue.

Either is an explicit state, which the loss returns changed. The loss of one direction, for
embeddings of length 1, is

  -mean_i [ log P_i / (P_i + K/N)  +  sum_k log (K/N) / (P_ik + K/N) ],  P = exp(cos / T) / Z,

over K negatives k of other classes than i, of N images, with Z = N times the mean of exp(cos / T)
over all candidates of the first batch. N cancels: with log z the logarithm of that mean it is the
softplus of -u for the own image, and the sum of the softplus of u over the negatives, where u =
cos / T - log z - log K. Both directions are summed. The 1e-7 that the public code adds to the
denominators is left out.

Source: Tian, Krishnan & Isola, ICLR 2020, with the constants of RepDistiller, whose weight of it is
0.8 with 128 numbers an embedding and 16384 negatives.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdistill import errors
from jaxdistill.losses import rows
from jaxdistill.numerics import steady


@struct.dataclass
class Bank:
  """What CRD keeps of every training image.

  Attributes:
    student: embeddings [N, d], of length 1 once their image was seen.
    teacher: likewise.
    log_z: [2], log z of the student as anchor and of the teacher; they are set once.
    ready: whether they are set.
  """

  student: jax.Array
  teacher: jax.Array
  log_z: jax.Array
  ready: jax.Array


@struct.dataclass
class Queue:
  """What CRD keeps of the last images.

  Attributes:
    student: embeddings [Q, d].
    teacher: likewise.
    labels: int [Q]; -1 where nothing is yet.
    head: where the next image goes.
    log_z: [2], as in `Bank`.
    ready: likewise.
  """

  student: jax.Array
  teacher: jax.Array
  labels: jax.Array
  head: jax.Array
  log_z: jax.Array
  ready: jax.Array


@steady
def crd_bank(key: jax.Array, images: int, width: int) -> Bank:
  """Returns a bank of numbers uniform in +-sqrt(3 / width).

  Args:
    key: of the random numbers.
    images: N, of the training set.
    width: of the embeddings.

  >>> crd_bank(jax.random.key(0), images=5, width=3).student.shape
  (5, 3)
  """
  most = np.sqrt(3 / errors.whole('width', width, at_least=1))
  shape = (errors.whole('images', images, at_least=1), width)
  student, teacher = (
    jax.random.uniform(part, shape, jnp.float32, -most, most) for part in jax.random.split(key)
  )
  return Bank(student, teacher, jnp.zeros(2), jnp.zeros((), bool))


@steady
def crd_queue(length: int, width: int) -> Queue:
  """Returns an empty queue of a length, for embeddings of a width.

  >>> crd_queue(length=4, width=2).labels.tolist()
  [-1, -1, -1, -1]
  """
  length = errors.whole('length', length, at_least=1)
  nothing = jnp.zeros((length, errors.whole('width', width, at_least=1)), jnp.float32)
  return Queue(
    nothing,
    nothing,
    jnp.full(length, -1, jnp.int32),
    jnp.zeros((), jnp.int32),
    jnp.zeros(2),
    jnp.zeros((), bool),
  )


@steady
def crd(
  student: jax.Array,
  teacher: jax.Array,
  bank: Bank,
  images: jax.Array,
  negatives: jax.Array,
  temperature: float = 0.07,
  momentum: float = 0.5,
  weight: jax.Array | None = None,
) -> tuple[jax.Array, Bank]:
  """CRD with a bank: an anchor's positive is what the bank held of its own image, on the other
  side; its negatives are the bank's rows of images of other classes.

  After the scores the bank's rows of the batch move to momentum times the old embedding plus
  1 - momentum times the new one, brought back to length 1.

  Args:
    student: embeddings [n, d] of any length.
    teacher: likewise; its embedding is trained too.
    bank: the state.
    images: int [n], which rows of the bank these are, every one at most once.
    negatives: int [n, K], see `jaxdistill.losses.draw_negatives`.
    temperature: T.
    momentum: of the bank.
    weight: [n]; an image of weight 0 counts nowhere and leaves the bank alone.

  Returns:
    The loss, a scalar, and the new bank. No gradient goes through the bank.

  Raises:
    UserError: for shapes that do not fit, or a temperature that is not above 0.

  >>> bank = crd_bank(jax.random.key(0), images=3, width=2)
  >>> loss, bank = crd(jnp.eye(2), jnp.eye(2), bank, jnp.array([0, 1]), jnp.array([[2], [2]]))
  >>> loss.shape, bool(bank.ready)
  ((), True)
  """
  errors.positive_numbers(temperature=temperature)
  errors.real_numbers(momentum=momentum)
  student, teacher, weight = rows.aligned(student, teacher, weight, 'embeddings')
  if student.shape[1:] != bank.student.shape[1:]:
    raise errors.UserError(
      f'The bank keeps embeddings of {bank.student.shape[1]} numbers; got {student.shape}.'
    )
  student, teacher = rows.directions(student), rows.directions(teacher)
  kept = jax.lax.stop_gradient(bank)
  candidates = rows.kept(jnp.concatenate([images[:, None], negatives], 1), weight)
  # All scores by one product: to gather n K embeddings takes far longer than to compute N n scores.
  scores = jnp.stack(
    [
      jnp.take_along_axis(_scores(side, memory, temperature), candidates, 1)
      for side, memory in ((student, kept.teacher), (teacher, kept.student))
    ]
  )
  there = jnp.broadcast_to((weight > 0)[:, None], candidates.shape)
  log_z, ready = _constants(scores, there, kept)
  loss = _loss(scores, there, log_z, weight)
  place = jnp.where(weight > 0, images, len(kept.student))
  moved = []
  for side, memory in ((student, kept.student), (teacher, kept.teacher)):
    old, new = memory[candidates[:, 0]], jax.lax.stop_gradient(side).astype(memory.dtype)
    new = rows.directions(momentum * old + (1 - momentum) * new)
    moved.append(memory.at[place].set(new, mode='drop'))
  return loss, Bank(*moved, log_z, ready)


@steady
def queued_crd(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  queue: Queue,
  temperature: float = 0.07,
  weight: jax.Array | None = None,
) -> tuple[jax.Array, Queue]:
  """CRD with a queue: an anchor's positive is the other side's embedding of its image in this
  batch, its negatives are the queue's images of other classes, K of them.

  Then the batch enters the queue, in place of the oldest. An anchor without negatives has no loss,
  such as those of the first batch.

  Args:
    student: embeddings [n, d] of any length.
    teacher: likewise; its embedding is trained too.
    labels: int [n].
    queue: the state, at least as long as a batch.
    temperature: T.
    weight: [n]; an image of weight 0 counts nowhere and does not enter the queue.

  Returns:
    The loss, a scalar, and the new queue. No gradient goes through the queue.

  Raises:
    UserError: for shapes that do not fit, or a temperature that is not above 0.

  Source: the queue is that of He et al., CVPR 2020 (MoCo), for data sets of which a bank would be
  too large.

  >>> loss, queue = queued_crd(jnp.eye(2), jnp.eye(2), jnp.array([0, 1]), crd_queue(3, 2))
  >>> float(loss), queue.labels.tolist(), int(queue.head)
  (0.0, [0, 1, -1], 2)
  """
  errors.positive_numbers(temperature=temperature)
  student, teacher, weight = rows.aligned(student, teacher, weight, 'embeddings')
  length, width = queue.student.shape
  if student.shape[1] != width or len(student) > length:
    raise errors.UserError(
      f'The queue takes up to {length} embeddings of {width} numbers; got {student.shape}.'
    )
  student, teacher = rows.directions(student), rows.directions(teacher)
  kept = jax.lax.stop_gradient(queue)
  own = (student * teacher).sum(1, keepdims=True) / temperature
  scores = jnp.stack(
    [
      jnp.concatenate([own, _scores(side, memory, temperature)], 1)
      for side, memory in ((student, kept.teacher), (teacher, kept.student))
    ]
  )
  others = (kept.labels >= 0)[None, :] & (kept.labels[None, :] != labels[:, None])
  counts = jnp.where(others.any(1), weight, 0)
  there = jnp.concatenate([jnp.ones_like(others[:, :1]), others], 1) & (counts > 0)[:, None]
  log_z, ready = _constants(scores, there, kept)
  loss = _loss(scores, there, log_z, counts)
  order = jnp.cumsum(weight > 0)
  place = jnp.where(weight > 0, (kept.head + order - 1) % length, length)
  entered = []
  for values, memory in zip((student, teacher, labels), (kept.student, kept.teacher, kept.labels)):
    new = jax.lax.stop_gradient(values).astype(memory.dtype)
    entered.append(memory.at[place].set(new, mode='drop'))
  head = ((kept.head + order[-1]) % length).astype(jnp.int32)
  return loss, Queue(*entered, head, log_z, ready)


def _scores(anchors, memory, temperature):
  return jnp.matmul(anchors, memory.T, precision=jax.lax.Precision.HIGHEST) / temperature


def _constants(scores, there, state):
  """log z of both directions [2], those of the state once it is ready, and whether they are set.

  Args:
    scores: cos / T [2, n, 1 + K], the own image first.
    there: bool [n, 1 + K], the candidates that count.
    state: a bank or a queue.
  """
  number = there.sum()
  total = jax.nn.logsumexp(scores, (1, 2), b=there[None].astype(scores.dtype))
  first = jax.lax.stop_gradient(total - jnp.log(jnp.maximum(number, 1)))
  first = jnp.where(number > 0, first, 0).astype(state.log_z.dtype)
  return jnp.where(state.ready, state.log_z, first), state.ready | (number > 0)


def _loss(scores, there, log_z, weight):
  """The loss of the two directions, summed; arguments as for `_constants`."""
  number = jnp.maximum(there[:, 1:].sum(1), 1).astype(scores.dtype)
  u = scores - log_z[:, None, None] - jnp.log(number)[None, :, None]
  negative = jnp.where(there[None, :, 1:], jax.nn.softplus(u[:, :, 1:]), 0).sum(-1)
  return (rows.share(weight)[None] * (jax.nn.softplus(-u[:, :, 0]) + negative)).sum()
