"""Speed of this library on this machine: `python -m launch.benchmark --out=bench.json`
(`--help`)."""

import sys

from jaxdistill.commands import benchmark

if __name__ == '__main__':
  sys.exit(benchmark.main())
