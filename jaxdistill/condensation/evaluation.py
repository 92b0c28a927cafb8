"""How good a condensed set is: fresh networks trained on it and scored on real images, under a
fixed, named recipe."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np
from jax.sharding import Mesh

from jaxdistill import errors, files, metrics, models
from jaxdistill.condensation.baselines import Draws
from jaxdistill.condensation.protocols import (
  HARD_LABELS,
  WHOLE,
  Protocol,
  epochs_of_set,
  find_recipe,
)
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.data.identity import Identity
from jaxdistill.experiment import arguments, datasets, rows
from jaxdistill.models import architectures
from jaxdistill.numerics import settled
from jaxdistill.synthesis.condensed import Condensed
from jaxdistill.synthesis.fit import check_fit
from jaxdistill.training import classifier, pretrained, provenance
from jaxdistill.training.problem import Problem
from jaxdistill.training.run import Run

# What a table reports of each network, see `classifier.columns`.
COLUMNS = ('last', 'selected', 'best_test')


@settled()
def evaluate(
  condensed: Condensed | Dataset | Draws,
  test: Dataset,
  recipe: str = 'idc',
  seeds: int = 5,
  *,
  validation: Dataset | None = None,
  run: Run | None = None,
  name: str = 'evaluate',
  mesh: Mesh | None = None,
  **protocol: Any,
) -> dict[str, Any]:
  """Trains `seeds` fresh networks together on a set and scores them on real images.

  Args:
    condensed: the set; a `Dataset` of real images works as well (baselines, whole set), and
      `baselines.Draws`, of which every network learns from a set of its own.
    test: real images to score on.
    recipe: one of `protocols.RECIPES`; `protocols.of_set` says which IDC's code takes for a data
      set.
    seeds: number of networks, each with its own weights, order and augmentation.
    validation: held-out real images by which a check is chosen for the column 'selected'; None: no
      such column.
    run: keeps metrics and checkpoints; None: in memory.
    name: of the phase in the run.
    mesh: devices over which the networks are spread.
    **protocol: the other fields of `Protocol`: seed, model (or the name of a network alone), dtype,
      epochs, steps, checks, search_on, augment, whole.

  Returns:
    dict with 'last', 'best_test' and, with validation images, 'selected': each dict(mean, std, n,
    values), accuracies in [0, 1]. 'last' is the end of the training, 'selected' each network's best
    check on the validation images, 'best_test' its best check on the test set, as some papers
    report. Further 'curve' (dict(steps, mean, std) of the checks), 'training_images', 'steps',
    'seconds' and, where it was searched, 'learning_rates', one a network.

  Raises:
    UserError: for an unknown recipe or network, a number below its least value, a set that does not
      fit the test images, validation images of another shape or other classes than those, draws
      that are not one a network, or a search without images to choose by.

  Source: recipes of the papers' public codes (see `protocols.RECIPES`). As in DD-Ranking's, every
  run searches anew: each of the `seeds` networks is trained with every learning rate and takes the
  best of them; the best of its checks, one in ten epochs, is 'best_test'. Our choices: the last
  value as headline, 'selected', and the search on held-out images; on the test set the result is
  optimistic.

  >>> import jaxdistill
  >>> train, test = jaxdistill.data.load('digits', image_size=8)
  >>> few = train.take(range(20))
  >>> small = {'name': 'mlp', 'width': 4}
  >>> scores = evaluate(few, test.take(range(50)), seeds=2, steps=2, checks=1, model=small)
  >>> scores['last']['n'], len(scores['last']['values'])
  (2, 2)
  """
  names = [field.name for field in dataclasses.fields(Protocol)]
  for field in protocol:
    if field not in names:
      raise errors.unknown('argument of evaluate', field, names)
  _check_sets(condensed, test, validation)
  check_run(run)
  find_recipe(recipe)
  if protocol.get('model') is not None:
    protocol['model'] = arguments.fields_of(protocol['model'])
  model = protocol.get('model') or models.DEFAULT
  if not (protocol.get('epochs') or isinstance(condensed, Dataset)):
    protocol['epochs'] = epochs_of(condensed, recipe, data=test.name, network=model.get('name', ''))
  chosen = Protocol(recipe, seeds, **protocol)
  built = network(chosen.model, test, chosen.dtype)
  if run is not None and run.place is not None:
    part = 'scored' if isinstance(condensed, Dataset) else 'the condensed set'
    facts = {part: fact(condensed), 'test': Identity(test, statistics=False)}
    if validation is not None:
      facts['validation'] = Identity(validation, statistics=False)
    provenance.settle(run, {f'phase {name}': facts})
    settings = chosen.described() | {'whole': chosen.whole}
    provenance.begin(run, name, settings | pretrained.code_fields(built))
  return score(
    condensed,
    test,
    chosen,
    validation=validation,
    run=run,
    name=name,
    mesh=mesh,
  )


def _check_sets(images: Any, test: Any, validation: Any) -> None:
  """Raises `UserError` for what are no sets, or sets that do not go together."""
  if not isinstance(images, Condensed | Dataset | Draws) or not isinstance(test, Dataset):
    raise errors.UserError(
      'evaluate takes a condensed set (Condensed.load reads one) or a Dataset, and the test images '
      f'as a Dataset; got {type(images).__name__} and {type(test).__name__}.'
    )
  check_fit(images, test)
  datasets.check_alike(test, {'validation': validation}, name='test')


def check_run(run: Any) -> None:
  """Raises `UserError` for what is no run, such as the folder of one.

  >>> check_run('runs/mine')
  Traceback (most recent call last):
  jaxdistill.errors.UserError: run is an open run of training.run.Run, which keeps what is done ...
  """
  if run is not None and not isinstance(run, Run):
    raise errors.UserError(
      'run is an open run of training.run.Run, which keeps what is done in its folder, as in '
      f'`with Run(FOLDER) as run:`; got {errors.brief(repr(run))}.'
    )


def fact(images: Condensed | Dataset | Draws) -> provenance.Fact:
  """Returns what a work dir keeps of a set, to know it again."""
  if isinstance(images, Dataset):
    return Identity(images)
  if isinstance(images, Draws):
    parts = [fact(one).to_json() for one in images.sets]
    return provenance.Content(files.content_hash([], {'draws': parts}))
  fields = images.plain_description()
  fields.pop('versions')
  return provenance.Content(files.content_hash([images.images, images.labels], fields))


@settled()
def score(
  images: Condensed | Dataset | Draws,
  test: Dataset,
  protocol: Protocol,
  *,
  validation: Dataset | None = None,
  run: Run | None = None,
  name: str = 'evaluate',
  mesh: Mesh | None = None,
) -> dict[str, Any]:
  """Trains fresh networks together on a set and scores them on real images; arguments and result as
  in `evaluate`."""
  training = _training(images, test, protocol)
  if protocol.rates and protocol.search_on == 'validation' and validation is None:
    raise errors.UserError(
      f'The recipe {protocol.recipe} searches the learning rate on held-out images: give some '
      "(validation), or choose on the test set as its public code does (search_on='test'), which "
      'is optimistic.'
    )
  run = run or Run(progress=False)
  classifier.settle(run, name, _rules(training, protocol))
  scores = classifier.train(
    run,
    name,
    **training,
    seed=protocol.seed,
    test=test,
    validation=validation,
    checks=protocol.checks,
    mesh=mesh,
  )
  checked = {
    split: scores.checked[split] for split in ('test', 'validation') if split in scores.checked
  }
  searched = {}
  if rates := protocol.rates:
    chosen = choose(checked[protocol.search_on], len(rates))
    checked = {split: accuracies[:, chosen] for split, accuracies in checked.items()}
    searched = {'learning_rates': [rates[number // protocol.networks] for number in chosen]}
  return {
    **{
      column: metrics.mean_std(values) for column, values in classifier.columns(**checked).items()
    },
    **searched,
    'curve': rows.curve(scores.checked['steps'], checked['test']),
    'training_images': len(training['examples']) // training['sets'],
    'steps': scores.steps,
    'seconds': scores.seconds,
  }


@settled()
def cross_architecture(
  condensed: Condensed | Dataset,
  test: Dataset,
  architectures: Sequence[str] = ('ConvNet-3', 'ResNet-10', 'VGG-11', 'AlexNet'),
  recipe: str = 'idc',
  seeds: int = 5,
  *,
  width: int = 0,
  **options: Any,
) -> dict[str, Any]:
  """Evaluates a set on several networks: does it teach others than the one it was made with?

  Args:
    condensed, test, recipe, seeds: see `evaluate`.
    architectures: names of `models.architectures`, at least one, the network that made the set
      first.
    width: of every network that has one; 0: their own.
    **options: further arguments of `evaluate`, but for the model.

  Returns:
    dict with 'networks', what `evaluate` gives for each by name, and 'average', see `across`.

  Raises:
    UserError: as `evaluate`, and for an unknown architecture or one that cannot take the images,
      before any training.

  >>> import jaxdistill
  >>> train, test = jaxdistill.data.load('digits', image_size=8)
  >>> scores = cross_architecture(train.take(range(20)), test.take(range(50)), ['MLP'],
  ...   recipe='dm', seeds=1, steps=1, checks=1, width=4)
  >>> list(scores['networks'])
  ['MLP,width=4']
  """
  _check_sets(condensed, test, options.get('validation'))
  if 'model' in options:
    raise errors.UserError(
      'cross_architecture trains the networks that architectures names: leave model out, or take '
      'evaluate for a network of your own.'
    )
  names = arguments.names('architectures', architectures, "['ConvNet-3', 'MLP']", at_least=1)
  chosen = networks(names, width)
  for model in chosen.values():
    network(model, test)
  phase = options.pop('name', 'evaluate')
  scores = {}
  for name, model in chosen.items():
    scores[name] = evaluate(
      condensed, test, recipe, seeds, model=model, name=f'{phase}-{name}', **options
    )
  return across(scores)


def epochs_of(condensed: Condensed, recipe: str, *, data: str, network: str) -> int:
  """Returns the passes over a condensed set for which the code of a recipe has a rule, 0 where the
  recipe says them; see `protocols.epochs_of_set`."""
  ipc = len(condensed.images) / condensed.num_classes
  images = round(ipc * condensed.factor**2)
  return epochs_of_set(recipe, images, condensed.num_classes, data=data, ipc=ipc, network=network)


def across(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Returns scores by network with their average over the transfer networks, which are all but the
  first.

  Args:
    scores: what `evaluate` gives, by the network's name.

  Returns:
    dict(networks, average); average: the mean of the means, by column; {} where there is no second
    network.

  >>> across({'own': {'last': {'mean': 0.9}}, 'a': {'last': {'mean': 0.5}},
  ...   'b': {'last': {'mean': 0.7}}})['average']
  {'last': 0.6}
  """
  others, average = list(scores.values())[1:], {}
  for column in COLUMNS:
    means = [transfer[column]['mean'] for transfer in others if column in transfer]
    if means and len(means) == len(others):
      average[column] = round(float(np.mean(means)), 6)
  return {'networks': dict(scores), 'average': average}


