"""SDC: static-dynamic collaboration (Bao et al., arXiv 2601.08448). Reconstruction: of the paper
the abstract was at hand; the rest follows PKI and CD² by the same first author and NC-FSCIL's
public code.

What keeps old classes hinders new ones, so each gets a part of its own. The base session leaves
static memory: its frozen branch, encoder and projector φ_s, and the means of its classes. All later
sessions train one dynamic projector φ_y, jointly with that memory, and the classifier.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.fscil.learner import Learner, Task, in_sessions
from jaxdistill.fscil.projectors import Ensemble, of_head, width
from jaxdistill.losses.prototypes import dot_regression, unit
from jaxdistill.models.heads import EtfHead
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.schedules import Schedule

HEAD = 'projector'


def head_of(fields: Mapping[str, object]) -> str:
  """Returns the head of the base network that a learner with these fields starts from."""
  return 'etf' if fields.get('classifier') == 'etf' else HEAD


def learner(
  task: Task,
  *,
  static_memory: Literal['both', 'parameters', 'features'] = 'both',
  fuse: Literal['sum', 'gate', 'concat', 'static', 'dynamic'] = 'sum',
  gate: float = 0.5,
  dynamic_reset: bool = False,
  row_anchor: float = 0.0,
  output_anchor: float = 0.0,
  classifier: Literal['trained', 'etf'] = 'trained',
  scale: float = 16.0,
  steps: int | Sequence[int] = 100,
  batch: int = 64,
  learning_rate: float = 0.25,
  warmup_steps: int = 5,
  momentum: float = 0.9,
  weight_decay: float = 5e-4,
) -> Learner:
  """Returns SDC as a learner.

      v = φ_s(f) + φ_y(f),   v̂ = v / ‖v‖,   logit_c = s · v̂ᵀ w_c / ‖w_c‖
      E_t = mean over new images and memory of L_ce
            + λ_w mean_{c base} ‖ŵ_c - ŵ_c⁰‖² + λ_v mean_{c base} ‖v̂_t(r_c) - v̂_0(r_c)‖²

  with r_c the base session's class means. φ_y starts as a copy of φ_s; φ_y and w are trained.

  Args:
    task: the static facts.
    static_memory: what the base session leaves. 'parameters': φ_s in the sum; 'features': its
      classes in the memory; or 'both'. The memory of later classes is always used.
    fuse: of the branches: 'sum', 'concat', 'gate' for (1 - g) φ_s + g φ_y, or one of them alone:
      'static', with the classifier alone trained, or 'dynamic'. With static_memory='parameters',
      'dynamic' has neither kind of static memory.
    gate: g of 'gate', between 0 and 1.
    dynamic_reset: whether φ_y is made anew from φ_s in every session.
    row_anchor, output_anchor: λ_w and λ_v; 0 leaves the term out.
    classifier: 'trained', with rows that start at the mean v̂ of the new images, or 'etf', for base
      networks with that head: its fixed directions, and their dot regression in place of L_ce.
    scale: s.
    steps: of every session, or one number a session.
    batch: rows a step.
    learning_rate: at the end of the warm-up; it falls along a cosine.
    warmup_steps: of every session.
    momentum, weight_decay: of SGD.

  Raises:
    UserError: fields that contradict each other, or a gate that leaves one branch out.

  Source: the abstract has the static memory, its two kinds being our two readings of it, and the
  extra projector that is trained with it. One projector for all later sessions, the ways to fuse,
  the imprinted rows, s and the anchors are our choices; rates as in CD² (arXiv 2601.08519), batch
  and optimiser as in NC-FSCIL's code. In form this is PKI with the base's projector kept.

  >>> task = Task(num_classes=10, base_classes=4, way=2, shot=5, sessions=3, dim=8)
  >>> learner(task, fuse='static').trained
  ('rows',)
  >>> learner(task, fuse='concat', static_memory='features')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: static_memory='features' has no static branch to fuse ...
  """
  _check(static_memory, fuse, gate, dynamic_reset, classifier, row_anchor, output_anchor)
  both_branches = fuse not in ('static', 'dynamic') and static_memory != 'features'
  stored = both_branches or dynamic_reset
  static_weight, dynamic_weight = (1 - gate, gate) if fuse == 'gate' else (1.0, 1.0)
  ensemble = Ensemble(
    keep=lambda k, t: (k == 0) & stored,
    sessions=task.sessions,
    combine='concat' if fuse == 'concat' else 'sum',
    frozen_weight=static_weight if both_branches else 0.0,
    newest_weight=dynamic_weight,
    scale=scale,
  )
  base = task.base_classes

  def start(key, start):
    del key
    if classifier == 'etf':
      (static,) = of_head(start, 'projector')
      rows = jnp.asarray(EtfHead(task.num_classes, width(static)).frame.T)
    else:
      static, rows = of_head(start, 'projector', 'rows')
    state = ensemble.start(static, rows, task.num_classes)
    if row_anchor or output_anchor:
      means = start.means[:base]
      outputs = ensemble.project(static, means)
      # The static projector's columns come first, see `Ensemble`.
      anchor = jnp.pad(unit(rows[:base]), ((0, 0), (0, state['rows'].shape[1] - rows.shape[1])))
      state['anchor'] = {'rows': anchor, 'means': means, 'outputs': outputs}
    return state

  def begin(key, state, arrivals, memory):
    del key, memory
    state = ensemble.advance(state, arrivals.number)
    if dynamic_reset:
      static = jax.tree.map(lambda stack: stack[0], state['frozen']['params'])
      state = {**state, 'projector': static}
    return state if classifier == 'etf' else ensemble.imprint(state, arrivals)

  def rows(state, arrivals, memory):
    if static_memory == 'parameters':
      of_later = jnp.arange(task.num_classes) >= base
      memory = memory._replace(weight=memory.weight * of_later[:, None])
    return ensemble.rows(state, arrivals, memory)

  def loss(state, batch, arrivals, memory, key):
    del memory, key
    if classifier == 'etf':
      embedded = ensemble.embed_rows(state, batch.inputs)
      total = dot_regression(embedded, batch.labels, state['rows'].T, batch.weight)
    else:
      total = ensemble.loss(state, batch, arrivals)
    if row_anchor:
      total += row_anchor * _distance(unit(state['rows'][:base]), state['anchor']['rows'])
    if output_anchor:
      anchor = state['anchor']
      past = ensemble.frozen_weight * anchor['outputs']
      embedded = unit(ensemble.join(state, anchor['means'], past))
      total += output_anchor * _distance(embedded, unit(anchor['outputs']))
    return total, {}

  trained = ('projector', 'rows')
  if fuse == 'static':
    trained = ('rows',)
  elif classifier == 'etf':
    trained = ('projector',)
  return Learner(
    start,
    ensemble.logits,
    ensemble.embed,
    begin,
    rows,
    loss,
    trained=trained,
    steps=in_sessions(steps, task),
    batch=batch,
    schedule=Schedule('cosine', learning_rate, warmup_steps=warmup_steps),
    optimizer=Optimizer('sgd', momentum=momentum, weight_decay=weight_decay),
    live=ensemble.live,
  )


def _distance(embedded, anchor):
  """The mean squared distance of rows [n, e]."""
  return jnp.mean(jnp.sum(jnp.square(embedded - anchor), axis=1))


def _check(static_memory, fuse, gate, dynamic_reset, classifier, row_anchor, output_anchor):
  if static_memory == 'features' and fuse in ('gate', 'concat', 'static'):
    raise errors.UserError(
      f"static_memory='features' has no static branch to fuse by {fuse!r}: leave fuse at 'sum' or "
      "take static_memory='both'."
    )
  errors.real_numbers(gate=gate, row_anchor=row_anchor, output_anchor=output_anchor)
  if not 0 < gate < 1 or fuse != 'gate' and gate != 0.5:
    raise errors.UserError(
      f"gate is {gate}; it lies between 0 and 1, and is set for fuse='gate' alone."
    )
  if fuse == 'static' and (dynamic_reset or classifier == 'etf' or output_anchor):
    raise errors.UserError(
      "fuse='static' trains the classifier alone: it has no dynamic_reset, no output_anchor and no "
      "classifier='etf'."
    )
  if classifier == 'etf' and (fuse == 'concat' or row_anchor):
    raise errors.UserError(
      "classifier='etf' has fixed rows: no row_anchor, and no columns to add by fuse='concat'."
    )
  if fuse == 'concat' and output_anchor:
    raise errors.UserError(
      "output_anchor compares outputs of one width; fuse='concat' makes them wider."
    )
  if min(row_anchor, output_anchor) < 0:
    raise errors.UserError(
      f'Anchors are numbers from 0 on; got row_anchor={row_anchor}, output_anchor={output_anchor}.'
    )
