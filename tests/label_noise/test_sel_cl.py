"""Sel-CL's first stage against loops in float64 written from its formulas, its queues, and its
phases in training."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill import label_noise, models
from jaxdistill.data import views as data_views
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.examples import Examples
from jaxdistill.data.photometric import Jitter
from jaxdistill.errors import UserError
from jaxdistill.label_noise import (
  contrast,
  contrast_terms,
  contrast_views,
  finetune_stage,
  moco,
  moit,
  queues,
  sel_cl,
  strong,
  sup_cl,
)
from jaxdistill.label_noise.contrast_settings import Stage
from jaxdistill.label_noise.method import NET, Setting
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.training import parallel, players
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.scene import Scene

CLASSES, ROWS, WIDTH, EXAMPLES, TINY = 3, 5, 4, 40, 1e-7
TEMPERATURE = 0.1


def unit(rows):
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def softmax(logits):
  shares = np.exp(logits - logits.max(-1, keepdims=True))
  return shares / shares.sum(-1, keepdims=True)


# A step by hand: what the networks gave, and what is believed. The last row fills the batch up.
@functools.cache
def step(seed=0):
  rng = np.random.default_rng(seed)
  draw = lambda *shape: rng.normal(size=shape)
  index = rng.permutation(EXAMPLES)[:ROWS]
  outputs = {}
  for part in (NET, 'keys', 'anchors_first', 'anchors_second', 'keys_first', 'keys_second'):
    outputs[part] = {'projected': unit(draw(ROWS, WIDTH)), 'logits': draw(ROWS, CLASSES)}
  partners = [np.append(rng.permutation(ROWS - 1), ROWS - 1) for _ in range(2)]
  batch = {
    'index': index,
    'weight': np.array([1.0] * (ROWS - 1) + [0.0]),
    'labels': np.eye(CLASSES)[rng.integers(0, CLASSES, ROWS)],
    'share_first': np.full(ROWS, 0.7),
    'share_second': np.full(ROWS, 0.9),
    'partner_first': partners[0],
    'partner_second': partners[1],
  }
  beliefs = {
    'pairs': {
      'confident': rng.random(EXAMPLES) < 0.3,
      'threshold': np.array(0.3),
      'labels': rng.integers(0, CLASSES, EXAMPLES),
      'directions': unit(draw(EXAMPLES, 2)),
    },
    'confident': rng.random(EXAMPLES) < 0.5,
    'selected': np.array(True),
  }
  length = 12
  held = np.where(np.arange(length) < 9, rng.integers(0, EXAMPLES, length), -1)
  held[0] = index[1]  # an older key of an image of the batch
  queue = {'index': held, 'head': np.array(9)}
  memory = {
    'contrast': {
      'instances': {'vectors': unit(draw(7, WIDTH)), 'head': np.array(5)},
      'paired': {**queue, 'vectors': unit(draw(length, WIDTH))},
    },
    'similarity': {**queue, 'answers': softmax(draw(length, CLASSES))},
  }
  return outputs, batch, beliefs, memory


def scene_of(term, outputs, batch, beliefs, memory, number=10):
  floats = lambda leaf: jnp.asarray(leaf, jnp.float32 if leaf.dtype == np.float64 else None)
  outputs, batch, beliefs, memory = jax.tree.map(floats, (outputs, batch, beliefs, memory))
  kept = memory.get(term.name) if term.memory else None
  return Scene(outputs, batch, step=number, memory=kept, beliefs=beliefs, is_whole=True)


def value_of(term, *given, **options):
  value = term.loss(scene_of(term, *given, **options))
  return value if term.memory else (value, None)


class Loops:
  """The losses of a step by loops over anchors and columns, from the formulas."""

  def __init__(self, outputs, batch, beliefs, memory):
    self.outputs, self.batch, self.memory = outputs, batch, memory
    self.believed = beliefs['pairs']
    self.real = ROWS - 1
    self.anchors = [(view, row) for view in (0, 1) for row in range(self.real)]
    self.names = ('first', 'second')

  def pair(self, i, j):
    believed = self.believed
    if believed['labels'][i] != believed['labels'][j]:
      return False
    both = believed['confident'][i] and believed['confident'][j]
    return both or believed['directions'][i] @ believed['directions'][j] >= believed['threshold']

  def given(self, prefix, what, view, row):
    output = self.outputs[f'{prefix}_{self.names[view]}']
    return output['projected'][row] if what == 'vectors' else softmax(output['logits'])[row]

  def in_batch(self, what):
    """Columns (image, anchor that it is, numbers) of the batch."""
    index = self.batch['index']
    return [
      (index[row], (view, row), self.given('anchors', what, view, row))
      for view, row in self.anchors
    ]

  def in_queue(self, what, queue):
    """Those of the queue, this batch's keys in place of the oldest."""
    columns = [(image, None, numbers) for image, numbers in zip(queue['index'], queue[what])]
    for number, (view, row) in enumerate(self.anchors):
      place = (queue['head'] + number) % len(columns)
      numbers = self.given('keys', what, view, row)
      columns[place] = (self.batch['index'][row], (view, row), numbers)
    return [column for column in columns if column[0] >= 0]

  def targets(self, view, row, columns):
    """(Partners P1, positives P1 + U1, positives P2 + U2) of an anchor, numbers a column."""
    index = self.batch['index']
    other = self.batch[f'partner_{self.names[view]}'][row]
    partners, first, second = [], [], []
    for image, itself, _ in columns:
      is_self = itself == (view, row)
      alike = [index[row] == image, index[other] == image]
      pair = [self.pair(index[row], image), self.pair(index[other], image)]
      partners.append(float(pair[0] and not alike[0] and not is_self))
      first.append(float((pair[0] or alike[0]) and not is_self))
      second.append(float((pair[1] or alike[1]) and not is_self))
    return np.array(partners), np.array(first), np.array(second)

  def supervised(self, columns):
    """(Loss of a block, partners of every image)."""
    losses, counts = np.zeros((2, self.real)), np.zeros((2, self.real))
    for view, row in self.anchors:
      own = self.given('anchors', 'vectors', view, row)
      scores = np.array([own @ numbers for _, _, numbers in columns]) / TEMPERATURE
      others = np.array([itself != (view, row) for _, itself, _ in columns])
      log_p = scores - np.log(np.exp(scores)[others].sum())
      partners, first, second = self.targets(view, row, columns)
      share = self.batch[f'share_{self.names[view]}'][row]
      losses[view, row] = -share * (first * log_p).sum() / first.sum()
      losses[view, row] -= (1 - share) * (second * log_p).sum() / second.sum()
      counts[view, row] = partners.sum()
    return ((counts[0] > 0) * losses.mean(0)).mean(), counts[0]

  def instances(self):
    losses = []
    for row in range(self.real):
      query = self.outputs[NET]['projected'][row]
      own = query @ self.outputs['keys']['projected'][row]
      others = self.memory['contrast']['instances']['vectors'] @ query
      scores = np.array([own, *others]) / TEMPERATURE
      losses.append(np.log(np.exp(scores).sum()) - scores[0])
    return np.array(losses)

  def contrast(self, with_queue):
    total, partners = self.supervised(self.in_batch('vectors'))
    alone = partners < 1
    if with_queue:
      columns = self.in_queue('vectors', self.memory['contrast']['paired'])
      far, more = self.supervised(columns)
      total, alone = total + far, partners + more < 2
    return total + (alone * self.instances()).mean(), alone

  def similarity(self):
    total = 0.0
    for columns in (self.in_batch('answers'), self.in_queue('answers', self.memory['similarity'])):
      losses = []
      for view, row in self.anchors:
        _, first, second = self.targets(view, row, columns)
        share = self.batch[f'share_{self.names[view]}'][row]
        own = self.given('anchors', 'answers', view, row)
        for number, (_, itself, numbers) in enumerate(columns):
          chance = own @ numbers
          cost = lambda t, s=chance: -t * np.log(s + TINY) - (1 - t) * np.log(1 - s + TINY)
          loss = share * cost(first[number]) + (1 - share) * cost(second[number])
          losses.append(0.0 if itself == (view, row) else loss)
      total += np.mean(losses)
    return total


