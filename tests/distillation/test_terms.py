"""Every term by name, on tiny pairs of equal and of unequal widths and sizes: what equal inputs
give, who has a gradient, and rows of weight 0."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_pairs
from toy_pairs import LABELS, ROWS

from jaxdistill import losses
from jaxdistill.distillation import contrast_terms, pieces, terms
from jaxdistill.errors import UserError
from jaxdistill.training.players import Scene

GAP = [4, 5]  # the last rows: those before draw the same negatives with and without them
# With a trained module between the student and the loss.
ADAPTED = {'cc', 'crd', 'crd_batch', 'crd_queue', 'fitnet', 'ft', 'reviewkd', 'vid'}
# Losses that are no term of their own, and why.
NO_TERMS = {
  'cross_contrast': 'one of the two directions of crd_batch',
  'relational_contrast': 'of relation modules, which the method CRRCD has',
  'rkd_angle': 'rkd with distance=0',
  'rkd_distance': 'rkd with angle=0',
}
SHORT = {
  'attention_transfer': 'at',
  'correlation_congruence': 'cc',
  'group_order': 'group',
  'in_batch_crd': 'crd_batch',
  'point_order': 'point',
  'similarity_preserving': 'sp',
}
every = pytest.mark.parametrize('name', terms.TERMS)
# They compile for seconds; that rows of all devices are compared is tested by quicker terms, too.
HEAVY = {'ab', 'at', 'crd', 'ft', 'kdsvd', 'reviewkd'}
DIVIDED = [
  pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in terms.TERMS
]
EMBEDDINGS = [
  f'{loss}_{side}'
  for loss, side in itertools.product(
    ('cc', 'crd', 'crd_batch', 'crd_queue'), ('student', 'teacher')
  )
]


def fields(name):
  return {'length': 6} if name == 'crd_queue' else {}


@functools.cache
def started(name):
  """The phases of a term for a student with fewer channels and smaller images than the teacher has,
  the variables of its adapters, and the outputs of both networks."""
  made = toy_pairs.pair(4, 6, low=4)
  outputs = {
    'student': toy_pairs.features(made.student_form, 1),
    'teacher': toy_pairs.features(made.teacher_form, 2),
  }
  phases = toy_pairs.phases(terms.make(made, name, fields(name)))
  if name == 'crd_queue':
    phases = [(parts, tuple(map(filled, of_phase))) for parts, of_phase in phases]
  adapters = {part: module for parts, _ in phases for part, module in parts.items()}
  return phases, toy_pairs.start(adapters, outputs), outputs


def filled(term):
  """A term with a queue that has images: that of a first batch is without negatives."""

  def memory(key):
    drawn = jax.random.normal(key, (12, 128))
    labels = jnp.arange(12, dtype=jnp.int32) % 3
    return {**term.memory(key), 'student': drawn, 'teacher': 2 * drawn, 'labels': labels}

  return dataclasses.replace(term, memory=memory)


def total(name):
  """(parameters, outputs, batch) -> the sum of the terms of all phases, and each by its name."""
  phases, variables, _ = started(name)

  def of_all(params, outputs, entries):
    whole = {part: {**tree, 'params': params[part]} for part, tree in variables.items()}
    by_term = {}
    for parts, of_phase in phases:
      scene = toy_pairs.adapted(parts, whole, Scene(outputs, entries, jax.random.key(3)))
      by_term |= toy_pairs.values(of_phase, scene)
    return sum(by_term.values()), by_term

  return of_all


@functools.cache
def compiled(name):
  """Its gradients, and the terms."""
  return jax.jit(toy_pairs.gradients(total(name)))


def evaluate(name, change=lambda array: array, weight=None):
  """Terms, gradients of adapters and of outputs, with all arrays of rows changed."""
  _, variables, outputs = started(name)
  params = {part: tree['params'] for part, tree in variables.items()}
  entries = toy_pairs.batch()
  outputs, entries = jax.tree.map(change, (outputs, entries))
  if weight is not None:
    entries = {**toy_pairs.batch(), 'weight': jnp.asarray(weight, jnp.float32)}
  (of_adapters, of_outputs), by_term = compiled(name)(params, outputs, entries)
  return by_term, of_adapters, of_outputs


def size(tree):
  return max((float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree)), default=0.0)


@every
def test_the_student_and_the_adapters_have_finite_gradients(name):
  by_term, of_adapters, of_outputs = evaluate(name)
  assert all(np.isfinite(value) and value != 0 for value in by_term.values())
  everything = jax.tree.leaves((of_adapters, of_outputs))
  assert all(np.isfinite(leaf).all() for leaf in everything)
  assert 1e-9 < size(of_outputs['student']) < 1e6
  for path, leaf in jax.tree_util.tree_leaves_with_path(of_adapters):
    if 'bias' not in jax.tree_util.keystr(path):  # one before a batch norm moves nothing
      assert np.abs(leaf).max() > 0, path


@pytest.mark.slow
@pytest.mark.parametrize('name', DIVIDED)
def test_four_devices_compute_what_one_does(name):
  _, variables, outputs = started(name)
  params = {part: tree['params'] for part, tree in variables.items()}
  spread = toy_pairs.of_four_devices(total(name))
  gradients, by_term = spread(params, outputs, toy_pairs.batch())
  expected, *expected_gradients = evaluate(name)
  for term, value in by_term.items():
    assert float(value) == pytest.approx(float(expected[term]), rel=1e-4)
  difference = jax.tree.map(jnp.subtract, list(gradients), expected_gradients)
  assert size(difference) < 1e-4 * size(expected_gradients)


def filled_up(number):
  """Changes arrays of rows: the last ones hold a number."""

  def change(array):
    return array.at[jnp.array(GAP)].set(number if array.dtype == jnp.float32 else 1)

  return change


@every
def test_rows_of_weight_0_may_hold_anything(name):
  some = np.arange(ROWS) < GAP[0]
  by_term, *gradients = evaluate(name, filled_up(1e3), some)
  expected, *expected_gradients = evaluate(name, filled_up(-1.0), some)
  for term, value in by_term.items():
    assert float(value) == pytest.approx(float(expected[term]), rel=1e-5)
  assert not size(jax.tree.map(lambda leaf: leaf[GAP[0] :], gradients[1]))
  difference = jax.tree.map(jnp.subtract, gradients, expected_gradients)
  assert size(difference) < 1e-4 * size(expected_gradients)


@pytest.mark.parametrize('name', ['crd', 'dist', 'fitnet', 'vid'])
def test_rows_of_weight_0_are_not_there(name):
  """Values and gradients are those of the batch without them, adapters' batch norms included."""
  by_term, *gradients = evaluate(name, filled_up(1e3), np.arange(ROWS) < GAP[0])
  expected, *expected_gradients = evaluate(name, lambda array: array[: GAP[0]])
  assert float(by_term[name]) == pytest.approx(float(expected[name]), rel=1e-4)
  gradients[1] = jax.tree.map(lambda leaf: leaf[: GAP[0]], gradients[1])
  difference = jax.tree.map(jnp.subtract, gradients, expected_gradients)
  assert size(difference) < 1e-3 * size(expected_gradients)


