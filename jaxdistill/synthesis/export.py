"""A condensed set for other programs: a folder of PNG files, or a folder that TensorFlow Datasets
reads."""

import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdistill.data import Dataset
from jaxdistill.data.exported import MANIFEST, labelling
from jaxdistill.data.stored import MODES, to_uint8
from jaxdistill.errors import UserError
from jaxdistill.files import expanded, new_folder, safe_name
from jaxdistill.synthesis.fit import check_fit

_VERSION = '1.0.0'
_WHAT = 'The condensed set'
# Bytes of a class name that go into that of its folder: few enough for every file system.
_NAME_BYTES = 80


def to_png(condensed: Any, folder: str | os.PathLike, *, decoded: bool = True) -> pathlib.Path:
  """Writes a PNG file an image, a folder a class, and manifest.json.

  The manifest holds the description of the set (class names, mean, std, recipe, augmentation,
  versions, ...) and for every file its label (a number, or the list of a soft label) and SHA-256.
  Its `factor` is what is left to decode: 1 for decoded images. `data.load('folder:...')` reads such
  a folder back: labels, class names, order and statistics as the manifest has them. PNG has 8 bits
  a channel: values are rounded, and those outside [0, 1] clipped.

  Args:
    condensed: the set, a `condensed.Condensed`.
    folder: to be made; it must not exist yet.
    decoded: whether to write the training images; False: the canvases as they are stored.

  Returns:
    The folder, which is there completely or not at all.

  Raises:
    UserError: when the folder exists or cannot be written, the images have neither 1, 3 nor 4
      channels, or a field holds what JSON has no form for.

  >>> from jaxdistill.synthesis.condensed import Condensed
  >>> made = Condensed(np.full((2, 8, 8, 1), 0.5), [0, 1], ('ant', 'bee'), (0.5,), (0.25,),
  ...   factor=2)
  >>> sorted(path.name for path in to_png(made, 'pictures').iterdir())
  ['0-ant', '1-bee', 'manifest.json']
  """
  _check_channels(condensed)
  manifest = _manifest(condensed, decoded)
  images, labels = condensed.decode() if decoded else (condensed.images, condensed.labels)
  hard = labels if labels.ndim == 1 else labels.argmax(1)
  names, digits = _folder_names(condensed.class_names), len(str(len(images) - 1))
  with new_folder(folder, _WHAT) as root:
    entries = []
    for number, (image, label) in enumerate(zip(to_uint8(images), hard)):
      path, content = f'{names[label]}/{number:0{digits}}.png', _png(image).getvalue()
      (root / names[label]).mkdir(exist_ok=True)
      (root / path).write_bytes(content)
      entries.append(
        {
          'file': path,
          'label': labels[number].tolist(),
          'sha256': hashlib.sha256(content).hexdigest(),
        }
      )
    _write_manifest(root, manifest | {'images': entries})
  return expanded(folder)


def to_tfds(
  condensed: Any,
  folder: str | os.PathLike,
  *,
  name: str = 'condensed',
  test: Dataset | None = None,
) -> pathlib.Path:
  """Writes the decoded images as a prepared set of TensorFlow Datasets, in array_record form;
  TensorFlow is not needed.

  Read it with `tfds.data_source(NAME, data_dir=FOLDER)`, with `tfds.builder_from_directory`, or
  with `data.load(NAME, data_dir=FOLDER)`. Features: image (PNG, 8 bits), label, and soft_label
  where the set has soft ones; the images come in the order of the set. Its description lies beside
  them as manifest.json. TensorFlow Datasets takes class names that differ, each one printable line
  without blanks around it; else the names there begin with the class's number, and the manifest,
  which `data.load` reads, has the real ones.

  Args:
    condensed: the set, which becomes the split 'train'.
    folder: the data_dir; other sets may lie there already.
    name: of the set there, in lower case.
    test: real images for the split 'test'.

  Returns:
    The folder of the set, FOLDER/NAME/1.0.0, which is there completely or not at all.

  Raises:
    UserError: when a set of this name exists there, the folder cannot be written, the name is none,
      the test images do not go with the set, as `fit.check_fit` says, or a field holds what JSON
      has no form for.
  """
  _check_channels(condensed)
  if not isinstance(name, str) or not re.fullmatch(r'[a-z][a-z0-9_]*', name):
    raise UserError(
      f'{name!r} cannot name a set of TensorFlow Datasets: use lower case letters, digits and "_".'
    )
  if test is not None:
    if not isinstance(test, Dataset):
      raise UserError(f'The test images are a Dataset; got {type(test).__name__}.')
    check_fit(condensed, test, _WHAT)
  manifest = _manifest(condensed, decoded=True)
  images, labels = condensed.decode()
  splits = {'train': (to_uint8(images), labels)} | (
    {} if test is None else {'test': (test.images, test.labels)}
  )
  with new_folder(expanded(folder) / name, _WHAT) as root:
    # In a place of its own: TFDS wants the folder above to be free of other things.
    with tempfile.TemporaryDirectory(dir=root) as place:
      _write_tfds(name, splits, condensed, place)
      shutil.move(pathlib.Path(place) / name / _VERSION, root / _VERSION)
    _write_manifest(root / _VERSION, manifest)
  return expanded(folder) / name / _VERSION


