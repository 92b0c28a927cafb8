"""Max-MIG: a classifier and an aggregator of the crowd's labels that agree as much as they can (Cao
et al., ICLR 2019)."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdistill import errors
from jaxdistill.label_noise import aggregation
from jaxdistill.label_noise.method import NET, Method, Phase, Setting
from jaxdistill.label_noise.observed import ANNOTATORS, GIVEN
from jaxdistill.training.game import Game, Part, Player, Term

# The part that aggregates labels.
AGGREGATOR = 'aggregator'
_SMOOTH = 1e-4  # added to a probability whose logarithm is a weight at first
_TINY = 1e-12


class Aggregator(nn.Module):
  """A softmax over a sum of weights, one row for every label that an example has: 'shares' [n, C].

      g(c) = softmax_c(sum_r W[r, a^r, c] + b[c])

  >>> weights, bias = np.log([[[3.0, 1.0], [1.0, 1.0]]]), np.zeros(2)
  >>> labels = jnp.array([[0, -1]]), jnp.array([[0, -1]])
  >>> output, _ = Aggregator(weights, bias).init_with_output(jax.random.key(0), *labels)
  >>> [round(float(share), 4) for share in output['shares'][0]]
  [0.75, 0.25]

  Attributes:
    weights: W [R, C, C] at first: annotator, label, class.
    bias: b [C] at first.
  """

  weights: np.ndarray
  bias: np.ndarray

  @nn.compact
  def __call__(self, annotators: jax.Array, given: jax.Array) -> dict[str, jax.Array]:
    weights = self.param('weights', lambda key: jnp.asarray(self.weights, jnp.float32))
    bias = self.param('bias', lambda key: jnp.asarray(self.bias, jnp.float32))
    rows = weights[jnp.maximum(annotators, 0), jnp.maximum(given, 0)]
    total = (rows * (annotators >= 0)[..., None]).sum(1) + bias[None]
    return {'shares': jax.nn.softmax(total)}


def method(
  setting: Setting, *, prior: Literal['uniform', 'votes'] = 'uniform', rate: float = 0.1
) -> Method:
  """Returns Max-MIG with the KL divergence.

      K_ij = sum_c h_c(x_i) g_c(labels of j) / prior_c,   h = softmax(f)
      L = - mean_i (1 + log K_ii) + mean over i != j of K_ij

  At first g is the posterior of Dawid and Skene's model by the matrices that fit soft votes: W[r,
  a, c] = log(T^r[c, a] + 1e-4), b = log prior.

  Args:
    setting: what it is for.
    prior: of the classes: all alike, or the votes' shares of them.
    rate: learning rate of the aggregator as a share of the classifier's.

  Raises:
    UserError: a rate that is negative.

  Source: the public code of Cao et al. Ours: b is learned, from log prior; a prior of the votes.
  """
  errors.real_numbers(rate=rate)
  if rate < 0:
    raise errors.UserError(f'rate is {rate}; it must not be negative.')
  classes = np.full(setting.classes, 1 / setting.classes)
  if prior == 'votes':
    classes = setting.evidence.soft.mean(0, dtype=np.float64)
  confusions = aggregation.aggregate(setting.evidence.crowd, 'soft_mv').confusions
  weights = np.log(confusions.swapaxes(1, 2) + _SMOOTH)
  bias = np.log(classes + _TINY)

  def reads(scene):
    return scene.batch[ANNOTATORS], scene.batch[GIVEN]

  def loss(scene):
    scene = scene.gathered()
    shares = jax.nn.softmax(scene[NET]['logits']), scene[AGGREGATOR]['shares']
    return negative_gain(*shares, jnp.asarray(classes + _TINY), scene.batch['weight'])

  parts = {NET: Part(setting.network), AGGREGATOR: Part(Aggregator(weights, bias), reads=reads)}
  slower = optax.masked(optax.scale(rate), {NET: False, AGGREGATOR: True})
  optimizer = optax.chain(setting.optimizer(), slower)
  player = Player('', (NET, AGGREGATOR), (Term('mig', loss),), optimizer)
  game = Game(parts, (player,))
  return Method((Phase('max_mig', game, setting.epochs, tables=setting.evidence.tables),))


def negative_gain(
  answers: jax.Array, shares: jax.Array, prior: jax.Array, weight: jax.Array
) -> jax.Array:
  """Returns L, a scalar, from h [n, C], g [n, C], the prior [C] and the weights [n] of the rows.

  >>> rows = jnp.eye(2)   # both are certain and agree: -(1 + log 2)
  >>> negative_gain(rows, rows, jnp.array([0.5, 0.5]), jnp.ones(2)).round(4)
  Array(-1.6931, dtype=float32)
  """
  agreement = answers @ (shares / prior[None]).T
  same = jnp.log(jnp.maximum(jnp.diagonal(agreement), _TINY))
  pairs = weight[:, None] * weight[None] * (1 - jnp.eye(len(weight)))
  apart = (pairs * agreement).sum() / jnp.maximum(pairs.sum(), _TINY)
  total = jnp.maximum(weight.sum(), _TINY)
  return apart - (weight * (1 + same)).sum() / total
