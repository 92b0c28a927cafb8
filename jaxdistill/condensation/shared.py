"""Scores that several runs share: found again by a hash of the images and of all that decides the
score.

A random draw of real images, or the whole training set, scores the same beside every method. Runs
that name one folder for such rows (`config.run.rows`) compute each of them once.
"""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from jaxdistill import files
from jaxdistill.data import Dataset
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training.run import Run


def once(
  run: Run,
  folder: str,
  images: Condensed | Dataset,
  test: Dataset,
  validation: Dataset | None,
  options: Mapping[str, Any],
  compute: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
  """Returns the scores of a set, computed or read from a folder, with their hash as the field
  'key'.

  Args:
    run: tells what is read.
    folder: where scores are kept for other runs; '': nowhere.
    images: the set that is scored.
    test, validation: the real images that score it.
    options: the other arguments of the evaluation.
    compute: makes the scores.
  """
  key = identity(images, test, validation, options)
  path = pathlib.Path(folder).expanduser() / f'{key}.json' if folder else None
  return run.kept(
    path,
    lambda: {'key': key, **compute()},
    lambda scores: json.dumps(files.jsonable(scores), indent=2).encode(),
    json.loads,
  )


def identity(
  images: Condensed | Dataset, test: Dataset, validation: Dataset | None, options: Mapping[str, Any]
) -> str:
  """Returns the hash of everything that decides the scores of a set.

  >>> import jaxdistill
  >>> train, test = jaxdistill.data.load('digits', image_size=8)
  >>> identity(train, test, None, {'seed': 0}) == identity(train, test, None, {'seed': 1})
  False
  """
  pictures, labels = (
    images.decode() if isinstance(images, Condensed) else (images.images, images.labels)
  )
  scoring = [
    array for each in (test, validation) if each is not None for array in (each.images, each.labels)
  ]
  return files.content_hash(
    [pictures, labels, *scoring],
    {
      'mean': images.mean,
      'std': images.std,
      'flip': images.flip,
      'classes': test.num_classes,
      **options,
    },
  )
