"""The networks of the papers' tables, under their names there: those that papers on condensation
train on each other's sets, and the encoders of few-shot learning."""

from collections.abc import Mapping
from typing import Any

from jaxdistill import errors

# Name in a table -> what `models.build` takes. The ConvNets are for 28 and 32 pixels; fields of any
# of them may be changed in the copy that `find` returns. The ResNets have batch norm, so that two
# names stand for one network: ResNet-18 is IDC's, ResNet-18-BN the name in the table of DM (Zhao &
# Bilen, WACV 2023), whose other networks have batch norm too.
ARCHITECTURES = {
  'ConvNet-3': {'name': 'convnet', 'depth': 3},
  'ConvNet-3-BN': {'name': 'convnet', 'depth': 3, 'norm': 'batch'},
  'ResNet-10': {'name': 'imagenet_resnet', 'depth': 10, 'width': 32},
  'ResNet-18': {'name': 'imagenet_resnet', 'depth': 18},
  'ResNet-18-BN': {'name': 'imagenet_resnet', 'depth': 18, 'norm': 'batch'},
  'VGG-11': {'name': 'vgg', 'depth': 11},
  'VGG-11-BN': {'name': 'vgg', 'depth': 11, 'norm': 'batch'},
  'AlexNet': {'name': 'alexnet'},
  'AlexNet-BN': {'name': 'alexnet', 'norm': 'batch'},
  'DenseNet': {'name': 'densenet'},
  'MLP': {'name': 'mlp'},
  'LeNet': {'name': 'lenet'},
  'ViT': {'name': 'vit'},
}

# Those of few-shot class-incremental learning. ResNet-20 has the shortcut of CEC's code (Zhang et
# al., CVPR 2021); ResNet-18 has ImageNet's stem at every size, for miniImageNet and CUB-200, and
# ResNet-18-CIFAR a 3x3 stem without a pool up to 64 pixels; ViT-32 is our choice for 32 pixels.
ENCODERS = {
  'ResNet-12': {'name': 'resnet12'},
  'ResNet-18': {'name': 'torchvision_resnet', 'depth': 18},
  'ResNet-18-CIFAR': {'name': 'imagenet_resnet', 'depth': 18},
  'ResNet-20': {'name': 'resnet', 'depth': 20, 'shortcut': 'B'},
  'ViT-32': {'name': 'mae_vit'},
  'ViT-S16': {'name': 'mae_vit', 'width': 384, 'depth': 12, 'patch': 16},
  'ViT-B16': {'name': 'mae_vit', 'width': 768, 'depth': 12, 'patch': 16},
}


def find(name: str, table: Mapping[str, Mapping[str, Any]] = ARCHITECTURES) -> dict[str, Any]:
  """Returns the config of the architecture of this name, whose case does not matter, for
  `models.build`.

  Normalisation is that of the codes the networks come from: batch norm in ResNet and DenseNet
  (IDC) and in the names that end with BN (DM), instance norm in ConvNet and VGG, none in AlexNet,
  MLP and LeNet (Dataset Condensation, whose own ResNet-18 has instance norm).

  Args:
    name: of the architecture.
    table: where it stands, `ARCHITECTURES` or `ENCODERS`.

  Raises:
    UserError: there is no such architecture.

  >>> find('convnet-3-bn')
  {'name': 'convnet', 'depth': 3, 'norm': 'batch'}
  >>> find('resnet-12', ENCODERS)
  {'name': 'resnet12'}
  >>> find('ResNet18')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no architecture 'ResNet18'; did you mean 'ResNet-18'? ...
  """
  for known, config in table.items():
    if str(name).lower() == known.lower():
      return dict(config)
  raise errors.unknown('architecture', name, table)
