"""The study of decoding rules: every rule runs, counts what it took, and goes on after a kill."""

import math
import pathlib

import pytest
import torch
from benchmarks.studies import decoding
from benchmarks.studies.ssl_tokens.data import make_split

from tests.benchmarks.small import toy
from tests.pipelines.small import small


def run(folder: pathlib.Path, *words: str) -> None:
    decoding.main(
        ["--results", str(folder), "--seeds", "0", "--fcn-steps", "2", "--most-generated", "12",
         *words],
        arrays={"toy": toy()}, preset=small(),
    )  # fmt: skip


def test_a_row_a_rule_resumed_and_summed_up(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = ["schedule 10", "schedule 3", "entropy_bound 4", "moments 5"]
    run(tmp_path, "--only", *some[:2])
    rows = decoding.read_rows(tmp_path / "rows.csv")
    assert [row["rule"] for row in rows] == some[:2]
    with (tmp_path / "rows.csv").open("a") as file:
        file.write("toy,0,moments 5,3")  # killed in the middle of a line
    model = (tmp_path / "models" / "toy-0" / "model.safetensors").stat().st_mtime_ns
    run(tmp_path, "--only", *some)
    rows = decoding.read_rows(tmp_path / "rows.csv")
    assert model == (tmp_path / "models" / "toy-0" / "model.safetensors").stat().st_mtime_ns
    names = [row["rule"] for row in rows]
    others = {"entropy_bound 4, paced", "entropy_bound 4 in the default order"}
    assert set(names) == {*some, *others}
    assert len(names) == len(set(names))
    by_rule = {row["rule"]: row for row in rows}
    assert by_rule["schedule 10"]["forwards"] > by_rule["schedule 3"]["forwards"] == 3
    assert by_rule["entropy_bound 4, paced"]["forwards"] <= by_rule["schedule 10"]["forwards"]
    assert all(math.isfinite(row["fid"]) and row["diversity"] > 0 for row in rows)
    run(tmp_path, "--print")
    table = capsys.readouterr().out.strip().splitlines()
    assert "| schedule 10 | 1 |" in table[-len(rows)]
    assert "1.00 (nan to nan)" in table[-len(rows)]
    with pytest.raises(ValueError, match=r"^decoding: settings must be those of"):
        run(tmp_path, "--most-test", "5")


def test_diversity_is_the_spread_within_a_class() -> None:
    split = make_split("toy", toy(), kind="test", seed=0, most_test=9)
    real, labels = split.train.values, split.train_labels
    assert decoding.diversity(real, labels, split) == pytest.approx(1)
    assert decoding.diversity(real * 3 + labels[:, None, None], labels, split) == pytest.approx(3)
    same = torch.stack([real[labels == label][0] for label in labels])
    assert decoding.diversity(same, labels, split) == 0
