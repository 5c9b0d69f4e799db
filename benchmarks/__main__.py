"Measures the kit against its peers and prints the table."
import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from . import machine, stats
from .pool import Failed
from .rows import ROWS, Plan

EXAMPLES = """rows:
  step-i-32 step-i-16 step-ii-32   training steps against FrEIA, normflows, nflows, distrax
  first-step memory                trace + compile + run; temporaries and peak RSS
  head-speed head-error            the Gaussian head against numpyro; float32 against float64
  nif-nf                           a NIF step over an NF step
  sweep sampling fit               15 values of s; sampling (ii); the whole training loop

examples:
  make bench                                  everything, about 20 minutes on 2 quiet cores
  make bench BENCH="--only step-ii-32"        one row; a beginning does too: --only step
  make bench BENCH="--quick"                  3 rounds each: rough, not written over the committed results
  python -m benchmarks --only head-speed --only head-error
  python -m benchmarks --smoke                tiny networks, to see that everything runs; its numbers mean nothing
  python -m benchmarks --table                the table of the results that are there, nothing measured
"""


def write(path, value):
    "JSON through a temporary file, so that a stopped run leaves whole files."
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix='.' + path.name)
    with os.fdopen(handle, 'w') as file: json.dump(value, file, indent=1); file.write('\n')
    os.chmod(name, 0o644)
    os.replace(name, path)


def table(folder):
    "The Markdown table of every row, in order, from the JSON files of a folder; a row without a file is 'not run'."
    cells = [('row', 'what', 'ours', 'fastest peer', 'ratio (range)', 'target', '', 'note')]
    number = lambda v: f'{v:.2f}' if v >= 0.1 else f'{v:.1e}'
    for name in ROWS:
        path = folder/f'{name}.json'
        if not path.exists(): cells.append((name, '', '', '', '', '', 'not run', '')); continue
        for l in json.loads(path.read_text())['lines']:
            r = l['ratio']
            ratio = f'{r["median"]:.2f} ({r["low"]:.2f} to {r["high"]:.2f}, n = {r["n"]})' if r else f'{l["value"]:.2f}' if l['row'] == 'memory' and 'growth' in l['what'] else ''
            goal = '' if l['target'] is None else f'{"≤" if l["at_most"] else "≥"} {l["target"]:g}'
            cells.append(tuple(str(v or '') for v in (l['row'], l['what'], l['ours'], l['peer'], ratio, goal, l['verdict'], l['note'])))
    cells.append(('data-parallel', '8 virtual devices, 2 processes', '', '', '', '', 'see tests', ''))
    path = folder/'accelerator.json'
    found = json.loads(path.read_text()) if path.exists() else None
    ran = found and f'{sum(r["status"] == "ran" for r in found["rows"].values())} of {len(found["rows"])} rows ran on {found["machine"]["device"]}'
    cells.append(('accelerator', 'the three architectures on one GPU', '', '', '', '', '' if ran else 'not run', ran or 'benchmarks/accelerator.py'))
    return stats.aligned(cells)


def chosen(wanted):
    "The rows whose names begin with any of `wanted`, in order; all without any. Raises `ValueError` for a name that fits none."
    for w in wanted:
        if not any(name.startswith(w) for name in ROWS): raise ValueError(f'no row begins with {w!r}; rows: {", ".join(ROWS)}')
    return [name for name in ROWS if not wanted or any(name.startswith(w) for w in wanted)]


def main(arguments=None):
    parser = argparse.ArgumentParser('python -m benchmarks', description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', metavar='ROW', action='append', default=[], help='only rows whose name begins so; may be given again')
    parser.add_argument('--quick', action='store_true', help='3 rounds per row; results go to runs/bench-quick')
    parser.add_argument('--smoke', action='store_true', help='tiny networks, 2 rounds; results go to runs/bench-smoke')
    parser.add_argument('--cores', type=int, default=2, help='cores given to each contender (default 2)')
    parser.add_argument('--out', type=Path, help='folder for the JSON files (default results/bench)')
    parser.add_argument('--table', action='store_true', help='print the table of results already there, and stop')
    given = parser.parse_args(arguments)
    try: names = chosen(given.only)
    except ValueError as error: parser.error(str(error))
    folder = given.out or machine.ROOT/('runs/bench-smoke' if given.smoke else 'runs/bench-quick' if given.quick else 'results/bench')
    if given.table: print(table(folder)); return 0
    if given.cores > machine.cores(): parser.error(f'--cores {given.cores}: this machine offers {machine.cores()}')
    began, failed = time.monotonic(), []
    load = machine.load()
    if load is not None and load > 0.3: print(f'note: the load is {load} before we start; a quiet machine gives ratios that can be trusted', file=sys.stderr)
    for name in names:
        start = time.monotonic()
        say = lambda text: print(f'[{(time.monotonic() - began) / 60:5.1f} min] {name}: {text}', file=sys.stderr, flush=True)
        where = machine.provenance(given.cores)
        try: lines, raw = ROWS[name](Plan(quick=given.quick, smoke=given.smoke, cores=given.cores, say=say))
        except Failed as error:
            say(f'not run: {error}'); failed.append(name)
            lines, raw = [dict(row=name, what='', ours=None, peer=None, ratio=None, target=None, at_most=False, value=None, verdict='not run', note=str(error))], {}
        write(folder/f'{name}.json', dict(row=name, lines=lines, measured=raw, machine=where | dict(load_after=machine.load()), seconds=round(time.monotonic() - start, 1), quick=given.quick, smoke=given.smoke))
    text = table(folder)
    (folder/'table.md').write_text(text + '\n')
    print(text)
    print(f'\n{(time.monotonic() - began) / 60:.1f} minutes; {len(names)} rows; JSON and table.md in {folder.relative_to(machine.ROOT) if folder.is_relative_to(machine.ROOT) else folder}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    try: sys.exit(main())
    except KeyboardInterrupt: print('stopped; the rows that had ended are written', file=sys.stderr); sys.exit(130)