def networks(names: Sequence[str], width: int = 0) -> dict[str, dict[str, Any]]:
  """Returns what `models.build` takes for each architecture, by its name; `width` for every network
  that has one, 0 its own.

  >>> networks(['ConvNet-3'], width=16)
  {'ConvNet-3,width=16': {'name': 'convnet', 'depth': 3, 'width': 16}}
  """
  chosen = {}
  for name in names:
    model = architectures.find(name)
    if width and 'width' in models.defaults(model['name']):
      name, model = f'{name},width={width}', {**model, 'width': width}
    chosen[name] = model
  return chosen


def choose(accuracies: np.ndarray, rates: int) -> np.ndarray:
  """Returns for each run the network, of those that share the run, whose best check is highest: int
  [runs].

  Args:
    accuracies: [k, rates runs] at the k checks, the runs of the first learning rate first.
    rates: number of learning rates.

  >>> choose(np.array([[0.1, 0.9, 0.3, 0.2], [0.2, 0.1, 0.1, 0.4]]), rates=2).tolist()
  [2, 1]
  """
  best = accuracies.max(0).reshape(rates, -1)
  return best.argmax(0) * best.shape[1] + np.arange(best.shape[1])


def rules(images: Condensed | Dataset | Draws, test: Dataset, protocol: Protocol) -> dict[str, Any]:
  """Returns what decides the scores of a set and was decided otherwise by the first version, whose
  scores are found by hashes, see `classifier.rules`; {} where nothing was."""
  return _rules(_training(images, test, protocol), protocol)


