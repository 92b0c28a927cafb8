"""Batches of two sets: half of each, every image once a pass of its own set."""

import jax
import numpy as np
import pytest

from jaxdistill.data import samplers
from jaxdistill.errors import UserError

FIRST, SECOND, BATCH = 6, 9, 6


def drawn(steps):
  """Positions of the weighted rows of so many steps, by half."""
  halves = ([], [])
  for step in range(steps):
    index, weight = samplers.halves_batch(jax.random.key(0), step, FIRST, SECOND, BATCH)
    for number, half in enumerate(halves):
      rows = slice(number * BATCH // 2, (number + 1) * BATCH // 2)
      half += np.asarray(index)[rows][np.asarray(weight)[rows] > 0].tolist()
  return halves


def test_each_half_passes_through_its_own_set():
  first, second = drawn(6)
  counts = np.bincount(first + second, minlength=FIRST + SECOND)
  assert (counts[:FIRST] == 3).all() and (counts[FIRST:] == 2).all()
  assert max(first) < FIRST <= min(second)


def test_the_order_of_one_set_does_not_depend_on_the_other():
  index, _ = samplers.halves_batch(jax.random.key(0), 1, FIRST, SECOND, BATCH)
  other, _ = samplers.halves_batch(jax.random.key(0), 1, FIRST, 100, BATCH)
  np.testing.assert_array_equal(index[: BATCH // 2], other[: BATCH // 2])


def test_an_odd_batch_is_refused():
  with pytest.raises(UserError, match='A batch of 5 has no halves'):
    samplers.halves_batch(jax.random.key(0), 0, FIRST, SECOND, 5)
