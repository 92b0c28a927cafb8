"""Configs: finding, arguments, overrides, round trips, and that every mistake names what would be
right."""

import json

import pytest
from ml_collections import ConfigDict

from jaxdistill import config
from jaxdistill.errors import UserError

CONFIG_TEXT = '''"""Mine: a config outside the library.

Run time:  a minute
  and a half
"""
from ml_collections import ConfigDict
from jaxdistill import config


def get_config(arg='digits'):
  args = config.parse_argument(arg, ('digits', 'npz:'), ipc=1)
  return ConfigDict(dict(family='condensation', seed=0, ipc=args.ipc, data=dict(name=args.data)))
'''


@pytest.fixture
def small():
  return ConfigDict(
    dict(
      seed=0,
      ratio=0.5,
      flag=False,
      names=('random', 'mix'),
      sizes=(1, 2),
      data=dict(name='digits', dir=''),
      method=dict(name='m3d', deep=dict(er=1)),
    )
  )


@pytest.fixture
def shelf(tmp_path, monkeypatch):
  """A folder of configs in the place of the shipped ones: two families that share the name
  `same`."""
  for name in ('one/same', 'two/same', 'one/alone'):
    file = tmp_path / f'{name}.py'
    file.parent.mkdir(exist_ok=True)
    file.write_text(CONFIG_TEXT)
  (tmp_path / 'one' / '_hidden.py').write_text('')
  monkeypatch.setattr(config, 'root', lambda: tmp_path)
  return tmp_path


@pytest.mark.parametrize(
  'path',
  [
    'configs/one/alone.py',
    './configs/one/alone.py',
    'configs/one/alone',
    'one/alone.py',
    'one/alone',
    'alone',
    'alone.py',
  ],
)
def test_find_takes_every_spelling_of_a_shipped_config(shelf, path):
  assert config.find(path) == shelf / 'one' / 'alone.py'


def test_find_prefers_a_file_of_the_user(shelf, tmp_path_factory, monkeypatch):
  own = tmp_path_factory.mktemp('user') / 'alone.py'
  own.write_text(CONFIG_TEXT)
  monkeypatch.chdir(own.parent)
  assert config.find('alone.py') == own
  assert config.find('alone') == shelf / 'one' / 'alone.py'


@pytest.mark.parametrize(
  'path, words',
  [
    ('same', 'ambiguous; write one of: one/same, two/same'),
    ('alnoe', "did you mean 'alone'"),
    ('one/alnoe.py', "did you mean 'one/alone'"),
    ('/nowhere/mine.py', "There is no config '/nowhere/mine.py'"),
  ],
)
def test_find_refuses_with_the_names_that_exist(shelf, path, words):
  with pytest.raises(UserError, match=words):
    config.find(path)


def test_names_leave_out_private_files(shelf):
  assert config.names() == ['one/alone', 'one/same', 'two/same']


def test_load_passes_everything_behind_the_first_colon(shelf):
  loaded = config.load('alone:npz:a:b.npz,ipc=7')
  assert (loaded.ipc, loaded.data.name) == (7, 'npz:a:b.npz')
  assert config.load('alone').data.name == 'digits'


FAILING = [
  (b'def get_config(:\n  pass\n', 'in line 1 (SyntaxError: invalid syntax)'),
  (b'x = 1\nimport nowhere_at_all\n', 'in line 2 (ModuleNotFoundError: No module named'),
  (b'def get_config():\n  return {}[3]\n', 'in line 2 (KeyError: 3)'),
  (b'def get_config():\n  return get_config()\n', 'in line 2 (RecursionError: maximum'),
  (b'def get_config():\n  raise SystemExit\n', 'in line 2 (SystemExit: SystemExit)'),
  (b'x = "caf\xe9"\ndef get_config():\n  pass\n', '(SyntaxError: '),
  (b'x = "\0"\n', 'null bytes'),
  (b'x = ' + b'(' * 500, 'in line 1 (SyntaxError: too many nested parentheses)'),
  (b'def get_config():\n  raise ValueError("a\\n" * 999)\n', 'in line 2 (ValueError: a a a'),
]


@pytest.mark.parametrize('content, words', FAILING)
def test_a_users_config_that_fails_is_told_with_its_line(tmp_path, content, words):
  file = tmp_path / 'mine.py'
  file.write_bytes(content)
  with pytest.raises(UserError) as caught:
    config.load(str(file))
  text = str(caught.value)
  assert f'The config {file} fails ' in text and words in text
  assert '\n' not in text and len(text) < 400 and caught.value.__cause__ is not None


def test_a_header_that_cannot_be_read_is_told(tmp_path):
  file = tmp_path / 'mine.py'
  file.write_text('def get_config(:')
  with pytest.raises(UserError, match=r'mine.py fails in line 1 \(SyntaxError: invalid syntax\)'):
    config.header(str(file))


