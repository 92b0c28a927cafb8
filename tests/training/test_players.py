"""Games: who moves what in a step, guides, memories, shared batches, devices; against separate
trainings and numbers by hand."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill.data import paired
from jaxdistill.data.crops import Crop
from jaxdistill.data.examples import Examples
from jaxdistill.data.paired import GuideView
from jaxdistill.data.streaming import Streamed
from jaxdistill.data.views import Views, soft_labels
from jaxdistill.errors import UserError
from jaxdistill.losses import banks
from jaxdistill.models import linear, normalisation
from jaxdistill.training import classifier, guides, learner, loop, parallel, players
from jaxdistill.training.averages import Average
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run

SHAPE, CLASSES, IMAGES = (4, 4, 1), 3, 10
RNG = np.random.default_rng(0)
EXAMPLES = Examples(
  RNG.integers(0, 256, (IMAGES, *SHAPE)).astype(np.uint8),
  (np.arange(IMAGES) % CLASSES).astype(np.int32),
  CLASSES,
  (0.5,),
  (0.25,),
)
# Every second batch is short.
RECIPE = Recipe('tiny', batch=8, epochs=5, transforms=(Crop(1),))
SGD = optax.chain(
  optax.add_decayed_weights(0.01), optax.trace(0.9), optax.scale_by_learning_rate(0.05)
)


class Net(nn.Module):
  """A linear classifier behind batch normalisation."""

  width: int = 4

  @nn.compact
  def __call__(self, x, train=False):
    x = normalisation.norm('batch')(name='norm')(x, train).reshape(len(x), -1)
    x = linear.Linear(self.width, name='map')(x)
    return linear.Linear(CLASSES, name='classifier')(x), {'embedding': x}


class Scalar(nn.Module):
  """One weight, of value 1 at first, times what it is given; ones for images."""

  @nn.compact
  def __call__(self, x):
    x = jnp.ones(len(x)) if x.ndim > 1 else x
    return self.param('w', nn.initializers.ones, ()) * x


def mean(values, weight):
  return (values * weight).sum() / jnp.maximum(weight.sum(), 1e-12)


def entropy(part):
  def loss(scene):
    losses = optax.softmax_cross_entropy(scene[part]['logits'], scene.batch['labels'])
    return mean(losses, scene.batch['weight'])

  return loss


def gap(part, other, output='logits'):
  def loss(scene):
    distance = jnp.square(scene[part][output] - scene[other][output]).sum(-1)
    return mean(distance, scene.batch['weight'])

  return loss


CE = Term('ce', entropy('student'))
KD = Term('kd', gap('student', 'teacher'), weight=0.5)


def player(name, *terms, trains=None, optimizer=SGD, **fields):
  return Player(name, trains or (name,), terms, optimizer, **fields)


STUDENT = {'student': Part(Net())}
ALONE = Game(STUDENT, (player('student', CE),))
PUPIL = Game(STUDENT, (player('student', CE, KD),), {'teacher': Part(Net())})


@functools.cache
def teacher():
  return Net().init(jax.random.key(5), jnp.zeros((1, *SHAPE)))


def ready(game, recipe=RECIPE, examples=EXAMPLES, **options):
  options = {'networks': 2, 'num_steps': 6, 'seed': 3, **options}
  if 'teacher' in game.guides:
    options = {'guide_variables': {'teacher': teacher()}} | options
  return players.problem(game, examples, recipe, **options)


def trace(made):
  """Traces a step, which is what refuses a mistake in a game."""
  jax.eval_shape(functools.partial(one_step, made), made.state, made.source.data)


def one_step(made, state, inputs):
  batch = made.source.sample(inputs, jax.random.wrap_key_data(state.key), state.step)
  return made.step(state, batch)


def drawn(made, step):
  """The batch of a step."""
  return jax.jit(made.source.sample)(made.source.data, jax.random.key(0), step)


def advance(made, steps=3):
  """(State, metrics of each step) after some steps."""
  step = jax.jit(functools.partial(one_step, made))
  state, metrics = made.state, []
  for _ in range(steps):
    state, measured = step(state, made.source.data)
    metrics.append({name: float(value) for name, value in measured.items()})
  return jax.tree.map(np.asarray, state), metrics


def assert_same(tree, other):
  jax.tree.map(np.testing.assert_array_equal, tree, other)


def assert_close(tree, other, **tolerance):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), tree, other)


def first(tree, networks=1):
  return jax.tree.map(lambda leaf: leaf[:networks], tree)


def part(state, name):
  return players.part_variables(state.variables, name)


def test_one_part_one_player_and_one_term_are_supervised_training():
  """The game of a classifier has the numbers and the layout that an objective gave it."""

  def objective(variables, batch, key):
    (logits, _), moved = Net().apply(variables, batch['images'], True, mutable=['batch_stats'])
    loss = mean(optax.softmax_cross_entropy(logits, batch['labels']), batch['weight'])
    return learner.Outcome(loss, {}, moved)

  settings = dict(networks=2, num_steps=6)
  by_game, metrics = advance(classifier.setup(Net(), EXAMPLES, RECIPE, **settings))
  by_objective, _ = advance(
    classifier.setup(Net(), EXAMPLES, RECIPE, objective=objective, **settings)
  )
  assert jax.tree.structure(by_game) == jax.tree.structure(by_objective)
  assert_close(by_game, by_objective, atol=1e-6)
  assert sorted(metrics[0]) == ['loss', 'train_accuracy']


def test_terms_are_reported_raw_and_weighted():
  _, metrics = advance(ready(PUPIL), steps=1)
  (line,) = metrics
  assert sorted(line) == ['ce', 'kd', 'kd_weighted', 'loss', 'student_accuracy']
  assert line['kd_weighted'] == pytest.approx(0.5 * line['kd'])
  assert line['loss'] == pytest.approx(line['ce'] + line['kd_weighted'])


def test_a_part_without_labels_has_no_accuracy():
  mixed = Game({'student': Part(Net(), labels='')}, (player('student', CE),))
  _, (line,) = advance(ready(mixed), steps=1)
  assert sorted(line) == ['ce', 'loss']


# Who moves what.


def test_what_nobody_trains_keeps_its_bits():
  """An assistant beside the student, and a layer of the student that its player leaves alone."""
  parts = {**STUDENT, 'assistant': Part(Net())}
  term = Term('kd', gap('student', 'assistant'))
  game = Game(parts, (player('student', CE, term, frozen=('student/map',)),))
  made = ready(game)
  end, _ = advance(made, steps=20)
  assert_same(part(end, 'assistant'), part(made.state, 'assistant'))
  before, after = part(made.state, 'student'), part(end, 'student')
  assert_same(after['params']['map'], before['params']['map'])
  for layer in ('norm', 'classifier'):
    assert not np.allclose(*(jax.tree.leaves(v['params'][layer])[0] for v in (before, after)))
  assert not np.allclose(*(v['batch_stats']['norm']['mean'] for v in (before, after)))
  paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(end.optimizer)]
  assert paths and not any('assistant' in path or 'map' in path for path in paths)


def test_a_guide_keeps_its_bits_and_is_in_no_state():
  """Its weights and its running statistics lie with the data; nothing is kept of it to decay or to
  move."""
  made = ready(PUPIL)
  before = jax.tree.map(np.array, made.source.data['guides'])
  assert_same(before, {'teacher': jax.tree.map(np.array, teacher())})
  assert sorted(before['teacher']) == ['batch_stats', 'params']
  end, _ = advance(made, steps=20)
  assert_same(made.source.data['guides'], before)
  for state in (made.state, end):
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
    assert paths and not any('teacher' in path for path in paths)


def test_a_teacher_in_training_is_the_same_with_and_without_a_student_that_learns_from_it():
  """And a student that learns nothing from it is the same without it; each has an optimiser of its
  own."""
  parts = {'teacher': Part(Net()), 'student': Part(Net(width=2))}
  teaches = player('teacher', Term('ce', entropy('teacher')), optimizer=optax.adam(0.01))
  together, metrics = advance(ready(Game(parts, (teaches, player('student', CE, KD)))))
  apart, _ = advance(ready(Game(parts, (teaches, player('student', CE)))))
  alone, _ = advance(ready(Game({'teacher': Part(Net())}, (teaches,))))
  student, _ = advance(ready(Game({'student': Part(Net(width=2))}, (player('student', CE),))))
  assert_same(part(together, 'teacher'), part(alone, 'teacher'))
  assert_same(part(apart, 'teacher'), part(alone, 'teacher'))
  assert_close(part(apart, 'student'), part(student, 'student'), atol=1e-6)
  kernels = [part(s, 'student')['params']['map']['kernel'] for s in (together, apart)]
  assert np.abs(kernels[0] - kernels[1]).max() > 1e-4
  line = metrics[0]
  assert line['student/loss'] == pytest.approx(line['student/ce'] + line['student/kd_weighted'])
  assert line['loss'] == pytest.approx(line['student/loss'] + line['teacher/loss'])


def scalars(players_, in_turn=False, **parts):
  """The weights of scalar parts after a step at the rate 1/4."""
  made = ready(Game(parts, players_, in_turn=in_turn), networks=1)
  state, _ = advance(made, steps=1)
  return {name: float(state.variables['params'][name]['w'][0]) for name in parts}


def squared(distance):
  return lambda scene: mean(jnp.square(distance(scene)), scene.batch['weight'])


SLOW = optax.sgd(0.25)


@pytest.mark.parametrize('in_turn, follower', [(False, 1.0), (True, 1.5)])
def test_players_in_turn_see_what_those_before_have_changed(in_turn, follower):
  """The leader goes from 1 to 1 - (2 (1 - 3)) / 4 = 2; who follows it has the gradient
  2 (1 - 1) = 0 at once with it, and 2 (1 - 2) = -2 after it."""
  leader = squared(lambda scene: scene['leader']['output'] - 3)
  behind = squared(lambda scene: scene['follower']['output'] - scene['leader']['output'])
  both = (
    player('leader', Term('goal', leader), optimizer=SLOW),
    player('follower', Term('gap', behind), optimizer=SLOW),
  )
  parts = dict(leader=Part(Scalar()), follower=Part(Scalar()))
  assert scalars(both, in_turn, **parts) == {'leader': 2.0, 'follower': follower}


def test_a_gradient_goes_through_what_others_train_and_stays_out_of_it():
  """With the maker's m and the critic's c, both 1: the maker's loss is (c m - 3)^2, of gradient
  2 (1 - 3) 1 = -4 in m; the critic's is (c m - 2)^2, of gradient -2 in c, where m is a constant."""
  parts = dict(
    maker=Part(Scalar()), critic=Part(Scalar(), reads=lambda scene: (scene['maker']['output'],))
  )
  both = (
    player('maker', Term('a', squared(lambda s: s['critic']['output'] - 3)), optimizer=SLOW),
    player('critic', Term('b', squared(lambda s: s['critic']['output'] - 2)), optimizer=SLOW),
  )
  assert scalars(both, **parts) == {'maker': 2.0, 'critic': 1.5}
  # A frozen critic hands the gradient on as well.
  assert scalars(both[:1], **parts) == {'maker': 2.0, 'critic': 1.0}


