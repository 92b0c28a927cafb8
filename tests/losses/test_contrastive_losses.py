"""CRD with its bank and its queue by the formula, negatives by class, and relational contrast."""

import distillation_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill import errors, losses

RNG = np.random.default_rng(17)
IMAGES, WIDTH, NEGATIVES = 9, 4, 5
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 0, 1])
BATCH = np.array([1, 4, 0, 8])
STUDENT, TEACHER = RNG.normal(size=(2, len(BATCH), WIDTH))
CLASSES = losses.by_class(LABELS, 4)  # no image is of the last one
CRD, CONTRAST = jax.jit(losses.crd), jax.jit(losses.relational_contrast)


def as_float32(*arrays):
  return [jax.device_put(np.float32(array)) for array in arrays]


def nce(anchors, candidates, count, z=None, temperature=0.07):
  """One direction by the formula: the mean over anchors, and Z.

  Args:
    anchors: [n, d].
    candidates: of each anchor [1 + K, d], its own image first.
    count: N.
    z: Z; None: that of these scores.
  """
  powers = []
  for anchor, others in zip(anchors, candidates):
    powers.append(
      [np.exp(references.cosine(anchor, o) * np.linalg.norm(o) / temperature) for o in others]
    )
  z = np.mean(powers) * count if z is None else z
  total = 0.0
  for own, *rest in powers:
    noise = len(rest) / count
    total -= np.log(own / z / (own / z + noise))
    total -= sum(np.log(noise / (other / z + noise)) for other in rest)
  return total / len(anchors), z


def draw(seed=0, number=NEGATIVES):
  return losses.draw_negatives(jax.random.key(seed), jnp.asarray(LABELS[BATCH]), CLASSES, number)


def test_negatives_are_all_images_of_other_classes_alike():
  negatives = np.asarray(draw(number=3000))
  for label, drawn in zip(LABELS[BATCH], negatives):
    others = np.flatnonzero(LABELS != label)
    counts = np.bincount(drawn, minlength=IMAGES)
    assert not counts[LABELS == label].any()
    np.testing.assert_allclose(counts[others], 3000 / len(others), rtol=0.15)


def test_crd_is_the_formula_and_moves_its_bank():
  bank = losses.crd_bank(jax.random.key(3), IMAGES, WIDTH)
  negatives, z = draw(), [None, None]
  for _ in range(2):  # Z is that of the first batch, the rows are those of the step before
    memories = np.asarray(bank.teacher, float), np.asarray(bank.student, float)
    value, moved = CRD(*as_float32(STUDENT, TEACHER), bank, jnp.asarray(BATCH), negatives)
    candidates = np.concatenate([BATCH[:, None], negatives], 1)
    expected = 0.0
    for side, (anchors, memory) in enumerate(zip((STUDENT, TEACHER), memories)):
      part, z[side] = nce(anchors, memory[candidates], IMAGES, z[side])
      expected += part
    assert float(value) == pytest.approx(expected, rel=2e-5)
    for new, old, anchors in (
      (moved.student, memories[1], STUDENT),
      (moved.teacher, *memories[:1], TEACHER),
    ):
      for image, row in enumerate(np.asarray(new)):
        if image in BATCH:
          anchor = references.unit(anchors[list(BATCH).index(image)])
          np.testing.assert_allclose(
            row, references.unit(0.5 * old[image] + 0.5 * anchor), rtol=1e-4, atol=1e-6
          )
        else:
          np.testing.assert_array_equal(row, old[image].astype(np.float32))
    np.testing.assert_allclose(moved.log_z, np.log(np.array(z) / IMAGES), rtol=1e-5)
    bank = moved


def test_images_of_weight_0_leave_the_bank_alone():
  bank = losses.crd_bank(jax.random.key(3), IMAGES, WIDTH)
  negatives = draw()
  spoilt = [np.concatenate([side[:3], np.full((1, WIDTH), np.nan)]) for side in (STUDENT, TEACHER)]
  images, foreign = jnp.asarray([*BATCH[:3], 99]), negatives.at[3].set(99)

  @jax.jit
  def of_weight(weight):
    loss = lambda student, teacher: losses.crd(
      student, teacher, bank, images, foreign, weight=weight
    )
    return jax.value_and_grad(loss, has_aux=True)(*as_float32(*spoilt))

  (value, moved), gradient = of_weight(jnp.array([1.0, 1, 1, 0]))
  candidates = np.concatenate([BATCH[:, None], negatives], 1)[:3]
  expected = 0.0
  for anchors, memory in ((STUDENT, bank.teacher), (TEACHER, bank.student)):
    expected += nce(anchors[:3], np.asarray(memory, float)[candidates], IMAGES)[0]
  assert float(value) == pytest.approx(expected, rel=2e-5)
  assert np.asarray(gradient[:3]).any() and not np.asarray(gradient[3]).any()
  _, whole = CRD(*as_float32(STUDENT, TEACHER), bank, jnp.asarray(BATCH), negatives)
  for new, full, old in zip(
    jax.tree.leaves(moved)[:2], jax.tree.leaves(whole), jax.tree.leaves(bank)
  ):
    rows = np.asarray(full).copy()
    rows[BATCH[3]] = old[BATCH[3]]
    np.testing.assert_allclose(new, rows, rtol=1e-5)
  (value, same), _ = of_weight(jnp.zeros(4))
  assert float(value) == 0 and not same.ready and np.array_equal(same.student, bank.student)


