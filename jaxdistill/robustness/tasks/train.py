"""One method from start to report: training, the checks under attack on the way, the attacks of the
final networks, the page."""

from collections.abc import Iterator
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill.experiment.estimates import Phase
from jaxdistill.numerics import settled
from jaxdistill.robustness import checks, learning, sections
from jaxdistill.training.run import Run

check = checks.check


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the method of a config in a work dir, or continues it; returns what result.json holds."""
  work = checks.load(sections.of_config(config), run)
  ran = learning.run_all(run, work)
  trained = list(ran.networks.values())[-1]
  if trained is not None:
    run.write_bytes('networks.msgpack', trained.to_bytes())
  return learning.write(run, work, ran, config.to_dict())


@settled()
def dry_run(config: ConfigDict) -> str:
  """Returns the network, its parameters and the estimate of time and memory of a config, without
  starting anything."""
  return learning.dry_run(checks.load(sections.of_config(config)))


def phases(config: ConfigDict, mesh: Mesh | None) -> Iterator[Phase]:
  """Yields the phases of a run of this config on the devices of a mesh; nothing of it enters a
  run."""
  yield from learning.phases(checks.load(sections.of_config(config), mesh=mesh))
