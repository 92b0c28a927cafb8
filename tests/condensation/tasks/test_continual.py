"""Continual learning: the orders and their division, what is scored, what is kept, and its end
after an interruption."""

import dataclasses
import json

import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill.commands import run as launcher
from jaxdistill.condensation import (
  Condensed,
  arrivals,
  checks,
  problem,
  scoring,
  sections,
  settings,
)
from jaxdistill.condensation.problem import Condensing
from jaxdistill.condensation.tasks import continual, continual_page
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError
from jaxdistill.experiment.results import Row
from jaxdistill.synthesis.condensed import join
from jaxdistill.training import program
from jaxdistill.training.run import Run

CLASSES = 6
SMALL = {
  'model.width': '4',
  'model.depth': '1',
  'model.norm': 'none',
  'condensation.batch_real': '4',
  'condensation.iterations': '2',
  'condensation.augmentation': '',
  'evaluation.steps': '2',
  'evaluation.every': '2',
  'data.validation_share': '0',
}


@pytest.fixture(scope='module')
def own(tmp_path_factory):
  """Twelve random images of 8x8 in each of six classes."""
  path = tmp_path_factory.mktemp('own') / 'mine.npz'
  images = np.random.RandomState(0).randint(0, 256, (12 * CLASSES, 8, 8, 1)).astype(np.uint8)
  np.savez(path, images=images, labels=np.repeat(np.arange(CLASSES), 12))
  return f'npz:{path}'


def small(own, method='m3d', **overrides):
  config = configs.load(
    f'condensation/continual:{own},ipc=1,factor=1,steps=2,orders=2,networks=1,method={method}'
  )
  for key, value in (SMALL | overrides).items():
    configs.override(config, key, value)
  continual.check(config)
  return config


def start(workdir, config):
  with Run(
    workdir, config, progress=False, tensorboard=False, log_every=1, checkpoint_every=1
  ) as work:
    return continual.run(config, work)


@pytest.fixture(scope='module')
def finished(own, tmp_path_factory):
  """A whole run: its work dir, config, result, and how many programs of the loop were compiled for
  it."""
  workdir, config, compiled = tmp_path_factory.mktemp('continual'), small(own), set()
  compile_one = program._compile

  def counting(lowered, arguments):
    made = compile_one(lowered, arguments)
    compiled.update(program._compiled)
    return made

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(program, '_compiled', {})
    patch.setattr(program, '_compile', counting)
    result = start(workdir, config)
  return workdir, config, result, len(compiled)


def test_orders_are_numpys_permutations_of_the_first_seeds():
  expected = [np.random.RandomState(seed).permutation(100) for seed in range(5)]
  np.testing.assert_array_equal(arrivals.class_orders(100, 5), expected)
  # Frozen by numpy: these numbers must never change.
  assert arrivals.class_orders(10, 1)[0].tolist() == [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]


@pytest.mark.parametrize('shared, count', [(True, 5), (False, 15)])
def test_plan_divides_every_order_and_finds_each_class_again(shared, count):
  todo = arrivals.plan(10, steps=5, orders=3, shared=shared)
  assert len(todo.parts) == len({part.classes for part in todo.parts}) <= count and todo.way == 2
  for order, permutation in zip(range(3), arrivals.class_orders(10, 3)):
    for step in range(5):
      assert todo.seen(order, step) == permutation[: 2 * step + 2].tolist()
      assert [part.classes[position] for part, position in todo.places(order, step)] == todo.seen(
        order, step
      )
      if (
        not shared
      ):  # whoever learned from the images of a step learned from those of its classes alone
        assert {part.classes for part, _ in todo.places(order, step)} == {
          tuple(sorted(s)) for s in todo.orders[order][: step + 1]
        }


def test_steps_of_the_same_classes_are_condensed_once():
  todo = arrivals.plan(2, steps=1, orders=4, shared=False)
  assert [part.name for part in todo.parts] == ['order1-step1']
  assert {steps[0] for steps in todo.orders} == {(0, 1), (1, 0)}
  assert [
    position
    for _, position in todo.places([o for o, s in enumerate(todo.orders) if s[0] == (1, 0)][0], 0)
  ] == [1, 0]


def test_join_takes_single_classes_in_the_order_asked_for():
  first = Condensed(
    np.full((3, 4, 4, 1), 0.25), [0, 0, 1], ('ant', 'bee'), (0.5,), (0.2,), factor=2
  )
  second = Condensed(np.full((2, 4, 4, 1), 0.75), [0, 1], ('cat', 'dog'), (0.5,), (0.2,), factor=2)
  both = join([(second, 1), (first, 0)])
  assert (
    both.class_names == ('dog', 'ant') and both.labels.tolist() == [0, 1, 1] and both.factor == 2
  )
  assert both.images[:, 0, 0, 0].tolist() == [0.75, 0.25, 0.25]