def test_the_queue_forgets_the_oldest_and_takes_negatives_of_other_classes():
  queue = losses.crd_queue(6, WIDTH)
  labels = np.array([0, 1, 1, 2])
  weight = np.array([1, 0, 1, 1])
  kept, entered, z = [0, 2, 3], [], [None, None]
  step = jax.jit(losses.queued_crd)
  for batch in range(4):
    student, teacher = np.random.default_rng(batch).normal(size=(2, 4, WIDTH))
    padded = [np.where(weight[:, None] > 0, side, np.nan) for side in (student, teacher)]
    value, queue = step(
      *as_float32(*padded), jnp.asarray(labels), queue, weight=jnp.asarray(weight)
    )
    expected = 0.0
    for side, (anchors, others) in enumerate(((student, teacher), (teacher, student))):
      candidates = [
        [references.unit(others[i]), *of_other_classes(entered, labels[i], 1 - side)] for i in kept
      ]
      if entered:
        part, z[side] = mean_nce(anchors[kept], candidates, z[side])
        expected += part
    assert float(value) == pytest.approx(expected, rel=3e-5)
    for i in kept:
      entered.append((labels[i], references.unit(student[i]), references.unit(teacher[i])))
    entered = entered[-6:]
  assert int(queue.head) == 0 and sorted(queue.labels.tolist()) == [0, 0, 1, 1, 2, 2]


def of_other_classes(entered, label, side):
  return [entry[1 + side] for entry in entered if entry[0] != label]


def mean_nce(anchors, candidates, z, temperature=0.07):
  """`nce` for anchors with numbers of negatives of their own; Z / N in place of Z, N = 1."""
  scores = []
  for anchor, others in zip(anchors, candidates):
    scores.append(np.exp([references.cosine(anchor, other) / temperature for other in others]))
  z = np.mean(np.concatenate(scores)) if z is None else z
  parts = [nce([a], [c], 1, z, temperature)[0] for a, c in zip(anchors, candidates)]
  return np.mean(parts), z


def relations(seed=5, others=IMAGES):
  return np.random.default_rng(seed).normal(size=(IMAGES, others, 3))


def test_relational_contrast_with_noise_and_some_anchors():
  own, cross = relations(5), relations(6)
  labels = jnp.asarray(LABELS)
  whole = CONTRAST(*as_float32(own, cross), labels, 0.5, 0.2)
  expected = references.relational_contrast(own, cross, LABELS, 0.5, 0.2)
  assert float(whole) == pytest.approx(expected, rel=1e-5)
  parts = []
  for anchors in ([0, 1, 2], [3, 4, 5], [6, 7, 8]):
    at = np.array(anchors)
    parts.append(
      CONTRAST(*as_float32(own[at], cross[at]), labels, 0.5, 0.2, anchors=jnp.asarray(at))
    )
  assert float(np.mean(parts)) == pytest.approx(expected, rel=1e-5)


def test_relations_to_a_bank_in_place_of_the_batch():
  """The features of the bank are the batch's own, so that only k = i differs."""
  own, cross = relations(5), relations(6)
  labels = jnp.asarray(LABELS)
  value = CONTRAST(
    *as_float32(own, cross),
    labels,
    negatives=jax.device_put(np.float32(cross)),
    negative_labels=labels,
  )
  in_batch = references.relational_contrast(own, cross, LABELS)
  extra = []
  for i, j in np.ndindex(IMAGES, IMAGES):
    if LABELS[i] != LABELS[j]:
      extra.append(np.log1p(np.exp(references.cosine(own[i, j], cross[i, i]) / 0.1)))
  expected = in_batch + sum(extra) / (IMAGES * (IMAGES - 1))
  assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('labels', [None, LABELS])
def test_no_image_of_a_bank_is_a_negative_of_its_own_pairs(labels):
  """The bank is the batch, in another order; then it gives what the batch does."""
  own, cross = relations(5), relations(6)
  order = np.random.default_rng(0).permutation(IMAGES)
  known = None if labels is None else jnp.asarray(labels)
  value = CONTRAST(
    *as_float32(own, cross),
    known,
    negatives=jnp.asarray(cross[:, order], jnp.float32),
    negative_labels=None if labels is None else known[order],
    images=jnp.arange(IMAGES) + 100,
    negative_images=jnp.asarray(order) + 100,
  )
  expected = references.relational_contrast(
    own, cross, np.arange(IMAGES) if labels is None else labels
  )
  assert float(value) == pytest.approx(expected, rel=1e-5)


def test_true_relations_beat_shuffled_ones():
  own = relations()
  shuffled = own[:, np.roll(np.arange(IMAGES), 1)]
  loss = lambda cross: float(CONTRAST(*as_float32(own, cross), jnp.asarray(LABELS)))
  assert loss(own) < loss(shuffled)


def test_mistakes_are_told_in_a_sentence():
  bank = losses.crd_bank(jax.random.key(0), IMAGES, WIDTH + 1)
  sides = as_float32(STUDENT, TEACHER)
  with pytest.raises(errors.UserError, match=r'embeddings of 5 numbers; got \(4, 4\)'):
    losses.crd(*sides, bank, jnp.asarray(BATCH), draw())
  with pytest.raises(errors.UserError, match=r'up to 3 embeddings of 4 numbers; got \(4, 4\)'):
    losses.queued_crd(*sides, jnp.asarray(BATCH), losses.crd_queue(3, WIDTH))
  with pytest.raises(errors.UserError, match='at least two classes'):
    losses.by_class(np.zeros(3, int), 2)
  own = jax.device_put(np.float32(relations()))
  with pytest.raises(errors.UserError, match='need the rows of the anchors'):
    losses.relational_contrast(own[:2], own[:2])
  with pytest.raises(errors.UserError, match=r'one shape \[anchors, n, r\]'):
    losses.relational_contrast(own, own[:2])
  with pytest.raises(errors.UserError, match=r'\[9, m, 3\] here; got \(2, 9, 3\)'):
    losses.relational_contrast(own, own, negatives=own[:2])
