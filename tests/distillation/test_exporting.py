"""An exported network: the folder, and that it runs with jax alone, elsewhere, on any number of
images."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax import export as jax_export
from PIL import Image

from jaxdistill import models
from jaxdistill.data import augment, crops
from jaxdistill.data import pictures as read_pictures
from jaxdistill.distillation import exporting, standalone
from jaxdistill.errors import UserError
from jaxdistill.models import safetensors
from jaxdistill.training import portable

SHAPE = (8, 8, 3)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
NAMES = ('ant', 'bee', 'gnät')
VIEW = crops.Resize(4)


@pytest.fixture(scope='module')
def student():
  """A network of 4x4 images with running statistics of its own, and its weights."""
  network = models.build(
    {'name': 'convnet', 'width': 4, 'depth': 1, 'norm': 'batch'}, len(NAMES), (4, 4, 3)
  )
  variables = network.init(jax.random.key(1), jnp.zeros((1, 4, 4, 3)), train=False)
  noise = np.random.default_rng(0)
  moved = lambda leaf: jnp.asarray(leaf + noise.uniform(0.1, 0.5, leaf.shape).astype(np.float32))
  return network, jax.tree.map(moved, dict(variables))


@pytest.fixture(scope='module')
def folder(student, tmp_path_factory):
  return exporting.export(
    tmp_path_factory.mktemp('export') / 'student',
    *student,
    image_shape=SHAPE,
    mean=MEAN,
    std=STD,
    class_names=NAMES,
    view=VIEW,
    description={'method': 'kd', 'seed': 3},
  )


def expected(student, images):
  network, variables = student
  unit = jnp.asarray(images, jnp.float32) / (255 if images.dtype == np.uint8 else 1)
  seen = augment.normalise(VIEW(None, unit), MEAN, STD)
  return np.asarray(network.apply(variables, seen, train=False)[0])


def test_it_runs_elsewhere_with_jax_alone(student, folder, tmp_path):
  rng = np.random.default_rng(2)
  whole = rng.integers(0, 256, (5, *SHAPE), np.uint8)
  unit = rng.uniform(size=(2, *SHAPE)).astype(np.float32)
  np.savez(tmp_path / 'images.npz', whole=whole, unit=unit)
  code = f"""
import sys
sys.path.insert(0, {str(folder)!r})
import numpy as np, predict
classify, description = predict.load()
images = np.load({str(tmp_path / 'images.npz')!r})
np.savez({str(tmp_path / 'logits.npz')!r}, **{{name: classify(images[name]) for name in images}})
try:
  classify(np.zeros((1, 4, 4, 3), np.uint8))
except ValueError as error:
  print(error)
