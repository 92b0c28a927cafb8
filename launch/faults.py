"""Kills a run at random moments and compares its end: `python -m launch.faults --kills=20 --seed=0`
(`--help`)."""

import sys

from jaxdistill.commands import faults

if __name__ == '__main__':
  sys.exit(faults.main())
