"""The learners of this family by name; each module is imported when it is asked for.

A learner's module has a function `learner(task, *, fields with defaults) -> learner.Learner`, whose
fields are the section `method` of a config, and the text `HEAD`: the head that its base network is
trained with. Where it remembers something else than class means, the text `MEMORY` names it, see
`memory`; a false `READS_MEMORY` says that nothing of a memory is ever read. A false `READS_HEAD`
says that features are all that it takes of a base network, so that any head serves it; a function
`head_of(fields) -> str` says which head other fields than the defaults want.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxdistill import registry
from jaxdistill.fscil.learner import Learner, Task

LEARNERS = registry.Registry(
  'few-shot learner',
  {
    'cd2': 'jaxdistill.fscil.cd2',
    'comemory': 'jaxdistill.fscil.comemory',
    'finetune': 'jaxdistill.fscil.finetune',
    'ft_cos': 'jaxdistill.fscil.ft_cos',
    'joint': 'jaxdistill.fscil.joint',
    'nc_fscil': 'jaxdistill.fscil.nc_fscil',
    'ncm': 'jaxdistill.fscil.ncm',
    'pki': 'jaxdistill.fscil.pki',
    'pkiv1': 'jaxdistill.fscil.pki:PKIV1',
    'pkiv2': 'jaxdistill.fscil.pki:PKIV2',
    'sdc': 'jaxdistill.fscil.sdc',
    'teen': 'jaxdistill.fscil.teen',
  },
  labels={
    'cd2': 'CD² (reconstruction)',
    'comemory': 'Co-Memory (reconstruction)',
    'finetune': 'Fine-tuning',
    'ft_cos': 'ft_cos',
    'joint': 'Joint',
    'nc_fscil': 'NC-FSCIL',
    'ncm': 'NCM',
    'pki': 'PKI (reconstruction)',
    'pkiv1': 'PKIV-1 (reconstruction)',
    'pkiv2': 'PKIV-2 (reconstruction)',
    'sdc': 'SDC (reconstruction)',
    'teen': 'TEEN',
  },
)
LABELS = LEARNERS.labels


class _Own(NamedTuple):
  """A learner of the user's, in place of a module."""

  learner: Callable
  HEAD: str


def register(name: str, learner: Callable, label: str = '', head: str = 'cosine') -> None:
  """Adds a learner of your own, which configs can then name; under a name given before, it takes
  the place of that one.

  Args:
    name: what `method.name` of a config says.
    learner: the factory, (task, *, fields of the config's section `method`) -> learner.Learner;
      every field has a default.
    label: how tables and reports call it; '': the name.
    head: what the base network is trained with.

  Raises:
    UserError: for the name of a learner that jaxdistill brings.

  >>> from jaxdistill.fscil import learner
  >>> def largest(task, *, scale=1.0):
  ...   logits = lambda state, inputs: scale * inputs[:, : task.num_classes]
  ...   return learner.Learner(lambda key, start: {}, logits, embed=logits)
  >>> register('largest', largest)
  >>> task = learner.Task(num_classes=4, base_classes=2, way=2, shot=1, sessions=1, dim=4)
  >>> make(task, {'name': 'largest', 'scale': 2.0}).reads
  'features'
  >>> del LEARNERS['largest']
  """
  LEARNERS.register(name, _Own(learner, head), label)


def make(task: Task, method: Mapping[str, object]) -> Learner:
  """Returns a learner from its section of the config, `name` and the learner's own fields.

  Raises:
    UserError: for a learner, a field or a choice that does not exist.
  """
  check(method)
  return registry.call(find(method['name']), task, given=_fields(method))


def check(method: Mapping[str, object]) -> None:
  """Raises `UserError` for a learner or a field that does not exist, or for a value that is none of
  those that the signature lists (typing.Literal).

  >>> check({'name': 'nothing'})
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no few-shot learner 'nothing'; did you ...
  """
  name = method['name']
  registry.check([find(name)], _fields(method), f'method {name}')


def find(name: str) -> Callable:
  """Returns the factory of a learner."""
  return LEARNERS.find(name).learner


def defaults(name: str) -> dict[str, object]:
  """Returns the fields of a learner's own with their defaults.

  >>> defaults('comemory')['lambda_r']
  1.0
  """
  return registry.defaults(find(name))


def head(name: str) -> str:
  """Returns the head that the base network of a learner is trained with."""
  return LEARNERS.find(name).HEAD


def head_of(method: Mapping[str, object]) -> str:
  """Returns the same for a learner's section of the config: some fields want another head.

  >>> head_of({'name': 'sdc'}), head_of({'name': 'sdc', 'classifier': 'etf'})
  ('projector', 'etf')
  """
  choose = getattr(LEARNERS.find(method['name']), 'head_of', None)
  return choose(_fields(method)) if choose else head(method['name'])


def reads_head(name: str) -> bool:
  """Returns whether a learner starts from the head of its base network, not from features alone.

  >>> reads_head('ncm'), reads_head('pki')
  (False, True)
  """
  return getattr(LEARNERS.find(name), 'READS_HEAD', True)


def memory(name: str) -> str:
  """Returns the memory that a learner keeps unless it is told otherwise, by its name in
  `memory.MEMORIES`: that of its paper, class means where the paper does not say.

  >>> memory('ncm'), memory('cd2')
  ('means', 'cd2')
  """
  return getattr(LEARNERS.find(name), 'MEMORY', 'means')


def reads_memory(name: str) -> bool:
  """Returns whether a learner learns from what is remembered of earlier classes.

  >>> reads_memory('ncm'), reads_memory('pki')
  (False, True)
  """
  return getattr(LEARNERS.find(name), 'READS_MEMORY', True)


def _fields(method: Mapping[str, object]) -> dict[str, object]:
  return {field: value for field, value in method.items() if field != 'name'}
