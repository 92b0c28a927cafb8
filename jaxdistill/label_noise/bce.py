"""Binary cross-entropy on every label of a matrix, as it was observed: what is compared with."""

import numpy as np

from jaxdistill.label_noise import corrections
from jaxdistill.label_noise.method import NET, Method, Phase, Setting
from jaxdistill.losses.classification import weighted_mean
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.scene import Scene

# The entry of a batch with the observed labels, float32 [n, q].
NOISY = 'noisy'


def method(setting: Setting) -> Method:
  """Returns training on all labels as if they were right ('Standard' in MLNTM's tables).

  L = mean_i mean_j BCE(sigmoid(f_j(x_i)), y_ij)
  """
  player = Player('', (NET,), (Term('bce', loss),), setting.optimizer())
  game = Game({NET: Part(setting.network)}, (player,))
  return Method((Phase('bce', game, setting.epochs, tables=tables(setting)),))


def loss(scene: Scene):
  """Returns L of a scene."""
  losses = corrections.plain(scene[NET]['logits'], scene.batch[NOISY])
  return weighted_mean(losses.mean(-1), scene.batch['weight'])


def tables(setting: Setting) -> dict[str, np.ndarray]:
  """Returns the entries of a batch: the observed labels."""
  return {NOISY: setting.evidence.matrix.astype(np.float32)}
