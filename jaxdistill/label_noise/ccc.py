"""CCC: two CrowdLayers that correct each other's confusion matrices (Zhang et al., AAAI 2024; arXiv
2312.07331)."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxdistill import draws, errors
from jaxdistill.errors import UserError
from jaxdistill.label_noise import crowd_layer, meta_sets
from jaxdistill.label_noise.crowd_layer import CROWD
from jaxdistill.label_noise.meta_sets import EXAMPLES, GROUPS, IMAGES, LABELS, WEIGHTS, Sets
from jaxdistill.label_noise.method import NET, Method, Phase, Setting
from jaxdistill.losses.classification import cross_entropy
from jaxdistill.training import whole_batch
from jaxdistill.training.game import Game, PerturbedWeights, Player, Standpoint, Term

MEMBERS = 2
_LAST = 'classifier'
_LEAST = 1e-30  # of max|D|: below it nothing is corrected

Through = Literal['last', 'all']


def method(
  setting: Setting,
  *,
  rho: float = 0.5,
  meta_size: int = 1000,
  groups: int = 30,
  warmup: int = 10,
  meta_batch: int = 128,
  through: Through = 'last',
  duplicates: bool = False,
  finetune: int = 0,
  finetune_rate: float = 1e-4,
) -> Method:
  """Returns CCC: two members, whose mean of probabilities is the answer.

  Both learn with CrowdLayer's loss L(theta, T + V). After `warmup` passes, before each further one:
  k-means groups the annotators of a member by their matrices T, and each member chooses of every
  class the `meta_size` / C examples with the smallest losses among those that some annotator called
  so. Then in each step, with a batch of the meta set that the *other* member chose:

      theta'(V) = theta - lr · grad_theta L(theta, T + V),     V [groups, C, C], 0
      D = grad_V of the cross-entropy of theta'(V) on the meta batch
      V = - rho · max(T) / max|D| · D

  and the optimiser's step is made with the gradient of L at (theta, T + V). Annotators of a group
  share their part of V, so that rare ones borrow strength. V is thrown away after the step.

  Args:
    setting: what it is for.
    rho: how large V is; with 0 this is CrowdLayer, twice, without finetune.
    meta_size: M, examples of a meta set, as many of each class.
    groups: G; at most as many as there are annotators.
    warmup: passes without V, fewer than there are.
    meta_batch: examples of the meta set in a step.
    through: which gradient of theta'(V) depends on V: that of the last layer as in the public code,
      or 'all' of them, which it does on LabelMe.
    duplicates: whether the meta set has an example once for every annotator who called it so, as
      the public code; once is our choice.
    finetune: passes in the end over the other's meta set, with cross-entropy; each has as many
      steps as one over all examples.
    finetune_rate: learning rate of these.

  Raises:
    UserError: a number out of range, or a network without a linear last layer 'classifier' for
      `through='last'`.

  Source: the public code of Zhang et al. The virtual step is plain SGD at the rate of the recipe,
    whatever the optimiser, and its running statistics are dropped, as there.
  """
  _check(setting, rho, meta_size, groups, warmup, meta_batch, finetune, finetune_rate)
  if rho == 0:
    return Method((crowd_layer.phase(setting),), MEMBERS, believe=crowd_layer.believe)
  if through == 'last':
    _check_last_layer(setting)
  sets = Sets(
    setting, meta_size // setting.classes, min(groups, setting.evidence.annotators), duplicates
  )
  correct = functools.partial(
    corrected, rate=setting.rate, rho=rho, groups=sets.groups, batch=meta_batch, through=through
  )
  phases = (_learning(setting, sets, correct, warmup),)
  if finetune:
    phases += (_finetuning(setting, sets, finetune, finetune_rate, meta_batch),)
  return Method(phases, MEMBERS, believe=sets.believe)


def corrected(
  standpoint: Standpoint,
  *,
  rate: Callable[[jax.Array], jax.Array],
  rho: float,
  groups: int,
  batch: int,
  through: Through,
) -> Any:
  """Returns (theta, T + V) of a step, see `method`.

  Args:
    standpoint: theta and T with the gradient of CrowdLayer's loss, and the beliefs of `Sets`.
    rate: the learning rate by the step.
    rho, groups, batch, through: see `method`.
  """
  matrices = standpoint.params[CROWD]['matrices']
  nothing = jnp.zeros((groups, *matrices.shape[1:]), matrices.dtype)

  def loss(correction):
    return meta_loss(standpoint, correction, rate=rate, batch=batch, through=through)

  # Each device has the part of its own rows in the gradient.
  slope = whole_batch.summed(jax.grad(loss)(nothing))
  return shifted(standpoint.params, against(slope, matrices, rho), standpoint.beliefs[GROUPS])


def meta_loss(
  standpoint: Standpoint,
  correction: jax.Array,
  *,
  rate: Callable[[jax.Array], jax.Array],
  batch: int,
  through: Through,
) -> jax.Array:
  """Returns the cross-entropy of theta'(V) on a batch of the partner's meta set, a scalar.

  Args:
    standpoint, rate, batch, through: see `corrected`.
    correction: V [G, C, C].
  """
  params, beliefs = standpoint.params, standpoint.beliefs
  gradient = standpoint.gradient(shifted(params, correction, beliefs[GROUPS]))[NET]
  if through == 'last':
    gradient = {**jax.lax.stop_gradient(gradient), _LAST: gradient[_LAST]}
  now = rate(standpoint.step)
  virtual = jax.tree.map(lambda w, slope: w - now * slope, params[NET], gradient)
  place = meta_sets.rows(standpoint.step, len(beliefs[LABELS]), batch)
  images, labels = beliefs[IMAGES][place], beliefs[LABELS][place]
  logits = standpoint.answer(NET, {**params, NET: virtual}, images)['logits']
  log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]
  weights = beliefs[WEIGHTS][place]
  return -(weights * log_p).sum() / jnp.maximum(weights.sum(), 1)


def shifted(params: Mapping[str, Any], correction: jax.Array, groups: jax.Array) -> dict[str, Any]:
  """Returns the parameters with T^r + V^g(r) in place of T^r.

  >>> params = {'crowd': {'matrices': jnp.ones((2, 1, 1))}}
  >>> shifted(params, jnp.array([[[5.0]], [[7.0]]]), jnp.array([1, 0]))['crowd']['matrices'].ravel()
  Array([8., 6.], dtype=float32)
  """
  matrices = params[CROWD]['matrices'] + correction[groups]
  return {**params, CROWD: {**params[CROWD], 'matrices': matrices}}


def against(slope: jax.Array, matrices: jax.Array, rho: float) -> jax.Array:
  """Returns V = - rho · max(T) / max|D| · D, and 0 where D is.

  >>> against(jnp.array([[[-4.0, 2.0]]]), jnp.array([[[3.0, 1.0]]]), 0.5)
  Array([[[ 1.5 , -0.75]]], dtype=float32)
  """
  steepest = jnp.abs(slope).max()
  # Divided first: the scale of a tiny slope would be no number.
  direction = jnp.where(steepest > _LEAST, slope / jnp.maximum(steepest, _LEAST), 0)
  return -rho * matrices.max() * direction


def _learning(setting, sets, correct, warmup):
  """The phase with both members. Before its first refresh no example of a meta set weighs anything,
  so that V is 0: a branch without it would keep the virtual step from sharing its forward pass with
  the actual one, which costs more than a warm-up saves."""
  nll = Term('nll', crowd_layer.loss)
  perturbed = PerturbedWeights((nll,), correct, decay_at='own')
  player = Player('', (NET, CROWD), (nll,), setting.optimizer(), perturb_weights=perturbed)
  game = Game(crowd_layer.parts(setting), (player,), beliefs=sets.first())
  tables = setting.evidence.tables
  refreshed = dict(refresh=sets.refresh, first=warmup, chosen=sets.chosen)
  return Phase('ccc', game, setting.epochs, tables=tables, **refreshed)


def _finetuning(setting, sets, passes, rate, batch):
  """The phase in which each member learns from its partner's meta set alone."""

  def rows(key, step, beliefs):
    place = meta_sets.rows(step, sets.size, batch)
    return beliefs[EXAMPLES][place], beliefs[WEIGHTS][place]

  def loss(scene):
    scene = scene.gathered()
    place = meta_sets.rows(scene.step, sets.size, batch)
    logits = scene[NET]['logits']
    # Rows that fill up the devices are the first ones again.
    labels = scene.beliefs[LABELS][place[jnp.arange(len(logits)) % len(place)]]
    return cross_entropy(logits, labels, scene.batch['weight'])

  def begin(ended, look):
    variables = ended['ccc']
    steps = setting.epochs * setting.epoch_steps
    return {**variables, 'beliefs': sets.refresh(variables, look, steps)}

  optimizer = setting.optimizer(passes, rate, constant=True, weight_decay=0.0)
  player = Player('', (NET,), (Term('ce', loss),), optimizer)
  game = Game(crowd_layer.parts(setting), (player,), beliefs=sets.first())
  tables = setting.evidence.tables
  given = dict(begin=begin, rows=rows, batch=batch, chosen=sets.chosen)
  return Phase('finetune', game, passes, tables=tables, **given)


