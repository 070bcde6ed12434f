"""The study's statistics against scipy and hand values, and its tables."""

import csv
import math
import pathlib

import numpy as np
import pytest
from benchmarks.studies.ssl_tokens.collect import COLUMNS
from benchmarks.studies.ssl_tokens.paired import compare, holm, mean_interval, over_seeds
from benchmarks.studies.ssl_tokens.tables import (
    METRICS,
    comparisons,
    main,
    main_table,
    per_dataset,
    read_study,
)
from scipy import stats

GAPS = {("A", 0): 1.0, ("A", 1): 2.5, ("A", 2): -0.5, ("B", 0): 3.0, ("B", 1): 4.2, ("C", 0): 0.7}


def test_intervals() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    found = mean_interval(values, level=0.9)
    low, high = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert found == pytest.approx((4.0, low, high, 4))
    assert mean_interval([5.0])[0] == 5.0
    assert math.isnan(mean_interval([5.0]).low)
    assert mean_interval([]).n == 0
    cells = {("A", 0): 1.0, ("B", 0): 3.0, ("A", 1): 5.0, ("B", 1): 7.0, ("A", 2): 100.0}
    assert over_seeds(cells) == mean_interval([2.0, 6.0])  # seed 2 lacks a data set


def test_paired_tests_are_scipys() -> None:
    base = {key: 10.0 + i for i, key in enumerate(GAPS)}
    arm = {key: base[key] + gap for key, gap in GAPS.items()} | {("D", 0): 1e9}
    found = compare(arm, base)  # the cell that only one has counts nowhere
    gaps = list(GAPS.values())
    assert found.difference == pytest.approx(mean_interval(gaps))
    assert found.t == pytest.approx(
        float(stats.ttest_rel([arm[k] for k in GAPS], list(base.values()))[1])
    )
    # By hand: ranks of |gap| are 3, 4, 1, 5, 6, 2; the negative one has rank 1. Of 64 signs, the
    # smaller sum is 1 or less in 2, twice: p = 4 / 64.
    assert found.wilcoxon == pytest.approx(4 / 64)
    assert found.datasets == pytest.approx(2 / 8)  # three means, all above 0
    assert (found.wins, found.losses) == (5, 1)


def test_no_difference_is_no_evidence() -> None:
    same = dict.fromkeys(GAPS, 1.0)
    found = compare(same, same)
    assert (found.t, found.wilcoxon, found.datasets) == (1.0, 1.0, 1.0)
    shifted = compare({k: v + 1 for k, v in same.items()}, same)
    assert math.isnan(shifted.t)  # no spread: the t-test has nothing to say
    assert shifted.wilcoxon < 0.05
    assert math.isnan(compare({("A", 0): 1.0}, {("A", 0): 2.0}).wilcoxon)


def test_ties_use_pratts_ranks() -> None:
    gaps = [0.0, 1.0, 1.0, -2.0, 3.0, 0.0, 4.0]
    keys = [("A", i) for i in range(7)]
    found = compare(dict(zip(keys, gaps, strict=True)), dict.fromkeys(keys, 0.0))
    want = stats.wilcoxon(gaps, zero_method="pratt", method="approx").pvalue
    assert found.wilcoxon == pytest.approx(float(want))


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.02, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.04, 0.04.
    assert holm([0.04, 0.01, math.nan, 0.005, 0.02])[:2] == pytest.approx([0.04, 0.03])
    assert holm([0.04, 0.01, math.nan, 0.005, 0.02])[3:] == pytest.approx([0.02, 0.04])
    assert math.isnan(holm([0.5, math.nan])[1])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.01, 0.011]) == pytest.approx([0.02, 0.02])  # never below a smaller one