def test_one_part_is_shared_out_among_players():
  body = player('body', CE, trains=('student/map', 'student/norm'))
  head = player('head', KD, trains=('student/classifier',))
  start = ready(Game(STUDENT, (body, head), PUPIL.guides))
  both, _ = advance(start, steps=1)
  for one, layers in ((body, ('map', 'norm')), (head, ('classifier',))):
    alone, _ = advance(ready(Game(STUDENT, (one,), PUPIL.guides)), steps=1)
    for layer in layers:
      found, expected = (part(state, 'student')['params'][layer] for state in (both, alone))
      assert_close(found, expected, atol=1e-7)
      first_ones = part(start.state, 'student')['params'][layer]
      assert not np.allclose(jax.tree.leaves(found)[0], jax.tree.leaves(first_ones)[0])


def test_two_players_may_train_one_part_in_turn_alone():
  both = (player('first', CE, trains=('student',)), player('second', CE, trains=('student/map',)))
  with pytest.raises(UserError, match="first and second both train 'student/map/bias'"):
    made = ready(Game(STUDENT, both))
    trace(made)
  made = ready(Game(STUDENT, both, in_turn=True))
  assert sorted(made.state.optimizer) == ['first', 'second']


# Shared batches, devices, ways; a loss of the whole batch, and one that remembers.


