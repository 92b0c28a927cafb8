"""Parts and players: several networks in one step, each trained by whom it belongs to.

A `Game` is one phase of a training. Its *parts* are named networks, each of which reads one view of
the batch or outputs of parts before it. Its *players* have each the parts that they train, named
*terms* whose weighted sum they minimise, and an optimiser. *Guides* are parts that nobody trains
and that all networks side by side share. Supervised training is one part, one player and one term.

`learner` makes of a game what `training.replicas` trains many times at once, `problem` makes it
ready for the loop.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdistill import draws, errors
from jaxdistill.data import samplers
from jaxdistill.data.examples import Examples
from jaxdistill.data.streaming import Streamed
from jaxdistill.data.views import Views
from jaxdistill.errors import UserError
from jaxdistill.numerics import settled
from jaxdistill.training import guides, outputs, parts, replicas, turns
from jaxdistill.training.game import (
  MODES,
  Game,
  Part,
  PerturbedView,
  PerturbedWeights,
  Player,
  Standpoint,
  Term,
)
from jaxdistill.training.guides import kept_name
from jaxdistill.training.learner import BELIEFS, MEMORY, Learner
from jaxdistill.training.outputs import PROTOTYPES, Outputs, part_variables
from jaxdistill.training.problem import Problem
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.scene import Scene
from jaxdistill.training.side_by_side import GUIDES

__all__ = [
  'MODES',
  'PROTOTYPES',
  'Game',
  'Outputs',
  'Part',
  'PerturbedView',
  'PerturbedWeights',
  'Player',
  'Scene',
  'Standpoint',
  'Term',
  'kept_name',
  'learner',
  'part_variables',
  'problem',
]

# Names of a batch that no entry of the data can have.
_RESERVED = (GUIDES, 'index', 'network', 'step', 'weight')
# Rows of the batch that the forms of networks are made with.
_ROWS = 2


@settled()
def problem(
  game: Game,
  examples: Examples,
  recipe: Recipe,
  *,
  guide_variables: Mapping[str, Any] | None = None,
  tables: Mapping[str, Any] | None = None,
  views: Views | None = None,
  networks: int = 1,
  seed: int = 0,
  num_steps: int = 0,
  mesh: Mesh | None = None,
  way: str = 'auto',
  spread: str = 'auto',
  batches: str = 'own',
  initial: Mapping[str, Any] | None = None,
  rows: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]] | None = None,
  drawn: Callable[..., tuple[jax.Array, jax.Array]] | None = None,
) -> Problem:
  """Returns the training of `networks` games side by side, ready for the loop.

  Args:
    game: the parts and players; the optimisers are theirs, not the recipe's.
    examples: the images.
    recipe: batch, length, and views of a step.
    guide_variables: of the guides, by name; a guide that is a function may have none, and neither
      needs one whose outputs are kept in `tables`.
    tables: further entries of the data, [N, ...] by name: targets, weights of images, and outputs
      of guides, see `guides.watching`.
    views: what a step makes of its rows; None: what the recipe says.
    networks: R.
    seed: of weights, order and views.
    num_steps: 0: the recipe's epochs.
    mesh: the devices; None: the default one.
    way, batches: see `replicas.Options`.
    spread: 'networks', 'batch' or 'auto', see `replicas.choose_spread`.
    initial: variables [networks, ...] that the parts begin with, or those of some of them:
      {'params': {'student': ...}}; None: random ones.
    rows: (key, step) -> (positions [n], weights [n]) of the images of a step, see `data.samplers`;
      None: shuffled passes of the recipe's batch.
    drawn: the same of what a network thinks of the data, (key, step, beliefs) -> ..., for images
      that are not streamed.

  Returns:
    The problem, whose state is a `replicas.State`. It reports what `turns.objective` says, as means
    over the networks.

  Raises:
    UserError: a guide without variables, a table that has another length than the images, a path
      that leads to no part, initial variables of another form, rows drawn of streamed images.
  """
  images, tables = len(examples), dict(tables or {})
  guide_variables = dict(guide_variables or {})
  _check_data(game, tables, guide_variables, images)
  if drawn is not None and isinstance(examples.images, Streamed):
    raise UserError(
      'What is thought of images decides which a step takes, so they cannot be streamed from disk: '
      'set data.stream=off.'
    )
  num_steps = errors.whole('num_steps', num_steps) or recipe.steps(images)
  options = replicas.Options(
    networks,
    clear_momentum_at=recipe.boundaries(images, num_steps) if recipe.clear_momentum else (),
    average=recipe.average,
    mesh=mesh,
    way=way,
    spread=replicas.choose_spread(spread, networks, mesh),
    batches=batches,
  )
  data = {'images': examples.images, 'labels': np.asarray(examples.labels), **tables}
  entries = dict(data)
  if guide_variables:
    data[GUIDES] = guide_variables
  optimizers = {player.name: player.optimizer for player in game.players}
  return replicas.problem(
    learner(
      game,
      entries,
      recipe,
      views or recipe.views(examples),
      guide_variables,
      rows=rows,
      drawn=drawn,
    ),
    optimizers if len(optimizers) > 1 else game.players[0].optimizer,
    options,
    data,
    num_steps=num_steps,
    seed=seed,
    epoch_steps=recipe.epoch_steps(images),
    initial=initial,
  )


def learner(
  game: Game,
  entries: Mapping[str, Any],
  recipe: Recipe,
  views: Views,
  guide_variables: Mapping[str, Any] | None = None,
  images: int = 0,
  rows: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]] | None = None,
  drawn: Callable[..., tuple[jax.Array, jax.Array]] | None = None,
) -> Learner:
  """Returns what one network, or row of networks, of a game does: draws shuffled batches, sees them
  through the views, and lets the players move.

  Args:
    game: the parts and players.
    entries: the data, or only their forms: arrays [N, ...] by name.
    recipe: the batch.
    views: what a step makes of its rows.
    guide_variables: of the guides, or only their forms.
    images: N, where the entries hold several sets one behind another; 0: all are one.
    rows, drawn: of a step, see `problem`.
  """
  images = images or len(entries['labels'])
  batch = min(recipe.batch, images)
  forms = {
    name: jax.ShapeDtypeStruct(
      (_ROWS, *entry.shape[1:]), jax.dtypes.canonicalize_dtype(entry.dtype)
    )
    for name, entry in entries.items()
  }

  def init(key):
    return _first_variables(game, views, forms, guide_variables or {}, key)

  def shuffled(key, step):
    return samplers.epoch_batch(key, step, images, batch, recipe.drop_last)

  return Learner(
    init,
    rows or shuffled,
    views,
    always_full=rows is None and drawn is None and (recipe.drop_last or images % batch == 0),
    turns=turns.turns(game),
    guides=guides.watching(game.guides) if game.guides else None,
    followers=game.followers,
    drawn=drawn,
  )


def _first_variables(game, views, forms, guide_variables, key):
  """The variables of all parts and the memories of all terms, each by a key of its own name."""
  terms = itertools.chain.from_iterable(player.terms for player in game.players)
  memory = {
    term.name: term.memory(_key(key, f'{MEMORY}/{term.name}')) for term in terms if term.memory
  }
  beliefs = {name: first(_key(key, f'{BELIEFS}/{name}')) for name, first in game.beliefs.items()}
  arguments = jax.eval_shape(
    lambda *known: _arguments(game, views, forms, *known), guide_variables, memory, beliefs
  )
  arguments = jax.tree.map(lambda form: jnp.zeros(form.shape, form.dtype), arguments)
  variables = {}
  owners = {name: part for name, part in game.parts.items() if not (part.twin_of or part.follows)}
  for name, part in owners.items():
    first = part.module.init(_key(key, name), *arguments[name])
    for collection, tree in first.items():
      variables[collection] = {**variables.get(collection, {}), name: tree} if name else tree
  for name, (followed, _) in game.followers.items():
    for collection, tree in variables.items():
      if followed in tree:
        variables[collection] = {**tree, name: tree[followed]}
  kept = {MEMORY: memory, BELIEFS: beliefs}
  return {**variables, **{collection: tree for collection, tree in kept.items() if tree}}


def _arguments(game, views, forms, guide_variables, memory, beliefs):
  """What the networks of all parts are called with, by name; only its form is looked at."""
  key = draws.key(0)
  batch = {name: jnp.zeros(form.shape, form.dtype) for name, form in forms.items()}
  batch |= {'index': jnp.arange(_ROWS), 'weight': jnp.ones(_ROWS)}
  batch = views.prepare(key, batch, views.draw(key))
  # A perturbed view has the form of the one that it begins as.
  for name, view in game.perturb_inputs.items():
    batch[name] = batch[view.view]
  seen = {}
  is_read = any(part.reads for part in game.parts.values())
  if is_read and game.guides:
    watch = guides.watching(game.guides)
    batches = jax.tree.map(lambda leaf: leaf[None], batch)
    batches, common = watch(guide_variables, batches, True, 'unroll')
    batch = jax.tree.map(lambda leaf: leaf[0], batches)
    seen = parts.merge(batch.pop(GUIDES), common[GUIDES])
  arguments = {}
  for name, part in game.parts.items():
    scene = Scene(seen, batch, key, memory=memory, beliefs=beliefs)
    arguments[name], _ = turns.part_arguments(part, scene)
    if is_read:
      first = part.module.init(key, *arguments[name])
      seen[name], _ = outputs.apply(part.module, first, arguments[name], train=False)
  return arguments


def _key(key, name):
  """The key of a part or a memory; what has no name takes the network's."""
  return jax.random.fold_in(key, turns.name_number(name)) if name else key


def _check_data(game, tables, guide_variables, images):
  """Refuses tables and variables of guides that do not fit the game or the images."""
  for name, table in tables.items():
    if name in (*_RESERVED, 'images', 'labels'):
      raise UserError(f'A table cannot be called {name!r}, which a batch has already; rename it.')
    if len(table) != images:
      raise UserError(f'The table {name!r} has {len(table)} rows; there are {images} images.')
  for name in guide_variables:
    if name not in game.guides:
      raise errors.unknown('guide', name, game.guides)
  for name, guide in game.guides.items():
    is_known = guide.function or name in guide_variables or guides.is_kept(name, tables)
    if not is_known:
      raise UserError(f'The guide {name!r} has neither variables nor outputs that are kept.')
