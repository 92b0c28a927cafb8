"""The figures of a plan as rows of tables, and as one page to show to a colleague."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill.report import numbers, tables
from jaxdistill.report.page import Page
from jaxdistill.training import cost

_RATE = lambda value: numbers.MISSING if value is None else f'{numbers.traffic(value)}/s'
_FLOPS_RATE = lambda value: numbers.MISSING if value is None else f'{numbers.flops(value)}/s'
_SHARE = lambda value: numbers.MISSING if value is None else f'{value:.0%}'
_TIMES = lambda value: numbers.MISSING if value is None else f'{value:.2f}'


def html(content: Mapping[str, Any]) -> str:
  """Returns the page of what `kept.Kept` holds."""
  machine, entries = content['machine'], content['figures']
  device, versions = machine['device'], machine['versions']
  subtitle = f'{machine["date"][:10]}, JAX {versions["jax"]}, Python {versions["python"]}'
  page = Page(f'Speed on {device["count"]} x {device["kind"]}', subtitle)
  methods, networks, calls = method_rows(entries), network_rows(entries), call_rows(entries)
  rates = rate_rows(entries, device['kind'])
  if methods:
    page.headline([_headline(row) for row in methods[:4]])
    page.table('Methods', methods, _METHODS, _METHODS_NOTE)
  if rates:
    page.table('Arithmetic', rates, _ARITHMETIC, _ARITHMETIC_NOTE)
    page.table('Memory', rates, _MEMORY, _MEMORY_NOTE)
  if networks:
    page.table('Networks together', networks, _NETWORKS, _NETWORKS_NOTE)
    page.curves('Seconds a network', [_chart(networks)])
  if calls:
    page.table('Steps in one call', calls, _CALLS, _CALLS_NOTE)
  for name, rows in operation_tables(entries).items():
    if _is_shown(entries[name]['about']):
      page.table(f'Longest operations: {name}', rows, _OPERATIONS)
    else:
      page.folded(f'Longest operations: {name}', tables.text(rows, _OPERATIONS))
  troubles = trouble_rows(entries)
  if troubles:
    page.table('What went wrong', troubles, [('name', 'Figure'), ('trouble', 'Why')])
  if content['left_out']:
    page.text(f'Left out, as the time was over: {", ".join(content["left_out"])}.')
  page.facts(_facts(machine, entries), 'Machine')
  return page.html()


def method_rows(entries: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns a row a method and type: medians over the rounds, and how many times as fast it is as
  the yardstick, both waiting for every iteration."""
  rows = []
  for name, about, figures in _of_kind(entries, 'condense', per_call=1):
    rounds = [figures]
    for number in range(2, 100):
      again = _figures(entries, f'{name}/round {number}')
      rounds += [again] if again else []
    waited = statistics.median(one['s_per_step_waited'] for one in rounds)
    yardstick = _yardstick(entries, about['method'])
    rows.append(
      {
        **about,
        'step': statistics.median(one['s_per_step'] for one in rounds),
        'waited': waited,
        'rounds': len(rounds),
        'yardstick': yardstick,
        'ratio': yardstick and yardstick / waited,
        'memory': figures['program_bytes'],
        'compile': figures['compile_s'],
      }
    )
    rows[-1]['rate'] = 1 / rows[-1]['step']
  return rows