@pytest.fixture
def study(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two arms on two data sets and two seeds, and a data set that one arm lacks."""
    path = tmp_path / "study.csv"
    values = {
        ("one", "cas"): [0.5, 0.6, 0.7, 0.8], ("two", "cas"): [0.6, 0.8, 0.7, 0.9],
        ("one", "fid"): [4.0, 8.0, 1.0, 2.0], ("two", "fid"): [2.0, 4.0, 0.5, 1.0],
        ("real", "cas"): [1.0, 1.0, 0.9, 0.9], ("real", "fid"): [0.1, 0.1, 0.2, 0.2],
    }  # fmt: skip
    cells = [("A", 0), ("A", 1), ("B", 0), ("B", 1)]
    rows = [
        {"dataset": d, "seed": s, "arm": arm, "metric": metric, "value": v}
        for (arm, metric), column in values.items()
        for (d, s), v in zip(cells, column, strict=True)
    ]
    rows.append({"dataset": "Z", "seed": 0, "arm": "one", "metric": "cas", "value": 0.0})
    common = {"split": "test", "commit": "0123456789ab", "machine": "a machine",
              "seconds_tokenizer_cpu": 4.0, "seconds_prior_cpu": 6.0}  # fmt: skip
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({**common, **row} for row in rows)
    return path


def test_tables_say_what_the_values_are(study: pathlib.Path) -> None:
    read = read_study([study], labels={"two": "our arm"})
    lines = main_table(read, ["cas", "fid"]).splitlines()
    # Seeds' means of `one`: 60 and 70; half of the 95 % interval is 12.706 * 5.
    assert lines[2] == "| `one` | 65.0 ± 63.5 | 3.75 ± 15.88 |"
    assert lines[3].startswith("| our arm | 75.0 ± ")
    assert lines[4] == "| *real series* | 95.0 ± 0.0 | 0.15 ± 0.00 |"
    assert per_dataset(read, "fid").splitlines()[2] == (
        "| A | 6.00 ± 25.41 | 3.00 ± 12.71 | 0.10 ± 0.00 |"
    )
    ratio = comparisons(read, "fid", "one").splitlines()[2].split(" | ")
    assert ratio[:3] == ["| our arm", "× 0.50 (0.50 to 0.50)", "0 / 4"]
    points = comparisons(read, "cas", "one").splitlines()[2].split(" | ")
    assert points[1] == "+10.0 ± 13.0"  # 3.182 * 8.165 / 2
    assert points[-1] == "none |"
    assert "Left out, as not all arms have them: Z." in read.notes[0]
    assert "10.0 s of processor time" in read.notes[1]


def test_a_worse_data_set_is_named(study: pathlib.Path) -> None:
    rows = [
        {"dataset": "A", "seed": s, "arm": arm, "metric": "cas", "value": v, "split": "test"}
        for arm, column in (("one", [0.8, 0.81, 0.79]), ("two", [0.6, 0.605, 0.598]))
        for s, v in enumerate(column)
    ]
    with open(study, "w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    read = read_study([study])
    assert comparisons(read, "cas", "one").splitlines()[2].endswith("| A |")
    assert comparisons(read, "cas", "two").splitlines()[2].endswith("| none |")


def test_the_command_prints_all_tables(
    study: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(study), "--metrics", "cas", "fid", "--label", "ours:=two", "--arms", "two", "one"])
    text = capsys.readouterr().out
    assert text.index("ours") < text.index("`one`")
    assert text.count("| data set |") == 2
    assert METRICS["cas"].title in text
    assert "a machine" in text


def test_complaints_of_tables(study: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="arms must be among"):
        read_study([study], arms=["three"])
    with pytest.raises(ValueError, match="a cell must occur once; got one"):
        read_study([study, study])
    with pytest.raises(SystemExit, match="--baseline must be one of"):
        main([str(study), "--baseline", "none"])
    text = study.read_text()
    study.write_text(text + text.splitlines()[-1].replace("test", "validation").replace("Z", "A"))
    with pytest.raises(ValueError, match="rows must be of one split"):
        read_study([study])
