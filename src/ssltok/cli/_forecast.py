"""The commands `ssltok forecast` and `ssltok impute`: a file in, one with dates and names out."""

import pathlib
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro

from ssltok.cli._say import say
from ssltok.data import (
    Dataset,
    further_times,
    load_dataset,
    quantile_columns,
    read_times,
    resample_dataset,
    write_dated,
)
from ssltok.pipelines import SSLTokenizer

__all__ = ["Forecast", "Impute", "read_regular"]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What `forecast` and `impute` share."""

    model: Annotated[pathlib.Path, tyro.conf.Positional]
    """The model's folder."""
    data: Annotated[str, tyro.conf.Positional]
    """A file, as for fit; its training part where it has two."""
    resample: str | None = None
    """Bring irregular times to this step first, such as h, 15min or D."""
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    """With several samples: which quantiles of them are written, as columns such as heat_q10."""
    seed: int = 0
    """Same seed, same values."""

    def read(self) -> Dataset:
        """The data, with regular times if it has any."""
        return read_regular(self.data, self.resample)


@dataclass(frozen=True, kw_only=True)
class Forecast(Drawing):
    """Continue the series of a file, each from its own end, as far as you like."""

    horizon: int
    """How many samples to draw; beyond the length of training the model rolls on."""
    samples: int = 20
    """Draws of each series; a single one is written as it is, several as quantiles."""
    out: pathlib.Path = pathlib.Path("forecast.csv")
    """A .csv file: times that go on from those of the data, and a column for each channel."""

    def __call__(self) -> None:
        """Do it."""
        check_table("forecast", self.out)
        model, data = SSLTokenizer.load(self.model), self.read()
        timeline = None if data.times is None else read_times(data.times, who="forecast")
        draws = model.forecast(
            data.train, horizon=self.horizon, samples=self.samples, seed=self.seed
        )
        columns = quantile_columns(draws, data.channels, quantiles=self.quantiles)
        ends = [end(series) for series in data.train]
        times: list[Any] = [np.arange(n, n + self.horizon) for n in ends]
        if timeline is not None:
            known = timeline._replace(times=timeline.times[: ends[0]])
            times = [further_times(known, self.horizon)]
        write_dated(
            self.out, columns.series, channels=columns.names,
            times=times if len(ends) > 1 else times[0],
        )  # fmt: skip
        rhythm = "" if timeline is None else f", {timeline.about}, from {times[0][0]}"
        say(f"{len(ends)} series, {self.horizon} samples ahead{rhythm}: {self.out}")


@dataclass(frozen=True, kw_only=True)
class Impute(Drawing):
    """Fill the missing values of the series of a file, of any length; known ones stay."""

    samples: int = 1
    """Draws of each series; a single one is written as it is, several as quantiles."""
    out: pathlib.Path = pathlib.Path("imputed.csv")
    """A .csv file: the times of the data, and a column for each channel."""

    def __call__(self) -> None:
        """Do it."""
        check_table("impute", self.out)
        model, data = SSLTokenizer.load(self.model), self.read()
        timeline = None if data.times is None else read_times(data.times, who="impute")
        draws = model.impute(data.train, samples=self.samples, seed=self.seed)
        columns = quantile_columns(draws, data.channels, quantiles=self.quantiles)
        ends = [end(series) for series in data.train]
        write_dated(
            self.out, [s[:, :n] for s, n in zip(columns.series, ends, strict=True)],
            channels=columns.names, times=None if timeline is None else timeline.times[: ends[0]],
        )  # fmt: skip
        gaps = sum(
            int(np.isnan(np.atleast_2d(series)[:, :n]).sum())
            for series, n in zip(data.train, ends, strict=True)
        )
        rhythm = "" if timeline is None else f", {timeline.about}"
        say(f"{len(ends)} series{rhythm}, {gaps} missing values filled: {self.out}")


def read_regular(source: str, every: str | None) -> Dataset:
    """Load a data set, at regular times where `every` asks for them, and say so."""
    data = load_dataset(source)
    if every is None:
        return data
    data = resample_dataset(data, every)
    say(f"{source}: {data.about}")
    return data


def end(series: Any) -> int:
    """How many samples a series has, less those that miss every channel at its end."""
    known = ~np.isnan(np.atleast_2d(np.asarray(series, dtype=np.float64))).all(axis=0)
    return int(np.flatnonzero(known)[-1]) + 1


def check_table(who: str, out: pathlib.Path) -> None:
    """Refuse before any work what could not be written after it."""
    if out.suffix != ".csv":
        raise ValueError(f"{who}: out must end in .csv; got {out}")
    if not out.parent.is_dir():
        raise ValueError(f"{who}: out must lie in a folder that exists; got {out}")
