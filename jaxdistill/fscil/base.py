"""Base networks: S encoders with a head, trained side by side on the base classes, and kept by
content for every run that wants the same ones."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from jaxdistill import draws, errors, files, metrics
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.data.transform import Transform
from jaxdistill.experiment import kept
from jaxdistill.fscil import selection
from jaxdistill.fscil.generative import Generative, without_decoder
from jaxdistill.losses import classification, prototypes
from jaxdistill.models import heads
from jaxdistill.numerics import settled
from jaxdistill.training import classifier, loop, pretrained, scorer
from jaxdistill.training.learner import Objective, Outcome
from jaxdistill.training.problem import Problem
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run

PHASE = 'base'


class Bases(NamedTuple):
  """Base networks of one form.

  model: the encoder with its head, of all C columns, see `models.heads`.
  variables: leading axis S.
  key: the hash of all that made them.
  checks: 'steps' [k] of the checks and accuracies on base images, 'test' [k, S] and perhaps
    'validation' [k, S]; {} where they were not trained here.
  """

  model: nn.Module
  variables: Any
  key: str
  checks: Mapping[str, np.ndarray]

  @property
  def networks(self) -> int:
    """S."""
    return len(jax.tree.leaves(self.variables)[0])


@dataclasses.dataclass(frozen=True)
class Training:
  """How base networks are trained.

  Attributes:
    recipe: augmentation, schedule, optimiser and length.
    networks: S; network number i has the seeds of number i in any company.
    seed: of weights, order and augmentation.
    steps: 0: the recipe's epochs.
    checks: on base images that take no part, at most so many, evenly spread, the last at the end.
    select: which weights are kept: 'last', or those of the best check, 'val' or 'best_test'.
    initial: variables that they start with, or a part of them, such as those of an encoder; None:
      random ones.
    begun: the hash of all that makes `initial`; '': its content decides.
    view: of the test pipeline, which the images of the checks go through; None: as they are.
    generative: what is reconstructed meanwhile, and how much slower the first layers learn.
  """

  recipe: Recipe
  networks: int = 1
  seed: int = 0
  steps: int = 0
  checks: int = 6
  select: str = 'last'
  initial: Mapping[str, Any] | None = None
  begun: str = ''
  view: Transform | None = None
  generative: Generative = Generative()

  def __post_init__(self):
    errors.whole('networks', self.networks, at_least=1)
    errors.whole('checks', self.checks, at_least=1)
    errors.seed(self.seed)

  def num_steps(self, images: int) -> int:
    """Returns the steps of the training on so many images."""
    return self.steps or self.recipe.steps(images)

  def trained(self, model: nn.Module) -> nn.Module:
    """Returns the network that is trained: the base network, with a decoder beside it where
    something is reconstructed."""
    return self.generative.model(model) if self.generative.alpha else model


def objective(model: nn.Module, base_classes: int, label_smoothing: float = 0.0) -> Objective:
  """Returns what a base network is trained for: cross-entropy over the base columns, or dot
  regression onto the frame of an ETF head.

  Batch normalisation takes the statistics of the batch and moves its running ones. Reports the
  accuracy on the training images, whatever labels are mixed, as 'train_accuracy'.

  Args:
    model: an encoder with a head of `models.heads`, of all columns.
    base_classes: B; the columns behind them have no part in the softmax.
    label_smoothing: share of the label spread over the base classes.

  Source: base columns alone as in CEC (Zhang et al., CVPR 2021); dot regression as in NC-FSCIL
  (Yang et al., ICLR 2023).
  """
  frame = model.head.frame if isinstance(model.head, heads.EtfHead) else None

  def loss_of(variables, batch, key):
    del key
    (logits, features), moved = model.apply(
      variables, batch['images'], train=True, mutable=['batch_stats']
    )
    labels, weight = batch['labels'], batch['weight']
    if frame is None:
      logits, labels = logits[:, :base_classes], labels[:, :base_classes]
      loss = classification.cross_entropy(
        logits, labels, weight=weight, label_smoothing=label_smoothing
      )
    else:
      loss = prototypes.dot_regression(features['projected'], labels, frame, weight)
    return Outcome(loss, {'train_accuracy': metrics.accuracy(logits, labels, weight)}, moved)

  return loss_of


@settled()
def setup(
  model: nn.Module, images: Dataset, training: Training, columns: int, mesh: Mesh | None = None
) -> Problem:
  """Returns the training of base networks, ready for the loop or for an estimate.

  Args:
    model: an encoder with a head of all columns.
    images: the base images, labels 0 ... B - 1.
    training: how.
    columns: C, of the labels' one-hot form.
    mesh: the devices.
  """
  return classifier.setup(**_arguments(model, images, training, columns), mesh=mesh)


def _arguments(model, images, training, columns):
  """What `classifier.setup` takes."""
  recipe = training.recipe if images.flip else training.recipe.unmirrored()
  trained, decoded = training.trained(model), training.generative
  make = decoded.objective if decoded.alpha else objective
  return dict(
    model=trained,
    examples=dataclasses.replace(Examples.of(images), num_classes=columns),
    recipe=decoded.grouped(recipe, trained, images.image_shape),
    networks=training.networks,
    seed=training.seed,
    num_steps=training.num_steps(len(images)),
    objective=make(trained, images.num_classes, recipe.label_smoothing),
    initial=training.initial,
  )


@settled()
def train(
  run: Run,
  model: nn.Module,
  images: Dataset,
  training: Training,
  columns: int,
  *,
  scored: Mapping[str, Examples],
  mesh: Mesh | None = None,
  directory: Any = None,
) -> Bases:
  """Trains base networks, or reads them back where another run has left the same ones.

  Args:
    run: keeps metrics and checkpoints under the phase 'base'.
    model, images, training, columns, mesh: see `setup`.
    scored: 'test' and perhaps 'validation': base images of the checks, see `training.select`.
    directory: where finished networks are kept for other runs; None: nowhere.

  Raises:
    UserError: a loss that is not finite.
  """
  key = identity(model, images, training, columns, scored)
  num_steps = training.num_steps(len(images))
  every = max(1, math.ceil(num_steps / training.checks))

  def compute():
    problem = setup(model, images, training, columns, mesh)
    asked = BaseColumns(model, images.num_classes, training.view)
    scorers = {split: scorer.Scorer(asked, examples) for split, examples in scored.items()}
    best = selection.Best(run, training.select, training.networks)

    def measure(state):
      accuracies = {
        split: score(state.scored)[: training.networks] for split, score in scorers.items()
      }
      best.update(int(state.step), accuracies, state.scored)
      return scorer.reported(accuracies)

    state = loop.fit(
      run, PHASE, problem, evaluate=loop.Evaluation(measure, every), keep_final=False
    )
    variables = without_decoder(best.variables(state.scored))
    checks = scorer.checked(run.history(PHASE), scored)
    types = {name: np.int32 if name == 'steps' else np.float32 for name in checks}
    checks = {name: values.astype(types[name]) for name, values in checks.items()}
    return {'variables': variables, 'checks': checks}

  def template():
    checks = len({*range(every, num_steps, every), num_steps})
    form = {'steps': jax.ShapeDtypeStruct((checks,), np.int32)}
    for split in scored:
      form[split] = jax.ShapeDtypeStruct((checks, training.networks), np.float32)
    return {
      'variables': variables_form(model, images.image_shape, training.networks),
      'checks': form,
    }

  content = kept.tree_once(run, directory, key, compute, template)
  run.discard(PHASE)
  selection.forget(run)
  return Bases(model, content['variables'], key, content['checks'])


def are_kept(
  directory: Any,
  model: nn.Module,
  images: Dataset,
  training: Training,
  columns: int,
  scored: Mapping[str, Examples],
) -> bool:
  """Returns whether `train` would find these networks in its directory."""
  if directory is None:
    return False
  return kept.place(
    directory, identity(model, images, training, columns, scored), '.msgpack'
  ).is_file()


def identity(
  model: nn.Module,
  images: Dataset,
  training: Training,
  columns: int,
  scored: Mapping[str, Examples],
) -> str:
  """Returns the hash of everything that decides what base networks become, and which checks are
  kept beside them."""
  wanted = pretrained.Wanted(training.networks, steps=training.steps, recipe=training.recipe)
  initial = None if training.begun else training.initial
  arrays = [] if initial is None else jax.tree.leaves(initial)
  for split in sorted(scored):
    arrays += [scored[split].images, scored[split].labels]
  return files.content_hash(
    arrays,
    dict(
      what='base networks',
      trained=pretrained.identity(training.trained(model), images, wanted, seed=training.seed),
      base_classes=images.num_classes,
      columns=columns,
      checks=training.checks,
      scored=sorted(scored),
      select=training.select,
      start=training.begun or (None if initial is None else sorted(_paths(initial))),
      **({} if training.view is None else {'view': repr(training.view)}),
      **training.generative.described(),
    ),
  )


def _paths(tree):
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return [jax.tree_util.keystr(path) for path, _ in leaves]


def variables_form(model: nn.Module, image_shape: Sequence[int], networks: int) -> Any:
  """Returns the shapes of the variables [S, ...] of so many networks."""
  images = np.zeros((1, *image_shape), np.float32)
  form = jax.eval_shape(model.init, draws.key(0), images)
  return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((networks, *leaf.shape), leaf.dtype), form)


@dataclasses.dataclass(frozen=True)
class BaseColumns:
  """A network of which only the base columns answer, and which sees images under a view.

  Attributes:
    model: with logits of all columns.
    base_classes: B.
    view: what is done to normalised images first; None: nothing.
  """

  model: nn.Module
  base_classes: int
  view: Transform | None = None

  def apply(self, variables: Any, images: jax.Array, **options: Any) -> tuple[jax.Array, dict]:
    """Returns what the network does, with the logits of the base columns alone."""
    images = images if self.view is None else self.view(None, images)
    logits, features = self.model.apply(variables, images, **options)
    return logits[:, : self.base_classes], features


def network(encoder: nn.Module, head: str, columns: int, width: int = 0) -> nn.Module:
  """Returns an encoder with a head of all columns; `width` is that of a head that has one, 0 its
  own.

  >>> from jaxdistill import models
  >>> encoder = models.build({'name': 'mlp', 'width': 4, 'depth': 1}, 2, (8, 8, 1))
  >>> network(encoder, 'projector', 10, width=16).head.width
  16
  """
  fields = {'name': head}
  if width and 'width' in heads.defaults(head):
    fields['width'] = width
  return heads.attach(encoder, fields, columns)
