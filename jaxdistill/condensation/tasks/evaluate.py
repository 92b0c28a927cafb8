"""Condensed sets side by side: sets of ours or a user's, scored under one recipe beside baselines,
on one network or several."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdistill import draws, files, models
from jaxdistill.condensation import (
  checks,
  embedding,
  evaluation,
  methods,
  page,
  ranking,
  scoring,
  sections,
)
from jaxdistill.condensation.baselines import Storage
from jaxdistill.condensation.protocols import Protocol
from jaxdistill.condensation.scoring import Contestant
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError
from jaxdistill.experiment import datasets, estimates, results
from jaxdistill.experiment.estimates import Phase
from jaxdistill.experiment.results import Row
from jaxdistill.files import expanded
from jaxdistill.models import architectures
from jaxdistill.numerics import settled
from jaxdistill.report import pictures
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.synthesis.fit import check_fit
from jaxdistill.training import parallel, pretrained, provenance
from jaxdistill.training.run import Run


class Entry(NamedTuple):
  """A condensed set that is to be scored; `name` for files, `label` for people."""

  name: str
  label: str
  path: str
  condensed: Condensed


class Job(NamedTuple):
  """A training: a set on the network `network`, with or without augmentation, and the phase of the
  run."""

  contestant: Contestant
  network: str
  augment: bool
  phase: str


@settled()
def check(config: ConfigDict) -> None:
  """Raises `UserError` for what would fail later: fields, values, the data set, then every set,
  network and size."""
  checks.check_fields(config)
  checks.check_values(config)
  fields = sections.of_config(config)
  parallel.make_mesh(fields.run.devices)
  train, _, test = datasets.load(fields.data)
  entries = load(fields.sets)
  for entry in entries:
    check_fit(entry.condensed, test, entry.path)
  for model in networks(fields.evaluation, entries).values():
    evaluation.network(model, test, fields.dtype)
  names = fields.evaluation.baselines
  checks.check_sizes(
    # Nothing starts from real images here but the baselines.
    dataclasses.replace(storage(fields.baseline, entries), init='noise'),
    names,
    train,
    held_out=bool(fields.data.validation_share),
    section='baseline',
  )
  if fields.evaluation.recipe == 'ddranking' and not {'random', 'whole'} <= set(names):
    raise UserError(
      'The recipe ddranking compares with random images and with the whole set: put random and '
      'whole into evaluation.baselines.'
    )
  if not entries and not names:
    raise UserError(
      'There is nothing to score: name condensed sets with set=PATH, or baselines in '
      'evaluation.baselines.'
    )


@settled()
def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Scores the sets of a config in a work dir, or continues; returns what result.json holds."""
  fields = sections.of_config(config)
  train, validation, test = datasets.load(fields.data, run)
  mesh = parallel.make_mesh(fields.run.devices)
  entries = load(fields.sets)
  _check_unchanged(entries, run)
  for text in (train.describe(), test.describe(), *(_describe(entry) for entry in entries)):
    run.say(text)
  chosen = networks(fields.evaluation, entries)
  estimates.estimate_once(
    run,
    lambda: estimates.measure(_phases(fields, entries, chosen, train, test, mesh)),
    'every training',
  )

  def features():
    model = evaluation.network(next(iter(chosen.values())), test, fields.dtype)
    directory = pretrained.directory(run, fields.run.experts)
    return embedding.embed(
      fields.selection, train, model, run, seed=fields.seed, mesh=mesh, directory=directory
    )

  stored = storage(fields.baseline, entries)
  select = scoring.selector(stored, fields.evaluation, fields.seed, train, run, features)
  jobs = list(plan(fields.evaluation, entries, train, stored, tuple(chosen), select))
  rows = [
    scoring.row(
      run,
      job.contestant,
      _protocol(fields, job, chosen),
      test,
      validation,
      mesh=mesh,
      rows=fields.run.rows,
      phase=job.phase,
    )
    for job in jobs
  ]
  if run.workdir and entries:
    run.write_bytes('condensed.png', pictures.png_bytes(entries[0].condensed.picture()))
  scored = list(zip(jobs, rows, strict=True))
  result = summary(fields, run, train, entries, stored, chosen, scored, config.to_dict())
  content = result.to_json()
  run.write_json('result.json', content)
  sets = [(entry.label, entry.condensed) for entry in entries]
  run.write_bytes('report.html', files.encoded(page.scoreboard(result, run, sets, train)))
  return content


