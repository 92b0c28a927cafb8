"""The floors of the library, read from its sources: who may import whom, who may know a family's
fields, and how far a config goes down."""

import ast
import functools
import itertools
import pathlib
import re

import pytest

import jaxdistill
from jaxdistill import config as configs
from jaxdistill import training

ROOT = pathlib.Path(__file__).parents[1]
FAMILIES = tuple(jaxdistill.FAMILIES)
# From the top: a file imports from its own room and from floors below. Rooms of one floor do not
# know each other: no family a family, synthesis no experiment.
FLOORS = (
  ('__main__',),
  ('commands',),
  ('benchmarks',),
  FAMILIES,
  ('synthesis', 'experiment'),
  ('training',),
  ('metrics', 'report', 'models', 'estimation'),
  ('data',),
  ('losses',),
  ('config',),
  ('registry',),
  ('files',),
  ('usercode',),
  ('terminal',),
  ('draws',),
  ('numerics', 'backend'),
  ('errors',),
  ('jaxdistill',),  # the version, and the sub-packages by name
)
# Sections and fields of a config that every family has, or every one that compares methods.
SHARED_SECTIONS = {'data', 'model', 'run', 'method', 'compared', 'members'}
# Those of them whose fields are a method's own.
OF_METHODS = {'method', 'members'}
SHARED_FIELDS = {'family', 'task', 'seed', 'dtype', 'method.name'}
# Fields of a family whose names are words of the trade, which floors below use in their own sense:
# of the training of any network, of images, of a loss.
WORDS = {
  'augmentation',
  'composition',
  'embedding',
  'epochs',
  'every',
  'init',
  'kernel',
  'learning_rate',
  'memory',
  'mixing',
  'momentum',
  'network',
  'networks',
  'recipe',
  'space',
  'steps',
  'update',
  'weight',
}
# Fields whose meaning a floor below has given: what a condensed image is decoded by.
OF_ROOM = {'synthesis': {'factor'}}


# The sources, and what they import.


@functools.cache
def modules():
  """The syntax tree of every file of the package by its dotted name."""
  trees = {}
  for path in sorted((ROOT / 'jaxdistill').rglob('*.py')):
    parts = path.relative_to(ROOT).with_suffix('').parts
    name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
    trees[name] = ast.parse(path.read_text())
  return trees


def docstrings(tree):
  """The nodes of a tree that are docstrings."""
  holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
  nodes = set()
  for node in ast.walk(tree):
    if isinstance(node, holders) and ast.get_docstring(node, clean=False) is not None:
      nodes.add(node.body[0].value)
  return nodes


def strings(tree):
  """Yields (text, line) of every string that is no docstring, parts of f-strings included."""
  told = docstrings(tree)
  for node in ast.walk(tree):
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told:
      yield node.value, node.lineno


def imports(tree, names):
  """Yields (module, line) of every import of the package in a tree, inside functions too.

  Args:
    tree: of a file.
    names: of all modules; `from a import b` is an import of a.b where that is a module, else of a.
  """
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      imported = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'a relative import in line {node.lineno}'
      members = [f'{node.module}.{alias.name}' for alias in node.names]
      imported = [member if member in names else node.module for member in members]
    else:
      continue
    for name in imported:
      if name.split('.')[0] == 'jaxdistill':
        yield name, node.lineno


def named(tree, names):
  """Yields (module, line) of every string that names a module of the package, for importlib."""
  for text, line in strings(tree):
    match = re.match(r'jaxdistill(\.\w+)+', text)
    parts = match[0].split('.') if match else []
    while parts and '.'.join(parts) not in names:
      parts.pop()
    if len(parts) > 1:
      yield '.'.join(parts), line


def room(name):
  """The sub-package, or the single file, in which a module lies."""
  return [*name.split('.'), 'jaxdistill'][1] if name != 'jaxdistill' else 'jaxdistill'


def floor(name):
  """The number of a room's floor, 0 for the highest."""
  return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def in_rooms(*rooms):
  return {name: tree for name, tree in modules().items() if room(name) in rooms}


def below_a_family():
  """All modules of the floors below the families, but for the list of the sub-packages."""
  floors = FLOORS[FLOORS.index(FAMILIES) + 1 : -1]
  return in_rooms(*itertools.chain.from_iterable(floors))


def cycles(graph):
  """Groups of at least two modules that reach each other, and modules that import themselves."""
  reached = {}
  for start in graph:
    seen, ahead = set(), list(graph[start])
    while ahead:
      name = ahead.pop()
      if name not in seen:
        seen.add(name)
        ahead += graph.get(name, ())
    reached[start] = seen
  circles = set()
  for name, others in reached.items():
    circle = {other for other in others if name in reached.get(other, ())}
    if name in circle:
      circles.add(tuple(sorted(circle)))
  return sorted(circles)


