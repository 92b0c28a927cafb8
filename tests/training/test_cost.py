"""Numbers for people, peaks of devices, and what XLA counts."""

import jax
import jax.numpy as jnp
import pytest

from jaxdistill.training import cost, program


@pytest.mark.parametrize('seconds, text', [
    (0, '0 µs'), (9.9e-6, '9.9 µs'), (0.00012, '120 µs'), (0.0036, '3.6 ms'), (0.036, '36 ms'), (0.5, '500 ms'),
    (0.9999, '1.0 s'), (9.99, '10 s'), (99.4, '99 s'), (119, '2 min'),
    (3599, '1 h 0 min'), (36000, '10 h 0 min'), (86400 * 2.5, '2 d 12 h')])
def test_durations(seconds, text):
  assert cost.duration(seconds) == text


@pytest.mark.parametrize('count, text', [
    (0, '0 B'), (1023, '1023 B'), (1024, '1 KiB'), (1.2 * 2**30, '1.2 GiB'), (345 * 2**20, '345 MiB'),
    (1023.9 * 2**20, '1 GiB')])
def test_sizes(count, text):
  assert cost.size(count) == text


@pytest.mark.parametrize('count, text', [
    (999, '999 FLOP'), (33.55e6, '34 MFLOP'), (1.31e12, '1.3 TFLOP'), (9.999e11, '1 TFLOP')])
def test_operations(count, text):
  assert cost.flops(count) == text


@pytest.mark.parametrize('kind, dtype, peak', [
    ('NVIDIA H100 80GB HBM3', 'bfloat16', 989e12), ('NVIDIA H100 PCIe', 'float32', 378e12),
    ('NVIDIA H200', 'float32', 494e12), ('NVIDIA A100-SXM4-40GB', 'bfloat16', 312e12),
    ('NVIDIA A10G', 'bfloat16', 70e12), ('NVIDIA L4', 'float32', 60e12), ('NVIDIA L4', 'int8', None),
    ('NVIDIA L40S', 'float32', None), ('Tesla T4', 'bfloat16', None), ('Tesla T4', 'float32', 8.1e12),
    ('Tesla V100-SXM2-16GB', 'float32', 15.7e12), ('NVIDIA GeForce RTX 4090', 'bfloat16', 165e12),
    ('TPU v5 lite', 'bfloat16', 197e12), ('TPU v5p', 'bfloat16', 459e12), ('TPU v5', 'bfloat16', 459e12),
    ('TPU v6 lite', 'bfloat16', 918e12), ('TPU v4', 'float32', 275e12), ('cpu', 'float32', None)])
def test_peaks(kind, dtype, peak):
  assert cost.peak_flops(kind, dtype) == peak


def test_share_of_peak():
  class Device:
    device_kind = 'NVIDIA A100-SXM4-40GB'

  assert cost.share_of_peak(312e12, 2.0, 'bfloat16', [Device()]) == 0.5
  assert cost.share_of_peak(312e12, 2.0, 'bfloat16', [Device()] * 2) == 0.25
  assert cost.share_of_peak(None, 2.0, 'bfloat16', [Device()]) is None


def test_operations_of_ten_steps_are_those_of_the_one_step_program():
  """A scan is counted as one pass through its body: the trap that the one-step program avoids."""
  state = program.settle({'step': jnp.int32(0), 'key': jax.random.key(0), 'w': jnp.ones((32, 32))},
                         program.common_sharding(jnp.zeros(())))

  class State(dict):
    step = property(lambda self: self['step'])
    key = property(lambda self: self['key'])

  jax.tree_util.register_pytree_node(
      State, lambda s: (tuple(s.values()), tuple(s)), lambda names, leaves: State(zip(names, leaves)))
  step = lambda s, batch: (State(s, step=s.step + 1, w=s['w'] @ s['w']), {'loss': 0.0})
  counted = {}
  for length in (1, 10):
    built = program.build(step, lambda data, key, step: None, State(state), (), length)
    counted[length] = cost.program_flops(built.lowered, built.compiled, 1)
    assert cost.program_bytes(built.compiled) >= 32 * 32 * 4
  assert counted[1] == pytest.approx(2 * 32**3, rel=0.02)
  assert counted[10] < 2 * counted[1]


def test_estimate_in_words():
  text = cost.Estimate(20000, 14.0, 0.036, 734.0, 1.2e12, 3 * 2**30, 0.24).text()
  assert text == 'About 12 min for 20,000 steps (36 ms a step, 14 s to compile), 1.2 TFLOP a step, 3 GiB of memory, ' \
                 '24.0% of the peak of the device.'
  assert 'memory' not in cost.Estimate(1, 1.0, 1.0, 2.0, None, None, None).text()
