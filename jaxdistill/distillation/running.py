"""A run of this family from its work to its numbers, the same for one method and for several."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill import files, models
from jaxdistill.data.transform import Transform
from jaxdistill.distillation import (
  flow,
  methods,
  page,
  scoring,
  sections,
  seeing,
  speed,
  standing,
  teachers,
  verifying,
)
from jaxdistill.distillation.method import Method
from jaxdistill.distillation.scoring import Numbers
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.distillation.trained import Built, Trained
from jaxdistill.distillation.work import Work
from jaxdistill.experiment import estimates, results, running
from jaxdistill.experiment.estimates import Phase
from jaxdistill.experiment.results import Row
from jaxdistill.numerics import settled
from jaxdistill.training import provenance
from jaxdistill.training.run import Run

# Scores that are said of a row.
SHOWN = ('last', 'selected', 'verification', 'rank1')


class Ran(NamedTuple):
  """What a run has come to.

  teacher: frozen. table: rows of the teacher, then one a method, compared student by student with
    those alone where they are there. numbers: of the students by method. students: them; None in
    all processes but the first.
  """

  teacher: Teacher
  table: list[Row]
  numbers: dict[str, Numbers]
  students: dict[str, Trained | None]


def methods_of(fields: sections.Config) -> dict[str, Mapping[str, Any]]:
  """Returns the section of every method by its name in the table; students alone come first where
  they are wanted beside one."""
  if isinstance(fields, sections.CompareConfig):
    return running.methods_of(fields)
  name = methods.name_of(fields.method)
  alone = {} if name == scoring.REFERENCE else {scoring.REFERENCE: methods.ALONE}
  return {**(alone if fields.distillation.baseline else {}), name: fields.method}


@settled()
def run_all(run: Run, work: Work, tell: bool = True) -> Ran:
  """Gets the teacher and takes the students of every method through its stages.

  Args:
    run: where all goes.
    work: what it works on.
    tell: whether to say what it works on, how long it will take, and what comes of it.

  Raises:
    UserError: the work dir was begun with another teacher, other validation images or another list
      of pairs.
  """
  settle(run, work)
  say = run.say if tell else lambda text: None
  say(describe(work))
  if tell and not flow.is_trained(run, work):
    estimates.estimate_once(
      run,
      lambda: estimates.measure(teacher_phases(work)),
      "the teacher's training",
      until="the teacher's training takes",
    )
  teacher = flow.get_teacher(run, work)
  table = _teacher_rows(run, work, teacher)
  for row in table:
    say(running.in_words(row, SHOWN))
  if tell:
    estimates.estimate_once(
      run,
      lambda: estimates.measure(student_phases(work, teacher)),
      "the students' trainings",
      name='estimate_students',
      until='they take',
    )
  # The teacher's answers, which all methods are compared with, are asked for once and if need be.
  answers = None
  if not work.other_classes(teacher):
    answers = functools.cache(lambda: teacher_outputs(work, teacher, work.test.images))
  learned = running.learn_all(
    run,
    methods_of(work.fields),
    learn=lambda name, section: learn(run, work, teacher, name, section, answers),
    row=functools.partial(_row, work, teacher),
    shown=SHOWN,
    tell=tell,
  )
  return Ran(teacher, [*table, *learned.table], learned.numbers, learned.networks)


def settle(run: Run, work: Work) -> None:
  """Raises `UserError` where the work dir of a run was begun with something else than `given_to`
  tells, or with another list of pairs: paths alone do not say what is verified."""
  provenance.settle_given(run, 'teacher', given_to(work))
  if work.pairs is not None and work.pairs.content:
    provenance.settle_given(run, 'pairs', {'the list of pairs': work.pairs.content})


def given_to(work: Work) -> dict[str, Any]:
  """Returns what tells a teacher that was there already, and validation images, from others, see
  `provenance.settle_given`."""
  teacher = work.given
  return {
    'teacher': teacher and teacher.content,
    'function of the teacher': teacher and teacher.function,
    'validation': work.validation,
  }


@settled()
def learn(
  run: Run,
  work: Work,
  teacher: Teacher,
  name: str,
  section: Mapping[str, Any],
  answers: Callable[[], np.ndarray] | None,
) -> tuple[Numbers, Trained | None]:
  """Takes the students of a method through its stages, or reads back what an earlier start has come
  to.

  Args:
    run: where all goes.
    work, teacher: see `flow.Flow`.
    name: of the method in the table.
    section: its fields.
    answers: () -> the teacher's logits [n, C] of the test images; asked for only where they count.
      None: it has other classes.

  Returns:
    Their numbers, and them (None in all processes but the first).
  """
  path = f'students/{name}.msgpack'

  def compute():
    method = methods.make(work.pair(teacher), section)
    ended = flow.students(run, work, teacher, method, name)
    trained = Trained(built(work), ended.variables)
    run.write_bytes(path, trained.to_bytes())
    numbers = _numbers(run, work, method, ended, answers)
    return numbers, trained, flow.phases_of(method, name)

  there = lambda workdir: Trained.load(workdir / path)
  return running.once(run, name, compute, Numbers.from_json, there)


def built(work: Work) -> Built:
  """Returns what the students of a run are built from."""
  asked, train = work.fields.distillation, work.train
  return Built(
    {**work.fields.model, 'dtype': work.fields.dtype},
    train.class_names,
    train.image_shape,
    asked.low,
    asked.how,
    asked.shown,
    train.mean,
    train.std,
    asked.degrade,
  )


def _numbers(
  run: Run,
  work: Work,
  method: Method,
  ended: flow.Students,
  answers: Callable[[], np.ndarray] | None,
) -> Numbers:
  seeds, student = work.fields.distillation.seeds, work.seeing(work.student, work.student_view)
  logits = seeing.outputs(student, ended.variables, work.test.images, ['logits'], networks=seeds)
  imitation, correlation = {}, None
  if answers is not None:
    imitation, correlation = scoring.imitate(logits['logits'], answers())
  verified = verifying.numbers(
    student,
    ended.variables,
    work.fields.verification,
    work.pairs,
    work.wanted,
    mirrored=work.train.flip,
    networks=seeds,
  )

  of_method = {
    'stages': [stage.name for stage in method.stages],
    'live_teacher': method.has_live_teacher,
  }
  if method.guides:
    of_method['guides'] = {name: guide.key for name, guide in method.guides.items()}

  def measure():
    one = jax.tree.map(lambda leaf: leaf[0], ended.variables)
    return network_facts(work, work.student, one, work.student_shape, work.lower)

  return Numbers(
    ended.steps,
    ended.test,
    ended.validation,
    imitation,
    verified,
    correlation,
    # Students of all methods have one network, whose size and speed are measured once.
    {**of_method, **run.once('student', measure)},
    ended.seconds,
    method.reconstruction,
  )


def teacher_outputs(work: Work, teacher: Teacher, images: Any) -> np.ndarray:
  """Returns the teacher's logits [n, C] of native images."""
  seen = work.teacher_seeing(teacher)
  return seeing.outputs(seen, teacher.variables, images, ['logits'])['logits']


