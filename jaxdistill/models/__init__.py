"""Networks, each called as module.apply(variables, x, train) on normalised NHWC images.

Every network returns (logits, features): logits float32 [n, num_classes]; features a dict with
'embedding' [n, d], the input of the classifier, and 'block1', 'block2', ..., what each block or
stage hands on; networks of stages also have 'stem', 'stage1', 'stage1_pre' ... (`models.stages`).
The last layer is called 'classifier'; `heads.attach` puts another head in its place.

A short name of `models.named`, such as 'resnet20' or 'wrn_40_2', stands for a network with fields.

A network of your own joins with `REGISTRY['mine'] = 'my_package.networks:Mine'`, or the class
itself: a flax module with the fields `num_classes` and, if it likes, `width`, `depth`, `norm`,
`dtype` ..., all with defaults, a dict `choices` of the fields that have a closed set of values, and
a method `check(image_shape)` that raises a UserError for images it cannot take.
"""

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill import errors
from jaxdistill.models.named import NAMED
from jaxdistill.registry import Registry

# Name -> 'module:class', imported when built.
REGISTRY = Registry(
  'model',
  {
    'alexnet': 'jaxdistill.models.alexnet:AlexNet',
    'cifar_resnet': 'jaxdistill.models.imagenet_resnet:CifarResNet',
    'cifar_vgg': 'jaxdistill.models.vgg:CifarVGG',
    'convnet': 'jaxdistill.models.convnet:ConvNet',
    'densenet': 'jaxdistill.models.densenet:DenseNet',
    'dropout_mlp': 'jaxdistill.models.dropout_mlp:DropoutMLP',
    'face_convnet': 'jaxdistill.models.face_convnet:FaceConvNet',
    'imagenet_resnet': 'jaxdistill.models.imagenet_resnet:ImageNetResNet',
    'lenet': 'jaxdistill.models.lenet:LeNet',
    'mae_vit': 'jaxdistill.models.mae_vit:MaeViT',
    'mlp': 'jaxdistill.models.mlp:MLP',
    'mobilenetv2': 'jaxdistill.models.mobilenet:MobileNetV2',
    'preact_resnet': 'jaxdistill.models.preact_resnet:PreActResNet',
    'resnet': 'jaxdistill.models.resnet:ResNet',
    'resnet12': 'jaxdistill.models.resnet12:ResNet12',
    'resnet_ap': 'jaxdistill.models.resnet_ap:ResNetAP',
    'shufflenet_v1': 'jaxdistill.models.shufflenet:ShuffleNetV1',
    'shufflenet_v2': 'jaxdistill.models.shufflenet:ShuffleNetV2',
    'stem_resnet': 'jaxdistill.models.resnet:StemResNet',
    'torchvision_resnet': 'jaxdistill.models.imagenet_resnet:TorchvisionResNet',
    'vgg': 'jaxdistill.models.vgg:VGG',
    'vit': 'jaxdistill.models.vit:ViT',
    'wrn': 'jaxdistill.models.wrn:WideResNet',
  },
)
DTYPES = ('float32', 'bfloat16')
# What the papers condense and score with at 28 and 32 pixels: ConvNet-3 of width 128 with instance
# norm.
DEFAULT = {'name': 'convnet'}


def build(config: Mapping[str, Any] | str, num_classes: int, image_shape: tuple[int, int, int]):
  """Returns the network that a config describes, after checking every field and the image size.

  Args:
    config: a mapping with `name`, one of the registry or a short one, and any of the network's
      fields (see `defaults`), or the name alone.
    num_classes: outputs of the classifier.
    image_shape: (height, width, channels).

  Returns:
    A flax module, not yet initialised.

  Raises:
    UserError: unknown network, field or choice, a value of the wrong kind, a field that makes
      another network of a short name, or images that the network cannot take.

  >>> net = build({'name': 'convnet', 'width': 8, 'depth': 2}, num_classes=10, image_shape=(16,
  ...   16, 1))
  >>> net.width, net.norm
  (8, 'instance')
  >>> build('wrn_16_2', 100, (32, 32, 3)).width
  32
  >>> build('convnet', 10, (4, 4, 1))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: A convnet of depth 3 needs images of at least 8x8 pixels; 4x4 ...
  """
  fields = {'name': config} if isinstance(config, str) else dict(config)
  if 'name' not in fields:
    raise errors.UserError(f'A model needs a name, one of {", ".join(names())}.')
  name = fields.pop('name')
  known = defaults(name)
  family, settled = _find(name)
  network = REGISTRY.find(family)
  for field, value in fields.items():
    if field not in known:
      raise errors.unknown(f'field of the model {name!r} called', field, known)
    fields[field] = _checked(name, field, value, known[field], network.choices.get(field))
  _check_settled(name, family, settled, fields)
  num_classes = errors.whole('num_classes', num_classes, at_least=1)
  if len(image_shape) != 3:
    raise errors.UserError(
      f'image_shape is {tuple(image_shape)}; it must be height, width and channels.'
    )
  for side in image_shape:
    errors.whole('image_shape', side, at_least=1)
  module = network(num_classes=num_classes, **(settled | fields))
  module.check(tuple(image_shape))
  return module


def defaults(name: str) -> dict[str, Any]:
  """Returns the fields that a config may set for the network of this name, with their defaults.

  >>> defaults('convnet')
  {'width': 128, 'depth': 3, 'norm': 'instance', 'dtype': 'float32'}
  >>> defaults('resnet8')['depth']
  8
  """
  skipped = ('num_classes', 'parent', 'name')
  family, settled = _find(name)
  fields = {
    field.name: field.default
    for field in dataclasses.fields(REGISTRY.find(family))
    if field.name not in skipped
  }
  return fields | settled


