"""TAIDTM: transition matrices by annotator and image, transferred from all annotators to each and
between neighbours (Li et al., TPAMI 2024; arXiv 2306.03116). Reconstruction: its tables could not
be read.

A common matrix T(x) is learned of the labels of all annotators; each annotator's last layer then
adapts to his own labels; those who adapted alike are neighbours in a graph, over which convolutions
give all last layers at once. The classifier learns behind these matrices.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax
import numpy as np

from jaxdistill import errors
from jaxdistill.errors import UserError
from jaxdistill.label_noise import annotator_matrices, annotator_steps, transition_networks
from jaxdistill.label_noise.annotator_graph import annotator_graph, usual_neighbours
from jaxdistill.label_noise.distilled import distil
from jaxdistill.label_noise.keeping import Keeping, taken
from jaxdistill.label_noise.method import NET, Believed, Look, Method, Phase, Setting
from jaxdistill.label_noise.transition_stages import (
  GRAPH,
  GUESS,
  HEADS,
  KEPT,
  TRUNK,
  Stage,
  classifier_alone,
  first_of,
)
from jaxdistill.training.learner import BELIEFS

# The stages, which are the names of their first phases.
STAGES = _GLOBAL, _INDIVIDUAL, _GCN = 'global', 'individual', 'gcn'


def method(
  setting: Setting,
  *,
  stage: Literal['global', 'individual', 'gcn'] = 'gcn',
  joint_stages: Literal['all', 'global', 'last'] = 'global',
  margin: float = 0.1,
  warmup: int = 5,
  global_epochs: int = 5,
  individual_epochs: int = 2,
  graph_epochs: int = 10,
  joint_epochs: int = 0,
  neighbours: int = 0,
  rank: int = 5,
  least: int = 30,
  least_class: int = 6,
  most: int = 512,
  width: int = 64,
) -> Method:
  """Returns TAIDTM up to a stage.

  With p = f(x), and L the mean of -log(o[a] + 1e-20) over the observed labels a of a batch:

      warm-up     o = p, and sum_c (1/C) log((1/C) / mean_batch p_c) on top
      distil      i with max p > (1 + margin) / 2, of the class y = argmax p
      global      o = T(x)[y] of the distilled alone, then o = p^T T(x) of all with f from the
                  warm-up anew
      individual  o = T^r(x)[y], one step for each annotator r in turn, from T; [o = p^T T^r(x)]
      gcn         graph of the layers' differences T - T^r; o = T^r(x)[y] behind convolutions over
                  it with the trunk of `global`, then o = p^T T^r(x), f from the warm-up

  What a stage hands on is its state at the best agreement with noisy validation labels.

  Args:
    setting: what it is for. The optimiser's schedule is that of the joint training; before it, the
      learning rate is constant and nothing decays.
    stage: the last one; its joint training makes the classifier.
    joint_stages: those that train jointly with the classifier: 'last' that one alone, 'global' the
      first too, 'all' every one.
    margin: th.
    warmup, global_epochs, individual_epochs, graph_epochs: of f alone, and of T alone.
    joint_epochs: 0: as many as the recipe has (60 in the public code).
    neighbours: k of an annotator in the graph; 0: a sixth of the annotators (50 of 300).
    rank: of the graph, above the number of groups of annotators.
    least: distilled examples of an annotator; one with fewer keeps the common layer, and all those
      are joined in the graph.
    least_class: distilled examples of a class, see `distilled.distil`.
    most: distilled examples of one annotator in his step.
    width: of the trunk.

  Raises:
    UserError: a number out of range.

  Source: the public code of Li et al. (Fashion-MNIST). Ours: `neighbours` for other crowds; `most`;
    a class of few distilled examples is filled up in place of another warm-up; in batches of T
    alone, examples that are not distilled enter the statistics of batch normalisation and nothing
    else; an annotator's layer moves in his own steps alone; the running statistics of the trunk
    rest while the convolutions learn alone.
  """
  counts = dict(
    warmup=warmup,
    global_epochs=global_epochs,
    individual_epochs=individual_epochs,
    graph_epochs=graph_epochs,
    rank=rank,
    least=least,
    most=most,
    width=width,
  )
  for name, value in counts.items():
    errors.whole(name, value, at_least=1)
  errors.whole('least_class', least_class)
  errors.real_numbers(margin=margin)
  if not 0 <= margin < 1:
    raise UserError(f'margin is {margin}; it must be at least 0 and below 1.')
  annotators = setting.evidence.annotators
  errors.whole('neighbours', neighbours, below=annotators)
  plan = _Plan(
    setting,
    stage,
    joint_stages,
    joint_epochs=errors.whole('joint_epochs', joint_epochs) or setting.epochs,
    margin=margin,
    neighbours=neighbours or usual_neighbours(annotators),
    least_class=least_class,
    **counts,
  )
  phases = tuple(plan.phases())
  return Method(phases, believe=_believe(setting, phases[-1].chosen), reconstruction=True)


@dataclasses.dataclass(frozen=True, eq=False)
class _Learned:
  """Where the trunk and the layers of a stage are when it has ended.

  Attributes:
    phase: the name of its last phase.
    keeping: what that phase kept; None: its last state counts.
  """

  phase: str
  keeping: Keeping | None

  def variables(self, ended: Mapping[str, Any], look: Look) -> dict[str, Any]:
    if self.keeping is None:
      return taken(ended[self.phase], (TRUNK, HEADS))
    return self.keeping.best(ended[self.phase], look)


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
  """The phases of one setting, with the fields of `method`."""

  setting: Setting
  stage: str
  joint_stages: str
  joint_epochs: int
  margin: float
  neighbours: int
  least_class: int
  warmup: int
  global_epochs: int
  individual_epochs: int
  graph_epochs: int
  rank: int
  least: int
  most: int
  width: int

  def phases(self) -> Iterator[Phase]:
    """Yields the phases up to the stage, in order."""
    setting, classes = self.setting, self.setting.classes
    annotators = setting.evidence.annotators
    classifier = Keeping({NET: first_of(setting, setting.network)}, setting.validation)
    yield classifier_alone(setting, self.warmup, classifier)

    shared = Stage(setting, transition_networks.SharedHead(classes), self.width)
    yield shared.alone(_GLOBAL, self.global_epochs, self.first_matrix(classifier), (TRUNK, HEADS))
    common = yield from self.joint(shared, _GLOBAL)
    if self.stage == _GLOBAL:
      return

    heads = transition_networks.AnnotatorHeads(annotators, classes)
    own = Stage(setting, heads, self.width)
    steps = annotator_steps.of(setting, self.individual_epochs, self.most)
    yield own.in_turn(_INDIVIDUAL, self.copies(common, steps.rows), steps)
    adapted = yield from self.joint(own, _INDIVIDUAL)
    if self.stage == _INDIVIDUAL:
      return

    heads = transition_networks.GraphHeads(annotators, classes)
    behind_graph = Stage(setting, heads, self.width, has_graph=True)
    begin = self.neighbourhood(common, adapted)
    yield behind_graph.alone(_GCN, self.graph_epochs, begin, (HEADS,))
    yield from self.joint(behind_graph, _GCN)

  def joint(self, stage: Stage, name: str):
    """Yields the joint phase of a stage where it has one, and returns where its T is then."""
    is_last = name == self.stage
    wanted = {'all': STAGES, 'global': (_GLOBAL,), 'last': ()}[self.joint_stages]
    if not is_last and name not in wanted:
      return _Learned(name, None)
    keeping = None if is_last else stage.keeping()
    joint = f'{name}_joint'
    yield stage.joint(joint, self.joint_epochs, _restarted(name), keeping)
    return _Learned(joint, keeping)

  def first_matrix(self, classifier: Keeping) -> Callable:
    """Begins with the classifier of the warm-up, and what it is sure of."""

    def begin(ended, look):
      variables = classifier.best(ended['warmup'], look)
      logits = look(variables, NET, 'train')['logits']
      probabilities = np.asarray(jax.nn.softmax(logits))
      kept, guess = distil(probabilities, self.margin, self.least_class)
      return {**variables, BELIEFS: {GUESS: guess, KEPT: kept}}

    return begin

  def copies(self, common: _Learned, rows: int) -> Callable:
    """Begins with a copy of the common layer for each annotator, and his distilled examples."""
    evidence = self.setting.evidence

    def begin(ended, look):
      variables = common.variables(ended, look)
      layer = np.asarray(variables['params'][HEADS]['layer'])
      layers = np.repeat(layer[:, None], evidence.annotators, axis=1)
      variables = _merged(_rested(ended), taken(variables, (TRUNK,)))
      variables['params'][HEADS] = {'layers': layers}
      beliefs = variables[BELIEFS]
      asked = annotator_steps.believed(evidence.crowd, beliefs[KEPT], rows, self.least)
      return {**variables, BELIEFS: {**beliefs, **asked}}

    return begin

  def neighbourhood(self, common: _Learned, adapted: _Learned) -> Callable:
    """Begins with the trunk of the common T, and the graph of how the annotators adapted."""

    def begin(ended, look):
      shared = common.variables(ended, look)
      layer = np.asarray(shared['params'][HEADS]['layer'])
      layers = np.asarray(adapted.variables(ended, look)['params'][HEADS]['layers'])
      counts = np.asarray(ended[_INDIVIDUAL][BELIEFS][annotator_steps.COUNT])
      graphs = []
      for vectors, count in zip(layer[:, None] - layers, counts):
        vectors = vectors.reshape(len(vectors), -1)
        graphs.append(annotator_graph(vectors, self.neighbours, self.rank, count == 0))
      variables = _merged(_rested(ended), taken(shared, (TRUNK,)))
      return {**variables, BELIEFS: {**variables[BELIEFS], GRAPH: np.stack(graphs)}}

    return begin


def _restarted(phase):
  """Begins with T of a phase, and the classifier of the warm-up, which rested in it."""

  def begin(ended, look):
    last = ended[phase]
    beliefs = {name: last[BELIEFS][name] for name in (GUESS, KEPT, GRAPH) if name in last[BELIEFS]}
    return {**taken(last, (NET, TRUNK, HEADS)), BELIEFS: beliefs}

  return begin


def _rested(ended):
  """The classifier of the warm-up, and what it was sure of, which rested in the first phase of
  T."""
  variables = ended[_GLOBAL]
  beliefs = {name: variables[BELIEFS][name] for name in (GUESS, KEPT)}
  return {**taken(variables, (NET,)), BELIEFS: beliefs}


def _merged(one, other):
  """Collections of parts, of two that share no part."""
  names = {*one, *other}
  return {name: {**one.get(name, {}), **other.get(name, {})} for name in names}


def _believe(setting, chosen):
  """What networks think in the end: which examples were chosen, and the annotators' mean matrices
  over images of each class."""

  def believe(variables, look):
    hidden, logits = look(variables, TRUNK)['hidden'], look(variables, NET)['logits']
    confusions = []
    for network in range(len(logits)):
      layers = layers_of(variables, setting.evidence.annotators, network)
      classes = logits[network].argmax(-1)
      confusions.append(annotator_matrices.mean_confusions(layers, hidden[network], classes))
    confident = chosen(variables, look)
    return Believed(confident=confident, confusions=np.stack(confusions))

  return believe


def layers_of(variables: Mapping[str, Any], annotators: int, network: int = 0) -> jax.Array:
  """Returns the last layers of all annotators, [R, d + 1, C, C], of one of several networks; with
  'hidden' of the part `TRUNK` they give T^r(x), see `annotator_matrices.rows_of`."""
  params = jax.tree.map(lambda leaf: leaf[network], dict(variables['params'][HEADS]))
  graph = variables[BELIEFS].get(GRAPH)
  graph = None if graph is None else graph[network]
  return transition_networks.layers_of(params, annotators, graph)
