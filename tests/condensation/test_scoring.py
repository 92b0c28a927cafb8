"""Scores that several runs share: found again by all that decides them."""

import numpy as np

from jaxdistill.condensation import Condensed, scoring
from jaxdistill.experiment import kept
from jaxdistill.training.run import Run


def test_scores_are_read_only_where_everything_is_the_same(tmp_path, capsys):
  images, other = (
    Condensed(np.full((2, 2, 2, 1), value, np.float32), [0, 1], ('a', 'b'), (0.0,), (1.0,))
    for value in (0.5, 0.25)
  )
  computed = []

  def once(images, test=images, **options):
    return kept.once(
      Run(progress=False),
      str(tmp_path),
      scoring.identity(images, test, None, options),
      lambda: computed.append(1) or {'n': 1},
    )

  assert once(images, seed=0) == once(images, seed=0) and len(computed) == 1
  once(images, seed=1), once(other, seed=0), once(images, other, seed=0)
  assert len(computed) == 4 == len(list(tmp_path.iterdir()))
  for path in tmp_path.iterdir():
    path.write_text('{')
  assert (
    once(images, seed=0)['n'] == 1 and len(computed) == 5 and 'damaged' in capsys.readouterr().out
  )
