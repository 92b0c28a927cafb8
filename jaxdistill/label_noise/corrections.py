"""Losses of a matrix of noisy labels that know the labels' transitions, and plain cross-entropy.

For label j with answer g = sigmoid(f_j(x)), clean = (1 - g, g) and noisy = T[j]^T clean; y is the
noisy label. All in logarithms, so that no answer is too sure. Every function takes

  logits: f(x), [n, q].
  noisy: labels, 0 or 1, [n, q].
  transition: T, [q, 2, 2], rows clean 0 and 1, columns noisy 0 and 1.

and returns a loss of each label, [n, q]. With T = I all are the plain cross-entropy.
"""

import jax
import jax.numpy as jnp

# No determinant is nearer to 0.
_LEAST_DETERMINANT = 1e-3


def plain(logits: jax.Array, noisy: jax.Array) -> jax.Array:
  """-log clean[y].

  >>> plain(jnp.zeros((1, 1)), jnp.ones((1, 1))).round(4)   # log 2
  Array([[0.6931]], dtype=float32)
  """
  return -_chosen(log_clean(logits), noisy)


def reweight(logits: jax.Array, noisy: jax.Array, transition: jax.Array) -> jax.Array:
  """-beta log clean[y] with beta = clean[y] / noisy[y], through which no gradient flows.

  Source: importance reweighting, Liu and Tao, TPAMI 2016; per label as in MLNTM (Li et al., NeurIPS
    2022).

  >>> missing = jnp.array([[[1.0, 0.0], [0.5, 0.5]]])   # half of the ones are missing
  >>> reweight(jnp.zeros((1, 1)), jnp.zeros((1, 1)), missing).round(4)   # 2/3 log 2
  Array([[0.4621]], dtype=float32)
  """
  beta = importance(logits, noisy, transition)
  return jax.lax.stop_gradient(beta) * plain(logits, noisy)


def revision(logits: jax.Array, noisy: jax.Array, transition: jax.Array) -> jax.Array:
  """`reweight` as T sees it: the gradient reaches T through beta, and nothing else.

  Source: T-Revision (Xia et al., NeurIPS 2019), in whose public code the answers have a gradient
    through beta too.

  >>> missing = jnp.array([[[1.0, 0.0], [0.5, 0.5]]])
  >>> revision(jnp.zeros((1, 1)), jnp.zeros((1, 1)), missing).round(4)
  Array([[0.4621]], dtype=float32)
  """
  logits = jax.lax.stop_gradient(logits)
  return importance(logits, noisy, transition) * plain(logits, noisy)


def forward(logits: jax.Array, noisy: jax.Array, transition: jax.Array) -> jax.Array:
  """-log noisy[y].

  Source: forward correction, Patrini et al., CVPR 2017.

  >>> missing = jnp.array([[[1.0, 0.0], [0.5, 0.5]]])
  >>> forward(jnp.zeros((1, 1)), jnp.ones((1, 1)), missing).round(4)   # -log 1/4
  Array([[1.3863]], dtype=float32)
  """
  return -_chosen(log_noisy(logits, transition), noisy)


def backward(logits: jax.Array, noisy: jax.Array, transition: jax.Array) -> jax.Array:
  """-sum_k (T^-1)[y, k] log clean[k], whose mean over the noisy labels of one clean label is its
  cross-entropy. It has no lower bound.

  A determinant below 0.001 counts as that (our choice).

  Source: backward correction, Patrini et al., CVPR 2017.

  >>> missing = jnp.array([[[1.0, 0.0], [0.5, 0.5]]])   # T^-1 = [[1, 0], [-1, 2]]
  >>> sure = jnp.array([[2.0]])
  >>> backward(sure, jnp.ones((1, 1)), missing).round(1)   # 2 * 0.13 - 2.13
  Array([[-1.9]], dtype=float32)
  """
  false_positive, false_negative = transition[:, 0, 1], transition[:, 1, 0]
  determinant = 1 - false_positive - false_negative
  sign = jnp.where(determinant < 0, -1.0, 1.0)
  determinant = sign * jnp.maximum(jnp.abs(determinant), _LEAST_DETERMINANT)
  rows = [1 - false_negative, -false_positive, -false_negative, 1 - false_positive]
  inverse = jnp.stack(rows, -1).reshape(-1, 2, 2) / determinant[:, None, None]
  return -jnp.einsum('jyk,njk,njy->nj', inverse, log_clean(logits), _one_hot(noisy))


def importance(logits: jax.Array, noisy: jax.Array, transition: jax.Array) -> jax.Array:
  """beta = clean[y] / noisy[y], [n, q].

  >>> importance(jnp.array([[-200.0]]), jnp.ones((1, 1)), jnp.eye(2)[None]).tolist()
  [[1.0]]
  """
  ratio = log_clean(logits) - log_noisy(logits, transition)
  return jnp.exp(_chosen(ratio, noisy))


def posterior(logits: jax.Array, noisy: jax.Array, transition: jax.Array) -> jax.Array:
  """P(clean label is 1 | x, y) = T[1, y] clean[1] / noisy[y], [n, q].

  >>> missing = jnp.array([[[1.0, 0.0], [0.5, 0.5]]])
  >>> posterior(jnp.zeros((2, 1)), jnp.array([[0], [1]]), missing).round(1).ravel()
  Array([0.3, 1. ], dtype=float32)
  """
  joint = log_clean(logits)[..., 1:] + _log(transition)[None, :, 1]
  return jnp.exp(_chosen(joint - log_noisy(logits, transition), noisy))


def log_clean(logits: jax.Array) -> jax.Array:
  """(log(1 - g), log g), [n, q, 2]."""
  logits = logits.astype(jnp.float32)
  return jnp.stack([jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)], -1)


def log_noisy(logits: jax.Array, transition: jax.Array) -> jax.Array:
  """log(T^T (1 - g, g)), [n, q, 2]."""
  clean, transition = log_clean(logits), _log(transition)[None]
  return jnp.logaddexp(clean[..., :1] + transition[:, :, 0], clean[..., 1:] + transition[:, :, 1])


def _log(transition):
  """Its logarithm, -inf without a gradient where it is 0."""
  some = transition > 0
  return jnp.where(some, jnp.log(jnp.where(some, transition, 1)), -jnp.inf)


def _chosen(of_values, noisy):
  """The number of the observed value: [n, q, 2] -> [n, q]."""
  return jnp.where(noisy > 0, of_values[..., 1], of_values[..., 0])


def _one_hot(noisy):
  return jnp.stack([noisy <= 0, noisy > 0], -1).astype(jnp.float32)
