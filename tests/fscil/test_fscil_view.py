"""Behind base training every image is seen under one view, the zoomed crop of the test; and what is
kept of images is known by all that decides it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import patterns
import pytest
from patterns import CLASSES

import jaxdistill
from jaxdistill import config as configs
from jaxdistill import models
from jaxdistill.data import Dataset, augment
from jaxdistill.data.crops import CentreCrop
from jaxdistill.data.examples import Examples
from jaxdistill.fscil import base, ddm, features, flow, methods, recipes, running, sections
from jaxdistill.fscil import stage as stages
from jaxdistill.fscil import weights as given
from jaxdistill.fscil.learner import Start
from jaxdistill.fscil.scoring import Numbers
from jaxdistill.models import weights
from jaxdistill.training.run import Run

SPLIT = dict(base_classes=2, way=2, shot=3, draws=1, model='mlp')
VIEW, ZOOM = CentreCrop(8, resize=14), {'base_training.zoom': 14}
LEARNERS_OF_IMAGES = [('finetune', {}), ('joint', {'method.reads': 'images'})]


def whole_run(method, workdir, **overrides):
  train, test = patterns.train_and_test()
  overrides = {**patterns.SMALL, **ZOOM, **overrides}
  return jaxdistill.fscil.run(method, train, test, workdir=workdir, overrides=overrides, **SPLIT)


def stage_of(method, **overrides):
  train, test = patterns.train_and_test()
  config = configs.load(f'fscil/{method}', {'data': '', **SPLIT})
  config.data.name = train.name
  for key, value in {**patterns.SMALL, **overrides}.items():
    configs.override(config, key, value)
  return stages.stage(sections.of_config(config), train, test, None)


def given_networks(stage):
  """One base network with the cosine head, by a key that does not tell how it sees images."""
  model = stage.network('cosine')
  variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
  return base.Bases(model, jax.tree.map(lambda leaf: leaf[None], variables), 'a1', {})


@pytest.mark.parametrize('method, fields', LEARNERS_OF_IMAGES)
def test_learners_of_images_see_them_as_frozen_encoders_do(method, fields):
  stage = stage_of(method, **ZOOM, **fields)
  task, networks, images = stage.task('cosine'), given_networks(stage), stage.sessions.test
  expected = features.encode(networks.model, networks.variables, images, view=VIEW)[0]
  learner = methods.make(task, stage.fields.method)
  means = np.zeros((CLASSES, task.dim), np.float32)
  one = jax.tree.map(lambda leaf: leaf[0], networks.variables)
  state = learner.start(None, Start(None, means, np.zeros(CLASSES, int), one))
  np.testing.assert_allclose(learner.embed(state, images.images), expected, atol=1e-5)
  # Synthetic images of a memory, which are learned through the learner.
  own = {'state': state, 'seen': np.ones(CLASSES, bool)}
  normal = augment.normalise(images.images, task.mean, task.std)
  _, responses = ddm.Model(learner, task).apply({'shared': (), 'own': own}, normal)
  np.testing.assert_allclose(responses['projected'], expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('method, fields', LEARNERS_OF_IMAGES)
def test_a_learner_of_images_that_stands_still_is_ncm(method, fields, tmp_path):
  """In its sessions, by the nearest class mean, and as a classifier that is saved."""
  _, test = patterns.train_and_test()
  ncm = whole_run('ncm', tmp_path / 'ncm')
  still = {'method.steps': 1, 'method.learning_rate': 1e-12, **fields}
  other = whole_run(method, tmp_path / method, **still)
  logits = other.learner.logits(test.images)
  np.testing.assert_allclose(logits, ncm.learner.logits(test.images), atol=1e-3)
  np.testing.assert_array_equal(other.numbers.nearest, ncm.numbers.nearest)
  np.testing.assert_array_equal(other.numbers.confusions, ncm.numbers.confusions)


def test_checks_of_base_training_are_scored_under_the_view():
  rng = np.random.default_rng(0)
  pixels, labels = rng.integers(0, 256, (200, 8, 8, 1), np.uint8), rng.integers(0, 3, 200)
  images = Dataset(pixels, labels, tuple('abc'), mean=(0.5,), std=(0.3,))
  encoder = models.build({'name': 'mlp', 'width': 8, 'depth': 1}, 5, (8, 8, 1))
  network, scored = base.network(encoder, 'cosine', 5), {'test': Examples.of(images)}
  recipe = dataclasses.replace(recipes.find('digits'), transforms=())
  plain = base.Training(recipe, steps=2, checks=1, select='best_test')
  zoomed = dataclasses.replace(plain, view=VIEW)
  with Run(progress=False) as run:
    ended = base.train(run, network, images, zoomed, 5, scored=scored)
  variables = jax.tree.map(lambda leaf: leaf[0], ended.variables)
  normal = augment.normalise(pixels, images.mean, images.std)
  accuracies = []
  for seen in (VIEW(None, normal), normal):
    logits, _ = network.apply(variables, seen)
    accuracies.append((np.asarray(logits)[:, :3].argmax(1) == labels).mean())
  assert ended.checks['test'] == pytest.approx(accuracies[0]) != pytest.approx(accuracies[1])
  names = [base.identity(network, images, how, 5, scored) for how in (plain, zoomed)]
  assert names[0] != names[1] == ended.key


def test_a_run_zooms_the_checks_of_base_training_and_all_that_learners_see():
  stage = stage_of('finetune', **ZOOM)
  assert stage.view == stage.training.view == stage.task('cosine').view == VIEW
  assert stage_of('finetune').task('cosine').view is None


# What is kept.


def test_a_head_that_was_fitted_to_zoomed_features_is_not_read_for_others(tmp_path):
  fitted = []
  for zoom in (14, 0):
    stage = stage_of('pki', **{'base_training.zoom': zoom})
    with Run(tmp_path / f'{len(fitted)}', progress=False, tensorboard=False) as run:
      networks = given_networks(stage)
      seen = flow.see(run, stage, networks)
      headed = flow.with_head(run, stage, networks, seen, 'linear')
    fitted.append(headed.variables['params']['head']['classifier']['kernel'])
  assert np.abs(fitted[0] - fitted[1]).max() > 1e-6


def row_key(method, **overrides):
  stage = stage_of(method, **overrides)
  networks, confusions = given_networks(stage), np.ones((1, 3, 6, 6), int)
  one = np.zeros(1, int)
  numbers = Numbers(
    (2, 2, 2), confusions, confusions, one, one, np.ones(2), np.ones((1, 3), int), 8.0
  )
  with Run(progress=False) as run:
    seen = flow.see(run, stage, networks)
  (row,) = running.rows(stage, running.Ran(networks, seen.key, {method: numbers}, {}))
  return row.key


def test_rows_are_known_by_how_images_are_seen_and_heads_are_fitted():
  fit, rate = {'base_training.fit_epochs': 3}, {'base_training.fit_learning_rate': 0.01}
  assert len({row_key('pki', **changes) for changes in ({}, ZOOM, fit, rate)}) == 4
  # NCM takes features alone: it asks for no head.
  assert row_key('ncm', **fit) == row_key('ncm') != row_key('ncm', **ZOOM)


def test_the_same_weights_in_another_network_are_not_the_same_networks(tmp_path):
  train, _ = patterns.train_and_test()
  fields = {'name': 'mae_vit', 'width': 8, 'depth': 1}
  mean, cls = (
    base.network(models.build({**fields, 'pool': pool}, 6, train.image_shape), 'cosine', 6)
    for pool in ('mean', 'cls')
  )
  variables = jax.jit(mean.init)(jax.random.key(0), jnp.zeros((1, *train.image_shape)))
  path = tmp_path / 'vit.safetensors'
  weights.save(path, mean, variables)
  read = lambda network, count=1: given.read(str(path), network, 'cosine', train, count)
  np.testing.assert_array_equal(*(jax.tree.leaves(read(one).variables)[0] for one in (mean, cls)))
  keys = {read(mean).key, read(cls).key, read(mean, 2).key}
  assert len(keys) == 3 and read(mean).key in keys
