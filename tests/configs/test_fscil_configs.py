"""The shipped configs of few-shot class-incremental learning: the sheets' numbers, and what
arguments change."""

import pytest

from jaxdistill import config, models
from jaxdistill.errors import UserError
from jaxdistill.experiment import schema
from jaxdistill.fscil import checks, methods, settings
from jaxdistill.fscil.generative import Generative
from jaxdistill.fscil.learner import Task

NAMES = [name for name in config.names() if name.startswith('fscil/')]
LEARNERS = [name for name in NAMES if name != 'fscil/compare']


def test_every_learner_has_a_config():
  names = {name.split('/')[1] for name in LEARNERS}
  assert names == set(methods.LEARNERS) - set(settings.VARIANTS)


@pytest.mark.parametrize(
  'data, sizes, recipe, zoom, network',
  [
    ('digits', (4, 2, 5), 'digits', 0, 'convnet'),
    ('cifar10', (4, 2, 5), 'short', 0, 'resnet'),
    ('cifar100', (60, 5, 5), 'nc_fscil', 36, 'resnet12'),
    ('mini:x', (60, 5, 5), 'nc_fscil_mini', 96, 'resnet12'),
    ('cub:x', (100, 10, 5), 'nc_fscil_cub', 256, 'imagenet_resnet'),
    ('caltech_birds2011', (100, 10, 5), 'nc_fscil_cub', 256, 'imagenet_resnet'),
  ],
)
def test_the_settled_divisions_are_those_of_the_literature(data, sizes, recipe, zoom, network):
  loaded = config.load(f'fscil/ncm:{data}')
  protocol, base = loaded.protocol, loaded.base_training
  assert (protocol.base_classes, protocol.way, protocol.shot) == sizes
  assert (base.recipe, base.zoom, loaded.model.name) == (recipe, zoom, network)
  models.build(loaded.model, 100, (loaded.data.image_size or 32,) * 2 + (3,))


@pytest.mark.parametrize('name', NAMES)
def test_cub_of_tensorflow_datasets_is_cub(name):
  model = ',model=mae_vit' if name == 'fscil/comemory' else ''
  folder = config.load(f'{name}:cub:x{model}')
  folder.data.name = 'caltech_birds2011'
  assert config.load(f'{name}:caltech_birds2011{model}') == folder


def test_a_set_of_which_nothing_is_settled_asks_for_the_classes():
  loaded = config.load('fscil/ncm:folder:photos')
  with pytest.raises(UserError, match='give base_classes=, way= and shot= behind the data set'):
    checks.check_values(loaded)


def test_a_fixed_list_has_one_draw():
  loaded = config.load('fscil/ncm:cifar100,indices=cec')
  assert loaded.protocol.draws == 1 and config.load('fscil/ncm:cifar100').protocol.draws == 5
  config.override(loaded, 'protocol.draws', '3')
  with pytest.raises(UserError, match='fixes the images: take 1 draw, or no list'):
    checks.check_values(loaded)


def test_another_encoder_takes_the_short_recipe_unless_one_is_named():
  assert config.load('fscil/ncm:cifar100,model=resnet').base_training.recipe == 'short'
  loaded = config.load('fscil/ncm:cifar100,model=resnet,recipe=cec,epochs=20')
  assert (loaded.base_training.recipe, loaded.base_training.epochs, loaded.base_training.zoom) == (
    'cec',
    20,
    0,
  )


@pytest.mark.parametrize('data', ['digits', 'cifar10', 'cifar100', 'mini:x'])
def test_the_resnet_of_few_shot_learning_is_cecs(data):
  model = config.load(f'fscil/ncm:{data},model=resnet').model
  assert (model.depth, model.width, model.shortcut) == (20, 16, 'B')


@pytest.mark.parametrize(
  'data, width, patch, recipe, before, decoder',
  [
    ('digits', 48, 2, 'mae_fine_digits', 'mae_digits', (32, 1)),
    ('cifar100', 192, 4, 'mae_fine', 'mae', (96, 2)),
    ('mini:x', 768, 16, 'mae_fine', 'mae', (512, 8)),
    ('cub:x', 768, 16, 'mae_fine', 'mae', (512, 8)),
  ],
)
def test_a_masked_autoencoder_is_pre_trained_and_co_memory_reconstructs_with_it(
  data, width, patch, recipe, before, decoder
):
  loaded = config.load(f'fscil/comemory:{data},model=mae_vit')
  assert (loaded.model.width, loaded.model.patch) == (width, patch)
  assert (loaded.generative.decoder_width, loaded.generative.decoder_depth) == decoder
  assert (loaded.base_training.recipe, loaded.generative.pretrain_recipe) == (recipe, before)
  assert loaded.generative.pretrain_epochs > 0 and loaded.generative.layer_decay == 0.65
  assert loaded.generative.alpha == 0.5
  shape = (loaded.data.image_size or 32,) * 2 + (3,)
  Generative(**loaded.generative).check(models.build(loaded.model, 100, shape))
  # Other heads are trained by what they are trained by, other networks as ever.
  assert config.load(f'fscil/pki:{data},model=mae_vit').generative.alpha == 0
  assert config.load(f'fscil/comemory:{data}').generative == schema.section(Generative())
  compared = config.load(f'fscil/compare:{data},model=mae_vit,methods=ncm+comemory')
  assert compared.generative == loaded.generative