STAGE = Stage(queue=7, pair_queue=12, width=WIDTH, pair_queue_from=2)
CONTRAST = contrast_terms.contrast_term(STAGE, epoch_steps=4)


@pytest.mark.parametrize('number, with_queue', [(7, False), (8, True)])
@pytest.mark.parametrize('seed', [0, 1])
def test_the_contrast_of_a_step_equals_loops(seed, number, with_queue):
  loops = Loops(*step(seed))
  value, _ = value_of(CONTRAST, *step(seed), number=number)
  wanted, alone = loops.contrast(with_queue)
  np.testing.assert_allclose(value, wanted, rtol=1e-5)
  assert seed or not alone.all()  # images with partners are among them


def test_the_similarity_of_a_step_equals_loops():
  term = contrast_terms.similarity_term(STAGE, 4, CLASSES)
  value, _ = value_of(term, *step(), number=8)
  np.testing.assert_allclose(value, Loops(*step()).similarity(), rtol=1e-5)
  assert (term.weight, term.clip) == (0.01, 0.25)


def test_with_all_pairs_of_equal_labels_it_is_the_supervised_contrast():
  outputs, batch, beliefs, memory = step()
  stage = dataclasses.replace(STAGE, instances=False, pairs='labels', mixup_alpha=0, pair_queue=0)
  pairs = {**beliefs['pairs'], 'confident': np.ones(EXAMPLES, bool), 'threshold': np.array(2.0)}
  labels = np.zeros(EXAMPLES, int)
  labels[batch['index']] = [0, 1, 0, 1, 0]
  beliefs = {**beliefs, 'pairs': {**pairs, 'labels': labels}}
  outputs = {**outputs, NET: outputs['anchors_first']}
  value, _ = value_of(contrast_terms.contrast_term(stage, 4), outputs, batch, beliefs, {})
  z = np.concatenate([outputs[NET]['projected'][:4], outputs['anchors_second']['projected'][:4]])
  y, losses = np.tile([0, 1, 0, 1], 2), []
  for i in range(8):
    others = np.arange(8) != i
    scores = z @ z[i] / TEMPERATURE
    log_p = scores - np.log(np.exp(scores[others]).sum())
    losses.append(-log_p[others & (y == y[i])].mean())
  np.testing.assert_allclose(value, np.mean(losses), rtol=1e-5)


