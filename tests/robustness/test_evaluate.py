"""What an evaluation counts, what it warns of, and the sentences for what cannot be attacked."""

import jax
import jax.numpy as jnp
import linear_network
import numpy as np
import pytest

from jaxdistill import robustness
from jaxdistill.errors import UserError
from jaxdistill.robustness import api, attacks, iteration, network, running, sanity, threat

IMAGES, LABELS, WEIGHTS, BIAS = linear_network.examples(10)
F = linear_network.network(WEIGHTS, BIAS)


def moving(value, rows=None):
  """An attack that paints images in one value, all or those with an even label."""

  def init(batch):
    return iteration.Search(**iteration.beginning(batch, 1.0))

  def step(f, state):
    painted = jnp.full_like(state.images, value)
    allowed = True if rows is None else state.labels % 2 == rows
    return state.record(painted, f(painted), allowed).replace(number=state.number + 1)

  return iteration.Attack(init, (iteration.Phase(step, 1),))


def by_brightness(images):
  """Logits of four classes: the class is the mean of the pixels in fours."""
  mean = images.mean((1, 2, 3))[:, None]
  return -((mean - jnp.array([[0.0, 0.3, 0.6, 0.9]])) ** 2)


def grey(*values):
  return np.tile(np.array(values, np.float32)[:, None, None, None], (1, 2, 2, 1))


def test_each_attack_gets_what_those_before_it_left_right():
  images, labels = grey(0.0, 0.3, 0.6, 0.9), np.arange(4)
  seen = []

  def watching(value, rows):
    attack = moving(value, rows)

    def init(batch):
      jax.debug.callback(lambda real: seen.append(int(real.sum())), batch.real)
      return attack.init(batch)

    return attack._replace(init=init)

  traced = network.trace(by_brightness, 4, (2, 2, 1))
  stages = (watching(1.0, 0), watching(0.0, None))
  adversarial = running.attacked(
    stages, traced, images, labels, threat.image_keys(jax.random.key(0), 4)
  )
  jax.effects_barrier()
  assert seen == [4, 2]  # the second sees labels 1 and 3
  assert adversarial[:, 0, 0, 0].tolist() == [1.0, 0.0, 1.0, 0.0]


def test_an_attack_of_the_users_counts_like_any(monkeypatch):
  monkeypatch.setitem(
    robustness.ATTACKS._entries, 'dark', lambda classes, *, eps=0, norm='', value=0.0: moving(value)
  )
  images = grey(0.0, 0.1, 0.6, 0.9)
  result = robustness.evaluate(by_brightness, images, np.array([0, 3, 2, 3]), {'dark': {}}, eps=1)
  assert result.correct['clean'].tolist() == [True, False, True, True]
  assert result.correct['dark'].tolist() == [True, False, False, False]
  assert result.accuracies == {'clean': 0.75, 'dark': 0.25, 'worst': 0.25}
  assert 'every image is within eps = 1' in result.warnings[0]
  assert str(result).splitlines()[0].split() == ['clean', '75.00', '%']


def test_worst_is_over_all_attacks_image_by_image(monkeypatch):
  for name, rows in (('even', 0), ('odd', 1)):
    entry = lambda classes, *, eps=0, norm='', rows=rows: moving(0.45, rows)
    monkeypatch.setitem(robustness.ATTACKS._entries, name, entry)
  images, labels = grey(0.0, 0.3, 0.9, 0.3), np.array([0, 1, 3, 0])
  result = robustness.evaluate(by_brightness, images, labels, ['even', 'odd'], eps=0.5)
  assert result.correct['even'].tolist() == [False, True, True, False]
  assert result.correct['odd'].tolist() == [True, True, False, False]
  assert result.accuracies['worst'] == result.worst == 0.25


def answers(**left):
  """`broken` for attacks that leave so many of four images right."""
  chosen = [attacks.choose(name, 0.1, 'linf', {}) for name in left]
  correct = {name: np.arange(4) < number for name, number in left.items()}
  return sanity.broken(chosen, correct, 0.1, 'linf')


