"""The arguments of a config: from text and from values, what is refused, and their list."""

import dataclasses
from fractions import Fraction

import pytest

from jaxdistill import models
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


@pytest.mark.parametrize(
  'text, kind, number',
  [('8/255', Fraction, 8 / 255), ('.1', Fraction, 0.1), ('1e-3', float, 1e-3), ('16', int, 16)],
)
def test_a_number_is_read_from_its_text(text, kind, number):
  assert arguments.number('eps', text, kind) == number
  assert arguments.number('eps', '', kind, usual=7) == 7


@pytest.mark.parametrize(
  'text, kind, words',
  [
    ('wide', float, 'a number.'),
    ('', float, 'a number.'),
    ('4.5', int, 'a whole number.'),
    ('1/0', Fraction, 'a number or a fraction such as 8/255.'),
  ],
)
def test_a_text_that_is_no_number_is_refused(text, kind, words):
  with pytest.raises(UserError, match=f'eps={text} behind the data set must be {words}'):
    arguments.number('eps', text, kind)


def test_a_network_is_given_by_its_name_or_some_of_its_fields():
  usual = {name: value for name, value in models.defaults('mlp').items() if name != 'dtype'}
  assert arguments.network_of('mlp') == {**usual, 'name': 'mlp'}
  given = {'name': 'mlp', 'width': 3, 'dtype': 'bfloat16'}
  assert arguments.network_of(given) == {**usual, 'name': 'mlp', 'width': 3}
  for wrong in ('mlpp', {'width': 3}):
    with pytest.raises(UserError, match='There is no model'):
      arguments.network_of(wrong)


def test_the_config_of_a_method_is_a_file_of_the_users_a_shipped_one_or_made(tmp_path):
  own = tmp_path / 'mine.py'
  own.write_text(
    'from ml_collections import ConfigDict\n\ndef get_config(arg):\n  return ConfigDict(arg)\n'
  )
  made = lambda method: f'made for {method}'
  find = lambda method, **given: arguments.config_of(method, 'robustness', given, made)
  assert find(str(own), quick=True).to_dict() == {'quick': True}
  assert find('at', data='mnist').data.name == 'mnist'
  # A comparison is no method.
  assert (find('mine'), find('compare')) == ('made for mine', 'made for compare')
  with pytest.raises(UserError, match='method is the name of a method, or a .py file; it is 3'):
    find(3)
