"""Run the study, or any part of it.

    python -m benchmarks.studies.ssl_tokens.run --results FOLDER --data FOLDER --seeds 0 1 2 3
    python benchmarks/studies/ssl_tokens/run.py --results FOLDER --datasets GunPoint \
        --arms one one+barlow_twins+warp --steps1 100 --steps2 100 --workers 2

Data sets are files NAME.npz in `--data` (X_train, y_train, X_test, y_test), or archive names.
Arms: see `arms.py`. Each finished cell is one JSON in FOLDER/cells, written whole; what is there
is not run again, so a killed run goes on where it was. A folder belongs to one set of settings.
Budget: `--seconds` of training a cell, turned into steps by `calibrate`, or steps themselves.
"""

import argparse
import gc
import json
import os
import pathlib
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[3])

import torch
from benchmarks.studies.ssl_tokens.arms import MAIN, SIZES, build_arm
from benchmarks.studies.ssl_tokens.calibrate import calibrate, steps_for
from benchmarks.studies.ssl_tokens.cell import Cell, Settings, cell_path, run_cell, write_json
from benchmarks.studies.ssl_tokens.data import find_datasets
from benchmarks.studies.ssl_tokens.judge import JudgeSettings

from ssltok.data import Dataset

__all__ = ["main", "run_cells"]

Job = tuple[Cell, tuple[int, int]]


def run_cells(
    jobs: Sequence[Job],
    datasets: dict[str, Dataset],
    settings: Settings,
    *,
    folder: pathlib.Path,
    workers: int = 1,
    progress: bool = True,
) -> list[str]:
    """Run the cells that are not there yet; return what went wrong, one line a cell.

    A cell that fails leaves `FOLDER/errors/...` and does not stop the others.

    Raises:
        ValueError: If the folder holds cells of other settings, or a cell of other steps.
    """
    from tqdm import tqdm

    _claim(folder, settings)
    todo = [job for job in jobs if not _is_done(folder, job)]
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(todo), unit="cell", disable=not progress)
    failed = []
    if workers == 1:
        for job in todo:
            failed += _attempt(job, datasets[job[0].dataset], settings, folder)
            bar.set_postfix_str(f"{job[0].dataset} {job[0].arm}", refresh=False)
            bar.update()
    else:
        pool = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_one_thread
        )
        with pool:
            running = {
                pool.submit(_attempt, job, datasets[job[0].dataset], settings, folder): job
                for job in todo
            }
            for done in as_completed(running):
                failed += done.result()
                bar.set_postfix_str(running[done][0].dataset, refresh=False)
                bar.update()
    bar.close()
    return failed


def _attempt(job: Job, data: Dataset, settings: Settings, folder: pathlib.Path) -> list[str]:
    cell, steps = job
    try:
        run_cell(cell, data, settings, steps=steps, folder=folder)
    except Exception as error:  # one cell must not end a night's run
        place = folder / "errors" / f"{cell_path(folder, cell).stem}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(traceback.format_exc())
        return [f"{cell.dataset} {cell.arm} seed {cell.seed}: {type(error).__name__}: {error}"]
    return []


def _one_thread() -> None:
    torch.set_num_threads(1)
    gc.freeze()  # the engine collects after each stage: let it look at what is new


def _claim(folder: pathlib.Path, settings: Settings) -> None:
    """Write the settings of a new folder; ask that an old one has the same."""
    said = json.loads(json.dumps({**settings._asdict(), "judge": settings.judge._asdict()}))
    path = folder / "settings.json"
    if not path.is_file():
        write_json(path, said)
    elif json.loads(path.read_text()) != said:
        raise ValueError(
            f"run_cells: settings must be those of {path}: {json.loads(path.read_text())}; "
            f"got {said}"
        )


def _is_done(folder: pathlib.Path, job: Job) -> bool:
    path = cell_path(folder, job[0])
    if not path.is_file():
        return False
    steps = json.loads(path.read_text())["steps"]
    if steps != list(job[1]):
        raise ValueError(
            f"run_cells: {path.name} was run with steps {steps}; got {list(job[1])}; "
            "take another folder for another budget"
        )
    return True


def _parser() -> argparse.ArgumentParser:
    judge = JudgeSettings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--results", type=pathlib.Path, required=True, help="folder of the cells")
    add("--data", type=pathlib.Path, help="folder of .npz files")
    add("--datasets", nargs="*", default=[], help="names; none is the whole folder")
    add("--arms", nargs="*", default=list(MAIN), help="recipes, see arms.py")
    add("--seeds", nargs="*", type=int, default=[0, 1, 2, 3])
    add("--split", choices=("test", "validation"), default="test", help="what is judged on")
    add("--size", choices=sorted(SIZES), default="small", help="sizes of the shared parts")
    add("--seconds", type=float, default=12.0, help="training of a cell, both stages")
    add("--steps1", type=int, help="steps of stage 1 instead")
    add("--steps2", type=int, help="steps of stage 2 instead")
    add("--workers", type=int, default=1, help="processes, each with one thread")
    add("--probe-every", type=int, default=0, help="steps between probes of the tokenizer")
    add("--most-test", type=int, default=1000, help="test series at most")
    add("--most-generated", type=int, default=judge.most_generated)
    add("--most-frechet", type=int, default=judge.most_frechet)
    add("--fcn-steps", type=int, default=judge.fcn_steps, help="budget of the judge's classifier")
    add("--quiet", action="store_true", help="no bar")
    return parser


def main(arguments: Sequence[str] | None = None, *, calibrate_only: bool = False) -> None:
    """Read the command line, calibrate if seconds are the budget, and run."""
    options = _parser().parse_args(arguments)
    _one_thread()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the workers' other libraries
    for arm in options.arms:
        build_arm(arm, size=options.size)
    datasets = find_datasets(options.datasets, folder=options.data)
    settings = Settings(
        split=options.split,
        size=options.size,
        most_test=options.most_test,
        probe_every=options.probe_every,
        judge=JudgeSettings(
            fcn_steps=options.fcn_steps,
            most_frechet=options.most_frechet,
            most_generated=options.most_generated,
        ),
    )
    by_steps = options.steps1 is not None and options.steps2 is not None
    if (options.steps1 is None) != (options.steps2 is None):
        raise SystemExit("run: --steps1 and --steps2 go together")
    times: dict[str, Any] = {}
    if calibrate_only or not by_steps:
        _claim(options.results, settings)
        say = (
            None if options.quiet else lambda text: print(f"\r{text:<60}", end="", file=sys.stderr)
        )
        times = calibrate(datasets, options.arms, settings, folder=options.results, progress=say)
    if calibrate_only:
        print(json.dumps(times, indent=1))
        return
    jobs: list[Job] = []
    for name in datasets:  # cells of one split follow each other: they share a judge
        for seed in options.seeds:
            for arm in options.arms:
                steps = (options.steps1, options.steps2)
                if not by_steps:
                    built = build_arm(arm, size=options.size)
                    known = times[name][built.training]
                    steps = steps_for(known, seconds=options.seconds, share=built.share)
                jobs.append((Cell(name, arm, seed), steps))
    failed = run_cells(
        jobs, datasets, settings,
        folder=options.results, workers=options.workers, progress=not options.quiet,
    )  # fmt: skip
    if failed:
        raise SystemExit("run: some cells failed; see the folder errors\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
