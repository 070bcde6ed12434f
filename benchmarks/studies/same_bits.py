"""Do the arms and presets of two checkouts end with the same weights, codes and samples?

    git worktree add OLD 8935227
    python benchmarks/studies/same_bits.py --old OLD            # a table; status 1 if any differs
    python benchmarks/studies/same_bits.py --old OLD --only views preset

Every kind of arm of `ssl_tokens` at size tiny, a few steps, and every preset through the estimator,
once with each tree's own code, one thread, series of equal length. Bits depend on the machine, so
both trees run here and now; nothing is recorded.
"""

import argparse
import dataclasses
import hashlib
import importlib
import json
import os
import pathlib
import subprocess
import sys
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


def run_arm(name: str, steps: int) -> dict[str, Any]:
    """Train an arm as the study does, and draw from it."""
    arm = study("arms").build_arm(name, size="tiny")
    try:
        home = importlib.import_module("ssltok.data")
    except ImportError:  # where 8935227 had it
        home = importlib.import_module("ssltok.pipelines")
    data = home.Dataset("waves", *waves(CASES, 0), *waves(8, 1))
    split = study("data").make_split("waves", data, kind="test", seed=0, most_test=8)
    config = dataclasses.replace(
        arm.config,
        **{
            field: dataclasses.replace(getattr(arm.config, field), steps=steps)
            for field in ("tokenizer_training", "prior_training")
        },
    )
    trained = study("train").train_arm(
        arm._replace(config=config), split, steps=(steps, steps), seed=SEED
    )
    drawn = study("sampling").draw_series(
        arm, trained, labels=torch.arange(5) % 2, lengths=torch.full((5,), LENGTH),
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
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
    paths = [str(tree / "src"), str(tree)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", __file__, "--steps", str(steps), "--measure"]
    done = subprocess.run(
        [*command, json.dumps(names)], cwd=tree, env=environment, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    if not found.pop("where").startswith(str(tree)):
        raise SystemExit(f"same_bits: ssltok must come from {tree}; got another")
    return found


def main() -> None:
    """Read the command line, run both trees, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", type=pathlib.Path, help="a checkout of the other commit")
    parser.add_argument("--only", nargs="*", default=[""], help="cases that contain one of these")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        import ssltok

        where = {"where": str(pathlib.Path(str(ssltok.__file__)).resolve())}
        print(json.dumps(where | measure(options.measure, options.steps)))
        return
    if options.old is None:
        parser.error("--old is needed")
    every = [*ARMS, *(f"preset {name}" for name in PRESETS)]
    names = [name for name in every if any(part in name for part in options.only)]
    here = pathlib.Path(__file__).resolve().parents[2]
    new, old = (of_tree(t.resolve(), names, options.steps) for t in (here, options.old))
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
