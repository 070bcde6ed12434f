"""Join the cells of results folders to one tidy CSV: a row for each cell and metric.

    python -m benchmarks.studies.ssl_tokens.collect FOLDER... --out study.csv

Rows of the arm `real` are the noise floor by itself: what real training series would get. The
column `floor` repeats it beside each arm's value.
"""

import argparse
import csv
import json
import math
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[3])

__all__ = ["COLUMNS", "collect", "read_cells", "rows_of"]

COLUMNS = (
    "dataset", "arm", "seed", "split", "metric", "value", "floor", "n",
    "steps1", "steps2", "seconds_tokenizer", "seconds_prior", "seconds_tokenizer_cpu",
    "seconds_prior_cpu", "seconds_generate", "seconds_evaluate", "tokens",
    "parameters_tokenizer", "parameters_prior", "training_digest", "data_digest", "started",
    "commit", "changed", "ssltok", "torch", "python", "machine",
)  # fmt: skip
CASES = {
    "fid": "fid", "fid_rocket": "fid_rocket", "is": "is", "cas": "cas", "cas_all": "made",
    "recognised": "made", "fid_rebuilt": "fid", "cas_rebuilt": "cas", "loss_half": "target",
    "loss_all": "target",
}  # fmt: skip


def read_cells(folders: Iterable[pathlib.Path]) -> list[dict[str, Any]]:
    """All finished cells, in the order of data set, arm and seed."""
    found = [
        json.loads(path.read_text())
        for folder in folders
        for path in sorted((folder / "cells").glob("*.json"))
        if not path.name.startswith(".")
    ]
    return sorted(found, key=lambda r: (r["dataset"], r["arm"], r["seed"]))


def rows_of(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows of all cells, and those of the noise floor, once for each split."""
    told = set()
    for record in records:
        key = record["dataset"], record["seed"], record["settings"]["split"]
        if key not in told:
            told.add(key)
            yield from _rows(record, "real", record["floor"])
        yield from _rows(record, record["arm"], record["figures"])


def _rows(record: dict[str, Any], arm: str, figures: dict[str, float]) -> Iterator[dict[str, Any]]:
    seconds, provenance, real = record["seconds"], record["provenance"], arm == "real"
    common = {
        "dataset": record["dataset"],
        "arm": arm,
        "seed": record["seed"],
        "split": record["settings"]["split"],
        "data_digest": record["digests"]["data"],
        **{k: provenance[k] for k in COLUMNS if k in provenance},
    }
    if not real:
        common |= {
            "steps1": record["steps"][0],
            "steps2": record["steps"][1],
            **{f"seconds_{k}": v for k, v in seconds.items() if f"seconds_{k}" in COLUMNS},
            "tokens": sum(record["tokens"]),
            **{f"parameters_{k}": v for k, v in record["parameters"].items()},
            "training_digest": record["digests"]["training"],
        }
    for metric, value in sorted(figures.items()):
        yield {
            **common,
            "metric": metric,
            "value": value,
            "floor": record["floor"].get(metric, math.nan),
            "n": record["cases"].get(CASES.get(metric, "test"), ""),
        }


def collect(folders: Sequence[pathlib.Path], out: pathlib.Path) -> int:
    """Write the CSV, whole or not at all; return the number of cells."""
    records = read_cells(folders)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    with open(draft, "w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows_of(records))
    os.replace(draft, out)
    return len(records)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the CSV."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("ssl_tokens.csv"))
    options = parser.parse_args(arguments)
    count = collect(options.folders, options.out)
    print(f"{count} cells in {options.out}")


if __name__ == "__main__":
    main()
