"""What the recipes of examples/ssl are worth: every recipe on every set with every seed.

    python benchmarks/studies/recipes.py --results recipes.jsonl --seeds 3
    python benchmarks/studies/recipes.py --results recipes.jsonl --print  # tables of what is there
    python benchmarks/studies/recipes.py --results tried.jsonl --validation --only mae \
        --vary steps=400

Resumable: each result is a line of the file, and what is there is not run again. A run trains one
encoder from one random start; the bound trains the same start with all labels for as many steps.
All are scored by the 5 nearest neighbours and a linear probe of the test part.
"""

import argparse
import copy
import importlib
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

FOLDER = pathlib.Path(__file__).parents[2] / "examples" / "ssl"
sys.path.insert(0, str(FOLDER))

import data as sets  # noqa: E402
import loop  # noqa: E402

FAMILIES = (
    "contrastive", "redundancy_reduction", "self_distillation", "clustering",
    "masked_reconstruction", "masked_tokens", "latent_prediction", "joint_embedding",
    "adversarial", "distillation", "contrast_in_time", "token_distillation", "language_models",
)  # fmt: skip
BAR, SETS = 5.0, 2  # points over the random encoder, on so many sets
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


def build(family: str, method: str, data: Any, varied: list[str]) -> Any:
    """Build a recipe with some options, or its `learning_rate` or `steps`, set otherwise."""
    given = {key: json.loads(value) for key, value in (one.split("=") for one in varied)}
    fields = {key: given.pop(key) for key in ("learning_rate", "steps") if key in given}
    return importlib.import_module(family).METHODS[method](data, **given)._replace(**fields)


def run(results: Results, what: str, name: str, seed: int, data: Any, *, bound: bool) -> None:
    """Train and score one recipe, and its encoder's supervised bound if nobody has yet."""
    torch.manual_seed(seed)
    began = time.process_time()
    family, method, *varied = what.split()
    recipe = build(family, method, data, varied)
    start = copy.deepcopy(recipe.encoder)
    weights = sum(p.numel() for p in start.parameters())
    kind = f"{type(start).__name__} of {weights} weights, {recipe.steps} steps"
    before = loop.score(start, data)
    here = {"data": name, "seed": seed, "kind": kind}
    if bound and (kind, name, seed) not in results.rows:
        drawn = torch.get_rng_state()
        told = loop.supervised(copy.deepcopy(start), data)
        loop.train(told, data, recipe.steps)
        results.add({**here, "what": kind, "trained": loop.score(told.encoder, data)})
        torch.set_rng_state(drawn)
        began = time.process_time()
    loop.train(recipe, data, recipe.steps)
    after = loop.score(recipe.encoder, data)
    seconds = round(time.process_time() - began, 1)
    results.add({**here, "what": what, "random": before, "trained": after, "cpu_seconds": seconds})
    print(f"{what:38} {name:16} seed {seed}: {before[0]:5.1f} -> {after[0]:5.1f}", flush=True)


def gains(results: Results, what: str, name: str) -> list[float]:
    """List the points that neighbours gain over the random encoder, one for each seed."""
    rows = [row for (w, n, _), row in results.rows.items() if (w, n) == (what, name)]
    return [row["trained"][0] - row["random"][0] for row in rows]


def meets(found: list[float], seeds: int) -> bool:
    """Say whether a set counts: enough seeds, and the bar in their mean."""
    return len(found) >= seeds and statistics.mean(found) >= BAR - 1e-9


def spread(values: list[float]) -> str:
    mean = round(statistics.mean(values), 1) + 0.0  # no -0.0
    return f"{mean:.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def measured(results: Results, *, varied: bool) -> Iterator[tuple[str, str]]:
    """List what has rows, in the order of `methods`, each with its name in a table."""
    there = sorted({what for what, _, _ in results.rows})
    for family, method in methods():
        for what in there:
            parts = what.split()
            if parts[:2] == [family, method] and varied == bool(parts[2:]):
                yield what, ", ".join([f"`{family}.py`", method, *parts[2:]])


