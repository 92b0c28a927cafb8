"""Few-shot learning from Python on data of one's own: what comes back, what is kept, what is
refused."""

import dataclasses
import json

import jax
import numpy as np
import patterns
import pytest
from patterns import CLASSES, SMALL

import jaxdistill
from jaxdistill import config as configs
from jaxdistill import metrics, models
from jaxdistill.errors import UserError
from jaxdistill.fscil import Learned, Result, checks, flow, methods, running, sections, stage
from jaxdistill.fscil import learned as learned_file
from jaxdistill.models import heads, weights
from jaxdistill.training import features, parallel
from jaxdistill.training.run import Run

SPLIT = dict(base_classes=2, way=2, shot=3)


def run(method, workdir=None, overrides=(), **changes):
  train, test = patterns.train_and_test()
  fields = {**SPLIT, 'draws': 2, 'model': 'mlp', **changes}
  return jaxdistill.fscil.run(
    method, train, test, workdir=workdir, overrides={**SMALL, **dict(overrides)}, **fields
  )


@pytest.fixture(scope='module')
def shelf(tmp_path_factory):
  return tmp_path_factory.mktemp('runs')


@pytest.fixture(scope='module')
def learned(shelf):
  """Two draws on two base networks; the classes come in another order than they are numbered."""
  steps = {'method.steps': 20, 'method.batch': 8}
  return run('pki', shelf / 'pki', steps, networks=2, order=3)


def test_accuracies_are_shares_by_run_and_session(learned):
  assert learned.accuracy.shape == (4, 3)
  assert ((learned.accuracy >= 0) & (learned.accuracy <= 1)).all()
  assert learned.numbers.seeds.tolist() == [0, 0, 1, 1]
  assert learned.numbers.draws.tolist() == [0, 1, 0, 1]
  np.testing.assert_array_equal(learned.accuracy[:, 0], learned.base[:, 0])
  assert np.isnan(learned.novel[:, 0]).all() and np.isnan(learned.old[:, :2]).all()
  assert not np.isnan(learned.novel[:, 1:]).any() and not np.isnan(learned.last[:, 1:]).any()
  # Ten test images of two classes each: all seen = base and novel together.
  mixed = (learned.base[:, 2] * 10 + learned.novel[:, 2] * 20) / 30
  np.testing.assert_allclose(learned.accuracy[:, 2], mixed)


def test_patterns_are_learned(learned):
  assert learned.accuracy[:, 0].min() > 0.8 and learned.accuracy[:, -1].mean() > 0.4


def test_the_summary_has_mean_and_deviation_over_the_runs(learned):
  mean, std = learned.summary['last']
  assert mean == pytest.approx(learned.accuracy[:, -1].mean(), abs=1e-6)
  assert std == pytest.approx(learned.accuracy[:, -1].std(ddof=1), abs=1e-6)
  assert {'average', 'pd', 'hm', 'gacc', 'nme_last'} < learned.summary.keys()


def test_the_classifier_is_that_of_the_first_run_and_answers_with_labels_of_the_data(learned):
  _, test = patterns.train_and_test()
  labels = learned.learner.predict(test.images)
  assert labels.dtype == np.int32 and learned.learner.class_names == tuple('abcdef')
  assert (labels == test.labels).mean() == pytest.approx(learned.accuracy[0, -1])
  assert learned.learner.predict(test.images[:0]).shape == (0,)


def test_the_mean_over_batches_is_that_of_the_answers_class_by_class(learned):
  _, test = patterns.train_and_test()
  order = np.argsort(
    [learned.learner.built.order.index(label) for label in test.labels], kind='stable'
  )
  answers = learned.learner.predict(test.images)
  wanted = metrics.batch_mean_accuracy(test.labels[order], answers[order])
  assert learned.numbers.batch_means[0, -1] == pytest.approx(wanted)
  assert learned.summary['batch_last'][0] == pytest.approx(
    learned.numbers.batch_means[:, -1].mean()
  )


