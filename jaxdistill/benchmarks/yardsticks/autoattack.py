"""AutoAttack and its four attacks beside those of torchattacks, on one small network.

  python jaxdistill/benchmarks/yardsticks/autoattack.py --eps=.1,.2

It needs torchattacks (3.5) and PyTorch beside this library. The network, a perceptron of one hidden
layer, is trained by `robustness.fit` on digits of 8x8 and copied to PyTorch. The line of JSON has
the share of test images that are right without an attack (`clean`) and, for every radius of the
L-inf ball, after each attack of ours and of theirs. In torchattacks 3.5.1 Square never changes the
last row and column.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

ATTACKS = ('apgd_ce', 'apgd_t', 'fab_t', 'square', 'autoattack')


def read(argv: Sequence[str] | None = None) -> argparse.Namespace:
  """Returns the flags."""
  parser = argparse.ArgumentParser(description='Compares AutoAttack with that of torchattacks.')
  parser.add_argument('--eps', type=_radii, default=(0.1, 0.2), help='radii, by commas')
  parser.add_argument('--images', type=int, default=200, help='the first test images')
  parser.add_argument('--width', type=int, default=64, help='of the hidden layer')
  parser.add_argument('--epochs', type=int, default=20, help='of adversarial training')
  parser.add_argument('--seed', type=int, default=0)
  return parser.parse_args(argv)


def _radii(text):
  return tuple(float(part) for part in text.split(','))


def in_torch(trained: Any) -> Callable:
  """Returns a trained perceptron as a PyTorch module, from images [n, c, h, w] in [0, 1] to
  logits.

  Args:
    trained: a `robustness.trained.Trained`, whose first network is copied.
  """
  import torch
  from torch import nn

  params = trained.variables['params']
  layers = []
  for name in sorted(params, key=lambda name: (name == 'classifier', name)):
    kernel, bias = (torch.tensor(np.array(params[name][key][0])) for key in ('kernel', 'bias'))
    linear = nn.Linear(*kernel.shape)
    linear.weight.data, linear.bias.data = kernel.T.contiguous(), bias
    layers += [linear, nn.ReLU()]
  mean, std = (torch.tensor(numbers) for numbers in (trained.built.mean, trained.built.std))

  class Normalised(nn.Module):
    def __init__(self):
      super().__init__()
      self.layers = nn.Sequential(*layers[:-1])

    def forward(self, images):
      rows = (images.permute(0, 2, 3, 1) - mean) / std
      return self.layers(rows.flatten(1))

  return Normalised().eval()


def theirs(network: Callable, images: np.ndarray, labels: np.ndarray, eps: float, seed: int):
  """Returns the share that stays right after each attack of torchattacks, by its name here."""
  import torch
  import torchattacks

  pixels, targets = torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(labels)
  classes = int(network(pixels[:1]).shape[1])
  whole = torchattacks.AutoAttack(network, eps=eps, n_classes=classes, seed=seed)
  right = {}
  for name, attack in zip(ATTACKS, [*whole._autoattack.attacks, whole], strict=True):
    torch.manual_seed(seed)
    answers = network(attack(pixels, targets)).argmax(1)
    right[name] = float((answers == targets).float().mean())
  return right


def ours(network: Callable, images: np.ndarray, labels: np.ndarray, eps: float, seed: int):
  """Returns the share that stays right after each attack of this library, by its name."""
  from jaxdistill import robustness

  found = robustness.evaluate(network, images, labels, ATTACKS, eps=eps, seed=seed)
  return {name: float(found.accuracies[name]) for name in ATTACKS}


def main(argv: Sequence[str] | None = None) -> None:
  """Trains, attacks as the flags say and prints the figures as a line of JSON."""
  from jaxdistill import data, robustness

  flags = read(argv)
  train, test = data.load('digits', image_size=8)
  model = {'name': 'mlp', 'width': flags.width, 'depth': 1}
  epochs = {'robustness.epochs': flags.epochs}
  result = robustness.fit(train, test, 'at', model, seed=flags.seed, overrides=epochs)
  images = np.float32(test.images[: flags.images]) / 255
  labels = np.int64(test.labels[: flags.images])
  function, module = result.function(), in_torch(result.trained)
  figures = {'clean': float((np.asarray(function(images)).argmax(1) == labels).mean())}
  for eps in flags.eps:
    given = images, labels, eps, flags.seed
    figures[f'{eps:g}'] = {'ours': ours(function, *given), 'torchattacks': theirs(module, *given)}
  print(json.dumps(figures))


if __name__ == '__main__':
  main()
