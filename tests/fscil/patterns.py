"""Small pictures of six classes, each a pattern with noise, and a network that learns them at
once."""

import numpy as np

from jaxdistill.data import Dataset

CLASSES, SIDE = 6, 8
# A perceptron of one layer, a few steps, one device.
SMALL = {
  'model.width': 16,
  'model.depth': 1,
  'base_training.recipe': 'digits',
  'base_training.steps': 30,
  'base_training.checks': 2,
  'base_training.batch': 16,
  'base_training.head_width': 8,
  'base_training.fit_epochs': 2,
  'run.devices': 1,
}


def pictures(per_class, seed):
  """A data set of so many pictures a class."""
  coarse = np.random.RandomState(0).uniform(0, 255, (CLASSES, 2, 2, 1))
  # Coarse, so that a crop that is off by a pixel does not matter.
  patterns = coarse.repeat(SIDE // 2, 1).repeat(SIDE // 2, 2)
  labels = np.repeat(np.arange(CLASSES), per_class)
  noise = np.random.RandomState(seed).normal(0, 30, (len(labels), SIDE, SIDE, 1))
  images = np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8)
  return Dataset(images, labels, tuple('abcdef'), mean=(0.5,), std=(0.3,), flip=False)


def train_and_test():
  """(train, test)."""
  return pictures(12, seed=1), pictures(5, seed=2)


def save(path):
  """Writes them as arrays of which a run makes training and test images; returns the path."""
  train = pictures(20, seed=1)
  np.savez(path, images=train.images, labels=train.labels, class_names=list('abcdef'))
  return path
