"""The small run of the sheet: on a few hundred digits AT over-fits robustly, and RWP less; and the
example of the page."""

import re

import pytest

from jaxdistill import config, data, robustness


@pytest.mark.slow
def test_rwp_ends_as_robust_as_at_with_a_smaller_gap():
  """512 images, eps = .2, ConvNet of width 8, 40 epochs, PGD-5; five networks each."""
  asked = config.load('robustness/rwp:digits')
  train, test = data.load('digits', image_size=asked.data.image_size)
  train, validation = data.hold_out(train, asked.data.validation_share)
  compared = robustness.compare(
    train,
    test,
    ['at', 'rwp'],
    seeds=5,
    validation=validation,
    overrides={
      'robustness.checks': 8,
      'robustness.train_images': asked.robustness.train_images,
      'data.normalisation': asked.data.normalisation,
    },
  )
  # Of ten networks RWP leads by less than a point; the gap tells them apart by several errors.
  assert compared.difference('rwp').mean > -0.01
  gap = compared.difference('rwp', column='gap')
  assert gap.mean < -gap.standard_error


@pytest.mark.slow
def test_the_example_of_the_familys_page_runs(tmp_path, monkeypatch, capsys):
  page = (config.root() / 'robustness' / 'README.md').read_text()
  (code,) = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
  monkeypatch.chdir(tmp_path)
  exec(compile(code, 'page.py', 'exec'), {'__name__': '__main__'})
  assert 'PGD-20' in capsys.readouterr().out and (tmp_path / 'rwp.msgpack').is_file()
