"""What the configs of this family share: their arguments, and whole configs from a data set and the
numbers of a method."""

import dataclasses
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, get_args

from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill.data import presets as data_presets
from jaxdistill.errors import UserError
from jaxdistill.experiment import arguments, schema
from jaxdistill.experiment import explain as explaining
from jaxdistill.experiment.datasets import DataSource
from jaxdistill.robustness import methods, presets, sections
from jaxdistill.robustness.threat import Norm

# Task of a config -> the module of this package with its flow: check(config), run(config, run),
# dry_run(config).
TASKS = {'train': 'tasks.train', 'compare': 'tasks.compare'}
PRESETS = presets.OFFERED
RISKS = ('at', 'trades', 'rst')
# What compares where nothing is said.
COMPARED = ('at', 'awp', 'rwp')
# Of a perturbation of the weights: its length, and the rate of RWP's ascents, by whose loss it is
# put over.
_GAMMA = {'at': 0.01, 'trades': 0.005}
_RATE = {'at': 0.01, 'trades': 0.1}
_WIDTH = 8
_STEPS = 4


@dataclasses.dataclass(frozen=True)
class Arguments:
  """What stands behind the file name of every config of this family."""

  data: str = schema.field(PRESETS[0], choices=PRESETS, help='the data set')
  model: str = schema.field('', example='wrn_34_10', help="the network (the data set's usual one)")
  eps: str = schema.field(
    '', example='8/255', help="radius of the attacker's ball, in pixels from 0 to 1 (the usual one)"
  )
  norm: str = schema.field('linf', choices=get_args(Norm), example='l2', help='of that ball')
  over: str = schema.field(
    'at',
    choices=RISKS,
    example='trades',
    help='whose loss awp and rwp are put over: at, trades, or rst, which is trades with pseudo=',
  )
  pseudo: str = schema.field(
    '',
    example='npz:made.npz',
    help='pseudo-labelled images, which fill half of every batch (none)',
  )
  attacks: str = schema.field(
    '',
    example='pgd20+autoattack',
    help='of the final networks, joined by + (of digits apgd_ce, else pgd20+autoattack)',
  )
  seeds: int = schema.field(0, example=5, help='networks in one program (3; of digits 5)')
  recipe: str = schema.field(
    '',
    choices=tuple(sections.recipes.RECIPES),
    example='short',
    help="of the training (the data set's)",
  )
  epochs: int = schema.field(0, example=30, help="passes over the images (the recipe's)")
  images: int = schema.field(
    0, example=10000, help='training images, drawn by a fixed seed (all; of digits 512)'
  )
  val: str = schema.field(
    '', example=0.1, help='share of the images held out to choose by (0.1; of a known set 0)'
  )
  quick: bool = schema.field(False, help='a smoke run: every phase, no meaningful number')


def defaults(args: Arguments, name: str, **fields: Any) -> ConfigDict:
  """Returns the whole config of one method from what stands behind its file name: the section
  `method` has all fields of the method, with these values, those that are usual on the data set, or
  its defaults.

  >>> config = defaults(Arguments(data='cifar100'), 'rwp')
  >>> config.method.c_min, config.method.gamma, config.robustness.recipe
  (4.0, 0.01, 'black200')
  """
  over = _over_of(args, name)
  own = methods.defaults(name)
  given = {field: value for field, value in _usual(args, over).items() if field in own}
  method = {'name': name, **own, **given, **fields}
  config = ConfigDict(dict(_shared(args, over), task='train', method=method))
  return shrink(config) if args.quick else config


def comparison(args: Arguments, names: Iterable[str]) -> ConfigDict:
  """Returns the whole config of a comparison of methods, by the names of their configs; each has
  the fields of its own one, all the network and the recipe of `over`."""
  asked = {item.name: getattr(args, item.name) for item in dataclasses.fields(Arguments)}
  members, names = {}, tuple(names)
  for name in names:
    own = configs.load(f'robustness/{name}', asked)
    members[name] = own.method.to_dict()
  parts = dict(compared=names, members=members)
  config = ConfigDict(dict(_shared(args, args.over), task='compare', **parts))
  return shrink(config) if args.quick else config


def _over_of(args, name):
  """Whose numbers a method has: those of TRADES for itself and where others are put over it."""
  return 'trades' if name == 'trades' and args.over == 'at' else args.over


def _usual(args, over):
  """The fields of methods that depend on the data set and `over`."""
  usual, loss = presets.find(args.data, over), 'at' if over == 'at' else 'trades'
  return dict(
    over=loss,
    gamma=_GAMMA[loss],
    rate=_RATE[loss],
    warmup=usual.warmup,
    c_min=usual.c_min,
    attack_steps=usual.attack_steps,
    step_size=usual.step_size if args.norm == 'linf' else 0.0,
  )


def _shared(args: Arguments, over: str) -> dict[str, Any]:
  """Returns what the configs of all tasks have."""
  known, usual = data_presets.find(args.data), presets.find(args.data, over)
  if over == 'rst' and not args.pseudo:
    raise UserError(
      'over=rst fills half of every batch with pseudo-labelled images: name them behind the data '
      'set, as in pseudo=npz:made.npz.'
    )
  source = DataSource(
    name=known.variant or args.data,
    image_size=usual.size or known.size,
    normalisation='measured',
    validation_share=arguments.number('val', args.val, Fraction, 0.0 if known.published else 0.1),
  )
  radius = usual.eps if args.norm == 'linf' else usual.eps_l2
  robust = sections.Robust(
    recipe=args.recipe or usual.recipe,
    eps=arguments.number('eps', args.eps, Fraction, radius),
    norm=args.norm,
    seeds=args.seeds or usual.seeds,
    train_images=args.images or usual.train_images,
    pseudo=args.pseudo,
    first_layer=usual.first_layer,
    epochs=args.epochs,
    attacks=tuple(name for name in args.attacks.split('+') if name) or usual.attacks,
    attack_images=usual.attack_images,
  )
  return dict(
    family='robustness',
    seed=0,
    dtype='float32',
    data=schema.section(source),
    model=arguments.network(args.model, usual.model),
    robustness=schema.section(robust),
    run=schema.section(sections.Run()),
  )


def workdir_parts(config: ConfigDict) -> list[str]:
  """Returns what tells the work dirs of this family apart: the methods of a comparison, `over`,
  the network, the ball."""
  parts = ['+'.join(config.compared)] if 'compared' in config else []
  if config.get('method', {}).get('over', 'at') != 'at':
    parts.append(config.method.over)
  robust = config.robustness
  return [*parts, config.model.name, f'{robust.norm}{robust.eps:.3g}']


def shrink(config: ConfigDict) -> ConfigDict:
  """Returns `config` as a smoke run: every phase is reached, no number means anything."""
  config = ConfigDict(config.to_dict())
  config.model = arguments.narrowed(config.model, _WIDTH)
  robust = config.robustness
  robust.update(steps=_STEPS, seeds=min(robust.seeds, 2), checks=2, batch=16, pgd_steps=2)
  robust.update(attacks=('fgsm',), attack_images=20)
  shortened = dict(attack_steps=2, ascents=2, warmup=0)
  for method in _methods(config):
    method.update({field: value for field, value in shortened.items() if field in method})
  config.run.update(checkpoint_every=2, log_every=1)
  return config


def _methods(config: ConfigDict) -> list[ConfigDict]:
  return [config.method] if 'method' in config else list(config.members.values())


def explain(config: ConfigDict) -> dict[str, str]:
  """Returns what each field of a config means, by its dotted key."""
  return explaining.lines(sections.CONFIGS[config.task])