def _rules(training: Mapping[str, Any], protocol: Protocol) -> dict[str, Any]:
  named = ('model', 'examples', 'recipe', 'num_steps', 'sets')
  decided = classifier.rules(**{name: training[name] for name in named})
  if protocol.whole and protocol.recipe in WHOLE:
    decided['whole'] = WHOLE[protocol.recipe]
  if training['sets'] > 1:
    decided['sets'] = training['sets']
  return decided


@settled()
def setup(
  images: Condensed | Dataset | Draws, test: Dataset, protocol: Protocol, mesh: Mesh | None = None
) -> Problem:
  """Returns the training that `score` with the same arguments would run, ready for the loop (for
  estimates)."""
  return classifier.setup(**_training(images, test, protocol), mesh=mesh)


def mirrored(condensed: Condensed | Dataset | Draws, test: Dataset) -> bool:
  """Returns whether images may be mirrored while networks train on a set: where it keeps their
  class, as the set and the real images say both (a plain file of images may say nothing of it).

  >>> images = np.zeros((2, 8, 8, 1), np.uint8)
  >>> mirrored(Dataset(images, [0, 1]), Dataset(images, [0, 1], flip=False))
  False
  """
  return condensed.flip and test.flip


def trained_on(images: Condensed | Dataset | Draws) -> tuple[np.ndarray, np.ndarray]:
  """Returns the images and labels that networks see of a set; of draws one behind another."""
  decoded = isinstance(images, Condensed | Draws)
  return images.decode() if decoded else (images.images, images.labels)


