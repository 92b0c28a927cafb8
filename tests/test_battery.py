"""One battery over every registered method of every family.

A family answers in tests/FAMILY/battery.py: names() of its methods; ready(name, mesh=, dtype=,
steps=), a small problem for the loop; learned(state), the arrays to compare, rows of padding left
out; pools(name), the stand-in for the networks that a method wants and such networks, () for none;
company(name), (alone, among others, the rows there) or None; refuse(name), which asks for a field
that the method has not.
"""

import dataclasses
import functools
import importlib.util
import pathlib

import jax
import numpy as np
import pytest

import jaxdistill
from jaxdistill.errors import UserError
from jaxdistill.training import loop, parallel
from jaxdistill.training.run import Run

TESTS = pathlib.Path(__file__).parent
STEPS = 4


@functools.cache
def battery(family):
  path = TESTS / family / 'battery.py'
  spec = importlib.util.spec_from_file_location(f'battery_of_{family}', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


METHODS = [(family, name) for family in jaxdistill.FAMILIES for name in battery(family).names()]


@functools.cache
def ran(family, name, devices=1, dtype='float32'):
  """What a method learns in a few steps, and its losses."""
  asked = battery(family)
  mesh = parallel.make_mesh(devices) if devices > 1 else None
  with Run(progress=False, log_every=1) as run:
    state = loop.fit(run, 'learn', asked.ready(name, mesh=mesh, dtype=dtype, steps=STEPS))
    return asked.learned(state), [line['loss'] for line in run.curve('learn')]


@pytest.mark.parametrize('family, name', METHODS)
class TestEveryMethod:
  def test_learns_something_finite(self, family, name):
    start = battery(family).learned(battery(family).ready(name).state)
    end, losses = ran(family, name)
    moved = np.abs(end - start).reshape(len(end), -1).max(1)
    assert (moved > 1e-5).all() and np.isfinite(end).all() and np.isfinite(losses).all()

  def test_four_devices_learn_what_one_does(self, family, name):
    (one, losses), (four, others) = ran(family, name), ran(family, name, devices=4)
    np.testing.assert_allclose(four, one, atol=2e-5)
    assert others == pytest.approx(losses, rel=1e-4)

  def test_bfloat16_stays_close_to_float32(self, family, name):
    (exact, losses), (half, others) = ran(family, name), ran(family, name, dtype='bfloat16')
    assert half.dtype == exact.dtype == np.float32
    assert others != losses and others == pytest.approx(losses, rel=0.1)
    start = battery(family).learned(battery(family).ready(name).state)
    # The steps point the same way.
    step, other = ((end - start).ravel() for end in (exact, half))
    assert step @ other > 0.9 * np.linalg.norm(step) * np.linalg.norm(other)

  def test_killed_and_resumed_it_ends_with_the_same_bits(self, family, name, tmp_path):
    def kill(state):
      raise InterruptedError

    options = dict(progress=False, tensorboard=False, log_every=1, checkpoint_every=1)
    with pytest.raises(InterruptedError), Run(tmp_path, **options) as run:
      problem = battery(family).ready(name, steps=STEPS)
      loop.fit(run, 'learn', problem, evaluate=loop.Evaluation(kill, every=2))
    with Run(tmp_path, **options) as run:
      state = loop.fit(run, 'learn', battery(family).ready(name, steps=STEPS))
      losses = [line['loss'] for line in run.curve('learn')]
    whole, expected = ran(family, name)
    np.testing.assert_array_equal(battery(family).learned(state), whole)
    assert losses == expected

  def test_nothing_is_compiled_after_the_first_step(self, family, name):
    problem, traced = battery(family).ready(name, steps=STEPS), []

    def step(state, batch):
      traced.append(1)
      return problem.step(state, batch)

    with Run(progress=False) as run:
      loop.fit(run, 'learn', dataclasses.replace(problem, step=step), steps_per_call=1)
    assert len(traced) == 1

  def test_is_the_same_alone_and_among_others(self, family, name):
    company = battery(family).company(name)
    if company is None:
      pytest.skip('what it learns of one depends on the others')
    alone, among, rows = company
    with Run(progress=False) as run:
      ends = [loop.fit(run, f'{number}', one) for number, one in enumerate((alone, among))]
    few, many = map(battery(family).learned, ends)
    np.testing.assert_allclose(few, many[rows], atol=1e-6)

  def test_a_stand_in_has_the_form_of_the_real_pool(self, family, name):
    stand_in, real = battery(family).pools(name)
    assert jax.tree.structure(stand_in) == jax.tree.structure(real)
    for one, other in zip(jax.tree.leaves(stand_in), jax.tree.leaves(real)):
      assert (one.shape, one.dtype) == (other.shape, other.dtype)

  def test_an_unknown_field_is_refused(self, family, name):
    with pytest.raises(UserError, match=f'no field of method {name}'):
      battery(family).refuse(name)
