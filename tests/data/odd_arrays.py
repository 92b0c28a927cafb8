"""Arrays of images as they come: a table of odd ones, each with its right value or its sentence.

A row is what an npz file holds, by name (or a function that writes the file), and what must come of
it: `Read` for one that is read, a pattern for the sentence of one that is refused.
`test_odd_arrays.py` gives every row to every way in. A new case joins by one row, a new way in by
one line there. What is otherwise where the file is given as a condensed set stands in `AS_A_SET`.
"""

import dataclasses
import io
import pickle
import struct
import zipfile

import numpy as np

# Four images a class, sides 8 and 9, with both ends of the range.
WHOLE = np.random.RandomState(0).randint(0, 256, (8, 8, 9, 3)).astype(np.uint8)
WHOLE[0, 0, 0], WHOLE[0, 0, 1] = 0, 255
GREY = WHOLE[..., 0]
UNIT = WHOLE / 255
LABELS = np.repeat([0, 1], 4)
MORE = WHOLE[::-1][2:6]  # classes 1, 1, 0, 0
MORE_LABELS = LABELS[::-1][2:6]


@dataclasses.dataclass(frozen=True)
class Read:
  """What a file is read as.

  images, labels: of all the training images, and of those that were divided from them.
  test, validation: images of these splits; None: there are none of their own.
  fields: of the data set.
  told: a part of each line that is told, in order.
  """

  images: np.ndarray = dataclasses.field(default_factory=lambda: WHOLE)
  labels: np.ndarray = dataclasses.field(default_factory=lambda: LABELS)
  test: np.ndarray | None = None
  validation: np.ndarray | None = None
  fields: dict = dataclasses.field(default_factory=dict)
  told: tuple = ()


def whole(**entries):
  return dict(images=WHOLE, labels=LABELS) | entries


def divided(**entries):
  return dict(train_images=WHOLE, train_labels=LABELS) | entries


def held(prefix, images=MORE, labels=MORE_LABELS):
  return {f'{prefix}_images': images, f'{prefix}_labels': labels}


def changed(value, images=UNIT, dtype=None):
  images = images.astype(dtype or images.dtype)
  images[3, 2, 1, 0] = value
  return images


def content(**entries):
  buffer = io.BytesIO()
  np.savez(buffer, **whole(**entries))
  return buffer.getvalue()


def compressed(path):
  np.savez_compressed(path, **whole())


def array_alone(path):
  with open(path, 'wb') as file:
    np.save(file, WHOLE)


def twice(path):
  with zipfile.ZipFile(path, 'w') as archive:
    for name in ('images', 'labels', 'labels'):
      with archive.open(f'{name}.npy', 'w') as member:
        np.save(member, WHOLE if name == 'images' else LABELS)


def claiming(shape, method=zipfile.ZIP_STORED):
  """A file whose images claim a shape that they have not."""

  def write(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
      header, dict(descr='|u1', fortran_order=False, shape=shape)
    )
    with zipfile.ZipFile(path, 'w', method) as archive:
      archive.writestr('images.npy', header.getvalue() + bytes(1000))
      with archive.open('labels.npy', 'w') as member:
        np.save(member, LABELS)

  return write


def claimed_in_contents(path):
  """A file whose table of contents says that an array has 4 GiB."""
  damaged = bytearray(content())
  place = damaged.index(b'PK\x01\x02')
  damaged[place + 24 : place + 28] = struct.pack('<I', 2**32 - 2)
  path.write_bytes(damaged)


def hidden_in_contents(path):
  """A file whose table of contents says that `flip` is a comment on the labels."""
  damaged = bytearray(content(flip=False))
  labels = damaged.rindex(b'PK\x01\x02', 0, damaged.rindex(b'labels.npy'))
  last = damaged.rindex(b'PK\x01\x02')
  length = damaged.rindex(b'PK\x05\x06') - last
  assert last > labels
  damaged[labels + 32 : labels + 34] = struct.pack('<H', length)
  path.write_bytes(damaged)


def flipped(path):
  damaged = bytearray(content())
  damaged[1000] ^= 1
  path.write_bytes(damaged)


