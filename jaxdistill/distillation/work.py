"""What a run works on before anything is trained: the images of teacher and students, the students'
network without weights, how both are trained and which views a step computes."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxdistill import draws, models
from jaxdistill.data import Dataset, paired, share_of
from jaxdistill.data.crops import Flip, Resize
from jaxdistill.data.degradations import NAMED
from jaxdistill.data.examples import Examples
from jaxdistill.data.face_pairs import Pairs
from jaxdistill.data.paired import LOW, NATIVE, GuideView, PairedViews
from jaxdistill.data.resolution import Lower, check_low, seen_shape
from jaxdistill.data.transform import Transform
from jaxdistill.distillation import recipes, sections, teachers, verifying
from jaxdistill.distillation.method import TEACHER, Pair
from jaxdistill.distillation.seeing import Seeing
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.errors import UserError, brief
from jaxdistill.experiment import datasets
from jaxdistill.numerics import settled
from jaxdistill.training.outputs import PROTOTYPES
from jaxdistill.training.recipe import Recipe


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
  """What a run works on.

  Attributes:
    fields: of its config.
    taught: images that the teacher learns from.
    teacher_test: test images of its classes.
    everything: the students' training images before a share of them is taken.
    train: those that the students learn from.
    validation: held out to choose by; None: none are.
    test: of the students' classes.
    unknown: test images of the classes that nobody is trained on; None: there are none.
    student: the network, without weights.
    given: a teacher that is there already; None: it is trained.
    mesh: the devices.
    distractors: test images of further such classes; None: there are none.
  """

  fields: sections.Config
  taught: Dataset
  teacher_test: Dataset
  everything: Dataset
  train: Dataset
  validation: Dataset | None
  test: Dataset
  unknown: Dataset | None
  student: nn.Module
  given: Teacher | None = None
  mesh: Mesh | None = None
  distractors: Dataset | None = None

  @functools.cached_property
  def recipe(self) -> Recipe:
    """The students' recipe, unmirrored where their images lose their class."""
    return _recipe(self.fields.distillation, self.train)

  @functools.cached_property
  def training(self) -> teachers.Training:
    """How the teacher is trained."""
    asked = self.fields.teaching
    network = {**self.fields.teacher_model, 'dtype': self.fields.dtype}
    return teachers.Training(network, _recipe(asked, self.taught), asked.seed, asked.steps)

  @property
  def steps(self) -> int:
    """Steps of the students' recipe: those of all images, however few of them a share is."""
    return self.fields.distillation.steps or self.recipe.steps(len(self.everything))

  @property
  def batch(self) -> int:
    """Images a step."""
    return min(self.recipe.batch, len(self.train))

  @property
  def student_view(self) -> str:
    """The view that the students read."""
    return LOW if self.fields.distillation.low else NATIVE

  @property
  def student_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of the images that the students read."""
    asked = self.fields.distillation
    return seen_shape(self.train.image_shape, asked.low, asked.shown)

  @functools.cached_property
  def paired(self) -> PairedViews:
    """The views of teacher and students, from one crop and mirror of an image."""
    return self.views_with({})

  def views_with(self, further: Mapping[str, Teacher]) -> PairedViews:
    """Returns these and the views of further guides, by their names, from the same crop."""
    asked = self.fields.distillation
    guides = {TEACHER: self.given, **further} if self.given else further
    own = {name: self.guide_view(guide) for name, guide in guides.items()}
    augment = {
      'recipe': self.recipe.transforms,
      'flip': (Flip(),),
      'none': (),
    }[asked.augmentation]
    return paired.views_of(
      asked.low,
      asked.how,
      asked.shown,
      augment=augment,
      mixing=self.recipe.mixing if asked.augmentation == 'recipe' else None,
      degrade=degradations_of(asked.degrade),
      guides={name: view for name, view in own.items() if view},
      keep=bool(asked.cache),
      fixed_draws=int(asked.cache) if asked.cache.isdecimal() else 0,
      seed=self.fields.seed,
      mean=self.train.mean,
      std=self.train.std,
      num_classes=self.train.num_classes,
      flip=self.train.flip,
    )

  @functools.cached_property
  def kept(self) -> dict[tuple[Teacher, tuple[str, ...]], Mapping[str, np.ndarray]]:
    """What `keeping.outputs` has computed, by the guide and the names of its outputs."""
    return {}

  def guide_view(self, guide: Teacher) -> GuideView | None:
    """Returns what a guide reads where that is not the native view; None where it is."""
    return guide.view(self.train.mean, self.train.std, self.train.image_shape)

  def teacher_shape(self, teacher: Teacher) -> tuple[int, int, int]:
    """Returns height, width and channels of the images that a guide reads."""
    images = jax.ShapeDtypeStruct((1, *self.train.image_shape), jnp.float32)
    own = self.guide_view(teacher)
    for transform in own.transforms if own else ():
      images = jax.eval_shape(functools.partial(transform, None), images)
    return images.shape[1:]

  def form_of(self, teacher: Teacher) -> dict[str, Any]:
    """Returns the outputs of a guide for one image of the students, by name, as shapes."""
    return teacher_form(teacher, self.teacher_shape(teacher))

  def teacher_seeing(self, teacher: Teacher, lower: tuple = ()) -> Seeing:
    """Returns a guide behind what it reads, as it is asked outside of training; `lower` are
    operations before that."""
    own = self.guide_view(teacher)
    if own is None:
      return Seeing(teacher.network, lower, self.train.mean, self.train.std)
    resized = (Resize(own.size),) if own.size else ()
    return Seeing(teacher.network, (*lower, *resized), own.mean, own.std)

  @property
  def lower(self) -> Lower | None:
    """What makes the students' images low; None: they are native."""
    asked = self.fields.distillation
    return Lower(asked.low, asked.how, asked.shown) if asked.low else None

  @property
  def worsened(self) -> Lower | None:
    """The same with what these images suffer; None: they are native."""
    asked = self.fields.distillation
    return self.lower and dataclasses.replace(self.lower, degrade=degradations_of(asked.degrade))

  def seeing(self, model: Any, view: str) -> Seeing:
    """Returns a network behind the native or the low view, as it is asked outside of training."""
    lower = (self.worsened,) if view == LOW else ()
    return Seeing(model, lower, self.train.mean, self.train.std)

  def unit_examples(self, images: Dataset) -> Examples:
    """Returns images in [0, 1] to score a `seeing` on, which normalises them itself."""
    channels = images.image_shape[2]
    return dataclasses.replace(Examples.of(images), mean=(0.0,) * channels, std=(1.0,) * channels)

  def foreign_classes(self, teacher: Teacher) -> str:
    """Returns what tells a teacher's classes from those that it is tested on here; '' for nothing.

    Such a teacher comes from another data set: students may learn from its features.
    """
    given = self.form_of(teacher)['logits'].shape[-1]
    here, names = self.taught.class_names, teacher.class_names
    if given != len(here):
      return (
        f'the teacher {teacher.label} answers with {given} classes, and {self.train.name} has '
        f'{len(here)} here'
      )
    for number, (there, own) in enumerate(zip(names, here)):
      if there != own:
        return (
          f'class {number} of the teacher {teacher.label} is {there!r}, and {own!r} in '
          f'{self.train.name}'
        )
    return ''

  def other_classes(self, teacher: Teacher) -> str:
    """Returns what tells a teacher's classes from those of the students; '' for nothing."""
    public = self.fields.distillation.public
    if public:
      return f'with distillation.public={public} the students have classes of their own'
    return self.foreign_classes(teacher)

  @functools.cached_property
  def pairs(self) -> Pairs | None:
    """What is verified; None: nothing."""
    return verifying.pairs(self.fields.verification, self.unknown, self.train)

  @functools.cached_property
  def wanted(self) -> verifying.Wanted | None:
    """Who is identified; None: nobody."""
    return verifying.wanted(self.fields.verification, self.unknown, self.distractors)

  @property
  def optimizer(self) -> Any:
    """Returns the recipe's optimiser over so many steps."""

    def build(steps: int) -> optax.GradientTransformation:
      rate = self.recipe.learning_rate(len(self.everything), steps)
      return self.recipe.optimizer.build(rate, self.recipe.groups)

    return build

  def assistant(self) -> nn.Module:
    """Returns the network of an assistant, which reads native images."""
    asked = self.fields.distillation.assistant
    network = {'name': asked} if asked else dict(self.fields.model)
    network['dtype'] = self.fields.dtype
    return models.build(network, self.train.num_classes, self.train.image_shape)

  def pair(self, teacher: Teacher) -> Pair:
    """Returns teacher and student as a method is made for them."""
    student_form, assistant = outputs_form(self.student, self.student_shape), self.assistant()
    return Pair(
      student=self.student,
      student_form=student_form,
      teacher_form=self.form_of(teacher),
      teacher=teacher.module,
      num_classes=self.train.num_classes,
      images=len(self.train),
      labels=np.asarray(self.train.labels),
      batch=self.batch,
      steps=self.steps,
      epoch_steps=self.recipe.epoch_steps(len(self.everything)),
      low=self.fields.distillation.low,
      student_view=self.student_view,
      views=self.paired.names,
      optimizer=self.optimizer,
      assistant=assistant,
      assistant_form=outputs_form(assistant, self.train.image_shape),
      teacher_variables=None if teacher.module is None else teacher.variables,
      other_classes=self.other_classes(teacher),
      form_of=self.form_of,
    )


