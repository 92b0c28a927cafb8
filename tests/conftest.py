"""A strict environment for every test: four fake CPU devices, no silent rank promotion, no
accelerator.

Programs are compiled without the costly passes of LLVM: here a program runs for milliseconds and
  compiles for seconds.
"""

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
    ],
  )
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('MPLBACKEND', 'Agg')

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture
def plain(monkeypatch):
  """The environment of users: without the flags above, which change numbers and are told by
  `training.surroundings`."""
  assert jax.devices()  # started under them
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  return monkeypatch
