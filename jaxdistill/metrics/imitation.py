"""How well a student imitates its teacher: answers, probabilities, and which classes go together.

(Whether raters agree beyond chance is in `agreement`.) For reports: numpy arrays on the host, in
float64.
"""

import numpy as np

from jaxdistill import errors


def same_answers(student: np.ndarray, teacher: np.ndarray) -> float:
  """Share of the images for which both have the same class on top, right or wrong.

  Args:
    student, teacher: logits [n, C] of the same images; of equal logits the class with the smaller
      number is on top.

  Raises:
    UserError: for different shapes, no images, or logits that are not numbers.

  >>> import numpy as np
  >>> same_answers(np.array([[2, 1], [0, 3]]), np.array([[5, 1], [1, 0]]))
  0.5
  """
  student, teacher = _checked(student, teacher)
  return float((student.argmax(1) == teacher.argmax(1)).mean())


def teacher_divergence(student: np.ndarray, teacher: np.ndarray) -> float:
  """Mean over images of KL(p_t || p_s) = sum_c p_t(c) (log p_t(c) - log p_s(c)) in nats, with p the
  softmax of the logits at temperature 1.

  0: the same probabilities. Agreement of answers and this divergence say different things: a
  student may answer alike and be far less certain.

  Args, Raises: see `same_answers`.

  Source: both measures as in Stanton et al., Does Knowledge Distillation Really Work?, NeurIPS
  2021.

  >>> import numpy as np
  >>> student, teacher = np.log([[0.5, 0.5]]), np.log([[0.75, 0.25]])
  >>> round(teacher_divergence(student, teacher), 6)  # 3/4 log 3/2 + 1/4 log 1/2
  0.130812
  """
  student, teacher = map(_log_softmax, _checked(student, teacher))
  divergences = (np.exp(teacher) * (teacher - student)).sum(1)
  # Of equal probabilities a rounding below 0 may be left.
  return float(np.maximum(divergences, 0.0).mean())


def correlation_difference(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
  """Returns R_teacher - R_student, float64 [C, C] in [-2, 2], with R_ij the correlation of logits i
  and j over the images.

  The nearer to 0 everywhere, the better the student has taken over which classes go together. A
  class whose logit is the same for all images has correlation 0 with every class, itself too (our
  choice).

  Args, Raises: see `same_answers`; at least two images.

  Source: the pictures of Tian et al., Contrastive Representation Distillation, ICLR 2020.

  >>> import numpy as np
  >>> teacher = np.array([[1.0, 0.0], [0.0, 1.0]])
  >>> correlation_difference(np.array([[1.0, 1.0], [0.0, 0.0]]), teacher).round(6).tolist()
  [[0.0, -2.0], [-2.0, 0.0]]
  """
  student, teacher = _checked(student, teacher)
  if len(student) < 2:
    raise errors.UserError('A correlation of logits needs at least 2 images; got 1.')
  return _correlations(teacher) - _correlations(student)


def _log_softmax(logits):
  shifted = logits - logits.max(1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _correlations(logits):
  centred = logits - logits.mean(0)
  lengths = np.linalg.norm(centred, axis=0)
  # What rounding leaves of a logit that is the same for all images is no length.
  varied = lengths > 1e-12 * np.maximum(np.linalg.norm(logits, axis=0), 1e-300)
  columns = np.where(varied, centred / np.where(varied, lengths, 1.0), 0.0)
  return columns.T @ columns


def _checked(student, teacher):
  student, teacher = np.asarray(student, np.float64), np.asarray(teacher, np.float64)
  if student.ndim != 2 or student.shape != teacher.shape or not student.size:
    raise errors.UserError(
      'A student is compared with its teacher by logits [n, C] of the same images and classes; got '
      f'{student.shape} and {teacher.shape}.'
    )
  if not (np.isfinite(student).all() and np.isfinite(teacher).all()):
    raise errors.UserError('The logits of student and teacher must be finite; some are not.')
  return student, teacher
