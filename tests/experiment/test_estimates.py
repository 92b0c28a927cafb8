"""What is told before a run: the table of its phases, and the time of those that have work left."""

from types import SimpleNamespace

import pytest

from jaxdistill import models
from jaxdistill.experiment import estimates
from jaxdistill.training import loop
from jaxdistill.training.run import Run

ONE = dict(
  num_steps=1,
  seconds_per_step=1.0,
  compile_seconds=0.0,
  peak_bytes=1,
  flops_per_step=1.0,
  peak_share=None,
  needed_bytes=1,
  needed_of='process',
)


def test_phases_that_need_no_work_are_left_out_of_the_time():
  text = estimates.estimate_text(
    {'experts': ONE | {'total_seconds': 100.0}, 'condense': ONE | {'total_seconds': 7.0}},
    {'experts'},
  )
  assert 'in all about 7.0 s (experts: there already), scoring' in text


def test_a_phase_of_many_rounds_compiles_once_and_says_how_often():
  once = loop.Estimate(**ONE | dict(num_steps=4, compile_seconds=3.0, total_seconds=7.0))
  often = estimates.repeated(once, 5)
  assert often['total_seconds'] == pytest.approx(3 + 5 * 4) and often['num_steps'] == 4
  assert 'Times' in estimates.estimate_text({'condense': often})
  assert 'Times' not in estimates.estimate_text({'condense': ONE | {'total_seconds': 7.0}})


def test_a_second_start_measures_nothing_and_leaves_out_what_is_there(tmp_path, capsys):
  measured = []

  def compute():
    measured.append(1)
    return {
      'teach': ONE | {'total_seconds': 100.0},
      'learn': ONE | {'total_seconds': 20.0},
      'score': ONE | {'total_seconds': 3.0},
    }

  def start(ready):
    with Run(tmp_path, progress=False, tensorboard=False) as run:
      expected = estimates.estimate_once(run, compute, ready={'teach': lambda: ready})
      run.once('learn', lambda: 1)
    return expected, capsys.readouterr().out

  first, text = start(ready=False)
  assert 'Compiling every phase' in text and 'in all about 2 min 03 s, scoring' in text
  again, text = start(ready=True)
  assert again == first and len(measured) == 1 and 'Compiling' not in text
  assert 'in all about 3.0 s (teach, learn: there already), scoring' in text
  (tmp_path / 'result.json').write_text('{}')
  assert 'This run is finished' in start(ready=True)[1]


def test_the_first_process_says_whether_a_run_is_finished(monkeypatch):
  """The others know of no work dir."""
  monkeypatch.setattr(estimates.hosts, 'first', lambda what, value: True)
  assert estimates.is_finished(SimpleNamespace(workdir=None))


def test_what_is_told_in_place_of_a_start_ends_with_the_estimate_if_there_is_one(monkeypatch):
  table = estimates.parameters(models.build({'name': 'mlp'}, 3, (2, 2, 1)), (2, 2, 1))
  assert 'kernel' in table
  assert estimates.described('Images.', table, phases=()) == f'Images.\n\n{table}'
  monkeypatch.setattr(estimates, '_measured', lambda phase: ONE | {'total_seconds': 7.0})
  phases = [estimates.Phase('train', None)]
  parts = estimates.described('Images.', phases=phases).split('\n\n')
  assert parts == ['Images.', estimates.estimate_text(estimates.measure(phases))]
