"""Weights of networks from files and into files, by the library's own names or by published ones.

Published are torchvision's names of ResNets, which timm shares, for `imagenet_resnet` and
`torchvision_resnet`; timm's names of vision transformers, which the public MAE checkpoints share,
for `mae_vit`; and the names of the public codes of distillation, RepDistiller and mdistiller, for
`resnet`, `stem_resnet`, `wrn`, `cifar_vgg`, `mobilenetv2`, `shufflenet_v1` and `shufflenet_v2`. The
file format is safetensors; a checkpoint of PyTorch's becomes one by
safetensors.torch.save_file(state_dict, path), where those codes keep the state_dict under 'model'.

>>> import jax.numpy as jnp
>>> from jaxdistill import models
>>> network = models.build({'name': 'mae_vit', 'width': 8, 'depth': 1}, 3, (8, 8, 1))
>>> variables = network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
>>> save('vit.safetensors', network, variables, names='published')
>>> loaded = load('vit.safetensors', network, variables)
>>> bool((loaded['params']['cls'] == variables['params']['cls']).all())
True
"""

import math
import os
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxdistill import errors
from jaxdistill.errors import UserError, shown
from jaxdistill.models import safetensors, torch_names
from jaxdistill.models.mae_vit import MaeViT, waves

NAMES = ('own', 'published')
_COLLECTIONS = ('params', 'batch_stats')
# How far positions in a file may be from the fixed ones; learned ones are further.
_NEAR = 1e-2


def load(
  path: str | os.PathLike,
  network: nn.Module,
  variables: Mapping[str, Any],
  *,
  classifier: bool = True,
) -> dict[str, Any]:
  """Returns the weights of a network from a file.

  It lacks what is not wanted and, of the parts beside an encoder, what the file does not hold:
  `training.parts.replace(variables, loaded)` puts it in place.

  Args:
    path: a .safetensors file.
    network: of `models.build`; or a module with such a one as `encoder` (`heads.Headed`,
      `mae.MaskedAutoencoder`), which takes the encoder from published weights, and from own ones
      the other parts that the file holds too.
    variables: of the network, as arrays or only as shapes (jax.eval_shape of its init).
    classifier: whether the classifier, or the parts beside an encoder, are wanted too.

  Returns:
    {'params': ..., 'batch_stats': ...} of float32 NumPy arrays.

  Raises:
    UserError: the file cannot be read, a weight of the network is not in it or not finite, or it is
      of another architecture.
  """
  arrays = safetensors.read(path)
  shapes = {leaf: np.shape(value) for leaf, value in _leaves(variables).items()}
  published = not arrays or any(name.split('/')[0] not in _COLLECTIONS for name in arrays)
  if published:
    encoder = getattr(network, 'encoder', network)
    scheme = _scheme(path, encoder)
    if isinstance(encoder, MaeViT) and encoder.positions == 'fixed':
      _check_positions(path, arrays.pop('pos_embed', None), encoder.width)
    beside = _has_parts(network)
    wanted, ignored = torch_names.names(scheme, shapes, beside=beside, classifier=classifier)
  else:
    arrays = _as_parts_of(network, arrays)
    wanted, ignored = _own(network, shapes, arrays, classifier)
  for leaf, name in wanted.items():
    if name not in arrays:
      raise UserError(_missing(path, name, arrays, leaf))
  loaded = {}
  for leaf, name in wanted.items():
    _put(loaded, leaf, _fitted(path, name, arrays[name], leaf, shapes[leaf], published))
  for name in sorted(arrays.keys() - set(wanted.values())):
    if not re.fullmatch(ignored, name):
      raise _of_another(path, f'the network has no place for {name!r}')
  return loaded


def save(
  path: str | os.PathLike, network: nn.Module, variables: Mapping[str, Any], names: str = 'own'
) -> None:
  """Writes the weights of a network, or of an encoder and what is beside it, as a .safetensors
  file.

  Args:
    path: of the file.
    network: as in `load`.
    variables: its weights, collections by name.
    names: 'own', those of the variables; 'published', under which only the encoder is written, for
      PyTorch. Fixed positions, which are no weights, are in neither.

  Raises:
    UserError: the file cannot be written, or there are no published names for the network.
  """
  if names not in NAMES:
    raise errors.unknown('kind of names', names, NAMES)
  leaves = _leaves(variables)
  if names == 'own':
    safetensors.write(path, {leaf: np.asarray(value) for leaf, value in leaves.items()})
    return
  scheme = _scheme(path, getattr(network, 'encoder', network))
  published, _ = torch_names.names(scheme, leaves, beside=_has_parts(network))
  arrays = {}
  for leaf, name in published.items():
    arrays[name] = torch_names.to_torch(leaf, np.asarray(leaves[leaf]))
  safetensors.write(path, arrays)


