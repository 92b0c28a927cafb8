"""The baselines against plain float64 references, and what their papers promise."""

import dataclasses

import gaussians
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussians import TASK

from jaxdistill import models
from jaxdistill.errors import UserError
from jaxdistill.fscil import cd2, finetune, ft_cos, joint, memory, nc_fscil, ncm, teen
from jaxdistill.fscil.learner import Arrivals, Memory, Rows, Start
from jaxdistill.fscil.session import run_sessions
from jaxdistill.losses import prototypes
from jaxdistill.models import heads
from jaxdistill.training.run import Run


def outcome(learner, **options):
  with Run(progress=False) as run:
    return run_sessions(run, gaussians.course(learner, number=2, **options))


def unit(vectors):
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def class_means(seen, draw=0):
  """The prototypes of all classes in float64."""
  means = np.zeros((10, gaussians.DIM))
  for column in range(4):
    means[column] = seen.base[0][seen.base_labels == column].astype(np.float64).mean(0)
  shots = seen.shots[0, draw].reshape(-1, gaussians.DIM).astype(np.float64)
  for column in range(4, 10):
    means[column] = shots[seen.shot_labels[draw].ravel() == column].mean(0)
  return means


def accuracy(confusion):
  return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))


class TestNcm:
  def test_one_session_after_another_is_all_prototypes_at_once(self):
    seen, ended = gaussians.examples(), outcome(ncm.learner(TASK))
    for draw in range(2):
      means = class_means(seen, draw)
      np.testing.assert_allclose(ended.standing.parts['rows'][draw], means, atol=1e-6)
      answers = (unit(seen.test[0]) @ unit(means).T).argmax(1)
      expected = np.zeros((10, 10), int)
      np.add.at(expected, (seen.test_labels, answers), 1)
      np.testing.assert_array_equal(ended.confusions[draw, -1], expected)
    np.testing.assert_array_equal(ended.nearest, ended.confusions)

  def test_another_order_of_the_sessions_permutes_the_columns_alone(self):
    """Sessions 1 and 3 change places."""
    seen = gaussians.examples()
    order = np.array([0, 1, 2, 3, 8, 9, 6, 7, 4, 5])
    column = np.argsort(order)
    turned = dataclasses.replace(
      seen,
      shots=seen.shots[:, :, ::-1],
      shot_labels=column[seen.shot_labels[:, ::-1]],
      test_labels=column[seen.test_labels],
    )
    first = outcome(ncm.learner(TASK))
    with Run(progress=False) as run:
      going = gaussians.course(ncm.learner(TASK))
      second = run_sessions(run, dataclasses.replace(going, examples=turned))
    np.testing.assert_array_equal(
      second.confusions[:, -1][:, column][:, :, column], first.confusions[:, -1]
    )
    assert (accuracy(second.confusions[:, -1]) == accuracy(first.confusions[:, -1])).all()

  def test_another_order_of_the_classes_within_sessions_changes_no_accuracy(self):
    seen, order = gaussians.examples(), np.array([2, 0, 3, 1, 5, 4, 7, 6, 9, 8])
    column = np.argsort(order)
    turned = dataclasses.replace(
      seen,
      shot_labels=column[seen.shot_labels],
      test_labels=column[seen.test_labels],
      base_labels=column[seen.base_labels],
    )
    first, going = outcome(ncm.learner(TASK)), gaussians.course(ncm.learner(TASK))
    going = dataclasses.replace(going, examples=turned, base=gaussians.start(turned))
    with Run(progress=False) as run:
      second = run_sessions(run, going)
    permuted = second.confusions[:, :, column][..., column]
    np.testing.assert_array_equal(permuted, first.confusions)
    assert (accuracy(second.confusions) == accuracy(first.confusions)).all()

  def test_it_needs_no_steps_and_is_exactly_reproducible(self):
    first, second = outcome(ncm.learner(TASK)), outcome(ncm.learner(TASK), seed=5)
    np.testing.assert_array_equal(first.confusions, second.confusions)