def relations(scene):
  """Cosines between the rows of the batch, of the student's embeddings against the teacher's."""
  scene = scene.gathered()
  weight = scene.batch['weight']
  cosines = []
  for name in ('student', 'teacher'):
    rows = scene[name]['embedding']
    rows = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
    cosines.append(rows @ rows.T)
  pairs = weight[:, None] * weight[None, :]
  return (jnp.square(cosines[0] - cosines[1]) * pairs).sum() / jnp.maximum(pairs.sum(), 1e-12)


def remembered(scene):
  loss, queue = banks.queued_crd(
    scene['student']['embedding'],
    scene['teacher']['embedding'],
    scene.batch['labels'].argmax(1),
    scene.memory['queue'],
    weight=scene.batch['weight'],
  )
  return loss, {'queue': queue}


RICH = Game(
  STUDENT,
  (
    player(
      'student',
      CE,
      Term('relations', relations, weight=3.0),
      Term('crd', remembered, memory=lambda key: {'queue': banks.crd_queue(16, 4)}),
    ),
  ),
  {'teacher': Part(Net())},
)


@functools.cache
def rich(devices=1, **options):
  """(State of the real networks, metrics) after three steps, the second of a short batch."""
  mesh = parallel.make_mesh(devices) if devices > 1 else None
  state, metrics = advance(ready(RICH, networks=3, mesh=mesh, **options))
  return first(state.variables, 3), metrics