def test_without_any_pair_the_step_is_the_contrast_of_instances():
  outputs, batch, beliefs, memory = step()
  nothing = {'confident': np.zeros(EXAMPLES, bool), 'threshold': np.array(2.0)}
  beliefs = {**beliefs, 'pairs': {**beliefs['pairs'], **nothing}, 'selected': np.array(False)}
  given = outputs, batch, beliefs, memory
  value, _ = value_of(CONTRAST, *given)
  np.testing.assert_allclose(value, Loops(*given).instances().mean(), rtol=1e-5)
  assert value_of(contrast_terms.similarity_term(STAGE, 4, CLASSES), *given)[0] == 0


def test_keys_and_queues_have_no_gradient_and_the_batch_enters_them():
  outputs, batch, beliefs, memory = step()
  terms = (CONTRAST, contrast_terms.similarity_term(STAGE, 4, CLASSES))
  for term in terms:
    scene = scene_of(term, outputs, batch, beliefs, memory)
    floats = {name: rows for name, rows in scene.outputs.items()}

    def loss(given, term=term, scene=scene):
      given, kept = given
      kept = jax.tree.map(lambda old, new: new if new is not None else old, scene.memory, kept)
      return term.loss(dataclasses.replace(scene, outputs=given, memory=kept))

    differ = lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else None
    kept = jax.tree.map(differ, scene.memory)
    kept = jax.tree.map(lambda old, new: old if new is None else new, scene.memory, kept)
    gradient, moved = jax.grad(loss, has_aux=True, allow_int=True)((floats, kept))
    for part, tree in gradient[0].items():
      if part.startswith('keys') and part != 'keys':
        assert not any(leaf.any() for leaf in jax.tree.leaves(tree))
    leaves = [leaf for leaf in jax.tree.leaves(gradient[1]) if leaf.dtype == jnp.float32]
    assert leaves and not any(leaf.any() for leaf in leaves)
  rows = moved['index'].tolist()
  images = batch['index'][:4].tolist()
  assert [rows[(9 + n) % 12] for n in range(8)] == images * 2 and int(moved['head']) == 5


