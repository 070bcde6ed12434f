"""The study of anybody's data: a set and a long series become rows, and rows a table."""

import csv
import pathlib

import numpy as np
import pandas as pd
import pytest
from benchmarks.studies.anybody import FIELDS, main
from benchmarks.studies.anybody_table import read_rows, tables
from benchmarks.studies.ssl_tokens.data import make_split

from tests.benchmarks.small import saved, toy


def test_a_set_and_a_long_series_give_rows_and_are_not_computed_again(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path, toy(24, 16))
    times = pd.date_range("2026-01-01", periods=900, freq="h")
    values = np.sin(np.arange(900) / 7) + 0.1 * np.random.default_rng(0).normal(size=900)
    pd.DataFrame({"time": times, "heat": values}).to_csv(tmp_path / "plant.csv", index=False)
    out = tmp_path / "rows.csv"
    words = [
        "--data", str(tmp_path), "--out", str(out), "--minutes", "0.001", "--sets", "toy",
        "--series", "plant.csv",
    ]  # fmt: skip
    main(words)
    rows = read_rows(out)
    assert [row["set"] for row in rows] == ["toy", "plant"]
    assert [row["cas"] == "nan" for row in rows] == [False, True]
    assert rows[1]["length"] == "96"
    main(words)
    assert read_rows(out) == rows
    capsys.readouterr()
    main([*words, "--table"])
    assert "\n| toy | 0 | 24 | 33 |" in capsys.readouterr().out


def test_a_part_whose_series_are_longer_makes_both_as_long() -> None:
    data = toy(12, 16)
    for cut in (
        data._replace(train=data.train[:, :, :20]),
        data._replace(test=data.test[:, :, :20]),
    ):
        split = make_split("toy", cut, kind="test", seed=0, most_test=99)
        assert {part.values.shape[2] for part in (split.train, split.test)} == {33}
        lengths = (split.train.lengths.unique().tolist(), split.test.lengths.unique().tolist())
        assert sorted(lengths) == [[20], [33]]


def test_figures_of_the_table_are_those_of_the_rows(tmp_path: pathlib.Path) -> None:
    """Two seeds of a set count once, what is not finite does not count, and a DCT excuses."""
    base = dict.fromkeys(FIELDS, "1")
    rows = [
        base | {"set": "a", "seed": "0", "explained": "0.7", "dct": "0.75", "cas": "0.5",
                "cas_real": "1.0", "frechet": "20", "frechet_real": "10"},
        base | {"set": "a", "seed": "1", "explained": "0.7", "dct": "0.75", "cas": "0.7",
                "cas_real": "1.0", "frechet": "40", "frechet_real": "10"},
        base | {"set": "b", "seed": "0", "explained": "0.6", "dct": "0.5", "cas": "nan",
                "cas_real": "nan", "frechet": "50", "frechet_real": "10"},
        base | {"set": "c", "seed": "0", "explained": "0.98", "dct": "0.99", "cas": "0.9",
                "cas_real": "0.9", "frechet": "70", "frechet_real": "10",
                "channels": "6", "codes_per_token": "2"},
    ]  # fmt: skip
    with open(tmp_path / "rows.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    text = "\n".join(tables(read_rows(tmp_path / "rows.csv")))
    for line in (
        "| variance explained on test, median | 0.90 | 0.700 | 3 |",
        "| sets below 0.8 where a DCT at equal bits explains more | none "
        "| 1 (a); 1 with the DCT below | 3 |",
        "| train on generated over train on real, mean | 0.90 | 0.80 | 2 |",
        "| Frechet distance over that of real series, median | at most 3 | 5.00 | 3 |",
        "| coverage over that of real series, 1 to 49 training series |  | 1.00 | 3 |",
        "| probe on tokens, mean |  | 100.0 % | 3 |",
        "| a: train on generated, probe on tokens; means of 2 seeds |  | 60.0 %, 100.0 % | 1 |",
        "| c | 0 | 1 | 6 x 1 | 1 | 1 x 2 | 0.98 (0.99) | 90.0 (90.0) | 70 (10) |",
        "| b | 0 | 1 | 1 | 1 | 1 | 0.60 (0.50) | - (-) | 50 (10) |",
    ):
        assert line in text
