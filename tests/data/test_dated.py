"""Tables with dates and names: what is written is what pandas reads."""

import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ssltok.data import (
    Dataset,
    Reading,
    elapsed_times,
    forecast_times,
    further_times,
    quantile_columns,
    read_times,
    resample_dataset,
    write_draws,
    write_table,
)

ROWS = Reading(layout="time_in_rows")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(20.0, 3.0, shape)


def test_quantiles_are_those_of_each_channel() -> None:
    draws = noise(15, 2, 3, 4)
    columns = quantile_columns(draws, ("a", "b", "c"), quantiles=(0.025, 0.5, 1.0))
    assert columns.names == (
        "a_q2.5", "a_q50", "a_q100", "b_q2.5", "b_q50", "b_q100", "c_q2.5", "c_q50", "c_q100",
    )  # fmt: skip
    assert columns.series.shape == (2, 9, 4)
    for case in range(2):
        for channel in range(3):
            for t in range(4):
                column = np.sort(draws[:, case, channel, t])
                # 15 draws: between the 1st and 2nd at 0.025 * 14, the 8th, the last.
                low = column[0] + 0.35 * (column[1] - column[0])
                expected = [low, column[7], column[14]]
                three = columns.series[case, 3 * channel : 3 * channel + 3, t]
                np.testing.assert_allclose(three, expected)


def test_a_single_draw_is_written_as_it_is() -> None:
    draws = noise(1, 2, 2, 5)
    columns = quantile_columns(draws)
    np.testing.assert_array_equal(columns.series, draws[0])
    assert columns.names == ("value_0", "value_1")
    assert quantile_columns(draws[:, :, :1]).names == ("value",)


