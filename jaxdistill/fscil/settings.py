"""What the configs of this family share: their arguments, and whole configs from a data set and the
numbers of a learner."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from jaxdistill import config as configs
from jaxdistill import files, models
from jaxdistill.data import presets
from jaxdistill.experiment import arguments, schema
from jaxdistill.experiment import explain as explaining
from jaxdistill.experiment.datasets import DataSource
from jaxdistill.fscil import memory, methods, sections
from jaxdistill.fscil import presets as divisions

# Task of a config -> the module of this package with its flow: check(config), run(config, run),
# dry_run(config).
TASKS = {'learn': 'tasks.learn', 'compare': 'tasks.compare'}
PRESETS = divisions.OFFERED
MEMORIES = ('', *memory.MEMORIES)
MODELS = tuple(sorted(models.REGISTRY))
# Learners that are another one with a field set: name -> (learner, fields of its config).
VARIANTS = {'pkiv1': ('pki', {'keep': 'pkiv1'}), 'pkiv2': ('pki', {'keep': 'pkiv2'})}
# What compares where nothing is said.
COMPARED = ('ncm', 'pki', 'sdc', 'cd2')


# Fields of learners that say how long something takes.
_LENGTHS = {'steps', 'iterations', 'epochs'}


@dataclasses.dataclass(frozen=True)
class Arguments:
  """What stands behind the file name of every config of this family."""

  data: str = schema.field(PRESETS[0], choices=PRESETS, help='the data set')
  base_classes: int = schema.field(
    0, example=60, help='classes of the base session (60 of CIFAR-100, 4 of ten)'
  )
  way: int = schema.field(0, example=5, help='new classes a session (5; 2 of ten)')
  shot: int = schema.field(0, example=1, help='images of a new class (5)')
  draws: int = schema.field(0, example=10, help='draws of these images (5; 1 of a fixed list)')
  indices: str = schema.field(
    '', example='cec', help="a fixed list of these images: cec (CIFAR-100's), or a file"
  )
  order: str = schema.field('', example='1', help='of the classes: a seed, or a file')
  networks: int = schema.field(1, example=2, help='base networks, each with a seed of its own')
  model: str = schema.field(
    '', choices=MODELS, example='resnet', help="the encoder (the data set's own)"
  )
  base: str = schema.field(
    '',
    example='runs/ncm',
    help='a work dir whose base networks are taken, or a file of weights of the encoder',
  )
  recipe: str = schema.field(
    '', choices=tuple(sections.recipes.RECIPES), example='cec', help='of base training'
  )
  epochs: int = schema.field(0, example=20, help="passes over the base images (the recipe's)")
  rates: str = schema.field(
    '', example='.1+1', help="factors of the learner's rate in the sessions, each a row (1)"
  )
  memory: str = schema.field(
    '',
    choices=MEMORIES,
    example='m3d',
    help='what is remembered of every class: means, none, exemplars, random, cd2, m3d, dance or dm '
    "(the learner's own)",
  )
  ipc: int = schema.field(
    0, example=2, help='images a class of such a memory, but for means (1; of cd2 2)'
  )
  quick: bool = schema.field(False, help='a smoke run: every phase, no meaningful number')


def defaults(args: Arguments, name: str, **fields: Any) -> ConfigDict:
  """Returns the whole config of one learner from what stands behind its file name: the section
  `method` has all fields of the learner, with these values or its defaults.

  >>> config = defaults(Arguments(data='cifar100', indices='cec'), 'comemory')
  >>> config.protocol.base_classes, config.protocol.draws, config.base_training.recipe
  (60, 1, 'nc_fscil')
  """
  method = {'name': name, **methods.defaults(name), **fields}
  shared, replay = _shared(args, methods.head_of(method)), _replay(args, name)
  config = ConfigDict(dict(shared, task='learn', method=method, replay=replay))
  return shrink(config) if args.quick else config


def comparison(args: Arguments, names: Iterable[str]) -> ConfigDict:
  """Returns the whole config of a comparison of learners, by their names or those of `VARIANTS`;
  each has the fields of its own config. What is asked for of a memory is for those that read one.

  The base networks get the head that most of the learners want; the cosine head, which those want
  that are content with features, counts last.

  >>> config = comparison(Arguments(), ('ncm', 'nc_fscil', 'teen'))
  >>> config.compared, config.base_training.head
  (('ncm', 'nc_fscil', 'teen'), 'etf')
  """
  learners, memories, names = {}, {}, tuple(names)
  variants = {name: VARIANTS.get(name, (name, {})) for name in names}
  reading = [name for name, (method, _) in variants.items() if methods.reads_memory(method)]
  for name, (method, fields) in variants.items():
    asked = ('data', 'base_classes', 'way', 'quick')
    given = {field: getattr(args, field) for field in asked}
    if name in reading or not reading:
      given['memory'] = args.memory
    kept = given.get('memory') or methods.memory(method)
    # Members may remember by other things than images.
    if 'ipc' in memory.defaults(kept):
      given['ipc'] = args.ipc
    member = configs.load(f'fscil/{method}', {**given, **fields})
    learners[name], memories[name] = member.method.to_dict(), member.replay.to_dict()
  if memories and not any('ipc' in replay for replay in memories.values()):
    memory.check_ipc(next(iter(memories.values())), args.ipc)
  parts = dict(compared=names, members=learners, memories=memories)
  heads = [methods.head_of(method) for method in learners.values()]
  wanted = [head for head in heads if head not in ('', 'cosine')] or ['cosine']
  head = collections.Counter(wanted).most_common(1)[0][0]
  config = ConfigDict(dict(_shared(args, head), task='compare', **parts))
  config.base_training.head = head
  return shrink(config) if args.quick else config


def _shared(args: Arguments, head: str) -> dict[str, Any]:
  """Returns what the configs of all tasks have; `head` is that of base training."""
  known = presets.find(args.data)
  name = divisions.known_as(args.data)
  setting = divisions.training(name, args.model)
  network = args.model or setting.model['name']
  model = models.defaults(network)
  del model['dtype']  # which is one for the whole run
  if network == divisions.RESNET['name']:
    model |= divisions.RESNET
  if network == setting.model['name']:
    model |= setting.model
  zoom = setting.zoom if network == setting.model['name'] else 0
  size = known.size if setting.size is None else setting.size
  # Features are reconstructed where the learner's paper does it and the network has tokens.
  alpha = 0.5 if head == 'two_layer' and setting.generative.is_used else 0.0
  source = DataSource(
    name=known.variant or args.data, image_size=size, normalisation='dm', validation_share=0.0
  )
  return dict(
    family='fscil',
    seed=0,
    dtype='float32',
    data=schema.section(source),
    model=dict(model, name=network),
    protocol=schema.section(_protocol(args, name)),
    base_training=schema.section(
      sections.Base(
        given=args.base,
        networks=args.networks,
        head_width=setting.head_width,
        recipe=args.recipe or (setting.recipe if network == setting.model['name'] else 'short'),
        epochs=args.epochs,
        zoom=zoom,
      )
    ),
    generative=schema.section(dataclasses.replace(setting.generative, alpha=alpha)),
    run=schema.section(sections.Run()),
  )


def _protocol(args: Arguments, name: str) -> sections.Protocol:
  """Returns how the classes arrive: what is asked for, else what is settled for the data set."""
  known = divisions.find_like(name)
  settled = (known.base_classes, known.way, known.shot) if known else (0, 0, 5)
  asked = (args.base_classes, args.way, args.shot)
  base_classes, way, shot = (given or usual for given, usual in zip(asked, settled))
  draws = args.draws or (1 if args.indices else 5)
  return sections.Protocol(
    base_classes, way, shot, draws, args.indices, args.order, rates=args.rates
  )


def _replay(args: Arguments, name: str) -> dict[str, Any]:
  """Returns what a learner remembers: what is asked for, else its own."""
  kept = args.memory or methods.memory(name)
  fields = {'name': kept, **memory.defaults(kept)}
  memory.check_ipc(fields, args.ipc)
  return {**fields, 'ipc': args.ipc} if args.ipc else fields


def workdir_parts(config: ConfigDict) -> list[str]:
  """Returns what tells the work dirs of this family apart: the learners of a comparison, the
  classes by session, the memory.

  >>> workdir_parts(defaults(Arguments(memory='exemplars', ipc=2), 'comemory'))
  ['4+2way5shot', 'exemplars-ipc2']
  """
  protocol, replay = config.protocol, config.get('replay', {})
  parts = ['+'.join(config.compared)] if 'compared' in config else []
  if 'method' in config and 'keep' in config.method and config.method.keep != config.method.name:
    parts.append(str(config.method.keep))
  parts.append(f'{protocol.base_classes}+{protocol.way}way{protocol.shot}shot')
  if protocol.indices:
    parts.append(files.safe_name(pathlib.PurePath(protocol.indices).stem))
  if config.base_training.given:
    parts.append(f'from-{files.safe_name(pathlib.PurePath(config.base_training.given).stem)}')
  if replay and replay.name != methods.memory(config.method.name):
    parts.append(f'{replay.name}-ipc{replay.ipc}' if 'ipc' in replay else replay.name)
  return parts


def shrink(config: ConfigDict) -> ConfigDict:
  """Returns `config` as a smoke run: every phase is reached, no number means anything.

  >>> small = shrink(defaults(Arguments(), 'comemory', steps=200))
  >>> small.base_training.steps, small.protocol.draws, small.method.steps
  (4, 2, 4)
  """
  config = ConfigDict(config.to_dict())
  config.model = arguments.narrowed(config.model, 8)
  config.base_training.update(
    steps=4, checks=2, fit_epochs=1, head_width=min(config.base_training.head_width or 32, 32)
  )
  if config.generative.pretrain_epochs:
    config.generative.pretrain_steps = 4
  config.protocol.draws = min(config.protocol.draws, 2)
  alone = 'method' in config
  parts = [config.method, config.replay] if alone else []
  for section in () if alone else (config.members, config.memories):
    parts += section.values()
  for part in parts:
    for name in _LENGTHS & set(part):
      steps = part[name]
      part[name] = tuple(min(step, 4) for step in steps) if isinstance(steps, tuple) else 4
  config.run.update(checkpoint_every=2, log_every=1)
  return config


def explain(config: ConfigDict) -> dict[str, str]:
  """Returns what each field of a config means, by its dotted key."""
  return explaining.lines(sections.CONFIGS[config.task])
