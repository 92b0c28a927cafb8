"""What people said of pictures, joined with these by their names: from a file, or a crowd."""

import os
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdistill.data import crowd_files
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.source_rows import are_numbers
from jaxdistill.errors import UserError, brief, shown
from jaxdistill.files import expanded

_FOLDER = 'folder:'


def read_crowd(
  path: str | os.PathLike, examples: Any, tell: Callable[[str], None] | None = None
) -> Crowd:
  """Returns what a file says of the examples of a set.

  The file has the columns task, worker and label, a line a label. A task is called as the example
  is: a picture of a folder by its path within it, such as cat/1.jpg, whatever it lies below; an
  example of a set without names by its number from 0. Where such a set was divided on its way in
  (an npz file without a test), that is the row in its source, or the place among the training
  examples where the tasks are just these places. Labels of other tasks, such as pictures that are
  kept for testing, are left out and told of.

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
  if are_numbers(examples.ids) and _are_places(tasks, examples):
    names = _places_of(examples)
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
    return _places_of(examples)
  names = list(map(str, examples.ids))
  if not examples.name.startswith(_FOLDER):
    return names
  root = os.path.abspath(expanded(examples.name.removeprefix(_FOLDER)))
  return [pathlib.Path(os.path.relpath(os.path.abspath(name), root)).as_posix() for name in names]


def _places_of(examples):
  """The places of a set as names."""
  return list(map(str, range(len(examples))))


def _are_places(names, examples):
  """Whether names are the places of a set, all of them and nothing else, as a crowd without names
  writes them. Those that say something of all rows of a longer source are not."""
  return set(names) == set(_places_of(examples))


def joined(crowd: Crowd, examples: Any) -> Crowd:
  """Returns a crowd whose classes and examples are numbered as those of a set, by their names.

  Numbers are places in the set: those of a crowd without names, and those of a crowd with names
  where the set has none to compare them with, neither `ids` nor class names but 0, 1, ...

  Args:
    crowd: its classes may be fewer than those of the set.
    examples: a set with class names, such as a `Dataset`.

  Raises:
    UserError: a class or example that the set does not know, one that nobody labelled, and classes
      without names where those of the set are numbers in another order.

  >>> from jaxdistill.data import Dataset
  >>> crowd = Crowd.from_labels([0, 1], classes=['cat', 'dog'])
  >>> pictures = Dataset(np.zeros((2, 8, 8, 1), np.uint8), [0, 1], ('dog', 'cat'))
  >>> joined(crowd, pictures).label.tolist()
  [1, 0]
  """
  of_classes, of_examples = _class_places(crowd, examples), _example_places(crowd, examples)
  if of_classes is None and of_examples is None:
    return crowd
  example, annotator, label = map(np.asarray, crowd.triples)
  classes, count = crowd.names.classes or crowd.num_classes, crowd.num_examples
  if of_classes is not None:
    label, classes = of_classes[label], examples.class_names
  if of_examples is not None:
    example, count = of_examples[example], len(examples)
  annotators = crowd.names.annotators or crowd.num_annotators
  return Crowd.from_triples(
    example, annotator, label, classes, examples=count, annotators=annotators
  )


def _class_places(crowd, examples):
  """The class in the set of each one of a crowd; None: it is the same."""
  own, known = crowd.names.classes, examples.class_names
  numbers = tuple(map(str, range(len(known))))
  if own == known:
    return None
  if not own:
    if known != numbers and set(known) == set(numbers):
      raise UserError(
        f'The classes of {examples.name} are numbers in the order {brief(", ".join(known), 60)}, '
        'and those of the crowd have no names that tell which is which; make it with '
        'classes=train.class_names.'
      )
    return None
  if known == numbers and not all(name.isdecimal() for name in own):
    return None
  advice = f'its classes are {brief(", ".join(known), 80)}: make the crowd with their names'
  return _places('class', own, known, examples, advice)


def _example_places(crowd, examples):
  """The place in the set of each example of a crowd; None: it is the same."""
  own = crowd.names.examples
  if not own or not len(examples.ids):
    return None
  # Rows are no names that others would have given the examples.
  numbered = are_numbers(examples.ids)
  if numbered and (_are_places(own, examples) or not all(name.isdecimal() for name in own)):
    return None
  # A crowd may call the pictures of a folder by their whole paths too.
  spellings = (tuple(example_names(examples)), tuple(map(str, examples.ids)))
  if own in spellings:
    return None
  known = next((names for names in spellings if set(own) <= set(names)), spellings[0])
  advice = f'its first is called {brief(repr(known[0]))}: make the crowd with the names of the set'
  return _places('example', own, known, examples, advice)


def _places(kind, own, known, examples, advice):
  """The place of each name among the known ones, int [k]."""
  place = {name: number for number, name in enumerate(known)}
  strange = [name for name in own if name not in place]
  if strange:
    raise UserError(
      f'The crowd has the {kind} {brief(repr(strange[0]))}, which {examples.name} '
      f'({examples.split}) does not know; {advice}.'
    )
  return np.array([place[name] for name in own], np.int32)
