"""What the recipes of examples/ssl are worth: every recipe on every set with every seed.

    python benchmarks/recipes.py --results recipes.jsonl --seeds 3
    python benchmarks/recipes.py --results recipes.jsonl --print     # the tables of what is there

Resumable: each result is a line of the file, and what is there is not run again. A run trains one
encoder from one random start; the bound trains the same start with all labels for as many steps.
All are scored by the 5 nearest neighbours and a linear probe of the test part.
"""

import argparse
import copy
import importlib
import json
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

FOLDER = pathlib.Path(__file__).parents[1] / "examples" / "ssl"
sys.path.insert(0, str(FOLDER))

import data as sets  # noqa: E402
import loop  # noqa: E402

FAMILIES = (
    "contrastive", "redundancy_reduction", "self_distillation", "clustering",
    "masked_reconstruction", "masked_tokens", "latent_prediction", "joint_embedding",
    "adversarial", "distillation", "contrast_in_time", "token_distillation", "language_models",
)  # fmt: skip
Row = dict[str, Any]


def methods() -> list[tuple[str, str]]:
    """List families and methods: what each family shows first, then the others."""
    named = {family: list(importlib.import_module(family).METHODS) for family in FAMILIES}
    first = [(family, names[0]) for family, names in named.items()]
    return first + [(family, name) for family, names in named.items() for name in names[1:]]


class Results:
    """Rows of a file, one JSON object to a line, each written when it is known."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: dict[tuple[str, str, int], Row] = {}
        for line in lines:
            self._keep(json.loads(line))

    def _keep(self, row: Row) -> None:
        self.rows[row["what"], row["data"], row["seed"]] = row

    def add(self, row: Row) -> None:
        """Keep a row, in memory and in the file."""
        self._keep(row)
        with self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")


def run(results: Results, family: str, method: str, name: str, seed: int, data: Any) -> None:
    """Train and score one recipe, and its encoder's supervised bound if nobody has yet."""
    torch.manual_seed(seed)
    began = time.process_time()
    recipe = importlib.import_module(family).METHODS[method](data)
    start = copy.deepcopy(recipe.encoder)
    weights = sum(p.numel() for p in start.parameters())
    kind = f"{type(start).__name__} of {weights} weights, {recipe.steps} steps"
    before = loop.score(start, data)
    here = {"data": name, "seed": seed, "kind": kind}
    if (kind, name, seed) not in results.rows:
        drawn = torch.get_rng_state()
        bound = loop.supervised(copy.deepcopy(start), data)
        loop.train(bound, data, recipe.steps)
        results.add({**here, "what": kind, "trained": loop.score(bound.encoder, data)})
        torch.set_rng_state(drawn)
        began = time.process_time()
    loop.train(recipe, data, recipe.steps)
    after = loop.score(recipe.encoder, data)
    seconds = round(time.process_time() - began, 1)
    what = f"{family} {method}"
    results.add({**here, "what": what, "random": before, "trained": after, "cpu_seconds": seconds})
    print(f"{what:38} {name:16} seed {seed}: {before[0]:5.1f} -> {after[0]:5.1f}", flush=True)


def spread(values: list[float]) -> str:
    mean = round(statistics.mean(values), 1) + 0.0  # no -0.0
    return f"{mean:.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def table(results: Results, names: list[str], measure: int) -> Iterator[str]:
    """Lay out one measure (0: neighbours, 1: linear probe); gains are paired by seed."""
    yield "| recipe | set | seeds | random encoder | after training | gain | supervised bound |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for family, method in methods():
        for name in names:
            what = f"{family} {method}"
            rows = [r for (w, n, _), r in results.rows.items() if (w, n) == (what, name)]
            if rows:
                before, after = ([r[k][measure] for r in rows] for k in ("random", "trained"))
                bounds = [results.rows[r["kind"], name, r["seed"]]["trained"] for r in rows]
                cells = (
                    f"`{family}.py`, {method}", name, str(len(rows)), spread(before),
                    spread(after), spread([b - a for a, b in zip(before, after, strict=True)]),
                    spread([bound[measure] for bound in bounds]),
                )  # fmt: skip
                yield "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("recipes.jsonl"))
    parser.add_argument("--data", nargs="+", default=list(sets.NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="methods by name; all by default")
    parser.add_argument("--validation", action="store_true", help="split the training part instead")
    parser.add_argument("--print", action="store_true", help="only print the table")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = Results(asked.results)
    loaded = {}
    wanted = [pair for pair in methods() if not asked.only or pair[1] in asked.only]
    for seed in range(0 if asked.print else asked.seeds):
        for family, method in wanted:
            for name in asked.data:
                if (f"{family} {method}", name, seed) not in results.rows:
                    if name not in loaded:
                        loaded[name] = sets.load(name, validation=asked.validation)
                    run(results, family, method, name, seed, loaded[name])
    for title, measure in {"Nearest neighbours": 0, "Linear probe": 1}.items():
        print(f"\n## {title}\n", *table(results, asked.data, measure), sep="\n")
    print(f"\nMachine: {platform.machine()}, one thread, ", end="")
    print(f"Python {platform.python_version()}, torch {torch.__version__}.")


if __name__ == "__main__":
    main()
