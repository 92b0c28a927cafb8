"""`python -m jaxdistill COMMAND`: the command `jaxdistill` where it is not on the PATH."""

from jaxdistill.commands import console

if __name__ == '__main__':
  console.main()
