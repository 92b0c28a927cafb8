"""A run of this family from its stage to its numbers, the same for one learner and for several."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill import files, models
from jaxdistill.experiment import estimates, results
from jaxdistill.experiment.estimates import Phase
from jaxdistill.experiment.results import Row
from jaxdistill.experiment.running import in_words, methods_of
from jaxdistill.fscil import base, flow, generative, methods, page, scoring, session
from jaxdistill.fscil.base import Bases
from jaxdistill.fscil.learned import Learned
from jaxdistill.fscil.scoring import Numbers
from jaxdistill.fscil.stage import Stage, base_head, memories_of, runs
from jaxdistill.numerics import settled
from jaxdistill.training import parallel, provenance
from jaxdistill.training.run import Run

# Learners whose papers could not be read whole: what a table has of them is a reconstruction.
RECONSTRUCTED = ('pki', 'pkiv1', 'pkiv2', 'sdc', 'comemory', 'cd2')
# Scores that are said of a learner.
SHOWN = ('average', 'last')


class Ran(NamedTuple):
  """What a run has come to.

  networks: the base networks. features: the hash of all that decides what they see in the base
    images. numbers: of every learner, by its name in the table. classifiers: that which the first
    run of each has become; None in all processes but the first.
  """

  networks: Bases
  features: str
  numbers: dict[str, Numbers]
  classifiers: dict[str, Learned | None]


def label(method: Mapping[str, Any], factor: float = 1.0) -> str:
  """Returns how tables call a learner, at so many times its learning rate.

  >>> label({'name': 'nc_fscil'}), label({'name': 'pki', 'keep': 'pkiv1'}, 0.1)
  ('NC-FSCIL', 'PKIV-1 (reconstruction), rate x 0.1')
  """
  name = method['name']
  # A variant by a field of PKI has the label of the one by a name of its own.
  variant = method.get('keep', name)
  text = methods.LABELS.get(variant, methods.LABELS.get(name, name))
  return text if factor == 1 else f'{text}, rate x {factor:g}'


@settled()
def run_all(run: Run, stage: Stage, tell: bool = True) -> Ran:
  """Trains the base networks, or takes them, and sends every learner through the sessions.

  Args:
    run: where all goes.
    stage: what it works on.
    tell: whether to say what it works on, how long base training will take, and what comes of it.

  Raises:
    UserError: the work dir was begun with other sessions or base networks.
  """
  provenance.settle_given(run, 'sessions', sessions_of(stage))
  say = run.say if tell else lambda text: None
  say(describe(stage))
  if tell and not _is_trained(run, stage):
    estimates.estimate_once(
      run,
      lambda: estimates.measure(base_phases(stage)),
      'base training',
      until='base training takes',
    )
  networks = flow.bases(run, stage)
  provenance.settle_given(run, 'base', {'base networks': networks.key})
  seen = flow.see(run, stage, networks)
  numbers, classifiers = {}, {}
  for name, method in methods_of(stage.fields).items():
    numbers[name], classifiers[name] = flow.learn(run, stage, networks, seen, name, method)
    for factor, at_rate in numbers[name].by_scale().items():
      say(in_words(scoring.row('', label(method, factor), at_rate), SHOWN))
  return Ran(networks, seen.key, numbers, classifiers)


def sessions_of(stage: Stage) -> dict[str, Any]:
  """Returns what tells the sessions of a run from others, see `provenance.settle_given`: files may
  have listed their images and the order of the classes."""
  return {
    'list of few images': list(itertools.chain.from_iterable(draw.rows for draw in stage.draws)),
    'order of classes': [np.asarray(draw.order) for draw in stage.draws],
  }


def _is_trained(run: Run, stage: Stage) -> bool:
  """Whether nothing is left of base training."""
  asked = stage.fields.base_training
  if asked.given:
    return not (asked.epochs or asked.steps)
  return flow.trained(run, stage)


def describe(stage: Stage) -> str:
  """Returns the data set and its sessions in three lines."""
  parts = stage.sessions
  count = f'{len(stage.draws)} draw{"s" if len(stage.draws) > 1 else ""}'
  chosen = 'a fixed list' if stage.fields.protocol.indices else count
  return (
    f'{parts.train.describe()}\n{parts.test.describe()}\n'
    f'{parts.base_classes} base classes with {len(parts.base):,} images, then {parts.sessions} '
    f'sessions of {parts.way} classes with {parts.shot} images each ({chosen}); '
    f'{parts.test_sizes[0]:,} to {parts.test_sizes[-1]:,} test images'
  )


def rows(stage: Stage, ran: Ran) -> list[Row]:
  """Returns a row a learner, compared run by run with the nearest class mean where that is one of
  several."""
  sections = methods_of(stage.fields)
  reference = ran.numbers.get(scoring.REFERENCE)
  table = []
  for name, numbers in ran.numbers.items():
    compared = None if name == scoring.REFERENCE else reference
    for factor, at_rate in numbers.by_scale().items():
      entry = name if factor == 1 else f'{name}-rate-{factor:g}'
      key = _row_key(stage, ran, name, factor)
      table.append(scoring.row(entry, label(sections[name], factor), at_rate, compared, key))
  return table


def _row_key(stage, ran, name, factor):
  """The hash of all that decides a learner's numbers."""
  fields, asked = stage.fields, stage.fields.base_training
  starts_from_head = methods.reads_head(methods_of(fields)[name]['name'])
  fitted = (asked.head_width, asked.fit_epochs, asked.fit_learning_rate)
  decided = {
    'features': ran.features,
    'head': fitted if starts_from_head else (),
    'protocol': dataclasses.asdict(fields.protocol) | {'rates': factor},
    'seed': fields.seed,
    'dtype': fields.dtype,
    'method': dict(methods_of(fields)[name]),
    'memory': dict(memories_of(fields)[name]),
  }
  return files.content_hash([], files.jsonable(decided))


