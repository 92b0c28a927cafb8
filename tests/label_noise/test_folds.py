"""Probabilities by networks that have not learned from an example: all folds in one program, each
as alone, and what they find that fitted networks hide."""

import functools

import jax
import numpy as np
import pytest

from jaxdistill import data, label_noise, metrics, models
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.errors import UserError
from jaxdistill.label_noise import folds as folded
from jaxdistill.training import loop
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run
from jaxdistill.training.schedules import Schedule

MLP = {'name': 'mlp', 'width': 8, 'depth': 1}


@functools.cache
def noisy():
  train, _ = data.load('digits', image_size=8)
  return label_noise.corrupt(train.take(np.arange(240)), 'symmetric_exclusive', 0.2, seed=1)


def variables_of(learns, seed=3):
  train = noisy().dataset
  examples = Examples.of(train)
  network = models.build(MLP, 10, (8, 8, 1))
  recipe = Recipe('tiny', batch=64, epochs=2, schedule=Schedule('constant', 0.1))
  with Run(progress=False) as run:
    ready = folded.problem(network, examples, recipe, learns, seed)
    state = loop.fit(run, 'folds', ready)
  return jax.tree.map(np.asarray, state.variables['params'])


def test_folds_share_out_every_class():
  labels = np.repeat(np.arange(4), [3, 7, 10, 1])
  fold = folded.folds_of(labels, 3, seed=5)
  table = np.array([np.bincount(fold[labels == c], minlength=3) for c in range(4)])
  assert (table.max(1) - table.min(1) <= 1).all() and np.ptp(np.bincount(fold)) <= 1
  np.testing.assert_array_equal(fold, folded.folds_of(labels, 3, seed=5))
  assert (fold != folded.folds_of(labels, 3, seed=6)).any()


def test_a_fold_in_company_is_what_it_is_alone():
  fold = folded.folds_of(noisy().dataset.labels, 3)
  learns = fold[None] != np.arange(3)[:, None]
  together, alone = variables_of(learns), variables_of(learns[:1])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a[:1], b, rtol=1e-4, atol=1e-6), together, alone
  )


def test_what_a_network_does_not_learn_from_leaves_it_alone(monkeypatch):
  """Other labels of the held-out fold change nothing of its network."""
  corrupted = noisy()
  fold = folded.folds_of(corrupted.dataset.labels, 3)
  learns = (fold != 0)[None]
  before = variables_of(learns)
  changed = corrupted.dataset.labels.copy()
  changed[fold == 0] = (changed[fold == 0] + 1) % 10
  dataset = Dataset(corrupted.dataset.images, changed, class_names=corrupted.dataset.class_names)
  monkeypatch.setattr(Examples, 'of', lambda _: examples_of(dataset, corrupted.dataset))
  jax.tree.map(np.testing.assert_array_equal, before, variables_of(learns))


def examples_of(dataset, like):
  return Examples(dataset.images, dataset.labels, 10, tuple(like.mean), tuple(like.std), False)


def test_wrong_labels_are_found_by_them():
  corrupted = noisy()
  shares = label_noise.out_of_sample(corrupted.dataset, folds=2, model=MLP, epochs=150)
  assert shares.shape == (240, 10) and shares.dtype == np.float32
  np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
  wrong = (corrupted.dataset.labels != corrupted.truth).astype(int)
  doubt = 1 - shares[np.arange(240), corrupted.dataset.labels]
  assert metrics.roc_auc(wrong, doubt) > 0.8


@pytest.mark.parametrize(
  'fields, sentence',
  [
    ({'folds': 1}, 'folds'),
    ({'folds': 300}, 'has 240 examples; ask for at most as many folds'),
    ({'labels': np.zeros(3, int)}, 'There are 3 labels'),
    ({'recipe': 'shrot'}, "did you mean 'short'"),
    ({'labels': np.full(240, 10)}, 'Labels must be whole numbers from 0 to 9'),
  ],
)
def test_bad_input_is_refused_in_a_sentence(fields, sentence):
  with pytest.raises(UserError, match=sentence):
    label_noise.out_of_sample(noisy().dataset, model=MLP, **fields)


@pytest.mark.parametrize('model, given', [(3, '3'), (None, 'None'), ({'width': 8}, "{'width': 8}")])
def test_what_is_no_network_is_refused(model, given):
  with pytest.raises(UserError, match=f'A network is given by its name.*got {given}'):
    label_noise.out_of_sample(noisy().dataset, model=model)


def test_several_labels_an_example_are_refused():
  with pytest.raises(UserError, match='one label each'):
    label_noise.out_of_sample(np.zeros((3, 8, 8, 1)))
