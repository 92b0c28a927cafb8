"""Programs that several tests compile alike are compiled once."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

# Compiling quicker programs again takes no longer than keeping them.
SECONDS = 0.2


@pytest.fixture(scope='session')
def programs(tmp_path_factory):
  """The folder in which they are kept while the tests run."""
  return tmp_path_factory.mktemp('programs')


@pytest.fixture(scope='module', autouse=True)
def kept_programs(programs):
  """Keeps the programs of this family's tests, and those of no others."""
  changes = dict(
    jax_compilation_cache_dir=str(programs),
    jax_persistent_cache_min_entry_size_bytes=-1,
    jax_persistent_cache_min_compile_time_secs=SECONDS,
  )
  before = {name: getattr(jax.config, name) for name in changes}
  _settle(changes)
  yield
  _settle(before)


def _settle(values):
  for name, value in values.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()  # JAX looks once whether there is a folder
