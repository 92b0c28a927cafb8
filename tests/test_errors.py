"""Seeds, counts and numbers of public functions: whole ones within their range, NumPy's among
them."""

import numpy as np
import pytest

from jaxdistill import condensation, data, draws, errors, losses, metrics, models
from jaxdistill.condensation import arrivals, baselines
from jaxdistill.condensation.protocols import Protocol
from jaxdistill.data import (
  crops,
  degradations,
  division,
  mixing,
  paired,
  photometric,
  resolution,
  samplers,
  selection,
  variants,
  views,
)
from jaxdistill.data.dataset import Dataset, hold_out
from jaxdistill.synthesis import decode, engine
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import (
  averages,
  features,
  groups,
  loop,
  optim,
  parallel,
  pretrained,
  replicas,
  schedules,
  scorer,
)
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run

IMAGES = np.zeros((8, 8, 8, 1), np.uint8)
TRAIN = Dataset(IMAGES, np.arange(8) % 2)
FLOATS = np.zeros((4, 8, 8, 1), np.float32)
MODEL = {'name': 'mlp', 'width': 4}
STATISTICS = dict(mean=(0.5,), std=(0.5,))
PLAIN = views.make(num_classes=2, **STATISTICS)


def matching(**numbers):
  plugs = engine.Plugs(engine.constant_network, losses.mean_discrepancy)
  fields = dict(ipc=1) | numbers
  model = models.build(MODEL, 2, (8, 8, 1))
  return engine.make(plugs, engine.Settings(**fields), model, num_classes=2, **STATISTICS)


