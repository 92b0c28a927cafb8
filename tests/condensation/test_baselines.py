"""Baselines by name: which images they take, how they store them, and their place in a run."""

import functools
import json

import jax
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data, models
from jaxdistill.condensation import baselines, checks, embedding, sections, settings
from jaxdistill.condensation.tasks import condense as condense_task
from jaxdistill.data import augment, selection
from jaxdistill.errors import UserError
from jaxdistill.synthesis import decode
from jaxdistill.training import parallel, pretrained
from jaxdistill.training.features import embed
from jaxdistill.training.pretrained import Wanted
from jaxdistill.training.run import Run

SMALL = {
  'data.image_size': '8',
  'model.width': '4',
  'model.depth': '1',
  'condensation.batch_real': '4',
  'condensation.iterations': '2',
  'condensation.augmentation': '',
  'evaluation.networks': '1',
  'evaluation.steps': '2',
  'selection.steps': '3',
}


@pytest.fixture(scope='module')
def digits():
  return data.load('digits', image_size=8)[0]


@pytest.fixture(scope='module')
def features(digits):
  return digits.images.reshape(len(digits), -1).astype(np.float32)


@pytest.mark.parametrize('name', ['random', 'herding', 'kcenter', 'kmeans'])
def test_images_at_full_size_and_shrunk_into_cells(digits, features, name):
  full = baselines.make(name, digits, ipc=2, factor=2, features=features)
  picks = selection.select(
    name, features, digits.labels, 2, jax.random.fold_in(jax.random.key(0), 1)
  )
  assert full.factor == 1 and full.method == name and full.flip is False
  np.testing.assert_array_equal(full.images * 255, digits.images[picks.ravel()])
  np.testing.assert_array_equal(full.labels, np.repeat(np.arange(10), 2))

  mixed = baselines.make(f'{name}_mix', digits, ipc=2, factor=2, features=features)
  picks = selection.select(
    name, features, digits.labels, 8, jax.random.fold_in(jax.random.key(0), 1)
  )
  assert mixed.factor == 2 and len(mixed.images) == 20 and mixed.method == f'{name}_mix'
  shrunk = digits.images[picks[3]].astype(np.float32) / 255
  np.testing.assert_array_equal(mixed.images[6:8], decode.mix(shrunk, 2))
  np.testing.assert_array_equal(
    mixed.images[7, :4, 4:], shrunk[3, ::2, ::2]
  )  # cell 1 of canvas 1 holds pick 1 * 2 + 1


def test_mix_is_the_random_mix_and_whole_is_the_set_itself(digits):
  mixes = [
    baselines.make(name, digits, ipc=1, factor=2, seed=5).images for name in ('mix', 'random_mix')
  ]
  np.testing.assert_array_equal(*mixes)
  assert not np.array_equal(mixes[0], baselines.make('mix', digits, ipc=1, factor=2).images)
  assert baselines.make('whole', digits, ipc=1) is digits


@pytest.mark.parametrize(
  'name, options, message',
  [
    ('herdng', {}, "no baseline 'herdng'; did you mean 'herding'"),
    ('herding', {}, 'compares features, and none were given'),
    ('mix', dict(ipc=40, factor=2), '160 images a class cannot be selected: class'),
  ],
)
def test_what_cannot_be_made_is_refused(digits, name, options, message):
  with pytest.raises(UserError, match=message):
    baselines.make(name, digits, **(dict(ipc=1) | options))


def test_embedding_equals_one_call_on_all_images(digits):
  model = models.build({'name': 'convnet', 'width': 4, 'depth': 1}, 10, (8, 8, 1))
  variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
  few = digits.take(range(7))
  shown = augment.normalise(few.images, few.mean, few.std)
  _, whole = jax.jit(functools.partial(model.apply, train=False))(variables, shown)
  found = embed(model, variables, few, batch=3)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, whole['embedding'], rtol=1e-5, atol=1e-6)
  # Of two batches of four on four devices the second is filled up.
  spread = embed(model, variables, few, batch=3, mesh=parallel.make_mesh(4))
  np.testing.assert_allclose(spread, found, rtol=1e-5, atol=1e-6)


