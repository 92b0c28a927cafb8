"""What a work dir was begun with: its data, and the user's code. Another start with something else
is refused.

A config names a data set and a method; what the names stand for may be replaced between two starts.
So a work dir keeps, in data.json, what tells one from another, by section: 'data' (the real
images), 'sets' (condensed ones), 'code', what else a run was given, such as 'evidence' or a
'teacher'; and 'settings' of phases that no config tells.
"""

import itertools
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from jaxdistill import files, registry, usercode
from jaxdistill.config import differences, flat, listed
from jaxdistill.data import Dataset, MultiLabelled, Vectors
from jaxdistill.data.identity import Identity
from jaxdistill.errors import UserError
from jaxdistill.training import hosts

FILE = 'data.json'
# What comes of reading something that is no record.
_NO_RECORD = (LookupError, TypeError, ValueError, AttributeError)


class Fact(Protocol):
  """Something that a run works on, such as `data.identity.Identity`."""

  def to_json(self) -> dict[str, Any]:
    """Returns the record that is kept of it."""

  def differences(self, before: Mapping[str, Any], name: str) -> list[str]:
    """Returns in words what is not as in an earlier record; LookupError, TypeError or ValueError
    for what is no such record."""


class Content:
  """Something known by a hash of what it holds.

  >>> Content('a1').differences(Content('b2').to_json(), 'mine.npz')
  ['mine.npz has changed since']
  """

  def __init__(self, content: str):
    self._content = content

  def to_json(self) -> dict[str, Any]:
    return {'content': self._content}

  def differences(self, before: Mapping[str, Any], name: str) -> list[str]:
    return [] if before['content'] == self._content else [f'{name} has changed since']


class Code:
  """The code of something that the user has added; the same only under one version of Python, and
  one way to read it."""

  def __init__(self, thing: Any):
    self._record = {
      'python': usercode.python(),
      'form': usercode.FORM,
      'sha256': usercode.code_hash(thing),
    }

  def to_json(self) -> dict[str, Any]:
    return dict(self._record)

  def differences(self, before: Mapping[str, Any], name: str) -> list[str]:
    comparable = all(before.get(key) == self._record[key] for key in ('python', 'form'))
    same = before['sha256'] == self._record['sha256']
    return [f'the code of the {name} has changed'] if comparable and not same else []


Sections = Mapping[str, Mapping[str, Fact]]


def code(config: Mapping) -> dict[str, Code]:
  """Returns the things of the user's that a config names: its method, its network, a kernel.

  >>> code({'method': {'name': 'm3d'}})
  {}
  """
  return {name: Code(thing) for name, thing in registry.of_users(_values(config)).items()}


def of_things(things: Mapping[str, Any]) -> Sections:
  """Returns what a loop of the user's own works on, by name: data sets, arrays, and functions or
  classes, whose code counts.

  Raises:
    UserError: for something else.

  >>> sections = of_things({'scans': np.zeros((2, 8, 8)), 'objective': lambda x: x})
  >>> {section: list(facts) for section, facts in sections.items()}
  {'data': ['scans'], 'code': ['objective']}
  """
  sections = {'data': {}, 'code': {}}
  for name, thing in things.items():
    if isinstance(thing, Dataset | MultiLabelled | Vectors):
      sections['data'][name] = Identity(thing)
    elif callable(thing):
      sections['code'][name] = Code(thing)
    else:
      sections['data'][name] = _content(name, [thing])
  return sections


def settle_given(run, section: str, things: Mapping[str, Any]) -> None:
  """Settles what a run was given beside its data set, as `settle` does.

  Args:
    run: a `Run`.
    section: what these things are together.
    things: by name, each a set of examples, a function, a list of arrays, or the hash of something;
      None: there is none.

  Raises:
    UserError: the work dir was begun with something else.
  """
  if run.place is None and hosts.count() == 1:
    return
  facts = {name: _given(name, thing) for name, thing in things.items() if thing is not None}
  settle(run, {section: facts})


def _given(name: str, thing: Any) -> Fact:
  if isinstance(thing, Dataset | MultiLabelled | Vectors):
    return Identity(thing, statistics=False)  # those of the training set count
  if callable(thing):
    return Code(thing)
  return Content(thing) if isinstance(thing, str) else _content(name, thing)


def _content(name: str, arrays: Iterable[Any]) -> Content:
  return Content(files.content_hash([_array(name, array) for array in arrays], {}))


def _array(name: str, thing: Any) -> np.ndarray:
  try:
    array = np.asarray(thing)
  except (TypeError, ValueError):
    array = None
  if array is None or array.dtype.hasobject:
    raise UserError(
      f'A run knows a set of data.load, an array or a function again; {name} is of type '
      f'{type(thing).__name__}.'
    )
  return array


def _values(config: Mapping) -> Collection[str]:
  values = []
  for value in flat(config).values():
    values += value if isinstance(value, list | tuple) else [value]
  return {value for value in values if isinstance(value, str)}