@pytest.mark.parametrize(
  'left, words',
  [
    (dict(pgd20=2, pgd100=3), 'more steps must not raise'),
    (dict(pgd20=3, pgd100=2, cw=3, square=1), 'square, which sees no gradients, leaves 25.00 %'),
    (dict(pgd20=1, autoattack=2), 'autoattack leaves 50.00 % and pgd20 25.00 %'),
  ],
)
def test_a_broken_rule_is_told_in_a_sentence(left, words):
  (sentence,) = answers(**left)
  assert words in sentence


def test_sane_numbers_give_no_sentence():
  assert not answers(fgsm=4, pgd20=3, pgd100=2, cw=3, apgd_t=2, square=3, autoattack=1)
  assert not answers(fgsm=1, square=2)  # more restarts, or one step, compare with nothing
  same = [attacks.choose('pgd', 0.1, 'linf', dict(restarts=number)) for number in (1, 5)]
  assert not sanity._longer(*same)


def test_a_network_without_gradients_is_told():
  blind = lambda images: F(jax.lax.stop_gradient(images))
  result = robustness.evaluate(blind, IMAGES, LABELS, ['fgsm'], eps=0.1)
  (warning,) = result.warnings
  assert '100.0 % of the images' in warning and 'lets no gradient through' in warning


def test_other_weights_and_another_radius_need_no_new_program(monkeypatch):
  compiled = []
  compile = jax.stages.Lowered.compile
  monkeypatch.setattr(
    jax.stages.Lowered,
    'compile',
    lambda self, *a, **k: compiled.append(1) or compile(self, *a, **k),
  )
  # A shape of its own, which no other test has compiled.
  weights = [np.random.default_rng(seed).normal(size=(10, 5)).astype(np.float32) for seed in (0, 1)]
  images, labels = np.full((3, 2, 5, 1), 0.5, np.float32), np.zeros(3, int)
  counts = []
  for number, eps in ((0, 0.1), (1, 0.2)):
    f = jax.jit(linear_network.network(weights[number], np.zeros(5, np.float32)))
    robustness.attack(f, images, labels, 'pgd', eps=eps, steps=2)
    counts.append(len(compiled))
  assert counts[0] > 0 and counts[1] == counts[0]