@pytest.mark.parametrize(
  'name', [name for name in terms.TERMS if name not in {*ADAPTED, 'ab', 'ofd'}]
)
def test_equal_networks_have_no_loss(name):
  made = toy_pairs.pair(4, 4)
  same = toy_pairs.features(made.student_form)
  scene = Scene({'student': same, 'teacher': same}, toy_pairs.batch())
  for parts, of_phase in toy_pairs.phases(terms.make(made, name, {})):
    assert not parts  # equal widths need no adapter
    for value in toy_pairs.values(of_phase, scene).values():
      assert abs(float(value)) < (2e-4 if name == 'dist' else 1e-6)  # by its 1e-8 beside products


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted({*ADAPTED, 'ab', 'ofd'}))
def test_adapters_that_meet_the_teacher_have_the_least_loss(name):
  """By outputs in place of those of the adapters: the teacher's own, or equal embeddings."""
  made = toy_pairs.pair(4, 6, low=4)
  teacher = toy_pairs.features(made.teacher_form)
  embedding = jnp.asarray(np.eye(128)[LABELS], jnp.float32)
  scales = [jnp.broadcast_to(losses.vid_scale(c)[None], (ROWS, c)) for c in (6, 12)]
  low = {stage: jnp.where(teacher[stage] > 0, teacher[stage], -9) for stage in ('stage1', 'stage2')}
  sure = {stage: 9 * jnp.sign(teacher[f'{stage}_pre']) for stage in ('stage1', 'stage2')}
  met = {
    'ab_connector1': {'output': sure['stage1']},
    'ab_connector2': {'output': sure['stage2']},
    'ofd_connector1': {'output': low['stage1']},
    'ofd_connector2': {'output': low['stage2']},
    'fitnet_regressor1': {'output': teacher['stage2']},
    'vid_regressor1': {'mean': teacher['stage1'], 'scale': scales[0]},
    'vid_regressor2': {'mean': teacher['stage2'], 'scale': scales[1]},
    'reviewkd_fusion': {
      'stage1': teacher['stage1_pre'],
      'stage2': teacher['stage2_pre'],
      'embedding': teacher['embedding'][:, None, None],
    },
    'ft_translator': {'output': teacher['stage2']},
    'ft_paraphraser': {'factor': teacher['stage2'], 'output': teacher['stage2']},
    **{part: {'output': embedding} for part in EMBEDDINGS},
  }
  scene = Scene({'teacher': teacher, **met}, toy_pairs.batch(), jax.random.key(0))
  for _, of_phase in toy_pairs.phases(terms.make(made, name, fields(name))):
    for term, value in toy_pairs.values(of_phase, scene).items():
      if term == 'crd':  # a fresh bank knows no image: no embedding is without loss
        assert float(value) > 0
      else:
        least = np.log(5.0) if term == 'vid' else 0.0  # half of it a stage
        assert float(value) == pytest.approx(least, abs=1e-5), term


