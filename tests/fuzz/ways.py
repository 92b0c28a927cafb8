"""The ways in: each damages one of its files, reads it as the library does, and compares.

What a way may do with a damaged input is to read it right or to raise `UserError`. Right is

- for what carries checksums (npz and condensed sets, checkpoints, kept results, PNG, the pictures
  of exported sets): what the sound file holds, or, of a checkpoint or a result, an older one or a
  new one and a line that tells so;
- for pictures without checksums (JPEG, GIF, WebP, BMP, TIFF, PPM): a picture of the set's shape;
  cut off at its end alone, that of the sound file;
- for text without checksums (the lines of metrics.jsonl, descriptions in JSON): values of the kind
  that stands there, as no reader can know that a 3 was a 4.

All else that is read beside the damaged file must be as it was, always.
"""

import contextlib
import dataclasses
import io
import json
import pathlib
import shutil
import sys

import numpy as np
import seeds
from damage import damage

from jaxdistill import data
from jaxdistill.condensation import Condensed
from jaxdistill.errors import UserError


class WrongRead(AssertionError):
  """Something else was read than the file held, without a word."""


def check(right, what):
  if not right:
    raise WrongRead(what)


def same(one, other):
  """Whether two data sets are equal in every field, or both absent."""
  if one is None or other is None:
    return one is other
  return (
    np.array_equal(np.asarray(one.images), np.asarray(other.images))
    and np.array_equal(one.labels, other.labels)
    and (one.class_names, one.mean, one.std, one.flip)
    == (other.class_names, other.mean, other.std, other.flip)
  )


def fields(condensed):
  """A condensed set as values that compare."""
  return (
    condensed.images.tobytes(),
    condensed.images.shape,
    condensed.labels.tobytes(),
    condensed.labels.dtype,
    json.dumps(condensed.description(), sort_keys=True),
  )


class Way:
  """A way in: `files` are its sound files by path, `text` says that all of them are JSON."""

  text = False
  LONG_NAME = 'x' * 255  # the longest that a file may have; a sentence has to tell it

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    folder.mkdir(parents=True)
    self.files: dict[str, bytes] = {}
    self.prepare()

  def prepare(self):
    """Makes the sound files and what comes of them."""

  def keep(self, root):
    """Takes all files in a folder as sound ones."""
    self.files = {
      path.relative_to(self.folder).as_posix(): path.read_bytes()
      for path in sorted(root.rglob('*'))
      if path.is_file()
    }

  def restore(self):
    """Makes the folder what it was."""
    shutil.rmtree(self.folder)
    for name, content in self.files.items():
      path = self.folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)

  def choose(self, rng):
    """The name of the file that is damaged."""
    return rng.choice(sorted(self.files))

  def __call__(self, rng):
    """Damages a file, reads it and compares; returns what happened to which file, and 'right' or
    another word."""
    name = self.choose(rng)
    damaged = damage(self.files[name], rng, list(self.files.values()), self.is_text(name))
    self.what = f'{name} ({", ".join(damaged.kinds)})'
    path = self.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(damaged.content)
    try:
      return self.read(name, damaged, rng)
    finally:
      self.mend(name)

  def is_text(self, name):
    return self.text or name.endswith(('.json', '.jsonl'))

  def mend(self, name):
    (self.folder / name).write_bytes(self.files[name])

  def read(self, name, damaged, rng):
    raise NotImplementedError


class Archives(Way):
  """npz files of images."""

  def prepare(self):
    self.files = seeds.archives()
    self.restore()
    self.sound = {name: self.load(name) for name in self.files}

  def load(self, name):
    return data.load_splits(f'npz:{self.folder / name}', tell=lambda line: None)

  def read(self, name, damaged, rng):
    read = self.load(name)
    check(any(all(map(same, read, one)) for one in damaged.of(self.sound, name)), 'another set')
    return 'right'


class Sets(Way):
  """Condensed sets, ours and plain ones."""

  def prepare(self):
    ours = {'ours.npz': seeds.condensed(), 'ours-soft.npz': seeds.condensed(soft=True)}
    self.files = {name: made.to_bytes() for name, made in ours.items()} | seeds.plain_sets()
    self.restore()
    self.sound = {name: fields(Condensed.load(self.folder / name)) for name in self.files}

  def read(self, name, damaged, rng):
    read = fields(Condensed.load(self.folder / name))
    check(read in damaged.of(self.sound, name), 'another set')
    return 'right'


