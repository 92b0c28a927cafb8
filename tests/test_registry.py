"""Things by name: what ships and stays, what users add, and the fields that a factory takes."""

import math
import typing

import pytest

from jaxdistill import losses, models, registry
from jaxdistill.condensation import methods
from jaxdistill.data import mixing, presets, selection, views
from jaxdistill.errors import UserError

ALL = (
  methods.METHODS,
  models.REGISTRY,
  losses.KERNELS,
  views.TRANSFORMS,
  mixing.MIXINGS,
  selection.METHODS,
  presets.TABLE,
)


@pytest.fixture
def shapes():
  return registry.Registry(
    'shape', {'square': 'math:sqrt', 'whole': 'math', 'three': 3}, labels={'square': 'Square'}
  )


def test_entries_are_imported_when_they_are_asked_for(shapes):
  assert shapes.find('square') is math.sqrt and shapes.find('whole') is math
  assert shapes.find('three') == 3 and shapes['square'] == 'math:sqrt'
  shapes['broken'] = 'no_such_module:thing'
  assert 'broken' in shapes
  with pytest.raises(ModuleNotFoundError, match='no_such_module'):
    shapes.find('broken')


def test_a_user_adds_replaces_and_removes_what_is_the_users(shapes):
  before = list(shapes)
  shapes.register('mine', 'math:pi', label='Mine')
  assert shapes.find('mine') == math.pi and shapes.labels['mine'] == 'Mine'
  shapes['mine'] = 'math:tau'
  assert shapes.find('mine') == math.tau and shapes.labels['mine'] == 'mine'
  assert list(shapes) == [*before, 'mine'] and len(shapes) == 4
  del shapes['mine']
  assert list(shapes) == before and 'mine' not in shapes.labels


def test_labels_follow_the_table(shapes):
  labels = shapes.labels
  shapes['mine'] = 0
  assert dict(labels) == {'square': 'Square', 'whole': 'whole', 'three': 'three', 'mine': 'mine'}
  with pytest.raises(TypeError):
    labels['mine'] = 'Mine'


@pytest.mark.parametrize('table', ALL, ids=lambda table: table.kind)
class TestEveryTable:
  def test_what_ships_can_be_found_and_stays(self, table):
    for name in table:
      thing = table.find(name)
      assert not isinstance(thing, str)
      with pytest.raises(UserError, match=f'{name!r} belongs to a {table.kind} of jaxdistill'):
        table[name] = thing
      with pytest.raises(UserError, match='it cannot be removed'):
        del table[name]

  def test_a_wrong_name_is_told_the_nearest(self, table):
    name = next(iter(table))
    with pytest.raises(UserError, match=f"no {table.kind} '{name}x'; did you mean '{name}'"):
      table.find(f'{name}x')


def _paint(canvas, *, colour: typing.Literal['red', 'blue'] = 'red', size=1):
  return canvas, colour, size


def _frame(*, width=2):
  return width


def test_fields_are_the_keywords_of_all_factories_together():
  assert registry.fields(_paint) == {'colour': ('red', 'blue'), 'size': ()}
  registry.check([_paint, _frame], {'size': 3, 'width': 1, 'colour': 'blue'}, 'picture')
  given = {'size': 3, 'width': 1}
  assert registry.call(_paint, 'x', given=given) == ('x', 'red', 3)
  assert registry.call(_frame, given=given) == 1


@pytest.mark.parametrize(
  'factories, given, message',
  [
    ([_paint], {'sise': 1}, "no field of picture 'sise'; did you mean 'size'"),
    ([_paint], {'canvas': 1}, "no field of picture 'canvas'"),
    ([_paint, _frame], {'colour': 'rad'}, "no colour 'rad'; did you mean 'red'"),
    ([len], {'size': 1}, "no field of picture 'size', it has none of its own; look there."),
  ],
)
def test_wrong_fields_are_refused(factories, given, message):
  with pytest.raises(UserError, match=message):
    registry.check(factories, given, 'picture', 'look there')