def result(run: Run, stage: Stage, ran: Ran, config: Mapping[str, Any]) -> results.Result:
  """Returns the content of result.json; `config` is what the file keeps of the config."""
  fields, parts, table = stage.fields, stage.sessions, rows(stage, ran)
  labels = [row.label for row in table]
  names = labels[0] if len(labels) == 1 else f'{len(labels)} learners'
  checks = ran.networks.checks
  timing = run.timing(base.PHASE)
  return results.of_run(
    run,
    title=f'{names} on {parts.train.name}: {parts.base_classes} + {parts.sessions} x {parts.way} '
    f'classes, {parts.shot} images each',
    family=fields.family,
    task=fields.task,
    dataset=parts.train.name,
    seed=fields.seed,
    rows=table,
    seconds={
      'base': timing.get('seconds', 0.0),
      'sessions': float(sum(row.seconds for row in table)),
    },
    config=config,
    method=next(iter(ran.numbers)) if len(ran.numbers) == 1 else 'compare',
    reconstructed=[name for name, section in methods_of(fields).items() if is_ours(section)],
    sizes=list(parts.sizes),
    test_sizes=list(parts.test_sizes),
    order=list(parts.order),
    class_names=list(parts.test.class_names),
    draws=len(stage.draws),
    base={
      'head': base_head(fields),
      'networks': ran.networks.networks,
      'key': ran.networks.key,
      'parameters': models.count(jax.tree.map(lambda leaf: leaf[:1], ran.networks.variables)),
      'checks': {name: values.tolist() for name, values in checks.items()},
    },
  )


def write(run: Run, stage: Stage, ran: Ran, config: Mapping[str, Any]) -> dict[str, Any]:
  """Writes the numbers and the page; returns the numbers, what result.json holds."""
  ended = result(run, stage, ran, config)
  albums = {name: flow.album(run, name) for name in ran.numbers}
  albums = {name: images for name, images in albums.items() if images is not None}
  labels = {name: label(section) for name, section in methods_of(stage.fields).items()}
  pictures = page.remembered(albums, stage.sessions, labels)
  content = ended.to_json()
  run.write_json('result.json', content)
  run.write_bytes('report.html', files.encoded(page.html(ended, run, pictures)))
  return content


def is_ours(method: Mapping[str, Any]) -> bool:
  """Whether a learner is a reconstruction."""
  return method['name'] in RECONSTRUCTED


def base_phases(stage: Stage) -> Iterator[Phase]:
  """Yields base training, where there is one, and what comes before it."""
  fields = stage.fields
  if fields.base_training.given and not (fields.base_training.epochs or fields.base_training.steps):
    return
  model = stage.network(base_head(fields))
  images, _ = stage.split
  if stage.pretraining:
    before = generative.setup(
      stage.encoder, images, fields.generative, stage.pretraining, mesh=stage.mesh
    )
    yield Phase(generative.PHASE, before, fields.dtype)
  problem = base.setup(model, images, stage.training, stage.columns, stage.mesh)
  yield Phase(base.PHASE, problem, fields.dtype)


def phases(stage: Stage) -> Iterator[Phase]:
  """Yields base training and a session of every learner that trains in them; what the features are
  does not matter."""
  yield from base_phases(stage)
  if parallel.is_remote(stage.mesh):
    return  # small matrix products, against what base training takes
  networks, seen = flow.stand_in(stage)
  with Run(progress=False) as run:
    for name, method in methods_of(stage.fields).items():
      headed = flow.stand_in_head(stage, networks, method)
      # Whatever is remembered, an estimate has class means: nothing is condensed for it.
      course = flow.course(None, stage, headed, seen, name, method)
      problem = dataclasses.replace(course, remember=session.class_means).estimated(run)
      if problem is not None:
        yield Phase(f'{name}/sessions', problem, stage.fields.dtype)


@settled()
def dry_run(stage: Stage) -> str:
  """Returns the sessions, the parameters and the estimate of time and memory, without starting
  anything."""
  model = stage.network(base_head(stage.fields))
  parts = [
    describe(stage),
    f'{len(runs(stage))} runs side by side: {runs(stage).seeds} base network(s), '
    f'{runs(stage).draws} draw(s), {len(runs(stage).scales)} factor(s) of the learning rate',
    estimates.parameters(model, stage.sessions.train.image_shape),
  ]
  return estimates.described(*parts, phases=phases(stage))
