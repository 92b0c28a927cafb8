"""What an attack raises: losses of each image, in logits."""

import jax
import jax.numpy as jnp

_TINY = 1e-12


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """-log softmax(z)_y of each image, [b].

  Its gradient is 0 in float32 where the largest logit leads by about 100: there attacks that follow
  it see nothing, however weak the network.

  >>> round(float(cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))[0]), 4)   # log 4
  1.3863
  """
  log_p = jax.nn.log_softmax(logits)
  return -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]


def margin(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """z_y - max_{j != y} z_j of each image, [b]: negative where the network is wrong.

  The true class counts as -inf in the maximum. A product with 0 instead, as in released code of
  this loss, makes the maximum 0 where all other logits are negative.

  >>> margin(jnp.array([[-1.0, -5.0, -2.0]]), jnp.array([0])).tolist()
  [1.0]
  """
  true = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
  return true - jnp.max(_others(logits, labels), axis=1)


def dlr(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Difference of logits ratio, -(z_y - max_{j != y} z_j) / (z_(1) - z_(3)), [b]; z_(k) is the k-th
  largest logit.

  It does not change when logits are scaled or shifted, hence neither does an attack.

  Source: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse
  parameter-free attacks (ICML 2020).

  Args:
    logits: [b, C] of at least three classes.
    labels: [b].

  >>> dlr(jnp.array([[5.0, 3.0, 1.0, 0.0]]), jnp.array([0])).tolist()   # -(5 - 3) / (5 - 1)
  [-0.5]
  """
  top = jax.lax.top_k(logits, 3)[0]
  return -margin(logits, labels) / (top[:, 0] - top[:, 2] + _TINY)


def targeted_dlr(logits: jax.Array, labels: jax.Array, targets: jax.Array) -> jax.Array:
  """Difference of logits ratio to a class t, -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), [b].

  Source: as `dlr`.

  Args:
    logits: [b, C] of at least four classes.
    labels: y [b].
    targets: t [b].

  >>> z = jnp.array([[5.0, 3.0, 2.0, 0.0]])
  >>> targeted_dlr(z, jnp.array([0]), jnp.array([1])).tolist()   # -(5 - 3) / (5 - (2 + 0) / 2)
  [-0.5]
  """
  top = jax.lax.top_k(logits, 4)[0]
  width = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
  return -difference(logits, labels, targets) / (width + _TINY)


def difference(logits: jax.Array, labels: jax.Array, targets: jax.Array) -> jax.Array:
  """z_y - z_t of each image, [b].

  >>> difference(jnp.array([[3.0, 1.0]]), jnp.array([0]), jnp.array([1])).tolist()
  [2.0]
  """
  pairs = jnp.take_along_axis(logits, jnp.stack([labels, targets], axis=1), axis=1)
  return pairs[:, 0] - pairs[:, 1]


def ranked(logits: jax.Array, labels: jax.Array, number: int) -> jax.Array:
  """Returns the `number` most probable wrong classes of each image, the likeliest first, int32
  [b, number]; of equal logits the class with the smaller number counts as the larger.

  >>> ranked(jnp.array([[1.0, 9.0, 4.0, 4.0]]), jnp.array([1]), 2).tolist()
  [[2, 3]]
  """
  return jax.lax.top_k(_others(logits, labels), number)[1].astype(jnp.int32)


def wrong(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Whether the largest logit is not that of the label, bool [b]; of equal logits the class with
  the smaller number counts as the larger.

  >>> wrong(jnp.array([[1.0, 1.0]]), jnp.array([0])).tolist()
  [False]
  """
  return jnp.argmax(logits, axis=1) != labels


def _others(logits, labels):
  """Logits with that of the label at -inf."""
  return jnp.where(jax.nn.one_hot(labels, logits.shape[1], dtype=bool), -jnp.inf, logits)