@settled()
def dry_run(config: ConfigDict) -> str:
  """Returns the sets, the size of every network and the estimate of time and memory, without
  starting anything."""
  fields = sections.of_config(config)
  train, _, test = datasets.load(fields.data)
  mesh = parallel.make_mesh(fields.run.devices)
  entries = load(fields.sets)
  chosen = networks(fields.evaluation, entries)
  sizes = []
  for name, model in chosen.items():
    built = evaluation.network(model, test)
    variables = jax.eval_shape(
      built.init, draws.key(0), np.zeros((1, *test.image_shape), np.float32)
    )
    sizes.append(f'{name}: {models.count(variables):,} parameters{_epochs(fields, entries, model)}')
  expected = estimates.measure(_phases(fields, entries, chosen, train, test, mesh))
  return '\n\n'.join(
    [
      '\n'.join([train.describe(), test.describe(), *map(_describe, entries)]),
      '\n'.join(sizes),
      estimates.estimate_text(expected),
    ]
  )


def _epochs(
  fields: sections.EvaluateConfig, entries: Sequence[Entry], model: Mapping[str, Any]
) -> str:
  """Returns how long a network trains on the first set, where the recipe has a rule for that."""
  section = fields.evaluation
  if not entries or section.epochs or section.steps:
    return ''
  epochs = evaluation.epochs_of(
    entries[0].condensed, section.recipe, data=fields.data.name, network=model['name']
  )
  return f', {epochs:,} epochs (a rule of the recipe {section.recipe})' if epochs else ''


def load(paths: Sequence[str]) -> list[Entry]:
  """Reads condensed sets. A label says the method where it is known, and the path
  where that is not enough."""
  sets = [(path, Condensed.load(expanded(path))) for path in paths]
  labels = [
    methods.LABELS.get(condensed.method) or condensed.method or pathlib.PurePath(path).stem
    for path, condensed in sets
  ]
  entries = []
  for (path, condensed), label in zip(sets, labels, strict=True):
    full = label if labels.count(label) == 1 else f'{label} ({path})'
    entries.append(Entry(f'set{len(entries) + 1}', full, path, condensed))
  return entries


def networks(
  section: sections.EvaluationOnSeveral, entries: Sequence[Entry]
) -> dict[str, dict[str, Any]]:
  """Returns what `models.build` takes for every network, by name: those that are listed, or the
  first set's own."""
  width = section.width
  if section.architectures:
    return evaluation.networks(section.architectures, width)
  model = dict(
    entries[0].condensed.config.get('model', models.DEFAULT) if entries else models.DEFAULT
  )
  if width:
    model = models.of_width(model, width)
  return {name_of(model): model}


def name_of(model: Mapping[str, Any]) -> str:
  """Returns the name of a network: that of an architecture, or the network's with what differs from
  its defaults.

  >>> name_of({'name': 'convnet', 'width': 128}), name_of({'name': 'convnet', 'width': 16})
  ('ConvNet-3', 'convnet,width=16')
  """
  usual = models.defaults(model['name'])
  full = {**usual, **model}
  for name, known in architectures.ARCHITECTURES.items():
    if full == {**usual, **known}:
      return name
  differing = [
    f'{field}={value}'
    for field, value in full.items()
    if field != 'name' and value != usual.get(field)
  ]
  return ','.join([model['name'], *differing])


def storage(baseline: sections.Baseline, entries: Sequence[Entry]) -> Storage:
  """Returns what the baselines store: their own numbers, or those of the first set."""
  ipc, factor = (entries[0].condensed.ipc, entries[0].condensed.factor) if entries else (1, 1)
  return Storage(baseline.ipc or ipc, baseline.factor or factor)


def plan(
  section: sections.EvaluationOnSeveral,
  entries: Sequence[Entry],
  train: Dataset,
  stored: Storage,
  chosen: Sequence[str],
  select: Callable[[str], np.ndarray],
) -> Iterator[Job]:
  """Yields what is trained: every set on the first network, then on the others; then without
  augmentation where that is asked.

  Args:
    section: `evaluation` of the config.
    entries: the condensed sets.
    train: the real images.
    stored: what the baselines store.
    chosen: names of the networks.
    select: from a baseline to the positions of the real images that it takes.
  """
  sets = [Contestant(entry.name, entry.label, entry.condensed) for entry in entries]
  sets += scoring.baseline_sets(section.baselines, train, stored, section.recipe, select)
  for contestant in sets:
    yield Job(contestant, chosen[0], True, f'evaluate-{contestant.name}')
  for network in chosen[1:]:
    for contestant in sets:
      yield Job(contestant, network, True, f'evaluate-{contestant.name}-{network}')
  if section.robustness:
    for contestant in sets:
      if contestant.name != 'whole':
        yield Job(contestant, chosen[0], False, f'evaluate-{contestant.name}-plain')


def _protocol(
  fields: sections.EvaluateConfig, job: Job, chosen: Mapping[str, Mapping[str, Any]]
) -> Protocol:
  return scoring.protocol(
    fields.evaluation,
    job.contestant.images,
    seed=fields.seed,
    model=chosen[job.network],
    dtype=fields.dtype,
    augment=job.augment,
    data=fields.data.name,
  )


