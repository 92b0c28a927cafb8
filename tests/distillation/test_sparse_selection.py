"""The choice of features by a graph: its energy, its two solvers, and what it leaves out."""

import itertools

import numpy as np
import pytest

from jaxdistill import errors
from jaxdistill.distillation import sparse_selection
from jaxdistill.distillation.sparse_selection import Graph, select


def clusters(seed, classes=10, images=60, width=32, wrong=0.15, noisy=0.1):
  """Features around a centre a class, some with a wrong label and some very noisy: (features,
  labels, is wrong, is noisy)."""
  random = np.random.default_rng(seed)
  true = np.repeat(np.arange(classes), images)
  centres = random.normal(size=(classes, width))
  spread = np.full(len(true), 0.7)
  is_noisy = random.permutation(len(true)) < noisy * len(true)
  spread[is_noisy] = 2.5
  features = centres[true] + spread[:, None] * random.normal(size=(len(true), width))
  is_wrong = random.permutation(len(true)) < wrong * len(true)
  other = (true + random.integers(1, classes, len(true))) % classes
  return features, np.where(is_wrong, other, true), is_wrong, is_noisy


def random_graph(seed, images, edges, strength):
  random = np.random.default_rng(seed)
  pairs = np.array(list(itertools.combinations(range(images), 2)))
  pairs = pairs[np.sort(random.choice(len(pairs), edges, replace=False))]
  return Graph(random.normal(size=images), pairs, strength * random.uniform(size=edges))


def graph_of(features, labels, share, smoothness):
  features = sparse_selection.unit_rows(features)
  edges, similarity = sparse_selection.neighbour_edges(features, labels, 5)
  margins = sparse_selection.class_margins(features, labels)
  return Graph(np.quantile(margins, 1 - share) - margins, edges, smoothness * similarity)


@pytest.mark.parametrize('seed', range(6))
def test_the_cut_is_the_minimum_of_all_choices(seed):
  graph = random_graph(seed, images=10, edges=20, strength=0.8)
  choices = np.array(list(itertools.product([False, True], repeat=10)))
  energies = [sparse_selection.energy(graph, chosen) for chosen in choices]
  cut = sparse_selection.energy(graph, sparse_selection.min_cut(graph))
  assert cut == pytest.approx(min(energies), abs=1e-6)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('strength', [0.1, 3.0])
def test_the_energy_falls_in_every_sweep(seed, strength):
  graph = random_graph(seed, images=150, edges=600, strength=strength)
  start = np.random.default_rng(seed).uniform(size=150) < 0.5
  chosen, energies = sparse_selection.icm(graph, start, seed)
  assert (np.diff(energies) < 0).all() and len(energies) > 2
  assert energies[-1] == pytest.approx(sparse_selection.energy(graph, chosen), abs=1e-9)
  for image in range(150):
    changed = chosen.copy()
    changed[image] ^= True
    assert sparse_selection.energy(graph, changed) >= energies[-1] - 1e-9


@pytest.mark.parametrize('seed', range(3))
def test_sweeps_find_the_cut_of_such_features(seed):
  features, labels, _, _ = clusters(seed, classes=5, images=40)
  graph = graph_of(features, labels, share=0.7, smoothness=0.02)
  swept, energies = sparse_selection.icm(graph, graph.unary < 0)
  cut = sparse_selection.min_cut(graph)
  assert energies[-1] == pytest.approx(sparse_selection.energy(graph, cut), abs=1e-6)
  assert (swept == cut).all()
  swept = select(features, labels, exact_up_to=0)
  exact = select(features, labels)
  assert (swept.chosen == exact.chosen).all() and swept.threshold == exact.threshold


def test_without_neighbours_the_margins_decide():
  features, labels, _, _ = clusters(0)
  for share in (0.3, 0.7, 0.95):
    chosen = select(features, labels, share=share, smoothness=0.0)
    assert (chosen.chosen == (chosen.margins > chosen.threshold)).all()
    assert chosen.chosen.mean() == pytest.approx(share, abs=1e-9)
  assert select(features, labels, share=1.0, smoothness=0.0).chosen.all()
  assert select(features, labels, share=1.0).chosen.all()
  nothing = Graph(np.ones(3), np.array([[0, 1]]), np.ones(1))
  assert not sparse_selection.min_cut(nothing).any()


def test_wrong_labels_and_noise_fall_out():
  features, labels, is_wrong, is_noisy = clusters(1)
  chosen = select(features, labels, share=0.7).chosen
  clean = ~is_wrong & ~is_noisy
  assert chosen[is_wrong].mean() < 0.02
  assert chosen[is_noisy].mean() < 0.5 < 0.85 < chosen[clean].mean()


def test_neighbours_give_clean_images_back():
  """The pairwise term brings back clean images near the threshold, and none with a wrong label."""
  features, labels, is_wrong, is_noisy = clusters(2)
  clean = ~is_wrong & ~is_noisy
  alone = select(features, labels, share=0.65, smoothness=0.0).chosen
  joined = select(features, labels, share=0.65, smoothness=0.05).chosen
  assert alone[clean].mean() < 0.9 < 0.95 < joined[clean].mean()
  assert not joined[is_wrong].any()


def test_names_of_classes_and_length_of_features_change_nothing():
  features, labels, _, _ = clusters(3)
  chosen = select(features, labels).chosen
  other_names = np.random.default_rng(0).permutation(10)[labels] + 100
  assert (select(features, other_names).chosen == chosen).all()
  assert (select(8.0 * features, labels).chosen == chosen).all()
  scales = 2.0 ** np.random.default_rng(0).integers(-3, 4, len(features))
  assert (select(scales[:, None] * features, labels).chosen == chosen).all()


def test_bad_arguments():
  features, labels, _, _ = clusters(4, classes=2, images=4)
  for fields in (dict(share=0.0), dict(share=1.5), dict(smoothness=-1.0)):
    with pytest.raises(errors.UserError, match='share is above 0'):
      select(features, labels, **fields)
  with pytest.raises(errors.UserError, match='one label a feature'):
    select(features, labels[:-1])
  with pytest.raises(errors.UserError, match='at least two classes'):
    select(features, np.zeros(8, int))