def _training(
  images: Condensed | Dataset | Draws, test: Dataset, protocol: Protocol
) -> dict[str, Any]:
  """Returns what is to be trained: arguments that `classifier.setup` and `train` share."""
  check_fit(images, test)
  recipe = find_recipe(
    protocol.recipe,
    flip=mirrored(images, test),
    epochs=protocol.epochs,
    whole=protocol.whole,
  )
  sets = len(images.sets) if isinstance(images, Draws) else 1
  if sets not in (1, protocol.networks):
    raise errors.UserError(
      f'{sets} sets were drawn for {protocol.networks} networks; each network needs one.'
    )
  if not protocol.augment:
    recipe = dataclasses.replace(recipe, strategy='', cutmix=0.0, transforms=(), mixing=None)
  pixels, labels = trained_on(images)
  if protocol.recipe in HARD_LABELS and labels.ndim == 2:
    labels = labels.argmax(1)
  rates = protocol.rates
  return dict(
    model=network(protocol.model, test, protocol.dtype),
    examples=Examples(pixels, labels, test.num_classes, images.mean, images.std, images.flip),
    recipe=recipe,
    networks=protocol.networks * max(1, len(rates)),
    num_steps=protocol.steps,
    learning_rates=np.repeat(rates, protocol.networks),
    sets=sets,
  )


def network(model: Mapping[str, Any] | None, test: Dataset, dtype: str = 'float32') -> nn.Module:
  """Builds a network for the classes and images of a data set; None is the papers' ConvNet-3."""
  return models.build(
    dict(model or models.DEFAULT, dtype=dtype), test.num_classes, test.image_shape
  )
