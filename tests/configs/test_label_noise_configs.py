"""The shipped configs of learning from wrong labels: labels that fit the data set, and what
arguments change."""

import types

import pytest

from jaxdistill import config, models
from jaxdistill.errors import UserError
from jaxdistill.label_noise import checks, methods, page, presets, recipes

NAMES = [name for name in config.names() if name.startswith('label_noise/')]
METHODS = [name for name in NAMES if name != 'label_noise/compare']


def test_every_method_of_learning_from_wrong_labels_has_a_config():
  assert {name.split('/')[1] for name in METHODS} == set(methods.METHODS)
  assert set(methods.METHODS) == set(methods.LABELS)
  assert set(methods.READS) <= set(methods.METHODS)


def origin_of(spec):
  asked = config.load(f'label_noise/{spec}').evidence
  return asked.origin, asked


def test_labels_are_made_wrong_where_a_set_is_known_and_taken_as_they_are_where_it_is_not():
  origin, asked = origin_of('ce:digits')
  assert (origin, asked.noise, asked.rate) == ('corrupt', 'symmetric_inclusive', 0.4)
  origin, asked = origin_of('crowd_layer:digits')
  assert (origin, asked.groups, asked.per_example) == ('simulate', 'ind', 3.0)
  assert origin_of('ce:npz:mine.npz')[0] == origin_of('ce:digits,noise=none')[0] == 'given'
  origin, asked = origin_of('ce:cifar10,noise=pair_flip,rate=.2')
  assert (origin, asked.noise, asked.rate) == ('corrupt', 'pair_flip', 0.2)


def test_crowds_are_simulated_or_read():
  origin, asked = origin_of('crowd_layer:digits,crowd=ind,labels=2')
  assert (origin, asked.per_example) == ('simulate', 2.0)
  origin, asked = origin_of('crowd_layer:cifar10,crowd=cifar10n:files')
  assert (origin, asked.path, asked.which) == ('cifar10n', 'files', 'crowd')
  assert origin_of('ce:cifar10,crowd=cifar10n:files,labels=worst')[1].which == 'worst'
  assert origin_of('vote:npz:mine.npz,crowd=csv:said.csv')[1].path == 'said.csv'
  origin, asked = origin_of('vote:digits,crowd=by_image,rate=.3')
  assert (origin, asked.rate, asked.per_example) == ('by_image', 0.3, 2.0)


def test_a_matrix_of_labels_is_flipped_at_two_rates():
  origin, asked = origin_of('bce:mosaic:digits,rate=0.1+0.6')
  assert (origin, asked.false_positive, asked.rate) == ('multilabel', 0.1, 0.6)
  asked = origin_of('bce:yeast,rate=0.2')[1]
  assert (asked.false_positive, asked.rate) == (0.2, 0.2)
  assert origin_of('bce:yeast,noise=none')[0] == 'given'


def test_a_matrix_of_ones_own_is_as_it_is_unless_a_rate_is_given():
  for known in ('yeast', 'yeast:mine.arff', 'mosaic:digits', 'mosaic:80:cifar10'):
    asked = origin_of(f'bce:{known}')[1]
    assert (asked.origin, asked.false_positive, asked.rate) == ('multilabel', 0.0, 0.4)
  for own in ('multilabel:mine.npz', 'mosaic:npz:mine.npz'):
    assert origin_of(f'mlntm:{own}')[0] == origin_of(f'compare:{own}')[0] == 'given'
    assert origin_of(f'mlntm:{own},rate=0.2')[0] == 'multilabel'


@pytest.mark.parametrize(
  'arguments_given, message',
  [
    ('noise=symetric', 'no kind of label noise'),
    ('noise=pair_flip,crowd=ind', 'ask for one of the two'),
    ('crowd=indd', "no crowd 'indd'; did you mean 'ind'"),
    ('crowd=cifar10n', 'needs evidence.path'),
    ('crowd=ind:20', 'annotators ind are made, and take nothing behind a colon; say crowd=ind,'),
    ('crowd=by_image:.3', 'annotators by_image are made'),
    ('crowd=cifar10n:x,labels=best', "no kind of human labels 'best'"),
    ('rate=much', 'rate=much behind the data set must be a number'),
    ('rate=1.5', 'a rate is from 0 to 1'),
    ('rate=0+0.2', 'digits has one class an example, and one rate'),
    ('labels=2', 'labels=2 means nothing to the labels of digits .* origin is corrupt; leave it'),
    ('noise=none,rate=0.2', 'rate=0.2 means nothing'),
    ('crowd=ind,rate=0.2', 'rate=0.2 means nothing'),
    ('crowd=csv:said.csv,labels=2', 'labels=2 means nothing'),
  ],
)
def test_a_wrong_argument_ends_in_one_sentence(arguments_given, message):
  with pytest.raises(UserError, match=message):
    loaded = config.load(f'label_noise/ce:digits,{arguments_given}')
    checks.check_values(loaded)


def test_a_law_for_classes_makes_no_matrix_wrong():
  with pytest.raises(UserError, match='noise=pair_flip means nothing'):
    config.load('label_noise/bce:yeast,noise=pair_flip')


def test_the_recipe_of_ccc_is_that_of_the_sheet():
  recipe = recipes.find('ccc60')
  assert (recipe.epochs, recipe.batch, recipe.optimizer.momentum) == (60, 128, 0.9)
  assert recipe.optimizer.weight_decay == 5e-4 and not recipe.transforms
  rate = recipe.learning_rate(128_000)
  assert [float(rate(epoch * 1000)) for epoch in (39, 40)] == pytest.approx([0.01, 0.001])