class TestTeen:
  def test_rows_are_calibrated_by_the_formula(self):
    seen = gaussians.examples()
    ended = outcome(teen.learner(TASK, alpha=0.3, temperature=4.0))
    means = class_means(seen)
    base, new = unit(means[:4]), unit(means[4:])
    alike = np.exp(4.0 * new @ base.T)
    towards = unit(alike / alike.sum(1, keepdims=True) @ base)
    rows = np.asarray(ended.standing.parts['rows'][0])
    np.testing.assert_allclose(rows[4:], 0.7 * new + 0.3 * towards, atol=1e-6)
    np.testing.assert_allclose(rows[:4], means[:4], atol=1e-6)

  def test_without_calibration_it_is_ncm(self):
    still, plain = outcome(teen.learner(TASK, alpha=0.0)), outcome(ncm.learner(TASK))
    np.testing.assert_array_equal(still.confusions, plain.confusions)

  def test_values_out_of_range_are_refused(self):
    with pytest.raises(UserError, match='alpha from 0 to 1'):
      teen.learner(TASK, alpha=1.5)


class TestFtCos:
  def test_new_rows_descend_alone(self):
    seen = gaussians.examples()
    ended = outcome(ft_cos.learner(TASK, steps=7))
    rows = class_means(seen)
    for number in range(3):
      inputs = unit(seen.shots[0, 0, number].astype(np.float64))
      first, end = TASK.arriving(number + 1)
      truth = np.eye(10)[seen.shot_labels[0, number]][:, :end]
      velocity = None
      for _ in range(7):
        lengths = np.linalg.norm(rows[:end], axis=1, keepdims=True)
        directions = rows[:end] / lengths
        logits = 16 * inputs @ directions.T
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        of_cosines = 16 * (shares - truth).T @ inputs / len(inputs)
        inward = (of_cosines * directions).sum(1, keepdims=True)
        gradient = ((of_cosines - inward * directions) / lengths)[first:]
        # The first step of dampened momentum takes the whole gradient.
        velocity = gradient if velocity is None else 0.9 * velocity + 0.1 * gradient
        rows[first:end] -= 0.1 * velocity
    np.testing.assert_allclose(ended.standing.parts['rows'][0], rows, atol=2e-5)


def projector_start(seeds=1):
  """A base network's head of the kind 'etf', without its network."""
  seen = gaussians.examples(seeds)
  init = lambda key: heads.EtfHead(10, 12).init(key, jnp.zeros((1, gaussians.DIM)))['params']
  head = jax.vmap(init)(jax.random.split(jax.random.key(3), seeds))
  return gaussians.start(seen, head)


