"""UnionNet-B: the labels of all annotators as one answer of many classes (Wei et al., TNNLS
2022)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.errors import UserError, real_numbers
from jaxdistill.label_noise import terms
from jaxdistill.label_noise.method import NET, Believed, Method, Phase, Setting
from jaxdistill.label_noise.observed import ANNOTATORS
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.outputs import part_variables

# The part with the annotators' matrices.
CROWD = 'crowd'


class Union(nn.Module):
  """P[r, j, a], the probability of the pair (annotator r, label a) of an example of class j, which
  sums to 1 over all pairs; it gives the rows of those annotators who are asked for, 'matrices'
  [n, K, C, C].

  >>> union = Union(annotators=2, classes=2, epsilon=0.5)
  >>> matrices = union.init_with_output(jax.random.key(0), jnp.array([[0, 1]]))[0]['matrices']
  >>> matrices.sum((1, 3)).tolist()
  [[1.0, 1.0]]
  """

  annotators: int
  classes: int
  epsilon: float

  @nn.compact
  def __call__(self, annotators: jax.Array) -> dict[str, jax.Array]:
    right = jnp.eye(self.classes)
    wrong = self.epsilon / (self.classes - 1)
    first = (1 - self.epsilon) * right + wrong * (1 - right)
    shape = (self.annotators, self.classes, self.classes)
    matrices = self.param('matrices', lambda key: jnp.broadcast_to(first, shape))
    return {'matrices': pairs(matrices)[jnp.maximum(annotators, 0)]}


def method(setting: Setting, *, epsilon: float = 1e-5) -> Method:
  """Returns UnionNet-B.

      p(r, a | x) = sum_j s_j P[r, j, a],   P[:, j, :] = softmax of T[:, j, :] over all R C pairs
      L = - (1/n) sum over the observed (i, r) of log p(r, a_i^r | x_i),   s = softmax(f(x))

  with T = (1 - epsilon) I + epsilon / (C - 1) (1 - I) for every annotator at first.

  Args:
    setting: what it is for.
    epsilon: how often an annotator is taken to be wrong at first.

  Raises:
    UserError: epsilon outside [0, 1].

  Source: Wei et al. in the form of the public toolbox maml (its `UnionNetClassifier`).
  """
  real_numbers(epsilon=epsilon)
  if not 0 <= epsilon <= 1:
    raise UserError(f'epsilon is {epsilon}; it must be from 0 to 1.')
  union = Union(setting.evidence.annotators, setting.classes, epsilon)
  parts = {
    NET: Part(setting.network),
    CROWD: Part(union, reads=lambda scene: (scene.batch[ANNOTATORS],)),
  }
  player = Player('', (NET, CROWD), (Term('nll', loss),), setting.optimizer())
  phase = Phase('union_net', Game(parts, (player,)), setting.epochs, tables=setting.evidence.tables)
  return Method((phase,), believe=believe)


def pairs(matrices: jax.Array) -> jax.Array:
  """Returns P from T, [R, C, C] both: a softmax over annotators and labels for every class."""
  return jax.nn.softmax(matrices, axis=(0, 2))


def loss(scene) -> jax.Array:
  """Returns L of a scene: a sum over an example's labels, a mean over examples."""
  scene = scene.gathered()
  shares = jax.nn.softmax(scene[NET]['logits'])
  log_p = jnp.log(jnp.einsum('nj,nkja->nka', shares, scene[CROWD]['matrices']))
  weight = scene.batch['weight']
  labels = ((scene.batch[ANNOTATORS] >= 0) * weight[:, None]).sum()
  return terms.observed_nll(log_p, scene.batch) * labels / jnp.maximum(weight.sum(), 1e-12)


def believe(variables, look) -> Believed:
  """Returns the annotators' shares of each label among those that they give."""
  matrices = jnp.asarray(part_variables(variables, CROWD)['params']['matrices'])
  return Believed(confusions=np.asarray(jax.nn.softmax(matrices)))
