"""Condensed sets side by side: sets of ours or a user's, scored under one recipe beside baselines,
on one network or several."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxdistill import models
from jaxdistill.condensation import embedding, evaluation, methods, page, ranking, scoring, settings
from jaxdistill.data import Dataset
from jaxdistill.errors import UserError
from jaxdistill.experiment import estimates, results
from jaxdistill.experiment.results import Row
from jaxdistill.models import architectures
from jaxdistill.report import pictures
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import parallel
from jaxdistill.training.run import Run


class Entry(NamedTuple):
  """A condensed set that is to be scored; `name` for files, `label` for people."""

  name: str
  label: str
  path: str
  condensed: Condensed


class Job(NamedTuple):
  """A training: the set `name` on the network `network`, with or without augmentation, and the
  phase of the run."""

  name: str
  label: str
  images: Condensed | Dataset
  network: str
  augment: bool
  phase: str


def check(config: ConfigDict) -> None:
  """Raises `UserError` for what would fail later: fields, values, the data set, then every set,
  network and size."""
  settings.check_fields(config)
  settings.check_values(config)
  parallel.make_mesh(config.run.devices)
  train, _, test = settings.datasets(config)
  entries = load(config)
  for entry in entries:
    evaluation.check_fit(entry.condensed, test, entry.path)
  for model in networks(config, entries).values():
    evaluation.network(model, test, config.dtype)
  settings.check_sizes(resolved(config, entries), train)
  if config.evaluation.recipe == 'ddranking' and not {'random', 'whole'} <= set(
    config.evaluation.baselines
  ):
    raise UserError(
      'The recipe ddranking compares with random images and with the whole set: put random '
      'and whole into '
      'evaluation.baselines.'
    )
  if not entries and not config.evaluation.baselines:
    raise UserError(
      'There is nothing to score: name condensed sets with set=PATH, or baselines in '
      'evaluation.baselines.'
    )


def run(config: ConfigDict, run: Run) -> dict[str, Any]:
  """Scores the sets of a config in a work dir, or continues; returns what result.json holds."""
  train, validation, test = settings.datasets(config)
  mesh = parallel.make_mesh(config.run.devices)
  entries = load(config)
  _check_unchanged(entries, run)
  for text in (train.describe(), test.describe(), *(_describe(entry) for entry in entries)):
    run.say(text)
  config = resolved(config, entries)
  chosen = networks(config, entries)
  estimates.estimate_once(
    run, lambda: estimate(config, entries, chosen, train, test, mesh), 'training'
  )
  model = evaluation.network(next(iter(chosen.values())), test, config.dtype)
  select = scoring.selector(
    config, train, run, lambda: embedding.of_config(config, train, run, mesh, model)
  )
  jobs = list(plan(config, entries, train, tuple(chosen), select))
  rows = [
    scoring.row(
      config,
      run,
      mesh,
      job.name,
      job.label,
      job.images,
      test,
      validation,
      model=chosen[job.network],
      phase=job.phase,
      augment=job.augment,
    )
    for job in jobs
  ]
  if run.workdir and entries:
    run.write_bytes('condensed.png', pictures.png_bytes(entries[0].condensed.picture()))
  result = summary(config, run, train, entries, chosen, list(zip(jobs, rows, strict=True)))
  content = result.to_json()
  run.write_json('result.json', content)
  sets = [(entry.label, entry.condensed) for entry in entries]
  run.write_bytes('report.html', page.scoreboard(result, run, sets, train).encode())
  return content


def dry_run(config: ConfigDict) -> str:
  """Returns the sets, the size of every network and the estimate of time and memory, without
  starting anything."""
  train, _, test = settings.datasets(config)
  mesh = parallel.make_mesh(config.run.devices)
  entries = load(config)
  config = resolved(config, entries)
  chosen = networks(config, entries)
  sizes = []
  for name, model in chosen.items():
    built = evaluation.network(model, test)
    variables = jax.eval_shape(
      built.init, jax.random.key(0), np.zeros((1, *test.image_shape), np.float32)
    )
    sizes.append(f'{name}: {models.count(variables):,} parameters')
  expected = estimate(config, entries, chosen, train, test, mesh)
  return '\n\n'.join(
    [
      '\n'.join([train.describe(), test.describe(), *map(_describe, entries)]),
      '\n'.join(sizes),
      estimates.estimate_text(expected),
    ]
  )


def load(config: ConfigDict) -> list[Entry]:
  """Reads the condensed sets of a config. A label says the method where it is known, and the path
  where that is not enough."""
  sets = [(path, Condensed.load(pathlib.Path(path).expanduser())) for path in config.sets]
  labels = [
    methods.LABELS.get(condensed.method) or condensed.method or pathlib.PurePath(path).stem
    for path, condensed in sets
  ]
  return [
    Entry(
      f'set{number}', label if labels.count(label) == 1 else f'{label} ({path})', path, condensed
    )
    for number, ((path, condensed), label) in enumerate(zip(sets, labels, strict=True), 1)
  ]


def networks(config: ConfigDict, entries: list[Entry]) -> dict[str, dict[str, Any]]:
  """Returns what `models.build` takes for every network, by name: those that the config lists, or
  the first set's own."""
  listed, width = config.evaluation.architectures, config.evaluation.width
  if listed:
    return evaluation.networks(listed, width)
  model = dict(
    entries[0].condensed.config.get('model', models.DEFAULT) if entries else models.DEFAULT
  )
  if width and 'width' in models.defaults(model['name']):
    model['width'] = width
  return {name_of(model): model}


