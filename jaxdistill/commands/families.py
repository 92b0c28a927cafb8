"""What the commands ask of a family of methods.

A family is a sub-package, one of `jaxdistill.FAMILIES`, with a module `settings` that says

  TASKS                  what the field `task` of a config may be: {task: module of the sub-package
                         with the flow of that task: check(config), run(config, run),
                         dry_run(config)}
  explain(config)        what the fields of a config mean: {dotted key: text}
  workdir_parts(config)  what the name of a default work dir tells between the data set and the
                         seed, a list of texts
  TRIAL                  flags of a run of half a minute that goes through every kind of phase,
                         with checkpoints; a family may lack it
  recorded(config)       a config as work dirs and hashes hold it, without what earlier versions had
                         no field for; a family may lack it

and with configs in a folder of its name. A module `columns`, where it has one, says what the
tables of its results hold.
"""

import importlib
from types import ModuleType

from ml_collections import ConfigDict

import jaxdistill
from jaxdistill.errors import unknown


def settings(config: ConfigDict) -> ModuleType:
  """Returns the settings of a config's family; raises `UserError` for a family that does not exist.

  >>> settings(ConfigDict(dict(family='condensation'))).TASKS['condense']
  'tasks.condense'
  """
  family = config.get('family', '')
  if family not in jaxdistill.FAMILIES:
    raise unknown('family', family, jaxdistill.FAMILIES)
  return importlib.import_module(f'jaxdistill.{family}.settings')


def recorded(config: ConfigDict) -> ConfigDict:
  """Returns a config as its work dir and the hash of a sweep's cell hold it.

  >>> from jaxdistill import config
  >>> 'degrade' in recorded(config.load('distillation/kd:digits')).distillation
  False
  """
  if config.get('family') not in jaxdistill.FAMILIES:
    return config  # which its check refuses
  family = settings(config)
  return family.recorded(config) if hasattr(family, 'recorded') else config


def trial() -> tuple[str, ...]:
  """Returns the flags of a short run to try things on: that of the first family that has one.

  >>> trial()[0]
  '--config=m3d:digits'
  """
  modules = (
    importlib.import_module(f'jaxdistill.{family}.settings') for family in jaxdistill.FAMILIES
  )
  return next(module.TRIAL for module in modules if hasattr(module, 'TRIAL'))


def find_flow(config: ConfigDict) -> ModuleType:
  """Returns the module with the flow of a config's task.

  >>> find_flow(ConfigDict(dict(family='condensation', task='condens')))
  Traceback (most recent call last):
  jaxdistill.errors.UserError: There is no task of the family condensation 'condens'; did you ...
  """
  tasks, task = settings(config).TASKS, config.get('task', '')
  if task not in tasks:
    raise unknown(f'task of the family {config.family}', task, tasks)
  return importlib.import_module(f'jaxdistill.{config.family}.{tasks[task]}')


def find_columns(family: str) -> ModuleType | None:
  """Returns the module `columns` of a family, None of one that has none.

  >>> find_columns('condensation').TASKS
  ('condense',)
  """
  name = f'jaxdistill.{family}.columns'
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    if not name.startswith(error.name):
      raise
    return None
