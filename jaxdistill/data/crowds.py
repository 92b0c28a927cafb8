"""Labels that several annotators gave to the same examples: each is a triple of example, annotator
and label, as most annotators see few examples."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxdistill import errors
from jaxdistill.data import crowd_checks, crowd_files
from jaxdistill.errors import UserError

# Of a field that a compiled function knows by its value.
_STATIC = {'static': True}


@dataclasses.dataclass(frozen=True)
class Names:
  """What files call the examples, annotators and classes of a crowd, in their order; empty where
  they are the numbers 0, 1, ..."""

  examples: tuple[str, ...] = ()
  annotators: tuple[str, ...] = ()
  classes: tuple[str, ...] = ()


class Padded(NamedTuple):
  """Where the labels of each example stand among the triples: [n, most labels of an example].

  `position` is int32, 0 beyond an example's last label; `mask` says what counts.
  """

  position: np.ndarray
  mask: np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Crowd:
  """What annotators said, a pytree: m triples, sorted by example, then by annotator.

  Every example has a label, and no annotator labels one example twice: of two answers nothing tells
  which counts. Annotators may be without labels. Made by `from_triples`, `from_table`, `from_csv`
  or `from_labels`, which check this.

  Attributes:
    example, annotator, label: int32 [m], in [0, `num_examples`), [0, `num_annotators`) and
      [0, `num_classes`).
    names: of examples, annotators and classes, for files.

  >>> crowd = Crowd.from_triples([0, 0, 1], [0, 2, 1], [1, 1, 0], classes=2)
  >>> len(crowd), crowd.num_examples, crowd.num_annotators
  (3, 2, 3)
  """

  example: ArrayLike
  annotator: ArrayLike
  label: ArrayLike
  num_examples: int = dataclasses.field(metadata=_STATIC)
  num_annotators: int = dataclasses.field(metadata=_STATIC)
  num_classes: int = dataclasses.field(metadata=_STATIC)
  names: Names = dataclasses.field(metadata=_STATIC, default=Names())

  @classmethod
  def from_triples(
    cls,
    example: ArrayLike,
    annotator: ArrayLike,
    label: ArrayLike,
    classes: int | Sequence[str],
    *,
    examples: int | Sequence[str] | None = None,
    annotators: int | Sequence[str] | None = None,
  ) -> 'Crowd':
    """Returns the crowd of triples in any order.

    Args:
      example, annotator, label: whole numbers [m].
      classes: how many there are, or their names in order.
      examples, annotators: likewise; None: up to the largest number among the triples.

    Raises:
      UserError: for other shapes or types, a number out of range, an example that nobody labelled,
        an annotator with two labels for one example.

    >>> Crowd.from_triples([1, 0], [0, 0], [0, 1], classes=['cat', 'dog']).label.tolist()
    [1, 0]
    """
    columns = [
      crowd_checks.whole_numbers(name, values)
      for name, values in (('example', example), ('annotator', annotator), ('label', label))
    ]
    sizes = [len(column) for column in columns]
    if len(set(sizes)) > 1 or not sizes[0]:
      raise UserError(
        'example, annotator and label need one number a label each, and at least one label; there '
        f'are {sizes[0]}, {sizes[1]} and {sizes[2]}.'
      )
    counts, names = [], []
    for kind, given, column in zip(
      ('examples', 'annotators', 'classes'), (examples, annotators, classes), columns
    ):
      count, texts = crowd_checks.count_and_names(kind, given, column)
      counts.append(count)
      names.append(texts)
    order = np.lexsort((columns[1], columns[0]))
    columns = [column[order] for column in columns]
    # Before anything is cut to 32 bits.
    crowd_checks.sorted_triples(columns, counts, names)
    triples = (column.astype(np.int32) for column in columns)
    return cls(*triples, *counts, names=Names(*names))

  @classmethod
  def from_table(cls, table: ArrayLike, classes: int | Sequence[str]) -> 'Crowd':
    """Returns the crowd of a table [n, R]: labels, with -1, NaN or the mask of a masked array for
    what an annotator left out.

    Raises:
      UserError: for another shape, labels that are no whole numbers, a row without labels.

    >>> Crowd.from_table([[1, -1], [float('nan'), 0]], classes=2).annotator.tolist()
    [0, 1]
    """
    mask = np.ma.getmaskarray(table) if np.ma.isMaskedArray(table) else None
    table = np.asarray(table)
    if table.ndim != 2 or table.dtype.kind not in 'iuf' or not table.size:
      raise UserError(
        'A table of labels has the shape [examples, annotators], with -1 or NaN where a label is '
        f'missing; it is {table.dtype} of shape {list(table.shape)}.'
      )
    filled = np.where(np.isnan(table), -1, table) if table.dtype.kind == 'f' else table
    if mask is not None:
      filled = np.where(mask, np.int64(-1), filled)
    strange = filled[(filled != np.trunc(filled)) | np.isinf(filled)]
    if strange.size:
      raise UserError(f'A table of labels holds {strange[0]}; labels are whole numbers.')
    filled = filled.astype(np.int64)
    example, annotator = np.nonzero(filled != -1)
    if not example.size:
      raise UserError('A table of labels holds none: all of it is -1 or NaN.')
    return cls.from_triples(
      example,
      annotator,
      filled[example, annotator],
      classes,
      examples=len(table),
      annotators=table.shape[1],
    )

  @classmethod
  def from_labels(cls, labels: ArrayLike, classes: int | Sequence[str]) -> 'Crowd':
    """Returns the crowd of one annotator, who labelled every example: labels [n].

    >>> Crowd.from_labels([2, 0], classes=3).to_table().tolist()
    [[2], [0]]
    """
    labels = crowd_checks.whole_numbers('labels', labels)
    rows = np.arange(len(labels))
    return cls.from_triples(rows, np.zeros_like(rows), labels, classes)

  @classmethod
  def from_csv(
    cls,
    path: str | os.PathLike,
    classes: int | Sequence[str] | None = None,
    examples: Sequence[str] | None = None,
  ) -> 'Crowd':
    """Returns the crowd of a file with the columns task, worker and label, a line a label.

    All three are any text; spaces in front of one count where it is in quotes. They are numbered in
    the order of their numbers where all are whole numbers, else in that of the alphabet.

    Args:
      path: of the file; further columns are left aside.
      classes: names in order, or how many, of labels that are the numbers from 0; None: the labels
        that occur.
      examples: the names of all tasks in order, such as `Dataset.ids`; None: those that occur.

    Raises:
      UserError: for a file that cannot be read or lacks a column, lines with more values than
        columns, names that differ in spaces alone or are not among those given, and what
        `from_triples` refuses.

    >>> import pathlib
    >>> _ = pathlib.Path('crowd.csv').write_text('task,worker,label\\nb,ann,dog\\na,bob,cat\\n')
    >>> crowd = Crowd.from_csv('crowd.csv')
    >>> crowd.names.examples, crowd.to_table().tolist()
    (('a', 'b'), [[-1, 0], [1, -1]])
    """
    tasks, workers, labels = crowd_files.read(path)
    if isinstance(classes, (int, np.integer)):
      classes = range(errors.whole('classes', classes, at_least=1))
    example, example_names = crowd_files.numbered(path, 'task', tasks, examples)
    annotator, annotator_names = crowd_files.numbered(path, 'worker', workers)
    label, class_names = crowd_files.numbered(path, 'label', labels, classes)
    return cls.from_triples(
      example,
      annotator,
      label,
      class_names,
      examples=example_names,
      annotators=annotator_names,
    )

  def to_csv(self, path: str | os.PathLike) -> None:
    """Writes the file that `from_csv` reads, with the names of the crowd, or numbers.

    Annotators without labels have no line, and neither have classes that nobody named.

    >>> import pathlib
    >>> Crowd.from_labels([1, 0], classes=['cat', 'dog']).to_csv('crowd.csv')
    >>> pathlib.Path('crowd.csv').read_text().split()
    ['task,worker,label', '0,0,dog', '1,0,cat']
    """
    tables = (self.names.examples, self.names.annotators, self.names.classes)
    columns = []
    for names, values in zip(tables, self.triples):
      numbers = np.asarray(values).tolist()
      columns.append([names[number] for number in numbers] if names else numbers)
    crowd_files.write(path, *columns)

  def to_table(self) -> np.ndarray:
    """Returns int32 [n, R], -1 where an annotator left an example out."""
    table = np.full((self.num_examples, self.num_annotators), -1, np.int32)
    table[self.example, self.annotator] = self.label
    return table

  @property
  def triples(self) -> tuple[Any, Any, Any]:
    """Example, annotator and label, int32 [m] each."""
    return self.example, self.annotator, self.label

  def __len__(self) -> int:
    return len(self.label)

  @property
  def per_example(self) -> np.ndarray:
    """Number of labels of each example, int64 [n]."""
    return np.bincount(self.example, minlength=self.num_examples)

  @property
  def per_annotator(self) -> np.ndarray:
    """Number of labels of each annotator, int64 [R]."""
    return np.bincount(self.annotator, minlength=self.num_annotators)

  def padded(self) -> Padded:
    """Returns where the labels of each example stand, for what is gathered by example.

    >>> crowd = Crowd.from_triples([0, 0, 1], [0, 2, 1], [1, 1, 0], classes=2)
    >>> position, mask = crowd.padded()
    >>> position.tolist(), mask.tolist()
    ([[0, 1], [2, 0]], [[True, True], [True, False]])
    """
    counts = self.per_example
    place = np.arange(counts.max())
    mask = place < counts[:, None]
    starts = np.cumsum(counts) - counts
    return Padded(np.where(mask, starts[:, None] + place, 0).astype(np.int32), mask)

  def take(self, examples: ArrayLike) -> 'Crowd':
    """Returns what was said of some examples, given by positions or by a true or false for each;
    they are numbered anew in that order. The annotators stay all.

    >>> crowd = Crowd.from_triples([0, 0, 1], [0, 2, 1], [1, 1, 0], classes=2)
    >>> crowd.take([1]).to_table().tolist()
    [[-1, 0, -1]]
    """
    rows = np.asarray(examples)
    if rows.dtype == bool and rows.shape == (self.num_examples,):
      rows = np.flatnonzero(rows)
    rows = crowd_checks.whole_numbers('examples', rows)
    crowd_checks.in_range('examples', rows, self.num_examples)
    if not rows.size:
      raise UserError('A crowd needs at least one example; none was taken.')
    counts = self.per_example
    chosen, starts = counts[rows], (np.cumsum(counts) - counts)[rows]
    # Within each taken example's run of triples: its start, and on from there.
    offset = np.arange(chosen.sum()) - np.repeat(np.cumsum(chosen) - chosen, chosen)
    position = np.repeat(starts, chosen) + offset
    names = self.names
    if names.examples:
      kept = tuple(names.examples[row] for row in rows.tolist())
      names = dataclasses.replace(names, examples=kept)
    return dataclasses.replace(
      self,
      example=np.repeat(np.arange(len(rows), dtype=np.int32), chosen),
      annotator=np.asarray(self.annotator)[position],
      label=np.asarray(self.label)[position],
      num_examples=len(rows),
      names=names,
    )
