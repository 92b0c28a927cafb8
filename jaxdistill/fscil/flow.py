"""What the tasks of this family do with a stage: get base networks, compute features once, and send
each learner through the sessions."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill import draws, files
from jaxdistill.experiment import kept, running
from jaxdistill.fscil import (
  base,
  engine,
  features,
  fitting,
  generative,
  memory,
  methods,
  session,
  weights,
)
from jaxdistill.fscil.base import Bases
from jaxdistill.fscil.learned import Built, Learned
from jaxdistill.fscil.learner import Learner
from jaxdistill.fscil.scoring import Numbers
from jaxdistill.fscil.stage import Stage, base_head, learner_head, memories_of, runs
from jaxdistill.numerics import settled
from jaxdistill.training import hosts, parallel, pretrained, trees
from jaxdistill.training.run import Run


class Seen(NamedTuple):
  """Features of the frozen encoders, float32: of the base images [S, n, d], of the few of every
  draw [S, D, T, way * shot, d], and of the test images [S, m, d]; and the hash of all that decides
  those of the base images."""

  base: np.ndarray
  shots: np.ndarray
  test: np.ndarray
  key: str


def check_source(stage: Stage) -> None:
  """Raises `UserError` where the base networks that are to be taken are not there or do not fit."""
  source, head = stage.fields.base_training.given, base_head(stage.fields)
  images, _ = stage.split
  stage.training.trained(stage.network(head))
  if source:
    weights.read(source, stage.network(head), head, images, stage.fields.base_training.networks)


def check_learner(stage: Stage, name: str, method: Mapping[str, Any]) -> Learner:
  """Returns a learner of this run; raises `UserError` where its fields or the memory do not fit."""
  task = stage.task(learner_head(stage.fields, method))
  learner = methods.make(task, method)
  engine.Engine(learner, task, runs(stage, bool(learner.trained)))
  memory.check_size(memories_of(stage.fields)[name], task, stage.sessions.base)
  return learner


def trained(run: Run, stage: Stage) -> bool:
  """Whether another run has left the base networks that this one would train."""
  directory = pretrained.directory(run, stage.fields.run.experts)
  model = stage.network(base_head(stage.fields))
  images, _ = stage.split
  # The first process alone knows of the folder.
  return hosts.first(
    'kept base networks',
    lambda: base.are_kept(directory, model, images, stage.training, stage.columns, stage.scored),
  )


@settled()
def bases(run: Run, stage: Stage) -> Bases:
  """Returns the base networks of a run: trained, read back, or taken from elsewhere. Of those that
  are taken and trained on, all begin with the first one's encoder."""
  fields, head = stage.fields, base_head(stage.fields)
  asked, model = fields.base_training, stage.network(head)
  images, _ = stage.split
  training, directory = stage.training, pretrained.directory(run, fields.run.experts)
  if asked.given:
    given = weights.read(asked.given, model, head, images, asked.networks)
    if not (asked.epochs or asked.steps):
      return Bases(model, given.variables, given.key, {})
    first = {
      name: jax.tree.map(lambda leaf: leaf[0], {'encoder': tree['encoder']})
      for name, tree in given.variables.items()
    }
    training = dataclasses.replace(training, initial=first)
  elif stage.pretraining and not trained(run, stage):
    first = generative.pretrain(
      run,
      stage.encoder,
      images,
      fields.generative,
      stage.pretraining,
      seed=fields.seed,
      mesh=stage.mesh,
      directory=directory,
    )
    training = dataclasses.replace(training, initial=first)
  networks = base.train(
    run,
    model,
    images,
    training,
    stage.columns,
    scored=stage.scored,
    mesh=stage.mesh,
    directory=directory,
  )
  weights.describe(run, networks, head, images, directory)
  return networks


