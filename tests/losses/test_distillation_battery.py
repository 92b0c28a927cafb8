"""What every distillation loss by name keeps: the reference in float64, padding that counts
nowhere, weights as copies, zero for equal inputs, finite gradients, and its invariances.

Each loss is compiled once, for one shape.
"""

import functools

import distillation_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import losses

ROWS, GAP = 6, [2, 5]
KEPT = [row for row in range(ROWS) if row not in GAP]
LABELS = np.array([0, 1, 1, 2, 0, 1])
MAPS = ['ab', 'attention_transfer', 'ft', 'nst', 'ofd', 'reviewkd', 'vid', 'fsp', 'kdsvd']
# Where what is missing is no share of a mean, so that a copy is another candidate or neighbour.
NO_COPIES = {
  'correlation_congruence',
  'cross_contrast',
  'group_order',
  'in_batch_crd',
  'relational_contrast',
}
NOT_ZERO = {'ab', 'cross_contrast', 'in_batch_crd', 'relational_contrast', 'vid'}
KNOWS_NO_FACTOR = {
  'attention_transfer',
  'cross_contrast',
  'ft',
  'group_order',
  'horkd',
  'in_batch_crd',
  'kdsvd',
  'nst',
  'pkt',
  'point_order',
  'relational_contrast',
  'rkd',
  'rkd_angle',
  'rkd_distance',
  'similarity_preserving',
}
KNOWS_NO_ROTATION = {
  'group_order',
  'pkt',
  'rkd',
  'rkd_angle',
  'rkd_distance',
  'similarity_preserving',
}
KNOWS_NO_SHIFT = {'rkd', 'rkd_angle', 'rkd_distance'}


def draw(*shape, seed=0):
  return np.random.default_rng([seed, *shape]).normal(size=(ROWS, *shape))


@functools.cache
def case(name):
  """Student, teacher and the other outputs of a batch for a loss."""
  pair = lambda *shape: (draw(*shape, seed=1), draw(*shape, seed=2))
  stages = lambda *shapes: tuple([draw(*shape, seed=seed) for shape in shapes] for seed in (1, 2))
  special = {
    'ab': lambda: (*stages((2, 2, 2), (1, 1, 3)), ()),
    'attention_transfer': lambda: (*stages((3, 3, 2), (2, 2, 3)), ()),
    'cross_contrast': lambda: (*pair(3), (LABELS,)),
    'dkd': lambda: (*pair(5), (LABELS,)),
    'fsp': lambda: (*stages((3, 3, 2), (2, 2, 3)), ()),
    'ft': lambda: (*pair(3, 3, 2), ()),
    'in_batch_crd': lambda: (*pair(3), (LABELS,)),
    'kdsvd': lambda: (*stages((2, 2, 3), (2, 2, 2)), ()),
    'nst': lambda: (*pair(2, 2, 3), ()),
    'ofd': lambda: (*stages((2, 2, 2), (1, 1, 3)), ([-np.ones(2), -0.5 * np.ones(3)],)),
    'relational_contrast': lambda: (*pair(ROWS, 3), (LABELS,)),
    'reviewkd': lambda: (*stages((6, 6, 2), (1, 1, 3)), ()),
    'vid': lambda: (*pair(2, 2, 3), (np.array([0.1, 0.5, 2.0]),)),
  }
  return special[name]() if name in special else (*pair(4), ())


def by_rows(name, change, tree):
  """A tree with all arrays of rows changed; those of settings of channels stay."""
  twice = name == 'relational_contrast'

  def changed(values):
    if values.shape[0] != ROWS:
      return values
    values = change(values)
    return (
      np.swapaxes(change(np.swapaxes(values, 0, 1)), 0, 1) if twice and values.ndim > 1 else values
    )

  return jax.tree.map(changed, tree)


def as_jax(tree):
  exact = lambda values: jnp.asarray(values, jnp.int32 if values.dtype.kind == 'i' else jnp.float32)
  return jax.tree.map(exact, tree)


@functools.cache
def compiled(name):
  loss = losses.DISTILLATION.find(name)

  def of_batch(student, teacher, others, weight):
    return loss(student, teacher, *others, weight=weight)

  return jax.jit(jax.value_and_grad(of_batch, argnums=(0, 1)))