def test_a_queue_is_first_in_first_out():
  queue = queues.empty(4, vectors=2)
  for first in (0, 3, 6):
    new = {'index': jnp.arange(first, first + 3), 'vectors': jnp.full((3, 2), float(first))}
    queue, places = queues.enter(queue, new, jnp.array([1.0, 1.0, first != 3]))
  assert queue['index'].tolist() == [4, 6, 7, 8] and places.tolist() == [1, 2, 3]
  assert queue['vectors'][:, 0].tolist() == [3, 6, 6, 6] and int(queue['head']) == 0


def test_the_classifier_learns_from_mixed_labels():
  outputs, batch, beliefs, memory = step()
  second = {'weight': batch['weight']} | {f'class_{name}': entry for name, entry in batch.items()}
  outputs = {f'class_{view}': outputs[f'anchors_{view}'] for view in ('first', 'second')}
  value, _ = value_of(contrast_terms.class_term(STAGE), outputs, second, beliefs, memory)
  losses = []
  for view, share in (('first', 0.7), ('second', 0.9)):
    log_p = np.log(softmax(outputs[f'class_{view}']['logits']))
    for row in range(ROWS - 1):
      partner = batch[f'partner_{view}'][row]
      target = share * batch['labels'][row] + (1 - share) * batch['labels'][partner]
      losses.append(-(target * log_p[row]).sum())
  np.testing.assert_allclose(value, np.mean(losses), rtol=1e-5)


def test_moit_replaces_the_labels_that_are_not_confirmed():
  outputs, batch, beliefs, memory = step()
  stage = dataclasses.replace(
    STAGE, pairs='labels', instances=False, second_batch=False, relabels=True, mixup_alpha=0.0
  )
  term = contrast_terms.class_term(stage)
  answers = softmax(outputs[NET]['logits'])
  believed = beliefs['confident'][batch['index']][:, None]
  for selected, labels in (
    (True, np.where(believed, batch['labels'], answers)),
    (False, batch['labels']),
  ):
    given = {**beliefs, 'selected': np.array(selected)}
    value, _ = value_of(term, outputs, batch, given, memory)
    losses = [
      -(labels * np.log(softmax(outputs[f'anchors_{view}']['logits']))).sum(1)[: ROWS - 1].mean()
      for view in ('first', 'second')
    ]
    np.testing.assert_allclose(value, np.mean(losses), rtol=1e-5)


# The second stage.


def test_the_second_stage_bootstraps_its_targets():
  outputs, batch, beliefs, memory = step()
  mixed = {'share': batch['share_first'], 'partner': batch['partner_first']}
  outputs = {NET: outputs['anchors_first'], 'plain': outputs['keys']}
  log_p = np.log(softmax(outputs[NET]['logits']))
  answers = np.eye(CLASSES)[outputs['plain']['logits'].argmax(1)]
  loss = finetune_stage._loss(finetune_stage.Finetuning(bootstrap_from=2), epoch_steps=3)
  for number, share in ((5, 0.0), (6, 0.2)):
    targets = (1 - share) * batch['labels'] + share * answers
    targets = 0.7 * targets + 0.3 * targets[batch['partner_first']]
    scene = Scene(*jax.tree.map(jnp.asarray, (outputs, {**batch, **mixed})), step=number)
    value = loss(dataclasses.replace(scene, is_whole=True))
    np.testing.assert_allclose(value, -(targets * log_p).sum(1)[:4].mean(), rtol=1e-5)


