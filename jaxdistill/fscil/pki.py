"""PKI: a prior-knowledge-infused network (Bao et al., Neural Networks 192, 2025, art. 107724, arXiv
2601.08493). Reconstruction: of the paper the base session and the idea of the later ones were at
hand, not their formulas, its hyper-parameters and its tables.

The encoder is frozen, and so is every projector that was ever trained: stored prior knowledge. A
session adds one new projector to this ensemble and trains only it and the classifier, on the new
images and a memory of the classes before. Two variants, PKIV-1 and PKIV-2, keep fewer projectors.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from jaxdistill.fscil.learner import Learner, Task, in_sessions
from jaxdistill.fscil.projectors import Ensemble, of_head, width
from jaxdistill.models.heads import Projector
from jaxdistill.training.optim import Optimizer
from jaxdistill.training.schedules import Schedule

HEAD = 'projector'


def head_of(fields: Mapping[str, object]) -> str:
  """Returns the head of the base network that a learner with these fields starts from."""
  return HEAD if fields.get('unit_rows', True) else 'free_projector'


# K_t: whether session t keeps projector k beside its new one, the base's being number 0.
KEEP = {
  'pki': lambda k, t: k < t,
  'pkiv1': lambda k, t: (k == 0) | (k == t - 1),
  'pkiv2': lambda k, t: k == 0,
  'single': lambda k, t: k < 0,
}


def learner(
  task: Task,
  *,
  keep: Literal['pki', 'pkiv1', 'pkiv2', 'single'] = 'pki',
  combine: Literal['sum', 'concat'] = 'sum',
  new_projector: Literal['copy', 'fresh'] = 'copy',
  train_projector: bool = True,
  scale: float = 16.0,
  unit_rows: bool = True,
  steps: int | Sequence[int] = 100,
  batch: int = 64,
  learning_rate: float = 0.25,
  warmup_steps: int = 5,
  momentum: float = 0.9,
  weight_decay: float = 5e-4,
) -> Learner:
  """Returns PKI as a learner, or with `keep` one of its variants.

      v = Σ_{k in K_t} φ_k(f) + φ_t(f),   v̂ = v / ‖v‖,   logit_c = s · v̂ᵀ w_c / ‖w_c‖
      E_t = mean over new images and memory of L_ce,  of which φ_t and w are trained

  Args:
    task: the static facts.
    keep: the rule of K_t. 'pki': all earlier projectors; 'pkiv1': the base's and the last one;
      'pkiv2': the base's; 'single': none, one projector is trained on and on.
    combine: 'sum', or 'concat', with a classifier as wide as all projectors together.
    new_projector: a 'copy' of the last one, with which a session starts at the old decisions, or
      'fresh' random weights.
    train_projector: False trains the classifier alone.
    scale: s.
    unit_rows: whether the classifier's rows are divided by their length, in base training too;
      without it s is 1 there, and may be 1 here.
    steps: of every session, or one number a session.
    batch: rows a step.
    learning_rate: at the end of the warm-up; it falls along a cosine.
    warmup_steps: of every session.
    momentum, weight_decay: of SGD.

  Source: the paper has the frozen ensemble, the new projector, what is trained, and a memory, of
  which the abstract says no more. Projector, batch, warm-up, optimiser and class means as memory
  are those of NC-FSCIL's public code (Yang et al., ICLR 2023), the learning rate that of CD² (Bao
  et al., arXiv 2601.08519). Our choices: sum and concat, the sets K_t of the variants, the copy,
  rows imprinted at the mean v̂ of the new images, unit rows and s, a mean in place of the sum.

  >>> task = Task(num_classes=10, base_classes=4, way=2, shot=5, sessions=3, dim=8)
  >>> pki = learner(task, keep='pkiv2', steps=10)
  >>> pki.trained, pki.steps
  (('projector', 'rows'), (10, 10, 10))
  """
  ensemble = Ensemble(KEEP[keep], task.sessions, combine, scale=scale, unit_rows=unit_rows)

  def start(key, start):
    del key
    return ensemble.start(*of_head(start, 'projector', 'rows'), task.num_classes)

  def begin(key, state, arrivals, memory):
    del memory
    state = ensemble.advance(state, arrivals.number)
    if new_projector == 'fresh':
      network = Projector(width(state['projector']))
      state = {**state, 'projector': network.init(key, arrivals.inputs)['params']}
    return ensemble.imprint(state, arrivals)

  def loss(state, batch, arrivals, memory, key):
    del memory, key
    return ensemble.loss(state, batch, arrivals), {}

  return Learner(
    start,
    ensemble.logits,
    ensemble.embed,
    begin,
    ensemble.rows,
    loss,
    trained=('projector', 'rows') if train_projector else ('rows',),
    steps=in_sessions(steps, task),
    batch=batch,
    schedule=Schedule('cosine', learning_rate, warmup_steps=warmup_steps),
    optimizer=Optimizer('sgd', momentum=momentum, weight_decay=weight_decay),
    live=ensemble.live,
  )


class Variant(NamedTuple):
  """PKI with another rule of K_t, found by a name of its own as a module is."""

  learner: Callable[..., Learner]
  HEAD: str = HEAD
  head_of: Callable[[Mapping[str, object]], str] = head_of


PKIV1 = Variant(functools.partial(learner, keep='pkiv1'))
PKIV2 = Variant(functools.partial(learner, keep='pkiv2'))
