"""What the networks of a method come to, and their row of the table."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdistill import metrics
from jaxdistill.experiment import rows
from jaxdistill.experiment.results import Row
from jaxdistill.training import classifier

# The method that the others are compared with network by network.
REFERENCE = 'at'


@dataclasses.dataclass(frozen=True, eq=False)
class Numbers:
  """What R networks of a method come to.

  Attributes:
    steps: int [k], of the checks.
    robust: accuracies [k, R] at them under PGD, by set: 'test', 'train', perhaps 'validation'.
    clean: without an attack, likewise.
    attacked: accuracies [R] of the final networks on the images that are attacked: 'clean', one an
      attack, 'worst'; {}: there is no attack.
    warnings: sentences of `evaluate` that make those doubtful.
    facts: numbers of one network: 'parameters'.
    seconds: that the training took, all networks together.
    reconstruction: whether the method follows a paper that could not be read whole.
  """

  steps: np.ndarray
  robust: Mapping[str, np.ndarray]
  clean: Mapping[str, np.ndarray]
  attacked: Mapping[str, np.ndarray]
  warnings: tuple[str, ...]
  facts: Mapping[str, Any]
  seconds: float
  reconstruction: bool = False

  def to_json(self) -> dict[str, Any]:
    """Returns the form that JSON holds; `from_json` reads it back."""
    return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

  @classmethod
  def from_json(cls, content: Mapping[str, Any]) -> 'Numbers':
    """Returns the numbers of their form in JSON, where null is nan."""
    content = dict(content, steps=np.asarray(content['steps']))
    content['warnings'] = tuple(content['warnings'])
    for name in ('robust', 'clean', 'attacked'):
      content[name] = {key: np.asarray(value, float) for key, value in content[name].items()}
    return cls(**content)

  @property
  def columns(self) -> dict[str, np.ndarray]:
    """One number a network, each [R].

    Under PGD on the test images: 'last', at the end of the training; 'best_test', at its best check
    on these very images; perhaps 'selected', at its best check on validation images. 'clean' and
    'clean_best' without an attack, at the end and at that best check. 'train', under PGD on images
    that it learned from; 'gap', that less 'last'; 'drop', 'best_test' less 'last'. An attack of the
    final networks by its name, and 'worst'.
    """
    test, clean = self.robust['test'], self.clean['test']
    chosen = classifier.columns(test, self.robust.get('validation'))
    best = clean[test.argmax(0), np.arange(test.shape[1])]
    train = self.robust['train'][-1]
    attacked = {name: values for name, values in self.attacked.items() if name != 'clean'}
    return {
      **chosen,
      'clean': clean[-1],
      'clean_best': best,
      'train': train,
      'gap': train - chosen['last'],
      'drop': chosen['best_test'] - chosen['last'],
      **attacked,
    }


def row(
  name: str,
  label: str,
  numbers: Numbers,
  reference: Numbers | None = None,
  key: str = '',
  **conditions: Any,
) -> Row:
  """Returns the row of a method.

  Args:
    name: of the method.
    label: for people.
    numbers: of its networks.
    reference: those of the networks that they are compared with one by one; None: no comparison.
    key: the hash of all that decides them.
    **conditions: under which they learned, for tables of many runs.
  """
  extras = {
    **conditions,
    **numbers.facts,
    'reconstruction': numbers.reconstruction,
    'warnings': list(numbers.warnings),
    'attacks': [attack for attack in numbers.attacked if attack not in ('clean', 'worst')],
    'curves': {
      'train': rows.curve(numbers.steps, numbers.robust['train']),
      'clean': rows.curve(numbers.steps, numbers.clean['test']),
      'gap': rows.curve(numbers.steps, numbers.robust['train'] - numbers.robust['test']),
    },
  }
  if reference is not None and len(numbers.robust['test'][0]) > 1:
    extras['differences'] = rows.differences(numbers.columns, reference.columns)
  scores = {key: metrics.mean_std(values) for key, values in numbers.columns.items()}
  curve = rows.curve(numbers.steps, numbers.robust['test'])
  return Row(name, label, numbers.seconds, scores, curve, False, key, extras)