# What single terms add to their losses.


def logits_scene(student, teacher):
  outputs = {
    'student': {'logits': jnp.asarray(student)},
    'teacher': {'logits': jnp.asarray(teacher)},
  }
  return Scene(outputs, toy_pairs.batch())


def test_dkd_with_one_minus_the_true_class_of_the_teacher_is_kd():
  """In a batch in which the teacher is sure to one degree of every true class."""
  rng = np.random.default_rng(0)
  teacher = np.zeros((ROWS, 3), np.float32)
  for row, label in enumerate(LABELS):
    others = [c for c in range(3) if c != label]
    teacher[row, label], teacher[row, others] = 1.0, rng.permutation([0.2, -0.7])
  p = float(jax.nn.softmax(jnp.asarray(teacher) / 4.0)[0, 0])
  scene = logits_scene(rng.normal(size=(ROWS, 3)).astype(np.float32), teacher)
  made = toy_pairs.pair()
  (kd,) = terms.make(made, 'kd', {}).terms
  (dkd,) = terms.make(made, 'dkd', {'beta': 1 - p}).terms
  assert float(dkd.loss(scene)) == pytest.approx(float(kd.loss(scene)), rel=1e-5)
  (other,) = terms.make(made, 'dkd', {'beta': 2.0}).terms
  assert float(other.loss(scene)) != pytest.approx(float(kd.loss(scene)), rel=1e-2)


