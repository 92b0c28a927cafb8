"""The plan for a device: what it measures first, what it does when something fails or the time is
over, and how it goes on. The processes that measure are made up; their figures are the business of
test_steps_benchmark.py."""

import itertools
import json
import types

import pytest

from jaxdistill import backend, benchmarks
from jaxdistill.benchmarks import Settings, device, device_page, kept, process
from jaxdistill.errors import UserError
from jaxdistill.training import together

MACHINE = {
  'versions': {'jax': '0.11.2', 'python': '3.12.3', 'flax': None},
  'device': {'kind': 'NVIDIA H100 80GB HBM3', 'count': 1, 'platform': 'gpu'},
  'git_commit': None,
  'code': 'abc',
  'date': '2026-11-27T09:00:00+00:00',
  'memory_bytes': 80 * 2**30,
}


def usual_on(platform):
  """The way in which networks share a program there, if nothing else is said."""
  with backend.compiling_for(platform):
    return together.choose_way('auto')


USUAL = usual_on('gpu')
SETTINGS = Settings(methods=('m3d', 'dm'), rounds=2, yardstick='true')


def figures_of(words):
  """What a process would print: a step of 10 ms for each network, half of it in bfloat16."""
  flags = dict(word.lstrip('-').split('=', 1) for word in words if '=' in word)
  if 'jaxdistill.benchmarks.ceilings' in words:
    return {'machine': MACHINE, 'flops_per_s': {'float32': 4e14}, 'bytes_per_s': 3e12}
  if 'jaxdistill.benchmarks.steps' not in words:
    return {'s_per_iter': 0.05}
  step = 0.01 * int(flags.get('networks', 1)) * (0.5 if flags.get('dtype') == 'bfloat16' else 1)
  figures = {
    's_per_step': step / int(flags.get('per-call', 1)) ** 0.1,
    's_per_step_waited': step * 1.25,
    'spread': [step, step],
    'compile_s': 9.0,
    'program_bytes': 2**30,
    'peak_bytes': 2**31,
    'peak_of': 'device',
    'missing': {},
  }
  if flags.get('whole') == '0':
    return figures
  return figures | {
    'flops': 1e12 * step,
    'bytes': 1e10,
    'operations': 60,
    'grouped': 0,
    'largest': [[1e9, 'fusion', 'f32[8]', 'jit(one)/conv1/dot_general']],
    'least_s': step / 2,
    'bound': 'memory',
    'profile': [
      {'operation': 'dot.3', 'seconds': 0.004, 'share': 0.4, 'bytes': 1e9, 'source': 'conv1'}
    ],
  }


@pytest.fixture
def processes(monkeypatch):
  """Replaces the processes: `seconds` is what each takes on the plan's clock, `ends` what those
  whose command holds a word come to; `asked` are the commands, `limits` their times."""
  notes = types.SimpleNamespace(
    asked=[], limits=[], environments=[], seconds=10.0, ends={}, now=0.0
  )

  def run(command, environment, seconds):
    words = [str(word) for word in command]
    notes.asked.append(' '.join(words[1:]))
    notes.limits.append(seconds)
    notes.environments.append(environment)
    if '--machine-only' in words:
      return process.Ended(figures_of(words))
    notes.now += min(notes.seconds, seconds)
    if notes.seconds > seconds:
      return process.Ended(None, f'was ended after {seconds:.0f} s', is_late=True)
    for word, ended in notes.ends.items():
      if word in notes.asked[-1]:
        if isinstance(ended, BaseException):
          raise ended
        return ended
    return process.Ended(figures_of(words))

  monkeypatch.setattr(process, 'run', run)
  monkeypatch.setattr(device.time, 'monotonic', lambda: notes.now)
  return notes


def run(out, seconds=10_000, parts=benchmarks.PLAN_PARTS, settings=SETTINGS):
  lines = []
  device.run(settings, out, seconds, lines.append, parts)
  return json.loads(out.read_text()), lines


def names(settings=SETTINGS, platform='gpu', parts=benchmarks.PLAN_PARTS):
  return [figure.name for figure in device.plan(settings, platform, parts)]


