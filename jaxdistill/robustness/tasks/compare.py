"""Several methods from the same seeds, on the same images in the same order, compared network by
network."""

from typing import Any

from ml_collections import ConfigDict

from jaxdistill.experiment import datasets
from jaxdistill.numerics import settled
from jaxdistill.robustness import learning, sections
from jaxdistill.robustness import work as works
from jaxdistill.robustness.tasks import train
from jaxdistill.training import parallel
from jaxdistill.training.run import Run

# What one method asks for, each of several asks for.
check, dry_run, phases = train.check, train.dry_run, train.phases


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the methods of a config in a work dir, or continues them; returns what result.json
  holds."""
  fields = sections.of_config(config)
  mesh = parallel.make_mesh(fields.run.devices)
  work = works.make(fields, *datasets.load(fields.data, run), mesh)
  return learning.write(run, work, learning.run_all(run, work), config.to_dict())
