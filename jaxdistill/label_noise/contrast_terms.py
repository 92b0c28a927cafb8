"""The losses of a first stage: contrast of pairs and instances, the classifier's cross-entropy, and
the similarity of its answers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill.label_noise import contrast, queues
from jaxdistill.label_noise.contrast_settings import (
  CLASS,
  CONFIDENT,
  KEYS,
  PAIRS,
  SELECTED,
  VIEWS,
  Stage,
)
from jaxdistill.label_noise.method import NET
from jaxdistill.label_noise.selection import Pairs
from jaxdistill.losses.classification import cross_entropy, weighted_mean
from jaxdistill.training.game import Term

# The queues in a memory.
_INSTANCES, _PAIRED = 'instances', 'paired'


class Block(NamedTuple):
  """Anchors, the 2 B views of a batch, against columns.

  there: bool [2 B, K], the columns that an anchor is compared with: not itself.
  counted: bool [2 B, K], rows and columns that hold something.
  first: positives of the anchor's own image. second: of the image that is mixed into it.
  """

  there: jax.Array
  counted: jax.Array
  first: contrast.Positives
  second: contrast.Positives


def contrast_term(stage: Stage, epoch_steps: int) -> Term:
  """Returns the contrast of instances and pairs, with their queues as memory.

      L = mean_i [no partner]_i l_inst,i + L_pairs(batch) + L_pairs(queue)

  An image has no partner where no other image of the batch is a pair with it; once the queue
  counts, where fewer than 2 columns of both blocks are, as in Sel-CL's public code.

  Args:
    stage: the settings.
    epoch_steps: of a pass.
  """

  def memory(key):
    kept = {}
    if stage.instances:
      kept[_INSTANCES] = queues.random(key, stage.queue, stage.width)
    if stage.has_pair_queue:
      kept[_PAIRED] = queues.empty(stage.pair_queue, vectors=stage.width)
    return kept

  def loss(scene):
    kept, weight = dict(scene.memory or {}), scene.batch['weight']
    total, is_alone = 0.0, jnp.ones(len(weight), bool)
    if stage.anchors:
      total, is_alone, queue = _of_pairs(scene, stage, kept.get(_PAIRED), epoch_steps)
      kept |= {_PAIRED: queue} if stage.has_pair_queue else {}
    if stage.instances:
      keys = scene[KEYS]['projected']
      others = jax.lax.stop_gradient(kept[_INSTANCES]['vectors'])
      losses = contrast.instances(scene[NET]['projected'], keys, others, stage.temperature)
      total += weighted_mean(is_alone * losses, weight)
      kept[_INSTANCES], _ = queues.enter(kept[_INSTANCES], {'vectors': keys}, weight)
    return total, kept

  return _term('contrast', loss, 1.0, memory if stage.instances or stage.has_pair_queue else None)


def class_term(stage: Stage) -> Term:
  """Returns the classifier's cross-entropy, the mean over both views; of a mixed image with both
  labels in proportion."""

  def loss(scene):
    scene = scene.gathered()
    prefix, weight = '', scene.batch['weight']
    if stage.second_batch:
      # A row that fills up the devices has no weight, whatever the other half of it has.
      prefix, weight = CLASS, weight * scene.batch[f'{CLASS}weight']
    labels = scene.batch[f'{prefix}labels']
    if stage.relabels:
      believed = scene.beliefs[CONFIDENT][scene.batch['index']] | ~scene.beliefs[SELECTED]
      answers = jax.lax.stop_gradient(jax.nn.softmax(scene[NET]['logits']))
      labels = jnp.where(believed[:, None], labels, answers)
    total = 0.0
    for part, view in zip(stage.classified, VIEWS):
      targets = labels
      if stage.mixes:
        share = _shares(scene, stage, f'{prefix}share_{view}')[:, None]
        targets = share * labels + (1 - share) * labels[scene.batch[f'{prefix}partner_{view}']]
      total += cross_entropy(scene[part]['logits'], targets, weight)
    return total / len(VIEWS)

  return Term('class', loss, stage.lambda_c)


def similarity_term(stage: Stage, epoch_steps: int, classes: int) -> Term:
  """Returns the similarity of the classifier's answers to both views, in the batch and against the
  queue; from the first selection on."""

  def memory(key):
    return queues.empty(stage.pair_queue, answers=classes)

  def loss(scene):
    answers = _both(scene, stage.anchors, 'answers')
    share = _both_shares(scene, stage)
    block = _batch_block(scene, stage)
    total, queue = _similarity_of(answers, answers, block, share), scene.memory
    if stage.has_pair_queue:
      block, queue = _queue_block(scene, stage, queue, 'answers')
      far = _similarity_of(answers, jax.lax.stop_gradient(queue['answers']), block, share)
      total += jnp.where(_queue_counts(scene, stage, epoch_steps), far, 0)
    return jnp.where(scene.beliefs[SELECTED], total, 0), queue

  memory = memory if stage.has_pair_queue else None
  return _term('similarity', loss, stage.lambda_s, memory, stage.clip)


def _term(name, loss, weight, memory, clip=0.0):
  """A term of the whole batch, with a memory or without; `loss` gives (scalar, memory)."""
  if memory is None:
    return Term(name, lambda scene: loss(scene.gathered())[0], weight, clip=clip)
  return Term(name, loss, weight, memory, clip)


def _of_pairs(scene, stage, queue, epoch_steps):
  """(Loss of both blocks, bool [B] whether an image has no partner, the queue as it is now)."""
  weight = scene.batch['weight']
  anchors, share = _both(scene, stage.anchors, 'vectors'), _both_shares(scene, stage)

  def of_block(block, columns):
    scores = jnp.matmul(anchors, columns.T, precision=jax.lax.Precision.HIGHEST)
    losses = contrast.supervised(
      scores / stage.temperature, block.there, block.first.positive, block.second.positive, share
    )
    partners = block.first.partners[: len(weight)].sum(1)
    return contrast.of_images(losses, partners > 0, weight), partners

  block = _batch_block(scene, stage)
  total, partners = of_block(block, anchors)
  is_alone = partners < 1
  if queue is not None:
    counts = _queue_counts(scene, stage, epoch_steps)
    block, queue = _queue_block(scene, stage, queue, 'vectors')
    far, more = of_block(block, jax.lax.stop_gradient(queue['vectors']))
    total += jnp.where(counts, far, 0)
    is_alone = jnp.where(counts, partners + more < 2, is_alone)
  return total, is_alone, queue


def _batch_block(scene, stage):
  """The anchors against each other."""
  index = jnp.tile(scene.batch['index'], 2)
  held = jnp.tile(scene.batch['weight'] > 0, 2)
  counted = held[:, None] & held[None]
  return _block(scene, stage, index, counted & ~jnp.eye(len(index), dtype=bool), counted)


def _queue_block(scene, stage, queue, what):
  """The anchors against a queue into which this batch's keys have gone first: (block, queue)."""
  held = jnp.tile(scene.batch['weight'] > 0, 2)
  rows = {
    queues.INDEX: jnp.tile(scene.batch['index'], 2).astype(jnp.int32),
    what: _both(scene, [f'{KEYS}_{view}' for view in VIEWS], what),
  }
  queue, places = queues.enter(queue, rows, held)
  counted = held[:, None] & (queue[queues.INDEX] >= 0)[None]
  there = counted.at[jnp.arange(len(held)), places].set(False, mode='drop')
  return _block(scene, stage, queue[queues.INDEX], there, counted), queue


