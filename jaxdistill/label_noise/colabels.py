"""Co-labels: soft labels that a network and a crowd agree on, see `label_noise.tcl`."""

import jax
import jax.numpy as jnp

from jaxdistill.data.crowds import Crowd
from jaxdistill.estimation import confusions, isotonic
from jaxdistill.numerics import steady

# In place of a probability of zero, of which a logarithm is taken.
_TINY = 1e-37


@steady
@jax.jit
def annotators(crowd: Crowd, colabels: jax.Array) -> jax.Array:
  """Returns the confusion matrices [R, C, C] that soft labels [n, C] imply.

  A row without mass is uniform, a cell without is 1e-10 before rows are divided by their sums.

  >>> crowd = Crowd.from_table([[0, 1], [1, 1]], classes=2)
  >>> annotators(crowd, jnp.eye(2)).round(3).tolist()
  [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]]
  """
  return confusions.normalised(confusions.expected_counts(crowd, colabels))


@steady
@jax.jit
def by_crowd(crowd: Crowd, colabels: jax.Array, prior: jax.Array) -> jax.Array:
  """Returns what a crowd says of each example, u [n, C], by the matrices that soft labels imply.

      u_i(c) ~ prior_c prod over annotators r of i of Pi^r[c, a_i^r]

  >>> crowd = Crowd.from_table([[0, 1], [1, 1]], classes=2)
  >>> by_crowd(crowd, jnp.eye(2), jnp.array([0.5, 0.5])).round(3).tolist()
  [[1.0, 0.0], [0.0, 1.0]]
  """
  return confusions.posterior(crowd, annotators(crowd, colabels), prior)


def by_network(
  probabilities: jax.Array,
  trusted: jax.Array | None = None,
  labels: jax.Array | None = None,
) -> jax.Array:
  """Returns what a network says of each example, [n, C]: its probabilities, calibrated on trusted
  examples.

  Args:
    probabilities: [n, C].
    trusted: its probabilities of trusted examples, [m, C]; None: nothing is calibrated.
    labels: their classes, int [m].

  >>> shy = jnp.array([[0.6, 0.4], [0.5, 0.5]])
  >>> by_network(shy, jnp.array([[0.6, 0.4], [0.4, 0.6]]), jnp.array([0, 1])).round(2).tolist()
  [[1.0, 0.0], [0.5, 0.5]]
  """
  if trusted is None:
    return probabilities
  return isotonic.calibrate(isotonic.fit_classes(trusted, labels), probabilities)


@steady
@jax.jit
def agreed(network: jax.Array, crowd: jax.Array, prior: jax.Array) -> jax.Array:
  """Returns q [n, C], q_i(c) ~ network_i(c) crowd_i(c) / prior_c: both views, and the prior that
  is in both of them once.

  >>> prior = jnp.array([[0.25, 0.75]])
  >>> [round(p, 3) for p in agreed(prior, prior, prior[0])[0].tolist()]
  [0.25, 0.75]
  """
  logs = [jnp.log(jnp.maximum(part, _TINY)) for part in (network, crowd, prior[None])]
  return jax.nn.softmax(logs[0] + logs[1] - logs[2], axis=1)
