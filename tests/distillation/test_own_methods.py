"""A method of one's own from a file that is a config, run as a user would."""

import pytest

from jaxdistill import config as configs
from jaxdistill.distillation import checks, methods
from jaxdistill.distillation.method import Method, Stage
from jaxdistill.distillation.tasks import distill
from jaxdistill.errors import UserError
from jaxdistill.training.run import Run

FILE = """
from jaxdistill import distillation, losses
from jaxdistill.distillation import settings
from jaxdistill.experiment import arguments
from jaxdistill.training.players import Part, Player, Term


def method(pair, *, weight=1.0):
  def loss(scene):
    logits = scene['pupil']['logits'], scene['teacher']['logits']
    return losses.kd(*logits, 1.0, scene.batch['weight'])

  parts = {'pupil': Part(pair.student, view=pair.student_view)}
  player = Player('pupil', ('pupil',), (Term('imitate', loss, weight),), pair.optimizer(pair.steps))
  return distillation.Method((distillation.Stage('pupil', parts, (player,)),), student='pupil')


distillation.register('imitation', method, 'Imitation')


def get_config(arg=''):
  return settings.defaults(arguments.read(settings.Arguments, arg), 'imitation', weight=2.0)
"""


@pytest.fixture
def file(tmp_path):
  path = tmp_path / 'imitation.py'
  path.write_text(FILE)
  yield path
  for name in methods.METHODS.added:
    del methods.METHODS[name]


def test_a_method_from_a_file_is_trained_by(file):
  loaded = configs.load(f'{file}:digits,quick,student=mlp,teacher=mlp')
  assert loaded.method.to_dict() == {'name': 'imitation', 'weight': 2.0}
  configs.override(loaded, 'distillation.baseline', 'False')
  checks.check(loaded)
  with Run(progress=False) as run:
    content = distill.run(loaded, run)
    curve = run.curve('imitation/pupil')
  assert content['rows'][-1]['label'] == 'Imitation'
  assert curve[-1]['imitate_weighted'] == pytest.approx(2 * curve[-1]['imitate'])


@pytest.mark.parametrize(
  'names, message',
  [
    (['first', 'student', 'first'], "Two stages of the method are called 'first'"),
    (['first', 'the student'], "'the student' cannot name a phase"),
  ],
)
def test_stages_need_names_that_tell_their_phases_apart(names, message):
  with pytest.raises(UserError, match=message):
    Method(tuple(Stage(name, {}, ()) for name in names))


@pytest.mark.parametrize(
  'start, message',
  [
    ({'pupil': 'later'}, "starts from a stage 'later', but no earlier .* earlier ones: first"),
    ({'pupil': 'second'}, "the stage 'second' starts from a stage 'second'"),
    ({'other': 'first'}, "The part 'other' of the stage 'second'"),
  ],
)
def test_a_part_starts_from_an_earlier_stage_that_has_it(start, message):
  parts = {'pupil': None}
  first, later = Stage('first', parts, ()), Stage('later', parts, ())
  Method((first, Stage('second', parts, (), start={'pupil': 'first'})))
  with pytest.raises(UserError, match=message):
    Method((first, Stage('second', parts, (), start=start), later))
