"""What is measured: pure functions of arrays and numbers that change nothing and keep nothing.

This floor stands above the losses and below everything that trains or reports. `accuracies` takes
jax arrays and works inside compiled steps; all other files are for reports, on the host, in numpy's
float64. What one value of a paper means (ties, empty bins, the number that divides) stands in the
function's docstring, and every function is tested against an independent reference.

  accuracies   accuracy of logits, over all examples or by class
  calibration  what the probabilities are worth: calibration errors, Brier score, likelihood
  confusion    which classes are taken for which
  incremental  classes that arrive session by session: accuracies, forgetting, one number a run
  summary      several runs, or clustered examples, as one number with its uncertainty
  ranking      scores of two kinds of examples: ROC, AUC, average precision, equal error rate
  agreement    do several raters, or several networks, say the same?
  imitation    does a student say what its teacher says: answers, probabilities, related classes
  verification    do two images show the same class: cosines, TAR at FAR, accuracy by folds
  noise        label noise: what a selection is worth, errors of transition matrices and confusions
  multilabel   several labels an example: mean average precision, overall and class F1
  identification  whose image is it: ranks in a gallery, with distractors; CMC
"""

from jaxdistill.metrics.accuracies import accuracy, accuracy_by_class
from jaxdistill.metrics.agreement import (
  cohen_kappa,
  fleiss_kappa,
  krippendorff_alpha,
  percent_agreement,
)
from jaxdistill.metrics.calibration import (
  BINNINGS,
  brier_score,
  calibration_bins,
  expected_calibration_error,
  maximum_calibration_error,
  negative_log_likelihood,
)
from jaxdistill.metrics.confusion import balanced_accuracy, confusion_matrix, row_normalised
from jaxdistill.metrics.identification import cumulative_match, probe_ranks
from jaxdistill.metrics.imitation import (
  correlation_difference,
  same_answers,
  teacher_divergence,
)
from jaxdistill.metrics.incremental import (
  SessionAccuracies,
  accuracy_matrix,
  backward_transfer,
  batch_mean_accuracy,
  class_shares,
  differences_over_runs,
  forgetting,
  generalised_accuracy,
  harmonic_mean,
  run_metrics,
  session_accuracies,
  summary_over_runs,
)
from jaxdistill.metrics.multilabel import (
  LabelF1,
  label_f1,
  label_scores,
  mean_average_precision,
)
from jaxdistill.metrics.noise import (
  Retrieval,
  confusion_error,
  retrieval,
  transition_error,
  transition_errors,
)
from jaxdistill.metrics.ranking import average_precision, equal_error_rate, roc_auc, roc_curve
from jaxdistill.metrics.summary import bootstrap_interval, mean_std, paired_difference, t_interval
from jaxdistill.metrics.verification import cosine_scores, fold_accuracies, true_accept_rates

__all__ = [
  'BINNINGS',
  'LabelF1',
  'Retrieval',
  'SessionAccuracies',
  'accuracy',
  'accuracy_by_class',
  'accuracy_matrix',
  'average_precision',
  'backward_transfer',
  'balanced_accuracy',
  'batch_mean_accuracy',
  'bootstrap_interval',
  'brier_score',
  'calibration_bins',
  'class_shares',
  'cohen_kappa',
  'confusion_error',
  'confusion_matrix',
  'correlation_difference',
  'cosine_scores',
  'cumulative_match',
  'differences_over_runs',
  'equal_error_rate',
  'expected_calibration_error',
  'fleiss_kappa',
  'fold_accuracies',
  'forgetting',
  'generalised_accuracy',
  'harmonic_mean',
  'krippendorff_alpha',
  'label_f1',
  'label_scores',
  'maximum_calibration_error',
  'mean_average_precision',
  'mean_std',
  'negative_log_likelihood',
  'paired_difference',
  'percent_agreement',
  'probe_ranks',
  'retrieval',
  'roc_auc',
  'roc_curve',
  'row_normalised',
  'run_metrics',
  'same_answers',
  'session_accuracies',
  'summary_over_runs',
  't_interval',
  'teacher_divergence',
  'transition_error',
  'transition_errors',
  'true_accept_rates',
]
