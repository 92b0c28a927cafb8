"""The memory of activations, counted on paper for small networks."""

import pytest

from jaxdistill import models
from jaxdistill.models import heads


@pytest.mark.parametrize(
  'config, side, numbers',
  [
    # Stem: 8x8x3, twice; a stage's block: four times its maps, and twice for a shortcut.
    (
      {'name': 'stem_resnet', 'depth': 8, 'stem': 3, 'width': 4},
      8,
      2 * 64 * 3 + 6 * (64 * 4 + 16 * 8 + 4 * 16) + 5,
    ),
    # A pre-activation block has two convolutions, two norms and a shortcut; stage 1 enters with 4.
    (
      {'name': 'wrn', 'depth': 10, 'stem': 4, 'width': 4},
      8,
      64 * 4  # stem
      + 64 * 4 * 4  # no shortcut
      + 64 * 4
      + 4 * 16 * 8  # norm of what enters; conv, norm, conv and shortcut
      + 16 * 8
      + 4 * 4 * 16
      + 4 * 16  # last norm
      + 5,
    ),
    ({'name': 'cifar_vgg', 'depth': 8, 'width': 2}, 8, 2 * (64 * 2 + 16 * 4 + 4 * 8 + 16 + 16) + 5),
    # Instance norm is told of the convolution and pools: maps of 8x8 and 4x4 before each pool.
    ({'name': 'convnet', 'depth': 2, 'width': 3}, 8, 2 * (64 * 3 + 16 * 3) + 5),
  ],
)
def test_activations_on_paper(config, side, numbers):
  net = models.build(config, 5, (side, side, 3))
  assert models.activation_bytes(net, (side, side, 3)) == 4 * numbers


def test_half_precision_halves_them_but_for_the_logits():
  sizes = {}
  for dtype in ('float32', 'bfloat16'):
    net = models.build({'name': 'cifar_vgg', 'width': 2, 'dtype': dtype}, 5, (8, 8, 3))
    sizes[dtype] = models.activation_bytes(net, (8, 8, 3)) - 4 * 5
  assert sizes['float32'] == 2 * sizes['bfloat16']


def test_a_head_takes_the_place_of_the_classifier():
  encoder = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 10, (8, 8, 1))
  assert models.activation_bytes(heads.attach(encoder, num_classes=3), (8, 8, 1)) == 4 * (4 + 3)


def test_a_quarter_of_the_pixels_is_a_quarter_of_the_activations():
  size = lambda side: (
    models.activation_bytes(models.build('resnet8', 100, (side,) * 2 + (3,)), (side, side, 3)) - 400
  )
  assert size(32) == 4 * size(16) == 16 * size(8)
