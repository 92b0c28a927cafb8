"""TRADES: accuracy and the stability of answers, weighed (Zhang et al., ICML 2019).

Command:   python -m launch.run --config=configs/robustness/trades.py:digits
Run time:  about a minute on one CPU core
Expected:  45.4 ± 2.1 % under PGD-20, 92.1 ± 0.8 clean (five networks)

After the colon stand the data set (digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
imagenette, npz:PATH, folder:PATH, tiny_imagenet:PATH, imagenet:PATH or imagenet224:PATH) and,
behind commas:
  model=wrn_34_10           the network (the data set's usual one)
  eps=8/255                 radius of the attacker's ball, in pixels from 0 to 1 (the usual one)
  norm=l2                   of that ball (linf)
  over=trades               whose loss awp and rwp are put over: at, trades, or rst, which is trades
                            with pseudo= (at)
  pseudo=npz:made.npz       pseudo-labelled images, which fill half of every batch (none)
  attacks=pgd20+autoattack  of the final networks, joined by + (of digits apgd_ce, else
                            pgd20+autoattack)
  seeds=5                   networks in one program (3; of digits 5)
  recipe=short              of the training (the data set's)
  epochs=30                 passes over the images (the recipe's)
  images=10000              training images, drawn by a fixed seed (all; of digits 512)
  val=0.1                   share of the images held out to choose by (0.1; of a known set 0)
  quick                     a smoke run: every phase, no meaningful number
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.experiment import arguments
from jaxdistill.robustness.settings import Arguments, defaults


def get_config(arg: str | Mapping[str, Any] = '') -> ConfigDict:
  return defaults(arguments.read(Arguments, arg), 'trades')
