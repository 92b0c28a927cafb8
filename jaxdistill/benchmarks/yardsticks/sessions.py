"""NC-FSCIL's sessions as a plain PyTorch loop, the yardstick of the benchmark's part sessions.

  python jaxdistill/benchmarks/yardsticks/sessions.py --dim=64 --steps=100

It needs PyTorch alone. As in `fscil.nc_fscil` one projector learns on, session after session, from
the features of the new images and a mean of every class before; the features are random, in
CIFAR-100's division of 60 classes and then 5 a session with 5 images each. Several draws go one
after another. The last line is JSON with `s_per_session`, the median over the sessions.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence

_BASE, _WAY, _SHOT = 60, 5, 5
_WIDTH, _BATCH = 512, 64
_RATE, _WARMUP, _COOLDOWN = 0.25, 5, 5
_MIXING, _SHARE = 0.75, 0.5


def read(argv: Sequence[str] | None = None) -> argparse.Namespace:
  """Returns the flags, those that the benchmark gives its yardsticks."""
  parser = argparse.ArgumentParser(description='Times sessions of NC-FSCIL in plain PyTorch.')
  parser.add_argument('--learner', default='nc_fscil', choices=['nc_fscil'])
  parser.add_argument('--dim', type=int, default=64, help='numbers of a feature')
  parser.add_argument('--steps', type=int, default=100, help='of a session')
  parser.add_argument('--sessions', type=int, default=5)
  parser.add_argument('--draws', type=int, default=1, help='one after another')
  return parser.parse_args(argv)


def rate(step: int, steps: int) -> float:
  """Returns the learning rate: a warm-up, a cosine to 1 %, and 0.1 % for the last steps."""
  falling = steps - _COOLDOWN
  if step >= falling:
    return 0.001 * _RATE
  cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * step / falling)) / 2
  return _RATE * cosine * min(1.0, (step + 1) / _WARMUP)


def simplex(classes):
  """Returns the fixed directions of the classes, [width, classes]."""
  import torch

  rotation, _ = torch.linalg.qr(torch.rand(_WIDTH, classes))
  return math.sqrt(classes / (classes - 1)) * (rotation - rotation.mean(1, keepdim=True))


def projector(dim):
  """Returns the perceptron and the linear shortcut beside it."""
  from torch import nn

  layers = []
  for inputs in (dim, 2 * dim):
    layers += [nn.Linear(inputs, 2 * dim), nn.LayerNorm(2 * dim), nn.LeakyReLU(0.1)]
  perceptron = nn.Sequential(*layers, nn.Linear(2 * dim, _WIDTH, bias=False))
  return nn.ModuleList([perceptron, nn.Linear(dim, _WIDTH, bias=False)])


def loss_of(parts, inputs, target, frame):
  """Returns the dot regression 10 / 2 mean_i sum_c p_ic s_c^2 (e_c h_i - 1)^2, in which the classes
  that are rare in the batch have a longer s_c."""
  from torch.nn import functional

  perceptron, shortcut = parts
  projected = functional.normalize(perceptron(inputs) + shortcut(inputs), dim=1)
  counts = target.sum(0)
  there = counts > 0
  squares = counts.sum() / there.sum() / counts.where(there, counts.new_ones(()))
  error = (projected @ frame - 1) ** 2 * squares.where(there, counts.new_ones(()))
  return 5 * (target * error).sum(1).mean()


def train(parts, features, labels, frame, steps):
  """Trains the projector for one session on rows [n, d] and their labels."""
  import torch
  from torch.nn import functional

  optimizer = torch.optim.SGD(parts.parameters(), lr=_RATE, momentum=0.9, weight_decay=5e-4)
  count, batch = len(features), min(_BATCH, len(features))
  epochs = [torch.randperm(count) for _ in range(math.ceil(steps * batch / count))]
  order = torch.cat(epochs)[: steps * batch].reshape(steps, batch)
  for step, index in enumerate(order):
    inputs, target = features[index], functional.one_hot(labels[index], frame.shape[1]).float()
    if torch.rand(()) < _MIXING:
      other = torch.randperm(batch)
      inputs = _SHARE * inputs + (1 - _SHARE) * inputs[other]
      target = _SHARE * target + (1 - _SHARE) * target[other]
    optimizer.param_groups[0]['lr'] = rate(step, steps)
    optimizer.zero_grad()
    loss_of(parts, inputs, target, frame).backward()
    optimizer.step()


def main(argv: Sequence[str] | None = None) -> None:
  """Times the sessions as the flags say and prints the figures as a line of JSON."""
  import torch

  flags = read(argv)
  torch.manual_seed(0)
  classes, new = _BASE + flags.sessions * _WAY, _WAY * _SHOT
  frame, shots = simplex(classes), (flags.draws, flags.sessions, new, flags.dim)
  shots, base = torch.randn(shots).relu(), torch.randn(_BASE, flags.dim).relu()
  learned = [projector(flags.dim) for _ in range(flags.draws)]
  # What PyTorch loads in its first step is not timed.
  train(projector(flags.dim), base, torch.arange(_BASE), frame, 1)
  memory, seconds = [base] * flags.draws, []
  for number in range(flags.sessions):
    known, started = _BASE + number * _WAY, time.perf_counter()
    arriving = torch.arange(known, known + _WAY).repeat_interleave(_SHOT)
    labels = torch.cat([arriving, torch.arange(known)])
    for draw in range(flags.draws):
      rows = shots[draw, number]
      train(learned[draw], torch.cat([rows, memory[draw]]), labels, frame, flags.steps)
      memory[draw] = torch.cat([memory[draw], rows.reshape(_WAY, _SHOT, -1).mean(1)])
    seconds.append(time.perf_counter() - started)
  median = statistics.median(seconds)
  print(json.dumps({'s_per_session': median, 'seconds': seconds, 'draws': flags.draws}))


if __name__ == '__main__':
  main()
