"""NCM: every class is the mean of its features, and an image is of the class whose mean has the
largest cosine. Nothing is trained after the base session.

Called Decoupled-Cosine by Zhang et al. (CEC, CVPR 2021) and SimpleCIL by Zhou et al. (arXiv
2303.07338).
"""

import jax
import jax.numpy as jnp

from jaxdistill.fscil.learner import Arrivals, Learner, Memory, Start, State, Task, new_means
from jaxdistill.losses.prototypes import cosine_logits

HEAD = 'cosine'
READS_HEAD = False
READS_MEMORY = False


def learner(task: Task) -> Learner:
  """Returns the nearest class mean by cosine.

      w_c = mean of f over the images of class c,   logit_c = 16 cos(f, w_c)

  The base classes' rows are means too, not those that the base session trained.

  Args:
    task: the static facts.

  Source: the public code of CEC (Zhang et al., CVPR 2021): features in eval mode, without
  augmentation, of any length.

  >>> ncm = learner(Task(num_classes=2, base_classes=1, way=1, shot=1, sessions=1, dim=2))
  >>> state = ncm.start(None, Start(None, jnp.array([[1.0, 1.0], [0.0, 0.0]]), jnp.array([5, 0])))
  >>> arrivals = Arrivals(jnp.int32(1), jnp.array([[0.0, 2.0]]), jnp.array([1]), jnp.ones(1),
  ...   new=jnp.array([False, True]), old=jnp.array([True, False]))
  >>> ncm.begin(None, state, arrivals, None)['rows'].tolist()
  [[1.0, 1.0], [0.0, 2.0]]
  """
  del task
  return Learner(start=start, logits=logits, embed=embed, begin=imprint)


def start(key: jax.Array, start: Start) -> State:
  """Returns the state behind the base session: the class means as rows [C, d]."""
  del key
  return {'rows': start.means}


def logits(state: State, inputs: jax.Array) -> jax.Array:
  """Returns 16 cos(f, w_c), [n, C]."""
  return cosine_logits(inputs, state['rows'])


def embed(state: State, inputs: jax.Array) -> jax.Array:
  """Returns the features themselves."""
  del state
  return inputs


def imprint(key: jax.Array, state: State, arrivals: Arrivals, memory: Memory) -> State:
  """Returns the state with the means of the new classes as their rows."""
  del key, memory
  rows = jnp.where(arrivals.new[:, None], new_means(arrivals.inputs, arrivals), state['rows'])
  return {**state, 'rows': rows}
