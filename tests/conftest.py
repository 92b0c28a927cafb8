"""A strict environment for every test: four fake CPU devices, no silent rank promotion, no
accelerator.

Programs are compiled without the costly passes of LLVM, without the emitters that build every
  fusion by way of MLIR, and in one piece: here a program runs for milliseconds and compiles for
  seconds.
"""

import dataclasses
import os

# Must be set before jax starts its backend.
os.environ['XLA_FLAGS'] = ' '.join(
  filter(
    None,
    [
      os.environ.get('XLA_FLAGS'),
      '--xla_force_host_platform_device_count=4',
      '--xla_backend_optimization_level=0',
      '--xla_llvm_disable_expensive_passes=true',
      '--xla_cpu_use_fusion_emitters=false',
      '--xla_cpu_parallel_codegen_split_count=1',
    ],
  )
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('MPLBACKEND', 'Agg')

import atexit  # noqa: E402
import ctypes  # noqa: E402
import functools  # noqa: E402
import gc  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import tempfile  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402

# Under nohup, or behind a script's &, both are ignored, and what is started here would inherit it.
for _number, _usual in (
  (signal.SIGHUP, signal.SIG_DFL),
  (signal.SIGINT, signal.default_int_handler),
):
  if signal.getsignal(_number) == signal.SIG_IGN:
    signal.signal(_number, _usual)

# Of a worker, above which it forgets what it has compiled.
_MOST_MEMORY = 3 * 2**30

jax.config.update('jax_numpy_rank_promotion', 'raise')

# What several tests compile alike is compiled once: a folder of this run of the tests, which its
# first process makes, hands to its workers, and removes.
_PROGRAMS = 'JAXDISTILL_TESTS_PROGRAMS'
if _PROGRAMS not in os.environ:
  os.environ[_PROGRAMS] = tempfile.mkdtemp(prefix='jaxdistill-programs-')
  atexit.register(shutil.rmtree, os.environ[_PROGRAMS], ignore_errors=True)
jax.config.update('jax_compilation_cache_dir', os.environ[_PROGRAMS])
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.05)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


@pytest.fixture
def plain(monkeypatch):
  """The environment of users: without the flags above, which change numbers and are told by
  `training.surroundings`."""
  assert jax.devices()  # started under them
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  return monkeypatch


# As users' programs are compiled, with the emitters of fusions: for tests that compare different
# programs, or programs with another library, to the last bits.
_AS_USERS = {'xla_cpu_use_fusion_emitters': True}


@pytest.fixture
def programs_of_users(monkeypatch):
  """What a test compiles itself has the emitters of fusions."""
  monkeypatch.setattr(jax, 'jit', functools.partial(jax.jit, compiler_options=_AS_USERS))


@pytest.fixture
def trainings_of_users(monkeypatch):
  """What the loop compiles has the emitters of fusions."""
  from jaxdistill.training import program

  compiling = functools.partialmethod(jax.stages.Lowered.compile, compiler_options=_AS_USERS)
  monkeypatch.setattr(jax.stages.Lowered, 'compile', compiling)
  monkeypatch.setattr(program, '_compiled', {})  # no other test meets these programs


@pytest.fixture(scope='module', autouse=True)
def _bounded_memory():
  """Compiled programs of thousands of tests would fill the memory: behind a file they go.

  What they leave is given back to the system: else the process would stay as large, and forget
  behind every file what the next one uses again.
  """
  yield
  with open('/proc/self/statm') as file:
    if int(file.read().split()[1]) * resource.getpagesize() > _MOST_MEMORY:
      jax.clear_caches()
      gc.collect()
      if trim := getattr(ctypes.CDLL(None), 'malloc_trim', None):  # of glibc
        trim(0)


@pytest.fixture(scope='session')
def measured_estimate():
  """The loop's estimate of users, for fixtures whose run is to have it."""
  from jaxdistill.training import loop

  return loop.estimate


@pytest.fixture(scope='module', autouse=True)
def _untimed(measured_estimate):
  """Runs inside a test do not time a few steps of every phase before they start: that costs more
  than the few steps that they then do. Where a test is about it, it asks for `timed`."""
  from jaxdistill.training import loop

  def estimate(problem, *, dtype='float32', seconds=3.0):
    return loop.Estimate(
      num_steps=problem.num_steps,
      seconds_per_step=1e-3,
      compile_seconds=1e-3,
      total_seconds=1e-3 * (1 + problem.num_steps),
      flops_per_step=1.0,
      peak_bytes=1,
      peak_share=None,
      needed_bytes=1,
      needed_of='process',
    )

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loop, 'estimate', estimate)
    yield


@pytest.fixture
def timed(monkeypatch, measured_estimate):
  """Estimates are measured, as users have them."""
  from jaxdistill.training import loop

  monkeypatch.setattr(loop, 'estimate', measured_estimate)


@pytest.fixture(scope='module')
def unaugmented():
  """The recipe idc without its augmentation, most of what is compiled for a short training."""
  from jaxdistill.condensation import protocols

  plain = dataclasses.replace(protocols.RECIPES['idc'], strategy='', cutmix=0.0)
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(protocols.RECIPES, 'idc', plain)
    yield


def pytest_collection_finish():
  """Spares the collector of garbage what stays to the end: thousands of tests and all modules; and
  lets it come less often, as programs that are traced are large and full of cycles."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(20_000, 20, 20)


@pytest.fixture(params=['classes', 'shape'])
def unlike(request):
  """What makes a set of images of 8x8 one that does not go with its training set, and what is said
  of it, of a set called {}."""
  if request.param == 'classes':
    return lambda images: images.take_classes(range(10)[::-1]), 'images have different classes'
  larger = lambda images: images.images.repeat(2, 1).repeat(2, 2)
  return (
    lambda images: dataclasses.replace(images, images=larger(images)),
    r'images \[8, 8, 1\] and {} images \[16, 16, 1\] are not of one kind',
  )
