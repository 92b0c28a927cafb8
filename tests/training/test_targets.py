"""Machines that are not here: their names and sizes, and what is said without their compilers."""

import importlib.util

import pytest

from jaxdistill.errors import UserError
from jaxdistill.training import cost, targets


@pytest.mark.parametrize(
  'name, topology, devices',
  [
    ('v4-8', 'v4:2x2x1', 4),
    ('v5e-1', 'v5e:1x1', 1),
    ('v5e-4', 'v5e:2x2', 4),
    ('v5litepod-16', 'v5e:4x4', 16),
    ('v5p-8', 'v5p:2x2x1', 4),
    ('v5p-16', 'v5p:2x2x2', 8),
    ('v6e-4', 'v6e:2x2', 4),
    ('V5E:2x4', 'v5e:2x4', 8),
    ('h100', '', 1),
    ('h100x8', '', 8),
  ],
)
def test_names_of_the_cloud_and_of_jax(name, topology, devices):
  target = targets.find(name)
  assert (target.name, target.topology, target.devices) == (name, topology, devices)


@pytest.mark.parametrize(
  'name', ['v9-4', 'v5e', 'v5e-3', 'v4-9', 'v5e:2x2x1', 'v4:2x2', 'h100x9', 'h100x0', 'a100', '']
)
def test_unknown_machines_are_refused_with_the_known_ones(name):
  with pytest.raises(UserError, match='There is no target .*; known are v4-8, v5e-1, .* h100x8'):
    targets.find(name)


def test_every_chip_has_figures_of_its_maker():
  kinds = {'v4': 'TPU v4', 'v5e': 'TPU v5 lite', 'v5p': 'TPU v5', 'v6e': 'TPU v6 lite'}
  for name in targets.NAMES:
    chip = targets.find(name).chip
    kind = kinds.get(name.partition('-')[0], 'NVIDIA H100 80GB HBM3')
    peak = cost.peak_flops(kind, 'bfloat16')
    # Operations that a chip can do while it moves one byte.
    assert 150 < peak / chip.bandwidth < 600 and 16e9 < chip.memory < 110e9
    assert 0 < chip.link < chip.bandwidth == cost.peak_bandwidth(kind)


def test_a_missing_compiler_is_named_with_what_installs_it(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  for name, extra in (('v5e-4', 'tpu'), ('h100', 'gpu')):
    with pytest.raises(UserError, match=rf"pip install 'jaxdistill\[{extra}\]'"):
      targets.prepare(targets.find(name))


def test_more_devices_than_the_machine_has_are_refused():
  with pytest.raises(UserError, match='8 devices were asked for, and v5e-4 has 4'):
    targets.make_mesh(targets.find('v5e-4'), 8)
