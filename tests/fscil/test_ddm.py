"""DDM: the loss of a few images against that of the class, what falls and what stays apart, the
images that come out, devices and resuming."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pictured
import pytest

from jaxdistill.data import augment
from jaxdistill.errors import UserError
from jaxdistill.fscil import cd2, ddm
from jaxdistill.fscil.session import run_sessions
from jaxdistill.training import loop, parallel
from jaxdistill.training.run import Run

make = functools.partial(cd2.learner, alpha_rule='fixed', steps=5)
RUNS = pictured.SEEDS * pictured.DRAWS


def distilled(iterations=30, mesh=None, **fields):
  policy = ddm.policy(pictured.pictures(), iterations=iterations, **fields)
  return policy, pictured.course(make, policy, mesh=mesh)


@functools.cache
def ended():
  """(policy, course, outcome, where its runs stood behind each session) of a whole course."""
  policy, course = distilled()
  behind, score = [], course.score

  def noted(standing):
    behind.append(standing)
    return score(standing)

  with pytest.MonkeyPatch.context() as patch, Run(progress=False) as run:
    patch.setitem(vars(course), 'score', noted)
    outcome = run_sessions(run, course)
  return policy, course, outcome, behind


def standings():
  """A course, and where its runs stand behind the base session and behind the next."""
  _, course, _, behind = ended()
  return course, tuple(behind[:2])


def problem_of(number, seed=0, **fields):
  """What a policy has to learn behind a session."""
  course, behind = standings()
  policy = ddm.policy(pictured.pictures(), **fields)
  return policy.setup(course, behind[number], seed)


def first_loss(problem):
  """The loss of every class at the start."""
  step = jax.jit(lambda state, batch: problem.step(state, batch)[1])
  source = problem.source
  batch = jax.jit(source.sample)(source.data, jax.random.wrap_key_data(problem.state.key), 0)
  return np.asarray(step(problem.state, batch)['class_loss'])


def test_all_real_images_leave_nothing_to_learn():
  """With as many synthetic images as real ones, which they start as, the means are equal."""
  assert (first_loss(problem_of(1, ipc=pictured.SHOT)) < 1e-9).all()
  assert (first_loss(problem_of(1, ipc=2)) > 1e-3).all()


@pytest.mark.parametrize('number', [0, 1])
def test_the_loss_falls_by_a_factor_of_ten(number):
  with Run(progress=False, log_every=1) as run:
    loop.fit(run, 'learn', problem_of(number, iterations=300))
    losses = [line['loss'] for line in run.curve('learn')]
  assert losses[-1] < losses[0] / 10


@pytest.mark.parametrize('number', [0, 1])
def test_four_devices_make_what_one_does(number):
  """Behind the base session the classes are spread over them, later the runs."""
  policy = ddm.policy(pictured.pictures(), iterations=5)
  spread = pictured.course(make, policy, mesh=parallel.make_mesh(4))
  images = []
  for course in (standings()[0], spread):
    ready = policy.setup(course, standings()[1][number], seed=1)
    with Run(progress=False) as run:
      learned = parallel.gather(loop.fit(run, 'learn', ready).images)
    images.append(np.asarray(learned)[: ready.rows])
  np.testing.assert_allclose(images[1], images[0], atol=1e-4)


def test_classes_are_independent():
  problem = problem_of(1)
  source = problem.source
  batch = jax.jit(source.sample)(source.data, jax.random.wrap_key_data(problem.state.key), 0)
  step = jax.jit(lambda state: problem.step(state, batch)[0].images)
  images = problem.state.images
  after = step(problem.state)
  changed = step(problem.state.replace(images=images.at[:, 0].add(0.5)))
  assert np.abs(after - images).max() > 1e-4
  np.testing.assert_allclose(changed[:, 1], after[:, 1], atol=1e-6)
  assert np.abs(changed[:, 0] - images[:, 0] - 0.5 - (after - images)[:, 0]).max() > 1e-4


class TestAWholeCourse:
  def test_images_are_stored_by_run_and_class(self):
    policy, *_ = ended()
    images = policy.album()
    assert images.shape == (RUNS, pictured.COLUMNS, 2, *pictured.SHAPE)
    assert images.dtype == np.uint8 and images.max() > 100

  def test_draws_share_the_base_images_and_have_their_own_later(self):
    images = ended()[0].album()
    base, later = images[:, : pictured.BASE], images[:, pictured.BASE :]
    np.testing.assert_array_equal(base[0], base[1])
    assert (base[0] != base[2]).any() and (later[0] != later[1]).any()

  def test_the_learner_reads_the_features_of_the_stored_images(self):
    policy, _, outcome, _ = ended()
    base, inputs = pictured.parts().base, np.asarray(outcome.standing.memory.inputs)
    for run, images in enumerate(policy.album()):
      seed = run // pictured.DRAWS
      own = jax.tree.map(lambda leaf, seed=seed: leaf[seed], pictured.variables())
      flat = augment.normalise(images.reshape(-1, *pictured.SHAPE), base.mean, base.std)
      expected = pictured.network().apply(own, flat)[1]['embedding']
      np.testing.assert_allclose(inputs[run].reshape(len(flat), -1), expected, atol=1e-5)
    assert (np.asarray(outcome.standing.memory.weight) == 1).all()

  def test_a_killed_run_ends_the_same(self, tmp_path):
    policy, course, expected, _ = ended()
    images = policy.album()
    with Run(tmp_path, progress=False) as run:
      course.advance(run, course.first(run))
    policy.stored.clear()
    with Run(tmp_path, progress=False) as run:
      outcome = run_sessions(run, course)
      phases = policy.phases(course)
      assert all(run.checkpoints(phase).steps() for phase in phases)
    np.testing.assert_array_equal(policy.album(), images)
    np.testing.assert_array_equal(outcome.confusions, expected.confusions)
    assert len(phases) == pictured.SEEDS * (pictured.T + 1)

  def test_the_memory_is_told_in_bytes_of_images(self):
    assert ended()[2].memory_bytes == 2 * 8 * 8


def test_the_base_model_knows_the_images_better_than_chance_draws():
  """It calls them their class, and their mean response is nearer to the class's than that of two
  real images."""
  policy, (course, behind) = ddm.policy(pictured.pictures(), iterations=200), standings()
  with Run(progress=False) as run:
    images = policy.choose(run, course, behind[0])[0][0]
  base, own = pictured.parts().base, jax.tree.map(lambda leaf: leaf[0], pictured.variables())
  answer = jax.jit(
    lambda x: pictured.network().apply(own, augment.normalise(x, base.mean, base.std))[0]
  )
  logits = np.asarray(answer(images.reshape(-1, *pictured.SHAPE)))[:, : pictured.BASE]
  assert (logits.argmax(1) == np.repeat(np.arange(pictured.BASE), 2)).mean() > 0.95
  real, rng = np.asarray(answer(base.images))[:, : pictured.BASE], np.random.default_rng(0)
  for label in range(pictured.BASE):
    mine = real[base.labels == label]
    pairs = [mine[rng.choice(len(mine), 2, replace=False)].mean(0) for _ in range(20)]
    away = [np.linalg.norm(pair - mine.mean(0)) for pair in pairs]
    distance = np.linalg.norm(logits[2 * label : 2 * label + 2].mean(0) - mine.mean(0))
    assert distance < np.median(away) / 10


@pytest.mark.parametrize(
  'feature, width',
  [
    ('projected', pictured.WIDTH),
    ('embedding', pictured.DIM),
    ('concat', pictured.COLUMNS + pictured.WIDTH + pictured.DIM),
  ],
)
def test_other_responses_are_matched(feature, width):
  problem = problem_of(0, ddm_feature=feature)
  assert problem.source.data['images'].shape == (pictured.BASE, 1, width)
  assert (first_loss(problem) > 0).all()


def test_all_responses_together_lose_the_sum_of_what_each_loses():
  losses = [
    first_loss(problem_of(0, ddm_feature=feature))
    for feature in ('logits', 'projected', 'embedding', 'concat')
  ]
  np.testing.assert_allclose(losses[3], sum(losses[:3]), rtol=1e-4)


@pytest.mark.parametrize('clip', ['always', 'end'])
def test_pixels_come_to_the_range_of_images_in_every_step_or_at_the_end_alone(clip):
  problem = problem_of(1, learning_rate=1e-9, clip=clip)
  source, base = problem.source, pictured.parts().base
  batch = jax.jit(source.sample)(source.data, jax.random.wrap_key_data(problem.state.key), 0)
  outside = problem.state.replace(images=problem.state.images + 10)
  moved = jax.jit(lambda state: problem.step(state, batch)[0].images)(outside)
  pixels = np.asarray(augment.denormalise(moved, base.mean, base.std))
  inside = pixels.min() >= -1e-4 and pixels.max() <= 1 + 1e-4
  assert bool(inside) is (clip == 'always')


def test_a_sample_of_the_real_images():
  problem = problem_of(0, real_images=8)
  key, draw = jax.random.wrap_key_data(problem.state.key), jax.jit(problem.source.sample)
  sample = lambda step: np.asarray(draw(problem.source.data, key, step)['images'])
  assert sample(0).shape == (pictured.BASE, 8, pictured.COLUMNS)
  assert not np.array_equal(sample(0), sample(1))


def test_classes_to_come_have_no_response():
  course, (_, standing) = standings()
  state = jax.tree.map(lambda leaf: leaf[0], standing.parts)
  model = ddm.Model(course.engine.learner, course.engine.task)
  own = {'state': state, 'seen': jnp.arange(pictured.COLUMNS) < 6}
  logits, _ = model.answer(own, jnp.ones((3, pictured.DIM)))
  assert np.asarray(logits[:, :6]).any() and not np.asarray(logits[:, 6:]).any()


def test_an_unknown_response_is_refused():
  with pytest.raises(UserError, match="no feature of the network 'block9'"):
    problem_of(0, ddm_feature='block9')
