"""The methods of this family by name; each module is imported when it is asked for.

A method's module has a function `method(setting, *, fields with defaults) -> method.Method`, whose
fields are the section `method` of a config.
"""

from collections.abc import Callable, Mapping

from jaxdistill import registry
from jaxdistill.errors import UserError
from jaxdistill.label_noise.method import Method, Setting

METHODS = registry.Registry(
  'method of learning from wrong labels',
  {
    'bce': 'jaxdistill.label_noise.bce:method',
    'ccc': 'jaxdistill.label_noise.ccc:method',
    'ce': 'jaxdistill.label_noise.ce:method',
    'co_teaching': 'jaxdistill.label_noise.co_teaching:method',
    'conal': 'jaxdistill.label_noise.conal:method',
    'crowd_layer': 'jaxdistill.label_noise.crowd_layer:method',
    'dawid_skene': 'jaxdistill.label_noise.dawid_skene:method',
    'divide_mix': 'jaxdistill.label_noise.divide_mix:method',
    'doctor_net': 'jaxdistill.label_noise.doctor_net:method',
    'elr': 'jaxdistill.label_noise.elr:method',
    'forward': 'jaxdistill.label_noise.forward:method',
    'max_mig': 'jaxdistill.label_noise.max_mig:method',
    'mlntm': 'jaxdistill.label_noise.mlntm:method',
    'moco': 'jaxdistill.label_noise.moco:method',
    'moit': 'jaxdistill.label_noise.moit:method',
    'sel_cl': 'jaxdistill.label_noise.sel_cl:method',
    'sup_cl': 'jaxdistill.label_noise.sup_cl:method',
    'taidtm': 'jaxdistill.label_noise.taidtm:method',
    'tcl': 'jaxdistill.label_noise.tcl:method',
    'union_net': 'jaxdistill.label_noise.union_net:method',
    'vote': 'jaxdistill.label_noise.vote:method',
  },
  labels={
    'bce': 'All labels, binary',
    'ccc': 'CCC',
    'ce': 'All labels',
    'co_teaching': 'Co-teaching',
    'conal': 'CoNAL',
    'crowd_layer': 'CrowdLayer',
    'dawid_skene': 'Dawid-Skene',
    'divide_mix': 'DivideMix',
    'doctor_net': 'DoctorNet',
    'elr': 'ELR',
    'forward': 'Forward correction',
    'max_mig': 'Max-MIG',
    'mlntm': 'MLNTM',
    'moco': 'MoCo',
    'moit': 'MOIT',
    'sel_cl': 'Sel-CL',
    'sup_cl': 'Sup-CL',
    'taidtm': 'TAIDTM',
    'tcl': 'TCL',
    'union_net': 'UnionNet-B',
    'vote': 'Majority vote',
  },
)
LABELS = METHODS.labels
# What a method reads: 'labels', one an example or those of a crowd; 'crowd', labels of several
# annotators; 'matrix', a matrix of labels. One that is not here reads labels.
READS = {
  'bce': 'matrix',
  'ccc': 'crowd',
  'conal': 'crowd',
  'crowd_layer': 'crowd',
  'dawid_skene': 'crowd',
  'doctor_net': 'crowd',
  'max_mig': 'crowd',
  'mlntm': 'matrix',
  'taidtm': 'crowd',
  'union_net': 'crowd',
}


def register(name: str, method: Callable[..., Method], label: str = '', reads: str = '') -> None:
  """Adds a method of your own, which configs can then name; under a name given before, it takes the
  place of that one.

  Args:
    name: what `method.name` of a config says.
    method: the factory, (setting, *, fields of the config's section `method`) -> method.Method;
      every field has a default.
    label: how tables and reports call it; '': the name.
    reads: 'labels', 'crowd' or 'matrix', see `READS`; '': labels.

  Raises:
    UserError: for the name of a method that jaxdistill brings, or an unknown kind of labels.

  >>> from jaxdistill.label_noise import ce
  >>> def lazy(setting, *, weight=1.0):
  ...   return ce.method(setting)
  >>> register('lazy', lazy)
  >>> defaults('lazy')
  {'weight': 1.0}
  >>> del METHODS['lazy']
  """
  if reads and reads not in KINDS:
    raise UserError(f'A method reads {", ".join(KINDS)}; got {reads!r}.')
  METHODS.register(name, method, label)
  if reads:
    READS[name] = reads


# Kinds of evidence, see `observed.Evidence.kind`.
KINDS = ('labels', 'crowd', 'matrix')


def make(setting: Setting, method: Mapping[str, object]) -> Method:
  """Returns a method for a setting from its section of the config, `name` and the method's own
  fields.

  Raises:
    UserError: for a method, a field or a choice that does not exist, evidence that it cannot read,
      or what the method itself refuses.
  """
  check(method)
  check_reads(str(method['name']), setting.evidence.kind)
  return registry.call(find(method['name']), setting, given=_fields(method))


def check(method: Mapping[str, object]) -> None:
  """Raises `UserError` for a method or a field that does not exist, or for a value that is none of
  those that the signature lists (typing.Literal)."""
  name = method['name']
  registry.check([find(name)], _fields(method), f'method {name}')


def check_reads(name: str, kind: str) -> None:
  """Raises `UserError` for evidence that a method cannot read.

  >>> check_reads('crowd_layer', 'labels')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: CrowdLayer reads the labels of several annotators; here is one ...
  """
  reads = READS.get(name, 'labels')
  if reads == kind or reads == 'labels' and kind == 'crowd':
    return
  needed = {
    'crowd': 'the labels of several annotators',
    'labels': 'one label an example, or those of a crowd',
    'matrix': 'a matrix of labels, any number of classes an example',
  }
  have = {'labels': 'one label an example', 'crowd': 'a crowd', 'matrix': 'a matrix of labels'}
  raise UserError(f'{LABELS.get(name, name)} reads {needed[reads]}; here is {have[kind]}.')


def find(name: str) -> Callable[..., Method]:
  """Returns the factory of a method."""
  return METHODS.find(name)


def defaults(name: str) -> dict[str, object]:
  """Returns the fields of a method's own with their defaults."""
  return registry.defaults(find(name))


def label_of(method: Mapping[str, object]) -> str:
  """Returns how tables call a method."""
  name = str(method['name'])
  return LABELS.get(name, name)


def _fields(method: Mapping[str, object]) -> dict[str, object]:
  return {field: value for field, value in method.items() if field != 'name'}