def at_two_rates(overrides):
  """The numbers of PKI in the runs of `learned` and of half their rate, by the flow of a config."""
  given = dict(model='mlp', draws=2, networks=2, order='3', rates='0.5+1', data='', **SPLIT)
  config = configs.load('fscil/pki', given)
  for key, value in overrides.items():
    configs.override(config, key, value)
  fields = sections.of_config(config)
  work = stage.stage(fields, *patterns.train_and_test(), parallel.make_mesh(1))
  with Run() as opened:
    return running.run_all(opened, work, tell=False).numbers['pki']


@pytest.mark.slow
def test_every_factor_of_the_rate_is_a_run_that_equals_the_one_at_that_rate_alone(learned, shelf):
  steps = {'method.steps': 20, 'method.batch': 8}
  half, whole = at_two_rates({**SMALL, **steps}).by_scale().values()
  np.testing.assert_array_equal(whole.confusions, learned.numbers.confusions)
  rate = methods.defaults('pki')['learning_rate']
  alone = run('pki', None, {**steps, 'method.learning_rate': rate / 2}, networks=2, order=3)
  np.testing.assert_array_equal(half.confusions, alone.numbers.confusions)
  assert (half.confusions != whole.confusions).any()


@pytest.mark.parametrize('rates', ['0', 'fast', '1+1', '+', 'inf', '-1'])
def test_factors_that_are_no_rates_are_refused(rates):
  with pytest.raises(UserError, match='protocol.rates is'):
    run('ncm', None, {'protocol.rates': rates})


def test_a_classifier_is_saved_and_read_back(learned, tmp_path):
  _, test = patterns.train_and_test()
  path = learned.learner.save(tmp_path / 'classifier.msgpack')
  np.testing.assert_array_equal(
    Learned.load(path).logits(test.images), learned.learner.logits(test.images)
  )


def test_a_result_is_saved_and_read_back(learned, tmp_path):
  _, test = patterns.train_and_test()
  again = Result.load(learned.save(tmp_path / 'result.msgpack'))
  np.testing.assert_array_equal(again.accuracy, learned.accuracy)
  assert again.summary == learned.summary
  np.testing.assert_array_equal(
    again.learner.predict(test.images), learned.learner.predict(test.images)
  )


@pytest.mark.parametrize('cls', [Learned, Result])
def test_other_files_are_told_in_a_sentence(cls, tmp_path):
  with pytest.raises(UserError, match='cannot be read'):
    cls.load(tmp_path / 'absent')
  (tmp_path / 'other').write_bytes(b'something else')
  with pytest.raises(UserError, match='holds no (classifier|result) of this library'):
    cls.load(tmp_path / 'other')


def test_images_of_another_shape_are_refused(learned):
  for wrong in (np.zeros((2, 9, 9, 1), np.uint8), np.zeros((2, 8, 8, 1))):
    with pytest.raises(UserError, match=r'takes uint8 images \[n, 8, 8, 1\]'):
      learned.learner.predict(wrong)


def test_the_same_work_dir_gives_the_same_numbers_and_classifier(learned, shelf):
  _, test = patterns.train_and_test()
  steps = {'method.steps': 20, 'method.batch': 8}
  again = run('pki', shelf / 'pki', steps, networks=2, order=3)
  np.testing.assert_array_equal(again.numbers.confusions, learned.numbers.confusions)
  np.testing.assert_array_equal(
    again.learner.predict(test.images), learned.learner.predict(test.images)
  )


@pytest.mark.slow
def test_the_base_networks_of_a_work_dir_serve_another_learner(learned, shelf):
  """With their head where it fits, else with one that is fitted to their features."""
  given = dict(base=shelf / 'pki', networks=2, order=3)
  as_they_are = {'method.steps': 1, 'base_training.steps': 0}
  sdc = run('sdc', overrides=as_they_are, **given)
  # Before any session PKI and SDC are the base network.
  np.testing.assert_array_equal(sdc.base[:, 0], learned.base[:, 0])
  comemory = run('comemory', **given, overrides=as_they_are)
  assert comemory.accuracy.shape == (4, 3) and comemory.base[:, 0].min() > 0.8
  with pytest.raises(UserError, match='base_training.networks is 3; ask for at most 2'):
    run('sdc', base=shelf / 'pki', networks=3)
  with pytest.raises(UserError, match='are of another architecture'):
    run('sdc', overrides={'model.width': 8}, **given)


