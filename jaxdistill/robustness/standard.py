"""Standard training: the cross-entropy of the images as they are; what every method is robust
against the background of."""

from jaxdistill.robustness import example_losses
from jaxdistill.robustness.method import NET, Method, Risk, Setting, minimised
from jaxdistill.training.game import Part


def method(setting: Setting) -> Method:
  """Returns training without an attacker: L = mean_i CE(f(x_i), y_i)."""
  return minimised(risk(setting), setting)


def risk(setting: Setting) -> Risk:
  """Returns the cross-entropy of the images as they are."""

  def losses(scene):
    return example_losses.cross_entropy(scene[NET]['logits'], scene.batch['labels'])

  return Risk({NET: Part(setting.network)}, losses)
