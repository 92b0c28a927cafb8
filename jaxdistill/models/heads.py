"""Heads: what makes logits of an encoder's embedding, apart from the encoder.

`attach(encoder, head)` puts one on any network of `models.build`, in place of the linear classifier
that the network has of its own. The result is a network like any other; its variables have the
sub-trees 'encoder' and 'head', so that either can be trained, kept or handed on without the other.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.losses import prototypes
from jaxdistill.models import initializers, normalisation
from jaxdistill.models.linear import Linear
from jaxdistill.models.projection import ContrastiveHead
from jaxdistill.numerics import settled
from jaxdistill.registry import Registry

_SLOPE = 0.1  # of the projector's leaky ReLU


class LinearHead(nn.Module):
  """logits = W^T f + b, the classifier that every network has; 'projected' is the embedding f.

  >>> import jax, jax.numpy as jnp
  >>> form = lambda x: LinearHead(3).init_with_output(jax.random.key(0), x)[0]
  >>> [part.shape for part in jax.eval_shape(form, jnp.ones((2, 5)))]
  [(2, 3), (2, 5)]
  """

  num_classes: int

  @nn.compact
  def __call__(self, embedding: jax.Array) -> tuple[jax.Array, jax.Array]:
    embedding = embedding.astype(jnp.float32)
    return Linear(self.num_classes, name='classifier')(embedding), embedding


class CosineHead(nn.Module):
  """logits_c = scale * cos(f, w_c), one row w_c a class; 'projected' is f / ||f||.

  Attributes:
    num_classes: rows.
    scale: the inverse temperature.

  Parameters: 'rows' [num_classes, d], which start as PyTorch's linear layer does.

  Source: Gidaris & Komodakis, CVPR 2018; scale 16 as in CEC (Zhang et al., CVPR 2021).

  >>> import jax, jax.numpy as jnp
  >>> head, f = CosineHead(2), jnp.array([[0., 4.]])
  >>> logits, projected = head.apply({'params': {'rows': jnp.array([[1., 0.], [0., 9.]])}}, f)
  >>> logits, projected
  (Array([[ 0., 16.]], dtype=float32), Array([[0., 1.]], dtype=float32))
  """

  num_classes: int
  scale: float = 16.0

  @nn.compact
  def __call__(self, embedding: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows = _rows(self, self.num_classes, embedding.shape[-1])
    logits = prototypes.cosine_logits(embedding, rows, self.scale)
    return logits, prototypes.unit(embedding)


class Projector(nn.Module):
  """v = W3 a(W2 a(W1 f + b1) + b2) + W0 f with a = leaky ReLU (slope 0.1) of a layer norm:
  d -> 2d -> 2d -> width, beside a linear shortcut d -> width.

  3,448,320 parameters for d = 640 and 2,365,440 for d = 512 at width 512. PyTorch's default
  initialisation.

  Attributes:
    width: numbers of the output, of any length.

  Source: the neck of the public code of Yang et al., ICLR 2023 (NC-FSCIL).

  >>> import jax, jax.numpy as jnp
  >>> form = lambda f: Projector(8).init_with_output(jax.random.key(0), f)[0]
  >>> jax.eval_shape(form, jnp.ones((2, 5))).shape
  (2, 8)
  """

  width: int = 512

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    features = features.astype(jnp.float32)
    x = features
    for layer in (1, 2):
      x = Linear(2 * features.shape[-1], name=f'linear{layer}')(x)
      x = nn.LayerNorm(epsilon=normalisation.EPSILON, name=f'norm{layer}')(x)
      x = nn.leaky_relu(x, _SLOPE)
    x = Linear(self.width, use_bias=False, name='linear3')(x)
    return x + Linear(self.width, use_bias=False, name='shortcut')(features)


class ProjectorHead(nn.Module):
  """logits_c = scale * cos(v, w_c) of the projector's output v; 'projected' is v / ||v||.

  Attributes:
    num_classes: rows.
    width: of the projector's output.
    scale: the inverse temperature.

  Parameters: 'projector' and 'rows' [num_classes, width].

  Source: the projector of NC-FSCIL (Yang et al., ICLR 2023) before a trained classifier of unit
  vectors, as PKI (Bao et al., Neural Networks 2025) has it; unit rows and the scale are our choice.

  >>> import jax, jax.numpy as jnp
  >>> form = lambda f: ProjectorHead(3, width=8).init_with_output(jax.random.key(0), f)
  >>> (logits, v), variables = jax.eval_shape(form, jnp.ones((2, 5)))
  >>> logits.shape, v.shape, sorted(variables['params'])
  ((2, 3), (2, 8), ['projector', 'rows'])
  """

  num_classes: int
  width: int = 512
  scale: float = 16.0

  @nn.compact
  def __call__(self, embedding: jax.Array) -> tuple[jax.Array, jax.Array]:
    projected = Projector(self.width, name='projector')(embedding)
    rows = _rows(self, self.num_classes, self.width)
    return prototypes.cosine_logits(projected, rows, self.scale), prototypes.unit(projected)


class FreeProjectorHead(nn.Module):
  """logits_c = w_c^T v / ||v|| of the projector's output v, with rows w_c of any length;
  'projected' is v / ||v||.

  Attributes:
    num_classes: rows.
    width: of the projector's output.

  Parameters: as of `ProjectorHead`.

  Source: the other reading of the same classifier, in which no scale is needed, as the rows can
  grow (our choice).

  >>> import jax, jax.numpy as jnp
  >>> form = lambda f: FreeProjectorHead(3, width=8).init_with_output(jax.random.key(0), f)
  >>> (logits, v), variables = jax.eval_shape(form, jnp.ones((2, 5)))
  >>> logits.shape, v.shape, sorted(variables['params'])
  ((2, 3), (2, 8), ['projector', 'rows'])
  """

  num_classes: int
  width: int = 512

  @nn.compact
  def __call__(self, embedding: jax.Array) -> tuple[jax.Array, jax.Array]:
    projected = prototypes.unit(Projector(self.width, name='projector')(embedding))
    rows = _rows(self, self.num_classes, self.width)
    return jnp.matmul(projected, rows.T, precision=jax.lax.Precision.HIGHEST), projected


class EtfHead(nn.Module):
  """logits_c = e_c^T v / ||v|| with the projector's output v and the fixed directions e_c of a
  simplex ETF over all classes; 'projected' is v / ||v||.

  Trained by `losses.dot_regression` with `frame`, which has no parameters.

  Attributes:
    num_classes: of the ETF, those that are still to come included.
    width: of the projector's output, at least num_classes.
    seed: of the ETF's rotation, see `losses.etf`.

  Parameters: 'projector'.

  Source: Yang et al., ICLR 2023 (NC-FSCIL).

  >>> import jax, jax.numpy as jnp
  >>> head = EtfHead(3, width=8)
  >>> form = lambda f: head.init_with_output(jax.random.key(0), f)
  >>> (logits, v), variables = jax.eval_shape(form, jnp.ones((2, 5)))
  >>> head.frame.shape, logits.shape, v.shape, sorted(variables['params'])
  ((8, 3), (2, 3), (2, 8), ['projector'])
  """

  num_classes: int
  width: int = 512
  seed: int = 0

  @property
  def frame(self) -> np.ndarray:
    """The ETF, float32 [width, num_classes]."""
    return prototypes.etf(self.num_classes, self.width, self.seed)

  @nn.compact
  def __call__(self, embedding: jax.Array) -> tuple[jax.Array, jax.Array]:
    projected = prototypes.unit(Projector(self.width, name='projector')(embedding))
    return jnp.matmul(projected, self.frame, precision=jax.lax.Precision.HIGHEST), projected


class TwoLayerHead(nn.Module):
  """logits = W2^T GELU(W1^T f + b1) + b2; 'projected' is the hidden activation.

  Attributes:
    num_classes: outputs.
    width: units between; 0: as many as the embedding has numbers.

  Parameters: 'hidden' and 'classifier'.

  Source: two layers as in Co-Memory (Bao et al., arXiv 2601.07117); width and GELU are our choice.

  >>> import jax, jax.numpy as jnp
  >>> form = lambda f: TwoLayerHead(3).init_with_output(jax.random.key(0), f)[0]
  >>> [part.shape for part in jax.eval_shape(form, jnp.ones((2, 5)))]
  [(2, 3), (2, 5)]
  """

  num_classes: int
  width: int = 0

  @nn.compact
  def __call__(self, embedding: jax.Array) -> tuple[jax.Array, jax.Array]:
    units = self.width or embedding.shape[-1]
    activation = Linear(units, name='hidden')(embedding.astype(jnp.float32))
    activation = nn.gelu(activation, approximate=False)
    return Linear(self.num_classes, name='classifier')(activation), activation


HEADS = Registry(
  'head',
  {
    'linear': LinearHead,
    'cosine': CosineHead,
    'projector': ProjectorHead,
    'free_projector': FreeProjectorHead,
    'etf': EtfHead,
    'two_layer': TwoLayerHead,
    'contrastive': ContrastiveHead,
  },
)


class Headed(nn.Module):
  """An encoder whose embedding goes into a head.

  Attributes:
    encoder: a network of `models.build`, of which the part called 'classifier' is neither made nor
      run.
    head: a module embedding -> (logits, projected).

  Returns:
    (logits float32 [n, classes], features: the encoder's, 'embedding' [n, d] among them, and
    'projected' [n, e], what the head's last layer reads).

  >>> import jax, jax.numpy as jnp
  >>> from jaxdistill import models
  >>> net = attach(models.build({'name': 'mlp', 'width': 4}, 10, (8, 8, 1)), 'cosine')
  >>> form = lambda x: net.init_with_output(jax.random.key(0), x)
  >>> (logits, features), variables = jax.eval_shape(form, jnp.zeros((2, 8, 8, 1)))
  >>> logits.shape, features['embedding'].shape, sorted(variables['params'])
  ((2, 10), (2, 4), ['encoder', 'head'])
  >>> sorted(variables['params']['encoder'])
  ['linear1', 'linear2']
  """

  encoder: nn.Module
  head: nn.Module

  @property
  def num_classes(self) -> int:
    """Outputs of the head."""
    return self.head.num_classes

  def check(self, image_shape: tuple[int, int, int]) -> None:
    """Raises a UserError for images that the encoder cannot take."""
    self.encoder.check(image_shape)

  @settled()
  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    features = encode(self.encoder, x, train)
    logits, projected = self.head(features['embedding'])
    return logits, {**features, 'projected': projected}


def encode(encoder: nn.Module, x: jax.Array, train: bool = False, **arguments) -> dict[str, Any]:
  """Returns the features of an encoder inside a module that holds it, without its classifier.

  Args:
    encoder: a network of `models.build`, as the attribute of a module that is being applied.
    x: images [n, h, w, c].
    train: the mode.
    **arguments: further ones of the encoder's.
  """

  def without_classifier(call, args, kwargs, context):
    module = context.module
    if context.method_name == '__call__' and module.path == (*encoder.path, 'classifier'):
      return jnp.zeros((len(args[0]), 0))
    return call(*args, **kwargs)

  with nn.intercept_methods(without_classifier):
    _, features = encoder(x, train, **arguments)
  return features


def attach(
  encoder: nn.Module, head: Mapping[str, Any] | str = 'linear', num_classes: int = 0
) -> Headed:
  """Returns an encoder with a head in place of its classifier.

  Args:
    encoder: a network of `models.build`.
    head: the name of a head, or a mapping with `name` and any of its fields.
    num_classes: of the head; 0: the encoder's.

  Raises:
    UserError: an unknown head or field, a value of the wrong kind, or an ETF of more classes than
      its width.

  >>> from jaxdistill import models
  >>> encoder = models.build({'name': 'mlp', 'width': 4}, 10, (8, 8, 1))
  >>> attach(encoder, {'name': 'projector', 'width': 8}).head.width
  8
  >>> attach(encoder, {'name': 'etf', 'width': 8})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: A simplex ETF of 10 classes needs features of at least 10 ...
  """
  given = {'name': head} if isinstance(head, str) else dict(head)
  if 'name' not in given:
    raise errors.UserError(f'A head needs a name, one of {", ".join(HEADS)}.')
  name = given.pop('name')
  known = defaults(name)
  for field, value in given.items():
    if field not in known:
      raise errors.unknown(f'field of the head {name!r} called', field, known)
    given[field] = _checked(f'{field} of the head {name!r}', value, known[field])
  num_classes = errors.whole('num_classes', num_classes or encoder.num_classes, at_least=1)
  module = HEADS.find(name)(num_classes=num_classes, **given)
  if isinstance(module, EtfHead):
    prototypes.etf(num_classes, module.width, module.seed)
  return Headed(encoder, module)


def defaults(name: str) -> dict[str, Any]:
  """Returns the fields that may be set for the head of this name, with their defaults.

  >>> defaults('etf')
  {'width': 512, 'seed': 0}
  """
  fields = dataclasses.fields(HEADS.find(name))
  skipped = ('num_classes', 'parent', 'name')
  return {field.name: field.default for field in fields if field.name not in skipped}


def _checked(name, value, default):
  """The value in the type of the field's default, or a UserError."""
  if isinstance(default, int):
    return errors.whole(name, value, at_least=min(default, 1))
  if isinstance(default, float):
    errors.real_numbers(**{name: value})
    if value <= 0:
      raise errors.UserError(f'{name} is {value}; it must be above 0.')
    return float(value)
  return value


def _rows(module, classes, width):
  """Declares one row a class."""
  return module.param('rows', initializers.torch_uniform(width), (classes, width))
