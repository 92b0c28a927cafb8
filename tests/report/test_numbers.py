"""Numbers as people read them."""

import math

import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.report import numbers


@pytest.mark.parametrize(
  'value, written',
  [
    (0, '0 s'),
    (3.2e-5, '0.032 ms'),
    (0.0999, '0.10 s'),
    (0.996, '1.0 s'),
    (59.94, '59.9 s'),
    (59.96, '1 min 00 s'),
    (3599.4, '59 min 59 s'),
    (3599.7, '1 h 00 min'),
    (86399, '1 d 00 h'),
    (90000, '1 d 01 h'),
    (-75, '−1 min 15 s'),
    (None, '–'),
    (math.nan, 'nan'),
    (math.inf, 'inf'),
  ],
)
def test_seconds(value, written):
  assert numbers.seconds(value) == written


@pytest.mark.parametrize(
  'value, written',
  [
    (0, '0 B'),
    (1023, '1,023 B'),
    (1024, '1.0 KiB'),
    (1024**2, '1.0 MiB'),
    (1024**2 - 1, '1.0 MiB'),
    (150 * 1024**3, '150 GiB'),
    (2.0**60, '1024 PiB'),
    (None, '–'),
  ],
)
def test_size(value, written):
  assert numbers.size(value) == written


@pytest.mark.parametrize(
  'value, written',
  [
    (0, '0'),
    (999_999, '999,999'),
    (1_000_000, '1.0 M'),
    (999_960_000, '1.0 G'),
    (1.234e11, '123 G'),
    (-2.5e9, '-2.5 G'),
    (np.int64(320010), '320,010'),
  ],
)
def test_count(value, written):
  assert numbers.count(value) == written


@pytest.mark.parametrize(
  'value, written',
  [
    (0, '0'),
    (0.0, '0'),
    (2.50, '2.5'),
    (99.999, '100'),
    (1234.5678, '1,235'),
    (-0.00123456, '-0.001235'),
    (1e-9, '1e-09'),
    (np.float32(0.5), '0.5'),
    (10**18, '1,000,000,000,000,000,000'),
  ],
)
def test_number(value, written):
  assert numbers.number(value) == written


@pytest.mark.parametrize(
  'value, written',
  [
    (0.12345, '12.3'),
    (dict(mean=1.0, std=0.0, n=3), '100.0 ± 0.0 (n=3)'),
    (dict(mean=0.5, std=0.1), '50.0 ± 10.0'),
    (dict(mean=0.5, std=0.0, n=1), '50.0 (n=1)'),
    (dict(mean=math.nan, std=math.nan, n=5), 'nan (n=5)'),
    (dict(mean=0.5, std=math.nan, n=2), '50.0 ± nan (n=2)'),
    (None, '–'),
  ],
)
def test_accuracy(value, written):
  assert numbers.accuracy(value) == written


def test_an_accuracy_in_percent_is_refused():
  with pytest.raises(UserError, match='divide percentages by 100'):
    numbers.accuracy(90.7)
