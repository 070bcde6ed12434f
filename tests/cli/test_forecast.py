"""`--window`, `ssltok forecast` and `ssltok impute`: one long series in, dates and names out."""

import json
import pathlib
import re

import numpy as np
import pandas as pd
import pytest

from ssltok.cli import _reading, main
from ssltok.data import Dataset, load_dataset
from ssltok.evaluation import load_samples
from tests.cli.words import SMALL

DATES = pd.date_range("2024-03-20", periods=420, freq="h")
WORDS = [*SMALL, "--cpu"]


def long_series() -> Dataset:
    """A day's cycle in two channels, with a gap."""
    hours = np.arange(len(DATES))
    noise = np.random.default_rng(0).normal(size=(2, len(DATES)))
    series = 20 + np.stack([5 * np.sin(hours / 3.82), hours / 50]) + 0.3 * noise
    series[0, 200:206] = np.nan
    return Dataset("plant", series[None], None, None, None, ("heat", "flow"), DATES.to_numpy())


@pytest.fixture(autouse=True)
def _reader(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = {"plant": long_series()}
    keep = np.arange(len(DATES)) != 300
    sets["holes"] = sets["plant"]._replace(
        train=sets["plant"].train[..., keep], times=DATES[keep].to_numpy()
    )
    sets["three"] = Dataset("three", list(np.zeros((3, 2, 50)) + np.eye(2, 50)), None, None, None)
    monkeypatch.setattr(_reading, "load_dataset", lambda name, **_: sets[name])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("long") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_reading, "load_dataset", lambda *_, **__: long_series())
        main(["fit", "--data", "plant", "--window", "24", "--out", str(out), *WORDS])
    return str(out)