def small(method, **overrides):
  config = configs.load(f'{method}:digits,factor=2,model=mlp')
  for key, value in (SMALL | overrides).items():
    configs.override(config, key, value)
  checks.check(config)
  return config


@pytest.mark.slow
def test_a_run_keeps_what_its_baselines_picked_and_looks_only_once(tmp_path, capsys):
  config = small('m3d', **{'evaluation.baselines': 'herding_mix'})

  def start():
    with Run(tmp_path / 'run', config, progress=False) as work:
      return condense_task.run(config, work)['rows'], capsys.readouterr().out

  def is_ready():
    with Run(tmp_path / 'other', config, progress=False) as other:
      return pretrained.are_kept(
        pretrained.directory(other),
        models.build(config.model, 10, (8, 8, 1)),
        settings.datasets(config)[0],
        wanted(config),
        seed=config.seed,
      )

  assert not is_ready()
  rows, told = start()
  assert is_ready()
  assert [(row['name'], row['label'], row['training_images']) for row in rows[1:]] == [
    ('herding_mix', 'Herding, shrunk', 40)
  ]
  assert (
    'Embedding 1,295 images' in told and 'experts' in told
  )  # its training is part of the estimate

  train, _, _ = settings.datasets(config)
  model = models.build(config.model, 10, (8, 8, 1))
  with Run(progress=False) as memory:
    trained = pretrained.train(
      memory, model, train, Wanted(1, epochs=10, steps=3), directory=tmp_path / 'experts'
    )
    assert not memory.timing('experts')  # found where the run left it
  features = embed(model, jax.tree.map(lambda a: a[0], trained.final), train)
  kept = json.loads((tmp_path / 'run' / 'results' / 'selection' / 'herding_mix.json').read_text())[
    'result'
  ]
  assert kept == selection.select('herding', features, train.labels, 4, jax.random.key(0)).tolist()

  again, told = start()
  assert again == rows and 'Embedding' not in told


def seen(config, pool=()):
  """The features of a config, and whether a network was trained for them."""
  train, _, _ = settings.datasets(config)
  with Run(progress=False) as work:
    features = embedding.embed(
      sections.of_config(config).selection,
      train,
      models.build(config.model, 10, (8, 8, 1)),
      work,
      seed=config.seed,
      pool=pool,
    )
    return features, bool(work.timing('experts'))


def wanted(config):
  fields = sections.of_config(config)
  return fields.selection.wants(fields.evaluation.baselines)


def test_experts_of_the_method_are_used_where_there_are_some(digits):
  config = small('dance', **{'evaluation.baselines': 'herding', 'method.experts': '2'})
  model = models.build(config.model, 10, (8, 8, 1))
  init = jax.jit(jax.vmap(lambda key: model.init(key, np.zeros((1, 8, 8, 1), np.float32))))
  pool = pretrained.Pool(
    *(init(jax.random.split(jax.random.key(number), 2)) for number in range(2))
  )
  features, trained = seen(config, pool)
  train, _, _ = settings.datasets(config)
  assert not trained
  np.testing.assert_array_equal(
    features, embed(model, jax.tree.map(lambda a: a[0], pool.final), train)
  )


def test_a_random_network_is_not_trained_and_follows_the_seed():
  config = small('m3d', **{'evaluation.baselines': 'kcenter', 'selection.network': 'random'})
  features, trained = seen(config)
  assert not trained and wanted(config) is None
  config.seed = 1
  assert not np.allclose(features, seen(config)[0])


def test_random_baselines_need_no_network():
  config = small('m3d')
  assert wanted(config) is None


def test_without_cells_a_mix_is_a_row_of_its_own_only_where_the_full_size_is_not_asked_for(
  digits, features
):
  config = configs.load('m3d:digits')
  blank = baselines.make('random', digits, ipc=1)

  def names(*wanted):
    config.evaluation.baselines = wanted
    return [
      contestant.name
      for contestant in condense_task.contestants(
        sections.of_config(config),
        digits,
        blank,
        blank,
        lambda name: baselines.pick(name, digits, ipc=1, features=features),
      )
    ][1:]

  assert names('random', 'mix', 'whole') == ['random', 'whole']
  assert names('herding_mix', 'kmeans', 'kmeans_mix') == ['herding_mix', 'kmeans']
  assert names('mix') == ['mix']
