"""Verification in a run: which pairs, what they suffer, several networks, and what adapts."""

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from jaxdistill import config as configs
from jaxdistill import data, metrics, models
from jaxdistill.data import augment, face_pairs
from jaxdistill.distillation import checks, running, sections, verifying
from jaxdistill.distillation.seeing import Seeing
from jaxdistill.distillation.tasks import distill
from jaxdistill.errors import UserError
from jaxdistill.training import adaptation
from jaxdistill.training.run import Run

SHAPE, NETWORKS = (8, 8, 1), 2


@pytest.fixture(scope='module')
def digits():
  """Training images, and test images of three classes."""
  train, test = data.load('digits', image_size=8)
  return train.take_classes([0, 1, 2]), test.take_classes([7, 8, 9])


@pytest.fixture(scope='module')
def networks(digits):
  """Two networks with batch normalisation, as one tree, and what they read."""
  net = models.build({'name': 'convnet', 'norm': 'batch', 'width': 4, 'depth': 1}, 3, SHAPE)
  keys = jax.random.split(jax.random.key(0), NETWORKS)
  variables = jax.vmap(lambda key: net.init(key, jnp.zeros((1, *SHAPE))))(keys)
  return Seeing(net, (), digits[0].mean, digits[0].std), jax.tree.map(np.asarray, variables)


def drawn(digits, **asked):
  train, unknown = digits
  return verifying.pairs(sections.Verifying(classes=3, pairs=40, far=0.1, **asked), unknown, train)


def test_pairs_are_of_the_classes_that_nobody_is_trained_on(digits):
  train, unknown = digits
  pairs, expected = drawn(digits), face_pairs.draw(unknown, 40)
  np.testing.assert_array_equal(pairs.images, expected.images)
  np.testing.assert_array_equal(pairs.same, expected.same)
  assert verifying.pairs(sections.Verifying(), None, train) is None


def test_a_shift_changes_their_images_alone(digits):
  pairs, dark = drawn(digits), drawn(digits, shift=('darken',))
  np.testing.assert_allclose(dark.images, pairs.images / 2, atol=0.51)
  np.testing.assert_array_equal(dark.left, pairs.left)
  noisy = [drawn(digits, shift=('blur', 'noise')).images for _ in range(2)]
  np.testing.assert_array_equal(*noisy)
  assert (noisy[0] != pairs.images).any((1, 2, 3)).all()


def test_listed_pictures_have_the_form_of_the_networks_images(digits, tmp_path):
  for name in 'abc':
    PIL.Image.new('RGB', (8, 8), (9, 90, 200)).save(tmp_path / f'{name}.png')
  (tmp_path / 'pairs.csv').write_text(
    'path1,path2,same\n' + 10 * 'a.png,b.png,1\n' + 10 * 'a.png,c.png,0\n'
  )
  asked = sections.Verifying(listed=str(tmp_path / 'pairs.csv'), folder=str(tmp_path), far=0.1)
  with pytest.raises(UserError, match=r'are \(8, 8, 3\), and the networks read .*\(8, 8, 1\)'):
    verifying.pairs(asked, None, digits[0])
  colour = data.Dataset(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]))
  pairs = verifying.pairs(asked, None, colour)
  assert len(pairs) == 20 and pairs.images.shape == (3, 8, 8, 3) and pairs.same.sum() == 10


def test_listed_pictures_that_are_no_squares_are_taken_as_they_are(tmp_path):
  for name in 'abc':
    PIL.Image.new('RGB', (12, 8), (9, 90, 200)).save(tmp_path / f'{name}.png')
  (tmp_path / 'pairs.csv').write_text(
    'path1,path2,same\n' + 10 * 'a.png,b.png,1\n' + 10 * 'a.png,c.png,0\n'
  )
  asked = sections.Verifying(listed=str(tmp_path / 'pairs.csv'), folder=str(tmp_path), far=0.1)
  like = lambda *shape: data.Dataset(np.zeros((2, *shape), np.uint8), np.array([0, 1]))
  assert verifying.pairs(asked, None, like(8, 12, 3)).images.shape == (3, 8, 12, 3)
  with pytest.raises(UserError, match=r'are \(8, 12, 3\), and the networks read .*\(4, 6, 3\)'):
    verifying.pairs(asked, None, like(4, 6, 3))