def test_a_memory_does_not_depend_on_the_other_classes_nor_on_the_order(own):
  """The classes of one step, condensed as they arrive and among all six, where nothing but their
  numbers is the same."""
  config = small(own)
  train, _, _ = settings.datasets(config)
  part = arrivals.Part('order1-step1', (3, 5))
  with Run(progress=False) as work:
    condensing, fields = Condensing.of_config(config), sections.of_config(config)
    alone, _ = continual.memory(fields, condensing, part, train, work, None)
    ready = problem.setup(condensing, train)
    among_all, before = problem.condense(condensing, train, ready, work)
  assert alone.class_names == tuple(train.class_names[label] for label in (3, 5))
  np.testing.assert_allclose(alone.images, among_all.images[[3, 5]], atol=1e-5)
  assert np.abs(alone.images - before.images[[3, 5]]).max() > 1e-3


def test_networks_are_scored_on_the_classes_seen_and_no_others(own):
  """A memory of two classes that differ at a glance: both are learned, and the third, never shown,
  is not asked for."""
  images = np.concatenate([np.full((20, 8, 8, 1), value, np.uint8) for value in (20, 230, 120)])
  whole = Dataset(images, np.repeat([0, 1, 2], 20))
  config = small(
    own,
    **{
      'evaluation.steps': '60',
      'evaluation.every': '60',
      'evaluation.networks': '2',
    },
  )
  shown = Condensed(
    np.stack([images[20], images[0]]) / 255, [0, 1], ('1', '0'), whole.mean, whole.std
  )
  fields, test = sections.of_config(config), whole.take_classes([1, 0])
  protocol = dataclasses.replace(
    scoring.protocol(fields.evaluation, shown, seed=1, model=fields.model, dtype=fields.dtype),
    augment=False,
  )
  assert len(test) == 40 and test.class_names == shown.class_names
  with Run(progress=False) as work:
    row, swapped = (
      scoring.row(
        work,
        scoring.Contestant(f'order{number}-step1', '2 classes', shown),
        protocol,
        scored,
      )
      for number, scored in enumerate([test, dataclasses.replace(test, labels=1 - test.labels)])
    )
  assert row['last']['values'] == [1.0, 1.0] and swapped['last']['values'] == [0.0, 0.0]


def test_table_takes_the_mean_over_orders_and_networks():
  def row(*values):
    scores = {'last': continual.metrics.mean_std(np.array(values))}
    extras = {'images_per_class': 1.0, 'training_images': 2, 'steps': 3}
    return Row('set', 'a set', 1.0, scores, extras=extras)

  rows = continual.table(5, [[row(0.9, 0.7), row(0.5, 0.3)], [row(0.6, 0.6), row(0.2, 0.2)]])
  assert [(each['label'], each['last']['n']) for each in rows] == [
    ('5 classes', 4),
    ('10 classes', 4),
    ('Average over steps', 2),
  ]
  assert rows[0]['last']['mean'] == pytest.approx(0.7) and rows[1]['last']['mean'] == pytest.approx(
    0.3
  )
  assert rows[0]['last']['std'] == pytest.approx(np.std([0.9, 0.7, 0.6, 0.6], ddof=1), abs=1e-6)
  assert rows[2]['last']['values'] == pytest.approx(
    [0.6, 0.4]
  )  # orders: ((.8 + .4) / 2, (.6 + .2) / 2)
  assert rows[0]['seconds'] == 2.0 and rows[2]['seconds'] == 4.0


@pytest.mark.slow
def test_run_leaves_numbers_memories_and_a_page(finished):
  workdir, _, result, _ = finished
  assert json.loads((workdir / 'result.json').read_text()) == json.loads(json.dumps(result))
  assert [row['label'] for row in result['rows']] == [
    '3 classes',
    '6 classes',
    'Average over steps',
  ]
  assert (
    result['final'] == result['rows'][1]['last']
    and result['final']['n'] == 2
    and result['average']['n'] == 2
  )
  assert [row['training_images'] for row in result['rows'][:2]] == [3, 6]
  # M3D condenses a class the same in any company: the memories of the first order serve both.
  assert (
    result['condensed']
    == sorted(path.stem for path in (workdir / 'memory').iterdir())
    == ['order1-step1', 'order1-step2']
  )
  order = arrivals.class_orders(CLASSES, 1)[0]
  made = Condensed.load(workdir / 'memory' / 'order1-step1.npz')
  assert made.class_names == tuple(
    str(label) for label in sorted(order[:3])
  ) and made.images.shape == (3, 8, 8, 1)
  assert (workdir / 'memory.png').read_bytes().startswith(b'\x89PNG')
  page = (workdir / 'report.html').read_text()
  for text in (
    'Test accuracy on all classes seen so far',
    'Each order of the classes',
    'Matching loss',
    'Step 2',
    'M3D',
  ):
    assert text in page


