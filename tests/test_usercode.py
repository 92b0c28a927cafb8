"""Hashes of code: what a change of a user's file changes, and what it does not."""

import dataclasses
import functools
import importlib.util
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxdistill import usercode

ROOT = pathlib.Path(__file__).parents[1]
FILE = '''"""A method."""
import functools
import dataclasses
import jax.numpy as jnp
{imports}

SCALE = 2.0
UNUSED = 1
KINDS = {{'one', 'two', 'three', 'four'}}


def inner(x):
  """{doc}"""
  return x * SCALE{inner}


@dataclasses.dataclass
class Layer:
  width: int = {width}

  def __call__(self, x):
    return inner(x) if 'one' in {{'one', 'two', 'three', 'four'}} else jnp.sum(x)  # {comment}


def other(x):
  return {other}


def plugs(model, *, power={power}):
  return functools.partial(lambda x, y: Layer()(x) ** y, power)
'''
PLAIN = dict(imports='', doc='In.', inner='', width=4, comment='a', other=1, power=2)


@pytest.fixture
def load(tmp_path):
  """Returns plugs of a file with some of its parts replaced."""

  def loaded(name='method.py', **parts):
    file = tmp_path / name
    file.write_text(FILE.format(**PLAIN | parts))
    spec = importlib.util.spec_from_file_location('_users', file)
    module = importlib.util.module_from_spec(spec)
    exec(compile(file.read_bytes(), file, 'exec'), module.__dict__)
    return module.plugs

  return loaded


@pytest.mark.parametrize(
  'parts',
  [
    dict(doc='Within.'),
    dict(comment='b'),
    dict(other=2),
    dict(imports='\n\n# Far below.\n\n'),
    dict(name='renamed.py'),
  ],
)
def test_what_computes_nothing_else_does_not_count(load, parts):
  assert usercode.code_hash(load(**parts)) == usercode.code_hash(load()) != ''


@pytest.mark.parametrize('parts', [dict(inner=' + 0.0'), dict(width=5), dict(power=3)])
def test_what_it_calls_counts_however_far_away(load, parts):
  assert usercode.code_hash(load(**parts)) != usercode.code_hash(load())


def test_a_constant_and_a_file_beside_it_count(load, tmp_path, monkeypatch):
  plugs = load()
  before = usercode.code_hash(plugs)
  monkeypatch.setitem(plugs.__globals__, 'SCALE', 4.0)
  assert usercode.code_hash(plugs) != before
  monkeypatch.syspath_prepend(tmp_path)
  hashes = []
  for text in ('gain = 1', 'gain = 2', 'gain = 2\nunused = 3'):
    (tmp_path / 'beside.py').write_text(f'{text}\ndef scaled(x):\n  return gain * x\n')
    sys.modules.pop('beside', None)
    plugs = load(imports='import beside', inner=' * beside.scaled(x)')
    hashes.append(usercode.code_hash(plugs))
  sys.modules.pop('beside')
  assert hashes[0] != hashes[1] == hashes[2]


def test_every_process_gives_the_same_hash(tmp_path):
  (tmp_path / 'method.py').write_text(FILE.format(**PLAIN))
  code = 'import method; from jaxdistill import usercode; print(usercode.code_hash(method.plugs))'
  hashes = set()
  for seed in ('1', '2'):
    done = subprocess.run(
      [sys.executable, '-c', code],
      env={'PYTHONHASHSEED': seed, 'PYTHONPATH': f'{tmp_path}:{ROOT}', 'JAX_PLATFORMS': 'cpu'},
      capture_output=True,
      text=True,
      check=True,
    )
    hashes.add(done.stdout)
  assert len(hashes) == 1 and len(hashes.pop().strip()) == 64


def test_what_is_not_the_users_has_no_hash():
  from jaxdistill.condensation import m3d
  from jaxdistill.models.convnet import ConvNet

  for thing in (m3d.plugs, ConvNet, len, subprocess.run, 3):
    assert usercode.code_hash(thing) == ''


def test_arrays_that_a_function_closes_over_are_constants_of_it():
  def projected(weight):
    return lambda images: images @ weight

  kinds = [np.eye(2), jnp.eye(2), jnp.eye(2, dtype=jnp.bfloat16), {'layer': [np.eye(2)]}]
  kinds += [2 * np.eye(2), np.ones((2, 2)), jax.random.key(0), jax.random.key(1)]
  hashes = [usercode.code_hash(projected(weight)) for weight in kinds]
  assert hashes == [usercode.code_hash(projected(weight)) for weight in kinds]
  assert len(set(hashes)) == len(kinds)


class Scaled:
  def __init__(self, scale):
    self.scale = scale

  def __call__(self, x):
    return x * self.scale


@dataclasses.dataclass(frozen=True)
class Named:
  scale: object


@pytest.mark.parametrize(
  'one, other',
  [
    (np.float32(0.5), np.float32(0.7)),
    (np.int8(1), np.int16(1)),
    ({'a', 'b', 'c'}, {'a', 'b', 'd'}),
    ({Named(1), Named(2)}, {Named(1), Named(3)}),
    (Scaled(2), Scaled(3)),
    (Named(np.ones(2)), Named(np.zeros(2))),
    (Scaled(lambda x: x), Scaled(lambda x: -x)),
    (Scaled(2).__call__, Scaled(3).__call__),
    (jax.nn.relu, jax.nn.gelu),
    (functools.partial(jax.nn.softmax, axis=0), functools.partial(jax.nn.log_softmax, axis=0)),
    (jnp.bfloat16, jnp.float32),
    (jax.lax.Precision.HIGH, jax.lax.Precision.HIGHEST),
    (optax.sgd(0.1), optax.adam(0.1)),
    (optax.sgd(0.1), optax.sgd(0.2)),
    (ml_collections.ConfigDict({'epochs': 4}), ml_collections.ConfigDict({'epochs': 8})),
    (nn.Dense(4), nn.Dense(8)),
    ((1, (2, 3)), ((1, 2), 3)),
    ({len: 1, max: 2}, {len: 2, max: 1}),
  ],
)
def test_all_that_a_function_reaches_counts(one, other):
  def reaching(value):
    return lambda x: (x, value)

  first, second = (usercode.code_hash(reaching(value)) for value in (one, other))
  assert first != second and first == usercode.code_hash(reaching(one))


def test_which_of_two_things_a_name_stands_for_counts():
  def scaled(images):
    return 2 * images

  def moved(images):
    return images + 2

  def using(chosen):
    return lambda images: (scaled(images), moved(images), chosen(images))

  assert usercode.code_hash(using(scaled)) != usercode.code_hash(using(moved))
  assert usercode.code_hash(using(scaled)) == usercode.code_hash(using(scaled))


def test_an_object_that_is_called_is_code():
  jitted = jax.jit(Scaled(2))
  assert usercode.code_hash(Scaled(2)) == usercode.code_hash(Scaled(2)) != ''
  assert usercode.code_hash(Scaled(2)) != usercode.code_hash(Scaled(3))
  assert usercode.code_hash(jitted) == usercode.code_hash(jax.jit(Scaled(2)))
