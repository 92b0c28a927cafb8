"""Every notebook in launch/colab: stripped in git, self-installing, with choices on top, and run
from top to bottom."""

import importlib.util
import pathlib
import shutil
import types

import nbclient
import nbformat
import numpy as np
import PIL.Image
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from jaxdistill import label_noise
from jaxdistill.condensation import Condensed
from jaxdistill.distillation import Result
from jaxdistill.fscil import Learned

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / 'launch' / 'colab').glob('*.ipynb'))


def read(path):
  return nbformat.read(path, as_version=4)


def code_cells(notebook, tag=None):
  return [
    cell
    for cell in notebook.cells
    if cell.cell_type == 'code' and (not tag or tag in cell.metadata.get('tags', ()))
  ]


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
class TestEveryNotebook:
  def test_is_stripped(self, path):
    notebook = read(path)
    nbformat.validate(notebook)
    full = [
      cell.id for cell in code_cells(notebook) if cell.outputs or cell.execution_count is not None
    ]
    assert not full, (
      f'Clear the outputs of {full}: jupyter nbconvert --clear-output --inplace '
      f'{path.relative_to(ROOT)}'
    )
    assert notebook.metadata.kernelspec.name == 'python3' and 'widgets' not in notebook.metadata

  def test_begins_with_the_installation_and_has_its_choices_in_one_cell(self, path):
    notebook = read(path)
    assert (
      notebook.cells[0].metadata.tags == ['install'] and 'pip install' in notebook.cells[0].source
    )
    (choices,) = code_cells(notebook, 'parameters')
    assert 'quick = False' in choices.source and '#@param' in choices.source

  def test_installs_what_it_is_told_or_the_checkout_around_it(self, path, tmp_path, monkeypatch):
    assert install(path, monkeypatch, tmp_path, 'git+https://example.org/x.git') == [
      'install --quiet "git+https://example.org/x.git"'
    ]
    assert install(path, monkeypatch, path.parent) == [f'install --quiet "{ROOT}"']
    with pytest.raises(SystemExit, match='Write in the field "source" where pip finds jaxdistill'):
      install(path, monkeypatch, tmp_path)
    monkeypatch.undo()
    assert install(path, monkeypatch, tmp_path, absent=False) == []


def install(path, monkeypatch, folder, source='', absent=True):
  """Runs the first cell in a folder, with jaxdistill absent or not; returns what it asked of
  pip."""
  monkeypatch.chdir(folder)
  asked = []
  if absent:
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  code = TransformerManager().transform_cell(
    read(path).cells[0].source.replace("source = ''", f'source = {source!r}')
  )
  values = {
    'get_ipython': lambda: types.SimpleNamespace(
      run_line_magic=lambda name, line: asked.append(expanded(line, values))
    )
  }
  exec(code, values)
  return asked


def expanded(line, values):
  """Puts variables in the place of {name}, as IPython does in a magic."""
  return line.format(**values)


def run_quickly(path, folder, monkeypatch, **choices):
  """Runs a whole notebook in a folder with `quick = True` and other choices; returns it with its
  outputs."""
  notebook = read(path)
  (cell,) = code_cells(notebook, 'parameters')
  for name, value in {'quick': True, **choices}.items():
    lines = [line for line in cell.source.splitlines() if line.startswith(f'{name} = ')]
    assert len(lines) == 1, f'{path.name} has no choice {name}'
    cell.source = cell.source.replace(lines[0], f'{name} = {value!r}')
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  for variable in ('IPYTHONDIR', 'JUPYTER_RUNTIME_DIR', 'JUPYTER_CONFIG_DIR'):
    monkeypatch.setenv(variable, str(folder / '.jupyter'))
  nbclient.NotebookClient(
    notebook, timeout=120, kernel_name='python3', resources={'metadata': {'path': str(folder)}}
  ).execute()
  return notebook


def shown(notebook, kind):
  """Returns the outputs of one kind (image/png, text/markdown, text/html)."""
  return [
    output.data[kind]
    for cell in code_cells(notebook)
    for output in cell.outputs
    if kind in output.get('data', {})
  ]


@pytest.mark.slow
def test_condense_your_own_images_runs_on_digits_without_a_network(tmp_path, monkeypatch):
  for variable in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.setenv(variable, 'http://127.0.0.1:9')
  notebook = run_quickly(
    ROOT / 'launch' / 'colab' / 'condense_your_own_images.ipynb', tmp_path, monkeypatch
  )
  assert len(shown(notebook, 'image/png')) == 2
  (table,) = shown(notebook, 'text/markdown')
  assert [line.split('|')[1].strip() for line in table.splitlines()] == [
    'Trained on',
    ':---',
    'condensed',
    'random real images',
  ]
  (chart,) = shown(notebook, 'text/html')
  assert '<svg' in chart and 'Matching loss' in chart
  made = Condensed.load(tmp_path / 'condensed.npz')
  assert made.dataset == 'digits' and made.method == 'm3d' and made.images.shape == (10, 16, 16, 1)
  assert list((tmp_path / 'runs').iterdir())[0].name.endswith('-quick')
  shutil.rmtree(tmp_path / '.jupyter', ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['digits', 'folder'])
