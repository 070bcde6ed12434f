"""The study of priors on general tokens: arms become rows, rows pairs."""

import pathlib

import pytest
from benchmarks.studies.anybody_table import read_rows
from benchmarks.studies.general_priors import FIELDS, main, table

from tests.benchmarks.small import saved, toy


def test_each_arm_gives_a_row_once(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path, toy(24, 16))
    out = tmp_path / "rows.csv"
    words = [
        "--data", str(tmp_path), "--out", str(out), "--minutes", "0.001", "--sets", "toy",
        "--seeds", "0", "--arms", "auto", "general", "general 2",
    ]  # fmt: skip
    main(words)
    rows = read_rows(out)
    assert [row["arm"] for row in rows] == ["auto", "general", "general 2"]
    assert [row["codes_per_token"] for row in rows[1:]] == ["1", "2"]
    assert len({row["frechet_real"] for row in rows}) == 1  # judged beside the same series
    main(words)
    assert read_rows(out) == rows


def test_pairs_are_ratios_of_distances_and_differences_of_points() -> None:
    base = dict.fromkeys(FIELDS, "1")
    rows = [
        base | {"set": name, "seed": seed, "arm": arm, "frechet": frechet, "cas": cas}
        for name, seed, arm, frechet, cas in (
            ("a", "0", "auto", "2", "0.5"), ("a", "0", "general 1", "4", "0.6"),
            ("a", "1", "auto", "3", "0.5"), ("a", "1", "general 1", "3", "0.8"),
            ("b", "0", "auto", "9", "0.9"),
        )
    ]  # fmt: skip
    lines = list(table(rows, arms=("auto", "general 1")))
    assert lines[2] == "| a | auto | 1 | 1 | 2.5 (1) | 50.0 (100.0) | 1.00 | 1 |"
    # sqrt(2 * 1); points 10 and 30, whose half width is 12.706 * 10
    assert lines[-1].startswith("| general 1 | 2 | 1.41 (")
    assert lines[-1].endswith("| +20.0 (-107.1 to +147.1) |")
