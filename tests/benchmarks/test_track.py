"""The tracked ratios: what scripts print is read, a lost bar is said, the page shows it."""

import csv
import importlib.util
import pathlib
import sys
from types import ModuleType

import pytest
from benchmarks.side_by_side import Timing, table

ROOT = pathlib.Path(__file__).parents[2]


def module(name: str, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, loaded)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def track(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module("track", ROOT / "benchmarks" / "track.py", monkeypatch)


def timings(ratio: float) -> list[Timing]:
    return [
        Timing("lightly", 8.0, 1.0, 1.0, 1.0, 2.0),
        Timing("ssltok", 8.0 / ratio, ratio, 0.9 * ratio, 1.2 * ratio, 1.0),
    ]


def test_the_tables_of_the_benchmarks_are_read(track: ModuleType) -> None:
    text = "Machine\n\n" + "\n\n".join([table("A (2, 3)", timings(4.0)), table("B", timings(0.5))])
    assert track.read_tables(text) == [
        track.Measured("A (2, 3)", 2.0, 4.0, 3.6, 4.8),
        track.Measured("B", 16.0, 0.5, 0.45, 0.6),
    ]
    assert track.read_tables("### A\n\n| lightly | 1.00 | 1.00 | 1.00-1.00 | 1.0 |") == []


def test_a_bar_is_lost_below_the_upper_quartile_and_where_nothing_is_measured(
    track: ModuleType,
) -> None:
    (row,) = track.read_tables(table("A", timings(4.0)))
    assert track.lost_bars([row], {"A": 4.7}) == []
    (line,) = track.lost_bars([row], {"A": 4.9})
    assert "A" in line
    assert "4.9" in line
    (line,) = track.lost_bars([row], {"A": 1.0, "gone": 1.0})
    assert line == "gone: not measured"


def test_rows_are_appended_under_one_header(track: ModuleType, tmp_path: pathlib.Path) -> None:
    case = next(iter(track.BARS))
    for commit in ("one", "two"):
        rows = track.rows_of(
            track.read_tables(table(case, timings(4.0))),
            commit=commit, date="2026-01-01", machine="m, 1 thread", load="0.1",
        )  # fmt: skip
        track.append(tmp_path / "x.csv", rows)
    with (tmp_path / "x.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["commit"] for row in read] == ["one", "two"]
    assert read[0]["machine"] == "m, 1 thread"
    assert (read[0]["ratio"], read[0]["bar"]) == ("4.0", f"{track.BARS[case]:g}")


def test_the_check_fails_at_a_lost_bar_and_appends_nothing(
    track: ModuleType, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [track.Measured(case, 1.0, 2 * bar, bar, 3 * bar) for case, bar in track.BARS.items()]
    monkeypatch.setattr(track, "FILE", tmp_path / "x.csv")
    monkeypatch.setattr(track, "measure", lambda _: rows)
    monkeypatch.setattr(sys, "argv", ["track.py", "--check"])
    track.main()
    rows[3] = rows[3]._replace(high=0.99 * track.BARS[rows[3].case])
    with pytest.raises(SystemExit, match=r"lost bars\n  .*the bar is"):
        track.main()
    assert not (tmp_path / "x.csv").exists()


def test_a_checkout_that_changes_meanwhile_is_no_row(
    track: ModuleType, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = iter(["one", "two", "two"])
    monkeypatch.setattr(track, "commit", lambda: next(commits))
    monkeypatch.setattr(track, "FILE", tmp_path / "x.csv")
    monkeypatch.setattr(track, "measure", lambda _: [])
    monkeypatch.setattr(sys, "argv", ["track.py"])
    with pytest.raises(SystemExit, match="one is two now"):
        track.main()
    assert not (tmp_path / "x.csv").exists()


def test_every_bar_has_a_case_that_is_run(track: ModuleType) -> None:
    with track.FILE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(track.BARS) <= {row["case"] for row in rows if row["commit"] == rows[-1]["commit"]}


def test_the_page_shows_the_newest_commit_and_what_is_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = module("tracked", ROOT / "docs" / "tracked.py", monkeypatch)
    row = {
        "date": "d", "machine": "m", "load": "1.0", "milliseconds": "2.0", "low": "2", "bar": "3"
    }  # fmt: skip
    rows = [
        {**row, "commit": "old", "case": "A <b>", "ratio": "4", "high": "5"},
        {**row, "commit": "new", "case": "A <b>", "ratio": "2.2", "high": "2.5"},
        {**row, "commit": "new", "case": "B", "ratio": "2.9", "high": "3.1", "bar": ""},
    ]
    text = page.tracked(rows)
    assert "Commit `new`" in text
    assert "| A <b> | 2.0 | 2.2 | 2-2.5 | 3 (below) |" in text
    assert "| B | 2.0 | 2.9 | 2-3.1 | none |" in text
    assert text.count("<circle") == 3
    assert 'aria-label="A &lt;b&gt;' in text
    assert page.on_page_markdown("no mark") == "no mark"
