"""DD-Ranking's scores against numbers worked out by hand."""

import pytest

from jaxdistill.condensation import ranking


def test_scores_of_three_accuracies():
  # CIFAR-10, IPC 10: whole .85, condensed .70, random .40: HLR .15, IOR .30, a = .15 - .075 = .075,
  # e^a = 1.0778842.
  assert ranking.hlr(0.85, 0.70) == pytest.approx(0.15)
  assert ranking.ior(0.70, 0.40) == pytest.approx(0.30)
  assert ranking.lrs(0.85, 0.70, 0.40) == pytest.approx(
    (1.0778842 - 0.3678794) / 2.3504024, abs=1e-7
  )
  # All weight on the improvement: a = .3, e^a = 1.3498588.
  assert ranking.lrs(0.85, 0.70, 0.40, weight=1) == pytest.approx(
    (1.3498588 - 0.3678794) / 2.3504024, abs=1e-7
  )


def test_the_score_reaches_its_bounds_for_shares_only():
  assert ranking.lrs(whole=1, condensed=1, random=0, weight=1) == pytest.approx(1)
  assert ranking.lrs(whole=1, condensed=0, random=0, weight=0) == pytest.approx(0)
  assert ranking.lrs(85, 70, 40) > 1  # what percentages would give


def test_robustness_to_augmentation_weighs_both_improvements():
  # .5 * (.7 - .4) + .5 * (.5 - .4) = .2, e^a = 1.2214028.
  assert ranking.ars(0.7, 0.4, 0.5, 0.4) == pytest.approx(
    (1.2214028 - 0.3678794) / 2.3504024, abs=1e-7
  )


def rows(**means):
  return [
    dict(name=name, label=name.title(), last=dict(mean=mean), best_test=dict(mean=mean + 0.05))
    for name, mean in means.items()
  ]


def test_every_set_is_scored_in_every_column_against_random_and_whole():
  found = ranking.scores(
    rows(m3d=0.7, random=0.4, herding=0.5, whole=0.85), rows(m3d=0.5, random=0.4)
  )
  assert [(score['name'], score['column']) for score in found] == [
    ('m3d', 'last'),
    ('m3d', 'best_test'),
    ('herding', 'last'),
    ('herding', 'best_test'),
  ]
  assert (
    found[0]['lrs'] == pytest.approx(ranking.lrs(0.85, 0.7, 0.4))
    and found[0]['label'] == 'M3D'.title()
  )
  assert found[0]['ars'] == pytest.approx(ranking.ars(0.7, 0.4, 0.5, 0.4)) and 'ars' not in found[2]


def test_without_random_images_or_the_whole_set_there_is_no_score():
  assert ranking.scores(rows(m3d=0.7, random=0.4)) == ranking.scores(rows(m3d=0.7, whole=0.8)) == []