class Scored(Sets):
  """The same sets by the check of a config that scores them."""

  def read(self, name, damaged, rng):
    from jaxdistill import config as configs
    from jaxdistill.commands import families

    config = configs.load('evaluate', {'set': str(self.folder / name), 'data': 'digits'})
    try:
      families.find_flow(config).check(config)
    except UserError as error:
      # Digits are grey and the sets in colour: what is read right is refused for that alone.
      if 'channels' not in str(error) and '8x8' not in str(error):
        raise
    return 'right'


class Pictures(Way):
  """Folders of pictures; one of each kind is damaged in turn, among sound ones."""

  options = {}

  def prepare(self):
    self.kinds = seeds.pictures()
    for split in ('train', 'test'):
      for label, name in enumerate(seeds.CLASSES):
        folder = self.folder / split / name
        folder.mkdir(parents=True)
        (folder / 'b.png').write_bytes(self.kinds['plain.png'])
        (folder / 'c.jpg').write_bytes(self.kinds['steps.jpg' if label else 'plain.jpg'])
    self.files = dict(self.kinds)
    self.sound = {name: self.load(name, content) for name, content in self.kinds.items()}

  def load(self, name, content):
    path = self.folder / 'train' / 'bee' / f'a{pathlib.Path(name).suffix}'
    path.write_bytes(content)
    try:
      train, test = data.load(
        f'folder:{self.folder}', image_size=8, tell=self.lines.append, **self.options
      )
      return np.asarray(train.images[:]), train.labels, np.asarray(test.images), train.class_names
    finally:
      path.unlink()

  lines: list[str] = []

  def __call__(self, rng):
    name = self.choose(rng)
    damaged = damage(self.files[name], rng, list(self.files.values()))
    self.what = f'{name} ({", ".join(damaged.kinds)})'
    self.lines = []
    images, labels, test, names = self.load(name, damaged.content)
    sound, *others = self.sound[name]
    check(images.shape == sound.shape and images.dtype == np.uint8, f'images of {images.shape}')
    check(names == others[2] and np.array_equal(labels, others[0]), 'other labels')
    check(np.array_equal(test, others[1]), 'other test images')
    at = 2  # ant has two pictures, and the damaged one is the first of bee
    check(np.array_equal(np.delete(images, at, 0), np.delete(sound, at, 0)), 'other images beside')
    equal = np.array_equal(images[at], sound[at])
    if name.endswith('.png'):
      check(equal, 'another picture, which its checksums tell')
    if damaged.kinds == ('cut',):
      check(equal, 'part of a picture')
    for line in self.lines:
      check('\n' not in line and len(line) < 600, f'a line {line!r}')
    return 'right' if equal else 'another picture'


class Streamed(Pictures):
  """The same, left on disk and read when asked for."""

  options = {'stream_above': 0}


class Exported(Way):
  """A PNG folder of a condensed set with its manifest."""

  def prepare(self):
    self.folder.rmdir()
    seeds.condensed().to_png(self.folder)
    self.keep(self.folder)
    self.sound = self.load()

  def choose(self, rng):
    return 'manifest.json' if rng.random() < 0.7 else super().choose(rng)

  def load(self):
    return data.load(f'folder:{self.folder}', tell=lambda line: None)

  def read(self, name, damaged, rng):
    for one, other in zip(self.load(), self.sound, strict=True):
      # The statistics and `flip` are for people to change.
      one = dataclasses.replace(one, mean=other.mean, std=other.std, flip=other.flip)
      check(same(one, other), 'another set')
    return 'right'


class Prepared(Way):
  """A set of TensorFlow Datasets."""

  def prepare(self):
    seeds.condensed().to_tfds(self.folder, name='toy')
    (self.folder / 'toy' / '1.0.0' / 'manifest.json').unlink()
    self.keep(self.folder)
    self.sound = self.load()

  def load(self):
    return data.load('toy', data_dir=str(self.folder), tell=lambda line: None)

  def read(self, name, damaged, rng):
    for one, other in zip(self.load(), self.sound, strict=True):
      check(np.array_equal(one.images, other.images), 'other images')
      check(np.array_equal(one.labels, other.labels), 'other labels')
    return 'right'


