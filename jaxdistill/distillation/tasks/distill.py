"""One distillation from start to report: the teacher, students alone, the stages of the method, the
page."""

from collections.abc import Iterator
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill.distillation import checks, running, sections
from jaxdistill.experiment.estimates import Phase
from jaxdistill.numerics import settled
from jaxdistill.training.run import Run

check = checks.check


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the method of a config in a work dir, or continues it; returns what result.json holds."""
  work = checks.load(sections.of_config(config), run)
  ran = running.run_all(run, work)
  trained = list(ran.students.values())[-1]
  if trained is not None:
    run.write_bytes('students.msgpack', trained.to_bytes())
  return running.write(run, work, ran, config.to_dict())


@settled()
def dry_run(config: ConfigDict) -> str:
  """Returns the networks, their parameters and the estimate of time and memory of a config, without
  starting anything."""
  return running.dry_run(checks.load(sections.of_config(config)))


def phases(config: ConfigDict, mesh: Mesh | None) -> Iterator[Phase]:
  """Yields the phases of a run of this config on the devices of a mesh; nothing of it enters a
  run."""
  yield from running.phases(checks.load(sections.of_config(config), mesh=mesh))
