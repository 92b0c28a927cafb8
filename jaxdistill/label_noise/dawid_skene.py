"""Cross-entropy on what Dawid and Skene's estimate says of each example."""

import dataclasses

import jax
import numpy as np

from jaxdistill.label_noise import aggregation, vote
from jaxdistill.label_noise.method import Believed, Method, Setting


def method(setting: Setting, *, soft: bool = False, one_coin: bool = False) -> Method:
  """Returns training on the labels of Dawid and Skene's model, see `label_noise.aggregate`.

  Args:
    setting: what it is for.
    soft: whether the targets are the posterior in place of its winner.
    one_coin: whether an annotator has one accuracy in place of a confusion matrix.
  """
  crowd = setting.evidence.crowd
  estimate = aggregation.aggregate(crowd, 'one_coin' if one_coin else 'dawid_skene')
  targets = estimate.probabilities
  if not soft:
    targets = np.eye(setting.classes, dtype=np.float32)[estimate.labels]
  trained = vote.believing(setting, targets, 'dawid_skene')

  def believe(variables, look):
    networks = len(jax.tree.leaves(variables)[0])
    alike = lambda array: np.broadcast_to(array, (networks, *array.shape))
    return Believed(alike(estimate.probabilities), confusions=alike(estimate.confusions))

  return dataclasses.replace(trained, believe=believe)
