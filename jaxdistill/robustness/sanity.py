"""Rules that a sane evaluation keeps; each broken one is told in a sentence.

Source: Carlini et al., On evaluating adversarial robustness (2019), and Athalye, Carlini and
Wagner, Obfuscated gradients give a false sense of security (ICML 2018).
"""

import itertools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.robustness import network as networks
from jaxdistill.robustness import objectives
from jaxdistill.robustness.attacks import Chosen

# Attacks that climb a gradient in many steps.
_CLIMBING = ('pgd', 'pgd20', 'pgd100', 'cw', 'apgd_ce', 'apgd_dlr', 'apgd_t', 'fab_t')
_PLAIN = ('fgsm', 'pgd', 'pgd20', 'pgd100')
_SHARE = 0.1  # of images without a gradient, from which on it is told
_SATURATED = 80.0  # a lead of the logit at which softmax has no other class left in float32


def broken(
  chosen: Sequence[Chosen], correct: Mapping[str, np.ndarray], eps: float, norm: str
) -> list[str]:
  """Returns a sentence for each rule that these answers break.

  Args:
    chosen: the attacks.
    correct: bool [n] by their names.
    eps: radius of the ball.
    norm: of the ball.

  >>> right = np.array([True, False])
  >>> from jaxdistill.robustness import attacks
  >>> square = attacks.choose('square', 0.1, 'linf', {})
  >>> pgd = attacks.choose('pgd', 0.1, 'linf', {})
  >>> broken([pgd, square], {'pgd': right | True, 'square': right}, 0.1, 'linf')[0][:60]
  'square, which sees no gradients, leaves 50.00 % and pgd 100.'
  """
  left = {name: int(mask.sum()) for name, mask in correct.items()}
  share = {name: f'{100 * mask.mean():.2f} %' for name, mask in correct.items()}
  names = [one.name for one in chosen]
  sentences = []
  for few, many in itertools.permutations(chosen, 2):
    if _longer(few, many) and left[many.name] > left[few.name]:
      sentences.append(
        f'{many.name} leaves {share[many.name]} and {few.name} {share[few.name]}: more steps must '
        'not raise the accuracy; try shorter steps or restarts.'
      )
  climbing = [name for name in names if name in _CLIMBING]
  strongest = min(climbing, key=left.get, default=None)
  if 'square' in names and strongest and left['square'] < left[strongest]:
    sentences.append(
      f'square, which sees no gradients, leaves {share["square"]} and {strongest} '
      f'{share[strongest]}: gradients may mislead here, and attacks that follow them overrate the '
      'network.'
    )
  for name in names:
    if 'autoattack' in names and name in _PLAIN and left['autoattack'] > left[name]:
      sentences.append(
        f'autoattack leaves {share["autoattack"]} and {name} {share[name]}: the stronger attack '
        'must not leave more; report the worst of both.'
      )
  worst = int(np.logical_and.reduce([correct[name] for name in names]).sum())
  if norm == 'linf' and eps >= 1 and worst:
    sentences.append(
      f'{worst} images stay right though every image is within eps = {eps:g}: no accuracy can be '
      'left there, so the attacks do not work on this network.'
    )
  return sentences


def _longer(few, many):
  """Whether `many` is the attack `few` with more steps and nothing else changed."""
  if few.factory is not many.factory or 'steps' not in few.fields:
    return False
  same = {**few.fields, 'steps': 0} == {**many.fields, 'steps': 0}
  return same and few.fields['steps'] < many.fields['steps']


def vanishing(network: networks.Traced, images: np.ndarray, labels: np.ndarray) -> list[str]:
  """Returns a sentence where the gradient of the cross-entropy is exactly 0 on more than a tenth of
  the images, [n, h, w, c], which the network gets right."""
  if not len(images):
    return []

  def step(state, weights):
    f = network.with_weights(weights)

    def loss(images):
      logits = f(images)
      lead = objectives.margin(logits, state['labels'])
      return jnp.sum(objectives.cross_entropy(logits, state['labels'])), lead

    gradient, lead = jax.grad(loss, has_aux=True)(state['images'])
    return dict(state, zero=jnp.all(gradient == 0, (1, 2, 3)), lead=lead), {}

  zero, lead = [], []
  for first in range(0, len(images), network.batch):
    rows = slice(first, first + network.batch)
    state = dict(
      images=jnp.asarray(networks.filled(images[rows], network.batch)),
      labels=jnp.asarray(networks.filled(labels[rows], network.batch)),
      zero=jnp.zeros(network.batch, bool),
      lead=jnp.zeros(network.batch),
    )
    state = networks.computed(network, 'vanishing', step, state)
    number = len(images[rows])
    zero.append(np.asarray(state['zero'])[:number])
    lead.append(np.asarray(state['lead'])[:number])
  zero, lead = np.concatenate(zero), np.concatenate(lead)
  if zero.mean() <= _SHARE:
    return []
  saturated = np.median(lead[zero]) > _SATURATED
  cause = (
    f'logits saturate softmax (median lead {np.median(lead[zero]):.3g}), so attacks on it see '
    'nothing; those on margins and DLR do'
    if saturated
    else 'the network lets no gradient through, so only attacks on logits, such as square, count'
  )
  return [
    f'The gradient of the cross-entropy is 0 on {100 * zero.mean():.1f} % of the images that the '
    f'network gets right: {cause}.'
  ]