# A family's words, from its shipped configs.


@functools.cache
def family_words():
  """(sections, dotted fields, distinctive names of fields) that only a family knows."""
  dotted, shared = set(), set()
  for name in configs.names():
    for key in configs.flat(configs.load(name)):
      of_all = key.split('.')[0] in SHARED_SECTIONS - OF_METHODS or key in SHARED_FIELDS
      (shared if of_all else dotted).add(key)
  sections = {key.split('.')[0] for key in dotted} - SHARED_SECTIONS
  fields = {key.split('.')[-1] for key in dotted} - {key.split('.')[-1] for key in shared}
  assert WORDS <= fields, f'no family has a field {WORDS - fields}: it needs no exception'
  return sections, {key for key in dotted if '.' in key}, fields - WORDS


def keys(tree):
  """Yields (text, line) of every string by which something is looked up: x['a'], x.get('a'),
  getattr(x, 'a'), 'a' in x."""
  for node in ast.walk(tree):
    looked_up = []
    if isinstance(node, ast.Subscript):
      looked_up = [node.slice]
    elif isinstance(node, ast.Call):
      function = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
      if function in ('get', 'pop', 'getattr', 'hasattr'):
        looked_up = node.args
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
      looked_up = [node.left]
    for value in looked_up:
      if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value, node.lineno


def reads_of(tree, sections, dotted, fields):
  """Yields (what, line) of everything in a file that knows a config's sections or fields.

  That is: `config.SECTION` (of anything whose name ends with config); a string that is the name of
  a section or holds SECTION.FIELD; and the name of a field as a key.
  """
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute) and node.attr in sections:
      owner = node.value
      if getattr(owner, 'attr', getattr(owner, 'id', '')).endswith('config'):
        yield f'.{node.attr}', node.lineno
  pattern = re.compile(r'(?<![\w./-])(' + '|'.join(map(re.escape, sorted(dotted))) + r')(?!\w)')
  for text, line in strings(tree):
    text = re.sub(r'--config\.', ' ', text)
    if text in sections:
      yield repr(text), line
    elif match := pattern.search(text):
      yield match[0], line
  for text, line in keys(tree):
    if text in fields:
      yield repr(text), line


# Imports.


def test_every_room_has_a_floor():
  rooms = {room(name) for name in modules()} - {'configs'}
  planned = set(itertools.chain.from_iterable(FLOORS))
  assert rooms <= planned, f'{sorted(rooms - planned)}: a new room needs a floor, or FAMILIES'


def test_every_module_of_a_package_that_lists_them_is_listed_once():
  folder = ROOT / 'jaxdistill' / 'training'
  assert sorted(training.__all__) == sorted(path.stem for path in folder.glob('[!_]*.py'))
  assert len(jaxdistill.__all__) == len(set(jaxdistill.__all__))


def test_imports_go_down():
  names, wrong = set(modules()), []
  for name, tree in modules().items():
    for other, line in [*imports(tree, names), *named(tree, names)]:
      if room(name) != room(other) and floor(room(name)) >= floor(room(other)):
        wrong.append(f'{name}:{line} imports {other}')
  assert not wrong, '\n'.join(wrong)


def test_no_files_import_each_other_in_a_circle():
  names = set(modules())
  graph = {name: {other for other, _ in imports(tree, names)} for name, tree in modules().items()}
  assert not cycles(graph)


def test_an_entry_point_imports_its_command_and_a_config_its_own_family():
  names, wrong = set(modules()), []
  for path in [*(ROOT / 'configs').rglob('*.py'), *(ROOT / 'launch').rglob('*.py')]:
    parts = path.relative_to(ROOT).parts
    for other, line in imports(ast.parse(path.read_text()), names):
      if parts[0] == 'launch':
        fits = room(other) == 'commands'
      else:
        fits = room(other) == parts[1] or floor(room(other)) > FLOORS.index(FAMILIES)
      if not fits:
        wrong.append(f'{"/".join(parts)}:{line} imports {other}')
  assert not wrong, '\n'.join(wrong)


# A family's words below it, and the config.


def test_no_floor_below_a_family_knows_its_fields():
  wrong = []
  sections, dotted, fields = family_words()
  for name, tree in below_a_family().items():
    words = fields - OF_ROOM.get(room(name), set())
    wrong += [f'{name}:{line} {what}' for what, line in reads_of(tree, sections, dotted, words)]
  assert not wrong, '\n'.join(wrong)


def test_no_command_knows_a_familys_fields():
  """The table of the families, FAMILIES, and a command named like one are all that may be said."""
  sections, dotted, fields = family_words()
  sections = sections - set(jaxdistill.FAMILIES)
  wrong = []
  for name, tree in in_rooms('commands').items():
    wrong += [f'{name}:{line} {what}' for what, line in reads_of(tree, sections, dotted, fields)]
    # The section that is named like the family, read from a config.
    for text, line in keys(tree):
      if text in jaxdistill.FAMILIES:
        wrong.append(f'{name}:{line} {text!r}')
  assert not wrong, '\n'.join(wrong)