def test_run_is_the_whole_command(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = [word for word in WORDS if word != "--quiet"]
    main(["run", "--data", "plant", "--window", "24", "--out", str(out), "--evaluator-steps", "0",
          *words])  # fmt: skip
    line = (
        "hourly, windows of 24 every 6, parted in time: 49 to train on, 11 to test on, "
        "7 left out; at least 24 samples between the two, so no sample is in both"
    )
    said = capsys.readouterr().out
    assert f"plant: {line}\n" in said
    assert line in (out / "report.html").read_text()
    samples = pd.read_csv(out / "samples.csv")
    assert samples.columns.tolist() == ["id", "time", "heat", "flow"]
    assert samples["time"][:24].tolist() == [str(pd.Timedelta(h, "h")) for h in range(24)]
    series = load_samples(out / "samples.npz").series
    np.testing.assert_array_equal(
        samples[["heat", "flow"]].to_numpy().reshape(-1, 24, 2).swapaxes(1, 2).astype("f4"), series
    )
    forecast = pd.read_csv(out / "forecast.csv", parse_dates=["time"])
    assert forecast.columns.tolist() == [
        "time", "heat_q10", "heat_q50", "heat_q90", "flow_q10", "flow_q50", "flow_q90",
    ]  # fmt: skip
    ahead = pd.date_range(DATES[-1], periods=13, freq="h")[1:]
    assert (forecast["time"] == ahead).all()
    assert (forecast["heat_q10"] < forecast["heat_q90"]).all()
    main(
        ["evaluate", str(out / "samples.npz"), "--data", "plant", "--window", "24", "--model",
         str(out / "model"), "--out", str(tmp_path / "e"), "--steps", "0", "--quiet"]
    )  # fmt: skip
    assert line in capsys.readouterr().out
    one, other = (
        json.loads(path.read_text())["rows"]
        for path in (out / "metrics.json", tmp_path / "e" / "report.json")
    )
    assert one == other


def test_forecast_with_dates_far_beyond_training(
    model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f.csv"
    main(["forecast", model, "--data",
          "plant", "--horizon", "60", "--samples", "5", "--quantiles", "0.2",
          "0.8", "--out", str(out)])  # fmt: skip
    said = capsys.readouterr().out
    assert said.endswith(f"\n1 series, 60 samples ahead, from 2024-04-06 12:00:00: {out}\n")
    table = pd.read_csv(out, parse_dates=["time"])
    assert table.columns.tolist() == ["time", "heat_q20", "heat_q80", "flow_q20", "flow_q80"]
    assert (table["time"] == pd.date_range("2024-04-06 12:00", periods=60, freq="h")).all()
    assert np.isfinite(table.drop(columns="time").to_numpy()).all()
    main(["forecast", model, "--data",
          "plant", "--horizon", "3", "--samples", "1", "--out", str(out),
          "--overwrite"])  # fmt: skip
    assert pd.read_csv(out).columns.tolist() == ["time", "heat", "flow"]


def test_forecast_of_several_series_without_dates(model: str, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "f.csv"
    main(
        [
            "forecast",
            model,
            "--data",
            "three",
            "--horizon",
            "4",
            "--samples",
            "1",
            "--out",
            str(out),
        ]
    )
    table = pd.read_csv(out)
    assert table.columns.tolist() == ["id", "time", "value_0", "value_1"]
    assert table["time"].tolist() == [50, 51, 52, 53] * 3


def test_forecast_of_the_series_that_are_asked_for(
    model: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long file of three sites that end on different days: names and dates are each one's own."""
    ends = {"north": 300, "south": 420, "west": 350}
    parts = [
        pd.DataFrame({"site": site, "time": DATES[:end], "heat": 20 + np.sin(np.arange(end)),
                      "flow": np.arange(end) / 50})
        for site, end in ends.items()
    ]  # fmt: skip
    pd.concat(parts).to_csv(tmp_path / "sites.csv", index=False)
    monkeypatch.setattr(_reading, "load_dataset", load_dataset)
    words = ["forecast", model, "--data", str(tmp_path / "sites.csv"), "--id", "site",
             "--horizon", "5", "--samples", "1"]  # fmt: skip
    for names in ([], ["west", "north"], ["south"]):
        out = tmp_path / f"{len(names)}.csv"
        main([*words, "--out", str(out), *(["--series", *names] if names else [])])
        table = pd.read_csv(out, parse_dates=["time"])
        assert table.columns.tolist() == ["site", "time", "heat", "flow"], names
        assert table["site"].tolist() == [site for site in names or ends for _ in range(5)]
        ahead = [t for site in names or ends
                 for t in DATES[ends[site] - 1] + pd.to_timedelta(range(1, 6), "h")]  # fmt: skip
        assert table["time"].tolist() == ahead
    for names in (["east"], ["west", "west"], ["0"]):
        with pytest.raises(SystemExit):
            main([*words, "--out", str(tmp_path / "no.csv"), "--series", *names])
    assert not (tmp_path / "no.csv").exists()
    frame = parts[1].drop(columns="site")
    frame.to_csv(tmp_path / "one.csv", index=False)
    words[3] = str(tmp_path / "one.csv")
    main([*words[:4], *words[6:], "--out", str(tmp_path / "one_ahead.csv"), "--series", "0"])
    assert pd.read_csv(tmp_path / "one_ahead.csv")["time"][0] == str(DATES[-1] + pd.Timedelta("1h"))


def test_impute_fills_the_gap_and_nothing_else(
    model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "i.csv"
    main(["impute", model, "--data", "plant", "--out", str(out)])
    assert capsys.readouterr().out.endswith(f"\n1 series, 6 missing values filled: {out}\n")
    table, series = pd.read_csv(out, parse_dates=["time"]), long_series().train[0]
    assert (table["time"] == DATES).all()
    filled, known = table[["heat", "flow"]].to_numpy().T, ~np.isnan(series)
    np.testing.assert_array_equal(filled[known].astype("f4"), series[known].astype("f4"))
    assert np.isfinite(filled).all()
    main(["impute", model, "--data", "plant", "--samples", "3", "--out", str(out), "--overwrite"])
    names = [f"{c}_q{q}" for c in ("heat", "flow") for q in (10, 50, 90)]
    assert pd.read_csv(out).columns.tolist() == ["time", *names]


def test_impute_goes_on_to_the_end_where_that_is_asked_for(
    model: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = long_series()
    values = np.asarray(cut.train[0]).copy()
    values[:, -7:] = np.nan
    monkeypatch.setattr(_reading, "load_dataset", lambda *_, **__: cut._replace(train=[values]))
    for words, gone in (([], 7), (["--to-the-end"], 0)):
        out = tmp_path / f"{gone}.csv"
        main(["impute", model, "--data", "plant", "--out", str(out), *words])
        table = pd.read_csv(out, parse_dates=["time"])
        assert (table["time"] == DATES[: len(DATES) - gone]).all()
        assert np.isfinite(table[["heat", "flow"]].to_numpy()).all()
        rest = "; 14 after the last value are no gaps: --to-the-end fills them\n" if gone else "\n"
        assert capsys.readouterr().out.endswith(
            f"{20 - 2 * gone} missing values filled: {out}{rest}"
        )


def test_irregular_times_are_refused_or_resampled(
    model: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "i.csv"
    for words in (
        ["impute", model, "--data", "holes"],
        ["forecast", model, "--data", "holes", "--horizon", "3"],
        ["fit", "--data", "holes", "--window", "24", *WORDS],
        ["run", "--data", "holes", "--window", "24", *WORDS],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main([*words, "--out", str(out)])
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert re.match(rf"ssltok: {words[0]}: times must be regular, or resampled", error)
        assert not out.exists()
    main(["impute", model, "--data", "holes", "--resample", "h", "--out", str(out)])
    said = capsys.readouterr().out
    assert "holes: resampled hourly: 420 samples from 419, 1 missing\n" in said
    assert "8 missing values filled" in said
    assert (pd.read_csv(out, parse_dates=["time"])["time"] == DATES).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--horizon", "0"], r"forecast: horizon must be >= 1; got 0"),
        (["--horizon", "4", "--samples", "0"], r"samples be >= 1; got 1 and 0"),
        (["--horizon", "4", "--out", "x.doc"], r"forecast: out must end in .csv, .*; got x.doc"),
        (
            ["--horizon", "4", "--out", "no/x.csv"],
            r"out must lie in a folder that exists",
        ),
        (["--horizon", "4", "--quantiles", "0.9", "0.1"], r"quantiles must rise within \[0, 1\]"),
    ],
)
def test_mistakes_of_forecast(
    model: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["forecast", model, "--data", "plant", *words])
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_window_is_asked_for_before_any_training(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        ([], r"at least 5 series, or long ones and a window to cut them into; got 1 series"),
        (["--window", "500"], r"run: a window must lie in \[1, 420\]"),
        (["--window", "200"], r"both parts must hold windows"),
        (["--window", "4"], r"series must have at least 8 samples"),
    ):
        with pytest.raises(SystemExit):
            main(["run", "--data", "plant", "--out", str(tmp_path / "r"), *words, *WORDS])
        assert re.search(message, capsys.readouterr().err)
        assert not (tmp_path / "r").exists()
