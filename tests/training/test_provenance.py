"""What a work dir was begun with: kept at the first start, compared at every other, by every
process."""

import json

import numpy as np
import pytest

from jaxdistill.data import Dataset, Vectors
from jaxdistill.data.identity import Identity
from jaxdistill.errors import UserError
from jaxdistill.losses import discrepancy
from jaxdistill.training import hosts, provenance
from jaxdistill.training.provenance import Code, Content
from jaxdistill.training.run import Run

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), np.uint8)


def facts(shade=0, **others):
  images = PIXELS.copy()
  images[0, 0, 0, 0] += shade
  dataset = Dataset(images, np.repeat([0, 1], 3), mean=(0.5,), std=(0.25,))
  return {'data': {'training': Identity(dataset)} | others}


def start(workdir, sections):
  with Run(workdir, progress=False, tensorboard=False) as run:
    provenance.settle(run, sections)


def record(workdir):
  return json.loads((workdir / provenance.FILE).read_text())


def test_the_same_goes_on_and_other_data_are_refused(tmp_path):
  start(tmp_path, facts())
  kept = record(tmp_path)
  start(tmp_path, facts())
  with pytest.raises(UserError) as refused:
    start(tmp_path, facts(shade=1))
  assert str(refused.value) == (
    f'The work dir {tmp_path} was begun with other data: other pixels of the training images. '
    'Use another work dir, or the old data to continue.'
  )
  assert record(tmp_path) == kept == {'data': {'training': kept['data']['training']}}


def test_a_part_that_comes_or_goes_is_other_data(tmp_path):
  start(tmp_path / 'one', facts())
  with pytest.raises(UserError, match='validation: new'):
    start(tmp_path / 'one', facts(validation=Content('a')))
  start(tmp_path / 'two', facts(validation=Content('a')))
  with pytest.raises(UserError, match='validation: no longer there'):
    start(tmp_path / 'two', facts())


def test_sections_are_kept_beside_each_other(tmp_path):
  start(tmp_path, facts())
  start(tmp_path, {'sets': {'mine.npz': Content('a')}})
  assert record(tmp_path).keys() == {'data', 'sets'}
  with pytest.raises(UserError, match='mine.npz has changed since'):
    start(tmp_path, {'sets': {'mine.npz': Content('b')}})


def test_a_work_dir_of_an_earlier_version_is_filled_in_and_told(tmp_path, capsys):
  with Run(tmp_path, progress=False, tensorboard=False) as run:
    run.once('estimate', lambda: 1)
  start(tmp_path, facts())
  told = capsys.readouterr().out
  assert 'does not say which data it was begun with' in told and told.count('\n') == 1
  start(tmp_path, facts())
  assert capsys.readouterr().out == ''
  with pytest.raises(UserError, match='other pixels'):
    start(tmp_path, facts(shade=1))


@pytest.mark.parametrize(
  'content',
  [
    b'',
    b'[]',
    b'{"data": 1}',
    b'{"data": {"training": {}}}',
    b'{"data": {"training": 3}}',
    b'{"data": {"training": {"images": 6, "shape": 1, "class_names": 2, "labels": null}}}',
    b'{"data": {"training": {"images": "six", "shape": 1, "class_names": 2, "labels": null}}}',
  ],
)
def test_a_damaged_record_is_told_and_written_again(content, tmp_path, capsys):
  start(tmp_path, facts())
  kept = record(tmp_path)
  (tmp_path / provenance.FILE).write_bytes(content)
  start(tmp_path, facts())
  assert 'data.json is damaged and is written again' in capsys.readouterr().out
  assert record(tmp_path) == kept


def test_a_run_in_memory_keeps_nothing_and_asks_nothing():
  with Run(progress=False) as run:
    provenance.settle(run, {'data': None})


def work(workdir, **things):
  with Run(workdir, progress=False, tensorboard=False) as run:
    run.works_on(**things)


def test_a_loop_of_ones_own_says_what_it_works_on(tmp_path):
  images = Dataset(PIXELS, np.repeat([0, 1], 3), mean=(0.5,), std=(0.25,))
  vectors = Vectors([[0.0], [1.0]], [0, 1])
  things = dict(training=images, noise=np.arange(3.0), scale=lambda x: 2 * x, test=vectors)
  work(tmp_path, **things)
  work(tmp_path, **things | dict(noise=[0.0, 1.0, 2.0], scale=lambda x: 2 * x))
  for change, sentence in (
    (dict(training=images.take(range(5))), 'other data: training images: 6 -> 5'),
    (dict(test=vectors.take([1, 0])), 'other data: other labels of the test images'),
    (dict(noise=np.arange(3)), 'other data: noise has changed since'),
    (dict(scale=lambda x: 3 * x), 'other code: the code of the scale has changed'),
    (dict(more=1), 'other data: more: new'),
  ):
    with pytest.raises(UserError, match=f'was begun with {sentence}'):
      work(tmp_path, **things | change)
  del things['scale']
  with pytest.raises(UserError, match='was begun with other code: scale: no longer there'):
    work(tmp_path, **things)


