"""Trees of arrays as the content of a file, which tells when it is damaged."""

from typing import Any

import jax
from flax import serialization

from jaxdistill import files


def encode(tree: Any) -> bytes:
  """Returns a tree of arrays as bytes with their checksum; `decode` gives an equal tree back.

  >>> import numpy as np
  >>> content = encode({'scale': np.ones(2)})
  >>> decode({'scale': np.zeros(2)}, content)
  {'scale': array([1., 1.])}
  """
  return files.sealed(serialization.to_bytes(tree))


def decode(template: Any, content: bytes) -> Any:
  """Returns the tree of some bytes.

  Args:
    template: a tree of the same form, of arrays or of their shapes.
    content: what `encode` returned.

  Raises:
    ValueError: the content is damaged, or of another form.
  """
  tree = serialization.from_bytes(template, files.unsealed(content))
  forms = lambda tree: [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]
  if forms(tree) != forms(template):
    raise ValueError('the arrays have another form')
  return tree


def plain(content: bytes) -> Any:
  """Returns the tree of some bytes as nested dicts, without a template.

  Raises:
    ValueError: the content is damaged.

  >>> import numpy as np
  >>> plain(encode({'scale': np.ones(2)}))
  {'scale': array([1., 1.])}
  """
  return serialization.msgpack_restore(files.unsealed(content))
