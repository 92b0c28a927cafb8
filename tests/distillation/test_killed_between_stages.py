"""Methods of several stages, killed in an earlier one and in the last one: they go on, and end bit
for bit the same."""

import jax
import numpy as np
import pytest

from jaxdistill import config as configs
from jaxdistill import data
from jaxdistill.distillation import flow, methods, sections
from jaxdistill.distillation import work as works
from jaxdistill.distillation.teachers import Teacher
from jaxdistill.training import loop, side_by_side
from jaxdistill.training.run import Run

SMALL = {
  'model.width': 4,
  'model.depth': 1,
  'teacher_model.width': 6,
  'teacher_model.depth': 1,
  'distillation.batch': 16,
  'distillation.steps': 8,
  'distillation.checks': 1,
}
STAGES = {
  'bridge': ('adaptation', 'student'),
  'horkd': ('assistant', 'student'),
  'selective': ('student', 'selected'),
}


def setup(name):
  """Work, an untrained teacher, and the method."""
  config = configs.load(f'distillation/{name}:digits,seeds=2,student=mlp,teacher=mlp')
  own = {'method.hidden': 8} if name == 'bridge' else {}
  for key, value in {**SMALL, **own}.items():
    configs.override(config, key, str(value))
  train, test = data.load('digits', image_size=8)
  sets = train.take(np.arange(48)), None, test.take(np.arange(20))
  work = works.make(sections.of_config(config), *sets)
  model = work.training.build(work.taught)
  variables = jax.jit(model.init)(jax.random.key(9), np.zeros((1, 8, 8, 1), np.float32))
  teacher = Teacher('untrained', 10, model, jax.tree.map(np.asarray, variables))
  return work, teacher, methods.make(work.pair(teacher), work.fields.method)


def killed_in(phase, begun):
  """`loop.fit` that dies after two steps of a phase, and notes the phases that it begins."""
  fit = loop.fit

  def kill(state):
    raise InterruptedError

  def dying(run, name, problem, **options):
    begun.append(name)
    if name == phase:
      options['evaluate'] = loop.Evaluation(kill, every=2)
    return fit(run, name, problem, **options)

  return dying


@pytest.mark.slow
@pytest.mark.parametrize('name', STAGES)
def test_it_goes_on_where_it_was(name, tmp_path, monkeypatch):
  of_method = *setup(name), name
  options = dict(progress=False, tensorboard=False, checkpoint_every=1)
  assert tuple(stage.name for stage in of_method[2].stages) == STAGES[name]
  for phase in (f'{name}/{stage}' for stage in STAGES[name]):
    begun = []
    with monkeypatch.context() as patch, Run(tmp_path, **options) as run:
      patch.setattr(flow.loop, 'fit', killed_in(phase, begun))
      with pytest.raises(InterruptedError):
        flow.students(run, *of_method)
    assert begun[-1] == phase
  with Run(tmp_path, **options) as run:
    again = flow.students(run, *of_method)
  with Run(progress=False) as run:
    whole = flow.students(run, *of_method)
  jax.tree.map(np.testing.assert_array_equal, again.variables, whole.variables)
  np.testing.assert_array_equal(again.test, whole.test)


def test_a_stage_hands_on_the_averaged_weights_that_are_scored():
  work, _, _ = setup('horkd')
  variables = {'params': {'student': np.zeros((3, 4))}, 'batch_stats': {'student': np.ones(3)}}
  average = {'params': {'student': np.full((3, 4), 0.5)}}
  state = side_by_side.State(jax.device_put(variables), (), np.arange(3), jax.random.key(0), 0)
  averaged = state.replace(average=jax.device_put(average))
  same = lambda one, other: jax.tree.map(np.testing.assert_array_equal, one, other)
  of_two = lambda tree: jax.tree.map(lambda leaf: leaf[:2], tree)  # as many students as asked for
  same(flow.on_host(work, state), of_two(variables))
  same(flow.on_host(work, averaged), of_two({**variables, **average}))
