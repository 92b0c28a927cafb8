"""CoNAL: confusions that all annotators have in common, and those of each (Chu, Ma and Wang, AAAI
2021)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.label_noise import terms
from jaxdistill.label_noise.method import NET, Believed, Method, Phase, Setting
from jaxdistill.label_noise.observed import ANNOTATORS
from jaxdistill.losses.classification import weighted_mean
from jaxdistill.losses.prototypes import unit
from jaxdistill.models import initializers
from jaxdistill.models.linear import Linear
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.outputs import part_variables

# The part with the matrices and what they are mixed by.
CROWD = 'crowd'
_FIRST = 2.0  # on the diagonals of all matrices at first
_TINY = 1e-12  # of a squared distance: it has no gradient at 0


class Mixed(nn.Module):
  """Of each label that is asked for, the matrix w T_g + (1 - w) T_r by which it comes about:
  'matrices' [n, K, C, C]; and 'apart' [n], the sum of all ||T_r - T_g||, the same for every row.

  >>> mixed = Mixed(annotators=3, classes=2)
  >>> arguments = jnp.ones((1, 4, 4, 1)), jnp.array([[2, -1]])
  >>> mixed.init_with_output(jax.random.key(0), *arguments)[0]['matrices'][0, 0]
  Array([[2., 0.],
         [0., 2.]], dtype=float32)
  """

  annotators: int
  classes: int
  width: int = 128
  size: int = 20

  @nn.compact
  def __call__(self, images: jax.Array, annotators: jax.Array) -> dict[str, jax.Array]:
    diagonal = _FIRST * jnp.eye(self.classes)
    of_each = (self.annotators, self.classes, self.classes)
    common = self.param('common', lambda key: diagonal)
    individual = self.param('individual', lambda key: jnp.broadcast_to(diagonal, of_each))
    flat = images.reshape(len(images), -1)
    image = Linear(self.size, name='image2')(Linear(self.width, name='image1')(flat))
    draw = initializers.torch_uniform(self.annotators)
    persons = self.param('persons', draw, (self.annotators, self.size))
    persons = persons + self.param('bias', draw, (self.size,))[None]
    asked = jnp.maximum(annotators, 0)
    share = jax.nn.sigmoid((unit(image)[:, None] * unit(persons)[asked]).sum(-1))[..., None, None]
    squares = jnp.square(individual - common[None]).sum((1, 2))
    apart = jnp.sqrt(jnp.maximum(squares, _TINY)).sum()
    return {
      'matrices': share * common[None, None] + (1 - share) * individual[asked],
      'apart': jnp.broadcast_to(apart, (len(images),)),
    }


def method(
  setting: Setting, *, push: float = 1e-5, width: int = 128, embedding: int = 20
) -> Method:
  """Returns CoNAL.

      log p(a | x, r) = log_softmax_a(sum_j s_j (w T_g + (1 - w) T_r)[j, a]),   s = softmax(f(x))
      w = sigmoid(<e(x) / ||e(x)||, e_r / ||e_r||>)
      L = - mean of log p over the observed labels of a batch - push · sum_r ||T_r - T_g||

  e(x) are two linear layers on the pixels, without a nonlinearity between them; e_r is a vector an
  annotator; T_g and all T_r are twice the identity at first. What is reported of an annotator is
  the softmax of the rows of (T_g + T_r) / 2: w is between .27 and .73.

  Args:
    setting: what it is for.
    push: how much the annotators' matrices are pushed away from the common one.
    width: units between the two layers.
    embedding: numbers of e(x) and e_r.

  Raises:
    UserError: a number out of range.

  Source: the public code of Chu et al.
  """
  errors.whole('width', width, at_least=1)
  errors.whole('embedding', embedding, at_least=1)
  errors.real_numbers(push=push)
  if push < 0:
    raise errors.UserError(f'push is {push}; it must not be negative.')
  mixed = Mixed(setting.evidence.annotators, setting.classes, width, embedding)
  parts = {
    NET: Part(setting.network),
    CROWD: Part(mixed, reads=lambda scene: (scene.batch['images'], scene.batch[ANNOTATORS])),
  }
  losses = (Term('nll', nll), Term('apart', apart, weight=-push))
  player = Player('', (NET, CROWD), losses, setting.optimizer())
  phase = Phase('conal', Game(parts, (player,)), setting.epochs, tables=setting.evidence.tables)
  return Method((phase,), believe=believe)


def nll(scene) -> jax.Array:
  """Returns the mean of -log p over the observed labels."""
  scene = scene.gathered()
  shares = jax.nn.softmax(scene[NET]['logits'])
  answers = jnp.einsum('nj,nkja->nka', shares, scene[CROWD]['matrices'])
  return terms.observed_nll(jax.nn.log_softmax(answers), scene.batch)


def apart(scene) -> jax.Array:
  """Returns the sum of the distances of the annotators' matrices from the common one."""
  return weighted_mean(scene[CROWD]['apart'], scene.batch['weight'])


def believe(variables, look) -> Believed:
  """Returns what the matrices say of an example of one class for certain, see `method`."""
  params = part_variables(variables, CROWD)['params']
  middle = (jnp.asarray(params['common'])[:, None] + jnp.asarray(params['individual'])) / 2
  return Believed(confusions=np.asarray(jax.nn.softmax(middle)))