@pytest.mark.parametrize(
  'change, words',
  [
    (dict(images=255 * IMAGES), 'Images must be numbers in [0, 1], got 0.0 to 255.0; divide'),
    (dict(images=IMAGES - 0.5), 'Images must be numbers in [0, 1]'),
    (dict(images=np.where(IMAGES > 0.9, np.nan, IMAGES)), 'Images must be numbers in [0, 1]'),
    (dict(images=IMAGES[0]), 'Images must be an array [n, h, w, c]; got [3, 4, 1].'),
    (dict(labels=LABELS + 5), 'labels are from 0 to 9; number'),
    (dict(labels=LABELS - 10), 'labels are from 0 to 9; number'),
    (dict(labels=LABELS[:3]), 'Labels must be 10 integers'),
    (dict(labels=LABELS / 2), 'Labels must be 10 integers'),
    (dict(name='pdg'), "There is no attack 'pdg'; did you mean 'pgd'?"),
    (dict(norm='l1'), "There is no norm 'l1'"),
    (dict(eps=-1), 'eps is -1; it must be a number from 0 on.'),
    (dict(eps='8/255'), "eps is '8/255'; it must be a number."),
    (dict(queries=3), "There is no field of attack pgd 'queries'"),
    (dict(steps=-1), 'steps is -1; it must be at least 0.'),
    (dict(step=0), 'step is 0; it must be above 0.'),
    (dict(restarts=0), 'restarts is 0; it must be at least 1.'),
    (dict(start='corner'), "There is no start 'corner'"),
    (dict(name='square', share=2), 'share is 2; it must be above 0 and at most 1.'),
    (dict(batch=0), 'batch is 0; it must be at least 1.'),
    (dict(seed=-1), 'seed is -1; it must be at least 0.'),
    (dict(f=3), 'The network must be a function from images to logits; got int.'),
    (dict(f=lambda x: (F(x), {})), 'must return logits alone; it returns a tuple'),
    (dict(f=lambda x: F(x).sum()), 'must return logits [10, classes] for 10 images'),
    (dict(f=lambda x: F(x)[:, :1]), 'of at least two classes; it returns [10, 1]'),
    (
      dict(f=lambda x: F(x).argmax(1, keepdims=True) * np.array([[1, 2]])),
      'must return floats as logits',
    ),
    (dict(f=lambda x: x @ jnp.zeros((3, 3))), 'The network does not take images [10, '),
    (dict(f=lambda x: {}['logits']), "The network does not take images [10, 3, 4, 1] ('logits')"),
    (dict(eps=np.array([0.1, 0.2])), 'eps is [0.1 0.2]; it must be a number from 0 on.'),
    (dict(f=lambda x: np.asarray(x)), 'must be made of JAX operations'),
    (dict(f=lambda x: F(x) if x.sum() > 0 else x), 'must be made of JAX operations'),
    (dict(f=lambda x: F(x) / (x.max((1, 2, 3))[:, None] * 0)), 'logits that are not finite for 10'),
  ],
)
def test_what_cannot_be_attacked_is_refused_in_one_sentence(change, words):
  call = dict(f=F, images=IMAGES, labels=LABELS, name='pgd') | change
  f, images, labels, name = (call.pop(key) for key in ('f', 'images', 'labels', 'name'))
  with pytest.raises(UserError) as caught:
    robustness.attack(f, images, labels, name, **call)
  assert words in str(caught.value)


@pytest.mark.parametrize(
  'classes, name, words',
  [
    (2, 'apgd_dlr', 'The DLR loss needs logits of at least 3 classes; these have 2: name another'),
    (3, 'apgd_t', 'at least 4 classes; these have 3: name other attacks, such as pgd20, apgd_ce'),
    (3, 'autoattack', 'of apgd_t and autoattack needs logits of at least 4 classes; these have 3'),
  ],
)
def test_dlr_needs_classes(classes, name, words):
  few = lambda images: F(images)[:, :classes]
  with pytest.raises(UserError) as caught:
    robustness.evaluate(few, IMAGES, LABELS % classes, [name])
  assert words in str(caught.value)


@pytest.mark.parametrize('field, value', [('eps', 16 / 255), ('norm', 'l2')])
def test_all_attacks_of_an_evaluation_have_its_ball(field, value):
  with pytest.raises(
    UserError, match=f'attack pgd20 give {field}.* give {field}= to the evaluation'
  ):
    robustness.evaluate(F, IMAGES, LABELS, {'pgd20': {field: value}})


@pytest.mark.parametrize(
  'given, words',
  [
    (['fgsm', 'fgsm'], "attacks names 'fgsm' twice"),
    ({'fgsm': None}, 'The fields of attack fgsm are values by name'),
    ([('pgd', {'steps': 2})], "There is no attack .*'pgd'"),
    (3, 'attacks are names, or fields by name; got 3'),
  ],
)
def test_attacks_are_names_or_fields_by_name(given, words):
  with pytest.raises(UserError, match=words):
    robustness.evaluate(F, IMAGES, LABELS, given)


def test_images_may_be_of_any_float():
  images = jnp.asarray(IMAGES, jnp.bfloat16)
  read, _ = api._examples(images, LABELS)
  assert read.dtype == np.float32 and (read == images).all()


def test_an_evaluation_needs_an_attack():
  with pytest.raises(UserError, match='There is no attack to evaluate'):
    robustness.evaluate(F, IMAGES, LABELS, [])