# What takes a seed, by the seed.
SEEDS = {
  'draws.key': draws.key,
  'data.load': lambda seed: data.load('digits', image_size=8, seed=seed),
  'hold_out': lambda seed: hold_out(TRAIN, 0.5, seed),
  'share_of': lambda seed: division.share_of(TRAIN, 0.5, seed),
  'degraded': lambda seed: degradations.degraded(TRAIN, (degradations.Darken(0.5),), seed),
  'of_draws': lambda seed: variants.of_draws(PLAIN, 1, seed),
  'condense': lambda seed: condensation.condense(TRAIN, 'dm', ipc=1, seed=seed),
  'evaluate': lambda seed: condensation.evaluate(TRAIN, TRAIN, seed=seed),
  'Protocol': lambda seed: Protocol(seed=seed),
  'baselines.pick': lambda seed: baselines.pick('random', TRAIN, ipc=1, seed=seed),
  'bootstrap_interval': lambda seed: metrics.bootstrap_interval([0.0, 1.0], samples=2, seed=seed),
}
# What takes a count, by the count and the least that makes sense.
COUNTS = {
  'condense, ipc': (lambda n: condensation.condense(TRAIN, 'dm', ipc=n), 1),
  'condense, factor': (lambda n: condensation.condense(TRAIN, 'dm', ipc=1, factor=n), 0),
  'condense, iterations': (lambda n: condensation.condense(TRAIN, 'dm', ipc=1, iterations=n), 0),
  'evaluate, seeds': (lambda n: condensation.evaluate(TRAIN, TRAIN, seeds=n), 1),
  'Protocol, epochs': (lambda n: Protocol(epochs=n), 0),
  'Protocol, steps': (lambda n: Protocol(steps=n), 0),
  'Protocol, checks': (lambda n: Protocol(checks=n), 1),
  'data.load, image_size': (lambda n: data.load('digits', image_size=n), 0),
  'epoch_batch': (lambda n: samplers.epoch_batch(draws.key(0), 0, 8, n), 1),
  'class_batch': (lambda n: samplers.class_batch(draws.key(0), 0, np.array([4]), n), 1),
  'class_major': (lambda n: samplers.class_major(TRAIN, n), 0),
  'select': (
    lambda n: selection.select('random', None, TRAIN.labels, n, draws.key(0), TRAIN.class_names),
    1,
  ),
  'Crop': (crops.Crop, 0),
  'ResizedCrop': (crops.ResizedCrop, 0),
  'CentreCrop': (crops.CentreCrop, 1),
  'Resize': (crops.Resize, 1),
  'Cutout': (crops.Cutout, 1),
  'Lower': (resolution.Lower, 2),
  'of_draws, number': (lambda n: variants.of_draws(PLAIN, n), 1),
  'views_of, low': (lambda n: paired.views_of(n, num_classes=2, **STATISTICS), 2),
  'GuideView, size': (lambda n: paired.GuideView((0.5,), (0.5,), n), 0),
  'decode': (lambda n: decode.decode(FLOATS, n), 1),
  'mix': (lambda n: decode.mix(FLOATS, n), 1),
  'first_canvases, ipc': (
    lambda n: decode.first_canvases(
      draws.key(0),
      IMAGES.reshape(2, 4, 8, 8, 1),
      np.array([4, 4]),
      ipc=n,
      factor=1,
      init='noise',
      **STATISTICS,
    ),
    1,
  ),
  'Condensed': (
    lambda n: Condensed(FLOATS, np.arange(4) % 2, ('a', 'b'), (0.5,), (0.5,), factor=n),
    1,
  ),
  'build, classes': (lambda n: models.build('mlp', n, (8, 8, 1)), 1),
  'build, height': (lambda n: models.build('mlp', 2, (n, 8, 1)), 1),
  'build, width': (lambda n: models.build({'name': 'mlp', 'width': n}, 2, (8, 8, 1)), 1),
  'baselines.pick': (lambda n: baselines.pick('random', TRAIN, ipc=n), 1),
  'Wanted': (lambda n: pretrained.Wanted(n), 1),
  'Wanted, steps': (lambda n: pretrained.Wanted(1, steps=n), 0),
  'Recipe, batch': (lambda n: Recipe('mine', batch=n), 1),
  'Recipe, epochs': (lambda n: Recipe('mine', epochs=n), 1),
  'Recipe, drop_delay': (lambda n: Recipe('mine', drop_delay=n, drop_at_epochs=True), 0),
  'Recipe, extra_epochs': (lambda n: Recipe('mine', extra_epochs=n), 0),
  'Recipe, images': (lambda n: Recipe('mine').steps(n), 1),
  'Schedule, warmup_steps': (lambda n: schedules.Schedule('cosine', 0.1, warmup_steps=n), 0),
  'accuracy, top': (lambda n: metrics.accuracy(np.eye(3), np.arange(3), top=n), 1),
  'bounded, factor': (lambda n: decode.bounded(FLOATS, n, 9), 1),
  'bounded, most': (lambda n: decode.bounded(FLOATS, 2, n), 1),
  'class_orders, num_classes': (lambda n: arrivals.class_orders(n, 1), 1),
  'class_orders, orders': (lambda n: arrivals.class_orders(3, n), 1),
  'engine, ipc': (lambda n: matching(ipc=n), 1),
  'engine, factor': (lambda n: matching(factor=n), 1),
  'engine, batch_real': (lambda n: matching(batch_real=n), 1),
  'engine, batch_syn_max': (lambda n: matching(batch_syn_max=n), 1),
  'engine, classes_at_once': (lambda n: matching(classes_at_once=n), 0),
  'Run, steps_per_call': (lambda n: Run(steps_per_call=n, progress=False), 0),
  'Run, keep': (lambda n: Run(keep=n, progress=False), 1),
  'Run, log_every': (lambda n: Run(log_every=n, progress=False), 1),
  'Run, checkpoint_every': (lambda n: Run(checkpoint_every=n, progress=False), 0),
  'Evaluation': (lambda n: loop.Evaluation(lambda state: {}, n).interval(1), 0),
  'Options': (lambda n: replicas.Options(n), 1),
  'embed': (lambda n: features.embed(models.build(MODEL, 2, (8, 8, 1)), None, TRAIN, batch=n), 1),
  'Scorer': (lambda n: scorer.Scorer(models.build(MODEL, 2, (8, 8, 1)), TRAIN, batch=n), 0),
  'make_mesh': (parallel.make_mesh, 0),
  'in_steps': (lambda n: schedules.in_steps(1, 8, n), 1),
  'multistep': (lambda n: schedules.multistep(0.1, [n], 0.5), 0),
  'cosine': (lambda n: schedules.cosine(0.1, n), 1),
  'warmup': (lambda n: schedules.warmup(0.1, n), 0),
  'calibration_bins': (
    lambda n: metrics.calibration_bins(np.array([[0.5, 0.5]]), np.array([0]), bins=n),
    1,
  ),
  'bootstrap_interval': (lambda n: metrics.bootstrap_interval([0.0, 1.0], samples=n), 1),
  'confusion_matrix': (lambda n: metrics.confusion_matrix([0], [0], n), 1),
}
# By name: a function of a number, and one that it takes.
NUMBERS = {
  'hold_out': (lambda x: hold_out(TRAIN, x), 0.5),
  'share_of': (lambda x: division.share_of(TRAIN, x), 0.5),
  'Recipe, cutmix': (lambda x: Recipe('mine', cutmix=x), 0.5),
  'Recipe, label_smoothing': (lambda x: Recipe('mine', label_smoothing=x), 0.1),
  'cross_entropy': (lambda x: losses.cross_entropy(np.eye(2), np.arange(2), label_smoothing=x), 0),
  'Schedule, learning_rate': (lambda x: schedules.Schedule('cosine', x), 0.1),
  'Schedule, drops': (lambda x: schedules.Schedule('multistep', 0.1, drops=(x,)), 0.5),
  'Schedule, warmup_share': (lambda x: schedules.Schedule('cosine', 0.1, warmup_share=x), 0.5),
  'one_cycle': (lambda x: schedules.one_cycle(0.1, 10, rise=x), 0.5),
  'in_steps, epochs': (lambda x: schedules.in_steps(x, 8, 2), 1.5),
  'sgd, momentum': (lambda x: optim.sgd(0.1, momentum=x), 0.9),
  'sgd, weight_decay': (lambda x: optim.sgd(0.1, weight_decay=x), 1e-4),
  'Average': (averages.Average, 0.9),
  'Group': (lambda x: groups.Group('head', learning_rate=x), 0.1),
  'Group, weight_decay': (lambda x: groups.Group('head', weight_decay=x), 0.1),
  'Run, checkpoint_seconds': (lambda x: Run(checkpoint_seconds=x, progress=False), 0.5),
  'Evaluation, epochs': (lambda x: loop.Evaluation(lambda state: {}, epochs=x).interval(2), 1.5),
  'Flip': (crops.Flip, 0.5),
  'Rotate': (crops.Rotate, 20),
  'Blur': (degradations.Blur, 0.5),
  'Noise': (degradations.Noise, 0.1),
  'Darken': (degradations.Darken, 0.5),
  'Mixup': (mixing.Mixup, 0.2),
  'Jitter': (lambda x: photometric.Jitter(hue=x), 0.1),
  't_interval': (lambda x: metrics.t_interval([0.0, 1.0], x), 0.9),
  'engine, learning_rate': (lambda x: matching(learning_rate=x), 0.1),
  'engine, momentum': (lambda x: matching(momentum=x), 0.5),
}
# What is taken would begin long work, or does not go with the images here.
LONG = ('condense', 'evaluate', 'embed', 'data.load, image_size')