@pytest.mark.slow
@pytest.mark.parametrize('batches', ['own', 'shared'])
@pytest.mark.parametrize('spread', ['networks', 'batch'])
def test_four_devices_train_as_one(spread, batches):
  alone, metrics = rich(batches=batches)
  several, lines = rich(4, spread=spread, batches=batches)
  assert_close(several, alone, atol=5e-6)
  for line, expected in zip(lines, metrics):
    assert line == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize('way', ['vmap', 'loop'])
def test_every_way_to_share_a_program_trains_alike_on_shared_batches(way):
  assert_close(rich(batches='shared', way=way)[0], rich(batches='shared')[0], atol=5e-6)


def test_networks_that_share_batches_have_those_of_network_0():
  shared, own = rich(batches='shared')[0], rich(batches='own')[0]
  assert_close(first(shared), first(own), atol=5e-6)
  kernels = [v['params']['student']['map']['kernel'] for v in (shared, own)]
  assert np.abs(kernels[0][1] - kernels[1][1]).max() > 1e-4


def test_students_that_share_a_batch_are_those_that_are_given_the_same_one():
  plain = Recipe('plain', batch=8, epochs=5)
  shared, own = (ready(PUPIL, plain, batches=batches) for batches in ('shared', 'own'))
  batch = drawn(shared, step=0)
  assert batch['images'].shape[0] == 1
  copies = jax.tree.map(
    lambda leaf: jnp.repeat(leaf, 2, 0), {k: v for k, v in batch.items() if k != 'guides'}
  )
  by_one, _ = jax.jit(shared.step)(shared.state, batch)
  by_copies, _ = jax.jit(own.step)(own.state, {**copies, 'guides': batch['guides']})
  assert_close(by_one.variables, by_copies.variables, atol=1e-6)