def test_the_most_important_come_first_and_every_way_number_and_type_comes():
  order = names()
  assert order[:7] == [
    'ceilings',
    'condense/m3d/float32',
    'yardstick/m3d',
    'condense/m3d/bfloat16',
    'condense/dm/float32',
    'yardstick/dm',
    'condense/dm/bfloat16',
  ]
  assert order[7:14] == [
    f'train/1/{USUAL}/float32',
    f'train/5/{USUAL}/float32',
    f'train/20/{USUAL}/float32',
    'condense/m3d/float32/10 a call',
    'condense/m3d/float32/100 a call',
    f'train/1/{USUAL}/float32/10 a call',
    f'train/1/{USUAL}/float32/100 a call',
  ]
  for way, count, dtype in itertools.product(together.WAYS, (5, 20), device.DTYPES):
    assert f'train/{count}/{way}/{dtype}' in order
  assert order[-3:] == [
    'condense/dm/float32/round 2',
    'yardstick/dm/round 2',
    'condense/dm/bfloat16/round 2',
  ]
  assert len(set(order)) == len(order)


def test_the_way_of_the_platform_comes_first_and_parts_can_be_chosen():
  on_cpu = names(platform='cpu', parts=('networks',))
  assert (
    on_cpu[:2] == ['ceilings', f'train/1/{usual_on("cpu")}/float32']
    and 'yardstick/m3d' not in on_cpu
  )
  # Several steps in a call are never without one to compare with.
  alone = names(parts=('steps',))
  assert alone[1:4] == ['condense/m3d/float32', *names()[10:12]]
  assert alone[4:] == [f'train/1/{USUAL}/float32', *names()[12:14]]


def test_commands_hold_the_sizes_and_the_yardstick_gets_them_as_flags():
  settings = Settings(methods=('dm',), yardstick='python other.py --tf32', ipc=1, width=8, iters=3)
  figures = {figure.name: figure for figure in device.plan(settings, 'gpu', seconds=100)}
  command = figures['condense/dm/bfloat16'].command
  assert command[:2] == ('-m', 'jaxdistill.benchmarks.steps')
  assert set(command[2:]) == {
    '--method=dm',
    '--dtype=bfloat16',
    '--width=8',
    '--ipc=1',
    '--seconds=1.0',
  }
  assert ' '.join(figures['yardstick/dm'].words) == (
    'python other.py --tf32 --method dm --ipc 1 --factor 2 --iters 3 --batch-real 128'
  )
  assert '--whole=0' in figures['condense/dm/float32/round 2'].command


def test_all_is_measured_kept_and_shown(processes, tmp_path):
  out = tmp_path / 'device.json'
  content, lines = run(out)
  assert list(content['figures']) == names() and content['left_out'] == []
  assert content['machine'] == MACHINE
  entry = content['figures']['condense/m3d/float32']
  assert entry['figures']['s_per_step'] == 0.01 and entry['trouble'] == ''
  assert entry['seconds'] == 10 and '--method=m3d' in entry['command']
  assert lines[0] == '1 x NVIDIA H100 80GB HBM3 (gpu)'
  assert lines[2].startswith(
    'condense/m3d/float32: 10 ms a step (100 a second), 1.0 GiB, 50% of what memory allows, '
    'compiled in 9.0 s [10 s, '
  )
  for environment in processes.environments:
    assert environment['XLA_PYTHON_CLIENT_PREALLOCATE'] == 'false'
  page = (tmp_path / 'device.html').read_text()
  for text in ('NVIDIA H100', 'Times as fast', 'Networks together', 'dot.3', '<svg', 'src="http'):
    assert (text in page) == (text != 'src="http')
  assert '<h2>Longest operations: condense/m3d/float32</h2>' in page
  assert f'<summary>Longest operations: train/5/{USUAL}/float32</summary>' in page


def test_a_second_start_measures_nothing_that_is_there(processes, tmp_path):
  out = tmp_path / 'device.json'
  first, _ = run(out)
  before = len(processes.asked)
  again, lines = run(out, seconds=500)
  assert again == first and len(processes.asked) == before + 1  # that asks for the machine
  assert f'{len(names())} figures are there already, 0 are missing' in lines


