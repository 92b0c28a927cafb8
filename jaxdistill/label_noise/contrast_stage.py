"""The first stage of Sel-CL and its relatives: an encoder that learns by contrast, as a phase.

Two views of a batch, each mixed in pairs, are contrasted with each other and with keys that a
momentum copy of the network gave of the last batches. Which images are of one class is looked up by
their labels and by beliefs that a refresh renews.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxdistill.data import samplers
from jaxdistill.errors import UserError
from jaxdistill.label_noise import contrast_terms, contrast_views, queues, selection
from jaxdistill.label_noise.contrast_settings import (
  CLASS,
  CONFIDENT,
  FIRST,
  KEYS,
  PAIRS,
  PLAIN,
  SECOND,
  SELECTED,
  VIEWS,
  Stage,
)
from jaxdistill.label_noise.method import NET, Phase, Setting
from jaxdistill.models import heads
from jaxdistill.training.game import Game, Part, Player

NAME = 'contrast'
_NEVER = 2.0  # above all cosines


def network(setting: Setting, stage: Stage) -> nn.Module:
  """Returns the classifier with a projection beside its last layer."""
  return heads.attach(
    setting.network,
    {'name': 'contrastive', 'width': stage.width, 'hidden': stage.hidden},
    setting.classes,
  )


def phase(setting: Setting, stage: Stage, classifier: nn.Module) -> Phase:
  """Returns the stage as a phase.

  Raises:
    UserError: a queue that a step overruns, or more neighbours than other examples.
  """
  batch, examples = min(setting.batch, len(setting.examples)), len(setting.examples)
  if stage.instances:
    queues.check('queue', stage.queue, batch)
  if stage.has_pair_queue:
    queues.check('pair_queue', stage.pair_queue, 2 * batch)
  if stage.selects and stage.neighbours >= examples:
    raise UserError(
      f'neighbours is {stage.neighbours}; each of {examples} examples has {examples - 1} others: '
      'ask for fewer.'
    )
  player = Player('', (NET,), tuple(_terms(setting, stage)), setting.optimizer())
  game = Game(_parts(stage, classifier), (player,), beliefs=_beliefs(setting, stage))
  return Phase(
    NAME,
    game,
    setting.epochs,
    views=contrast_views.make(setting, stage),
    rows=_rows(setting, batch) if stage.second_batch else None,
    refresh=_refresh(setting, stage) if stage.selects and stage.warmup_epochs else None,
    first=stage.warmup_epochs,
    scored=bool(stage.classified),
    embedding='projected',
  )


def select(setting: Setting, stage: Stage, variables, look) -> list[selection.Selection]:
  """Returns what neighbours choose of the training set, for each network."""
  projected = look(variables, NET, 'train')['projected']
  return [
    selection.select(
      np.asarray(embeddings),
      setting.evidence.labels,
      stage.neighbours,
      stage.alpha,
      stage.beta,
      stage.votes,
      stage.vote_temperature,
      setting.classes,
    )
    for embeddings in projected
  ]


def _parts(stage, classifier):
  """The network on a view of its own, its twins on the views that are contrasted and classified,
  and a momentum copy with its twins on what becomes keys."""
  parts, mixed = {}, 'mixed_' if stage.mixes else ''
  parts[NET] = Part(classifier, PLAIN if stage.relabels else FIRST)
  if stage.instances:
    parts[KEYS] = _copy(classifier, stage, SECOND, SECOND)
  for name, view in zip(stage.anchors, VIEWS):
    if name != NET:
      parts[name] = _twin(classifier, stage, f'{mixed}{view}', view)
    elif stage.mixes:
      parts[NET] = Part(classifier, f'{mixed}{view}')
  if stage.has_pair_queue:
    for view in VIEWS:
      owner = next((name for name, part in parts.items() if part.follows), '')
      parts[f'{KEYS}_{view}'] = _copy(classifier, stage, f'{mixed}{view}', view, owner)
  if stage.second_batch and stage.classified:
    for view in VIEWS:
      parts[f'{CLASS}{view}'] = dataclasses.replace(
        _twin(classifier, stage, f'{CLASS}{mixed}{view}', f'{CLASS}{view}'), labels=f'{CLASS}labels'
      )
  return parts


def _twin(classifier, stage, mixed, view):
  """The network on a mixed view."""
  return Part(classifier, twin_of=NET, **_read(stage, mixed, view))


def _copy(classifier, stage, mixed, view, owner=''):
  """A copy that follows the network, or the twin of such a copy, on a mixed view."""
  read = _read(stage, mixed, view)
  if owner:
    return Part(classifier, twin_of=owner, mode='batch', **read)
  return Part(classifier, follows=NET, momentum=stage.momentum, mode='batch', **read)


def _read(stage, mixed, view):
  """What a part reads: the mixed view; before the first selection the view as it is, where the
  warm-up mixes nothing."""
  if not stage.plain_warmup or mixed == view:
    return {'view': mixed}
  chosen = lambda scene: jnp.where(scene.beliefs[SELECTED], scene.batch[mixed], scene.batch[view])
  return {'reads': lambda scene: (chosen(scene),)}


def _terms(setting, stage):
  yield contrast_terms.contrast_term(stage, setting.epoch_steps)
  if stage.classified:
    yield contrast_terms.class_term(stage)
  if stage.lambda_s and stage.anchors:
    yield contrast_terms.similarity_term(stage, setting.epoch_steps, setting.classes)


def _beliefs(setting, stage):
  """All labels are believed at first, but in a warm-up without labels."""
  labels = np.asarray(setting.evidence.labels, np.int32)
  width = stage.width if stage.pairs == 'selected' else 1
  confident = np.full(len(labels), stage.believes_at_first)
  pairs = {
    'confident': confident,
    'threshold': np.float32(_NEVER),
    'labels': labels,
    'directions': np.zeros((len(labels), width), np.float32),
  }
  first = {PAIRS: pairs, CONFIDENT: confident, SELECTED: np.array(False)}
  return {name: lambda key, tree=tree: _as_arrays(tree) for name, tree in first.items()}


def _as_arrays(tree):
  if isinstance(tree, dict):
    return {name: jnp.asarray(leaf) for name, leaf in tree.items()}
  return jnp.asarray(tree)


def _rows(setting, batch):
  """A shuffled pass over the examples, and behind it as many drawn from the confident ones."""
  examples = len(setting.examples)
  drops_last = setting.epoch_steps * batch <= examples

  def rows(key, step, beliefs):
    index, weight = samplers.epoch_batch(key, step, examples, batch, drops_last)
    drawn, is_any = contrast_views.drawn_from(key, step, beliefs[CONFIDENT], batch)
    return jnp.concatenate([index, drawn]), jnp.concatenate([weight, weight * is_any])

  return rows


def _refresh(setting, stage):
  def refresh(variables, look, step):
    chosen = select(setting, stage, variables, look)
    stacked = lambda name: np.stack([np.asarray(getattr(one, name)) for one in chosen])
    beliefs = {CONFIDENT: stacked('confident'), SELECTED: np.ones(len(chosen), bool)}
    if stage.pairs == 'selected':
      names = ('confident', 'threshold', 'labels', 'directions')
      beliefs[PAIRS] = {name: stacked(name) for name in names}
    return beliefs

  return refresh
