"""What the page of any run holds: head, large figures, the chart of accuracies, cost and origin."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jaxdistill.experiment.results import Result, Row
from jaxdistill.report import numbers
from jaxdistill.report.page import Page

if TYPE_CHECKING:
  from jaxdistill.training.run import Run

_FIGURES = 4  # rows that the headline names


def begin(result: Result, about: str) -> Page:
  """Returns the page of a run with its head; `about` says what it was made with."""
  return Page(result.title, f'{result.date} · seed {result.seed} · {about}')


def end(page: Page, result: Result, run: 'Run', cost: Mapping[str, str]) -> str:
  """Closes the page with cost and origin, profiles and config, and returns it as one HTML text."""
  page.facts(cost, title='Cost and origin')
  add_profiles(page, run)
  page.config(result.config)
  return page.html()


def add_profiles(page: Page, run: 'Run') -> None:
  """Adds where the time of each phase went, if the run was traced."""
  for phase, text in run.profiles().items():
    page.folded(f'Where the time goes: {phase}', text)


def headline(
  rows: Iterable[Row], remark: Callable[[Row], str] = lambda row: ''
) -> list[tuple[str, str, str]]:
  """Returns the large figures of the first rows: the accuracy of the last weights, with its
  deviation and a remark below.

  >>> headline([Row('dm', 'DM', 1.0, {'last': dict(mean=0.5, std=0.02, n=5, values=())})])
  [('DM', '50.0 %', '± 2.0')]
  """
  figures = []
  for row in list(rows)[:_FIGURES]:
    mean, deviation, _ = numbers.accuracy_parts(row.scores['last'])
    note = ', '.join(filter(None, (deviation, remark(row))))
    figures.append((row.label, f'{mean} %', note))
  return figures


def accuracy_chart(rows: Iterable[Row]) -> dict[str, Any]:
  """Returns the chart of the checks during the training of each row: the mean over its networks and
  their standard deviation."""
  return dict(
    title='Test accuracy while evaluating',
    x_title='step',
    percent=True,
    series=[(row.label, row.curve['steps'], row.curve['mean'], row.curve['std']) for row in rows],
  )


def facts(result: Result, phases: Mapping[str, str], work: str = '') -> dict[str, str]:
  """Returns what a run cost and where it was made.

  Args:
    result: with the seconds of the phases.
    phases: from a phase, as `result.seconds` calls it, to its name for people.
    work: what a step of the main phase is called, whose steps_per_second, flops_per_step and
      peak_share the result then holds; '': there is none.
  """
  phases = {**phases, 'total': 'In all', 'first_step': 'First step after'}
  times = {label: numbers.seconds(result.seconds[phase]) for phase, label in phases.items()}
  return {**times, **(speed(result.extras, work) if work else {}), **origin(result)}


def speed(measured: Mapping[str, Any], work: str) -> dict[str, str]:
  """Returns how fast a phase was, and how much of the device that is.

  >>> speed(dict(steps_per_second=2.0, flops_per_step=3e9, peak_share=0.25), 'iteration')
  {'Speed': '2 iterations/s', 'Work': '3.0 GFLOP an iteration, 25.0% of peak'}
  """
  rate, share = measured['steps_per_second'], measured['peak_share']
  article = 'an' if work[0] in 'aeiou' else 'a'
  return {
    'Speed': f'{rate:.3g} {work}s/s' if rate else numbers.MISSING,
    'Work': f'{numbers.flops(measured["flops_per_step"])} {article} {work}'
    + (f', {share:.1%} of peak' if share else ''),
  }


def origin(result: Result) -> dict[str, str]:
  """Returns where a run was made, and the memory that it took."""
  memory = f'{numbers.size(result.peak_memory_bytes)} ({result.peak_memory_of})'
  return {'Peak memory': memory, **made_with(result)}


def made_with(result: Result) -> dict[str, str]:
  """Returns the device, the versions and the source of a run."""
  device = result.device
  return {
    'Device': f'{device["count"]} x {device["kind"]} ({device["platform"]})',
    'Versions': ', '.join(f'{name} {version}' for name, version in result.versions.items()),
    'Source': result.git_commit or 'not a git checkout',
  }