@settled()
def see(run: Run, stage: Stage, networks: Bases) -> Seen:
  """Returns what the encoders see in all images, computed once and kept beside the networks."""
  parts, seeds = stage.sessions, networks.networks
  dim = stage.task(base_head(stage.fields)).dim
  rows = [np.concatenate(drawn.rows) for drawn in stage.draws]
  taken, place = np.unique(np.concatenate(rows), return_inverse=True)
  sets = {'base': parts.base, 'shots': parts.train.take(taken), 'test': parts.test}

  def compute(images):
    encoded = features.encode(
      networks.model,
      _with_any_head(networks, stage),
      images,
      view=stage.view,
      mesh=stage.mesh,
      progress=run.progress,
    )
    return {'features': encoded}

  directory = pretrained.directory(run, stage.fields.run.experts)
  keys = {name: _features_key(networks.key, images, stage.view) for name, images in sets.items()}
  vectors = {}
  for name, images in sets.items():
    template = jax.ShapeDtypeStruct((seeds, len(images), dim), np.float32)
    content = kept.tree_once(
      run,
      directory,
      keys[name],
      functools.partial(compute, images),
      lambda form=template: {'features': form},
      '.features',
    )
    vectors[name] = content['features']
  shape = (seeds, len(stage.draws), parts.sessions, parts.way * parts.shot, dim)
  shots = vectors['shots'][:, place].reshape(shape)
  return Seen(vectors['base'], shots, vectors['test'], keys['base'])


def _features_key(networks_key, images, view):
  described = dict(
    what='features', networks=networks_key, view=repr(view), mean=images.mean, std=images.std
  )
  return files.content_hash([images.images], described)


def _with_any_head(networks: Bases, stage: Stage) -> Any:
  """The variables with some head where there is none: features do not depend on it."""
  filled = {}
  for name, tree in _blank(stage, networks.model, networks.networks).items():
    given = networks.variables.get(name, {})
    filled[name] = {part: given.get(part) or blank for part, blank in tree.items()}
  return filled


def _blank(stage, model, networks):
  """Variables [S, ...] of the right form that no training has made."""
  form = base.variables_form(model, stage.sessions.train.image_shape, networks)
  return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), form)


@settled()
def with_head(run: Run, stage: Stage, networks: Bases, seen: Seen, head: str) -> Bases:
  """Returns the base networks with a head of this kind: their own, or one that is fitted to their
  features of the base images."""
  fields, model = stage.fields, stage.network(head)
  head_params = networks.variables['params'].get('head')
  if head_params is not None and repr(model.head) == repr(networks.model.head):
    return networks
  fitted = fitting.fit(
    run,
    f'head-{head}',
    seen.key,
    model.head,
    seen.base,
    stage.sessions.base.labels,
    stage.sessions.base_classes,
    fitting.recipe(fields.base_training.fit_epochs, fields.base_training.fit_learning_rate),
    seed=fields.seed,
    mesh=stage.mesh,
    directory=pretrained.directory(run, fields.run.experts),
  )
  variables = {name: {'encoder': tree['encoder']} for name, tree in networks.variables.items()}
  variables['params']['head'] = fitted
  return networks._replace(model=model, variables=variables)


def examples(stage: Stage, seen: Seen, learner: Learner) -> session.Examples:
  """Returns what the runs of a learner read: features, or images."""
  parts = stage.sessions
  shape = (len(stage.draws), parts.sessions, parts.way * parts.shot)
  labels = []
  for drawn in stage.draws:
    labels += [drawn.novel(number).labels for number in range(1, parts.sessions + 1)]
  shot_labels = np.concatenate(labels).reshape(shape)
  replays = learner.replays == 'everything'
  if learner.reads == 'features':
    shots, test, base_rows = seen.shots, seen.test, seen.base
  else:
    rows = np.stack([np.concatenate(drawn.rows) for drawn in stage.draws])
    images = parts.train.images[rows.reshape(-1)]
    shots = np.asarray(images).reshape(1, *shape, *parts.train.image_shape)
    test = np.asarray(parts.test.images)[None]
    base_rows = np.asarray(parts.base.images)[None] if replays else None
  return session.Examples(
    shots,
    shot_labels,
    test,
    parts.test.labels,
    base_rows if replays else None,
    parts.base.labels if replays else None,
  )


def remember(
  run: Run | None, stage: Stage, networks: Bases, seen: Seen, name: str
) -> session.Remember:
  """Returns the memory policy of a learner, by its name in the table."""
  parts, directory = stage.sessions, None
  if run is not None:
    directory = pretrained.directory(run, stage.fields.run.experts)
  shape = (len(stage.draws), parts.sessions, parts.way * parts.shot, *parts.train.image_shape)
  rows = np.stack([np.concatenate(drawn.rows) for drawn in stage.draws])
  pictures = memory.Pictures(
    parts.base,
    np.asarray(parts.train.images[rows.reshape(-1)]).reshape(shape),
    seen.base,
    seen.shots,
    networks.variables,
    directory,
  )
  return memory.make(memories_of(stage.fields)[name], pictures)


