"""`python -m jaxdistill COMMAND`: the command `jaxdistill` where it is not on the PATH."""

import sys

from jaxdistill.commands import main

if __name__ == '__main__':
  sys.exit(main.main())