@pytest.mark.parametrize('batches, rows', [('shared', 8), ('own', 24)])
def test_a_guide_runs_once_a_step_for_all_networks(batches, rows):
  runs = []

  def guide(variables, images):
    runs.append(len(images))
    return {'logits': images.reshape(len(images), -1)[:, :CLASSES] + variables['shift']}

  game = Game(STUDENT, PUPIL.players, {'teacher': Part(function=guide)})
  made = ready(
    game, networks=3, batches=batches, guide_variables={'teacher': {'shift': np.float32(1)}}
  )
  trace(made)
  assert runs == [rows]


def test_rows_that_fill_up_a_batch_change_nothing():
  made = ready(RICH)
  batch = drawn(made, step=1)
  filling = np.asarray(batch['weight']) == 0
  assert filling.sum(1).tolist() == [6, 6]
  other = np.where(filling[..., None, None, None], 255 - batch['images'], batch['images'])
  step = jax.jit(made.step)
  assert_same(
    *(step(made.state, batch | {'images': images}) for images in (other, batch['images']))
  )


def test_a_memory_goes_on_with_the_same_bits(tmp_path):
  recipe = Recipe('tiny', batch=8, epochs=5, average=Average(0.5))
  made = ready(RICH, recipe, num_steps=4)

  def crash(state):
    raise InterruptedError

  with Run(progress=False, log_every=1) as run:
    whole = jax.tree.map(np.asarray, loop.fit(run, 'train', made))
  options = dict(progress=False, tensorboard=False, log_every=1, checkpoint_every=1)
  with pytest.raises(InterruptedError), Run(tmp_path, **options) as run:
    loop.fit(run, 'train', made, evaluate=loop.Evaluation(crash, every=2))
  with Run(tmp_path, **options) as run:
    assert_same(jax.tree.map(np.asarray, loop.fit(run, 'train', made)), whole)
  queue = whole.variables['memory']['crd']['queue']
  assert (queue.labels >= 0).sum() > 8 and 'memory' not in whole.average
  files = [path.name for path in tmp_path.rglob('*') if 'guides' in path.name]
  assert not files


# Guides.


def test_kept_outputs_are_what_the_guide_says():
  """Of every image as it is and mirrored, the variant being what the view drew."""

  def prepare(key, batch, choices):
    variant = jax.random.bernoulli(key, shape=batch['weight'].shape).astype(jnp.int32)
    images = batch['images'] / 255.0
    mirrored = variant[:, None, None, None] == 1
    images = jnp.where(mirrored, images[:, :, ::-1], images)
    labels = soft_labels(batch['labels'], CLASSES)
    return {**batch, 'images': images, 'labels': labels, 'variant': variant}

  seen = Views(lambda key: (), prepare)
  images = EXAMPLES.images / np.float32(255)
  kept = [Net().apply(teacher(), view)[0] for view in (images, images[:, :, ::-1])]
  by_guide, metrics = advance(ready(PUPIL, views=seen))
  tables = {players.kept_name('teacher', 'logits'): np.stack(kept, 1)}
  by_table, lines = advance(ready(PUPIL, views=seen, tables=tables, guide_variables={}))
  assert_close(by_table.variables, by_guide.variables, atol=1e-5)
  assert lines[0] == pytest.approx(metrics[0], rel=1e-5)
  with pytest.raises(UserError, match='teacher:logits holds 2 variants of every image'):
    made = ready(PUPIL, tables=tables, guide_variables={})
    trace(made)