def test_teach_new_classes_runs_on_digits_and_on_a_folder_of_pictures(kind, tmp_path, monkeypatch):
  for variable in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.setenv(variable, 'http://127.0.0.1:9')
  choices = {'draws': 2}
  if kind == 'folder':
    pictures_of_four_classes(tmp_path / 'photos')
    choices |= {'data': 'folder:photos', 'base_classes': 2, 'way': 1, 'shot': 2}
  path = ROOT / 'launch' / 'colab' / 'teach_new_classes_from_five_pictures.ipynb'
  notebook = run_quickly(path, tmp_path, monkeypatch, **choices)
  assert len(shown(notebook, 'image/png')) == 2
  (table,) = shown(notebook, 'text/markdown')
  assert table.splitlines()[2].startswith('| ncm |')
  (chart,) = shown(notebook, 'text/html')
  assert '<svg' in chart and 'new classes' in chart
  learned = Learned.load(tmp_path / 'classifier.msgpack')
  assert learned.task.num_classes == (10 if kind == 'digits' else 4)
  assert list((tmp_path / 'runs').glob('*-quick'))
  shutil.rmtree(tmp_path / '.jupyter', ignore_errors=True)


@pytest.mark.slow
def test_distil_a_student_runs_on_digits_without_a_network(tmp_path, monkeypatch):
  for variable in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.setenv(variable, 'http://127.0.0.1:9')
  path = ROOT / 'launch' / 'colab' / 'distil_a_small_fast_student.ipynb'
  notebook = run_quickly(path, tmp_path, monkeypatch, students=2)
  assert len(shown(notebook, 'image/png')) == 3
  (table,) = shown(notebook, 'text/markdown')
  assert [line.split('|')[1].strip() for line in table.splitlines()[2:]] == [
    'Teacher convnet',
    'Teacher convnet at 4 pixels',
    'Alone',
    'KD',
  ]
  assert 'Less alone' in table.splitlines()[0]
  (chart,) = shown(notebook, 'text/html')
  assert '<svg' in chart and 'Accuracy on test pictures' in chart
  result = Result.load(tmp_path / 'students.msgpack')
  assert result.accuracy.shape == (2,) and result.trained.built.low == 4
  (student,) = (tmp_path / 'runs').glob('*-quick-student')
  assert (student / 'predict.py').is_file()
  shutil.rmtree(tmp_path / '.jupyter', ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['digits', 'folder'])
def test_clean_your_crowds_labels_runs_on_digits_and_on_a_folder(kind, tmp_path, monkeypatch):
  for variable in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.setenv(variable, 'http://127.0.0.1:9')
  choices = {'networks': 2, 'method': 'crowd_layer'}
  if kind == 'folder':
    pictures_of_four_classes(tmp_path / 'photos')
    choices |= {'data': 'folder:photos', 'crowd_file': 'said.csv'}
    files = sorted((tmp_path / 'photos').rglob('*.png'))
    said = [f'{file.parent.name}/{file.name},ann,cat' for file in files]
    said += [f'{file.parent.name}/{file.name},bob,{file.parent.name}' for file in files]
    (tmp_path / 'said.csv').write_text('\n'.join(['task,worker,label', *said]))
  path = ROOT / 'launch' / 'colab' / 'clean_your_crowds_labels.ipynb'
  notebook = run_quickly(path, tmp_path, monkeypatch, **choices)
  assert len(shown(notebook, 'image/png')) == 1
  (table,) = shown(notebook, 'text/markdown')
  assert 'Test pictures right' in table
  assert ('Believed labels right' in table) == (kind == 'digits')
  header, *lines = (tmp_path / 'labels.csv').read_text().splitlines()
  assert header.startswith('example,given,believed') and lines
  assert len((tmp_path / 'annotators.csv').read_text().splitlines()) == (
    251 if kind == 'digits' else 3
  )
  result = label_noise.Result.load(tmp_path / 'classifier.msgpack')
  assert result.accuracy.shape == (2,) and len(result.learned) == len(lines)
  shutil.rmtree(tmp_path / '.jupyter', ignore_errors=True)


def pictures_of_four_classes(root):
  """A folder of pictures a class, each class of a colour of its own."""
  random = np.random.default_rng(0)
  for number, name in enumerate(('ant', 'bee', 'cat', 'dog')):
    (root / name).mkdir(parents=True)
    for count in range(8):
      pixels = random.integers(0, 80, (20, 20, 3)) + 40 * number
      PIL.Image.fromarray(pixels.astype(np.uint8)).save(root / name / f'{count}.png')
