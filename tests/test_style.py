"""How the code is written, where ruff has no rule: comprehensions of one loop, names of files,
docstrings."""

import ast
import collections
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# Names under which anything could lie, so that nothing is found there again.
VAGUE = {'utils', 'util', 'common', 'helpers', 'helper', 'misc'}


def sources(*folders):
  return sorted(path for folder in folders for path in (ROOT / folder).rglob('*.py'))


def nested(tree):
  """The lines of comprehensions with a second `for`, or with another comprehension inside."""
  lines = set()
  for node in ast.walk(tree):
    if not isinstance(node, COMPREHENSIONS):
      continue
    inner = [child for child in ast.walk(node) if isinstance(child, COMPREHENSIONS)]
    if len(node.generators) > 1 or len(inner) > 1:
      lines.add(node.lineno)
  return sorted(lines)


def undocumented(tree):
  """Public functions and classes of a file without a docstring, as (name, line).

  Methods of a class may be told by the class's own docstring or by the class they override.
  """
  public = [
    node
    for node in tree.body
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_')
  ]
  return [(node.name, node.lineno) for node in public if not ast.get_docstring(node)]


@pytest.mark.parametrize(
  'code, lines',
  [
    ('[x for x in y]', []),
    ('[x for x in y for y in z]', [1]),
    ('\n{k: [v for v in w] for k in y}', [2]),
    ('sum(x for x in [y for y in z])', [1]),
    ('[f(lambda: {x for x in y}) for y in z]', [1]),
    ('[x for x in y]\n[y for y in z]', []),
    ('for y in z:\n  [x for x in y]', []),
  ],
)
def test_nested_comprehensions_are_seen(code, lines):
  assert nested(ast.parse(code)) == lines


def test_what_has_no_docstring_is_seen():
  code = 'def f(): "doc"\ndef g(): 1\ndef _h(): 1\nclass C: pass\nclass D:\n  "doc"\n  x = 1'
  assert undocumented(ast.parse(code)) == [('g', 2), ('C', 4)]


def test_no_comprehension_is_nested():
  places = []
  for path in sources('jaxdistill', 'configs', 'launch'):
    lines = nested(ast.parse(path.read_text()))
    places += [f'{path.relative_to(ROOT)}:{line}' for line in lines]
  assert not places, 'write a loop, or name the inner part:\n' + '\n'.join(places)


def test_no_file_has_a_vague_name():
  vague = [path for path in sources('jaxdistill', 'configs', 'launch') if path.stem in VAGUE]
  folders = [path.parent for path in sources('jaxdistill') if path.parent.name in VAGUE]
  assert not vague + folders


def test_test_files_have_names_of_their_own():
  """pytest tells files of one name in two folders apart only where the folders are packages; a
  family's battery is loaded by its path."""
  names = collections.Counter(path.name for path in sources('tests'))
  assert {name for name, count in names.items() if count > 1} <= {'battery.py', 'conftest.py'}


def test_public_names_have_docstrings():
  places = []  # a config's docstring is that of its file, which jaxdistill --list prints
  for path in sources('jaxdistill', 'launch'):
    bare = undocumented(ast.parse(path.read_text()))
    places += [f'{path.relative_to(ROOT)}:{line} {name}' for name, line in bare]
  assert not places, '\n'.join(places)


def test_configs_say_what_they_are():
  silent = [
    path for path in sources('configs') if not ast.get_docstring(ast.parse(path.read_text()))
  ]
  assert not silent
