"""Several few-shot class-incremental learners on the same base networks and the same few images,
compared run by run."""

from typing import Any

from ml_collections import ConfigDict

from jaxdistill.fscil import checks, running, sections
from jaxdistill.fscil.tasks import learn
from jaxdistill.numerics import settled
from jaxdistill.training.run import Run

# What one learner asks for, each of several asks for.
check, dry_run, phases = learn.check, learn.dry_run, learn.phases


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Runs the learners of a config in a work dir, or continues them; returns what result.json
  holds."""
  work = checks.load(sections.of_config(config), run)
  ran = running.run_all(run, work)
  return running.write(run, work, ran, config.to_dict())
