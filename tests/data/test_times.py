"""Times: every regular grid is found, one moved, lost or doubled time is refused with its place."""

import datetime
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssltok.data import further_times, read_times, resample

GRIDS = {
    "h": "hourly", "15min": "every 15 minutes", "min": "every minute", "30s": "every 30 seconds",
    "D": "daily", "2D": "every 2 days", "B": "every business day", "W": "weekly",
    "2W": "every 2 weeks", "MS": "monthly", "ME": "monthly", "BME": "monthly", "QE": "quarterly",
    "YS": "yearly", "100ms": "every 100 milliseconds", "6h": "every 6 hours",
}  # fmt: skip
ZONES = [None, "UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata"]


def grid(every: str, count: int, zone: str | None = None) -> pd.DatetimeIndex:
    """Without its frequency, as a file would have it; it crosses both changes of the clocks."""
    dates = pd.date_range("2023-10-20 00:00", periods=count, freq=every, tz=zone)
    return pd.DatetimeIndex(list(dates))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("every", GRIDS)
def test_every_grid_is_found_and_continued(every: str, zone: str | None) -> None:
    whole = grid(every, 270, zone)
    timeline = read_times(whole[:-20])
    assert timeline.about == GRIDS[every]
    assert further_times(timeline, 20).equals(whole[-20:])


@pytest.mark.parametrize("form", [
    lambda dates: dates.to_numpy(), pd.Series, list, lambda dates: dates.to_pydatetime(),
    lambda dates: dates.to_numpy().astype("M8[s]").tolist(),
])  # fmt: skip
def test_every_container_of_dates(form: Any) -> None:
    dates = grid("h", 30)
    timeline = read_times(form(dates))
    assert timeline.about == "hourly"
    assert (timeline.times == dates).all()


def test_days_may_be_days_of_the_calendar() -> None:
    days = [datetime.date(2024, 2, 27) + datetime.timedelta(k) for k in range(5)]
    assert read_times(days).about == "daily"


@given(st.sampled_from(sorted(GRIDS)), st.sampled_from(ZONES), st.data())
def test_no_other_spacing_is_taken_as_regular(
    every: str, zone: str | None, data: st.DataObject
) -> None:
    """Lose, double, move or swap one time: each is refused, and the place is near."""
    dates = grid(every, 40, zone)
    place = data.draw(st.integers(1, 38))
    change = data.draw(st.sampled_from(["lose", "double", "move", "swap"]))
    times = list(dates)
    if change == "lose":
        del times[place]
    elif change == "double":
        times.insert(place, times[place])
    elif change == "move":
        times[place] += (times[place + 1] - times[place]) * data.draw(st.sampled_from([0.02, 0.5]))
    else:
        times[place], times[place + 1] = times[place + 1], times[place]
    rule = "times must rise" if change in ("double", "swap") else "times must be regular"
    with pytest.raises(ValueError, match=rf"^read_times: {rule}"):
        read_times(pd.DatetimeIndex(times))


def test_hours_of_work_are_no_grid_and_local_clocks_are_not_either() -> None:
    with pytest.raises(ValueError, match=r"from 0 days 01:00:00 to 2 days 17:00:00, and no usual"):
        read_times(grid("bh", 60))
    local = grid("h", 400, "Europe/Berlin").tz_localize(None)  # 02:00 twice
    with pytest.raises(ValueError, match=r"must rise; got 2023-10-29 02:00:00, and .* again$"):
        read_times(local)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e4), st.integers(3, 60))
def test_numbers_at_equal_steps(first: float, step: float, count: int) -> None:
    times = first + step * np.arange(count)
    timeline = read_times(times)
    assert timeline.step == pytest.approx(step, rel=1e-4)
    assert timeline.about == f"every {timeline.step:.6g}"
    ahead = first + step * np.arange(count, count + 7)
    np.testing.assert_allclose(further_times(timeline, 7), ahead, atol=1e-3 * step)
    for off in (-0.1, 0.02):
        moved = times.copy()
        moved[count // 2] += off * step
        with pytest.raises(ValueError, match=r"^read_times: times must be regular"):
            read_times(moved)


def test_rounding_is_no_irregularity() -> None:
    """Thirds of a second to the microsecond; 30 Hz to the millisecond is too coarse to tell."""
    thirds = (np.arange(1, 200) * 1e6 / 3).astype("M8[us]")
    timeline = read_times(thirds)
    assert timeline.about == "every 0.333333 seconds"
    assert len(further_times(timeline, 4)) == 4
    with pytest.raises(ValueError, match="must be regular"):
        read_times((np.arange(1, 200) * 1e3 / 30).astype("M8[ms]"))


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        (["01/02/2024"] * 4, TypeError, r"dates or numbers; got np.str_\('01/02/2024'\)"),
        ([1, "2024-01-01", 3], TypeError, r"dates or numbers; got"),
        (np.array([1, 2, 3], dtype=object), TypeError, r"dates or numbers; got 1 of type int$"),
        ([True, False, True], TypeError, r"dates or numbers; got np.True_"),
        ([1j, 2j, 3j], TypeError, r"dates or numbers"),
        (pd.period_range("2024", periods=4, freq="h"), TypeError, r"dates or numbers; got Period"),
        (np.arange(4).astype("m8[h]"), TypeError, r"dates or numbers"),
        ([1.0, np.nan, 3.0], ValueError, r"every sample must have a time; got nan at 1$"),
        ([1.0, 2.0, np.inf], ValueError, r"every sample must have a time; got inf at 2$"),
        (["2024-01-01", "NaT", "2024-01-03"], ValueError, r"must have a time; got none at 1$"),
        ([1.0, 2.0], ValueError, r"at least three to have a step; got 2$"),
        ([3.0, 2.0, 1.0], ValueError, r"must rise; got 3.0, and 2.0 later$"),
        (np.zeros((3, 2)), ValueError, r"one-dimensional; got shape \(3, 2\)$"),
        (
            [pd.Timestamp("2024-01-01", tz=zone) for zone in ("UTC", "Asia/Kolkata", "UTC")],
            ValueError, r"must share one time zone \(UTC serves all\)",
        ),
    ],
)  # fmt: skip
def test_complaints(times: Any, error: type[Exception], message: str) -> None:
    if isinstance(times, list) and "NaT" in times:
        times = np.array(times, dtype="M8[D]")
    with pytest.raises(error, match=rf"^mine: times must.*{message}|^mine: .*{message}"):
        read_times(times, who="mine")


