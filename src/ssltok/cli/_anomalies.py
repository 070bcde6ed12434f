"""The command `ssltok anomalies`."""

import math
import pathlib
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import tyro

from ssltok._shared.outputs import new_file
from ssltok.cli._outputs import check_new_file
from ssltok.cli._reading import ReadingOptions, read
from ssltok.cli._say import say
from ssltok.data import Reading
from ssltok.pipelines import SSLTokenizer

__all__ = ["Anomalies"]


@dataclass(frozen=True, kw_only=True)
class Anomalies:
    """Score how unusual each sample of series is, by a saved model."""

    model: Annotated[pathlib.Path, tyro.conf.Positional]
    """The model's folder."""
    data: str = "GunPoint"
    """As for fit; series may have any length. The test part is scored, and the training part
    gives the threshold; without a test part all series are scored, and the threshold is that of
    the series that the model was trained on."""
    reading: ReadingOptions = field(default_factory=Reading)
    quantile: float = 0.99
    """Share of the samples of the series that give the threshold which lie below it."""
    stride_ratio: float = 0.1
    """Share of a window between the starts of two; larger is quicker and coarser. The model has a
    threshold of its own for 0.1 only."""
    out: pathlib.Path = pathlib.Path("scores.csv")
    """A new .csv file: series from 0, time (of the data, or samples from 0), score, and whether
    above the threshold."""
    overwrite: bool = False
    """Replace the file if there is one."""

    def __call__(self) -> None:
        """Do it."""
        check_new_file("anomalies", self.out, (".csv",), overwrite=self.overwrite)
        model, data = SSLTokenizer.load(self.model), read(self.data, self.reading)
        scored, part = (data.train, "training") if data.test is None else (data.test, "test")
        scores, threshold = model.score_anomalies(
            scored,
            train=None if data.test is None else data.train,
            quantile=self.quantile,
            stride_ratio=self.stride_ratio,
        )
        if data.test is None and not math.isnan(threshold):
            say(
                f"anomalies: {self.data} has no test part, so the threshold is the model's own: "
                f"{self.quantile:.4g} of the samples of its training series lie below it"
            )
        elif data.test is None:
            threshold = float(np.nanquantile(scores, self.quantile))
            say(
                f"anomalies: {self.data} has no test part, and the model no threshold for these "
                f"options, so it is of the series that are scored: {1 - self.quantile:.4g} of "
                "their samples lie above it, unusual or not"
            )
        above = scores > threshold
        lines = ["series,time,score,unusual"]
        for case, row in enumerate(scores):
            clock = data.times[case] if isinstance(data.times, list) else data.times
            for place in np.flatnonzero(~np.isnan(row)).tolist():
                time = place if clock is None or data.test is not None else clock[place]
                lines.append(f"{case},{time},{row[place]:.6g},{int(above[case, place])}")
        with new_file(self.out) as stream:
            stream.write("\n".join([*lines, ""]).encode())
        say(
            f"{len(above)} series of the {part} part, {int(above.any(axis=1).sum())} with samples "
            f"above the threshold of {threshold:.4g}: {self.out}"
        )
