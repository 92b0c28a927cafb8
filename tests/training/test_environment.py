"""What a process is started in: flags of JAX change no number; what still does is kept, compared
and told."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import condensation, data, draws, losses, metrics, models
from jaxdistill.condensation import protocols, scoring
from jaxdistill.data import augment, crops, mixing, photometric, samplers, selection, views
from jaxdistill.data.autoaugment import AutoAugment
from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.synthesis import decode
from jaxdistill.training import (
  averages,
  classifier,
  loop,
  machine,
  pretrained,
  program,
  surroundings,
)
from jaxdistill.training.run import Run

# What a user may have set, in the environment or in Python: the context that does the same.
FLAGS = {
  'x64': lambda: jax.enable_x64(True),
  'rbg': lambda: jax.default_prng_impl('rbg'),
  'unsafe_rbg': lambda: jax.default_prng_impl('unsafe_rbg'),
  'not partitionable': lambda: jax.threefry_partitionable(False),
  'strict types': lambda: jax.numpy_dtype_promotion('strict'),
  'no jit': jax.disable_jit,
  'nans': lambda: jax.debug_nans(True),
  'infs': lambda: jax.debug_infs(True),
  'guarded': lambda: jax.transfer_guard('disallow'),
  'key reuse': lambda: jax.debug_key_reuse(True),
  'raw keys': lambda: jax.legacy_prng_key('error'),
}


@contextlib.contextmanager
def flags(*names):
  with contextlib.ExitStack() as stack:
    for name in names:
      stack.enter_context(FLAGS[name]())
    yield


# Pure functions of arrays of 32 bits.


@functools.cache
def images():
  return jnp.linspace(0, 1, 4 * 8 * 8 * 3, dtype=jnp.float32).reshape(4, 8, 8, 3) ** 2


@functools.cache
def features():
  return jnp.sin(jnp.arange(24, dtype=jnp.float32)).reshape(6, 4)


@functools.cache
def some():
  return features()[:4]


@functools.cache
def others():
  return features()[2:]


@functools.cache
def mask():
  return jnp.array([True, True, False, True])


@functools.cache
def labels():
  return jnp.array([0, 2, 1, 1], jnp.int32)


@functools.cache
def one_hot():
  return jax.nn.one_hot(labels(), 3, dtype=jnp.float32)


@functools.cache
def weight():
  return jnp.array([1, 1, 1, 0], jnp.float32)


@functools.cache
def key():
  return draws.key(7)


def prepared():
  chain = (crops.Crop(2), crops.Flip(), photometric.Jitter(0.4, 0.4, 0.4, 0.1), AutoAugment())
  made = views.make(
    chain, mixing=mixing.OneOf((mixing.Mixup(0.4), mixing.CutMix()), (0.5, 0.5)), **STATISTICS
  )
  batch = {'images': images(), 'labels': labels(), 'weight': weight()}
  return made.prepare(key(), batch, made.draw(key()))


def augmented(composition):
  strategy = 'color_crop_cutout_flip_scale_rotate'
  return augment.diffaugment(key(), images(), strategy, composition=composition, siamese=False)


def network(name):
  model = models.build({'name': name, 'width': 4} if name == 'convnet' else name, 3, (8, 8, 3))
  variables = model.init(key(), images())
  return model.apply(variables, images(), train=False)


STATISTICS = dict(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), num_classes=3)
FUNCTIONS = {
  'mmd': lambda: losses.mmd(some(), others()),
  'mmd, masked': lambda: losses.mmd(some(), others(), kernel='polynomial', x_mask=mask()),
  'mean discrepancy': lambda: losses.mean_discrepancy(some(), others()),
  'gradient of mmd': lambda: jax.grad(lambda x: losses.mmd(x, others()))(some()),
  'cross-entropy': lambda: losses.cross_entropy(some(), labels(), weight(), 0.1),
  'accuracy': lambda: metrics.accuracy(some(), labels()),
  'accuracy by class': lambda: metrics.accuracy_by_class(some(), labels()),
  'normalise': lambda: augment.normalise(images(), (0.5,) * 3, (0.25,) * 3),
  'diffaugment, idc': lambda: augmented('idc'),
  'diffaugment, dm': lambda: augmented('dm'),
  'cutmix': lambda: augment.cutmix(key(), images(), one_hot(), 0.9, weight(), alpha=0.5),
  'views': prepared,
  'autoaugment': lambda: AutoAugment()(key(), images()),
  'resized crop': lambda: crops.ResizedCrop(4)(key(), images()),
  'cutout': lambda: crops.Cutout(3)(key(), images()),
  'mixup': lambda: mixing.Mixup(0.4, per_image=True)(key(), images(), one_hot(), weight()),
  'shuffled index': lambda: samplers.shuffled_index(key(), np.arange(9), 9, 3),
  'epoch batch': lambda: samplers.epoch_batch(key(), 5, 10, 4),
  'class batch': lambda: samplers.class_batch(key(), 5, np.array([4, 9]), 3),
  'selection': lambda: selection.select(
    'kcenter', np.asarray(features()), np.array([0, 1, 0, 1, 0, 1]), 2, key()
  ),
  'decode': lambda: decode.decode(images(), 3, np.float32([0.1, 0.2, 0.3])),
  'first canvases': lambda: decode.first_canvases(
    key(),
    np.arange(2 * 4 * 8 * 8 * 3).reshape(2, 4, 8, 8, 3).astype(np.uint8),
    np.array([4, 3]),
    ipc=1,
    factor=1,
    init='noise',
    mean=STATISTICS['mean'],
    std=STATISTICS['std'],
  ),
  'average': lambda: averages.update({'w': some()}, {'w': some()}, 3, 0.9, True),
  'normal': lambda: draws.normal(key(), (5,)),
  'order': lambda: draws.order(key(), 9),
  'convnet': lambda: network('convnet'),
  'vit': lambda: network('vit'),
}


def bits(value):
  return [(np.asarray(leaf).dtype, np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(value)]


def assert_unmoved(name, *flags_):
  # What flax and jax.grad do around a function of ours is not ours.
  unguarded = name in ('convnet', 'vit', 'gradient of mmd')
  expected = bits(FUNCTIONS[name]())
  with flags(*(flag for flag in flags_ if flag != 'guarded' or not unguarded)):
    assert bits(FUNCTIONS[name]()) == expected


@pytest.mark.slow
@pytest.mark.parametrize('name', FUNCTIONS)
def test_a_pure_function_gives_the_same_bits_under_all_flags_at_once(name):
  assert_unmoved(name, *FLAGS)


@pytest.mark.slow
@pytest.mark.parametrize('flag', ['x64', 'rbg', 'not partitionable'])
@pytest.mark.parametrize('name', FUNCTIONS)
def test_a_pure_function_gives_the_same_bits_under_each_flag(name, flag):
  assert_unmoved(name, flag)


def test_arrays_of_64_bits_are_computed_with_as_they_are():
  x, y = np.random.default_rng(0).normal(size=(2, 5, 3))
  with jax.enable_x64(True):
    exact = losses.mmd(jnp.asarray(x), jnp.asarray(y), kernel='linear')
    rounded = losses.mmd(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), kernel='linear')
  expected = np.square(x.mean(0) - y.mean(0)).sum()
  assert exact.dtype == np.float64 and rounded.dtype == np.float32
  np.testing.assert_allclose(exact, expected, rtol=1e-14)
  assert abs(float(rounded) - expected) > 1e-12


# Whole jobs.


@pytest.fixture(scope='module')
def digits():
  train, test = data.load('digits', image_size=8)
  return train, test.take(range(60))


def condensed_and_scored(digits):
  """Canvases and accuracies of a condensation of some seconds."""
  train, test = digits
  small = {
    'model.width': 4,
    'model.depth': 1,
    'condensation.batch_real': 4,
    'condensation.iterations': 3,
  }
  condensed = condensation.condense(train, 'm3d', ipc=1, seed=3, factor=2, overrides=small)
  model = {'name': 'convnet', 'width': 4, 'depth': 1}
  scores = condensation.evaluate(condensed, test, seeds=2, steps=6, checks=2, model=model)
  return bits(condensed.images), scores['last']['values'], scores['curve']


@pytest.fixture(scope='module')
def expected(digits):
  return condensed_and_scored(digits)


@pytest.mark.slow
def test_condensing_and_scoring_give_the_same_under_all_flags_at_once(digits, expected):
  with flags(*FLAGS):
    assert condensed_and_scored(digits) == expected


@pytest.mark.slow
@pytest.mark.parametrize('flag', FLAGS)
def test_condensing_and_scoring_give_the_same_under_each_flag(digits, expected, flag):
  with flags(flag):
    assert condensed_and_scored(digits) == expected


def trained(digits, workdir, num_steps):
  """A training of some steps of the first `num_steps`, as its state and its curve."""
  model = models.build({'name': 'mlp', 'width': 4}, 10, (8, 8, 1))
  recipe = protocols.find_recipe('idc')
  examples = Examples.of(digits[0].take(range(40)))
  problem = classifier.setup(model, examples, recipe, networks=2, num_steps=20)
  problem = dataclasses.replace(problem, num_steps=num_steps)
  with Run(workdir, progress=False, tensorboard=False, log_every=4) as run:
    state = loop.fit(run, 'train', problem)
    return bits(state), [line['loss'] for line in run.curve('train')]


@pytest.mark.slow
def test_a_training_goes_on_under_other_flags_bit_for_bit(digits, tmp_path):
  whole = trained(digits, tmp_path / 'whole', 8)
  trained(digits, tmp_path / 'cut', 4)
  with flags(*FLAGS):
    assert trained(digits, tmp_path / 'cut', 8) == whole


# What still changes numbers.


def test_settings_are_those_that_change_numbers(plain):
  assert surroundings.settings() == {}
  plain.setenv(
    'XLA_FLAGS',
    '--xla_force_host_platform_device_count=4 --xla_cpu_enable_fast_math=false --xla_dump_to=/tmp '
    '--xla_b=1 --xla_cpu_enable_fast_math=true',
  )
  plain.setenv('NVIDIA_TF32_OVERRIDE', '0')
  with jax.default_matmul_precision('highest'):
    assert surroundings.settings() == {
      'JAX_DEFAULT_MATMUL_PRECISION': 'highest',
      'NVIDIA_TF32_OVERRIDE': '0',
      'XLA_FLAGS': '--xla_b=1 --xla_cpu_enable_fast_math=true',
    }
  with jax.default_matmul_precision('default'):
    assert 'JAX_DEFAULT_MATMUL_PRECISION' not in surroundings.settings()


def test_a_work_dir_goes_on_under_its_settings_alone(plain, tmp_path):
  with Run(tmp_path, progress=False):
    pass
  plain.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=2')
  with Run(tmp_path, progress=False):
    pass
  plain.setenv('XLA_FLAGS', '--xla_cpu_enable_fast_math=true')
  told = (
    'XLA_FLAGS not set, and now XLA_FLAGS=--xla_cpu_enable_fast_math=true, which changes its '
    'numbers.'
  )
  with pytest.raises(UserError, match=re.escape(told)):
    Run(tmp_path, progress=False)
  with Run(tmp_path / 'other', progress=False):
    pass
  plain.delenv('XLA_FLAGS')
  told = 'with XLA_FLAGS=--xla_cpu_enable_fast_math=true, and now XLA_FLAGS is not set'
  with pytest.raises(UserError, match=re.escape(told)):
    Run(tmp_path / 'other', progress=False)


@pytest.mark.parametrize('content', [None, '', '[]', '{"settings": 3}'])
def test_a_work_dir_without_the_record_goes_on(plain, tmp_path, content):
  with Run(tmp_path, progress=False):
    pass
  record = tmp_path / surroundings.FILE
  record.unlink()
  if content is not None:
    record.write_text(content)
  plain.setenv('NVIDIA_TF32_OVERRIDE', '0')
  with Run(tmp_path, progress=False):
    pass
  assert json.loads(record.read_text()) == {'settings': {'NVIDIA_TF32_OVERRIDE': '0'}}


def test_a_result_names_the_settings_where_there_are_any(plain):
  assert 'environment' not in machine.environment()
  with jax.default_matmul_precision('float32'):
    assert machine.environment()['environment'] == {'JAX_DEFAULT_MATMUL_PRECISION': 'highest'}


def test_what_runs_share_is_not_taken_from_other_settings(plain, digits):
  train, test = digits
  model, wanted = models.build('mlp', 10, (8, 8, 1)), pretrained.Wanted(1, epochs=1)

  def names():
    return (
      pretrained.identity(model, train, wanted),
      scoring.identity(train.take(range(9)), test, None, {}),
    )

  before = names()
  plain.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=2')
  assert names() == before
  with jax.default_matmul_precision('float32'):
    assert not set(names()) & set(before)


def test_a_kept_program_is_that_of_its_settings():
  def compiled():
    state = jnp.float32(1)
    step = lambda state, inputs: (state + 1, {'loss': state})
    return program.build(step, None, state, ()).compiled

  before = jax.config.values['jax_disable_most_optimizations']
  first = compiled()
  assert compiled() is first
  jax.config.update('jax_disable_most_optimizations', not before)
  try:
    assert compiled() is not first
  finally:
    jax.config.update('jax_disable_most_optimizations', before)
  assert compiled() is first


# The compilation cache, a home, a backend.


def python(text, **variables):
  """A fresh interpreter's status, output and errors."""
  environment = {name: value for name, value in os.environ.items() if name != 'XLA_FLAGS'}
  for name, value in variables.items():
    environment.pop(name, None)
    environment |= {} if value is None else {name: value}
  done = subprocess.run(
    [sys.executable, '-c', text], env=environment, capture_output=True, text=True, timeout=300
  )
  return done.returncode, done.stdout, done.stderr


