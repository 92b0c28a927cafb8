"""The arguments of a config: from text and from values, what is refused, and their list."""

import dataclasses
from fractions import Fraction

import numpy as np
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


@pytest.mark.parametrize('model', [3, ['mlp'], models.build({'name': 'mlp'}, 2, (2, 2, 1))])
def test_what_is_no_network_is_refused(model):
  with pytest.raises(UserError, match='A network is given by its name, or by fields'):
    arguments.network_of(model)


@pytest.mark.parametrize('given', ['kd', None, 3, ['kd', 3], ()])
def test_what_is_no_list_of_names_is_refused(given):
  with pytest.raises(UserError, match='methods is a list of names, such as ab; got'):
    arguments.names('methods', given, 'ab', 1)


def test_names_come_in_any_list_and_one_by_one():
  assert arguments.names('methods', np.array(['a', 'b']), 'ab') == ('a', 'b')
  assert arguments.names('methods', [], 'ab') == ()
  with pytest.raises(UserError, match="methods holds 'a' twice"):
    arguments.names('methods', ['a', 'b', 'a'], 'ab')
  with pytest.raises(UserError, match="holds 'a.b'; give each name by itself, and a sum as 'a&b'"):
    arguments.names('methods', ['a+b'], 'ab', sums="as 'a&b'")


@pytest.mark.parametrize('given', [[('seed', 1)], {3: 1}])
def test_overrides_are_by_name(given):
  with pytest.raises(UserError, match='overrides are values by the dotted names of fields'):
    arguments.overrides({}, given)


def test_images_that_were_handed_over_are_not_loaded_otherwise():
  assert arguments.overrides({'seed': 1}, {'seed': 2}) == {'seed': 2}
  assert arguments.overrides({'seed': 1}, None) == {'seed': 1}
  with pytest.raises(UserError, match='data.image_size says how images are loaded'):
    arguments.overrides({}, {'data.image_size': 16})


def test_a_file_has_the_config_of_one_method_of_the_family(tmp_path):
  file = tmp_path / 'mine.py'
  make = lambda content: file.write_text(
    f'from ml_collections import ConfigDict\ndef get_config(arg):\n  return ConfigDict({content})'
  )
  read = lambda: arguments.config_of(str(file), 'robustness', {'seeds': 1}, None)
  for content in (
    dict(family='robustness', compared=['at']),
    dict(family='fscil', method={'name': 'at'}),
    dict(seed=0),
  ):
    make(content)
    with pytest.raises(UserError, match='mine.py is no config of one method of the family robust'):
      read()
  make(dict(family='robustness', method={'name': 'at'}))
  assert read().method.name == 'at'


def test_a_network_is_given_by_its_name_or_some_of_its_fields():
  usual = {name: value for name, value in models.defaults('mlp').items() if name != 'dtype'}
  assert arguments.network_of('mlp') == {**usual, 'name': 'mlp'}
  given = {'name': 'mlp', 'width': 3}
  assert arguments.network_of({**given, 'dtype': 'float32'}) == {**usual, 'name': 'mlp', 'width': 3}
  for wrong, sentence in (
    ('mlpp', 'There is no model'),
    ({'width': 3}, "got {'width': 3}"),
    ({**given, 'dtype': 'bfloat16'}, "mlp say dtype='bfloat16'; all networks of a run compute in"),
  ):
    with pytest.raises(UserError, match=sentence):
      arguments.network_of(wrong)


def test_the_config_of_a_method_is_a_file_of_the_users_a_shipped_one_or_made(tmp_path):
  own = tmp_path / 'mine.py'
  own.write_text(
    'from ml_collections import ConfigDict\n\n'
    "def get_config(arg):\n  return ConfigDict({'family': 'robustness', 'method': {}, **arg})\n"
  )
  made = lambda method: f'made for {method}'
  find = lambda method, **given: arguments.config_of(method, 'robustness', given, made)
  assert find(str(own), quick=True).quick is True
  assert find('at', data='mnist').data.name == 'mnist'
  # A comparison is no method.
  assert (find('mine'), find('compare')) == ('made for mine', 'made for compare')
  with pytest.raises(UserError, match='method is the name of a method, or a .py file; it is 3'):
    find(3)