def test_a_comparison_gives_every_method_its_own_fields_and_all_the_same_labels():
  loaded = config.load('label_noise/compare:digits,methods=ce+crowd_layer')
  assert loaded.compared == ('ce', 'crowd_layer')
  assert loaded.members.crowd_layer == config.load('label_noise/crowd_layer:digits').method
  assert loaded.evidence == config.load('label_noise/crowd_layer:digits').evidence
  with pytest.raises(UserError, match="no config 'label_noise/votee'; did you mean"):
    config.load('label_noise/compare:digits,methods=votee')


@pytest.mark.parametrize('name', NAMES)
def test_a_quick_run_with_wrong_labels_is_small_in_everything_that_costs(name):
  quick = config.load(f'{name}:cifar10,quick')
  assert quick.learning.epochs <= 2 and quick.learning.seeds <= 2
  assert quick.learning.train_images <= 120 and quick.model.get('width', 8) <= 8


def test_cifar100_has_the_numbers_that_papers_have_for_it():
  fields = lambda spec: config.load(f'label_noise/{spec}')
  assert dict(fields('elr:cifar100').method) == {'name': 'elr', 'lam': 7.0, 'beta': 0.9}
  assert dict(fields('elr:cifar10').method) == {'name': 'elr', 'lam': 3.0, 'beta': 0.7}
  chosen = fields('compare:cifar100,methods=ce+sel_cl+divide_mix').members
  assert (chosen.sel_cl.alpha, chosen.sel_cl.beta) == (0.75, 0.35)
  assert chosen.divide_mix.warmup == 30


@pytest.mark.parametrize('name', ['cifar10', 'digits', 'yeast'])
def test_the_usual_network_can_be_built(name):
  usual = presets.find(name)
  side = 1 if name == 'yeast' else 8 if name == 'digits' else 32
  models.build(dict(usual.model), 10, (side, side, 3))


def cited(spec, **changes):
  """What stands beside a run of a config on the page."""
  loaded = config.load(f'label_noise/{spec}')
  for key, value in changes.items():
    config.override(loaded, key.replace('__', '.'), str(value))
  content = loaded.to_dict()
  names = content.get('compared') or [content['method']['name']]
  result = types.SimpleNamespace(
    config=content, rows=[types.SimpleNamespace(name=name) for name in names]
  )
  return page.references(result)


def test_published_crowds_stand_beside_their_own_protocol_alone():
  crowd = 'compare:cifar10,crowd=cifar10n:x,recipe=ccc60,model=cifar_resnet,methods=vote+ccc+elr'
  network = {'model__depth': 34, 'model__stem_padding': 0}
  known = cited(crowd, **network)
  assert sorted(known) == ['ccc', 'vote']
  assert (known['ccc'].best, known['vote'].last) == (0.8636, 0.8089)
  for change in (
    {'model__stem_padding': 1},
    {'model__depth': 18},
    {'model__width': 32},
    {'learning__recipe': 'short'},
    {'learning__epochs': 30},
    {'learning__augmented': False},
    {'evidence__which': 'worst'},
    {'data__validation_share': 0},
  ):
    assert cited(crowd, **{**network, **change}) == {}, change


def test_published_second_stages_stand_beside_their_network_and_their_fields():
  wrong = 'cifar100,noise=symmetric_inclusive,rate=0.5,val=0,recipe=selcl250'
  network = {'model__stem_norm': True, 'model__last_norm': False}
  known = cited(f'sel_cl:{wrong}', **network)['sel_cl']
  assert (known.last, known.best) == (0.724, None) and 'remembered' in known.source
  assert cited(f'sel_cl:{wrong}') == {}
  assert cited(f'sel_cl:{wrong}', **network, method__finetune=0) == {}
  for change in ({'alpha': 0.5}, {'neighbours': 3}, {'momentum': 0.0}, {'lambda_c': 0.0}):
    fields = {f'method__{name}': value for name, value in change.items()}
    assert cited(f'sel_cl:{wrong}', **network, **fields) == {}, change
  assert cited(f'sel_cl:{wrong}', **network, model__shortcut='raw') == {}
  assert cited(f'moit:{wrong}', **network) == {}
  assert cited(f'moit:{wrong}', **network, method__finetune=70)['moit'].last == 0.706
  asymmetric = wrong.replace('symmetric_inclusive,rate=0.5', 'asymmetric,rate=0.4')
  assert cited(f'sel_cl:{asymmetric}', **network) == {}
  chosen = {'method__alpha': 0.25, 'method__beta': 0.0}
  assert cited(f'sel_cl:{asymmetric}', **network, **chosen)['sel_cl'].last == 0.742
  assert 'public note' in cited(f'sel_cl:{asymmetric}', **network, **chosen)['sel_cl'].source


def test_published_losses_and_human_labels_stand_beside_their_own_recipes():
  wrong = 'noise=symmetric_inclusive,rate=0.8,val=0,recipe=dividemix300'
  network = {'model__stem_norm': True, 'model__last_norm': False}
  known = cited(f'divide_mix:cifar10,{wrong}', **network)['divide_mix']
  assert (known.best, known.last) == (0.932, 0.929)
  known = cited(f'divide_mix:cifar100,{wrong}', **network)['divide_mix']
  assert (known.best, known.last) == (0.602, None)
  assert cited(f'divide_mix:cifar100,{wrong}', **network, method__warmup=10) == {}
  assert cited(f'divide_mix:cifar100,{wrong}', **network, method__alpha=1.0) == {}
  assert cited(f'divide_mix:cifar100,{wrong}', **network, method__lambda_u=150.0)
  human = 'cifar10,crowd=cifar10n:x,labels=worst,val=0,model=cifar_resnet'
  known = cited(f'elr:{human},recipe=elr150', model__depth=34)['elr']
  assert (known.best, known.last) == (0.8358, None)
  assert cited(f'elr:{human},recipe=dividemix300', model__depth=34) == {}
