"""How residual and other staged networks name their features, so that a loss finds them in each.

'stem'                 what the first stage reads, behind its ReLU
'stage1', 'stage2' ... what a stage hands on, behind its last ReLU; 'block1' ... are the same maps
'stage1_pre' ...       the same before that ReLU
'embedding'            [n, d], what the classifier reads

Where a stage ends without a ReLU its file says what the two names stand for: in a pre-activation
network (`wrn`) 'stage1' is the raw sum and 'stage1_pre' that sum behind the next normalisation, in
one with linear bottlenecks (`mobilenetv2`) both are the same maps.

Source: the feature lists of the public code of Tian et al., ICLR 2020 (CRD), and of Zhao et al.,
CVPR 2022 (DKD).
"""

import jax


def named(stage: int, before: jax.Array, after: jax.Array) -> dict[str, jax.Array]:
  """Returns the entries of one stage.

  Args:
    stage: its number, from 1.
    before: its last maps before the ReLU.
    after: what it hands on.

  >>> sorted(named(1, 0, 1).items())
  [('block1', 1), ('stage1', 1), ('stage1_pre', 0)]
  """
  return {f'block{stage}': after, f'stage{stage}': after, f'stage{stage}_pre': before}
