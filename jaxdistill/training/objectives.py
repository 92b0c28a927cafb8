"""Objectives: what a network is trained for, see `training.learner`."""

import flax.linen as nn

from jaxdistill import metrics
from jaxdistill.losses import classification
from jaxdistill.training.learner import Objective, Outcome


def cross_entropy(model: nn.Module, label_smoothing: float = 0.0) -> Objective:
  """Returns the objective of a classifier: the cross-entropy of its logits for the view 'images'.

  Batch normalisation takes the statistics of the batch and moves its running ones. Reports the
  accuracy on the training images as 'train_accuracy'.

  Args:
    model: a network of `models.build`.
    label_smoothing: share of the label spread over all classes.

  >>> import jax, jax.numpy as jnp
  >>> from jaxdistill import models
  >>> model = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 2, (4, 4, 1))
  >>> batch = {'images': jnp.zeros((3, 4, 4, 1)), 'labels': jnp.eye(2)[jnp.array([0, 1, 1])]}
  >>> variables = model.init(jax.random.key(0), batch['images'])
  >>> outcome = cross_entropy(model)(variables, batch | {'weight': jnp.ones(3)}, jax.random.key(1))
  >>> outcome.loss.shape, sorted(outcome.metrics), dict(outcome.moved)
  ((), ['train_accuracy'], {})
  """

  def objective(variables, batch, key):
    del key
    (logits, _), moved = model.apply(
      variables, batch['images'], train=True, mutable=['batch_stats']
    )
    labels, weight = batch['labels'], batch['weight']
    loss = classification.cross_entropy(
      logits, labels, weight=weight, label_smoothing=label_smoothing
    )
    accuracy = metrics.accuracy(logits, labels, weight)
    return Outcome(loss, {'train_accuracy': accuracy}, moved)

  return objective