def test_a_start_that_is_killed_between_figures_goes_on_where_it_was(processes, tmp_path):
  out = tmp_path / 'device.json'
  processes.ends = {'--method=dm': KeyboardInterrupt()}
  with pytest.raises(KeyboardInterrupt):
    run(out)
  kept_then = json.loads(out.read_text())['figures']
  assert list(kept_then) == names()[:4] and (tmp_path / 'device.html').is_file()
  processes.ends, processes.asked = {}, []
  content, _ = run(out)
  assert list(content['figures']) == names()
  assert not any('--method=m3d --dtype' in words for words in processes.asked)


def test_a_part_that_fails_is_kept_with_its_sentence_and_tried_again_last(processes, tmp_path):
  out = tmp_path / 'device.json'
  sentence = 'failed: RESOURCE_EXHAUSTED: Out of memory'
  partly = {**figures_of(['jaxdistill.benchmarks.steps']), 'missing': {'profile': 'no tracer'}}
  processes.ends = {
    '--networks=20': process.Ended(None, sentence),
    '--method m3d': process.Ended({'hello': 1}),
    '--method=dm': process.Ended(partly, 'failed: Segmentation fault'),
  }
  content, lines = run(out, parts=('methods', 'networks'))
  entry = content['figures'][f'train/20/{USUAL}/float32']
  assert entry['figures'] is None and entry['trouble'] == sentence
  assert any(line.startswith(f'train/20/{USUAL}/float32: {sentence} [') for line in lines)
  assert 'gave no s_per_iter' in content['figures']['yardstick/m3d']['trouble']
  assert content['figures']['condense/dm/float32']['figures']['s_per_step'] == 0.01
  page = (tmp_path / 'device.html').read_text()
  assert sentence in page and 'no profile: no tracer' in page and 'Segmentation fault' in page
  # The second time the sums are right, but for what had figures and fails without any.
  processes.ends = {'--method=dm': process.Ended(None, 'failed: again')}
  processes.asked = []
  content, _ = run(out)
  assert '--per-call' in processes.asked[1]  # what was never tried comes first
  assert content['figures'][f'train/20/{USUAL}/float32']['trouble'] == ''
  assert content['figures']['condense/dm/float32']['figures']['s_per_step'] == 0.01


def test_it_stops_before_the_time_is_over_and_says_what_was_left_out(processes, tmp_path):
  content, lines = run(tmp_path / 'device.json', seconds=59)
  assert list(content['figures']) == names()[:5] and content['left_out'] == names()[5:]
  assert processes.now <= 59 - 4
  assert f'{len(names()) - 5} of {len(names())} figures were left out' in lines[-1]
  assert 'Left out, as the time was over: yardstick/dm' in (tmp_path / 'device.html').read_text()


def test_no_figure_takes_all_of_the_time(processes, tmp_path):
  processes.seconds = 1000
  content, _ = run(tmp_path / 'device.json', seconds=480)
  assert set(processes.limits[1:4]) == {120} and processes.now < 480
  assert list(content['figures']) == names()[:3]  # the fourth was cut short by the end
  assert 'was ended after 120 s' in content['figures']['ceilings']['trouble']


@pytest.mark.parametrize('change', ['machine', 'sizes'])
def test_figures_of_another_machine_or_of_other_sizes_are_moved_aside(
  processes, tmp_path, change, monkeypatch
):
  out, settings = tmp_path / 'device.json', SETTINGS
  first, _ = run(out, parts=('steps',))
  if change == 'machine':
    monkeypatch.setitem(MACHINE, 'code', 'def')
  else:
    settings = Settings(methods=('m3d', 'dm'), ipc=1)
  content, lines = run(out, parts=('steps',), settings=settings)
  aside = tmp_path / 'device.earlier-1.json'
  assert json.loads(aside.read_text()) == first and aside.with_suffix('.html').is_file()
  word = 'code' if change == 'machine' else 'sizes'
  assert f'({word} differ); they are now in {aside}' in lines[1]
  assert list(content['figures']) == names(parts=('steps',))


