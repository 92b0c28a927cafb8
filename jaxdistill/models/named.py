"""The networks of the literature on distillation and on adversarial training by their short names,
each a network of the registry with its fields; ShuffleNets stand in the registry under their usual
names."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


def _resnets():
  depths = (8, 14, 20, 32, 44, 56, 110)
  return {f'resnet{depth}': dict(name='resnet', depth=depth, shortcut='B') for depth in depths}


def _wide():
  sizes = ((16, 1), (16, 2), (28, 10), (34, 10), (40, 1), (40, 2))
  return {f'wrn_{d}_{k}': dict(name='wrn', depth=d, width=16 * k) for d, k in sizes}


def _vggs():
  return {f'vgg{depth}': dict(name='cifar_vgg', depth=depth) for depth in (8, 11, 13, 16, 19)}


# Short name -> what `models.build` takes; other fields may be set beside the name.
NAMED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
  {
    **_resnets(),
    'resnet8x4': dict(name='stem_resnet', depth=8),
    'resnet32x4': dict(name='stem_resnet', depth=32),
    **_wide(),
    **_vggs(),
    'mobilenetv2_half': dict(name='mobilenetv2', width=16),
  }
)
