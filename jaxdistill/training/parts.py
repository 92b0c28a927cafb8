"""Parts of a network by path: what is trained (owned) and what stays as it is (frozen).

A path is a row of whole names joined by '/', from the top of a collection: 'head', 'block1/conv',
'block1/conv/kernel'. It stands for everything below it and means the same in every collection, so
that 'block1' is the weights of that block in 'params' and its running statistics in 'batch_stats'.

`owned` marks the leaves, `split` takes a tree of variables apart by the marks, `merge` puts it
together again. A training differentiates, decays and keeps optimiser state for the owned half
only; what is frozen is never written, so it stays what it was bit for bit:

    mask = owned(variables, ('head',))
    mine, frozen = split(variables, mask)
    gradient = jax.grad(lambda params: loss(merge({**mine, 'params': params}, frozen)))(
      mine['params'])

A network that runs in training mode moves its running statistics everywhere; split(moved, mask)[0]
are those to keep. Its frozen batch normalisation still normalises by the batch, as long as the
network is called with train=True: what mode a frozen part runs in is for the caller to say.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from jaxdistill.errors import UserError, unknown


def owned(variables: Mapping[str, Any], paths: tuple[str, ...] = (), frozen: tuple[str, ...] = ()):
  """Returns which leaves are trained: a tree of bools of the form of `variables`.

  A leaf is owned if one of `paths` covers it and none of `frozen` does: `frozen` wins, however
  short it is. The mask depends on names only, so arrays, shapes and traced values all serve.

  Args:
    variables: {'params': ..., 'batch_stats': ..., ...}, the collections of a network.
    paths: the owned parts; () for everything.
    frozen: parts of those that are frozen all the same.

  Raises:
    UserError: a path covers nothing in any collection, or nothing in 'params' is owned.

  >>> variables = {'params': {'conv': {'kernel': 1.0}, 'head': {'kernel': 2.0, 'bias': 3.0}}}
  >>> owned(variables, ('head',), frozen=('head/bias',))
  {'params': {'conv': {'kernel': False}, 'head': {'bias': False, 'kernel': True}}}
  >>> owned(variables, ('haed',))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no part of the network 'haed'; did you mean 'head'? ...
  """
  leaves = itertools.chain.from_iterable(map(leaf_paths, variables.values()))
  check((*_paths(paths), *_paths(frozen)), leaves, 'part of the network')

  def is_owned(path, _):
    leaf = _name(path[1:])
    return (not paths or covers(paths, leaf)) and not covers(frozen, leaf)

  mask = jax.tree_util.tree_map_with_path(is_owned, dict(variables))
  if not any(jax.tree.leaves(mask.get('params', mask))):
    raise UserError(
      f'Nothing is left to train: of {", ".join(paths) or "the whole network"} '
      f'all parameters are frozen by {", ".join(frozen) or "nothing"}.'
    )
  return mask


def split(
  variables: Mapping[str, Any], mask: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns the owned and the frozen half of `variables`, each with the leaves of its own only.

  Every collection is in both halves, empty where nothing of it is. `variables` may lack collections
  that `mask` has (what a network moved in training).

  >>> variables = {'params': {'conv': {'kernel': 1.0}, 'head': {'kernel': 2.0}}}
  >>> split(variables, owned(variables, ('head',)))
  ({'params': {'head': {'kernel': 2.0}}}, {'params': {'conv': {'kernel': 1.0}}})
  """

  def half(side):
    return {name: _half(tree, mask[name], side) for name, tree in variables.items()}

  return half(True), half(False)


def merge(owned: Mapping[str, Any], frozen: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the tree that `split` took apart.

  Raises:
    ValueError: a leaf is in both halves.

  >>> merge({'params': {'head': 2.0}}, {'params': {'conv': 1.0}})
  {'params': {'head': 2.0, 'conv': 1.0}}
  """
  merged = dict(owned)
  for name, value in frozen.items():
    if name not in merged:
      merged[name] = value
    elif isinstance(value, Mapping) and isinstance(merged[name], Mapping):
      merged[name] = merge(merged[name], value)
    else:
      raise ValueError(f'{name!r} is in both halves of the variables.')
  return merged


def replace(variables: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
  """Returns `variables` with those leaves that `newer` has in their place.

  >>> replace({'params': {'head': 2.0, 'conv': 1.0}}, {'params': {'head': 3.0}})
  {'params': {'head': 3.0, 'conv': 1.0}}
  """
  replaced = dict(variables)
  for name, value in newer.items():
    nested = isinstance(value, Mapping) and isinstance(replaced.get(name), Mapping)
    replaced[name] = replace(replaced[name], value) if nested else value
  return replaced


def leaf_paths(tree: Any) -> list[str]:
  """Returns the paths of all leaves of one collection.

  >>> leaf_paths({'head': {'kernel': 1.0, 'bias': 2.0}, 'token': 3.0})
  ['head/bias', 'head/kernel', 'token']
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return [_name(path) for path, _ in leaves]


def covers(paths: Iterable[str], leaf: str) -> bool:
  """Returns whether one of `paths` is the leaf's path or leads to it, name by name.

  >>> covers(('conv1',), 'conv1/kernel'), covers(('conv1',), 'conv10/kernel')
  (True, False)
  """
  return any(f'{leaf}/'.startswith(f'{path}/') for path in paths)


def check(paths: Iterable[str], leaves: Iterable[str], kind: str) -> None:
  """Raises `UserError` with the nearest name where one of `paths` covers none of `leaves`.

  Args:
    paths: to check.
    leaves: all paths of leaves that exist.
    kind: what a path is called in the sentence.

  >>> check(('block1/conv',), ['block1/conv/kernel', 'head/kernel'], 'parameter')
  >>> check(('conv',), ['block1/conv/kernel', 'head/kernel'], 'parameter')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no parameter 'conv'; did you mean 'block1/conv'? ...
  """
  leaves = list(leaves)
  for path in _paths(paths):
    if not any(covers((path,), leaf) for leaf in leaves):
      raise unknown(kind, path, _alternatives(path, leaves))


def _alternatives(path, leaves):
  """What may have been meant: the same path further down, else its neighbours where it leaves the
  tree."""
  places = set()
  for leaf in leaves:
    places.update(itertools.accumulate(leaf.split('/'), '{}/{}'.format))
  parent = path.rpartition('/')[0]
  while parent and parent not in places:
    parent = parent.rpartition('/')[0]
  deeper = [place for place in places if path and place.endswith(f'/{path}')]
  return deeper or [place for place in places if place.rpartition('/')[0] == parent] or [parent]


def _half(tree, mask, side):
  """The leaves whose mark is `side`; a part without leaves of its own counts as frozen."""
  half = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      inside = _half(value, mask[name], side)
      if inside or not (value or side):
        half[name] = inside
    elif mask[name] is side:
      half[name] = value
  return half


def _name(path):
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _paths(paths):
  if isinstance(paths, str):
    raise UserError(f'Paths are given as a tuple: ({paths!r},) in place of {paths!r}.')
  return tuple(paths)
