"""What the networks of a method come to, and their row of the table."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdistill import metrics
from jaxdistill.experiment import rows
from jaxdistill.experiment.results import Row
from jaxdistill.label_noise.method import Believed
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.training import classifier

if TYPE_CHECKING:
  from jaxdistill.label_noise.work import Work

# Curves of a training: on test examples; on held-out ones by their observed labels; agreement with
# the observed labels of the training examples, and with the true ones; of wrongly labelled ones the
# share whose wrong label is answered, known by heart; of those that the method chooses the share
# with the right label.
CURVES = ('test', 'validation', 'observed', 'truth', 'memorised', 'precision')


def measure(
  work: 'Work', probabilities: Mapping[str, np.ndarray], chosen: np.ndarray | None = None
) -> dict[str, Any]:
  """Returns what a check reports: means, and lists over the seeds.

  Args:
    work: the examples and their labels.
    probabilities: answers [seeds, n, C] to the 'test', 'train' and perhaps 'validation' examples.
    chosen: which training examples the method believes, bool [seeds, n]; in a row of none nothing
      was chosen yet, and all count. None: the method chooses none.
  """
  observed = work.observed
  values = {'test': right(probabilities['test'], work.test.labels)}
  if 'validation' in probabilities:
    values['validation'] = agreement(probabilities['validation'], work.validation_observed.evidence)
  values['observed'] = agreement(probabilities['train'], observed.evidence)
  if observed.truth is not None:
    values['truth'] = right(probabilities['train'], observed.truth)
    if not work.is_multilabel:
      wrong = observed.evidence.labels != observed.truth
      if wrong.any():
        answers = probabilities['train'][:, wrong].argmax(-1)
        values['memorised'] = (answers == observed.evidence.labels[wrong]).mean(1)
      if chosen is not None:
        chosen = chosen | ~chosen.any(1, keepdims=True)
        values['precision'] = (chosen & ~wrong).sum(1) / chosen.sum(1)
  means = {name: float(value.mean()) for name, value in values.items()}
  return means | {f'{name}_values': value.tolist() for name, value in values.items()}


def right(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the accuracy [seeds] of answers [seeds, n, C], ties to the lowest class; against a
  matrix of labels their mean average precision.

  >>> right(np.array([[[0.5, 0.5], [0.2, 0.8]]]), np.array([1, 1])).tolist()
  [0.5]
  """
  if labels.ndim == 2:
    return np.array([metrics.mean_average_precision(labels, one) for one in probabilities])
  return (probabilities.argmax(-1) == labels).mean(1)


def agreement(probabilities: np.ndarray, evidence: Evidence) -> np.ndarray:
  """Returns the mean share of an example's observed labels that its answer equals, [seeds]; of a
  matrix the mean average precision against it."""
  if evidence.crowd is None:
    return right(probabilities, evidence.matrix)
  answers = probabilities.argmax(-1)
  return np.array([evidence.soft[np.arange(len(one)), one].mean() for one in answers])


def checked(history: Sequence[Mapping[str, Any]], before: int) -> dict[str, np.ndarray]:
  """Returns what the checks of a phase have reported: 'steps' [k], counted on from those `before`,
  and values [k, seeds] by curve."""
  lines = {'steps': np.array([before + line['step'] for line in history], np.int64)}
  for name in CURVES:
    if history and f'{name}_values' in history[0]:
      lines[name] = np.array([line[f'{name}_values'] for line in history], np.float64)
  return lines


