"""Runs a config from a checkout: `python -m launch.run --config=configs/condensation/m3d.py:digits`
(`--help`)."""

import sys

from jaxdistill import launcher

if __name__ == '__main__':
  sys.exit(launcher.main())
