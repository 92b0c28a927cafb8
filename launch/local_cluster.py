"""Several processes on this machine: `python -m launch.local_cluster --processes=2 --devices=2 --
LAUNCHER FLAGS` (`--help`)."""

import sys

from jaxdistill.commands import local_cluster

if __name__ == '__main__':
  sys.exit(local_cluster.main())
