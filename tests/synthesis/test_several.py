"""Condensations side by side: each run is what it is alone; and real data given as features."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import losses
from jaxdistill.errors import UserError
from jaxdistill.synthesis import engine, several
from jaxdistill.training import loop, parallel
from jaxdistill.training.run import Run

RUNS, CLASSES, REAL, SHAPE, STEPS = 3, 2, 5, (8, 8, 1), 4
MEAN, STD = (0.4,), (0.3,)
KEY = jax.random.key_data(jax.random.key(3))
SETTINGS = engine.Settings(
  ipc=2, batch_real=3, learning_rate=0.5, order='joint', space='normalised', augmentation=''
)
PLUGS = engine.Plugs(engine.constant_network, losses.mean_discrepancy)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (RUNS, CLASSES, REAL, *SHAPE)).astype(np.uint8)
COUNTS = np.full((RUNS, CLASSES), REAL)
CANVASES = RNG.random((RUNS, CLASSES, 2, *SHAPE), np.float32)
NUMBERS = np.array([[0, 1], [0, 1], [5, 4]])
ENCODER = RNG.normal(size=(64, 16)).astype(np.float32) / 8
HEADS = RNG.normal(size=(RUNS, 16, 3)).astype(np.float32)


class Headed:
  """A shared encoder and a head a run."""

  def apply(self, variables, images):
    embedding = jnp.tanh(images.reshape(len(images), -1) @ variables['shared'])
    return embedding @ variables['own'], {'embedding': embedding}


def together(settings=SETTINGS, mesh=None, images=IMAGES, counts=COUNTS):
  return several.setup(
    PLUGS,
    dataclasses.replace(settings, feature='logits'),
    Headed(),
    images,
    counts,
    CANVASES,
    shared=ENCODER,
    own=HEADS,
    mean=MEAN,
    std=STD,
    iterations=STEPS,
    key=KEY,
    numbers=NUMBERS,
    mesh=mesh,
  )


def alone(run, settings=SETTINGS):
  functions = engine.make(
    PLUGS,
    dataclasses.replace(settings, feature='logits'),
    Headed(),
    num_classes=CLASSES,
    mean=MEAN,
    std=STD,
    smallest=REAL,
  )
  state = engine.start(functions, KEY, CANVASES[run])
  pool = {'shared': ENCODER, 'own': HEADS[run]}
  source = engine.source(
    functions, state, STEPS, IMAGES[run], COUNTS[run], None, pool, NUMBERS[run]
  )
  return engine.problem.Problem(functions.step, state, source, STEPS)


def fitted(problem):
  with Run(progress=False, log_every=1) as run:
    state = loop.fit(run, 'learn', problem)
    losses_of = [line['loss'] for line in run.curve('learn')]
  return np.asarray(parallel.gather(state.images)), losses_of


def test_every_run_is_what_it_is_alone():
  images, mean_losses = fitted(together())
  apart = [fitted(alone(run)) for run in range(RUNS)]
  for run, (expected, _) in enumerate(apart):
    assert np.abs(expected - (CANVASES[run] - MEAN[0]) / STD[0]).max() > 1e-3
    np.testing.assert_allclose(images[run], expected, atol=1e-5)
  expected = np.mean([one_losses for _, one_losses in apart], axis=0)
  np.testing.assert_allclose(mean_losses, expected, rtol=1e-4)


def test_four_devices_learn_what_one_does():
  one, losses_of = fitted(together())
  four, others = fitted(together(mesh=parallel.make_mesh(4)))
  np.testing.assert_allclose(four[:RUNS], one, atol=1e-5)
  np.testing.assert_allclose(others, losses_of, rtol=1e-5)


def test_features_of_the_real_images_stand_for_them():
  """With all of them in every iteration, so that nothing is drawn."""
  settings = dataclasses.replace(SETTINGS, batch_real=REAL)
  normalised = (IMAGES / 255 - MEAN[0]) / STD[0]
  flat = jnp.asarray(normalised, jnp.float32).reshape(RUNS, -1, *SHAPE)
  answer = jax.jit(lambda own, x: Headed().apply({'shared': ENCODER, 'own': own}, x)[0])
  features = [np.asarray(answer(HEADS[run], flat[run])) for run in range(RUNS)]
  features = np.stack(features).reshape(RUNS, CLASSES, REAL, -1)
  expected, _ = fitted(together(settings))
  given = dataclasses.replace(settings, real='features')
  images, _ = fitted(together(given, images=features))
  np.testing.assert_allclose(images, expected, atol=1e-5)


def test_a_run_with_fewer_images_weighs_them():
  counts = COUNTS.copy()
  counts[1, 0] = 1
  settings = dataclasses.replace(SETTINGS, batch_real=REAL)
  images, _ = fitted(together(settings, counts=counts))
  poisoned = IMAGES.copy()
  poisoned[1, 0, 1:] = 255
  again, _ = fitted(together(settings, counts=counts, images=poisoned))
  np.testing.assert_array_equal(images, again)


def test_normalised_canvases_can_be_clamped_to_the_range_of_images():
  settings = dataclasses.replace(SETTINGS, learning_rate=0.0)
  black, white = ((value - MEAN[0]) / STD[0] for value in (0, 1))
  for clamped in (False, True):
    problem = together(dataclasses.replace(settings, clamped=clamped))
    beyond = 9 * problem.state.images
    images, _ = fitted(dataclasses.replace(problem, state=problem.state.replace(images=beyond)))
    expected = np.clip(beyond, black, white) if clamped else beyond
    np.testing.assert_allclose(images, expected, atol=1e-6)


def test_augmented_images_have_no_features_beforehand():
  settings = dataclasses.replace(SETTINGS, real='features', augmentation='color')
  with pytest.raises(UserError, match="the augmentation 'color' needs the images themselves"):
    together(settings)
  with pytest.raises(UserError, match="no form of the real data 'feature'"):
    together(dataclasses.replace(SETTINGS, real='feature'))