def settle(run, sections: Sections) -> None:
  """Keeps what a run works on at the first start in its work dir, and compares with it at every
  other one.

  A work dir of an earlier version holds no record: what is there now is taken for it, and told.
  Of several processes each compares what it has loaded with what the first one keeps.

  Args:
    run: a `Run`.
    sections: all that it works on; of other sections that its work dir holds nothing is said.

  Raises:
    UserError: the work dir was begun with something else, or the processes differ; in all of them.
  """
  run.is_settled = True
  if run.place is None and hosts.count() == 1:
    return
  stored = hosts.first('what the work dir was begun with', lambda: _read(run))
  before = {**hosts.first('what it begins with', lambda: _first(run, sections, stored)), **stored}
  try:
    changed = _changed(sections, before)
  except _NO_RECORD:
    run.say(f'{run.place}/{FILE} is damaged and is written again.')
    before, changed = {name: before[name] for name in before if name not in sections}, {}
  everywhere = hosts.collect('what differs', changed)
  if everywhere[0]:
    raise UserError(refusal(run.place, everywhere[0]))
  for number, other in enumerate(everywhere):
    if other:
      raise UserError(
        f'Process {number} works on something else than process 0: {_listed(other)}. '
        'Give all of them the same files.'
      )
  if run.workdir is not None:
    now = {**before, **_records(sections, before)}
    if now != stored:
      run.write_json(FILE, now)


def begin(run, phase: str, settings: Mapping[str, Any]) -> None:
  """Keeps the settings of a phase that no config tells; what a work dir holds of one that was begun
  with others is deleted, so that it begins anew, and told.

  Args:
    run: a `Run`.
    phase: its name.
    settings: all that decides it beside what `settle` has seen, as JSON can hold it.
  """
  if run.place is None and hosts.count() == 1:
    return
  stored = hosts.first('what was begun', lambda: _read(run))
  kept = stored.get('settings')
  kept = kept if isinstance(kept, dict) else {}
  before, now = kept.get(phase), files.jsonable(settings)
  if before == now:
    return
  if isinstance(before, dict):
    changed = listed(list(differences(before, now).values()))
    run.say(f'{phase}: it was begun with other settings ({changed}) and begins anew.')
    run.discard(phase)
  if run.workdir is not None:
    run.write_json(FILE, {**stored, 'settings': {**kept, phase: now}})


def forget(run, phase: str) -> None:
  """Deletes the checkpoints of a phase that is done, and its settings, so that another one of other
  settings may begin under its name without a word."""
  run.discard(phase)
  stored = _read(run)
  kept = stored.get('settings')
  if isinstance(kept, dict) and phase in kept:
    others = {name: settings for name, settings in kept.items() if name != phase}
    run.write_json(FILE, {**stored, 'settings': others})


def knows(run, section: str) -> bool:
  """Whether the work dir of a run holds a section, in all processes."""
  return hosts.first('known section', lambda: section in _read(run))


def refusal_of(workdir: pathlib.Path, sections: Sections) -> str:
  """Returns the sentence with which a run in a work dir would be refused; '' where it would not.

  >>> refusal_of(pathlib.Path('nowhere'), {})
  ''
  """
  try:
    before = files.read_json((workdir / FILE).read_bytes())
    known = {name: facts for name, facts in sections.items() if name in before}
    changed = _changed(known, before)
  except (OSError, *_NO_RECORD):
    return ''
  return refusal(workdir, changed) if changed else ''


def refusal(place: Any, changed: Mapping[str, Collection[str]]) -> str:
  """Returns the sentence about a work dir that was begun with something else.

  >>> refusal('runs/cats', {'data': ['training images: 90 -> 91']})
  'The work dir runs/cats was begun with other data: training images: 90 -> 91. Use another ...
  """
  what = 'code' if set(changed) == {'code'} else 'data'
  return (
    f'The work dir {place} was begun with other {what}: {_listed(changed)}. '
    f'Use another work dir, or the old {what} to continue.'
  )


def _listed(changed: Mapping[str, Collection[str]]) -> str:
  """Returns all texts, each once: a new name of a class is news of every part."""
  return '; '.join(dict.fromkeys(itertools.chain.from_iterable(changed.values())))


def _read(run) -> dict[str, Any]:
  """Returns what a work dir holds; {} where that is nothing."""
  path = run.workdir and run.workdir / FILE
  if path is None or not path.is_file():
    return {}
  try:
    stored = files.read_json(path.read_bytes())
  except ValueError:
    stored = None
  if isinstance(stored, dict):
    return stored
  run.say(f'{path} is damaged and is written again.')
  return {}


def _first(run, sections: Sections, stored: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the records of the sections of which a work dir holds none."""
  worked = run.workdir and any((run.workdir / name).is_dir() for name in ('results', 'checkpoints'))
  if worked and not (run.workdir / FILE).is_file():
    run.say(
      f'{run.place} does not say which data it was begun with, as an earlier version made it: it '
      f'goes on with those that are there now, and keeps in {FILE} what they are.'
    )
  return _records({name: facts for name, facts in sections.items() if name not in stored}, {})


def _records(sections: Sections, before: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what is to be kept; of a fact that is known already, what is known of it stays."""
  records = {}
  for section, facts in sections.items():
    known = before.get(section, {})
    records[section] = {
      name: {**known.get(name, {}), **fact.to_json()} for name, fact in facts.items()
    }
  return records


def _changed(sections: Sections, before: Mapping[str, Any]) -> dict[str, list[str]]:
  """Returns in words, by section, what is not as in the records."""
  changed = {}
  for section, facts in sections.items():
    known = before[section]
    texts = [f'{name}: no longer there' for name in known if name not in facts]
    for name, fact in facts.items():
      texts += fact.differences(known[name], name) if name in known else [f'{name}: new']
    if texts:
      changed[section] = texts
  return changed
