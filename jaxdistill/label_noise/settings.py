"""What the configs of this family share: their arguments, and whole configs from a data set and the
fields of a method."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill.data import presets as data_presets
from jaxdistill.errors import UserError, unknown
from jaxdistill.experiment import arguments, schema
from jaxdistill.experiment import explain as explaining
from jaxdistill.experiment.datasets import DataSource
from jaxdistill.label_noise import annotators, human, methods, noise, presets, sections

# Task of a config -> the module of this package with its flow: check(config), run(config, run),
# dry_run(config).
TASKS = {'train': 'tasks.train', 'compare': 'tasks.compare'}
PRESETS = presets.OFFERED
# What compares where nothing is said, by what the labels are.
COMPARED = {
  'labels': ('ce', 'co_teaching', 'elr', 'divide_mix', 'forward', 'sel_cl'),
  'crowd': ('vote', 'dawid_skene', 'ce', 'crowd_layer', 'union_net', 'ccc'),
  'matrix': ('bce', 'mlntm'),
}
# Crowds that are made, besides those of people.
_MADE = (*annotators.READY, 'by_image')
_FILES = ('cifar10n', 'csv')
_LABELS = 3.0  # an example, of a simulated crowd; CIFAR-10N has as many
_RATE = 0.4
# The arguments that say what the labels are, by the origins of labels that they mean something to.
_OF_LABELS = {
  'noise': ('given', 'corrupt'),
  'rate': ('corrupt', 'multilabel', 'by_image'),
  'labels': ('simulate', 'by_image', 'cifar10n'),
  'crowd': ('simulate', 'by_image', 'cifar10n', 'csv'),
}
# Examples a class with true labels, of the methods that cannot do without.
_TRUSTED = {'tcl': 10}
# A smoke run.
_IMAGES, _WIDTH = 120, 8
_SHORT = dict(
  estimate_epochs=1,
  warmup=1,
  pretrain=1,
  rounds=2,
  retrain=1,
  finetune=1,
  meta_size=20,
  meta_batch=8,
  groups=3,
  neighbours=5,
  queue=64,
  pair_queue=64,
  warmup_epochs=1,
  global_epochs=1,
  individual_epochs=1,
  graph_epochs=1,
  joint_epochs=1,
)


@dataclasses.dataclass(frozen=True)
class Arguments:
  """What stands behind the file name of every config of this family."""

  data: str = schema.field(PRESETS[0], choices=PRESETS, help='the data set')
  model: str = schema.field('', example='resnet18', help="the network (the data set's usual one)")
  noise: str = schema.field(
    '',
    example='asymmetric',
    help='law by which labels are made wrong, or none: they are as the data set has them (of a '
    'known set symmetric_inclusive where the method reads one label an example)',
  )
  rate: str = schema.field(
    '',
    example='0.4',
    help='of wrong labels; of a matrix 0 -> 1 and 1 -> 0, as in 0+0.6 (0.4; of a matrix of your '
    'own none)',
  )
  crowd: str = schema.field(
    '',
    example='cifar10n:PATH',
    help='annotators: ind, by_image, or those of cifar10n:PATH or csv:PATH (of a known set ind '
    'where the method reads a crowd)',
  )
  labels: str = schema.field(
    '',
    example='2',
    help='labels an example of a simulated crowd (3; by_image 2), or which of cifar10n: aggregate, '
    'random1 to random3, worst or crowd (crowd)',
  )
  trusted: int = schema.field(
    0, example=10, help='examples of each class with true labels (0; tcl 10)'
  )
  seeds: int = schema.field(0, example=5, help='networks in one program (3; of digits 5)')
  recipe: str = schema.field(
    '',
    choices=tuple(sections.recipes.RECIPES),
    example='short',
    help="of the training (the data set's)",
  )
  epochs: int = schema.field(0, example=30, help="passes over the examples (the recipe's)")
  images: int = schema.field(
    0, example=10000, help='training examples, drawn by a fixed seed (all; of digits 500)'
  )
  val: str = schema.field(
    '0.1', example=0.2, help='share of the examples held out, with their observed labels'
  )
  quick: bool = schema.field(False, help='a smoke run: every phase, no meaningful number')


def defaults(args: Arguments, name: str, **fields: Any) -> ConfigDict:
  """Returns the whole config of one method from what stands behind its file name: the section
  `method` has all fields of the method, with these values, those that are usual on the data set, or
  its defaults.

  >>> config = defaults(Arguments(), 'crowd_layer')
  >>> config.evidence.origin, config.evidence.per_example, config.method.name
  ('simulate', 3.0, 'crowd_layer')
  """
  usual = presets.find(args.data).fields.get(name, {})
  args = dataclasses.replace(args, trusted=args.trusted or _TRUSTED.get(name, 0))
  method = {'name': name, **methods.defaults(name), **usual, **fields}
  shared = _shared(args, methods.READS.get(name, 'labels'))
  config = ConfigDict(dict(shared, task='train', method=method))
  return shrink(config) if args.quick else config


def comparison(args: Arguments, names: Iterable[str]) -> ConfigDict:
  """Returns the whole config of a comparison of methods, by the names of their configs; each has
  the fields of its own one, all the same labels."""
  # All get the same labels, which not every method's own config would take.
  asked = [item.name for item in dataclasses.fields(Arguments) if item.name not in _OF_LABELS]
  asked = {name: getattr(args, name) for name in asked}
  names = tuple(names) or tuple(COMPARED[_kind_of(args)])
  members = {}
  for name in names:
    members[name] = configs.load(f'label_noise/{name}', asked).method.to_dict()
  reads = {methods.READS.get(str(member['name']), 'labels') for member in members.values()}
  kind = next((kind for kind in ('matrix', 'crowd') if kind in reads), 'labels')
  needed = [_TRUSTED.get(str(member['name']), 0) for member in members.values()]
  args = dataclasses.replace(args, trusted=args.trusted or max(needed))
  parts = dict(compared=names, members=members)
  config = ConfigDict(dict(_shared(args, kind), task='compare', **parts))
  return shrink(config) if args.quick else config


def _kind_of(args):
  """What the labels are that the arguments ask for."""
  if args.crowd:
    return 'crowd'
  return 'matrix' if presets.is_matrix(args.data) else 'labels'


def _shared(args: Arguments, kind: str) -> dict[str, Any]:
  """Returns what the configs of all tasks have; `kind` of labels is what the method reads."""
  known, usual = data_presets.find(args.data), presets.find(args.data)
  source = DataSource(
    name=known.variant or args.data,
    image_size=usual.size or known.size,
    normalisation='measured',
    stream='off',
    validation_share=arguments.number('val', args.val),
  )
  learning = sections.Learning(
    recipe=args.recipe or usual.recipe,
    seeds=args.seeds or usual.seeds,
    train_images=args.images or usual.train_images,
    trusted=args.trusted,
    epochs=args.epochs,
  )
  return dict(
    family='label_noise',
    seed=0,
    dtype='float32',
    data=schema.section(source),
    model=arguments.network(args.model, usual.model),
    evidence=schema.section(evidence(args, kind)),
    learning=schema.section(learning),
    run=schema.section(sections.Run()),
  )


def evidence(args: Arguments, kind: str) -> sections.EvidenceFields:
  """Returns where the labels come from that the arguments ask for, or what is usual for a method
  that reads this kind; the labels of data of one's own are the observed ones.

  Raises:
    UserError: for arguments that do not go together, or that mean nothing to such labels.
  """
  if args.noise and args.crowd:
    raise UserError(
      'noise= makes labels wrong, crowd= has them given anew; ask for one of the two.'
    )
  fields = _evidence(args, kind)
  for name, origins in _OF_LABELS.items():
    if getattr(args, name) and fields.origin not in origins:
      raise UserError(
        f'{name}={getattr(args, name)} means nothing to the labels of {args.data} that are asked '
        f'for, whose origin is {fields.origin}; leave it out ({name}= goes with the origins '
        f'{", ".join(origins)}).'
      )
  return fields


def _evidence(args, kind):
  if _kind_of(args) == 'matrix':
    return _matrix(args)
  if args.crowd:
    return _crowd(args)
  if args.noise == 'none' or not (args.noise or presets.is_known(args.data)):
    return sections.EvidenceFields('given')
  if not args.noise and kind == 'crowd':
    return _crowd(dataclasses.replace(args, crowd='ind'))
  law = args.noise or 'symmetric_inclusive'
  if law not in noise.KINDS:
    raise unknown('kind of label noise', law, (*noise.KINDS, 'none'))
  return sections.EvidenceFields('corrupt', law, _rate(args))


def _rate(args):
  if '+' in args.rate:
    raise UserError(
      f'rate={args.rate} says how often 0 becomes 1 and 1 becomes 0 in a matrix of labels; '
      f'{args.data} has one class an example, and one rate, such as rate=0.4.'
    )
  return arguments.number('rate', args.rate or str(_RATE))


def _matrix(args):
  if args.noise:
    return sections.EvidenceFields('given' if args.noise == 'none' else 'multilabel')
  if not (args.rate or presets.is_known(args.data)):
    return sections.EvidenceFields('given')
  false_positive, _, rate = (args.rate or f'0+{_RATE}').rpartition('+')
  return sections.EvidenceFields(
    'multilabel',
    rate=arguments.number('rate', rate),
    false_positive=arguments.number('rate', false_positive or rate),
  )


def _crowd(args):
  name, colon, path = args.crowd.partition(':')
  if name not in (*_MADE, *_FILES):
    raise unknown('crowd', name, (*_MADE, *_FILES))
  if colon and name in _MADE:
    raise UserError(
      f'crowd={args.crowd}: the annotators {name} are made, and take nothing behind a colon; say '
      f'crowd={name}, and labels= for how many labels an example has.'
    )
  if name == 'cifar10n':
    if args.labels and args.labels not in human.LABELS:
      raise unknown('kind of human labels', args.labels, human.LABELS)
    return sections.EvidenceFields('cifar10n', path=path, which=args.labels or 'crowd')
  if name == 'csv':
    return sections.EvidenceFields('csv', path=path)
  if name == 'by_image':
    return sections.EvidenceFields(
      'by_image',
      rate=_rate(args),
      annotators=presets.find(args.data).annotators,
      per_example=arguments.number('labels', args.labels or '2'),
    )
  per_example = arguments.number('labels', args.labels or str(_LABELS))
  return sections.EvidenceFields('simulate', groups=name, per_example=per_example)


def workdir_parts(config: ConfigDict) -> list[str]:
  """Returns what tells the work dirs of this family apart: the methods of a comparison, the labels,
  the network."""
  parts = ['+'.join(config.compared)] if 'compared' in config else []
  asked = config.evidence
  described = {
    'given': 'given',
    'corrupt': f'{asked.noise}{asked.rate:g}',
    'simulate': f'{asked.groups}{asked.per_example:g}',
    'by_image': f'by_image{asked.rate:g}',
    'cifar10n': asked.which,
    'csv': 'csv',
    'multilabel': f'flips{asked.false_positive:g}+{asked.rate:g}',
  }
  return [*parts, described[asked.origin], config.model.name]


def shrink(config: ConfigDict) -> ConfigDict:
  """Returns `config` as a smoke run: every phase is reached, no number means anything."""
  config = ConfigDict(config.to_dict())
  config.model = arguments.narrowed(config.model, _WIDTH)
  learning = config.learning
  learning.update(epochs=2, seeds=min(learning.seeds, 2), checks=2, batch=16)
  learning.train_images = min(learning.train_images or _IMAGES, _IMAGES)
  for method in _methods(config):
    method.update({field: value for field, value in _SHORT.items() if _shortens(method, field)})
  config.run.update(checkpoint_every=2, log_every=1)
  return config


def _shortens(method, field):
  """Whether a method has a field, and more of it than a smoke run wants."""
  value = method.get(field)
  return isinstance(value, int) and not isinstance(value, bool) and value > _SHORT[field]


def _methods(config: ConfigDict) -> list[ConfigDict]:
  return [config.method] if 'method' in config else list(config.members.values())


def explain(config: ConfigDict) -> dict[str, str]:
  """Returns what each field of a config means, by its dotted key."""
  return explaining.lines(sections.CONFIGS[config.task])
