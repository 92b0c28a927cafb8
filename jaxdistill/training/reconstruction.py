"""Objectives of masked autoencoders: a decoder guesses what three quarters of an image hold, as
pixels from the patches that the encoder saw, or as features from those that the decoder is given.

The decoder is thrown away afterwards.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxdistill import errors, metrics
from jaxdistill.data import samplers
from jaxdistill.data.examples import Examples
from jaxdistill.losses import classification
from jaxdistill.models import mae
from jaxdistill.models.generative import GenerativeClassifier
from jaxdistill.models.mae import MaskedAutoencoder, Masking
from jaxdistill.models.mae_vit import EPSILON
from jaxdistill.numerics import settled
from jaxdistill.training import replicas
from jaxdistill.training.learner import Learner, Objective, Outcome
from jaxdistill.training.problem import Problem
from jaxdistill.training.recipe import Recipe

RECONSTRUCTED = ('all', 'masked')


def pixels(
  model: MaskedAutoencoder, *, mask_ratio: float = 0.75, normalise_target: bool = True
) -> Objective:
  """Returns the objective of a masked autoencoder's pre-training, which needs no labels.

      mean over the masked patches p of mean (decoder(encoder(seen patches))_p - target_p)^2

  The encoder sees the patches that are left. Every image has a mask of its own, drawn anew at every
  step.

  Args:
    model: whose decoder gives the pixels of a patch.
    mask_ratio: share of the patches that is masked, above 0.
    normalise_target: whether the target is a patch less its mean and by its standard deviation,
      see `mae.pixel_targets`; else its pixels, as the encoder sees them.

  Raises:
    UserError: a share out of range.

  Source: He et al., CVPR 2022 (MAE).
  """
  if not mask_ratio:
    raise errors.UserError('mask_ratio is 0; without a masked patch there is nothing to learn.')
  mae.count_kept(1, mask_ratio)

  def objective(variables, batch, key):
    images, patch = batch['images'], model.encoder.patch
    target = mae.pixel_targets(images, patch, normalise_target)
    masking = draw_masking(key, *target.shape[:2], mask_ratio)
    decoded, _ = model.apply(variables, images, masking, train=True)
    loss = _mean_square(decoded - target, masking.masked, batch['weight'])
    return Outcome(loss, {'reconstruction': loss})

  return objective


def features(
  model: GenerativeClassifier,
  *,
  alpha: float = 0.5,
  mask_ratio: float = 0.75,
  recon_on: str = 'all',
  stop_target: bool = True,
  normalise_target: bool = False,
  num_classes: int = 0,
  label_smoothing: float = 0.0,
) -> Objective:
  """Returns the objective of a generative fine-tuning: features are reconstructed from a quarter of
  them, while a head classifies.

      alpha mean over l of mean (decoder(kept z)_l - z_l)^2 + (1 - alpha) CE(head(embedding), y)

  z [L, d] are the encoder's output tokens of the whole image; the decoder is given those that are
  not masked. The head reads the embedding of all of them. Reports 'reconstruction',
  'classification' and the accuracy on the training images as 'train_accuracy'.

  Args:
    model: whose decoder gives tokens.
    alpha: weight of the reconstruction, in [0, 1].
    mask_ratio: share of the tokens that is masked.
    recon_on: the tokens l that count, 'all' or 'masked'.
    stop_target: whether z is a constant where it is the target; else the encoder may also shrink
      what is to be reconstructed.
    normalise_target: whether the target is a token less its mean and by its standard deviation.
    num_classes: columns of the head that have a part in the softmax; 0: all.
    label_smoothing: of the cross-entropy.

  Raises:
    UserError: a value out of range.

  Source: the base phase of Co-Memory (Bao et al., arXiv 2601.07117), by summaries of it: both
  terms, what is masked and how much of it. Means where the paper sums (so that alpha does not
  depend on L and d), the constant target, its norm and the choice of tokens are ours.
  """
  errors.real_numbers(alpha=alpha)
  if not 0 <= alpha <= 1:
    raise errors.UserError(f'alpha is {alpha}; it must lie between 0 and 1.')
  if recon_on not in RECONSTRUCTED:
    raise errors.unknown('part that is reconstructed, recon_on,', recon_on, RECONSTRUCTED)
  if recon_on == 'masked' and not mask_ratio:
    raise errors.UserError("mask_ratio is 0; then recon_on can only be 'all'.")
  mae.count_kept(1, mask_ratio)

  def objective(variables, batch, key):
    images, labels, weight = batch['images'], batch['labels'], batch['weight']
    tokens = math.prod(model.encoder.grid(images.shape))
    masking = draw_masking(key, len(images), tokens, mask_ratio)
    logits, outputs = model.apply(variables, images, train=True, masking=masking)
    if num_classes:
      logits, labels = logits[:, :num_classes], labels[:, :num_classes]
    target = outputs['tokens'].astype(jnp.float32)
    target = jax.lax.stop_gradient(target) if stop_target else target
    target = standardised(target) if normalise_target else target
    counted = masking.masked if recon_on == 'masked' else jnp.ones_like(masking.masked)
    reconstruction = _mean_square(outputs['decoded'] - target, counted, weight)
    entropy = classification.cross_entropy(
      logits, labels, weight=weight, label_smoothing=label_smoothing
    )
    reported = {
      'reconstruction': reconstruction,
      'classification': entropy,
      'train_accuracy': metrics.accuracy(logits, labels, weight),
    }
    return Outcome(alpha * reconstruction + (1 - alpha) * entropy, reported)

  return objective


def draw_masking(key: jax.Array, rows: int, tokens: int, ratio: float) -> Masking:
  """Returns the masks of the rows of a batch inside an objective, see `mae.random_masking`.

  A row's mask follows from its place in the whole batch, so that the batch may be spread over
  devices.

  >>> draw_masking(jax.random.key(0), rows=3, tokens=4, ratio=0.5).keep.shape
  (3, 2)
  """
  keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(replicas.row_numbers(rows))
  masking = jax.vmap(lambda key: mae.random_masking(key, 1, tokens, ratio))(keys)
  return jax.tree.map(lambda leaf: leaf[:, 0], masking)


def standardised(vectors: jax.Array) -> jax.Array:
  """Returns vectors [..., d] less their mean and by their standard deviation: layer normalisation
  without parameters.

  >>> standardised(jnp.array([1.0, 3.0])).round(4).tolist()
  [-1.0, 1.0]
  """
  centred = vectors - vectors.mean(-1, keepdims=True)
  return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + EPSILON)


def _mean_square(gaps, counted, weight):
  """The mean square of gaps [n, L, d] over the tokens that count, float [n, L], and the rows by
  weight [n]."""
  squares = jnp.square(gaps).mean(-1)
  by_row = (squares * counted).sum(1) / jnp.maximum(counted.sum(1), 1)
  return classification.weighted_mean(by_row, weight)


def initialiser(
  model: MaskedAutoencoder, image_shape: tuple[int, int, int]
) -> Callable[[jax.Array], Any]:
  """Returns the function key -> variables of a masked autoencoder for images of this shape."""

  def init(key):
    tokens = math.prod(model.encoder.grid(image_shape))
    image = jnp.zeros((1, *image_shape), jnp.float32)
    return model.init(key, image, mae.random_masking(key, 1, tokens))

  return init


@settled()
def setup(
  model: MaskedAutoencoder,
  examples: Examples,
  recipe: Recipe,
  objective: Objective,
  *,
  networks: int = 1,
  seed: int = 0,
  num_steps: int = 0,
  mesh: Mesh | None = None,
) -> Problem:
  """Returns the pre-training of masked autoencoders, ready for the loop.

  Args:
    model: encoder and decoder.
    examples: the images; their labels are not looked at.
    recipe: how to train.
    objective: see `pixels`.
    networks: R, side by side.
    seed: of weights, order, views and masks.
    num_steps: 0: the recipe's epochs.
    mesh: the devices; None: the default one.
  """
  images = len(examples)
  batch, num_steps = min(recipe.batch, images), num_steps or recipe.steps(images)
  init = initialiser(model, examples.image_shape)
  options = replicas.Options(
    networks,
    clear_momentum_at=recipe.boundaries(images, num_steps) if recipe.clear_momentum else (),
    average=recipe.average,
    mesh=mesh,
    spread=replicas.choose_spread('auto', networks, mesh),
  )

  def rows(key, step):
    return samplers.epoch_batch(key, step, images, batch, recipe.drop_last)

  return replicas.problem(
    Learner(init, rows, recipe.views(examples), objective, always_full=not images % batch),
    recipe.optimizer.build(recipe.learning_rate(images, num_steps), recipe.groups),
    options,
    {'images': examples.images, 'labels': examples.labels},
    num_steps=num_steps,
    seed=seed,
    epoch_steps=recipe.epoch_steps(images),
  )
