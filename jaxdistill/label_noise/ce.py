"""Cross-entropy on every label that was given: what is compared with."""

import jax

from jaxdistill.label_noise import terms
from jaxdistill.label_noise.method import NET, Method, Phase, Setting
from jaxdistill.training.game import Game, Part, Player, Term


def method(setting: Setting) -> Method:
  """Returns training on all labels alike, whoever gave them.

      L = - mean over observed (i, r) of log softmax(f(x_i))[a_i^r]

  In its last epochs a large network knows wrong labels by heart: the difference of its best to its
  last accuracy on clean test examples says how much.
  """

  def loss(scene):
    scene = scene.gathered()
    log_p = jax.nn.log_softmax(scene[NET]['logits'])
    return terms.observed_nll(log_p[:, None], scene.batch)

  player = Player('', (NET,), (Term('ce', loss),), setting.optimizer())
  game = Game({NET: Part(setting.network)}, (player,))
  return Method((Phase('ce', game, setting.epochs, tables=setting.evidence.tables),))