def test_a_shipped_config_that_fails_keeps_its_traceback(shelf):
  (shelf / 'one' / 'alone.py').write_text('def get_config():\n  return {}[3]\n')
  with pytest.raises(KeyError):
    config.load('alone')


@pytest.mark.parametrize(
  'name', ['x' * 200_000, '/' + 'y' * 5000 + '.py', '\0.py', '\udce9.py', '']
)
def test_names_of_any_kind_are_refused_in_a_short_sentence(shelf, name):
  with pytest.raises(UserError) as caught:
    config.load(name)
  assert len(str(caught.value)) < 400


def test_load_refuses_a_file_that_is_no_config(tmp_path):
  file = tmp_path / 'mine.py'
  file.write_text('x = 1')
  with pytest.raises(UserError, match='no function get_config'):
    config.load(str(file))
  file.write_text('def get_config():\n  return {}')
  with pytest.raises(UserError, match='returned dict; it must return an ml_collections.ConfigDict'):
    config.load(str(file))


def parse(arg):
  return config.parse_argument(
    arg,
    ('digits', 'cifar10', 'npz:'),
    ipc=1,
    rate=0.1,
    kernel=('gaussian', 'linear'),
    quick=False,
    note='',
  ).to_dict()


def test_parse_argument_types_follow_the_defaults():
  assert parse('') == dict(data='digits', ipc=1, rate=0.1, kernel='gaussian', quick=False, note='')
  assert parse('cifar10,ipc=10,quick') == dict(parse(''), data='cifar10', ipc=10, quick=True)
  assert parse(' kernel=linear, quick=no ,rate=2,note=a=b,') == dict(
    parse(''), kernel='linear', rate=2.0, note='a=b'
  )
  assert isinstance(parse('rate=2')['rate'], float)
  assert parse('ipc=1e2')['ipc'] == 100
  assert parse('quick,npz:x.npz')['data'] == 'npz:x.npz'


@pytest.mark.parametrize(
  'arg, words',
  [
    ('cifar', "no data set or argument 'cifar'; did you mean 'cifar10'"),
    ('icp=3', "no data set or argument 'icp='; did you mean 'ipc='"),
    ('ipc', "no data set or argument 'ipc'; did you mean 'ipc='"),
    ('npz:', "'npz:' needs a path behind it: npz:PATH"),
    ('ipc=ten', "ipc needs a whole number, not 'ten'"),
    ('ipc=1.5', "ipc needs a whole number, not '1.5'"),
    ('rate=nan', "rate needs a finite number, not 'nan'"),
    ('quick=perhaps', "quick needs true or false, not 'perhaps'"),
    ('kernel=gausian', "no value of kernel 'gausian'; did you mean 'gaussian'"),
    ('digits,cifar10', "two data sets, 'digits' and 'cifar10'"),
    ('ipc=1,ipc=2', "'ipc' is given twice"),
  ],
)
def test_parse_argument_refuses(arg, words):
  with pytest.raises(UserError, match=words):
    parse(arg)


def test_load_passes_values_in_place_of_the_text(shelf):
  loaded = config.load('alone', dict(data='npz:a, b.npz', ipc=7))
  assert (loaded.ipc, loaded.data.name) == (7, 'npz:a, b.npz')
  assert config.load('alone', {}).ipc == 1


@pytest.mark.parametrize(
  'values, words',
  [
    (dict(icp=3), "no argument 'icp'; did you mean 'ipc'"),
    (dict(ipc=1.5), 'ipc needs a whole number, not 1.5'),
    (dict(ipc=None), 'ipc needs a whole number, not None'),
    (dict(rate=float('inf')), 'rate needs a finite number, not inf'),
    (dict(quick=2), 'quick needs true or false, not 2'),
    (dict(kernel='gausian'), "no value of kernel 'gausian'; did you mean 'gaussian'"),
  ],
)
def test_values_by_name_are_refused_as_texts_are(values, words):
  with pytest.raises(UserError, match=words):
    parse(values)


def test_values_by_name_take_the_types_of_the_defaults():
  values = parse(dict(data='', ipc=10.0, rate=2, kernel='linear', quick=True, note=3))
  assert values == dict(data='', ipc=10, rate=2.0, kernel='linear', quick=True, note='3')
  assert [type(values[name]) for name in ('ipc', 'rate')] == [int, float]


@pytest.mark.parametrize(
  'key, value, stored',
  [
    ('seed', 3, 3),
    ('ratio', 2, 2.0),
    ('flag', True, True),
    ('sizes', [3, 4], (3, 4)),
    ('sizes', (), ()),
    ('sizes', 7, (7,)),  # as the text '7'
  ],
)
def test_override_takes_values_too(small, key, value, stored):
  config.override(small, key, value)
  assert small[key] == stored and type(small[key]) is type(stored)