def test_a_work_dir_knows_its_list_of_pairs_and_the_pictures(tmp_path):
  def begin(rows, grey):
    for name in 'abc':
      PIL.Image.new('L', (8, 8), grey).save(tmp_path / f'{name}.png')
    (tmp_path / 'pairs.csv').write_text(f'path1,path2,same\n{rows}')
    config = configs.load('distillation/kd:digits,quick,student=mlp,teacher=mlp')
    listed = {'listed': str(tmp_path / 'pairs.csv'), 'folder': str(tmp_path), 'far': 0.1}
    config.verification.update(listed)
    config.data.image_size = 8
    with Run(tmp_path / 'run') as run:
      running.settle(run, checks.load(sections.of_config(config)))

  rows = 10 * 'a.png,b.png,1\n' + 10 * 'a.png,c.png,0\n'
  begin(rows, 90)
  begin(rows, 90)
  for changed in ((rows + 'a.png,b.png,1\n', 90), (rows, 91)):
    with pytest.raises(UserError, match='begun with other data: the list of pairs has changed'):
      begin(*changed)


@pytest.mark.parametrize(
  'rows, message',
  [
    ('a.png,b.png,1,7\n' + 10 * 'a.png,c.png,0,7\n', 'at least 2 folds are needed; got 1'),
    (10 * 'a.png,c.png,0,1\n' + 10 * 'a.png,c.png,0,2\n', 'All 20 pairs are impostors'),
    ('a.png,c.png,1,1\na.png,c.png,1,2\n', 'All 2 pairs are genuine'),
  ],
)
def test_lists_of_one_fold_or_one_kind_are_refused(digits, rows, message, tmp_path):
  for name in 'abc':
    PIL.Image.new('L', (8, 8), 90).save(tmp_path / f'{name}.png')
  (tmp_path / 'pairs.csv').write_text('path1,path2,same,fold\n' + rows)
  asked = sections.Verifying(listed=str(tmp_path / 'pairs.csv'), folder=str(tmp_path), far=0.1)
  with pytest.raises(UserError, match=message):
    verifying.pairs(asked, None, digits[0])


def test_what_is_to_be_known_of_listed_pictures_is_told(tmp_path):
  for number, name in enumerate('abc'):
    PIL.Image.new('LA', (8, 8), (90, 40 * number)).save(tmp_path / f'{name}.png')
  rows = 5 * 'a.png,b.png,1\n' + 10 * 'a.png,c.png,0\n'
  (tmp_path / 'pairs.csv').write_text(f'path1,path2,same\n{rows}')
  config = configs.load('distillation/kd:digits,quick,student=mlp,teacher=mlp')
  listed = {'listed': str(tmp_path / 'pairs.csv'), 'folder': str(tmp_path), 'far': 0.1}
  config.verification.update(listed)
  config.data.image_size = 8
  described = running.describe(checks.load(sections.of_config(config)))
  assert '15 pairs of images' in described and 'transparent' in described


def test_unknown_images_are_looked_up_among_each_other_and_strangers(digits, networks):
  (seeing, variables), unknown = networks, digits[1].take_classes([1, 2])
  strangers = digits[1].take_classes([0])
  asked = sections.Verifying(classes=2, distractors=1, gallery=2)
  identified = verifying.wanted(asked, unknown, strangers)
  assert identified.entries == 2 + len(strangers)
  assert f'{len(unknown) - 4} images of 2 unknown classes' in identified.describe()
  shares = verifying.identify(seeing, variables, identified, mirrored=False, networks=NETWORKS)
  assert list(shares) == ['rank1', 'rank5']
  gallery, probes = face_pairs.gallery_and_probes(unknown.labels, 2, 0)
  for number in range(NETWORKS):
    one = jax.tree.map(lambda leaf, number=number: leaf[number], variables)
    known, others = (embedded(seeing, one, part.images) for part in (unknown, strangers))
    known, others = (part / np.linalg.norm(part, axis=1)[:, None] for part in (known, others))
    scores = known[probes] @ known[gallery].T
    same = unknown.labels[probes][:, None] == unknown.labels[gallery][None]
    mate = np.where(same, scores, -2).max(1)
    better = np.where(same, -2, scores).max(1) > mate  # the other class
    ranks = 1 + better + (known[probes] @ others.T > mate[:, None]).sum(1)
    assert shares['rank1'][number] == pytest.approx((ranks == 1).mean(), abs=0.03)
    assert shares['rank5'][number] == pytest.approx((ranks <= 5).mean(), abs=0.03)
  # Without them there is no fifth class.
  few = verifying.wanted(sections.Verifying(classes=2), unknown, None)
  shares = verifying.identify(seeing, variables, few, mirrored=False, networks=1)
  assert list(shares) == ['rank1']