def test_one_base_network_serves_every_learner_that_wants_its_head(tmp_path):
  """Found by what made it, without being named."""
  weights_of = []
  for method in ('ncm', 'teen'):
    run(method, tmp_path / method, draws=1)
    facts = json.loads((tmp_path / method / 'base.json').read_text())
    weights_of.append((tmp_path / method / facts['weights']).resolve())
    # Neither trains anything in the sessions.
    assert (tmp_path / method / 'metrics.jsonl').is_file() == (method == 'ncm')
  assert weights_of[0] == weights_of[1] and weights_of[0].is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
  'method, fields, head',
  [
    ('sdc', {'classifier': 'etf', 'fuse': 'dynamic'}, 'etf'),
    ('pki', {'unit_rows': False, 'scale': 1.0}, 'free_projector'),
  ],
)
def test_fields_that_want_another_head_train_the_base_network_with_it(method, fields, head):
  overrides = {f'method.{name}': value for name, value in {'steps': 2, **fields}.items()}
  result = run(method, None, overrides, draws=1)
  assert result.learner.built.head == head
  # The base network's own decisions, which another head would not leave.
  assert result.base[0, 0] > 0.8


def test_a_classifier_zooms_as_its_tests_did():
  _, test = patterns.train_and_test()
  result = run('ncm', None, {'base_training.zoom': 14}, draws=1)
  assert result.learner.built.zoom == 14
  right = result.learner.predict(test.images) == test.labels
  assert right.mean() == pytest.approx(result.accuracy[0, -1])


def test_an_encoder_comes_from_a_file_of_weights(tmp_path):
  train, test = patterns.train_and_test()
  encoder = models.build({'name': 'mlp', 'width': 16, 'depth': 1}, CLASSES, train.image_shape)
  network = heads.attach(encoder, 'cosine')
  variables = network.init(jax.random.key(1), np.zeros((1, *train.image_shape)))
  path = tmp_path / 'encoder.safetensors'
  weights.save(path, network, variables)
  # Without steps of its own the encoder stays as it is.
  result = run('ncm', base=path, overrides={'base_training.steps': 0})
  # The nearest of six class means of these features, by hand.
  rows = [train.of_class(label) for label in range(2)]
  embed = lambda images: features.embed(network, variables, images)
  vectors, tested = embed(train), embed(test.take(test.labels < 2))
  means = np.stack([vectors[row].mean(0) for row in rows])
  cosines = tested @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
  expected = (cosines.argmax(1) == test.labels[test.labels < 2]).mean()
  np.testing.assert_allclose(result.accuracy[:, 0], expected)
  # With steps they begin where the file ends.
  step = {'base_training.steps': 1, 'base_training.learning_rate': 1e-9}
  moved = run('ncm', base=path, draws=1, overrides=step).learner.variables['params']['encoder']
  given = variables['params']['encoder']['linear1']['kernel']
  np.testing.assert_allclose(moved['linear1']['kernel'], given, atol=1e-6)
  with pytest.raises(UserError, match='architecture'):
    run('ncm', base=path, overrides={'model.width': 8})


