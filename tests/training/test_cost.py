"""Peaks of devices, and what XLA counts."""

import jax
import jax.numpy as jnp
import pytest

from jaxdistill.training import cost, program


@pytest.mark.parametrize(
  'kind, dtype, peak',
  [
    ('NVIDIA H100 80GB HBM3', 'bfloat16', 989e12),
    ('NVIDIA H100 PCIe', 'float32', 378e12),
    ('NVIDIA H200', 'float32', 494e12),
    ('NVIDIA A100-SXM4-40GB', 'bfloat16', 312e12),
    ('NVIDIA A10G', 'bfloat16', 70e12),
    ('NVIDIA L4', 'float32', 60e12),
    ('NVIDIA L4', 'int8', None),
    ('NVIDIA L40S', 'float32', None),
    ('Tesla T4', 'bfloat16', None),
    ('Tesla T4', 'float32', 8.1e12),
    ('Tesla V100-SXM2-16GB', 'float32', 15.7e12),
    ('NVIDIA GeForce RTX 4090', 'bfloat16', 165e12),
    ('TPU v5 lite', 'bfloat16', 197e12),
    ('TPU v5p', 'bfloat16', 459e12),
    ('TPU v5', 'bfloat16', 459e12),
    ('TPU v6 lite', 'bfloat16', 918e12),
    ('TPU v4', 'float32', 275e12),
    ('cpu', 'float32', None),
  ],
)
def test_peaks(kind, dtype, peak):
  assert cost.peak_flops(kind, dtype) == peak


@pytest.mark.parametrize(
  'kind, bandwidth',
  [
    ('NVIDIA H100 80GB HBM3', 3.35e12),
    ('NVIDIA H100 PCIe', 2.0e12),
    ('NVIDIA H200', 4.8e12),
    ('NVIDIA A100-SXM4-40GB', 1.555e12),
    ('NVIDIA A100-SXM4-80GB', 2.039e12),
    ('TPU v5 lite', 819e9),
    ('TPU v5p', 2.765e12),
    ('cpu', None),
  ],
)
def test_bandwidths(kind, bandwidth):
  assert cost.peak_bandwidth(kind) == bandwidth


def test_share_of_peak():
  class Device:
    device_kind = 'NVIDIA A100-SXM4-40GB'

  assert cost.share_of_peak(312e12, 2.0, 'bfloat16', [Device()]) == 0.5
  assert cost.share_of_peak(312e12, 2.0, 'bfloat16', [Device()] * 2) == 0.25
  assert cost.share_of_peak(None, 2.0, 'bfloat16', [Device()]) is None


def test_operations_of_a_loop_count_as_often_as_it_runs():
  """XLA counts one pass through its body."""
  state = program.settle(
    {'step': jnp.int32(0), 'key': jax.random.key(0), 'w': jnp.ones((32, 32))},
    program.common_sharding(jnp.zeros(())),
  )

  class State(dict):
    step = property(lambda self: self['step'])
    key = property(lambda self: self['key'])

  jax.tree_util.register_pytree_node(
    State, lambda s: (tuple(s.values()), tuple(s)), lambda names, leaves: State(zip(names, leaves))
  )
  step = lambda s, batch: (State(s, step=s.step + 1, w=s['w'] @ s['w']), {'loss': 0.0})
  counted = {}
  for length in (1, 10):
    built = program.build(step, lambda data, key, step: None, State(state), (), length)
    counted[length] = cost.program_flops(built.lowered, built.compiled, 1)
    assert cost.program_bytes(built.compiled) >= 32 * 32 * 4
  assert counted[1] == pytest.approx(2 * 32**3, rel=0.02)
  assert counted[10] == pytest.approx(10 * counted[1], rel=0.02)