class TestNcFscil:
  def run(self, **fields):
    learner = nc_fscil.learner(TASK, **{'steps': (10, 20, 30), 'batch': 8, **fields})
    with Run(progress=False, log_every=5) as run:
      going = dataclasses.replace(gaussians.course(learner), base=projector_start())
      return run_sessions(run, going), run.curve('session-3')

  def test_features_go_to_their_directions(self):
    ended, losses = self.run(mixing=0.0)
    assert losses[-1]['loss'] < 0.5 * losses[0]['loss']
    accuracies = accuracy(ended.confusions)
    assert (accuracies[:, -1] > 0.6).all() and (accuracies[:, 0] < 0.6).all()
    # In session 0 the base network answers.
    seen, head = gaussians.examples(), jax.tree.map(lambda leaf: leaf[0], projector_start().head)
    base = seen.test_labels < 4
    logits, _ = heads.EtfHead(10, 12).apply({'params': head}, seen.test[0][base])
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (seen.test_labels[base], np.asarray(logits)[:, :4].argmax(1)), 1)
    np.testing.assert_array_equal(ended.confusions[0, 0], expected)

  def test_the_loss_by_hand(self):
    """Ten times half the mean over rows of s_y^2 (e_y h - 1)^2, for a mixture the mixed mean."""
    learner = nc_fscil.learner(TASK, mixing=1.0, mixing_share=0.25)
    state = learner.start(None, jax.tree.map(lambda leaf: leaf[0], projector_start()))
    rng = np.random.RandomState(1)
    inputs = rng.normal(size=(5, gaussians.DIM)).astype(np.float32)
    batch = Rows(jnp.asarray(inputs), jnp.array([0, 0, 0, 4, 9]), jnp.array([1.0, 1, 1, 1, 0]))
    key = jax.random.key(7)
    value, _ = learner.loss(state, batch, None, None, key)
    target = np.eye(10)[[0, 0, 0, 4, 9]]
    blend, soft = nc_fscil.mixed(key, batch.inputs, jnp.asarray(target), batch.weight, 1.0, 0.25)
    pair = np.argmin(
      np.abs(np.asarray(blend)[:4, None] - 0.25 * inputs[:4, None] - 0.75 * inputs[None]).sum(-1),
      axis=1,
    )
    assert sorted(pair) == [0, 1, 2, 3]  # the row of weight 0 is nobody's partner
    np.testing.assert_allclose(soft[:4], 0.25 * target[:4] + 0.75 * target[pair], atol=1e-6)
    counts = np.asarray(soft)[:4].sum(0)
    scaled = np.where(counts > 0, 4 / (counts > 0).sum() / np.maximum(counts, 1e-9), 1.0)
    projected = heads.Projector(12).apply({'params': state['projector']}, blend)
    dots = unit(np.asarray(projected, np.float64)) @ prototypes.etf(10, 12)
    errors = (np.asarray(soft) * scaled * (dots - 1) ** 2).sum(1)
    assert float(value) == pytest.approx(5 * errors[:4].mean(), rel=1e-5)

  def test_the_directions_are_those_of_the_base_networks_head(self):
    start = jax.tree.map(lambda leaf: leaf[0], projector_start())
    learner = nc_fscil.learner(TASK)
    inputs = gaussians.examples().test[0][:5]
    wanted, _ = heads.EtfHead(10, 12).apply({'params': start.head}, inputs)
    np.testing.assert_allclose(
      learner.logits(learner.start(None, start), inputs), wanted, atol=1e-6
    )

  @pytest.mark.parametrize(
    'fields, message',
    [
      ({'learning_rate': -1.0}, 'learning_rate'),
      ({'warmup_steps': -1}, 'warm-up'),
      ({'cooldown_steps': -1}, 'cooldown_steps is -1'),
    ],
  )
  def test_rates_that_are_none_are_refused_before_any_training(self, fields, message):
    with pytest.raises(UserError, match=message):
      nc_fscil.learner(TASK, **fields)

  def test_the_published_schedule_ends_cool(self):
    rate = nc_fscil.schedule(0.25, 50)
    values = [float(rate(step)) for step in range(50)]
    assert values[0] == pytest.approx(0.05) and np.argmax(values) == 4
    assert values[45:] == pytest.approx([0.00025] * 5)
    falling = 0.0025 + 0.2475 * (1 + np.cos(np.pi * np.arange(45) / 45)) / 2
    assert values[4:45] == pytest.approx(falling[4:], rel=1e-4)

  def test_memory_of_earlier_sessions_is_copied(self):
    arrivals = Arrivals(
      jnp.int32(2),
      jnp.zeros((2, 1)),
      jnp.array([3, 3]),
      jnp.ones(2),
      new=jnp.array([False] * 3 + [True]),
      old=jnp.array([True] * 3 + [False]),
    )
    memory = Memory(jnp.arange(4.0).reshape(4, 1, 1), jnp.ones((4, 1)))
    rows = nc_fscil.repeated(arrivals, memory, jnp.int32(3), 4, base_classes=2)
    assert len(rows.labels) == 2 + 4 * 4
    labels = np.asarray(rows.labels)[np.asarray(rows.weight) > 0]
    assert np.bincount(labels).tolist() == [1, 1, 3, 2]

  @pytest.mark.parametrize('copies', [0, (1, 0, 2)])
  def test_the_memory_is_there_at_least_once(self, copies):
    with pytest.raises(UserError, match='copies is 0; it must be at least 1'):
      nc_fscil.learner(TASK, copies=copies)

  def test_another_head_is_refused(self):
    start = Start({'rows': 0, 'projector': 0}, None, None)
    with pytest.raises(UserError, match="the head 'etf'"):
      nc_fscil.learner(TASK).start(None, start)


# Through images: a tiny network on digits.


@pytest.fixture(scope='module')
def pictures():
  return gaussians.pictures()


