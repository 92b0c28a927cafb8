"""The file of a plan's figures, and its page: whole after every figure, and gone on with where the
machine and the versions are the same."""

import contextlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from jaxdistill import files
from jaxdistill.benchmarks import Settings, device_page
from jaxdistill.benchmarks.process import Ended
from jaxdistill.errors import UserError

_PLAN = 'device'
# What figures of one file have in common: of the machine, and sizes.
_SAME = ('versions', 'device', 'code', 'environment')
_SIZES = ('ipc', 'factor', 'batch_real', 'classes', 'width')


class Kept:
  """The figures of a plan by name, in a file.

  content: {plan, machine: where they are from, sizes, left_out: names, figures: {name: {about: what
  it is of, command, seconds: that it took, figures: as its process told, or null, trouble: what
  went wrong, or ''}}}.
  """

  def __init__(self, path: pathlib.Path, content: dict[str, Any]):
    self.path, self.content = path, content

  @classmethod
  def of(
    cls,
    path: pathlib.Path,
    machine: dict[str, Any],
    settings: Settings,
    tell: Callable[[str], None],
  ) -> 'Kept':
    """Returns what a file holds, if it is of this machine and these sizes; else that is moved
    aside."""
    sizes = {name: getattr(settings, name) for name in _SIZES}
    begun = {'plan': _PLAN, 'machine': machine, 'sizes': sizes, 'left_out': []}
    content = read(path)
    if content:
      differing = [name for name in _SAME if content['machine'].get(name) != machine.get(name)]
      differing += ['sizes'] if content['sizes'] != sizes else []
      if not differing:
        return cls(path, content)
      aside = _move_aside(path)
      tell(f'{path} has other figures ({", ".join(differing)} differ); they are now in {aside}')
    return cls(path, begun | {'figures': {}})

  @property
  def figures(self) -> dict[str, Any]:
    """The entries by name."""
    return self.content['figures']

  def missing(self, figures: Sequence[Any]) -> list[Any]:
    """Returns which figures of a plan are not there: first those that were never tried, then those
    that went wrong."""
    new, failed = [], []
    for figure in figures:
      entry = self.figures.get(figure.name)
      if not entry or entry['about'] != dict(figure.about):
        new.append(figure)
      elif entry['trouble']:
        failed.append(figure)
    return [*new, *failed]

  def add(self, figure: Any, ended: Ended, seconds: float) -> None:
    """Keeps how a figure came out; one that fails the second time keeps what it had."""
    entry, about = self.figures.get(figure.name), dict(figure.about)
    if ended.figures is None and entry and entry['figures'] and entry['about'] == about:
      return
    self.figures[figure.name] = {
      'about': about,
      'command': list(figure.command),
      'seconds': seconds,
      'figures': ended.figures,
      'trouble': ended.trouble,
    }
    self._write()
    # Minutes on a device are worth more than a page, which is written again in the end.
    with contextlib.suppress(Exception):
      self._write_page()

  def finish(self, left_out: Sequence[str]) -> None:
    """Keeps the names of what was left out."""
    self.content['left_out'] = list(left_out)
    self._write()
    self._write_page()

  @property
  def page(self) -> pathlib.Path:
    """The file of the page."""
    return self.path.with_suffix('.html')

  def _write(self) -> None:
    text = json.dumps(files.jsonable(self.content), indent=2) + '\n'
    files.write_atomic(self.path, files.encoded(text))

  def _write_page(self) -> None:
    files.write_atomic(self.page, files.encoded(device_page.html(self.content)))


def read(path: pathlib.Path) -> dict[str, Any] | None:
  """Returns what a file of this kind holds; None: there is none.

  Raises:
    UserError: it holds something else.
  """
  if not path.exists():
    return None
  try:
    content = files.read_json(path.read_bytes())
    if content['plan'] == _PLAN and content.keys() >= {'machine', 'sizes', 'figures'}:
      return content
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    pass
  raise UserError(f'{path} holds something else than figures of this plan; name another file.')


def _move_aside(path: pathlib.Path) -> pathlib.Path:
  number = 1
  while (aside := path.with_name(f'{path.stem}.earlier-{number}{path.suffix}')).exists():
    number += 1
  path.rename(aside)
  page = path.with_suffix('.html')
  if page.exists():
    page.rename(aside.with_suffix('.html'))
  return aside
