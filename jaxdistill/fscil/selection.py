"""The weights of base networks at their best check, where not the last ones are kept."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxdistill.training import hosts, parallel, trees
from jaxdistill.training.run import Run

_FILE = 'best-base.msgpack'
# The images by which a selection goes.
_SPLITS = {'val': 'validation', 'best_test': 'test'}


class Best:
  """The weights of each network at its best check so far, on the host and in the work dir, so that
  a training that is stopped and goes on ends with the same ones.

  Of checks that are equally good the first counts. So it does not matter that what lies in a work
  dir may be of a check that the checkpoint, from which the training goes on, has not come to: it
  comes again, with the same numbers.

  Args:
    run: whose work dir keeps them.
    select: 'last': nothing is kept; 'val' or 'best_test': by the accuracy on these images.
    networks: S.
  """

  def __init__(self, run: Run, select: str, networks: int):
    self._run, self._split, self._networks = run, _SPLITS.get(select), networks
    self._kept = None

  def update(self, step: int, accuracies: Mapping[str, np.ndarray], variables: Any) -> None:
    """Takes in a check: accuracies [S] by the images that were scored, variables [S, ...]."""
    if self._split is None:
      return
    current = {
      'accuracy': np.asarray(accuracies[self._split], np.float64),
      'step': np.full(self._networks, step, np.int64),
      'variables': parallel.on_host(variables, slice(self._networks)),
    }
    if self._kept is None:
      self._kept = self._read(current)
    if self._kept is None:
      self._kept = current
    else:
      old = self._kept
      better = current['accuracy'] > old['accuracy']
      first = (current['accuracy'] == old['accuracy']) & (current['step'] < old['step'])
      chosen = better | first
      if not chosen.any():
        return
      self._kept = jax.tree.map(lambda new, old: _where(chosen, new, old), current, old)
    self._run.write_bytes(_FILE, trees.encode(self._kept))

  def variables(self, last: Any) -> Any:
    """Returns the variables that are kept, as numpy arrays; `last` are those at the end."""
    if self._split is None:
      return parallel.on_host(last, slice(self._networks))
    if self._kept is None:  # a training that had come to its end
      last = parallel.on_host(last, slice(self._networks))
      numbers = np.zeros(self._networks)
      form = {'accuracy': numbers, 'step': numbers.astype(np.int64), 'variables': last}
      self._kept = self._read(form)
    return self._kept['variables']

  def _read(self, template):
    path = self._run.workdir and self._run.workdir / _FILE
    read = lambda: path.read_bytes() if path and path.is_file() else None
    content = hosts.content('best base networks', read)
    if content is None:
      return None
    try:
      return trees.decode(template, content)
    except Exception:  # damaged, or of another training: the checks to come make it anew
      return None


def forget(run: Run) -> None:
  """Deletes what a finished training has left of it in a work dir."""
  if run.workdir is not None:
    (run.workdir / _FILE).unlink(missing_ok=True)


def _where(chosen, new, old):
  return np.where(chosen.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