class WorkDir(Way):
  """A work dir that is opened again: config, metrics, kept results, and all else that it holds."""

  CONFIG = {'seed': 0, 'data': {'name': 'digits', 'image_size': 8}, 'run': {'keep': 2}}
  LINES = [
    ('train', 1, {'loss': 0.5, 'shares': [0.25, 0.75]}),
    ('train', 2, {'loss': 0.25}),
    ('evaluate', 2, {'accuracy': 0.875}),
    ('train', 3, {'loss': 1e-9}),
  ]
  RESULTS = {'estimate': {'seconds': 2.5, 'names': ['a']}, 'rows/set1': [0.5, 0.25], 'none': None}

  def prepare(self):
    from jaxdistill.training.run import Run

    with Run(self.folder, self.CONFIG, progress=False, tensorboard=False) as run:
      for kind, step, metrics in self.LINES:
        run.log('condense', step, metrics, kind)
      for name, value in self.RESULTS.items():
        run.once(name, lambda value=value: value)
      self.settle(run)
      lock = (self.folder / 'run.lock').read_bytes()
      self.seconds = run.records.seconds()
    self.keep(self.folder)
    self.files['run.lock'] = lock

  def settle(self, run):
    from jaxdistill.data.identity import Identity
    from jaxdistill.training import provenance

    if not hasattr(self, 'facts'):
      self.facts = {'data': {'training': Identity(data.load('digits', image_size=8)[1])}}
    provenance.settle(run, self.facts)

  def mend(self, name):
    self.restore()

  def read(self, name, damaged, rng):
    from jaxdistill.training.run import Run

    said = io.StringIO()
    before, sys.stdout = sys.stdout, said
    try:
      with Run(self.folder, self.CONFIG, progress=False, tensorboard=False) as run:
        self.settle(run)
        lines = run.history('condense') + run.curve('condense')
        results = {key: run.once(key, lambda: 'anew') for key in self.RESULTS}
        run.log('condense', 4, {'loss': 0.125})
        timed = run.seconds
    finally:
      sys.stdout = before
    said = said.getvalue()
    for key, value in self.RESULTS.items():
      if results[key] != value:
        check(results[key] == 'anew', f'another result {key}')
        check(f'results/{key}.json' in said, f'{key} anew without a word')
    if name != 'metrics.jsonl':
      check(len(lines) == len(self.LINES), 'other lines')
    check(all(self.is_line(line) for line in lines), 'no lines of metrics')
    check(timed == timed and timed >= 0, 'no time')
    check(all(len(line) < 600 for line in said.splitlines()), f'said {said!r}')
    again = [json.loads(line) for line in (self.folder / 'metrics.jsonl').read_text().splitlines()]
    check(again[-1]['loss'] == 0.125, 'the file cannot be read again')
    for path in ('config.json', 'environment.json', 'data.json'):
      check(isinstance(json.loads((self.folder / path).read_text()), dict), f'{path} is no object')
    return 'told' if said else 'right'

  @staticmethod
  def is_line(line):
    return (
      isinstance(line['step'], int)
      and isinstance(line['seconds'], int | float)
      and isinstance(line['phase'], str)
    )


class Kept(Way):
  """Scores that runs keep for each other."""

  VALUE = {'key': 'a1b2', 'last': {'mean': 0.875, 'std': 0.0, 'n': 1, 'values': [0.875]}}

  def prepare(self):
    self.get(lambda: self.VALUE)
    self.keep(self.folder)

  def get(self, compute):
    from jaxdistill.experiment import kept
    from jaxdistill.training.run import Run

    with Run(progress=False) as run:
      return kept.once(run, self.folder, 'a1b2', compute)

  def read(self, name, damaged, rng):
    said = io.StringIO()
    before, sys.stdout = sys.stdout, said
    try:
      value = self.get(lambda: 'anew')
    finally:
      sys.stdout = before
    if value != self.VALUE:
      check(value == 'anew', 'other scores')
      check('is damaged and is written again' in said.getvalue(), 'anew without a word')
    return 'right' if value == self.VALUE else 'told'


