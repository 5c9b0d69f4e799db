"""Numbers of finished runs, into the project and back, and of runs made twice: python scripts/run_numbers.py keep|restore FOLDER [--runs RUNS], or repeats FILE [--runs FIRST] --again AGAIN"""
import argparse
import json
from pathlib import Path

from nif_lit.experiments import Experiment, finished, keep_numbers, provenance, restore_numbers, runs_folder
from nif_lit.training import write_json


def keep(folder, runs, scale):
    "Writes the numbers of every finished run of a scale under `runs` to `folder`; returns the paths. A run restored as numbers is written again with what has been added to it."
    paths = []
    for home in sorted(Path(runs).glob(f'{scale}-*/result.json')):
        config = Experiment(**json.loads(home.read_text())['config'])
        if config.name == home.parent.name: paths.append(keep_numbers(config, folder, runs=runs))
    return paths


def restore(folder, runs):
    "Puts every file of `folder` back under `runs`, but for runs trained or begun there; returns the names of those put back and of those left. Raises `ValueError` for a file that is none of ours, before anything of it is written."
    back, left = [], []
    for path in sorted(Path(folder).glob('*.json')):
        name = restore_numbers(path, runs=runs).name
        home = Path(runs)/name/'result.json'
        (back if home.exists() and json.loads(home.read_text()).get('test_bits') == json.loads(path.read_text())['result'].get('test_bits') else left).append(name)
    return back, left


def repeats(path, first, again, scale):
    "Adds to the record `path` a row for each run of a scale that has finished under both folders of runs, test bits/dim of either; what it holds stays, a row never comes twice. Returns the new rows."
    rows, new = json.loads(Path(path).read_text())['result'] if Path(path).exists() else [], []
    for home in sorted(Path(again).glob(f'{scale}-*/result.json')):
        b = json.loads(home.read_text()); config = Experiment(**b['config'])
        if config.name != home.parent.name or not finished(config, runs=first): continue
        a = json.loads((Path(first)/config.name/'result.json').read_text())
        if a['test_bits'] == b['test_bits']: continue                                    # one and the same run, copied, or the same machine again
        row = dict(name=config.name, run=f'{config.dataset} {config.model}, seed {config.seed}', n=len(b['test_bits']), first=a['test_bits_per_dim']['mean'], again=b['test_bits_per_dim']['mean'],
                   first_commit=a['provenance']['commit'], again_commit=b['provenance']['commit'], first_compute=a.get('compute', 'not recorded'), again_compute=b.get('compute', 'not recorded'))
        if not any(all(old.get(k) == row[k] for k in ('name', 'first', 'again')) for old in rows): new.append(row)
    if new: write_json(path, dict(result=rows + new, provenance=provenance()))
    return new


def main(arguments=None):
    parser = argparse.ArgumentParser(prog='run_numbers.py', description='Numbers of finished runs (results, test bits, curves, scores; no parameters): from the runs into one JSON file each, and back.')
    parser.add_argument('what', choices=('keep', 'restore', 'repeats'))
    parser.add_argument('folder', help='where the files are, as results/laptop/runs; repeats: the record, as results/laptop/repeats.json')
    parser.add_argument('--runs', default=None, help='the runs (default: NIF_LIT_RUNS, else runs)')
    parser.add_argument('--again', default=None, help='repeats: the runs as they were made the second time, --runs being the first')
    parser.add_argument('--scale', default='laptop', help='keep, repeats: the runs of this scale (default laptop)')
    a = parser.parse_args(arguments)
    runs = Path(a.runs or runs_folder())
    if a.what == 'restore' and not Path(a.folder).is_dir(): parser.error(f'{a.folder} is no folder')
    if a.what == 'repeats' and not (a.again and Path(a.again).is_dir()): parser.error('repeats needs --again, a folder of runs')
    if a.what == 'repeats': print(f'{len(repeats(a.folder, runs, a.again, a.scale))} runs added to {a.folder}'); return
    try: done, left = (keep(a.folder, runs, a.scale), []) if a.what == 'keep' else restore(a.folder, runs)
    except ValueError as error: parser.error(str(error))
    print(f'{len(done)} runs ' + (f'kept in {a.folder}, {sum(p.stat().st_size for p in done) / 1e6:.1f} MB' if a.what == 'keep' else f'restored under {runs}'))
    if left: print(f'left as they are, since they were trained or begun there: {", ".join(left)}')


if __name__ == '__main__': main()