def _own(network, shapes, arrays, classifier):
  """{leaf: name in the file} of what is loaded by own names, and what else may be in the file."""
  if not _has_parts(network):
    leaves = [leaf for leaf in shapes if classifier or not _is_classifier(leaf)]
    return dict(zip(leaves, leaves)), '' if classifier else r'params/classifier/.*'
  parts = {name.split('/')[1] for name in arrays} if classifier else set()
  leaves = [leaf for leaf in shapes if leaf.split('/')[1] in parts | {'encoder'}]
  return dict(zip(leaves, leaves)), r'\w+/(?!encoder/).*|\w+/encoder/classifier/.*'


def _as_parts_of(network, arrays):
  """The arrays of an own file as those of a network: with 'encoder' before the names of an encoder
  alone, or without it and without the other parts."""
  whole = any(name.split('/')[1] == 'encoder' for name in arrays)
  if whole == _has_parts(network):
    return arrays
  parts = {}
  for name, array in arrays.items():
    collection, rest = name.split('/', 1)
    if not whole:
      parts[f'{collection}/encoder/{rest}'] = array
    elif rest.startswith('encoder/'):
      parts[f'{collection}/{rest.removeprefix("encoder/")}'] = array
  return parts


def _scheme(path, encoder):
  scheme = torch_names.find(encoder)
  if scheme is None:
    raise UserError(
      f'No published names are known for a {type(encoder).__name__}: {shown(path)} can hold its '
      "weights by jaxdistill's own names only."
    )
  return scheme


def _fitted(path, name, array, leaf, shape, published):
  """An array of a file in the layout and the type of the network."""
  expected = torch_names.to_torch(leaf, np.broadcast_to(0, shape)).shape if published else shape
  if array.shape != expected:
    raise _of_another(
      path, f'{name!r} is {_size(array.shape)} where the network has {_size(expected)}'
    )
  array = np.asarray(array, np.float32)
  if not np.isfinite(array).all():
    raise UserError(
      f'{shown(path)} holds numbers in {name!r} that are not finite: its training has diverged, or '
      'it is damaged.'
    )
  return np.ascontiguousarray(torch_names.from_torch(leaf, array) if published else array)


def _check_positions(path, positions, width):
  """Refuses the positions of a file, None for none, where they are not the fixed ones of square
  images."""
  if positions is None:
    return
  if positions.ndim != 3 or len(positions) != 1 or positions.shape[2] != width:
    raise _of_another(
      path, f"'pos_embed' is {_size(positions.shape)} where a token has {width} numbers"
    )
  side = math.isqrt(max(positions.shape[1] - 1, 0))
  fixed = waves((side, side), width)
  held = np.asarray(positions[0, 1:], np.float32)
  if held.shape != fixed.shape or np.abs(held - fixed).max() > _NEAR:
    raise UserError(
      f'The positions in {shown(path)} are learned ones: build the network with '
      "positions='learned'."
    )


def _missing(path, name, arrays, leaf) -> str:
  first = min(arrays, default='nothing')
  hint = ' Pass classifier=False to leave the classifier out.' if _is_classifier(leaf) else ''
  return (
    f'{shown(path)} holds no {name!r}, which the network needs, but {first!r} and others.{hint}'
  )


def _of_another(path, reason) -> UserError:
  return UserError(f'{shown(path)} holds weights of another architecture: {reason}.')


def _has_parts(network: nn.Module) -> bool:
  """Whether the network is an encoder and what is beside it."""
  return hasattr(network, 'encoder')


def _is_classifier(leaf: str) -> bool:
  return leaf.split('/')[1] == 'classifier'


def _size(shape) -> str:
  return 'x'.join(map(str, shape)) or 'a number'


def _leaves(variables) -> dict[str, Any]:
  """The weights and statistics by path."""
  held = {name: variables[name] for name in _COLLECTIONS if name in variables}
  leaves, _ = jax.tree_util.tree_flatten_with_path(held)
  return {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}


def _put(tree, path, value):
  *parents, last = path.split('/')
  for name in parents:
    tree = tree.setdefault(name, {})
  tree[last] = value
