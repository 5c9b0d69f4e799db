"""Numbers of finished runs, into the project and back: python scripts/run_numbers.py keep|restore FOLDER [--runs RUNS]"""
import argparse
import json
from pathlib import Path

from nif_lit.experiments import Experiment, keep_numbers, restore_numbers, runs_folder


def keep(folder, runs, scale):
    "Writes the numbers of every finished run of a scale under `runs` to `folder`; returns the paths. A run restored as numbers is written again with what has been added to it."
    paths = []
    for home in sorted(Path(runs).glob(f'{scale}-*/result.json')):
        config = Experiment(**json.loads(home.read_text())['config'])
        if config.name == home.parent.name: paths.append(keep_numbers(config, folder, runs=runs))
    return paths


def restore(folder, runs):
    "Puts every file of `folder` back under `runs`; returns the Experiments. Raises `ValueError` for a file that is none of ours, before anything of it is written."
    return [restore_numbers(path, runs=runs) for path in sorted(Path(folder).glob('*.json'))]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog='run_numbers.py', description='Numbers of finished runs (results, test bits, curves, scores; no parameters): from the runs into one JSON file each, and back.')
    parser.add_argument('what', choices=('keep', 'restore'))
    parser.add_argument('folder', help='where the files are, as results/laptop/runs')
    parser.add_argument('--runs', default=None, help='the runs (default: NIF_LIT_RUNS, else runs)')
    parser.add_argument('--scale', default='laptop', help='keep: the runs of this scale (default laptop)')
    a = parser.parse_args(arguments)
    runs = Path(a.runs or runs_folder())
    if a.what == 'restore' and not Path(a.folder).is_dir(): parser.error(f'{a.folder} is no folder')
    try: done = keep(a.folder, runs, a.scale) if a.what == 'keep' else restore(a.folder, runs)
    except ValueError as error: parser.error(str(error))
    print(f'{len(done)} runs ' + (f'kept in {a.folder}, {sum(p.stat().st_size for p in done) / 1e6:.1f} MB' if a.what == 'keep' else f'restored under {runs}'))


if __name__ == '__main__': main()
