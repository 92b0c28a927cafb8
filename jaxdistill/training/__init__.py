"""The one training loop and what it stands on.

  loop         fit, the only loop; estimate, what a job will cost before it starts
  problem      what the loop takes, and how it is spread over devices
  run          Run, a work directory: config, metrics, checkpoints, results
  provenance   what a work dir was begun with, data and code: others are refused
  parallel     the mesh of all devices, sharding, per-device code
  schedules    learning rates over the steps
  optim        the optimisers of the papers
  groups       parameters with a learning rate and a decay of their own
  parts        which parts of a network are trained and which are frozen
  clipping     the gradient of one part of a loss, cut to a norm
  averages     the exponential average of the weights
  learner      what one network learns and how it sees its data
  players      several networks in one step, each trained by its player
  game, scene, turns, guides, outputs
               what it is made of: the values, what losses see, objectives, networks at rest
  replicas     several networks of one form at once, whatever they learn
  side_by_side, whole_batch
               their step function; the rows of a batch that devices share
  recipe       how a classifier is trained
  reconstruction  masked autoencoders: pixels from patches, features from features
  classifier   supervised training of several networks at once
  pretrained   networks trained once and found again by what made them
  features     what a network sees in images
  scorer       their accuracy on a fixed set
  adaptation   normalisation that adapts to images without labels
  portable     a network as a program that runs without the library
  together     how several networks share a program
  hosts, job   several processes: what they tell each other, how they join and leave
  child, exits processes that this one starts; how a program ends
  bucket       a work dir in a bucket
  interrupt, guard  signals: remembered and answered; a process that does not come to answer
  targets, traffic  machines that are not here, and what a compiled program moves
  trees        trees of arrays as the content of a file
  surroundings the devices, and what outside of the library still changes its numbers
  phase, program, batches, checkpoint, records, progress, lock, trace, cost, machine
  the pieces of the loop

The modules load on first use.
"""

import importlib

_MODULES = (
  'adaptation',
  'averages',
  'batches',
  'bucket',
  'checkpoint',
  'child',
  'classifier',
  'clipping',
  'cost',
  'exits',
  'features',
  'game',
  'groups',
  'guard',
  'guides',
  'hosts',
  'interrupt',
  'job',
  'learner',
  'lock',
  'loop',
  'machine',
  'optim',
  'outputs',
  'parallel',
  'parts',
  'phase',
  'players',
  'portable',
  'pretrained',
  'problem',
  'program',
  'progress',
  'provenance',
  'recipe',
  'reconstruction',
  'records',
  'replicas',
  'run',
  'scene',
  'schedules',
  'scorer',
  'side_by_side',
  'surroundings',
  'targets',
  'together',
  'trace',
  'traffic',
  'trees',
  'turns',
  'whole_batch',
)
__all__ = list(_MODULES)


def __getattr__(name):
  if name in _MODULES:
    return importlib.import_module(f'{__name__}.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__():
  return sorted(__all__)
