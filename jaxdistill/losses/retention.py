"""What a new classifier keeps of the one before it, on a few remembered examples: the place of
every output vector, and the relations between them.

Both take the outputs of the two classifiers on one memory, [m, C] each. Rows and columns may be
padded: `rows` and `columns` say which count, and what the others hold never matters.

Source: CD^2, constrained dataset distillation for few-shot class-incremental learning (Bao, IJCAI
2025, arXiv 2601.08519), whose losses are sums of absolute differences of raw outputs; the mean over
entries and the unit length of the rows in the relations are our choices, after RKD (Park et al.,
CVPR 2019).
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.losses import rows as batch_rows
from jaxdistill.losses.classification import weighted_mean
from jaxdistill.numerics import steady

Reduction = Literal['mean', 'sum']


@steady
def feature_retention(
  before: jax.Array,
  after: jax.Array,
  rows: jax.Array | None = None,
  columns: jax.Array | None = None,
  *,
  reduction: Reduction = 'mean',
) -> jax.Array:
  """L_FR = (1/|M|) sum_m |v_m(before) - v_m(after)|_1 over the old classes, divided by their number
  for the reduction 'mean': the outputs stay where they were.

  Args:
    before: [m, C], outputs of the classifier before; a constant.
    after: [m, C], outputs of the one that is trained.
    rows: weight [m] of the remembered examples, 0 for padding; None: 1 each.
    columns: bool [C], the classes that both classifiers know; None: all.
    reduction: 'sum' over the classes, as the paper has it, or 'mean'.

  Returns:
    A scalar; 0 without rows or columns. Outputs that are equal up to rounding have the loss and the
    gradient 0.

  Raises:
    UserError: for an unknown reduction.

  >>> before, after = jnp.array([[0.0, 1.0, 9.0]]), jnp.array([[2.0, 0.0, 5.0]])
  >>> old = jnp.array([True, True, False])
  >>> [float(feature_retention(before, after, None, old, reduction=r)) for r in ('sum', 'mean')]
  [3.0, 1.5]
  """
  _check(reduction)
  rows, columns = _masks(before, rows, columns)
  difference = batch_rows.differences(
    _kept(before, rows, columns), _kept(after, rows, columns)
  ).sum(1)
  total = weighted_mean(difference, rows)
  return total / jnp.maximum(columns.sum(), 1) if reduction == 'mean' else total


@steady
def structure_retention(
  before: jax.Array,
  after: jax.Array,
  rows: jax.Array | None = None,
  columns: jax.Array | None = None,
  *,
  reduction: Reduction = 'mean',
  normalize: bool = True,
) -> jax.Array:
  """L_SR = (1/|M|) sum_m |p_m(before) - p_m(after)|_1, divided by |M| again for the reduction
  'mean', with p_m = v_m V^T the products of an output with all outputs V [m, C] over the old
  classes: the relations between the outputs stay what they were.

  One rotation of all outputs of the old classes changes nothing here, in contrast to
  `feature_retention`.

  Args:
    before: [m, C], outputs of the classifier before; a constant.
    after: [m, C], outputs of the one that is trained.
    rows: weight [m], as of an example that is there so many times; 0 for padding; None: 1 each.
    columns: bool [C], the classes that both classifiers know; None: all.
    reduction: 'sum' over the examples, as the paper has it, or 'mean'.
    normalize: whether the outputs are divided by their length first, so that p holds cosines.

  Returns:
    A scalar; 0 without rows or columns. Outputs that are equal up to rounding have the loss and the
    gradient 0.

  Raises:
    UserError: for an unknown reduction.

  Source: of the cut to the old classes, which the paper writes on p, we take that of the outputs,
    as p has an entry an example (our choice).

  >>> before, after = jnp.eye(2), jnp.array([[0.0, 1.0], [1.0, 1.0]])
  >>> float(structure_retention(before, after, reduction='sum', normalize=False))  # (1 + 2) / 2
  1.5
  """
  _check(reduction)
  rows, columns = _masks(before, rows, columns)
  relations = []
  for outputs in (before, after):
    outputs = _kept(outputs, rows, columns)
    outputs = batch_rows.directions(outputs) if normalize else outputs
    relations.append(jnp.matmul(outputs, outputs.T, precision=jax.lax.Precision.HIGHEST))
  difference = batch_rows.differences(*relations)
  total = weighted_mean(difference @ rows, rows)
  if reduction == 'sum':
    return total
  count = rows.sum()
  return total / jnp.where(count > 0, count, 1)


def structure_weight(classes: int) -> float:
  """alpha = ln(2 - (50 / N)^3), the weight of `structure_retention` once N classes were seen; it
  rises with N, to ln 2.

  Args:
    classes: N, all classes seen, those that have just arrived included.

  Returns:
    alpha; negative below 50 classes.

  Raises:
    UserError: for N up to 39, where there is no logarithm.

  Source: the paper's rule, ln((-50 / N)^3 + 2).

  >>> [round(structure_weight(classes), 3) for classes in (65, 100)]
  [0.435, 0.629]
  >>> structure_weight(10)
  Traceback (most recent call last):
  jaxdistill.errors.UserError: The weight ln(2 - (50 / N)^3) of the relations is defined from ...
  """
  classes = errors.whole('classes', classes, at_least=1)
  argument = 2 - (50 / classes) ** 3
  if argument <= 0:
    raise errors.UserError(
      'The weight ln(2 - (50 / N)^3) of the relations is defined from N = 40 classes on; with '
      f'{classes} of them give a weight of your own, such as 0.5.'
    )
  return math.log(argument)


def _masks(outputs, rows, columns):
  """The weights of the rows, float [m], and the columns that count, bool [C]."""
  rows = jnp.ones(outputs.shape[0]) if rows is None else rows
  columns = jnp.ones(outputs.shape[1], bool) if columns is None else columns
  return rows.astype(jnp.promote_types(outputs.dtype, jnp.float32)), columns.astype(bool)


def _kept(outputs, rows, columns):
  """The outputs with 0 where nothing counts: padding may hold anything, NaN too."""
  return jnp.where((rows > 0)[:, None] & columns[None, :], outputs, 0)


def _check(reduction):
  if reduction not in ('mean', 'sum'):
    raise errors.unknown('reduction', reduction, ('mean', 'sum'))
