"""Decoding and first canvases, against torch-like bilinear sampling written out in float64
numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import UserError
from jaxdistill.synthesis import decode


def bilinear(image, height, width):
  """Half-pixel bilinear interpolation of one [h, w, c] image, pixel by pixel."""
  h, w, _ = image.shape
  out = np.zeros((height, width, image.shape[2]))
  for i in range(height):
    for j in range(width):
      y, x = (
        min(max((i + 0.5) * h / height - 0.5, 0), h - 1),
        min(max((j + 0.5) * w / width - 0.5, 0), w - 1),
      )
      top, left = int(y), int(x)
      bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
      a, b = y - top, x - left
      out[i, j] = (1 - a) * ((1 - b) * image[top, left] + b * image[top, right]) + a * (
        (1 - b) * image[bottom, left] + b * image[bottom, right]
      )
  return out


@pytest.mark.parametrize('side, factor', [(8, 2), (9, 3), (8, 3), (7, 2)])
def test_decode_is_bilinear_enlargement_of_the_cells(side, factor):
  canvases = np.random.default_rng(0).random((2, side, side, 3)).astype(np.float32)
  cell = -(-side // factor)
  padded = np.full((2, cell * factor, cell * factor, 3), 0.5)
  padded[:, :side, :side] = canvases
  expected = [
    bilinear(padded[n, i * cell : (i + 1) * cell, j * cell : (j + 1) * cell], side, side)
    for i in range(factor)
    for j in range(factor)
    for n in range(2)
  ]
  np.testing.assert_allclose(decode.decode(jnp.asarray(canvases), factor), expected, atol=1e-6)


@pytest.mark.parametrize('side', [8, 16])
def test_a_factor_fills_a_canvas_where_every_cell_has_a_pixel_of_it(side):
  """By counting: a cell without one holds the padding alone."""
  for factor in range(1, side + 1):
    padded = np.zeros(factor * -(-side // factor), bool)
    padded[:side] = True
    assert decode.fills(factor, side) == padded.reshape(factor, -1).any(1).all()
  assert not decode.fills(5, side)


def test_factor_one_changes_nothing():
  canvases = jnp.arange(32.0).reshape(2, 4, 4, 1)
  assert decode.decode(canvases, 1) is canvases


def test_a_constant_canvas_decodes_to_constants_and_the_number_grows_by_the_square():
  decoded = decode.decode(jnp.full((3, 8, 8, 1), 0.3), 2)
  assert decoded.shape == (12, 8, 8, 1)
  np.testing.assert_allclose(decoded, 0.3, atol=1e-6)


def test_fill_per_channel_reaches_the_padding_only():
  decoded = decode.decode(jnp.zeros((1, 7, 7, 2)), 2, jnp.array([1.0, 2.0]))
  np.testing.assert_allclose(decoded[0], 0)  # the first cell holds no padding
  assert float(decoded[3, -1, -1, 0]) == 1 and float(decoded[3, -1, -1, 1]) == 2


@pytest.mark.parametrize('factor', [2, 3])
def test_decoding_a_mix_gives_back_the_blurred_images_in_order(factor):
  ipc, side = 2, 12
  images = np.repeat(np.linspace(0, 1, factor**2 * ipc), side * side).reshape(-1, side, side, 1)
  mixed = decode.mix(jnp.asarray(images, jnp.float32), factor)
  assert mixed.shape == (ipc, side, side, 1)
  # Constant images survive shrinking and enlarging, so cell k of canvas i must be image k ipc + i.
  np.testing.assert_allclose(decode.decode(mixed, factor), images, atol=1e-6)


def test_mix_takes_the_nearest_pixels():
  images = jnp.arange(4 * 16.0).reshape(4, 4, 4, 1)
  mixed = np.asarray(decode.mix(images, 2))[0, :, :, 0]
  np.testing.assert_array_equal(mixed[:2, :2], [[0, 2], [8, 10]])
  np.testing.assert_array_equal(mixed[:2, 2:], 16 + np.array([[0, 2], [8, 10]]))
  np.testing.assert_array_equal(mixed[2:, :2], 32 + np.array([[0, 2], [8, 10]]))


def first(init, **kwargs):
  images = np.zeros((3, 9, 4, 4, 1), np.uint8)
  images[:] = (np.arange(27) * 9).reshape(3, 9, 1, 1, 1)
  options = dict(ipc=2, factor=2, init=init, mean=(0.5,), std=(0.25,)) | kwargs
  return np.asarray(
    decode.first_canvases(jax.random.key(0), jnp.asarray(images), jnp.array([9, 8, 9]), **options)
  )


def test_first_canvases_are_different_real_images_of_their_class():
  values = first('real')[..., 0, 0, 0] * 255 / 9
  for label, members in enumerate(np.round(values).astype(int)):
    assert len(set(members)) == 2
    assert all(label * 9 <= member < label * 9 + (8 if label == 1 else 9) for member in members)


def test_first_canvases_of_a_mix_hold_four_times_as_many_images():
  mixed = first('mix')
  assert mixed.shape == (3, 2, 4, 4, 1)
  assert len(np.unique(mixed[0])) == 8


def test_noise_lies_in_range_and_has_about_the_right_mean():
  noise = first('noise', ipc=50)
  assert noise.min() >= 0 and noise.max() <= 1
  assert abs(noise.mean() - 0.5) < 0.02


def test_unknown_start_names_the_valid_ones():
  with pytest.raises(UserError, match="no initialisation 'mixed'; did you mean 'mix'"):
    first('mixed')


@pytest.mark.parametrize('most', [1, 7, 20, 60, 128, 200, 1000])
@pytest.mark.parametrize('canvases, factor', [(1, 3), (7, 3), (20, 3), (50, 3), (10, 2), (5, 1)])
def test_bounded_decoding_gives_canvases_the_highest_factor_while_there_is_room(
  canvases, factor, most
):
  """Canvas by canvas: a factor is taken while all canvases still to come keep one place each,
  those of its own factor included, as in IDC's public code."""
  factors, used = [], 0
  for lower in range(factor, 0, -1):
    begun = canvases - len(factors)  # those left where this factor begins
    room, taken = most - used - begun, 0
    while len(factors) < canvases and (lower == 1 or (taken + 1) * lower**2 <= room):
      factors.append(lower)
      taken += 1
    used += taken * lower**2
  parts = decode.formations(canvases, factor, most)
  assert np.repeat([f for _, f in parts], [n for n, _ in parts]).tolist() == factors
  assert sum(count * lower**2 for count, lower in parts) <= max(most, canvases)
  if canvases * (factor**2 + 1) <= most:
    assert parts == ((canvases, factor),)


def test_bounded_images_are_those_of_each_part():
  canvases = jnp.asarray(np.random.default_rng(1).random((5, 9, 9, 2)), jnp.float32)
  images = decode.bounded(canvases, 3, 20, 0.25)
  assert decode.formations(5, 3, 20) == ((1, 3), (1, 2), (3, 1))
  expected = [decode.decode(canvases[:1], 3), decode.decode(canvases[1:2], 2, 0.25), canvases[2:]]
  np.testing.assert_array_equal(images, np.concatenate(expected))