def _write_tfds(
  name: str, splits: dict[str, tuple[np.ndarray, np.ndarray]], condensed: Any, place: str
) -> None:
  import tensorflow_datasets as tfds

  names = list(condensed.class_names)
  plain = all(name.isprintable() and name and name == name.strip() for name in names)
  if not plain or len(set(names)) < len(names):
    names = _numbered(names)
  soft = condensed.labels.ndim == 2
  identity = np.eye(condensed.num_classes, dtype=np.float32)

  class Set(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version(_VERSION)
    # As for a class of a notebook: the search for its file, for the checksums of downloads, needs a
    # package that TFDS does not bring, and nothing is downloaded here.
    code_path = None

    def _info(self):
      features = {
        'image': tfds.features.Image(shape=condensed.images.shape[1:]),
        'label': tfds.features.ClassLabel(names=names),
      }
      if soft:
        features['soft_label'] = tfds.features.Tensor(
          shape=(condensed.num_classes,), dtype=np.float32
        )
      return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict(features),
        supervised_keys=('image', 'label'),
        disable_shuffling=True,
        description=f'A condensed set, made by {condensed.method or "hand"} from '
        f'{condensed.dataset or "arrays"}.',
      )

    def _split_generators(self, dl_manager):
      return {split: self._generate_examples(*arrays) for split, arrays in splits.items()}

    def _generate_examples(self, images, labels):
      for number, (image, label) in enumerate(zip(images, labels)):
        hard = int(label if labels.ndim == 1 else label.argmax())
        # As PNG bytes, because TFDS encodes arrays with TensorFlow.
        example = {'image': _png(image), 'label': hard}
        yield (
          number,
          example | ({'soft_label': label if labels.ndim == 2 else identity[hard]} if soft else {}),
        )

  Set.name = name
  Set(data_dir=place, file_format='array_record').download_and_prepare()


def _write_manifest(folder: pathlib.Path, content: dict[str, Any]) -> None:
  if 'images' in content:
    content |= {'sha256': labelling(content['class_names'], content['images'])}
  (folder / MANIFEST).write_text(json.dumps(content, indent=1) + '\n')


def _manifest(condensed: Any, decoded: bool) -> dict[str, Any]:
  return condensed.plain_description() | {'factor': 1 if decoded else condensed.factor}


def _png(image: np.ndarray) -> io.BytesIO:
  from PIL import Image

  content = io.BytesIO()
  Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(content, 'PNG')
  content.seek(0)
  return content


def _check_channels(condensed: Any) -> None:
  channels = condensed.images.shape[-1]
  if channels not in MODES:
    raise UserError(
      f'Pictures have 1, 3 or 4 channels; this set has {channels}: use its .npz file.'
    )


def _folder_names(class_names: tuple[str, ...]) -> list[str]:
  """Names that sort as the classes and that every file system takes; the manifest has the real
  ones."""
  labels = range(len(class_names))
  if list(class_names) == list(map(str, labels)):
    return [f'{label:0{len(str(labels[-1]))}}' for label in labels]
  return _numbered(class_names)


def _numbered(class_names: Sequence[str]) -> list[str]:
  """'007-name' for class 7 of more than a hundred, with '_' for what a file system may not take."""
  digits = len(str(len(class_names) - 1))
  names = []
  for label, name in enumerate(class_names):
    short = safe_name(name).encode()[:_NAME_BYTES].decode(errors='ignore')
    names.append(f'{label:0{digits}}-{short}')
  return names
