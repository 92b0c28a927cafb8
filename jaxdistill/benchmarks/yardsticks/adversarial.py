"""Steps of adversarial training as a plain PyTorch loop, to stand beside the benchmark's part
robust.

  python jaxdistill/benchmarks/yardsticks/adversarial.py --width=16 --batch=32

It needs PyTorch alone. As in `robustness.at` each step attacks its batch with ten steps of PGD, in
eval mode, and learns from where that ends; the network is the ConvNet of three blocks, the images
are random ones of CIFAR-10's shape. The line of JSON has `s_per_step`, the median over the rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence

_EPS, _STEP, _ASCENTS = 8 / 255, 2 / 255, 10
_CLASSES, _SIDE = 10, 32


def read(argv: Sequence[str] | None = None) -> argparse.Namespace:
  """Returns the flags, those of the benchmark."""
  parser = argparse.ArgumentParser(description='Times adversarial training in plain PyTorch.')
  parser.add_argument('--width', type=int, default=16)
  parser.add_argument('--batch', type=int, default=32)
  parser.add_argument('--iters', type=int, default=5, help='steps of a round')
  parser.add_argument('--rounds', type=int, default=3)
  return parser.parse_args(argv)


def convnet(width: int):
  """Returns three blocks of a convolution, instance norm, ReLU and a pool, and a linear layer."""
  from torch import nn

  layers = []
  for inputs in (3, width, width):
    norm = nn.GroupNorm(width, width)  # instance norm with scale and bias
    layers += [nn.Conv2d(inputs, width, 3, padding=1), norm, nn.ReLU(), nn.AvgPool2d(2)]
  return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * (_SIDE // 8) ** 2, _CLASSES))


def attacked(network, images, labels):
  """Returns where PGD ends from a uniform start, in the ball and in [0, 1]."""
  import torch
  from torch.nn import functional

  points = (images + torch.empty_like(images).uniform_(-_EPS, _EPS)).clamp(0, 1)
  for _ in range(_ASCENTS):
    points.requires_grad_()
    (slope,) = torch.autograd.grad(functional.cross_entropy(network(points), labels), points)
    moved = points.detach() + _STEP * slope.sign()
    points = moved.clamp(images - _EPS, images + _EPS).clamp(0, 1)
  return points


def main(argv: Sequence[str] | None = None) -> None:
  """Times the steps as the flags say and prints the figures as a line of JSON."""
  import torch
  from torch.nn import functional

  flags, seconds = read(argv), []
  torch.manual_seed(0)
  network = convnet(flags.width)
  optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
  images, labels = torch.rand(flags.batch, 3, _SIDE, _SIDE), torch.arange(flags.batch) % _CLASSES
  # The first step, in which PyTorch is loaded, is not timed.
  for steps in (1, *[flags.iters] * flags.rounds):
    started = time.perf_counter()
    for _ in range(steps):
      points = attacked(network.eval(), images, labels)
      optimizer.zero_grad()
      functional.cross_entropy(network.train()(points), labels).backward()
      optimizer.step()
    seconds.append((time.perf_counter() - started) / steps)
  seconds = seconds[1:]
  print(json.dumps({'s_per_step': statistics.median(seconds), 'seconds': seconds}))


if __name__ == '__main__':
  main()