def test_the_second_stage_passes_over_the_believed_examples():
  believed = jnp.array([False, True, True, False, True, True, True])
  rows = finetune_stage._rows(2)
  drawn = [rows(jax.random.key(0), number, {'confident': believed}) for number in range(3)]
  seen = [
    int(index) for indices, weights in drawn for index, weight in zip(indices, weights) if weight
  ]
  assert sorted(seen) == [1, 2, 4, 5, 6]


def test_rows_are_drawn_from_confident_examples():
  among = jnp.array([False, True, True, False])
  drawn, is_any = contrast_views.drawn_from(jax.random.key(0), 3, among, 200)
  counts = np.bincount(drawn, minlength=4)
  assert is_any and counts[[0, 3]].sum() == 0 and counts.min(where=np.array(among), initial=99) > 70
  drawn, is_any = contrast_views.drawn_from(jax.random.key(0), 3, ~among & among, 200)
  assert not is_any and (np.bincount(drawn, minlength=4) > 20).all()


def test_neighbours_vote_on_a_class_in_proportion():
  train = np.array([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]])
  one = np.array([[1.0, 0.0]])
  assert label_noise.knn_accuracy(train, [0, 1, 1], one, [0], neighbours=3) == 1.0
  # exp(-0.2 / 1) twice outweighs 1.
  votes = dict(neighbours=3, temperature=1.0)
  assert label_noise.knn_accuracy(train, [0, 1, 1], one, [1], **votes) == 1.0
  with pytest.raises(UserError, match='temperature'):
    label_noise.knn_accuracy(train, [0, 1, 1], one, [0], 3, temperature=0)


# Whole phases.