@settled()
def make(
  fields: sections.Config,
  train: Dataset,
  validation: Dataset | None,
  test: Dataset,
  mesh: Mesh | None = None,
  given: Teacher | None = None,
) -> Work:
  """Returns what a run works on.

  Args:
    fields: of its config.
    train, validation, test: of one shape and one set of classes.
    mesh: the devices.
    given: a teacher that is there already; None: what the config says.

  Raises:
    UserError: another shape or other classes on one side, classes that do not divide so, a low size
      that does not divide the images, a network that cannot take them, a teacher that is not there.
  """
  datasets.check_alike(train, {'test': test, 'validation': validation})
  asked = fields.distillation
  if asked.low:
    check_low(asked.low, train.image_shape)
  elif asked.degrade:
    raise UserError(
      'distillation.degrade is what the small images of the students suffer, and distillation.low '
      f'is 0; set low to {min(train.image_shape[:2])} for students at full size.'
    )
  private, public, held_out, others = _classes(fields, train)
  parts = [
    None if images is None else images.take_classes(public) for images in (train, validation, test)
  ]
  everything, validation, test_of_students = parts
  students = share_of(everything, asked.share) if asked.share < 1 else everything
  taught = train.take_classes(private)
  shape = seen_shape(train.image_shape, asked.low, asked.shown)
  student = models.build({**fields.model, 'dtype': fields.dtype}, len(public), shape)
  if given is None and fields.teaching.given:
    network = {**fields.teacher_model, 'dtype': fields.dtype}
    given = teachers.read(fields.teaching.given, network, taught)
  return Work(
    fields,
    taught,
    test.take_classes(private),
    everything,
    students,
    validation,
    test_of_students,
    test.take_classes(held_out) if held_out else None,
    student,
    given,
    mesh,
    test.take_classes(others) if others else None,
  )


