"""Data sets as uint8 arrays, their statistics and splits, augmentation as pure functions, samplers
from a key."""

from jaxdistill.data import augment, face_pairs, operations, samplers, statistics, views
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.dataset import Dataset, hold_out
from jaxdistill.data.division import share_of, split_classes
from jaxdistill.data.sources import load, load_splits

__all__ = [
  'Crowd',
  'Dataset',
  'augment',
  'face_pairs',
  'hold_out',
  'load',
  'load_splits',
  'operations',
  'samplers',
  'share_of',
  'split_classes',
  'statistics',
  'views',
]
