"""Do the arms and presets of two checkouts end with the same weights, codes and samples?

    git worktree add OLD 8935227
    python benchmarks/studies/same_bits.py --old OLD            # a table; status 1 if any differs
    python benchmarks/studies/same_bits.py --old OLD --only views preset
    python benchmarks/studies/same_bits.py --old OLD --cells study ablations --sets GunPoint CBFd \
        --data DATA DEVELOPMENT --out same_cells.csv

Every kind of arm of `ssl_tokens` at size tiny, a few steps, and every preset through the estimator,
once with each tree's own code, one thread, series of equal length. With `--cells`, cells of the
study's record instead: their set, arm, seed and steps of both stages at the study's size, from
folders of .npz files (`ssl_tokens.development` writes those of the ablations). Bits depend on the
machine, so both trees run here and now, one after the other; only the comparison is recorded.
"""

import argparse
import csv
import dataclasses
import hashlib
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import torch

ARMS = (
    "one", "one+barlow_twins+warp", "one+barlow_twins+slice", "one+barlow_twins+gauss",
    "one+vicreg+warp", "one+vibcreg+warp", "one+nt_xent+gauss", "two", "two+barlow_twins+warp",
    "two+vibcreg+slice", "two+nt_xent+warp",
    *(
        f"two+barlow_twins+warp:{change}"
        for change in (
            "attach=quantized", "attach=continuous", "views=2", "views=2,attach=continuous",
            "views=2,attach=quantized", "tokenizer.quantize_view=True",
            "views=2,tokenizer.quantize_view=True", "tokenizer.view_weight=0",
            "views=2,tokenizer.view_weight=0", "quantizer=gradient", "quantizer=fsq,codes=64",
            "quantizer=residual,codes=64", "codes=16", "mask=inverted", "paid=all",
            "mask=inverted,paid=all", "prior.label_smoothing=0.1,paid=all", "head=tied",
            "start=noise", "head=tied,start=noise", "order=random", "order=halton", "guidance=2",
            "guidance=2,order=halton", "n_fft=4", "prior.dropout=0.1",
            "tokenizer.revival_ratio=0.5",
        )
    ),
    "one:quantizer=fsq,codes=32", "one:quantizer=residual,codes=16,paid=all", "one:head=tied",
    "one+vicreg+gauss:views=2,mask=inverted", "one+nt_xent+slice:attach=continuous,views=2",
)  # fmt: skip
ROUNDED = {
    f"two+barlow_twins+warp:{change}"
    for change in (
        "attach=quantized", "views=2,attach=quantized", "views=2,tokenizer.quantize_view=True"
    )
}  # fmt: skip
"""Equal to rounding: the old study cut the latents of the inputs by `split`, the library by slices,
so gradients that are equal lay in memory in another order, and a convolution's backward pass adds
in another order. (With slices in the old study's step they are equal to the bit.)"""
PRESETS = ("demo", "nc_vqvae", "timevqvae", "compact")
OLD_NAMES = {"compact": "ssltok"}
CASES, LENGTH, CHANNELS, SEED = 13, 45, 2, 4
RECORD = pathlib.Path(__file__).parent / "ssl_tokens" / "results"
CELL = ("dataset", "arm", "seed", "steps1", "steps2", "split")
FIELDS = (
    "record", *CELL[:5], "verdict", "tensors", "different", "first", "largest_difference",
    "samples_difference", "seconds_old", "seconds_new",
)  # fmt: skip
DRAWN = 64
TRAINED: dict[str, Any] = {}


def waves(cases: int, seed: int) -> tuple[np.ndarray[Any, Any], list[int]]:
    """Noisy waves of two classes, `(cases, channels, length)`."""
    random, labels = np.random.default_rng(seed), np.arange(cases) % 2
    pitch = 2.0 + 3.0 * labels[:, None, None]
    phase = random.uniform(0, 3, (cases, CHANNELS, 1))
    series = np.sin(6.28 * pitch * np.linspace(0, 1, LENGTH) + phase)
    series = 5.0 + 3.0 * series + 0.2 * random.standard_normal(series.shape)
    return series.astype(np.float32), labels.tolist()


