"""Runs a config from a checkout: `python -m launch.run --config=configs/condensation/m3d.py:digits`
(`--help`)."""

from jaxdistill.commands import console

if __name__ == '__main__':
  console.run('run')
