"""The benchmark of few-shot sessions: what a process measures, and its turn beside another one."""

import dataclasses
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import benchmarks
from jaxdistill.benchmarks import fscil, process
from jaxdistill.benchmarks.yardsticks import sessions as yardstick
from jaxdistill.errors import UserError
from jaxdistill.fscil import learner as learners
from jaxdistill.fscil import methods, nc_fscil
from jaxdistill.models import heads

SMALL = benchmarks.Settings(learners=('nc_fscil',), draws=2, dim=8, session_steps=3, iters=2)


def test_a_process_prints_the_seconds_of_a_session(capsys):
  fscil.main('--learner=ft_cos --dim=8 --steps=3 --sessions=2 --draws=2'.split())
  figures = json.loads(capsys.readouterr().out)
  assert figures['draws'] == 2 and len(figures['seconds']) == 2
  assert 0 < min(figures['seconds']) <= figures['s_per_session'] < figures['whole_s']


def test_every_head_has_its_sessions():
  course = fscil.build('nc_fscil', SMALL, draws=2)
  assert course.engine.task.num_classes == 70 and course.engine.learner.steps == (3, 3)
  assert course.examples.shots.shape == (1, 2, 2, 25, 8)
  assert set(course.base.head) == {'projector'}


@pytest.mark.parametrize('yardstick', ['', 'other --fast'])
def test_what_is_compared_has_its_turn(monkeypatch, yardstick):
  commands, seconds = [], iter([1.0, 2.0, 4.0, 1.0, 4.0, 2.0, 3.0, 9.0, 3.0])

  def figures(command):
    commands.append([str(word) for word in command])
    return {'s_per_session': next(seconds)}

  monkeypatch.setattr(process, 'figures', figures)
  settings, told = dataclasses.replace(SMALL, rounds=3, yardstick=yardstick), []
  result = fscil.sessions(settings, told.append)['nc_fscil']
  flags = '--learner nc_fscil --dim 8 --steps 3 --sessions 2 --draws'.split()
  if yardstick:
    assert commands[2] == ['other', '--fast', *flags, '1'] and len(commands) == 9
    assert result['one_s'] == [1.0, 1.0, 3.0] and result['yardstick_s'] == [4.0, 2.0, 3.0]
    assert result['growth'] == 4.0 and result['ratio'] == 3.0 and len(told) == 5
  else:
    assert commands[1][-8:] == [*flags[2:], '2'] and len(commands) == 6
    assert result['growth'] == 0.5 and 'ratio' not in result


def test_learners_of_images_and_programs_that_are_not_there_are_refused():
  with pytest.raises(UserError, match='reads images'):
    fscil.check(dataclasses.replace(SMALL, learners=('finetune',)))
  with pytest.raises(UserError, match='no program'):
    fscil.check(dataclasses.replace(SMALL, yardstick='no-such-program --fast'))
  with pytest.raises(UserError, match='few-shot learner'):
    fscil.check(dataclasses.replace(SMALL, learners=('nmc',)))


@pytest.mark.slow
def test_a_learner_through_images_learns_what_it_does_from_kept_features():
  settings = dataclasses.replace(SMALL, iters=1, images=True)
  course = fscil.build_through_images('ncm', settings, 1)
  task = dataclasses.replace(course.engine.task, mean=(0.0,) * 3, std=(1.0,) * 3)
  plain = methods.make(task, {'name': 'pki', 'steps': 3, 'batch': 8})
  learner = fscil.through_images(plain, task)
  images = np.random.default_rng(0).integers(0, 256, (25, *task.image_shape), np.uint8)
  variables = jax.jit(task.network.init)(jax.random.key(0), jnp.zeros((1, *task.image_shape)))
  features = task.network.apply(variables, images / np.float32(255))[1]['embedding']
  columns = np.arange(task.num_classes)
  arrivals = learners.Arrivals(
    jnp.int32(1), jnp.asarray(images), jnp.repeat(jnp.arange(60, 65), 5), jnp.ones(25),
    columns >= 60, columns < 60,
  )  # fmt: skip
  head = heads.HEADS.find('projector')(num_classes=task.num_classes)
  start = learners.Start(
    head.init(jax.random.key(1), jnp.zeros((1, 64)))['params'],
    jnp.zeros((task.num_classes, 64)),
    jnp.zeros(task.num_classes, jnp.int32),
  )
  seen = arrivals._replace(inputs=features)
  memory = learners.Memory(jnp.zeros((task.num_classes, 0, 64)), jnp.zeros((task.num_classes, 0)))
  state = plain.begin(None, plain.start(None, start), seen, memory)
  np.testing.assert_allclose(
    jax.tree.leaves(learner.begin(None, plain.start(None, start), arrivals, memory))[0],
    jax.tree.leaves(state)[0],
    rtol=1e-4,
    atol=1e-4,
  )
  wanted, _ = plain.loss(state, plain.rows(state, seen, memory), seen, memory, None)
  drawn = learners.Rows(arrivals.inputs, arrivals.labels, arrivals.weight)
  loss, _ = learner.loss(state, drawn, arrivals, memory, None)
  assert float(loss) == pytest.approx(float(wanted), rel=1e-3)


