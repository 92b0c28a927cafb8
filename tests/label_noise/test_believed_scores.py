"""What is true of beliefs about annotators."""

import json
import types

import numpy as np
import pytest

from jaxdistill import files
from jaxdistill.data.crowds import Crowd
from jaxdistill.experiment import kept
from jaxdistill.label_noise import columns, scoring
from jaxdistill.label_noise.making import Observed
from jaxdistill.label_noise.method import Believed
from jaxdistill.label_noise.observed import Evidence

TRUTH = np.arange(40) % 2
# Right of 40: the first annotator 40, the second 30, the third 10.
SAID = np.stack([TRUTH, np.where(np.arange(40) < 10, 1 - TRUTH, TRUTH)], axis=1)
SAID = np.column_stack([SAID, np.where(np.arange(40) < 30, 1 - TRUTH, TRUTH)])


def scores_of(*accuracies):
  """Of one network that thinks so of the three annotators."""
  evidence = Evidence(Crowd.from_table(SAID, classes=2))
  work = types.SimpleNamespace(
    observed=Observed(evidence, truth=TRUTH), evidence=evidence, is_multilabel=False
  )
  matrices = [[[right, 1 - right], [1 - right, right]] for right in accuracies]
  beliefs = Believed(confusions=np.array([matrices], np.float32), labels=np.eye(2)[None, TRUTH])
  return scoring.believed_scores(work, beliefs)


def test_the_correlation_of_annotators_is_that_of_their_accuracies():
  estimated = [0.9, 0.8, 0.5]
  expected = np.corrcoef([1, 0.75, 0.25], estimated)[0, 1]
  assert scores_of(*estimated)['annotator_correlation'] == pytest.approx([expected], abs=1e-6)


def test_the_precision_of_a_check_is_of_what_is_chosen_or_of_all():
  """Of the votes 30 of 40 are right, of the chosen ones 5 of 10."""
  evidence = Evidence(Crowd.from_table(SAID[:, 1:2], classes=2))
  work = types.SimpleNamespace(
    observed=Observed(evidence, truth=TRUTH),
    test=types.SimpleNamespace(labels=TRUTH),
    is_multilabel=False,
  )
  answers = np.eye(2)[np.stack([TRUTH, TRUTH])]
  probabilities = {'test': answers, 'train': answers}
  chosen = np.zeros((2, 40), bool)
  chosen[0, 5:15] = True
  values = scoring.measure(work, probabilities, chosen)
  assert values['precision_values'] == [0.5, 0.75] and values['precision'] == 0.625
  assert 'precision' not in scoring.measure(work, probabilities)


def test_one_matrix_for_all_annotators_has_no_correlation():
  assert 'annotator_correlation' not in scores_of(0.8, 0.8, 0.8 + 6e-8)


def test_a_method_that_trusts_nothing_in_one_seed_has_a_dash_for_its_precision():
  """A kept share without a value is null in JSON, and nothing can be less or more than it."""
  there, none = numbers_of([0.5, 0.75]), numbers_of([0.5, np.nan])
  assert scoring.row('sel_cl', 'Sel-CL', there).scores['confident_precision']['mean'] == 0.625
  row = scoring.row('sel_cl', 'Sel-CL', again(none), again(there))
  assert set(row.extras['differences']) == {'last', 'best_test', 'drop'}
  shown = json.loads(json.dumps(files.jsonable(row.to_json())))['confident_precision']
  assert shown['values'] == [0.5, None] and columns.number(shown) == columns.number(None) == '–'


def numbers_of(precisions):
  checks = {'steps': np.array([1, 2]), 'test': np.full((2, 2), 0.5)}
  return scoring.Numbers(checks, {'confident_precision': np.array(precisions)}, {}, 1.0)


def again(numbers):
  """The numbers after they were kept in a file."""
  read = scoring.Numbers.from_json(kept.from_json(kept.to_json(numbers.to_json())))
  assert read.checks['steps'].dtype == np.int64
  return read
