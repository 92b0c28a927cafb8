"""The nearest neighbours by which confident examples are selected, beside scikit-learn's.

  python jaxdistill/benchmarks/yardsticks/selection.py --rows=50000 --neighbours=250

It needs scikit-learn beside this library. Each search is a process of its own, so that its peak of
memory is its own too. The line of JSON has processor seconds of the search and GiB of the process,
by `ours`, scikit-learn's brute force on rows of length 1 (`euclidean`) and by `cosine`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

SEARCHES = ('ours', 'euclidean', 'cosine')


def read(argv: Sequence[str] | None = None) -> argparse.Namespace:
  """Returns the flags."""
  parser = argparse.ArgumentParser(description='Times searches for nearest neighbours.')
  parser.add_argument('--rows', type=int, default=50_000)
  parser.add_argument('--columns', type=int, default=128)
  parser.add_argument('--neighbours', type=int, default=250)
  parser.add_argument('--search', default='', choices=['', *SEARCHES], help='alone; "": all')
  return parser.parse_args(argv)


def neighbours(search: str, rows: np.ndarray, number: int) -> np.ndarray:
  """Returns the positions of the nearest other rows of each, int [n, number]."""
  if search == 'ours':
    from jaxdistill.estimation.neighbours import nearest

    return np.asarray(nearest(rows, number).index)
  from sklearn.neighbors import NearestNeighbors

  if search == 'euclidean':
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
  fitted = NearestNeighbors(n_neighbors=number, algorithm='brute', metric=search).fit(rows)
  return fitted.kneighbors(return_distance=False)


def measured(flags: argparse.Namespace) -> dict[str, float]:
  """Returns what one search takes in this process, and a number that tells its result."""
  shape = (flags.rows, flags.columns)
  rows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  # What is imported is not timed; what is compiled for so many rows is.
  neighbours(flags.search, rows[: flags.neighbours + 1], flags.neighbours)
  started = time.process_time()
  index = neighbours(flags.search, rows, flags.neighbours)
  seconds = time.process_time() - started
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  # The first ones alone: far neighbours may be as near as each other.
  return {'seconds': seconds, 'gib': peak, 'firsts': int(index[:, 0].astype(np.int64).sum())}


def main(argv: Sequence[str] | None = None) -> None:
  """Measures as the flags say and prints the figures as a line of JSON."""
  flags = read(argv)
  if flags.search:
    print(json.dumps(measured(flags)))
    return
  asked = [f'--{name}={value}' for name, value in vars(flags).items() if name != 'search']
  figures = {}
  for search in SEARCHES:
    command = [sys.executable, __file__, *asked, f'--search={search}']
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    figures[search] = json.loads(ended.stdout.splitlines()[-1])
  print(json.dumps(figures))


if __name__ == '__main__':
  main()
