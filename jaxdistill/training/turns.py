"""The objectives of a game: what its players minimise together, or each in its turn.

For a player everything is a constant but what it trains, and what is computed from that. So a
network that somebody else trains, and that reads what the player's own give, hands the gradient on
to them and has none itself. A part is computed once for all those for whom it is a constant or who
alone train it; once more for each further player who has a hand in it.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import jax

from jaxdistill import errors, metrics
from jaxdistill.models import dropout, normalisation
from jaxdistill.training import clipping, outputs, parts, whole_batch
from jaxdistill.training.game import Game, Player, Standpoint
from jaxdistill.training.learner import BELIEFS, MEMORY, Outcome, Owned, Turn
from jaxdistill.training.outputs import Outputs
from jaxdistill.training.scene import Scene
from jaxdistill.training.side_by_side import GUIDES


def turns(game: Game) -> tuple[Turn, ...]:
  """Returns the gradients of a step: one, or one for each player where they move in turn."""
  groups = [(player,) for player in game.players] if game.in_turn else [game.players]
  return tuple(_turn(game, group) for group in groups)


def _turn(game, players):
  turn = Turn(objective(game, players), {player.name: _owned(player) for player in players})
  if game.perturb_inputs:
    turn = dataclasses.replace(turn, perturb_inputs=_perturbed_views(game))
  perturbed = players[0].perturb_weights
  if perturbed is None:
    return turn
  climber = dataclasses.replace(players[0], terms=perturbed.terms)
  return dataclasses.replace(
    turn,
    perturb_weights=_moved_weights(game, perturbed),
    climbed=objective(game, (climber,)),
    decays_own=perturbed.decay_at == 'own',
  )


def _perturbed_views(game):
  """What makes the perturbed views of a batch against the parts as they stand."""

  def perturb(variables, batch, key):
    views, batch = {}, dict(batch)
    variables, batch = jax.lax.stop_gradient((variables, batch))
    for name, view in game.perturb_inputs.items():
      part = game.parts[view.part]
      of_part = outputs.variables_of(variables, part.twin_of or view.part)

      def respond(images, part=part, of_part=of_part, train=view.mode == 'batch'):
        return outputs.apply(part.module, of_part, (images,), train)[0]

      key_of_view = jax.random.fold_in(key, name_number(f'view/{name}'))
      numbers = whole_batch.row_numbers(len(batch['weight']))
      keys = jax.vmap(lambda number, key=key_of_view: jax.random.fold_in(key, number))(numbers)
      views[name] = batch[name] = jax.lax.stop_gradient(view.change(respond, batch, keys))
    return views

  return perturb


def _moved_weights(game, perturbed):
  def move(gradient, params, variables, batch, key):
    def answer(name, params, images):
      part = game.parts[name]
      of_part = outputs.variables_of(
        parts.replace(variables, {'params': params}), part.twin_of or name
      )
      noise = jax.random.fold_in(key, name_number(f'{dropout.STREAM}/answer/{name}'))
      # They are no rows of the batch: neither its weights nor its devices are theirs.
      with normalisation.weighted(None), normalisation.synchronised(None):
        return outputs.apply(part.module, of_part, (images,), True, noise)[0]

    standpoint = Standpoint(
      params,
      gradient,
      answer,
      variables.get(BELIEFS, {}),
      batch.get('step', 0),
      jax.random.fold_in(key, name_number('weights')),
    )
    return jax.lax.stop_gradient(perturbed.move(standpoint))

  return move


def objective(game: Game, players: Sequence[Player]):
  """Returns the objective of some of a game's players: the sum of their weighted terms, each
  player's with a gradient into its own parts alone.

  Reports every term, the weighted ones as '<term>_weighted' too, and the accuracy on the batch of
  every part with logits of the labels. Of several players a term is called '<player>/<term>', and
  '<player>/loss' is the sum of a player's.
  """
  several = len(game.players) > 1

  def of_all(variables, batch, key):
    batch = dict(batch)
    guides, step = batch.pop(GUIDES, {}), batch.pop('step', 0)
    known = variables.get(MEMORY, {})
    beliefs = variables.get(BELIEFS, {})
    seen = Scene(guides, batch, key, step, known, beliefs=beliefs)
    scenes, moved = _scenes(game, players, variables, seen)
    losses, measured, memory = {}, {}, {}
    for player in players:
      prefix = f'{player.name}/' if several else ''
      losses[player.name], terms, remembered = _player_loss(player, scenes, known)
      measured |= {f'{prefix}{name}': value for name, value in terms.items()}
      memory |= remembered
      if several:
        measured[f'{prefix}loss'] = losses[player.name]
    measured |= _accuracies(game, scenes[players[0].name, 0.0])
    moved = {**moved, MEMORY: memory} if memory else moved
    return Outcome(_sum(losses.values()), measured, moved)

  return of_all


def name_number(name: str) -> int:
  """Returns what is folded into a key for the random numbers of a part or term of this name, which
  then depend on nothing else of the game.

  >>> name_number('student')
  3072569139
  """
  return zlib.crc32(name.encode())


def _owned(player):
  return Owned(player.trains, player.frozen)


def _sum(values):
  total = None
  for value in values:
    total = value if total is None else total + value
  return total


def _player_loss(player, scenes, memory):
  """(Weighted sum, terms by name, new memories) of one player."""
  weighted, measured, remembered = [], {}, {}
  for term in player.terms:
    scene = scenes[player.name, term.clip]
    key = jax.random.fold_in(scene.key, name_number(f'{player.name}/{term.name}'))
    term_scene = dataclasses.replace(scene, key=key, memory=memory.get(term.name))
    if term.memory is None:
      value = term.loss(term_scene)
    else:
      value, new = term.loss(term_scene.gathered())
      remembered[term.name] = jax.lax.stop_gradient(new)
    measured[term.name] = value
    weight = term.weight(scene.step) if callable(term.weight) else term.weight
    if callable(term.weight) or weight != 1:
      value = measured[f'{term.name}_weighted'] = weight * value
    weighted.append(value)
  return _sum(weighted), measured, remembered


def _accuracies(game, scene):
  """The accuracy on the batch by part, 'train_accuracy' of a part without a name."""
  measured = {}
  for name, part in game.parts.items():
    outputs_of_part = scene[name]
    if not part.labels or 'logits' not in outputs_of_part:
      continue
    labels = scene.batch[part.labels]
    if outputs_of_part['logits'].shape == labels.shape:
      accuracy = metrics.accuracy(outputs_of_part['logits'], labels, scene.batch['weight'])
      measured[f'{name or "train"}_accuracy'] = accuracy
  return measured


def _scenes(game, players, variables, seen):
  """The scenes of each player and norm that terms of his are cut to (0 first), by the two, and the
  moved statistics; `seen` has the guides."""
  masks, params = {}, {}
  for player in players:
    mask = _owned(player).mask(variables)
    for clip in sorted({0.0, *(float(term.clip) for term in player.terms)}):
      masks[player.name, clip] = mask
      params[player.name, clip] = _clipped(variables['params'], mask, clip)
  trained = [_owned(player).mask(variables) for player in game.players]
  guides = {name: Outputs(f'guide {name!r}', arrays) for name, arrays in seen.outputs.items()}
  by_player = {player: dict(guides) for player in masks}
  live, moved = {player: set() for player in masks}, {}
  for name, part in game.parts.items():
    owner = part.twin_of or name
    # A twin goes on from the statistics that the network has moved by now.
    current = parts.replace(variables, moved) if part.twin_of else variables
    is_trained = any(_any_of(mask, owner) for mask in trained)
    train = part.mode == 'batch' or part.mode == 'train' and is_trained
    key = seen.key
    if key is not None and part.module is not None and dropout.is_random(part.module):
      key = jax.random.fold_in(key, name_number(f'{dropout.STREAM}/{name}'))
    versions = {}
    for player, mask in masks.items():
      scene = dataclasses.replace(seen, outputs=by_player[player])
      arguments, read = part_arguments(part, scene)
      if _any_of(mask, owner) or read & live[player]:
        live[player].add(name)
        half_live = _constant_but({**current, 'params': params[player]}, mask, owner)
        versions[player] = outputs.apply(part.module, half_live, arguments, train, key)
    if not versions:
      still = jax.lax.stop_gradient((outputs.variables_of(current, owner), arguments))
      versions[''] = outputs.apply(part.module, *still, train, key)
    first, statistics = next(iter(versions.values()))
    if part.mode == 'train':
      for collection, tree in statistics.items():
        moved[collection] = {**moved.get(collection, {}), owner: tree} if name else tree
    constant = jax.lax.stop_gradient(first)
    for player, seen_outputs in by_player.items():
      arrays = versions[player][0] if name in live[player] else constant
      seen_outputs[name] = Outputs(f'part {name!r}', arrays)
  scenes = {
    player: dataclasses.replace(seen, outputs=arrays) for player, arrays in by_player.items()
  }
  return scenes, moved


def _clipped(params, mask, clip):
  """Parameters through which the gradient of what a mask marks is cut to a norm; 0: it is not."""
  if not clip:
    return params
  owned, others = parts.split({'params': params}, mask)
  return parts.merge(clipping.clipped(owned['params'], clip), others['params'])


def part_arguments(part, scene: Scene) -> tuple[tuple, set[str]]:
  """Returns the arguments of a part's network, and the names of the parts that they are made of."""
  if part.reads is None:
    if part.view not in scene.batch:
      raise errors.unknown('view of the batch', part.view, scene.batch)
    return (scene.batch[part.view],), set()
  read = set()

  def noted(name, arrays):
    read.add(name)
    return arrays

  watched = Outputs('game', scene.outputs, noted)
  arguments = part.reads(dataclasses.replace(scene, outputs=watched))
  return arguments if isinstance(arguments, tuple) else (arguments,), read


def _any_of(mask: Mapping, part: str) -> bool:
  """Whether a mask has a parameter of the part."""
  params = mask['params']
  return any(jax.tree.leaves(params.get(part, {}) if part else params))


def _constant_but(variables, mask, part):
  """The variables of a part, of which those outside of the mask have no gradient."""
  of_part = outputs.variables_of(variables, part)
  if 'params' not in of_part:
    return of_part
  marks = mask['params'][part] if part else mask['params']
  params = jax.tree.map(
    lambda leaf, mine: leaf if mine else jax.lax.stop_gradient(leaf), of_part['params'], marks
  )
  return {**of_part, 'params': params}
