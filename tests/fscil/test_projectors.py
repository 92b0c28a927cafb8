"""Ensembles of projectors, with projectors that multiply by one number."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import errors
from jaxdistill.fscil import pki
from jaxdistill.fscil.learner import Start
from jaxdistill.fscil.projectors import Ensemble, live_projectors, of_head

SESSIONS = 4
FEATURES = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
ROWS = np.array([[1.0, 0.5], [-2.0, 3.0]], np.float32)


def multiply(factor, features):
  return factor * features


def states(rule, combine='sum'):
  """The ensemble, and the state after every session's training; session t trains the number 10^t,
  and the classifier's rows of class 0 to ones."""
  ensemble = Ensemble(pki.KEEP[rule], SESSIONS, combine, project=multiply)
  state = ensemble.start(jnp.float32(1.0), jnp.asarray(ROWS), num_classes=3)
  passed = [state]
  for session in range(1, SESSIONS + 1):
    state = ensemble.advance(state, session)
    state = {**state, 'projector': jnp.float32(10.0**session)}
    passed.append(state)
  return ensemble, passed


def kept(rule, session):
  """K_t, written out."""
  names = {
    'pki': range(session),
    'pkiv1': {0, session - 1},
    'pkiv2': {0},
    'single': (),
  }
  return sorted(names[rule]) if session else []


@pytest.mark.parametrize('rule', pki.KEEP)
def test_the_output_is_the_sum_over_what_is_kept_and_the_newest(rule):
  ensemble, passed = states(rule)
  for session, state in enumerate(passed):
    numbers = [*kept(rule, session), session]
    total = sum(10.0**number for number in numbers)
    np.testing.assert_allclose(ensemble.outputs(state, FEATURES), total * FEATURES, rtol=1e-6)
    assert int(live_projectors(state)) == len(numbers)
    held = state['frozen']['number']
    assert sorted(held[held >= 0].tolist()) == kept(rule, session)


@pytest.mark.parametrize(
  'rule, slots', [('pki', SESSIONS), ('pkiv1', 2), ('pkiv2', 1), ('single', 0)]
)
def test_there_are_as_many_slots_as_the_rule_ever_fills(rule, slots):
  ensemble, passed = states(rule)
  assert ensemble.slots == slots
  assert {state['frozen']['params'].shape for state in passed} == {(slots,)}


@pytest.mark.parametrize('rule', pki.KEEP)
def test_concat_has_the_outputs_one_beside_the_other(rule):
  ensemble, passed = states(rule, 'concat')
  for session, state in enumerate(passed):
    blocks = np.asarray(ensemble.outputs(state, FEATURES)).reshape(2, -1, 2)
    numbers = np.log10(np.unique(blocks[0, :, 0][blocks[0, :, 0] > 0])).round().astype(int)
    assert numbers.tolist() == [*kept(rule, session), session]
    np.testing.assert_allclose(blocks[:, -1], 10.0**session * FEATURES, rtol=1e-6)


@pytest.mark.parametrize('rule', ['pki', 'pkiv1', 'pkiv2'])
def test_columns_of_the_classifier_follow_their_projectors(rule):
  """v . w of the projectors that stay is the same before a session and at its start."""
  ensemble, (state, *_) = states(rule, 'concat')
  rng = np.random.default_rng(0)
  for session in range(1, SESSIONS + 1):
    begun = ensemble.advance(state, session)
    # What is dropped gave its own part to the logits before.
    held = state['frozen']['number']
    dropped = [k for k in held[held >= 0].tolist() if k not in kept(rule, session)]
    before = ensemble.outputs(state, FEATURES).reshape(2, -1, 2)
    rows = state['rows'].reshape(3, -1, 2)
    staying = [k not in dropped for k in [*held.tolist(), session - 1]]
    expected = np.einsum('nbe,cbe,b->nc', before, rows, np.array(staying, np.float32))
    actual = ensemble.outputs(begun, FEATURES) @ begun['rows'].T
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    random = rng.normal(size=begun['rows'].shape).astype(np.float32)
    state = {**begun, 'rows': jnp.asarray(random), 'projector': jnp.float32(session + 1.0)}


def test_weights_of_the_branches_count_once_something_is_frozen():
  ensemble = Ensemble(
    pki.KEEP['pkiv2'], SESSIONS, frozen_weight=0.25, newest_weight=0.75, project=multiply
  )
  state = ensemble.start(jnp.float32(2.0), jnp.asarray(ROWS), num_classes=2)
  np.testing.assert_allclose(ensemble.outputs(state, FEATURES), 2 * FEATURES)
  state = {**ensemble.advance(state, 1), 'projector': jnp.float32(8.0)}
  np.testing.assert_allclose(ensemble.outputs(state, FEATURES), 6.5 * FEATURES)


def test_logits_against_numpy():
  embedded = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
  ensemble = Ensemble(pki.KEEP['single'], 1, project=multiply)
  state = ensemble.start(jnp.float32(1.0), jnp.asarray(ROWS), num_classes=2)
  unit_rows = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
  np.testing.assert_allclose(
    ensemble.logits(state, FEATURES), 16 * embedded @ unit_rows.T, rtol=1e-5
  )
  free = Ensemble(pki.KEEP['single'], 1, scale=1.0, unit_rows=False, project=multiply)
  np.testing.assert_allclose(free.logits(state, FEATURES), embedded @ ROWS.T, rtol=1e-5)


def test_another_head_is_refused_with_its_parts():
  start = Start({'rows': ROWS}, ROWS, np.ones(2))
  assert of_head(start, 'rows') == [ROWS]
  with pytest.raises(errors.UserError, match='whose head has a projector and rows; there is rows'):
    of_head(start, 'projector', 'rows')
  with pytest.raises(errors.UserError, match='there is no head'):
    of_head(start._replace(head=None), 'projector')


def test_a_scale_that_separates_nothing_is_refused():
  with pytest.raises(errors.UserError, match='scale is 0; it must be above 0'):
    Ensemble(pki.KEEP['pki'], 1, scale=0)