@pytest.mark.parametrize('mode', ['train', 'eval', 'batch'])
def test_the_statistics_that_a_guide_normalises_by(mode):
  """Running ones, or those of each batch by the weight of its rows."""
  rng = np.random.default_rng(1)
  images = rng.normal(size=(2, 3, *SHAPE)).astype(np.float32)
  weight = np.array([[1, 1, 0], [1, 1, 1]], np.float32)
  watch = guides.watching({'teacher': Part(Net(), mode=mode)})
  batch = {'images': images, 'weight': weight}
  seen, common = watch({'teacher': teacher()}, batch, False, 'unroll')
  for number in range(2):
    x, scale = images[number], np.sqrt(1 + 1e-5)
    shift = 0.0
    if mode == 'batch':
      real = x[weight[number] > 0]
      shift, scale = real.mean(), np.sqrt(real.var() + 1e-5)
    x = ((x - shift) / scale).reshape(3, -1)
    for layer in ('map', 'classifier'):
      weights = jax.tree.map(np.asarray, teacher()['params'][layer])
      x = x @ weights['kernel'] + weights['bias']
    np.testing.assert_allclose(seen['guides']['teacher']['logits'][number], x, atol=1e-5)
  prototypes = common['guides']['teacher']['prototypes']
  assert_same(prototypes, teacher()['params']['classifier']['kernel'].T)


RUNS = []  # forms of what guides are given


class Total(nn.Module):
  """A sixteenth of the sum over an image, behind batch normalisation, times a weight of 1."""

  @nn.compact
  def __call__(self, x, train=False):
    RUNS.append(x.shape)
    x = normalisation.norm('batch')(name='norm')(x, train)
    return self.param('w', nn.initializers.ones, ()) * x.sum((1, 2, 3)) / 16


def total(variables, images):
  RUNS.append(images.shape)
  return {'output': variables['w'] * images.sum((1, 2, 3)) / 16}


LEVELS = np.arange(0, 200, 20)  # an image of one grey each
GREYS = dataclasses.replace(
  EXAMPLES, images=np.broadcast_to(LEVELS[:, None, None, None], (IMAGES, *SHAPE)).astype(np.uint8)
)
GREY_VIEWS = paired.views_of(
  guides={'wide': GuideView((0.2,), (0.5,), size=8)}, mean=(0.5,), std=(0.25,), num_classes=CLASSES
)
# By hand: 16 pixels of one value, and 64 of another one.
SAID = {'native': (LEVELS / 255 - 0.5) / 0.25, 'wide': 4 * (LEVELS / 255 - 0.2) / 0.5}


def two_guides(kept=(), **options):
  """A student of one weight between a function of native images and a network of larger ones under
  other statistics; what is `kept` is not run."""
  terms = [
    Term(name, squared(lambda s, name=name: s['student']['output'] - s[name]['output']), weight)
    for name, weight in (('native', 1.0), ('wide', 0.5))
  ]
  game = Game(
    {'student': Part(Scalar())},
    (player('student', *terms, optimizer=SLOW),),
    {'native': Part(function=total), 'wide': Part(Total(), view='wide')},
  )
  weights = {
    'native': {'w': np.float32(1)},
    'wide': Total().init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))),
  }
  return ready(
    game,
    Recipe('whole', batch=IMAGES, epochs=5),
    GREYS,
    views=GREY_VIEWS.train,
    guide_variables={name: tree for name, tree in weights.items() if name not in kept},
    tables={players.kept_name(name, 'output'): np.float32(SAID[name])[:, None] for name in kept},
    **options,
  )


def test_two_guides_that_read_two_views_move_the_student_alone():
  begun = two_guides(networks=3, batches='shared')
  RUNS.clear()
  trace(begun)
  assert RUNS == [(IMAGES, 4, 4, 1), (IMAGES, 8, 8, 1)]
  before = jax.tree.map(np.array, begun.source.data['guides'])
  end, (line,) = advance(begun, steps=1)
  losses = {name: np.square(1 - said).mean() for name, said in SAID.items()}
  half = losses['wide'] / 2
  assert line == pytest.approx(
    {**losses, 'wide_weighted': half, 'loss': losses['native'] + half}, rel=1e-4
  )
  slope = 2 * (1 - SAID['native'].mean()) + (1 - SAID['wide'].mean())
  assert_close(end.variables, {'params': {'student': {'w': np.full(3, 1 - slope / 4)}}}, rtol=1e-4)
  assert_same(begun.source.data['guides'], before)
  assert sorted(before['wide']) == ['batch_stats', 'params']