def _block(scene, stage, columns, there, counted):
  """Positives by the pairs that are believed; those of a partner are its row of the table."""
  batch = scene.batch
  index = batch['index']
  table = Pairs(**scene.beliefs[PAIRS]).pairs(index, jnp.maximum(columns, 0))
  both = lambda rows: jnp.concatenate(rows)
  first = contrast.positives(both([table, table]), both([index, index]), columns, there)
  if not stage.mixes:
    return Block(there, counted, first, first)
  partners = [batch[f'partner_{view}'] for view in VIEWS]
  second = contrast.positives(
    both([table[partner] for partner in partners]),
    both([index[partner] for partner in partners]),
    columns,
    there,
  )
  return Block(there, counted, first, second)


def _similarity_of(answers, columns, block, share):
  chances = jnp.matmul(answers, columns.T, precision=jax.lax.Precision.HIGHEST)
  return contrast.similarity(
    chances, block.there, block.counted, block.first.positive, block.second.positive, share
  )


def _both(scene, parts, what):
  """What two parts gave of the two views, one behind the other: 'vectors', unit embeddings, or
  'answers', probabilities of the classes."""
  if what == 'vectors':
    return jnp.concatenate([scene[part]['projected'] for part in parts])
  return jnp.concatenate([jax.nn.softmax(scene[part]['logits']) for part in parts])


def _both_shares(scene, stage):
  """The share [2 B] of each anchor's own image."""
  if not stage.mixes:
    return jnp.ones(2 * len(scene.batch['weight']))
  return jnp.concatenate([_shares(scene, stage, f'share_{view}') for view in VIEWS])


def _shares(scene, stage, name):
  share = scene.batch[name]
  return jnp.where(scene.beliefs[SELECTED], share, 1) if stage.plain_warmup else share


def _queue_counts(scene, stage, epoch_steps):
  return scene.step >= stage.pair_queue_from * epoch_steps
