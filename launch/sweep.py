"""Runs a grid over configs from a checkout: `python -m launch.sweep --config=m3d:digits
--grid.ipc=1,10` (`--help`)."""

import sys

from jaxdistill.commands import sweep

if __name__ == '__main__':
  sys.exit(sweep.main())