def rate_rows(entries: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
  """Returns what every counted figure computes and moves a second, as shares of the device's data
  sheet and of what it reached in a large product and a large array."""
  ceilings = _figures(entries, 'ceilings') or {}
  rows = []
  for name, entry in entries.items():
    figures = entry['figures'] or {}
    if 'flops' not in figures:
      continue
    dtype, step = entry['about']['dtype'], figures['s_per_step']
    flops, moved = figures['flops'] / step, figures['bytes'] / step
    reached = ceilings.get('flops_per_s', {}).get(dtype)
    rows.append(
      {
        'name': name,
        'flops': figures['flops'],
        'bytes': figures['bytes'],
        'operations': figures['operations'],
        'flops_rate': flops,
        'flops_share': _ratio(flops, cost.peak_flops(kind, dtype)),
        'flops_of_reached': _ratio(flops, reached),
        'bytes_rate': moved,
        'bytes_share': _ratio(moved, cost.peak_bandwidth(kind)),
        'bytes_of_reached': _ratio(moved, ceilings.get('bytes_per_s')),
        'bound': figures['bound'],
        'of_least': _ratio(figures['least_s'], step),
      }
    )
  return rows


def network_rows(entries: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns a row a number of networks, way and type, beside as many steps of one network."""
  rows, ones = [], {}
  for _, about, figures in _of_kind(entries, 'train', per_call=1):
    count, step = about['networks'], figures['s_per_step']
    if count == 1:
      ones[about['dtype']] = figures
    one = ones.get(about['dtype'], {})
    rows.append(
      {
        **about,
        'step': step,
        'a_network': step / count,
        'ratio': one and count * one['s_per_step'] / step or None,
        'bytes': figures.get('bytes'),
        'bytes_ratio': _ratio(figures.get('bytes'), one.get('bytes')),
        'grouped': figures.get('grouped'),
        'memory': figures['program_bytes'],
        'compile': figures['compile_s'],
      }
    )
  return rows


def call_rows(entries: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns a row a number of steps in one call, beside one step a call."""
  rows = []
  for name, about, figures in _of_kind(entries, '', several=True):
    one_name = name.rpartition('/')[0]
    one = _figures(entries, one_name)
    if one and not any(row['name'] == one_name for row in rows):
      rows.append(_call_row(one_name, 1, one, one))
    rows.append(_call_row(one_name, about['per_call'], figures, one))
  return rows


def _call_row(name, length, figures, one):
  return {
    'name': name,
    'per_call': length,
    'step': figures['s_per_step'],
    'ratio': one and one['s_per_step'] / figures['s_per_step'],
    'bytes': figures.get('bytes'),
    'operations': figures.get('operations'),
    'memory': figures['program_bytes'],
    'compile': figures['compile_s'],
  }


def operation_tables(entries: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
  """Returns the longest operations of every traced figure by its name; where there is no trace,
  those that move most."""
  result = {}
  for name, entry in entries.items():
    figures = entry['figures'] or {}
    rows = figures.get('profile')
    if not rows and figures.get('largest'):
      rows = [
        {'operation': f'{kind} {shape}', 'bytes': size, 'source': source}
        for size, kind, shape, source in figures['largest']
      ]
    if rows:
      result[name] = [_operation_row(row) for row in rows]
  return result


def _operation_row(row):
  seconds, moved = row.get('seconds'), row.get('bytes')
  return {'seconds': None, 'share': None, **row, 'rate': moved and _ratio(moved, seconds)}


def trouble_rows(entries: Mapping[str, Any]) -> list[dict[str, str]]:
  """Returns what went wrong, by the name of the figure."""
  rows = []
  for name, entry in entries.items():
    reasons = [entry['trouble']] if entry['trouble'] else []
    missing = (entry['figures'] or {}).get('missing', {})
    reasons += [f'no {part}: {why}' for part, why in missing.items()]
    rows += [{'name': name, 'trouble': reason} for reason in reasons]
  return rows


def _is_shown(about: Mapping[str, Any]) -> bool:
  """Whether the operations of a figure stand open on the page: a step of a method, or of one
  network."""
  return about['per_call'] == 1 and (about['kind'] == 'condense' or about['networks'] == 1)


def _of_kind(entries, kind, per_call=0, several=False):
  """Yields (name, about, figures) of the measured figures of a kind, without those of later
  rounds."""
  for name, entry in entries.items():
    about, figures = entry['about'], entry['figures']
    if not figures or 's_per_step' not in figures or about.get('round', 1) > 1:
      continue
    if several and about['per_call'] == 1 or per_call and about['per_call'] != per_call:
      continue
    if not kind or about['kind'] == kind:
      yield name, about, figures


def _figures(entries, name):
  return entries.get(name, {}).get('figures')


def _yardstick(entries, method):
  """The median of the rounds of the other program; None: it was not timed."""
  seconds = []
  for entry in entries.values():
    about, figures = entry['about'], entry['figures']
    if about['kind'] == 'yardstick' and about['method'] == method and figures:
      seconds.append(figures['s_per_iter'])
  return statistics.median(seconds) if seconds else None


def _ratio(value: float | None, whole: float | None) -> float | None:
  return value / whole if value and whole else None


def _headline(row):
  note = '' if row['ratio'] is None else f'{row["ratio"]:.1f} times the yardstick'
  return f'{row["method"]}, {row["dtype"]}', f'{row["rate"]:.3g} steps/s', note


def _chart(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Seconds a network against their number: a line a way and type, which all begin at one."""
  points = {}
  for row in rows:
    points.setdefault((row['way'], row['dtype']), []).append((row['networks'], row['a_network']))
  for (_, dtype), line in points.items():
    ones = [row for row in rows if row['networks'] == 1 and row['dtype'] == dtype]
    if ones and all(count > 1 for count, _ in line):
      line.insert(0, (1, ones[0]['a_network']))
  series = []
  for (way, dtype), line in points.items():
    series.append((f'{way}, {dtype}', *map(list, zip(*sorted(line)))))
  return dict(x_title='networks', y_title='seconds a step and network', series=series)


def _facts(machine, entries):
  facts = {name: version for name, version in machine['versions'].items() if version}
  facts |= {'commit': machine['git_commit'] or numbers.MISSING, 'code': machine.get('code')}
  facts['memory'] = numbers.size(machine.get('memory_bytes'))
  facts |= machine.get('environment', {})
  ceilings = _figures(entries, 'ceilings') or {}
  for dtype, rate in ceilings.get('flops_per_s', {}).items():
    facts[f'reached in {dtype}'] = _FLOPS_RATE(rate)
  if ceilings:
    facts['reached from and to memory'] = _RATE(ceilings.get('bytes_per_s'))
  return facts


_METHODS = (
  ('method', 'Method'),
  ('dtype', 'Type'),
  ('step', 'Step', 'seconds'),
  ('rate', 'Steps/s', 'number'),
  ('waited', 'Step, waited for', 'seconds'),
  ('yardstick', 'Yardstick', 'seconds'),
  ('ratio', 'Times as fast', _TIMES),
  ('rounds', 'Rounds', 'count'),
  ('memory', 'Memory', 'bytes'),
  ('compile', 'Compiled in', 'seconds'),
)
_METHODS_NOTE = (
  'Medians. A step has several calls under way, as the loop runs them; where it is waited for, the '
  'host looks at every step, as the yardstick does, and so it is compared. Memory is that of the '
  'compiled call.'
)
_ARITHMETIC = (
  ('name', 'Figure'),
  ('flops', 'FLOP a step', numbers.flops),
  ('flops_rate', 'FLOP/s', _FLOPS_RATE),
  ('flops_share', 'of the peak', _SHARE),
  ('flops_of_reached', 'of a large product', _SHARE),
  ('bound', 'Bound by'),
  ('of_least', 'of that bound', _SHARE),
)
_MEMORY = (
  ('name', 'Figure'),
  ('operations', 'Operations', 'number'),
  ('bytes', 'Moved a step', numbers.traffic),
  ('bytes_rate', 'Moved/s', _RATE),
  ('bytes_share', 'of the bandwidth', _SHARE),
  ('bytes_of_reached', 'of a large array', _SHARE),
)
_ARITHMETIC_NOTE = (
  'Matrix products and convolutions, counted in the program. The peak is that of the data sheet, '
  'and so is the bound: the longer of what arithmetic and memory take at least.'
)
_MEMORY_NOTE = (
  'Operands and results of what the compiled program starts one by one. The bandwidth is that of '
  'the data sheet; a large array is read and written.'
)
_NETWORKS = (
  ('networks', 'Networks', 'count'),
  ('way', 'Way'),
  ('dtype', 'Type'),
  ('step', 'Step', 'seconds'),
  ('a_network', 'A network', 'seconds'),
  ('ratio', 'Times as fast', _TIMES),
  ('bytes', 'Moved a step', numbers.traffic),
  ('bytes_ratio', 'times one', _TIMES),
  ('grouped', 'Grouped', 'count'),
  ('memory', 'Memory', 'bytes'),
  ('compile', 'Compiled in', 'seconds'),
)
_NETWORKS_NOTE = (
  'The training that scores a condensed set, batch 64, ConvNet-3: times as fast as one network '
  'after the other, what it moves beside one network, convolutions in groups.'
)
_CALLS = (
  ('name', 'Figure'),
  ('per_call', 'Steps a call', 'count'),
  ('step', 'Step', 'seconds'),
  ('ratio', 'Times as fast', _TIMES),
  ('bytes', 'Moved a step', numbers.traffic),
  ('operations', 'Operations a step', 'number'),
  ('memory', 'Memory', 'bytes'),
  ('compile', 'Compiled in', 'seconds'),
)
_CALLS_NOTE = 'Times as fast as one step a call; several calls are under way in either case.'
_OPERATIONS = (
  ('operation', 'Operation'),
  ('seconds', 'Seconds a step', 'seconds'),
  ('share', 'Share', _SHARE),
  ('bytes', 'Moved a step', numbers.traffic),
  ('rate', 'Moved/s', _RATE),
  ('source', 'From'),
)