def _check(setting, rho, meta_size, groups, warmup, batch, finetune, finetune_rate):
  errors.real_numbers(rho=rho, finetune_rate=finetune_rate)
  if rho < 0:
    raise UserError(f'rho is {rho}; it must not be negative.')
  errors.whole('groups', groups, at_least=1)
  errors.whole('warmup', warmup)
  errors.whole('meta_batch', batch, at_least=1)
  errors.whole('finetune', finetune)
  if not 0 < finetune_rate < float('inf'):
    raise UserError(f'finetune_rate is {finetune_rate}; it must be above 0.')
  if rho == 0 and finetune:
    raise UserError(
      f'finetune is {finetune}, and rho is 0, with which no meta set is chosen to learn from: set '
      'finetune=0, or rho above 0.'
    )
  errors.whole_numbers(meta_size=meta_size)
  if meta_size < setting.classes:
    raise UserError(
      f'meta_size is {meta_size}; a meta set has at least one example of each of the '
      f'{setting.classes} classes.'
    )
  if rho:
    setting.check_warmup('warmup', warmup, 'matrices are corrected')


def _check_last_layer(setting):
  """Refuses a network whose last layer is not known."""
  images = jax.ShapeDtypeStruct((2, *setting.examples.image_shape), jnp.float32)
  form = jax.eval_shape(setting.network.init, draws.key(0), images)
  layer = form['params'].get(_LAST, {})
  if not isinstance(layer, Mapping) or 'kernel' not in layer:
    raise UserError(
      f"The network has no linear last layer called '{_LAST}', through which V would be learned; "
      'set through=all.'
    )
