"""TEEN: the few-shot class means of NCM, each moved towards the base classes that it resembles
(Wang et al., NeurIPS 2023, arXiv 2312.05229). Nothing is trained after the base session."""

import jax
import jax.numpy as jnp

from jaxdistill import errors
from jaxdistill.fscil import ncm
from jaxdistill.fscil.learner import Arrivals, Learner, Memory, State, Task, new_means
from jaxdistill.losses.prototypes import unit

HEAD = 'cosine'
READS_HEAD = False
READS_MEMORY = False


def learner(task: Task, *, alpha: float = 0.1, temperature: float = 16.0) -> Learner:
  """Returns NCM with calibrated rows of new classes.

      p' = (1 - a) p̂ + a unit(softmax(τ p̂ B̂ᵀ) B̂),   p̂ and the rows of B̂ of length 1

  p is the mean of a new class, B the means of the base classes; what came in earlier sessions does
  not take part.

  Args:
    task: the static facts.
    alpha: a, from 0 (NCM) to 1; the paper's is 0.1 for CIFAR-100 and 0.5 for CUB-200.
    temperature: τ.

  Raises:
    UserError: a value out of range.

  Source: the paper and its public code.

  >>> teen = learner(Task(num_classes=2, base_classes=1, way=1, shot=1, sessions=1, dim=2), alpha=1)
  >>> arrivals = Arrivals(jnp.int32(1), jnp.array([[0.0, 2.0]]), jnp.array([1]), jnp.ones(1),
  ...   new=jnp.array([False, True]), old=jnp.array([True, False]))
  >>> teen.begin(None, {'rows': jnp.array([[4.0, 0.0], [0.0, 0.0]])}, arrivals, None)['rows'][1]
  Array([1., 0.], dtype=float32)
  """
  errors.real_numbers(alpha=alpha, temperature=temperature)
  if not 0 <= alpha <= 1 or temperature <= 0:
    raise errors.UserError(
      f'TEEN needs alpha from 0 to 1 and a temperature above 0; got {alpha} and {temperature}.'
    )

  def begin(key: jax.Array, state: State, arrivals: Arrivals, memory: Memory) -> State:
    del key, memory
    prototypes = unit(new_means(arrivals.inputs, arrivals))
    base = unit(state['rows'][: task.base_classes])
    alike = jnp.matmul(prototypes, base.T, precision='highest')
    towards = jnp.matmul(jax.nn.softmax(temperature * alike), base, precision='highest')
    calibrated = (1 - alpha) * prototypes + alpha * unit(towards)
    return {**state, 'rows': jnp.where(arrivals.new[:, None], calibrated, state['rows'])}

  return Learner(start=ncm.start, logits=ncm.logits, embed=ncm.embed, begin=begin)