@functools.cache
def setting(images=20, batch=6):
  rng = np.random.default_rng(0)
  labels = (np.arange(images) % CLASSES).astype(np.int32)
  centres = rng.integers(0, 256, (CLASSES, 4, 4, 1))
  pixels = np.clip(centres[labels] + rng.normal(0, 20, (images, 4, 4, 1)), 0, 255)
  noisy = np.where(rng.random(images) < 0.3, rng.integers(0, CLASSES, images), labels)
  noisy = noisy.astype(np.int32)
  examples = Examples(pixels.astype(np.uint8), noisy, CLASSES, (0.5,), (0.25,))

  def make_views(named, common=()):
    return data_views.make(common, named, mean=(0.5,), std=(0.25,), num_classes=CLASSES)

  return Setting(
    network=models.build({'name': 'mlp', 'width': 6, 'depth': 1}, CLASSES, (4, 4, 1)),
    evidence=Evidence(Crowd.from_table(noisy[:, None], classes=CLASSES)),
    examples=examples,
    epochs=2,
    batch=batch,
    epoch_steps=-(-images // batch),
    weak=(Jitter(0.1),),
    strong=(Jitter(0.4),),
    make_optimizer=lambda epochs, rate, constant, decay, on: optax.sgd(rate or 0.05, 0.9),
    make_views=make_views,
  )


SMALL = dict(queue=16, pair_queue=24, width=4, neighbours=5, pair_queue_from=0)


def problem_of(phase, given, **options):
  recipe = Recipe('tiny', batch=given.batch, epochs=phase.epochs)
  options = {'networks': 2, 'num_steps': 6, 'seed': 1, **options}
  return players.problem(
    phase.game, given.examples, recipe, views=phase.views, drawn=phase.rows, **options
  )


def stepping(problem):
  @jax.jit
  def step(state, inputs):
    batch = problem.source.sample(inputs, jax.random.wrap_key_data(state.key), state.step)
    return problem.step(state, batch)

  return step


def look_of(phase, given):
  def look(variables, part=NET, of='train'):
    module, images = phase.game.parts[part].module, given.examples.images / 255.0
    variables = jax.tree.map(jnp.asarray, dict(variables))
    of_part = {name: tree[part] for name, tree in variables.items() if part in tree}
    logits, features = jax.vmap(lambda v: module.apply(v, (images - 0.5) / 0.25))(of_part)
    return {'logits': np.asarray(logits), 'projected': np.asarray(features['projected'])}

  return look


def refreshed(phase, given, state):
  beliefs = phase.refresh(state.variables, look_of(phase, given), int(state.step))
  beliefs = jax.tree.map(jnp.asarray, {**state.variables['beliefs'], **beliefs})
  return state.replace(variables={**state.variables, 'beliefs': beliefs})


@pytest.mark.slow
def test_sel_cl_trains_refreshes_and_goes_on_with_one_program():
  given = setting()
  first, second = sel_cl.method(given, **SMALL, finetune=1).phases
  problem = problem_of(first, given, networks=1)
  step, state = stepping(problem), problem.state
  assert not state.variables['beliefs']['confident'].any()
  lines = []
  for number in range(4):
    if number == 2:
      form = jax.tree.map(jnp.shape, state.variables)
      state = refreshed(first, given, state)
      assert jax.tree.map(jnp.shape, state.variables) == form
    state, metrics = step(state, problem.source.data)
    lines.append({name: float(value) for name, value in metrics.items()})
  assert step._cache_size() == 1
  assert [line['similarity'] > 0 for line in lines] == [False, False, True, True]
  assert [line['class'] > 0 for line in lines] == [False, False, True, True]
  assert {'net_accuracy', 'class_first_accuracy'} <= set(lines[0])
  kept = jax.tree.map(np.asarray, state.variables['memory']['contrast']['paired']['index'])
  assert (kept >= 0).all()
  ended = {'contrast': jax.tree.map(np.asarray, state.variables)}
  initial = second.begin(ended, look_of(second, given))
  made = problem_of(second, given, networks=1, initial=initial, num_steps=2)
  params = made.state.variables['params'][NET]
  np.testing.assert_array_equal(
    params['encoder']['linear1']['kernel'],
    ended['contrast']['params'][NET]['encoder']['linear1']['kernel'],
  )
  assert not np.array_equal(
    params['head']['classifier']['kernel'],
    ended['contrast']['params'][NET]['head']['classifier']['kernel'],
  )
  projection = np.asarray(params['head']['projection']['linear1']['kernel'])
  after, metrics = stepping(made)(made.state, made.source.data)
  assert np.isfinite(metrics['loss'])
  moved = after.variables['params'][NET]['head']
  np.testing.assert_array_equal(moved['projection']['linear1']['kernel'], projection)


def close(a, b):
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5), a, b)


@pytest.mark.slow
def test_four_devices_train_as_one():
  """Six rows over four devices: queues, pairs, mixing and the cut are of the whole batch."""
  given = setting()
  (phase,) = sel_cl.method(given, **SMALL, finetune=0, warmup='sup').phases
  rng = np.random.default_rng(0)
  beliefs = {
    'confident': rng.random((1, 20)) < 0.5,
    'selected': np.ones(1, bool),
    'pairs': {
      'confident': rng.random((1, 20)) < 0.5,
      'threshold': np.zeros(1, np.float32),
      'labels': given.evidence.labels[None],
      'directions': unit(rng.normal(size=(1, 20, 4))).astype(np.float32),
    },
  }
  ends = []
  for mesh in (None, parallel.make_mesh(4)):
    options = dict(networks=1, mesh=mesh, spread='batch', initial={'beliefs': beliefs})
    problem = problem_of(phase, given, **options)
    state, metrics = stepping(problem)(problem.state, problem.source.data)
    assert float(metrics['similarity']) > 0
    ends.append(jax.tree.map(lambda leaf: np.asarray(parallel.gather(leaf)), state.variables))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), *ends)