def digest(*values: Any) -> str:
    """A hash of tensors and arrays, or of modules' states in their order, without names."""
    sha = hashlib.sha256()
    for value in values:
        state = value.state_dict().values() if isinstance(value, torch.nn.Module) else [value]
        for part in state:
            array = np.ascontiguousarray(np.asarray(part))
            sha.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return sha.hexdigest()[:12]


def sizes(*modules: torch.nn.Module) -> list[float]:
    """The mean size of each floating tensor of modules, for those that are equal to rounding."""
    states = [value for module in modules for value in module.state_dict().values()]
    return [float(v.double().abs().mean()) for v in states if v.is_floating_point()]


def study(name: str) -> Any:
    """A module of the study, wherever this tree has it."""
    try:
        return importlib.import_module(f"benchmarks.studies.ssl_tokens.{name}")
    except ModuleNotFoundError:  # 8935227
        return importlib.import_module(f"benchmarks.ssl_tokens.{name}")


def train(name: str, split: Any, *, size: str, steps: tuple[int, int], seed: int) -> Any:
    """Train an arm as the study does, once for those that differ only in how they draw."""
    arm = study("arms").build_arm(name, size=size)
    key = f"{split.digest()} {arm.training} {size} {steps} {seed}"
    if key not in TRAINED:
        stages = zip(("tokenizer_training", "prior_training"), steps, strict=True)
        changes = {f: dataclasses.replace(getattr(arm.config, f), steps=s) for f, s in stages}
        whole = arm._replace(config=dataclasses.replace(arm.config, **changes))
        TRAINED[key] = study("train").train_arm(whole, split, steps=steps, seed=seed)
    return TRAINED[key]


