"""Sums of terms: which phases they have, who trains what, and what starts from what."""

import dataclasses

import pytest
import toy_pairs

from jaxdistill.distillation import method as methods_of
from jaxdistill.distillation import sum as sums
from jaxdistill.distillation import terms
from jaxdistill.errors import UserError


def made(names=('kd',), pair=None, **fields):
  return sums.method(pair or toy_pairs.pair(4, 6, 4), terms=names, **fields)


def weights(stage):
  return {term.name: term.weight for term in stage.players[0].terms}


def test_kd_is_a_sum_of_two():
  method = made(gamma=0.1, fields={'kd': {'weight': 0.9}})
  (stage,) = method.stages
  assert (stage.name, method.student, method.label) == ('student', 'student', 'KD')
  assert weights(stage) == {'cross_entropy': 0.1, 'kd': 0.9} and stage.guides == ('teacher',)
  assert stage.players[0].trains == ('student',) and stage.parts['student'].view == 'low'


def test_without_terms_the_student_learns_alone():
  method = made(())
  (stage,) = method.stages
  assert weights(stage) == {'cross_entropy': 1.0} and stage.guides == () and method.label == 'Alone'


def test_adapters_are_trained_beside_the_student():
  method = made('kd+crd', fields={'crd': {'weight': 0.5}})
  (stage,) = method.stages
  assert weights(stage) == {'cross_entropy': 1.0, 'kd': 1.0, 'crd': 0.5}
  assert stage.players[0].trains == ('student', 'crd_student', 'crd_teacher') == tuple(stage.parts)
  assert method.label == 'KD + CRD'


def test_first_phases_come_first_and_are_gone_on_with():
  method = made(('ab', 'ft', 'fsp', 'kd'))
  ab, paraphraser, fsp, student = method.stages
  names = [stage.name for stage in method.stages]
  assert names == ['ab', 'ft_paraphraser', 'fsp', 'student']
  assert [stage.share for stage in method.stages] == [0.125, 0.125, 0.125, 1.0]
  assert ab.players[0].trains == ('student', 'ab_connector1', 'ab_connector2')
  assert ab.players[0].frozen == fsp.players[0].frozen == ('student/classifier',)
  assert dict(ab.start) == dict(paraphraser.start) == {} and dict(fsp.start) == {'student': 'ab'}
  assert paraphraser.players[0].trains == ('ft_paraphraser',)
  assert student.start == {'student': 'fsp', 'ft_paraphraser': 'ft_paraphraser'}
  assert student.players[0].trains == ('student', 'ft_translator')
  assert weights(student) == {'cross_entropy': 1.0, 'ft': 200.0, 'kd': 1.0}


def test_a_first_phase_follows_the_recipe_over_its_steps():
  asked = []
  pair = toy_pairs.pair(optimizer=asked.append)
  made('fsp', pair, fields={'fsp': {'share': 0.2}})
  assert asked == [8, 40]


def test_equal_widths_need_no_connector():
  (ab, _) = made('ab', toy_pairs.pair()).stages
  assert tuple(ab.parts) == ('student',)


@pytest.mark.parametrize('name', sums.CLASSICAL)
def test_the_classical_methods_are_sums(name):
  asked = sums.CLASSICAL[name]
  method = sums.method(toy_pairs.pair(4, 6, 4), **asked)
  assert isinstance(method, methods_of.Method) and method.stages[-1].name == 'student'
  assert name in (*asked['terms'], 'alone')
  parts = [part for stage in method.stages for part in stage.parts]
  assert not any('/' in part for part in parts)


@pytest.mark.parametrize('name', terms.TERMS)
def test_whatever_a_term_brings_is_trained_in_some_phase(name):
  """No adapter is left out of the optimisers."""
  pair = toy_pairs.pair(4, 6, 4)
  fields = {'crd_queue': {'length': toy_pairs.ROWS}} if name == 'crd_queue' else {}
  stages = sums.method(pair, terms=name, fields=fields).stages
  there = set().union(*(stage.parts for stage in stages))
  trained = set()
  for stage in stages:
    for player in stage.players:
      trained.update(player.trains)
  assert trained == there and 'student' in there


def test_every_term_but_orders_and_memories_is_a_classical_method():
  others = {'crd_batch', 'crd_queue', 'group', 'horkd', 'point'}
  assert set(terms.TERMS) == set(sums.CLASSICAL) - {'alone'} | others


@pytest.mark.parametrize(
  'asked, message',
  [
    (dict(names='kd+kd'), "term 'kd' is there twice"),
    (dict(names='kd+crt'), "no distillation term 'crt'; did you mean"),
    (dict(fields={'crd': {'weight': 1.0}}), "no term of this sum 'crd'"),
    (dict(fields={'kd': {'wait': 1.0}}), "no field of term kd 'wait'; did you mean 'weight'"),
    (dict(names=(), gamma=0.0), 'Nothing is left for the student to learn'),
    (dict(names='ab', gamma=0.0), 'Nothing is left for the student to learn'),
    (dict(gamma='all'), "gamma is 'all'; it must be a number"),
  ],
)
def test_sums_that_cannot_be_are_one_sentence(asked, message):
  with pytest.raises(UserError, match=message):
    made(**asked)


PUBLISHED = {
  'resnet20': (2.0, 0.6),
  'resnet32': (2.0, 1.0),
  'resnet8x4': (8.0, 5.0),
  'wrn_16_2': (6.0, 5.0),
  'wrn_40_1': (6.0, 5.0),
  'vgg8': (6.0, 1.0),
  'mobilenetv2_half': (6.0, 1.0),
  'shufflenet_v1': (8.0, 1.0),
  'shufflenet_v2': (8.0, 8.0),
  'resnet56': (2.0, 1.0),
}


@pytest.mark.parametrize('student', PUBLISHED)
def test_numbers_of_the_published_pairs(student, monkeypatch):
  from jaxdistill import models
  from jaxdistill.distillation import logit_terms

  seen = []
  monkeypatch.setattr(logit_terms.losses, 'dkd', lambda *given: seen.append(given[4]))
  network = models.build(student, 3, (32, 32, 3))
  pair = dataclasses.replace(toy_pairs.pair(), student=network)
  (dkd,) = terms.make(pair, 'dkd', {}).terms
  outputs = {name: {'logits': 0} for name in ('student', 'teacher')}
  dkd.loss(toy_pairs.Scene(outputs, toy_pairs.batch()))
  (review,) = terms.make(pair, 'reviewkd', {'warmup': 0}).terms
  assert (seen[0], review.weight) == PUBLISHED[student]
