"""A linear network of ten classes, whose worst case in a box has a closed form."""

import jax.numpy as jnp
import numpy as np

SHAPE = (3, 4, 1)
CLASSES = 10


def examples(number=60, seed=0):
  """Images [n, 3, 4, 1], their labels by the network, and its weights [12, 10] and bias [10]."""
  random = np.random.default_rng(seed)
  weights = random.normal(size=(12, CLASSES)).astype(np.float32)
  bias = random.normal(size=CLASSES).astype(np.float32) * 0.1
  images = random.uniform(size=(number, *SHAPE)).astype(np.float32)
  images[: number // 4] = images[
    : number // 4
  ].round()  # black and white: the box has corners there
  labels = (images.reshape(number, -1) @ weights + bias).argmax(1).astype(np.int32)
  return images, labels, weights, bias


def network(weights, bias):
  weights, bias = jnp.asarray(weights), jnp.asarray(bias)[None]
  return lambda images: images.reshape(len(images), -1) @ weights + bias


def worst_margins(images, labels, weights, bias, eps):
  """The least z_y - z_j over all j and all pixels within eps and in [0, 1], float64 [n].

  Each difference is linear: its least value takes every pixel to one of its two ends.
  """
  flat = images.reshape(len(images), -1).astype(np.float64)
  low, high = np.maximum(flat - eps, 0), np.minimum(flat + eps, 1)
  weights, bias = weights.astype(np.float64), bias.astype(np.float64)
  margins = np.full((len(images), CLASSES), np.inf)
  for j in range(CLASSES):
    slopes = weights[:, labels].T - weights[:, j]
    lowest = np.where(slopes > 0, low, high)
    margins[:, j] = (slopes * lowest).sum(1) + bias[labels] - bias[j]
  margins[np.arange(len(labels)), labels] = np.inf
  return margins.min(1)
