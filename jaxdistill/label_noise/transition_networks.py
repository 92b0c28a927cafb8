"""Networks that say with which probability an annotator labels an image so, given its true class:
T^r(x) [C, C], rows true. One trunk, and three ways to the last layers of R annotators.

A last layer is an array [d + 1, C, C] behind the trunk's d numbers h(x); its last slice is the
bias: T(x)[j] = softmax(sum_l h_l(x) F[l, j] + F[d, j]).
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.label_noise import annotator_layers
from jaxdistill.models import dropout, initializers
from jaxdistill.models.linear import Linear

_SLOPE = 0.2  # of the leaky ReLU between the two convolutions over the graph
_HIDDEN = 64  # numbers of an annotator between them


class Trunk(nn.Module):
  """h(x) = ReLU(Linear(embedding of a network)), [n, width] as 'hidden'.

  The network's own classifier has no part in it.

  Attributes:
    network: of `models.build`.
    width: d.
  """

  network: nn.Module
  width: int = 64

  @property
  def random(self) -> bool:
    """Whether the network draws random numbers in training."""
    return dropout.is_random(self.network)

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
    _, features = self.network(images, train)
    embedding = features['embedding'].astype(jnp.float32)
    return {'hidden': nn.relu(Linear(self.width, name='linear')(embedding))}


class SharedHead(nn.Module):
  """The same T(x) for all annotators, from one last layer 'layer'.

  >>> head = SharedHead(classes=3)
  >>> T = head.init_with_output(jax.random.key(0), jnp.ones((2, 4)), None)[0]['transition']
  >>> T.shape, T.sum(-1).round(4).min().item()
  ((2, 1, 3, 3), 1.0)
  """

  classes: int

  @nn.compact
  def __call__(
    self, hidden: jax.Array, annotators: jax.Array | None, guess: jax.Array | None = None
  ) -> dict[str, jax.Array]:
    """Returns T(x_i) as 'transition' [n, 1, C, C]; or its rows of the classes `guess` [n] alone, as
    'rows' [n, 1, C]. It looks at no annotators."""
    shape = (hidden.shape[-1] + 1, self.classes, self.classes)
    layer = self.param('layer', initializers.torch_uniform(hidden.shape[-1]), shape)
    logits = jnp.einsum('nl,ljc->njc', with_one(hidden), layer)[:, None]
    return _named(logits, guess)


class AnnotatorHeads(nn.Module):
  """T^r(x) from a last layer of each annotator's own: 'layers' [R, d + 1, C, C].

  >>> heads = AnnotatorHeads(annotators=5, classes=3)
  >>> who = jnp.array([[4, -1], [0, 2]])
  >>> heads.init_with_output(jax.random.key(0), jnp.ones((2, 4)), who)[0]['transition'].shape
  (2, 2, 3, 3)
  """

  annotators: int
  classes: int

  @nn.compact
  def __call__(
    self, hidden: jax.Array, annotators: jax.Array, guess: jax.Array | None = None
  ) -> dict[str, jax.Array]:
    """Returns T^r(x_i) of the annotators of each image, int [n, K] (-1: any) as 'transition' [n, K,
    C, C]; or their rows of the classes `guess` [n], as 'rows' [n, K, C]."""
    shape = (self.annotators, hidden.shape[-1] + 1, self.classes, self.classes)
    layers = self.param('layers', initializers.torch_uniform(hidden.shape[-1]), shape)
    annotators, inputs = jnp.maximum(annotators, 0), with_one(hidden)
    if guess is None:
      return _named(annotator_layers.logits_of(inputs, layers, annotators), None)
    # Of a layer only the slice of the guessed class is fetched.
    slices = layers[annotators, :, guess[:, None]]
    return {'rows': jax.nn.softmax(jnp.einsum('nl,nklc->nkc', inputs, slices))}


class GraphHeads(nn.Module):
  """T^r(x) of annotators whose last layers come from two convolutions over their graph A:

      F = A leakyReLU(A W1) W2,   W1 [R, m] = 'first', W2 [m, (d + 1) C C] in 'second'

  without biases; annotators with the same neighbours have the same layer. W1 and W2 begin uniform
  on +-1/sqrt(columns). F is not formed: what W2 makes of an image, [m, C, C], meets the m numbers
  of its annotators. 'second' has W2 as [d + 1, m, C, C], so that this is one product of matrices,
  which nothing is transposed for.

  >>> heads = GraphHeads(annotators=5, classes=3)
  >>> who, graph = jnp.array([[4, -1], [0, 2]]), jnp.ones((5, 5)) / 5
  >>> T = heads.init_with_output(jax.random.key(0), jnp.ones((2, 4)), who, None, graph)[0]
  >>> T['transition'].shape, bool(jnp.allclose(T['transition'][1, 0], T['transition'][1, 1]))
  ((2, 2, 3, 3), True)
  """

  annotators: int
  classes: int

  @nn.compact
  def __call__(
    self,
    hidden: jax.Array,
    annotators: jax.Array,
    guess: jax.Array | None,
    graph: jax.Array,
  ) -> dict[str, jax.Array]:
    """Returns what `AnnotatorHeads` does; `graph` [R, R] is normalised."""
    shape = (hidden.shape[-1] + 1, _HIDDEN, self.classes, self.classes)
    columns = shape[0] * self.classes**2
    first = self.param('first', initializers.torch_uniform(_HIDDEN), (self.annotators, _HIDDEN))
    second = self.param('second', initializers.torch_uniform(columns), shape)
    mixed = _convolved(first, graph)[jnp.maximum(annotators, 0)]
    of_image = with_one(hidden) @ second.reshape(len(second), -1)
    of_image = of_image.reshape(len(hidden), _HIDDEN, -1)
    if guess is None:
      logits = mixed @ of_image
      return _named(logits.reshape(*annotators.shape, self.classes, self.classes), None)
    of_image = of_image.reshape(len(hidden), *shape[1:])
    of_class = jnp.take_along_axis(of_image, guess[:, None, None, None], axis=2)[:, :, 0]
    return {'rows': jax.nn.softmax(mixed @ of_class)}


def layers_of(
  params: Mapping[str, Any], annotators: int, graph: jax.Array | None = None
) -> jax.Array:
  """Returns the last layers of all annotators, [R, d + 1, C, C], from the parameters of any of the
  three heads of one network.

  >>> params = {'layer': jnp.ones((5, 3, 3))}
  >>> layers_of(params, annotators=2).shape
  (2, 5, 3, 3)
  """
  if 'layer' in params:
    layer = jnp.asarray(params['layer'])
    return jnp.broadcast_to(layer[None], (annotators, *layer.shape))
  if 'layers' in params:
    return jnp.asarray(params['layers'])
  mixed = _convolved(jnp.asarray(params['first']), jnp.asarray(graph))
  return jnp.einsum('rm,lmjc->rljc', mixed, jnp.asarray(params['second']))


def with_one(hidden: jax.Array) -> jax.Array:
  """Returns [n, d + 1]: h with a 1 behind it, which meets the bias."""
  return jnp.concatenate([hidden, jnp.ones_like(hidden[:, :1])], axis=1)


def _convolved(first, graph):
  """A leakyReLU(A W1), [R, m]."""
  return graph @ nn.leaky_relu(graph @ first, _SLOPE)


def _named(logits, guess):
  """Probabilities of logits [n, K, C, C] by what they are."""
  if guess is None:
    return {'transition': jax.nn.softmax(logits)}
  rows = jnp.take_along_axis(logits, guess[:, None, None, None], axis=2)[:, :, 0]
  return {'rows': jax.nn.softmax(rows)}
