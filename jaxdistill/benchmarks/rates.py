"""What commands that look inside a method of label_noise share: their arguments, and a measurement
a rate of what is wrong, each kept once it is whole."""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxdistill import config as configs
from jaxdistill import metrics, terminal
from jaxdistill.errors import UserError
from jaxdistill.experiment import arguments, datasets, schema
from jaxdistill.label_noise import checks, sections, settings
from jaxdistill.label_noise.work import Work
from jaxdistill.training import exits, interrupt, provenance
from jaxdistill.training.machine import enable_compilation_cache
from jaxdistill.training.run import Run


@dataclasses.dataclass(frozen=True)
class Command:
  """A measurement a rate, as a command.

  Attributes:
    description: what it does.
    method: the name of the config that its data are those of.
    extra: arguments of that config that all rates share.
    rates: the usual ones, joined by commas.
    meaning: of a rate.
    measure: (run, work) -> a dataclass of figures; it can be gone on with in its run.
    table: (figures) -> a few lines.
    figures: the class of the figures.
  """

  description: str
  method: str
  extra: Sequence[str]
  rates: str
  meaning: str
  measure: Callable[[Run, Work], Any]
  table: Callable[[Any], str]
  figures: type

  def work(self, data: str, rate: str, changes: Sequence[str] = ()) -> Work:
    """Returns what a rate is measured of.

    Args:
      data: the data set, with arguments of the configs of label_noise behind commas.
      rate: of what is wrong.
      changes: further fields of the config, such as 'learning.augmented=False'.

    Raises:
      UserError: for arguments, fields or values that configs do not take.
    """
    text = ','.join([data, *self.extra, f'rate={rate}'])
    config = settings.defaults(arguments.read(settings.Arguments, text), self.method)
    for change in changes:
      key, equals, value = change.partition('=')
      if not equals:
        raise UserError(f'--set takes KEY=VALUE, such as learning.augmented=False; got {change!r}.')
      configs.override(config, key, value)
    checks.check_fields(config)
    checks.check_values(config)
    return checks.load(sections.of_config(config))

  def main(self, argv: Sequence[str] | None = None) -> int:
    """Measures a data set, prints a table a rate, and all figures as a line of JSON.

    Args:
      argv: what stands behind the command's name; None: as it was called.

    Returns:
      The exit status: 0, 2 for a mistake of the user, 75 after a signal where a work dir keeps what
      there was.
    """
    return exits.exit_status(self._main, argv, stopped='and not kept, for want of --workdir')

  def _main(self, argv: Sequence[str]) -> None:
    values = self._arguments(argv)
    enable_compilation_cache()
    # All of them before any work.
    works = {rate: self.work(values.data, rate, values.set) for rate in values.rates.split(',')}
    measured = {}
    for rate, work in works.items():
      workdir = pathlib.Path(values.workdir) / rate if values.workdir else None
      measured[rate] = self._measured(work, workdir)
      table = self.table(self.figures(**measured[rate]))
      terminal.line(f'{work.train.describe()}, {self.meaning} {rate}: {table}')
    terminal.line(json.dumps(measured))

  def _measured(self, work: Work, workdir: pathlib.Path | None) -> dict[str, Any]:
    """The figures of a rate, or those that an earlier start has come to."""
    config = schema.recorded(type(work.fields), schema.section(work.fields))
    if workdir:
      interrupt.begun(f'; what was finished is kept in {workdir}, the same command goes on with it')
    with Run(workdir, config, handle_signals=True) as run:
      provenance.settle(run, datasets.facts(work.fields.data, run.config))
      return run.once('figures', lambda: dataclasses.asdict(self.measure(run, work)))

  def _arguments(self, argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=self.description)
    parser.add_argument(
      'data', help='the data set, with arguments of the configs of label_noise behind commas'
    )
    parser.add_argument('--rates', default=self.rates, help=f'{self.meaning}, joined by commas')
    parser.add_argument(
      '--set', action='append', default=[], metavar='KEY=VALUE', help='a field of the config'
    )
    parser.add_argument(
      '--workdir', default='', help='where it is kept, and gone on with; without: nowhere'
    )
    return parser.parse_args(argv)


def mean_std(values: Any, factor: float, digits: int) -> str:
  """Returns a mean over networks, with the standard deviation where there are several.

  >>> mean_std([0.5, 0.7], 100, 1), mean_std(0.25, 1, 2)
  ('60.0 ± 14.1', '0.25')
  """
  summary = metrics.mean_std(np.atleast_1d(values))
  spread = f' ± {factor * summary["std"]:.{digits}f}' if np.size(values) > 1 else ''
  return f'{factor * summary["mean"]:.{digits}f}{spread}'
