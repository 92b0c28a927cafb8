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
from jaxdistill.models import architectures
from jaxdistill.report import pictures
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.training import parallel
from jaxdistill.training.run import Run, environment, peak_memory_bytes


class Entry(NamedTuple):
  """A condensed set that is to be scored; `name` for files, `label` for people."""

  name: str
  label: str
  path: str
  made: Condensed


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
    evaluation.check_fit(entry.made, test, entry.path)
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
  scoring.estimate_once(
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
    run.write_bytes('condensed.png', pictures.png_bytes(entries[0].made.picture()))
  result = summary(config, run, train, entries, chosen, list(zip(jobs, rows, strict=True)))
  run.write_json('result.json', result)
  run.write_bytes(
    'report.html',
    page.scoreboard(result, run, [(entry.label, entry.made) for entry in entries], train).encode(),
  )
  return result


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
  estimates = estimate(config, entries, chosen, train, test, mesh)
  return '\n\n'.join(
    [
      '\n'.join([train.describe(), test.describe(), *map(_describe, entries)]),
      '\n'.join(sizes),
      scoring.estimate_text(estimates),
    ]
  )


def load(config: ConfigDict) -> list[Entry]:
  """Reads the condensed sets of a config. A label says the method where it is known, and the path
  where that is not enough."""
  sets = [(path, Condensed.load(pathlib.Path(path).expanduser())) for path in config.sets]
  labels = [
    methods.LABELS.get(made.method) or made.method or pathlib.PurePath(path).stem
    for path, made in sets
  ]
  return [
    Entry(f'set{number}', label if labels.count(label) == 1 else f'{label} ({path})', path, made)
    for number, ((path, made), label) in enumerate(zip(sets, labels, strict=True), 1)
  ]


def networks(config: ConfigDict, entries: list[Entry]) -> dict[str, dict[str, Any]]:
  """Returns what `models.build` takes for every network, by name: those that the config lists, or
  the first set's own."""
  listed, width = config.evaluation.architectures, config.evaluation.width
  if listed:
    return evaluation.networks(listed, width)
  own = dict(entries[0].made.config.get('model', models.DEFAULT) if entries else models.DEFAULT)
  if width and 'width' in models.defaults(own['name']):
    own['width'] = width
  return {name_of(own): own}


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
  ipc, factor = (entries[0].made.ipc, entries[0].made.factor) if entries else (1, 1)
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
  sets = [(entry.name, entry.label, entry.made) for entry in entries] + list(
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
  estimates = {}
  if first := embedding.preparation(
    config, train, mesh, evaluation.network(next(iter(chosen.values())), test, config.dtype)
  ):
    estimates['experts'] = scoring.measure(config, first)
  with scoring.stand_in(config, train) as select:
    jobs = list(plan(config, entries, train, tuple(chosen), select))
  for job in jobs:
    estimates[job.phase] = scoring.estimate(
      config, job.images, test, mesh, model=chosen[job.network], augment=job.augment
    )
  return {name: dataclasses.asdict(value) for name, value in estimates.items()}


def summary(
  config: ConfigDict,
  run: Run,
  train: Dataset,
  entries: list[Entry],
  chosen: Mapping[str, dict],
  rows: list[tuple[Job, dict[str, Any]]],
) -> dict[str, Any]:
  """Returns the content of result.json."""
  recipe, first = config.evaluation.recipe, next(iter(chosen))
  table = [row for job, row in rows if job.network == first and job.augment]
  plain = [row for job, row in rows if not job.augment]
  result = {
    'title': f'{", ".join(entry.label for entry in entries) or "Baselines"} on {train.name}, '
    f'recipe {recipe}',
    'family': config.family,
    'task': config.task,
    'dataset': train.name,
    'ipc': config.condensation.ipc,
    'factor': config.condensation.factor,
    'seed': config.seed,
    'recipe': recipe,
    'sets': [
      {
        'name': entry.name,
        'label': entry.label,
        'path': entry.path,
        'sha256': _digest(entry.path),
        'images': len(entry.made.images),
        'factor': entry.made.factor,
        'method': entry.made.method,
        'dataset': entry.made.dataset,
      }
      for entry in entries
    ],
    'networks': dict(chosen),
    'network': first,
    'rows': table,
  }
  if plain:
    result['rows_without_augmentation'] = plain
  if len(chosen) > 1:
    result['across'] = [
      {
        'name': each['name'],
        'label': each['label'],
        'reference': each['reference'],
        **evaluation.across(
          {job.network: row for job, row in rows if job.name == each['name'] and job.augment}
        ),
      }
      for each in table
    ]
  if recipe == 'ddranking':
    result['scores'] = ranking.scores(table, plain)
  peak = peak_memory_bytes()
  return {
    **result,
    'seconds': {
      'evaluate': sum(row['seconds'] for _, row in rows),
      'total': run.seconds,
      'first_step': scoring.first_step(run),
    },
    'peak_memory_bytes': peak.bytes,
    'peak_memory_of': peak.of,
    **environment(),
    'config': config.to_dict(),
  }


def _describe(entry: Entry) -> str:
  made = entry.made
  height, width, channels = made.images.shape[1:]
  stored = (
    f'{len(made.images):,} stored images of {height}x{width}x{channels}, factor '
    f'{made.factor}, {made.num_classes} classes'
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
