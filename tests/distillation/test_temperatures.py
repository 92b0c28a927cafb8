"""A temperature that nothing can be divided by is told while a step is traced: before any work."""

import functools

import jax
import pytest
import staged
import toy_pairs

from jaxdistill import config as configs
from jaxdistill.distillation import checks, methods, terms
from jaxdistill.errors import UserError
from jaxdistill.training.players import Scene

# Besides the temperature, what makes a term ask for it.
ASKED = {'horkd': {'order4': 1.0}, 'crd_queue': {'length': toy_pairs.ROWS}}
TERMS = [name for name in terms.TERMS if 'temperature' in terms.defaults(name)]


@pytest.mark.parametrize('name', TERMS)
@pytest.mark.parametrize('temperature', [0.0, -1])
def test_every_term_refuses_it(name, temperature):
  pair = toy_pairs.pair()
  piece = terms.make(pair, name, {'temperature': temperature, **ASKED.get(name, {})})

  def values():
    sides = {'student': pair.student_form, 'teacher': pair.teacher_form}
    outputs = {side: toy_pairs.features(forms) for side, forms in sides.items()}
    scene = Scene(outputs, toy_pairs.batch(), jax.random.key(0))
    adapters = toy_pairs.start(piece.parts, outputs)
    return toy_pairs.values(piece.terms, toy_pairs.adapted(piece.parts, adapters, scene))

  with pytest.raises(UserError, match=f'temperature is {temperature}; it must be above 0'):
    jax.eval_shape(values)


@pytest.mark.parametrize(
  'name, fields',
  [
    ('aird', {'temperature': 0.0}),
    ('bridge', {'recovered': 'predictions', 'temperature': 0.0}),
    ('crrcd', {'kd_temperature': 0.0}),
    ('crrcd', {'temperature': -1.0}),
    ('crrcd', {'form': 'bank', 'temperature': -1.0}),
    ('evokd', {'temperature': 0.0}),
    ('horkd', {'order4': 1.0, 'temperature': 0.0}),
    ('horkd', {'kd': 1.0, 'kd_temperature': 0.0}),
  ],
)
def test_every_method_refuses_it(name, fields):
  pair, entries = staged.pair(), staged.batch()
  stage = methods.make(pair, {'name': name, **fields}).stages[0 if name == 'bridge' else -1]
  variables = jax.eval_shape(functools.partial(staged.first_variables, pair, stage, entries))
  with pytest.raises(UserError, match='temperature is -?[01].0; it must be above 0'):
    jax.eval_shape(staged.compiled(pair, stage), variables, entries)


def test_a_run_is_told_before_its_teacher_is_trained():
  config = configs.load('distillation/kd:digits,student=mlp,teacher=mlp')
  config.method.fields.kd.temperature = 0.0
  with pytest.raises(UserError, match='temperature is 0.0; it must be above 0'):
    checks.check(config)