class TestFinetune:
  def test_all_weights_move_and_the_base_classes_are_lost(self, pictures):
    task, examples, base = pictures
    learner = finetune.learner(task, steps=30, batch=64, learning_rate=0.05)
    with Run(progress=False, log_every=10) as run:
      going = gaussians.course_of(learner, task, examples, base)
      ended = run_sessions(run, dataclasses.replace(going, remember=memory.Means()))
      losses = [line['loss'] for line in run.curve('session-1')]
    assert ended.memory_bytes == 0  # it takes no class means up, and none are told
    assert losses[-1] < 0.3 * losses[0]
    before = jax.tree.map(lambda leaf: leaf[0], base.variables)
    moved = ended.standing.parts['network']
    for start, end in zip(jax.tree.leaves(before['params']['encoder']), jax.tree.leaves(moved)):
      assert np.abs(end[0] - start).max() > 1e-4
    base_accuracy = [
      np.trace(confusion[:4, :4]) / confusion[:4].sum() for confusion in ended.confusions[0]
    ]
    assert base_accuracy[0] > 0.5 and base_accuracy[-1] < 0.5 * base_accuracy[0]

  def test_session_0_is_ncm_of_the_encoder(self, pictures):
    task, examples, base = pictures
    learner = finetune.learner(task)
    state = learner.start(None, jax.tree.map(lambda leaf: leaf[0], base))
    images = examples.test[0][:6]
    network = models.build({'name': 'convnet', 'width': 4, 'depth': 1}, 10, (8, 8, 1))
    variables = jax.tree.map(lambda leaf: leaf[0], base.variables)
    normal = (images / 255 - np.asarray(task.mean)) / np.asarray(task.std)
    features = network.apply(
      {'params': {**variables['params']['encoder'], 'classifier': _no_classifier(network)}},
      jnp.asarray(normal, jnp.float32),
    )[1]['embedding']
    np.testing.assert_allclose(learner.embed(state, images), features, atol=1e-5)
    expected = 16 * unit(np.asarray(features)) @ unit(np.asarray(base.means[0, :4])).T
    np.testing.assert_allclose(learner.logits(state, images)[:, :4], expected, atol=1e-4)


def _no_classifier(network):
  return network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))['params']['classifier']


@pytest.mark.parametrize('module', [cd2, finetune, ft_cos, joint])
@pytest.mark.parametrize('scale', [0.0, -16.0])
def test_a_scale_that_turns_the_cosines_round_is_refused(module, scale):
  with pytest.raises(UserError, match=f'scale is {scale}; it must be above 0'):
    module.learner(TASK, scale=scale)


class TestJoint:
  def test_balanced_loss_by_hand(self):
    learner = joint.learner(TASK)
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(10, gaussians.DIM)).astype(np.float32)
    state = {'rows': jnp.asarray(rows), 'counts': jnp.array([20] * 4 + [5] * 2 + [0] * 4)}
    batch = Rows(jnp.asarray(rows[:3] + 0.5), jnp.array([0, 1, 5]), jnp.ones(3))
    arrivals = Arrivals(
      jnp.int32(1), None, None, None, new=jnp.arange(10) // 2 == 2, old=jnp.arange(10) < 4
    )
    value, _ = learner.loss(state, batch, arrivals, None, None)
    logits = 16 * unit(rows[:3] + 0.5) @ unit(rows[:6]).T + np.log([20] * 4 + [5] * 2)
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(3), [0, 1, 5]]
    assert float(value) == pytest.approx(expected.mean(), rel=1e-5)

  def test_its_memory_is_all_that_it_has_seen(self):
    # 80 base rows and 30 others of 8 float32 each, of ten classes.
    ended = outcome(joint.learner(TASK, steps=1, batch=32))
    assert ended.memory_bytes == 110 * 8 * 4 / 10

  def test_it_learns_from_everything(self):
    ended = outcome(joint.learner(TASK, steps=40, batch=32))
    plain = outcome(ncm.learner(TASK))
    assert accuracy(ended.confusions[:, -1]).mean() > accuracy(plain.confusions[:, -1]).mean() - 0.1
    assert ended.parameters[0].tolist() == [classes * gaussians.DIM for classes in (4, 6, 8, 10)]

  def test_through_images_the_network_moves(self, pictures):
    task, examples, base = pictures
    learner = joint.learner(task, reads='images', steps=5, batch=16)
    with Run(progress=False) as run:
      ended = run_sessions(run, gaussians.course_of(learner, task, examples, base))
    assert accuracy(ended.confusions[0])[-1] > 0.3
    encoder = sum(leaf[0].size for leaf in jax.tree.leaves(ended.standing.parts['network']))
    assert ended.parameters[0, -1] == encoder + 10 * task.dim