@pytest.mark.parametrize('kept, runs', [('native', (8, 8)), ('wide', (4, 4))])
def test_what_one_guide_says_may_be_kept_while_another_one_runs(kept, runs):
  begun = two_guides(kept=[kept])
  RUNS.clear()
  end, lines = advance(begun, steps=2)
  assert RUNS == [(IMAGES * 2, *runs, 1)]  # both networks have batches of their own
  live, expected = advance(two_guides(), steps=2)
  assert_close(end.variables, live.variables, rtol=1e-4)
  assert lines[1] == pytest.approx(expected[1], rel=1e-4)


def test_guides_go_with_images_that_are_read_from_disk():
  streamed = Examples(
    Streamed.of_array(EXAMPLES.images), EXAMPLES.labels, CLASSES, EXAMPLES.mean, EXAMPLES.std
  )
  ends = []
  for examples in (EXAMPLES, streamed):
    with Run(progress=False) as run:
      end = loop.fit(run, 'train', ready(PUPIL, examples=examples, batches='shared', num_steps=2))
      ends.append(jax.tree.map(np.asarray, end.variables))
  assert_close(*ends, atol=1e-6)


def test_for_devices_that_are_not_there_guides_are_forms_alone(monkeypatch):
  monkeypatch.setattr(parallel, 'is_remote', lambda mesh: mesh is not None)
  made = ready(PUPIL, mesh=parallel.make_mesh(4), networks=4)
  leaves = jax.tree.leaves((made.state, made.source.data['guides']))
  assert leaves and all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
  assert all(
    leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(made.source.data['guides'])
  )


# What parts begin with, and what is refused.


def test_parts_begin_with_given_variables():
  earlier = part(ready(ALONE, seed=8).state, 'student')
  begun = ready(PUPIL, initial={name: {'student': tree} for name, tree in earlier.items()})
  assert_same(part(begun.state, 'student'), earlier)
  with pytest.raises(UserError, match='student/map/kernel of 2 networks has the shape .2, 16, 4'):
    wrong = {'params': {'student': {'map': {'kernel': np.zeros((2, 16, 5))}}}}
    ready(PUPIL, initial=wrong)
  with pytest.raises(UserError, match="did you mean 'params/student/map/kernel'"):
    ready(PUPIL, initial={'params': {'student': {'map': {'kernels': np.zeros((2, 16, 4))}}}})


def of_student(loss):
  return Game(STUDENT, (player('student', Term('t', loss)),), PUPIL.guides)


@pytest.mark.parametrize(
  'make, sentence',
  [
    (
      lambda: ready(of_student(lambda scene: scene['student']['embeding'].sum())),
      "no output of the part 'student' 'embeding'; did you mean 'embedding'",
    ),
    (lambda: ready(of_student(lambda scene: scene['pupil'])), "no part 'pupil'"),
    (
      lambda: ready(Game({'student': Part(Net(), view='low')}, (player('student', CE),))),
      "no view of the batch 'low'",
    ),
    (
      lambda: ready(Game(STUDENT, (player('student', CE, trains=('student/mop',)),))),
      "no part of the network 'student/mop'; did you mean 'student/map'",
    ),
    (lambda: ready(PUPIL, guide_variables={}), "'teacher' has neither variables nor outputs"),
    (lambda: ready(ALONE, tables={'t': np.zeros(3)}), "'t' has 3 rows; there are 10 images"),
    (lambda: ready(ALONE, batches='common'), "'common'. Valid: own, shared"),
  ],
)
def test_a_mistake_is_told_in_a_sentence(make, sentence):
  with pytest.raises(UserError, match=sentence):
    made = make()
    trace(made)
