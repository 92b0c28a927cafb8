"""Which normalisation comes last before the ReLU of a stage."""

import jax
import jax.numpy as jnp
import pytest

from jaxdistill import models
from jaxdistill.errors import UserError
from jaxdistill.models import stages


def numbered(config):
  """A network and variables of whose norms each has a scale that is its number, and their paths."""
  network = models.build(config, 10, (32, 32, 3))
  variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  leaves, tree = jax.tree_util.tree_flatten_with_path(variables)
  paths = [jax.tree_util.keystr(path[1:], simple=True, separator='/') for path, _ in leaves]
  return network, jax.tree.unflatten(tree, range(len(leaves))), paths


@pytest.mark.parametrize(
  'config, expected',
  [
    ({'name': 'resnet', 'depth': 20}, [f'stage{stage}_block3/norm2' for stage in (1, 2, 3)]),
    ({'name': 'stem_resnet', 'depth': 8}, [f'stage{stage}_block1/norm2' for stage in (1, 2, 3)]),
    ({'name': 'wrn', 'depth': 16}, ['stage2_block1/norm1', 'stage3_block1/norm1', 'norm']),
    (
      {'name': 'preact_resnet', 'depth': 10, 'stem_norm': True},
      [*(f'stage{stage}_block1/norm1' for stage in (2, 3, 4)), 'norm'],
    ),
    ({'name': 'cifar_vgg', 'depth': 13}, [f'stage{stage}_norm2' for stage in (1, 2, 3, 4)]),
    (
      {'name': 'imagenet_resnet', 'depth': 18, 'norm': 'batch'},
      [f'stage{stage}_block2/norm2' for stage in (1, 2, 3, 4)],
    ),
  ],
  ids=lambda value: value['name'] if isinstance(value, dict) else '',
)
def test_the_norm_before_a_relu(config, expected):
  network, variables, paths = numbered(config)
  for stage, path in enumerate(expected, 1):
    numbers = stages.last_norm(network, variables, f'stage{stage}_pre')
    assert [paths[number] for number in numbers] == [f'{path}/scale', f'{path}/bias']


@pytest.mark.parametrize(
  'config, feature',
  [
    ('convnet', 'block1'),
    ({'name': 'resnet', 'norm': 'none'}, 'stage1_pre'),
    ('wrn', 'stage9_pre'),
    ({'name': 'preact_resnet', 'depth': 10, 'last_norm': False}, 'stage4_pre'),
  ],
)
def test_networks_without_one_are_refused(config, feature):
  network, variables, _ = numbered(config)
  with pytest.raises(UserError, match=f"no normalisation .* before the maps '{feature}'"):
    stages.last_norm(network, variables, feature)
