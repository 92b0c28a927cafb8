"""CD²: constrained dataset distillation (Bao, IJCAI 2025, arXiv 2601.08519). Reconstruction:
method, formulas and settings are those of a reading note of the paper; momentum, batch and norms
were not in it.

The memory holds a few synthetic images a class (`ddm`). While a session trains the classifier on
new images and memory, two losses on the memory tie it to the classifier of the session before: its
outputs stay where they were (feature retention), and so do the relations between them (structure
retention).
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.fscil.learner import (
  Learner,
  Task,
  cross_entropy,
  in_sessions,
  new_means,
  remembered_rows,
)
from jaxdistill.fscil.projectors import of_head, project
from jaxdistill.losses.prototypes import cosine_logits, unit
from jaxdistill.losses.retention import feature_retention, structure_retention, structure_weight
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.schedules import Schedule

HEAD = 'projector'
MEMORY = 'cd2'


def learner(
  task: Task,
  *,
  alpha_rule: Literal['paper', 'fixed'] = 'paper',
  alpha: float = 0.5,
  beta: float = 0.1,
  reduction: Literal['mean', 'sum'] = 'mean',
  normalize: bool = True,
  scale: float = 16.0,
  steps: int | Sequence[int] = 100,
  batch: int = 64,
  learning_rate: float = 0.25,
  momentum: float = 0.9,
  weight_decay: float = 5e-4,
) -> Learner:
  """Returns CD² as a learner; its memory is that of the policy 'cd2'.

      v = s · W unit(φ(f)), the rows of W of length 1
      L = L_gce + α L_SR + β L_FR, of which φ and W are trained

  with L_gce the cross-entropy over all classes seen, one mean over new rows and memory; L_SR and
  L_FR compare v on the whole memory with that of the classifier (φ, W) as the session before left
  it, over the classes that it knew.

  Args:
    task: the static facts.
    alpha_rule: 'paper': α = ln(2 - (50 / N)³) of the N classes seen, which wants more than 50 of
      them; 'fixed': α = `alpha`.
    alpha: α where it is fixed; 0 switches structure retention off.
    beta: β; 0 switches feature retention off.
    reduction: of both: 'sum', the paper's own form, or the 'mean' over entries.
    normalize: whether structure retention compares cosines of outputs, not their products.
    scale: s, above 0.
    steps: of every session, or one number a session.
    batch: rows a step.
    learning_rate: at the start of a session; it falls along a cosine.
    momentum, weight_decay: of SGD.

  Raises:
    UserError: α is not above 0 by the paper's rule, for so few classes; or a factor is negative.

  Source: the two losses, α, β, learning rate, schedule and steps are the paper's. Projector, batch
  and optimiser are those of NC-FSCIL's public code (Yang et al., ICLR 2023). Our choices: cosine
  logits with s, rows imprinted at the mean projection of the new images, one mean in L_gce,
  reduction and normalisation (literal sums outweigh L_gce by orders of magnitude).

  >>> task = Task(num_classes=100, base_classes=60, way=5, shot=5, sessions=8, dim=8)
  >>> learner(task).trained
  ('projector', 'rows')
  >>> learner(Task(num_classes=10, base_classes=4, way=2, shot=5, sessions=3, dim=8))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: By the paper's rule the weight of structure retention, ...
  """
  errors.positive_numbers(scale=scale)
  errors.real_numbers(alpha=alpha, beta=beta)
  if min(alpha, beta) < 0:
    raise errors.UserError(f'alpha and beta are at least 0; got alpha={alpha} and beta={beta}.')
  weights = _weights(task, alpha_rule, alpha)

  def start(key, start):
    del key
    projector, rows = of_head(start, 'projector', 'rows')
    rows = jnp.pad(rows, ((0, task.num_classes - len(rows)), (0, 0)))
    classifier = {'projector': projector, 'rows': rows}
    return {**classifier, 'previous': classifier}

  def embed(state, features):
    return unit(project(state['projector'], features))

  def logits(state, features):
    return cosine_logits(project(state['projector'], features), state['rows'], scale)

  def begin(key, state, arrivals, memory):
    del key, memory
    previous = {name: state[name] for name in ('projector', 'rows')}
    means = new_means(embed(state, arrivals.inputs), arrivals)
    rows = jnp.where(arrivals.new[:, None], means, state['rows'])
    return {**state, 'rows': rows, 'previous': previous}

  def loss(state, batch, arrivals, memory, key):
    del key
    scores = logits(state, batch.inputs)
    gce = cross_entropy(scores, batch.labels, batch.weight, arrivals.seen)
    remembered = remembered_rows(arrivals, memory)
    before = jax.lax.stop_gradient(logits(state['previous'], remembered.inputs))
    after = logits(state, remembered.inputs)
    compared = (before, after, remembered.weight, arrivals.old)
    structure = structure_retention(*compared, reduction=reduction, normalize=normalize)
    feature = feature_retention(*compared, reduction=reduction)
    total = gce + jnp.asarray(weights)[arrivals.number] * structure + beta * feature
    return total, {'gce': gce, 'structure': structure, 'feature': feature}

  return Learner(
    start,
    logits,
    embed,
    begin,
    loss=loss,
    trained=('projector', 'rows'),
    steps=in_sessions(steps, task),
    batch=batch,
    schedule=Schedule('cosine', learning_rate),
    optimizer=Optimizer('sgd', momentum=momentum, weight_decay=weight_decay),
    live=_live,
  )


def _weights(task, rule, alpha):
  """α of every session, of the base session 0."""
  if rule == 'fixed':
    return (0.0,) + (alpha,) * task.sessions
  seen = [task.arriving(number)[1] for number in range(1, task.sessions + 1)]
  if seen and min(seen) <= 50:
    raise errors.UserError(
      "By the paper's rule the weight of structure retention, ln(2 - (50 / N)^3), is above 0 from "
      f'N = 51 classes on, and session 1 ends with {seen[0]}; set method.alpha_rule=fixed, and '
      'method.alpha, such as 0.5.'
    )
  return (0.0, *map(structure_weight, seen))


def _live(state, seen):
  """The numbers of the classifier; the one before is there for training alone."""
  projector = sum(leaf.size for leaf in jax.tree.leaves(state['projector']))
  return projector + jnp.sum(seen) * state['rows'].shape[1]