def network_facts(
  work: Work,
  model: Any,
  variables: Any,
  shape: tuple[int, int, int],
  lower: Transform | None = None,
) -> dict[str, Any]:
  """Returns the size of a network and, where they are wanted, the images a second that it takes.

  Args:
    work: says what is wanted.
    model: the network.
    variables: of one network.
    shape: of the images that it reads.
    lower: what makes those of native ones; None: it reads native images.
  """
  facts = {}
  # What a function takes is a tree of any form.
  if isinstance(variables, Mapping) and 'params' in variables:
    facts['parameters'] = models.count(variables)
  if hasattr(model, 'init'):
    facts['activation_bytes'] = models.activation_bytes(model, shape)
  if not work.fields.distillation.speed:
    return facts
  rates = speed.images_per_second(model, variables, shape)
  facts |= {f'images_per_second_{batch}': rate for batch, rate in rates.items()}
  if lower is not None:
    rates = speed.images_per_second(model, variables, work.train.image_shape, view=lower)
    facts |= {f'images_per_second_{batch}_resizing': rate for batch, rate in rates.items()}
  return facts


def _teacher_rows(run: Run, work: Work, teacher: Teacher) -> list[Row]:
  """Rows of the teacher on native images, and on those of the students brought back to their old
  size; none of a teacher from another data set, which has no test images here."""
  if work.foreign_classes(teacher):
    return []
  asked = work.fields.distillation

  def score(lower):
    seen, images = work.teacher_seeing(teacher, lower), work.teacher_test.images
    logits = seeing.outputs(seen, teacher.variables, images, ['logits'])['logits']
    return float((logits.argmax(-1) == work.teacher_test.labels).mean())

  def compute():
    native = network_facts(work, teacher.network, teacher.variables, work.teacher_shape(teacher))
    accuracies = {'teacher': score(())}
    if asked.low:
      accuracies['teacher_low'] = score((dataclasses.replace(work.worsened, shown='upsampled'),))
    return {'accuracies': accuracies, 'facts': native}

  known = run.once('teacher', compute)
  labels = {
    'teacher': f'Teacher {teacher.label}',
    'teacher_low': f'Teacher {teacher.label} at {asked.low} pixels{suffering(asked)}',
  }
  facts, rows = {**_conditions(work), **known['facts']}, []
  seconds = run.timing(teachers.PHASE).get('seconds', 0.0)
  for name, accuracy in known['accuracies'].items():
    key = running.key(work.fields, {'name': name}, teacher=teacher.key)
    rows.append(scoring.teacher_row(name, labels[name], seconds, accuracy, facts, key))
  return rows


