"""Dawid and Skene's estimate of a large crowd, in turn with crowd-kit's.

  python jaxdistill/benchmarks/yardsticks/dawid_skene.py --cifar10n=PATH

It needs crowd-kit beside this library. Without the files of CIFAR-10N the crowd is simulated. The
line of JSON has the seconds of each round, the first of which compiles, how many times as long
crowd-kit takes, and how far the two differ.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence

import numpy as np

from jaxdistill import label_noise
from jaxdistill.data.crowds import Crowd

_ITERATIONS, _TOLERANCE = 100, 1e-5  # of both


def read(argv: Sequence[str] | None = None) -> argparse.Namespace:
  """Returns the flags."""
  parser = argparse.ArgumentParser(description="Times Dawid and Skene's estimate.")
  parser.add_argument('--cifar10n', default='', help='folder with labels.npz and annotators.csv')
  parser.add_argument('--examples', type=int, default=50_000, help='of a simulated crowd')
  parser.add_argument('--rounds', type=int, default=3, help='of both in turn')
  return parser.parse_args(argv)


def crowd_of(flags: argparse.Namespace) -> Crowd:
  """Returns the crowd that the flags ask for."""
  if flags.cifar10n:
    return label_noise.cifar10n(flags.cifar10n, 'crowd')
  truth = np.random.default_rng(0).integers(10, size=flags.examples)
  return label_noise.simulate(truth, 'ind', per_example=3).crowd


def matrices_of(errors, crowd: Crowd) -> np.ndarray:
  """Returns crowd-kit's confusions as ours, [annotators, C, C], rows true: its table has a line for
  every annotator and observed label, and a column for every class."""
  confusions = np.zeros((crowd.num_annotators, crowd.num_classes, crowd.num_classes))
  for (annotator, observed), line in errors.iterrows():
    confusions[annotator, line.index.to_numpy(int), observed] = line
  return confusions


def main(argv: Sequence[str] | None = None) -> None:
  """Times both as the flags say and prints the figures as a line of JSON."""
  import pandas
  from crowdkit.aggregation import DawidSkene

  flags = read(argv)
  crowd, seconds = crowd_of(flags), {'ours': [], 'theirs': []}
  table = pandas.DataFrame(dict(zip(('task', 'worker', 'label'), map(np.asarray, crowd.triples))))
  for _ in range(flags.rounds):
    started = time.perf_counter()
    mine = label_noise.aggregate(crowd, 'dawid_skene')
    between = time.perf_counter()
    other = DawidSkene(n_iter=_ITERATIONS, tol=_TOLERANCE).fit(table)
    seconds['ours'].append(between - started)
    seconds['theirs'].append(time.perf_counter() - between)
  active = crowd.per_annotator > 0
  apart = np.abs(mine.confusions - matrices_of(other.errors_, crowd))[active]
  figures = {
    'ratio': statistics.median(seconds['theirs']) / statistics.median(seconds['ours']),
    'iterations': len(mine.history),
    'labels_apart': int((mine.labels != other.labels_.sort_index().to_numpy()).sum()),
    'confusions_apart': float(apart.max()),
  }
  print(json.dumps({**seconds, **figures}))


if __name__ == '__main__':
  main()
