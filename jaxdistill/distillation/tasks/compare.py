"""Several methods with one teacher, on the same batches from the same seeds, compared student by
student."""

from typing import Any

from ml_collections import ConfigDict

from jaxdistill.distillation import running, sections
from jaxdistill.distillation import work as works
from jaxdistill.distillation.tasks import distill
from jaxdistill.experiment import datasets
from jaxdistill.numerics import settled
from jaxdistill.training import parallel
from jaxdistill.training.run import Run

# What one method asks for, each of several asks for.
check, dry_run, phases = distill.check, distill.dry_run, distill.phases


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the methods of a config in a work dir, or continues them; returns what result.json
  holds."""
  fields = sections.of_config(config)
  work = works.make(
    fields, *datasets.load(fields.data, run), parallel.make_mesh(fields.run.devices)
  )
  return running.write(run, work, running.run_all(run, work), config.to_dict())
