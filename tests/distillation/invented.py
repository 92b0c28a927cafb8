"""Results whose numbers are invented."""

from jaxdistill.experiment.results import Result


def result(config, rows, seed=0, **extras):
  """The result of a run with this config, as a dict, and these rows."""
  return Result(
    title='',
    family='distillation',
    dataset=config['data']['name'],
    seed=seed,
    rows=tuple(rows),
    seconds={},
    config=config,
    peak_memory_bytes=0,
    peak_memory_of='process',
    versions={},
    device={},
    git_commit=None,
    date='',
    task='distill',
    extras=extras,
  )
