"""What the families' functions know of a set that is in memory: what configs know by its name."""

import sys

import numpy as np
import pytest

from jaxdistill import data, label_noise, robustness


@pytest.mark.parametrize('call, name', [(robustness.fit, 'cifar100'), (label_noise.fit, 'mnist')])
def test_a_set_with_a_version_in_its_name_has_its_usual_fields(call, name, monkeypatch):
  class Reached(Exception):
    pass

  def fields(name):
    works = []

    def stop(work):
      works.append(work)
      raise Reached

    monkeypatch.setattr(sys.modules[call.__module__].checks, 'check_parts', stop)
    colour = data.Dataset(np.zeros((20, 32, 32, 3), np.uint8), np.arange(20) % 10, name=name)
    with pytest.raises(Reached):
      call(colour, test=colour)
    return repr(works[0].fields).replace(name, 'NAME')

  assert fields(f'{name}:3.0.2') == fields(name) != fields('mine')
