"""Small crowds, settings for them, and phases run by hand: for tests of methods that learn from
crowds."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdistill.data import augment, views
from jaxdistill.data.crowds import Crowd
from jaxdistill.data.examples import Examples
from jaxdistill.label_noise import simulation
from jaxdistill.label_noise.method import Setting
from jaxdistill.label_noise.observed import Evidence
from jaxdistill.models.mlp import MLP
from jaxdistill.training import outputs, players
from jaxdistill.training.problem import Refresh
from jaxdistill.training.recipe import Recipe

CLASSES, PIXELS = 4, 12
MEAN, STD = (0.5,), (0.25,)


def blobs(number, spread=0.12, seed=0):
  """(Images [number, 1, 12, 1] in [0, 1], classes): points around a centre a class."""
  random = np.random.RandomState(seed)
  centres = np.random.RandomState(7).uniform(0.3, 0.7, (CLASSES, PIXELS))
  truth = random.randint(CLASSES, size=number)
  points = centres[truth] + spread * random.normal(size=(number, PIXELS))
  return points.clip(0, 1).astype(np.float32).reshape(number, 1, PIXELS, 1), truth


def crowd(truth, accuracies=(0.9, 0.6, 0.3), per_example=2, seed=0):
  """Labels of annotators who are right so often, and else say any other class."""
  random = np.random.RandomState(seed)
  number, annotators = len(truth), len(accuracies)
  who = np.argsort(random.random_sample((number, annotators)), 1)[:, :per_example]
  right = random.random_sample(who.shape) < np.asarray(accuracies)[who]
  other = (truth[:, None] + random.randint(1, CLASSES, who.shape)) % CLASSES
  said = np.where(right, truth[:, None], other)
  example = np.repeat(np.arange(number), per_example)
  return Crowd.from_triples(
    example, who.ravel(), said.ravel(), CLASSES, examples=number, annotators=annotators
  )


def sparse_crowd(truth, per_example, annotators=60, seed=0):
  """Labels of annotators in three groups, most of whom label next to nothing."""
  groups = [('expert', annotators // 3, {'diagonal': share}) for share in (0.9, 0.5, 0.3)]
  return simulation.simulate(truth, groups, per_example, seed=seed).crowd


def setting(images, labels, *, network=None, epochs=2, batch=16, rate=0.1, momentum=0.9):
  """A setting for a crowd's labels of images: SGD with a decay."""
  evidence = Evidence(labels)
  examples = Examples(images, evidence.labels, CLASSES, MEAN, STD, flip=False)

  def optimizer(epochs, learning_rate, constant, weight_decay, on):
    decay = 0.01 if weight_decay is None else weight_decay
    steps = (optax.add_decayed_weights(decay), optax.sgd(learning_rate or rate, momentum))
    return optax.chain(*steps)

  def make_views(named, common):
    return views.make(common, named, mean=MEAN, std=STD, num_classes=CLASSES, flip=False)

  return Setting(
    network or MLP(CLASSES, width=8, depth=1),
    evidence,
    examples,
    epochs=epochs,
    batch=batch,
    epoch_steps=-(-len(examples) // batch),
    weak=(),
    strong=(),
    make_optimizer=optimizer,
    make_views=make_views,
    rate=optax.constant_schedule(rate),
  )


def ready(setting, phase, networks, ended=None, **options):
  """The training of a phase, ready for the loop."""
  look = looking(setting, phase)
  initial = None if phase.begin is None else phase.begin(ended, look)
  batch = phase.batch or setting.batch
  asked = dict(
    tables=phase.tables,
    views=phase.views or setting.views({'images': ()}),
    networks=networks,
    num_steps=phase.epochs * setting.epoch_steps,
    initial=initial,
    drawn=phase.rows,
  )
  recipe = Recipe('by hand', batch=batch, epochs=phase.epochs)
  problem = players.problem(phase.game, setting.examples, recipe, **{**asked, **options})
  if phase.refresh is None:
    return problem

  def refresh(state):
    beliefs = phase.refresh(state.variables, look, int(state.step))
    held = state.variables['beliefs']
    beliefs = jax.tree.map(lambda old, new: jnp.asarray(new, old.dtype), held, {**held, **beliefs})
    return state.replace(variables={**state.variables, 'beliefs': beliefs})

  every = setting.epoch_steps
  due = Refresh(refresh, phase.every * every, phase.first * every)
  return dataclasses.replace(problem, refresh=due)


def run(setting, phase, networks, ended=None, steps=0, **options):
  """(Variables, losses of the steps) after a phase of games side by side, or some steps of it."""
  problem = ready(setting, phase, networks, ended, **options)
  step = jax.jit(functools.partial(one_step, problem))
  state, losses = problem.state, []
  for number in range(steps or problem.num_steps):
    if problem.refresh is not None and problem.refresh.is_due(number):
      state = problem.refresh(state)
    state, metrics = step(state, problem.source.data)
    losses.append(float(metrics['loss']))
  return jax.tree.map(np.asarray, state.variables), losses


def one_step(problem, state, data):
  batch = problem.source.sample(data, jax.random.wrap_key_data(state.key), state.step)
  return problem.step(state, batch)


def largest_array(problem):
  """The most numbers of an array that a step computes or is given."""
  program = jax.make_jaxpr(functools.partial(one_step, problem))(problem.state, problem.source.data)
  return max(sizes(program.jaxpr))


def sizes(program):
  """The numbers of every array of a jaxpr and of those inside it."""
  values = [*program.invars, *program.constvars]
  for equation in program.eqns:
    values += equation.outvars
    for parameter in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda value: hasattr(value, 'eqns')
    ):
      inside = getattr(parameter, 'jaxpr', parameter)
      if hasattr(inside, 'eqns'):
        yield from sizes(inside)
  yield from (getattr(value.aval, 'size', 0) for value in values)


def looking(setting, phase):
  """What `method.Look` says of the training set."""

  def look(variables, part='net', of='train'):
    module = phase.game.parts[part].module
    images = augment.normalise(setting.examples.images, MEAN, STD)
    answer = lambda one: outputs.apply(module, one, (images,), train=False)[0]
    return jax.tree.map(np.asarray, jax.vmap(answer)(outputs.part_variables(variables, part)))

  return look


def probabilities(method, variables, images):
  """What the networks of a method's last phase answer, [R, n, C]."""
  images = augment.normalise(images, MEAN, STD)
  network = method.phases[-1].game.parts['net'].module

  def plain(variables, images):
    logits = outputs.apply(
      network, outputs.part_variables(variables, 'net'), (images,), train=False
    )[0]['logits']
    return jax.nn.softmax(logits)

  answer = method.answer or plain
  return np.asarray(jax.vmap(lambda one: answer(one, images))(variables))