class Checkpoints(Way):
  """The checkpoints of a phase, of which the newest or all are damaged."""

  def prepare(self):
    from jaxdistill.training.checkpoint import Checkpoints

    checkpoints = Checkpoints(self.folder / 'phase')
    for step in (10, 20):
      checkpoints.save(step, self.state(step), {'step': step})
    checkpoints.close()
    self.keep(self.folder)

  @staticmethod
  def state(step):
    return {'w': np.full((3, 2), step / 3, np.float32), 'step': np.int32(step)}

  def mend(self, name):
    self.restore()

  def read(self, name, damaged, rng):
    from jaxdistill.training.checkpoint import Checkpoints

    path = self.folder / name
    if rng.random() < 0.2:
      path.unlink()
      self.what = f'{name} (missing)'
    elif rng.random() < 0.1:
      path.unlink()
      path.mkdir()
      self.what = f'{name} (a folder)'
    said = []
    checkpoints = Checkpoints(self.folder / 'phase', say=said.append)
    try:
      restored = checkpoints.restore(self.state(0))
    finally:
      checkpoints.close()
    check(restored is not None, 'begins anew without a word')
    state, meta = restored
    expected = self.state(meta['step'])
    for key, leaf in expected.items():
      check(np.array_equal(state[key], leaf), 'another state')
    check(meta['step'] == 20 or said, 'an older one without a word')
    check(all('\n' not in line and len(line) < 600 for line in said), f'said {said}')
    return 'told' if said else 'right'


class Results(Way):
  """result.json as a sweep reads it, and the page that compares."""

  text = True

  def prepare(self):
    from ml_collections import ConfigDict

    from jaxdistill import config as configs
    from jaxdistill.experiment.results import Result, Row

    self.config = ConfigDict(configs.load('dm:digits').to_dict())
    score = {'mean': 0.875, 'std': 0.125, 'n': 2, 'values': [1.0, 0.75]}
    size = {'images_per_class': 1, 'factor': 1, 'training_images': 10, 'steps': 2}
    curve = {'steps': [1, 2], 'mean': [0.5, 0.875], 'std': [0.0, 0.125]}
    rows = (
      Row(
        'dm',
        'DM',
        2.5,
        {'last': score, 'best_test': score},
        curve,
        False,
        'a1b2',
        size,
      ),
      Row(
        'random',
        'Random',
        1.5,
        {'last': score},
        None,
        False,
        'c3d4',
        size,
      ),
    )
    versions, device = {'jax': '0'}, {'kind': 'cpu', 'count': 1, 'platform': 'cpu'}
    seconds = {'condense': 1.0, 'total': 4.5, 'first_step': 0.5}
    result = Result(
      'DM',
      'condensation',
      'digits',
      0,
      rows,
      seconds,
      self.config.to_dict(),
      2**20,
      'process',
      versions,
      device,
      None,
      '2026-01-01',
      task='condense',
      extras={'method': 'dm', 'recipe': 'idc', 'steps_per_second': 2.5, 'program_bytes': 2**20},
    )
    self.files = {'result.json': json.dumps(result.to_json(), indent=2).encode()}
    self.files['report.html'] = b'a page'
    self.sound = json.loads(self.files['result.json'])
    self.restore()
    check(self.finished().result, self.said.getvalue())

  def choose(self, rng):
    return 'result.json'

  def finished(self):
    from jaxdistill.commands import families, sweep
    from jaxdistill.experiment.comparison import Cell

    cell = Cell('dm:digits', self.config, self.folder)
    self.family = families.find_columns('condensation')
    self.said = io.StringIO()
    with contextlib.redirect_stdout(self.said):
      cell.result = sweep.finished(cell, self.family)
    return cell

  def read(self, name, damaged, rng):
    from jaxdistill.experiment import comparison

    cell = self.finished()
    if cell.result is None:
      try:
        changed = json.loads(damaged.content)['config'] != self.sound['config']
      except Exception:
        changed = False
      check(changed or 'is damaged' in self.said.getvalue(), 'begun anew without a word')
      return 'told'
    comparison.text([cell], self.family)
    comparison.write(self.folder, [cell], self.family)
    return 'right'


