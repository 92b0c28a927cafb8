"""Kills a run at random moments and compares its end: `python -m launch.faults --kills=20 --seed=0`
(`--help`)."""

from jaxdistill.commands import console

if __name__ == '__main__':
  console.run('faults')