ONE_UNIT = 'store floats in \\[0, 1\\], or multiply by 255'
UNREADABLE = 'cannot be read as an npz file of plain arrays'
ROWS = {
  # Splits and entries.
  'as it should be': (whole(), Read()),
  'train alone': (divided(), Read()),
  'test beside images': (whole(**held('test')), Read(test=MORE)),
  'test beside train': (divided(**held('test')), Read(test=MORE)),
  'all three': (
    whole(**held('test'), **held('val', WHOLE[2:7], LABELS[2:7])),
    Read(test=MORE, validation=WHOLE[2:7]),
  ),
  'val alone': (whole(**held('val')), Read(validation=MORE)),
  'valid': (divided(**held('valid')), Read(validation=MORE)),
  'validation': (whole(**held('validation')), Read(validation=MORE)),
  'val and valid': (
    whole(**held('val'), **held('valid')),
    'val_images and valid_images mean the same',
  ),
  'both names of train': (
    whole(**divided()),
    'images and train_images mean the same, the train images',
  ),
  'images without labels': (dict(images=WHOLE), 'labels missing, the file holds images'),
  'labels without images': (dict(labels=LABELS), 'images missing, the file holds labels'),
  'test without labels': (whole(test_images=MORE), 'test_labels missing'),
  'val without images': (whole(val_labels=MORE_LABELS), 'val_images missing'),
  'test alone': (held('test'), 'images and labels missing, the file holds test_images'),
  'half of train beside images': (whole(train_images=WHOLE), 'train_labels missing'),
  'nothing': ({}, 'the file holds nothing'),
  'a slip': (whole(clas_names=['a', 'b']), "'clas_names'; did you mean 'class_names'"),
  'upper case': (dict(Images=WHOLE, labels=LABELS), "'Images'; did you mean 'images'"),
  'names of others': (
    dict(x_train=WHOLE, y_train=LABELS),
    "'x_train' is not known; call it 'train_images'",
  ),
  'without names': (dict(arr_0=WHOLE, arr_1=LABELS), "no such entry as 'arr_0'"),
  'a condensed set': (whole(factor=2), "'factor' belongs to a condensed set"),
  'classes without test images': (
    whole(**held('test', MORE[:2], MORE_LABELS[:2])),
    Read(test=MORE[:2], told=('classes without test images: 1 (0)',)),
  ),
  'a class in test alone': (
    whole(**held('test', labels=MORE_LABELS + 1)),
    'the test images have the label 2, and the training images the classes 0 to 1',
  ),
  'no test images': (whole(**held('test', MORE[:0], MORE_LABELS[:0])), 'not be empty'),
  # Names, mirroring, statistics.
  'text': (
    whole(class_names=['é', '日本']),
    Read(fields=dict(class_names=('é', '日本'))),
  ),
  'bytes': (
    whole(class_names=np.array(['cat', 'é'.encode()], 'S')),
    Read(fields=dict(class_names=('cat', 'é'))),
  ),
  'numbers': (whole(class_names=[7, 9]), Read(fields=dict(class_names=('7', '9')))),
  'bytes of no text': (whole(class_names=np.array([b'a', b'\xff'])), 'no UTF-8'),
  'one name': (whole(class_names='cat'), 'class_names must be text, one a class'),
  'real names': (whole(class_names=[0.5, 1]), 'class_names must be text.* they are float64'),
  'the same names': (whole(class_names=['a', 'a']), "classes 0 and 1 have the same name, 'a'"),
  'an empty name': (whole(class_names=['a', '']), 'the name of class 1 is empty'),
  'too few names': (whole(class_names=['a']), 'label 1 needs at least 2 class names; there are 1'),
  'too many names': (whole(class_names=['a', 'b', 'c']), "class 'c' has no training image"),
  'not mirrored': (whole(flip=False), Read(fields=dict(flip=False))),
  'not mirrored, a number': (whole(flip=[0]), Read(fields=dict(flip=False))),
  'mirrored, two values': (whole(flip=[True, False]), 'flip is true or false; it is \\[True'),
  'mirrored, text': (whole(flip='no'), "flip is true or false; it is 'no'"),
  'mirrored, another number': (whole(flip=2), 'flip is true or false; it is 2'),
  'statistics': (
    whole(mean=[0.25, 0.5, 0.75], std=[0.5] * 3),
    Read(fields=dict(mean=(0.25, 0.5, 0.75), std=(0.5,) * 3)),
  ),
  'half of the statistics': (whole(mean=[0.5] * 3), 'mean and std come as a pair'),
  'statistics of bytes': (whole(mean=[120.0] * 3, std=[60.0] * 3), 'of images in \\[0, 1\\]'),
  'statistics of one channel': (whole(mean=[0.5], std=[0.5]), 'need 3 values each'),
  'no deviation': (whole(mean=[0.5] * 3, std=[0.5, np.nan, 0.5]), 'every std above 0'),
  # Types and ranges.
  **{
    f'{dtype}': (whole(images=WHOLE.astype(dtype)), Read())
    for dtype in ('int16', 'uint16', '>i4', 'int64', 'uint64')
  },
  **{
    f'{dtype}': (whole(images=UNIT.astype(dtype)), Read())
    for dtype in ('float16', 'float32', '>f4', 'float64', 'longdouble')
  },
  'Fortran order': (whole(images=np.asfortranarray(WHOLE)), Read()),
  'a view': (whole(images=np.repeat(WHOLE, 2, axis=2)[:, :, ::2]), Read()),
  'grey': (whole(images=GREY), Read(GREY[..., None])),
  'grey with an axis': (whole(images=GREY[..., None]), Read(GREY[..., None])),
  'four channels': (
    whole(images=np.concatenate([WHOLE, WHOLE[..., :1]], -1)),
    Read(np.concatenate([WHOLE, WHOLE[..., :1]], -1)),
  ),
  'a little above': (
    whole(images=changed(1 + 9e-7)),
    Read(changed(255, WHOLE)),
  ),
  'a little below': (whole(images=changed(-9e-7)), Read(changed(0, WHOLE))),
  'above': (whole(images=changed(1.01)), 'range from 0 to 1.01; floats must lie in \\[0, 1\\]'),
  'below': (whole(images=changed(-0.01)), 'range from -0.01 to 1; floats'),
  'floats of bytes': (
    whole(images=WHOLE.astype(np.float32)),
    'range from 0 to 255; floats must lie in \\[0, 1\\]: divide by 255, or store uint8',
  ),
  'divided twice': (whole(images=UNIT / 255), 'next to black.* divide by 255 once'),
  'not a number': (whole(images=changed(np.nan)), 'NaN or infinite pixels, the first in image 3'),
  'infinite': (whole(images=changed(np.inf)), 'NaN or infinite pixels, the first in image 3'),
  'all zeros': (whole(images=WHOLE * 0), Read(WHOLE * 0)),
  'truth values': (whole(images=WHOLE > 99), f'they are bool: {ONE_UNIT}'),
  'ones of uint8': (whole(images=(WHOLE > 99).astype(np.uint8)), ONE_UNIT),
  'ones of int64': (whole(images=(WHOLE > 99).astype(np.int64)), ONE_UNIT),
  'ones to test on': (whole(**held('test', MORE // 128)), f'test_images are .*{ONE_UNIT}'),
  'sixteen bits': (
    whole(images=WHOLE.astype(np.uint16) * 257),
    'integers must lie in \\[0, 255\\]; divide 16 bits by 257',
  ),
  'negative': (whole(images=changed(-1, WHOLE, int)), 'range from -1 to 255; integers'),
  'complex': (whole(images=UNIT * 1j), 'they are complex128'),
  'text as images': (whole(images=np.full(8, 'a.png')), 'must be uint8 or floats'),
  'times as images': (whole(images=WHOLE.astype('M8[s]')), 'must be uint8 or floats'),
  # Shapes.
  'channels first': (
    whole(images=WHOLE.transpose(0, 3, 1, 2)),
    'channels first, shape \\[8, 3, 8, 9\\]; channels must come last',
  ),
  'grey, channels first': (whole(images=GREY[:, None]), 'channels first, shape \\[8, 1, 8, 9\\]'),
  'four channels first': (
    whole(images=np.repeat(GREY[:, None], 4, 1)),
    'channels first, shape \\[8, 4, 8, 9\\]',
  ),
  'small, channels first': (
    whole(images=WHOLE.transpose(0, 3, 1, 2)[..., :2, :2]),
    'channels first, shape \\[8, 3, 2, 2\\]',
  ),
  'number last': (whole(images=WHOLE.transpose(1, 2, 3, 0)), 'it must be \\[n, height'),
  'flat': (whole(images=WHOLE.reshape(8, -1)), 'the shape is \\[8, 216\\]'),
  'one image': (dict(images=np.uint8(7), labels=LABELS), 'the shape is \\[\\]'),
  'no images': (dict(images=WHOLE[:0], labels=LABELS[:0]), 'not be empty'),
  'no height': (whole(images=WHOLE[:, :0]), 'not be empty'),
  'grey test images': (
    whole(**held('test', MORE[..., 0])),
    'training images are \\(8, 9, 3\\) and test images \\(8, 9, 1\\); store both in colour',
  ),
  'grey validation images': (
    whole(**held('val', MORE[..., :1])),
    'training images are \\(8, 9, 3\\) and validation images \\(8, 9, 1\\)',
  ),
  # Labels.
  'a column': (whole(labels=LABELS[:, None]), Read()),
  'labels of uint8': (whole(labels=LABELS.astype(np.uint8)), Read()),
  'labels of uint64': (whole(labels=LABELS.astype('>u8')), Read()),
  'real labels': (whole(labels=LABELS * 1.0), 'they are float64 .*labels.astype\\(int\\)'),
  'labels NaN': (whole(labels=LABELS * np.nan), 'they are float64'),
  'labels true and false': (whole(labels=LABELS > 0), 'they are bool .*labels.astype\\(int\\)'),
  'one-hot': (whole(labels=np.eye(2)[LABELS]), 'labels.argmax\\(1\\)'),
  'text labels': (whole(labels=np.array(['cat', 'dog'])[LABELS]), 'return_inverse=True'),
  'labels of bytes': (whole(labels=np.array([b'cat', b'dog'])[LABELS]), 'return_inverse=True'),
  'a label in all': (whole(labels=np.int64(1)), 'they are int64 of shape \\[\\]'),
  'too few labels': (whole(labels=LABELS[1:]), '8 images but labels 7 labels'),
  'negative labels': (whole(labels=LABELS - 1), 'must be 0 or more; the smallest is -1'),
  'from one': (whole(labels=LABELS + 1), "class '0' has no .*count from 0 \\(labels - 1\\)"),
  'a gap': (whole(labels=LABELS * 2), "class '1' has no training image"),
  'a named gap': (
    whole(labels=LABELS * 2, class_names=['a', 'b', 'c']),
    "class 'b' has no training image",
  ),
  'a very large label': (whole(labels=LABELS * 10**9), "class '1' has no training image"),
  'a larger one': (
    whole(labels=LABELS.astype(np.uint64) * np.uint64(2**64 - 1)),
    "class '1' has no training image",
  ),
  'a large label to test on': (
    whole(**held('test', labels=MORE_LABELS * 10**9)),
    'the test images have the label 1000000000',
  ),
  'one class': (whole(labels=LABELS * 0), 'all training images are of class 0'),
  'an image a class': (whole(labels=np.arange(8)), 'every class has a single image'),
  # Files.
  'compressed': (compressed, Read()),
  'nothing there': (lambda path: None, 'there is no such file'),
  'a folder': (lambda path: path.mkdir(), 'is a folder; give folder:PATH'),
  'an empty file': (lambda path: path.touch(), f'{UNREADABLE} \\(it is empty\\)'),
  'an array alone': (array_alone, 'it is a single array, as numpy.save writes it'),
  'a pickle': (lambda path: path.write_bytes(pickle.dumps(whole())), UNREADABLE),
  'text alone': (lambda path: path.write_text('no arrays'), UNREADABLE),
  'cut': (lambda path: path.write_bytes(content()[:900]), UNREADABLE),
  'a wrong bit': (flipped, f'{UNREADABLE} .*CRC'),
  'objects': (whole(images=np.array([{}], object)), f'{UNREADABLE} .*Python objects'),
  'an entry twice': (twice, "holds 'labels' twice"),
  'a shape too large': (claiming((10**6, 10**6)), 'images.npy claims 1,000,000,000,000 bytes and'),
  'a shape too small': (claiming((9, 9)), 'images.npy claims 81 bytes and holds 1,000'),
  'a negative shape': (claiming((-1, -1000)), 'claims the shape \\(-1, -1000\\)'),
  'a shape too large, compressed': (
    claiming((2**62, 4), zipfile.ZIP_DEFLATED),
    'images.npy claims 18,446,744,073,709,551,616 bytes',
  ),
  'an entry hidden': (hidden_in_contents, f'{UNREADABLE} .*lacks a part of what it holds'),
  'contents too large': (claimed_in_contents, f'{UNREADABLE} .*cannot be as large as it claims'),
}

OF_DATA = "the entry '{}' belongs to a data set, which is given as npz:PATH"
DAMAGED = 'is damaged or no .npz file of plain arrays'
LACKS = 'mine.npz is no condensed set: it lacks'
NO_ARRAY = 'There is no array of a plain condensed set'
GAP = 'class {} has no image, and the last label is {}; labels count from 0 without a gap'
SPLIT = {
  'test_images': (
    'test beside images',
    'all three',
    'test without labels',
    'classes without test images',
    'a class in test alone',
    'no test images',
    'ones to test on',
    'grey test images',
    'a large label to test on',
    'test alone',
  ),
  'train_images': (
    'train alone',
    'test beside train',
    'valid',
    'both names of train',
    'half of train beside images',
  ),
  'val_images': ('val alone', 'val and valid', 'grey validation images'),
  'val_labels': ('val without images',),
  'validation_images': ('validation',),
  'x_train': ('names of others',),
}
# What becomes of a row that is given as a condensed set, where that is something else: it has no
# splits, but may have soft labels, a single class or image a class, and classes without images.
AS_A_SET = {
  'images without labels': f'{LACKS} labels',
  'labels without images': f'{LACKS} images',
  'nothing': f'{LACKS} images and labels',
  'upper case': f"{NO_ARRAY} 'Images'; did you mean 'images'",
  'without names': f"{NO_ARRAY} 'arr_0'. Valid: class_names, factor",
  'a condensed set': Read(fields=dict(factor=2)),
  'one-hot': Read(labels=np.eye(2)[LABELS], fields=dict(class_names=('0', '1'))),
  'one class': Read(labels=LABELS * 0, fields=dict(class_names=('0',))),
  'an image a class': Read(labels=np.arange(8)),
  'too many names': Read(fields=dict(class_names=('a', 'b', 'c'))),
  'a named gap': Read(labels=LABELS * 2, fields=dict(class_names=('a', 'b', 'c'))),
  'a gap': GAP.format(1, 2),
  'from one': GAP.format(0, 2),
  'a very large label': GAP.format(1, 10**9),
  'a larger one': GAP.format(1, 2**64 - 1),
  'no deviation': 'every std is above 0; they are',
  'statistics of one channel': 'a mean and a std for each of its 3 channels; got 1 and 1',
  'nothing there': 'There is no condensed set at .*mine.npz',
  'a folder': 'is a folder, and a condensed set is one .npz file; data.load',
  'a pickle': DAMAGED,
  'text alone': DAMAGED,
  'cut': DAMAGED,
  'a wrong bit': f'{DAMAGED} .*CRC',
  'objects': f'{DAMAGED} .*images.npy holds Python objects',
  'an entry hidden': f'{DAMAGED} .*lacks a part of what it holds',
  'contents too large': f'{DAMAGED} .*cannot be as large as it claims',
}
for entry, rows in SPLIT.items():
  AS_A_SET |= dict.fromkeys(rows, OF_DATA.format(entry))