@pytest.mark.slow
def test_every_network_of_every_step_is_another_one(finished):
  _, config, _, _ = finished
  seeds = [
    continual.networks_seed(config.seed, order, step) for order in range(5) for step in range(10)
  ]
  assert len(set(seeds)) == 50 and max(seeds) < 2**32


@pytest.mark.slow
def test_interrupted_twice_and_started_again_it_ends_with_the_same_numbers(
  finished, tmp_path, monkeypatch
):
  """Once in the middle of condensing the second step, once while networks learn in the second
  order."""
  _, config, result, _ = finished
  log, points = Run.log, [('condense-order1-step2', 1), ('evaluate-order2-step1', 1)]

  def interrupt(self, name, step, *rest, **more):
    log(self, name, step, *rest, **more)
    if points and (name, step) == points[0]:
      points.pop(0)
      raise KeyboardInterrupt

  monkeypatch.setattr(Run, 'log', interrupt)
  for _ in range(2):
    with pytest.raises(KeyboardInterrupt):
      start(tmp_path, config)
  kept = tmp_path / 'memory' / 'order1-step1.npz'
  first = kept.stat().st_mtime_ns
  assert not points and not (tmp_path / 'result.json').exists()
  again = start(tmp_path, config)
  assert kept.stat().st_mtime_ns == first
  assert [row['last'] for row in again['rows']] == [row['last'] for row in result['rows']]


@pytest.mark.slow
def test_dance_condenses_every_step_with_experts_of_its_own(own, tmp_path):
  config = small(
    own, 'dance', **{'method.experts': '1', 'method.expert_steps': '2', 'continual.orders': '1'}
  )
  result = start(tmp_path / 'run', config)
  assert (
    len(list((tmp_path / 'experts').iterdir())) == len(result['condensed']) == 2
    and result['seconds']['condense'] > 0
  )
  assert not list((tmp_path / 'run' / 'checkpoints').iterdir())


@pytest.mark.slow
def test_nothing_is_compiled_again_in_a_later_step_or_order(finished):
  assert (
    finished[3] == 3
  )  # one program that condenses, and one that trains for each number of classes seen


@pytest.mark.slow
def test_selected_real_images_are_a_memory_too(own, tmp_path):
  """Herding compares features of a network that knows the classes of the step alone; with one image
  it takes the most central."""
  config = small(own, 'herding', **{'selection.network': 'random', 'continual.orders': '1'})
  result = start(tmp_path, config)
  train, _, _ = settings.datasets(config)
  assert result['title'].startswith('Herding as the memory') and result['method'] == 'herding'
  made = Condensed.load(tmp_path / 'memory' / 'order1-step1.npz')
  for picture, label in zip(
    made.images, sorted(arrivals.class_orders(CLASSES, 1)[0][:3]), strict=True
  ):
    real = train.images[train.of_class(label)]
    assert (np.abs(real / 255 - picture[None]).max((1, 2, 3)) < 1e-6).sum() == 1
  assert 'Herding' in (tmp_path / 'report.html').read_text()


@pytest.mark.parametrize(
  'argument, words',
  [
    ('steps=3', 'the 10 classes of digits do not divide into 3 equal steps; use 1, 2, 5 or 10'),
    ('steps=0', 'continual.steps is 0; it must be at least 1'),
    ('orders=0', 'continual.orders is 0; it must be at least 1'),
    ('method=hearding', "did you mean 'herding'"),
    ('networks=0', 'evaluation.networks is 0; it must be at least 1'),
    ('ipc=1000', 'ipc=1000 is more than class .* of digits has'),
  ],
)
def test_mistakes_are_told_before_any_work(argument, words):
  with pytest.raises(UserError, match=words):
    continual.check(configs.load(f'condensation/continual:digits,{argument}'))


@pytest.mark.parametrize(
  'changes, needed',
  [({'factor': 2}, 'ipc=100 with factor=2 needs 400 images'), ({'init': 'noise'}, 'ipc=200 is')],
)
def test_real_images_of_a_memory_are_counted_before_any_work(changes, needed):
  ipc = 200 if 'init' in changes else 100
  config = configs.load(f'condensation/continual:digits,method=herding,ipc={ipc}')
  config.condensation.update(changes)
  with pytest.raises(UserError, match=f"{needed} .*more than class '8' of digits has"):
    continual.check(config)