def test_wrong_names_and_files_are_refused_in_a_sentence(tmp_path):
  out = tmp_path / 'device.json'
  with pytest.raises(UserError, match="no part of the plan 'method'; did you mean 'methods'"):
    device.check(['method'], SETTINGS, out)
  with pytest.raises(UserError, match="no condensation method 'm3'"):
    device.check(['methods'], Settings(methods=('m3',)), out)
  with pytest.raises(UserError, match="there is no program 'pyton' to run"):
    device.check(['methods'], Settings(yardstick='pyton other.py'), out)
  with pytest.raises(UserError, match='--yardstick is no command: No closing quotation'):
    device.check(['methods'], Settings(yardstick="python 'other.py"), out)
  for text in ('[1]', '{"plan": "device"}', '{"loop": 1}', 'not JSON'):
    out.write_text(text)
    with pytest.raises(UserError, match='holds something else than figures of this plan'):
      device.check(['methods'], SETTINGS, out)


def test_without_a_device_it_ends_in_a_sentence(processes, tmp_path, monkeypatch):
  monkeypatch.setattr(process, 'run', lambda *_: process.Ended(None, 'failed: no backend'))
  with pytest.raises(UserError, match='JAX does not start here: .* failed: no backend'):
    run(tmp_path / 'device.json')
  assert not (tmp_path / 'device.json').exists()


# The rows of the page, by hand.


@pytest.fixture
def entries(processes, tmp_path):
  content, _ = run(tmp_path / 'device.json')
  return content['figures']


def test_methods_are_compared_by_medians_of_steps_that_are_waited_for(entries):
  rows = device_page.method_rows(entries)
  assert [(row['method'], row['dtype'], row['rounds']) for row in rows] == [
    ('m3d', 'float32', 2),
    ('m3d', 'bfloat16', 2),
    ('dm', 'float32', 2),
    ('dm', 'bfloat16', 2),
  ]
  assert rows[0]['step'] == 0.01 and rows[0]['rate'] == 100 and rows[0]['waited'] == 0.0125
  assert rows[0]['yardstick'] == 0.05 and rows[0]['ratio'] == pytest.approx(4)
  assert rows[1]['ratio'] == pytest.approx(8)


def test_shares_are_of_the_data_sheet_and_of_what_was_reached(entries):
  row = device_page.rate_rows(entries, 'NVIDIA H100 80GB HBM3')[0]
  assert row['name'] == 'condense/m3d/float32' and row['of_least'] == 0.5
  # 1e12 FLOP/s of 494 T and of 400 T; 1e10 bytes in 10 ms of 3.35 T/s and of 3 T/s.
  assert row['flops_share'] == pytest.approx(1 / 494)
  assert row['flops_of_reached'] == pytest.approx(1 / 400)
  assert row['bytes_share'] == pytest.approx(1 / 3.35)
  assert row['bytes_of_reached'] == pytest.approx(1 / 3)
  assert device_page.rate_rows(entries, 'cpu')[0]['flops_share'] is None


def test_networks_and_calls_are_compared_with_one(entries):
  rows = {
    (row['networks'], row['way'], row['dtype']): row for row in device_page.network_rows(entries)
  }
  row = rows[20, 'unroll', 'bfloat16']
  assert row['step'] == pytest.approx(0.1) and row['a_network'] == pytest.approx(0.005)
  assert row['ratio'] == pytest.approx(1) and row['bytes_ratio'] == 1
  calls = device_page.call_rows(entries)
  assert [row['per_call'] for row in calls] == [1, 10, 100] * 2
  assert calls[2]['ratio'] == pytest.approx(100**0.1) and calls[0]['ratio'] == 1


def test_without_a_trace_the_operations_are_those_that_move_most():
  figures = {'largest': [[8.0, 'dot', 'f32[2]', 'conv1']]}
  (rows,) = device_page.operation_tables({'a': {'figures': figures}}).values()
  assert rows[0]['operation'] == 'dot f32[2]' and rows[0]['bytes'] == 8 and rows[0]['rate'] is None


def test_a_page_that_cannot_be_drawn_loses_no_figure(processes, tmp_path, monkeypatch):
  monkeypatch.setattr(kept.device_page, 'html', lambda content: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    run(tmp_path / 'device.json', parts=('steps',))
  content = json.loads((tmp_path / 'device.json').read_text())
  assert list(content['figures']) == names(parts=('steps',))