def name_of(model: Mapping[str, Any]) -> str:
  """Returns the name of a network: that of an architecture, or the network's with what differs from
  its defaults.

  >>> name_of({'name': 'convnet', 'width': 128}), name_of({'name': 'convnet', 'width': 16})
  ('ConvNet-3', 'convnet,width=16')
  """
  usual = models.defaults(model['name'])
  full = usual | {field: value for field, value in model.items() if field != 'name'}
  for name, known in architectures.ARCHITECTURES.items():
    if known['name'] == model['name'] and full == usual | {
      field: value for field, value in known.items() if field != 'name'
    }:
      return name
  return ','.join(
    [
      model['name'],
      *(f'{field}={value}' for field, value in full.items() if value != usual.get(field)),
    ]
  )


def resolved(config: ConfigDict, entries: list[Entry]) -> ConfigDict:
  """Returns the config with the section `condensation` that the baselines need: their own numbers,
  or those of the first set."""
  config = ConfigDict(config.to_dict())
  ipc, factor = (entries[0].condensed.ipc, entries[0].condensed.factor) if entries else (1, 1)
  config.condensation = dict(
    ipc=config.baseline.ipc or ipc, factor=config.baseline.factor or factor, init='real'
  )
  return config


def plan(
  config: ConfigDict,
  entries: list[Entry],
  train: Dataset,
  chosen: tuple[str, ...],
  select: Callable[[str], np.ndarray],
) -> Iterator[Job]:
  """Yields what is trained: every set on the first network, then on the others; then without
  augmentation where that is asked.

  `select` gives the positions of the real images that a baseline takes.
  """
  sets = [(entry.name, entry.label, entry.condensed) for entry in entries] + list(
    scoring.baseline_sets(config, train, select)
  )
  for network in chosen:
    for name, label, images in sets:
      yield Job(
        name,
        label,
        images,
        network,
        True,
        f'evaluate-{name}' if network == chosen[0] else f'evaluate-{name}-{network}',
      )
  if config.evaluation.robustness:
    for name, label, images in sets:
      if name != 'whole':
        yield Job(name, label, images, chosen[0], False, f'evaluate-{name}-plain')


def estimate(
  config: ConfigDict,
  entries: list[Entry],
  chosen: Mapping[str, dict],
  train: Dataset,
  test: Dataset,
  mesh,
) -> dict[str, Any]:
  """Measures a few steps of every training and extrapolates; nothing of it enters the run."""
  expected = {}
  if first := embedding.preparation(
    config, train, mesh, evaluation.network(next(iter(chosen.values())), test, config.dtype)
  ):
    expected['experts'] = estimates.measure(first, config.dtype)
  with scoring.stand_in(config, train) as select:
    jobs = list(plan(config, entries, train, tuple(chosen), select))
  for job in jobs:
    expected[job.phase] = scoring.estimate(
      config, job.images, test, mesh, model=chosen[job.network], augment=job.augment
    )
  return {name: dataclasses.asdict(value) for name, value in expected.items()}


def summary(
  config: ConfigDict,
  run: Run,
  train: Dataset,
  entries: list[Entry],
  chosen: Mapping[str, dict],
  rows: list[tuple[Job, Row]],
) -> results.Result:
  """Returns the content of result.json."""
  section, first = config.evaluation, next(iter(chosen))
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
    family=config.family,
    task=config.task,
    dataset=train.name,
    seed=config.seed,
    rows=table,
    seconds={'evaluate': sum(row.seconds for _, row in rows)},
    config=config.to_dict(),
    ipc=config.condensation.ipc,
    factor=config.condensation.factor,
    recipe=section.recipe,
    sets=list(map(_identity, entries)),
    networks=dict(chosen),
    network=first,
    **extras,
  )


def _across(row: Row, rows: list[tuple[Job, Row]]) -> dict[str, Any]:
  """Returns the scores of a set on all networks, with their average over the transfer."""
  same = {job.network: scored for job, scored in rows if job.name == row.name and job.augment}
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
  """Raises `UserError` where a file is not the one that earlier rows of this work dir scored."""
  current = {entry.path: _digest(entry.path) for entry in entries}
  known = run.once('sets', lambda: current)
  changed = [path for path, digest in current.items() if known[path] != digest]
  if changed:
    raise UserError(
      f'{changed[0]} has changed since this work dir was begun; use another work dir to score '
      'the new one.'
    )


def _digest(path: str) -> str:
  return hashlib.sha256(pathlib.Path(path).expanduser().read_bytes()).hexdigest()