def test_the_classes_that_come_first_need_validation_images(tmp_path):
  images = np.random.RandomState(0).randint(0, 256, (40, 8, 8, 1)).astype(np.uint8)
  labels = np.repeat(np.arange(4), 10)
  own = np.isin(labels, [0, 1])
  np.savez(
    tmp_path / 'mine.npz',
    train_images=images,
    train_labels=labels,
    test_images=images,
    test_labels=labels,
    val_images=images[own],
    val_labels=labels[own],
  )
  with pytest.raises(UserError, match="arrives first in order 1 .'2', '3'., so nothing chooses by"):
    small(f'npz:{tmp_path}/mine.npz', **{'continual.orders': '1', 'data.validation_share': '.1'})
  small(f'npz:{tmp_path}/mine.npz', **{'continual.orders': '1'})


def test_baselines_and_fields_of_other_tasks_are_refused(own):
  config = small(own)
  config.evaluation.baselines = ('random',)
  with pytest.raises(UserError, match='another method to compare'):
    continual.check(config)
  plain = configs.load('m3d:digits')
  plain.continual = dict(steps=5, orders=1)
  with pytest.raises(UserError, match="no config key 'continual'"):
    checks.check_fields(plain)
  config = small(own)
  del config.continual['orders']
  with pytest.raises(UserError, match='The config lacks continual.orders'):
    checks.check_fields(config)


@pytest.mark.slow
@pytest.mark.usefixtures('timed')
def test_dry_run_counts_the_whole_job(own):
  text = continual.dry_run(small(own))
  condense, first = (
    next(line.split() for line in text.splitlines() if line.startswith(name))
    for name in ('condense ', 'evaluate-3-classes')
  )
  assert condense[1] == '2' and first[1] == '2' and 'in all about' in text and 'conv1' in text


@pytest.mark.parametrize(
  'argument, cited',
  [
    ('cifar100', True),
    ('cifar100,method=m3d', True),
    ('cifar100,steps=10', False),
    ('cifar100,ipc=10', False),
    ('cifar10', False),
  ],
)
def test_published_numbers_stand_only_beside_their_own_setting(argument, cited):
  rows = continual_page.references(configs.load(f'condensation/continual:{argument}').to_dict())
  assert bool(rows) == cited and all(row['reference'] for row in rows)


def test_config_takes_the_numbers_of_the_method_and_the_protocol():
  for method in ('dm', 'm3d', 'dance'):
    config, plain = (
      configs.load(f'continual:cifar100,method={method}'),
      configs.load(f'{method}:cifar100,ipc=20'),
    )
    assert (
      config.condensation == plain.condensation
      and config.method == plain.method
      and config.data == plain.data
    )
    assert config.continual.to_dict() == dict(steps=5, orders=5, memory='condensed')
    assert (config.evaluation.recipe, config.evaluation.networks, config.evaluation.epochs) == (
      'dm',
      3,
      0,
    )
  assert (
    configs.load('continual:cifar100').method.name
    == configs.load('continual:cifar100,method=herding').method.name
    == 'dm'
  )
  assert configs.load('continual:cifar100,method=herding').continual.memory == 'herding'
  shrunk = sections.of_config(configs.load('continual:cifar100,method=random,factor=2'))
  assert continual.selected(shrunk.continual.memory, shrunk.condensation.factor) == 'random_mix'
  assert configs.load('continual:cifar100,quick').continual.orders == 2


def test_rules_of_idcs_code_hold_in_every_step():
  """A DenseNet's 400 epochs on CIFAR from 50 images and factor 2 on, for each number of
  classes."""
  config = configs.load('continual:cifar100,method=m3d,ipc=50,recipe=idc,model=densenet')
  fields = sections.of_config(config)
  for classes in (20, 100):
    images, labels = np.zeros((50 * classes, 4, 4, 3)), np.repeat(np.arange(classes), 50)
    made = Condensed(images, labels, tuple(map(str, range(classes))), (0,) * 3, (1,) * 3, factor=2)
    assert continual._protocol(fields, made, seed=0).epochs == 400


def test_methods_and_numbers_of_steps_have_work_dirs_of_their_own():
  spec = 'continual:cifar100,method=m3d,steps=10'
  assert (
    launcher.default_workdir(spec, configs.load(spec)).name
    == 'continual-cifar100-m3d-steps10-ipc20-seed0'
  )


def test_the_pace_of_a_part_leaves_compiling_out():
  times = dict(seconds=10.0, compile_seconds=7.0)
  with Run(progress=False) as run:
    assert continual._worked(run, 'experts', 'condense-a') is None
    run.set_timing('condense-a', times)
    assert continual._worked(run, 'experts', 'condense-a') == 3.0
    run.set_timing('experts', dict(seconds=5.0, compile_seconds=1.0))
    assert continual._worked(run, 'experts', 'condense-a') == 7.0
    assert continual._worked(run, 'evaluate-a') is None
