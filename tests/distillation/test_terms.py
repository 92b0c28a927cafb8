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
EMBEDDINGS = [
  f'{loss}_{side}'
  for loss, side in itertools.product(
    ('cc', 'crd', 'crd_batch', 'crd_queue'), ('student', 'teacher')
  )
]


def fields(name):
  return {'length': 6} if name == 'crd_queue' else {}


@functools.cache
def started(name, low=4):
  """A piece for a student with fewer channels and smaller images, its phases, and variables."""
  made = toy_pairs.pair(4, 6, low)
  piece = terms.make(made, name, fields(name))
  entries = toy_pairs.batch(low)
  variables = {
    'student': made.student.init(jax.random.key(1), entries['low']),
    'teacher': made.teacher.init(jax.random.key(2), entries['images']),
  }
  if name == 'crd_queue':  # that of a first batch has no negatives yet
    (term,) = piece.terms
    full = lambda key: {
      **term.memory(key),
      'student': jax.random.normal(key, (12, 128)),
      'teacher': jax.random.normal(key, (12, 128)),
      'labels': jnp.arange(12, dtype=jnp.int32) % 3,
    }
    piece = dataclasses.replace(piece, terms=(dataclasses.replace(term, memory=full),))
  phases = toy_pairs.phases(piece, made)
  for parts, _ in phases:
    _, variables = toy_pairs.scene_of(parts, variables, entries, made.teacher)
  return made, phases, variables


@functools.cache
def compiled(name):
  """(variables, batch) -> the terms of both phases, and the gradient of their sum."""
  made, phases, _ = started(name)

  def total(params, variables, entries):
    variables = {part: {**tree, 'params': params[part]} for part, tree in variables.items()}
    by_term = {}
    for parts, of_phase in phases:
      key = jax.random.key(3)
      scene, _ = toy_pairs.scene_of(parts, variables, entries, made.teacher, key)
      by_term |= toy_pairs.values(of_phase, scene)
    return sum(by_term.values()), by_term

  def both(variables, entries):
    params = {part: tree['params'] for part, tree in variables.items()}
    (_, by_term), gradient = jax.value_and_grad(total, has_aux=True)(params, variables, entries)
    return by_term, gradient

  return jax.jit(both)


def size(tree):
  return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


@every
def test_a_student_and_the_adapters_have_finite_gradients(name):
  _, phases, variables = started(name)
  by_term, gradient = compiled(name)(variables, toy_pairs.batch(4))
  assert all(np.isfinite(value) and value != 0 for value in by_term.values())
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
  assert 1e-9 < size(gradient['student']) < 1e6
  adapters = {part for parts, _ in phases for part in parts} - {'student'}
  for part in adapters:
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient[part]):
      if 'kernel' in jax.tree_util.keystr(path) or 'scale' in jax.tree_util.keystr(path):
        assert np.abs(leaf).max() > 0, (part, path)


@every
def test_rows_of_weight_0_are_not_there(name):
  """Whatever they hold: values and gradients are those of the batch without them."""
  _, _, variables = started(name)
  entries = toy_pairs.batch(4)
  without = {entry: array[: GAP[0]] for entry, array in entries.items()}
  spoilt = {entry: array.copy() for entry, array in entries.items()}
  for view in ('images', 'low'):
    spoilt[view][GAP] = 1e3
  spoilt['weight'][GAP] = 0
  by_term, gradient = compiled(name)(variables, spoilt)
  expected, expected_gradient = compiled(name)(variables, without)
  for term, value in by_term.items():
    assert float(value) == pytest.approx(float(expected[term]), rel=1e-4)
  for part in expected_gradient:
    scale = size(expected_gradient[part]) + 1e-6
    difference = jax.tree.map(jnp.subtract, gradient[part], expected_gradient[part])
    assert size(difference) < 1e-3 * scale, part


@pytest.mark.parametrize('name', [name for name in terms.TERMS if name not in {*ADAPTED, 'ab'}])
def test_equal_networks_have_no_loss(name):
  made = toy_pairs.pair(4, 4)
  entries = toy_pairs.batch()
  same = made.student.init(jax.random.key(1), entries['images'])
  for parts, of_phase in toy_pairs.phases(terms.make(made, name, {}), made):
    assert set(parts) == {'student'}  # equal widths need no adapter
    variables = {'student': same, 'teacher': same}
    scene, _ = toy_pairs.scene_of(parts, variables, entries, made.teacher)
    for value in toy_pairs.values(of_phase, scene).values():
      assert abs(float(value)) < 1e-6


@pytest.mark.parametrize('name', sorted({*ADAPTED, 'ab'}))
def test_adapters_that_meet_the_teacher_have_the_least_loss(name):
  """By outputs in place of those of the adapters: the teacher's own, or equal embeddings."""
  made = toy_pairs.pair(4, 6, 4)
  piece = terms.make(made, name, fields(name))
  rng = np.random.default_rng(0)
  teacher = {
    feature: jnp.asarray(rng.normal(size=(ROWS, *shape.shape[1:])), jnp.float32)
    for feature, shape in made.teacher_form.items()
  }
  embedding = jnp.asarray(np.eye(128)[LABELS], jnp.float32)
  far = {feature: 9 * jnp.sign(values) for feature, values in teacher.items()}
  scale = jnp.broadcast_to(jnp.asarray(losses.vid_scale(6))[None], (ROWS, 6))
  wide = jnp.broadcast_to(jnp.asarray(losses.vid_scale(12))[None], (ROWS, 12))
  factor = jnp.asarray(rng.normal(size=(ROWS, 4, 4, 6)), jnp.float32)
  met = {
    'ab_connector1': {'output': far['stage1_pre']},
    'ab_connector2': {'output': far['stage2_pre']},
    'fitnet_regressor1': {'output': teacher['stage2']},
    'vid_regressor1': {'mean': teacher['stage1'], 'scale': scale},
    'vid_regressor2': {'mean': teacher['stage2'], 'scale': wide},
    'reviewkd_fusion': {
      'stage1': teacher['stage1_pre'],
      'stage2': teacher['stage2_pre'],
      'embedding': teacher['embedding'][:, None, None],
    },
    'ft_translator': {'output': factor},
    'ft_paraphraser': {'factor': factor, 'output': teacher['stage2']},
    **{part: {'output': embedding} for part in EMBEDDINGS},
  }
  scene = Scene({'teacher': teacher, **met}, toy_pairs.batch(4), jax.random.key(0))
  least = {'vid': 2 * 0.5 * np.log(5.0), 'crd_batch': 0.0}
  for _, of_phase in toy_pairs.phases(piece, made):
    for term, value in toy_pairs.values(of_phase, scene).items():
      if term == 'crd':  # a fresh bank knows no image: no embedding is without loss
        assert float(value) > 0
      else:
        assert float(value) == pytest.approx(least.get(term, 0.0), abs=1e-5), term


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


@pytest.mark.parametrize('step, share', [(0, 0.05), (9, 0.05), (10, 0.1), (199, 1.0), (500, 1.0)])
def test_a_weight_rises_by_the_epoch(step, share):
  (term,) = terms.make(toy_pairs.pair(), 'dkd', {'weight': 3.0}).terms
  assert float(term.weight(jnp.int32(step))) == pytest.approx(3 * share)
  (term,) = terms.make(toy_pairs.pair(), 'dkd', {'weight': 3.0, 'warmup': 0}).terms
  assert term.weight == 3.0


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