CACHE = """
import jax
from jaxdistill.training import machine
print(machine.enable_compilation_cache(), jax.config.jax_compilation_cache_dir)
"""


def test_a_cache_of_the_users_is_respected(tmp_path):
  theirs = str(tmp_path / 'theirs')
  status, said, _ = python(CACHE, JAX_COMPILATION_CACHE_DIR=theirs)
  assert (status, said.split()) == (0, [theirs, theirs])
  in_python = CACHE.replace(
    'print', f'jax.config.update("jax_compilation_cache_dir", {theirs!r})\nprint'
  )
  assert python(in_python, JAX_COMPILATION_CACHE_DIR=None)[1].split() == [theirs, theirs]


def test_without_a_home_there_is_no_cache(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(os.path, 'expanduser', lambda path: path)
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  monkeypatch.setattr(machine, '_cache_of_jax', lambda: None)
  assert machine.enable_compilation_cache() is None and not list(tmp_path.iterdir())


def test_a_home_that_is_not_known_is_told():
  with pytest.raises(
    UserError, match='~no_such_user/run begins with a home directory that is not known'
  ):
    Run('~no_such_user/run', progress=False)
  with pytest.raises(UserError, match='~no_such_user/x.npz begins with a home'):
    data.load('npz:~no_such_user/x.npz')


@pytest.mark.parametrize('value', ['JAX_ENABLE_X64=maybe', 'JAX_DEFAULT_PRNG_IMPL=dice'])
def test_a_value_that_jax_does_not_know_is_told(value):
  run = "from jaxdistill.commands.main import main; print(main(['--config=m3d:digits']))"
  name, _, text = value.partition('=')
  status, said, errors = python(run, **{name: text})
  assert (status, said, errors) == (
    0,
    '2\n',
    f'error: {value} is no value that JAX knows; correct it, or leave it unset.\n',
  )


@pytest.mark.slow
def test_a_backend_that_is_not_there_is_told():
  run = "from jaxdistill.commands.main import main; main(['--config=m3d:digits', '--dry_run'])"
  for platforms in ('cuda', 'cupu'):
    _, said, errors = python(run, JAX_PLATFORMS=platforms)
    assert errors.startswith(f'error: JAX_PLATFORMS={platforms} asks for a backend that JAX does')
    assert 'Traceback' not in errors and not said and len(errors.splitlines()) == 1
  from_python = (
    'from jaxdistill import condensation, data\n'
    "condensation.condense(data.load('digits', image_size=8)[0], 'dm', ipc=1, quick=True)"
  )
  assert 'UserError: JAX_PLATFORMS=cupu' in python(from_python, JAX_PLATFORMS='cupu')[2]


# The launcher, in a process of its own.

LAUNCH = [
  '--config=m3d:digits,ipc=1,factor=2',
  '--config.data.image_size=8',
  '--config.model.width=4',
  '--config.model.depth=1',
  '--config.condensation.iterations=20',
  '--config.condensation.batch_real=8',
  '--config.evaluation.networks=2',
  '--config.evaluation.steps=20',
  '--config.evaluation.every=5',
  '--config.evaluation.baselines=random',
  '--no-progress',
  '--no-tensorboard',
]
# Several in one start, as each takes half a minute.
CHANGES_NOTHING = [
  'JAX_ENABLE_X64=1',
  'JAX_DISABLE_JIT=1 JAX_DEBUG_NANS=1 JAX_DEBUG_INFS=1 JAX_NO_EXECUTION=1 JAX_NO_TRACING=1',
  'JAX_DEFAULT_PRNG_IMPL=rbg JAX_LEGACY_PRNG_KEY=error JAX_DEBUG_KEY_REUSE=1',
  'JAX_DEFAULT_PRNG_IMPL=unsafe_rbg JAX_RANDOM_SEED_OFFSET=5 JAX_THREEFRY_PARTITIONABLE=0',
  'JAX_DEFAULT_MATMUL_PRECISION=bfloat16 JAX_TRANSFER_GUARD=disallow',
  'JAX_NUMPY_DTYPE_PROMOTION=strict JAX_NUMPY_RANK_PROMOTION=raise',
]


def launch(workdir, **variables):
  run = f'import sys; from jaxdistill.commands.main import main; sys.exit(main({LAUNCH!r} + '
  run += f'["--workdir={workdir}", "--compilation_cache={workdir.parent}/programs"]))'
  return python(run, **variables)


def left(workdir):
  """Canvases and accuracies of a finished run, and the settings that its result names."""
  result = json.loads((workdir / 'result.json').read_text())
  with np.load(workdir / 'condensed.npz') as entries:
    canvases = bits(entries['images'])
  rows = [row['last']['values'] for row in result['rows']]
  return (canvases, rows), result.get('environment', {})


@pytest.fixture(scope='module')
def launched(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('launched') / 'plain'
  status, _, errors = launch(workdir)
  assert status == 0, errors
  return workdir


@pytest.mark.slow
@pytest.mark.parametrize('variables', CHANGES_NOTHING)
def test_a_launched_run_is_the_same_under_every_flag(launched, variables):
  workdir = launched.parent / variables.replace(' ', ',')
  status, _, errors = launch(workdir, **dict(pair.split('=') for pair in variables.split()))
  assert (status, errors) == (0, '')
  assert left(workdir) == left(launched)


@pytest.mark.slow
def test_a_launched_run_names_what_changes_it_and_goes_on_under_it_alone(launched):
  fast = '--xla_cpu_enable_fast_math=true'
  status, _, errors = launch(launched, XLA_FLAGS=fast)
  assert status == 2 and f'XLA_FLAGS not set, and now XLA_FLAGS={fast}' in errors
  assert launch(launched, XLA_FLAGS='--xla_force_host_platform_device_count=2')[0] == 0
  workdir = launched.parent / 'fast'
  assert launch(workdir, XLA_FLAGS=fast)[0] == 0
  assert left(workdir)[1] == {'XLA_FLAGS': fast}
  status, _, errors = launch(workdir)
  assert status == 2 and f'XLA_FLAGS={fast}, and now XLA_FLAGS is not set' in errors
