"""Several methods from the same seeds, on the same images in the same order, compared network by
network."""

from typing import Any

from ml_collections import ConfigDict

from jaxdistill.numerics import settled
from jaxdistill.robustness import checks, learning, sections
from jaxdistill.robustness.tasks import train
from jaxdistill.training.run import Run

# What one method asks for, each of several asks for.
check, dry_run, phases = train.check, train.dry_run, train.phases


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the methods of a config in a work dir, or continues them; returns what result.json
  holds."""
  work = checks.load(sections.of_config(config), run)
  return learning.write(run, work, learning.run_all(run, work), config.to_dict())
