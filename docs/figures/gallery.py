"""Draw the pictures of the gallery and of the first page, from data sets that ship with sktime.

    python docs/figures/gallery.py --models /tmp/gallery   # writes docs/pages/assets/gallery/*.png

Three models of a minute or two each on a CPU; with `--models` they are kept and loaded again, so
that a picture can be drawn anew in seconds.
"""

import argparse
import importlib.resources
import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from small import shrink

from ssltok.data import load_dataset
from ssltok.pipelines import SSLTokenizer, shorten
from ssltok.plots import (
    plot_anomaly,
    plot_embedding,
    plot_imputation,
    plot_samples,
    plot_tokens,
)

ASSETS = pathlib.Path(__file__).parents[1] / "pages" / "assets" / "gallery"
SIZE = (6.4, 2.9)
GAP = slice(60, 95)
MORNING, DAY = 11, 24
LEARNED, WATCHED, WINDOW = 1150, 1450, 144
PREMATURE = (6936, 7288)  # of the 7500 samples, by the labels of the set
Array = NDArray[np.float64]


class Models:
    """The three models, each fitted once."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.gun, self.italy = load_dataset("GunPoint"), load_dataset("ItalyPowerDemand")

    def motions(self) -> SSLTokenizer:
        """Of GunPoint: somebody draws a gun, or points with a finger."""
        return self._fitted("gun", SSLTokenizer(), self.gun.train, self.gun.train_labels)

    def days(self) -> SSLTokenizer:
        """Of ItalyPowerDemand: what Italy needed in each hour of a day."""
        return self._fitted("italy", SSLTokenizer(), self.italy.train, self.italy.train_labels)

    def heart(self) -> SSLTokenizer:
        """Of the first thirteen seconds of an electrocardiogram, two beats at a time."""
        windows = np.lib.stride_tricks.sliding_window_view(self.heartbeats()[:LEARNED], WINDOW)
        model = SSLTokenizer(shorten("demo", steps=300))
        return self._fitted("heart", model, windows[::8], None)

    def heartbeats(self) -> Array:
        """Twenty seconds of the MIT-BIH arrhythmia database, a fourth of its samples."""
        path = importlib.resources.files("sktime.datasets") / "data" / "mitdb" / "mitdb.csv"
        with path.open() as stream:
            signal = np.loadtxt(stream, delimiter=",", skiprows=1, usecols=0)
        return signal[: len(signal) // 4 * 4].reshape(-1, 4).mean(axis=1)

    def _fitted(self, name: str, model: SSLTokenizer, X: Array, y: object) -> SSLTokenizer:  # noqa: N803
        folder = self.folder / name
        if not folder.exists():
            model.fit(X, y).save(folder)
        return SSLTokenizer.load(folder)


def tokens(models: Models) -> Figure:
    """A motion, what it is as tokens, and what comes back."""
    model, series = models.motions(), models.gun.test[3:4]
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    draw_tokens(axes, model, series)
    axes.plot(model.reconstruct(series)[0, 0], color="#d1495b", linewidth=1.0, linestyle="--")
    axes.set_title("dashed: the series that comes back from its tokens", fontsize=9)
    return figure


def draw_tokens(axes: Axes, model: SSLTokenizer, series: Array) -> None:
    """Draw one series and the grid of its codes."""
    plot_tokens(axes, series[0], model.encode(series)[0].reshape(model.grids_[0]))


def generation(models: Models) -> Figure:
    """Real motions and new ones, by class."""
    model = models.motions()
    figure = Figure(figsize=SIZE, layout="constrained")
    titles = {"1": "gun", "2": "finger"}
    for axes, label in zip(figure.subplots(1, 2, sharey=True), model.classes_, strict=True):
        real = models.gun.test[np.array(models.gun.test_labels) == label]
        plot_samples(axes, model.sample(15, label=label, seed=1), reference=real, shown=15)
        axes.set_title(titles[label], fontsize=9)
    return figure


def imputation(models: Models) -> Figure:
    """Two motions with a gap each."""
    figure = Figure(figsize=SIZE, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, case in zip(panels, (1, 4), strict=True):
        draw_gap(axes, models.motions(), models.gun.test[case : case + 1])
    return figure


def draw_gap(axes: Axes, model: SSLTokenizer, series: Array) -> None:
    """Hide a stretch of a series, and draw what the model has there."""
    gapped = series.copy()
    gapped[..., GAP] = np.nan
    draws = model.impute(gapped, samples=50, seed=1)[:, 0]
    plot_imputation(axes, gapped[0], draws, truth=series[0])


def forecast(models: Models) -> Figure:
    """Two days of which the first hours are known."""
    figure = Figure(figsize=SIZE, layout="constrained")
    for axes, case in zip(figure.subplots(1, 2, sharey=True), (0, 3), strict=True):
        day = models.italy.test[case : case + 1]
        draws = models.days().forecast(
            day[..., :MORNING], horizon=DAY - MORNING, samples=50, seed=1
        )
        known = np.where(np.arange(DAY) < MORNING, day[0, 0], np.nan)
        before = np.full((50, MORNING), np.nan)
        drawn = np.concatenate([before, draws[:, 0, 0]], axis=1)
        plot_imputation(axes, known, drawn, truth=day[0])
        axes.set_xlabel("hour", fontsize=8)
    return figure


def anomalies(models: Models) -> Figure:
    """An electrocardiogram whose last beats hold one that came too early."""
    beats = models.heartbeats()
    usual, watched = beats[LEARNED:WATCHED], beats[WATCHED:]
    result = models.heart().score_anomalies(watched[None], train=usual[None])
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    plot_anomaly(axes, watched, result.scores[0], threshold=result.threshold)
    axes.axvspan(*(np.array(PREMATURE) / 4 - WATCHED), color="0.93", linewidth=0, zorder=0)
    axes.set_xlabel("sample; shaded: where physicians marked a premature beat", fontsize=8)
    return figure


def embedding(models: Models) -> Figure:
    """Test motions by the mean of their token vectors; classes were not seen by the tokenizer."""
    figure = Figure(figsize=(4.4, 3.3), layout="constrained")
    axes = figure.subplots()
    names = ["gun" if label == "1" else "finger" for label in models.gun.test_labels]
    plot_embedding(axes, models.motions().transform(models.gun.test), names)
    return figure


def first_page(models: Models) -> Figure:
    """What the library does, in one row: tokens, a gap that is filled, new series."""
    model, gun = models.motions(), models.gun
    figure = Figure(figsize=(9.6, 2.7), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    draw_tokens(left, model, gun.test[3:4])
    left.set_title("a series and its tokens", fontsize=10)
    draw_gap(middle, model, gun.test[1:2])
    middle.set_title("a gap that is filled", fontsize=10)
    plot_samples(right, model.sample(15, label="1", seed=1), reference=gun.test[
        np.array(gun.test_labels) == "1"
    ], shown=15)  # fmt: skip
    right.set_title("new series beside real ones", fontsize=10)
    for text in left.texts:
        text.remove()
    return figure


PICTURES: dict[str, Callable[[Models], Figure]] = {
    draw.__name__: draw
    for draw in (tokens, generation, imputation, forecast, anomalies, embedding, first_page)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=pathlib.Path, help="where the models are kept")
    parser.add_argument("--only", choices=PICTURES, nargs="*", default=list(PICTURES))
    options = parser.parse_args()
    ASSETS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        models = Models(options.models or pathlib.Path(folder))
        models.folder.mkdir(parents=True, exist_ok=True)
        for name in options.only:
            PICTURES[name](models).savefig(ASSETS / f"{name}.png", dpi=100)
            shrink(ASSETS / f"{name}.png")


if __name__ == "__main__":
    main()