def _conditions(work: Work) -> dict[str, Any]:
  """What tells rows of one method apart in a table of many runs."""
  asked = work.fields.distillation
  degraded = {'degrade': list(asked.degrade)} if asked.degrade else {}
  return {'low': asked.low, 'share': asked.share, **degraded}


def suffering(asked: sections.Distilling) -> str:
  """Returns what the students' images suffer, behind their size; '' for nothing.

  >>> suffering(sections.Distilling('digits', low=4, degrade=('blur', 'darken')))
  ', blur + darken'
  """
  return f', {" + ".join(asked.degrade)}' if asked.degrade else ''


def _row(work: Work, teacher: Teacher, numbers: Mapping[str, Numbers], name: str) -> Row:
  section, facts = methods_of(work.fields)[name], numbers[name].facts
  further = {'guides': facts['guides']} if 'guides' in facts else {}
  return scoring.row(
    name,
    running.label(methods.label_of(section), numbers[name]),
    numbers[name],
    None if name == scoring.REFERENCE else numbers.get(scoring.REFERENCE),
    running.key(work.fields, section, teacher=teacher.key, **further),
    **_conditions(work),
  )


def describe(work: Work) -> str:
  """Returns the images, the networks and the training in a few lines, and what is to be known of
  the pictures of pairs."""
  asked, fields = work.fields.distillation, work.fields
  batches = 'the same batches' if asked.batches == 'shared' else 'batches of their own'
  low = ''
  if asked.low:
    low = f' at {asked.low} pixels ({asked.how}, {asked.shown}{suffering(asked)})'
  few = f', {asked.share:.0%} of a class' if asked.share < 1 else ''
  teacher = work.given.label if work.given else fields.teacher_model['name']
  if work.given and work.foreign_classes(work.given):
    teacher += ' of other classes, whose features alone can be compared'
  lines = [
    work.taught.describe(),
    work.test.describe(),
    f'Teacher {teacher}; {asked.seeds} student(s) {fields.model["name"]}{low} with {batches}, from '
    f'{len(work.train):,} images{few}, {work.steps:,} steps of {work.batch}',
  ]
  if work.pairs is not None:
    lines.append(f'{len(work.pairs):,} pairs of images of unknown classes are verified')
    lines += work.pairs.notices
  if work.wanted is not None:
    lines.append(work.wanted.describe())
  return '\n'.join(lines)


