"""The risks that a perturbation of the weights is put on top of."""

import dataclasses
from typing import Literal

import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.robustness import adversary, at, trades
from jaxdistill.robustness.method import Risk, Setting
from jaxdistill.training.game import Term

Over = Literal['at', 'trades']


def risk(
  over: str, setting: Setting, beta: float, attack_steps: int, step_size: float, attack_bn: str
) -> Risk:
  """Returns the risk of AT or of TRADES.

  Args:
    over: 'at' or 'trades'.
    setting: what it is for.
    beta: of TRADES; AT reads none.
    attack_steps, step_size, attack_bn: see `at.method`.

  Raises:
    UserError: another one, or fields that `at.method` or `trades.method` refuse.
  """
  attacker = adversary.of_fields(setting, attack_steps, step_size, attack_bn)
  if over == 'at':
    return at.risk(setting, attacker)
  if over == 'trades':
    return trades.risk(setting, attacker, beta)
  raise errors.unknown('over', over, ('at', 'trades'))


def check_share(gamma: float, warmup: int) -> None:
  """Raises `UserError` for a share of the weights' length or a number of epochs below 0."""
  errors.real_numbers(gamma=gamma)
  if not 0 <= gamma < float('inf'):
    raise errors.UserError(f'gamma is {gamma}; it must be at least 0.')
  errors.whole('warmup', warmup)


def after(warmup: int, setting: Setting, term: Term) -> Term:
  """Returns a term that begins to count after so many epochs.

  Raises:
    UserError: the training ends before.
  """
  if not warmup:
    return term
  first = warmup * setting.epoch_steps
  if first >= setting.steps:
    raise errors.UserError(
      f'warmup is {warmup} epochs of {setting.epoch_steps} steps, and there are {setting.steps} '
      'steps; weights are perturbed after the warm-up, so it must be shorter: lower method.warmup, '
      'or raise robustness.epochs or robustness.steps.'
    )
  return dataclasses.replace(term, weight=lambda step: jnp.where(step >= first, 1.0, 0.0))
