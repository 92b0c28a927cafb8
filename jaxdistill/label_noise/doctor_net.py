"""DoctorNet: a classifier an annotator on one network, averaged in the end (Guan et al., AAAI
2018)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.label_noise import terms
from jaxdistill.label_noise.method import NET, Method, Phase, Setting
from jaxdistill.label_noise.observed import ANNOTATORS
from jaxdistill.models import heads, initializers
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.outputs import part_variables

# The part with the annotators' classifiers.
HEADS = 'heads'
# Annotators whose answers are computed at once.
_BLOCK = 16


class Body(nn.Module):
  """A network without its classifier: its features by name, 'embedding' [n, d] among them."""

  encoder: nn.Module

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
    return heads.encode(self.encoder, images, train)


class Heads(nn.Module):
  """A linear classifier an annotator; it gives the 'logits' [n, K, C] of those who are asked for.

  >>> classifiers = Heads(annotators=3, classes=2)
  >>> arguments = jnp.ones((1, 4)), jnp.array([[2, -1]])
  >>> output, variables = classifiers.init_with_output(jax.random.key(0), *arguments)
  >>> output['logits'].shape, variables['params']['kernels'].shape
  ((1, 2, 2), (3, 4, 2))
  """

  annotators: int
  classes: int

  @nn.compact
  def __call__(self, embedding: jax.Array, annotators: jax.Array) -> dict[str, jax.Array]:
    embedding = embedding.astype(jnp.float32)
    size = embedding.shape[-1]
    draw = initializers.torch_uniform(size)
    kernels = self.param('kernels', draw, (self.annotators, size, self.classes))
    biases = self.param('biases', draw, (self.annotators, self.classes))
    asked = jnp.maximum(annotators, 0)
    return {'logits': jnp.einsum('nd,nkdc->nkc', embedding, kernels[asked]) + biases[asked]}


def method(setting: Setting) -> Method:
  """Returns DoctorNet.

      log p(a | x, r) = log_softmax(W_r e(x) + b_r)[a],   e(x) the embedding of one network
      L = - mean of log p over the observed labels of a batch

  and the answer is the mean of softmax(W_r e(x) + b_r) over the annotators who gave a label (our
  choice: the classifiers of the others have learned nothing).

  Source: Guan et al.; the plain mean as in the comparisons of Max-MIG (Cao et al., ICLR 2019).
  """
  body = Body(setting.network)
  classifiers = Heads(setting.evidence.annotators, setting.classes)
  parts = {
    NET: Part(body),
    HEADS: Part(
      classifiers, reads=lambda scene: (scene[NET]['embedding'], scene.batch[ANNOTATORS])
    ),
  }
  player = Player('', (NET, HEADS), (Term('nll', loss),), setting.optimizer())
  game = Game(parts, (player,))
  phase = Phase('doctor_net', game, setting.epochs, tables=setting.evidence.tables)
  crowd = setting.evidence.crowd
  active = np.bincount(np.asarray(crowd.annotator), minlength=crowd.num_annotators) > 0

  def answer(variables, images):
    embedding = body.apply(part_variables(variables, NET), images)['embedding']
    params = part_variables(variables, HEADS)['params']
    return mean_answer(embedding, params['kernels'], params['biases'], active)

  return Method((phase,), answer=answer)


def loss(scene) -> jax.Array:
  """Returns L of a scene."""
  scene = scene.gathered()
  return terms.observed_nll(jax.nn.log_softmax(scene[HEADS]['logits']), scene.batch)


def mean_answer(
  embedding: jax.Array, kernels: jax.Array, biases: jax.Array, active: np.ndarray
) -> jax.Array:
  """Returns the mean of the classifiers' probabilities, [n, C], a few annotators at a time.

  Args:
    embedding: [n, d].
    kernels, biases: [R, d, C] and [R, C].
    active: bool [R], whose answers count.

  >>> logits = jnp.log(jnp.array([[3.0, 1.0], [1.0, 1.0], [1.0, 9.0]]))
  >>> mean_answer(jnp.zeros((1, 4)), jnp.zeros((3, 4, 2)), logits, np.array([True, True, False]))
  Array([[0.625, 0.375]], dtype=float32)
  """
  chosen = np.flatnonzero(active)
  # The last block is filled up with annotators of weight 0.
  blocks = -(-len(chosen) // _BLOCK)
  places = np.resize(chosen, (blocks, _BLOCK))
  weights = (np.arange(blocks * _BLOCK) < len(chosen)).reshape(blocks, _BLOCK) / len(chosen)
  embedding = embedding.astype(jnp.float32)

  def add(total, block):
    place, weight = block
    logits = jnp.einsum('nd,rdc->rnc', embedding, kernels[place]) + biases[place][:, None]
    return total + jnp.einsum('r,rnc->nc', weight, jax.nn.softmax(logits)), None

  first = jnp.zeros((len(embedding), biases.shape[-1]))
  blocks = jnp.asarray(places), jnp.asarray(weights, jnp.float32)
  return jax.lax.scan(add, first, blocks)[0]