@pytest.mark.parametrize("every", ["h", "D", "ME", "15min"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_pandas_reads_back_what_was_written(
    tmp_path: pathlib.Path, every: str, zone: str | None
) -> None:
    dates = pd.date_range("2024-01-31", periods=60, freq=every, tz=zone)
    series = noise(1, 2, 60).astype(np.float32)
    series[0, 1, 7] = np.nan
    names = ["flow, m3/h", 'the "heat"']
    write_table(
        tmp_path / "x.csv", series, reading=ROWS, channels=names, times=read_times(dates).times
    )
    table = pd.read_csv(tmp_path / "x.csv")
    assert table.columns.tolist() == ["time", *names]
    back = pd.to_datetime(table["time"], utc=True)
    assert (
        (back.to_numpy() == dates.tz_convert("UTC").to_numpy()).all()
        if zone
        else (back.dt.tz_localize(None).to_numpy() == dates.to_numpy()).all()
    )
    np.testing.assert_array_equal(table[names].to_numpy().astype(np.float32).T, series[0])
    assert (tmp_path / "x.csv").read_text().count("\n") == 61
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_several_series_have_ids_and_their_own_times(tmp_path: pathlib.Path) -> None:
    series = [noise(1, 3), noise(1, 5)]
    times = [np.arange(3) / 2, np.arange(10, 15)]
    write_table(tmp_path / "x.csv", series, reading=ROWS, channels=["value"], times=times)
    table = pd.read_csv(tmp_path / "x.csv", float_precision="round_trip")
    assert table["id"].tolist() == [0] * 3 + [1] * 5
    assert table["time"].tolist() == [0.0, 0.5, 1.0, 10, 11, 12, 13, 14]
    np.testing.assert_array_equal(table["value"], np.concatenate([s[0] for s in series]))
    write_table(tmp_path / "x.csv", series[:1], reading=ROWS, channels=["value"], ids=["north"])
    assert (tmp_path / "x.csv").read_text().startswith("id,time,value\nnorth,0,")


def test_no_column_takes_the_place_of_another(tmp_path: pathlib.Path) -> None:
    names = ["time", "id", "time_"]
    write_table(tmp_path / "x.csv", noise(2, 3, 4), reading=ROWS, channels=names)
    assert (tmp_path / "x.csv").read_text().startswith("id_,time__,time,id,time_\n")


def test_elapsed_times() -> None:
    cases: list[tuple[Any, list[Any]]] = [
        ("h", [pd.Timedelta(0), pd.Timedelta("1h"), pd.Timedelta("2h")]),
        ("15min", [pd.Timedelta(0), pd.Timedelta("15min"), pd.Timedelta("30min")]),
        ("2D", [pd.Timedelta(0), pd.Timedelta("2D"), pd.Timedelta("4D")]),
        ("W", [pd.Timedelta(0), pd.Timedelta("7D"), pd.Timedelta("14D")]),
        ("ME", [0, 1, 2]),
        ("B", [0, 1, 2]),
    ]
    for every, expected in cases:
        timeline = read_times(pd.date_range("2024-01-01", periods=9, freq=every))
        assert list(elapsed_times(timeline, 3)) == expected
    thirds = read_times((np.arange(9) * 1e6 / 3).astype("M8[us]"))
    assert list(elapsed_times(thirds, 2)) == [pd.Timedelta(0), pd.Timedelta("333333us")]
    for function in (elapsed_times, further_times):
        with pytest.raises(ValueError, match=r"_times: count must be >= 1; got 0$"):
            function(thirds, 0)


def test_a_data_set_is_resampled() -> None:
    dates = pd.date_range("2024-01-01", periods=30, freq="h").delete(4)
    series = np.arange(58.0).reshape(1, 2, 29)
    data = Dataset("x", series, None, None, None, times=dates.to_numpy(), about="29 times")
    found = resample_dataset(data, "h")
    assert found.about == "29 times; resampled hourly: 30 samples from 29, 1 missing"
    assert found.train.shape == (1, 2, 30)
    assert np.isnan(found.train[0, :, 4]).all()
    assert read_times(found.times).about == "hourly"
    numbers = data._replace(times=np.arange(29.0))
    assert resample_dataset(numbers, "2").train.shape == (1, 2, 15)
    with pytest.raises(ValueError, match=r"every must be a number, as the times are; got 'h'"):
        resample_dataset(numbers, "h")
    several = data._replace(train=list(series), times=[dates[:-9].to_numpy(), dates.to_numpy()])
    several = several._replace(train=[series[0][:, :-9], series[0]])
    found = resample_dataset(several, "h")
    assert [one.shape for one in found.train] == [(2, 21), (2, 30)]
    assert found.about == "29 times; resampled hourly: 2 series, 2 samples missing"
    assert read_times(found.times[1]).about == "hourly"
    for bad, message in [
        (data._replace(times=None), "1 series without times"),
        (data._replace(test=series), "1 series and a test part"),
    ]:
        with pytest.raises(ValueError, match=rf"^resample_dataset: .*; got {message}$"):
            resample_dataset(bad, "h")


def test_forecast_times_go_on_from_the_end_of_each() -> None:
    dates = pd.date_range("2024-01-01", periods=9, freq="D", tz="Europe/Berlin")
    short = np.r_[np.zeros(6), [np.nan] * 3][None]
    data = Dataset("x", [np.zeros((1, 9)), short], None, None, None)
    assert [list(times) for times in forecast_times(data, 2)] == [[9, 10], [6, 7]]
    times = forecast_times(data._replace(times=[dates, dates]), 2)
    assert [list(time.strftime("%d")) for time in times] == [["10", "11"], ["07", "08"]]
    assert str(times[0].tz) == "Europe/Berlin"


FORMS: dict[str, tuple[Reading | None, str]] = {
    "no table": (None, "id,time,value_q10,value_q50,value_q90"),
    "rows are times": (
        Reading(layout="time_in_rows", time="when", id="who", separator=";", decimal=","),
        "who;when;value_q10;value_q50;value_q90",
    ),
    "long": (
        Reading(layout="long", time="when", id="", channel="what", value="x"),
        "id,when,what,x",
    ),
    "rows are series": (
        Reading(layout="series_in_rows", id="who", label="kind", separator="\t"),
        "who\ttime\tvalue_q10\tvalue_q50\tvalue_q90",
    ),
    "no header": (
        Reading(layout="time_in_rows", time="2", header=False),
        "id,time,value_q10,value_q50,value_q90",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_draws_are_written_as_the_data_came(tmp_path: pathlib.Path, name: str) -> None:
    form, head = FORMS[name]
    data = Dataset("x", np.zeros((2, 1, 9)), None, None, None, reading=form, ids=["n", "s"])
    path, draws = tmp_path / "x.csv", noise(11, 2, 1, 3).astype("f4")
    columns = write_draws(path, draws, data=data, times=[np.arange(3), np.arange(4, 7)])
    rows = path.read_text().split("\n")
    assert rows[0] == head
    middle = columns.series[1, 1, 2]
    assert middle == np.sort(draws[:, 1, 0, 2])[5]
    written = rows[-2] if name != "long" else rows[-5]
    decimal = "," if name == "rows are times" else "."
    assert str(middle).replace(".", decimal) in written
    assert written.startswith("s")
    alone = write_draws(tmp_path / "y.csv", draws[:1], data=data)
    assert alone.names == ("value",)


def test_complaints(tmp_path: pathlib.Path) -> None:
    draws, path = noise(2, 1, 2, 4), tmp_path / "x.csv"
    for bad in (draws[0], draws[:0]):
        with pytest.raises(ValueError, match=r"^quantile_columns: draws must be \(samples, cases"):
            quantile_columns(bad)
    for levels in ((), (0.5, 0.1), (0.5, 0.5), (-0.1,), (1.1,), (float("nan"),)):
        with pytest.raises(ValueError, match=r"quantiles must rise within \[0, 1\]; got"):
            quantile_columns(draws, quantiles=levels)
    with pytest.raises(ValueError, match=r"^quantile_columns: channels must be 2 names; got 1$"):
        quantile_columns(draws, ["a"])
    with pytest.raises(ValueError, match=r"every sample must have a time; got 3 for 4$"):
        write_table(path, draws[0], reading=ROWS, times=np.arange(3))
    with pytest.raises(ValueError, match=r"those of each; got 2 for 1$"):
        write_table(path, draws[0], reading=ROWS, times=[np.arange(4)] * 2)
    with pytest.raises(ValueError, match=r"ids must be one for each series; got 2 for 1$"):
        write_table(path, draws[0], reading=ROWS, ids="ab")
    with pytest.raises(ValueError, match=r"series must have 2 channels; got \[1, 2\]$"):
        write_table(path, [np.zeros((2, 3)), np.zeros((1, 3))], reading=ROWS)
    data = Dataset("x", np.zeros((1, 2, 9)), None, None, None)
    with pytest.raises(ValueError, match=r"^forecast_times: horizon must be >= 1; got 0$"):
        forecast_times(data, 0)
    with pytest.raises(ValueError, match=r"^me: times must be regular"):
        forecast_times(data._replace(times=np.arange(9.0) ** 2), 2, who="me")
    assert list(tmp_path.iterdir()) == []