def of_width(config: Mapping[str, Any], width: int) -> dict[str, Any]:
  """Returns the fields of a network with another width; one without a width stays as it is, and one
  whose short name settles the width goes by the name of its family.

  >>> of_width({'name': 'convnet', 'depth': 2}, 8)
  {'name': 'convnet', 'depth': 2, 'width': 8}
  >>> of_width({'name': 'mobilenetv2_half'}, 8)
  {'width': 8, 'name': 'mobilenetv2'}
  """
  fields = dict(config)
  if 'width' not in defaults(fields['name']):
    return fields
  family, settled = _find(fields['name'])
  if settled.get('width', width) != width:
    fields = {**settled, **fields, 'name': family}
  return {**fields, 'width': width}


def names() -> list[str]:
  """Returns the names that `build` takes: those of the registry, the short ones behind them.

  >>> names()[0], 'resnet20' in names()
  ('alexnet', True)
  """
  return [*sorted(REGISTRY), *NAMED]


def count(variables: Mapping[str, Any]) -> int:
  """Returns the number of trainable parameters, that is of all numbers in the collection 'params'.

  >>> import jax.numpy as jnp
  >>> count({'params': {'kernel': jnp.ones((3, 2)), 'bias': jnp.ones(2)},
  ...   'batch_stats': {'mean': jnp.ones(9)}})
  8
  """
  return sum(size for _, _, size in _rows(variables))


def activation_bytes(model: Any, image_shape: tuple[int, int, int]) -> int:
  """Returns the bytes of the activations of one image: what every convolution, linear layer and
  normalisation returns, each once, in the type of the computation.

  ReLUs are counted as done in place; sums, pools, shuffles and what is copied are left out. So it
  is what a step of training keeps of an image at least, and compares networks, not programs.

  Args:
    model: a network of `build`, or one with a head.
    image_shape: (height, width, channels).

  >>> net = build({'name': 'mlp', 'width': 4, 'depth': 1}, 10, (8, 8, 1))
  >>> activation_bytes(net, (8, 8, 1))  # 4 numbers, then 10
  56
  """
  from jaxdistill.models import activations

  return activations.count(model, image_shape)


def parameter_table(variables: Mapping[str, Any]) -> str:
  """Returns the trainable parameters as aligned text: path, shape, number, and the total in the
  last line.

  Args:
    variables: of a module, as arrays or only as shapes (jax.eval_shape of its init).

  >>> import jax.numpy as jnp
  >>> print(parameter_table({'params': {'kernel': jnp.ones((300, 20)), 'bias': jnp.ones(20)}}))
  parameter  shape     number
  bias       20            20
  kernel     300 x 20   6,000
  total                 6,020
  """
  rows = [
    (path, ' x '.join(map(str, shape)) or 'scalar', f'{size:,}')
    for path, shape, size in _rows(variables)
  ]
  rows = [('parameter', 'shape', 'number'), *rows, ('total', '', f'{count(variables):,}')]
  path, shape, number = (max(map(len, column)) for column in zip(*rows))
  return '\n'.join(f'{row[0]:{path}}  {row[1]:{shape}}  {row[2]:>{number}}' for row in rows)


def _find(name):
  """The name in the registry, and the fields that a short name settles."""
  if name not in REGISTRY and name not in NAMED:
    raise errors.unknown('model', name, names())
  settled = {} if name in REGISTRY else dict(NAMED[name])
  return settled.pop('name', name), settled


def _check_settled(name, family, settled, fields):
  """Raises `UserError` for a field that is not what the short name stands for: tables would show
  the name of a network that was not there."""
  for field, value in settled.items():
    if fields.get(field, value) != value:
      raise errors.UserError(
        f'The model {name!r} has {field} {value!r}, and beside its name {field} is '
        f'{fields[field]!r}; a network comes with its own fields where it is chosen by an argument '
        f'(model=, student=, teacher=), and {family!r} takes any {field}.'
      )


def _checked(name, field, value, default, choices):
  """The value in the type of the field's default, or a UserError."""
  if field == 'dtype':
    # A dtype may also come as jnp.bfloat16 or as a numpy dtype.
    value = getattr(value, '__name__', None) or getattr(value, 'name', None) or value
    choices = DTYPES
  if choices is not None:
    if value not in choices:
      raise errors.unknown(f'{field} of the model {name!r} called', value, choices)
    return value
  if isinstance(default, tuple):
    # A number alone is a mistake for a sequence of one; a string is a sequence of its letters.
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
      raise errors.UserError(
        f'The {field} of the model {name!r} are whole numbers such as {default}; got {value!r}.'
      )
    return tuple(_whole_number(name, field, number, 1) for number in value)
  if isinstance(default, int) and not isinstance(default, bool):
    # Zero is a value only where it is the default and means that the network chooses.
    return _whole_number(name, field, value, min(default, 1))
  if isinstance(default, float):
    errors.real_numbers(**{f'The {field} of the model {name!r}': value})
    return float(value)
  return value


def _whole_number(name, field, value, least):
  if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
    raise errors.UserError(
      f'The {field} of the model {name!r} is a whole number from {least} up; got {value!r}.'
    )
  return int(value)


def _rows(variables):
  import jax

  leaves, _ = jax.tree_util.tree_flatten_with_path(variables['params'])
  rows = []
  for path, leaf in leaves:
    name = '/'.join(str(key.key) for key in path)
    rows.append((name, leaf.shape, math.prod(leaf.shape)))
  return rows
