"""Published names and layouts: where a weight of a network here is in checkpoints of PyTorch's."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import flax.linen as nn
import numpy as np

from jaxdistill.models.imagenet_resnet import ImageNetResNet
from jaxdistill.models.mae_vit import MaeViT
from jaxdistill.models.mobilenet import MobileNetV2
from jaxdistill.models.resnet import ResNet
from jaxdistill.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from jaxdistill.models.vgg import CifarVGG
from jaxdistill.models.wrn import WideResNet


class Scheme(NamedTuple):
  """Published names of one kind of network.

  layers: rules (pattern of a layer's path, published name); the first that matches counts.
  ignored: pattern of names in a checkpoint that the network has no use for.
  """

  layers: tuple[tuple[str, str | Callable[[re.Match], str]], ...]
  ignored: str

  def layer(self, path: str) -> str:
    """Returns the published name of a layer by its path.

    >>> find(MaeViT(10)).layer('block3/qkv')
    'blocks.2.attn.qkv'
    """
    for pattern, name in self.layers:
      if match := re.fullmatch(pattern, path):
        return name(match) if callable(name) else name
    raise KeyError(path)


def find(encoder: nn.Module) -> Scheme | None:
  """Returns the published names of a network's weights; None where none are known."""
  return next((scheme for kind, scheme in _SCHEMES.items() if isinstance(encoder, kind)), None)


def names(
  scheme: Scheme, leaves: Iterable[str], *, beside: bool, classifier: bool = True
) -> tuple[dict[str, str], str]:
  """Returns {path of a weight: published name} of an encoder's weights, and a pattern of what else
  may be in a checkpoint.

  Args:
    scheme: of the encoder.
    leaves: paths with the collection, 'params/conv/kernel'.
    beside: whether the encoder is the part 'encoder' among others, which have no published names.
    classifier: whether the classifier is wanted; not if `beside`, where there is none.

  >>> names(find(MaeViT(10)), ['params/norm/scale', 'params/cls'], beside=False)[0]
  {'params/norm/scale': 'norm.weight', 'params/cls': 'cls_token'}
  """
  wanted = {}
  for leaf in leaves:
    _, *layers, last = leaf.split('/')
    if beside and layers[:1] != ['encoder'] or layers == ['classifier'] and not classifier:
      continue
    layer = '/'.join(layers[1:] if beside else layers)
    # A weight that belongs to no layer, such as a class token, has a name of its own.
    wanted[leaf] = f'{scheme.layer(layer)}.{_LEAVES[last]}' if layer else scheme.layer(last)
  if beside or not classifier:
    return wanted, rf'{scheme.ignored}|{scheme.layer("classifier")}\..*'
  return wanted, scheme.ignored


def to_torch(leaf: str, array: np.ndarray) -> np.ndarray:
  """Returns a weight in PyTorch's layout: kernels [out, in] of linear layers, [out, in, h, w] of
  convolutions.

  >>> to_torch('params/conv/kernel', np.zeros((3, 3, 1, 8))).shape
  (8, 1, 3, 3)
  """
  if not leaf.endswith('/kernel'):
    return array
  return array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)


def from_torch(leaf: str, array: np.ndarray) -> np.ndarray:
  """Returns a weight of PyTorch's layout in the layout here, see `to_torch`.

  >>> from_torch('params/conv/kernel', np.zeros((8, 1, 3, 3))).shape
  (3, 3, 1, 8)
  """
  if not leaf.endswith('/kernel'):
    return array
  return array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)


def _numbered(form: str) -> Callable[[re.Match], str]:
  """The published name with the last number, that of a block, counted from 0."""
  return lambda match: form.format(*match.groups()[:-1], int(match[match.lastindex]) - 1)


