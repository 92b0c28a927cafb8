"""Data sets as arrays, images or vectors, with a label or a row of labels each; their statistics
and splits, augmentation as pure functions, samplers from a key."""

from jaxdistill.data import augment, face_pairs, operations, samplers, statistics, views
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.dataset import Dataset, hold_out
from jaxdistill.data.division import share_of, split_classes
from jaxdistill.data.mosaic import mosaics
from jaxdistill.data.multilabelled import MultiLabelled
from jaxdistill.data.sources import load, load_splits
from jaxdistill.data.vectors import Vectors

__all__ = [
  'Crowd',
  'Dataset',
  'MultiLabelled',
  'Vectors',
  'augment',
  'face_pairs',
  'hold_out',
  'load',
  'load_splits',
  'mosaics',
  'operations',
  'samplers',
  'share_of',
  'split_classes',
  'statistics',
  'views',
]
