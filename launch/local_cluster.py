"""Several processes on this machine: `python -m launch.local_cluster --processes=2 --devices=2 --
LAUNCHER FLAGS` (`--help`)."""

from jaxdistill.commands import console

if __name__ == '__main__':
  console.run('local_cluster')
