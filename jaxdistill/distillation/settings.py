"""What the configs of this family share: their arguments, and whole configs from a data set and the
numbers of a method."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill import errors, files, models
from jaxdistill.data import presets as data_presets
from jaxdistill.data import resolution
from jaxdistill.distillation import methods, presets, sections, terms
from jaxdistill.distillation.sum import CLASSICAL, classical
from jaxdistill.experiment import arguments, schema
from jaxdistill.experiment import explain as explaining
from jaxdistill.experiment.datasets import DataSource
from jaxdistill.training import replicas

# Task of a config -> the module of this package with its flow: check(config), run(config, run),
# dry_run(config).
TASKS = {'distill': 'tasks.distill', 'compare': 'tasks.compare'}
PRESETS = presets.OFFERED
_FOLDER = 'distillation'
# What compares where nothing is said.
COMPARED = ('alone', 'kd', 'horkd')
# Terms that compare maps before their ReLU.
_STAGED = {'ab', 'ofd'}
# Of a student that a config has made small for a smoke run.
_WIDTH = 8
_STEPS = 4


@dataclasses.dataclass(frozen=True)
class Arguments:
  """What stands behind the file name of every config of this family."""

  data: str = schema.field(PRESETS[0], choices=PRESETS, help='the data set')
  teacher: str = schema.field(
    '',
    example='resnet56',
    help="the teacher's network (the data set's usual one), or a work dir whose teacher is taken",
  )
  weights: str = schema.field(
    '', example='mine.safetensors', help='a file of its weights; else it is trained'
  )
  student: str = schema.field(
    '', example='resnet20', help="the students' network (the data set's usual one)"
  )
  assistant: str = schema.field(
    '', example='resnet32', help="network of an assistant, where the method has one (the student's)"
  )
  low: str = schema.field(
    '', example=16, help="side of the students' images, 0 for native (digits 4, else 0)"
  )
  shown: str = schema.field(
    'native',
    choices=resolution.SHOWN,
    example='upsampled',
    help='such images stay small, or are brought back',
  )
  degrade: str = schema.field(
    '', example='blur+darken', help='what these small images suffer: blur, darken, noise'
  )
  seeds: int = schema.field(0, example=10, help='students in one program (5; of ImageNet 1)')
  batches: str = schema.field(
    'shared',
    choices=replicas.BATCHES,
    example='own',
    help='all students see the same batches, or each has its own',
  )
  share: float = schema.field(
    1.0, example=0.1, help='of the images of a class that the students see; the teacher saw all'
  )
  public: int = schema.field(
    0, example=40, help='classes that only the students learn: the teacher has those before'
  )
  cache: str = schema.field(
    '', example='flip', help='teacher outputs that are kept: none, flip or a number of draws'
  )
  recipe: str = schema.field(
    '', choices=tuple(sections.recipes.RECIPES), example='short', help='of teacher and students'
  )
  epochs: int = schema.field(0, example=30, help="passes over the images (the recipe's)")
  val: str = schema.field(
    '', example=0.1, help='share of the images held out to choose by (0.1; of a known set 0)'
  )
  verify: int = schema.field(
    0, example=20, help='classes that nobody is trained on, whose pairs are verified'
  )
  quick: bool = schema.field(False, help='a smoke run: every phase, no meaningful number')


def defaults(args: Arguments, name: str, **fields: Any) -> ConfigDict:
  """Returns the whole config of one method from what stands behind its file name: the section
  `method` has all fields of the method, with these values or its defaults."""
  method = {'name': name, **methods.defaults(name), **fields}
  staged = bool(_STAGED & set(fields.get('terms', ())))
  config = ConfigDict(dict(_shared(args, staged), task='distill', method=method))
  return shrink(config) if args.quick else config


def summed(args: Arguments, name: str) -> ConfigDict:
  """Returns the whole config of a sum of terms: a classical method by its name, or terms that are
  joined by +. Each term has its section of fields.

  >>> config = summed(Arguments(), 'kd')
  >>> config.method.terms, config.method.gamma, config.method.fields.kd.weight
  (('kd',), 0.1, 0.9)
  """
  recipe = args.recipe or presets.find(args.data).recipe
  given = classical(name, recipe) if name in CLASSICAL else {'terms': terms.names_of(name)}
  chosen = given.pop('fields', {})
  fields = {term: {**terms.defaults(term), **chosen.get(term, {})} for term in given['terms']}
  return defaults(args, 'sum', **given, fields=fields)


def comparison(args: Arguments, names: Iterable[str]) -> ConfigDict:
  """Returns the whole config of a comparison of methods, by the names of their configs; each has
  the fields of its own one. Terms that are joined by & are a weighted sum, as in kd&crd."""
  asked = {item.name: getattr(args, item.name) for item in dataclasses.fields(Arguments)}
  members, names = {}, tuple(names)
  for name in names:
    path = f'{_FOLDER}/{name}'
    is_shipped = name != 'compare' and path in configs.names()
    own = configs.load(path, asked) if is_shipped else of_name(asked, name.replace('&', '+'))
    members[name] = own.method.to_dict()
  parts = dict(compared=names, members=members)
  config = ConfigDict(dict(_shared(args), task='compare', **parts))
  config.distillation.baseline = False
  return shrink(config) if args.quick else config


def of_name(given: Mapping[str, Any], method: str) -> ConfigDict:
  """Returns the config of a method that is no file's: one that the user has registered, or a sum.

  Args:
    given: arguments, by name.
    method: its name.

  Raises:
    UserError: there is none.
  """
  if method in methods.METHODS:
    return defaults(arguments.read(Arguments, given), method)
  if method in terms.TERMS or '+' in method:
    return configs.load(f'{_FOLDER}/sum', {**given, 'terms': method})
  names = [name for name in configs.names() if name.startswith(f'{_FOLDER}/')]
  shipped = [name.partition('/')[2] for name in names if name != f'{_FOLDER}/compare']
  valid = [*shipped, *methods.METHODS.added, *terms.TERMS.added]
  raise errors.unknown('distillation method', method, valid)


def learning_rate(config: ConfigDict) -> float:
  """Returns the learning rate at which a config's student starts where that is not its recipe's
  own, see `recipes.learning_rate_for`."""
  return sections.recipes.learning_rate_for(config.distillation.recipe, config.model.name)


def _shared(args: Arguments, staged: bool = False) -> dict[str, Any]:
  """Returns what the configs of all tasks have; `staged`: with maps before the ReLU."""
  known = data_presets.find(args.data)
  usual = presets.find(args.data, staged)
  is_network = args.teacher in models.names() or not args.teacher
  if args.weights and not is_network:
    raise errors.UserError(
      f'teacher={args.teacher} is taken with its own weights, and weights={args.weights} are given '
      'beside it; name the network that these are of, or leave them out.'
    )
  recipe = args.recipe or usual.recipe
  held_out = arguments.number('val', args.val, float, 0.0 if known.published else 0.1)
  source = DataSource(
    name=known.variant or args.data,
    image_size=known.size,
    normalisation='crd',
    validation_share=held_out,
  )
  teaching = sections.Teaching(
    given=args.weights if is_network else args.teacher, recipe=recipe, epochs=args.epochs
  )
  distilling = sections.Distilling(
    recipe=recipe,
    seeds=args.seeds or usual.seeds,
    low=arguments.number('low', args.low, int, usual.low),
    shown=args.shown,
    degrade=tuple(name for name in args.degrade.split('+') if name),
    share=args.share,
    public=args.public,
    batches=args.batches,
    cache=args.cache,
    batch=usual.batch,
    epochs=args.epochs or usual.epochs,
    learning_rate=sections.recipes.learning_rate_for(recipe, args.student or usual.student['name']),
    assistant=args.assistant,
    # The scikit-learn digits are there to be done soon.
    speed=args.data != 'digits',
  )
  return dict(
    family='distillation',
    seed=0,
    dtype='float32',
    data=schema.section(source),
    model=arguments.network(args.student, usual.student),
    teacher_model=arguments.network(args.teacher if is_network else '', usual.teacher),
    teaching=schema.section(teaching),
    distillation=schema.section(distilling),
    verification=schema.section(sections.Verifying(classes=args.verify)),
    run=schema.section(sections.Run()),
  )


def workdir_parts(config: ConfigDict) -> list[str]:
  """Returns what tells the work dirs of this family apart: the methods of a comparison or the terms
  of a sum, teacher and student, the students' size and share of the images."""
  distilling = config.distillation
  parts = ['+'.join(config.compared)] if 'compared' in config else []
  if 'method' in config and config.method.get('terms'):
    parts.append('+'.join(config.method.terms))
  given = config.teaching.given
  teacher = files.safe_name(pathlib.PurePath(given).stem) if given else config.teacher_model.name
  parts.append(f'{teacher}-{config.model.name}')
  if distilling.low:
    parts.append(f'low{distilling.low}')
  if distilling.degrade:
    parts.append('+'.join(distilling.degrade))
  if distilling.share < 1:
    parts.append(f'share{distilling.share:g}')
  return parts


def shrink(config: ConfigDict) -> ConfigDict:
  """Returns `config` as a smoke run: every phase is reached, no number means anything."""
  config = ConfigDict(config.to_dict())
  for name in ('model', 'teacher_model'):
    config[name] = arguments.narrowed(config[name], _WIDTH)
  config.teaching.update(steps=_STEPS)
  distilling = config.distillation
  distilling.update(steps=_STEPS, seeds=min(distilling.seeds, 2), checks=2, batch=16, speed=False)
  config.verification.pairs = min(config.verification.pairs, 40)
  if config.verification.classes:
    config.verification.far = 0.1  # of so few pairs no smaller share can be told
  config.run.update(checkpoint_every=2, log_every=1)
  return config


def recorded(config: ConfigDict) -> ConfigDict:
  """Returns a config as work dirs and hashes hold it, see `schema.recorded`."""
  return schema.recorded(sections.CONFIGS.get(config.get('task'), sections.Config), config)


def explain(config: ConfigDict) -> dict[str, str]:
  """Returns what each field of a config means, by its dotted key."""
  return explaining.lines(sections.CONFIGS[config.task])
