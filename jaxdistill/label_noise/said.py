"""What people said of pictures, from a file that names these."""

import os
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

from jaxdistill.data import crowd_files
from jaxdistill.data.crowds import Crowd
from jaxdistill.errors import UserError, shown

_FOLDER = 'folder:'


def read_crowd(
  path: str | os.PathLike, examples: Any, tell: Callable[[str], None] | None = None
) -> Crowd:
  """Returns what a file says of the examples of a set.

  The file has the columns task, worker and label, a line a label. A task is called as the example
  is: a picture of a folder by its path within it, such as cat/1.jpg, whatever it lies below; an
  example of a set without names by its number from 0. Labels of other tasks, such as pictures that
  are kept for testing, are left out and told of.

  Args:
    path: of the file.
    examples: a set with class names, such as a `Dataset`.
    tell: takes the sentence on what is left out; None: a warning.

  Raises:
    UserError: for a file that cannot be read, a label that is no class, an example that nobody
      labelled.

  >>> import numpy as np
  >>> from jaxdistill.data import Dataset
  >>> _ = pathlib.Path('said.csv').write_text('task,worker,label\\n0,ann,dog\\n1,ann,cat\\n')
  >>> pictures = Dataset(np.zeros((2, 8, 8, 1), np.uint8), [0, 1], ('cat', 'dog'))
  >>> read_crowd('said.csv', pictures).to_table().tolist()
  [[1], [0]]
  """
  tasks, workers, labels = crowd_files.read(path)
  names = example_names(examples)
  known = set(names)
  kept = [row for row, task in enumerate(tasks) if task in known]
  if not kept:
    raise UserError(
      f'{shown(path)}: no task is an example of {examples.name}; its first is called {names[0]!r}, '
      f'the first task {tasks[0]!r}.'
    )
  if len(kept) < len(tasks):
    others = len(set(tasks) - known)
    line = (
      f'{shown(path)}: {len(tasks) - len(kept):,} labels of {others:,} tasks that are no '
      f'{examples.split} examples of {examples.name} are left out.'
    )
    if tell is None:
      warnings.warn(line, stacklevel=2)
    else:
      tell(line)
  example, _ = crowd_files.numbered(path, 'task', [tasks[row] for row in kept], names)
  annotator, workers = crowd_files.numbered(path, 'worker', [workers[row] for row in kept])
  label, classes = crowd_files.numbered(
    path, 'label', [labels[row] for row in kept], examples.class_names
  )
  return Crowd.from_triples(example, annotator, label, classes, examples=names, annotators=workers)


def example_names(examples: Any) -> list[str]:
  """Returns how a file calls the examples of a set, see `read_crowd`."""
  if not len(examples.ids):
    return list(map(str, range(len(examples))))
  names = list(map(str, examples.ids))
  if not examples.name.startswith(_FOLDER):
    return names
  root = os.path.abspath(examples.name.removeprefix(_FOLDER))
  return [pathlib.Path(os.path.relpath(os.path.abspath(name), root)).as_posix() for name in names]
