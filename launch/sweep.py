"""Runs a grid over configs from a checkout: `python -m launch.sweep --config=m3d:digits
--grid.ipc=1,10` (`--help`)."""

from jaxdistill.commands import console

if __name__ == '__main__':
  console.run('sweep')
