"""What a job costs: operations, peak memory, share of the device's peak; and how people write such numbers."""

import dataclasses
import re
from typing import Any

import jax

# Dense peak of one device in FLOP/s, from the makers' data sheets: (pattern of the device kind, bfloat16, float32).
# The float32 column of NVIDIA GPUs from Ampere on is TensorFloat-32, in which XLA multiplies float32 unless told
# otherwise; that of TPUs equals the bfloat16 one, since their default precision multiplies float32 in bfloat16.
# T4 and V100 have no bfloat16 units. First match wins.
_PEAKS: tuple[tuple[str, float | None, float | None], ...] = (
    (r'H100 PCIe', 756e12, 378e12),
    (r'H100 NVL', 835e12, 417e12),
    (r'\b(H100|H200|GH200)\b', 989e12, 494e12),
    (r'\bA100\b', 312e12, 156e12),
    (r'\bA10G\b', 70e12, 35e12),
    (r'\bL4\b', 121e12, 60e12),
    (r'\bT4\b', None, 8.1e12),
    (r'\bV100\b', None, 15.7e12),
    (r'RTX 3090\b', 71e12, 35.6e12),
    (r'RTX 4090\b', 165e12, 82.6e12),
    (r'TPU v2', 22.5e12, 22.5e12),  # a device is one of the chip's two cores, for v3 too
    (r'TPU v3', 61.5e12, 61.5e12),
    (r'TPU v4', 275e12, 275e12),
    (r'TPU v5( ?lite|e)', 197e12, 197e12),
    (r'TPU v5', 459e12, 459e12),
    (r'TPU v6( ?lite|e)', 918e12, 918e12),
)


@dataclasses.dataclass(frozen=True)
class Estimate:
  """What a job will take, measured before it starts.

  `flops_per_step` counts all devices; `peak_bytes` is the memory of one device; `peak_share` is the share of the
  devices' peak FLOP/s that the measured step reaches, None where the peak is not known.
  """

  num_steps: int
  compile_seconds: float
  seconds_per_step: float
  total_seconds: float
  flops_per_step: float | None
  peak_bytes: int | None
  peak_share: float | None

  def text(self) -> str:
    """Returns the estimate in one sentence."""
    parts = [f'{duration(self.total_seconds)} for {self.num_steps:,} steps ({duration(self.seconds_per_step)} a step, '
             f'{duration(self.compile_seconds)} to compile)']
    if self.flops_per_step:
      parts.append(f'{flops(self.flops_per_step)} a step')
    if self.peak_bytes:
      parts.append(f'{size(self.peak_bytes)} of memory')
    if self.peak_share is not None:
      parts.append(f'{self.peak_share:.1%} of the peak of the device')
    return 'About ' + ', '.join(parts) + '.'


def peak_flops(kind: str, dtype: str = 'float32') -> float | None:
  """Returns the dense peak of one device of this kind in FLOP/s, or None where it is not known.

  >>> peak_flops('NVIDIA H100 80GB HBM3', 'bfloat16')
  989000000000000.0
  >>> peak_flops('cpu') is None
  True
  """
  for pattern, low, full in _PEAKS:
    if re.search(pattern, kind):
      return {'bfloat16': low, 'float32': full}.get(str(dtype))
  return None


def share_of_peak(flops_per_step: float | None, seconds_per_step: float, dtype: str = 'float32',
                  devices: list | None = None) -> float | None:
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

  The program before optimisation counts a global array once, but per-device code (`shard_map`) for one device only;
  the compiled one always counts one device, and knows nothing of what the backend replaced by library calls. The larger
  of the two is right in all these cases. Loops are counted as ONE pass through their body: never ask for a scan over
  steps.
  """
  counts = [_count(lowered), devices * _count(compiled) if devices > 1 else 0.0]
  return max(counts) or _count(compiled) or None


def _count(stage) -> float:
  try:
    analysis = stage.cost_analysis() or {}
  except Exception:  # a backend without the analysis raises what it likes; the count is then unknown
    return 0.0
  analysis = analysis[0] if isinstance(analysis, (list, tuple)) else analysis
  return max(0.0, float(analysis.get('flops', 0.0)))


def program_bytes(compiled: Any) -> int | None:
  """Returns the peak memory of one call on one device, in bytes, or None where the backend does not tell.

  Arguments (the resident data among them) + outputs + temporaries - what outputs share with arguments.
  """
  try:
    memory = compiled.memory_analysis()
  except Exception:  # as above
    return None
  if memory is None:
    return None
  arguments, outputs = memory.argument_size_in_bytes, memory.output_size_in_bytes
  return int(arguments + outputs + memory.temp_size_in_bytes - memory.alias_size_in_bytes)


def duration(seconds: float) -> str:
  """Returns a time for people.

  >>> [duration(s) for s in (0.0123, 4.2, 61, 720, 3700, 200000)]
  ['12 ms', '4.2 s', '61 s', '12 min', '1 h 2 min', '2 d 8 h']
  """
  if seconds < 0.9995e-3:
    return f'{seconds * 1e6:.3g} µs'
  if seconds < 0.9995:
    return f'{seconds * 1e3:.2g} ms' if seconds < 0.0995 else f'{seconds * 1e3:.0f} ms'
  if seconds < 9.95:
    return f'{seconds:.1f} s'
  if seconds < 100:
    return f'{seconds:.0f} s'
  minutes = round(seconds / 60)
  if minutes < 60:
    return f'{minutes} min'
  if minutes < 48 * 60:
    return f'{minutes // 60} h {minutes % 60} min'
  hours = round(seconds / 3600)
  return f'{hours // 24} d {hours % 24} h'


def size(count: float) -> str:
  """Returns a number of bytes for people.

  >>> size(512), size(1.2 * 2**30)
  ('512 B', '1.2 GiB')
  """
  return _scaled(count, 1024, ('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'))


def flops(count: float) -> str:
  """Returns a number of floating-point operations for people.

  >>> flops(0.31e12), flops(2500)
  ('310 GFLOP', '2.5 kFLOP')
  """
  return _scaled(count, 1000, ('FLOP', 'kFLOP', 'MFLOP', 'GFLOP', 'TFLOP', 'PFLOP', 'EFLOP'))


def _scaled(count: float, base: int, units: tuple[str, ...]) -> str:
  for unit in units:
    if abs(count) < base - 0.5 or unit == units[-1]:
      break
    count /= base
  return f'{count:.0f} {unit}' if unit == units[0] or abs(count) >= 99.5 else f'{count:.2g} {unit}'
