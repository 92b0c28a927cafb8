"""Folders of pictures as they come: a table of odd ones, each with its right value or its sentence.

A row is a function that builds the folder at a path, and what must come of it: `Read` for one that
is read, a pattern for the sentence of one that is refused. `test_odd_folders.py` gives every row to
every way in. A new case joins by one row, a new way in by one line there.
"""

import dataclasses
import os

import PIL.Image


@dataclasses.dataclass(frozen=True)
class Read:
  """What a folder is read as.

  counts: images of each class, of train and test together, by name in label order.
  channels: of the images.
  told: a part of each line that is told, in order.
  """

  counts: dict
  channels: int = 3
  told: tuple = ()


def picture(path, mode='RGB', size=(6, 5), colour=0, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.new(mode, size, colour).save(path, **options)


def pair(root, names=('ant', 'bee'), count=2, **options):
  """Class folders of `count` pictures each."""
  for name in names:
    for number in range(count):
      picture(root / name / f'{number}.png', **options)


def text(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text('no picture')


def unread(root):
  pair(root)
  for name in ('readme.md', 'ant/a.HEIC', 'ant/b.svg', 'bee/inside/c.png'):
    text(root / name)
  for hidden in ('.hidden', 'bee/._0.png', 'ant/Thumbs.db'):
    text(root / hidden)


def pipes_and_links(root):
  pair(root)
  os.mkfifo(root / 'ant' / 'pipe.png')
  (root / 'bee' / 'gone.png').symlink_to('nowhere')


def animation(root):
  pair(root)
  frames = [PIL.Image.new('RGB', (4, 4), colour) for colour in ('red', 'blue')]
  frames[0].save(root / 'ant' / 'a.gif', save_all=True, append_images=frames[1:])


TWO = {'ant': 2, 'bee': 2}
ROWS = {
  'as it should be': (pair, Read(TWO)),
  'grey': (lambda root: pair(root, mode='L'), Read(TWO, 1)),
  'one in colour': (
    lambda root: (pair(root, mode='L'), picture(root / 'bee' / '2.png')),
    Read({'ant': 2, 'bee': 3}),
  ),
  'train alone': (lambda root: pair(root / 'train'), Read(TWO)),
  'train and valid': (
    lambda root: (pair(root / 'Train'), pair(root / 'Valid', count=1)),
    Read({'ant': 3, 'bee': 3}),
  ),
  'a class without test images': (
    lambda root: (pair(root / 'train'), pair(root / 'test', ('bee',))),
    Read({'ant': 2, 'bee': 4}, told=('classes without test images: 1 (ant)',)),
  ),
  'files that are not read': (
    unread,
    Read(
      TWO,
      told=(
        '4 files are not read: 1 beside the class folders (readme.md), '
        '2 of other kinds (ant/a.HEIC, ant/b.svg), '
        '1 in sub-folders of class folders (bee/inside/c.png).',
      ),
    ),
  ),
  'pipes and dead links': (
    pipes_and_links,
    Read(TWO, told=('2 files are not read: 1 pipes, sockets or devices (ant/pipe.png), 1 links',)),
  ),
  'upper case': (
    lambda root: (pair(root), picture(root / 'ant' / 'A.PNG')),
    Read({'ant': 3, 'bee': 2}),
  ),
  'a suffix of another kind': (
    lambda root: (pair(root), picture(root / 'ant' / 'a.png', format='JPEG')),
    Read({'ant': 3, 'bee': 2}),
  ),
  'transparency': (
    lambda root: (pair(root), picture(root / 'ant' / '0.png', mode='RGBA')),
    Read(TWO, told=('transparent pictures, laid on white: 1 (ant/0.png).',)),
  ),
  'an animation': (
    animation,
    Read({'ant': 3, 'bee': 2}, told=('of which the first is taken: 1 (ant/a.gif)',)),
  ),
  'hairs': (lambda root: pair(root, size=(1, 3000)), Read(TWO)),
  'numbers': (lambda root: pair(root, ('10', '9', '1')), Read({'1': 2, '9': 2, '10': 2})),
  'letters': (lambda root: pair(root, ('é', 'a b', '日本')), Read({'a b': 2, 'é': 2, '日本': 2})),
  'alike': (
    lambda root: pair(root, ('Ant', 'ant')),
    Read({'Ant': 2, 'ant': 2}, told=("differ in case or writing alone: 'Ant' and 'ant'",)),
  ),
  'nothing there': (lambda root: None, 'found 0 class folders, at least 2 are needed'),
  'one class': (lambda root: pair(root, ('ant',)), 'found 1 class folders'),
  'a class itself': (lambda root: picture(root / '0.png'), 'holds 1 images itself'),
  'wrapped': (lambda root: pair(root / 'photos'), 'lie deeper: give .*:.*/photos[.]'),
  'wrapped and divided': (
    lambda root: pair(root / 'images' / 'train'),
    'lie deeper: give .*:.*/images[.]',
  ),
  'an empty class': (
    lambda root: (pair(root), (root / 'emu').mkdir()),
    "class folder 'emu' in .* holds no images; put some",
  ),
  'a class of other kinds': (
    lambda root: (pair(root), text(root / 'emu' / 'a.heic')),
    'holds no images that are read, only a.heic',
  ),
  'a strange test class': (
    lambda root: (pair(root / 'train'), pair(root / 'test', ('Ant',))),
    "'Ant' is in test but not in train; did you mean 'ant'",
  ),
  'test images without classes': (
    lambda root: (pair(root / 'train'), picture(root / 'test' / '0.png')),
    'test holds no class folder; add one for each class, or give .*/train',
  ),
  'an empty file': (
    lambda root: (pair(root), (root / 'ant' / 'a.png').touch()),
    'a.png cannot be read .*nothing in it',
  ),
  'no picture': (lambda root: (pair(root), text(root / 'ant' / 'a.png')), 'a.png cannot be read'),
  'sixteen bits': (
    lambda root: (pair(root), picture(root / 'ant' / 'a.png', mode='I;16')),
    'a.png has more than 8 bits a channel; save it with 8 bits',
  ),
}