def phases(config: ConfigDict, mesh: Mesh | None) -> Iterator[Phase]:
  """Yields every training of a run of this config on the devices of a mesh; nothing of it enters a
  run."""
  fields = sections.of_config(config)
  train, _, test = datasets.load(fields.data)
  entries = load(fields.sets)
  chosen = networks(fields.evaluation, entries)
  yield from _phases(fields, entries, chosen, train, test, mesh)


def _phases(
  fields: sections.EvaluateConfig,
  entries: Sequence[Entry],
  chosen: Mapping[str, dict],
  train: Dataset,
  test: Dataset,
  mesh: Mesh | None,
) -> Iterator[Phase]:
  section = fields.evaluation
  model = evaluation.network(next(iter(chosen.values())), test, fields.dtype)
  wanted = fields.selection.wants(section.baselines)
  first = pretrained.setup(model, train, wanted, seed=fields.seed, mesh=mesh)
  if first:
    yield Phase('experts', first, fields.dtype)
  stored = storage(fields.baseline, entries)
  with scoring.stand_in(stored, section, fields.seed, train) as select:
    jobs = list(plan(section, entries, train, stored, tuple(chosen), select))
  for job in jobs:
    protocol = _protocol(fields, job, chosen)
    yield scoring.phase(job.phase, job.contestant.images, test, protocol, mesh)


def summary(
  fields: sections.EvaluateConfig,
  run: Run,
  train: Dataset,
  entries: Sequence[Entry],
  stored: Storage,
  chosen: Mapping[str, dict],
  rows: Sequence[tuple[Job, Row]],
  config: Mapping[str, Any],
) -> results.Result:
  """Returns the content of result.json; `config` is what the file keeps of the config."""
  section, first = fields.evaluation, next(iter(chosen))
  names = ', '.join(entry.label for entry in entries) or 'Baselines'
  table = [row for job, row in rows if job.network == first and job.augment]
  plain = [row.to_json() for job, row in rows if not job.augment]
  extras = {'rows_without_augmentation': plain} if plain else {}
  if len(chosen) > 1:
    extras['across'] = [_across(row, rows) for row in table]
  if section.recipe == 'ddranking':
    extras['scores'] = ranking.scores([row.to_json() for row in table], plain)
  return results.of_run(
    run,
    title=f'{names} on {train.name}, recipe {section.recipe}',
    family=fields.family,
    task=fields.task,
    dataset=train.name,
    seed=fields.seed,
    rows=table,
    seconds={'evaluate': sum(row.seconds for _, row in rows)},
    # Results of this task have the baselines' size under `condensation`, too.
    config={**config, 'condensation': dataclasses.asdict(stored)},
    ipc=stored.ipc,
    factor=stored.factor,
    recipe=section.recipe,
    sets=list(map(_identity, entries)),
    networks=dict(chosen),
    network=first,
    **extras,
  )


def _across(row: Row, rows: Sequence[tuple[Job, Row]]) -> dict[str, Any]:
  """Returns the scores of a set on all networks, with their average over the transfer."""
  same = {
    job.network: scored for job, scored in rows if job.contestant.name == row.name and job.augment
  }
  return {
    'name': row.name,
    'label': row.label,
    'reference': row.reference,
    **evaluation.across({network: scored.to_json() for network, scored in same.items()}),
  }


def _identity(entry: Entry) -> dict[str, Any]:
  """Returns which set it is, for result.json."""
  return {
    'name': entry.name,
    'label': entry.label,
    'path': entry.path,
    'sha256': _digest(entry.path),
    'images': len(entry.condensed.images),
    'factor': entry.condensed.factor,
    'method': entry.condensed.method,
    'dataset': entry.condensed.dataset,
  }


def _describe(entry: Entry) -> str:
  condensed = entry.condensed
  height, width, channels = condensed.images.shape[1:]
  stored = (
    f'{len(condensed.images):,} stored images of {height}x{width}x{channels}, factor '
    f'{condensed.factor}, {condensed.num_classes} classes'
  )
  return f'{entry.path} ({entry.label}): {stored}'


def _check_unchanged(entries: list[Entry], run: Run) -> None:
  """Raises `UserError` where a set is not the one that earlier rows of this work dir scored; a file
  may be written anew with the same content."""
  current = {entry.path: _digest(entry.path) for entry in entries}
  known = run.once('sets', lambda: current)
  changed = [path for path, digest in current.items() if known[path] != digest]
  begun = provenance.knows(run, 'sets')
  if changed and not begun:
    # Of an earlier version, which kept of a set the bytes of its file alone.
    raise UserError(provenance.refusal(run.place, {'sets': [f'{changed[0]} has changed since']}))
  provenance.settle(
    run, {'sets': {entry.path: evaluation.fact(entry.condensed) for entry in entries}}
  )


def _digest(path: str) -> str:
  return hashlib.sha256(expanded(path).read_bytes()).hexdigest()
