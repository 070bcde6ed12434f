"""The commands `ssltok forecast` and `ssltok impute`: a file in, one with dates and names out."""

import importlib.util
import pathlib
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import tyro

from ssltok.cli._outputs import check_new_file
from ssltok.cli._reading import ReadingOptions, read
from ssltok.cli._say import say
from ssltok.data import Dataset, Reading, forecast_times, read_times, write_draws
from ssltok.pipelines import SSLTokenizer

__all__ = ["Forecast", "Impute"]

NEEDS = {
    ".csv": "pandas", ".tsv": "pandas", ".txt": "pandas", ".parquet": "pyarrow",
    ".feather": "pyarrow", ".xlsx": "openpyxl",
}  # fmt: skip
"""The files that can be written, and the library that each needs."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What `forecast` and `impute` share."""

    model: Annotated[pathlib.Path, tyro.conf.Positional]
    """The model's folder."""
    data: str
    """A file, as for fit; its training part where it has two."""
    reading: ReadingOptions = field(default_factory=Reading)
    resample: str | None = None
    """Bring irregular times to this step first, such as h, 15min or D."""
    series: tuple[str, ...] = ()
    """Which series of the file: their names in its id column, or without one their places from 0;
    by default all."""
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    """With several samples: which quantiles of them are written, as columns such as heat_q10."""
    seed: int = 0
    """Same seed, same values."""
    overwrite: bool = False
    """Replace the file if there is one."""

    def read(self) -> Dataset:
        """The series asked for, at regular times where that is asked for."""
        data = read(self.data, self.reading, resample=self.resample)
        return chosen(data, self.series) if self.series else data


@dataclass(frozen=True, kw_only=True)
class Forecast(Drawing):
    """Continue the series of a file, each from its own end, as far as you like."""

    horizon: int
    """How many samples to draw; beyond the length of training the model rolls on."""
    samples: int = 20
    """Draws of each series; a single one is written as it is, several as quantiles."""
    out: pathlib.Path = pathlib.Path("forecast.csv")
    """A new table (.csv, .tsv, .txt, .parquet, .feather, .xlsx): times that go on from those of the
    data, and a column for each channel."""

    def __call__(self) -> None:
        """Do it."""
        check_drawing("forecast", self.out, self.quantiles, overwrite=self.overwrite)
        model, data = SSLTokenizer.load(self.model), self.read()
        times = forecast_times(data, self.horizon, who="forecast")
        draws = model.forecast(
            data.train, horizon=self.horizon, samples=self.samples, seed=self.seed
        )
        write_draws(self.out, draws, data=data, times=times, quantiles=self.quantiles)
        start = "" if data.times is None else f", from {times[0][0]}"
        say(f"{len(times)} series, {self.horizon} samples ahead{start}: {self.out}")


@dataclass(frozen=True, kw_only=True)
class Impute(Drawing):
    """Fill the missing values of the series of a file, of any length; known ones stay."""

    samples: int = 1
    """Draws of each series; a single one is written as it is, several as quantiles."""
    to_the_end: bool = False
    """Series without values at the end of the file go on there, and are filled; else their last
    value is their end."""
    out: pathlib.Path = pathlib.Path("imputed.csv")
    """A new table (.csv, .tsv, .txt, .parquet, .feather, .xlsx): the times of the data, and a
    column for each channel."""

    def __call__(self) -> None:
        """Do it."""
        check_drawing("impute", self.out, self.quantiles, overwrite=self.overwrite)
        model, data = SSLTokenizer.load(self.model), self.read()
        for clock in data.times if isinstance(data.times, list) else [data.times]:
            if clock is not None:
                read_times(clock, who="impute")
        lengths = [np.shape(series)[-1] for series in data.train] if self.to_the_end else None
        draws = model.impute(data.train, lengths=lengths, samples=self.samples, seed=self.seed)
        width = max(np.shape(series)[-1] for series in data.train)
        later = [(0, 0)] * 3 + [(0, width - draws.shape[-1])]  # rows of the file without a value
        filled, whole = 0, np.pad(draws.astype(np.float64), later, constant_values=np.nan)
        for case, series in enumerate(data.train):
            values = np.atleast_2d(np.asarray(series, dtype=np.float64))
            gone, stretch = np.isnan(values), whole[:, case, :, : values.shape[-1]]
            filled += int((gone & np.isfinite(stretch[0])).sum())
            stretch[...] = np.where(gone, stretch, values)  # known ones with all their digits
        write_draws(self.out, whole, data=data, times=data.times, quantiles=self.quantiles)
        gaps = sum(int(np.isnan(np.asarray(x, dtype=np.float64)).sum()) for x in data.train)
        rest = f"; {gaps - filled} after the last value are no gaps: --to-the-end fills them"
        say(
            f"{len(data.train)} series, {filled} missing values filled: {self.out}"
            + (rest if gaps > filled else "")
        )


def chosen(data: Dataset, names: tuple[str, ...]) -> Dataset:
    """Some of the training series, in the order of their names."""
    ids = data.ids if data.ids is not None else range(len(data.train))
    known = [str(name) for name in ids]
    wrong = [name for name in names if known.count(name) != 1]
    if wrong or len(set(names)) < len(names):
        shown = f"{', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"
        raise ValueError(
            f"series must be names of series, each once; got {' '.join(names)} of {shown}"
        )
    places = [known.index(name) for name in names]
    times = data.times
    return data._replace(
        train=[data.train[place] for place in places],
        train_labels=None,
        ids=None if data.ids is None else [data.ids[place] for place in places],
        times=[times[place] for place in places] if isinstance(times, list) else times,
    )


def check_drawing(
    who: str, out: pathlib.Path, quantiles: tuple[float, ...], *, overwrite: bool
) -> None:
    """Refuse before any work what could not be written after it."""
    check_new_file(who, out, tuple(NEEDS), overwrite=overwrite)
    library = NEEDS[out.suffix]
    if importlib.util.find_spec(library) is None:
        raise ImportError(
            f"{who}: a {out.suffix} file needs {library}; install it with: pip install "
            f"'ssltok[{'data' if library == 'pandas' else 'files'}]'"
        )
    levels = list(quantiles)
    if not levels or levels != sorted(set(levels)) or not 0 <= levels[0] <= levels[-1] <= 1:
        raise ValueError(f"{who}: quantiles must rise within [0, 1]; got {quantiles}")
