"""What the students of a method come to, and their row of the table."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdistill import metrics
from jaxdistill.experiment import rows
from jaxdistill.experiment.results import Row
from jaxdistill.metrics import imitation
from jaxdistill.training import classifier

# The method that the others are compared with student by student.
REFERENCE = 'alone'
# Classes up to which their correlations are kept for a picture.
_MOST_CLASSES = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Numbers:
  """What R students of a method come to.

  Attributes:
    steps: int [k], of the checks.
    test: [k, R], accuracies at them.
    validation: [k, R] on held-out images; None: none are held out.
    imitation: [R] a name, how well each imitates the teacher: 'agreement', the share of test images
      with the same answer, and 'divergence', KL(teacher || student) in nats; {} where the teacher
      has other classes.
    verified: [R] a name, of the pairs of images of unknown classes and of their gallery; {}: none
      are verified.
    correlation: [C, C], the teacher's class correlations less those of the first student; None: of
      too many classes or a single test image, or the teacher's classes are others.
    facts: numbers of one student: 'parameters', 'activation_bytes', and the images a second of
      `speed`; its 'stages', and the hashes of further 'guides' where the method has some.
    seconds: that the training took, all students together.
    reconstruction: whether the method follows a paper that could not be read whole.
  """

  steps: np.ndarray
  test: np.ndarray
  validation: np.ndarray | None
  imitation: Mapping[str, np.ndarray]
  verified: Mapping[str, np.ndarray]
  correlation: np.ndarray | None
  facts: Mapping[str, Any]
  seconds: float
  reconstruction: bool = False

  def to_json(self) -> dict[str, Any]:
    """Returns the form that JSON holds; `from_json` reads it back."""
    return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

  @classmethod
  def from_json(cls, content: Mapping[str, Any]) -> 'Numbers':
    """Returns the numbers of their form in JSON, where null is nan in an array."""
    content = dict(content, steps=np.asarray(content['steps']))
    for name in ('test', 'validation', 'correlation'):
      content[name] = None if content[name] is None else np.asarray(content[name], float)
    for name in ('imitation', 'verified'):
      content[name] = {key: np.asarray(value, float) for key, value in content[name].items()}
    return cls(**content)

  @property
  def columns(self) -> dict[str, np.ndarray]:
    """One number a student, each [R]: accuracies 'last', perhaps 'selected', 'best_test', see
    `classifier.columns`; how well it imitates; what it verifies."""
    accuracies = classifier.columns(self.test, self.validation)
    return {**accuracies, **self.imitation, **self.verified}


def imitate(
  students: np.ndarray, teacher: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
  """Returns how well R students imitate a teacher, and the difference of class correlations of the
  first.

  Args:
    students: logits [R, n, C]. teacher: logits [n, C] of the same classes.

  >>> logits = np.eye(3)
  >>> imitate(logits[None], logits)[0]['agreement'].tolist()
  [1.0]
  """
  agreement = [imitation.same_answers(logits, teacher) for logits in students]
  divergence = [imitation.teacher_divergence(logits, teacher) for logits in students]
  correlation = None
  if teacher.shape[-1] <= _MOST_CLASSES and len(teacher) > 1:
    correlation = imitation.correlation_difference(students[0], teacher).round(4)
  return {'agreement': np.asarray(agreement), 'divergence': np.asarray(divergence)}, correlation


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
    numbers: of its students.
    key: the hash of all that decides them.
    **conditions: under which they learned, for tables of many runs.
    reference: those of the students that they are compared with one by one; None: no comparison.
  """
  extras = {**conditions, **numbers.facts, 'reconstruction': numbers.reconstruction}
  if numbers.correlation is not None:
    extras['correlation'] = np.asarray(numbers.correlation).tolist()
    extras['correlation_gap'] = float(np.abs(numbers.correlation).mean())
  if reference is not None and len(numbers.test[0]) > 1:
    extras['differences'] = rows.differences(numbers.columns, reference.columns)
    extras['gain'] = extras['differences']['last']
  scores = {key: metrics.mean_std(values) for key, values in numbers.columns.items()}
  curve = rows.curve(numbers.steps, numbers.test)
  return Row(name, label, numbers.seconds, scores, curve, False, key, extras)


def teacher_row(
  name: str, label: str, seconds: float, accuracy: float, facts: Mapping[str, Any], key: str = ''
) -> Row:
  """Returns the row of the teacher, native or with the students' images, which does not compete;
  `seconds` are those of its training in this run."""
  scores = {'last': metrics.mean_std([accuracy])}
  return Row(name, label, seconds, scores, reference=True, key=key, extras=dict(facts))