def draw(name: str, trained: Any, labels: Any, lengths: Any, *, size: str, seed: int) -> Any:
    """Draw series as the study does."""
    return study("sampling").draw_series(
        study("arms").build_arm(name, size=size), trained, labels=labels, lengths=lengths,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def run_arm(name: str, steps: int) -> dict[str, Any]:
    """Digests of an arm of size tiny, trained on waves."""
    try:
        home = importlib.import_module("ssltok.data")
    except ImportError:  # where 8935227 had it
        home = importlib.import_module("ssltok.pipelines")
    data = home.Dataset("waves", *waves(CASES, 0), *waves(8, 1))
    split = study("data").make_split("waves", data, kind="test", seed=0, most_test=8)
    trained = train(name, split, size="tiny", steps=(steps, steps), seed=SEED)
    lengths = torch.full((5,), LENGTH)
    drawn = draw(name, trained, torch.arange(5) % 2, lengths, size="tiny", seed=3)
    return {
        "tokenizer": digest(trained.tokenizer), "codes": digest(trained.codes),
        "prior": digest(trained.prior), "drawn codes": digest(drawn.codes),
        "samples": digest(drawn.series), "sizes": sizes(trained.tokenizer, trained.prior),
        "losses": {term: digest(values) for term, values in trained.losses.items()},
    }  # fmt: skip


def run_preset(name: str, steps: int) -> dict[str, Any]:
    """Fit a preset through the estimator, and draw from it."""
    from ssltok import pipelines

    built = getattr(pipelines, name if hasattr(pipelines, name) else OLD_NAMES[name])()
    model = pipelines.SSLTokenizer(pipelines.shorten(built, steps=steps), seed=SEED)
    series, labels = waves(CASES, 0)
    model.fit(series, labels)
    codes = model.encode(series)
    samples = [model.sample(3, label, seed=3) for label in (None, 1)]
    return {
        "tokenizer": digest(model.artifact_.tokenizer), "codes": digest(codes),
        "prior": digest(model.artifact_.prior), "samples": digest(*samples),
        "sizes": sizes(model.artifact_.tokenizer, model.artifact_.prior), "losses": {},
    }  # fmt: skip


def measure(names: list[str], steps: int) -> dict[str, dict[str, Any]]:
    """Digests of each case by this process's tree."""
    torch.set_num_threads(1)
    found = {}
    for name in names:
        start = time.perf_counter()
        kind, _, preset = name.partition("preset ")
        try:
            found[name] = run_arm(name, steps) if kind else run_preset(preset, steps)
        except Exception as error:  # the other cases are still worth a look
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return found


def of_tree(tree: pathlib.Path, names: list[str], steps: int) -> dict[str, dict[str, Any]]:
    """Digests of each case by another process with that tree's code."""
    return ask(tree, "--steps", str(steps), "--measure", json.dumps(names))


def ask(tree: pathlib.Path, *words: str) -> dict[str, Any]:
    """What this script answers with another tree's code, in a process of its own."""
    paths = [str(tree / "src"), str(tree)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", __file__, *words]
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    if not answer.pop("where").startswith(str(tree)):
        raise SystemExit(f"same_bits: ssltok must come from {tree}; got another")
    return answer


def recorded_cells(record: str, sets: list[str], seeds: list[str]) -> list[dict[str, str]]:
    """Cells of a recorded CSV, each once, in its order."""
    with (RECORD / f"{record}.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["steps1"]]
    cells = {tuple(row[field] for field in CELL): None for row in rows}
    named = [{"record": record, **dict(zip(CELL, cell, strict=True))} for cell in cells]
    return [cell for cell in named if cell["dataset"] in sets and cell["seed"] in seeds]


def measure_cells(
    cells: list[dict[str, str]], data: list[str], folder: pathlib.Path
) -> dict[str, float]:
    """Train cells by this tree, leave their tensors in a folder, and say what each took."""
    torch.set_num_threads(1)
    seconds = {}
    for number, cell in enumerate(cells):
        start, name = time.process_time(), cell["dataset"]
        home = next(f for f in map(pathlib.Path, data) if (f / f"{name}.npz").is_file())
        found = study("data").find_datasets([name], folder=home)[name]
        seed = int(cell["seed"])
        split = study("data").make_split(name, found, kind=cell["split"], seed=seed, most_test=1000)
        steps = int(cell["steps1"]), int(cell["steps2"])
        trained = train(cell["arm"], split, size="small", steps=steps, seed=seed)
        some = split.train_labels[:DRAWN], split.train.lengths[:DRAWN]
        drawn = draw(cell["arm"], trained, *some, size="small", seed=seed)
        states = {
            f"{part} {name}": value
            for part in ("tokenizer", "prior")
            for name, value in getattr(trained, part).state_dict().items()
        }
        losses = {f"loss {term}": torch.tensor(v) for term, v in trained.losses.items()}
        rest = {"codes": trained.codes, "drawn codes": drawn.codes, "samples": drawn.series}
        torch.save(states | rest | losses, folder / f"{number}.pt")
        seconds[str(number)] = round(time.process_time() - start, 1)
        print(f"{cell}: {seconds[str(number)]} s", file=sys.stderr, flush=True)
    return seconds


def different_tensors(new: dict[str, Any], old: dict[str, Any]) -> dict[str, float]:
    """The largest difference of each tensor that differs, in order; inf where shapes do.

    Weights stand in the order of the modules, whatever their names; the rest by name, those that
    the old tree has.
    """
    rest = [name for name in old if name.split()[0] not in ("tokenizer", "prior")]
    weights = [[n for n in tree if n.split()[0] in ("tokenizer", "prior")] for tree in (new, old)]
    if len(weights[0]) != len(weights[1]):
        return {"weights": float("inf")}
    different = {}
    for here, there in [*zip(*weights, strict=True), *zip(rest, rest, strict=True)]:
        a, b = new.get(here), old[there]
        if a is None and here.startswith("loss"):
            continue  # a term that the new tree does not record
        if a is None or a.shape != b.shape or a.dtype != b.dtype:
            different[here] = float("inf")
        elif digest(a) != digest(b):
            different[here] = float((a.double() - b.double()).abs().max())
    return different


def compare_cells(options: argparse.Namespace, new: pathlib.Path, old: pathlib.Path) -> bool:
    """Run cells with both trees, write the table, and say whether all are equal."""
    cells = [c for r in options.cells for c in recorded_cells(r, options.sets, options.seeds)]
    data = [str(folder.resolve()) for folder in options.data]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folders, seconds = {}, {}
        for name, tree in (("old", old), ("new", new)):
            folders[name] = pathlib.Path(scratch, name)
            folders[name].mkdir()
            words = json.dumps([cells, data, str(folders[name])])
            seconds[name] = ask(tree, "--measure-cells", words)
        for number, cell in enumerate(cells):
            tensors = {tree: torch.load(f / f"{number}.pt") for tree, f in folders.items()}
            different = different_tensors(tensors["new"], tensors["old"])
            rows.append(cell | {
                "verdict": "different" if different else "equal",
                "tensors": len(tensors["old"]), "different": len(different),
                "first": next(iter(different), ""),
                "largest_difference": max(different.values(), default=0.0),
                "samples_difference": different.get("samples", 0.0),
                **{f"seconds_{tree}": took[str(number)] for tree, took in seconds.items()},
            })  # fmt: skip
    with options.out.open("w", newline="") as file:
        table = csv.DictWriter(file, FIELDS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return all(row["verdict"] == "equal" for row in rows)


def main() -> None:
    """Read the command line, run both trees, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", type=pathlib.Path, help="a checkout of the other commit")
    parser.add_argument("--only", nargs="*", default=[""], help="cases that contain one of these")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--cells", nargs="+", help="records, such as study: their cells instead")
    parser.add_argument("--sets", nargs="+", default=["GunPoint"], help="data sets of --cells")
    parser.add_argument("--seeds", nargs="+", default=["0"], help="seeds of --cells")
    parser.add_argument("--data", nargs="+", type=pathlib.Path, default=[], help="of --cells")
    parser.add_argument("--out", type=pathlib.Path, help="CSV of --cells")
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--measure-cells", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None or options.measure_cells is not None:
        import ssltok

        where = {"where": str(pathlib.Path(str(ssltok.__file__)).resolve())}
        if options.measure is not None:
            print(json.dumps(where | measure(options.measure, options.steps)))
        else:
            cells, data, folder = options.measure_cells
            print(json.dumps(where | measure_cells(cells, data, pathlib.Path(folder))))
        return
    if options.old is None:
        parser.error("--old is needed")
    if options.cells and not (options.data and options.out):
        parser.error("--cells needs --data and --out")
    here, old_tree = pathlib.Path(__file__).resolve().parents[2], options.old.resolve()
    if options.cells:
        raise SystemExit(not compare_cells(options, here, old_tree))
    every = [*ARMS, *(f"preset {name}" for name in PRESETS)]
    names = [name for name in every if any(part in name for part in options.only)]
    new, old = (of_tree(tree, names, options.steps) for tree in (here, old_tree))
    print("| case | tokenizer, prior | differs |\n| --- | --- | --- |")
    verdicts = [verdict(name, new[name], old[name]) for name in names]
    for name, (_, note) in zip(names, verdicts, strict=True):
        print(f"| `{name}` | {new[name].get('tokenizer')}, {new[name].get('prior')} | {note} |")
    counts = {kind: sum(k == kind for k, _ in verdicts) for kind in ("equal", "rounded")}
    print(
        f"\n{counts['equal']} of {len(names)} equal to the bit, {counts['rounded']} to rounding; "
        f"{options.steps} steps"
    )
    raise SystemExit(sum(counts.values()) < len(names))


def verdict(name: str, new: dict[str, Any], old: dict[str, Any]) -> tuple[str, str]:
    """`equal`, `rounded` (where that is expected) or `other`, and what differs."""
    errors = [f"{tree}: {x['error']}" for tree, x in (("new", new), ("old", old)) if "error" in x]
    if errors:
        return "other", " and ".join(errors)
    note = ", ".join(differences(new, old))
    if not note:
        return "equal", "nothing"
    close = len(new["sizes"]) == len(old["sizes"]) and np.allclose(
        new["sizes"], old["sizes"], rtol=1e-3
    )
    if name in ROUNDED and close:
        return "rounded", f"{note} (to rounding, as expected)"
    return "other", note


def differences(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    """What is not equal to the bit; of the recorded terms, those that both have."""
    terms = [k for k, v in old["losses"].items() if new["losses"].get(k, v) != v]
    whole = [k for k in old if k not in ("losses", "sizes") and new[k] != old[k]]
    return whole + terms


if __name__ == "__main__":
    main()
