"""How residual and other staged networks name their features, so that a loss finds them in each.

'stem'                 what the first stage reads, behind its ReLU
'stage1', 'stage2' ... what a stage hands on, behind its last ReLU; 'block1' ... are the same maps
'stage1_pre' ...       the same before that ReLU
'embedding'            [n, d], what the classifier reads

Where a stage ends without a ReLU its file says what the two names stand for: in a pre-activation
network (`wrn`, `preact_resnet`) 'stage1' is the raw sum and 'stage1_pre' that sum behind the next
normalisation, in one with linear bottlenecks (`mobilenetv2`) both are the same maps.

Source: the feature lists of the public code of Tian et al., ICLR 2020 (CRD), and of Zhao et al.,
CVPR 2022 (DKD).
"""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxdistill import errors

# Parameters of a normalisation.
_AFFINE = ('scale', 'bias')


def named(stage: int, before: jax.Array, after: jax.Array) -> dict[str, jax.Array]:
  """Returns the entries of one stage.

  Args:
    stage: its number, from 1.
    before: its last maps before the ReLU.
    after: what it hands on.

  >>> sorted(named(1, 0, 1).items())
  [('block1', 1), ('stage1', 1), ('stage1_pre', 0)]
  """
  return {f'block{stage}': after, f'stage{stage}': after, f'stage{stage}_pre': before}


def last_norm(
  network: nn.Module, variables: Mapping[str, Any], feature: str
) -> tuple[jax.Array, jax.Array]:
  """Returns scale and bias [c] of the normalisation that comes last before a map that is itself
  before a ReLU; where a shortcut is added behind it, that is left out.

  Args:
    network: whose layers are named as those of `resnet`, `imagenet_resnet`, `wrn` or `cifar_vgg`.
    variables: of it.
    feature: 'stage1_pre', 'stage2_pre' ...

  Raises:
    UserError: for a network or a feature of other names, or one without scale and bias.

  Source: mdistiller, which takes the same layers.

  >>> import jax.numpy as jnp
  >>> from jaxdistill import models
  >>> net = models.build({'name': 'resnet', 'depth': 14, 'width': 4}, 10, (8, 8, 3))
  >>> variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
  >>> last_norm(net, variables, 'stage2_pre')[0].shape
  (8,)
  """
  params = variables['params']
  number = re.fullmatch(r'stage(\d+)_pre', feature)
  layer = {}
  if number and getattr(network, 'pre_activation', False):
    is_last = f'stage{number[1]}_block1' in params
    ahead = params.get(f'stage{int(number[1]) + 1}_block1', params if is_last else {})
    layer = ahead.get('norm' if ahead is params else 'norm1', {})
  elif number:
    block = _last(params, rf'stage{number[1]}_block(\d+)')
    layer = _last(block, r'norm(\d+)') or _last(params, rf'stage{number[1]}_norm(\d+)')
  if not set(_AFFINE) <= set(layer):
    raise errors.UserError(
      f'A {type(network).__name__} has no normalisation with a scale and a bias that is known to '
      f'come last before the maps {feature!r}; a resnet, wrn or cifar_vgg with batch norm has.'
    )
  scale, bias = (layer[name] for name in _AFFINE)
  return scale, bias


def _last(tree, pattern):
  """The entry of the highest number among those of a pattern of names; {} where there is none."""
  matches = [match for match in map(re.compile(pattern).fullmatch, tree) if match]
  return tree[max(matches, key=lambda match: int(match[1]))[0]] if matches else {}
