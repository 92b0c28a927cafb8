"""Base networks that are there already: those of another run's work dir, or weights of an encoder
in a file."""

import json
import os
import pathlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from jaxdistill import errors, files
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError
from jaxdistill.fscil.base import Bases, variables_form
from jaxdistill.models import weights
from jaxdistill.training import pretrained, trees
from jaxdistill.training.run import Run

FILE = 'base.json'


class Given(NamedTuple):
  """What a source holds.

  variables: of S networks, leaves [S, ...], with the sub-tree 'encoder' in every collection and,
    where `head` is not '', 'head'.
  head: the name of their head; '': there is none that would serve here.
  key: the hash of their content and of the network that they are for: the same weights give other
    features in another one, one that pools otherwise for example.
  """

  variables: Any
  head: str
  key: str


def images_key(base: Dataset) -> str:
  """Returns the hash of base images and their labels: a head fits the classes it was trained on."""
  return files.content_hash([base.images, base.labels], {'classes': list(base.class_names)})


def describe(run: Run, bases: Bases, head: str, base: Dataset, directory: Any) -> None:
  """Writes into a work dir what its base networks are and where their weights lie, so that other
  runs can take them."""
  if run.workdir is None or directory is None:
    return
  path = pathlib.Path(directory) / f'{bases.key}.msgpack'
  run.write_json(
    FILE,
    {
      'encoder': repr(bases.model.encoder),
      'head': repr(bases.model.head),
      'head_name': head,
      'networks': bases.networks,
      'images': images_key(base),
      'checks': len(bases.checks['steps']),
      'splits': sorted(set(bases.checks) - {'steps'}),
      'weights': os.path.relpath(path, run.workdir),
    },
  )


def read(source: str, model: nn.Module, head: str, base: Dataset, networks: int) -> Given:
  """Returns the variables of a source, checked against the network of this run.

  Args:
    source: a work dir of this family, or a file of an encoder's weights, see `models.weights`.
    model: the encoder with its head of all columns.
    head: the name of that head.
    base: the base images.
    networks: S; a file of one encoder serves every network alike.

  Raises:
    UserError: nothing is there, it cannot be read, or it is of another architecture or of too few
      networks.
  """
  path = files.expanded(source)
  if (path / FILE).is_file():
    return _of_work_dir(path, source, model, head, base, networks)
  if path.is_dir():
    raise UserError(
      f'base_training.given={source} is no work dir with base networks: there is no {FILE} in it.'
    )
  if not path.is_file():
    raise UserError(
      f'base_training.given={source} does not exist; name a work dir of this family, or a file of '
      'weights.'
    )
  stacked = variables_form(model, base.image_shape, 1)
  form = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), stacked)
  loaded = weights.load(path, model, form, classifier=False)
  encoder = {name: {'encoder': tree['encoder']} for name, tree in loaded.items()}
  variables = _repeated(encoder, networks)
  return Given(variables, '', _key(variables, model))


def _of_work_dir(path, source, model, head, base, networks):
  try:
    facts = json.loads((path / FILE).read_text())
    file = path / facts['weights']
    encoder, its_head, its_networks = facts['encoder'], facts['head'], facts['networks']
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      f'{errors.shown(path / FILE)} cannot be read ({errors.brief(error)}); name another work dir.'
    ) from None
  if encoder != repr(model.encoder):
    raise UserError(
      f'The base networks of {source} are of another architecture: '
      f'{errors.brief(encoder)}; this run has {errors.brief(repr(model.encoder))}.'
    )
  if its_networks < networks:
    raise UserError(
      f'{source} has {its_networks} base network(s), and base_training.networks is {networks}; '
      f'ask for at most {its_networks}.'
    )
  same = its_head == repr(model.head) and facts['images'] == images_key(base)
  try:
    content = trees.plain(file.read_bytes())['variables']
  except (OSError, ValueError, KeyError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise UserError(
      f'The base networks of {source} cannot be read from {errors.shown(file)} '
      f'({errors.brief(reason)}); start its command again to make them anew.'
    ) from None
  variables = {}
  for name, tree in content.items():
    kept = tree if same else {part: tree[part] for part in tree if part == 'encoder'}
    variables[name] = jax.tree.map(lambda leaf: np.asarray(leaf)[:networks], kept)
  _check_form(source, variables, model, base.image_shape)
  return Given(variables, head if same else '', _key(variables, model))


def _check_form(source, variables, model, image_shape):
  wanted = variables_form(model, image_shape, 1)
  shapes = lambda tree: jax.tree.map(lambda leaf: tuple(leaf.shape[1:]), tree)
  for name, tree in variables.items():
    for part, given in tree.items():
      if shapes(wanted.get(name, {}).get(part, {})) != shapes(given):
        height, width, channels = image_shape
        raise UserError(
          f'The base networks of {source} are of another architecture: the shapes of their {part} '
          f'are not those of this run, whose images are {height}x{width}x{channels}.'
        )


def _repeated(tree, networks):
  return jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], networks, 0), tree)


def _key(variables, model) -> str:
  described = dict(
    **pretrained.code_fields(model.encoder),
    what='given base networks',
    encoder=repr(model.encoder),
    head=repr(model.head) if 'head' in variables['params'] else '',
  )
  return files.content_hash(jax.tree.leaves(variables), described)
