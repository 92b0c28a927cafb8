"""Condensing from images on disk: the same bits as from images on the device, also after a stop, on
one device and on four."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from jaxdistill import config as configs
from jaxdistill import data, losses, models
from jaxdistill.condensation import checks, methods, problem, settings
from jaxdistill.condensation.problem import Condensing
from jaxdistill.condensation.tasks import condense as condense_task
from jaxdistill.data import samplers, streaming, subsets
from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.synthesis import engine
from jaxdistill.training import classifier, loop, machine, parallel, pretrained
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run

CLASSES = 10


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Twelve digits a class as PNG files for training, two for testing."""
  root = tmp_path_factory.mktemp('digits')
  train, test = data.load('digits', image_size=8)
  for split, images, count in (('train', train, 12), ('test', test, 2)):
    for label in range(CLASSES):
      (root / split / str(label)).mkdir(parents=True)
      for number, position in enumerate(images.of_class(label)[:count]):
        PIL.Image.fromarray(images.images[position, :, :, 0]).save(
          root / split / str(label) / f'{number:02}.png'
        )
  return f'folder:{root}'


def config(folder, stream, spec='m3d:digits', **overrides):
  loaded = configs.load(f'{spec},factor=2')
  small = {
    'data.name': folder,
    'data.image_size': '8',
    'data.stream': stream,
    'model.width': '4',
    'model.depth': '1',
    'condensation.batch_real': '5',
    'condensation.iterations': '6',
    'condensation.augmentation': 'color',
  }
  for key, value in (small | overrides).items():
    configs.override(loaded, key, value)
  return loaded


@functools.cache
def condensed(folder, stream, spec):
  experts = {'method.expert_steps': '3', 'method.experts': '2'} if 'dance' in spec else {}
  chosen = config(folder, stream, spec, **experts)
  train, _, _ = settings.datasets(chosen)
  with Run(progress=False) as quiet:
    return train, condense(chosen, train, quiet).images


def condense(chosen, train, run):
  condensing = Condensing.of_config(chosen)
  wanted = methods.wants(condensing.method)
  pool = pretrained.train(run, condensing.network(train), train, wanted, seed=condensing.seed)
  return problem.condense(condensing, train, problem.setup(condensing, train, pool=pool), run)[0]


@pytest.mark.usefixtures('trainings_of_users')
@pytest.mark.parametrize(
  'spec', ['m3d:digits', pytest.param('dance:digits,model=mlp', marks=pytest.mark.slow)]
)
def test_streamed_condensation_has_the_bits_of_the_loaded_one(folder, spec):
  (loaded, expected), (streamed, images) = (
    condensed(folder, stream, spec) for stream in ('off', 'on')
  )
  assert isinstance(streamed.images, streaming.Streamed) and isinstance(loaded.images, np.ndarray)
  np.testing.assert_array_equal(images, expected)


class Crash(Exception):
  pass


def test_stopped_and_started_again_it_ends_with_the_same_bits(folder, tmp_path):
  _, expected = condensed(folder, 'off', 'm3d:digits')
  chosen = config(folder, 'on')
  train, _, _ = settings.datasets(chosen)

  def crash(state):
    raise Crash

  with Run(tmp_path, chosen, progress=False, checkpoint_every=2) as stopped, pytest.raises(Crash):
    ready = problem.setup(Condensing.of_config(chosen), train)
    loop.fit(
      stopped,
      'condense',
      dataclasses.replace(ready, num_steps=6),
      evaluate=loop.Evaluation(crash, 5),
    )
  with Run(tmp_path, chosen, progress=False, checkpoint_every=2) as again:
    assert again.checkpoints('condense').steps()[-1] == 4
    resumed = condense(chosen, train, again)
  np.testing.assert_array_equal(resumed.images, expected)