def degradations_of(names: Sequence[str]) -> tuple[Transform, ...]:
  """Returns the operations of some degradations.

  >>> degradations_of(('darken',))
  (Darken(factor=0.5),)
  """
  return tuple(NAMED[name] for name in names)


def outputs_form(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, Any]:
  """Returns the outputs of a network for one image, by name, as shapes.

  >>> model = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 3, (8, 8, 1))
  >>> {name: form.shape for name, form in outputs_form(model, (8, 8, 1)).items()}['logits']
  (1, 3)
  """
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  (logits, features), _ = jax.eval_shape(model.init_with_output, draws.key(0), images)
  return {'logits': logits, **features}


def teacher_form(teacher: Teacher, shape: tuple[int, int, int]) -> dict[str, Any]:
  """Returns the outputs of a teacher for one image of a shape, by name, as shapes.

  Raises:
    UserError: a function that gives no logits of images like these, something that is no row of an
      image, or prototypes that are not a row a class of the embedding's width.
  """
  if teacher.module is not None:
    return outputs_form(teacher.module, shape)
  part = teacher.part()
  one = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  try:
    form = dict(jax.eval_shape(part.function, teacher.variables, one))
  except UserError:
    raise
  except Exception as error:  # a user's function may raise anything
    raise UserError(
      f'The teacher {teacher.label} does not take images of shape {shape} ({brief(error)}).'
    ) from error
  logits = form.get('logits')
  shapes = {name: getattr(leaf, 'shape', type(leaf).__name__) for name, leaf in form.items()}
  if logits is None or np.ndim(logits) != 2 or len(logits) != 1:
    raise UserError(
      f'The teacher {teacher.label} must give logits [n, C], or a dict with them; of one image it '
      f'gives {shapes}.'
    )
  for name, shape in shapes.items():
    if name != PROTOTYPES and shape[:1] != (1,):
      raise UserError(
        f'What the teacher {teacher.label} gives are arrays with a row an image, but for its '
        f'{PROTOTYPES}; of one image {name!r} is {shape}. Leave it out.'
      )
  if PROTOTYPES in form and 'embedding' in form:
    given, wanted = form[PROTOTYPES].shape, (logits.shape[-1], form['embedding'].shape[-1])
    if given != wanted:
      raise UserError(
        f'The prototypes of the teacher {teacher.label} are the rows of its last layer, one a '
        f'class over the embedding: here {wanted}, not {given}.'
      )
  return form


def _classes(fields: sections.Config, train: Dataset) -> tuple[list[int], ...]:
  """The classes of the teacher, of the students, and of nobody: those to be recognised, and the
  distractors before them."""
  held_out, public = fields.verification.classes, fields.distillation.public
  distractors = fields.verification.distractors
  names = {'verification.classes': held_out, 'distillation.public': public}
  left = train.num_classes - held_out - distractors
  least = {'verification.classes': 2, 'distillation.public': 2}
  for name, number in names.items():
    if number and number < least[name]:
      raise UserError(f'{name} is {number}; it must be 0 or at least {least[name]}.')
  if left - public < 2:
    more = f', verification.distractors={distractors}' if distractors else ''
    raise UserError(
      f'{train.name} has {train.num_classes} classes: with verification.classes={held_out}{more} '
      f'and distillation.public={public} fewer than 2 are left for the teacher.'
    )
  everyone, unknown = list(range(left)), list(range(left, train.num_classes))
  nobody = unknown[distractors:], unknown[:distractors]
  if not public:
    return everyone, everyone, *nobody
  return everyone[: left - public], everyone[left - public :], *nobody


def _recipe(asked: Mapping[str, Any] | Any, images: Dataset) -> Recipe:
  recipe = recipes.find(
    asked.recipe, epochs=asked.epochs, batch=asked.batch, learning_rate=asked.learning_rate
  )
  return recipe if images.flip else recipe.unmirrored()
