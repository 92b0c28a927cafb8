"""Cross-entropy on the label that most annotators gave."""

import numpy as np

from jaxdistill.label_noise.method import NET, Method, Phase, Setting
from jaxdistill.losses.classification import cross_entropy
from jaxdistill.training.game import Game, Part, Player, Term

BELIEFS = 'believed'


def method(setting: Setting, *, soft: bool = False) -> Method:
  """Returns training on the majority's labels, ties to the lowest.

      L = mean_i CE(f(x_i), v_i)

  Args:
    setting: what it is for.
    soft: whether v_i is the share of the annotators that say each class, in place of the winner.
  """
  votes = setting.evidence.soft
  if not soft:
    votes = np.eye(setting.classes, dtype=np.float32)[setting.evidence.labels]
  return believing(setting, votes, 'vote')


def believing(setting: Setting, beliefs: np.ndarray, name: str) -> Method:
  """Returns training on soft labels [n, C] that stay as they are."""

  def loss(scene):
    return cross_entropy(scene[NET]['logits'], scene.batch[BELIEFS], scene.batch['weight'])

  player = Player('', (NET,), (Term('ce', loss),), setting.optimizer())
  game = Game({NET: Part(setting.network)}, (player,))
  tables = {BELIEFS: np.asarray(beliefs, np.float32)}
  return Method((Phase(name, game, setting.epochs, tables=tables),))