def evaluate(name, student, teacher, others, weight=None):
  weight = np.ones(ROWS) if weight is None else np.asarray(weight, float)
  return compiled(name)(*as_jax((student, teacher, others, weight)))


def leaves(tree):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


every = pytest.mark.parametrize('name', losses.DISTILLATION)


@every
def test_equals_its_reference(name):
  value, _ = evaluate(name, *case(name))
  student, teacher, others = case(name)
  assert float(value) == pytest.approx(
    getattr(references, name)(student, teacher, *others), rel=2e-5
  )


@every
def test_rows_of_weight_0_neither_give_nor_receive(name):
  """Whatever they hold: the loss is that of the batch without them, and they have no gradient."""

  def spoilt(values):
    values = values.copy()
    values[GAP] = np.nan if values.dtype.kind == 'f' else 1
    return values

  weight = np.ones(ROWS)
  weight[GAP] = 0
  value, gradients = evaluate(name, *by_rows(name, spoilt, case(name)), weight)
  student, teacher, others = by_rows(name, lambda values: values[KEPT], case(name))
  expected = getattr(references, name)(student, teacher, *others)
  assert float(value) == pytest.approx(expected, rel=2e-5)
  for gradient in leaves(gradients):
    assert np.isfinite(gradient).all() and not gradient[GAP].any()
  assert all(gradient[KEPT].any() for gradient in leaves(gradients[0]))


@every
def test_without_rows_there_is_no_loss(name):
  value, gradients = evaluate(name, *case(name), np.zeros(ROWS))
  assert float(value) == 0
  assert not any(gradient.any() for gradient in leaves(gradients))


@pytest.mark.parametrize('name', [name for name in losses.DISTILLATION if name not in NO_COPIES])
def test_a_weight_is_a_number_of_copies(name):
  copies = [0, 0, 1, 2, 2, 2]
  weighted, _ = evaluate(name, *case(name), [2, 1, 3, 0, 0, 0])
  copied, _ = evaluate(name, *by_rows(name, lambda values: values[copies], case(name)))
  assert float(weighted) == pytest.approx(float(copied), rel=2e-5)


@pytest.mark.parametrize('name', [name for name in losses.DISTILLATION if name not in NOT_ZERO])
def test_equal_outputs_have_no_loss(name):
  student, _, others = case(name)
  value, (gradient, _) = evaluate(name, student, student, others)
  assert abs(float(value)) < 2e-6
  assert max(np.abs(part).max() for part in leaves(gradient)) < 1e-5


@every
def test_degenerate_batches_have_finite_gradients(name):
  """Equal rows, zeros, and a duplicate in a batch: the losses that divide by lengths meet 0."""
  student, teacher, others = case(name)
  alike = lambda tree: jax.tree.map(lambda values: np.repeat(values[:1], ROWS, 0), tree)
  zeros = lambda tree: jax.tree.map(np.zeros_like, tree)
  twin = lambda tree: by_rows(name, lambda values: values[[0, 0, 1, 2, 3, 4]], tree)
  batches = [(change(student), teacher) for change in (alike, zeros, twin)]
  batches += [(alike(student), alike(teacher)), (zeros(student), zeros(teacher))]
  for batch in batches:
    value, gradients = evaluate(name, *batch, others)
    assert np.isfinite(value)
    for gradient in leaves(gradients):
      assert np.isfinite(gradient).all() and np.abs(gradient).max() < 1e4


def changed_student(name, change):
  student, teacher, others = case(name)
  before, after = (
    float(evaluate(name, side, teacher, others)[0])
    for side in (student, jax.tree.map(change, student))
  )
  return before, after


@every
def test_which_losses_know_the_size_of_the_outputs(name):
  before, after = changed_student(name, lambda values: 3 * values)
  assert (after == pytest.approx(before, rel=1e-4)) == (name in KNOWS_NO_FACTOR)


@pytest.mark.parametrize('name', [name for name in losses.DISTILLATION if name not in MAPS])
def test_which_losses_know_the_axes_and_the_origin(name):
  width = case(name)[0].shape[-1]
  rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(width, width)))
  before, after = changed_student(name, lambda values: values @ rotation)
  assert (after == pytest.approx(before, rel=1e-4)) == (name in KNOWS_NO_ROTATION)
  before, after = changed_student(name, lambda values: values + np.arange(width))
  assert (after == pytest.approx(before, rel=1e-4)) == (name in KNOWS_NO_SHIFT)
