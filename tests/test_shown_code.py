"""Code that notebooks and pages show names what there is: every import of the package, every
attribute of what was imported, every argument of a call. Nothing of it is run."""

import ast
import importlib
import inspect
import pathlib
import re

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / 'launch' / 'colab').glob('*.ipynb'))
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'configs').glob('*/README.md'))]


def codes(path):
  """The cells of a notebook, or the Python blocks of a page."""
  if path.suffix == '.md':
    return re.findall(r'```python\n(.*?)```', path.read_text(), re.DOTALL)
  plain = TransformerManager().transform_cell  # without the magics
  cells = nbformat.read(path, as_version=4).cells
  return [plain(cell.source) for cell in cells if cell.cell_type == 'code']


def stale(codes):
  """What codes that follow one another say of the package that is not so."""
  imported, wrong = {}, []
  for code in codes:
    tree = ast.parse(code)
    for node in ast.walk(tree):
      if isinstance(node, (ast.Import, ast.ImportFrom)):
        bind(node, imported, wrong)
    rebound = {node.id for node in ast.walk(tree) if is_stored(node)}
    known = {name: value for name, value in imported.items() if name not in rebound}
    for node in ast.walk(tree):
      if isinstance(node, ast.Attribute):
        owner = value_of(node.value, known)
        if owner is not None and not hasattr(owner, node.attr):
          wrong.append(f'{ast.unparse(node)} is not there')
      elif isinstance(node, ast.Call):
        wrong += misfits(node, value_of(node.func, known))
  return wrong


def bind(node, imported, wrong):
  """Imports what a statement imports of the package."""
  for alias in node.names:
    name = alias.asname or alias.name.split('.')[0]
    try:
      if isinstance(node, ast.Import) and alias.name.split('.')[0] == 'jaxdistill':
        module = importlib.import_module(alias.name)
        imported[name] = module if alias.asname else importlib.import_module('jaxdistill')
      elif isinstance(node, ast.ImportFrom) and node.module.split('.')[0] == 'jaxdistill':
        module = importlib.import_module(node.module)
        if not hasattr(module, alias.name):
          importlib.import_module(f'{node.module}.{alias.name}')
        imported[name] = getattr(module, alias.name)
    except ImportError:
      wrong.append(f'{ast.unparse(node)} finds nothing')


def is_stored(node):
  return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def value_of(node, known):
  """What `name.attribute.attribute` is; None for what is not known before the code runs."""
  if isinstance(node, ast.Name):
    return known.get(node.id)
  if isinstance(node, ast.Attribute):
    return getattr(value_of(node.value, known), node.attr, None)
  return None


def misfits(call, function):
  """Why a function or class does not take the arguments of a call, as a list."""
  starred = any(isinstance(value, ast.Starred) for value in call.args)
  if starred or not (inspect.isfunction(function) or inspect.isclass(function)):
    return []
  keywords = {keyword.arg for keyword in call.keywords}
  signature = inspect.signature(function)
  # Behind ** may stand whatever is missing.
  fit = signature.bind_partial if None in keywords else signature.bind
  try:
    fit(*call.args, **dict.fromkeys(keywords - {None}))
  except TypeError as error:
    return [f'{ast.unparse(call.func)}: {error}']
  return []


@pytest.mark.parametrize(
  'code, wrong',
  [
    ('import jaxdistill\njaxdistill.data.load("digits", image_size=8)', []),
    ('import jaxdistill\njaxdistill.data.loud', ['jaxdistill.data.loud is not there']),
    ('from jaxdistill import data\ndata.load("digits", side=8)', ['data.load: got an unexpected']),
    ('from jaxdistill import data\ndata.load(**choices)', []),
    ('from jaxdistill import files\nfiles.safe_name()', ['files.safe_name: missing a required']),
    ('from jaxdistill import absent', ['from jaxdistill import absent finds nothing']),
    ('import jaxdistill.absent', ['import jaxdistill.absent finds nothing']),
    ('from jaxdistill.data import load\nload = print\nload.absent', []),
    ('import numpy as np\nnp.absent', []),
  ],
)
def test_what_is_not_so_is_seen(code, wrong):
  seen = stale([code])
  assert len(seen) == len(wrong)
  assert all(one.startswith(start) for one, start in zip(seen, wrong))


def test_imports_of_an_earlier_code_count():
  assert stale(['from jaxdistill import data', 'data.loud']) == ['data.loud is not there']


@pytest.mark.parametrize('path', [*NOTEBOOKS, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_is_there(path):
  assert codes(path)
  assert not stale(codes(path))
