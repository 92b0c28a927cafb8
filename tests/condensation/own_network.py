"""A network of the user's, in versions whose code differs and whose weights do not."""

from jaxdistill import models
from jaxdistill.models.mlp import MLP


def register(monkeypatch, factor):
  """Adds as 'mine' a perceptron whose images are multiplied by a factor first."""

  class Mine(MLP):
    def __call__(self, x, train=False):
      return super().__call__(factor * x, train)

  monkeypatch.setitem(models.REGISTRY, 'mine', Mine)