# torchvision's names of ResNets of basic blocks and of bottlenecks, which timm shares.
_RESNET = Scheme(
  (
    ('conv', 'conv1'),
    ('norm', 'bn1'),
    ('classifier', 'fc'),
    (r'stage(\d+)_block(\d+)/conv(\d)', lambda match: _of_stage(match, 'conv')),
    (r'stage(\d+)_block(\d+)/norm(\d)', lambda match: _of_stage(match, 'bn')),
    (r'stage(\d+)_block(\d+)/conv_shortcut', _numbered('layer{}.{}.downsample.0')),
    (r'stage(\d+)_block(\d+)/norm_shortcut', _numbered('layer{}.{}.downsample.1')),
  ),
  r'.*num_batches_tracked',
)
# timm's names of vision transformers, which the public MAE checkpoints share.
_VIT = Scheme(
  (
    ('patches', 'patch_embed.proj'),
    ('cls', 'cls_token'),
    ('positions', 'pos_embed'),
    ('norm', 'norm'),
    ('classifier', 'head'),
    (r'block(\d+)/norm1', _numbered('blocks.{}.norm1')),
    (r'block(\d+)/norm2', _numbered('blocks.{}.norm2')),
    (r'block(\d+)/qkv', _numbered('blocks.{}.attn.qkv')),
    (r'block(\d+)/out', _numbered('blocks.{}.attn.proj')),
    (r'block(\d+)/expand', _numbered('blocks.{}.mlp.fc1')),
    (r'block(\d+)/contract', _numbered('blocks.{}.mlp.fc2')),
  ),
  r'mask_token|decoder_.*',  # of a masked autoencoder's whole checkpoint
)
# The names of RepDistiller (Tian et al., ICLR 2020) and mdistiller (Zhao et al., CVPR 2022), which
# agree; their ResNets have torchvision's.
_WRN = Scheme(
  (
    ('conv', 'conv1'),
    ('norm', 'bn1'),
    ('classifier', 'fc'),
    (r'stage(\d+)_block(\d+)/conv1', _numbered('block{}.layer.{}.conv1')),
    (r'stage(\d+)_block(\d+)/norm1', _numbered('block{}.layer.{}.bn1')),
    (r'stage(\d+)_block(\d+)/conv2', _numbered('block{}.layer.{}.conv2')),
    (r'stage(\d+)_block(\d+)/norm2', _numbered('block{}.layer.{}.bn2')),
    (r'stage(\d+)_block(\d+)/conv_shortcut', _numbered('block{}.layer.{}.convShortcut')),
  ),
  r'.*num_batches_tracked',
)
# Convolution, norm and ReLU count as one layer each.
_VGG = Scheme(
  (
    ('classifier', 'classifier'),
    (r'stem_conv(\d+)', lambda match: f'block0.{3 * int(match[1]) - 3}'),
    (r'stem_norm(\d+)', lambda match: f'block0.{3 * int(match[1]) - 2}'),
    (r'stage(\d+)_conv(\d+)', lambda match: f'block{match[1]}.{3 * int(match[2]) - 3}'),
    (r'stage(\d+)_norm(\d+)', lambda match: f'block{match[1]}.{3 * int(match[2]) - 2}'),
  ),
  r'.*num_batches_tracked',
)
_MOBILENET = Scheme(
  (
    ('conv', 'conv1.0'),
    ('norm', 'conv1.1'),
    ('conv_last', 'conv2.0'),
    ('norm_last', 'conv2.1'),
    ('classifier', 'classifier.0'),
    (r'row(\d+)_block(\d+)/conv(\d)', lambda match: _of_row(match, 3 * int(match[3]) - 3)),
    (r'row(\d+)_block(\d+)/norm(\d)', lambda match: _of_row(match, 3 * int(match[3]) - 2)),
  ),
  r'.*num_batches_tracked',
)
_SHUFFLENET = Scheme(
  (
    ('conv', 'conv1'),
    ('norm', 'bn1'),
    ('conv_last', 'conv2'),
    ('norm_last', 'bn2'),
    ('classifier', 'linear'),
    (r'stage(\d+)_block(\d+)/conv(\d)', lambda match: _of_stage(match, 'conv')),
    (r'stage(\d+)_block(\d+)/norm(\d)', lambda match: _of_stage(match, 'bn')),
  ),
  r'.*num_batches_tracked',
)


def _of_row(match, layer):
  return f'blocks.{int(match[1]) - 1}.{int(match[2]) - 1}.conv.{layer}'


def _of_stage(match, kind):
  return f'layer{match[1]}.{int(match[2]) - 1}.{kind}{match[3]}'


_SCHEMES = {
  ImageNetResNet: _RESNET,
  ResNet: _RESNET,
  WideResNet: _WRN,
  CifarVGG: _VGG,
  MobileNetV2: _MOBILENET,
  ShuffleNetV1: _SHUFFLENET,
  ShuffleNetV2: _SHUFFLENET,
  MaeViT: _VIT,
}
_LEAVES = {
  'kernel': 'weight',
  'scale': 'weight',
  'bias': 'bias',
  'mean': 'running_mean',
  'var': 'running_var',
}
