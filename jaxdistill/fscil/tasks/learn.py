"""One few-shot class-incremental learner from start to report: base networks, features once, all
sessions of all draws, the page."""

from collections.abc import Iterator
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill.experiment.estimates import Phase
from jaxdistill.fscil import checks, running, sections
from jaxdistill.numerics import settled
from jaxdistill.training.run import Run

check = checks.check


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the learner of a config in a work dir, or continues it; returns what result.json holds."""
  work = checks.load(sections.of_config(config), run)
  ran = running.run_all(run, work)
  (classifier,) = ran.classifiers.values()
  if classifier is not None:
    run.write_bytes('classifier.msgpack', classifier.to_bytes())
  return running.write(run, work, ran, config.to_dict())


@settled()
def dry_run(config: ConfigDict) -> str:
  """Returns the sessions, the parameters and the estimate of time and memory of a config, without
  starting anything."""
  return running.dry_run(checks.load(sections.of_config(config)))


def phases(config: ConfigDict, mesh: Mesh | None) -> Iterator[Phase]:
  """Yields the phases of a run of this config on the devices of a mesh; nothing of it enters a
  run."""
  yield from running.phases(checks.load(sections.of_config(config), mesh=mesh))
