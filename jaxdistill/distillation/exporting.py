"""A trained network for other programs: a folder that runs without this library.

classifier.stablehlo   the program, by jax.export: (weights by name, images) -> logits
weights.safetensors    the weights by the library's own names
classifier.json        classes, sizes, statistics, versions
predict.py             loads and runs it with jax alone, see `standalone`
"""

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import jaxlib
from flax import traverse_util

import jaxdistill
from jaxdistill import draws, errors, files
from jaxdistill.data import augment
from jaxdistill.data.transform import Transform
from jaxdistill.distillation import standalone
from jaxdistill.models import weights
from jaxdistill.training import portable

PROGRAM, WEIGHTS, DESCRIPTION, RUNNER = (
  'classifier.stablehlo',
  'weights.safetensors',
  'classifier.json',
  'predict.py',
)
_FORMAT = 'jaxdistill classifier, version 1'


def export(
  folder: str | os.PathLike,
  network: nn.Module,
  variables: Mapping[str, Any],
  *,
  image_shape: Sequence[int],
  mean: Sequence[float],
  std: Sequence[float],
  class_names: Sequence[str],
  view: Transform | None = None,
  description: Mapping[str, Any] | None = None,
) -> pathlib.Path:
  """Writes a network as a folder that runs without this library, and returns its path.

  One program serves the CPU, NVIDIA's GPUs and TPUs, and any number of images. JAX keeps such
  programs readable for at least six months of its versions; the weights stay readable, and can be
  loaded by `models.weights.load`.

  Args:
    folder: to be made; it must not exist yet.
    network: of `models.build`; it returns (logits, features).
    variables: its weights, those of this network alone.
    image_shape: (h, w, c) of the images that the program takes, float32 in [0, 1].
    mean, std: per channel, by which it normalises them.
    class_names: one a logit.
    view: what is done to the images before they are normalised, without any chance, such as
      `data.crops.Resize`; None: nothing.
    description: what else shall stand in the description; plain values.

  Raises:
    UserError: the folder exists or cannot be written, or the variables are not those of the
      network.
  """
  shape, mean, std = tuple(map(int, image_shape)), tuple(map(float, mean)), tuple(map(float, std))
  seen = jax.eval_shape(_prepare(view, mean, std), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
  by_name = _weights_of(network, variables, seen)
  if len(class_names) != network.num_classes:
    raise errors.UserError(
      f'The network has {network.num_classes} classes, and {len(class_names)} names were given.'
    )
  program = program_of(network, by_name, shape, _prepare(view, mean, std))
  content = {
    'format': _FORMAT,
    'program': PROGRAM,
    'weights': WEIGHTS,
    'class_names': list(class_names),
    'image_shape': shape,
    'seen_shape': seen.shape[1:],
    'mean': mean,
    'std': std,
    'platforms': portable.PLATFORMS,
    'parameters': sum(leaf.size for leaf in jax.tree.leaves(variables['params'])),
    'versions': {
      'jaxdistill': jaxdistill.__version__,
      'jax': jax.__version__,
      'jaxlib': jaxlib.__version__,
      'flax': flax.__version__,
    },
    'description': dict(description or {}),
  }
  text = json.dumps(files.jsonable(content), indent=1, ensure_ascii=False) + '\n'
  with files.new_folder(folder, 'The network') as place:
    (place / PROGRAM).write_bytes(program)
    weights.save(place / WEIGHTS, network, variables)
    (place / DESCRIPTION).write_text(text, 'utf-8')
    (place / RUNNER).write_bytes(pathlib.Path(standalone.__file__).read_bytes())
  return files.expanded(folder)


def program_of(
  network: nn.Module,
  by_name: Mapping[str, Any],
  image_shape: tuple[int, int, int],
  prepare: Callable[[jax.Array], jax.Array],
) -> bytes:
  """Returns the program (weights by name, float32 images [n, h, w, c]) -> logits [n, C] as
  `jax.export` writes it, for all of `portable.PLATFORMS` and any n.

  Args:
    network: it returns (logits, features).
    by_name: its weights, or only their shapes.
    image_shape: of the images.
    prepare: images [n, h, w, c] -> what the network reads.
  """

  def logits(by_name, images):
    variables = traverse_util.unflatten_dict(by_name, sep='/')
    return network.apply(variables, prepare(images), train=False)[0]

  return portable.program_of(logits, dict(by_name), image_shape)


def _prepare(view, mean, std):
  def prepare(images):
    images = images if view is None else view(None, images)
    return augment.normalise(images, mean, std)

  return prepare


def _weights_of(network, variables, seen):
  """The weights by name, after checking that they are the network's, with nothing besides."""
  init = lambda: network.init(draws.key(0), jnp.zeros(seen.shape, seen.dtype), train=False)
  wanted = traverse_util.flatten_dict(dict(jax.eval_shape(init)), sep='/')
  by_name = traverse_util.flatten_dict(dict(variables), sep='/')
  for name in sorted(wanted.keys() | by_name.keys()):
    shapes = [getattr(leaves.get(name), 'shape', None) for leaves in (by_name, wanted)]
    if shapes[0] != shapes[1]:
      given, right = ('missing' if shape is None else f'of shape {shape}' for shape in shapes)
      raise errors.UserError(
        f'The variables are not those of the network alone: {name} is {given}, in the network it '
        f'is {right}.'
      )
  return by_name