@pytest.mark.parametrize(
  'key, text, value',
  [
    ('seed', '3', 3),
    ('seed', '-3', -3),
    ('seed', '10_000', 10000),
    ('seed', '1e4', 10000),
    ('seed', '\u0663', 3),  # a three in Arabic
    ('seed', '9007199254740993', 9007199254740993),  # 2**53 + 1, which no float is
    ('ratio', '1e-3', 0.001),
    ('ratio', '2', 2.0),
    ('flag', 'true', True),
    ('flag', 'No', False),
    ('data.name', 'npz:a=b.npz', 'npz:a=b.npz'),
    ('data.dir', '', ''),
    ('method.deep.er', '5', 5),
    ('names', 'random', ('random',)),
    ('names', "('random', 'whole')", ('random', 'whole')),
    ('names', '', ()),
    ('sizes', '3,4', (3, 4)),
  ],
)
def test_override_reads_the_text_as_the_type_of_the_field(small, key, text, value):
  config.override(small, key, text)
  got = small
  for name in key.split('.'):
    got = got[name]
  assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
  'key, text, words',
  [
    ('sede', '1', "no config key 'sede'; did you mean 'seed'"),
    ('data.nam', 'x', "no config key 'data.nam'; did you mean 'data.name'"),
    ('name', 'x', "no config key 'name'; did you mean 'data.name' or 'method.name'"),
    ('dta.name', 'x', "no config key 'dta.name'; did you mean 'data.name'"),
    ('data.name.x', 'x', "no config key 'data.name.x'"),
    ('data', 'x', "'data' is a section; set one of its fields: data.dir, data.name"),
    ('seed', 'one', "seed needs a whole number, not 'one'"),
    ('seed', '1.5', "seed needs a whole number, not '1.5'"),
    ('seed', '', "seed needs a whole number, not ''"),
    ('seed', '9' * 9999, "seed needs a whole number, not '9{156}"),
    ('', '1', "no config key ''"),
    ('.', '1', "no config key '.'"),
    ('empty', '1', "'empty' is an empty section"),
    ('code', '1', "'code' cannot be set"),
    ('ratio', 'inf', "ratio needs a finite number, not 'inf'"),
    ('flag', '2', "flag needs true or false, not '2'"),
    ('sizes', '1,b', "sizes needs a whole number, not 'b'"),
    ('sizes', None, 'sizes needs a whole number, not None'),
  ],
)
def test_override_refuses_and_leaves_the_config_alone(small, key, text, words):
  small.empty, small.code = {}, len
  before = small.to_dict()
  with pytest.raises(UserError, match=words):
    config.override(small, key, text)
  assert small.to_dict() == before


def test_json_round_trip(small):
  text = config.to_json(small)
  again = config.from_json(text)
  assert again == small and again.names == ('random', 'mix')
  assert config.to_json(again) == text
  assert json.loads(text)['method'] == dict(name='m3d', deep=dict(er=1))


def test_differences_name_each_field_once_in_order(small):
  other = json.loads(config.to_json(small))
  assert config.differences(small, other) == {}  # a list equals a tuple, a dict equals a ConfigDict
  other['seed'] = 1
  del other['data']['dir']
  other['method']['extra'] = True
  assert list(config.differences(small, other).values()) == [
    "data.dir: '' -> nothing",
    'method.extra: nothing -> True',
    'seed: 0 -> 1',
  ]


def test_to_text_has_one_line_a_field(small):
  assert config.to_text(small).splitlines()[-1] == 'sizes          = (1, 2)'
  assert len(config.to_text(small).splitlines()) == 9


def test_list_configs_reads_headers_without_running_them(shelf):
  (shelf / 'one' / 'same.py').write_text('"""One line."""\nraise RuntimeError')
  alone, same, _ = config.list_configs()
  assert alone == (
    'one/alone',
    'Mine: a config outside the library.',
    '',
    'a minute and a half',
    '',
  )
  assert same == ('one/same', 'One line.', '', '', '')


def test_values_from_python_keep_every_digit_and_their_kind():
  chosen = config.load('m3d:digits')
  config.override(chosen, 'condensation.iterations', 2**53 + 1)
  assert chosen.condensation.iterations == 2**53 + 1
  for wrong in (b'digits', None, {'a': 1}):
    with pytest.raises(UserError, match='data.name needs text, not '):
      config.override(chosen, 'data.name', wrong)


def test_a_folder_is_no_config(tmp_path):
  (tmp_path / 'mine.py').mkdir()
  with pytest.raises(UserError, match='is a folder; name a .py file'):
    config.find(str(tmp_path / 'mine.py'))


def test_of_many_differences_the_first_are_told():
  text = config.listed([f'field{number}: 0 -> {"x" * 500}' for number in range(30)])
  assert text.startswith('field0: 0 -> xxx') and text.endswith('; and 22 more')
  assert len(text) < 1500 and config.listed([]) == ''
