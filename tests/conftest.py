"""A strict environment for every test: four fake CPU devices, no silent rank promotion, no accelerator."""

import os

# Must be set before jax starts its backend.
os.environ['XLA_FLAGS'] = ' '.join(filter(None, [os.environ.get('XLA_FLAGS'), '--xla_force_host_platform_device_count=4']))
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('MPLBACKEND', 'Agg')

import jax  # noqa: E402

jax.config.update('jax_numpy_rank_promotion', 'raise')