@pytest.mark.slow
def test_a_process_goes_through_images(capsys):
  fscil.main('--learner=pki --dim=64 --steps=2 --sessions=1 --images'.split())
  assert json.loads(capsys.readouterr().out)['s_per_session'] > 0


def test_sessions_through_images_are_timed_beside_kept_features(monkeypatch):
  commands, seconds = [], iter([1.0, 2.0, 20.0])

  def figures(command):
    commands.append([str(word) for word in command])
    return {'s_per_session': next(seconds)}

  monkeypatch.setattr(process, 'figures', figures)
  settings = dataclasses.replace(SMALL, rounds=1, images=True)
  result = fscil.sessions(settings, lambda text: None)['nc_fscil']
  assert commands[2][-1] == '--images' and '--images' not in commands[0]
  assert result['cached'] == 20.0


# The yardstick.


def test_the_yardstick_takes_the_flags_that_it_is_given_and_has_nc_fscils_rate():
  given = yardstick.read(list(map(str, fscil._flags('nc_fscil', SMALL, 2))))
  assert vars(given) == dict(learner='nc_fscil', dim=8, steps=3, sessions=2, draws=2)
  ours = nc_fscil.schedule(0.25, 40)
  for step in range(40):
    assert yardstick.rate(step, 40) == pytest.approx(float(ours(step)), rel=1e-5)


def test_the_yardstick_has_nc_fscils_loss():
  torch = pytest.importorskip('torch')
  rng = np.random.default_rng(0)
  inputs, frame = rng.normal(size=(4, 6)).astype('f'), heads.EtfHead(10).frame
  parts = yardstick.projector(6)
  perceptron, shortcut = parts
  params = {'shortcut': {'kernel': shortcut.weight}, 'linear3': {'kernel': perceptron[6].weight}}
  for layer, place in ((1, 0), (2, 3)):
    linear, norm = perceptron[place], perceptron[place + 1]
    params[f'linear{layer}'] = {'kernel': linear.weight, 'bias': linear.bias}
    params[f'norm{layer}'] = {'scale': norm.weight, 'bias': norm.bias}
  params = jax.tree.map(lambda leaf: leaf.detach().numpy().T, params)
  task = learners.Task(10, 4, 2, 5, 3, 6)
  learner = nc_fscil.learner(task, mixing=0.0)
  rows = learners.Rows(jnp.asarray(inputs), jnp.array([1, 1, 1, 7]), jnp.ones(4))
  wanted, _ = learner.loss({'projector': params}, rows, None, None, None)
  target = torch.eye(10)[[1, 1, 1, 7]]
  loss = yardstick.loss_of(parts, torch.tensor(inputs), target, torch.tensor(frame))
  assert loss.item() == pytest.approx(float(wanted), rel=1e-4)


def test_the_yardstick_prints_its_seconds(capsys):
  pytest.importorskip('torch')
  yardstick.main('--dim=8 --steps=3 --sessions=2 --draws=2'.split())
  figures = json.loads(capsys.readouterr().out)
  assert len(figures['seconds']) == 2 and figures['s_per_session'] > 0 and figures['draws'] == 2


def test_the_yardstick_needs_nothing_of_the_library():
  program = pathlib.Path(yardstick.__file__).read_text()
  assert not re.search(r'^\s*(import|from) (jax|numpy)', program, re.MULTILINE)