@pytest.mark.parametrize(
  'changes, words',
  [
    (dict(method='pky'), "no few-shot learner 'pky'; did you mean 'pki'"),
    (dict(way=3), 'way=3 does not divide the 4 classes that follow the 2 base classes'),
    (dict(base_classes=7), 'base_classes is 7, and there are 6 classes'),
    (dict(base_classes=6), 'all classes that there are; leave some for the sessions'),
    (dict(shot=13), 'has 12 training images; shot=13 needs 13'),
    (
      dict(overrides={'protocol.sessions': 3}),
      '3 sessions of 2 classes .* 2 sessions are possible',
    ),
    (dict(draws=0), 'draws is 0; it must be at least 1'),
    (dict(way='two'), "way is 'two'; it must be a whole number"),
    (dict(seed=-1), 'seed is -1; it must be at least 0'),
    (dict(memory='exemplars', ipc=4), 'A memory of 4 images a class is larger than the data'),
    (dict(memory='exemplar'), "did you mean 'exemplars'"),
    (dict(base='nowhere'), 'base_training.given=nowhere does not exist'),
    (dict(overrides={'method.stepps': 3}), "did you mean 'method.steps'"),
    (dict(overrides={'base_training.select': 'best'}), "did you mean 'best_test'"),
    (dict(overrides={'base_training.head': 'cosin'}), "no head 'cosin'; did you mean 'cosine'"),
    (
      dict(overrides={'base_training.select': 'val', 'base_training.held_out': 0.0}),
      'set base_training.held_out above 0',
    ),
    (dict(overrides={'data.validation_share': 0.1}), 'says how images are loaded'),
    (dict(shot=0), 'shot is 0; it must be at least 1'),
    (dict(ipc=3), 'ipc is 3, and the memory means does not hold so many images'),
    (dict(order=[1, 0]), r'order is a seed, or a file with a class a line; got \[1, 0\]'),
    (dict(order=-1), 'order is -1; it must be at least 0'),
    (dict(indices=np.zeros((2, 6), int)), 'indices is a name or a path; got array'),
    (dict(base=3), 'base is a name or a path; got 3'),
    (
      dict(overrides={'protocol.rates': '0.1+1'}),
      r'protocol.rates is 0.1\+1, and fscil.run has one result.* the config fscil/compare with',
    ),
    (dict(order='abc'), 'The list abc cannot be read'),
    (dict(method='teen', memory='exemplars'), 'The learner teen reads no memory'),
    (dict(overrides={'base_training.zoom': 3}), 'base_training.zoom is 3, and the images have'),
    (
      dict(overrides={'base_training.fit_learning_rate': 0.0}),
      'base_training.fit_learning_rate is 0.0; it must be above 0',
    ),
    (dict(indices='absent'), 'There is no list of images absent'),
  ],
)
def test_mistakes_are_refused_before_a_work_dir_is_made(changes, words, tmp_path):
  changes = {'method': 'pki', **changes}
  with pytest.raises(UserError, match=words):
    run(changes.pop('method'), tmp_path / 'run', **changes)
  assert not (tmp_path / 'run').exists()


def test_a_file_with_a_comparison_is_refused_before_it_runs(tmp_path):
  file = tmp_path / 'mine.py'
  file.write_text(
    'from jaxdistill import config\n'
    "get_config = lambda arg: config.load('fscil/compare', {**arg, 'methods': 'ncm+pki'})\n"
  )
  with pytest.raises(UserError, match='mine.py is no config of one method of the family fscil'):
    run(str(file))


def test_numbers_of_numpy_and_none_are_read_as_what_they_say(monkeypatch):
  def stop(config):
    raise _Config(config)

  monkeypatch.setattr(checks, 'check_values', stop)
  with pytest.raises(_Config) as stopped:
    few = {name: np.int64(number) for name, number in SPLIT.items()}
    run('ncm', **few, draws=np.int64(3), indices=None, base=None, order=None)
  config = stopped.value.args[0]
  assert config.protocol.draws == 3 and config.protocol.way == 2
  assert (config.protocol.indices, config.protocol.order, config.base_training.given) == ('',) * 3


def test_a_class_comes_once(tmp_path):
  (tmp_path / 'order.txt').write_text('\n'.join('abcdea'))
  with pytest.raises(UserError, match="The class 'a' comes twice"):
    run('ncm', order=tmp_path / 'order.txt')


