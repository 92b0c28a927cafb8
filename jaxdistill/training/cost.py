"""What a job costs: operations, peak memory, share of the device's peak."""

import dataclasses
import re
from typing import Any

import jax

from jaxdistill.training import traffic

# Dense peak of one device in FLOP/s and its memory's bandwidth in bytes/s, from the makers' data
# sheets: (pattern of the device kind, bfloat16, float32, bandwidth). The float32 column of NVIDIA
# GPUs from Ampere on is TensorFloat-32, in which XLA multiplies float32 unless told otherwise; that
# of TPUs equals the bfloat16 one, since their default precision multiplies float32 in bfloat16. T4
# and V100 have no bfloat16 units. First match wins.
_PEAKS: tuple[tuple[str, float | None, float | None, float], ...] = (
  (r'H100 PCIe', 756e12, 378e12, 2.0e12),
  (r'H100 NVL', 835e12, 417e12, 3.9e12),
  (r'\bH200\b', 989e12, 494e12, 4.8e12),
  (r'\bGH200\b', 989e12, 494e12, 4.0e12),
  (r'\bH100\b', 989e12, 494e12, 3.35e12),
  (r'\bA100.*80GB', 312e12, 156e12, 2.039e12),
  (r'\bA100\b', 312e12, 156e12, 1.555e12),
  (r'\bA10G\b', 70e12, 35e12, 600e9),
  (r'\bL4\b', 121e12, 60e12, 300e9),
  (r'\bT4\b', None, 8.1e12, 320e9),
  (r'\bV100\b', None, 15.7e12, 900e9),
  (r'RTX 3090\b', 71e12, 35.6e12, 936e9),
  (r'RTX 4090\b', 165e12, 82.6e12, 1008e9),
  # A device is one of the chip's two cores, for v3 too.
  (r'TPU v2', 22.5e12, 22.5e12, 350e9),
  (r'TPU v3', 61.5e12, 61.5e12, 450e9),
  (r'TPU v4', 275e12, 275e12, 1.2e12),
  (r'TPU v5( ?lite|e)', 197e12, 197e12, 819e9),
  (r'TPU v5', 459e12, 459e12, 2.765e12),
  (r'TPU v6( ?lite|e)', 918e12, 918e12, 1.64e12),
)


@dataclasses.dataclass(frozen=True)
class Estimate:
  """What a job will take, measured before it starts.

  `flops_per_step` counts all devices; `peak_bytes` is what the compiled step takes of one device;
  `peak_share` is the share of the devices' peak FLOP/s that the measured step reaches, None where
  the peak is not known. `needed_bytes` is the most memory that has been in use up to and with the
  measured steps, and `needed_of` says whose: of the fullest 'device', or of the whole 'process'
  where the device's memory is the machine's. It holds what the step alone does not tell: the sets,
  the networks that wait, the packages, what the compiler takes.
  """

  num_steps: int
  compile_seconds: float
  seconds_per_step: float
  total_seconds: float
  flops_per_step: float | None
  peak_bytes: int | None
  peak_share: float | None
  needed_bytes: int
  needed_of: str


def peak_flops(kind: str, dtype: str = 'float32') -> float | None:
  """Returns the dense peak of one device of this kind in FLOP/s, or None where it is not known.

  >>> peak_flops('NVIDIA H100 80GB HBM3', 'bfloat16')
  989000000000000.0
  >>> peak_flops('cpu') is None
  True
  """
  for pattern, low, full, _ in _PEAKS:
    if re.search(pattern, kind):
      return {'bfloat16': low, 'float32': full}.get(str(dtype))
  return None


def peak_bandwidth(kind: str) -> float | None:
  """Returns the bytes a second between one device of this kind and its memory, or None where they
  are not known.

  >>> peak_bandwidth('NVIDIA H100 80GB HBM3')
  3350000000000.0
  """
  return next((bandwidth for pattern, *_, bandwidth in _PEAKS if re.search(pattern, kind)), None)


def share_of_peak(
  flops_per_step: float | None,
  seconds_per_step: float,
  dtype: str = 'float32',
  devices: list | None = None,
) -> float | None:
  """Returns (operations per second) / (peak of all `devices` together), also called MFU, or None.

  >>> share_of_peak(1e9, 1.0, devices=jax.devices('cpu')) is None
  True
  """
  devices = devices or jax.devices()
  peak = peak_flops(devices[0].device_kind, dtype)
  if not peak or not flops_per_step:
    return None
  return flops_per_step / seconds_per_step / (peak * len(devices))


def program_flops(lowered: Any, compiled: Any, devices: int) -> float | None:
  """Returns the floating-point operations of one call over all devices, as XLA counts them.

  The program before optimisation counts a global array once, but per-device code (`shard_map`) for
  one device only; the compiled one always counts one device, and knows nothing of what the backend
  replaced by library calls. Both count a loop as one pass through its body, where the products and
  convolutions that the text tells (`traffic.flops`) count as often as they run, and nothing else
  does. The largest of the three is right or near it in all these cases.
  """
  text = lowered.as_text(dialect='hlo')
  each = devices if 'manual' in text else 1
  counts = [
    _count(lowered),
    devices * _count(compiled) if devices > 1 else 0.0,
    float(each * traffic.flops(text)),
  ]
  return max(counts) or _count(compiled) or None


def _count(stage) -> float:
  try:
    analysis = stage.cost_analysis() or {}
  except (
    Exception
  ):  # a backend without the analysis raises what it likes; the count is then unknown
    return 0.0
  analysis = analysis[0] if isinstance(analysis, (list, tuple)) else analysis
  return max(0.0, float(analysis.get('flops', 0.0)))


def program_bytes(compiled: Any) -> int | None:
  """Returns the peak memory of one call on one device, in bytes, or None where the backend does not
  tell.

  Arguments (the resident data among them) + outputs + temporaries - what outputs share with
  arguments.
  """
  try:
    memory = compiled.memory_analysis()
  except Exception:  # as above
    return None
  if memory is None:
    return None
  arguments, outputs = memory.argument_size_in_bytes, memory.output_size_in_bytes
  return int(arguments + outputs + memory.temp_size_in_bytes - memory.alias_size_in_bytes)
