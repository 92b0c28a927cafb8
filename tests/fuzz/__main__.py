"""A fuzzer of files: `python -m tests.fuzz --count=20000 --seed=0`.

Every input is a small sound file or tree in which something was damaged, and is given to a way in
of the library (ways.py, which says what is right). Whatever is neither right nor a `UserError` of
one short sentence is a finding: another exception, a line on the standard error, more than
5 seconds of computing, memory beyond the limit, a process that dies, a wrong read without a word.
A finding is printed with its number; `--only=NUMBER` repeats it.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

SECONDS = 5  # of computing, an input
STUCK_SECONDS = 120  # without any answer, on however busy a machine
MEMORY = 2 * 2**30  # bytes that an input may take beyond what the process has
LONGEST = 600  # letters of a sentence


class Hang(BaseException):
  """An input has taken too long."""


def main(argv=None):
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--count', type=int, default=500, help='inputs')
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--only', type=int, action='append', help='repeat single inputs')
  parser.add_argument('--way', help='take this way in alone')
  parser.add_argument('--jobs', type=int, default=1, help='processes')
  parser.add_argument('--worker', help=argparse.SUPPRESS)
  options = parser.parse_args(argv)
  if options.worker:
    return work(options)
  numbers = options.only or range(options.count)
  jobs = min(options.jobs, len(numbers))
  started = time.monotonic()
  findings, counts = [], collections.Counter()
  for record in _records([list(numbers[job::jobs]) for job in range(jobs)], options):
    counts[record['way'], record['outcome']] += 1
    if record['outcome'] == 'finding' or options.only:
      findings.append(record)
      print(_text(record), flush=True)
  for (way, outcome), count in sorted(counts.items()):
    print(f'{way:12} {outcome:16} {count:6}')
  wrong = sum(count for (_, outcome), count in counts.items() if outcome == 'finding')
  seconds = time.monotonic() - started
  print(
    f'{sum(counts.values())} inputs with seed {options.seed}: {wrong} findings, {seconds:.0f} s.'
  )
  return int(wrong > 0)


def _text(record):
  return f'--only={record["number"]} {record["way"]}: {record["what"]}\n  {record["text"]}'


def _records(shares, options):
  """Yields what the processes answer; starts another one where one has died."""
  selector = selectors.DefaultSelector()
  for share in shares:
    _start(selector, share, options)
  while selector.get_map():
    ready = [key for key, _ in selector.select(STUCK_SECONDS)]
    stuck = [] if ready else list(selector.get_map().values())
    for key in stuck:
      key.data[0].kill()
    for key in ready + stuck:
      process, share = key.data
      line = process.stdout.readline()
      if line:
        record = json.loads(line)
        share.remove(record['number'])
        yield record
        continue
      selector.unregister(process.stdout)
      code = process.wait()
      if share:
        text = f'no answer in {STUCK_SECONDS} s' if stuck else f'the process ended with {code}'
        yield dict(number=share.pop(0), way='?', what='', outcome='finding', text=text)
      if share:
        _start(selector, share, options)


def _start(selector, share, options):
  command = [sys.executable, '-m', 'tests.fuzz', '--worker=-', f'--seed={options.seed}']
  command += [f'--way={options.way}'] if options.way else []
  process = subprocess.Popen(
    command,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    cwd=HERE.parents[1],
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    bufsize=0,
  )
  process.stdin.write(json.dumps(share).encode())
  process.stdin.close()
  selector.register(process.stdout, selectors.EVENT_READ, (process, share))


# In a process of its own.


def work(options):
  """Tries the inputs whose numbers stand on the standard input; answers with a line for each."""
  numbers = json.load(sys.stdin)
  answers = os.fdopen(os.dup(1), 'w', buffering=1)
  folder = pathlib.Path(tempfile.mkdtemp(prefix='fuzz-'))
  try:
    _quiet()
    trial = Trial(folder, options)
    for number in numbers:
      print(json.dumps(trial(number)), file=answers)
  finally:
    shutil.rmtree(folder, ignore_errors=True)
  return 0


def _quiet():
  warnings.simplefilter('always')
  for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
    warnings.simplefilter('ignore', kind)


class Trial:
  """Gives inputs, known by their numbers, to the ways in."""

  def __init__(self, folder, options):
    import ways

    from jaxdistill.errors import UserError

    self.wrong_read, self.user_error = ways.WrongRead, UserError
    self.folder, self.seed = folder, options.seed
    self.kinds = {name: kind for name, (kind, _) in ways.WAYS.items()}
    self.shares = {name: share for name, (_, share) in ways.WAYS.items()}
    if options.way:
      self.shares = {options.way: 1}
    self.ways = {}
    self.noise = open(folder / 'noise', 'w+b')
    os.dup2(self.noise.fileno(), 1)
    os.dup2(self.noise.fileno(), 2)
    signal.signal(signal.SIGPROF, _hang)

  def __call__(self, number):
    rng = random.Random(f'{self.seed} {number}')
    name = rng.choices(list(self.shares), list(self.shares.values()))[0]
    if name not in self.ways:
      try:
        self.ways[name] = self.kinds[name](self.folder / f'{name.replace(" ", "-")}{number}')
      except Exception:
        return self.record(number, name, '', 'finding', f'not ready: {traceback.format_exc()}')
      self.heard()
    way = self.ways[name]
    way.what = ''
    outcome, text = self.outcome(way, rng)
    # libtiff complains to the standard error of some damaged files, whose sentence or picture comes
    # all the same; nothing in Pillow silences it.
    heard = self.heard()
    heard = '' if '.tif' in way.what else heard
    if heard and outcome != 'finding':
      outcome, text = 'finding', f'printed: {heard[:500]}'
    return self.record(number, name, way.what, outcome, text)

  @staticmethod
  def record(number, way, what, outcome, text):
    return dict(number=number, way=way, what=what, outcome=outcome, text=text)

  def outcome(self, way, rng):
    before = _limit_memory()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
      return way(rng), ''
    except self.user_error as error:
      text = str(error)
      size = len(text.replace(way.LONG_NAME, ''))
      bad = '\n' in text or size > LONGEST or not text
      return ('finding', f'a sentence: {text[:900]!r}') if bad else ('refused', text)
    except self.wrong_read as error:
      return 'finding', f'a wrong read: {error}'
    except Hang:
      return 'finding', f'more than {SECONDS} s: ' + traceback.format_exc(limit=-3)
    except Exception:
      return 'finding', traceback.format_exc(limit=-8)
    finally:
      signal.setitimer(signal.ITIMER_PROF, 0)
      resource.setrlimit(resource.RLIMIT_AS, before)

  def heard(self):
    """What was printed since the last call."""
    sys.stdout.flush()
    sys.stderr.flush()
    size = os.lseek(self.noise.fileno(), 0, os.SEEK_END)
    if not size:
      return ''
    text = os.pread(self.noise.fileno(), size, 0).decode(errors='replace')
    os.ftruncate(self.noise.fileno(), 0)
    os.lseek(self.noise.fileno(), 0, os.SEEK_SET)
    return text


def _hang(number, frame):
  raise Hang


def _limit_memory():
  """Limits the addresses that the process may use; returns the limits of before."""
  before = resource.getrlimit(resource.RLIMIT_AS)
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])
  resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
  return before


if __name__ == '__main__':
  sys.exit(main())