def test_a_phase_of_other_settings_begins_anew(tmp_path, capsys):
  def begin(**settings):
    with Run(tmp_path, progress=False, tensorboard=False) as run:
      directory = tmp_path / 'checkpoints' / 'fit'
      directory.mkdir(parents=True, exist_ok=True)
      provenance.begin(run, 'fit', settings)
      provenance.begin(run, 'other', {})
      return directory.exists(), capsys.readouterr().out

  start(tmp_path, facts())
  assert begin(rate=0.1, model=None) == begin(rate=0.1, model=None) == (True, '')
  gone, text = begin(rate=0.2, model=None)
  assert not gone and 'fit: it was begun with other settings (rate: 0.1 -> 0.2) and begins' in text
  assert begin(rate=0.2, model=None) == (True, '')
  assert record(tmp_path).keys() == {'data', 'settings'}
  with Run(progress=False) as run:
    provenance.begin(run, 'fit', {})


@pytest.mark.parametrize('thing', [None, {'a': 1}, [[1], [2, 3]], object()])
def test_what_cannot_be_known_again_is_refused(thing):
  with Run(progress=False) as run, pytest.raises(UserError, match='knows .*; what is of type'):
    run.works_on(what=thing)


@pytest.fixture
def kernel():
  """Registers a kernel of the user's."""

  def register(power):
    discrepancy.KERNELS['mine'] = lambda x, y: (x @ y.T) ** power

  yield register
  del discrepancy.KERNELS['mine']


def test_code_of_the_user_that_the_config_names_counts(tmp_path, kernel):
  config = {'method': {'name': 'm3d', 'kernel': 'mine'}}
  kernel(2)
  start(tmp_path, {'code': provenance.code(config)})
  kernel(2)
  start(tmp_path, {'code': provenance.code(config)})
  kernel(3)
  with pytest.raises(UserError) as refused:
    start(tmp_path, {'code': provenance.code(config)})
  assert 'other code: the code of the kernel' in str(refused.value)
  assert 'Use another work dir, or the old code to continue.' in str(refused.value)
  assert provenance.code({'method': {'name': 'm3d', 'kernel': 'gaussian'}}) == {}


def test_code_under_another_python_is_not_compared():
  before = Code(lambda x: x + 1).to_json()
  now = Code(lambda x: x + 2)
  assert now.differences(before, "method 'mine'") == ["the code of the method 'mine' has changed"]
  assert now.differences(before | {'python': '3.99'}, "method 'mine'") == []


class Store(dict):
  """The key-value store of a job; what one process waits for, another has to have said."""

  def key_value_set(self, key, value):
    self[key] = value

  def blocking_key_value_get(self, key, milliseconds):
    return self[key]


@pytest.mark.parametrize('stored', [False, True])
def test_processes_that_loaded_other_data_end_with_a_sentence(tmp_path, monkeypatch, stored):
  if stored:
    start(tmp_path, facts())
  number, store, said = [0], Store(), []

  def collect(what, value):
    """All processes give what process 1 has: each is played alone."""
    said.append(value)
    return [{}, said[-1]] if number[0] else [said[-1], {}]

  with Run(tmp_path, progress=False) as first, Run(progress=False) as second:
    second.place = first.place
    monkeypatch.setattr(hosts, 'count', lambda: 2)
    monkeypatch.setattr(hosts, 'client', lambda: store)
    monkeypatch.setattr(hosts, 'number', lambda: number[0])
    monkeypatch.setattr(hosts, 'collect', collect)
    monkeypatch.setattr(hosts, '_number', 0)
    provenance.settle(first, facts())
    number[0] = 1
    monkeypatch.setattr(hosts, '_number', 0)
    provenance.settle(second, facts())
    monkeypatch.setattr(hosts, '_number', 0)
    with pytest.raises(UserError) as refused:
      provenance.settle(second, facts(shade=1))
  assert str(refused.value) == (
    'Process 1 works on something else than process 0: other pixels of the training images. '
    'Give all of them the same files.'
  )


def test_the_record_goes_along_into_a_bucket(tmp_path):
  place = f'file://{tmp_path}/bucket/run'
  start(place, facts())
  assert record(tmp_path / 'bucket' / 'run').keys() == {'data'}
  start(place, facts())
  with pytest.raises(UserError, match=f'The work dir {place} was begun with other data'):
    start(place, facts(shade=1))


def test_what_a_run_was_given_beside_its_data_is_known_again(tmp_path):
  examples = Dataset(PIXELS, np.repeat([0, 1], 3))

  def start(**changed):
    things = {'evidence': [np.arange(3)], 'held': examples, 'teacher': 'a1', 'truth': None}
    with Run(tmp_path, progress=False, tensorboard=False) as run:
      provenance.settle_given(run, 'given', {**things, **changed})

  start()
  start()
  assert set(record(tmp_path)['given']) == {'evidence', 'held', 'teacher'}
  for changed, words in (
    ({'evidence': [np.arange(4)]}, 'evidence has changed since'),
    ({'held': examples.take([0, 1, 2])}, 'held images: 6 -> 3'),
    ({'teacher': 'b2'}, 'teacher has changed since'),
    ({'teacher': None}, 'teacher: no longer there'),
    ({'truth': [np.arange(3)]}, 'truth: new'),
  ):
    with pytest.raises(UserError, match=words):
      start(**changed)