def test_nobody_is_identified_where_that_makes_no_sense(digits):
  unknown = digits[1]
  for asked in (
    sections.Verifying(),
    sections.Verifying(classes=3, gallery=0),
    sections.Verifying(listed='pairs.txt'),
  ):
    assert verifying.wanted(asked, unknown if asked.classes else None, None) is None
  single = unknown.take([0, *np.flatnonzero(unknown.labels != unknown.labels[0])])
  assert verifying.wanted(sections.Verifying(classes=3), single, None) is None
  with pytest.raises(UserError, match='with 40 in the gallery none is left'):
    verifying.wanted(sections.Verifying(classes=3, gallery=40), unknown, None)
  with pytest.raises(UserError, match='leaves out 3 classes to draw pairs of; set one of them'):
    sections.Verifying(classes=3, listed='pairs.txt')
  for wrong in (dict(), dict(classes=3, gallery=0), dict(listed='pairs.txt')):
    with pytest.raises(UserError, match='that needs verification.classes and verification.gallery'):
      sections.Verifying(distractors=2, **wrong)


def test_a_shift_reaches_gallery_and_strangers(digits):
  unknown, strangers = digits[1].take_classes([1, 2]), digits[1].take_classes([0])
  asked = sections.Verifying(classes=2, distractors=1, shift=('darken',))
  dark = verifying.wanted(asked, unknown, strangers)
  np.testing.assert_allclose(dark.images.images, unknown.images / 2, atol=0.51)
  np.testing.assert_allclose(dark.distractors, strangers.images / 2, atol=0.51)


def embedded(seeing, variables, images):
  """Embeddings of one network in float64."""
  unit = augment.normalise(jnp.asarray(images, jnp.float32) / 255, seeing.mean, seeing.std)
  return np.asarray(seeing.model.apply(variables, unit)[1]['embedding'], np.float64)


@pytest.mark.parametrize('mirrored', [False, True])
def test_every_network_has_its_numbers(digits, networks, mirrored):
  (seeing, variables), pairs = networks, drawn(digits)
  options = dict(far=0.1, mirrored=mirrored, networks=NETWORKS)
  numbers = verifying.verify(seeing, variables, pairs, **options)
  assert {name: values.shape for name, values in numbers.items()} == dict.fromkeys(
    ('verification', 'tar', 'auc', 'eer'), (NETWORKS,)
  )
  for number in range(NETWORKS):
    one = jax.tree.map(lambda leaf, number=number: leaf[number], variables)
    embeddings = embedded(seeing, one, pairs.images)
    if mirrored:
      embeddings += embedded(seeing, one, pairs.images[:, :, ::-1])
    scores = metrics.cosine_scores(embeddings[pairs.left], embeddings[pairs.right])
    folds = metrics.fold_accuracies(pairs.same, scores, pairs.fold)
    assert numbers['verification'][number] == pytest.approx(folds.mean(), abs=0.05)
    assert numbers['auc'][number] == pytest.approx(metrics.roc_auc(pairs.same, scores), abs=5e-3)
    error = metrics.equal_error_rate(pairs.same, scores)
    assert numbers['eer'][number] == pytest.approx(error, abs=0.06)