def joined(checks: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
  """Returns the checks of several phases one after the other.

  >>> joined([{'steps': np.array([1])}, {'steps': np.array([3])}])['steps'].tolist()
  [1, 3]
  """
  curves = {}
  for name in checks[0]:
    curves[name] = np.concatenate([one[name] for one in checks])
  return curves


@dataclasses.dataclass(frozen=True, eq=False)
class Numbers:
  """What the networks of a method come to, a number a seed.

  Attributes:
    checks: 'steps' [k] and values [k, seeds] by curve, see `CURVES`.
    scores: [seeds] by column: of the final networks and of what they believe.
    facts: numbers of one network: 'parameters'.
    seconds: that the training took, all networks together.
    reconstruction: whether the method follows a paper that could not be read whole.
  """

  checks: Mapping[str, np.ndarray]
  scores: Mapping[str, np.ndarray]
  facts: Mapping[str, Any]
  seconds: float
  reconstruction: bool = False

  def to_json(self) -> dict[str, Any]:
    """Returns the form that JSON holds; `from_json` reads it back."""
    return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

  @classmethod
  def from_json(cls, content: Mapping[str, Any]) -> 'Numbers':
    """Returns the numbers of their form in JSON, where null is nan."""
    content = dict(content)
    for name in ('checks', 'scores'):
      content[name] = {key: np.asarray(value, float) for key, value in content[name].items()}
    content['checks']['steps'] = content['checks']['steps'].astype(np.int64)
    return cls(**content)

  @property
  def columns(self) -> dict[str, np.ndarray]:
    """One number a seed, each [seeds].

    'last', at the end of the training; perhaps 'selected', at the best check on held-out examples
    by their observed labels; 'best_test', at the best check on the test examples, which these
    thereby chose; 'drop', that less 'last'. 'memorised', of the wrongly labelled training examples
    the share whose wrong label is answered in the end. Of what is believed, see `believed_scores`.
    """
    chosen = classifier.columns(self.checks['test'], self.checks.get('validation'))
    further = {'drop': chosen['best_test'] - chosen['last']}
    if 'memorised' in self.checks:
      further['memorised'] = self.checks['memorised'][-1]
    return {**chosen, **further, **self.scores}


def final_scores(
  work: 'Work',
  probabilities: np.ndarray,
  believed: Believed,
  neighbours: np.ndarray | None = None,
) -> dict[str, Any]:
  """Returns the scores [seeds] of final networks: their answers to the test examples
  [seeds, n, C], what they believe of the training examples, and 'knn', the accuracy of a vote of
  neighbours, where there is one."""
  scores = believed_scores(work, believed)
  if neighbours is not None:
    scores['knn'] = neighbours
  labels = np.asarray(work.test.labels)
  if work.is_multilabel:
    f1 = [metrics.label_f1(labels, one) for one in probabilities]
    scores['of1'] = np.array([one.overall for one in f1])
    scores['cf1'] = np.array([one.by_class for one in f1])
  else:
    errors = [metrics.expected_calibration_error(one, labels) for one in probabilities]
    scores['calibration_error'] = np.array(errors)
  return scores


def believed_scores(work: 'Work', believed: Believed) -> dict[str, np.ndarray]:
  """Returns what is true of beliefs, [seeds] by column; {} where the truth is not known.

  'label_accuracy' of the believed labels (of a matrix their mean average precision); 'auroc' of
  finding wrong labels where the observed one is believed least; 'confident_share',
  'confident_precision' and 'confident_recall' of the examples that are trusted; 'confusion_error',
  mean absolute error of the annotators' matrices by the number of their labels, and
  'annotator_correlation', of their estimated with their true accuracy, over those with 20 labels or
  more; 'transition_error', sum |T - T'| / sum |T|, of a matrix summed over the labels.
  """
  observed, scores = work.observed, {}
  truth, labels = observed.truth, work.evidence.labels
  if truth is not None:
    scores['label_accuracy'] = right(believed.labels, truth)
  if truth is not None and not work.is_multilabel:
    wrong = labels != truth
    if wrong.any() and not wrong.all():
      given = np.arange(len(labels)), labels
      doubt = [1 - one[given] for one in believed.labels]
      scores['auroc'] = np.array([metrics.roc_auc(wrong.astype(int), one) for one in doubt])
    if believed.confident is not None:
      retrieved = [metrics.retrieval(one, ~wrong) for one in believed.confident]
      scores['confident_share'] = believed.confident.mean(1)
      scores['confident_precision'] = np.array([one.precision for one in retrieved])
      scores['confident_recall'] = np.array([one.recall for one in retrieved])
  if believed.confusions is not None:
    scores |= _annotator_scores(work, believed.confusions)
  if believed.transition is not None and observed.transition is not None:
    scores['transition_error'] = np.array(
      [metrics.transition_error(observed.transition, one) for one in believed.transition]
    )
  return scores


# Labels from which on an annotator's true accuracy is one.
_ENOUGH = 20
# Of accuracies from float32 matrices.
_ROUNDING = 1e-6


def _annotator_scores(work, confusions):
  observed, scores = work.observed, {}
  crowd, truth = observed.evidence.crowd, observed.truth
  counts = crowd.per_annotator
  if observed.confusions is not None:
    scores['confusion_error'] = np.array(
      [metrics.confusion_error(observed.confusions, one, counts) for one in confusions]
    )
  known = counts >= _ENOUGH
  if truth is not None and known.sum() > 2:
    hits = np.bincount(crowd.annotator, truth[crowd.example] == crowd.label, minlength=len(counts))
    accuracy = hits[known] / counts[known]
    # An annotator is right as often as his matrix says, over the classes as they are.
    shares = np.bincount(truth, minlength=crowd.num_classes) / len(truth)
    estimates = np.einsum('srcc,c->sr', confusions[:, known], shares)
    # One matrix for all annotators differs between them by the rounding of its sums.
    if accuracy.std() > 0 and (np.ptp(estimates, axis=1) > _ROUNDING).all():
      scores['annotator_correlation'] = np.array(
        [np.corrcoef(accuracy, one)[0, 1] for one in estimates]
      )
  return scores


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
    reference: those of the networks that they are compared with seed by seed; None: no comparison.
    key: the hash of all that decides them.
    **conditions: under which they learned, for tables of many runs.
  """
  steps, checks = numbers.checks['steps'], numbers.checks
  extras = {
    **conditions,
    **numbers.facts,
    'reconstruction': numbers.reconstruction,
    'curves': {curve: rows.curve(steps, checks[curve]) for curve in CURVES[1:] if curve in checks},
  }
  if reference is not None and len(numbers.columns['last']) > 1:
    extras['differences'] = rows.differences(numbers.columns, reference.columns)
  scores = {key: metrics.mean_std(values) for key, values in numbers.columns.items()}
  curve = rows.curve(steps, checks['test'])
  return Row(name, label, numbers.seconds, scores, curve, False, key, extras)
