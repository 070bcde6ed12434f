"""One long series: from a CSV of hourly values to a forecast with dates, and a gap that is filled.

    python examples/08_long_series.py --steps 200

The file is written here, so that you can see its form: a row for each hour, a column of dates, and
a column for each channel. The load of a small town goes up and down with the day and the week, and
from week to week by chance; its temperature with the day. The last week is forecast from the rest.
"""

import argparse
import csv
import pathlib
import tempfile

import numpy as np
import pandas as pd
import torch

from ssltok.data import forecast_times, load_dataset, train_and_test, write_draws
from ssltok.pipelines import SSLTokenizer, demo, shorten

WEEKS, WEEK, WINDOW, NAMES = 40, 168, 192, ("load", "temperature")
GAP = slice(4000, 4010)


def write_csv(path: pathlib.Path) -> np.ndarray:
    """Write hourly values with two cycles, noise and a gap of ten hours; return the whole load."""
    hours, noise = np.arange(WEEKS * WEEK), np.random.default_rng(0).normal(size=(2, WEEKS * WEEK))
    day, weekend = 2 * np.pi * hours / 24, hours % WEEK >= 5 * 24
    chance = 6 * np.random.default_rng(1).normal(size=WEEKS).repeat(WEEK)
    load = 60 - 15 * np.cos(day) - 20 * weekend + chance + 2 * noise[0]
    temperature = 12 + 6 * np.sin(day - 2) + noise[1]
    dates = pd.date_range("2024-01-01", periods=len(hours), freq="h")  # a Monday
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["date", *NAMES])
        for hour, date in enumerate(dates):
            cell = "" if GAP.start <= hour < GAP.stop else f"{load[hour]:.2f}"
            writer.writerow([date, cell, f"{temperature[hour]:.2f}"])
    return load


def main() -> None:
    """Learn windows of eight days, forecast the week after, and fill the gap."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of each stage")
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        load = write_csv(pathlib.Path(folder) / "town.csv")
        whole = load_dataset(pathlib.Path(folder) / "town.csv")
    print(whole.about)

    # The last week is what nobody has seen; the weeks before are cut into windows.
    past, truth = whole.train[..., :-WEEK], whole.train[0, :, -WEEK:]
    data = whole._replace(train=past, times=whole.times[:-WEEK])
    parts = train_and_test(data, torch.Generator().manual_seed(0), window=WINDOW, stride=24)
    print(parts.about)
    model = SSLTokenizer(shorten(demo(), steps=steps), seed=0).fit(parts.train)
    print(f"variance that the tokens explain in later windows: {model.score(parts.test):.0%}")

    # A week is longer than half a window: the model rolls on over its own draws.
    draws = model.forecast(past, horizon=WEEK, samples=20, seed=1)
    (dates,) = forecast_times(data, WEEK)
    columns = write_draws("forecast.csv", draws, data=data, times=dates)
    low, middle, high = columns.series[0, :3]
    print(f"forecast.csv: {', '.join(columns.names[:3])}, ... from {dates[0]} to {dates[-1]}")
    print("load, its forecast and 80 % interval at noon of each day:")
    for hour in range(12, WEEK, 24):
        print(
            f"  {dates[hour]:%a %d %b %H:%M}  {truth[0, hour]:5.1f}  {middle[hour]:5.1f}  "
            f"[{low[hour]:5.1f}, {high[hour]:5.1f}]"
        )
    error = np.sqrt(np.mean((middle - truth[0]) ** 2))
    level = np.sqrt(np.mean((np.nanmean(past[0, 0]) - truth[0]) ** 2))
    inside = np.mean((low <= truth[0]) & (truth[0] <= high))
    print(f"typical error {error:.1f}; of the mean of all weeks {level:.1f}")
    print(f"{inside:.0%} of the hours lie in the interval that should hold 80%")

    # The gap lies in a series 34 times as long as the model; the known values stay.
    filled = np.median(model.impute(past, samples=20, seed=1)[:, 0, 0, GAP], axis=0)
    print("filled gap: ", *(f"{value:.0f}" for value in filled))
    print("as it was:  ", *(f"{value:.0f}" for value in load[GAP]))


if __name__ == "__main__":
    main()