print([name for name in ('jaxdistill', 'flax', 'safetensors') if name in sys.modules])
"""
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  refusal, imported = done.stdout.splitlines()
  assert imported == '[]'
  assert refusal.startswith('This classifier takes uint8 images') and '[1, 4, 4, 3]' in refusal
  logits = np.load(tmp_path / 'logits.npz')
  for name, images in (('whole', whole), ('unit', unit)):
    np.testing.assert_allclose(logits[name], expected(student, images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('dtype', ['uint16', 'uint32', 'int64', 'bool'])
def test_whole_numbers_other_than_uint8_are_refused(folder, dtype):
  classify, _ = standalone.load(folder)
  with pytest.raises(ValueError, match=f'takes uint8 images, or floats in .* got {dtype}'):
    classify(np.ones((1, *SHAPE), dtype))


def pictures(folder):
  """Pictures that can be read in several ways, by their names."""
  rng = np.random.default_rng(5)
  pixels = lambda *shape: rng.integers(0, 256, shape, np.uint8)
  grey = Image.fromarray(pixels(9, 21))
  turned = Image.Exif()
  turned[274] = 6
  made = {
    'wide': (Image.fromarray(pixels(9, 21, 3)), {}),
    'long': (Image.fromarray(pixels(700, 9, 3)), {}),
    'tall': (Image.fromarray(pixels(40, 13, 3)), {}),
    'transparent': (Image.fromarray(pixels(12, 12, 4)), {}),
    'see_through_grey': (grey, {'transparency': int(grey.getpixel((3, 3)))}),
    'two_bits': (grey.point(lambda value: value // 64).convert('P'), {'bits': 2}),
    'turned': (Image.fromarray(pixels(9, 21, 3)), {'exif': turned}),
    'same': (Image.fromarray(pixels(8, 8, 3)), {}),
  }
  for name, (picture, options) in made.items():
    picture.save(folder / f'{name}.png', **options)
  return [folder / f'{name}.png' for name in made]


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_pictures_are_read_as_the_library_reads_them(channels, tmp_path):
  for path in pictures(tmp_path):
    shape = (8, 8, channels)
    expected = read_pictures.read('here', path, shape)
    np.testing.assert_array_equal(
      standalone._read_picture(path, shape), expected, err_msg=path.stem
    )


def test_pictures_that_the_library_refuses_are_refused(tmp_path):
  Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / 'deep.png')
  Image.new('RGB', (9, 8)).save(tmp_path / 'other.png')
  for name, shape, message in (
    ('deep', (8, 8, 1), 'more than 8 bits a channel'),
    ('other', (8, 12, 3), 'is of 8x9 pixels'),
  ):
    path = tmp_path / f'{name}.png'
    with pytest.raises(UserError, match=message):
      read_pictures.read('here', path, shape)
    with pytest.raises(ValueError, match=message):
      standalone._read_picture(path, shape)


def test_one_program_serves_all_platforms_and_any_number(folder):
  program = jax_export.deserialize(bytearray((folder / exporting.PROGRAM).read_bytes()))
  assert program.platforms == portable.PLATFORMS
  images = program.in_avals[-1]
  assert images.shape[1:] == SHAPE and images.dtype == np.float32
  assert not isinstance(images.shape[0], int)
  assert program.out_avals[0].shape[1:] == (3,)


def test_the_folder_holds_the_student_and_says_what_it_is(student, folder):
  _, variables = student
  assert {path.name for path in folder.iterdir()} == {
    'classifier.stablehlo',
    'weights.safetensors',
    'classifier.json',
    'predict.py',
  }
  arrays = safetensors.read(folder / exporting.WEIGHTS)
  assert len(arrays) == len(jax.tree.leaves(variables))
  kernel = variables['params']['classifier']['kernel']
  np.testing.assert_array_equal(arrays['params/classifier/kernel'], kernel)
  content = json.loads((folder / exporting.DESCRIPTION).read_text('utf-8'))
  assert content['class_names'] == list(NAMES)
  assert content['image_shape'] == [8, 8, 3] and content['seen_shape'] == [4, 4, 3]
  assert content['mean'] == list(MEAN) and content['std'] == list(STD)
  assert content['description'] == {'method': 'kd', 'seed': 3}
  assert content['parameters'] == sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
  assert content['versions']['jax'] == jax.__version__


def test_its_weights_are_not_in_the_program(folder):
  # Of the same size whatever the weights are: others of the same student can take their place.
  assert len((folder / exporting.PROGRAM).read_bytes()) < 60_000


def test_what_is_not_the_networks_is_refused(student, folder, tmp_path):
  network, variables = student
  options = dict(image_shape=SHAPE, mean=MEAN, std=STD, class_names=NAMES, view=VIEW)
  adapter = variables | {'params': variables['params'] | {'adapter': {'kernel': jnp.zeros((2, 2))}}}
  with pytest.raises(
    UserError, match=r'params/adapter/kernel is of shape \(2, 2\), in the network'
  ):
    exporting.export(tmp_path / 'a', network, adapter, **options)
  several = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), variables)
  with pytest.raises(UserError, match='not those of the network alone'):
    exporting.export(tmp_path / 'a', network, several, **options)
  with pytest.raises(UserError, match='3 classes, and 2 names'):
    exporting.export(tmp_path / 'a', network, variables, **options | {'class_names': ('a', 'b')})
  with pytest.raises(UserError, match='exists already'):
    exporting.export(folder, network, variables, **options)
  assert not list(tmp_path.iterdir())


def test_pictures_are_classified_from_the_command_line(folder, tmp_path):
  Image.new('RGB', (30, 20), (200, 10, 90)).save(tmp_path / 'one.png')
  done = subprocess.run(
    [sys.executable, str(folder / 'predict.py'), 'one.png'],
    capture_output=True,
    text=True,
    cwd=tmp_path,
  )
  assert done.returncode == 0, done.stderr
  name, share = done.stdout.removeprefix('one.png: ').split(' (')
  assert name in NAMES and 33 < float(share.split()[0]) <= 100


def test_layers_with_forms_of_their_own_on_cpus_answer_alike():
  network = models.build({'name': 'resnet', 'depth': 8, 'width': 4}, 3, (16, 16, 3))
  variables = network.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)
  weights = traverse_util.flatten_dict(dict(variables), sep='/')
  program = exporting.program_of(network, weights, (16, 16, 3), lambda images: images - 0.5)
  images = np.random.default_rng(0).uniform(size=(3, 16, 16, 3)).astype(np.float32)
  answers = jax.jit(jax_export.deserialize(bytearray(program)).call)(weights, images)
  whole = jax.jit(lambda variables, images: network.apply(variables, images, train=False)[0])
  np.testing.assert_allclose(answers, whole(variables, images - 0.5), atol=1e-5, rtol=1e-5)
