"""Forward correction: a classifier of the true label behind a transition matrix (Patrini et al.,
CVPR 2017), which Dual-T estimates (Yao et al., NeurIPS 2020)."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.label_noise import transitions
from jaxdistill.label_noise.method import NET, Believed, Method, Phase, Setting
from jaxdistill.losses.classification import cross_entropy, weighted_mean
from jaxdistill.training.game import Game, Part, Player, Term

# What is believed of the noise.
TRANSITION = 'transition'
_TINY = 1e-37


def method(
  setting: Setting,
  *,
  estimate_epochs: int = 20,
  estimator: Literal['dual', 'max'] = 'dual',
  percentile: float = 0.0,
) -> Method:
  """Returns forward correction in two phases.

  'estimate': CE on the noisy labels. From its answers on the training set T is estimated, see
  `label_noise.transition`. 'forward', from new weights:

      L = - mean_i log sum_j softmax(f(x_i))[j] T[j, y_i]

  Args:
    setting: what it is for.
    estimate_epochs: of the first phase. It must end before the network knows wrong labels by
      heart, else T is the identity; 0: as many as the recipe has.
    estimator: of T.
    percentile: of 0 to below 100, see `label_noise.transition`; 0: the largest probability counts.

  Raises:
    UserError: a number out of range.

  Source: Patrini et al., Yao et al. The 20 epochs are those of the public code of T-Revision (Xia
    et al., NeurIPS 2019), which takes the best of them on noisy validation images; that the last
    one serves is ours.
  """
  errors.whole('estimate_epochs', estimate_epochs)
  errors.real_numbers(percentile=percentile)
  if not 0 <= percentile < 100:
    raise errors.UserError(f'percentile is {percentile}; it must be from 0 to below 100.')
  epochs, classes = estimate_epochs or setting.epochs, setting.classes

  def ce(scene):
    return cross_entropy(scene[NET]['logits'], scene.batch['labels'], scene.batch['weight'])

  def forward(scene):
    labels = scene.batch['labels'].argmax(-1)
    losses = forward_losses(scene[NET]['logits'], labels, scene.beliefs[TRANSITION])
    return weighted_mean(losses, scene.batch['weight'])

  def begin(ended, look):
    answers = jax.nn.softmax(jnp.asarray(look(ended['estimate'])['logits']))
    estimated = lambda network: transitions.transition(
      setting.evidence.labels, network, estimator, percentile or None
    )
    matrices = np.stack([estimated(network) for network in np.asarray(answers)])
    return {'beliefs': {TRANSITION: matrices.astype(np.float32)}}

  def game(loss, optimizer, **beliefs):
    player = Player('', (NET,), (Term('ce', loss),), optimizer)
    return Game({NET: Part(setting.network)}, (player,), beliefs=beliefs)

  identity = {TRANSITION: lambda key: jnp.eye(classes)}
  estimate = Phase('estimate', game(ce, setting.optimizer(epochs)), epochs)
  corrected = game(forward, setting.optimizer(), **identity)
  return Method(
    (estimate, Phase('forward', corrected, setting.epochs, begin=begin)), believe=believe
  )


def forward_losses(logits: jax.Array, labels: jax.Array, transition: jax.Array) -> jax.Array:
  """Returns -log P(noisy label) by example, [n], from logits of the true label.

  Args:
    logits: [n, C].
    labels: noisy, int [n].
    transition: T [C, C], rows true.

  >>> T = jnp.array([[0.75, 0.25], [0.0, 1.0]])
  >>> round(forward_losses(jnp.array([[99.0, 0.0]]), jnp.array([1]), T).item(), 4)   # log 4
  1.3863
  """
  # In the space of logarithms a network that is sure and wrong keeps its gradient. A label that T
  # never gives is all but impossible, so that its loss is a number.
  is_given = transition.sum(0, keepdims=True) > 0
  log_t = jnp.log(jnp.where(is_given, transition, _TINY))
  return -jax.nn.logsumexp(jax.nn.log_softmax(logits) + log_t.T[labels], axis=-1)


def believe(variables, look) -> Believed:
  """Returns T."""
  return Believed(transition=np.asarray(variables['beliefs'][TRANSITION]))