def test_four_devices_read_their_classes_and_draw_as_one_does(folder):
  streamed, loaded = (settings.datasets(config(folder, stream))[0] for stream in ('on', 'off'))
  small = {'name': 'convnet', 'width': 4, 'depth': 1, 'norm': 'none'}
  model = models.build(small, CLASSES, streamed.image_shape)
  numbers = engine.Settings(ipc=1, batch_real=5)
  plugs = engine.Plugs(
    engine.fresh_networks(model, streamed.image_shape, 1), losses.mean_discrepancy
  )
  mesh, canvases = parallel.make_mesh(4), np.zeros((CLASSES, 1, 8, 8, 1), np.float32)
  functions = engine.make(
    plugs, numbers, model, num_classes=CLASSES, mean=(0.5,), std=(0.5,), mesh=mesh
  )
  state = engine.start(functions, jax.random.key_data(jax.random.key(3)), canvases, mesh)
  source = engine.source(
    functions, state, 3, *samplers.class_major(streamed), mesh, pool={'w': jnp.ones(2)}
  )
  feed = source.feed(None, 0, 3)
  first = feed.take()
  assert len(first['images'].sharding.device_set) == 4 and first['images'].shape == (12, 5, 8, 8, 1)
  assert first['pool']['w'].is_fully_replicated
  whole = engine.source(
    functions, state, 3, *samplers.class_major(loaded), mesh, pool={'w': jnp.ones(2)}
  )
  sample = jax.jit(whole.sample)
  for step in range(3):
    batch = feed.take()
    expected = sample(whole.data, loop.program.sampling_key(state.key), jnp.int32(step))
    jax.tree.map(np.testing.assert_array_equal, batch, expected)
    feed.prepare(step + 1)


@pytest.mark.usefixtures('trainings_of_users')
@pytest.mark.parametrize('devices', [1, pytest.param(4, marks=pytest.mark.slow)])
def test_streamed_training_has_the_bits_of_the_loaded_one(folder, devices):
  recipe = Recipe('small', batch=32, epochs=1, strategy='color')
  model = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, CLASSES, (8, 8, 1))
  ends = []
  for stream in ('on', 'off'):
    train, _, _ = settings.datasets(config(folder, stream))
    made = classifier.setup(
      model,
      Examples.of(train),
      recipe,
      networks=2,
      mesh=parallel.make_mesh(devices),
    )
    with Run(progress=False) as quiet:
      ends.append(loop.fit(quiet, 'train', made))
  assert isinstance(made.source, loop.ArraySource) and int(ends[0].step) == 4
  jax.tree.map(np.testing.assert_array_equal, *(end.variables for end in ends))


def test_experts_of_streamed_images_are_found_again(folder):
  streamed, loaded = (settings.datasets(config(folder, stream))[0] for stream in ('on', 'off'))
  model = models.build('mlp', CLASSES, (8, 8, 1))
  names = [
    pretrained.identity(model, each, pretrained.Wanted(2))
    for each in (streamed, streamed, loaded, streamed.take(range(90)))
  ]
  assert names[0] == names[1] and len(set(names)) == 3


def test_auto_streams_what_takes_more_than_its_share_of_the_memory(folder, monkeypatch):
  size = 108 * 64  # the training images without the validation share
  for memory, on_disk in ((size * 3, True), (size * 4, False)):
    monkeypatch.setattr(machine, 'memory_bytes', lambda memory=memory: memory)
    train, _, _ = settings.datasets(config(folder, 'auto', **{'data.validation_share': '0'}))
    assert isinstance(train.images, streaming.Streamed) == on_disk
  with pytest.raises(UserError, match="no data.stream 'onn'; did you mean 'on'"):
    checks.check_values(config(folder, 'onn'))


@pytest.mark.slow
def test_a_run_on_a_subset_of_imagenet_streams_through_every_phase(tmp_path):
  """The shipped config, with networks and images made small."""
  random = np.random.default_rng(0)
  for split, count in (('train', 4), ('val', 1)):
    for name in [*subsets.names('woof'), 'n00000001']:
      (tmp_path / split / name).mkdir(parents=True)
      for number in range(count):
        pixels = random.integers(0, 256, (20, 26, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / split / name / f'{number}.JPEG')
  chosen = configs.load(f'm3d:imagenet:{tmp_path},classes=woof,model=mlp,quick')
  small = {
    'data.image_size': '8',
    'data.stream': 'on',
    'condensation.iterations': '2',
    'condensation.augmentation': 'color',
    'evaluation.networks': '1',
    'evaluation.steps': '2',
    'evaluation.every': '2',
    'evaluation.baselines': 'whole',
  }
  for key, value in small.items():
    configs.override(chosen, key, value)
  checks.check(chosen)
  with Run(tmp_path / 'run', chosen, progress=False) as work:
    result = condense_task.run(chosen, work)
  assert [row['name'] for row in result['rows']] == ['m3d', 'whole']
  assert result['rows'][1]['training_images'] == 40
  assert 'n02096294' in (tmp_path / 'run' / 'report.html').read_text()