class Trees(Way):
  """Folders with names and entries of every kind; the pictures in them are sound."""

  NAMES = (
    'ant',
    'bee',
    'Ant',
    'caf\u00e9',
    'cafe\u0301',
    '\u65e5\u672c',
    'a b',
    ' ',
    '10',
    '9',
    '-1',
    '\u0663',
    '.hidden',
    '__pycache__',
    'train',
    'test',
    'Valid',
    'val',
    'images',
    'a\nb',
    '\u202e',
    Way.LONG_NAME,
    '\udce9',
    "it's",
    '<b>',
    '%s',
    '{}',
    '$(x)',
    '~',
    'CON',
    'nul.png',
    'emu.d',
    '\U0001f41c',
  )
  FILES = (
    'a.png',
    'b.PNG',
    'c.jpeg',
    '.d.png',
    '._e.png',
    'Thumbs.db',
    'readme',
    'f.heic',
    '\udce9.png',
    'g\nh.png',
    'y' * 251 + '.png',
    '.png',
    'i.png.txt',
    'caf\u00e9.png',
    'manifest.json',
    '-.png',
  )

  def prepare(self):
    self.pictures = seeds.pictures()

  def __call__(self, rng):
    root = self.folder / rng.choice(('photos', 'my photos', '\u65e5\u672c', 'a,b', 'x+y'))
    try:
      root.mkdir(exist_ok=True)
      self.expected = 0
      self.fill(root, rng, rng.choice((1, 1, 2, 3)), inside=False)
      names = sorted(path.relative_to(root).as_posix() for path in root.rglob('*'))
      self.what = f'a tree of {len(names)} entries {names[:6]!r}'.encode(
        'ascii', 'backslashreplace'
      ).decode()
      lines = []
      train, test = data.load(f'folder:{root}', image_size=8, tell=lines.append)
      check(train.image_shape[:2] == (8, 8), 'another shape')
      check(all('\n' not in line and len(line) < 900 for line in lines), f'lines {lines}')
      count = len(train) + len(test)
      check(train.num_classes >= 2 and count >= 2, 'no set')
      if not lines and not {'train', 'test', 'Valid', 'val'} & {
        name.split('/')[0] for name in names
      }:
        check(count == self.expected, f'{count} images of {self.expected} without a word')
      return 'right'
    finally:
      shutil.rmtree(root)

  def fill(self, folder, rng, depth, inside):
    odd = rng.choice((0.0, 0.0, 0.1, 0.5))
    if inside:
      (folder / 'first.png').write_bytes(self.pictures['plain.png'])
      self.expected += self.counts(folder / 'first.png')
      for name in rng.sample(self.FILES, rng.choice((0, 1, 2, 5))):
        self.entry(folder / name, rng, odd)
    if depth:
      for name in rng.sample(self.NAMES, rng.randint(0 if inside else 2, 5)):
        path = folder / name
        if rng.random() >= odd:
          path.mkdir()
          self.fill(path, rng, depth - 1 if rng.random() < odd else 0, inside=True)
        elif rng.random() < 0.5:
          path.symlink_to(rng.choice(('.', '..', 'nowhere', name, '/dev/null')))
        else:
          path.write_bytes(b'a file')

  def counts(self, path):
    """Whether a sound picture is one of a set that is read without a word."""
    parts = path.relative_to(self.folder).parts
    hidden = any(part.startswith('.') or part == '__pycache__' for part in parts)
    return not hidden and path.suffix.lower() in ('.png', '.jpeg')

  def entry(self, path, rng, odd):
    if rng.random() >= odd:
      path.write_bytes(self.pictures[rng.choice(('plain.png', 'plain.jpg', 'palette.png'))])
      self.expected += self.counts(path)
    elif rng.random() < 0.5:
      path.symlink_to(rng.choice(('nowhere', path.name, '/dev/null', '..')))
    else:
      path.mkdir()


# By name: the way in, and how often it is taken.
WAYS = {
  'pictures': (Pictures, 30),
  'streamed': (Streamed, 5),
  'npz': (Archives, 15),
  'condensed': (Sets, 15),
  'scored': (Scored, 2),
  'exported': (Exported, 6),
  'prepared': (Prepared, 4),
  'work dir': (WorkDir, 10),
  'kept': (Kept, 4),
  'checkpoints': (Checkpoints, 3),
  'results': (Results, 6),
  'trees': (Trees, 6),
}