def result(run: Run, work: Work, ran: Ran, config: Mapping[str, Any]) -> results.Result:
  """Returns the content of result.json; `config` is what the file keeps of the config."""
  fields, asked, table = work.fields, work.fields.distillation, ran.table
  labels = [row.label for row in table if not row.reference and row.name != scoring.REFERENCE]
  names = running.listed(labels) or 'Alone'
  low = f' at {asked.low} pixels{suffering(asked)}' if asked.low else ''
  special = {'degrade': list(asked.degrade)} if asked.degrade else {}
  # A method that an earlier version has finished has no such number.
  if work.wanted is not None and any('rank1' in row.scores for row in table):
    special['identified'] = work.wanted.describe()
  return results.of_run(
    run,
    title=f'{names}: {ran.teacher.label} to {fields.model["name"]}{low} on {work.train.name}',
    dataset=work.train.name,
    seconds={
      'teacher': run.timing(teachers.PHASE).get('seconds', 0.0),
      'students': running.seconds(ran),
    },
    config=config,
    **running.facts(fields, ran),
    teacher={
      'network': ran.teacher.label,
      'key': ran.teacher.key,
      'normalisation': fields.teaching.normalisation,
      'steps': np.asarray(ran.teacher.checks.get('steps', [])).tolist(),
      'test': np.asarray(ran.teacher.checks.get('test', [])).tolist(),
    },
    student=fields.model['name'],
    low=asked.low,
    shown=asked.shown,
    batches=asked.batches,
    share=asked.share,
    images=len(work.train),
    seeds=asked.seeds,
    transductive=bool(work.pairs is not None and fields.verification.adapt),
    class_names=list(work.train.class_names),
    **special,
  )


def write(run: Run, work: Work, ran: Ran, config: Mapping[str, Any]) -> dict[str, Any]:
  """Writes the numbers and the page; returns the numbers, what result.json holds."""
  ended = result(run, work, ran, config)
  content = ended.to_json()
  run.write_json('result.json', content)
  run.write_bytes('report.html', files.encoded(page.html(ended, run, page.views(work))))
  return content


def teacher_phases(work: Work) -> Iterator[Phase]:
  """Yields the teacher's training, where there is one."""
  if work.given is None:
    problem = teachers.setup(work.training, work.taught, work.mesh)
    yield Phase(teachers.PHASE, problem, work.fields.dtype)


def student_phases(work: Work, teacher: Teacher) -> Iterator[Phase]:
  """Yields every stage of every method."""
  for name, section in methods_of(work.fields).items():
    method = methods.make(work.pair(teacher), section)
    for stage, problem in standing.problems(work, teacher, method):
      yield Phase(f'{name}/{stage}', problem, work.fields.dtype)


def phases(work: Work) -> Iterator[Phase]:
  """Yields the phases of a run; what the teacher knows does not matter."""
  yield from teacher_phases(work)
  yield from student_phases(work, standing.teacher(work))


@settled()
def dry_run(work: Work) -> str:
  """Returns the networks, their parameters and the estimate of time and memory, without starting
  anything."""
  parts = [describe(work)]
  shapes = {'Student': (work.student, work.student_shape)}
  if work.given is None:
    shapes = {'Teacher': (work.training.build(work.taught), work.taught.image_shape), **shapes}
  for name, (model, shape) in shapes.items():
    parts.append(f'{name}:\n{estimates.parameters(model, shape)}')
  return estimates.described(*parts, phases=phases(work))
