"""What several methods of papers share: they are called reconstructions where a paper could not be
read, refuse what they cannot do, and see the whole batch on any number of devices."""

import numpy as np
import pytest
import staged

from jaxdistill import errors
from jaxdistill.distillation import crrcd, methods
from jaxdistill.training import parallel

NAMES = ('aird', 'bridge', 'crrcd', 'evokd', 'horkd', 'selective')


@pytest.mark.parametrize('name', NAMES)
def test_methods_by_name(name):
  method = methods.make(staged.pair(4, 6), {'name': name})
  assert method.reconstruction and method.student in method.stages[-1].parts
  assert len({stage.name for stage in method.stages}) == len(method.stages)
  for stage in method.stages:
    trained = [path for player in stage.players for path in player.trains]
    assert set(trained) <= set(stage.parts) and len(set(trained)) == len(trained)
    earlier = [other.name for other in method.stages[: method.stages.index(stage)]]
    assert set(stage.start.values()) <= set(earlier)


@pytest.mark.parametrize('name', [name for name in NAMES if name != 'evokd'])
def test_a_teacher_without_embeddings_is_refused(name):
  forms = {'logits': staged.pair().teacher_form['logits']}
  with pytest.raises(errors.UserError, match="no feature of the teacher 'embedding'"):
    methods.make(staged.pair(teacher_form=forms), {'name': name})


@pytest.mark.parametrize(
  'name, fields, message',
  [
    ('crrcd', dict(width=0), 'width is 0; it must be at least 1'),
    ('crrcd', dict(hidden=-3), 'hidden is -3; it must be at least 1'),
    ('crrcd', dict(embedding=-3), 'embedding is -3; it must be at least 0'),
    ('crrcd', dict(form='bank', momentum=7), 'momentum is 7; it is from 0 to below 1'),
    ('crrcd', dict(negatives=7), "negatives and momentum are of a bank, and form is 'batch'"),
    ('evokd', dict(width=0), 'width is 0; it must be at least 1'),
    ('bridge', dict(hidden=0), 'hidden is 0; it must be at least 1'),
    ('bridge', dict(regress=0, classify=0), 'Nothing is left for the student to learn: regress'),
    (
      'horkd',
      dict(gamma=0, order1=0, order2=0, order3=0),
      'Nothing is left for the student to learn: gamma, kd and all orders are 0',
    ),
  ],
)
def test_numbers_that_make_no_method_are_one_sentence(name, fields, message):
  with pytest.raises(errors.UserError, match=message):
    methods.make(staged.pair(4, 6), {'name': name, **fields})


@pytest.mark.slow
@pytest.mark.parametrize('fields', [{}, dict(form='bank', negatives=5)])
def test_four_devices_are_one(fields):
  pair, entries = staged.pair(2, 3), staged.batch()
  (stage,) = crrcd.method(pair, **fields).stages
  _, alone, lines = staged.trained(pair, stage, entries, steps=2)
  mesh = parallel.make_mesh(4)
  _, spread, spread_lines = staged.trained(pair, stage, entries, steps=2, mesh=mesh, spread='batch')
  for line, other in zip(lines, spread_lines):
    assert other['loss'] == pytest.approx(line['loss'], rel=1e-5)
  for part, tree in alone['params'].items():
    for name, leaves in staged.flat(tree).items():
      other = staged.flat(spread['params'][part])[name]
      np.testing.assert_allclose(leaves, other, atol=1e-5, err_msg=f'{part}{name}')
  for name, leaf in staged.flat(alone.get('memory', {})).items():
    np.testing.assert_allclose(leaf, staged.flat(spread['memory'])[name], atol=1e-5, err_msg=name)