def test_standardised_logits_know_no_size_and_no_shift():
  rng = np.random.default_rng(0)
  student, teacher = rng.normal(size=(2, ROWS, 3)).astype(np.float32)
  for name in ('kd', 'dkd'):
    (term,) = terms.make(toy_pairs.pair(), name, {'standardize': True}).terms
    before, after = (
      float(term.loss(logits_scene(logits, teacher))) for logits in (student, 5 * student + 1)
    )
    assert after == pytest.approx(before, rel=1e-4) and before > 0


def test_negatives_are_never_of_the_anchors_class(monkeypatch):
  seen = []
  real = losses.crd

  def spy(student, teacher, bank, images, negatives, *rest):
    seen.append(np.asarray(negatives))
    return real(student, teacher, bank, images, negatives, *rest)

  monkeypatch.setattr(contrast_terms.losses, 'crd', spy)
  labels = np.random.default_rng(0).integers(0, 3, 50)
  labels[:ROWS] = LABELS
  made = toy_pairs.pair(images=50, labels=labels)
  (term,) = terms.make(made, 'crd', {'negatives': 40}).terms
  embedded = {'output': jnp.eye(ROWS, 128)}
  scene = Scene({'crd_student': embedded, 'crd_teacher': embedded}, toy_pairs.batch())
  memory = term.memory(jax.random.key(0))
  assert {name: array.shape for name, array in memory.items()} == {
    'student': (50, 128),
    'teacher': (50, 128),
    'log_z': (2,),
    'ready': (),
  }
  for seed in range(3):
    own = dataclasses.replace(scene, key=jax.random.key(seed), memory=memory)
    _, memory = term.loss(own)
  assert len(seen) == 3 and (seen[0] != seen[1]).any()
  for negatives in seen:
    assert negatives.shape == (ROWS, 40)
    assert (labels[negatives] != LABELS[:, None]).all()
  moved = np.abs(np.asarray(memory['student']) - term.memory(jax.random.key(0))['student']).max(1)
  np.testing.assert_array_equal(moved > 0, np.arange(50) < ROWS)


def test_more_negatives_than_images_are_as_many():
  (term,) = terms.make(toy_pairs.pair(), 'crd', {}).terms
  embedded = {'output': jnp.eye(ROWS, 128)}
  scene = Scene({'crd_student': embedded, 'crd_teacher': embedded}, toy_pairs.batch())
  own = dataclasses.replace(scene, key=jax.random.key(0), memory=term.memory(jax.random.key(0)))
  shapes = {eqn.outvars[0].aval.shape for eqn in jax.make_jaxpr(lambda: term.loss(own))().eqns}
  assert not any(16384 in shape for shape in shapes)


# 240 epochs of 10 steps, as the warm-ups are meant for.
WHOLE = dict(steps=2400, epoch_steps=10)


def rising(step, fields=(('weight', 3.0),), **lengths):
  (term,) = terms.make(toy_pairs.pair(**{**WHOLE, **lengths}), 'dkd', dict(fields)).terms
  return float(term.weight(jnp.int32(step)))


@pytest.mark.parametrize('step, share', [(0, 0.05), (9, 0.05), (10, 0.1), (199, 1.0), (500, 1.0)])
def test_a_weight_rises_by_the_epoch(step, share):
  assert rising(step) == pytest.approx(3 * share)
  assert rising(step, steps=10 * WHOLE['steps']) == pytest.approx(3 * share)  # in a longer run too
  (term,) = terms.make(toy_pairs.pair(), 'dkd', {'weight': 3.0, 'warmup': 0}).terms
  assert term.weight == 3.0


@pytest.mark.parametrize('step, part', [(0, 1), (4, 1), (5, 2), (94, 19), (95, 20), (1199, 20)])
def test_a_shorter_training_has_the_same_share_of_warm_up(step, part):
  """A 240th part of 120 epochs of 10 steps are 5 steps."""
  assert rising(step, steps=1200) == pytest.approx(3 * part / 20)
  assert rising(10**9, steps=1200) == 3.0


