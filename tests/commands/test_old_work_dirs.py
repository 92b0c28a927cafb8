"""Work dirs, experts and condensed sets that an earlier version left: they load and go on.

Each archive holds a work dir that was stopped (`run`), what it was to become (`expected`) and
experts beside it, all made by version 0.1.0 before the trainer was opened, with
`jaxdistill --config=CONFIG` and the flags below on one CPU (jax 0.10.2).
"""

import json
import pathlib
import tarfile

import numpy as np
import pytest

from jaxdistill.commands import run as launcher
from jaxdistill.condensation import Condensed

OLD = pathlib.Path(__file__).parent / 'old'
FLAGS = [
  '--config.data.image_size=8',
  '--config.model.width=4',
  '--config.model.depth=1',
  '--config.condensation.iterations=30',
  '--config.condensation.batch_real=8',
  '--config.evaluation.networks=2',
  '--config.evaluation.steps=20',
  '--config.evaluation.every=5',
  '--config.run.checkpoint_every=10',
  '--no-tensorboard',
  '--compilation_cache=off',
  '--no-progress',
  '--devices=1',
]
RUNS = {
  # Stopped after step 7 of 20 of training two networks on random images.
  'm3d': (
    ['--config=m3d:digits,ipc=1,factor=2', '--config.evaluation.baselines=random'],
    'evaluate-random: continues after step 7 of 20',
  ),
  # Stopped after iteration 17 of 30, its experts trained.
  'dance': (
    [
      '--config=dance:digits,ipc=1,factor=2',
      '--config.method.experts=2',
      '--config.method.expert_steps=20',
      '--config.evaluation.baselines=random,herding',
    ],
    'condense: continues after step 17 of 30',
  ),
}


@pytest.fixture(
  params=[pytest.param(name, marks=[pytest.mark.slow] if name == 'dance' else []) for name in RUNS]
)
def finished(request, tmp_path, capsys, plain):
  with tarfile.open(OLD / f'{request.param}-work-dir.tar.gz') as archive:
    archive.extractall(tmp_path, filter='data')
  flags, _ = RUNS[request.param]
  folder = tmp_path / request.param
  assert launcher.main([*flags, *FLAGS, f'--workdir={folder}/run']) == 0
  return request.param, folder, capsys.readouterr().out


def without_run(config):
  """A config without its section `run`: the number of devices is no part of what is computed."""
  return {key: value for key, value in dict(config).items() if key != 'run'}


def test_an_old_work_dir_goes_on_to_the_old_end(finished):
  name, folder, text = finished
  assert RUNS[name][1] in text
  old, new = (Condensed.load(folder / place / 'condensed.npz') for place in ('expected', 'run'))
  # Close and not equal: the programs of tests are compiled in another way.
  np.testing.assert_allclose(new.images, old.images, atol=2e-5)
  np.testing.assert_array_equal(new.labels, old.labels)
  assert new.method == old.method == name
  assert without_run(new.config) == without_run(old.config)
  expected, result = (
    json.loads((folder / place / 'result.json').read_text()) for place in ('expected', 'run')
  )
  assert result.keys() == expected.keys()
  assert without_run(result['config']) == without_run(expected['config'])
  for row, before in zip(result['rows'], expected['rows'], strict=True):
    assert row.keys() == before.keys() and row['curve']['steps'] == before['curve']['steps']
    assert row['last']['mean'] == pytest.approx(before['last']['mean'], abs=0.02)
    if row['name'] != name:  # real images: the same bits, and so the name that scores are shared by
      assert row['key'] == before['key']
  if name == 'dance':  # found by the hash of what made them, and not trained again
    experts = list((folder / 'experts').glob('*.msgpack'))
    assert f'read from {folder}/experts/554d67d218db08d6.msgpack' in text
    # The network that herding compares the images by is one of them.
    assert len(experts) == 1
