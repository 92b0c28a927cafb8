"""Batch normalisation that adapts to unlabelled target images (AIRD's FaceBN, Shi et al., IJCNN
2024), for any network with running statistics.

Nothing but the running statistics changes: no gradient, no label, no parameter. With μ_k and v_k
the mean and the biased variance of a layer's input on the target images of batch k,

    m_k = (1 - η) m_{k-1} + η μ_k,    V_k = (1 - η) V_{k-1} + η v_k,
    y = γ (x - m_k) / sqrt(V_k + ε) + b,

with the source's statistics for m_0 and V_0. The statistics are settled on the target images first,
and every image is embedded with the same ones afterwards, else the score of a pair would depend on
its place in the stream. That makes a result *transductive*: it has seen the test images, though not
their labels. `label` says so for tables.

Source: online statistics are the paper's idea; its equations could not be read, and the average,
the modes and the sweeps of 'full' are our choice.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.numerics import settled

MODES = ('source', 'batch', 'online', 'full')
# Statistics of 'full' that move by a smaller share than this stand still.
_STILL = 1e-6
# In place of a batch's weight that is 0.
_LEAST = 1e-12

Batch = jax.Array | tuple[jax.Array, jax.Array]


@settled()
def adapt_batch_stats(
  model: nn.Module,
  variables: Any,
  batches: Iterable[Batch],
  mode: Literal['source', 'batch', 'online', 'full'] = 'online',
  rate: float = 0.1,
  sweeps: int = 0,
) -> dict[str, Any]:
  """Returns the variables of a network with running statistics of the target images.

  Args:
    model: a network of `models.build`, or any module called as (images, train) whose normalisation
      keeps 'mean' and 'var' in the collection 'batch_stats'.
    variables: of one network.
    batches: prepared images [n, h, w, c] as the network reads them, at best of one n and in an
      order without meaning; or pairs of such images and their weights [n], 0 for a row that only
      fills up the batch. A batch should have at least 64 images.
    mode: 'source': the statistics as they are. 'batch': those of the last batch, η = 1. 'online':
      the average above, over the batches in their order. 'full': those of all images together,
      whatever their order: in every sweep the layers use the statistics of the sweep before, and
      get those of all images. The first sweep normalises by the batches.
    rate: η of 'online'.
    sweeps: of 'full' over all batches; 0: until no statistic moves by more than 1e-6 of its size,
      which takes at most one sweep more than there are layers. A few sweeps come near, but still
      know which images shared a batch.

  Raises:
    UserError: an unknown mode, a rate outside of 0 to 1, no batches, or a network without running
      statistics.

  >>> from jaxdistill import models
  >>> net = models.build({'name': 'convnet', 'norm': 'batch', 'width': 2, 'depth': 1}, 3, (4, 4, 1))
  >>> images = 5 + jax.random.normal(jax.random.key(0), (64, 4, 4, 1))
  >>> source = net.init(jax.random.key(1), images)
  >>> adapted = adapt_batch_stats(net, source, [images], mode='full')
  >>> adapted['params'] is source['params'], list(adapted['batch_stats'])
  (True, ['norm1'])
  """
  errors.real_numbers(rate=rate)
  errors.whole('sweeps', sweeps)
  if mode not in MODES:
    raise errors.unknown('mode of adaptation', mode, MODES)
  if not 0 <= rate <= 1:
    raise errors.UserError(f'rate is {rate}; it is a share from 0 to 1.')
  if not variables.get('batch_stats'):
    raise errors.UserError(
      'Only batch normalisation has running statistics that could adapt; this network has none.'
    )
  variables = dict(variables)
  if mode == 'source':
    return variables
  if mode == 'full':
    statistics = _of_all(model, variables, list(batches), sweeps)
    return {**variables, 'batch_stats': statistics}
  rate, batches = 1.0 if mode == 'batch' else rate, list(batches)
  _check_some(batches)
  for images, weight in map(_weighted, batches):
    variables['batch_stats'], _ = _forward(model)(variables, images, weight, rate)
  return variables


def label(mode: str) -> str:
  """Returns how a table calls a mode; all but 'source' have seen the test images.

  >>> label('source'), label('online')
  ('source', 'online (transductive)')
  """
  if mode not in MODES:
    raise errors.unknown('mode of adaptation', mode, MODES)
  return mode if mode == 'source' else f'{mode} (transductive)'


def shuffled(images: np.ndarray, batch: int = 128, seed: int = 0) -> Iterable[Batch]:
  """Yields pairs of images and their weights in batches of one size, in an order that the seed
  fixes: what `adapt_batch_stats` takes. The last one is filled up with rows of weight 0.

  >>> [weight.tolist() for _, weight in shuffled(np.zeros((3, 2, 2, 1)), batch=2)]
  [[1.0, 1.0], [1.0, 0.0]]
  """
  batch = min(errors.whole('batch', batch, at_least=1), len(images))
  order = np.random.default_rng(errors.seed(seed)).permutation(len(images))
  for start in range(0, len(images), batch):
    rows = np.arange(start, start + batch)
    weight = (rows < len(images)).astype(np.float32)
    yield images[order[np.minimum(rows, len(images) - 1)]], weight


def _of_all(model, variables, batches, sweeps):
  """The statistics of all batches together."""
  _check_some(batches)
  layers = len(jax.tree.leaves(variables['batch_stats'])) // 2
  for sweep in range(sweeps or layers + 1):
    moments = []
    for images, weight in map(_weighted, batches):
      rate = 1.0 if sweep == 0 else 0.0
      moments.append(_forward(model)(variables, images, weight, rate)[1])
    before, variables = variables, {**variables, 'batch_stats': _pooled(moments)}
    if not sweeps and sweep and _moved(before, variables) < _STILL:
      break
  return variables['batch_stats']


def _pooled(moments: Sequence[tuple[Any, float]]) -> Any:
  """Mean and biased variance over batches of weights w: V = Σ w (v + (m - M)²) / Σ w."""
  shares = np.array([weight for _, weight in moments], np.float64)
  shares = shares / shares.sum()

  def stacked(layers, name):
    return np.stack([np.asarray(layer[name], np.float64) for layer in layers])

  def pooled(*layers):
    means, variances = stacked(layers, 'mean'), stacked(layers, 'var')
    mean = shares @ means
    variance = shares @ (variances + np.square(means - mean))
    return {'mean': jnp.asarray(mean, jnp.float32), 'var': jnp.asarray(variance, jnp.float32)}

  trees = [statistics for statistics, _ in moments]
  return jax.tree.map(pooled, *trees, is_leaf=_is_layer)


def _moved(before, after) -> float:
  """The largest share by which a layer's statistics moved, the mean's as a share of the
  deviation."""

  def moved(old, new):
    mean = jnp.abs(new['mean'] - old['mean']) / jnp.sqrt(old['var'] + _LEAST)
    variance = jnp.abs(new['var'] - old['var']) / (old['var'] + _LEAST)
    return float(jnp.maximum(mean.max(), variance.max()))

  trees = before['batch_stats'], after['batch_stats']
  return max(jax.tree.leaves(jax.tree.map(moved, *trees, is_leaf=_is_layer)))


def _is_layer(tree):
  return isinstance(tree, dict) and set(tree) == {'mean', 'var'}


@functools.lru_cache(maxsize=8)
def _forward(model: nn.Module) -> Callable:
  """The compiled (variables, images, weight, rate) -> (statistics that moved by the rate, (moments
  of the batch, its weight)); every layer normalises by the moved ones."""

  def forward(variables, images, weight, rate):
    moments = {}

    def adapting(call, args, kwargs, context):
      module = context.module
      if context.method_name == '__call__' and _keeps_statistics(module):
        mean, variance = _moments(args[0], weight)
        moments[module.path] = {'mean': mean, 'var': variance}
        for name, value in moments[module.path].items():
          kept = module.get_variable('batch_stats', name)
          module.put_variable('batch_stats', name, (1 - rate) * kept + rate * value)
      return call(*args, **kwargs)

    with nn.intercept_methods(adapting):
      _, moved = model.apply(variables, images, False, mutable=['batch_stats'])
    of_batch = {}
    for path, statistics in moments.items():
      branch = of_batch
      for name in path[:-1]:
        branch = branch.setdefault(name, {})
      branch[path[-1]] = statistics
    return moved['batch_stats'], (of_batch, weight.sum())

  return jax.jit(forward)


def _keeps_statistics(module):
  return module.has_variable('batch_stats', 'mean') and module.has_variable('batch_stats', 'var')


def _moments(x, weight):
  """Mean and biased variance of every channel over rows by their weight and pixels, float32."""
  x = x.astype(jnp.float32)
  share = weight / jnp.maximum(weight.sum(), _LEAST)
  pixels = x.reshape(len(x), -1, x.shape[-1])
  pixels = jnp.where(weight.reshape(-1, 1, 1) > 0, pixels, 0)
  mean = (share[:, None] * pixels.mean(1)).sum(0)
  deviation = jnp.square(pixels - mean.reshape(1, 1, -1)).mean(1)
  return mean, (share[:, None] * deviation).sum(0)


def _weighted(batch):
  if isinstance(batch, tuple):
    return batch
  return batch, np.ones(len(batch), np.float32)


def _check_some(batches):
  if not batches:
    raise errors.UserError('Adapting to target images needs at least one batch of them.')