@pytest.mark.parametrize('name', SEEDS)
def test_a_seed_that_is_none_is_refused(name):
  for seed in (-1, 2**32, True, 1.0, '1', None, np.bool_(True), np.float32(1)):
    with pytest.raises(errors.UserError, match='seed is'):
      SEEDS[name](seed)


@pytest.mark.parametrize('name', [name for name in SEEDS if not name.startswith(LONG)])
def test_seeds_of_32_bits_are_taken(name):
  for seed in (0, 2**32 - 1, np.int64(5), np.uint32(2**32 - 1)):
    SEEDS[name](seed)


@pytest.mark.parametrize('name', COUNTS)
def test_a_count_that_is_none_is_refused(name):
  take, least = COUNTS[name]
  none = () if name == 'Protocol, checks' else (None,)  # there as many as the recipe has
  for count in (least - 1, True, 1.0, 1.5, np.float64(2), '2', *none):
    with pytest.raises(errors.UserError):
      take(count)


@pytest.mark.parametrize('name', NUMBERS)
def test_a_number_that_is_none_is_refused(name):
  take, right = NUMBERS[name]
  take(right)
  take(np.float32(right))
  none = () if name == 'Group, weight_decay' else (None,)  # the optimiser's own
  for number in ('0.5', float('nan'), np.float32('nan'), True, [0.5], *none):
    with pytest.raises(errors.UserError, match='it must be a number'):
      take(number)


@pytest.mark.parametrize('name', [name for name in COUNTS if not name.startswith(LONG)])
def test_whole_numbers_of_numpy_count(name):
  take, least = COUNTS[name]
  for count in (np.int64(max(least, 1)), np.uint8(2)):
    take(count)


def test_a_seed_gives_the_key_of_jax():
  import jax

  for seed in (0, 7, 2**31, 2**32 - 1):
    np.testing.assert_array_equal(
      jax.random.key_data(draws.key(seed)), jax.random.key_data(jax.random.key(np.uint32(seed)))
    )
