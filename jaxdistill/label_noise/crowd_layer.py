"""CrowdLayer: a matrix of logits an annotator behind one classifier (Rodrigues and Pereira, AAAI
2018)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.label_noise import terms
from jaxdistill.label_noise.method import NET, Believed, Method, Phase, Setting
from jaxdistill.label_noise.observed import ANNOTATORS
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.outputs import part_variables

# The part with the annotators' matrices.
CROWD = 'crowd'
_TINY = 1e-5


class Matrices(nn.Module):
  """T [R, C, C], one matrix an annotator, the identity at first; it gives the rows of those who are
  asked for.

  >>> layer = Matrices(annotators=3, classes=2)
  >>> layer.init_with_output(jax.random.key(0), jnp.array([[2, -1]]))[0]['matrices'].shape
  (1, 2, 2, 2)
  """

  annotators: int
  classes: int

  @nn.compact
  def __call__(self, annotators: jax.Array) -> dict[str, jax.Array]:
    first = lambda key: jnp.broadcast_to(
      jnp.eye(self.classes), (self.annotators, self.classes, self.classes)
    )
    matrices = self.param('matrices', first)
    return {'matrices': matrices[jnp.maximum(annotators, 0)]}


def method(setting: Setting) -> Method:
  """Returns CrowdLayer with matrices that are no probabilities (the variant 'MW').

      log p(a | x, r) = log(softmax_a(sum_j s_j T^r[j, a]) + 1e-5),   s = softmax(f(x))

  and L is the mean of -log p over the observed labels of a batch.

  Source: Rodrigues and Pereira; the small constant as in the public code of CCC (Zhang et al., AAAI
  2024), which is built on it.
  """
  return Method((phase(setting),), believe=believe)


def phase(setting: Setting) -> Phase:
  """Returns its one phase."""
  player = Player('', (NET, CROWD), (Term('nll', loss),), setting.optimizer())
  game = Game(parts(setting), (player,))
  return Phase('crowd_layer', game, setting.epochs, tables=setting.evidence.tables)


def parts(setting: Setting) -> dict[str, Part]:
  """Returns the classifier and the annotators' matrices."""
  matrices = Matrices(setting.evidence.annotators, setting.classes)
  return {
    NET: Part(setting.network),
    CROWD: Part(matrices, reads=lambda scene: (scene.batch[ANNOTATORS],)),
  }


def loss(scene) -> jax.Array:
  """Returns L of a scene."""
  scene = scene.gathered()
  log_p = log_observed(scene[NET]['logits'], scene[CROWD]['matrices'])
  return terms.observed_nll(log_p, scene.batch)


def log_observed(logits: jax.Array, matrices: jax.Array) -> jax.Array:
  """log p of what annotators say, [n, K, C], from logits [n, C] and their matrices [n, K, C, C].

  >>> perfect = log_observed(jnp.array([[99.0, 0.0]]), jnp.eye(2)[None, None])
  >>> round(float(jnp.exp(perfect[0, 0, 0])), 4)   # e / (e + 1)
  0.7311
  """
  answers = jnp.einsum('nj,nkja->nka', jax.nn.softmax(logits), matrices)
  return jnp.log(jax.nn.softmax(answers) + _TINY)


def believe(variables, look) -> Believed:
  """Returns what the matrices say of an example of one class for certain, softmax of their rows."""
  matrices = part_variables(variables, CROWD)['params']['matrices']
  return Believed(confusions=np.asarray(jax.nn.softmax(jnp.asarray(matrices))))