def test_every_network_adapts_by_itself_and_nothing_else_of_it_changes(digits, networks):
  (seeing, variables), pairs = networks, drawn(digits, shift=('darken',))
  asked = sections.Verifying(classes=3, adapt='full')
  adapted = verifying.adapt(seeing, variables, pairs, asked, NETWORKS)
  jax.tree.map(np.testing.assert_array_equal, adapted['params'], variables['params'])
  batches = [(seeing.view(images), w) for images, w in adaptation.shuffled(pairs.images, 128)]
  for number in range(NETWORKS):
    one = jax.tree.map(lambda leaf, number=number: jnp.asarray(leaf[number]), variables)
    expected = adaptation.adapt_batch_stats(seeing.model, one, batches, 'full')
    for name, leaf in expected['batch_stats']['norm1'].items():
      of_both = adapted['batch_stats']['norm1'][name]
      np.testing.assert_allclose(of_both[number], leaf, rtol=1e-5, atol=1e-6)
      assert (of_both[number] != variables['batch_stats']['norm1'][name][number]).any()


@pytest.mark.parametrize(
  'asked',
  [
    dict(adapt='online'),
    dict(adapt='online', adapt_rate=0.5, adapt_batch=16),
    dict(adapt='full', adapt_batch=16, adapt_sweeps=1),
  ],
)
def test_an_adaptation_has_the_numbers_that_are_asked_for(digits, networks, asked):
  (seeing, variables), pairs = networks, drawn(digits)
  adapted = verifying.adapt(seeing, variables, pairs, sections.Verifying(classes=3, **asked), 1)
  of_images = adaptation.shuffled(pairs.images, asked.get('adapt_batch', 128))
  batches = [(seeing.view(images), weight) for images, weight in of_images]
  one = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), variables)
  numbers = dict(rate=asked.get('adapt_rate', 0.1), sweeps=asked.get('adapt_sweeps', 0))
  expected = adaptation.adapt_batch_stats(seeing.model, one, batches, asked['adapt'], **numbers)
  for name, leaf in expected['batch_stats']['norm1'].items():
    np.testing.assert_allclose(adapted['batch_stats']['norm1'][name][0], leaf, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'asked, message',
  [
    (dict(adapt='online', adapt_rate=1.5), 'adapt_rate is 1.5; it is a share from 0 to 1'),
    (dict(adapt='full', adapt_rate=0.2), "is online, and here it is 'full'; leave it at 0.1"),
    (dict(adapt='online', adapt_sweeps=2), "adapt is full, and here it is 'online'"),
    (dict(adapt_batch=64), "adapt is batch or online or full, and here it is ''"),
    (dict(classes=0, shift=('blur', 'noise')), 'shift is blur and noise, .* there are no pairs'),
    (dict(folder='faces'), "folder is 'faces', .* verification.listed names none"),
  ],
)
def test_what_would_not_be_read_is_refused(asked, message):
  with pytest.raises(UserError, match=message):
    sections.Verifying(**{'classes': 3, **asked})


@pytest.mark.parametrize(
  'spec, message',
  [
    ('student=mlp,verify=3', "only batch normalisation .* the students' mlp has none here"),
    ('student=mlp', 'there are no pairs to whose images anything could adapt'),
  ],
)
def test_an_adaptation_that_nothing_can_come_of_is_refused_before_any_training(spec, message):
  config = configs.load(f'distillation/alone:digits,quick,seeds=1,teacher=mlp,{spec}')
  configs.override(config, 'verification.adapt', 'full')
  with pytest.raises(UserError, match=message):
    checks.check(config)


def test_a_run_tells_what_adapted_numbers_are(tmp_path):
  config = configs.load('distillation/alone:digits,quick,seeds=2,teacher=mlp,verify=3')
  changes = {
    'data.image_size': 8,
    'model.depth': 1,
    'verification.distractors': 2,
    'verification.shift': ('blur', 'darken'),
    'verification.adapt': 'full',
  }
  for key, value in changes.items():
    configs.override(config, key, value if isinstance(value, tuple) else str(value))
  checks.check(config)
  with Run(tmp_path, config, progress=False, tensorboard=False) as run:
    content = distill.run(config, run)
  assert content['transductive'] and content['class_names'] == list('01234')
  assert 'images of 3 unknown classes are looked up' in content['identified']
  row = content['rows'][-1]
  for name in ('verification', 'tar', 'auc', 'eer', 'rank1', 'rank5'):
    assert len(row[name]['values']) == len(row[f'{name}_adapted']['values']) == 2
  page = (tmp_path / 'report.html').read_text()
  for text in ('adapted (transductive)', 'AUC, adapted', 'rank-1', 'images of other classes'):
    assert text in page