def table(results: Results, whats: list[tuple[str, str]], measure: int) -> Iterator[str]:
    """Lay out one measure (0: neighbours, 1: linear probe); gains are paired by seed."""
    yield "| recipe | set | seeds | random encoder | after training | gain | supervised bound |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for what, title in whats:
        for name in sets.NAMES:
            rows = [r for (w, n, _), r in results.rows.items() if (w, n) == (what, name)]
            if rows:
                before, after = ([r[k][measure] for r in rows] for k in ("random", "trained"))
                keys = [(r["kind"], name, r["seed"]) for r in rows]
                bounds = [results.rows[key]["trained"] for key in keys if key in results.rows]
                cells = (
                    title, name, str(len(rows)), spread(before), spread(after),
                    spread([b - a for a, b in zip(before, after, strict=True)]),
                    spread([bound[measure] for bound in bounds]) if bounds else "",
                )  # fmt: skip
                yield "| " + " | ".join(cells) + " |"


def verdicts(results: Results, whats: list[tuple[str, str]], seeds: int) -> Iterator[str]:
    """Lay out the gains on all sets, in bold where they meet the bar; open: it may yet be met."""
    yield "| recipe | " + " | ".join(sets.NAMES) + f" | {BAR:.0f} points on {SETS} sets |"
    yield "| --- | " + "--- | " * len(sets.NAMES) + "--- |"
    said = []
    for what, title in whats:
        found = [gains(results, what, name) for name in sets.NAMES]
        met = [meets(one, seeds) for one in found]
        cells = [
            (f"**{spread(one)}**" if ok else spread(one)) if one else ""
            for one, ok in zip(found, met, strict=True)
        ]
        open_sets = sum(len(one) < seeds for one in found)
        said.append("yes" if sum(met) >= SETS else "no" if sum(met) + open_sets < SETS else "open")
        yield f"| {' | '.join([title, *cells, said[-1]])} |".replace("  ", " ")
    counts = ", ".join(f"{said.count(word)} {word}" for word in ("yes", "no", "open"))
    yield f"\nOf {len(methods())} recipes: {counts}, {len(methods()) - len(whats)} without rows."


def tables(results: Results, seeds: int) -> Iterator[str]:
    """Lay out all there is: recipes as they are, and variants of them."""
    whats, variants = (list(measured(results, varied=varied)) for varied in (False, True))
    if variants:
        yield from table(results, sorted(whats + variants), 0)
        return
    yield from ("### The bar", "", *verdicts(results, whats, seeds), "")
    yield from ("### Nearest neighbours", "", *table(results, whats, 0), "")
    yield from ("### Linear probe", "", *table(results, whats, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("recipes.jsonl"))
    parser.add_argument("--data", nargs="+", default=list(sets.NAMES), choices=sets.NAMES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="methods by name; all by default")
    parser.add_argument("--until-met", action="store_true", help="stop where two sets meet the bar")
    parser.add_argument("--validation", action="store_true", help="split the training part instead")
    parser.add_argument("--vary", nargs="+", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--page", type=pathlib.Path, help="a page to write the tables into")
    parser.add_argument("--print", action="store_true", help="only print the tables")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = Results(asked.results)
    wanted = [pair for pair in methods() if not asked.only or pair[1] in asked.only]
    for family, method in [] if asked.print else wanted:
        what = " ".join([family, method, *asked.vary])
        for name in asked.data:
            met = [meets(gains(results, what, other), asked.seeds) for other in sets.NAMES]
            if asked.until_met and sum(met) >= SETS:
                break
            for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
                if (what, name, seed) not in results.rows:
                    data = sets.load(name, split_seed=seed if asked.validation else None)
                    bound = not (asked.validation or asked.vary)
                    run(results, what, name, seed, data, bound=bound)
    text = "\n".join(tables(results, asked.seeds))
    print(text)
    if asked.page:
        page, mark = asked.page.read_text(), asked.results.stem
        start, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
        before, after = page[: page.index(start)], page[page.index(end) :]
        asked.page.write_text(f"{before}{start}\n{text}\n\n{after}")


if __name__ == "__main__":
    main()
