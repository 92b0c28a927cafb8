"""The term that every student has: the cross-entropy of its logits and the labels."""

from collections.abc import Callable

import jax

from jaxdistill import losses
from jaxdistill.training.players import Scene, Term


def label_term(part: str, weight: float = 1.0) -> Term:
  """Returns the cross-entropy of a part's logits as a term.

  >>> import jax.numpy as jnp
  >>> batch = {'labels': jnp.eye(2), 'weight': jnp.ones(2)}
  >>> scene = Scene({'student': {'logits': jnp.zeros((2, 2))}}, batch)
  >>> round(float(label_term('student').loss(scene)), 4)
  0.6931
  """
  return Term('cross_entropy', cross_entropy(part), weight)


def cross_entropy(part: str) -> Callable[[Scene], jax.Array]:
  """Returns the loss of `label_term`, the mean over the rows by their weight."""

  def loss(scene):
    labels, weight = scene.batch['labels'], scene.batch['weight']
    return losses.cross_entropy(scene[part]['logits'], labels, weight=weight)

  return loss


def logit_kd(student: str, teacher: str, temperature: float) -> Callable[[Scene], jax.Array]:
  """Returns the KD of one part's logits given another one's."""

  def loss(scene):
    logits = scene[student]['logits'], scene[teacher]['logits']
    return losses.kd(*logits, temperature, scene.batch['weight'])

  return loss