@pytest.mark.parametrize(
  'method, parts',
  [
    (moco.method, ['net', 'keys']),
    (sup_cl.method, ['net', 'anchors_second']),
    (
      moit.method,
      ['net', 'anchors_first', 'anchors_second', 'keys_first', 'keys_second'],
    ),
  ],
)
def test_relatives_are_configs_of_one_stage(method, parts):
  given = setting()
  fields = {'queue': 16} if method is moco.method else {}
  fields |= {'pair_queue': 24, 'neighbours': 5, 'warmup_epochs': 1} if method is moit.method else {}
  made = method(given, width=4, **fields)
  assert list(made.phases[0].game.parts) == parts
  assert len(made.phases) == (1 if method is moit.method else 2)
  assert made.reconstruction == (method is moit.method)
  problem = problem_of(made.phases[0], given, networks=1)
  _, metrics = jax.eval_shape(stepping(problem), problem.state, problem.source.data)
  assert {'loss', 'contrast'} <= set(metrics)
  assert ('class' in metrics) == (method is moit.method)


@pytest.mark.parametrize(
  'fields, sentence',
  [
    ({'neighbours': 20}, 'neighbours is 20; each of 20 examples has 19 others: ask for fewer.'),
    ({'queue': 5}, 'queue is 5; a step brings 6 rows'),
    ({'pair_queue': 11}, 'pair_queue is 11; a step brings 12 rows'),
    ({'alpha': 1.5}, 'alpha'),
    ({'temperature': 0}, 'temperature is 0'),
    ({'lambda_c': 0.0, 'finetune': 0}, 'nothing trains the classifier'),
    ({'bootstrap': 2}, 'bootstrap is 2'),
  ],
)
def test_bad_numbers_are_refused_in_a_sentence(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    sel_cl.method(setting(), **{**SMALL, **fields})


@pytest.mark.parametrize('warmup_epochs', [0, 2, 3])
def test_without_a_selection_a_classifier_needs_a_second_stage(warmup_epochs):
  """Of two epochs; what learns from all labels at first needs none."""
  given, fields = setting(), {**SMALL, 'warmup_epochs': warmup_epochs}
  sentence = f'warmup_epochs is {warmup_epochs}, and must be from 1 to less than the 2 epochs'
  with pytest.raises(UserError, match=sentence):
    sel_cl.method(given, **fields, finetune=0)
  sel_cl.method(given, **{**fields, 'warmup_epochs': 1}, finetune=0)
  sel_cl.method(given, **fields, finetune=0, warmup='sup')
  sel_cl.method(given, **fields, finetune=1)
  ours = functools.partial(moit.method, given, pair_queue=24, width=4, neighbours=5)
  if warmup_epochs < 2:
    ours(warmup_epochs=warmup_epochs)
    return
  with pytest.raises(UserError, match=f'warmup_epochs is {warmup_epochs}, and there are 2 epochs'):
    ours(warmup_epochs=warmup_epochs)


def test_a_second_stage_on_no_label_at_all_is_refused():
  _, second = sel_cl.method(setting(), **SMALL, finetune=1).phases
  outputs = {'projected': np.ones((2, 20, 4), np.float32)}
  with pytest.raises(UserError, match='confirm no label for 2 of 2 networks.*method.neighbours'):
    second.begin({'contrast': {'params': {}}}, lambda *asked: outputs)


def test_a_strong_view_has_the_sides_of_the_image():
  images = jnp.ones((2, 4, 6, 1))
  for operation in strong.transforms((4, 6, 1)):
    images = operation(jax.random.key(0), images, operation.draw(jax.random.key(1)))
  assert images.shape == (2, 4, 6, 1)


def test_an_anchor_counts_a_column_once():
  """The image that is mixed in may be a column itself: one positive, not two."""
  index = jnp.array([3, 4])
  found = contrast.positives(jnp.ones((2, 2), bool), index, index, ~jnp.eye(2, dtype=bool))
  assert found.partners.tolist() == found.positive.tolist() == [[False, True], [True, False]]
  views = jnp.array([3, 3]), jnp.array([[False, True]])
  found = contrast.positives(jnp.ones((1, 2), bool), jnp.array([3]), *views)
  assert found.positive.tolist() == [[False, True]] and not found.partners.any()