def naive_resample(
    values: list[float], times: list[pd.Timestamp], every: pd.Timedelta
) -> list[float]:
    first = min(times).floor(every)
    bins: dict[int, list[float]] = {}
    for value, time in zip(values, times, strict=True):
        bins.setdefault(int((time - first) // every), []).append(value)
    return [
        float(np.mean([v for v in bins.get(k, []) if v == v] or [np.nan]))
        for k in range(max(bins) + 1)
    ]


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@given(st.lists(st.integers(0, 90), min_size=4, max_size=40), st.booleans())
def test_resampling_is_the_mean_of_each_step(minutes: list[int], numbers: bool) -> None:
    minutes = [0, *minutes, 45]
    values = [float(m) ** 2 if m % 7 else np.nan for m in minutes]
    times = [
        pd.Timestamp("2024-01-01", tz="Asia/Kolkata") + pd.Timedelta(m, "min") for m in minutes
    ]
    expected = naive_resample(values, times, pd.Timedelta("15min"))
    if numbers:
        found = resample([values, values], np.array(minutes) / 60, 0.25)
        assert found.timeline.about == "every 0.25"
    else:
        found = resample([values, values], pd.DatetimeIndex(times), "15min")
        assert found.timeline.about == "every 15 minutes"
        assert str(found.timeline.times.tz) == "Asia/Kolkata"
    for channel in found.series:
        np.testing.assert_allclose(channel, expected)
    gone = int(np.isnan(expected).sum())
    assert found.about.endswith(f": {len(expected)} samples from {len(values)}, {gone} missing")


def test_a_lost_hour_comes_back_as_missing() -> None:
    dates, values = grid("h", 48, "Europe/Berlin"), np.arange(96.0).reshape(2, 48)
    keep = np.arange(48) != 20
    with pytest.raises(ValueError, match="must be regular, or resampled on request"):
        read_times(dates[keep])
    found = resample(values[:, keep], dates[keep], "h")
    assert found.timeline.times.equals(dates)
    assert found.about == "resampled hourly: 48 samples from 47, 1 missing"
    np.testing.assert_array_equal(found.series, np.where(keep, values, np.nan))


def test_resampling_of_what_is_regular_changes_nothing() -> None:
    for every in sorted(GRIDS) if os.environ.get("SSLTOK_ALL") else ("h", "D", "ME"):
        values = np.random.default_rng(0).normal(size=(2, 30))
        found = resample(values, grid(every, 30), every)
        np.testing.assert_array_equal(found.series, values)


def test_a_time_that_rounding_moves_stays_in_its_step() -> None:
    """0.3 / 0.1 is less than 3."""
    values = np.arange(30.0)
    np.testing.assert_array_equal(resample(values, values / 10, 0.1).series[0], values)


def test_complaints_of_resample() -> None:
    dates = grid("h", 9)
    with pytest.raises(ValueError, match=r"with 9 times; got shape \(1, 8\)$"):
        resample(np.zeros(8), dates, "h")
    with pytest.raises(ValueError, match=r"every must be a frequency of pandas.*; got 'hour' \("):
        resample(np.zeros(9), dates, "hour")
    with pytest.raises(ValueError, match=r"every must be a number, as the times are; got 'h'$"):
        resample(np.zeros(9), np.arange(9), "h")
    with pytest.raises(ValueError, match=r"every must be > 0; got -1$"):
        resample(np.zeros(9), np.arange(9), -1)
    with pytest.raises(ValueError, match=r"at least three to have a step; got 1$"):
        resample(np.zeros(9), dates, "D")
