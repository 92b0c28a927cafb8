"""Losses of feature maps: maps of two sizes, averages over windows, stages, VID's and OFD's
constants, and the derivative of singular vectors."""

import distillation_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import errors, losses
from jaxdistill.losses import rows

RNG = np.random.default_rng(11)


def as_float32(tree):
  return jax.tree.map(lambda values: jax.device_put(np.float32(values)), tree)


@pytest.mark.parametrize('size, cells', [(4, 2), (5, 3), (6, 4), (3, 1), (2, 2), (2, 3)])
def test_maps_are_averaged_over_adaptive_windows(size, cells):
  maps = RNG.normal(size=(2, size, size, 3))
  small = jax.jit(lambda maps: rows.pooled(maps, cells, cells))(as_float32(maps))
  np.testing.assert_allclose(small, references.pool(maps, cells), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', ['attention_transfer', 'nst', 'vid', 'ft'])
def test_the_larger_map_is_averaged_down(name):
  student, teacher = RNG.normal(size=(3, 4, 4, 2)), RNG.normal(size=(3, 2, 2, 2))
  loss = jax.jit(losses.DISTILLATION.find(name))
  others = [jnp.array([1.0, 2.0])] if name == 'vid' else []
  for sides in ((student, teacher), (teacher, student)):
    small = [references.pool(side, 2) for side in sides]
    value, expected = loss(*as_float32(sides), *others), loss(*as_float32(small), *others)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_stages_add_up():
  stages = [RNG.normal(size=(2, 2, 2, 2)) for _ in range(4)]
  student, teacher = as_float32(stages[:2]), as_float32(stages[2:])
  for loss, factors in ((losses.attention_transfer, (1, 1)), (losses.ab, (0.5, 1))):
    loss = jax.jit(loss)
    parts = [loss(*sides) for sides in zip(student, teacher)]
    assert float(loss(student, teacher)) == pytest.approx(float(np.dot(parts, factors)), rel=1e-5)


def test_vid_starts_with_its_variance():
  variance = jax.nn.softplus(losses.vid_scale(3)) + 1e-5
  np.testing.assert_allclose(variance, 5, rtol=1e-6)


def test_ofd_margins_are_means_of_negative_responses():
  scale, bias = np.array([1.0, -2.0, 0.5, 1.0]), np.array([0.0, 1.0, -1.0, 10.0])
  samples = np.random.default_rng(0).normal(size=200_000)
  margins = jax.jit(losses.ofd_margin)(*as_float32((scale, bias)))
  for margin, s, b in zip(margins[:3], scale, bias):
    responses = b + s * samples
    assert float(margin) == pytest.approx(responses[responses < 0].mean(), rel=1e-2)
  assert float(margins[3]) == -3.0


def test_the_derivative_of_singular_vectors_is_that_of_the_reference():
  student, teacher = (
    [RNG.normal(size=(1, 2, 2, 3)), RNG.normal(size=(1, 2, 2, 2))] for _ in range(2)
  )
  gradients = jax.jit(jax.grad(losses.kdsvd))(as_float32(student), as_float32(teacher))
  for layer, gradient in enumerate(gradients):
    at = (0, 1, 0, 1)
    values = []
    for step in (1e-5, -1e-5):
      moved = [maps.copy() for maps in student]
      moved[layer][at] += step
      values.append(references.kdsvd(moved, teacher))
    assert float(gradient[at]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=2e-3, abs=1e-5)


def test_mistakes_are_told_in_a_sentence():
  maps = jnp.ones((2, 2, 2, 3))
  with pytest.raises(errors.UserError, match='maps of the same stages; got 2 and 1 of them'):
    losses.attention_transfer([maps, maps], maps)
  with pytest.raises(errors.UserError, match=r'shape \[n, h, w, c\]; got \(2, 3\)'):
    losses.nst(maps, jnp.ones((2, 3)))
  with pytest.raises(errors.UserError, match=r'one shape; got \(2, 2, 2, 3\) and \(2, 1, 2, 3\)'):
    losses.reviewkd(maps, maps[:, :1])
  with pytest.raises(errors.UserError, match='one number of channels'):
    losses.vid(maps, maps, jnp.ones(2))
  with pytest.raises(errors.UserError, match='need two of them; got 1'):
    losses.fsp([maps], [maps])
  with pytest.raises(errors.UserError, match='one number of channels here'):
    losses.kdsvd([maps, maps], [maps, maps[..., :2]])
  with pytest.raises(errors.UserError, match='margins of 1 stages; got those of 2'):
    losses.ofd(maps, maps, [jnp.ones(3), jnp.ones(3)])
