"""The shipped configs of adversarial training: the numbers of the sheet, and what arguments
change."""

import json

import pytest

from jaxdistill import config, models
from jaxdistill.errors import UserError
from jaxdistill.robustness import methods, published, recipes

NAMES = [name for name in config.names() if name.startswith('robustness/')]
METHODS = [name for name in NAMES if name != 'robustness/compare']


def test_every_method_of_adversarial_training_has_a_config():
  assert {name.split('/')[1] for name in METHODS} == set(methods.METHODS)


@pytest.mark.parametrize(
  'data, network, recipe, c_min, warmup, step_size, first_layer',
  [
    ('cifar10', 'preact_resnet', 'at200', 1.7, 0, 0.0, 'statistics'),
    ('cifar100', 'preact_resnet', 'black200', 4.0, 0, 0.0, 'statistics'),
    ('svhn_cropped', 'preact_resnet', 'svhn200', 1.7, 5, 1 / 255, 'half'),
  ],
)
def test_rwps_numbers_are_those_of_the_sheet(
  data, network, recipe, c_min, warmup, step_size, first_layer
):
  loaded = config.load(f'robustness/rwp:{data}')
  method, robust = loaded.method, loaded.robustness
  assert (loaded.model.name, robust.recipe, robust.first_layer) == (network, recipe, first_layer)
  assert (method.c_min, method.gamma, method.ascents, method.rate) == (c_min, 0.01, 10, 0.01)
  assert (method.warmup, method.attack_steps, method.step_size) == (warmup, 10, step_size)
  assert (robust.eps, robust.norm, robust.pgd_steps) == (8 / 255, 'linf', 20)
  assert loaded.data.validation_share == 0 and robust.attacks == ('pgd20', 'autoattack')
  models.build(loaded.model, 10, (32, 32, 3))


def test_trades_and_rst_have_their_own_numbers():
  trades = config.load('robustness/rwp:cifar10,over=trades')
  method = trades.method
  assert (method.over, method.gamma, method.rate, method.warmup) == ('trades', 0.005, 0.1, 10)
  assert (method.beta, trades.model.name, trades.robustness.first_layer) == (
    6.0,
    'wrn_34_10',
    'none',
  )
  assert config.load('robustness/trades:cifar10').model.name == 'wrn_34_10'
  rst = config.load('robustness/rwp:cifar10,over=rst,pseudo=npz:made.npz')
  assert (rst.method.over, rst.robustness.recipe, rst.model.name) == (
    'trades',
    'rst200',
    'wrn_28_10',
  )
  assert rst.robustness.pseudo == 'npz:made.npz'
  with pytest.raises(UserError, match='pseudo=npz:made.npz'):
    config.load('robustness/rwp:cifar10,over=rst')


def test_the_recipe_of_adversarial_training_is_that_of_the_sheet():
  recipe = recipes.find('at200')
  assert (recipe.epochs, recipe.batch, recipe.optimizer.momentum) == (200, 128, 0.9)
  assert recipe.optimizer.weight_decay == 5e-4
  rate, step = recipe.learning_rate(50_000), 391
  rates = [float(rate(epoch * step)) for epoch in (99, 100, 150, 199)]
  assert rates == pytest.approx([0.1, 0.01, 1e-3, 1e-3])
  assert float(recipes.find('svhn200').learning_rate(73_257)(0)) == pytest.approx(0.01)
  rst = recipes.find('rst200')
  assert rst.batch == 256 and rst.optimizer.nesterov and rst.schedule.name == 'cosine'


def test_digits_are_the_sheets_small_run():
  loaded = config.load('robustness/rwp:digits')
  robust = loaded.robustness
  assert (robust.train_images, robust.eps, robust.seeds) == (512, 0.2, 5)
  assert (loaded.model.width, loaded.model.depth, loaded.model.norm) == (8, 2, 'batch')
  assert loaded.data.image_size == 8
  assert recipes.find(robust.recipe).epochs == 40 and loaded.method.attack_steps == 5


def test_a_ball_may_be_a_fraction_and_of_l2():
  assert config.load('robustness/at:cifar10,eps=4/255').robustness.eps == 4 / 255
  loaded = config.load('robustness/at:svhn_cropped,norm=l2')
  assert (loaded.robustness.eps, loaded.method.step_size) == (128 / 255, 0.0)
  with pytest.raises(
    UserError, match='eps=wide behind the data set must be a number or a fraction'
  ):
    config.load('robustness/at:digits,eps=wide')


def test_a_comparison_gives_every_method_of_adversarial_training_its_own_fields():
  loaded = config.load('robustness/compare:cifar100,methods=standard+at+rwp')
  assert loaded.compared == ('standard', 'at', 'rwp')
  assert loaded.members.rwp == config.load('robustness/rwp:cifar100').method
  with pytest.raises(UserError, match="no config 'robustness/rwpp'; did you mean"):
    config.load('robustness/compare:digits,methods=at+rwpp')


@pytest.mark.parametrize('name', NAMES)
def test_a_quick_adversarial_training_is_small_in_everything_that_costs(name):
  quick = config.load(f'{name}:cifar10,quick')
  assert quick.robustness.steps <= 10 and quick.robustness.seeds <= 2
  assert quick.robustness.pgd_steps <= 2 and quick.model.get('width', 8) <= 8


def cited(spec, **changes):
  loaded = config.load(f'robustness/{spec}')
  for key, value in changes.items():
    config.override(loaded, key.replace('__', '.'), str(value))
  return published.of_config(json.loads(config.to_json(loaded)))


def test_published_numbers_stand_beside_their_own_protocol_alone():
  known = cited('compare:cifar100,methods=at+awp+rwp', robustness__seeds=1, robustness__eps=0.0314)
  assert set(known) == {'at', 'awp'}
  assert (known['at'].last, known['at'].best_test) == (0.2069, 0.2777)
  assert (known['awp'].clean, known['awp'].clean_best) == (0.5421, 0.5419)
  assert cited('awp:cifar10,model=wrn_34_10')['awp'].last == 0.5738
  assert cited('awp:svhn_cropped')['awp'].last == 0.5715
  assert cited('at:cifar10', robustness__recipe='black200')['at'].last == 0.4375
  assert cited('at:digits') == cited('at:cifar10,model=convnet') == {}
  assert cited('awp:cifar10,over=trades') == {}
  for change in (
    {'model__depth': 34},
    {'model__width': 8},
    {'data__image_size': 16},
    {'data__validation_share': 0.1},
    {'robustness__recipe': 'short'},
    {'robustness__eps': 4 / 255},
    {'robustness__norm': 'l2'},
    {'robustness__train_images': 9},
    {'robustness__pseudo': 'npz:made.npz'},
    {'robustness__first_layer': 'none'},
    {'robustness__epochs': 30},
    {'robustness__pgd_steps': 7},
    {'dtype': 'bfloat16'},
  ):
    assert cited('compare:cifar10,methods=at+awp', **change) == {}, change
  for field, value in {'gamma': 0.5, 'attack_steps': 1, 'over': 'trades', 'warmup': 9}.items():
    changed = cited('compare:cifar10,methods=at+awp', **{f'members__awp__{field}': value})
    assert set(changed) == {'at'}, field
