"""The arguments of a config: from text and from values, what is refused, and their list."""

import dataclasses

import pytest

from jaxdistill.errors import UserError
from jaxdistill.experiment import arguments, schema


@dataclasses.dataclass(frozen=True)
class Arguments:
  data: str = schema.field('digits', choices=('digits', 'mnist', 'npz:'), help='the data set')
  size: int = schema.field(1, example=10, help='stored images')
  kernel: str = schema.field('linear', choices=('gaussian', 'linear'), example='gaussian')
  rate: float = schema.field(0.5)
  quick: bool = schema.field(False, help='a smoke run')


def test_arguments_are_texts_or_values():
  expected = Arguments('npz:mine.npz', size=3, kernel='gaussian', quick=True)
  assert arguments.read(Arguments, 'npz:mine.npz,size=3,kernel=gaussian,quick') == expected
  values = dict(data='npz:mine.npz', size=3, kernel='gaussian', quick=True)
  assert arguments.read(Arguments, values) == expected
  assert arguments.read(Arguments) == arguments.read(Arguments, {}) == Arguments()


@pytest.mark.parametrize(
  'given, words',
  [
    (dict(sise=3), "no argument 'sise'; did you mean 'size'"),
    (dict(size='three'), "size needs a whole number, not 'three'"),
    (dict(size=1.5), 'size needs a whole number, not 1.5'),
    (dict(size=None), 'size needs a whole number, not None'),
    (dict(size=True), 'size needs a whole number, not True'),
    (dict(rate=float('nan')), 'rate needs a finite number, not nan'),
    (dict(quick='perhaps'), "quick needs true or false, not 'perhaps'"),
    (dict(kernel='gausian'), "no value of kernel 'gausian'; did you mean 'gaussian'"),
    ('digitz', "no data set or argument 'digitz'; did you mean 'digits'"),
  ],
)
def test_arguments_refuse(given, words):
  with pytest.raises(UserError, match=words):
    arguments.read(Arguments, given)


def test_images_in_memory_need_no_preset():
  assert arguments.read(Arguments, dict(data='')).data == ''
