"""What several processes tell each other, played by one: the first goes first, the second reads
what it has said."""

import json

import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill.condensation import Condensed, arrivals, sections
from jaxdistill.condensation.problem import Condensing
from jaxdistill.condensation.tasks import continual
from jaxdistill.errors import UserError
from jaxdistill.training import hosts
from jaxdistill.training.run import Run


class Store(dict):
  """The key-value store of a job."""

  def key_value_set(self, key, value):
    self[key] = value

  def blocking_key_value_get(self, key, milliseconds):
    return self[key]


@pytest.fixture
def as_process(monkeypatch):
  """Returns a function that makes this process number n of a job of two, at the beginning of its
  program."""
  store, sent, number = Store(), [], [0]

  def begin(which):
    number[0] = which
    monkeypatch.setattr(hosts, 'count', lambda: 2)
    monkeypatch.setattr(hosts, '_number', 0)

  monkeypatch.setattr(hosts, 'client', lambda: store)
  monkeypatch.setattr(hosts, 'number', lambda: number[0])
  monkeypatch.setattr(
    hosts, 'arrays', lambda tree: sent.append(tree) or tree if not number[0] else sent.pop(0)
  )
  return begin


@pytest.fixture
def runs(tmp_path):
  """Runs of the first process, which has the work dir, and of the second one."""
  with (
    Run(tmp_path / 'run', progress=False, tensorboard=False) as first,
    Run(progress=False) as second,
  ):
    yield first, second


def kept(run, value):
  path = run.workdir and run.workdir / 'kept.json'
  return run.kept(path, lambda: value, lambda value: json.dumps(value).encode(), json.loads)


def test_a_file_of_the_first_process_decides_for_all(as_process, runs):
  for round_number in range(2):
    values = []
    for number, run in enumerate(runs):
      as_process(number)
      values.append(kept(run, [round_number, number]))
    # Computed by both in the first round, where the first one's value counts; read back in the
    # second.
    assert values == [[0, 0], [0, 0]]


def test_a_mistake_of_the_first_process_is_told_by_all(as_process):
  def fail():
    raise UserError('it is gone')

  for number in range(2):
    as_process(number)
    with pytest.raises(UserError, match='it is gone'):
      hosts.content('file', fail)
    assert hosts.first('next', lambda: 1) == 1


def test_the_kept_memory_of_continual_learning_reaches_a_process_without_work_dir(
  as_process, runs, monkeypatch
):
  config = configs.load('continual:digits,quick')
  part = arrivals.Part('order1-step1', (0, 1))
  made = Condensed(
    np.random.default_rng(0).random((2, 4, 4, 1), np.float32), [0, 1], ('0', '1'), (0.0,), (1.0,)
  )
  path = runs[0].workdir / 'memory' / 'order1-step1.npz'
  path.parent.mkdir()
  made.save(path)
  runs[0].write_json(
    'results/condense-order1-step1.json', {'result': {'seconds': 3.0, 'steps_per_second': 2.0}}
  )
  monkeypatch.setattr(
    continual.problem, 'condense', lambda *arguments: pytest.fail('condensed once more')
  )
  for number, run in enumerate(runs):
    as_process(number)
    found, took = continual.memory(
      sections.of_config(config), Condensing.of_config(config), part, None, run, None
    )
    np.testing.assert_array_equal(found.images, made.images)
    assert took == {'seconds': 3.0, 'steps_per_second': 2.0}