def test_nc_fscils_numbers_are_those_of_its_code():
  method = config.load('fscil/nc_fscil:cifar100').method
  assert method.steps == (50, 75, 100, 120, 140, 160, 200, 200)
  assert (method.learning_rate, method.lengths, method.mixing) == (0.25, True, 0.75)
  mini = config.load('fscil/nc_fscil:mini:x').method
  assert (mini.learning_rate, mini.copies[2], mini.lengths) == (0.025, 3, False)
  # Its lists are of its own number of sessions.
  for other in ('base_classes=50,way=10', 'base_classes=50', 'way=10'):
    assert config.load(f'fscil/nc_fscil:cifar100,{other}').method.steps == 100
  for usual in ('base_classes=60,way=5', 'way=5', 'shot=1'):
    assert config.load(f'fscil/nc_fscil:cifar100,{usual}').method == method


def test_the_directions_of_nc_fscil_are_not_turned_without_those_of_its_base_network():
  with pytest.raises(UserError, match="no config key 'method.etf_seed'"):
    config.override(config.load('fscil/nc_fscil:digits'), 'method.etf_seed', '1')


def test_steps_of_a_session_each_are_cut_by_the_user_where_there_are_fewer_sessions():
  task = Task(num_classes=75, base_classes=60, way=5, shot=5, sessions=3, dim=4)
  loaded = config.load('fscil/nc_fscil:cifar100')
  with pytest.raises(UserError, match='each of the 3 sessions; got 8; its first 3 are 50,75,100'):
    methods.make(task, loaded.method)
  for text, steps in (('50,75,100', (50, 75, 100)), ('40', (40, 40, 40))):
    config.override(loaded, 'method.steps', text)
    assert methods.make(task, loaded.method).steps == steps
  with pytest.raises(UserError, match='got 2.$'):
    methods.make(task, {**loaded.method, 'steps': (1, 2)})


def test_a_reconstruction_that_nobody_trains_is_refused():
  for given, fields in (('', ()), (',base=w', ('alpha=0.',)), (',base=w,epochs=30', ())):
    loaded = config.load(f'fscil/comemory:mini:x,model=mae_vit{given}')
    for field in fields:
      config.override(loaded, *f'generative.{field}'.split('='))
    checks.check_values(loaded)
  for name in ('comemory', 'compare'):
    learners = ',methods=ncm+comemory' if name == 'compare' else ''
    loaded = config.load(f'fscil/{name}:mini:x,model=mae_vit,base=w{learners}')
    with pytest.raises(UserError, match='train them on by base_training.epochs=30, or set gen'):
      checks.check_values(loaded)


def test_a_comparison_gives_every_learner_the_fields_of_its_own_config():
  loaded = config.load('fscil/compare:cifar100,methods=ncm+nc_fscil+teen')
  assert loaded.compared == ('ncm', 'nc_fscil', 'teen') and loaded.base_training.head == 'etf'
  assert loaded.members.nc_fscil == config.load('fscil/nc_fscil:cifar100').method
  with pytest.raises(UserError, match="no few-shot learner 'teeen'; did you mean 'teen'"):
    config.load('fscil/compare:digits,methods=ncm+teeen')


def test_a_memory_is_for_learners_that_read_one():
  loaded = config.load('fscil/compare:digits,methods=ncm+joint+pki+cd2,memory=exemplars,ipc=3')
  kept = {name: loaded.memories[name].to_dict() for name in loaded.compared}
  assert kept['ncm'] == kept['joint'] == {'name': 'means'}
  assert kept['pki'] == kept['cd2'] == {'name': 'exemplars', 'ipc': 3}
  checks.check_values(loaded)
  own = config.load('fscil/compare:digits,methods=pki+cd2,ipc=3')
  assert own.memories.pki.to_dict() == {'name': 'means'} and own.memories.cd2.ipc == 3
  for name in ('ncm', 'teen', 'ft_cos', 'joint', 'compare'):
    methods = ',methods=ncm' if name == 'compare' else ''
    refused = config.load(f'fscil/{name}:digits,memory=m3d{methods}')
    with pytest.raises(UserError, match='reads no memory, and one of m3d would be made for noth'):
      checks.check_values(refused)


@pytest.mark.parametrize('text', ['pki:digits,ipc=5', 'compare:digits,methods=ncm+pki,ipc=5'])
def test_images_a_class_of_a_memory_without_images_are_refused(text):
  with pytest.raises(UserError, match='ipc is 5, and the memory means does not hold so many'):
    config.load(f'fscil/{text}')


@pytest.mark.parametrize('name', NAMES)
def test_a_quick_few_shot_run_is_small_in_everything_that_costs(name):
  quick = config.load(f'{name}:cifar100,quick')
  assert (
    quick.base_training.steps <= 10
    and quick.protocol.draws <= 2
    and quick.model.get('width', 8) <= 8
  )
  sections_of_learners = [quick.method] if 'method' in quick else list(quick.members.values())
  for section in sections_of_learners:
    steps = section.get('steps', 0)
    assert max(steps if isinstance(steps, tuple) else [steps]) <= 4
