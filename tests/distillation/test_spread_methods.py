"""Relations are those of the whole batch on any number of devices, also where these cannot share it
evenly."""

import numpy as np
import pytest
import staged

from jaxdistill.distillation import crrcd
from jaxdistill.training import parallel


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