def test_a_list_of_images_is_checked_by_length_and_label(tmp_path):
  train, _ = patterns.train_and_test()
  rows = [train.of_class(label)[:3] for label in range(2, CLASSES)]
  path = tmp_path / 'list.txt'
  path.write_text('\n'.join(map(str, np.concatenate(rows)[:-1])))
  with pytest.raises(UserError, match='names 11 images'):
    run('ncm', indices=path)
  path.write_text('\n'.join(map(str, np.concatenate(rows)[::-1])))
  with pytest.raises(UserError, match='which is of class'):
    run('ncm', indices=path)


class _Stopped(Exception):
  """Before base networks are trained."""


def test_a_work_dir_knows_its_list_of_images(tmp_path, monkeypatch):
  def stop(*arguments, **fields):
    raise _Stopped

  monkeypatch.setattr(flow, 'bases', stop)
  train, _ = patterns.train_and_test()

  def listed(start):
    rows = [train.of_class(label)[start : start + 3] for label in range(2, CLASSES)]
    path = tmp_path / 'list.txt'
    path.write_text('\n'.join(map(str, np.concatenate(rows))))
    run('ncm', tmp_path / 'run', indices=path)

  for _ in range(2):  # the same goes on
    with pytest.raises(_Stopped):
      listed(0)
  with pytest.raises(UserError, match='list of few images has changed since'):
    listed(1)


class _Config(Exception):
  """What a run would have worked by."""


def config_of(monkeypatch, method, name, base_classes, way):
  def stop(config):
    raise _Config(config)

  monkeypatch.setattr(checks, 'check_values', stop)
  train, test = (dataclasses.replace(part, name=name) for part in patterns.train_and_test())
  with pytest.raises(_Config) as stopped:
    jaxdistill.fscil.run(method, train, test, base_classes, way, 5)
  return stopped.value.args[0]


@pytest.mark.parametrize('name', ['cub:/data/CUB_200_2011', 'caltech_birds2011', 'mini:/data/mini'])
@pytest.mark.parametrize('method', ['pki', 'teen', 'cd2', 'nc_fscil'])
def test_a_set_with_a_path_has_the_numbers_of_its_config(monkeypatch, method, name):
  usual = configs.load(f'fscil/{method}:{name}')
  protocol = usual.protocol
  config = config_of(monkeypatch, method, name, protocol.base_classes, protocol.way)
  # Of images of 8 pixels the same part is cut.
  zoom = usual.base_training.zoom
  usual.base_training.zoom = round(zoom * 8 / usual.data.image_size)
  assert config == usual and zoom > usual.data.image_size and usual.base_training.zoom == 9


def test_cifar100_of_another_size_is_cropped_by_the_same_part(monkeypatch):
  usual = configs.load('fscil/pki:cifar100')
  config = config_of(monkeypatch, 'pki', 'cifar100', 60, 5)
  assert usual.base_training.zoom == 36 and config.base_training.zoom == 9  # 36 / 32 of 8 pixels
  usual.base_training.zoom = 9
  assert config == usual


def test_a_set_in_memory_has_no_numbers_of_its_own(monkeypatch):
  for name in ('cub', 'npz:mine.npz', 'mine'):
    config = config_of(monkeypatch, 'pki', name, 100, 10)
    assert (config.model.name, config.base_training.recipe) == ('resnet', 'short')
    assert config.method.learning_rate == 0.25 and config.data.image_size == 0


def test_a_classifier_of_an_earlier_version_is_built_without_a_field_that_said_nothing():
  fields = dict.fromkeys(('model', 'head', 'head_width', 'zoom', 'task'), '')
  fields |= dict(order=[0], class_names=['a'])
  for seed, kept in ((0, {'name': 'nc_fscil'}), (1, {'name': 'nc_fscil', 'etf_seed': 1})):
    method = {'name': 'nc_fscil', 'etf_seed': seed}
    built = learned_file._built(json.dumps({**fields, 'method': method}))
    assert built.method == kept
  with pytest.raises(UserError, match="no field of method nc_fscil 'etf_seed'"):
    methods.check(built.method)


def test_a_name_or_other_things_are_no_data():
  with pytest.raises(UserError, match='the two that data.load'):
    jaxdistill.fscil.run('ncm', 'digits', 'digits', **SPLIT)