@settled()
def course(
  run: Run | None,
  stage: Stage,
  networks: Bases,
  seen: Seen,
  name: str,
  method: Mapping[str, Any],
) -> session.Course:
  """Returns all sessions of a learner, ready to go through.

  Args:
    run: where what is remembered may be kept for others; None: nowhere.
    stage: what the run works on.
    networks: with the head that the learner starts from.
    seen: features.
    name: of the learner in the table, before the names of its phases.
    method: its section of the config.
  """
  task = stage.task(learner_head(stage.fields, method))
  learner = methods.make(task, method)
  return session.Course(
    engine.Engine(learner, task, runs(stage, bool(learner.trained))),
    examples(stage, seen, learner),
    features.leaves(
      seen.base,
      stage.sessions.base.labels,
      stage.columns,
      networks.variables,
      whole=learner.reads == 'images',
    ),
    jax.random.key_data(draws.key(stage.fields.seed)),
    remember(run, stage, networks, seen, name),
    f'{name}/',
  )


@settled()
def learn(
  run: Run, stage: Stage, networks: Bases, seen: Seen, name: str, method: Mapping[str, Any]
) -> tuple[Numbers, Learned | None]:
  """Sends a learner through all sessions, or reads back what an earlier start has come to.

  Returns:
    Its numbers, and the classifier that the first run has become (None in all processes but the
    first).
  """
  path = f'classifiers/{name}.msgpack'

  def compute():
    head = learner_head(stage.fields, method)
    headed = with_head(run, stage, networks, seen, head)
    course_of_it = course(run, stage, headed, seen, name, method)
    outcome = session.run_sessions(run, course_of_it)
    learned = _learned(stage, headed, course_of_it, outcome, head, method)
    run.write_bytes(path, learned.to_bytes())
    sessions = range(1, stage.sessions.sessions + 1)
    phases = [f'{name}/session-{number}' for number in sessions]
    if isinstance(course_of_it.remember, memory.Images):
      # Of the first run, as the classifier.
      run.write_bytes(album_path(name), trees.encode({'images': course_of_it.remember.album()[0]}))
      phases += course_of_it.remember.phases(course_of_it)
    return Numbers.of_outcome(outcome, stage.sessions.sizes), learned, phases

  there = lambda workdir: Learned.load(workdir / path)
  return running.once(run, name, compute, Numbers.from_json, there, folder='learners')


def album_path(name: str) -> str:
  """Returns where in a work dir the images lie that a learner remembers, in its first run."""
  return f'memories/{name}.msgpack'


def album(run: Run, name: str) -> np.ndarray | None:
  """Returns the images that a learner remembers, uint8 [C, ipc, h, w, c], in its first run; None
  where it remembers none, or in memory."""
  path = run.workdir and run.workdir / album_path(name)
  return trees.plain(path.read_bytes())['images'] if path and path.is_file() else None


def _learned(stage, networks, course, outcome, head, method):
  """The classifier that the first run has become."""
  parts, fields = stage.sessions, stage.fields
  plain = dataclasses.asdict(dataclasses.replace(course.engine.task, network=None, view=None))
  del plain['network'], plain['view']
  built = Built(
    dict(method),
    {**fields.model, 'dtype': fields.dtype},
    head,
    fields.base_training.head_width,
    fields.base_training.zoom,
    plain,
    parts.order,
    parts.test.class_names,
  )
  variables = jax.tree.map(lambda leaf: np.asarray(leaf)[0], networks.variables)
  return Learned(built, variables, parallel.on_host(outcome.standing.parts, 0))


def stand_in(stage: Stage) -> tuple[Bases, Seen]:
  """Returns base networks and features of the right form, without any training, for estimates."""
  asked, parts, head = stage.fields.base_training, stage.sessions, base_head(stage.fields)
  model = stage.network(head)
  networks = Bases(model, _blank(stage, model, asked.networks), '', {})
  dim = stage.task(head).dim
  shape = (len(stage.draws), parts.sessions, parts.way * parts.shot)
  blank = lambda *sizes: np.ones((asked.networks, *sizes, dim), np.float32)
  return networks, Seen(blank(len(parts.base)), blank(*shape), blank(len(parts.test)), '')


def stand_in_head(stage: Stage, networks: Bases, method: Mapping[str, Any]) -> Bases:
  """Returns such networks with the head that a learner starts from."""
  model = stage.network(learner_head(stage.fields, method))
  variables = _blank(stage, model, stage.fields.base_training.networks)
  return networks._replace(model=model, variables=variables)
