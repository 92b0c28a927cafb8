"""Several methods with one teacher, on the same batches from the same seeds, compared student by
student."""

from typing import Any

from ml_collections import ConfigDict

from jaxdistill.distillation import checks, running, sections
from jaxdistill.distillation.tasks import distill
from jaxdistill.numerics import settled
from jaxdistill.training.run import Run

# What one method asks for, each of several asks for.
check, dry_run, phases = distill.check, distill.dry_run, distill.phases


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the methods of a config in a work dir, or continues them; returns what result.json
  holds."""
  work = checks.load(sections.of_config(config), run)
  return running.write(run, work, running.run_all(run, work), config.to_dict())
