"""Published accuracies of the protocols that the configs follow."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from jaxdistill import files
from jaxdistill.experiment import arguments
from jaxdistill.label_noise import methods as methods_by_name
from jaxdistill.label_noise import presets


@dataclasses.dataclass(frozen=True)
class Published:
  """Accuracies in [0, 1] on clean test examples; None: not told.

  Attributes:
    last: at the end of the training.
    best: at the best check on the test examples.
    source: of the numbers.
  """

  last: float | None
  best: float | None
  source: str


@dataclasses.dataclass(frozen=True)
class _Protocol:
  """What a run has to share with a table of a paper.

  Attributes:
    dataset, recipe: names, the recipe at its own length.
    model: fields of the network that are not its defaults.
    evidence: values of fields of this section.
    held_out: share of the training examples that is held out.
    fields: of the methods, by row, that are not those usual on the data set.
  """

  dataset: str
  recipe: str
  model: Mapping[str, Any]
  evidence: Mapping[str, Any]
  held_out: float = 0.0
  fields: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


_RESNET34 = {'name': 'cifar_resnet', 'depth': 34, 'width': 64, 'norm': 'batch'}
# That of the public codes of DivideMix, and of MOIT and Sel-CL after it.
_PREACT = {
  'name': 'preact_resnet',
  'depth': 18,
  'width': 64,
  'norm': 'batch',
  'stem_norm': True,
  'last_norm': False,
}

_POSTER = 'poster of CCC (Zhang et al., AAAI 2024), ResNet-34'
# CIFAR-10N with all labels of its crowd: best and last of 100 % by method.
_CIFAR10N_CROWD = {
  'vote': (81.08, 80.89),
  'crowd_layer': (80.43, 80.14),
  'doctor_net': (83.68, 83.32),
  'max_mig': (83.25, 83.12),
  'conal': (82.51, 80.92),
  'union_net': (82.66, 82.32),
  'ccc': (86.36, 86.12),
}

# Columns of the tables of one label an example: the law and its rate.
_NOISE = (
  ('symmetric_inclusive', 0.2),
  ('symmetric_inclusive', 0.5),
  ('symmetric_inclusive', 0.8),
  ('symmetric_inclusive', 0.9),
  ('asymmetric', 0.4),
)
_SEL_CL = (
  'table of Sel-CL (Li et al., CVPR 2022), as a public note has it; its own rows are of the last '
  'epoch'
)
_SEL_CL_REMEMBERED = 'table of Sel-CL, as it is remembered'
# Last of 100 % by data set and method, with their second stages; a star: in the public note.
_SECOND_STAGES = {
  'cifar10': {'sel_cl': '95.5* 93.9 89.2 81.9* 93.4*', 'moit': '94.1* 91.8 81.1 74.7* 93.3*'},
  'cifar100': {'sel_cl': '76.5 72.4 59.6 48.8 74.2*', 'moit': '75.9 70.6 47.6 41.8 74.0*'},
}
_FINETUNE = 70  # epochs of the second stage
# alpha and beta of Sel-CL by data set, on symmetric and on asymmetric noise.
_CHOSEN = {'cifar10': ((0.5, 0.25), (0.5, 0.25)), 'cifar100': ((0.75, 0.35), (0.25, 0.0))}

_DIVIDE_MIX = (
  'paper of DivideMix (Li et al., ICLR 2020), as it is remembered; its last is the mean of ten '
  'epochs'
)
# Best and last of 100 % by data set, and epochs of warm-up.
_DIVIDED = {
  'cifar10': ('96.1 94.6 93.2 76.0 93.4', '95.7 94.4 92.9 75.4', 10),
  'cifar100': ('77.3 74.6 60.2 31.5', '', 30),
}

_LEADERBOARD = 'leaderboard of CIFAR-N, as it is remembered, which does not tell the epoch'
# Which fields of a method its paper chose table by table: they may have any values.
_CHOSEN_BY_TABLE = {'divide_mix': ('lambda_u', 'averaged', 'penalty')}

# Of 100 % by labels of CIFAR-10N and method, each with the recipe and the fields of its own code.
_CIFAR10N = {
  'aggregate': {'elr': 92.38, 'divide_mix': 95.01},
  'random1': {'elr': 91.46, 'divide_mix': 95.16},
  'worst': {'elr': 83.58, 'divide_mix': 92.56},
}
_OWN = {
  'elr': ('elr150', {'lam': 3.0, 'beta': 0.7}),
  'divide_mix': ('dividemix300', {'warmup': 10}),
}


def find(
  dataset: str,
  model: Mapping[str, Any],
  recipe: str,
  evidence: Mapping[str, Any],
  held_out: float,
  methods: Mapping[str, Mapping[str, Any]],
  image_size: int = 0,
) -> dict[str, Published]:
  """Returns what was published of a protocol, by the rows of ours; {} where nothing is known. The
  network and the methods are those of the protocol with all of their fields.

  Args:
    dataset: name of the data set.
    model, evidence: sections of the config.
    recipe: of the training, at its own length.
    held_out: share of the training examples.
    methods: sections of the methods, by row.
    image_size: that was asked for; 0: as stored.

  >>> crowd = {'origin': 'cifar10n', 'which': 'crowd'}
  >>> model = {'name': 'cifar_resnet', 'depth': 34, 'width': 64, 'norm': 'batch', 'stem_padding': 0}
  >>> find('cifar10', model, 'ccc60', crowd, 0.1, {'ccc': {'name': 'ccc'}})['ccc'].last
  0.8612
  """
  rows = {}
  for protocol, numbers in _tables():
    is_same = (dataset, recipe, held_out) == (
      protocol.dataset,
      protocol.recipe,
      protocol.held_out,
    )
    if image_size or not is_same or _differs(evidence, protocol.evidence):
      continue
    if _of_defaults(model) != _of_defaults(protocol.model):
      continue
    for row, section in methods.items():
      name = section['name']
      if name in numbers and not _is_changed(section, dataset, protocol.fields.get(name, {})):
        rows[row] = numbers[name]
  return rows


def _of_defaults(model):
  """All fields of a network."""
  return files.jsonable(arguments.network_of(model))


def _is_changed(section, dataset, fields):
  """Whether a method has other fields than those usual on a data set, or than these."""
  name = section['name']
  usual = {**methods_by_name.defaults(name), **presets.find(dataset).fields.get(name, {}), **fields}
  free = _CHOSEN_BY_TABLE.get(name, ())
  wanted = {field: value for field, value in usual.items() if field not in free}
  return files.jsonable({**wanted, **section}) != files.jsonable({**section, **wanted})


def _differs(section, wanted):
  return any(section.get(field) != value for field, value in wanted.items())


def _tables() -> Iterator[tuple[_Protocol, dict[str, Published]]]:
  """Yields every protocol with its numbers by method."""
  crowd, unpadded = {'origin': 'cifar10n', 'which': 'crowd'}, {**_RESNET34, 'stem_padding': 0}
  yield (
    _Protocol('cifar10', 'ccc60', unpadded, crowd, held_out=0.1),
    {name: _percent(last, best, _POSTER) for name, (best, last) in _CIFAR10N_CROWD.items()},
  )
  for number, (law, rate) in enumerate(_NOISE):
    wrong = {'origin': 'corrupt', 'noise': law, 'rate': rate}
    for dataset, listed in _SECOND_STAGES.items():
      alpha, beta = _CHOSEN[dataset][law == 'asymmetric']
      tuned = {'finetune': _FINETUNE}
      fields = {'moit': tuned, 'sel_cl': {**tuned, 'alpha': alpha, 'beta': beta}}
      protocol = _Protocol(dataset, 'selcl250', _PREACT, wrong, fields=fields)
      yield protocol, {name: _of_last(line.split()[number]) for name, line in listed.items()}
    for dataset, (best, last, warmup) in _DIVIDED.items():
      numbers = [dict(enumerate(map(float, line.split()))).get(number) for line in (last, best)]
      fields = {'divide_mix': {'warmup': warmup}}
      protocol = _Protocol(dataset, 'dividemix300', _PREACT, wrong, fields=fields)
      if any(numbers):
        yield protocol, {'divide_mix': _percent(*numbers, _DIVIDE_MIX)}
  for which, listed in _CIFAR10N.items():
    for name, best in listed.items():
      recipe, fields = _OWN[name]
      model, human = {**_RESNET34, 'stem_padding': 1}, {'origin': 'cifar10n', 'which': which}
      protocol = _Protocol('cifar10', recipe, model, human, fields={name: fields})
      yield protocol, {name: _percent(None, best, _LEADERBOARD)}


def _of_last(number):
  """A number of the last epoch, with a star where it was read."""
  source = _SEL_CL if number.endswith('*') else _SEL_CL_REMEMBERED
  return _percent(float(number.rstrip('*')), None, source)


def _percent(last, best, source):
  shares = [None if number is None else round(number / 100, 4) for number in (last, best)]
  return Published(*shares, source)