def test_every_loss_has_a_term_or_a_reason():
  lacking = set()
  for name in losses.DISTILLATION:
    if SHORT.get(name, name) not in terms.TERMS:
      lacking.add(name)
  assert lacking == set(NO_TERMS)


# The features that are compared.


def test_the_last_stages_are_compared_and_names_may_be_given():
  made = toy_pairs.pair()
  longer = dict(made.teacher_form, stage3=made.teacher_form['stage2'])
  uneven = dataclasses.replace(made, teacher_form=longer)
  assert pieces.stages(uneven, 'AT') == [('stage1', 'stage2'), ('stage2', 'stage3')]
  assert pieces.stages(uneven, 'AT', last=1) == [('stage2', 'stage3')]
  assert pieces.stages(made, 'FSP', stem=True)[0] == ('stem', 'stem')
  assert pieces.stages(made, 'AT', ('stage1',)) == [('stage1', 'stage1')]
  assert pieces.stages(made, 'AT', ('stage1',), ('stem',)) == [('stage1', 'stem')]
  assert pieces.stages(made, 'AB', before_relu=('teacher',))[0] == ('stage1', 'stage1_pre')


def test_blocks_stand_for_stages():
  made = toy_pairs.pair()
  blocks = {name.replace('stage', 'block'): form for name, form in made.student_form.items()}
  blocks = {name: form for name, form in blocks.items() if not name.endswith('_pre')}
  made = dataclasses.replace(made, student_form=blocks)
  assert pieces.stages(made, 'AT') == [('block1', 'stage1'), ('block2', 'stage2')]
  with pytest.raises(UserError, match='AB compares maps before their ReLU.*the student gives none'):
    terms.make(made, 'ab', {})


@pytest.mark.parametrize(
  'name, given, message',
  [
    ('kd', {'temprature': 3}, "no field of term kd 'temprature'; did you mean 'temperature'"),
    ('kdd', {}, "no distillation term 'kdd'; did you mean 'kd'"),
    ('rkd', {'student': 'embeding'}, "no feature of the student 'embeding'; did you mean 'embed"),
    ('fitnet', {'teacher': ('stage7',)}, "no feature of the teacher 'stage7'; did you mean"),
    ('at', {'student': ('embedding',)}, r"AT compares maps.*'embedding' of the student .*\(8,\)"),
    ('at', {'student': ('stage1',), 'teacher': ('stem', 'stage1')}, 'got 1 names of the student'),
    ('kd', {'weight': 'much'}, "weight is 'much'; it must be a number"),
    ('dkd', {'warmup': 2.5}, 'warmup is 2.5; it must be a whole number'),
    ('crd', {'negatives': 0}, 'negatives is 0; it must be at least 1'),
    ('crd_queue', {'length': 3}, 'length is 3; it must be at least 6'),
    (
      'kdsvd',
      {'student': ('stage1',)},
      'KDSVD compares 2 maps of a network or more; stage1 of the',
    ),
    ('cc', {'width': 0}, 'width is 0; it must be at least 1'),
    ('crd', {'momentum': 7}, 'momentum is 7; it is from 0 to below 1'),
    ('ft', {'factors': -1}, 'factors is -1; it must be above 0'),
    ('fsp', {'share': 0.0}, 'share of the steps of the phase fsp is 0.0'),
  ],
)
def test_what_a_term_cannot_be_is_one_sentence(name, given, message):
  with pytest.raises(UserError, match=message):
    terms.make(toy_pairs.pair(), name, given)


def test_logits_of_other_classes_are_refused():
  made = toy_pairs.pair(student_form=toy_pairs.form(toy_pairs.Net(num_classes=7), 8))
  with pytest.raises(UserError, match='DKD compares logits of the same classes; the student has 7'):
    terms.make(made, 'dkd', {})
