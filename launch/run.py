"""Runs a config from a checkout: `python -m launch.run --config=configs/condensation/m3d.py:digits`
(`--help`)."""

import sys

from jaxdistill.commands import run as launcher

if __name__ == '__main__':
  sys.exit(launcher.main())
