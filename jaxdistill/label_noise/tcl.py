"""TCL: trustable co-label learning from multiple noisy annotators (Li et al., IEEE TMM 2022; arXiv
2203.04199). Reconstruction: the tables of the paper could not be read.

A network and the crowd's labels are two views of the hidden label, each trained on what the other
says; a few trusted examples calibrate the network's probabilities.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import errors
from jaxdistill.errors import UserError
from jaxdistill.label_noise import colabels
from jaxdistill.label_noise.method import NET, Believed, Method, Phase, Setting
from jaxdistill.losses.classification import cross_entropy, weighted_mean
from jaxdistill.models.linear import Linear
from jaxdistill.training import optim
from jaxdistill.training.game import Game, Part, Player, Term
from jaxdistill.training.outputs import part_variables
from jaxdistill.training.scene import Scene

# The part that reads all labels of an example, the entry of a batch that has them, the beliefs.
AGGREGATOR, SAID, COLABELS = 'aggregator', 'said', 'colabels'
# Examples that an aggregator outside of a step reads at once.
_AT_ONCE = 512


def method(
  setting: Setting,
  *,
  aggregator: Literal['naive_bayes', 'mlp'] = 'naive_bayes',
  calibrate: bool = True,
  pretrain: int = 2,
  rounds: int = 30,
  round_epochs: int = 1,
  retrain: int = 20,
  finetune: int = 10,
  prior: tuple[float, ...] = (),
  optimizer: Literal['adam', 'recipe'] = 'adam',
  learning_rate: float = 0.0,
  hidden: int = 128,
  aggregator_rate: float = 1e-3,
) -> Method:
  """Returns TCL.

  The co-labels q begin as the shares of the annotators. The network has `pretrain` epochs on them;
  then, and after each of `rounds` times `round_epochs` further ones,

      u_i(c) ~ prior_c prod_r Pi^r[c, a_i^r],   Pi^r[c, k] ~ sum over i with a_i^r = k of q_i(c)
      q_i(c) ~ g_c(p_i(c)) u_i(c) / prior_c

  with p = softmax(f) in eval mode, and g_c the rising curve (isotonic regression) from p(c) to
  whether c is the label on the trusted examples. The loss is KL(q_i || p_i). In the end a new
  network has `retrain` epochs on the last q, and `finetune` on the trusted examples.

  Args:
    setting: what it is for, with trusted examples of every class; without any, see `calibrate`.
    aggregator: what u is: 'naive_bayes' as above; 'mlp', a network on all labels of an example,
      which every annotator must have labelled, trained on q beside the other one.
    calibrate: False: g_c(p) = p. With finetune=0 nothing needs trusted examples then.
    pretrain, rounds, round_epochs, retrain, finetune: see above.
    prior: of the classes; () for alike.
    optimizer: of the network: 'adam', or the recipe's.
    learning_rate: of it; 0: 1e-4 with 'adam', and the recipe's with 'recipe'.
    hidden: units of each of the two hidden layers of 'mlp'.
    aggregator_rate: learning rate of 'mlp', by Adam.

  Raises:
    UserError: a number out of range, no trusted examples or none of some class, labels that are
      missing for 'mlp'.

  Source: public code of Li et al. (LabelMe): epochs, Adam at 1e-4, a uniform prior, the constants
    of zero counts. Ours: the MLP, of which only the abstract is known, the optimiser of the fine-
    tuning, which begins anew where the code goes on with its moments, and the scale of the loss
    (the code divides by C too, which Adam does not see).
  """
  counts = dict(rounds=rounds, round_epochs=round_epochs, retrain=retrain, hidden=hidden)
  for name, value in dict(pretrain=pretrain, finetune=finetune, **counts).items():
    errors.whole(name, value, at_least=int(name in counts))
  errors.real_numbers(learning_rate=learning_rate, aggregator_rate=aggregator_rate)
  _check_trusted(setting, calibrate, finetune)
  mlp = Aggregator(setting.classes, hidden) if aggregator == 'mlp' else None
  agreement = Agreement(setting, calibrate, _checked_prior(prior, setting.classes), mlp)

  def game(epochs, loss, *others, on='train', **parts):
    if optimizer == 'adam':
      moved_by = optim.adam(learning_rate or 1e-4)
    else:
      moved_by = setting.optimizer(epochs, learning_rate, on=on)
    player = Player(NET, (NET,), (Term('kl', loss),), moved_by)
    beliefs = {COLABELS: lambda key: jnp.asarray(setting.evidence.soft)}
    return Game({NET: Part(setting.network), **parts}, (player, *others), beliefs=beliefs)

  def refresh(variables, look, step):
    epochs = step // setting.epoch_steps - pretrain
    return {} if epochs % round_epochs else {COLABELS: agreement(variables, look)}

  epochs = pretrain + rounds * round_epochs
  others, parts, tables = _trained_aggregator(mlp, setting, aggregator_rate)
  alternating = Phase(
    'rounds', game(epochs, of_colabels(NET), *others, **parts), epochs, tables=tables
  )
  every = math.gcd(pretrain, round_epochs)
  phases = [
    dataclasses.replace(alternating, refresh=refresh, first=pretrain, every=every),
    Phase('retrain', game(retrain, of_colabels(NET)), retrain, begin=agreement.begin_anew),
  ]
  if finetune:
    last = game(finetune, _of_labels, on='trusted')
    phases.append(Phase('finetune', last, finetune, on='trusted', begin=_go_on))
  return Method(tuple(phases), believe=agreement.believe, reconstruction=True)


class Aggregator(nn.Module):
  """Logits of the true label from the labels of all annotators, int [n, R]: two hidden layers on
  the labels as one-hot vectors, one behind another.

  >>> module = Aggregator(classes=2, hidden=4)
  >>> module.init_with_output(jax.random.key(0), jnp.array([[0, 1, 1]]))[0]['logits'].shape
  (1, 2)
  """

  classes: int
  hidden: int

  @nn.compact
  def __call__(self, said: jax.Array) -> dict[str, jax.Array]:
    x = jax.nn.one_hot(said, self.classes).reshape(len(said), -1)
    for number in (1, 2):
      x = nn.relu(Linear(self.hidden, name=f'hidden{number}')(x))
    return {'logits': Linear(self.classes, name='classifier')(x)}


@dataclasses.dataclass(frozen=True, eq=False)
class Agreement:
  """What networks and crowd agree on: (variables [R, ...], look) -> co-labels float32 [R, n, C].

  Attributes:
    setting: the labels, and the trusted examples.
    calibrate: whether the networks' probabilities are calibrated on these.
    prior: of the classes, [C].
    aggregator: what reads all labels of an example; None: naive Bayes does.
  """

  setting: Setting
  calibrate: bool
  prior: np.ndarray
  aggregator: Aggregator | None = None

  def __call__(self, variables, look) -> np.ndarray:
    answers, by_crowd = _probabilities(look(variables)), self.by_crowd(variables)
    trusted, labels = [None] * len(answers), None
    if self.calibrate:
      trusted = _probabilities(look(variables, of='trusted'))
      labels = jnp.asarray(self.setting.trusted.labels, jnp.int32)
    believed = []
    for answer, trusted_answer, crowd in zip(answers, trusted, by_crowd):
      network = colabels.by_network(answer, trusted_answer, labels)
      believed.append(np.asarray(colabels.agreed(network, crowd, self.prior)))
    return np.stack(believed)

  def begin_anew(self, ended, look):
    """The last co-labels, for a network with new weights."""
    return {'beliefs': {COLABELS: self(ended['rounds'], look)}}

  def believe(self, variables, look) -> Believed:
    """What `Method.believe` says: the co-labels, and the annotators by them."""
    labels, crowd = np.asarray(variables['beliefs'][COLABELS]), self.setting.evidence.crowd
    matrices = [np.asarray(colabels.annotators(crowd, network)) for network in labels]
    return Believed(labels, confusions=np.stack(matrices))

  def by_crowd(self, variables) -> list[jax.Array]:
    """What the labels say of each example, [n, C] for each of the R networks."""
    crowd = self.setting.evidence.crowd
    if self.aggregator is None:
      believed = variables['beliefs'][COLABELS]
      return [colabels.by_crowd(crowd, jnp.asarray(network), self.prior) for network in believed]
    of_parts = part_variables(variables, AGGREGATOR)
    return list(_aggregated(self.aggregator, of_parts, jnp.asarray(_complete(self.setting))))


def of_colabels(part: str) -> Callable[[Scene], jax.Array]:
  """Returns the loss of a part by the co-labels: the mean of KL(q_i || p_i)."""

  def loss(scene):
    q = scene.beliefs[COLABELS][scene.batch['index']]
    log_p = jax.nn.log_softmax(scene[part]['logits'])
    return weighted_mean((jax.scipy.special.xlogy(q, q) - q * log_p).sum(-1), scene.batch['weight'])

  return loss


def _go_on(ended, look):
  return dict(ended['retrain'])


def _of_labels(scene):
  return cross_entropy(scene[NET]['logits'], scene.batch['labels'], scene.batch['weight'])


def _trained_aggregator(mlp, setting, rate):
  """Further players, parts and entries of a batch."""
  if mlp is None:
    return (), {}, {}
  part = Part(mlp, reads=lambda scene: (scene.batch[SAID],))
  player = Player(
    AGGREGATOR, (AGGREGATOR,), (Term('kl', of_colabels(AGGREGATOR)),), optim.adam(rate)
  )
  return (player,), {AGGREGATOR: part}, {SAID: _complete(setting)}


def _complete(setting):
  """The labels of all annotators, int32 [n, R]."""
  crowd = setting.evidence.crowd
  if len(crowd) != crowd.num_examples * crowd.num_annotators:
    raise UserError(
      f"aggregator='mlp' reads a label of every annotator for every example, "
      f'{crowd.num_examples * crowd.num_annotators} in all; there are {len(crowd)}: take '
      "'naive_bayes'."
    )
  return np.asarray(crowd.label, np.int32).reshape(crowd.num_examples, -1)


@functools.partial(jax.jit, static_argnums=0)
def _aggregated(module, variables, said):
  """What aggregators side by side say, [R, n, C]; so many examples at once, whose labels alone are
  one-hot vectors of all annotators."""
  of_example = lambda labels: jax.vmap(module.apply, (0, None))(variables, labels[None])['logits']
  logits = jax.lax.map(of_example, said, batch_size=_AT_ONCE)
  return _probabilities({'logits': logits[:, :, 0].swapaxes(0, 1)})


def _probabilities(answered):
  return jax.nn.softmax(jnp.asarray(answered['logits'], jnp.float32))


def _checked_prior(prior, classes):
  """The prior as an array [C]."""
  given = np.asarray(prior if len(prior) else [1 / classes] * classes)
  # Written so that NaN fails too.
  fits = given.shape == (classes,) and given.dtype.kind in 'iuf'
  if not fits or not (given.min() > 0 and abs(given.sum() - 1) < 1e-4):
    raise UserError(
      f'prior needs {classes} probabilities above 0, one a class, that sum to 1; it is {prior}.'
    )
  return given.astype(np.float32)


def _check_trusted(setting, calibrate, finetune):
  """Refuses a method without the trusted examples that it needs."""
  if not calibrate and not finetune:
    return
  if setting.trusted is None:
    raise UserError(
      'TCL calibrates and fine-tunes on trusted examples, and there are none: give some of every '
      'class, or set calibrate=False and finetune=0.'
    )
  counts = np.bincount(np.asarray(setting.trusted.labels), minlength=setting.classes)
  without = np.flatnonzero(counts[: setting.classes] == 0)
  if len(without):
    raise UserError(
      f'TCL needs trusted examples of every class; there are none of class {without[0]}.'
    )