def takes_a_config(tree, bare):
  """Yields (function, line) of those with a ConfigDict as argument; `bare`: also those with an
  argument `config` of no type.

  `of_config` of a small value is how it is read in a task's flow: there the config ends.
  """
  for node in ast.walk(tree):
    if not isinstance(node, (ast.FunctionDef, ast.Lambda)):
      continue
    if getattr(node, 'name', '') == 'of_config':
      continue
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    for argument in arguments:
      annotation = argument.annotation and ast.unparse(argument.annotation)
      if 'ConfigDict' in (annotation or '') or bare and argument.arg == 'config' and not annotation:
        yield getattr(node, 'name', 'lambda'), node.lineno


def may_take_a_config(name):
  """Commands, the file of configs, the check of any config, a family's settings, its own checks and
  its tasks."""
  parts = name.split('.')[1:]
  in_family = parts[:1] and parts[0] in jaxdistill.FAMILIES
  return (
    parts[:1] in (['commands'], ['config'])
    or parts == ['experiment', 'schema']
    or in_family
    and (parts[1:2] == ['tasks'] or parts[1:] in (['settings'], ['checks']))
  )


def test_a_config_is_read_in_a_tasks_flow_and_nowhere_below():
  wrong = []
  for name, tree in modules().items():
    if not may_take_a_config(name):
      bare = room(name) in jaxdistill.FAMILIES
      wrong += [f'{name}:{line} {function}' for function, line in takes_a_config(tree, bare)]
  assert not wrong, '\n'.join(wrong)


# The readers themselves: a test that sees nothing would pass as well.


def test_imports_are_seen_wherever_they_stand():
  names = {'jaxdistill', 'jaxdistill.a', 'jaxdistill.a.b', 'jaxdistill.c'}
  code = (
    'import jaxdistill.a.b as b, numpy\nfrom jaxdistill.a import b, thing\n'
    'def f():\n  from jaxdistill import c\n  return "jaxdistill.a.b:Name", "jaxdistill.x"\n'
  )
  tree = ast.parse(code)
  assert list(imports(tree, names)) == [
    ('jaxdistill.a.b', 1),
    ('jaxdistill.a.b', 2),
    ('jaxdistill.a', 2),
    ('jaxdistill.c', 4),
  ]
  assert list(named(tree, names)) == [('jaxdistill.a.b', 5)]
  assert [room(name) for name in sorted(names)] == ['jaxdistill', 'a', 'a', 'c']


@pytest.mark.parametrize(
  'graph, circles',
  [
    ({'a': {'b'}, 'b': {'c'}, 'c': set()}, []),
    ({'a': {'b'}, 'b': {'c'}, 'c': {'b'}}, [('b', 'c')]),
    ({'a': {'a'}}, [('a',)]),
    ({'a': {'b'}, 'b': {'a'}, 'c': {'d'}, 'd': {'c'}}, [('a', 'b'), ('c', 'd')]),
  ],
)
def test_circles_are_found(graph, circles):
  assert cycles(graph) == circles


@pytest.mark.parametrize(
  'code, seen',
  [
    ('config.part.field', ['.part']),
    ('run.config.part', ['.part']),
    ('other.part', []),
    ("config['part']", ["'part'"]),
    ("f'--config.part.field={x}'", ['part.field']),
    ("row['field'], row.get('field'), 'field' in row", ["'field'"] * 3),
    ("say('field')", []),
    ('"""About part.field."""', []),
    ("'apart.fields'", []),
  ],
)
def test_reads_of_a_config_are_seen(code, seen):
  reads = reads_of(ast.parse(code), {'part'}, {'part.field'}, {'field'})
  assert [what for what, _ in reads] == seen


def test_functions_that_take_a_config_are_seen():
  code = (
    'def f(config): 1\ndef g(x: ConfigDict): 1\ndef h(config: Mapping): 1\nlambda config: 1\n'
    'def of_config(config: ConfigDict): 1'
  )
  tree = ast.parse(code)
  assert [line for _, line in takes_a_config(tree, bare=True)] == [1, 2, 4]
  assert [line for _, line in takes_a_config(tree, bare=False)] == [2]


def test_a_familys_words_are_those_of_its_configs():
  sections, dotted, fields = family_words()
  assert 'condensation' in sections and not sections & SHARED_SECTIONS
  assert 'condensation.ipc' in dotted and 'method.kernel' in dotted and 'model.width' not in dotted
  assert {'ipc', 'batch_real'} <= fields and not fields & {'seed', 'steps', 'devices'}
