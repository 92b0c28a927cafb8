"""Speed of this library on this machine: `python -m launch.benchmark --out=bench.json`
(`--help`)."""

from jaxdistill.commands import console

if __name__ == '__main__':
  console.run('benchmark')
